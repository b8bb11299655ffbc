//! The users who mounted FUSE file systems: such a user decides what the files contain.

use std::ffi::CString;

use rustix::fs::{Mode, OFlags, fstatfs, openat};

use super::files;
use super::tree::{PATH_ONLY, Tree};

/// `FUSE_SUPER_MAGIC` (linux/magic.h).
const FUSE: i64 = 0x6573_5546;

pub(super) fn is_fuse(tree: &Tree, directory: &CString) -> bool {
    let opened = openat(&*tree.root, directory.as_c_str(), PATH_ONLY | OFlags::DIRECTORY, Mode::empty());
    opened.and_then(fstatfs).is_ok_and(|fs| fs.f_type == FUSE)
}

/// Returns the user who mounted the FUSE file system that contains `path`, by this process's mounts.
pub(super) fn fuse_owner(path: &[u8]) -> Option<u32> {
    fuse_owner_in(&files::mounts().ok()?, &String::from_utf8_lossy(path))
}

/// Returns the same from the text of `mountinfo` (`ID PARENT DEVICE ROOT POINT OPTIONS [TAGS…] - TYPE SOURCE
/// SUPER-OPTIONS`).
pub(super) fn fuse_owner_in(mounts: &str, path: &str) -> Option<u32> {
    let covering = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let rest = path.strip_prefix(point.strip_suffix('/').unwrap_or(&point))?;
        (rest.is_empty() || rest.starts_with('/')).then_some((point.len(), file_system))
    });
    let (_, file_system) = covering.max_by_key(|(length, _)| *length)?;
    let mut fields = file_system.split(' ');
    let kind = fields.next()?;
    if !(kind == "fuse" || kind.starts_with("fuse.") || kind == "fuseblk") {
        return None;
    }
    fields.nth(1)?.split(',').find_map(|option| option.strip_prefix("user_id="))?.parse().ok()
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
