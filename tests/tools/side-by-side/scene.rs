//! The load: listeners, connections, processes and descriptors in namespaces of their own.
//!
//! The first process in the pid namespace builds the load, measures on it and ends; the kernel then ends the
//! remaining processes. The ports are the same in every run, below the ports that outgoing connections use.

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::{Result, role};

/// The ports of the listeners; the ports above are left to connections.
const LISTENING: Range<usize> = 1..20_000;
const CONNECTING: &str = "20000 65000";

/// The size of a load.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub listeners: usize,
    /// The number of UDP listeners among `listeners`.
    pub udp: usize,
    /// Established sockets, two per connection.
    pub connections: usize,
    pub processes: usize,
    /// The number of processes that own the sockets and descriptors, among `processes`.
    pub servers: usize,
    pub descriptors: usize,
}

/// Enters new namespaces: network and mounts at once, and pids with the next child.
pub(super) fn leave() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
}

/// A running load; dropping it ends it.
pub(super) struct Scene {
    load: Load,
    children: Vec<Child>,
}

impl Scene {
    /// Builds the load, as the first process of its namespaces.
    pub(super) fn build(load: Load) -> Result<Self> {
        if std::process::id() != 1 {
            return Err("a load is built in namespaces of its own only".into());
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        close_inherited()?;
        if load.udp > load.listeners || load.servers == 0 || load.listeners >= LISTENING.end {
            return Err(
                "a load has one process or more, at most 19,999 listeners, and no more UDP than those".into(),
            );
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
            .map_err(|error| format!("mount /proc: {error}"))?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.map_err(|error| format!("ip (of iproute2): {error}"))?.success() {
            return Err("ip link set lo up: it failed".into());
        }
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", CONNECTING)?;
        let mut scene = Scene { load, children: Vec::new() };
        for index in 0..load.servers {
            scene.add_owner(index)?;
        }
        // This process, and the one that runs the commands, are part of the load.
        for _ in load.servers + 2..load.processes {
            scene.children.push(quiet(Command::new("sleep").arg("infinity")).spawn()?);
        }
        Ok(scene)
    }

    fn add_owner(&mut self, index: usize) -> Result<()> {
        let Load { listeners, udp, connections, processes, servers, descriptors } = self.load;
        let standard = 3 * processes;
        let files = descriptors.saturating_sub(standard + listeners + connections);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role::SERVER);
        for number in [index, servers, listeners - udp, udp, connections / 2, files] {
            command.arg(number.to_string());
        }
        let mut child = quiet(&mut command).stdout(Stdio::piped()).spawn()?;
        let mut ready = child.stdout.take().ok_or("a process without output")?;
        self.children.push(child);
        ready.read_exact(&mut [0]).map_err(|_| "a process of the load did not come up".into())
    }
}

/// Closes inherited descriptors: otherwise every process of the load would have them, which would change the load.
fn close_inherited() -> Result<()> {
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The descriptor from which the list was read is closed by now.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null())
}

impl fmt::Display for Scene {
    /// Shows the requested numbers, and the real numbers of processes and descriptors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { listeners, udp, connections, .. } = self.load;
        let numbered = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter(numbered);
        let held: Vec<usize> =
            processes.map(|entry| fs::read_dir(entry.path().join("fd")).map_or(0, Iterator::count)).collect();
        write!(
            f,
            "{listeners} listeners ({udp} UDP), {connections} established sockets, {} processes, {} descriptors",
            held.len() + 1, // the process that runs the commands starts later
            held.iter().sum::<usize>()
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Acts as a process of the load: opens its share, writes one byte when it is done, and stays.
pub(super) fn hold(arguments: &[OsString]) -> Result<ExitCode> {
    let numbers: Option<Vec<usize>> = arguments.iter().map(|a| a.to_str()?.parse().ok()).collect();
    let Some(&[index, servers, tcp, udp, pairs, files]) = numbers.as_deref() else {
        return Err("a process of the load takes six numbers".into());
    };
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    rustix::thread::set_name(&CString::new(format!("service-{index}"))?)?;
    let share = |total: usize| index * total / servers..(index + 1) * total / servers;
    let (mut kept, files) = (Vec::new(), share(files).len());
    open_files(files / 2, &mut kept)?;
    for k in share(tcp) {
        kept.push(
            TcpListener::bind(place(k, tcp)).map_err(|e| format!("tcp {}: {e}", place(k, tcp)))?.into(),
        );
    }
    for k in share(udp) {
        kept.push(UdpSocket::bind(place(k, udp)).map_err(|e| format!("udp {}: {e}", place(k, udp)))?.into());
    }
    connect(share(pairs).len(), &mut kept)?;
    open_files(files - files / 2, &mut kept)?;
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

/// Returns the address and port of the `k`th of `total` listeners: an address of each kind in turn, ports spread
/// evenly.
fn place(k: usize, total: usize) -> String {
    let address = ["127.0.0.1", "0.0.0.0", "[::]", "[::1]"][k % 4];
    format!("{address}:{}", LISTENING.start + k * (LISTENING.len() / total))
}

/// Opens connections to this process itself, whose listener is closed once they are established.
fn connect(pairs: usize, kept: &mut Vec<OwnedFd>) -> Result<()> {
    if pairs == 0 {
        return Ok(());
    }
    let server = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..pairs {
        kept.push(TcpStream::connect(server.local_addr()?)?.into());
        kept.push(server.accept()?.0.into());
    }
    Ok(())
}

/// Opens descriptors of the kinds that processes have.
fn open_files(count: usize, kept: &mut Vec<OwnedFd>) -> Result<()> {
    let enough = kept.len() + count;
    for k in 0.. {
        if kept.len() >= enough {
            break;
        }
        match k % 8 {
            0..4 => kept.push(File::open("/dev/null")?.into()),
            4 | 5 => kept.push(File::open("/proc/self/exe")?.into()),
            6 => {
                let (read, write) = io::pipe()?;
                kept.extend([OwnedFd::from(read), write.into()]);
            }
            _ => {
                let (one, other) = UnixStream::pair()?;
                kept.extend([OwnedFd::from(one), other.into()]);
            }
        }
    }
    Ok(())
}
