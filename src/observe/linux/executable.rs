//! The file that a process runs: its path, whether it is still there, and who can replace it.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::origin::Origins;
use super::script::script;
use super::tree::{Tree, is_same};
use crate::model::{Exe, ExeState, Origin, OriginKind, Script};

/// The number of threads that are tried for a process whose first thread has ended.
const THREADS: usize = 64;

/// The program of a process, as far as it could be found out.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub exe: Option<Exe>,
    pub origin: Option<Origin>,
    pub script: Option<Script>,
    /// Why the file, or who can replace it, is not known.
    pub trouble: Option<String>,
}

/// Reads the program of the process whose directory in `/proc` this is; `cmdline` names the script of an interpreter.
pub(super) fn program(process: &OwnedFd, cmdline: &[String], origins: &mut Origins) -> Program {
    let mut link = readlinkat(process, "exe", Vec::new());
    let Some(tree) = origins.tree(process) else {
        return Program { trouble: link.err().map(why), ..Program::default() };
    };
    let mut program = Program::default();
    // A second attempt is made, because an upgrade may happen between the two reads of the file.
    for _ in 0..2 {
        let running = statat(process, "exe", AtFlags::empty()).ok();
        match &link {
            Ok(target) => {
                let (exe, origin) = executable(target.as_bytes(), running.as_ref(), &tree, origins);
                (program.exe, program.origin) = (Some(exe), origin);
            }
            Err(errno) => program.trouble = Some(why(*errno)),
        }
        if program.origin.as_ref().is_none_or(|origin| origin.kind != OriginKind::Elsewhere) {
            break;
        }
        link = readlinkat(process, "exe", Vec::new());
    }
    if program.exe.is_some() && program.origin.is_none() {
        program.trouble = Some("the directories above its file could not be checked".to_owned());
    }
    program.script = script(process, program.exe.as_ref(), cmdline, &tree, origins);
    program
}

fn why(errno: Errno) -> String {
    match errno {
        Errno::NAMETOOLONG => "the path of its file is longer than 4,095 bytes".to_owned(),
        errno => errno.to_string(),
    }
}

/// Returns the directory of a living thread of a process whose first thread has ended: the process has no program file
/// and no command line any more, but its threads have.
pub(super) fn living_thread(process: &OwnedFd) -> Option<OwnedFd> {
    if readlinkat(process, "exe", Vec::new()) != Err(Errno::NOENT) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = openat(process, "task", flags, Mode::empty()).ok()?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&tasks, &mut buffer);
    let mut tried = 0;
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(thread) = openat(&tasks, entry.file_name(), flags, Mode::empty())
            && readlinkat(&thread, "exe", Vec::new()).is_ok()
        {
            return Some(thread);
        }
        tried += 1;
        if tried == THREADS {
            break;
        }
    }
    None
}

/// Returns the program file, given the target of the link `exe`.
fn executable(
    target: &[u8],
    running: Option<&Stat>,
    tree: &Tree,
    origins: &mut Origins,
) -> (Exe, Option<Origin>) {
    let (path, state) = path_and_state(tree, target, running);
    let origin = match state {
        ExeState::Memfd => Some(Origin::of(OriginKind::Memory)),
        ExeState::Deleted if is_at_a_path_of_others(tree, path, running) => {
            Some(Origin::of(OriginKind::Elsewhere))
        }
        ExeState::Deleted => Some(Origin::of(OriginKind::Deleted)),
        // Who can replace the new file could replace the old one.
        ExeState::Replaced => origins.of(tree, path, None).map(|origin| match origin.kind {
            OriginKind::User | OriginKind::Open => origin,
            _ => Origin::of(OriginKind::Deleted),
        }),
        ExeState::Present => match running {
            Some(running) => origins.of(tree, path, Some(running)).map(|origin| Origin {
                is_in_other_tree: origins.is_in_other_tree(tree, path, running),
                ..origin
            }),
            None => origins.of_mounting_user(tree, path),
        },
    };
    let open_directories = match state {
        ExeState::Memfd => None,
        _ => origins.open_directories(tree, path),
    };
    (Exe { path: String::from_utf8_lossy(path).into_owned(), state, open_directories }, origin)
}

/// Returns the path and the state of the file that the kernel names `target`. The kernel marks a file that is gone by
/// appending " (deleted)" to its path, which may also be part of a file's name.
pub(super) fn path_and_state<'t>(
    tree: &Tree,
    target: &'t [u8],
    running: Option<&Stat>,
) -> (&'t [u8], ExeState) {
    let Some(stripped) = target.strip_suffix(b" (deleted)") else { return (target, ExeState::Present) };
    match state_of_deleted(tree, target, stripped, running) {
        ExeState::Present => (target, ExeState::Present),
        state => (stripped, state),
    }
}

/// Returns whether the file that ran belonged to a user, but the file that is at its path now belongs to another one: the
/// file never was at this path of the machine.
fn is_at_a_path_of_others(tree: &Tree, path: &[u8], running: Option<&Stat>) -> bool {
    let is_another_users =
        |there: Stat| running.is_some_and(|running| ![0, there.st_uid].contains(&running.st_uid));
    tree.stat(path).is_ok_and(is_another_users)
}

/// Returns the state of a file whose link ends like the link of a deleted file.
fn state_of_deleted(tree: &Tree, whole: &[u8], stripped: &[u8], running: Option<&Stat>) -> ExeState {
    let is_running = |other: &Stat| running.is_some_and(|running| is_same(running, other));
    if tree.stat(whole).is_ok_and(|other| is_running(&other)) {
        ExeState::Present
    } else if stripped.starts_with(b"/memfd:") && running.is_some_and(|running| running.st_nlink == 0) {
        ExeState::Memfd
    } else if running
        .zip(tree.stat(stripped).ok())
        .is_some_and(|(running, there)| is_upgrade(running, &there))
    {
        ExeState::Replaced
    } else {
        ExeState::Deleted
    }
}

/// Returns whether the file that is at the path now replaced the one that runs, as an upgrade does: both are on one file
/// system, and the old file belonged to root or to the owner of the new one. The path of a file that was deleted in a
/// detached or private mount says nothing: any user can make such a mount.
const fn is_upgrade(running: &Stat, there: &Stat) -> bool {
    running.st_dev == there.st_dev && (running.st_uid == 0 || running.st_uid == there.st_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_leaves_a_file_of_the_same_owner_on_the_same_file_system() {
        let mut file = rustix::fs::stat("/").unwrap();
        let mut of = |device, uid| {
            (file.st_dev, file.st_uid) = (device, uid);
            file
        };
        for (name, running, there, is) in [
            ("of root", (1, 0), (1, 0), true),
            ("of root, given away", (1, 0), (1, 1000), true),
            ("of a user", (1, 1000), (1, 1000), true),
            ("of a user, at a path of root", (1, 1000), (1, 0), false),
            ("of another file system", (2, 0), (1, 0), false),
        ] {
            assert_eq!(is_upgrade(&of(running.0, running.1), &of(there.0, there.1)), is, "{name}");
        }
    }
}
