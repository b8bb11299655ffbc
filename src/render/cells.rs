//! The cells of a listing: the text that each column of `columns.rs` shows for one entry, already sanitized.
//!
//! [`CellFormat::Data`] is for machines and for sorting. It is the plain value, as in the JSON, with lists joined by
//! commas. The other forms are for people. In the short forms, `?` stands for "(presumed)". An unknown value is an
//! empty cell, which the table shows as a dash.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::findings::Finding;
use crate::join::{Entry, RunningUser};
use crate::model::{
    self, Assignment, Direction, Exposure, Owner, OwnerEvidence, Process, Reach, ReachKind, Snapshot, State,
    short_container,
};

use super::{Emphasis, address as local_address, sanitize, verdict_text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellFormat {
    /// The form for machines: the plain value.
    Data,
    /// The form for people without a limit of width, for example in a pipe.
    Complete,
    /// The form for a wide terminal: everything except a long list of pids.
    Long,
    /// The form for a narrow terminal. It has only the first pid and the most severe flag, and the number of the
    /// others.
    Short,
    /// Like `Short`, for a table without the column UNIT.
    WithoutUnit,
}

impl CellFormat {
    pub(super) const fn is_short(self) -> bool {
        matches!(self, CellFormat::Short | CellFormat::WithoutUnit)
    }
}

/// The content of a cell: its sanitized text, and its tone.
pub(super) struct Field {
    pub(super) text: Cow<'static, str>,
    pub(super) tone: Emphasis,
}

impl Field {
    pub(super) fn new(text: impl Into<Cow<'static, str>>, tone: Emphasis) -> Self {
        Field { text: text.into(), tone }
    }

    pub(super) fn plain(text: impl Into<Cow<'static, str>>) -> Self {
        Field::new(text, Emphasis::Plain)
    }

    /// Returns a cell with a text that needs no sanitizing; empty for `None`.
    pub(super) fn known(value: Option<impl ToString>) -> Self {
        Field::plain(value.map(|value| value.to_string()).unwrap_or_default())
    }

    pub(super) fn text(value: Option<&str>) -> Self {
        Field::plain(sanitize(value.unwrap_or_default()).into_owned())
    }

    pub(super) fn list<T: AsRef<str>>(values: impl Iterator<Item = T>) -> Self {
        Field::text(Some(&joined(values, ",")))
    }

    /// Returns a cell with a value of each process. A process is left out if it lacks the value or could not be read.
    pub(super) fn of_processes<'e, T: AsRef<str>>(
        entry: &'e Entry,
        value: impl Fn(&'e Process) -> Option<T>,
    ) -> Self {
        Field::list(entry.processes.iter().filter_map(|process| value(process)))
    }

    /// Returns a cell with one value of each registration. A registration without the value is left out.
    fn of_assignments(entry: &Entry, value: fn(&Assignment) -> Option<&'static str>) -> Self {
        Field::list(
            entry.port_verdict().into_iter().flat_map(|verdict| &verdict.assignments).filter_map(value),
        )
    }
}

pub(super) fn protocol(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.socket.local.protocol.name())
}

pub(super) fn family(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.socket.address().map_or("", |_| entry.socket.local.family().name()))
}

pub(super) fn address(entry: &Entry, form: CellFormat) -> Field {
    match form {
        CellFormat::Data => Field::known(entry.socket.address()),
        _ => Field::new(addresses(entry, form), reach_tone(entry)),
    }
}

/// Returns the addresses of a row; `*` is every IPv4 and IPv6 address.
pub(super) fn addresses(entry: &Entry, form: CellFormat) -> String {
    let socket = &entry.socket;
    let own = local_address(socket);
    let takes_both = entry.other_address().is_some() || socket.v6only == Some(false);
    match entry.other_address() {
        _ if takes_both && socket.local.address.is_unspecified() => {
            let device = own.find('%').and_then(|at| own.get(at..)).unwrap_or_default();
            format!("*{}", device.trim_end_matches(']'))
        }
        Some(_) if form.is_short() && socket.local.device.is_none() => "localhost".to_owned(),
        Some(other) => format!("{own}+{}", sanitize(&model::host(other, socket.local.device.as_deref()))),
        None => own,
    }
}

pub(super) fn port(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.port())
}

/// Returns the packets that a socket without a port receives. If the socket only sends, people see `nothing`, and
/// machines get an empty cell.
pub(super) fn receives(entry: &Entry, form: CellFormat) -> Field {
    let Some(received) = &entry.socket.receives else { return Field::plain("") };
    match received.name(entry.socket.local.protocol) {
        None if form != CellFormat::Data => Field::new("nothing", Emphasis::Quiet),
        name => Field::text(name.as_deref()),
    }
}

pub(super) fn device(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.socket.local.device.as_deref())
}

pub(super) fn v6only(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.v6only)
}

pub(super) fn state(entry: &Entry, form: CellFormat) -> Field {
    Field::plain(match (entry.socket.state, form) {
        // The abbreviations of ss(8).
        (State::Unconnected, form) if form.is_short() => "unconn",
        (State::Established, form) if form.is_short() => "estab",
        (state, _) => state.name(),
    })
}

pub(super) fn peer(entry: &Entry, form: CellFormat) -> Field {
    let arrow = match entry.direction {
        Some(Direction::In) if form != CellFormat::Data => "<- ",
        Some(Direction::Out) if form != CellFormat::Data => "-> ",
        _ => "",
    };
    let peer = entry.socket.peer.map(|peer| SocketAddr::new(peer.address, peer.port));
    Field::known(peer.map(|peer| format!("{arrow}{peer}")))
}

pub(super) fn peer_address(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.peer.map(|peer| peer.address))
}

pub(super) fn peer_port(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.peer.map(|peer| peer.port))
}

pub(super) fn direction(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.direction.map_or("", Direction::name))
}

pub(super) fn connections(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.connections)
}

pub(super) fn netns(entry: &Entry, form: CellFormat) -> Field {
    let netns = entry.socket.netns.as_ref().filter(|_| form != CellFormat::Data);
    // Docker gives a network namespace a name of hexadecimal digits. The name of the container is clearer.
    let name = netns.and_then(|netns| netns.name.as_deref());
    let plain = name.filter(|name| !name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match plain.or_else(|| netns.and(running_container(entry))).or(name) {
        Some(name) => Field::text(Some(name)),
        None => netns_inode(entry, form),
    }
}

pub(super) fn netns_inode(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.netns.as_ref().map(|netns| netns.inode))
}

pub(super) fn netns_name(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.socket.netns.as_ref().and_then(|netns| netns.name.as_deref()))
}

pub(super) fn inode(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.inode)
}

pub(super) fn cookie(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.cookie)
}

pub(super) fn mptcp(entry: &Entry, _: CellFormat) -> Field {
    Field::known(Some(entry.socket.mptcp))
}

pub(super) fn receive_queue(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.queues.map(|queues| queues.receive))
}

pub(super) fn send_queue(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.socket.queues.map(|queues| queues.send))
}

/// Returns the user IDs of the processes, each once. If no process is visible, returns the user ID of the socket's
/// creator.
pub(super) fn uid(entry: &Entry, _: CellFormat) -> Field {
    users(entry, |user| user.uid.map(|uid| uid.to_string()))
}

/// Returns the users of the processes, each once. If no process is visible, returns the creator of the socket.
pub(super) fn user(entry: &Entry, form: CellFormat) -> Field {
    if form.is_short() {
        let mut names = entry.users().iter().filter_map(RunningUser::text).collect::<Vec<_>>();
        let more = names.len().saturating_sub(1);
        names.truncate(1);
        if let (Some(first), 1..) = (names.first_mut(), more) {
            first.push_str(&format!(" +{more}"));
        }
        return Field::list(names.into_iter());
    }
    users(entry, |user| match form {
        CellFormat::Data => user.name.map(str::to_owned),
        _ => user.text(),
    })
}

fn users(entry: &Entry, shown: impl Fn(&RunningUser<'_>) -> Option<String>) -> Field {
    Field::list(entry.users().iter().filter_map(shown))
}

pub(super) fn cgroup(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.socket.cgroup.as_deref())
}

/// For machines, returns the unit of the socket. For people, returns the running container, or else the running unit.
pub(super) fn unit(entry: &Entry, form: CellFormat) -> Field {
    match form {
        CellFormat::Data => Field::text(entry.socket.unit.as_deref()),
        CellFormat::Short => Field::text(
            group(entry)
                .map(|unit| unit.strip_suffix(".service").filter(|name| !name.contains('.')).unwrap_or(unit)),
        ),
        _ => Field::text(group(entry)),
    }
}

pub(super) fn has_unit(entry: &Entry) -> bool {
    group(entry).is_some()
}

fn group(entry: &Entry) -> Option<&str> {
    running_container(entry).or_else(|| running_unit(entry))
}

/// Returns the container of the socket. If it is not known, returns the container of the first process that has one. An
/// ID is shortened.
pub(super) fn running_container(entry: &Entry) -> Option<&str> {
    let of_process = || entry.processes.iter().find_map(|process| process.container_name());
    entry.container().or_else(of_process).map(short_container)
}

/// Returns the unit of the socket. If it is not known, returns the unit of the first process that has one.
pub(super) fn running_unit(entry: &Entry) -> Option<&str> {
    let of_process = || entry.processes.iter().find_map(|process| process.unit.as_deref());
    entry.socket.unit.as_deref().or_else(of_process)
}

/// Returns the container of the socket. If it has none, people see the container that receives the traffic of a
/// published port.
pub(super) fn container(entry: &Entry, form: CellFormat) -> Field {
    match entry.container() {
        None if form != CellFormat::Data => Field::text(to_container(entry).as_deref()),
        container => Field::text(container),
    }
}

/// Returns the container that receives the traffic of a published port: `to shop-web`. A question mark means
/// "probably": `to 035bb6800742?`.
pub(super) fn to_container(entry: &Entry) -> Option<String> {
    if let Some(owner) = entry.inferred_owner() {
        let container = owner.process.forwards_to_container.as_deref();
        let id = container.map_or("a container", |container| short_container(&container.id));
        return matches!(owner.evidence, OwnerEvidence::Forwards(_)).then(|| format!("to {id}?"));
    }
    let container = entry.forward_target()?.container.as_deref()?;
    Some(format!("to {}", container.name.as_deref().unwrap_or(short_container(&container.id))))
}

pub(super) fn container_id(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.socket.container.as_deref())
}

pub(super) fn container_image(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.container_details().and_then(|details| details.image.as_deref()))
}

/// Returns the exposure. The form for people also takes the firewall into account.
pub(super) fn exposure(entry: &Entry, form: CellFormat) -> Field {
    let is_unknown = entry.is_forwarded_unseen();
    Field::new(exposure_text(entry.exposure, entry.reach(), is_unknown, form), reach_tone(entry))
}

/// Returns the exposure as text. `is_unknown` is true if a rule that could not be read may change the exposure.
pub(super) fn exposure_text(
    exposure: Exposure,
    reach: Option<&Reach>,
    is_unknown: bool,
    form: CellFormat,
) -> String {
    let exposure = match exposure {
        // `lo` is the name of the loopback device on Linux.
        Exposure::Loopback if form.is_short() => "lo",
        Exposure::LinkLocal if form.is_short() => "link",
        Exposure::Multicast if form.is_short() => "mcast",
        exposure => exposure.name(),
    };
    let kind = reach.map(|reach| reach.kind);
    match kind.filter(|kind| matches!(kind, ReachKind::Filtered | ReachKind::Limited | ReachKind::Machine)) {
        Some(kind) if form.is_short() => kind.name().to_owned(),
        Some(kind) if form != CellFormat::Data => format!("{exposure} ({})", kind.name()),
        // A question mark means that the effect of the firewall, or of a rule that forwards the port, is not known.
        _ if form != CellFormat::Data && (kind == Some(ReachKind::Unknown) || is_unknown) => {
            format!("{exposure}?")
        }
        _ => exposure.to_owned(),
    }
}

pub(super) fn reach(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.reach().map_or("", |reach| reach.kind.name()))
}

pub(super) fn reach_from(entry: &Entry, _: CellFormat) -> Field {
    let groups = entry.reach().into_iter().flat_map(Reach::one_place_each);
    Field::list(groups.map(|group| group.to_string()))
}

pub(super) fn reach_rule(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.reach().and_then(|reach| reach.rule.as_deref()))
}

fn reach_tone(entry: &Entry) -> Emphasis {
    if entry.exposure.is_reachable_from_outside() { Emphasis::Plain } else { Emphasis::Quiet }
}

pub(super) fn owner(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.socket.owner.name())
}

pub(super) fn range(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.port_verdict().map_or("", |verdict| verdict.range.name()))
}

pub(super) fn status(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.port_verdict().map_or("", |verdict| verdict.status.name()))
}

pub(super) fn reason(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.port_verdict().map(verdict_text::reason).as_deref())
}

pub(super) fn registered_services(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| Some(assignment.service))
}

pub(super) fn descriptions(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| assignment.description)
}

pub(super) fn assignees(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| assignment.assignee)
}

pub(super) fn registered(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| assignment.registered)
}

pub(super) fn modified(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| assignment.modified)
}

pub(super) fn references(entry: &Entry, _: CellFormat) -> Field {
    Field::of_assignments(entry, |assignment| assignment.reference)
}

pub(super) fn known_use(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.port_verdict().into_iter().flat_map(|verdict| &verdict.known_use))
}

pub(super) fn usual_program(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.usual().map(|usual| usual.program))
}

pub(super) fn usual_product(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.usual().map(|usual| usual.product))
}

pub(super) fn flag_codes(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.findings().iter().map(|finding| finding.flag().code()))
}

pub(super) fn severities(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.findings().iter().map(|finding| finding.severity.name()))
}

pub(super) fn flag_texts(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.findings().iter().map(Finding::sentence))
}

/// The text of FLAGS for an entry that could not be judged and has no finding.
pub(super) const UNJUDGED: &str = "?";

/// Returns whether an entry has no visible program. Most rules of an audit can then not judge the entry.
pub(super) fn is_unjudged(entry: &Entry) -> bool {
    let socket = &entry.socket;
    socket.state.is_judged()
        && match &socket.owner {
            Owner::Hidden | Owner::Unknown => true,
            Owner::Held(_) => entry.processes.is_empty(),
            Owner::Kernel | Owner::Vanished | Owner::Unaccounted => false,
        }
}

pub(super) fn flags(entry: &Entry, form: CellFormat) -> Field {
    let shown = entry.findings();
    let Some(worst) = shown.iter().map(|finding| finding.severity).max() else {
        let is_unjudged = form != CellFormat::Data && is_unjudged(entry);
        return if is_unjudged { Field::new(UNJUDGED, Emphasis::Notice) } else { Field::plain("") };
    };
    let codes = shown.iter().map(|finding| match (finding.is_presumed(), form) {
        (false, _) => Cow::Borrowed(finding.flag().code()),
        (true, form) if form.is_short() => format!("{}?", finding.flag().code()).into(),
        (true, _) => format!("{} (presumed)", finding.flag().code()).into(),
    });
    let text = match form {
        CellFormat::Data => joined(codes, ","),
        form if form.is_short() && shown.len() > 1 => {
            format!("{} +{}", joined(codes.take(1), ""), shown.len() - 1)
        }
        _ => joined(codes, ", "),
    };
    Field::new(text, worst.into())
}

pub(super) fn forwards_to(entry: &Entry, _: CellFormat) -> Field {
    Field::known(entry.forwards_to().map(|to| SocketAddr::new(to.address, to.port)))
}

pub(super) fn forwards_to_container(entry: &Entry, _: CellFormat) -> Field {
    let container = entry.forward_target().and_then(|to| to.container.as_deref());
    Field::text(container.map(|container| container.name.as_deref().unwrap_or(&container.id)))
}

pub(super) fn forwards_to_pids(entry: &Entry, _: CellFormat) -> Field {
    Field::list(entry.forward_target().into_iter().flat_map(|to| &to.pids).map(ToString::to_string))
}

pub(super) fn host_id(snapshot: &Snapshot) -> Field {
    Field::text(snapshot.host.id.as_deref())
}

pub(super) fn host(snapshot: &Snapshot) -> Field {
    Field::text(snapshot.host.name.as_deref())
}

pub(super) fn taken(snapshot: &Snapshot) -> Field {
    Field::known(Some(snapshot.taken))
}

pub(super) fn complete(snapshot: &Snapshot) -> Field {
    Field::known(Some(snapshot.is_complete()))
}

pub(super) fn joined<T: AsRef<str>>(items: impl Iterator<Item = T>, between: &str) -> String {
    let mut text = String::new();
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push_str(between);
        }
        text.push_str(item.as_ref());
    }
    text
}
