//! Finds the users who can replace a file. The answer depends on the owner, the mode and the access control list of the
//! file and of each directory above it.
//!
//! No file is opened for reading. Every path is followed from the root directory of the process that runs the file. Two
//! files are the same only if device and inode are equal, regardless of their names.
//!
//! A group with write permission counts as a user. For example, a file of `root:www-data` with mode 0775 is only as
//! safe as the web server. The groups of administrators ([`ADMINISTRATORS`]) do not count.
//!
//! In a sticky directory, a group cannot replace the files of other users. But a world-writable directory counts as
//! open to all users even if it is sticky, because any user could have created the file. If only some users can enter a
//! directory, then only these users count for the files below it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::acl;
use super::files::slurp;
use super::fuse::{fuse_owner, is_fuse};
use super::tree::{PATH_ONLY, Tree, are_alike, is_same, namespace_of};
use crate::model::{Origin, OriginKind};

/// The maximum depth of checked directories. The kernel allows 2,048, but paths of real programs have far fewer.
const DEEPEST: usize = 64;
/// Groups whose members can become root with `sudo`, or install into `/usr/local` (Debian policy 9.1.2).
const ADMINISTRATORS: [&str; 4] = ["staff", "wheel", "sudo", "admin"];
/// The user ID that the kernel shows for a user without an ID in this user namespace (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;
/// The maximum size of `/etc/group` in bytes, enough for several thousand groups.
const LONGEST_GROUPS: usize = 1024 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DirectoriesAbove {
    /// World-writable directories, nearest first.
    pub open: Vec<String>,
    /// The nearest directory that a user other than root can write to, and this user (`None` for a group or several
    /// users).
    pub user: Option<(String, Option<u32>)>,
    /// The user who mounted the FUSE file system of the file.
    mounted_by: Option<u32>,
    /// The users who can enter every directory above the file; `None` if any user can.
    entrants: Option<Entrants>,
    /// Whether every directory could be checked.
    complete: bool,
}

/// The users who can enter a directory that is not open to all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrants {
    Root,
    /// Only this user can enter. `None` stands for a group or several users.
    User(Option<u32>),
}

impl DirectoriesAbove {
    /// Sets the user who mounted the file system. Only this user can replace its files, so world-writable directories
    /// above the mount point no longer count.
    fn set_mounted_by(&mut self, user: Option<u32>) {
        self.mounted_by = user;
        if user.is_some_and(|uid| uid != 0) {
            self.open.clear();
        }
    }
}

/// The mount namespace, the root directory of the process, and the path.
type DirectoryKey = (u64, (u64, u64), Vec<u8>);

/// Finds the users who can replace files. The results for directories are stored, because most programs are in a few
/// directories.
#[derive(Debug, Default)]
pub(super) struct Origins {
    own: OnceCell<Option<Tree>>,
    administrators: OnceCell<Vec<u32>>,
    above: HashMap<DirectoryKey, DirectoriesAbove>,
}

impl Origins {
    /// Returns the directory tree of portolan, from the root of its mount namespace.
    pub(super) fn own(&self) -> Option<&Tree> {
        let open = || {
            let me = openat(CWD, "/proc/self", PATH_ONLY | OFlags::DIRECTORY, Mode::empty()).ok()?;
            Tree::open(CWD, "/", Vec::new(), namespace_of(&me, "ns/mnt")?)
        };
        self.own.get_or_init(open).as_ref()
    }

    /// Returns the directory tree of the process with this directory in `/proc`.
    pub(super) fn tree(&self, process: impl AsFd) -> Option<Tree> {
        let namespace = namespace_of(&process, "ns/mnt");
        let own = self.own()?;
        if namespace == Some(own.namespace) {
            return Some(own.clone()); // for both trees, paths from the kernel start at the same root
        }
        let prefix = readlinkat(&process, "root", Vec::new()).ok()?.into_bytes();
        let prefix = prefix.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(prefix);
        let mut tree = Tree::open(&process, "root", prefix, namespace?)?;
        // An ordinary user can make a user namespace, and in it a mount namespace with any files. So a user may have
        // made the tree of a process in another user namespace.
        let its_users = namespace_of(&process, "ns/user");
        let own_users = namespace_of(openat(CWD, "/proc/self", PATH_ONLY, Mode::empty()).ok()?, "ns/user");
        tree.users_own = tree.root_id != own.root_id && its_users != own_users;
        Some(tree)
    }

    /// Returns the world-writable directories above `path`, nearest first. Returns `None` if a directory could not be
    /// checked and none of the others is world-writable.
    pub(super) fn open_directories(&mut self, tree: &Tree, path: &[u8]) -> Option<Vec<String>> {
        let above = self.above(tree, path)?;
        (above.complete || !above.open.is_empty()).then_some(above.open)
    }

    /// Returns who can replace the file at `path`; `None` if this could not be checked. `running` is the file that a
    /// process runs. If the file at `path` is not this file, the kind is [`OriginKind::Elsewhere`].
    pub(super) fn of(&mut self, tree: &Tree, path: &[u8], running: Option<&Stat>) -> Option<Origin> {
        let above = self.above(tree, path)?;
        if let Some(origin) = self.of_mounting_user(tree, path) {
            return Some(origin);
        }
        let file = match (running, tree.stat(path)) {
            (Some(running), Ok(file)) if is_same(running, &file) || are_alike(running, &file) => file,
            (Some(_), Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
                return Some(Origin::of(OriginKind::Elsewhere));
            }
            (None, Ok(file)) => file,
            (_, Err(_)) => return None,
        };
        if self.is_another_on_the_host(tree, path, &file) {
            return Some(Origin::of(OriginKind::Elsewhere));
        }
        let shown = || String::from_utf8_lossy(path).into_owned();
        let mode = Mode::from_raw_mode(file.st_mode);
        let is_open = mode.contains(Mode::WOTH);
        let open = above.open.first().cloned();
        let open = if is_open && above.entrants.is_none() { Some(shown()) } else { open };
        if let Some(writable) = open {
            return Some(Origin { writable: Some(writable), ..Origin::of(OriginKind::Open) });
        }
        if !above.complete || file.st_uid == OVERFLOW {
            return None;
        }
        let writer = match above.entrants {
            Some(Entrants::User(uid)) if is_open => Some(uid),
            _ => self.writer(tree, &tree.below_root(path)?, &file),
        };
        let writer = writer.map(|uid| (shown(), uid));
        Some(of_writer(tree, writer.or(above.user)))
    }

    /// Returns who could have replaced a deleted file. Only the directories above its `path` are checked.
    pub(super) fn of_removed(&mut self, tree: &Tree, path: &[u8]) -> Option<Origin> {
        let above = self.above(tree, path)?;
        if let Some(origin) = self.of_mounting_user(tree, path) {
            return Some(origin);
        }
        if let Some(writable) = above.open.first().cloned() {
            return Some(Origin { writable: Some(writable), ..Origin::of(OriginKind::Open) });
        }
        above.complete.then(|| of_writer(tree, above.user))
    }

    /// Returns the user who mounted the FUSE file system of `path`. Returns `None` if root mounted it, and for other
    /// file systems. Without this user's permission, not even root can read the files, so nothing else can be checked.
    pub(super) fn of_mounting_user(&mut self, tree: &Tree, path: &[u8]) -> Option<Origin> {
        let uid = self.above(tree, path)?.mounted_by.filter(|uid| *uid != 0)?;
        Some(Origin { uid: Some(uid), ..Origin::of(OriginKind::User) })
    }

    /// Returns whether the process and portolan have different mounts, and portolan does not see the running file at
    /// `path`.
    pub(super) fn is_in_other_tree(&self, tree: &Tree, path: &[u8], running: &Stat) -> bool {
        let Some(own) = self.own().filter(|own| own.namespace != tree.namespace) else { return false };
        !own.stat(path).is_ok_and(|host| is_same(&host, running))
    }

    /// Returns whether portolan finds another file at `path` than the process does, because their mounts differ.
    /// Returns false if they have different root directories.
    fn is_another_on_the_host(&self, tree: &Tree, path: &[u8], file: &Stat) -> bool {
        let Some(own) = self.own().filter(|own| own.namespace != tree.namespace) else { return false };
        own.root_id == tree.root_id && own.stat(path).is_ok_and(|host| !is_same(&host, file))
    }

    /// Returns the user other than root who can write to a file or directory. Returns `Some(None)` for a group or
    /// several users, and `None` if only root can write.
    fn writer(&self, tree: &Tree, path: &CStr, stat: &Stat) -> Option<Option<u32>> {
        if stat.st_uid != 0 {
            return Some(Some(stat.st_uid));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        // An access control list gives no more rights than the group bits. In a sticky directory, a group cannot
        // replace the files of other users.
        if !mode.contains(Mode::WGRP) || mode.contains(Mode::SVTX) {
            return None;
        }
        let is_other = |gid: u32| gid != 0 && !self.administrators().contains(&gid);
        match acl::read(tree, path) {
            Some(list) => acl::writer(&list, stat.st_gid, is_other),
            None => is_other(stat.st_gid).then_some(None),
        }
    }

    /// Returns who can enter a directory that is not open to all users. Returns `None` if the owner of the directory
    /// has no ID in this user namespace.
    fn entrants(&self, tree: &Tree, path: &CStr, stat: &Stat) -> Option<Entrants> {
        let has_group = Mode::from_raw_mode(stat.st_mode).contains(Mode::XGRP);
        let is_other = |gid: u32| gid != 0 && !self.administrators().contains(&gid);
        match stat.st_uid {
            OVERFLOW => None,
            // An access control list can let more users enter.
            _ if has_group && acl::read(tree, path).is_some() => Some(Entrants::User(None)),
            0 if has_group && is_other(stat.st_gid) => Some(Entrants::User(None)),
            0 => Some(Entrants::Root),
            uid => Some(Entrants::User(Some(uid))),
        }
    }

    fn administrators(&self) -> &[u32] {
        self.administrators.get_or_init(|| {
            let text = slurp("/etc/group", 4096, LONGEST_GROUPS).unwrap_or_default();
            administrators_in(&String::from_utf8_lossy(&text))
        })
    }

    /// Returns who can change the directories above `path`; `None` if the path is not absolute.
    pub(super) fn above(&mut self, tree: &Tree, path: &[u8]) -> Option<DirectoriesAbove> {
        let end = path.iter().rposition(|byte| *byte == b'/').filter(|_| path.starts_with(b"/"))?;
        let key = (tree.namespace, tree.root_id, path[..=end].to_owned());
        if let Some(above) = self.above.get(&key) {
            return Some(above.clone());
        }
        let above = self.read_above(tree, path);
        self.above.insert(key, above.clone());
        Some(above)
    }

    fn read_above(&self, tree: &Tree, path: &[u8]) -> DirectoriesAbove {
        const ANYONE: Mode = Mode::WOTH.union(Mode::XOTH);
        let mut above = DirectoriesAbove { complete: true, ..DirectoriesAbove::default() };
        let mut device = None;
        let mut is_in_sticky = false;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for (depth, end) in ends.enumerate() {
            let directory = &path[..end];
            if depth == DEEPEST {
                above.complete = false;
                break;
            }
            let Some(below_root) = tree.below_root(directory) else {
                above.complete = false; // the path is above the root of a process in another mount namespace
                continue;
            };
            // A path from the kernel contains no links. A link in the path was made later, so it is not followed.
            let stat = match statat(&tree.root, below_root.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => stat,
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => break, // the directory was deleted, with everything below it
                Err(_) => {
                    above.set_mounted_by(fuse_owner(path));
                    above.complete = above.mounted_by.is_some();
                    break;
                }
            };
            if device.replace(stat.st_dev).is_some_and(|device| device != stat.st_dev)
                && is_fuse(tree, &below_root)
            {
                above.set_mounted_by(fuse_owner(path));
                if above.mounted_by.is_some_and(|uid| uid != 0) {
                    break;
                }
            }
            let shown = || match directory {
                [] => "/".to_owned(),
                directory => String::from_utf8_lossy(directory).into_owned(),
            };
            let mode = Mode::from_raw_mode(stat.st_mode);
            let is_open = mode.contains(ANYONE);
            if is_in_sticky
                && ![0, OVERFLOW].contains(&stat.st_uid)
                && !mode.intersects(Mode::RWXG | Mode::RWXO)
            {
                // The parent is sticky, so only the owner can replace this directory. No other user can enter it. So it
                // does not matter that the parent is world-writable.
                above.open.pop();
            }
            let stays_open = mode.contains(Mode::XOTH) || !above.open.is_empty();
            if !stays_open && above.entrants != Some(Entrants::Root) {
                above.entrants = self.entrants(tree, &below_root, &stat);
            }
            is_in_sticky = is_open && mode.contains(Mode::SVTX);
            if is_open && let Some(entrants) = above.entrants {
                if let (Entrants::User(uid), None) = (entrants, &above.user) {
                    above.user = Some((shown(), uid));
                }
            } else if is_open {
                above.open.push(shown());
            } else if stat.st_uid == OVERFLOW {
                above.complete = false;
            } else if let Some(uid) = self.writer(tree, &below_root, &stat) {
                above.user = Some((shown(), uid));
            }
        }
        above.open.reverse();
        above
    }
}

/// Returns the origin of a file. `writer` has the file or directory that a user other than root can write to, and this
/// user.
fn of_writer(tree: &Tree, writer: Option<(String, Option<u32>)>) -> Origin {
    match writer {
        Some((writable, uid)) => Origin { writable: Some(writable), uid, ..Origin::of(OriginKind::User) },
        None if tree.users_own => Origin::of(OriginKind::User),
        None => Origin::of(OriginKind::System),
    }
}

/// Returns the group IDs of administrators in `/etc/group` (`NAME:PASSWORD:GID:MEMBERS`).
fn administrators_in(groups: &str) -> Vec<u32> {
    let gid = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        ADMINISTRATORS.contains(&name).then(|| fields.nth(1)?.parse().ok())?
    };
    groups.lines().filter_map(gid).collect()
}

#[cfg(test)]
mod tests;
