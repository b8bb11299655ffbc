//! Finds out whether the file that a process runs is still at its path, was deleted, or was replaced by an upgrade.

use rustix::fs::Stat;

use super::tree::{Tree, is_same};
use crate::model::ExeState;

/// Returns the path and the state of a file. `target` is the name of the file from the kernel. For a deleted file, the
/// name ends in " (deleted)". The name of an existing file can have the same ending.
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

/// Returns whether an upgrade may have replaced the running file with the file at its path. Both files must be on one
/// file system. The running file must belong to root or to the owner of the new file.
///
/// A file that was deleted in a private mount does not count, because any user can make a private mount at any path.
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
