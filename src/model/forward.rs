//! The destination of a published port.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Container, Endpoint, OriginKind, Peer, Pid, Process};

/// The destination to which a program such as docker-proxy forwards a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTarget {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The container with this address, if a file of its manager names the address.
    pub container: Option<Arc<Container>>,
    /// The processes that listen at the destination, if their network namespace was scanned.
    pub pids: Vec<Pid>,
    /// The process that started the other processes at the destination.
    pub served_by: Option<Arc<Process>>,
}

impl Peer {
    /// Returns the destination to which docker-proxy forwards a port, according to its command line; `None` for any
    /// other process.
    #[must_use]
    pub fn behind_docker_proxy(process: &Process) -> Option<Self> {
        let address = docker_proxy_option(process, "-container-ip")?.parse().ok()?;
        Some(Peer { address, port: docker_proxy_option(process, "-container-port")?.parse().ok()? })
    }
}

impl Endpoint {
    /// Returns the published port that docker-proxy serves, according to its command line; `None` for any other
    /// process.
    #[must_use]
    pub fn of_docker_proxy(process: &Process) -> Option<Self> {
        Some(Endpoint {
            protocol: docker_proxy_option(process, "-proto")?.parse().ok()?,
            address: docker_proxy_option(process, "-host-ip")?.parse().ok()?,
            port: docker_proxy_option(process, "-host-port")?.parse().ok()?,
            device: None,
        })
    }
}

/// Returns the value of an option of docker-proxy; `None` for any other process. Any user can start a program with this
/// name. Therefore the process must run as root, and its file must not be replaceable by a user.
fn docker_proxy_option<'p>(process: &'p Process, option: &str) -> Option<&'p str> {
    let (name, may_be_roots) = match &process.exe {
        // On a system without user IDs, the user is not checked.
        Some(exe) => (exe.path.rsplit('/').next(), process.uid.is_none_or(|uid| uid == 0)),
        None => (process.name.as_deref(), process.uid == Some(0)),
    };
    let is_users = process.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::User);
    if name != Some("docker-proxy") || !may_be_roots || is_users {
        return None;
    }
    let mut words = process.cmdline.iter();
    words.find(|word| *word == option)?;
    words.next().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exe, ExeState, Origin};

    #[test]
    fn only_a_process_of_root_is_docker_proxy() {
        let line = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 8080";
        let line: Vec<&str> = line.split(' ').collect();
        let hostile = ["-container-ip", "::1", "-container-port", "x"];
        let installed = "/usr/bin/docker-proxy";
        let (root, user) = (Some(0), Some(1000));
        for (name, path, uid, origin, cmdline, leads_to) in [
            ("docker-proxy", Some(installed), root, OriginKind::Package, &line[..], true),
            ("its file could not be read", None, root, OriginKind::Package, &line[..], true),
            ("a user's process", Some(installed), user, OriginKind::Package, &line[..], false),
            ("a user's process without a file", None, user, OriginKind::Package, &line[..], false),
            ("a user's file", Some("/home/u/docker-proxy"), root, OriginKind::User, &line[..], false),
            (
                "root's file in an open directory",
                Some("/tmp/docker-proxy"),
                root,
                OriginKind::Open,
                &line[..],
                true,
            ),
            ("another program", Some("/usr/bin/socat"), root, OriginKind::Package, &line[..], false),
            ("a cut command line", Some(installed), root, OriginKind::Package, &line[..9], false),
            ("a hostile port", Some(installed), root, OriginKind::Package, &hostile[..], false),
        ] {
            let exe =
                |path: &str| Exe { path: path.to_owned(), state: ExeState::Present, open_directories: None };
            let process = Process {
                name: Some("docker-proxy".to_owned()),
                exe: path.map(exe),
                uid,
                origin: path.map(|_| Origin::of(origin)),
                cmdline: cmdline.iter().map(ToString::to_string).collect(),
                ..Process::unknown(7)
            };
            let found = Peer::behind_docker_proxy(&process).map(|to| format!("{}:{}", to.address, to.port));
            assert_eq!(found.as_deref(), leads_to.then_some("172.17.0.2:8080"), "{name}");
            let port = Endpoint::of_docker_proxy(&process).map(|port| port.to_string());
            let names_port = leads_to || name == "a cut command line";
            assert_eq!(port.as_deref(), names_port.then_some("tcp/0.0.0.0:80"), "{name}");
        }
    }
}
