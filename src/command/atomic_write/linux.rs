//! The atomic write on Linux. The directory is opened once, and all steps use the open directory. So no other process
//! can replace a part of the path between two steps.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, fsync, linkat,
    openat, readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::{DANGLING, DIRECTORY, Existing, NOT_REGULAR, Readers, already_exists, refuse};

const PREPARED: &str = "the file belongs to another user and is in a directory that other users can write to; remove the file, or name another file";

/// The maximum number of symbolic links in a path, as in the kernel (MAXSYMLINKS, linux/namei.h).
const MAX_LINKS: usize = 40;

/// The maximum number of temporary names to try. A name is taken if an earlier process with the same pid was killed and
/// left a temporary file.
const MAX_NAMES: usize = 100;

pub(super) fn write(path: &Path, bytes: &[u8], existing: Existing, readers: Readers) -> io::Result<()> {
    let Location { directory, name, is_link } = locate(path)?;
    let target = match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) if existing == Existing::Keep => return Err(already_exists()),
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if is_prepared_by_another(&directory, &stat)? => return refuse(PREPARED),
            FileType::RegularFile => Some(stat),
            FileType::Directory => return refuse(DIRECTORY),
            _ => return refuse(NOT_REGULAR),
        },
        Err(Errno::NOENT) if is_link => return refuse(DANGLING),
        Err(Errno::NOENT) => None,
        Err(error) => return Err(error.into()),
    };
    let mode = match (target, readers) {
        (None, Readers::All) => Mode::from_raw_mode(0o644),
        // Until the content is complete, only the owner of the file may read it. A file that replaces another then gets
        // the permissions of the old file.
        (None, Readers::Owner) | (Some(_), _) => Mode::from_raw_mode(0o600),
    };
    let (mut file, temporary) = create_temporary(&directory, mode)?;
    let done = fill(&mut file, bytes, target).and_then(|()| put(&directory, &temporary, &name, existing));
    if done.is_err() {
        let _ = unlinkat(&directory, &temporary, AtFlags::empty());
    }
    done?;
    // Syncing the directory makes the new name survive a crash. A directory that cannot be opened for reading is not
    // synced.
    match openat(&directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => Ok(fsync(directory)?),
        Err(_) => Ok(()),
    }
}

fn create_temporary(directory: &OwnedFd, mode: Mode) -> io::Result<(File, String)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for number in 0..MAX_NAMES {
        let name = format!(".portolan-{}-{number}", std::process::id());
        match openat(directory, &name, flags, mode) {
            Ok(file) => return Ok((File::from(file), name)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// Writes the content to the disk, and gives the file the owner, the group and the permissions of the target.
fn fill(file: &mut File, bytes: &[u8], target: Option<Stat>) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Some(stat) = target {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
        // An ordinary user cannot give a file to another user. The new file then keeps its own group, so this group
        // gets no permissions.
        let is_kept = fchown(&*file, Some(uid), Some(gid)).is_ok();
        fchmod(&*file, if is_kept { mode } else { mode & !Mode::RWXG })?;
    }
    file.sync_all()
}

fn put(directory: &OwnedFd, temporary: &str, name: &OsStr, existing: Existing) -> io::Result<()> {
    if existing == Existing::Replace {
        return Ok(renameat(directory, temporary, directory, name)?);
    }
    match renameat_with(directory, temporary, directory, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(already_exists()),
        // Some file systems, such as NFS, do not support `NOREPLACE`. A hard link also fails if the name already
        // exists.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, temporary, directory, name, AtFlags::empty())?;
            Ok(unlinkat(directory, temporary, AtFlags::empty())?)
        }
        Err(error) => Err(error.into()),
    }
}

struct Location {
    directory: OwnedFd,
    name: OsString,
    /// Whether the last part of the path was a symbolic link.
    is_link: bool,
}

/// Finds the directory of a path, one part at a time. Symbolic links are followed, except in a directory that other
/// users may write to. With a link in such a directory, another user could make root overwrite any file.
fn locate(path: &Path) -> io::Result<Location> {
    let mut parts: VecDeque<OsString> = VecDeque::new();
    let mut directory = open_directory(CWD, OsStr::new("."))?;
    push_front(&mut parts, path);
    let (mut links, mut is_link) = (0, false);
    while let Some(part) = parts.pop_front() {
        let is_last = parts.is_empty();
        if part == "/" || part == ".." {
            directory = open_directory(&directory, &part)?;
            continue;
        }
        let kind = match statat(&directory, &part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) if is_last => return Ok(Location { directory, name: part, is_link }),
            Err(error) => return Err(error.into()),
        };
        if kind == FileType::Symlink {
            if may_others_write(&directory)? {
                return refuse(
                    "the path contains a symbolic link in a directory that other users can write to; name the target of the link",
                );
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&directory, &part, Vec::new())?;
            push_front(&mut parts, Path::new(&OsString::from_vec(target.into_bytes())));
            is_link |= is_last;
        } else if is_last {
            return Ok(Location { directory, name: part, is_link });
        } else {
            directory = open_directory(&directory, &part)?;
        }
    }
    refuse(DIRECTORY)
}

fn push_front(parts: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        if component != Component::CurDir {
            parts.push_front(component.as_os_str().to_owned());
        }
    }
}

fn open_directory(directory: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

/// Returns whether another user may have created the file as a trap. The new file gets the owner and the mode of the
/// old file, so the other user could change the report.
///
/// A trap is assumed if others may write to the directory, unless the file belongs to root, to this user or to the
/// owner of the directory. The kernel has the same protection (sysctl `fs.protected_regular`).
fn is_prepared_by_another(directory: &OwnedFd, file: &Stat) -> io::Result<bool> {
    let is_trusted = [0, geteuid().as_raw(), fstat(directory)?.st_uid].contains(&file.st_uid);
    Ok(!is_trusted && may_others_write(directory)?)
}

/// Returns whether other users may create entries in a directory. Root, and the user and the group of this process, do
/// not count as other users.
fn may_others_write(directory: &OwnedFd) -> io::Result<bool> {
    let stat = fstat(directory)?;
    let is_own_user = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    let is_own_group = stat.st_gid == 0 || stat.st_gid == getegid().as_raw();
    Ok(!is_own_user || stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && !is_own_group))
}
