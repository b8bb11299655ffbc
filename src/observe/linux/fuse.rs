//! Finds the users who mounted FUSE file systems. The user who mounted a FUSE file system decides what its files
//! contain.

use std::ffi::CString;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};

use super::files;
use super::tree::{PATH_ONLY, Tree};

/// `FUSE_SUPER_MAGIC` (linux/magic.h).
const FUSE: i64 = 0x6573_5546;

/// `FUSE_CTL_SUPER_MAGIC` (linux/magic.h). This file system has a directory for each FUSE file system of the machine.
const FUSE_CONTROL: i64 = 0x6573_5543;
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Returns whether a FUSE file system is mounted or may be mounted. A read from a FUSE file system can block forever.
pub(crate) fn fuse_is_mounted() -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(directory) = openat(CWD, CONNECTIONS, flags, Mode::empty())
        && fstatfs(&directory).is_ok_and(|fs| fs.f_type == FUSE_CONTROL)
    {
        return files::numbers_in(&directory).map_or(true, |connections| !connections.is_empty());
    }
    files::mounts().is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split_once(" - ").is_some_and(|(_, file_system)| is_fuse_type(file_system)))
    })
}

pub(super) fn is_fuse(tree: &Tree, directory: &CString) -> bool {
    let opened = openat(&*tree.root, directory.as_c_str(), PATH_ONLY | OFlags::DIRECTORY, Mode::empty());
    opened.and_then(fstatfs).is_ok_and(|fs| fs.f_type == FUSE)
}

/// Returns the user who mounted the FUSE file system that contains `path`. `None` if `path` is on another kind of file
/// system.
pub(super) fn fuse_owner(path: &[u8]) -> Option<u32> {
    fuse_owner_in(&files::mounts().ok()?, &String::from_utf8_lossy(path))
}

/// Returns the same as [`fuse_owner`] for a text of `mountinfo` (`ID PARENT DEVICE ROOT POINT OPTIONS [TAGS…] - TYPE
/// SOURCE SUPER-OPTIONS`).
pub(super) fn fuse_owner_in(mounts: &str, path: &str) -> Option<u32> {
    let covering = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let rest = path.strip_prefix(point.strip_suffix('/').unwrap_or(&point))?;
        (rest.is_empty() || rest.starts_with('/')).then_some((point.len(), file_system))
    });
    let (_, file_system) = covering.max_by_key(|(length, _)| *length)?;
    if !is_fuse_type(file_system) {
        return None;
    }
    file_system.split(' ').nth(2)?.split(',').find_map(|option| option.strip_prefix("user_id="))?.parse().ok()
}

/// Returns whether a file system is a FUSE file system. `file_system` is the part after ` - ` of a line of `mountinfo`.
/// It begins with the type.
fn is_fuse_type(file_system: &str) -> bool {
    let kind = file_system.split(' ').next().unwrap_or_default();
    kind == "fuse" || kind.starts_with("fuse.") || kind == "fuseblk"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_fuse_mounts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            90 22 0:50 / /tmp/.mount_App\\0401 ro,nosuid - fuse.App.AppImage App ro,user_id=1000,group_id=1000\n\
            91 22 0:51 / /mnt/share rw - fuse.sshfs host: rw,user_id=0,group_id=0\n\
            92 22 0:52 / /mnt/vm rw - virtiofs root rw\nshort - x\n";
        for (path, uid) in [
            ("/tmp/.mount_App 1/bin/app", Some(1000)),
            ("/tmp/.mount_App 12/bin/app", None),
            ("/mnt/share/x", Some(0)),
            ("/mnt/vm/x", None),
            ("/usr/bin/x", None),
        ] {
            assert_eq!(fuse_owner_in(mounts, path), uid, "{path}");
        }
    }
}
