//! Writes a file whole or not at all: whoever reads it meanwhile sees what was there before.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::Error;

/// Puts `bytes` in place of what is at `path`, by way of a file beside it that takes its name once it is on the disk.
/// A link is followed; what is no file is refused, for a device or a pipe would be replaced by one. It keeps the
/// permissions that were there, and otherwise everybody may read it, as far as the umask lets them.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let said = |why: String| Error::Said(format!("--write {}: {why}", path.display()));
    replace(path, bytes).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => said(error.to_string()),
        _ => said(format!("{error}; nothing was written")),
    })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let (target, permissions) = match fs::metadata(path) {
        Ok(there) if there.is_file() => (fs::canonicalize(path)?, Some(there.permissions())),
        Ok(there) if there.is_dir() => return refuse("it is a folder; name a file in it"),
        Ok(_) => return refuse("it is no file; leave --write out to write to standard output"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return refuse("it is a link to nothing");
            }
            (path.to_owned(), None)
        }
        Err(error) => return Err(error),
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".portolan-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    // The name is on the disk once the folder is.
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_was_there_is_replaced_whole_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write(&path, b"one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path) & 0o600), (b"one".as_slice(), 0o600));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        // A reader keeps what it has opened: the file is another one.
        let before = fs::File::open(&path).unwrap();
        let link = folder.path().join("link");
        symlink("out", &link).unwrap();
        write(&link, b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode(&path)), (b"two".as_slice(), 0o640));
        assert_eq!(io::read_to_string(before).unwrap(), "one");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link stays one");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dangling = folder.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        for (path, why) in [
            (folder.path().to_owned(), "it is a folder"),
            ("/dev/null".into(), "it is no file"),
            (dangling, "a link to nothing"),
            (folder.path().join("no-such-folder/out"), "No such file"),
        ] {
            let error = write(&path, b"x").unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the link, and nothing else");
    }
}
