//! Finds out whether a mount may cover another file at the path of a configuration file. The server may have read the
//! covered file before the mount was made.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};

use super::super::files::mounts_of;

/// The mounts that a process sees (`proc_pid_mountinfo(5)`).
pub(super) struct Mounts(Vec<Mount>);

struct Mount {
    id: u64,
    parent: u64,
    device: String,
    /// The path of the mounted directory or file within its file system.
    root: String,
    point: String,
    /// The top directory of the file system: `/`, or a subvolume of btrfs.
    whole: String,
}

impl Mounts {
    pub(super) fn of(process: &OwnedFd) -> Option<Self> {
        Some(Self::parse(&mounts_of(process).ok()?))
    }

    fn parse(text: &str) -> Self {
        let mount = |line: &str| {
            let (line, file_system) = line.split_once(" - ")?;
            let mut fields = line.split(' ');
            let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let [device, root, point] = [(); 3].map(|()| fields.next().map(str::to_owned));
            let options = file_system.rsplit(' ').next()?.split(',');
            let whole = options.filter_map(|option| option.strip_prefix("subvol=")).next().unwrap_or("/");
            Some(Mount { id, parent, device: device?, root: root?, point: point?, whole: whole.to_owned() })
        };
        Mounts(text.lines().filter_map(mount).collect())
    }

    /// Returns whether a mount in the path of a file may cover another file. For example, `mount --bind` can put a file
    /// or directory of another place there. `directory` is the root or working directory of the process.
    pub(super) fn cover(&self, directory: &OwnedFd, path: &str) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mount = openat2(directory, path, flags, Mode::empty(), resolve).ok().and_then(|file| {
            let status = statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
            (status.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(status.stx_mnt_id)
        });
        // An unknown mount may cover another file. Before Linux 5.8, every mount is unknown.
        mount.is_none_or(|mount| self.is_covered(mount))
    }

    fn is_covered(&self, id: u64) -> bool {
        let mut next = id;
        // The number of steps is limited by the number of mounts.
        for _ in 0..=self.0.len() {
            let Some(mount) = self.0.iter().find(|mount| mount.id == next) else { return next == id };
            let parent = self.0.iter().find(|parent| parent.id == mount.parent && parent.id != mount.id);
            let is_same_place = parent.is_some_and(|parent| mount.is_at_its_own_place(parent));
            let is_elsewhere_too = || {
                let same = |other: &&Mount| other.device == mount.device && other.root == mount.root;
                self.0.iter().filter(same).any(|other| other.point != mount.point)
            };
            match mount.point == "/" || is_same_place {
                true => {}
                false if mount.root == mount.whole && !is_elsewhere_too() => {}
                false => return true,
            }
            match parent {
                Some(parent) => next = parent.id,
                None => return false,
            }
        }
        true
    }
}

impl Mount {
    /// Returns whether the mount shows the same files that its parent has at this path. For example, systemd mounts a
    /// directory over itself to make it read-only for a service (`ProtectSystem=`).
    fn is_at_its_own_place(&self, parent: &Mount) -> bool {
        let below = self.point.strip_prefix(parent.point.trim_end_matches('/'));
        below.is_some_and(|below| {
            self.device == parent.device
                && self.root.trim_end_matches('/')
                    == format!("{}{below}", parent.root.trim_end_matches('/')).trim_end_matches('/')
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_cover_another_file() {
        let mounts = Mounts::parse(
            "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
             2 1 8:2 / /srv rw - xfs /dev/sda2 rw\n\
             3 1 8:1 /etc /etc ro - ext4 /dev/sda1 rw\n\
             4 3 8:1 /etc/redis /etc/redis rw - ext4 /dev/sda1 rw\n\
             5 2 8:1 /root/r.conf /srv/r.conf rw - ext4 /dev/sda1 rw\n\
             6 1 0:9 /@home /home rw - btrfs /dev/sdb rw,subvol=/@home\n\
             7 1 0:10 / /a rw - tmpfs none rw\n\
             8 1 0:10 / /b rw - tmpfs none rw\n\
             9 8 8:3 / /b/c rw - ext4 /dev/sdc rw\n\
             10 1 0:9 /@home/x /c rw - btrfs /dev/sdb rw,subvol=/@home\n\
             11 11 0:1 / /loop rw - tmpfs none rw\n\
             12 13 0:1 / / rw - tmpfs none rw\n\
             13 12 0:1 / / rw - tmpfs none rw\n\
             not a mount\n",
        );
        for (id, is) in [
            (1, false),
            (2, false),
            (3, false),
            (4, false),
            (5, true),
            (6, false),
            (7, true),
            (8, true),
            (9, true),
            (10, true),
            (12, true),
            (99, true),
        ] {
            assert_eq!(mounts.is_covered(id), is, "{id}");
        }
    }
}
