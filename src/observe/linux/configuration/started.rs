//! Finds the programs that systemd and inetd start for the connections of their sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::super::packages::root::Root;
use super::{LONGEST, ReachableSocket, directory, unit_files};
use crate::model::{Process, Protocol, SocketCommand};

/// A program that listens on behalf of other programs, and starts them when a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starter {
    Systemd,
    Inetd,
}

impl Starter {
    pub(super) fn of(process: &Process) -> Option<Self> {
        match process.exe.as_ref()?.path.rsplit('/').next()? {
            "systemd" if process.uid == Some(0) => Some(Starter::Systemd),
            // With an argument, inetd may read another file.
            "inetd" if process.cmdline.len() == 1 => Some(Starter::Inetd),
            _ => None,
        }
    }
}

/// Returns the command line for each socket. It is empty if the unit cannot be read.
pub(super) fn commands(
    process: &OwnedFd,
    starter: Starter,
    sockets: &[ReachableSocket],
) -> Vec<SocketCommand> {
    let root = directory(process, "root").map(|root| Root::new(root, false));
    let Some(root) = root else { return Vec::new() };
    let of_socket = |socket: &ReachableSocket| {
        let unit = socket.unit.as_deref()?;
        // Socket units of users are in other directories, so they are left out.
        (unit.ends_with(".socket") && !unit.contains('/')).then(|| SocketCommand {
            on: socket.local,
            protocol: socket.protocol,
            cmdline: unit_files::command_of_socket(&root, unit).unwrap_or_default(),
        })
    };
    match starter {
        Starter::Systemd => sockets.iter().filter_map(of_socket).collect(),
        Starter::Inetd => {
            let bytes = root.read("etc/inetd.conf", LONGEST).ok().flatten().unwrap_or_default();
            inetd(&String::from_utf8_lossy(&bytes))
        }
    }
}

/// Parses `inetd.conf`: lines such as `8888 stream tcp nowait root /bin/nc nc 127.0.0.1 6379`. A line with the name of a
/// service in place of a port is left out.
fn inetd(text: &str) -> Vec<SocketCommand> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [service, _, protocol, _, _, program, arguments @ ..] = &words[..] else { return None };
        let (host, port) = service.rsplit_once(':').unwrap_or(("", service));
        let address = match host {
            "" | "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            host => host.parse().ok()?,
        };
        // tcpd checks the address of the client. Then it starts the program that its first argument names.
        let is_wrapped = program.ends_with("/tcpd");
        let first = arguments.first().filter(|_| is_wrapped).unwrap_or(program);
        let rest = arguments.iter().skip(1);
        Some(SocketCommand {
            on: SocketAddr::new(address, port.parse().ok()?),
            protocol: if protocol.starts_with("udp") { Protocol::Udp } else { Protocol::Tcp },
            cmdline: std::iter::once(first).chain(rest).map(|word| (*word).to_owned()).collect(),
        })
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_inetd() {
        for (line, is) in [
            (
                "8888 stream tcp nowait root /bin/nc nc 127.0.0.1 6379",
                Some("[::]:8888 /bin/nc 127.0.0.1 6379"),
            ),
            (
                "127.0.0.1:53 dgram udp wait nobody /usr/sbin/tcpd /usr/sbin/x -y",
                Some("127.0.0.1:53 /usr/sbin/x -y"),
            ),
            ("# 8888 stream tcp nowait root /bin/nc nc", None),
            ("telnet stream tcp nowait root /x x", None),
            ("8888 stream", None),
        ] {
            let found = inetd(line).pop().map(|one| format!("{} {}", one.on, one.cmdline.join(" ")));
            assert_eq!(found.as_deref(), is, "{line}");
        }
    }
}
