//! Processes with special behaviour: this test program, started again as `scenes --helper KIND …`.
//!
//! A helper prints one line that begins with `ready` and then waits for its standard input to end, at the latest when
//! the scene's process ends. No helper outlives its scene.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::net::AddressFamily;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::lab::{send_unreceived, shared_tcp, sleep, tcp};
use crate::ring_helpers::{
    blocked_accept, keep_in_a_ring, ordinary_ring, own_table_and_decoy, registered_ring, ring,
};
use crate::{circumstances, probing, wires};

pub type Done = Result<(), Box<dyn Error>>;

/// Acts as the helper that the arguments name.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let done = match words[..] {
        ["init", options] => init(options),
        ["maker", address] => maker(address),
        ["left-behind", address] => left_behind(address),
        ["in-group", group, address, ..] => in_group(group, address),
        ["init-in-group", group, address] => init_in_group(group, address),
        ["contained", group, network, address] => contained(group, network, address),
        ["master", address, worker, user] => master(address, worker, user),
        ["worker"] => worker(),
        ["jailed", address, root] => jailed(address, root),
        ["own-table-of", address] => own_table_and_decoy(address, false),
        ["own-ring-of", address] => own_table_and_decoy(address, true),
        ["registered-ring", address, "mapped"] => registered_ring(address, true),
        ["registered-ring", address, "unmapped"] => registered_ring(address, false),
        ["renewed", address] => renewed(address),
        ["own-table", address] => in_a_thread(address, CloneFlags::CLONE_FILES),
        ["own-namespace", address] => in_a_thread(address, CloneFlags::CLONE_NEWNET),
        ["zombie-leader", address] => zombie_leader(address),
        ["moving", address] => moving(address),
        ["ring", address] => ring(address),
        ["blocked-accept", address] => blocked_accept(address),
        ["ordinary-ring", address] => ordinary_ring(address),
        ["many", count] => count.parse().map_err(Into::into).and_then(many),
        ["threads", count] => count.parse().map_err(Into::into).and_then(threads),
        ["churn"] => churn(),
        ["elsewhere", address, name, stays] => elsewhere(address, name, stays),
        ["in-namespace", namespace, what, ref places @ ..] => in_namespace(namespace, what, places),
        ["file-system", point, silence] => crate::fuse::serve(point, silence),
        ["portable"] => portable(),
        ["serve", namespace, ref places @ ..] => probing::serve(namespace, places),
        ["probe", namespace] => probing::probe(namespace),
        ["run", circumstance, ..] => circumstances::launch(circumstance, &arguments[2..]),
        _ => Err(format!("no such helper: {words:?}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("helper {words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

pub fn ready(words: &str) -> Done {
    println!("ready {words}");
    Ok(std::io::stdout().flush()?)
}

pub fn wait() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// Returns a channel that ends with the standard input.
fn end_of_input() -> Receiver<()> {
    let (end, ended) = channel();
    std::thread::spawn(move || {
        wait();
        drop(end);
    });
    ended
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn failed(failed: libtest_mimic::Failed) -> Box<dyn Error> {
    failed.message().unwrap_or("failed").to_owned().into()
}

/// Acts in the network namespace of a process, or in a new namespace if there is no action (`-`: the scene's own
/// namespace). The action is to run servers that send each client their own address (`answer-for-any`:
/// also the clients of other addresses that a TPROXY rule gives them), or to be a client that prints the answer of each
/// place.
fn in_namespace(namespace: &str, what: &str, places: &[&str]) -> Done {
    if namespace != "-" {
        nix::sched::setns(fs::File::open(format!("/proc/{namespace}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    } else if places.is_empty() {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    if what == "ask" {
        let ask = |place: &&str| {
            let place: std::net::SocketAddr = place.parse().ok()?;
            let mut answer = String::new();
            let mut connection = std::net::TcpStream::connect_timeout(&place, Duration::from_secs(2)).ok()?;
            connection.read_to_string(&mut answer).ok()?;
            Some(format!("{}={answer}", place.port()))
        };
        let answers: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = places.iter().map(|place| scope.spawn(move || ask(place))).collect();
            asked.into_iter().filter_map(|one| one.join().ok().flatten()).collect()
        });
        return ready(&answers.join(" "));
    }
    for place in places {
        let listener = TcpListener::bind(place)?;
        if what == "answer-for-any" {
            nix::sys::socket::setsockopt(&listener, nix::sys::socket::sockopt::IpTransparent, &true)?;
        }
        let name = place.replace("0.0.0.0", "here");
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let _ = connection.write_all(name.as_bytes());
            }
        });
    }
    ready("")?;
    wait();
    Ok(())
}

/// The first process of a pid namespace: mounts its `/proc`.
fn init(options: &str) -> Done {
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some(options))?;
    ready("")?;
    wait();
    Ok(())
}

/// The first process of a pid namespace, which listens in a control group.
fn init_in_group(group: &str, address: &str) -> Done {
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
    in_group(group, address)
}

/// Runs two processes in a pid namespace of their own, and in a control group (`-`: in this one). The first one owns a
/// listener, which is in a network namespace of its own if `network` is `own`. Prints their pids.
fn contained(group: &str, network: &str, address: &str) -> Done {
    unshare(CloneFlags::CLONE_NEWPID)?;
    if network == "own" {
        unshare(CloneFlags::CLONE_NEWNET)?;
        wires::loopback_up().map_err(failed)?;
    }
    let socket = tcp(address).map_err(failed)?;
    let join = if group == "-" { String::new() } else { format!("echo 0 >{group}/cgroup.procs && ") };
    let script = format!("{join}{{ sleep 600 </dev/null & exec sleep 600; }}");
    let mut command = Command::new("/bin/sh");
    let mut child = command.args(["-c", &script]).stdin(socket).stdout(Stdio::null()).spawn()?;
    // The command has the socket too.
    drop(command);
    let first = child.id();
    let runs =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    let children = format!("/proc/{first}/task/{first}/children");
    let mut second = String::new();
    for _ in 0..2_000 {
        second = fs::read_to_string(&children)?.trim().to_owned();
        if !second.is_empty() && runs(&second) && runs(&first.to_string()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ready(&format!("{first} {second}"))?;
    wait();
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Joins a control group and listens in it.
fn in_group(group: &str, address: &str) -> Done {
    fs::write(format!("{group}/cgroup.procs"), "0")?;
    let _socket = tcp(address).map_err(failed)?;
    ready("")?;
    wait();
    Ok(())
}

/// Makes a socket, passes it to two processes, prints their pids and ends when its standard input ends.
fn maker(address: &str) -> Done {
    let socket = tcp(address).map_err(failed)?;
    let mut pids = String::new();
    for _ in 0..2 {
        let mut command = Command::new(sleep());
        command.arg("600").stdin(socket.try_clone()?).stdout(Stdio::null()).stderr(Stdio::null());
        pids += &format!("{} ", command.spawn()?.id());
    }
    ready(pids.trim_end())?;
    wait();
    Ok(())
}

/// Accepts a connection, then closes its other end and the listener.
fn left_behind(address: &str) -> Done {
    let listener = TcpListener::bind(address)?;
    let client = std::net::TcpStream::connect(address)?;
    let _accepted = listener.accept()?;
    drop(listener);
    drop(client);
    ready("")?;
    wait();
    Ok(())
}

/// Shares a socket with a child under another user ID (`-`: the same user ID): a child with the same program file, or
/// `sleep`, which inherits the socket. Prints the child's pid.
fn master(address: &str, worker: &str, user: &str) -> Done {
    let socket = tcp(address).map_err(failed)?;
    let mut command = match worker {
        "sleep" => Command::new(sleep()),
        _ => Command::new(std::env::current_exe()?),
    };
    match worker {
        "sleep" => command.arg("600"),
        _ => command.args(["--helper", "worker"]),
    };
    if let Ok(id) = user.parse() {
        command.uid(id).gid(id);
    }
    let mut child = command.stdin(socket.try_clone()?).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    ready(&child.id().to_string())?;
    wait();
    child.kill()?;
    child.wait()?;
    drop(socket);
    Ok(())
}

/// Keeps the sockets it was given, for at most ten minutes and no longer than its master lives.
fn worker() -> Done {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

/// Opens a socket and then changes its root directory, as careful servers do.
fn jailed(address: &str, root: &str) -> Done {
    let socket = tcp(address).map_err(failed)?;
    rustix::process::chroot(root)?;
    rustix::process::chdir("/")?;
    ready("")?;
    wait();
    drop(socket);
    Ok(())
}

/// Opens a socket in a thread that does not share its descriptors, or its network namespace, with any other thread.
fn in_a_thread(address: &str, apart: CloneFlags) -> Done {
    let address = address.to_owned();
    let thread = std::thread::spawn(move || -> Result<(), String> {
        unshare(apart).map_err(|errno| errno.to_string())?;
        if apart == CloneFlags::CLONE_NEWNET {
            wires::loopback_up().map_err(|failed| failed.message().unwrap_or("failed").to_owned())?;
        }
        let _socket = TcpListener::bind(address).map_err(|error| error.to_string())?;
        ready("").map_err(|error| error.to_string())?;
        wait();
        Ok(())
    });
    thread.join().map_err(|_| "the thread panicked")?.map_err(Into::into)
}

/// Opens a socket in a process whose first thread has ended.
fn zombie_leader(address: &str) -> Done {
    let socket = TcpListener::bind(address)?;
    let me = std::process::id();
    std::thread::spawn(move || {
        let leader_ended = || {
            let stat = fs::read_to_string(format!("/proc/{me}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
        };
        let patience = Instant::now() + Duration::from_secs(20);
        while !leader_ended() && Instant::now() < patience {
            std::thread::yield_now();
        }
        if leader_ended() && ready("").is_ok() {
            wait();
        }
        drop(socket);
        std::process::exit(0);
    });
    end_this_thread()
}

/// Ends the first thread; the other threads of the process continue.
#[allow(unsafe_code)]
fn end_this_thread() -> Done {
    // SAFETY: the bare system call exit(2) ends only the calling thread. No destructor runs, and no other thread uses
    // data of this thread.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Err("the thread did not end".into())
}

/// Keeps moving the only descriptor of a socket between a low and a high number, while another process holds the socket
/// too. Prints the pid of that process.
fn moving(address: &str) -> Done {
    let mut socket = OwnedFd::from(TcpListener::bind(address)?);
    let mut decoy = Command::new(sleep());
    let decoy = decoy.arg("600").stdin(socket.try_clone()?).stdout(Stdio::null()).stderr(Stdio::null());
    let mut decoy = decoy.spawn()?;
    let (end, ended) = channel::<()>();
    let mover = std::thread::spawn(move || {
        while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let Ok(high) = rustix::io::fcntl_dupfd_cloexec(&socket, 300) else { return };
            drop(socket);
            let Ok(low) = rustix::io::fcntl_dupfd_cloexec(&high, 3) else { return };
            socket = low;
        }
    });
    ready(&decoy.id().to_string())?;
    wait();
    drop(end);
    mover.join().map_err(|_| "the thread panicked")?;
    decoy.kill()?;
    decoy.wait()?;
    Ok(())
}

/// Listens, and replaces the socket by another one at the same address every millisecond.
fn renewed(address: &str) -> Done {
    let address: std::net::SocketAddr = address.parse()?;
    let ended = end_of_input();
    let mut socket = shared_tcp(address).map_err(failed)?;
    ready("")?;
    let mut left = 600_000;
    while left > 0 && ended.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        // The new socket listens before the old one is closed.
        socket = shared_tcp(address).map_err(failed)?;
        left -= 1;
    }
    drop(socket);
    Ok(())
}

/// Opens this many listeners, from port 10,001 up.
fn many(count: u16) -> Done {
    let limit = Some(u64::from(count) + 64);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let sockets: Result<Vec<_>, _> =
        (1..=count).map(|n| TcpListener::bind(("127.0.0.1", 10_000 + n))).collect();
    let _sockets = sockets?;
    ready("")?;
    wait();
    Ok(())
}

/// Starts this many threads, which wait.
fn threads(count: usize) -> Done {
    for _ in 0..count {
        std::thread::Builder::new().stack_size(16 * 1024).spawn(std::thread::park)?;
    }
    ready("")?;
    wait();
    Ok(())
}

/// Opens and closes about 2,000 listeners a second on ports that the kernel chooses, until its standard input ends,
/// and prints the number.
fn churn() -> Done {
    const A_STEP: Duration = Duration::from_millis(5);
    let ended = end_of_input();
    ready("")?;
    let start = Instant::now();
    let (mut count, mut open) = (0_u32, Vec::new());
    // A timeout sets the pace; the end of the channel ends the loop.
    while ended.recv_timeout(A_STEP) == Err(RecvTimeoutError::Timeout) && count < 500_000 {
        open.clear();
        // A late step catches up with the pace.
        let due = u32::try_from(start.elapsed().as_millis() * 2).unwrap_or(u32::MAX);
        let step = due.saturating_sub(count).min(200);
        for _ in 0..step {
            open.push(TcpListener::bind("127.0.0.1:0")?);
        }
        count += step;
    }
    println!("{count}");
    Ok(())
}

/// Listens in a new network namespace, and gives the namespace a name by a mount, unless `address` or `name` is `-`.
/// Then the helper `stays` in the namespace, comes `back` with the socket, comes back and `keeps` a descriptor of the
/// namespace too, comes back while the socket is `in-flight`, or `ends`. Prints the namespace's inode.
fn elsewhere(address: &str, name: &str, stays: &str) -> Done {
    let origin = fs::File::open("/proc/self/ns/net")?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    wires::loopback_up().map_err(failed)?;
    if name != "-" {
        fs::OpenOptions::new().create(true).append(true).open(name).or_else(|_| fs::File::open(name))?;
        mount(Some("/proc/self/ns/net"), name, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    let inode = fs::read_link("/proc/self/ns/net")?;
    let inode = inode.to_str().and_then(|link| link.strip_prefix("net:[")?.strip_suffix(']'));
    let inode = inode.ok_or("no inode")?.to_owned();
    let mut socket = match address {
        "-" => None,
        "raw" => Some(raw_socket(AddressFamily::INET, 1)?),
        // `ETH_P_ALL` in network order: every packet.
        "packet" => Some(raw_socket(AddressFamily::PACKET, u32::from(3_u16.to_be()))?),
        address => Some(tcp(address).map_err(failed)?),
    };
    let _kept = if stays == "keeps" { Some(fs::File::open("/proc/self/ns/net")?) } else { None };
    if matches!(stays, "back" | "keeps" | "in-flight" | "ring" | "in-flight-ring") {
        rustix::thread::move_into_link_name_space(origin.as_fd(), None)?;
    }
    drop(origin);
    let sent = socket.take_if(|_| stays.starts_with("in-flight")).map(send_unreceived);
    let mut queue = sent.transpose().map_err(failed)?.map(Vec::from).unwrap_or_default();
    // The near end of the queue stays open.
    let hidden = if stays == "in-flight-ring" { queue.pop() } else { socket.take_if(|_| stays == "ring") };
    let _ring = hidden.map(|hidden| keep_in_a_ring(&[hidden])).transpose()?;
    ready(&inode)?;
    if stays != "ends" {
        wait();
    }
    Ok(())
}

fn raw_socket(family: AddressFamily, protocol: u32) -> Result<OwnedFd, Box<dyn Error>> {
    let protocol = protocol.try_into().map(rustix::net::Protocol::from_raw)?;
    Ok(rustix::net::socket(family, rustix::net::SocketType::RAW, Some(protocol))?)
}

/// Prints the results of the portable source, as JSON.
fn portable() -> Done {
    let scope = portolan::observe::Scope { details: true, ..Default::default() };
    let snapshot = portolan::observe::portable::observe(&scope)?;
    println!("{}", serde_json::to_string(&snapshot)?);
    Ok(())
}
