//! Searches for processes that `/proc` does not show because a mount covers their directory or a rootkit hides them.
//!
//! The iterator of the kernel returns every process. Without the iterator, every pid is tried.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Pid as RawPid, PidfdFlags, pidfd_open};

use super::files::{numbers, slurp};
use super::owners::{Search, Walk, open, walk_of};
use crate::model::Pid;

/// The largest possible pid on 64-bit systems (`PID_MAX_LIMIT`, include/linux/threads.h).
const LARGEST: u32 = 4 * 1024 * 1024;
/// The kernel assigns pids in ascending order. So the highest pid is at most this far above the number of processes
/// that were started so far.
const MARGIN: u64 = 4096;

/// Searches the descriptors of the processes that a mount hides. With `every`, also finds the processes that `/proc`
/// does not list, and searches their descriptors.
pub(super) fn search(walk: &mut Walk, search: Search<'_>, every: bool) -> Result<(), Errno> {
    if every {
        walk.unlisted = match &walk.tasks {
            Some(tasks) => confirmed(tasks.pids.iter().copied(), &walk.pids)?,
            None => unlisted(&walk.pids)?,
        };
    }
    let hidden: Vec<Pid> = walk.masked.iter().chain(&walk.unlisted).copied().collect();
    if hidden.is_empty() {
        return Ok(());
    }
    // Only a privileged process can open `/proc` without the mounts over it. Otherwise the hidden processes are not
    // searched, but a gap still names them.
    let proc = fresh_proc().or_else(|_| open(CWD, c"/proc"))?;
    let mut found = walk_of(&proc, &hidden, search)?;
    found.masked.clear();
    found.unread.clear();
    walk.absorb(found);
    Ok(())
}

/// Returns a new mount of `/proc` without the mounts over it. The mount vanishes when its descriptor is closed.
fn fresh_proc() -> Result<OwnedFd, Errno> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Returns the processes that exist but are not `listed`, in ascending order.
fn unlisted(listed: &[Pid]) -> Result<Vec<Pid>, Errno> {
    confirmed(between(listed, highest()).filter(|pid| exists(*pid)), listed)
}

/// Returns those of `pids` that exist although `/proc` does not list them, in the same order.
fn confirmed(pids: impl Iterator<Item = Pid>, listed: &[Pid]) -> Result<Vec<Pid>, Errno> {
    let listed: HashSet<Pid> = listed.iter().copied().collect();
    let mut pids: Vec<Pid> = pids.filter(|pid| !listed.contains(pid)).collect();
    for _ in 0..LISTS {
        if pids.is_empty() {
            break;
        }
        // A process that started after the first list was read is missing from it, but is not hidden. So the processes
        // are looked for in a new list.
        pids.retain(|pid| exists(*pid));
        let again: HashSet<Pid> = numbers("/proc")?.into_iter().collect();
        pids.retain(|pid| !again.contains(pid));
    }
    Ok(pids)
}

/// How many times the processes are listed again. A process counts as hidden only if none of these lists has it.
const LISTS: usize = 3;

/// Returns the pids up to `highest` that are not `listed`, in ascending order. Only the ranges between the listed pids
/// are visited, because there can be millions of pids.
fn between(listed: &[Pid], highest: Pid) -> impl Iterator<Item = Pid> {
    let mut listed = listed.to_vec();
    listed.sort_unstable();
    listed.retain(|pid| *pid <= highest);
    listed.push(highest + 1);
    let mut from = 1;
    listed.into_iter().flat_map(move |pid| {
        let free = from..pid;
        from = pid + 1;
        free
    })
}

/// Returns whether a process has this pid. A thread alone does not count.
fn exists(pid: Pid) -> bool {
    let pid = i32::try_from(pid).ok().and_then(RawPid::from_raw);
    pid.is_some_and(|pid| pidfd_open(pid, PidfdFlags::empty()).is_ok())
}

/// Returns the highest possible pid. It is the limit of the system, or less if few processes were started so far.
fn highest() -> Pid {
    let text =
        |path: &str| String::from_utf8_lossy(&slurp(path, 4096, 64 * 1024).unwrap_or_default()).into_owned();
    let most = text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(LARGEST).min(LARGEST);
    let started = text("/proc/stat")
        .lines()
        .find_map(|line| line.strip_prefix("processes "))
        .and_then(|count| count.trim().parse::<u64>().ok());
    let started = started.and_then(|count| u32::try_from(count.saturating_add(MARGIN)).ok());
    most.min(started.unwrap_or(LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_between_the_listed() {
        for (listed, highest, expected) in [
            (&[][..], 3, &[1, 2, 3][..]),
            (&[1, 2, 3], 3, &[]),
            (&[4, 2, 2], 5, &[1, 3, 5]),
            (&[3, 9, 1], 4, &[2, 4]),
        ] {
            assert_eq!(between(listed, highest).collect::<Vec<_>>(), expected, "{listed:?} {highest}");
        }
    }

    #[test]
    fn a_process_that_is_not_listed_is_found() {
        let me = std::process::id();
        let mut all = numbers("/proc").unwrap();
        all.retain(|pid| *pid != me);
        assert!(me <= highest() && exists(me));
        // The list lacks this process, but `/proc` shows it.
        assert!(!unlisted(&all).unwrap().contains(&me));
        let thread = std::thread::spawn(rustix::thread::gettid).join().unwrap();
        assert!(!exists(u32::try_from(thread.as_raw_nonzero().get()).unwrap()), "a thread is not a process");
    }
}
