//! Finds the processes that own a socket, with two iterators of the kernel: one over all tasks, one over all their
//! descriptors (Documentation/bpf/bpf_iterators.rst).
//!
//! An iterator runs a BPF program for each object. The programs only read, and nothing remains in the kernel
//! afterwards. Reading a descriptor in this way costs a twentieth of reading its link in `/proc`, and a mount over
//! `/proc` cannot hide a process. The iterators need `CAP_BPF`, `CAP_PERFMON` and a description of the kernel's types.
//! They are not available in a user namespace or under lockdown. Without them, the walk over `/proc` is used.

mod bpf_syscall;
mod layout;
mod program;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, fstat, readlinkat_raw, statat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::system::sysinfo;

use self::bpf_syscall::Mapped;
use self::layout::{Layout, Source};
use super::files::slurp;
use super::namespaces;
use super::owners::{Search, Tasks, ThreadDescriptor, Walk, open, walk_of};
use crate::model::Pid;

/// The description of the types of the running kernel.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// The minimum number of descriptors for which the iterators cost less than the walk (measured). For fewer
/// descriptors, making and checking the programs costs more.
const WORTH_THE_PROGRAMS: u64 = 2_500;
/// If there are at least this many processes, their descriptors are not counted: there are usually enough.
const MANY: usize = 200;
/// The same, for tasks: a process can have many.
const MANY_TASKS: usize = 2_000;
/// The maximum number of wanted sockets for which the descriptors are first searched for tasks that have one. For more
/// sockets, most descriptors must be read anyway.
const FEW: usize = 16;
/// How often an audit reads all descriptors. A process can move a descriptor to a number that was already read. If the
/// socket has another owner too, nobody would notice that this process is missing.
const ROUNDS_OF_AN_AUDIT: usize = 3;
/// The number of bytes that the kernel returns at once.
const BUFFER: usize = 32 * 1024;
/// How often a read is repeated at most, if the kernel returns `EAGAIN`.
const ATTEMPTS: usize = 1_000;

/// Returns whether this machine has so many tasks that the iterators cost less than the walk, even without a list of
/// its processes.
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

/// Returns the number of descriptors of these processes, or a smaller number that is worth the programs.
fn count(proc: &OwnedFd, pids: &[Pid]) -> u64 {
    let mut count: u64 = 0;
    for pid in pids {
        // Since Linux 6.2, the size of a descriptor directory is the number of its descriptors; before, it is 0.
        let size = statat(proc, format!("{pid}/fd"), AtFlags::empty()).map_or(0, |stat| stat.st_size);
        count += u64::try_from(size).unwrap_or(0);
        if count >= WORTH_THE_PROGRAMS {
            break;
        }
    }
    count
}

/// Searches the descriptors of every process. Returns `None` if the kernel refuses, or if its answer cannot be trusted:
/// a socket of this process, opened as a test, must be in it.
pub(super) fn walk(search: Search<'_>) -> Option<Walk> {
    if !has_own_proc() {
        return None;
    }
    let probe = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    // Only wanted sockets are reported, because reporting every socket takes longer. An audit needs all of them.
    let wanted = search.wanted.iter().copied().chain([fstat(&probe).ok()?.st_ino]);
    // A user who may not load the programs may not make an array either, and need not wait for the layout.
    let wanted = if search.strays { None } else { Some(bpf_syscall::array(&program::wanted(wanted)).ok()?) };
    let layout = layout_in(&File::open(TYPES).ok()?)?;
    let mut walk = Walk::default();
    let array = wanted.as_ref().map(AsRawFd::as_raw_fd);
    let table = layout.descriptors.as_ref().zip(array).filter(|_| search.wanted.len() <= FEW);
    let tasks = |table| bpf_syscall::iterator(&program::of_tasks(&layout, table), layout.task_iterator).ok();
    // Before Linux 6.9, the kernel refuses a program with a loop.
    let iterator = table.and_then(|table| tasks(Some(table))).or_else(|| tasks(None))?;
    let TasksRead { level, owners } = read_tasks(&iterator, &layout, &mut walk).ok()??;
    // This process has the test socket. If it is not in the list, no descriptors were searched.
    if let Some(owners) = owners.filter(|owners| owners.contains(&std::process::id())) {
        let proc = open(CWD, c"/proc").ok()?;
        if count(&proc, &owners) < WORTH_THE_PROGRAMS
            && let Ok(found) = walk_of(&proc, &owners, search)
            // A mount can hide a process from `/proc`, but not from the other iterator.
            && found.masked.is_empty()
            && found.unread.is_empty()
        {
            walk.absorb(found);
            return Some(walk);
        }
    }
    let program = program::of_files(&layout, level, array);
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

/// Adds the processes and their network namespaces, and returns the rest of the answer. Returns `None` if this process
/// is not in the answer with its network namespace: the layout is then not that of the running kernel.
fn read_tasks(iterator: &OwnedFd, layout: &Layout, walk: &mut Walk) -> Result<Option<TasksRead>, Errno> {
    let (me, own) = (std::process::id(), namespaces::own());
    let (mut level, mut owners, mut is_finished) = (None, Vec::new(), true);
    let (mut pids, mut with_rings) = (Vec::new(), Vec::new());
    records(iterator, |record: &[u8; program::TASK_RECORD]| {
        let (pid, netns) = (number(record, 0), u64::from(number(record, 4)));
        pids.push(pid);
        if netns != 0 {
            walk.namespaces.insert(netns);
        }
        if number(record, 8) != 0 {
            with_rings.push(pid);
        }
        match number(record, 16) {
            program::NOTHING => {}
            program::WANTED => owners.push(pid),
            _ => is_finished = false,
        }
        if pid == me && Some(netns) == own {
            level = Some(number(record, 12));
        }
    })?;
    for found in [&mut pids, &mut with_rings] {
        found.sort_unstable();
        found.dedup();
    }
    walk.tasks = Some(Tasks { pids, with_rings: layout.task_rings.map(|_| with_rings) });
    Ok(level.map(|level| TasksRead { level, owners: is_finished.then_some(owners) }))
}

/// The answer of the iterator over the tasks, without the part that is added to the walk.
struct TasksRead {
    /// The level of the pid namespace of this process.
    level: u32,
    /// The processes with a descriptor that the walk needs; `None` if some descriptors were not searched.
    owners: Option<Vec<Pid>>,
}

/// Adds the descriptors. Returns whether `probe`, a socket of this process, is among them.
fn read_files(
    iterator: &OwnedFd,
    probe: &OwnedFd,
    search: Search<'_>,
    walk: &mut Walk,
) -> Result<bool, Errno> {
    let probed = (fstat(probe)?.st_ino, std::process::id(), u32::try_from(probe.as_raw_fd()).ok());
    let mut is_known = false;
    records(iterator, |record: &[u8; program::FILE_RECORD]| {
        let inode = u64::from_ne_bytes(*record.first_chunk().unwrap_or(&[0; 8]));
        let [pid, thread, descriptor, kind] = [8, 12, 16, 20].map(|at| number(record, at));
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

/// Reads every record of an iterator.
fn records<const N: usize>(iterator: &OwnedFd, mut visit: impl FnMut(&[u8; N])) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER];
    let mut attempts = 0;
    loop {
        match retry_on_intr(|| read(iterator, &mut *buffer)) {
            Ok(0) => return Ok(()),
            // The kernel returns only whole records, so no bytes are left over.
            Ok(length) => buffer.get(..length).unwrap_or_default().as_chunks().0.iter().for_each(&mut visit),
            // The kernel has visited very many objects without writing a record, and must be asked again.
            Err(Errno::AGAIN) if attempts < ATTEMPTS => attempts += 1,
            Err(errno) => return Err(errno),
        }
    }
}

fn number(record: &[u8], at: usize) -> u32 {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_ne_bytes)
}

/// Returns whether these bytes are a description of types with everything that the programs need.
pub(super) fn has_layout(bytes: &[u8]) -> bool {
    layout_of(bytes).is_some()
}

fn layout_of(bytes: &[u8]) -> Option<Layout> {
    layout::read(Source::Memory(bytes))
}

/// Returns the offsets of the kernel's fields that the kernel's type description (BTF) gives. The file is mapped into
/// memory if the kernel allows it, and otherwise read.
fn layout_in(file: &File) -> Option<Layout> {
    let length = usize::try_from(fstat(file).ok()?.st_size).ok()?;
    match Mapped::new(file, length) {
        Ok(mapped) => layout_of(mapped.bytes()),
        Err(_) => layout::read(Source::File(file)),
    }
}

/// Returns whether `/proc` shows the pid namespace of this process. The iterators return the pids of this namespace,
/// and the links of these pids are then read in `/proc`.
fn has_own_proc() -> bool {
    let text = slurp("/proc/self/status", 4096, 64 * 1024).unwrap_or_default();
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    // The line has the pid of the process in each pid namespace, from that of `/proc` to its own. If they are the same,
    // there is one pid.
    line.is_some_and(|numbers| {
        let mut numbers = numbers.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty());
        numbers.next() == Some(std::process::id().to_string().as_bytes()) && numbers.next().is_none()
    })
}
