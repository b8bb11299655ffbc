//! `exposed`: a dangerous service that other machines can reach.

use super::program_identity::{IdentifiedProcess, by_socket_unit};
use super::relayed::RelayedService;
use super::service;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::reach::{ConfiguredAccess, Exposed, Relay, Restriction, ServingProcess};
use crate::join::Entry;
use crate::model::interpreter::{Property, values_of, without_version};
use crate::model::{
    AccessSetting, AdmittedClients, DangerBasis, Exposure, Owner, Peer, Protocol, ReachKind,
    RelayRestriction, RestrictedBy, Severity, unmapped,
};
use crate::registry::command_line::CommandLine;
use crate::registry::dangers::{self, Danger};
use crate::registry::identity::RecognisedProgram;

/// Programs that listen on a published port and forward its traffic to a container.
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

struct FoundDanger<'s> {
    process: Option<&'s IdentifiedProcess<'s>>,
    danger: Danger,
    configuration: Option<ConfiguredAccess>,
    relay: Option<Relay>,
}

/// Returns the evidence of `exposed`. Several processes may own the socket, and a relay may pass the connections to
/// another service. The most severe danger counts.
pub(super) fn exposed(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let entry = subject.listener;
    if !entry.exposure.is_reachable_from_outside() || !entry.socket.state.accepts_traffic() {
        return None;
    }
    let behind = subject
        .relayed
        .iter()
        .filter_map(|(service, processes)| danger_behind_relay(subject, service, processes));
    // `max_by_key` returns the last of several equal elements.
    let relayed = behind.collect::<Vec<_>>().into_iter().rev().max_by_key(|found| found.danger.severity);
    let own = own_danger(subject);
    let is_worse =
        |other: &FoundDanger<'_>| own.as_ref().is_none_or(|own| other.danger.severity > own.danger.severity);
    let FoundDanger { process, danger, configuration, relay } = relayed.filter(is_worse).or(own)?;
    let (port, protocol) = (entry.socket.local.port, entry.socket.local.protocol);
    let Danger { service, title, severity, authentication, encryption, outsider_gets, remedy, attack, basis } =
        danger;
    let changed_configuration = process.and_then(|process| changed_configuration(&danger, process));
    let basis = if configuration.is_some() { DangerBasis::Configuration } else { basis };
    let is_loopback = unmapped(entry.socket.local.address).is_loopback();
    // If the exposure is not `LinkLocal`, a rule sends packets of other machines to the loopback interface.
    let is_loopback_address = is_loopback && entry.exposure == Exposure::LinkLocal;
    let exposed = Exposed {
        service,
        title,
        process: process.map(serving),
        protocol,
        port,
        exposure: entry.exposure,
        is_loopback_address,
        reach: subject.reach.cloned().map(Box::new),
        outsider_gets,
        authentication,
        encryption,
        basis,
        configuration,
        changed_configuration,
        remedy: match is_loopback_address {
            true => DROP_MARTIANS.to_owned(),
            false if is_loopback => DELETE_REDIRECT.to_owned(),
            false if let Some(proxy) = relay.as_ref().filter(|relay| relay.program == DOCKER_PROXY) => {
                publish_locally(port, proxy.to.port)
            }
            false if relay.is_some() => CLOSE_RELAY.to_owned(),
            false if let Some(published) = subject.published_as.first() => {
                publish_locally(published.port, port)
            }
            false => remedy.replace("{port}", &port.to_string()),
        },
        relay,
        attack: attack.split(',').filter(|technique| !technique.is_empty()).collect(),
        severity: match subject.reach.map(|reach| reach.kind) {
            // Only the firewall protects the service, so some danger remains.
            Some(ReachKind::Filtered) => severity.lower(),
            Some(ReachKind::Machine) => severity.lower().lower(),
            // Other machines can usually reach only the published ports. These ports have separate entries.
            _ if subject.reach.is_some_and(|reach| reach.through_process) => severity.lower().lower(),
            // Only a machine on the same link can send packets for a loopback address. Ordinary programs do not send
            // such packets.
            _ if is_loopback_address => severity.lower(),
            _ => severity,
        },
    };
    Some(exposed.into())
}

fn own_danger<'s>(subject: &JudgedListener<'s>) -> Option<FoundDanger<'s>> {
    let entry = subject.listener;
    let (port, protocol) = (entry.socket.local.port, entry.socket.local.protocol);
    let forwarding = subject.forwarding;
    let (process, danger) = match &entry.socket.owner {
        _ if subject.is_reserved() || (forwarding.is_some() && subject.processes.is_empty()) => {
            (None, behind_published_port(port, forwarding.map(|one| one.to), protocol)?)
        }
        Owner::Kernel if forwarding.is_none() => (None, dangers::danger_of_kernel(port, protocol)?),
        _ => {
            // The service behind a published port has another port, so it does not matter whether the kernel chose the
            // published port.
            let chosen_by_kernel =
                forwarding.is_none() && subject.snapshot.ephemeral_range(&entry.socket).is_some();
            let found = worst(subject.processes, entry, chosen_by_kernel);
            let opened =
                opened_by_configuration(subject.processes, forwarding.map_or(port, |one| one.to.port));
            // `max_by_key` returns the last of two equal elements.
            let (process, danger) =
                opened.into_iter().chain(found).max_by_key(|(_, danger)| danger.severity)?;
            (Some(process), danger)
        }
    };
    let (danger, configuration) = match process {
        Some(process) => {
            let port = forwarding.map_or(port, |forwarding| forwarding.to.port);
            let hides_clients = subject.reach.is_some_and(|reach| reach.hides_clients);
            as_configured(danger, process, port, hides_clients)
        }
        None => (danger, None),
    };
    Some(FoundDanger { process, danger, configuration, relay: None })
}

/// Servers that are safe by default, but that a configuration file can open. The second name is that of the row about
/// this file.
const OPENED: [(&str, &str); 7] = [
    ("sshd", SSH_EMPTY_PASSWORDS),
    ("nginx", WEB_WRITABLE),
    ("openresty", WEB_WRITABLE),
    ("angie", WEB_WRITABLE),
    ("apache2", WEB_WRITABLE),
    ("httpd", WEB_WRITABLE),
    ("lighttpd", WEB_WRITABLE),
];

/// Returns the danger of a server that its configuration file opens on `port`. By default, the server is safe.
fn opened_by_configuration<'s>(
    processes: &'s [IdentifiedProcess<'s>],
    port: u16,
) -> Option<(&'s IdentifiedProcess<'s>, Danger)> {
    let opened = processes.iter().filter_map(|process| {
        let (_, row) = OPENED.iter().find(|(program, _)| process.program_name() == Some(program))?;
        let settings = &process.process.configuration.as_ref()?.settings;
        let is_open = settings.iter().any(|one| one.port.is_none_or(|only| only == port));
        is_open.then(|| Some((process, dangers::named(row)?))).flatten()
    });
    opened.into_iter().next()
}

/// Returns the danger of the service to which a relay passes the connections. If the processes of the service are not
/// visible, the port of the service decides.
fn danger_behind_relay<'s>(
    subject: &JudgedListener<'s>,
    relayed: &RelayedService,
    processes: &'s [IdentifiedProcess<'s>],
) -> Option<FoundDanger<'s>> {
    let RelayedService { relay, to, service, restriction } = relayed;
    let (port, protocol) = (service.socket.local.port, service.socket.local.protocol);
    let (process, danger) = match &service.socket.owner {
        Owner::Kernel => (None, dangers::danger_of_kernel(port, protocol)?),
        _ if processes.is_empty() => (None, dangers::behind_published_port(port, protocol)?),
        _ => {
            let chosen_by_kernel = subject.snapshot.ephemeral_range(&service.socket).is_some();
            let (process, danger) = worst(processes, service, chosen_by_kernel)?;
            (Some(process), danger)
        }
    };
    let (mut danger, configuration) = match process {
        Some(process) => as_configured(danger, process, port, true),
        None => (danger, None),
    };
    // A rule of the firewall can change the source address of packets.
    let hides_clients = subject.reach.is_some_and(|reach| reach.hides_clients);
    let counts = |by| by == RestrictedBy::Credentials || !hides_clients;
    let restriction = restriction.clone().filter(|(_, restriction)| counts(restriction.by));
    if restriction.is_some() {
        danger.severity = danger.severity.lower();
    }
    let program = subject.processes.iter().find(|process| process.process.pid == *relay);
    let program = program.and_then(IdentifiedProcess::program_name).unwrap_or("?").to_owned();
    let restriction = restriction.map(|(pid, RelayRestriction { by, file })| Restriction { pid, by, file });
    let relay = Relay { pid: *relay, program, to: *to, restriction };
    Some(FoundDanger { process, danger, configuration, relay: Some(relay) })
}

fn worst<'s>(
    processes: &'s [IdentifiedProcess<'s>],
    entry: &Entry,
    chosen_by_kernel: bool,
) -> Option<(&'s IdentifiedProcess<'s>, Danger)> {
    let port = entry.socket.local.port;
    let dangers = processes.iter().filter_map(|process| {
        let chosen_by_kernel = chosen_by_kernel && !names_port(process, port);
        Some((process, danger(process, entry, chosen_by_kernel)?))
    });
    // `max_by_key` returns the last of several equal elements. The order is reversed, because the first process is
    // wanted.
    dangers.rev().max_by_key(|(_, danger)| danger.severity)
}

/// The remedy for a relay. The service itself may already listen on a loopback address.
const CLOSE_RELAY: &str = "make the relay listen on a loopback address, let only the clients that need it \
    through the firewall, or make the service ask for a password";
const DOCKER_PROXY: &str = "docker-proxy";
/// The remedy for a loopback address that machines on the same link can reach.
const DROP_MARTIANS: &str = "drop packets from other machines to 127.0.0.0/8: `iptables -t raw -I PREROUTING -d 127.0.0.0/8 ! -i lo -j DROP`";
/// The remedy for a loopback address to which a rule sends packets of other machines.
const DELETE_REDIRECT: &str = "delete the rule that sends packets from other machines to the loopback interface, or make the service ask for a password";
/// The services whose configuration files are read, by their names in the table of dangerous services.
const CONFIGURED: [&str; 12] = [
    "redis",
    "valkey",
    "mongodb",
    "nats",
    "nats-cluster",
    "kafka",
    KAFKA_SASL,
    "http-proxy",
    "docker-registry",
    KUBELET,
    SSH_EMPTY_PASSWORDS,
    WEB_WRITABLE,
];
/// Returns the remedy for the container port `inside`, which is published as the port `published`.
fn publish_locally(published: u16, inside: u16) -> String {
    format!(
        "publish the port only on this machine (`-p 127.0.0.1:{published}:{inside}`), or make the service ask for a \
            password"
    )
}

/// The servers that have the protected mode of Redis.
const REDIS: [&str; 2] = ["redis", "valkey"];
/// The rows about a kubelet with a configuration file, and about a kubelet that admits everyone.
const KUBELET: &str = "kubelet-file";
const KUBELET_OPEN: &str = "kubelet-anyone";
const SSH_EMPTY_PASSWORDS: &str = "ssh-empty-passwords";
/// The row about a web server whose clients can write files.
const WEB_WRITABLE: &str = "web-writable";
/// The row about a Kafka broker with a file of passwords on its command line. Each listener of the broker may still
/// admit everyone.
const KAFKA_SASL: &str = "kafka-sasl";
/// The rows about dockerd in the table of dangerous services: without TLS, with TLS, and with unknown settings.
const DOCKER: [&str; 3] = ["docker-api", "docker-api-tls", "docker-api-unknown"];
/// The lowest user ID of a person (`UID_MIN` of login.defs). People have the IDs from this number up to `nobody`.
const FIRST_PERSON: u32 = 1000;
const NOBODY: u32 = 65534;

/// Returns the danger according to the configuration file of the process. Also returns the setting that decides, if
/// there is one. Some settings do not lower the danger:
/// - any setting, if a user can replace the program
/// - settings about addresses, if a person runs the program
/// - settings about addresses, if the service may not see the addresses of its clients. Clients behind a relay have an
///   address of this machine. A rule of the firewall can change the source address of packets.
fn as_configured(
    danger: Danger,
    process: &IdentifiedProcess<'_>,
    port: u16,
    hides_clients: bool,
) -> (Danger, Option<ConfiguredAccess>) {
    let Some(configuration) = &process.process.configuration else { return (danger, None) };
    let is_for_port = |access: &&AccessSetting| access.port.is_none_or(|only| only == port);
    let Some(access) = configuration.settings.iter().find(is_for_port) else { return (danger, None) };
    let AccessSetting { setting, clients, .. } = access;
    let is_of_service = process.process.uid.is_some_and(|uid| uid < FIRST_PERSON || uid == NOBODY)
        && !process.is_replaceable();
    let counts = match clients {
        AdmittedClients::Anyone => true,
        AdmittedClients::Authenticated => !process.is_replaceable(),
        AdmittedClients::Local | AdmittedClients::Listed => is_of_service && !hides_clients,
    };
    let is_default = danger.basis == DangerBasis::Default;
    let configured = match clients {
        _ if !counts => None,
        AdmittedClients::Authenticated if DOCKER.contains(&danger.service) => dangers::named(DOCKER[1]),
        AdmittedClients::Anyone if DOCKER.contains(&danger.service) && is_default => {
            dangers::named(DOCKER[0])
        }
        _ if !is_default || !CONFIGURED.contains(&danger.service) => None,
        // `CONFIG SET` can switch protected mode off while Redis runs. The file does not show this.
        AdmittedClients::Local if REDIS.contains(&danger.service) => {
            Some(Danger { severity: danger.severity.lower(), ..danger })
        }
        AdmittedClients::Local => Some(Danger { severity: Severity::Info, ..danger }),
        AdmittedClients::Listed => Some(Danger { severity: danger.severity.lower(), ..danger }),
        AdmittedClients::Anyone if [SSH_EMPTY_PASSWORDS, WEB_WRITABLE].contains(&danger.service) => {
            Some(Danger { severity: Severity::Critical, authentication: "none", ..danger })
        }
        AdmittedClients::Authenticated if danger.service == KUBELET => {
            Some(Danger { severity: Severity::Info, authentication: "strong", ..danger })
        }
        AdmittedClients::Anyone if danger.service == KUBELET => dangers::named(KUBELET_OPEN),
        AdmittedClients::Authenticated => {
            let severity = danger.severity.min(Severity::Warning);
            Some(Danger { severity, authentication: "password", ..danger })
        }
        AdmittedClients::Anyone if danger.service == KAFKA_SASL => dangers::named("kafka"),
        AdmittedClients::Anyone => {
            // If Redis admits everyone, its protected mode is off.
            let is_unprotected = REDIS.contains(&danger.service);
            let severity = if is_unprotected { Severity::Critical } else { danger.severity };
            Some(Danger { severity, authentication: "none", ..danger })
        }
    };
    let decided =
        ConfiguredAccess { path: configuration.path.clone(), setting: setting.clone(), clients: *clients };
    configured.map_or((danger, None), |configured| (configured, Some(decided)))
}

/// Returns the configuration file if the file was changed after the process started, and if the file can decide the
/// danger.
fn changed_configuration(danger: &Danger, process: &IdentifiedProcess<'_>) -> Option<String> {
    let could_decide = danger.basis == DangerBasis::Default
        && (CONFIGURED.contains(&danger.service) || DOCKER.contains(&danger.service));
    process.process.configuration.as_ref().filter(|_| could_decide)?.changed.clone()
}

/// Returns the presumed danger of the service behind a published port. The port of the service decides or, if this port
/// shows no danger, the published port.
fn behind_published_port(port: u16, behind: Option<Peer>, protocol: Protocol) -> Option<Danger> {
    let by_port = |port| dangers::behind_published_port(port, protocol);
    behind.and_then(|to| by_port(to.port)).or_else(|| by_port(port))
}

/// Returns whether the command line contains this port. If it does, the kernel did not choose the port.
fn names_port(process: &IdentifiedProcess<'_>, port: u16) -> bool {
    let port = port.to_string();
    let arguments = process.process.cmdline.iter().skip(1);
    arguments.flat_map(|argument| argument.split(|c: char| !c.is_ascii_digit())).any(|number| number == port)
}

fn danger(process: &IdentifiedProcess<'_>, entry: &Entry, chosen_by_kernel: bool) -> Option<Danger> {
    let (local, forwarding) = (&entry.socket.local, &entry.socket.forwarding);
    let protocol = local.protocol;
    // Traffic to a published port arrives at the port of the service.
    let port = forwarding.as_ref().map_or(local.port, |one| one.to.port);
    if !process.is_replaceable() && process.program_name().is_some_and(|name| PUBLISHERS.contains(&name)) {
        let behind = service::forwards_to(std::slice::from_ref(process));
        return behind_published_port(port, behind, protocol);
    }
    let by_line = dangers::danger(process.command_line()?, port, protocol, chosen_by_kernel);
    let by_line = danger_by_unit(process, entry, by_line);
    let by_environment = danger_by_environment(process, port, protocol, chosen_by_kernel);
    let known = by_environment
        .filter(|_| by_line.is_none_or(|danger| danger.severity < Severity::Critical))
        .or(by_line);
    known.or_else(|| dangers::of_unknown_program(port, protocol).filter(|_| is_unknown(process)))
}

/// Returns whether no table lists the program. Then only the port shows what the program may serve.
fn is_unknown(process: &IdentifiedProcess<'_>) -> bool {
    process.identity.as_deref().is_some_and(RecognisedProgram::is_unknown) && process.ad_hoc_tool().is_none()
}

/// Returns the danger of the program that systemd starts for a socket. The name of the socket unit names the program.
///
/// Returns `by_line`, the danger of the process itself, in two cases: the unit names no program, or both the program
/// and the process are dangerous and the port is not the only evidence about the process.
fn danger_by_unit(process: &IdentifiedProcess<'_>, entry: &Entry, by_line: Option<Danger>) -> Option<Danger> {
    let Some(program) = by_socket_unit(process, entry).filter(|program| !program.is_arg()) else {
        return by_line;
    };
    let local = &entry.socket.local;
    let command = CommandLine::new(program.mark(), &[]);
    let of_program = dangers::danger(&command, local.port, local.protocol, false)?;
    Some(by_line.filter(|danger| danger.basis != DangerBasis::Port).unwrap_or(of_program))
}

/// Returns the danger of debugger options in the environment. This danger is certain, because the interpreter treats
/// these options like options on its command line.
fn danger_by_environment(
    process: &IdentifiedProcess<'_>,
    port: u16,
    protocol: Protocol,
    chosen_by_kernel: bool,
) -> Option<Danger> {
    let options = &process.process.debugger_options;
    if options.is_empty() {
        return None;
    }
    let (name, (program, arguments)) = (process.program_name()?, process.process.cmdline.split_first()?);
    // The variables of Node.js and Java contain options for the interpreter. These options come before the script.
    let is_of_interpreter = !values_of(without_version(name), Property::OptionVariables).is_empty();
    let (first, last) = if is_of_interpreter { (&options[..], arguments) } else { (arguments, &options[..]) };
    let line: Vec<String> = std::iter::once(program).chain(first).chain(last).cloned().collect();
    let command = CommandLine::new(name, &line);
    let danger = dangers::danger(&command, port, protocol, chosen_by_kernel)?;
    let is_certain = danger.basis == DangerBasis::CommandLine;
    is_certain.then_some(Danger { basis: DangerBasis::Environment, ..danger })
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
mod tests;
