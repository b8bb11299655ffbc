//! Writes files atomically. Until the new file is complete, a reader sees the old content.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "portable.rs"]
mod system;

use std::io;
use std::path::Path;

use anyhow::{Context, Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// Replace the file, and keep its permissions.
    Replace,
    /// Keep the file, and fail.
    Keep,
}

/// The users who may read a new file. A replaced file keeps its permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everyone, unless the umask forbids this.
    All,
    Owner,
}

/// Writes `bytes` to the file at `path`. Only a regular file is replaced, because a replaced device or pipe would
/// become a regular file.
pub(super) fn write(path: &Path, bytes: &[u8], existing: Existing, readers: Readers) -> Result<()> {
    system::write(path, bytes, existing, readers)
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::AlreadyExists => Error::from(error),
            _ => Error::from(error).context("nothing was written"),
        })
        .with_context(|| format!("--write {}", path.display()))
}

fn refuse<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()))
}

const DIRECTORY: &str = "this is a directory; name a file in it";
const NOT_REGULAR: &str = "not a regular file; leave out --write to write to standard output";
const DANGLING: &str = "a symbolic link whose target does not exist";

fn already_exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "exists already and is not replaced; name another file")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
        write(path, bytes, Existing::Replace, Readers::All).map_err(|error| format!("{error:#}"))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        replace(&path, b"one").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path) & 0o600), (b"one".as_slice(), 0o600));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if is_root {
            std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
        }
        // The new content is in another file. A reader that opened the old file still sees the old content.
        let before = fs::File::open(&path).unwrap();
        let link = directory.path().join("link");
        symlink("out", &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"two".as_slice(), 0o640));
        if is_root && cfg!(target_os = "linux") {
            let now = fs::metadata(&path).unwrap();
            assert_eq!((now.uid(), now.gid()), (12, 34), "owner and group are kept");
        }
        assert_eq!(io::read_to_string(before).unwrap(), "one");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is kept");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn an_existing_file_can_be_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        write(&path, b"one", Existing::Keep, Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = write(&path, b"two", Existing::Keep, Readers::Owner).unwrap_err();
        assert!(format!("{error:#}").contains("exists already"), "{error:#}");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn other_than_regular_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let dangling = directory.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        for (path, why) in [
            (directory.path().to_owned(), ": this is a directory"),
            ("/dev/null".into(), ": not a regular file"),
            (dangling, "a symbolic link whose target does not exist"),
            (directory.path().join("missing/out"), "nothing was written: No such file"),
        ] {
            let error = replace(&path, b"x").unwrap_err();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "only the link is there");
    }

    /// Another user could make a link in a shared directory, so that root overwrites the target of the link.
    #[cfg(target_os = "linux")]
    #[test]
    fn links_of_others_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "victim").unwrap();
        symlink(&victim, shared.join("file")).unwrap();
        symlink(directory.path(), shared.join("directory")).unwrap();
        for name in ["file", "directory/victim"] {
            let error = replace(&shared.join(name), b"x").unwrap_err();
            assert!(error.contains("symbolic link in a directory that other users can write to"), "{error}");
        }
        assert_eq!(fs::read(&victim).unwrap(), b"victim");
    }
    /// Another user made the file first, to become the owner of the report that root writes. A file in the user's own
    /// directory is not a trap.
    #[cfg(target_os = "linux")]
    #[test]
    fn files_of_others_in_a_shared_directory_are_refused() {
        if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            return; // only root can give a file away
        }
        let directory = tempfile::tempdir().unwrap();
        for (directory_mode, directory_of, file_of, is_refused) in [
            (0o1777, 0, 1000, true),
            (0o1777, 0, 0, false),
            (0o755, 1000, 1000, false),
            (0o755, 1000, 1001, true),
            (0o755, 0, 1000, false),
        ] {
            let case = format!("{directory_mode:o} {directory_of} {file_of}");
            let place = directory.path().join(&case);
            fs::create_dir(&place).unwrap();
            let path = place.join("out");
            fs::write(&path, "before").unwrap();
            std::os::unix::fs::chown(&path, Some(file_of), None).unwrap();
            fs::set_permissions(&place, PermissionsExt::from_mode(directory_mode)).unwrap();
            std::os::unix::fs::chown(&place, Some(directory_of), None).unwrap();
            let written = replace(&path, b"secret");
            assert_eq!(
                written.is_err_and(|error| error.contains("the file belongs to another user")),
                is_refused,
                "{case}"
            );
            assert_eq!(fs::read(&path).unwrap() == b"secret", !is_refused, "{case}");
        }
    }
}
