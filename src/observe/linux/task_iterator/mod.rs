//! Uses two iterators of the kernel to find the processes that own a socket. One iterator visits all tasks. The other
//! visits all descriptors of the tasks (Documentation/bpf/bpf_iterators.rst).
//!
//! An iterator runs a BPF program for each object. The programs only read, and nothing remains in the kernel. Reading a
//! descriptor costs a twentieth of reading its link in `/proc`. A mount over `/proc` cannot hide a process from an
//! iterator.
//!
//! The iterators need `CAP_BPF`, `CAP_PERFMON` and a description of the kernel's types. They are not available in a
//! user namespace or under lockdown. Without them, the walk over `/proc` is used.

mod assembler;
mod bind_table;
mod bpf_syscall;
mod layout;
mod program;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, fstat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::system::sysinfo;

pub(super) use self::bind_table::sockets_on;
pub(super) use self::bpf_syscall::attached_programs;
use self::bpf_syscall::{field4, field8, records};
use self::layout::{Layout, Source};
use super::files::slurp;
use super::found_descriptors::{FoundDescriptor, walk_of_found};
use super::namespaces;
use super::owners::{Search, Tasks, ThreadDescriptor, Walk, open};
use crate::model::Pid;

/// The minimum number of descriptors for which the iterators cost less than the walk (measured). For fewer descriptors,
/// loading and checking the programs costs more.
const WORTH_THE_PROGRAMS: u64 = 2_500;
/// If there are at least this many processes, they usually have enough descriptors for the iterators. So the
/// descriptors are not counted.
const MANY: usize = 200;
/// If there are at least this many tasks, they usually have enough descriptors for the iterators. So the processes are
/// not even listed.
const MANY_TASKS: usize = 2_000;
/// If at most this many sockets are wanted, the program for the tasks searches their descriptors. The link of each
/// descriptor that it finds is then read in `/proc`. For more sockets, this would take longer than the other iterator.
const FEW: usize = 4096;
/// How many times an audit reads all descriptors. A single reading misses a descriptor that moves to a number that was
/// already read. If another process owns the same socket, the missing owner would go unnoticed.
const ROUNDS_OF_AN_AUDIT: usize = 3;

/// Returns whether this machine has so many tasks that the iterators cost less than the walk.
pub(super) fn has_many_tasks() -> bool {
    usize::from(sysinfo().procs) >= MANY_TASKS
}

/// Returns whether these processes have so many descriptors that the iterators cost less than the walk.
pub(super) fn is_worthwhile(proc: &OwnedFd, pids: &[Pid]) -> bool {
    let text = slurp("/proc/sys/fs/file-nr", 64, 64).unwrap_or_default();
    let open =
        std::str::from_utf8(&text).ok().and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    if open.is_some_and(|open: u64| open < WORTH_THE_PROGRAMS) {
        return false; // the whole machine has few open files
    }
    if pids.len() >= MANY {
        return true;
    }
    count(proc, pids) >= WORTH_THE_PROGRAMS
}

/// Counts the descriptors of these processes. The count stops soon after [`WORTH_THE_PROGRAMS`].
fn count(proc: &OwnedFd, pids: &[Pid]) -> u64 {
    let mut count: u64 = 0;
    for pid in pids {
        // Since Linux 6.2, the size of a descriptor directory is the number of descriptors. Before, it is 0.
        let size = statat(proc, format!("{pid}/fd"), AtFlags::empty()).map_or(0, |stat| stat.st_size);
        count += u64::try_from(size).unwrap_or(0);
        if count >= WORTH_THE_PROGRAMS {
            break;
        }
    }
    count
}

/// Searches the descriptors of every process. A socket is opened as a test. Returns `None` if the kernel refuses, or if
/// the answer lacks this socket.
pub(super) fn walk(search: Search<'_>) -> Option<Walk> {
    if !has_own_proc() {
        return None;
    }
    // A service that may open no Internet sockets can open this one.
    let probe = socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    // Reporting only the wanted sockets takes less time. An audit needs all sockets.
    let wanted = search.wanted.iter().copied().chain([fstat(&probe).ok()?.st_ino]);
    // For a user who may not load BPF programs, making the array fails at once. So it is made before the layout is read,
    // which is slow.
    let wanted = if search.strays { None } else { Some(bpf_syscall::array(&program::wanted(wanted)).ok()?) };
    let layout = layout::of_running_kernel()?;
    let mut walk = Walk::default();
    let array = wanted.as_ref().map(AsRawFd::as_raw_fd);
    let table = layout.descriptors.as_ref().zip(array).filter(|_| search.wanted.len() <= FEW);
    let mut tasks = |table| {
        let iterator = bpf_syscall::iterator(&program::of_tasks(layout, table), layout.task_iterator).ok()?;
        read_tasks(&iterator, layout, &mut walk).ok()?
    };
    // Before Linux 6.9, the kernel refuses a program with a loop. It also returns an error if a process has very many
    // wanted descriptors. In both cases, the program without the search is loaded.
    let TasksRead { level, found } = table.and_then(|table| tasks(Some(table))).or_else(|| tasks(None))?;
    if let Some(found) = found.and_then(|found| without_probe(found, &probe, search)) {
        let proc = open(CWD, c"/proc").ok()?;
        if let Ok(read) = walk_of_found(&proc, &found, search)
            // A mount can hide a process from `/proc`, but not from the iterator over descriptors.
            && read.masked.is_empty()
            && read.unread.is_empty()
        {
            walk.absorb(read);
            return Some(walk);
        }
    }
    let program = program::of_files(layout, level, array);
    for _ in 0..if search.strays { ROUNDS_OF_AN_AUDIT } else { 1 } {
        let files = bpf_syscall::iterator(&program, layout.file_iterator).ok()?;
        read_files(&files, &probe, search, &mut walk).ok()?.then_some(())?;
    }
    walk.descriptors.sort_unstable_by_key(|held| (held.inode, held.pid, held.descriptor));
    walk.descriptors.dedup();
    walk.apart.sort_unstable();
    walk.apart.dedup();
    for descriptors in [&mut walk.rings, &mut walk.bpf_links] {
        descriptors.sort_unstable();
        descriptors.dedup();
    }
    Some(walk)
}

/// Returns every process and its network namespace, without descriptors; `None` if the kernel refuses.
pub(super) fn processes() -> Option<Walk> {
    if !has_own_proc() {
        return None;
    }
    // For a user who may not load BPF programs, making an array fails at once. So an array is made before the layout is
    // read, which is slow.
    let _array = bpf_syscall::array(&[0]).ok()?;
    let layout = layout::of_running_kernel()?;
    let program = program::of_tasks(layout, None);
    let iterator = bpf_syscall::iterator(&program, layout.task_iterator).ok()?;
    let mut walk = Walk::default();
    read_tasks(&iterator, layout, &mut walk).ok()??;
    Some(walk)
}

/// Adds the processes and their network namespaces, and returns the rest of the answer. Returns `None` if portolan or
/// its network namespace is not in the answer. In this case, the layout does not belong to the running kernel.
fn read_tasks(iterator: &OwnedFd, layout: &Layout, walk: &mut Walk) -> Result<Option<TasksRead>, Errno> {
    let (me, own) = (std::process::id(), namespaces::own());
    let (mut level, mut found, mut is_finished) = (None, Vec::new(), true);
    let (mut pids, mut with_rings) = (Vec::new(), Vec::new());
    records(iterator, |record: &[u8; program::TASK_RECORD]| {
        let (pid, netns) = (field4(record, 0), u64::from(field4(record, 4)));
        pids.push(pid);
        if netns != 0 {
            walk.namespaces.insert(netns);
        }
        if field4(record, 8) != 0 {
            with_rings.push(pid);
        }
        match field4(record, 16) {
            program::FINISHED => {}
            program::WANTED => {
                found.push(FoundDescriptor { pid, number: field4(record, 20), inode: field8(record, 24) });
            }
            _ => is_finished = false,
        }
        if pid == me && Some(netns) == own {
            level = Some(field4(record, 12));
        }
    })?;
    for found in [&mut pids, &mut with_rings] {
        found.sort_unstable();
        found.dedup();
    }
    walk.tasks = Some(Tasks { pids, with_rings: layout.task_rings.map(|_| with_rings) });
    Ok(level.map(|level| TasksRead { level, found: is_finished.then_some(found) }))
}

/// The answer of the task iterator, without the parts that are stored in the walk.
struct TasksRead {
    /// The level of portolan's pid namespace.
    level: u32,
    /// The descriptors that the walk needs, by process; `None` if not all descriptors were searched.
    found: Option<Vec<FoundDescriptor>>,
}

/// Removes the test socket, and the sockets that only resemble wanted ones. Returns `None` if the test socket, which
/// portolan owns, is missing. In this case, the descriptors were not searched.
fn without_probe(
    mut found: Vec<FoundDescriptor>,
    probe: &OwnedFd,
    search: Search<'_>,
) -> Option<Vec<FoundDescriptor>> {
    let probe = FoundDescriptor {
        pid: std::process::id(),
        number: u32::try_from(probe.as_raw_fd()).ok()?,
        inode: fstat(probe).ok()?.st_ino,
    };
    found.contains(&probe).then_some(())?;
    found.retain(|found| found.inode == 0 || search.wanted.contains(&found.inode));
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Adds the descriptors. Returns whether `probe`, a socket of portolan, is among them.
fn read_files(
    iterator: &OwnedFd,
    probe: &OwnedFd,
    search: Search<'_>,
    walk: &mut Walk,
) -> Result<bool, Errno> {
    let probed = (fstat(probe)?.st_ino, std::process::id(), u32::try_from(probe.as_raw_fd()).ok());
    let mut is_known = false;
    records(iterator, |record: &[u8; program::FILE_RECORD]| {
        let inode = field8(record, 0);
        let [pid, thread, descriptor, kind] = [8, 12, 16, 20].map(|at| field4(record, at));
        let at = ThreadDescriptor { pid, thread, number: descriptor };
        if kind == program::SOCKET {
            is_known |= (inode, pid, Some(descriptor)) == probed;
            walk.add_socket(inode, at, search);
        } else {
            let mut buffer = [MaybeUninit::uninit(); 64];
            if let Ok((link, _)) = readlinkat_raw(CWD, at.link(), &mut buffer) {
                walk.add(link, at, search);
            }
        }
    })?;
    Ok(is_known)
}

/// Returns whether these bytes are a description of all types that the programs need.
pub(super) fn has_layout(bytes: &[u8]) -> bool {
    layout::read(Source::Memory(bytes)).is_some()
}

/// Returns whether `/proc` shows portolan's pid namespace. The iterators return pids of this namespace, and links are
/// then read in `/proc` by these pids.
fn has_own_proc() -> bool {
    let text = slurp("/proc/self/status", 4096, 64 * 1024).unwrap_or_default();
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    // `NSpid:` lists the pids of portolan, from the pid namespace of `/proc` down to portolan's own. A single pid means
    // that both are the same namespace.
    line.is_some_and(|numbers| {
        let mut numbers = numbers.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty());
        numbers.next() == Some(std::process::id().to_string().as_bytes()) && numbers.next().is_none()
    })
}
