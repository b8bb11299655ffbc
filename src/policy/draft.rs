//! Drafts a policy that allows exactly the current listeners. Its rules use only features that stay the same after a
//! restart.
//!
//! Sockets of one service share a rule only if every combination of port, protocol and address in the rule has a
//! listener. If a listener has a finding that the user must decide about, its rule is commented out, because a draft
//! must not approve a backdoor.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::{AllowRule, ExecutablePattern, Glob, Namespaces, Ports, User, matching, questions_the_port};
use crate::findings::registry::Ephemeral;
use crate::findings::{Finding, FindingFamily, Flag};
use crate::judge::{Entry, Report, picked_from};
use crate::model::{
    Network, Owner, PortRange, Process, Protocol, RunTarget, Severity, Snapshot, file_name, is_container_id,
};

#[derive(Clone, Debug)]
pub struct Draft<'r> {
    pub rules: Vec<Drafted>,
    /// Listeners for which no rule can be drafted, for example because a process could not be read.
    pub left_out: Vec<&'r Entry>,
    /// Listeners with a finding that the user must decide about. Their rules are written as comments.
    pub flagged: Vec<&'r Entry>,
}

#[derive(Clone, Debug)]
pub struct Drafted {
    pub rule: AllowRule,
    /// The services that are registered for the ports of the rule, each once.
    pub services: Vec<&'static str>,
    pub notes: Vec<DraftNote>,
    /// The findings that the user must decide about, most severe first. Until then, the rule is commented out.
    pub findings: Vec<FlaggedBy>,
}

impl Drafted {
    pub fn needs_decision(&self) -> bool {
        !self.findings.is_empty()
    }
}

/// A finding that the user must decide about (see [`flagging`]), on a listener of a drafted rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlaggedBy {
    /// This field is the first, so that sorting puts the most severe finding first.
    pub severity: Reverse<Severity>,
    pub flag: Flag,
    pub sentence: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DraftNote {
    /// The kernel probably chose these ports, so the rule allows any port that the kernel may choose.
    Ephemeral(Vec<u16>),
    /// The program chooses its port from the range of the rule. These are its current ports.
    Picked(Vec<u16>),
    /// The program is an interpreter or a relay, and the rule has no condition on its script or arguments.
    Interpreter,
    /// Process 1 owns the socket for a service that starts on demand. The rule does not contain the program of this
    /// service.
    ForAnother,
    /// The container gets another name when it is created again. So the rule has no condition on the name.
    Container,
}

/// The features that all sockets of one service have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DraftService {
    /// The program files, as patterns; `kernel` if no process owns the socket.
    programs: BTreeSet<String>,
    /// The scripts of the interpreters and the arguments of the relays, as patterns.
    runs: BTreeSet<String>,
    users: BTreeSet<User>,
    unit: Option<String>,
    container: Option<String>,
    device: Option<String>,
    namespace: DraftNamespace,
    flags: BTreeSet<Flag>,
    notes: BTreeSet<DraftNote>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DraftNamespace {
    Own,
    Unnamed,
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DraftPort {
    Own(u16),
    Given,
    /// At each start, the program chooses another port of this range.
    Picked(PortRange),
}

type ServicePlaces = BTreeMap<(DraftPort, Protocol, IpAddr), ServicePlace>;

/// The sockets of one service on one port, with one protocol and one address.
#[derive(Default)]
struct ServicePlace {
    ports: BTreeSet<u16>,
    /// Whether the socket accepts traffic. A socket that is bound but does not listen is not a service.
    accepts_traffic: bool,
    findings: BTreeSet<FlaggedBy>,
}

pub fn draft<'r>(report: &'r Report) -> Draft<'r> {
    let (mut left_out, mut flagged) = (Vec::new(), Vec::new());
    let mut services: BTreeMap<DraftService, ServicePlaces> = BTreeMap::new();
    for judged in report.entries.iter().filter(|j| matching::is_judged(&j.socket)) {
        let Some(service) = service(judged) else {
            left_out.push(judged);
            continue;
        };
        let local = &judged.socket.local;
        let port = match picked_from(judged) {
            _ if is_given(judged, &report.snapshot) => DraftPort::Given,
            Some(range) => DraftPort::Picked(range),
            None => DraftPort::Own(local.port),
        };
        if !service.flags.is_empty() {
            flagged.push(judged);
        }
        let places = services.entry(service).or_default();
        let place = places.entry((port, local.protocol, local.address)).or_default();
        place.ports.insert(local.port);
        place.accepts_traffic |= judged.socket.state.accepts_traffic();
        place.findings.extend(flagging(judged).map(|finding| FlaggedBy {
            severity: Reverse(finding.severity),
            flag: finding.flag(),
            sentence: finding.sentence(),
        }));
    }
    let mut rules = Vec::new();
    for (service, places) in &services {
        for block in blocks(places) {
            rules.push(drafted(service, &block, places, report));
        }
    }
    rules.sort_by_cached_key(|drafted| {
        let rule = &drafted.rule;
        (rule.ports.clone(), rule.protocols.clone(), rule.addresses.clone(), base(rule), rule.users.clone())
    });
    name(&mut rules);
    Draft { rules, left_out, flagged }
}

/// Returns the findings that the user must decide about. A finding about the program counts even on loopback, where it
/// is less severe.
pub fn flagging(judged: &Entry) -> impl Iterator<Item = &Finding> {
    judged.findings().iter().filter(|finding| {
        let is_about_program =
            matches!(finding.flag().family(), FindingFamily::Identity | FindingFamily::File);
        let beyond = if is_about_program { finding.evidence_severity() } else { finding.severity };
        finding.severity.max(beyond) >= Severity::Warning
    })
}

/// Returns the service of a listener. `None` if no rule can be drafted, for one of these reasons:
///
/// - A process was not read completely.
/// - The path of its program or script is not reliable.
/// - No pattern can express a value.
fn service(judged: &Entry) -> Option<DraftService> {
    let listener = judged;
    let socket = &listener.socket;
    let programs: BTreeSet<String> = match &socket.owner {
        Owner::Held(pids) if pids.len() == listener.processes.len() => listener
            .processes
            .iter()
            .map(|process| Some(Glob::exactly(&process.exe.as_ref()?.path)))
            .collect::<Option<_>>()?,
        Owner::Kernel => BTreeSet::from(["kernel".to_owned()]),
        _ => return None,
    };
    // If no pattern can express the value, a rule without the value would allow more. So the listener gets no rule.
    if programs.iter().any(|text| ExecutablePattern::named(text).is_err()) {
        return None;
    }
    let user = |name: Option<&str>, uid: Option<u32>| match (name, uid) {
        // A policy reads a user name that looks like a number as a user ID. So the rule contains the real user ID.
        (Some(name), Some(uid)) if User::named(name) != User::Name(name.to_owned()) => {
            Some(User::Number(uid))
        }
        (Some(name), _) if !name.is_empty() => Some(User::Name(name.to_owned())),
        (_, uid) => uid.map(User::Number),
    };
    let users: BTreeSet<User> = match socket.owner {
        Owner::Kernel => user(socket.user.as_deref(), socket.uid).into_iter().collect(),
        _ => {
            let users = listener.processes.iter().map(|process| user(process.user.as_deref(), process.uid));
            users.collect::<Option<_>>()?
        }
    };
    let shared = |of: fn(&Process) -> Option<&str>| {
        let mut names = listener.processes.iter().map(|process| of(process));
        let first = names.next().flatten()?;
        names
            .all(|name| name == Some(first))
            .then(|| Glob::exactly(first))
            .filter(|text| Glob::new(text).is_ok())
    };
    let unit = shared(|process| process.unit.as_deref()).filter(|unit| stays(unit));
    let container = shared(|process| process.container.as_deref());
    // Only root can choose the name of a system container, so a rule can rely on this name. A user can choose the name
    // of the user's own container, which has a `/` (`user@1000.service/web`).
    let container_name =
        shared(Process::container_name).filter(|name| !name.contains('/') && !is_container_id(name));
    // A user may have chosen the root directory of the process. A rule for a path then matches only if the rule names
    // the container.
    if container.is_none() && listener.processes.iter().any(|process| !process.has_trusted_path()) {
        return None;
    }
    let mut notes = BTreeSet::new();
    let targets = listener.processes.iter().map(|process| RunTarget::of(process));
    let targets: Vec<RunTarget> = targets.filter(|target| *target != RunTarget::None).collect();
    let runs = targets.iter().map(|target| Some(Glob::exactly(target.text()?)));
    let runs = runs.map(|text| text.filter(|text| Glob::new(text).is_ok())).collect::<Option<BTreeSet<_>>>();
    if runs.is_none() {
        notes.insert(DraftNote::Interpreter);
    }
    if matches!(&listener.processes[..], [only] if only.pid == 1) {
        notes.insert(DraftNote::ForAnother);
    }
    if container_name.is_none() && container.as_deref().is_some_and(is_container_id) {
        notes.insert(DraftNote::Container);
    }
    let device = socket.local.device.as_deref().map(Glob::exactly);
    let namespace = match &socket.netns {
        None => DraftNamespace::Own,
        Some(netns) => netns.name.clone().map_or(DraftNamespace::Unnamed, DraftNamespace::Named),
    };
    if device.as_deref().is_some_and(|text| Glob::new(text).is_err())
        || matches!(&namespace, DraftNamespace::Named(name) if named(name).is_none())
    {
        return None;
    }
    Some(DraftService {
        programs,
        runs: runs.unwrap_or_default(),
        users,
        unit,
        container: container_name.or_else(|| {
            container.and_then(|name| if is_container_id(&name) { any_in_group(&name) } else { Some(name) })
        }),
        device,
        namespace,
        flags: flagging(judged).map(Finding::flag).collect(),
        notes,
    })
}

/// Returns a pattern for all containers of a user or service; `None` for a container of the system.
fn any_in_group(container: &str) -> Option<String> {
    container.rsplit_once('/').map(|(group, _)| format!("{group}/*"))
}

/// Returns whether a unit has the same name after a restart. A unit for a single run, a session or a container gets a
/// new name each time.
fn stays(unit: &str) -> bool {
    let name = unit.rsplit('/').next().unwrap_or(unit);
    name.ends_with(".service") && !name.starts_with("run-")
}

/// Returns whether the kernel probably chose the port. The port then changes at the next start.
fn is_given(judged: &Entry, snapshot: &Snapshot) -> bool {
    let socket = &judged.socket;
    if snapshot.ephemeral_range(socket).is_none() || judged.usual().is_some_and(|usual| !usual.any_port) {
        return false;
    }
    if socket.owner == Owner::Kernel && !judged.verdict.known_use.is_empty() {
        return false;
    }
    !judged
        .findings()
        .iter()
        .filter_map(|finding| Ephemeral::of(&finding.evidence))
        .any(|port| port.kernel_would_pick == Some(false))
}

/// Ports, protocols and addresses. Every combination of them has a listener.
struct PortBlock {
    ports: BTreeSet<DraftPort>,
    protocols: BTreeSet<Protocol>,
    addresses: BTreeSet<IpAddr>,
}

fn blocks(places: &ServicePlaces) -> Vec<PortBlock> {
    let mut addresses: BTreeMap<(DraftPort, Protocol), BTreeSet<IpAddr>> = BTreeMap::new();
    for (port, protocol, address) in places.keys() {
        addresses.entry((*port, *protocol)).or_default().insert(*address);
    }
    let mut protocols: BTreeMap<(DraftPort, BTreeSet<IpAddr>), BTreeSet<Protocol>> = BTreeMap::new();
    let mut blocks = Vec::new();
    for ((port, protocol), addresses) in addresses {
        if !matches!(port, DraftPort::Own(_)) {
            // A rule for a changing port must allow more than the current port, so the port gets a separate rule.
            let (ports, protocols) = (BTreeSet::from([port]), BTreeSet::from([protocol]));
            blocks.push(PortBlock { ports, protocols, addresses });
        } else {
            protocols.entry((port, addresses)).or_default().insert(protocol);
        }
    }
    let mut ports: BTreeMap<(BTreeSet<Protocol>, BTreeSet<IpAddr>), BTreeSet<DraftPort>> = BTreeMap::new();
    for ((port, addresses), protocols) in protocols {
        ports.entry((protocols, addresses)).or_default().insert(port);
    }
    let own = |((protocols, addresses), ports)| PortBlock { ports, protocols, addresses };
    blocks.extend(ports.into_iter().map(own));
    blocks
}

fn drafted(service: &DraftService, block: &PortBlock, places: &ServicePlaces, report: &Report) -> Drafted {
    let mut notes: Vec<DraftNote> = service.notes.iter().cloned().collect();
    let given = block.ports.contains(&DraftPort::Given);
    let now: BTreeSet<u16> = places_of(block, places).flat_map(|place| place.ports.iter().copied()).collect();
    let now = now.into_iter().collect();
    let picked = block.ports.iter().any(|port| matches!(port, DraftPort::Picked(_)));
    if given {
        notes.insert(0, DraftNote::Ephemeral(now));
    } else if picked {
        notes.insert(0, DraftNote::Picked(now));
    }
    let port = |port: &DraftPort| match port {
        DraftPort::Own(port) => Ports::Range(PortRange::single(*port)),
        DraftPort::Picked(range) => Ports::Range(*range),
        DraftPort::Given => Ports::Ephemeral,
    };
    let mut seen = HashSet::new();
    let services = block
        .ports
        .iter()
        .filter_map(|port| if let DraftPort::Own(port) = port { Some(*port) } else { None })
        .flat_map(|port| block.protocols.iter().map(move |protocol| report.registry.verdict(port, *protocol)))
        .flat_map(|verdict| verdict.assignments.iter().map(|a| a.service).collect::<Vec<_>>())
        .filter(|service| seen.insert(*service))
        .collect();
    let glob = |text: &String| Glob::new(text).ok();
    let rule = AllowRule {
        ports: block.ports.iter().map(port).collect(),
        protocols: block.protocols.iter().copied().collect(),
        addresses: block.addresses.iter().map(|address| Network::single(*address)).collect(),
        devices: service.device.iter().filter_map(glob).collect(),
        executables: service.programs.iter().filter_map(|text| ExecutablePattern::named(text).ok()).collect(),
        runs: service.runs.iter().filter_map(glob).collect(),
        users: service.users.iter().cloned().collect(),
        units: service.unit.iter().filter_map(glob).collect(),
        containers: service.container.iter().filter_map(glob).collect(),
        namespaces: match &service.namespace {
            DraftNamespace::Own => Vec::new(),
            DraftNamespace::Unnamed => vec![Namespaces::Unnamed],
            DraftNamespace::Named(name) => named(name).into_iter().collect(),
        },
        accept: service.flags.iter().copied().filter(|flag| !questions_the_port(*flag)).collect(),
        // A datagram socket whose port was picked by the kernel or by the program may belong to a client. Such a client
        // often exists only for a short time, so the socket is not required.
        required: (!(given || picked) || !block.protocols.iter().any(|protocol| protocol.is_datagram()))
            && places_of(block, places).all(|place| place.accepts_traffic),
        ..AllowRule::default()
    };
    let findings: BTreeSet<FlaggedBy> =
        places_of(block, places).flat_map(|place| place.findings.iter().cloned()).collect();
    Drafted { rule, services, notes, findings: findings.into_iter().collect() }
}

fn places_of<'p>(block: &'p PortBlock, places: &'p ServicePlaces) -> impl Iterator<Item = &'p ServicePlace> {
    places
        .iter()
        .filter(|((port, protocol, address), _)| {
            block.ports.contains(port)
                && block.protocols.contains(protocol)
                && block.addresses.contains(address)
        })
        .map(|(_, place)| place)
}

/// Returns a pattern that matches exactly this name. In a policy, the words `own` and `unnamed` have a meaning, so
/// namespaces with these names need a special pattern.
fn named(name: &str) -> Option<Namespaces> {
    let pattern = match name {
        "own" => "[o]wn".to_owned(),
        "unnamed" => "[u]nnamed".to_owned(),
        other => Glob::exactly(other),
    };
    Glob::new(&pattern).ok().map(Namespaces::Named)
}

/// Returns the program of a rule, without directories and without characters that an ID must not contain.
fn base(rule: &AllowRule) -> String {
    let names = rule.executables.iter().map(|program| match program {
        ExecutablePattern::Kernel => "kernel",
        ExecutablePattern::File(glob) => file_name(glob.as_str()),
    });
    let mut names: Vec<&str> = names.collect();
    // systemd has only opened the socket for the other programs.
    if names.len() > 1 {
        names.retain(|name| *name != "systemd");
    }
    let good = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = names.first().unwrap_or(&"").chars().take(64).map(good).collect();
    if name.is_empty() { "listener".to_owned() } else { name }
}

/// Gives every rule an ID: its program and its first port. If this ID is taken, a number follows.
fn name(rules: &mut [Drafted]) {
    let mut taken = HashSet::new();
    for Drafted { rule, .. } in rules {
        let port = match rule.ports.first() {
            Some(Ports::Range(range)) => range.low.to_string(),
            _ => "ephemeral".to_owned(),
        };
        let plain = format!("{}-{port}", base(rule));
        let mut id = plain.clone();
        for number in 2_u32.. {
            if taken.insert(id.clone()) {
                break;
            }
            id = format!("{plain}-{number}");
        }
        rule.id = id;
    }
}
