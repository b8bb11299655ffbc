//! What the columns of a listing hold for one socket, fit to be shown.
//!
//! SERVICE holds the registered names; where something else is what one meets, that, after a `~`, and where the
//! program that holds the port is known to serve it, that program's own; where there is no
//! registration, a word in brackets (a dash where room is short), so that it cannot be taken for a service. PROCESS
//! holds the holders' names, or in brackets why there are none. USER is the socket's user, else that of its holders.
//! FLAGS holds codes, gravest first; `exposed` and `kernel` are not among them, for EXPOSURE and
//! PROCESS say it. A `?` after a code stands for
//! "presumed" where room is short. A dash is a cell without anything to say.

use std::borrow::Cow;
use std::fmt::Write;

use crate::findings::FindingKind;
use crate::findings::reach::Exposed;
use crate::findings::socket::Kernel;
use crate::judge::{Entry, Report};
use crate::model::{Direction, Pid, State, Status};

use super::{Tone, address, owner_mark, process_name, sanitize, user};

/// A column, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Proto,
    Address,
    Port,
    Peer,
    Connections,
    State,
    Netns,
    Exposure,
    Service,
    Process,
    Pid,
    User,
    Unit,
    Flags,
}

/// How much a cell tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Everything, however long: for a pipe.
    Complete,
    /// For a terminal with room: everything but a long list of pids.
    Long,
    /// For a terminal without: the first pid and the gravest flag, and how many more there are.
    Short,
}

/// A cell: its text, already sanitized, and its tone.
pub(super) struct Field {
    pub(super) text: Cow<'static, str>,
    pub(super) tone: Tone,
}

impl Field {
    pub(super) fn new(text: impl Into<Cow<'static, str>>, tone: Tone) -> Self {
        Field { text: text.into(), tone }
    }

    fn plain(text: impl Into<Cow<'static, str>>) -> Self {
        Field::new(text, Tone::Plain)
    }

    fn or_dash(text: Option<String>) -> Self {
        text.filter(|text| !text.is_empty()).map_or_else(|| Field::new("-", Tone::Quiet), Field::plain)
    }
}

/// The columns a listing needs: all but those in which no row has anything to say.
pub(super) fn columns(report: &Report) -> Vec<Column> {
    let any = |has: fn(&Entry) -> bool| report.entries.iter().any(has);
    let mut columns = vec![Column::Proto, Column::Address, Column::Port];
    if any(|j| j.socket.peer.is_some()) {
        columns.push(Column::Peer);
    }
    if any(|j| j.connections.is_some()) {
        columns.push(Column::Connections);
    }
    if any(|j| !j.socket.state.accepts_traffic()) {
        columns.push(Column::State);
    }
    if any(|j| j.socket.netns.is_some()) {
        columns.push(Column::Netns);
    }
    columns.extend([Column::Exposure, Column::Service, Column::Process, Column::Pid, Column::User]);
    if any(|j| unit(j).is_some()) {
        columns.push(Column::Unit);
    }
    columns.push(Column::Flags);
    columns
}

impl Column {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Column::Proto => "PROTO",
            Column::Address => "ADDRESS",
            Column::Port => "PORT",
            Column::Peer => "PEER",
            Column::Connections => "CONNS",
            Column::State => "STATE",
            Column::Netns => "NETNS",
            Column::Exposure => "EXPOSURE",
            Column::Service => "SERVICE",
            Column::Process => "PROCESS",
            Column::Pid => "PID",
            Column::User => "USER",
            Column::Unit => "UNIT",
            Column::Flags => "FLAGS",
        }
    }

    /// Its cell for one socket.
    pub(super) fn of(self, judged: &Entry, form: Form) -> Field {
        let listener = judged;
        let socket = &listener.socket;
        match self {
            Column::Proto => Field::plain(socket.local.protocol.name()),
            Column::Address => Field::new(
                address(socket),
                if listener.exposure.beyond() { Tone::Plain } else { Tone::Quiet },
            ),
            Column::Port => Field::plain(socket.local.port.to_string()),
            Column::Peer => Field::or_dash(socket.peer.map(|peer| {
                let arrow = match listener.direction {
                    Some(Direction::In) => "<- ",
                    Some(Direction::Out) => "-> ",
                    None => "",
                };
                format!("{arrow}{}", std::net::SocketAddr::new(peer.address, peer.port))
            })),
            Column::Connections => Field::or_dash(listener.connections.map(|count| count.to_string())),
            Column::State => Field::plain(match (socket.state, form) {
                // As ss has them.
                (State::Unconnected, Form::Short) => "unconn",
                (State::Established, Form::Short) => "estab",
                (state, _) => state.name(),
            }),
            Column::Netns => Field::or_dash(socket.netns.as_ref().map(|netns| {
                netns.name.as_deref().map_or_else(|| netns.inode.to_string(), |n| sanitize(n).into_owned())
            })),
            Column::Exposure => Field::new(
                listener.exposure.name(),
                if listener.exposure.beyond() { Tone::Plain } else { Tone::Quiet },
            ),
            Column::Service => service(judged, form),
            Column::Process => process(judged),
            Column::Pid => Field::or_dash(Some(pids(socket.owner.pids(), form))),
            Column::User => Field::or_dash(users(judged)),
            Column::Unit => Field::or_dash(unit(judged)),
            Column::Flags => flags(judged, form),
        }
    }
}

fn service(judged: &Entry, form: Form) -> Field {
    let verdict = &judged.verdict;
    let registered = matches!(verdict.status, Status::Active | Status::Standard | Status::Orphaned);
    if let Some(usual) = judged.usual().filter(|usual| !usual.any_port && !registered) {
        let product = usual.product.split(" (").next().unwrap_or(usual.product);
        return Field::plain(format!("~{}", sanitize(product)));
    }
    let none = |word: &'static str| Field::new(if form == Form::Short { "-" } else { word }, Tone::Quiet);
    match verdict.status {
        Status::Dynamic => none("(dynamic)"),
        Status::Unassigned => none("(unassigned)"),
        Status::Reserved => none("(reserved)"),
        // Sources agree that it is something else, and their words are not told.
        Status::Repurposed if verdict.known_use.is_empty() => {
            let names = verdict.assignments.iter().map(|a| sanitize(a.service));
            Field::plain(format!("~(not {})", joined(names, ",")))
        }
        // The first use says it; the others are told by `explain`.
        Status::Repurposed => {
            Field::plain(format!("~{}", sanitize(verdict.known_use.first().copied().unwrap_or_default())))
        }
        _ => {
            let names = verdict.assignments.iter().map(|a| sanitize(a.service));
            Field::or_dash(Some(joined(names, ",")))
        }
    }
}

/// The holders' names, each once, with how many bear it: `nginx ×4, sh`.
pub(super) fn process(judged: &Entry) -> Field {
    let owner = &judged.socket.owner;
    if let Some(mark) = owner_mark(owner) {
        return Field::new(mark, Tone::Quiet);
    }
    let mut names: Vec<(Option<&str>, usize)> = Vec::new();
    for pid in owner.pids() {
        let process = judged.processes.iter().find(|process| process.pid == *pid);
        let name = process.and_then(|process| process.name.as_deref());
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => names.push((name, 1)),
        }
    }
    let names = names.into_iter().map(|(name, count)| match count {
        1 => process_name(name),
        _ => format!("{} ×{count}", process_name(name)).into(),
    });
    Field::plain(joined(names, ", "))
}

/// As many as fit a small column, and how many more there are.
pub(super) fn pids(pids: &[Pid], form: Form) -> String {
    let room = match form {
        Form::Complete => usize::MAX,
        Form::Long => 15,
        Form::Short => 0,
    };
    let mut text = String::new();
    for (shown, pid) in pids.iter().enumerate() {
        let pid = pid.to_string();
        if shown > 0 && text.len() + 1 + pid.len() > room {
            let _ = write!(text, " +{}", pids.len() - shown);
            break;
        }
        if shown > 0 {
            text.push(',');
        }
        text.push_str(&pid);
    }
    text
}

fn users(judged: &Entry) -> Option<String> {
    let socket = &judged.socket;
    user(socket.user.as_deref(), socket.uid).or_else(|| {
        let mut names: Vec<String> =
            judged.processes.iter().filter_map(|p| user(p.user.as_deref(), p.uid)).collect();
        names.sort();
        names.dedup();
        (!names.is_empty()).then(|| names.join(","))
    })
}

/// The container, else the unit: of the socket, else of the first holder that has one.
fn unit(judged: &Entry) -> Option<String> {
    let socket = &judged.socket;
    let holders = &judged.processes;
    let container =
        socket.container.as_deref().or_else(|| holders.iter().find_map(|p| p.container.as_deref()));
    let unit = socket.unit.as_deref().or_else(|| holders.iter().find_map(|p| p.unit.as_deref()));
    container.or(unit).map(|name| sanitize(name).into_owned())
}

fn flags(judged: &Entry, form: Form) -> Field {
    let elsewhere = |flag| flag == Exposed::FLAG || flag == Kernel::FLAG;
    let shown: Vec<_> = judged.findings().iter().filter(|finding| !elsewhere(finding.flag())).collect();
    let Some(worst) = shown.iter().map(|finding| finding.severity).max() else {
        return Field::new("-", Tone::Quiet);
    };
    let codes = shown.iter().map(|finding| match (finding.is_presumed(), form) {
        (false, _) => Cow::Borrowed(finding.flag().code()),
        (true, Form::Short) => format!("{}?", finding.flag().code()).into(),
        (true, _) => format!("{} (presumed)", finding.flag().code()).into(),
    });
    let text = if form == Form::Short && shown.len() > 1 {
        format!("{} +{}", joined(codes.take(1), ""), shown.len() - 1)
    } else {
        joined(codes, ", ")
    };
    Field::new(text, worst.into())
}

fn joined<T: AsRef<str>>(items: impl Iterator<Item = T>, between: &str) -> String {
    let mut text = String::new();
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push_str(between);
        }
        text.push_str(item.as_ref());
    }
    text
}
