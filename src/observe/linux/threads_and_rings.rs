//! Finds sockets without an ordinary descriptor. The sockets can be in threads with their own descriptor table, in
//! io_urings, or in transit through a Unix socket.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, fstat, openat};
use rustix::io::Errno;

use super::files::{numbers, numbers_in, slurp};
use super::owners::{DIRECTORY, Search, ThreadDescriptor, Walk, listed, open};
use super::ring_files;
use super::shared_table::is_shared;
use crate::model::Pid;

/// Returns the processes that may own a socket without a descriptor, in ascending order:
/// - the processes with an io_uring
/// - the processes in `mapped`
/// - the processes with a Unix socket through which descriptors are in transit
pub(super) fn candidates(walk: &Walk, mapped: &[Pid]) -> Vec<Pid> {
    let mut pids: Vec<Pid> = walk.rings.iter().map(|ring| ring.pid).chain(mapped.iter().copied()).collect();
    pids.extend(walk.pids.iter().copied().filter(|pid| has_descriptors_in_flight(*pid)));
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Returns whether descriptors are in transit to a Unix socket of any thread of a process.
fn has_descriptors_in_flight(pid: Pid) -> bool {
    let threads = numbers(format!("/proc/{pid}/task")).unwrap_or_default();
    let mut with_table =
        threads.into_iter().filter(|thread| *thread == pid || is_shared(pid, *thread) != Ok(true));
    with_table.any(|thread| {
        let Ok(directory) = openat(CWD, format!("/proc/{thread}/fd"), DIRECTORY, Mode::empty()) else {
            return false;
        };
        let mut in_flight = false;
        let mut visit = |link: &[u8], number: u32| {
            if !in_flight && link.starts_with(b"socket:[") {
                in_flight = carries_descriptors(&ThreadDescriptor { pid, thread, number }).unwrap_or(false);
            }
        };
        let _ = listed(&directory, 0, &mut visit);
        in_flight
    })
}

/// Returns whether descriptors are in transit to this Unix socket. Returns false for another kind of file.
pub(super) fn carries_descriptors(socket: &ThreadDescriptor) -> Result<bool, Errno> {
    slurp(socket.fdinfo(), 1024, 4096).map(|text| says_in_flight(&text))
}

fn says_in_flight(fdinfo: &[u8]) -> bool {
    let count = |line: &[u8]| {
        let digits = line.strip_prefix(b"scm_fds:")?.trim_ascii();
        std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
    };
    fdinfo.split(|byte| *byte == b'\n').filter_map(count).any(|count| count > 0)
}

/// Searches three places:
/// - threads with their own descriptor table
/// - threads of a process whose first thread has ended
/// - the fixed files of io_urings
pub(super) fn search_threads_and_io_uring(walk: &mut Walk, search: Search<'_>) -> Result<(), Errno> {
    let proc = open(CWD, c"/proc")?;
    let mut found = Walk::default();
    let mut left = if search.strays { DESCRIPTORS_OF_THREADS_IN_AN_AUDIT } else { DESCRIPTORS_OF_THREADS };
    for &pid in &walk.without_threads {
        let outcome = threads(&proc, pid, search, &mut left, &mut found);
        found.outcome(&proc, pid, outcome);
    }
    walk.absorb(found);
    // The io_urings are read after the threads, because the threads can have further io_urings.
    let mut found = Walk::default();
    let mut left = BYTES_OF_RINGS;
    for ring in &walk.rings {
        match ring_files::read(ring, &mut left) {
            Ok(files) => {
                for inode in files.inodes {
                    if search.wanted.contains(&inode) {
                        found.apart.push((inode, ring.pid));
                    } else if search.strays {
                        found.stray_in_rings.push((inode, *ring));
                    }
                }
                found.nameless_in_rings.extend(files.has_nameless.then_some(ring.pid));
            }
            outcome => found.outcome(&proc, ring.pid, outcome.map(|_| ())),
        }
    }
    walk.absorb(found);
    Ok(())
}

/// The maximum total size of the `fdinfo` of all io_urings, in bytes. An io_uring counts once for each of its
/// descriptors. If the limit is reached, the remaining processes count as unreadable.
const BYTES_OF_RINGS: usize = 512 * 1024 * 1024;
/// The maximum number of descriptors to read in the tables of threads. Reading so many takes some tenths of a second.
/// Threads that share the table of their process are not read, so only unusual programs reach this limit.
const DESCRIPTORS_OF_THREADS: u64 = 50_000;
/// In an audit, the maximum number of descriptors to read in the tables of threads. Reading so many takes some seconds.
const DESCRIPTORS_OF_THREADS_IN_AN_AUDIT: u64 = 400_000;

/// Reads the descriptors of the threads that do not share the table of the first thread. Returns `MFILE` if the limit
/// is reached; the process then counts as unreadable.
fn threads(
    proc: &OwnedFd,
    pid: Pid,
    search: Search<'_>,
    left: &mut u64,
    found: &mut Walk,
) -> Result<(), Errno> {
    let tasks = openat(proc, format!("{pid}/task"), DIRECTORY, Mode::empty())?;
    let count = |directory: &OwnedFd| fstat(directory).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
    for thread in numbers_in(&tasks)?.into_iter().filter(|thread| *thread != pid) {
        // If the comparison fails, the thread is read. The first thread may have ended, and then has no table.
        if is_shared(pid, thread) == Ok(true) {
            continue;
        }
        match openat(&tasks, format!("{thread}/fd"), DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                let size = count(&directory).unwrap_or(0);
                // Before Linux 6.2, the kernel does not show the size of the table. The size then counts as 0.
                if size > *left || *left == 0 {
                    return Err(Errno::MFILE);
                }
                let mut count = 0;
                listed(&directory, 0, &mut |link, number| {
                    count += 1;
                    found.add(link, ThreadDescriptor { pid, thread, number }, search);
                })?;
                *left = left.saturating_sub(count);
            }
            Err(Errno::NOENT | Errno::SRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_in_flight() {
        for (text, in_flight) in [
            ("pos:\t0\nflags:\t02\nscm_fds: 1\n", true),
            ("scm_fds:\t12\n", true),
            ("scm_fds: 0\n", false),
            ("pos:\t0\n", false),
            ("xscm_fds: 1\n", false),
            ("scm_fds: x\n", false),
        ] {
            assert_eq!(says_in_flight(text.as_bytes()), in_flight, "{text:?}");
        }
    }

    /// Threads that share the descriptors of their process do not count. Other threads are read until the limit is
    /// reached.
    #[test]
    fn descriptors_of_threads_are_read_within_a_limit() {
        let proc = open(CWD, c"/proc").unwrap();
        let me = std::process::id();
        let wanted = crate::observe::linux::kernel_ids::KernelIds::default();
        let search = Search { wanted: &wanted, strays: true, bpf: false };
        let read = |mut left: u64| {
            let mut found = Walk::default();
            let outcome = threads(&proc, me, search, &mut left, &mut found);
            (outcome, left)
        };
        if is_shared(me, me) != Ok(true) {
            return; // a sandbox refuses the call
        }
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            let _socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            ready.send(()).unwrap();
            let _ = ended.recv();
        });
        is_ready.recv().unwrap();
        assert_eq!(read(0).0, Err(Errno::MFILE));
        let (outcome, left) = read(1_000_000);
        assert_eq!(outcome, Ok(()));
        assert!(left < 1_000_000);
        drop(end);
        thread.join().unwrap();
    }
}
