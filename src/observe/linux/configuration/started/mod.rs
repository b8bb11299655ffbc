//! Finds the programs that systemd, inetd and xinetd start for the connections of their sockets.

mod inetd;
mod xinetd;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use self::xinetd::xinetd;
use super::super::packages::root::Root;
use super::super::process;
use super::changes::{Change, change_since};
use super::unit_files::Units;
use super::{LONGEST, ReachableSocket, directory, environment, locate};
use crate::model::relays::addresses;
use crate::model::{Endpoint, Process, Protocol, RelayRoute, SocketCommand, file_name};

/// The maximum number of files of one program; real systems have a few dozen.
const MOST_FILES: usize = 256;

/// A program that listens on behalf of other programs, and starts them when a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Starter {
    Systemd,
    /// The systemd of a user, which reads the units of this user.
    SystemdOfUser,
    /// inetd with these files and directories.
    Inetd(Vec<String>),
    Xinetd(String),
    /// Its arguments or its files are not understood.
    Unknown,
}

impl Starter {
    pub(super) fn of(process: &Process) -> Option<Self> {
        let file = file_name(&process.exe.as_ref()?.path);
        let (program, arguments) = match &process.cmdline[..] {
            [first, arguments @ ..] if file == "busybox" && file_name(first) == "inetd" => {
                ("inetd", arguments)
            }
            [_, applet, arguments @ ..] if file == "busybox" && applet == "inetd" => ("inetd", arguments),
            [_, arguments @ ..] => (file, arguments),
            [] => (file, &[][..]),
        };
        Some(match program {
            "systemd" if process.uid == Some(0) => Starter::Systemd,
            "systemd" => Starter::SystemdOfUser,
            "inetd" | "inetutils-inetd" => inetd::files(arguments).map_or(Starter::Unknown, Starter::Inetd),
            "xinetd" if arguments.iter().any(|one| one == "-inetd_compat") => Starter::Unknown,
            "xinetd" => {
                let file = locate::option(arguments, &["-f"]);
                Starter::Xinetd(file.unwrap_or_else(|| "/etc/xinetd.conf".to_owned()))
            }
            "rlinetd" => Starter::Unknown,
            _ => return None,
        })
    }
}

/// The programs that a starter starts, and the destinations to which it passes connections itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) commands: Vec<SocketCommand>,
    pub(super) routes: Vec<RelayRoute>,
}

/// Returns the command line for each socket. It is empty if it is not known.
pub(super) fn read(process: &OwnedFd, starter: &Starter, sockets: &[ReachableSocket]) -> Started {
    let root = directory(process, "root").map(|root| Root::new(root, false));
    let found = root.and_then(|root| match starter {
        Starter::Systemd => Some(of_systemd(&Units::of_system(&root), sockets)),
        Starter::SystemdOfUser => {
            Some(of_systemd(&Units::of_user(&root, &environment::read(process)), sockets))
        }
        Starter::Inetd(paths) => {
            let files = Files { root: &root, process };
            inetd::read(&files, paths).map(|commands| Started { commands, routes: Vec::new() })
        }
        Starter::Xinetd(path) => xinetd(&Files { root: &root, process }, path),
        Starter::Unknown => None,
    });
    let mut started = found.unwrap_or_default();
    for ReachableSocket { local, protocol, .. } in sockets {
        let (on, protocol) = (*local, *protocol);
        let place = Endpoint { protocol, address: on.ip(), port: on.port(), device: None };
        let is_known = started.commands.iter().any(|one| one.is_for(&place))
            || started.routes.iter().any(|one| one.is_for(&place));
        if !is_known {
            started.commands.push(SocketCommand { on, protocol, cmdline: Vec::new() });
        }
    }
    started
}

fn of_systemd(units: &Units<'_>, sockets: &[ReachableSocket]) -> Started {
    let of_socket = |socket: &ReachableSocket| {
        // The control group does not show the unit on old kernels, and never that of a user's socket.
        let of_group = socket.unit.as_deref().filter(|unit| unit.ends_with(".socket") && !unit.contains('/'));
        let unit = match of_group {
            Some(unit) => unit.to_owned(),
            None => units.socket_at(socket.local, socket.protocol)?,
        };
        let cmdline = units.command_of_socket(&unit)?;
        Some(SocketCommand { on: socket.local, protocol: socket.protocol, cmdline })
    };
    Started { commands: sockets.iter().filter_map(of_socket).collect(), routes: Vec::new() }
}

/// The configuration files of a process.
struct Files<'a> {
    root: &'a Root,
    process: &'a OwnedFd,
}

impl Files<'_> {
    /// Returns the text of a file; `None` if it cannot be read, or if it was changed after the process started.
    fn read(&self, path: &str) -> Option<String> {
        let below = path.strip_prefix('/')?;
        let bytes = self.root.read(below, LONGEST).ok()??;
        let change = change_since(self.root, below, process::running_since(self.process)?);
        (change == Change::Before).then(|| String::from_utf8(bytes).ok())?
    }

    /// Returns the paths of the files in a directory, in order; `None` if there are too many.
    fn paths(&self, directory: &str) -> Option<Vec<String>> {
        let names = self.root.names(directory.trim_matches('/')).ok()?;
        let mut names: Vec<String> =
            names.into_iter().map(|name| name.into_string().ok()).collect::<Option<_>>()?;
        names.sort_unstable();
        let directory = directory.trim_end_matches('/');
        (names.len() <= MOST_FILES).then(|| names.iter().map(|name| format!("{directory}/{name}")).collect())
    }

    fn exists(&self, path: &str) -> bool {
        self.root.stat_link(path.trim_start_matches('/')).is_some()
    }

    /// Returns the ports of the named services, from `/etc/services`.
    fn ports(&self) -> Ports {
        let bytes = self.root.read("etc/services", LONGEST).ok().flatten().unwrap_or_default();
        Ports::parse(&String::from_utf8_lossy(&bytes))
    }
}

/// The ports of named services.
struct Ports(HashMap<(String, Protocol), u16>);

impl Ports {
    /// Parses lines such as `domain 53/udp nameserver # DNS`.
    fn parse(text: &str) -> Self {
        let mut ports = HashMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = place.split_once('/') else { continue };
            let (Ok(port), Some(protocol)) = (port.parse(), protocol_of(protocol)) else { continue };
            for name in std::iter::once(name).chain(words) {
                ports.entry((name.to_owned(), protocol)).or_insert(port);
            }
        }
        Ports(ports)
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        let named = || self.0.get(&(service.to_owned(), protocol)).copied();
        service.parse().ok().or_else(named)
    }
}

/// Returns the protocol of a name such as `tcp`, `tcp6` or `tcp46`.
fn protocol_of(name: &str) -> Option<Protocol> {
    match name.trim_end_matches(['4', '6']) {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// Returns the addresses of a socket; `None` for the name of a host. Without a host, the socket has every address.
fn places(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    match host {
        "" | "*" | "0.0.0.0" | "::" | "[::]" => Some(vec![SocketAddr::new([0; 16].into(), port)]),
        host => Some(addresses(host)?.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
    }
}

/// Returns the command line of a program. The arguments may begin with the name under which the program is started. tcpd
/// checks the address of the client. Then it starts the program with this name.
fn command_line(program: &str, arguments: &[&str], has_name: bool) -> Vec<String> {
    let (program, arguments) = match arguments {
        [name, rest @ ..] if has_name => (if file_name(program) == "tcpd" { name } else { program }, rest),
        _ => (program, arguments),
    };
    std::iter::once(program).chain(arguments.iter().copied()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exe, ExeState};

    #[test]
    fn programs_that_start_others() {
        let inetd = |paths: &[&str]| {
            Some(Starter::Inetd(paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>()))
        };
        for (exe, line, is) in [
            ("/usr/lib/systemd/systemd", "/sbin/init", Some(Starter::Systemd)),
            ("/usr/sbin/inetd", "inetd", inetd(&["/etc/inetd.conf", "/etc/inetd.d"])),
            ("/usr/sbin/inetd", "inetd -i -q 5 /srv/i.conf", inetd(&["/srv/i.conf"])),
            ("/usr/sbin/inetutils-inetd", "inetd -R10 /a /b", inetd(&["/a", "/b"])),
            ("/bin/busybox", "busybox inetd -f /a", inetd(&["/a"])),
            ("/bin/busybox", "inetd -fe", inetd(&["/etc/inetd.conf", "/etc/inetd.d"])),
            ("/bin/busybox", "httpd -f", None),
            ("/usr/sbin/inetd", "inetd relative.conf", Some(Starter::Unknown)),
            ("/usr/sbin/inetd", "inetd -Z x", Some(Starter::Unknown)),
            ("/usr/sbin/xinetd", "xinetd -stayalive", Some(Starter::Xinetd("/etc/xinetd.conf".to_owned()))),
            ("/usr/sbin/xinetd", "xinetd -f /x", Some(Starter::Xinetd("/x".to_owned()))),
            ("/usr/sbin/xinetd", "xinetd -inetd_compat", Some(Starter::Unknown)),
            ("/usr/sbin/nginx", "nginx", None),
        ] {
            let process = Process {
                exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
                cmdline: line.split(' ').map(str::to_owned).collect(),
                uid: Some(0),
                ..Process::unknown(7)
            };
            assert_eq!(Starter::of(&process), is, "{line}");
            let of_user = Process { uid: Some(1000), ..process };
            let is = is.map(|is| if is == Starter::Systemd { Starter::SystemdOfUser } else { is });
            assert_eq!(Starter::of(&of_user), is, "{line}");
        }
    }

    #[test]
    fn named_services() {
        let ports = Ports::parse("# x\ndomain\t53/tcp\ndomain 53/udp nameserver # DNS\nbad\nrpc 1/x\n");
        for (name, protocol, port) in [
            ("8888", Protocol::Tcp, Some(8888)),
            ("domain", Protocol::Tcp, Some(53)),
            ("nameserver", Protocol::Udp, Some(53)),
            ("nameserver", Protocol::Tcp, None),
            ("bad", Protocol::Tcp, None),
        ] {
            assert_eq!(ports.port(name, protocol), port, "{name}");
        }
    }

    /// Every reachable socket of a starter has a command, which is empty if it is not known.
    #[test]
    fn files_of_inetd() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("i.conf");
        std::fs::write(&path, "8888 stream tcp nowait root /bin/nc nc 127.0.0.1 6379\n").unwrap();
        let path = path.to_str().unwrap().to_owned();
        // A file that was changed in the clock tick in which a process starts may be younger than the process.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = process::open(child.id()).unwrap();
        let sockets: Vec<ReachableSocket> = ["0.0.0.0:8888", "0.0.0.0:9999"]
            .map(|on| ReachableSocket { local: on.parse().unwrap(), protocol: Protocol::Tcp, unit: None })
            .into();
        let found = |paths: &[&String]| {
            let starter = Starter::Inetd(paths.iter().map(|path| (*path).clone()).collect());
            let started = read(&process, &starter, &sockets);
            started
                .commands
                .iter()
                .map(|one| format!("{} {}", one.on, one.cmdline.join(" ")))
                .collect::<Vec<_>>()
        };
        let known = found(&[&path]);
        let missing = found(&[&format!("{path}.not")]);
        std::fs::write(&path, "8888 stream tcp nowait root /bin/cat cat\n").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let changed = found(&[&path]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(known, ["[::]:8888 /bin/nc 127.0.0.1 6379", "0.0.0.0:9999 "]);
        assert_eq!(missing, ["0.0.0.0:8888 ", "0.0.0.0:9999 "]);
        assert_eq!(changed, ["0.0.0.0:8888 ", "0.0.0.0:9999 "]);
    }
}
