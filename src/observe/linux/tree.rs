//! The directory tree of a process, in which paths from the kernel are followed.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, readlinkat_raw, statat};
use rustix::io::Errno;

pub(super) const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A directory tree for paths from the kernel, which start at the root of the mount namespace. The root directory of
/// the process can be another directory, because a process can change its root.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: Rc<OwnedFd>,
    /// The path of `root` in the mount namespace; empty for `/`.
    pub(super) prefix: Vec<u8>,
    /// The inode of the mount namespace.
    pub(super) namespace: u64,
    pub(super) root_id: (u64, u64),
    /// Whether a user other than root may have created the container or jail of the process.
    pub(super) users_own: bool,
}

impl Tree {
    pub(super) fn open(at: impl AsFd, root: &str, prefix: Vec<u8>, namespace: u64) -> Option<Self> {
        let root = openat(at, root, PATH_ONLY | OFlags::DIRECTORY, Mode::empty()).ok()?;
        let stat = fstat(&root).ok()?;
        let root_id = (stat.st_dev, stat.st_ino);
        Some(Tree { root: Rc::new(root), prefix, namespace, root_id, users_own: false })
    }

    /// Returns the path relative to the root. `None` if the path is outside the root.
    pub(super) fn below_root(&self, path: &[u8]) -> Option<CString> {
        let rest = path.strip_prefix(&*self.prefix)?;
        let rest = match rest {
            [] | b"/" => b".",
            [b'/', rest @ ..] => rest,
            _ => return None,
        };
        CString::new(rest).ok()
    }

    pub(super) fn stat(&self, path: &[u8]) -> Result<Stat, Errno> {
        let path = self.below_root(path).ok_or(Errno::XDEV)?;
        statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)
    }
}

pub(super) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Returns whether two files belong to root and have the same size and modification time. They are then presumably one
/// file. A system extension, for example, shows the files of a directory under other inodes.
pub(super) fn are_alike(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    one.st_uid == 0 && other.st_uid == 0 && of(one) == of(other)
}

/// Returns the number in a link such as `mnt:[4026531841]`.
pub(super) fn namespace_of(process: impl AsFd, link: &str) -> Option<u64> {
    let mut buffer = [MaybeUninit::uninit(); 64];
    let (link, _) = readlinkat_raw(process, link, &mut buffer).ok()?;
    let digits = link.strip_suffix(b"]")?.rsplit(|byte| *byte == b'[').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
