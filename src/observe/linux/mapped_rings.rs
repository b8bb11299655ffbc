//! Finds processes that have an io_uring but no descriptor of it. The process has registered the io_uring with itself
//! (`IORING_REGISTER_RING_FDS`) and closed the descriptor. The sockets in this io_uring cannot be read.
//!
//! The task iterator of the kernel (BPF) shows which processes have an io_uring. Without the iterator, only processes
//! that have mapped their io_uring are found, and a gap reports this.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, retry_on_intr};

use super::files::slurp;
use super::kernel_ids::KernelIds;
use super::owners::{Search, Walk};
use super::{settings, task_iterator};
use crate::model::{Gap, Pid, Stage};

/// The time limit for one process. Reading the mappings usually takes well below a millisecond, but a process can delay
/// the reading without limit.
const LIMIT: Duration = Duration::from_secs(1);
/// If this many processes do not answer, the remaining processes are not read.
const PATIENCE: usize = 2;
/// The maximum total size of the mappings of all processes, in bytes. One process usually has some ten kilobytes.
const LARGEST: usize = 256 * 1024 * 1024;

/// The first release of Linux in which a process can use an io_uring without a descriptor (`IORING_REGISTER_RING_FDS`).
const REGISTERED: (u32, u32) = (5, 18);
/// The first release of Linux with the setting `kernel.io_uring_disabled`. A later kernel without the setting has no
/// io_urings.
const DISABLED: (u32, u32) = (6, 6);

/// The text that the kernel shows for a mapped io_uring.
const RING: &[u8] = b"anon_inode:[io_uring]";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MappedRings {
    /// The processes that have an io_uring without a known descriptor.
    pub found: Vec<Pid>,
    pub unread: Vec<Pid>,
}

pub(super) fn search(walk: &Walk) -> MappedRings {
    let known: HashSet<Pid> =
        walk.rings.iter().map(|ring| ring.pid).chain(walk.unread.keys().copied()).collect();
    // If the iterator shows which processes have an io_uring, only the processes that it did not return are searched.
    let is_answered = walk.tasks.as_ref().is_some_and(|tasks| tasks.with_rings.is_some());
    let asked = if is_answered { &walk.without_threads } else { &walk.pids };
    let pids = asked.iter().copied().filter(|pid| !known.contains(pid));
    let mut found = search_by(pids.collect(), LIMIT, maps_a_ring);
    found.found.extend(without_descriptor(walk));
    found
}

/// Returns whether a process can have an io_uring with neither a descriptor nor a mapping. `disabled` is the setting
/// `kernel.io_uring_disabled`: 2 means that no process can create an io_uring.
fn may_be_unmapped(release: Option<(u32, u32)>, disabled: Result<Vec<u8>, Errno>) -> bool {
    let is_at_least = |least| release.is_none_or(|release| release >= least);
    let is_built_without = release.is_some() && is_at_least(DISABLED) && disabled == Err(Errno::NOENT);
    let is_disabled = disabled.is_ok_and(|text| text.trim_ascii() == b"2");
    is_at_least(REGISTERED) && !is_built_without && !is_disabled
}

/// Returns the processes that have an io_uring according to the kernel, but have no descriptor of it.
fn without_descriptor(walk: &Walk) -> Vec<Pid> {
    let in_walk = |walk: &Walk| -> Vec<Pid> {
        let rings: HashSet<Pid> = walk.rings.iter().map(|ring| ring.pid).collect();
        let users = walk.tasks.iter().flat_map(|tasks| &tasks.with_rings).flatten().copied();
        users.filter(|pid| !rings.contains(pid)).collect()
    };
    let mut pids = in_walk(walk);
    if !pids.is_empty() {
        // The processes are checked again, because a process may have closed its io_uring before its descriptors were
        // read.
        let search = Search { wanted: &KernelIds::default(), strays: false, bpf: true };
        let again = task_iterator::walk(search).map(|walk| in_walk(&walk));
        pids.retain(|pid| again.as_ref().is_none_or(|again| again.contains(pid)));
    }
    pids
}

fn search_by(
    mut pids: Vec<Pid>,
    limit: Duration,
    maps_a_ring: fn(Pid, &mut usize) -> Option<bool>,
) -> MappedRings {
    let mut result = MappedRings::default();
    while !pids.is_empty() && result.unread.len() < PATIENCE {
        let (sender, receiver) = channel();
        let theirs = pids.clone();
        let worker = move || {
            let mut left = LARGEST;
            for pid in theirs {
                if sender.send((pid, maps_a_ring(pid, &mut left))).is_err() {
                    break;
                }
            }
        };
        if std::thread::Builder::new().spawn(worker).is_err() {
            break;
        }
        let mut done = 0;
        let silent = loop {
            match receiver.recv_timeout(limit) {
                Ok((pid, Some(true))) => result.found.push(pid),
                Ok((pid, None)) => result.unread.push(pid),
                Ok((_, Some(false))) => {}
                Err(RecvTimeoutError::Disconnected) => return result,
                // The blocked thread is left alone. It ends when portolan ends.
                Err(RecvTimeoutError::Timeout) => break pids.get(done).copied(),
            }
            done += 1;
        };
        result.unread.extend(silent);
        pids.drain(..pids.len().min(done + 1));
    }
    result.unread.extend(pids);
    result
}

/// Returns whether a process has mapped an io_uring. `None` if the size limit is reached. If the mappings cannot be
/// read, returns false: either the descriptors of the process were read, or a gap already names the process.
fn maps_a_ring(pid: Pid, left: &mut usize) -> Option<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, format!("/proc/{pid}/maps"), flags, Mode::empty()) else { return Some(false) };
    let mut pieces = move |piece: &mut [u8]| retry_on_intr(|| read(&file, &mut *piece)).unwrap_or(0);
    names_a_ring(&mut pieces, left)
}

/// Returns whether a text names an io_uring. `None` if the size limit is reached.
///
/// `next` reads one piece of the text. A piece may end in the middle of the name of an io_uring. So the end of each
/// piece is searched again, together with the next piece.
fn names_a_ring(next: &mut dyn FnMut(&mut [u8]) -> usize, left: &mut usize) -> Option<bool> {
    const KEPT: usize = RING.len() - 1;
    let mut text = [0; KEPT + 16 * 1024];
    while *left > 0 {
        let (_, piece) = text.split_at_mut(KEPT);
        let length = next(piece);
        if length == 0 {
            return Some(false);
        }
        *left = left.saturating_sub(length);
        if memchr::memmem::find(text.get(..KEPT + length).unwrap_or_default(), RING).is_some() {
            return Some(true);
        }
        text.copy_within(length..length + KEPT, 0);
    }
    None
}

/// Returns a gap for the processes that were found, and a gap for the processes that were not read. The processes in
/// `named` are left out of the first gap, because another gap names them.
pub(super) fn gaps(rings: &MappedRings, named: &[Pid]) -> Vec<Gap> {
    let noun = |count: usize| if count == 1 { "process" } else { "processes" };
    let gap = |pids: Vec<Pid>, what: &str, why: &str| {
        let gap = Gap::new(Stage::Owners, format!("{} {what}", noun(pids.len())), why);
        (!pids.is_empty()).then(|| gap.counted(pids.len()).of_processes(pids, "linux"))
    };
    let found = rings.found.iter().copied().filter(|pid| !named.contains(pid)).collect();
    let found = gap(
        found,
        "with an io_uring that has no file descriptor",
        "the sockets in such an io_uring cannot be read, so the process may own sockets that are shown with another owner or with none",
    );
    let unread = gap(
        rings.unread.clone(),
        "whose memory mappings were not searched for an io_uring",
        "a process did not answer in time, or the processes have too many mappings",
    );
    found.into_iter().chain(unread).collect()
}

/// Returns a gap if the iterator was not used in an audit. Without the iterator, io_urings with neither a descriptor
/// nor a mapping are missed. `bpf` is false if the user forbade bpf(2).
pub(super) fn unsearched(walk: &Walk, bpf: bool) -> Option<Gap> {
    let disabled = || slurp("/proc/sys/kernel/io_uring_disabled", 64, 64);
    if walk.tasks.is_some() || !may_be_unmapped(settings::kernel_release(), disabled()) {
        return None;
    }
    let has_setting = settings::kernel_release().is_some_and(|release| release >= DISABLED);
    let (why, remedy) = match (bpf, settings::may_use_bpf()) {
        (false, _) => ("--no-bpf was given", Some("run without --no-bpf")),
        (true, false) => {
            ("this needs CAP_BPF and CAP_PERFMON", Some("run as root, with CAP_BPF and CAP_PERFMON"))
        }
        (true, true) if !Path::new("/sys/kernel").is_dir() => {
            ("this needs /sys, which is not mounted", Some("mount -t sysfs sysfs /sys"))
        }
        (true, true) => (
            "the kernel did not run it",
            has_setting.then_some("sysctl kernel.io_uring_disabled=2, if no program needs io_uring"),
        ),
    };
    Some(Gap {
        stage: Stage::Owners,
        what: "io_urings without a file descriptor and without a mapping".to_owned(),
        count: None,
        pids: Vec::new(),
        why: format!(
            "only a BPF program finds these io_urings, and {why}; a socket that a process keeps in one of them is shown \
         with another owner, or not shown"
        ),
        remedy: remedy.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_answer_is_named() {
        let result = search_by((1..=5).collect(), Duration::from_millis(100), |pid, _| {
            if pid == 3 {
                std::thread::sleep(Duration::from_secs(60));
            }
            (pid != 4).then_some(pid == 5)
        });
        assert_eq!(result, MappedRings { found: vec![5], unread: vec![3, 4] });
        let texts: Vec<String> = gaps(&result, &[5]).into_iter().map(|gap| gap.what).collect();
        assert_eq!(texts, ["processes whose memory mappings were not searched for an io_uring"]);
        assert_eq!(gaps(&result, &[]).len(), 2);
    }

    #[test]
    fn kernels_with_an_io_uring_that_only_the_iterator_finds() {
        for (release, disabled, may_be) in [
            (Some((5, 17)), Err(Errno::NOENT), false),
            (Some((5, 18)), Err(Errno::NOENT), true),
            (Some((6, 6)), Err(Errno::NOENT), false),
            (Some((6, 6)), Err(Errno::ACCESS), true),
            (Some((6, 6)), Ok("1\n"), true),
            (Some((6, 6)), Ok("2\n"), false),
            (None, Err(Errno::NOENT), true),
        ] {
            let disabled = disabled.map(|text| text.as_bytes().to_vec());
            assert_eq!(may_be_unmapped(release, disabled.clone()), may_be, "{release:?} {disabled:?}");
        }
    }

    #[test]
    fn the_search_gives_up() {
        let result = search_by((1..=20).collect(), Duration::from_millis(20), |_, _| {
            std::thread::sleep(Duration::from_secs(60));
            None
        });
        assert_eq!(result, MappedRings { found: vec![], unread: (1..=20).collect() });
    }

    #[test]
    fn a_name_in_two_pieces_is_found() {
        let text = b"7f00-7f01 rw-s 00000000 00:10 9 anon_inode:[io_uring]\n7f01-7f02 r-xp 00000000 00:1f 7 /bin/x\n";
        for size in 1..=text.len() {
            let names = |text: &[u8]| {
                let mut pieces = text.chunks(size);
                let mut next = |piece: &mut [u8]| {
                    let read = pieces.next().unwrap_or_default();
                    piece[..read.len()].copy_from_slice(read);
                    read.len()
                };
                let mut left = LARGEST;
                names_a_ring(&mut next, &mut left)
            };
            assert_eq!(names(text), Some(true), "{size}");
            assert_eq!(names(&text[50..]), Some(false), "{size}");
        }
    }

    #[test]
    fn a_mapped_io_uring_is_found() {
        let me = std::process::id();
        assert_eq!(maps_a_ring(me, &mut 0), None);
        assert_eq!(maps_a_ring(u32::MAX, &mut 100), Some(false));
        let mut left = LARGEST;
        assert!(maps_a_ring(me, &mut left).is_some() && left < LARGEST);
    }
}
