//! The answer of `explain`: a card for each listener, and then the text about each port.
//!
//! A few ports get their full text. Many ports get compact blocks, and adjacent ports with the same text share a block.
//! "Nothing listens" appears only if every socket was visible. If something listens on a port, the text about the port
//! is shorter.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use crate::findings::text::{first_of, plural, sentence};
use crate::join::Entry;
use crate::judge::{Explained, Listener, Report};
use crate::model::{Assignment, Owner, PortVerdict, Protocol, RegistryRange, Status};

use super::card_fit::{Block, Rank, fit, height};
use super::cells::CellFormat;
use super::group::{Group, groups, runs};
use super::labelled::labelled;
use super::{
    Emphasis, Style, address, context_text, listener_card, port_text, process_cells, sanitize, verdict_text,
};

/// The maximum number of ports with their full text. It is also the maximum number of cards.
pub const CARDS: usize = 3;
const REGISTRATIONS: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Whether a port gets its full text even if something listens on it.
    pub in_full: bool,
    /// Whether the answer contains the evidence, IANA's notes and the nearby registrations.
    pub evidence: bool,
    /// The maximum number of lines of the answer. An answer about many ports ignores this limit.
    pub rows: Option<usize>,
}

pub fn explain(
    ports: &[Explained<'_>],
    left_out: &BTreeSet<(u16, Protocol)>,
    depth: Depth,
    report: &Report,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let groups = groups(ports);
    let mut seen = BTreeSet::new();
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
    numbers.retain(|port| seen.insert(*port));
    let listeners = listeners(ports);
    let mut w = BufWriter::with_capacity(1 << 16, w);
    let mut out = Card { report, style, depth, blocks: Vec::new() };
    if numbers.len() > CARDS {
        out.listeners(&listeners, true, usize::MAX);
        for run in runs(groups) {
            out.block(&run);
            write(&std::mem::take(&mut out.blocks), &mut w)?;
        }
        out.left_out(left_out);
    } else {
        out.in_full(&listeners, usize::MAX, &numbers, &groups, left_out);
        if let Some(rows) = depth.rows.filter(|rows| height(&out.blocks) > *rows) {
            out.blocks.clear();
            // Two rows are for the end of the answer: an empty line, and the number of missing lines. An empty line
            // follows each card.
            let each = rows.saturating_sub(2) / listeners.len().clamp(1, CARDS);
            out.in_full(&listeners, each.saturating_sub(1), &numbers, &groups, left_out);
            fit(&mut out.blocks, rows, style);
        }
    }
    write(&out.blocks, &mut w)?;
    w.flush()
}

pub fn port(explained: &Explained<'_>, report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut out = Card { report, style, depth: Depth::default(), blocks: Vec::new() };
    out.card(explained.port, groups(std::slice::from_ref(explained)).iter());
    write(&out.blocks, w)?;
    w.flush()
}

fn write(blocks: &[Block], w: &mut dyn Write) -> io::Result<()> {
    let mut text = String::new();
    for block in blocks {
        if block.lines.is_empty() {
            text.push('\n');
        }
        block.lines.iter().for_each(|line| text.extend([line, "\n"]));
    }
    w.write_all(text.as_bytes())
}

pub fn listeners<'r>(ports: &[Explained<'r>]) -> Vec<Listener<'r>> {
    Listener::all(ports.iter().flat_map(|port| port.listeners.iter().copied()))
}

struct Card<'a> {
    report: &'a Report,
    style: &'a Style,
    depth: Depth,
    blocks: Vec<Block>,
}

impl Card<'_> {
    fn in_full(
        &mut self,
        listeners: &[Listener<'_>],
        free: usize,
        ports: &[u16],
        groups: &[Group<'_, '_>],
        left_out: &BTreeSet<(u16, Protocol)>,
    ) {
        self.listeners(listeners, false, free);
        for (at, port) in ports.iter().enumerate() {
            if at > 0 {
                self.gap();
            }
            self.card(*port, groups.iter().filter(|group| group.ports.contains(*port)));
        }
        self.left_out(left_out);
    }

    /// Adds a card for each of the first listeners, and the number of further listeners.
    ///
    /// If `in_blocks`, the ports have only compact blocks, which do not explain the findings about the registry. So the
    /// cards explain these findings.
    fn listeners(&mut self, listeners: &[Listener<'_>], in_blocks: bool, free: usize) {
        for listener in listeners.iter().take(CARDS) {
            let lines = listener_card::in_full(listener, in_blocks, free, self.report, self.style);
            self.add(Rank::Answer, lines);
            self.gap();
        }
        let more = listeners.len().saturating_sub(CARDS);
        if more == 0 {
            return;
        }
        let how =
            if in_blocks { "(see below)".to_owned() } else { format!("(portolan {})", ports(listeners)) };
        self.add(Rank::Answer, vec![format!("and {} {how}", plural(more, "more listener"))]);
        self.gap();
    }

    fn left_out(&mut self, left_out: &BTreeSet<(u16, Protocol)>) {
        const FEW: usize = 6;
        if left_out.is_empty() {
            return;
        }
        let places: Vec<String> =
            left_out.iter().map(|(port, protocol)| format!("{}/{port}", protocol.name())).collect();
        let mut sockets = self.report.entries.iter().map(|entry| &entry.socket);
        let is_used = sockets.any(|socket| {
            socket.state.holds_port() && left_out.contains(&(socket.local.port, socket.local.protocol))
        });
        let why = if is_used { "" } else { " (nothing listens there)" };
        self.gap();
        self.item(
            Rank::Background,
            "Not shown",
            &format!("{}{why}; --full shows them.", first_of(&places, FEW)),
        );
    }

    fn card<'g>(&mut self, port: u16, groups: impl Iterator<Item = &'g Group<'g, 'g>>) {
        let heading = format!("Port {port}");
        let range = verdict_text::range(RegistryRange::of(port));
        let heading = format!("{} ({range})", self.style.paint(Emphasis::Heading, &heading));
        // If nothing listens on the port, only the first group says so.
        let groups: Vec<_> = groups.collect();
        let is_idle = groups.iter().all(|group| group.listeners.is_empty());
        self.add(if is_idle { Rank::Answer } else { Rank::Heading }, vec![heading]);
        let mut registered = BTreeSet::new();
        for (at, group) in groups.into_iter().enumerate() {
            let idle = match (is_idle, at) {
                (true, 0) => Some(Rank::Answer),
                (true, _) => None,
                (false, _) => Some(Rank::Programs),
            };
            self.gap();
            self.group(group, idle, &mut registered);
        }
        if self.depth.evidence {
            self.gap();
            self.item(Rank::Background, "Range", verdict_text::range_in_full(RegistryRange::of(port)));
        }
    }

    /// Adds the text of one group. `idle` is the rank of the text "nothing listens"; `None` if an earlier group already
    /// has this text. Registrations in `registered` are left out, because an earlier group shows them.
    fn group(&mut self, group: &Group<'_, '_>, idle: Option<Rank>, registered: &mut BTreeSet<String>) {
        let verdict = group.verdict;
        let heading = format!(
            "{}  {}",
            self.style.paint(Emphasis::Heading, &group.protocols.join(", ")),
            self.style.paint(tone(verdict.status), &status(group))
        );
        self.add(Rank::Heading, vec![heading]);
        let contexts = || group.contexts.iter().copied();
        let what = port_text::what(contexts());
        let is_known = what.is_some() || contexts().any(|context| !context.programs.is_empty());
        let over = match group.protocols.as_slice() {
            [protocol] => format!(" over {}", protocol.to_uppercase()),
            _ => String::new(),
        };
        let without_service =
            || verdict_text::without_service(verdict, port_text::possible(contexts()), &over);
        self.optional(Rank::Meaning, "What", what.or_else(|| without_service().filter(|_| !is_known)));
        if !group.listeners.is_empty() {
            self.item(Rank::Programs, "Here now", &sanitize(&here_now(group)));
        } else if let Some(rank) = idle {
            self.item(rank, "Here now", &sanitize(&self.no_listener_text()));
        }
        self.in_use_by(group);
        let is_short = !self.depth.in_full && !group.listeners.is_empty();
        if !is_short {
            // An orphaned port is rarely used at all.
            let label = if verdict.status == Status::Orphaned { "Sometimes" } else { "Usually" };
            self.optional(Rank::Programs, label, context_text::programs(contexts()));
        }
        self.optional(Rank::Risk, "If open", port_text::if_open(contexts()));
        self.optional(Rank::Programs, "Abused by", port_text::abused_by(contexts()));
        let shown = if is_short { REGISTRATIONS } else { usize::MAX };
        for (at, assignment) in verdict.registrations().take(shown).enumerate() {
            let text = registration(assignment, verdict);
            let rank = if at == 0 { Rank::Registration } else { Rank::FurtherRegistration };
            if registered.insert(text.clone()) {
                self.item(rank, "Registered", &sanitize(&text));
            }
        }
        if let Some(more) = verdict.registrations().count().checked_sub(shown).filter(|more| *more > 0) {
            self.item(
                Rank::FurtherRegistration,
                "",
                &format!("and {} (--full)", plural(more, "more registration")),
            );
        }
        let reason = verdict_text::reason(verdict);
        let status_rank = if verdict.status == Status::Active { Rank::Registration } else { Rank::Meaning };
        self.item(status_rank, "Status", &sanitize(&reason));
        // For a repurposed, orphaned or unassigned port, the reason already contains the known use.
        if !verdict.known_use.is_empty()
            && !matches!(verdict.status, Status::Repurposed | Status::Orphaned | Status::Unassigned)
            && (!is_known || self.depth.in_full || self.depth.evidence)
        {
            self.item(Rank::Programs, "Known use", &sanitize(&verdict_text::known_use(verdict)));
        }
        let ephemeral: Vec<_> = group
            .protocols
            .iter()
            .zip(contexts())
            .map(|(name, context)| (*name, context.ephemeral.as_ref()))
            .collect();
        self.optional(Rank::Background, "Ephemeral", context_text::ephemeral(&ephemeral));
        if self.depth.evidence {
            self.evidence(group);
        }
    }

    /// Adds the connections that use the port but were not accepted by a listener on the port.
    fn in_use_by(&mut self, group: &Group<'_, '_>) {
        const FEW: usize = 5;
        for (at, judged) in group.connections.iter().take(FEW).enumerate() {
            let socket = &judged.socket;
            let peer = socket.peer.map(|p| std::net::SocketAddr::new(p.address, p.port).to_string());
            let line = format!(
                "{} {}:{} to {} ({}) {}",
                socket.local.protocol,
                address(socket),
                socket.local.port,
                peer.unwrap_or_else(|| "no peer".into()),
                socket.state.name(),
                process_cells::process(judged, CellFormat::Complete).text,
            );
            self.item(Rank::Answer, if at == 0 { "In use by" } else { "" }, &line);
        }
        match group.connections.len().saturating_sub(FEW) {
            0 => {}
            more => self.item(Rank::Answer, "", &format!("and {more} more")),
        }
    }

    fn evidence(&mut self, group: &Group<'_, '_>) {
        let contexts = || group.contexts.iter().copied();
        for assignment in &group.verdict.assignments {
            let notes = assignment.notes.map(|notes| format!("{}: {notes}", assignment.service));
            self.optional(Rank::Background, "IANA notes", notes);
        }
        self.optional(Rank::Background, "Evidence", context_text::evidence(group.verdict));
        let guarded = contexts().find_map(|context| context.guarded.as_ref());
        self.optional(Rank::Background, "Guarded", guarded.map(context_text::guarded));
        self.optional(
            Rank::Background,
            "Nearby",
            contexts().find_map(|context| context_text::nearby(&context.nearby)),
        );
        self.optional(
            Rank::Background,
            "History",
            contexts().find_map(|context| context_text::history(&context.history)),
        );
    }

    /// Adds a label and a text, if there is a text. The text is sanitized here.
    fn optional(&mut self, rank: Rank, label: &str, text: Option<String>) {
        if let Some(text) = text {
            self.item(rank, label, &sanitize(&text));
        }
    }

    /// Adds a label and a paragraph of sanitized text. An empty label continues the paragraph above.
    fn item(&mut self, rank: Rank, label: &str, text: &str) {
        let lines = labelled(label, text, self.style);
        self.add(rank, lines);
    }

    fn add(&mut self, rank: Rank, lines: Vec<String>) {
        self.blocks.push(Block { rank, lines });
    }

    fn gap(&mut self) {
        self.add(Rank::Answer, Vec::new());
    }

    /// Returns the text for a port without a known listener. Only a gap that can hide a listener matters here. A hidden
    /// owner does not matter, because its socket is still listed.
    fn no_listener_text(&self) -> String {
        match self.report.snapshot.gaps.iter().find(|gap| gap.hides_listeners()) {
            Some(gap) => {
                let remedy = gap.remedy.as_deref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                format!(
                    "no listener was seen, but not everything could be seen: {}: {}{remedy}.",
                    gap.what, gap.why
                )
            }
            None => "nothing listens on this port.".into(),
        }
    }

    fn block(&mut self, group: &Group<'_, '_>) {
        let verdict = group.verdict;
        let service = |a: &Assignment| match a.basis == verdict.basis {
            true => verdict_text::title(a),
            false => format!("{}, {}", verdict_text::title(a), verdict_text::standing(a)),
        };
        let services = verdict.registrations().map(service).collect::<Vec<_>>().join("; ");
        let known_use = verdict_text::known_use(verdict);
        let heading = format!(
            "{}  {}  {}",
            self.style.paint(Emphasis::Heading, &format!("{:<11}", group.ports.to_string())),
            group.protocols.join(","),
            self.style.paint(tone(verdict.status), &verdict_text::status(verdict)),
        );
        self.add(Rank::Heading, vec![heading]);
        for text in [services, known_use] {
            if !text.is_empty() {
                self.item(Rank::Answer, "", &sanitize(&text));
            }
        }
        if verdict.assignments.is_empty() && verdict.known_use.is_empty() {
            self.item(Rank::Answer, "", &sanitize(&verdict_text::reason(verdict)));
        }
        for judged in &group.listeners {
            let socket = &judged.socket;
            let at = format!("{} {}:{}", socket.local.protocol, address(socket), socket.local.port);
            self.item(Rank::Answer, "", &format!("here now: {at} {}", with_pids(judged)));
        }
    }
}

/// Returns a sentence about the programs that have the port open. For a usual program of the port, the sentence also
/// says how the program was identified.
fn here_now(group: &Group<'_, '_>) -> String {
    const FEW: usize = 3;
    let mut texts: Vec<String> = Vec::new();
    for listener in &group.listeners {
        let text = match (listener.usual(), &listener.socket.owner) {
            (Some(usual), _) => context_text::usual(usual),
            (None, Owner::Held(_)) => has_open(listener),
            (None, owner) => verdict_text::owner(owner).to_owned(),
        };
        let text = text.trim_end_matches('.').to_owned();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let more = texts.len().saturating_sub(FEW);
    texts.truncate(FEW);
    if more > 0 {
        texts.push(format!("and {}", plural(more, "more listener")));
    }
    sentence(&texts.join("; "))
}

/// Returns a text about the processes of a listener: `nginx (pid 21) and 2 more processes have this port open`.
fn has_open(listener: &Entry) -> String {
    let pids = listener.socket.owner.pids();
    let named = pids.iter().find_map(|pid| listener.processes.iter().find(|process| process.pid == *pid));
    let first = named.map_or_else(
        || "a process that could not be read".to_owned(),
        |process| {
            format!("{} (pid {})", process_cells::shown_name(process, CellFormat::Complete), process.pid)
        },
    );
    match pids.len().saturating_sub(1) {
        0 => format!("{first} has this port open"),
        1 => format!("{first} and 1 more process have this port open"),
        more => format!("{first} and {more} more processes have this port open"),
    }
}

fn with_pids(listener: &Entry) -> String {
    let process = process_cells::process(listener, CellFormat::Complete).text;
    match process_cells::pids(listener.socket.owner.pids(), CellFormat::Complete) {
        pids if pids.is_empty() => process.to_string(),
        pids => format!("{process} (pid {})", pids.replace(',', ", ")),
    }
}

/// Returns the status of a port. A port with a dormant registration may be in use, so the text says that the status is
/// about the registration.
fn status(group: &Group<'_, '_>) -> String {
    match group.verdict.status {
        Status::Dormant if port_text::is_used(group.contexts.iter().copied()) => {
            format!("{} (the registration, not the port)", Status::Dormant.name())
        }
        _ => verdict_text::status(group.verdict),
    }
}

/// Returns the facts about a registration. Its status is left out if the port has the same status.
fn registration(a: &Assignment, verdict: &PortVerdict) -> String {
    let mut facts = Vec::new();
    if a.status != verdict.status {
        facts.push(verdict_text::standing(a));
    }
    facts.push(match a.assignee {
        Some(assignee) => format!("assigned to {}", plain_names(assignee)),
        None => "no assignee on record".into(),
    });
    facts.extend(a.registered.map(|date| format!("registered {date}")));
    facts.extend(a.modified.map(|date| format!("changed {date}")));
    facts.extend(a.reference.map(|reference| format!("reference {}", plain_names(reference))));
    if a.ports.low != a.ports.high {
        facts.push(format!("ports {}", a.ports));
    }
    facts.extend(verdict.spellings(a).map(|spelling| format!("also written {spelling}")));
    format!("{} ({})", verdict_text::title(a), facts.join("; "))
}

fn ports(listeners: &[Listener<'_>]) -> String {
    let ports: BTreeSet<u16> = listeners.iter().map(|one| one.first().socket.local.port).collect();
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

/// Returns the name of an assignee in readable form: `[Mike_Klein][IESG]` becomes `Mike Klein, IESG`.
fn plain_names(text: &str) -> String {
    text.replace("][", ", ").replace(['[', ']'], "").replace('_', " ")
}

const fn tone(status: Status) -> Emphasis {
    match status {
        Status::Active => Emphasis::Good,
        Status::Orphaned => Emphasis::Warning,
        Status::Dynamic | Status::Unassigned | Status::Repurposed | Status::Dormant => Emphasis::Notice,
    }
}
