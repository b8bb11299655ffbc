//! `exposed`: a service that is dangerous if other machines can reach it, and that they can reach.

use super::program_identity::IdentifiedProcess;
use super::service;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::reach::{ConfiguredAccess, Exposed, ServingProcess};
use crate::join::Entry;
use crate::model::{AccessSetting, DangerBasis, Owner, Peer, Protocol, Severity};
use crate::registry::dangers::{self, Danger};

/// Programs that listen on a container's published port; the service itself is behind them.
const PUBLISHERS: [&str; 11] = [
    "docker-proxy",
    "conmon",
    "rootlessport",
    "rootlessport-child",
    "rootlesskit",
    "com.docker.backend",
    "kube-proxy",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "gvproxy",
];

/// Decides `exposed`. If several processes own the socket, the one with the most severe danger counts.
pub(super) fn exposed(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let entry = subject.listener;
    if !entry.exposure.is_reachable_from_outside() || !entry.socket.state.accepts_traffic() {
        return None;
    }
    let (port, protocol) = (entry.socket.local.port, entry.socket.local.protocol);
    let forwarding = entry.socket.forwarding.as_ref();
    let (process, danger) = match &entry.socket.owner {
        Owner::Kernel if forwarding.is_some() && subject.processes.is_empty() => {
            (None, behind_published_port(port, forwarding.map(|one| one.to), protocol)?)
        }
        Owner::Kernel if forwarding.is_none() => (None, dangers::danger_of_kernel(port, protocol)?),
        _ => {
            let chosen_by_kernel = subject.snapshot.ephemeral_range(&entry.socket).is_some();
            let dangers = subject
                .processes
                .iter()
                .filter_map(|process| Some((process, danger(process, entry, chosen_by_kernel)?)));
            // `max_by_key` returns the last of equal elements, but the first process is to count.
            let (process, danger) = dangers.rev().max_by_key(|(_, danger)| danger.severity)?;
            (Some(process), danger)
        }
    };
    let (danger, configuration) = match process {
        Some(process) => as_configured(danger, process, port),
        None => (danger, None),
    };
    let Danger { service, title, severity, authentication, encryption, outsider_gets, remedy, attack, basis } =
        danger;
    let basis = if configuration.is_some() { DangerBasis::Configuration } else { basis };
    let exposed = Exposed {
        service,
        title,
        process: process.map(serving),
        protocol,
        port,
        exposure: entry.exposure,
        outsider_gets,
        authentication,
        encryption,
        basis,
        configuration,
        remedy,
        attack: attack.split(',').filter(|technique| !technique.is_empty()).collect(),
        severity,
    };
    Some(exposed.into())
}

/// The services whose configuration file an audit reads, by their rows in the table of dangerous services.
const CONFIGURED: [&str; 5] = ["redis", "valkey", "mongodb", "nats", "kafka"];

/// Returns the danger according to the configuration file of the process, and the setting that decides. The file does
/// not lower the danger of a program that a user can have put there.
fn as_configured(
    danger: Danger,
    process: &IdentifiedProcess<'_>,
    port: u16,
) -> (Danger, Option<ConfiguredAccess>) {
    let Some(configuration) = &process.process.configuration else { return (danger, None) };
    let is_for_port = |access: &&AccessSetting| access.port.is_none_or(|only| only == port);
    let Some(access) = configuration.settings.iter().find(is_for_port) else { return (danger, None) };
    let decides = CONFIGURED.contains(&danger.service) && danger.basis == DangerBasis::Default;
    if !decides || (access.authenticates && process.is_replaceable()) {
        return (danger, None);
    }
    let decided = ConfiguredAccess { path: configuration.path.clone(), setting: access.setting.clone() };
    let severity = match (access.authenticates, access.setting.as_str()) {
        (true, _) => danger.severity.min(Severity::Warning),
        (false, "protected-mode no") => Severity::Critical,
        (false, _) => danger.severity,
    };
    let authentication = if access.authenticates { "password" } else { "none" };
    (Danger { severity, authentication, ..danger }, Some(decided))
}

/// Returns the danger that is presumed behind a published port: by the port of the service itself, if that is known.
fn behind_published_port(port: u16, behind: Option<Peer>, protocol: Protocol) -> Option<Danger> {
    let by_port = |port| dangers::behind_published_port(port, protocol);
    behind.and_then(|to| by_port(to.port)).or_else(|| by_port(port))
}

fn danger(process: &IdentifiedProcess<'_>, entry: &Entry, chosen_by_kernel: bool) -> Option<Danger> {
    let (local, forwarding) = (&entry.socket.local, &entry.socket.forwarding);
    let protocol = local.protocol;
    // Traffic of a published port arrives at the port of the service.
    let port = forwarding.as_ref().map_or(local.port, |one| one.to.port);
    if !process.is_replaceable() && process.program_name().is_some_and(|name| PUBLISHERS.contains(&name)) {
        let behind = service::forwards_to(std::slice::from_ref(process));
        return behind_published_port(port, behind, protocol);
    }
    dangers::danger(&process.command_line()?, port, protocol, chosen_by_kernel)
}

fn serving(process: &IdentifiedProcess<'_>) -> ServingProcess {
    let one = process.process;
    ServingProcess {
        pid: one.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        user: one.user.clone().or_else(|| one.uid.map(|uid| uid.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::model::{Configuration, Process, State};
    use crate::registry::Registry;

    /// Returns the `exposed` finding on a listener of this process.
    fn found(local: &str, process: Process) -> Option<(Severity, Exposed)> {
        let report = judge(
            seen(vec![socket(local, Owner::Held(vec![7].into()))], vec![process]),
            Registry::embedded(),
        );
        let mut findings = report.entries[0].findings().iter();
        findings.find_map(|finding| Some((finding.severity, Exposed::of(&finding.evidence)?.clone())))
    }

    fn redis(exe: &str, configuration: Option<(&str, bool)>) -> Process {
        let configuration = configuration.map(|(setting, authenticates)| Configuration {
            path: "/etc/redis/redis.conf".to_owned(),
            settings: vec![AccessSetting { port: None, setting: setting.to_owned(), authenticates }],
        });
        Process { configuration, ..program_process(7, "redis-server", exe, "redis-server *:6379") }
    }

    #[test]
    fn a_configuration_decides_between_critical_and_warning() {
        let (installed, at_home) = ("/usr/bin/redis-server", "/home/u/redis-server");
        use DangerBasis::{Configuration, Default};
        use Severity::{Critical, Warning};
        for (name, exe, configuration, severity, basis) in [
            ("not read", installed, None, Critical, Default),
            ("a password", installed, Some(("requirepass", true)), Warning, Configuration),
            ("no password", installed, Some(("no requirepass", false)), Critical, Configuration),
            ("a password, but a user's program", at_home, Some(("requirepass", true)), Critical, Default),
            (
                "no password, a user's program",
                at_home,
                Some(("no requirepass", false)),
                Critical,
                Configuration,
            ),
        ] {
            let (found, exposed) = found("tcp/0.0.0.0:6379", redis(exe, configuration)).unwrap();
            assert_eq!((found, exposed.basis), (severity, basis), "{name}");
            assert_eq!(exposed.configuration.is_some(), basis == Configuration, "{name}");
            let text = format!("{} {}", exposed.summary(), exposed.closing());
            let expected = if basis == Configuration { "/etc/redis/redis.conf: " } else { "(not checked)" };
            assert!(text.contains(expected), "{name}: {text}");
        }
    }

    #[test]
    fn a_listener_of_kafka_is_decided_by_its_own_port() {
        let kafka = |port| {
            let settings = [(9092, true), (9093, false)].map(|(port, authenticates)| AccessSetting {
                port: Some(port),
                setting: "listener".to_owned(),
                authenticates,
            });
            let configuration = Some(Configuration { path: "/s".to_owned(), settings: settings.to_vec() });
            let process = program_process(7, "java", "/usr/bin/java", "java kafka.Kafka /s");
            found(&format!("tcp/0.0.0.0:{port}"), Process { configuration, ..process }).unwrap().1.basis
        };
        let basis = [9092, 9093, 9094].map(kafka);
        assert_eq!(basis, [DangerBasis::Configuration, DangerBasis::Configuration, DangerBasis::Default]);
    }

    #[test]
    fn a_published_port_is_presumed_one_grade_lower() {
        let proxy = |exe: &str| program_process(7, "docker-proxy", exe, "docker-proxy -proto tcp");
        let (severity, exposed) = found("tcp/0.0.0.0:6379", proxy("/usr/bin/docker-proxy")).unwrap();
        assert_eq!((severity, exposed.basis), (Severity::Warning, DangerBasis::Port));
        assert!(exposed.summary().starts_with("probably Redis"), "{}", exposed.summary());
        assert!(found("tcp/0.0.0.0:6379", proxy("/home/u/docker-proxy")).is_none(), "an impostor instead");
    }

    #[test]
    fn unreachable_listeners_are_not_exposed() {
        let process = || redis("/usr/bin/redis-server", None);
        assert!(found("tcp/127.0.0.1:6379", process()).is_none(), "loopback");
        let mut bound = socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()));
        bound.state = State::Bound;
        let report = judge(seen(vec![bound], vec![process()]), Registry::embedded());
        assert!(report.entries[0].findings().iter().all(|one| Exposed::of(&one.evidence).is_none()), "bound");
    }

    /// An industrial protocol is presumed by its port alone, but not if the kernel chose the port.
    #[test]
    fn a_port_that_the_kernel_chose_matches_no_row() {
        let unknown = |local: &str| found(local, program_process(7, "xyzzy", "/usr/bin/xyzzy", "xyzzy"));
        assert_eq!(unknown("tcp/0.0.0.0:502").map(|(_, exposed)| exposed.basis), Some(DangerBasis::Port));
        assert!(unknown("tcp/0.0.0.0:44818").is_none(), "EtherNet/IP, inside the kernel's range");
    }
}
