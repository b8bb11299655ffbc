//! Reads the files of a package database below a root directory. The content of this directory can be hostile.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, fstat, openat, openat2,
    readlinkat, statat, statx,
};
use rustix::io::Errno;

use crate::observe::linux::tree::PATH_ONLY;

/// The maximum number of bytes of all files of the databases together. Debian with 3,000 packages has 100 MiB.
const MOST_BYTES: usize = 512 * 1024 * 1024;
/// The maximum number of packages. The largest distribution has 70,000.
const MOST_PACKAGES: usize = 100_000;
/// The directories that a distribution can merge into `/usr`: `/bin` is then a link to `/usr/bin`.
const MERGEABLE: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

#[derive(Debug)]
pub(in super::super) struct Root {
    directory: OwnedFd,
    /// Whether this is the root directory of portolan. In another root directory, users can create links and devices
    /// that mislead portolan.
    is_own: bool,
    bytes_left: std::cell::Cell<usize>,
    pub(super) layout: Layout,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MountedStat {
    pub(super) stat: Stat,
    pub(super) mount: u64,
}

/// The directories that are links into `/usr`. If `bin` is one of them, a package can list `/bin/x` although the
/// program is `/usr/bin/x`.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) merged: Vec<&'static str>,
}

impl Layout {
    /// Returns the normalized form, which is equal for all paths of a file. For example, `/usr/bin/x` and `./bin/x`
    /// both become `bin/x` if `bin` is merged.
    pub(super) fn canonical<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let path = path.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let Some(below) = path.strip_prefix(b"usr/") else { return path };
        let is_merged = |top: &&str| {
            below.strip_prefix(top.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        if self.merged.iter().any(is_merged) { below } else { path }
    }
}

/// Returns the reason why a file of a database cannot be used, with the path of the file.
pub(super) fn trouble(path: &str, why: impl std::fmt::Display) -> String {
    format!("/{path}: {why}")
}

impl Root {
    pub(in super::super) fn new(directory: OwnedFd, is_own: bool) -> Self {
        let is_link = |top: &&&str| {
            statat(&directory, **top, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        };
        let merged = MERGEABLE.iter().filter(is_link).copied().collect();
        Root { directory, is_own, bytes_left: MOST_BYTES.into(), layout: Layout { merged } }
    }

    pub(in super::super) const fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(super) const fn is_own(&self) -> bool {
        self.is_own
    }

    /// Opens a file or directory below the root for reading. Below another root than portolan's, devices and pipes are
    /// not opened.
    fn open(&self, path: &str, kind: FileType) -> Result<OwnedFd, Errno> {
        const READ: OFlags =
            OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
        if self.is_own {
            return openat(&self.directory, path, READ, Mode::empty());
        }
        // Opening a device can have side effects, so the type of the file is checked first.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(&self.directory, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        if FileType::from_raw_mode(fstat(&found)?.st_mode) != kind {
            return Err(Errno::INVAL);
        }
        openat(CWD, format!("/proc/self/fd/{}", found.as_raw_fd()), READ, Mode::empty())
    }

    /// Returns whether a path exists. Also returns true if this could not be checked.
    pub(super) fn has(&self, path: &str) -> bool {
        !matches!(self.open(path, FileType::RegularFile), Err(Errno::NOENT | Errno::NOTDIR))
    }

    /// Returns the status of a file in portolan's root directory. Returns `None` in another root directory, because its
    /// file system may report false times. Also returns `None` before Linux 5.8, which does not report the mount.
    pub(super) fn stat(&self, path: &[u8]) -> Option<MountedStat> {
        if !self.is_own {
            return None;
        }
        let found = openat(&self.directory, path, PATH_ONLY | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        let more = statx(&found, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        let mount = (more.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(more.stx_mnt_id)?;
        Some(MountedStat { stat: fstat(&found).ok()?, mount })
    }

    /// Returns the status of the file or symbolic link at a path. A link in the last part of the path is not followed.
    /// Other links are followed within the root directory.
    pub(in super::super) fn stat_link(&self, path: &str) -> Option<Stat> {
        fstat(self.open_link(path)?).ok()
    }

    pub(in super::super) fn link(&self, path: &str) -> Option<String> {
        readlinkat(self.open_link(path)?, c"", Vec::new()).ok()?.into_string().ok()
    }

    fn open_link(&self, path: &str) -> Option<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.directory, path, PATH_ONLY | OFlags::NOFOLLOW, Mode::empty(), resolve).ok()
    }

    /// Reads a file of at most `most` bytes; `None` if it does not exist.
    pub(in super::super) fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let file = match self.open(path, FileType::RegularFile) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(trouble(path, errno)),
        };
        let stat = fstat(&file).map_err(|errno| trouble(path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(trouble(path, "not a regular file"));
        }
        let most = most.min(self.bytes_left.get());
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > most {
            return Err(trouble(path, "too large"));
        }
        let mut bytes = Vec::with_capacity(size + 1);
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        File::from(file).take(limit).read_to_end(&mut bytes).map_err(|error| trouble(path, error))?;
        if bytes.len() > most {
            return Err(trouble(path, "too large"));
        }
        self.bytes_left.set(self.bytes_left.get() - bytes.len());
        Ok(Some(bytes))
    }

    /// Returns the names in a directory, in any order.
    pub(in super::super) fn names(&self, path: &str) -> Result<Vec<CString>, String> {
        let said = |errno| trouble(path, errno);
        let directory = self.open(path, FileType::Directory).map_err(said)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(said)? {
            let name = entry.map_err(said)?.file_name().to_owned();
            if !name.to_bytes().starts_with(b".") {
                names.push(name);
            }
            if names.len() > MOST_PACKAGES {
                return Err(trouble(path, "too many entries"));
            }
        }
        Ok(names)
    }
}

pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(path: &std::path::Path, is_own: bool) -> Root {
        Root::new(File::open(path).unwrap().into(), is_own)
    }

    #[test]
    fn one_spelling_for_each_path() {
        let merged = Layout { merged: vec!["bin", "lib"] };
        for (path, canonical) in [
            ("/usr/bin/x", "bin/x"),
            ("/bin/x", "bin/x"),
            ("./usr/bin/x", "bin/x"),
            ("usr/lib/y", "lib/y"),
            ("/usr/bin", "bin"),
            ("/usr/binary/x", "usr/binary/x"),
            ("/usr/lib64/y", "usr/lib64/y"),
            (".hidden", ".hidden"),
            ("", ""),
        ] {
            assert_eq!(merged.canonical(path.as_bytes()), canonical.as_bytes(), "{path}");
        }
        assert_eq!(Layout::default().canonical(b"/usr/bin/x"), b"usr/bin/x", "two directories, two files");
    }

    #[test]
    fn files_of_a_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("usr/bin")).unwrap();
        fs::write(path.join("file"), "12345").unwrap();
        symlink("usr/bin", path.join("bin")).unwrap();
        symlink("/file", path.join("link")).unwrap();
        symlink("../../../../../../etc/passwd", path.join("out")).unwrap();
        rustix::fs::mknodat(CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = root(path, false);
        assert_eq!(root.layout.merged, ["bin"]);
        for (name, read) in [
            ("file", Ok(Some(b"12345".to_vec()))),
            ("link", Ok(Some(b"12345".to_vec()))),
            ("none", Ok(None)),
            ("file/below", Ok(None)),
            ("out", Ok(None)),
            ("usr", Err("/usr: Invalid argument (os error 22)".to_owned())),
            ("pipe", Err("/pipe: Invalid argument (os error 22)".to_owned())),
        ] {
            assert_eq!(root.read(name, 5), read, "{name}");
        }
        assert_eq!(root.read("file", 4), Err("/file: too large".to_owned()));
        root.bytes_left.set(4);
        assert_eq!(root.read("file", 5), Err("/file: too large".to_owned()), "all together");
        assert_eq!(root.names("none").unwrap_err(), "/none: No such file or directory (os error 2)");
    }
}
