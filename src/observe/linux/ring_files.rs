//! Finds the sockets among the files of io_urings.
//!
//! Since Linux 6.13, the kernel shows only the inode of a socket in an io_uring. Earlier releases show only the name of
//! its protocol. The address of the socket can be read only through a descriptor.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::time::Duration;

use rustix::fs::{CWD, readlinkat};
use rustix::io::Errno;
use rustix::net::netlink::SOCK_DIAG;

use super::bytes::number;
use super::files::slurp;
use super::kernel_ids::KernelIds;
use super::kernel_protocols::receives_data;
use super::netlink_dump::{attribute, dump};
use super::owners::{ThreadDescriptor, Walk, bracketed};
use super::scanned_namespaces::ScannedNamespaces;
use super::settings;
use crate::model::{Gap, Namespaces, Pid, Scope, Stage, State};

/// The maximum size of the `fdinfo` of an io_uring, in bytes. It is enough for 32,768 fixed files with names of about
/// 60 bytes. Linux 5.13 permits 64 times as many files, but no program uses so many.
const LONGEST_RING: usize = 16 * 1024 * 1024;
/// Each reading of an io_uring takes at least this many bytes from the total limit.
const LEAST_OF_A_RING: usize = 4 * 1024;
/// The maximum number of attempts to read an io_uring. The kernel omits the files of an io_uring while it is busy.
const RING_ATTEMPTS: usize = 50;
/// The first release of Linux in which the text of a busy io_uring has no line `UserFiles`. In earlier releases, the
/// text has this line, but the files are missing.
const WHOLE_TEXT: (u32, u32) = (6, 16);
/// How many times a socket that is in no table is checked again. Its peer may just have closed the connection, and the
/// program may be about to remove the socket.
const CHECKS: usize = 5;
const BETWEEN_CHECKS: Duration = Duration::from_millis(20);

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RingFiles {
    pub inodes: Vec<u64>,
    /// Whether there is a socket whose inode the kernel does not show.
    pub has_nameless: bool,
}

/// Reads the files of an io_uring. Subtracts the size of the text from `left`.
pub(super) fn read(ring: &ThreadDescriptor, left: &mut usize) -> Result<RingFiles, Errno> {
    let shows_busy = settings::kernel_release().is_some_and(|release| release >= WHOLE_TEXT);
    for _ in 0..RING_ATTEMPTS {
        if *left == 0 {
            return Err(Errno::MFILE);
        }
        let text = slurp(ring.fdinfo(), 64 * 1024, LONGEST_RING)?;
        *left = left.saturating_sub(text.len().max(LEAST_OF_A_RING));
        if let Some(files) = parse(&text, shows_busy) {
            return Ok(files);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Err(Errno::BUSY)
}

/// Parses the `fdinfo` of an io_uring (io_uring/fdinfo.c). `None` if the kernel omitted the files. With `is_whole`, the
/// kernel omits the line `UserFiles` together with the files. Without `is_whole`, the line can be present and only the
/// files be missing.
fn parse(fdinfo: &[u8], is_whole: bool) -> Option<RingFiles> {
    let mut lines = fdinfo.split(|byte| *byte == b'\n').skip_while(|line| !line.starts_with(b"UserFiles:"));
    let count = lines.next()?.strip_prefix(b"UserFiles:")?.trim_ascii();
    let mut files = RingFiles::default();
    let mut is_empty = true;
    for name in lines.map_while(file) {
        is_empty = false;
        files.inodes.extend(bracketed(name, b"socket:["));
        files.has_nameless |= is_protocol(name);
    }
    (is_whole || !is_empty || count == b"0").then_some(files)
}

/// Parses a line such as ` 0: socket:[123]`. Returns the name of the file.
fn file(line: &[u8]) -> Option<&[u8]> {
    let (index, name) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    let digits = index.trim_ascii();
    let is_index = line.starts_with(b" ") || index.len() >= 5;
    let is_line = is_index && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_line.then(|| name[1..].trim_ascii())
}

/// Returns whether this can be the name of a socket that can receive data or carry descriptors. Linux before 6.13 shows
/// only the protocol of a socket. An ordinary file can have the same name, because the kernel shows a file without its
/// directory.
fn is_protocol(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| receives_data(name) || name.starts_with("UNIX"))
}

/// Returns gaps for:
/// - sockets that are only in an io_uring and in no table
/// - Unix sockets that are only in an io_uring and may carry descriptors
/// - processes with an io_uring that contains a socket without a visible inode
///
/// The processes in `named` are left out of the last gap, because another gap names them.
pub(super) fn gaps(walk: &Walk, named: &[Pid]) -> Vec<Gap> {
    let mut nameless = walk.nameless_in_rings.clone();
    nameless.retain(|pid| !named.contains(pid));
    let (hidden, carriers) = unexplained(walk);
    let mut gaps = Vec::new();
    let mut add = |pids: Vec<Pid>, count: usize, one: &str, many: &str, why: &str| {
        if count > 0 {
            let gap = Gap::new(Stage::Sockets, if count == 1 { one } else { many }, why);
            gaps.push(gap.counted(count).of_processes(pids, "linux"));
        }
    };
    add(
        processes(&hidden),
        hidden.len(),
        "socket that is in an io_uring but in no table",
        "sockets that are in io_urings but in no table",
        "the address of such a socket cannot be read, and the socket may receive data in a hidden network namespace",
    );
    add(
        processes(&carriers),
        carriers.len(),
        "Unix socket that is in an io_uring and may carry descriptors",
        "Unix sockets that are in io_urings and may carry descriptors",
        "the kernel does not show whether unread messages contain descriptors; a descriptor may belong to a socket that is in no table",
    );
    add(
        nameless.clone(),
        nameless.len(),
        "process with an unidentified socket in an io_uring",
        "processes with unidentified sockets in io_urings",
        "this kernel shows only the protocol of a socket in an io_uring (Linux 6.13 shows more)",
    );
    gaps
}

fn processes(sockets: &BTreeMap<u64, ThreadDescriptor>) -> Vec<Pid> {
    let mut pids: Vec<Pid> = sockets.values().map(|ring| ring.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Returns two kinds of sockets that are only in an io_uring, by inode: first the sockets in no table, then the Unix
/// sockets that may carry descriptors.
fn unexplained(walk: &Walk) -> (BTreeMap<u64, ThreadDescriptor>, BTreeMap<u64, ThreadDescriptor>) {
    let mut unknown: BTreeMap<u64, ThreadDescriptor> = walk.stray_in_rings.iter().copied().collect();
    let mut carriers = BTreeMap::new();
    if unknown.is_empty() {
        return (unknown, carriers);
    }
    for stray in &walk.strays {
        if !unknown.contains_key(&stray.inode) {
            continue;
        }
        // A socket that also has a descriptor is left out. The search of the descriptors finds this socket and can read
        // its address.
        let link = readlinkat(CWD, stray.at.link(), Vec::new());
        if link.is_ok_and(|link| bracketed(link.as_bytes(), b"socket:[") == Some(stray.inode)) {
            unknown.remove(&stray.inode);
        }
    }
    for check in 0..=CHECKS {
        if unknown.is_empty() {
            break;
        }
        if check > 0 {
            std::thread::sleep(BETWEEN_CHECKS);
        }
        let tables = Tables::read();
        carriers = unknown.clone();
        carriers.retain(|inode, _| tables.unix.get(inode) == Some(&true));
        unknown.retain(|inode, _| !tables.listed.contains(inode) && tables.unix.get(inode) != Some(&false));
        retain_present(&mut unknown);
    }
    carriers.retain(|inode, _| unknown.remove(inode).is_some());
    (unknown, carriers)
}

/// Removes the sockets that are no longer in their io_uring.
fn retain_present(sockets: &mut BTreeMap<u64, ThreadDescriptor>) {
    let rings: HashSet<ThreadDescriptor> = sockets.values().copied().collect();
    let now: HashMap<ThreadDescriptor, Option<HashSet<u64>>> = rings
        .into_iter()
        .map(|ring| {
            let inodes = match read(&ring, &mut LONGEST_RING.clone()) {
                Ok(files) => Some(files.inodes.into_iter().collect()),
                Err(Errno::NOENT | Errno::SRCH) => Some(HashSet::new()),
                Err(_) => None,
            };
            (ring, inodes)
        })
        .collect();
    sockets.retain(|inode, ring| {
        now.get(ring).and_then(Option::as_ref).is_none_or(|inodes| inodes.contains(inode))
    });
}

/// The sockets of all network namespaces that can be entered.
#[derive(Debug, Default)]
struct Tables {
    /// The inodes of the sockets that are not Unix sockets.
    listed: KernelIds,
    /// The inodes of the Unix sockets. The flag is true if the unread messages of the socket may contain descriptors.
    unix: HashMap<u64, bool>,
}

impl Tables {
    fn read() -> Self {
        let mut tables = Tables::default();
        let scope = Scope {
            namespaces: Namespaces::All,
            processes: false,
            states: State::ALL.to_vec(),
            ..Scope::default()
        };
        let Ok(namespaces) = ScannedNamespaces::open(&scope) else { return tables };
        let found = namespaces.list_sockets(&scope, false).found;
        tables.listed.extend(found.iter().filter_map(|found| found.socket.inode).map(u64::from));
        tables.add(others());
        for namespace in &namespaces.others {
            tables.add(namespace.enter(others).unwrap_or_default());
        }
        tables
    }

    fn add(&mut self, (netlink, unix): (Vec<u64>, Vec<(u64, bool)>)) {
        self.listed.extend(netlink);
        self.unix.extend(unix);
    }
}

/// Returns the inodes of the netlink sockets and the Unix sockets in the network namespace of the calling thread.
fn others() -> (Vec<u64>, Vec<(u64, bool)>) {
    let netlink = fs::read_to_string("/proc/thread-self/net/netlink").unwrap_or_default();
    // The last column is the inode (net/netlink/af_netlink.c).
    let inode = |line: &str| line.split_ascii_whitespace().next_back()?.parse().ok();
    (netlink.lines().skip(1).filter_map(inode).collect(), unix_sockets())
}

/// The request type of `sock_diag` for one address family, and the family of Unix sockets.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_UNIX: u8 = 1;
/// `UDIAG_SHOW_RQLEN` and `UNIX_DIAG_RQLEN` (linux/unix_diag.h).
const SHOW_QUEUES: u32 = 0x10;
const QUEUES: u16 = 4;
/// The size of `unix_diag_msg`.
const UNIX_BODY: usize = 16;

fn unix_sockets() -> Vec<(u64, bool)> {
    let mut request = vec![AF_UNIX, 0, 0, 0];
    request.extend(u32::MAX.to_ne_bytes()); // every state
    request.extend([0; 4]); // any inode
    request.extend(SHOW_QUEUES.to_ne_bytes());
    request.extend([0; 8]); // any cookie
    dump(Some(SOCK_DIAG), (SOCK_DIAG_BY_FAMILY, SOCK_DIAG_BY_FAMILY), &request, unix_socket)
        .unwrap_or_default()
}

/// Parses a message about a Unix socket. Returns the inode of the socket, and whether unread messages of the socket may
/// contain descriptors. A stream with a queue of length 0 has no messages. Sockets of other types can have messages
/// without bytes, so the length of their queue proves nothing.
fn unix_socket(message: &[u8]) -> Option<(u64, bool)> {
    const SOCK_STREAM: u8 = 1;
    let (kind, inode) = (*message.get(1)?, number(message, 4)?);
    let queues = attribute(message.get(UNIX_BODY..)?, QUEUES);
    let is_empty = queues.and_then(|queues| number(queues, 0)) == Some(0);
    Some((u64::from(inode), kind != SOCK_STREAM || !is_empty))
}

#[cfg(test)]
mod tests {
    use super::super::netlink_dump::tests::attribute_of;
    use super::*;

    #[test]
    fn files_of_an_io_uring() {
        let files = |inodes: &[u64], has_nameless| Some(RingFiles { inodes: inodes.to_vec(), has_nameless });
        for (name, text, is_whole, wanted) in [
            (
                "Linux 6.13",
                "SqThread:\t-1\nUserFiles:\t3\n    0: socket:[7]\n    2: /a/socket:[8]\n",
                false,
                files(&[7], false),
            ),
            (
                "a high index",
                "UserFiles:\t99999\n70000: socket:[7]\n100000: socket:[9]\n",
                true,
                files(&[7, 9], false),
            ),
            ("before", "UserFiles:\t2\n    0: TCPv6\n    1: <none>\nUserBufs:\t0\n", false, files(&[], true)),
            ("a Unix socket, before", "UserFiles:\t1\n    0: UNIX-STREAM\n", false, files(&[], true)),
            ("a file", "UserFiles:\t1\n    0: data\n", false, files(&[], false)),
            ("none", "UserFiles:\t0\nUserBufs:\t1\n    0: 0x7f00/4096\n", false, files(&[], false)),
            ("free places", "UserFiles:\t8\nUserBufs:\t0\n", true, files(&[], false)),
            ("busy, before", "UserFiles:\t8\nUserBufs:\t0\n", false, None),
            ("busy", "pos:\t0\nflags:\t02\n", true, None),
            ("a buffer", "UserFiles:\t0\nUserBufs:\t1\n    0: socket:[7]\n", true, files(&[], false)),
        ] {
            assert_eq!(parse(text.as_bytes(), is_whole), wanted, "{name}");
        }
    }

    #[test]
    fn unix_sockets_that_may_carry_descriptors() {
        let message = |kind: u8, unread: Option<u32>| {
            let mut message = vec![AF_UNIX, kind, 1, 0];
            message.extend(7_u32.to_ne_bytes());
            message.extend([0; 8]);
            if let Some(unread) = unread {
                message.extend(attribute_of(QUEUES, &[unread.to_ne_bytes(), [0; 4]].concat()));
            }
            unix_socket(&message)
        };
        for (kind, unread, carries) in
            [(1, Some(0), false), (1, Some(1), true), (1, None, true), (2, Some(0), true), (5, Some(0), true)]
        {
            assert_eq!(message(kind, unread), Some((7, carries)), "{kind} {unread:?}");
        }
        assert_eq!(unix_socket(&[AF_UNIX, 1, 1, 0, 7]), None);
    }
}
