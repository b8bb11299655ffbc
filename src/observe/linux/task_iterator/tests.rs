use std::fs::File;
use std::net::TcpListener;

use proptest::prelude::*;
use rustix::net::{SocketAddrV4, bind};

use super::super::owners::SocketDescriptor;
use super::super::settings;
use super::bind_table::PortSockets;
use super::bpf_syscall::Mapped;
use super::layout::{DescriptorTable, TYPES};
use super::*;

fn layout_of(bytes: &[u8]) -> Option<Layout> {
    layout::read(Source::Memory(bytes))
}

#[derive(Default)]
struct Description {
    types: Vec<u8>,
    names: Vec<u8>,
    count: u32,
}

const STRUCT: u32 = 4 << 24;
const UNION: u32 = 5 << 24;
const FUNC: u32 = 12 << 24;

impl Description {
    fn new() -> Self {
        Description { names: vec![0], ..Description::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.names.len()).unwrap();
        self.names.extend(name.bytes().chain([0]));
        at
    }

    /// Adds a type with members: name, type and offset in bits. Returns the ID.
    fn add(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
        let name = self.name(name);
        let count = u32::try_from(members.len()).unwrap();
        let mut numbers = vec![name, kind | count, 0];
        for (name, kind, offset) in members {
            numbers.extend([self.name(name), *kind, *offset]);
        }
        self.types.extend(numbers.into_iter().flat_map(u32::to_ne_bytes));
        self.count += 1;
        self.count
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, names) = (self.types.len(), self.names.len());
        let header = [24, 0, types, types, names].map(|number| u32::try_from(number).unwrap());
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        bytes.extend(header.into_iter().flat_map(u32::to_ne_bytes));
        bytes.extend(&self.types);
        bytes.extend(&self.names);
        bytes
    }
}

/// Returns a description with every type that is needed.
fn whole() -> Description {
    whole_with(("other", 0, 0), ("other", 0, 0))
}

/// Returns a description with every needed type, and one more member in `task_struct` and in `file`.
fn whole_with(of_task: (&str, u32, u32), of_file: (&str, u32, u32)) -> Description {
    let mut whole = Description::new();
    let path = whole.add("", UNION, &[("f_path", 0, 0), ("__f_path", 0, 0)]);
    whole.add("file", STRUCT, &[("f_inode", 0, 256), ("", path, 512), of_file]);
    whole.add("path", STRUCT, &[("mnt", 0, 0), ("dentry", 0, 64)]);
    let inner = whole.add("", STRUCT, &[("d_name", 0, 64)]);
    let outer = whole.add("", UNION, &[("other", 0, 0), ("", inner, 8)]);
    whole.add("dentry", STRUCT, &[("", outer, 800)]);
    whole.add("qstr", STRUCT, &[("name", 0, 64)]);
    whole.add("inode", STRUCT, &[("i_ino", 0, 512)]);
    whole.add("vfsmount", STRUCT, &[("mnt_root", 0, 0), ("mnt_sb", 0, 64)]);
    whole.add("super_block", STRUCT, &[("s_magic", 0, 768)]);
    whole.add(
        "task_struct",
        STRUCT,
        &[
            ("group_leader", 0, 8000),
            ("thread_pid", 0, 8064),
            ("nsproxy", 0, 8128),
            ("io_uring", 0, 8192),
            of_task,
        ],
    );
    whole.add("nsproxy", STRUCT, &[("net_ns", 0, 320)]);
    whole.add("net", STRUCT, &[("ns", 0, 1024)]);
    whole.add("ns_common", STRUCT, &[("inum", 0, 128)]);
    whole.add("pid", STRUCT, &[("level", 0, 32), ("numbers", 0, 1152)]);
    whole.add("bpf_iter_task_file", FUNC, &[]);
    whole.add("bpf_iter_task", FUNC, &[]);
    whole
}

#[test]
fn the_layout_of_a_description() {
    let layout = layout_of(&whole().bytes()).unwrap();
    let expected = Layout {
        file_inode: 32,
        file_dentry: 72,
        dentry_name: 100 + 1 + 8 + 8,
        inode_number: 64,
        file_mount: 64,
        mount_superblock: 8,
        superblock_magic: 96,
        task_leader: 1000,
        task_pid: 1008,
        task_namespaces: 1016,
        task_rings: None,
        descriptors: None,
        bind_table: None,
        namespaces_net: 40,
        net_inode: 128 + 16,
        pid_level: 4,
        pid_numbers: 144,
        file_iterator: 16,
        task_iterator: 17,
    };
    assert_eq!(layout, expected);
    let mut with_rings = whole();
    with_rings.add("io_uring_task", STRUCT, &[("xa", 0, 64)]);
    with_rings.add("xarray", STRUCT, &[("xa_head", 0, 64)]);
    assert_eq!(layout_of(&with_rings.bytes()), Some(Layout { task_rings: Some([1024, 16]), ..expected }));
    let mut with_tables = whole_with(("files", 0, 8256), ("f_op", 0, 64));
    with_tables.add("files_struct", STRUCT, &[("fdt", 0, 256)]);
    with_tables.add("fdtable", STRUCT, &[("max_fds", 0, 0), ("fd", 0, 64)]);
    let table = DescriptorTable {
        task_files: 1032,
        files_table: 32,
        table_size: 0,
        table_files: 8,
        file_operations: 8,
    };
    let layout = layout_of(&with_tables.bytes()).unwrap();
    assert_eq!(layout, Layout { descriptors: Some(table), ..expected });
}

#[test]
fn a_description_without_a_needed_field_has_no_layout() {
    let bytes = whole().bytes();
    for name in ["f_inode", "d_name", "inum", "bpf_iter_task_file", "pid"] {
        let mut damaged = bytes.clone();
        let at = memchr::memmem::find(&damaged, format!("\0{name}\0").as_bytes()).unwrap();
        damaged[at + 1] = b'X';
        assert_eq!(layout_of(&damaged), None, "{name}");
    }
}

proptest! {
    #[test]
    fn a_damaged_description_is_harmless(at in 0_usize..1100, value: u8, length in 0_usize..1200) {
        let mut bytes = whole().bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(length);
        let _ = layout_of(&bytes);
    }
}

/// The kernel checks the programs. Some sandboxes refuse them.
#[test]
fn the_iterators_of_the_running_kernel() {
    let Ok(file) = File::open(TYPES) else { return };
    let layout = layout::read(Source::File(&file)).unwrap();
    if let Ok(mapped) = Mapped::new(&file, usize::try_from(fstat(&file).unwrap().st_size).unwrap()) {
        assert_eq!(layout_of(mapped.bytes()), Some(layout));
    }
    if let Err(errno) = bpf_syscall::iterator(&program::of_tasks(&layout, None), layout.task_iterator) {
        assert!(matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOSYS), "{errno}");
        return;
    }
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = fstat(&socket).unwrap().st_ino;
    let wanted = [inode].into_iter().collect();
    for strays in [false, true] {
        let walk = walk(Search { wanted: &wanted, strays, bpf: true }).unwrap();
        assert_eq!(walk.owners_of(inode), [std::process::id()]);
        assert_eq!(walk.strays.is_empty(), !strays);
        assert!(walk.namespaces.contains(&namespaces::own().unwrap()));
    }
}

#[test]
fn only_wanted_sockets_are_reported() {
    let sockets = [(); 50].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let inodes = sockets.each_ref().map(|socket| fstat(socket).unwrap().st_ino);
    let [wanted, others @ ..] = inodes;
    let (Some(layout), Ok(array)) =
        (layout::of_running_kernel(), bpf_syscall::array(&program::wanted([wanted].into_iter())))
    else {
        return; // a sandbox may refuse programs
    };
    let reported = |array: Option<&OwnedFd>| {
        let program = program::of_files(layout, 0, array.map(AsRawFd::as_raw_fd));
        let iterator = bpf_syscall::iterator(&program, layout.file_iterator).unwrap();
        let mut reported = Vec::new();
        records(&iterator, |record: &[u8; program::FILE_RECORD]| {
            reported.push(u64::from_ne_bytes(*record.first_chunk().unwrap()));
        })
        .unwrap();
        reported
    };
    let few = reported(Some(&array));
    assert!(few.contains(&wanted) && !others.iter().any(|other| few.contains(other)));
    // This inode has the same last bits as `wanted`, but another tag.
    let similar = wanted ^ 1 << 16;
    let of = |inodes: &[u64]| bpf_syscall::array(&program::wanted(inodes.iter().copied())).unwrap();
    assert!(!reported(Some(&of(&[similar]))).contains(&wanted));
    assert!(reported(Some(&of(&[similar, wanted]))).contains(&wanted));
    assert!(reported(Some(&of(&[wanted, similar, similar]))).contains(&wanted));
    let every = reported(None);
    assert!(inodes.iter().all(|inode| every.contains(inode)));
}

#[test]
fn tasks_with_a_wanted_descriptor_are_found() {
    let Some(layout) = layout::of_running_kernel() else { return };
    let search = |inode: u64| {
        let array = bpf_syscall::array(&program::wanted([inode].into_iter())).ok()?;
        let table = layout.descriptors.as_ref().zip(Some(array.as_raw_fd()));
        // Before Linux 6.9, the kernel refuses the loop.
        let iterator = bpf_syscall::iterator(&program::of_tasks(layout, table), layout.task_iterator).ok()?;
        Some(read_tasks(&iterator, layout, &mut Walk::default()).unwrap().unwrap().found)
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = fstat(&socket).unwrap().st_ino;
    if search(inode).is_none() {
        let is_refused = processes().is_none() || settings::kernel_release().is_some_and(|it| it < (6, 9));
        assert!(is_refused, "the kernel accepts the program without the search, but not the one with it");
        return;
    }
    // A thread of another test may have its own table. The search is then not finished.
    let descriptors = || {
        let mut attempts = (0..1200).map(|_| search(inode).unwrap());
        attempts
            .find_map(|found| {
                found.or_else(|| {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    None
                })
            })
            .unwrap()
    };
    let sleep = |input: std::process::Stdio| {
        std::process::Command::new("sleep").arg("60").stdin(input).spawn().unwrap()
    };
    let mut children =
        [sleep(OwnedFd::from(socket.try_clone().unwrap()).into()), sleep(std::process::Stdio::null())];
    // Until the kernel has set the new name, a child may still have the descriptors of this process.
    for child in &children {
        let name = format!("/proc/{}/comm", child.id());
        let mut attempts = (0..1000).map(|_| std::fs::read_to_string(&name).unwrap());
        let is_started = attempts.any(|name| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            name == "sleep\n"
        });
        assert!(is_started);
    }
    let found = descriptors();
    let [with, without] = children.each_ref().map(|child| {
        let of_child = found.iter().filter(|found| found.pid == child.id() && found.inode != 0);
        of_child.map(|found| (found.number, found.inode)).collect::<Vec<_>>()
    });
    // A descriptor with a high number makes the table grow.
    let far = rustix::io::fcntl_dupfd_cloexec(&socket, 900).unwrap();
    let own = |socket: &dyn AsRawFd| FoundDescriptor {
        pid: std::process::id(),
        number: socket.as_raw_fd().try_into().unwrap(),
        inode,
    };
    let (first, second) = (own(&socket), own(&far));
    let both = descriptors();
    drop(socket);
    let still_found = descriptors();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(far);
    assert_eq!(with, [(0, inode)]);
    assert_eq!(without, []);
    assert!(found.contains(&first) && both.contains(&first) && both.contains(&second));
    assert!(still_found.contains(&second));
}

#[test]
fn all_descriptors_of_a_process_are_read_if_one_has_changed() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = fstat(&socket).unwrap().st_ino;
    let wanted = [inode].into_iter().collect();
    let number = |socket: &std::net::UdpSocket| u32::try_from(socket.as_raw_fd()).unwrap();
    let proc = open(CWD, c"/proc").unwrap();
    for found in [number(&socket), number(&other), 1_000_000] {
        let pid = std::process::id();
        let found = FoundDescriptor { pid, number: found, inode };
        let search = Search { wanted: &wanted, strays: false, bpf: true };
        let walk = walk_of_found(&proc, &[found], search).unwrap();
        let expected = SocketDescriptor { pid, inode, descriptor: number(&socket) };
        assert_eq!(walk.descriptors, [expected]);
    }
}

#[test]
fn the_sockets_of_a_port_are_counted() {
    if processes().is_none() || layout::of_running_kernel().is_none_or(|layout| layout.bind_table.is_none()) {
        return; // a sandbox may refuse programs, and the table has other fields before Linux 6.8
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(sockets_on(port), Some(PortSockets { inactive: 0, others: 1 }));
    let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let accepted = listener.accept().unwrap();
    assert_eq!(sockets_on(port), Some(PortSockets { inactive: 0, others: 2 }));
    let inactive = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&inactive, &SocketAddrV4::new([127, 0, 0, 2].into(), port)).unwrap();
    assert_eq!(sockets_on(port), Some(PortSockets { inactive: 1, others: 2 }));
    drop((client, accepted, inactive));
    let free = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    assert_eq!(sockets_on(free), Some(PortSockets { inactive: 0, others: 0 }));
}
