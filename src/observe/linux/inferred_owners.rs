//! Finds the probable owners of hidden sockets. Any user can read which processes are in a control group, and can read
//! their names and command lines. Only their descriptors are protected.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, openat};

use super::owners::DIRECTORY;
use super::process::{self, Reader};
use super::reading::{self, ReadRequest};
use super::{cgroup, files, name_users, users};
use crate::model::interpreter::{is_interpreter, is_shell};
use crate::model::{Container, Endpoint, InferredOwner, OwnerEvidence, Peer, Pid, Process, Socket};

/// The name of the Docker program that serves a published port.
const PROXY: &str = "docker-proxy";
/// The programs of a login session that have no listeners of their own. Shells are checked separately.
const SESSION_PROGRAMS: [&str; 14] = [
    "(sd-pam)",
    "SCREEN",
    "dbus-daemon",
    "gpg-agent",
    "login",
    "screen",
    "script",
    "ssh-agent",
    "su",
    "sudo",
    "systemd",
    "tmux",
    "tmux: client",
    "tmux: server",
];
/// The programs of the SSH server. In a login session, they have listeners only for forwarded ports, usually on
/// loopback.
const SSH_SERVERS: [&str; 2] = ["sshd", "sshd-session"];
/// If a control group has more processes than this and their names differ, their command lines are not searched for the
/// port.
const MOST_COMMAND_LINES: usize = 32;
/// The maximum number of processes whose names are read if the control group of a socket is not known.
const MOST_PROCESSES: usize = 4096;
/// The maximum size of the routing table of a container, in bytes.
const LONGEST_ROUTES: usize = 1024 * 1024;

/// Returns the probable owner of each hidden socket, in the same order. `None` if no process can be the owner, or if
/// several processes can.
pub(in crate::observe) fn inferred_owners(hidden: &[&Socket]) -> Vec<Option<Arc<InferredOwner>>> {
    let mut groups: HashMap<Option<&str>, Group> = HashMap::new();
    for socket in hidden.iter().filter(|socket| may_be_known(socket)) {
        let path = socket.cgroup.as_deref();
        groups.entry(path).or_insert_with(|| Group::of(path));
    }
    let pids: BTreeSet<Pid> = groups.values().flat_map(Group::candidates).collect();
    let jobs = pids.into_iter().map(|pid| ReadRequest {
        pid,
        everything: true,
        unit_known: true,
        project: false,
        cmdline: true,
        maps: false,
    });
    let jobs: Vec<ReadRequest> = jobs.collect();
    if jobs.is_empty() {
        return vec![None; hidden.len()];
    }
    let mut processes = reading::read(jobs).processes;
    name_users(&mut processes, &mut users::Users::load());
    let processes: HashMap<Pid, Process> =
        processes.into_iter().map(|process| (process.pid, process)).collect();
    let owners: HashMap<Option<&str>, Owners> =
        groups.iter().map(|(path, group)| (*path, group.owners(&processes))).collect();
    let owner = |socket: &&Socket| owners.get(&socket.cgroup.as_deref())?.owner_of(socket);
    let mut found: Vec<_> = hidden.iter().map(owner).collect();
    add_containers(&mut found);
    found
}

/// Adds the container behind each docker-proxy. This is possible because any user can read the control group of a
/// process, and the addresses in its network namespace.
fn add_containers(owners: &mut [Option<Arc<InferredOwner>>]) {
    let is_proxy = |owner: &Arc<InferredOwner>| matches!(owner.evidence, OwnerEvidence::Forwards(_));
    if !owners.iter().flatten().any(is_proxy) {
        return;
    }
    let pids = files::numbers("/proc").ok().filter(|pids| pids.len() <= MOST_PROCESSES);
    let mut seen = HashSet::new();
    let mut containers: Vec<(String, String)> = Vec::new();
    for pid in pids.unwrap_or_default() {
        let Some(id) = process::container(pid).filter(|id| seen.insert(id.clone())) else { continue };
        let routes = files::read_records(format!("/proc/{pid}/net/fib_trie"), LONGEST_ROUTES);
        containers.extend(routes.ok().map(|routes| (id, routes)));
    }
    for owner in owners.iter_mut().flatten() {
        let OwnerEvidence::Forwards(to) = owner.evidence else { continue };
        let mut here = containers.iter().filter(|(_, routes)| is_local_address(routes, to.address));
        if let (Some((id, _)), None) = (here.next(), here.next()) {
            let container =
                Container { id: id.clone(), manager: "docker".to_owned(), ..Container::default() };
            Arc::make_mut(owner).process.forwards_to_container = Some(Arc::new(container));
        }
    }
}

/// Returns whether an IPv4 address belongs to the network namespace with this routing table (`/proc/PID/net/fib_trie`).
fn is_local_address(routes: &str, address: IpAddr) -> bool {
    let leaf = format!("|-- {address}");
    let mut lines = routes.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == leaf && lines.next() == Some("/32 host LOCAL") {
            return true;
        }
    }
    false
}

/// Returns whether a search can find the owner. This is possible if the control group is known. It is also possible if
/// root created the socket, because the socket may then belong to docker-proxy.
fn may_be_known(socket: &Socket) -> bool {
    socket.cgroup.is_some() || (socket.uid == Some(0) && socket.netns.is_none())
}

/// The processes that may own the sockets of one control group.
struct Group {
    /// All processes of the group, if they have the same name.
    of_one_program: Vec<Pid>,
    /// All processes of the group, if they have different names. Empty if there are more than [`MOST_COMMAND_LINES`].
    of_several: Vec<Pid>,
    proxies: Vec<Pid>,
}

impl Group {
    /// Reads the names of the processes in a control group. If the group is not known, searches all processes of the
    /// machine, but only for docker-proxy.
    fn of(path: Option<&str>) -> Self {
        let pids = match path {
            Some(path) => cgroup::processes(path),
            None => files::numbers("/proc").ok().filter(|pids| pids.len() <= MOST_PROCESSES),
        };
        let is_proxy = |name: &Option<String>| name.as_deref() == Some(PROXY);
        // If the descriptors of a process can be read, they were searched already. So this process does not own the
        // hidden socket.
        let was_searched =
            |pid: Pid| openat(CWD, format!("/proc/{pid}/fd"), DIRECTORY, Mode::empty()).is_ok();
        let names = pids.unwrap_or_default().into_iter().map(|pid| (pid, Reader::name(pid)));
        let names = names.filter(|(pid, name)| (path.is_some() || is_proxy(name)) && !was_searched(*pid));
        let names: Vec<(Pid, Option<String>)> = names.collect();
        let proxies = names.iter().filter(|(_, name)| is_proxy(name)).map(|(pid, _)| *pid).collect();
        let others = if path.is_some() { &names[..] } else { &[] };
        let first = others.first().and_then(|(_, name)| name.as_ref());
        let is_one_program = first.is_some() && others.iter().all(|(_, name)| name.as_ref() == first);
        let all: Vec<Pid> = others.iter().map(|(pid, _)| *pid).collect();
        let (of_one_program, of_several) = match is_one_program {
            true => (all, Vec::new()),
            false if all.len() <= MOST_COMMAND_LINES => (Vec::new(), all),
            false => (Vec::new(), Vec::new()),
        };
        Group { of_one_program, of_several, proxies }
    }

    fn candidates(&self) -> BTreeSet<Pid> {
        self.of_one_program.iter().chain(&self.of_several).chain(&self.proxies).copied().collect()
    }

    fn owners(&self, processes: &HashMap<Pid, Process>) -> Owners {
        let read = |pids: &[Pid]| -> Option<Vec<Process>> {
            pids.iter().map(|pid| processes.get(pid).filter(|read| read.name.is_some()).cloned()).collect()
        };
        let proxies = self.proxies.iter().filter_map(|pid| processes.get(pid)).cloned();
        let of_several: Vec<Pid> = self.of_several.iter().chain(&self.of_one_program).copied().collect();
        let all_read = read(&of_several);
        Owners {
            has_all: all_read.is_some(),
            processes: all_read
                .unwrap_or_else(|| of_several.iter().filter_map(|pid| processes.get(pid)).cloned().collect()),
            only: read(&self.of_one_program).and_then(only_program).map(Arc::new),
            proxies: by_port(proxies),
        }
    }
}

/// The probable owners of the sockets of one control group.
struct Owners {
    only: Option<Arc<InferredOwner>>,
    /// The processes whose command lines are searched for the port.
    processes: Vec<Process>,
    /// Whether `processes` contains every process of the group that can own a socket.
    has_all: bool,
    /// The docker-proxy of each published port. `None` for a port that several processes name.
    proxies: HashMap<Endpoint, Option<Arc<InferredOwner>>>,
}

impl Owners {
    fn owner_of(&self, socket: &Socket) -> Option<Arc<InferredOwner>> {
        let is_published = socket.peer.is_none() && socket.netns.is_none();
        let proxy = self.proxies.get(&socket.local).filter(|_| is_published);
        let only_server = || only_server(&self.processes, socket).filter(|_| self.has_all);
        proxy
            .or(Some(&self.only))?
            .clone()
            .or_else(|| names_port(&self.processes, socket).or_else(only_server).map(Arc::new))
    }
}

/// Returns the process that runs as the user of the socket and has the port on its command line. A process that started
/// another of these processes is left out. `None` if several processes remain.
fn names_port(processes: &[Process], socket: &Socket) -> Option<InferredOwner> {
    let port = socket.local.port.to_string();
    let is_named = |process: &&Process| {
        let arguments = process.cmdline.iter().skip(1);
        let mut numbers = arguments.flat_map(|argument| argument.split(|c: char| !c.is_ascii_digit()));
        // The command line of docker-proxy contains several ports, so docker-proxy is searched in another way.
        let is_proxy = process.name.as_deref() == Some(PROXY);
        !is_proxy
            && process.uid.is_some()
            && process.uid == socket.uid
            && numbers.any(|number| number == port)
    };
    let named: Vec<&Process> = processes.iter().filter(is_named).collect();
    let started_another =
        |one: &&Process| named.iter().any(|other| other.parents.iter().any(|parent| parent.pid == one.pid));
    let mut last = named.iter().copied().filter(|one| !started_another(one));
    let process = last.next()?.clone();
    last.next().is_none().then_some(InferredOwner { process, evidence: OwnerEvidence::NamesPort })
}

/// Returns the process that runs as the user of the socket, if there is only one. Shells and programs of the login
/// session do not count. `None` if the socket belongs to no systemd unit.
fn only_server(processes: &[Process], socket: &Socket) -> Option<InferredOwner> {
    socket.unit.as_ref()?;
    let is_on_loopback = socket.local.address.to_canonical().is_loopback();
    let is_server = |process: &&Process| {
        let name = process.name.as_deref().unwrap_or_default();
        let is_ssh_server = SSH_SERVERS.contains(&name) && !is_on_loopback;
        process.uid == socket.uid && !is_shell(name) && !SESSION_PROGRAMS.contains(&name) && !is_ssh_server
    };
    let mut servers = processes.iter().filter(is_server);
    let process = servers.next().filter(|process| process.uid.is_some())?.clone();
    servers.next().is_none().then_some(InferredOwner { process, evidence: OwnerEvidence::OnlyServer })
}

fn by_port(proxies: impl Iterator<Item = Process>) -> HashMap<Endpoint, Option<Arc<InferredOwner>>> {
    let mut by_port = HashMap::new();
    for process in proxies {
        let Some((port, to)) = Endpoint::of_docker_proxy(&process).zip(Peer::behind_docker_proxy(&process))
        else {
            continue;
        };
        let owner = Arc::new(InferredOwner { process, evidence: OwnerEvidence::Forwards(to) });
        by_port.entry(port).and_modify(|known| *known = None).or_insert(Some(owner));
    }
    by_port
}

/// Returns the process that started the others, if all processes run the same program.
fn only_program(processes: Vec<Process>) -> Option<InferredOwner> {
    let first = processes.first()?;
    let program = first.name.as_deref()?;
    // Two scripts of the same interpreter count as two programs.
    let is_same = |other: &Process| {
        other.name.as_deref() == Some(program) && (!is_interpreter(program) || other.cmdline == first.cmdline)
    };
    if !processes.iter().all(is_same) {
        return None;
    }
    let pids: Vec<Pid> = processes.iter().map(|process| process.pid).collect();
    let is_first = |process: &Process| !process.parents.iter().any(|parent| pids.contains(&parent.pid));
    let mut first = processes.into_iter().filter(is_first);
    let process = first.next()?;
    let evidence = OwnerEvidence::OnlyProgram { count: pids.len() };
    first.next().is_none().then_some(InferredOwner { process, evidence })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Parent;

    fn process(pid: Pid, name: &str, cmdline: &[&str], parents: &[Pid]) -> Process {
        Process {
            name: Some(name.to_owned()),
            cmdline: cmdline.iter().map(|&word| word.to_owned()).collect(),
            parents: parents.iter().map(|pid| Parent::new(*pid, "x".to_owned())).collect(),
            ..Process::unknown(pid)
        }
    }

    #[test]
    fn the_only_program_of_a_control_group() {
        let nginx = |pid, title, parents: &[Pid]| process(pid, "nginx", &[title], parents);
        let python = |pid, script, parents: &[Pid]| process(pid, "python3", &["python3", script], parents);
        for (name, processes, expected) in [
            ("one process", vec![nginx(812, "nginx: master process", &[1])], Some((812, 1))),
            (
                "workers",
                vec![nginx(811, "nginx: worker", &[812, 1]), nginx(812, "nginx", &[1])],
                Some((812, 2)),
            ),
            ("two programs", vec![process(7, "sh", &[], &[1]), nginx(8, "nginx", &[7, 1])], None),
            ("two instances", vec![nginx(7, "nginx", &[1]), nginx(8, "nginx", &[1])], None),
            ("workers of a script", vec![python(7, "a.py", &[1]), python(8, "a.py", &[7, 1])], Some((7, 2))),
            ("two scripts", vec![python(7, "a.py", &[1]), python(8, "b.py", &[7, 1])], None),
            ("no name", vec![Process::unknown(7)], None),
            ("no process", Vec::new(), None),
        ] {
            let owner = only_program(processes);
            let expected = expected.map(|(pid, count)| (pid, OwnerEvidence::OnlyProgram { count }));
            assert_eq!(owner.map(|owner| (owner.process.pid, owner.evidence)), expected, "{name}");
        }
    }

    #[test]
    fn the_process_whose_command_line_names_the_port() {
        let of_user = |pid, uid, line: &str, parents: &[Pid]| {
            let words: Vec<&str> = line.split(' ').collect();
            Process { uid: Some(uid), ..process(pid, words[0], &words, parents) }
        };
        let mut socket = crate::judge::tests::socket("tcp/0.0.0.0:3000", crate::model::Owner::Hidden);
        Arc::make_mut(&mut socket.attributes).uid = Some(1000);
        let server = of_user(9, 1000, "python3 -m http.server 3000", &[8, 7, 1]);
        let bash = of_user(8, 1000, "bash", &[7, 1]);
        for (name, others, expected) in [
            ("a shell", vec![bash.clone()], Some(9)),
            ("the shell that started it", vec![of_user(8, 1000, "sh -c server:3000", &[7, 1])], Some(9)),
            ("another process with the port", vec![of_user(10, 1000, "ssh -L 3000:a:80", &[8, 1])], None),
            ("another user", vec![of_user(10, 1001, "ssh -L 3000:a:80", &[8, 1])], Some(9)),
            ("a longer number", vec![of_user(10, 1000, "server --port 30001", &[8, 1])], Some(9)),
        ] {
            let processes: Vec<Process> = others.into_iter().chain([server.clone()]).collect();
            let owner = names_port(&processes, &socket).map(|owner| owner.process.pid);
            assert_eq!(owner, expected, "{name}");
        }
        assert_eq!(names_port(&[bash], &socket).map(|owner| owner.process.pid), None);
    }

    /// docker-proxy is in both lists, but must be read only once.
    #[test]
    fn every_process_is_read_once() {
        let group = Group { of_one_program: Vec::new(), of_several: vec![9, 8, 7], proxies: vec![8] };
        assert_eq!(group.candidates().into_iter().collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[test]
    fn the_only_server_of_a_login_session() {
        let of_user = |pid, uid, name: &str| Process { uid: Some(uid), ..process(pid, name, &[name], &[1]) };
        let (bash, tmux) = (of_user(8, 1000, "bash"), of_user(7, 1000, "tmux: server"));
        let (ssh, node) = (of_user(6, 1000, "sshd"), of_user(9, 1000, "node"));
        for (name, local, unit, processes, expected) in [
            (
                "a shell and tmux",
                "tcp/[::]:3000",
                Some("session-7.scope"),
                vec![&bash, &tmux, &node],
                Some(9),
            ),
            ("the SSH server", "tcp/[::]:3000", Some("session-7.scope"), vec![&ssh, &bash, &node], Some(9)),
            ("it may forward", "tcp/127.0.0.1:3000", Some("session-7.scope"), vec![&ssh, &node], None),
            ("two servers", "tcp/[::]:3000", Some("session-7.scope"), vec![&bash, &node, &node], None),
            ("a shell alone", "tcp/[::]:3000", Some("session-7.scope"), vec![&bash, &tmux], None),
            ("no unit", "tcp/[::]:3000", None, vec![&bash, &tmux, &node], None),
            (
                "another user",
                "tcp/[::]:3000",
                Some("session-7.scope"),
                vec![&bash, &of_user(10, 1001, "python3")],
                None,
            ),
        ] {
            let mut socket = crate::judge::tests::socket(local, crate::model::Owner::Hidden);
            let attributes = Arc::make_mut(&mut socket.attributes);
            (attributes.uid, attributes.unit) = (Some(1000), unit.map(str::to_owned));
            let processes: Vec<Process> = processes.into_iter().cloned().collect();
            let owner = only_server(&processes, &socket).map(|owner| owner.process.pid);
            assert_eq!(owner, expected, "{name}");
        }
    }

    #[test]
    fn addresses_of_a_routing_table() {
        let routes = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n           |-- 172.17.0.0\n              /16 link UNICAST\n           |-- 172.17.0.2\n              /32 host LOCAL\n";
        for (address, is_local) in [("172.17.0.2", true), ("172.17.0.0", false), ("172.17.0.3", false)] {
            assert_eq!(is_local_address(routes, address.parse().unwrap()), is_local, "{address}");
        }
    }

    #[test]
    fn docker_proxy_owns_the_port_that_its_command_line_names() {
        let proxy = |pid, uid, port: &str| {
            let line = format!(
                "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port {port} -container-ip 172.17.0.2 -container-port 80"
            );
            let words: Vec<&str> = line.split(' ').collect();
            Process { uid: Some(uid), ..process(pid, PROXY, &words, &[1]) }
        };
        let port = |text: &str| text.parse::<Endpoint>().unwrap();
        let owners = by_port(
            [
                proxy(7, 0, "8080"),
                proxy(8, 1000, "8081"),
                proxy(9, 0, "8082"),
                proxy(10, 0, "8082"),
                proxy(11, 0, "x"),
            ]
            .into_iter(),
        );
        let owners = Owners { only: None, processes: Vec::new(), has_all: true, proxies: owners };
        for (name, local, expected) in [
            ("its port", "tcp/0.0.0.0:8080", Some(7)),
            ("another protocol", "udp/0.0.0.0:8080", None),
            ("another address", "tcp/127.0.0.1:8080", None),
            ("another port", "tcp/0.0.0.0:80", None),
            ("a process of a user", "tcp/0.0.0.0:8081", None),
            ("two processes", "tcp/0.0.0.0:8082", None),
        ] {
            let owner = owners.proxies.get(&port(local)).cloned().flatten();
            assert_eq!(owner.map(|owner| owner.process.pid), expected, "{name}");
        }
    }
}
