//! The service that a listener offers by the program that runs, and where a forwarding program leads.

use super::program_identity::{IdentifiedProcess, is_opener};
use crate::join::Entry;
use crate::model::{Peer, Service, ServiceBy};

/// Returns the service of the first process that is a known program. A program that only opens sockets for others is
/// not the service.
pub(super) fn running(listener: &Entry, processes: &[IdentifiedProcess<'_>]) -> Option<Service> {
    let local = &listener.socket.local;
    processes.iter().filter(|process| !is_opener(process)).find_map(|process| {
        let identity = process.identity.as_deref()?;
        let program = identity.serving(local.port, local.protocol).or_else(|| identity.program())?;
        let (name, product) = (Some(program.service()), Some(program.product));
        Some(Service { name, product, by: ServiceBy::Process })
    })
}

/// Returns the place to which docker-proxy forwards the port, by its command line.
pub(super) fn forwards_to(processes: &[IdentifiedProcess<'_>]) -> Option<Peer> {
    let proxy = processes.iter().find(|process| process.program_name() == Some("docker-proxy"))?;
    let value = |option: &str| {
        let mut words = proxy.process.cmdline.iter();
        words.find(|word| *word == option)?;
        words.next()
    };
    let address = value("-container-ip")?.parse().ok()?;
    Some(Peer { address, port: value("-container-port")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::program_identity::Identities;
    use super::*;
    use crate::model::{Exe, ExeState, Process};

    fn process(path: &str, cmdline: &[&str]) -> Process {
        Process {
            exe: Some(Exe { path: path.to_owned(), state: ExeState::Present, open_directories: None }),
            cmdline: cmdline.iter().map(ToString::to_string).collect(),
            ..Process::unknown(7)
        }
    }

    #[test]
    fn a_published_port_leads_to_its_container() {
        let line = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 8080";
        let line: Vec<&str> = line.split(' ').collect();
        for (name, path, cmdline, leads_to) in [
            ("docker-proxy", "/usr/bin/docker-proxy", &line[..], Some("172.17.0.2:8080")),
            ("a cut command line", "/usr/bin/docker-proxy", &line[..9], None),
            (
                "a hostile port",
                "/usr/bin/docker-proxy",
                &["-container-ip", "::1", "-container-port", "x"],
                None,
            ),
            ("another program", "/usr/bin/socat", &line[..], None),
        ] {
            let process = process(path, cmdline);
            let processes = [Identities::default().identify(&process)];
            let found = forwards_to(&processes).map(|to| format!("{}:{}", to.address, to.port));
            assert_eq!(found.as_deref(), leads_to, "{name}");
        }
    }
}
