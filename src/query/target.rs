//! A target: a port, a range, an address, or the name of a service or program.

use std::net::IpAddr;

use super::target_text::{self, TypedAddress};
use super::{Answer, Subject, conditions};
use crate::findings::text::{FEW, first_of};
use crate::model::interpreter::{InterpreterCommand, parse_command};
use crate::model::{
    Container, Network, Owner, PortRange, Process, Protocol, file_name, is_container_id, unmapped,
};
use crate::registry::identity::{RecognisedProgram, identify};
use crate::registry::programs::{self, ListedProgram};
use crate::registry::{Registry, search};

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) kind: TargetKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetKind {
    /// `3416`, `80,443`, `8000-8100`.
    Ports(Vec<PortRange>),
    /// `127.0.0.1`, `10.0.0.0/8`, `[::1]:5432`. The target selects the sockets that receive traffic for the address in
    /// two cases:
    ///
    /// - This machine has the address.
    /// - The target has ports, and is a network or an address that this machine may have.
    ///
    /// In all other cases, the target selects the sockets that are bound to the address.
    Address(TypedAddress),
    Name(Name),
}

/// A name of a service, product, program, script, container or network interface.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) name: String,
    /// The ports of the registered service with this name.
    pub(crate) service: Vec<(PortRange, Protocol)>,
    /// The known programs with this name or product.
    programs: Vec<ListedProgram>,
    /// The addresses of the network interface with this name; `None` if this machine has no such interface.
    interface: Option<Vec<IpAddr>>,
}

/// Parses every target. `80,nginx` is two targets. Returns no targets if one of them is `*` or `*:*`, because both mean
/// every socket.
pub(crate) fn parse_all(texts: &[String], registry: &Registry) -> Result<Vec<Target>, String> {
    let mut targets = Vec::new();
    if texts.iter().any(|text| ["*", "*:*"].contains(&&**text)) {
        return Ok(targets);
    }
    for text in texts {
        let parts: Vec<&str> = text.split(',').collect();
        match Target::parse(text, registry)? {
            Target { kind: TargetKind::Name(_), .. } if parts.len() > 1 => {
                for part in parts {
                    targets.push(Target::parse(part, registry)?);
                }
            }
            target => targets.push(target),
        }
    }
    Ok(targets)
}

pub(crate) struct OwnAddresses<'a> {
    pub(crate) of_interface: &'a dyn Fn(&str) -> Option<Vec<IpAddr>>,
    pub(crate) has: &'a dyn Fn(IpAddr) -> bool,
}

impl Target {
    /// Parses one target. The error begins with the text.
    pub(crate) fn parse(text: &str, registry: &Registry) -> Result<Target, String> {
        let bad = |why: String| format!("{text}: {why}");
        if text.trim().is_empty() {
            return Err("empty target (expected a port, an address or a name)".to_owned());
        }
        let host = target_text::without_scheme(text, registry).transpose().map_err(bad)?;
        let (protocol, rest) = match &host {
            Some(host) => (Some(Protocol::Tcp), &**host),
            None => target_text::split_protocol(text).map_err(bad)?,
        };
        let unaddressed = rest.strip_prefix('*').filter(|rest| rest.starts_with(':')).unwrap_or(rest);
        let kind =
            if let Some(ports) = target_text::ports(unaddressed.strip_prefix(':').unwrap_or(unaddressed)) {
                TargetKind::Ports(ports.map_err(bad)?)
            } else if let Some(address) = target_text::address(rest) {
                TargetKind::Address(address.map_err(bad)?)
            } else {
                let mut service = registry.named(rest);
                service.retain(|(_, p)| protocol.is_none_or(|wanted| wanted.registered_as() == *p));
                TargetKind::Name(Name {
                    name: rest.to_owned(),
                    service,
                    programs: programs_of(rest),
                    interface: None,
                })
            };
        Ok(Target { text: text.to_owned(), protocol, kind })
    }

    /// Returns the ports that the target names; `None` if it can mean any port.
    pub(crate) fn ports(&self) -> Option<&[PortRange]> {
        match &self.kind {
            TargetKind::Ports(ports) => Some(ports),
            TargetKind::Address(address) => {
                Some(&address.ports).filter(|ports| !ports.is_empty()).map(Vec::as_slice)
            }
            TargetKind::Name(_) => None,
        }
    }

    /// Looks up a name among the network interfaces, or an address among the addresses of this machine.
    pub(crate) fn resolve(&mut self, machine: &OwnAddresses<'_>) {
        match &mut self.kind {
            TargetKind::Name(name) => name.interface = (machine.of_interface)(&name.name),
            TargetKind::Address(address) => {
                let single: Option<Vec<IpAddr>> =
                    address.networks.iter().map(|network| network.address()).collect();
                let is_unicast = |one: &IpAddr| {
                    !one.is_unspecified() && !one.is_multicast() && *one != IpAddr::from([255; 4])
                };
                address.is_own = single
                    .filter(|all| all.iter().all(is_unicast))
                    .map(|all| all.into_iter().any(machine.has));
            }
            TargetKind::Ports(_) => {}
        }
    }

    pub(crate) fn mean_bound_sockets(&mut self) {
        if let TargetKind::Address(address) = &mut self.kind {
            address.is_own = None;
        }
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self.kind, TargetKind::Name(_))
    }

    /// Returns whether the target names ports by number, or as the ports of a service.
    pub(crate) fn names_ports(&self) -> bool {
        match &self.kind {
            TargetKind::Name(name) => !name.service.is_empty(),
            _ => self.ports().is_some(),
        }
    }

    /// Returns whether the target selects an entry, or an address without a listener. With `either_end`, the remote end
    /// of a connection counts too. If the process of a socket is hidden, the probable owner counts as its process.
    pub(crate) fn test(&self, subject: &Subject<'_>, either_end: bool) -> Answer {
        let answer = self.test_for_certain(subject, either_end);
        let (Subject::Entry(entry), TargetKind::Name(name)) = (subject, &self.kind) else { return answer };
        let is_probable = entry.inferred_owner().is_some_and(|owner| name.is_of(&owner.process));
        let protocol = self.protocol.map_or(Answer::Yes, |wanted| conditions::protocol(subject, wanted));
        if is_probable { answer.or(protocol) } else { answer }
    }

    /// Like `test`, but ignores the probable owner of a hidden socket, because a guess must not exclude a socket.
    pub(super) fn test_for_certain(&self, subject: &Subject<'_>, either_end: bool) -> Answer {
        let protocol = self.protocol.map_or(Answer::Yes, |wanted| conditions::protocol(subject, wanted));
        let peer = subject.socket().and_then(|socket| socket.peer).filter(|_| either_end);
        let matches = match &self.kind {
            TargetKind::Ports(ports) => Answer::of_known(subject.port(), |port| contains(ports, port))
                .or(Answer::of(peer.is_some_and(|peer| contains(ports, peer.port)))),
            TargetKind::Address(TypedAddress { networks, ports, device, is_own }) => {
                let reaches = |network: &Network| match (is_own, ports.is_empty()) {
                    (Some(true), _) | (None, false) => reaches(subject, *network, ports),
                    // A client reaches a socket on the wildcard address only by an address that this machine has.
                    _ => is_bound_to(subject, *network).and(on_port(subject, ports)),
                };
                let near = Answer::any(networks.iter().map(reaches));
                let on_device = device.as_deref().map_or(Answer::Yes, |wanted| {
                    conditions::device(subject, |device| device.is_none_or(|device| device == wanted))
                });
                near.and(on_device).or(Answer::of(peer.is_some_and(|peer| {
                    networks.iter().any(|network| network.contains(peer.address))
                        && (ports.is_empty() || contains(ports, peer.port))
                })))
            }
            TargetKind::Name(name) => name.test(subject),
        };
        protocol.and(matches)
    }
}

fn contains(ports: &[PortRange], port: u16) -> bool {
    ports.iter().any(|range| range.contains(port))
}

/// Returns whether the socket is on one of these ports; yes if `ports` is empty.
fn on_port(subject: &Subject<'_>, ports: &[PortRange]) -> Answer {
    match ports {
        [] => Answer::Yes,
        _ => Answer::of_known(subject.port(), |port| contains(ports, port)),
    }
}

fn is_bound_to(subject: &Subject<'_>, network: Network) -> Answer {
    Answer::of_known(subject.address(), |address| network.contains(unmapped(address)))
}

/// Returns whether a socket on one of these ports receives traffic for the network. Such a socket is bound to an
/// address of the network, or to the wildcard address. If `ports` is empty, every port counts.
fn reaches(subject: &Subject<'_>, network: Network, ports: &[PortRange]) -> Answer {
    let Some(address) = subject.address().map(unmapped) else { return Answer::Unknown };
    let bound = is_bound_to(subject, network);
    let connected = subject.socket().is_some_and(|socket| socket.peer.is_some());
    let wildcard = match address {
        _ if connected || !address.is_unspecified() => Answer::No,
        IpAddr::V4(_) => Answer::of(network.is_ipv4()),
        IpAddr::V6(_) if network.is_ipv4() => conditions::serves_ipv4(subject),
        IpAddr::V6(_) => Answer::Yes,
    };
    // The kernel delivers packets for a loopback address only through the loopback device. So a socket on another
    // device receives none of these packets.
    let is_cut_off = address.is_loopback() && on_device(subject, Network::single(address)).is_no();
    let bound = if is_cut_off && !ports.is_empty() { Answer::No } else { bound };
    on_port(subject, ports).and(bound.or(wildcard.and(on_device(subject, network))))
}

/// Returns whether traffic to the network arrives on the device that a socket is bound to.
fn on_device(subject: &Subject<'_>, network: Network) -> Answer {
    let is_loopback = network.address().is_some_and(|address| address.is_loopback());
    match subject.socket().and_then(|socket| socket.local.device.as_deref()) {
        None => Answer::Yes,
        Some("lo" | "lo0") if is_loopback => Answer::Yes,
        Some(_) if is_loopback => Answer::No,
        // A snapshot does not contain the addresses of a device, so the answer is unknown.
        Some(_) => Answer::Unknown,
    }
}

impl Name {
    /// Returns whether a service, a known program or product, or a network interface has this name.
    pub(crate) fn is_known(&self) -> bool {
        !self.service.is_empty() || !self.programs.is_empty() || self.interface.is_some()
    }

    pub(crate) fn searched(&self) -> String {
        let mut places: Vec<String> =
            self.service.iter().map(|(ports, protocol)| format!("{}/{ports}", protocol.name())).collect();
        let is_server =
            |program: &ListedProgram| self.programs.contains(program) || program.serves_service(&self.name);
        let mut servers: Vec<String> = programs::programs()
            .filter(is_server)
            .map(|program| program.shown_in_full().to_owned())
            .collect();
        servers.dedup();
        if !servers.is_empty() {
            let programs = if servers.len() == 1 { "program" } else { "programs" };
            places.push(format!("the {programs} {} on any port", first_of(&servers, FEW)));
        }
        if let Some(addresses) = &self.interface {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let has =
                if addresses.is_empty() { String::new() } else { format!(": {}", addresses.join(", ")) };
            places.push(format!("the network interface{has}"));
        }
        format!("nothing found (searched: {})", places.join(", "))
    }

    fn test(&self, subject: &Subject<'_>) -> Answer {
        let port = match (subject.port(), subject.protocol()) {
            _ if self.service.is_empty() => Answer::No,
            (Some(port), Some(protocol)) => Answer::of(
                self.service.iter().any(|(ports, p)| *p == protocol.registered_as() && ports.contains(port)),
            ),
            (Some(port), None) if !self.service.iter().any(|(ports, _)| ports.contains(port)) => Answer::No,
            _ => Answer::Unknown,
        };
        // The name of a service stands for its port. So an address without a listener matches only by its port.
        if port.is_yes() || (subject.socket().is_none() && !self.service.is_empty()) {
            return port;
        }
        let publisher = conditions::publishing_container(subject);
        if publisher.is_some_and(|container| has_name(container, &self.name)) || self.is_likely(subject) {
            return Answer::Yes;
        }
        let interface = self.is_reached_through_interface(subject);
        let program = subject.ask_processes(super::Quantifier::Any, |process| {
            if self.is_of(process) || is_in_container(process, &self.name) {
                return Answer::Yes;
            }
            let listens = subject.socket().is_some_and(|socket| socket.state.holds_port());
            match identify(process) {
                None => Answer::Unknown,
                Some(_) if has_unread_container(process) => Answer::Unknown,
                Some(identity) => Answer::of(listens && self.is_program(&identity)),
            }
        });
        match interface.or(program) {
            // For the name of a service, only the port counts. A hidden program on another port must not make the
            // answer unknown.
            Answer::Unknown if !self.service.is_empty() => Answer::No,
            answer => answer,
        }
    }

    /// Returns whether a process, or the script that it runs, has this name.
    fn is_of(&self, process: &Process) -> bool {
        is_called(process, &self.name) || runs_script(process, &self.name)
    }

    /// Returns whether a socket with a hidden process probably belongs to the program or product with this name. The
    /// evidence is the system service of the socket, or the product that a listing shows for the socket.
    fn is_likely(&self, subject: &Subject<'_>) -> bool {
        let Subject::Entry(entry) = subject else { return false };
        if entry.socket.owner != Owner::Hidden || !entry.socket.state.holds_port() {
            return false;
        }
        let unit = entry.socket.unit.as_deref().filter(|unit| !unit.contains('/'));
        let unit = unit.and_then(|unit| unit.strip_suffix(".service").or(unit.strip_suffix(".socket")));
        let unit = unit.map(|unit| unit.split_once('@').map_or(unit, |(name, _)| name));
        let product = entry.service().and_then(|service| service.product);
        let has_product = |product: &str| self.programs.iter().any(|program| program.product == product);
        unit.is_some_and(|unit| unit.eq_ignore_ascii_case(&self.name)) || product.is_some_and(has_product)
    }

    /// Returns whether clients reach the socket through the network interface with this name. They do if the socket is
    /// bound to the interface, to one of its addresses, or to the wildcard address.
    fn is_reached_through_interface(&self, subject: &Subject<'_>) -> Answer {
        let is_bound = conditions::device(subject, |device| device == Some(&self.name));
        let Some(addresses) = &self.interface else { return is_bound };
        let is_free = conditions::device(subject, |device| device.is_none());
        let reached = addresses.iter().map(|address| reaches(subject, Network::single(*address), &[]));
        is_bound.or(is_free.and(Answer::any(reached)))
    }

    /// Returns whether a recognised program has this name, or serves the service with this name. For an interpreter,
    /// the script counts. A program that only forwards ports does not serve its usual port.
    fn is_program(&self, identity: &RecognisedProgram) -> bool {
        let serves_port = |program: &&ListedProgram| {
            !program.any_port
                && self.service.iter().any(|(ports, protocol)| program.serves(ports.low, *protocol))
        };
        let programs = &identity.programs;
        programs.iter().any(|program| self.programs.contains(program))
            || (!identity.is_interpreter()
                && (programs.iter().any(|program| program.serves_service(&self.name))
                    || (!identity.is_forwarder() && programs.iter().any(|program| serves_port(&program)))))
    }
}

/// Returns the known programs that have this name, or whose product has this name: `Redis`, or `apache` for "Apache
/// HTTP Server".
fn programs_of(name: &str) -> Vec<ListedProgram> {
    let mut found = search::programs_called(name);
    let first_word = |product: &'static str| product.split_whitespace().next().unwrap_or_default();
    found.extend(programs::programs().filter(|program| {
        program.product.eq_ignore_ascii_case(name) || first_word(program.product).eq_ignore_ascii_case(name)
    }));
    found
}

/// The length in bytes to which Linux cuts the name of a process (`TASK_COMM_LEN` of linux/sched.h).
const CUT: usize = 15;

/// Returns whether this is the name of a process, the name of its program file, or the path of this file.
fn is_called(process: &Process, name: &str) -> bool {
    let own = process
        .name
        .as_deref()
        .is_some_and(|own| is_file_called(own, name) || (own.len() == CUT && name.starts_with(own)));
    own || process.exe.as_ref().is_some_and(|exe| exe.path == name || is_file_called(&exe.path, name))
}

/// Returns whether a process is in a container or pod with this name, or forwards a port to a container with this name.
fn is_in_container(process: &Process, name: &str) -> bool {
    let details = [&process.container_details, &process.forwards_to_container];
    process.container.as_deref().is_some_and(|own| is_container_called(own, name))
        || details.into_iter().flatten().any(|container| has_name(container, name))
}

fn has_unread_container(process: &Process) -> bool {
    process.container_details.is_none() && process.container.as_deref().is_some_and(is_container_id)
}

fn has_name(container: &Container, name: &str) -> bool {
    container.names().any(|own| is_container_called(own, name))
}

fn is_container_called(own: &str, name: &str) -> bool {
    own == name || own.rsplit('/').next() == Some(name)
}

/// Returns whether the file at a path has this name. The `.exe` of a Windows program may be left out.
fn is_file_called(path: &str, name: &str) -> bool {
    let file = file_name(path);
    file == name || file.strip_suffix(".exe") == Some(name)
}

/// Returns whether an interpreter runs a script, archive, class or module with this name.
fn runs_script(process: &Process, name: &str) -> bool {
    let is_named = |path: &str| path == name || is_file_called(path, name);
    if process.script.as_ref().is_some_and(|script| is_named(&script.path)) {
        return true;
    }
    let program = process.exe.as_ref().map(|exe| &*exe.path).or(process.name.as_deref()).unwrap_or_default();
    let file = file_name(program);
    match parse_command(file.strip_suffix(".exe").unwrap_or(file), &process.cmdline) {
        Some(InterpreterCommand::File(path)) => is_named(path),
        Some(InterpreterCommand::ClassPath(elements, class)) => {
            class == name
                || class.rsplit(['.', '/']).next() == Some(name)
                || elements.iter().any(|element| is_named(element))
        }
        Some(InterpreterCommand::Module(module)) => module == name,
        Some(InterpreterCommand::Code(_) | InterpreterCommand::Relay(_) | InterpreterCommand::Nothing)
        | None => false,
    }
}
