//! Reads the layout of the kernel's structures from its description of types (BTF, Documentation/bpf/btf.rst).
//!
//! The description has several MB. If the kernel cannot map it into memory, the types are read in parts, and only the
//! names are read as a whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::fs::fstat;

use super::super::bytes::number;
use super::bpf_syscall::Mapped;

pub(super) const TYPES: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// The length of the header up to the last field that is read.
const HEADER: usize = 24;
/// The maximum length of all names. A kernel with every feature has about 4 MB of names.
const LONGEST_NAMES: usize = 32 * 1024 * 1024;
/// The number of bytes of types that are read at once.
const PART: usize = 64 * 1024;
/// The maximum number of nested structures without a name.
const NESTED: usize = 4;

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FUNC: u32 = 12;

/// The offsets of the fields that the programs read, in bytes, and the IDs of the functions to which the programs
/// attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub file_inode: i16,
    pub file_dentry: i16,
    pub dentry_name: i16,
    pub inode_number: i16,
    pub file_mount: i16,
    pub mount_superblock: i16,
    pub superblock_magic: i16,
    pub task_leader: i16,
    pub task_pid: i16,
    pub task_namespaces: i16,
    /// The offset of the pointer `io_uring` in a task, and the offset of the list of instances in the structure behind
    /// this pointer. `None` if the kernel has no io_uring.
    pub task_rings: Option<[i16; 2]>,
    pub namespaces_net: i16,
    pub net_inode: i16,
    pub pid_level: i16,
    pub pid_numbers: i16,
    /// The offsets that lead to the open files; `None` if the kernel does not describe one of these fields.
    pub descriptors: Option<DescriptorTable>,
    /// The table of bound TCP ports; `None` if the kernel does not describe one of these fields.
    pub bind_table: Option<BindTable>,
    /// The ID of `bpf_iter_task_file`.
    pub file_iterator: u32,
    /// The ID of `bpf_iter_task`.
    pub task_iterator: u32,
}

/// The offsets of the fields that lead from a task to its open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DescriptorTable {
    pub task_files: i16,
    pub files_table: i16,
    pub table_size: i16,
    pub table_files: i16,
    pub file_operations: i16,
}

/// The offsets of the fields that lead from a network namespace to the TCP sockets of a port (Linux 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BindTable {
    /// The offset of the number that selects the bucket, together with the port.
    pub net_hash: i16,
    pub net_table: i16,
    pub table_size: i16,
    pub table_buckets: i16,
    pub bucket_chain: i16,
    pub port_net: i16,
    pub port_number: i16,
    pub port_node: i16,
    pub port_addresses: i16,
    pub address_port: i16,
    pub address_node: i16,
    pub address_sockets: i16,
    pub socket_port: i16,
    pub socket_state: i16,
    pub socket_node: i16,
}

/// The structures whose fields the programs read, in alphabetical order for a binary search.
const STRUCTURES: [&str; 23] = [
    "dentry",
    "fdtable",
    "file",
    "files_struct",
    "inet_bind2_bucket",
    "inet_bind_bucket",
    "inet_bind_hashbucket",
    "inet_hashinfo",
    "inet_timewait_death_row",
    "inode",
    "io_uring_task",
    "net",
    "netns_ipv4",
    "ns_common",
    "nsproxy",
    "path",
    "pid",
    "qstr",
    "sock_common",
    "super_block",
    "task_struct",
    "vfsmount",
    "xarray",
];
/// The beginning of the names of the functions to which a program can attach.
const ITERATORS: &[u8] = b"bpf_iter_task";

#[derive(Clone, Copy)]
pub(super) enum Source<'s> {
    Memory(&'s [u8]),
    File(&'s File),
}

impl<'s> Source<'s> {
    /// Fills a buffer with the bytes from the position `at` on. Returns the number of bytes, which is smaller than the
    /// buffer only at the end of the description.
    fn read_at(self, buffer: &mut [u8], at: u64) -> Option<usize> {
        let mut filled = 0;
        match self {
            Source::Memory(bytes) => {
                let rest = bytes.get(usize::try_from(at).ok()?..)?;
                filled = rest.len().min(buffer.len());
                buffer.get_mut(..filled)?.copy_from_slice(rest.get(..filled)?);
            }
            Source::File(file) => {
                while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                    match file.read_at(rest, at + u64::try_from(filled).ok()?).ok()? {
                        0 => break,
                        length => filled += length,
                    }
                }
            }
        }
        Some(filled)
    }

    fn bytes(self, at: u64, length: usize) -> Option<Cow<'s, [u8]>> {
        if let Source::Memory(bytes) = self {
            let bytes = bytes.get(usize::try_from(at).ok()?..)?.get(..length)?;
            return Some(Cow::Borrowed(bytes));
        }
        let mut bytes = vec![0; length];
        (self.read_at(&mut bytes, at)? == length).then_some(Cow::Owned(bytes))
    }
}

/// Returns the layout of the running kernel.
pub(super) fn of_running_kernel() -> Option<&'static Layout> {
    static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
    LAYOUT.get_or_init(|| of_file(&File::open(TYPES).ok()?)).as_ref()
}

/// Reads the layout from a file, which is mapped into memory if the kernel allows it.
fn of_file(file: &File) -> Option<Layout> {
    let length = usize::try_from(fstat(file).ok()?.st_size).ok()?;
    match Mapped::new(file, length) {
        Ok(mapped) => read(Source::Memory(mapped.bytes())),
        Err(_) => read(Source::File(file)),
    }
}

/// Returns the layout; `None` if the description is damaged, or does not contain a needed field.
pub(super) fn read(source: Source<'_>) -> Option<Layout> {
    let mut header = [0; HEADER];
    (source.read_at(&mut header, 0)? == HEADER && header.starts_with(&MAGIC.to_ne_bytes())).then_some(())?;
    let field = |at| number(&header, at).map(u64::from);
    let length = field(4)?;
    let (types, types_length, names, names_length) = (field(8)?, field(12)?, field(16)?, field(20)?);
    let names_length = usize::try_from(names_length).ok().filter(|length| *length <= LONGEST_NAMES)?;
    let text = source.bytes(length + names, names_length)?;
    let mut types =
        Types { source, part: Vec::new(), start: length + types, loaded: 0, at: 0, end: types_length };
    let found = find(&mut types, &text)?;
    found.layout(&mut types, &text)
}

struct Types<'s> {
    source: Source<'s>,
    part: Vec<u8>,
    /// The position of the first type.
    start: u64,
    /// The number of bytes in `part`.
    loaded: usize,
    /// The position of `part`, relative to `start`.
    at: u64,
    /// The length of all types.
    end: u64,
}

impl Types<'_> {
    /// Returns the bytes of the types from the position `at` on. There are at least `length` bytes, unless the types
    /// end earlier.
    fn bytes(&mut self, at: u64, length: usize) -> Option<&[u8]> {
        let rest = usize::try_from(self.end.checked_sub(at)?).ok()?;
        if let Source::Memory(bytes) = self.source {
            let bytes = bytes.get(usize::try_from(self.start + at).ok()?..)?;
            return bytes.get(..rest.min(bytes.len()));
        }
        let inside = |own: &Self| {
            let from = usize::try_from(at.checked_sub(own.at)?).ok()?;
            (from.checked_add(length)? <= own.loaded).then_some(from)
        };
        let from = if let Some(from) = inside(self) {
            from
        } else {
            // One part is enough for most types, but the longest has 65,535 members of 12 bytes.
            if self.part.len() < length.max(PART) {
                self.part.resize(length.max(PART), 0);
            }
            let wanted = self.part.len().min(rest);
            self.loaded = self.source.read_at(self.part.get_mut(..wanted)?, self.start + at)?;
            self.at = at;
            0
        };
        self.part.get(from..self.loaded)
    }
}

#[derive(Clone, Debug, Default)]
struct Members(Vec<Member>);

#[derive(Clone, Copy, Debug)]
struct Member {
    /// The position of the name.
    name: u32,
    /// The ID of the type.
    kind: u32,
    offset: u32,
}

#[derive(Debug, Default)]
struct Found {
    structures: HashMap<&'static str, Members>,
    /// The IDs and positions of the structures and unions without a name, in ascending order.
    nameless: Vec<(u32, u64)>,
    file_iterator: Option<u32>,
    task_iterator: Option<u32>,
}

fn name(names: &[u8], at: u32) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    // Every needed name has at most 32 bytes.
    let rest = rest.get(..32).unwrap_or(rest);
    rest.get(..memchr::memchr(0, rest)?)
}

fn find(types: &mut Types<'_>, names: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    let (mut at, mut id) = (0, 0);
    while at < types.end {
        id += 1;
        let bytes = types.bytes(at, 12)?;
        let (named, info) = (number(bytes, 0)?, number(bytes, 4)?);
        let (kind, count) = (info >> 24 & 31, usize::try_from(info & 0xffff).ok()?);
        let length = 12
            + match kind {
                1 | 14 | 17 => 4,                       // an integer, a variable, a tag
                3 => 12,                                // an array
                STRUCT | UNION | 15 | 19 => 12 * count, // with members, variables or long values
                6 | 13 => 8 * count,                    // with values or parameters
                2 | 7..=FUNC | 16 | 18 => 0,
                _ => return None, // a kind that is not known has an unknown length
            };
        match kind {
            STRUCT | UNION if named == 0 => found.nameless.push((id, at)),
            STRUCT => {
                let name = name(names, named).unwrap_or_default();
                let known = STRUCTURES.binary_search_by(|known| known.as_bytes().cmp(name)).ok();
                if let Some(known) = known.and_then(|index| STRUCTURES.get(index))
                    && !found.structures.contains_key(known)
                {
                    found.structures.insert(known, members(types.bytes(at, length)?)?);
                }
            }
            FUNC if names.get(usize::try_from(named).ok()?..)?.starts_with(ITERATORS) => {
                match name(names, named) {
                    Some(b"bpf_iter_task_file") => found.file_iterator = Some(id),
                    Some(b"bpf_iter_task") => found.task_iterator = Some(id),
                    _ => {}
                }
            }
            _ => {}
        }
        at += u64::try_from(length).ok()?;
        let is_complete = found.file_iterator.is_some()
            && found.task_iterator.is_some()
            && found.structures.len() == STRUCTURES.len();
        if is_complete {
            break;
        }
    }
    Some(found)
}

fn members(bytes: &[u8]) -> Option<Members> {
    let info = number(bytes, 4)?;
    let has_bit_fields = info >> 31 == 1;
    let count = usize::try_from(info & 0xffff).ok()?;
    let member = |member: &[u8; 12]| {
        let offset = number(member, 8)?;
        let offset = if has_bit_fields { offset & 0x00ff_ffff } else { offset };
        Some(Member { name: number(member, 0)?, kind: number(member, 4)?, offset: offset / 8 })
    };
    bytes.get(12..12 + 12 * count)?.as_chunks().0.iter().map(member).collect::<Option<_>>().map(Members)
}

impl Found {
    fn layout(&self, types: &mut Types<'_>, names: &[u8]) -> Option<Layout> {
        let mut offset = |path: &[(&str, &[u8])]| {
            let mut sum: u32 = 0;
            for (structure, field) in path {
                let members = self.structures.get(structure)?;
                sum = sum.checked_add(self.offset(members, field, NESTED, types, names)?)?;
            }
            i16::try_from(sum).ok()
        };
        let rings = offset(&[("task_struct", b"io_uring")])
            .zip(offset(&[("io_uring_task", b"xa"), ("xarray", b"xa_head")]))
            .map(|(uring, head)| [uring, head]);
        let table = (|| {
            Some(DescriptorTable {
                task_files: offset(&[("task_struct", b"files")])?,
                files_table: offset(&[("files_struct", b"fdt")])?,
                table_size: offset(&[("fdtable", b"max_fds")])?,
                table_files: offset(&[("fdtable", b"fd")])?,
                file_operations: offset(&[("file", b"f_op")])?,
            })
        })();
        let bind_table = (|| {
            Some(BindTable {
                net_hash: offset(&[("net", b"hash_mix")])?,
                net_table: offset(&[
                    ("net", b"ipv4"),
                    ("netns_ipv4", b"tcp_death_row"),
                    ("inet_timewait_death_row", b"hashinfo"),
                ])?,
                table_size: offset(&[("inet_hashinfo", b"bhash_size")])?,
                table_buckets: offset(&[("inet_hashinfo", b"bhash")])?,
                bucket_chain: offset(&[("inet_bind_hashbucket", b"chain")])?,
                port_net: offset(&[("inet_bind_bucket", b"ib_net")])?,
                port_number: offset(&[("inet_bind_bucket", b"port")])?,
                port_node: offset(&[("inet_bind_bucket", b"node")])?,
                port_addresses: offset(&[("inet_bind_bucket", b"bhash2")])?,
                address_port: offset(&[("inet_bind2_bucket", b"port")])?,
                address_node: offset(&[("inet_bind2_bucket", b"bhash_node")])?,
                address_sockets: offset(&[("inet_bind2_bucket", b"owners")])?,
                socket_port: offset(&[("sock_common", b"skc_num")])?,
                socket_state: offset(&[("sock_common", b"skc_state")])?,
                socket_node: offset(&[("sock_common", b"skc_bind_node")])?,
            })
        })();
        Some(Layout {
            task_rings: rings,
            descriptors: table,
            bind_table,
            file_inode: offset(&[("file", b"f_inode")])?,
            file_dentry: offset(&[("file", b"f_path"), ("path", b"dentry")])?,
            dentry_name: offset(&[("dentry", b"d_name"), ("qstr", b"name")])?,
            inode_number: offset(&[("inode", b"i_ino")])?,
            file_mount: offset(&[("file", b"f_path"), ("path", b"mnt")])?,
            mount_superblock: offset(&[("vfsmount", b"mnt_sb")])?,
            superblock_magic: offset(&[("super_block", b"s_magic")])?,
            task_leader: offset(&[("task_struct", b"group_leader")])?,
            task_pid: offset(&[("task_struct", b"thread_pid")])?,
            task_namespaces: offset(&[("task_struct", b"nsproxy")])?,
            namespaces_net: offset(&[("nsproxy", b"net_ns")])?,
            net_inode: offset(&[("net", b"ns"), ("ns_common", b"inum")])?,
            pid_level: offset(&[("pid", b"level")])?,
            pid_numbers: offset(&[("pid", b"numbers")])?,
            file_iterator: self.file_iterator?,
            task_iterator: self.task_iterator?,
        })
    }

    /// Returns the offset of a field in a structure. The field may be in a nested structure or union without a name.
    fn offset(
        &self,
        Members(members): &Members,
        field: &[u8],
        depth: usize,
        types: &mut Types<'_>,
        names: &[u8],
    ) -> Option<u32> {
        if let Some(member) = members.iter().find(|member| name(names, member.name) == Some(field)) {
            return Some(member.offset);
        }
        let depth = depth.checked_sub(1)?;
        members.iter().filter(|member| member.name == 0).find_map(|member| {
            let index = self.nameless.binary_search_by_key(&member.kind, |(id, _)| *id).ok()?;
            let (_, at) = *self.nameless.get(index)?;
            let count = usize::try_from(number(types.bytes(at, 12)?, 4)? & 0xffff).ok()?;
            let inner = self::members(types.bytes(at, 12 + 12 * count)?)?;
            member.offset.checked_add(self.offset(&inner, field, depth, types, names)?)
        })
    }
}
