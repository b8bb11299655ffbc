//! The answer of `explain`: a card for each listener, then the meaning of the port, its registrations and whether
//! they are still in use, and the common use of the port.
//!
//! If only a few ports are requested, each port gets its full text. Otherwise each port gets a compact block, and
//! adjacent ports with the same text share a block. Protocols with the same text are shown together. "Nothing
//! listens" appears only if every socket was visible. If something listens on the port, the answer is mainly about
//! this listener. The registry part is then shorter unless the user requests everything.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use crate::findings::text::{first_of, plural};
use crate::judge::{Explained, Listener, Report};
use crate::model::{Assignment, PortVerdict, Protocol, RegistryRange, Status};

use super::cells::CellFormat;
use super::group::{Group, groups, runs};
use super::labelled::labelled;
use super::{
    Emphasis, Style, address, context_text, listener_card, port_text, process_cells, sanitize, verdict_text,
};

/// The maximum number of ports that get their full text, and of listeners that get their own card.
pub const CARDS: usize = 3;
/// The maximum number of registrations that are shown for a port with a listener.
const REGISTRATIONS: usize = 2;

/// The amount of detail in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Whether a port with a listener gets its full text, as a port without a listener does.
    pub in_full: bool,
    /// Whether the answer contains the evidence, IANA's notes and the facts around the port.
    pub evidence: bool,
}

/// Writes the answer for some ports.
///
/// # Errors
/// If the answer cannot be written.
pub fn explain(
    ports: &[Explained<'_>],
    left_out: &BTreeSet<(u16, Protocol)>,
    depth: Depth,
    report: &Report,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut out = Card { report, style, depth, w: BufWriter::with_capacity(1 << 16, w) };
    let groups = groups(ports);
    let mut seen = BTreeSet::new();
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
    numbers.retain(|port| seen.insert(*port));
    let in_blocks = numbers.len() > CARDS;
    out.listeners(&listeners(ports), in_blocks)?;
    if in_blocks {
        for run in runs(groups) {
            out.block(&run)?;
        }
    } else {
        for (at, port) in numbers.iter().enumerate() {
            if at > 0 {
                writeln!(out.w)?;
            }
            out.card(*port, groups.iter().filter(|group| group.ports.contains(*port)))?;
        }
    }
    out.left_out(left_out)?;
    out.w.flush()
}

/// Writes the text about one port, without the cards of its listeners.
///
/// # Errors
/// If the text cannot be written.
pub fn port(explained: &Explained<'_>, report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut out = Card { report, style, depth: Depth::default(), w: BufWriter::with_capacity(1 << 16, w) };
    out.card(explained.port, groups(std::slice::from_ref(explained)).iter())?;
    out.w.flush()
}

/// Returns the listeners on some ports.
#[must_use]
pub fn listeners<'r>(ports: &[Explained<'r>]) -> Vec<Listener<'r>> {
    Listener::all(ports.iter().flat_map(|port| port.listeners.iter().copied()))
}

struct Card<'a> {
    report: &'a Report,
    style: &'a Style,
    depth: Depth,
    w: BufWriter<&'a mut dyn Write>,
}

impl Card<'_> {
    /// Writes a card for each of the first listeners, and the number of further listeners. If the ports have compact
    /// blocks, the cards contain the sentences of the registry's findings, because a block does not.
    fn listeners(&mut self, listeners: &[Listener<'_>], in_blocks: bool) -> io::Result<()> {
        for listener in listeners.iter().take(CARDS) {
            for line in listener_card::in_full(listener, in_blocks, self.report, self.style) {
                writeln!(self.w, "{line}")?;
            }
            writeln!(self.w)?;
        }
        let more = listeners.len().saturating_sub(CARDS);
        if more == 0 {
            return Ok(());
        }
        let how =
            if in_blocks { "(see below)".to_owned() } else { format!("(portolan {})", ports(listeners)) };
        writeln!(self.w, "and {} {how}\n", plural(more, "more listener"))
    }

    /// Writes the omitted ports and protocols.
    fn left_out(&mut self, left_out: &BTreeSet<(u16, Protocol)>) -> io::Result<()> {
        const FEW: usize = 6;
        if left_out.is_empty() {
            return Ok(());
        }
        let places: Vec<String> =
            left_out.iter().map(|(port, protocol)| format!("{}/{port}", protocol.name())).collect();
        let mut sockets = self.report.entries.iter().map(|entry| &entry.socket);
        let is_used = sockets.any(|socket| {
            socket.state.holds_port() && left_out.contains(&(socket.local.port, socket.local.protocol))
        });
        let why = if is_used { "" } else { " (nothing listens there)" };
        writeln!(self.w)?;
        self.item("Not shown", &format!("{}{why}; --full shows them.", first_of(&places, FEW)))
    }

    fn card<'g>(&mut self, port: u16, groups: impl Iterator<Item = &'g Group<'g, 'g>>) -> io::Result<()> {
        let heading = format!("Port {port}");
        let range = verdict_text::range(RegistryRange::of(port));
        writeln!(self.w, "{} ({range})", self.style.paint(Emphasis::Heading, &heading))?;
        // If nothing listens, facts that are the same for every protocol are written only in the first group.
        let groups: Vec<_> = groups.collect();
        let is_idle = groups.iter().all(|group| group.listeners.is_empty());
        let mut registered = BTreeSet::new();
        for (at, group) in groups.into_iter().enumerate() {
            writeln!(self.w)?;
            self.group(group, !is_idle || at == 0, &mut registered)?;
        }
        if self.depth.evidence {
            writeln!(self.w)?;
            self.item("Range", verdict_text::range_in_full(RegistryRange::of(port)))?;
        }
        Ok(())
    }

    /// Writes the text of one group. `registered` contains the registrations that the earlier groups have shown.
    fn group(
        &mut self,
        group: &Group<'_, '_>,
        says_idle: bool,
        registered: &mut BTreeSet<String>,
    ) -> io::Result<()> {
        let verdict = group.verdict;
        writeln!(
            self.w,
            "{}  {}",
            self.style.paint(Emphasis::Heading, &group.protocols.join(", ")),
            self.style.paint(tone(verdict.status), &status(group))
        )?;
        let contexts = || group.contexts.iter().copied();
        let what = port_text::what(contexts());
        let is_known = what.is_some() || contexts().any(|context| !context.programs.is_empty());
        let without_service = || verdict_text::without_service(verdict, port_text::possible(contexts()));
        self.optional("What", what.or_else(|| without_service().filter(|_| !is_known)))?;
        let mut usual = group.listeners.iter().filter_map(|listener| listener.usual());
        match usual.next() {
            None if group.listeners.is_empty() && says_idle => {
                self.item("Here now", &sanitize(&self.no_listener_text()))?;
            }
            Some(usual) => self.item("Here now", &sanitize(&context_text::usual(usual)))?,
            None => {}
        }
        self.in_use_by(group)?;
        let is_short = !self.depth.in_full && !group.listeners.is_empty();
        if !is_short {
            self.optional("Usually", context_text::programs(contexts()))?;
        }
        self.optional("If open", port_text::if_open(contexts()))?;
        self.optional("Abused by", port_text::abused_by(contexts()))?;
        let shown = if is_short { REGISTRATIONS } else { usize::MAX };
        for assignment in verdict.assignments.iter().take(shown) {
            let text = registration(assignment, verdict);
            if registered.insert(text.clone()) {
                self.item("Registered", &sanitize(&text))?;
            }
        }
        if let Some(more) = verdict.assignments.len().checked_sub(shown).filter(|more| *more > 0) {
            self.item("", &format!("and {} (--full)", plural(more, "more registration")))?;
        }
        let mut reason = verdict_text::reason(verdict);
        if verdict.status == Status::Dormant
            && let Some(users) = port_text::users(contexts())
        {
            reason.push_str(&format!(" In practice, this port is used by {users}."));
        }
        self.item("Status", &sanitize(&reason))?;
        // For a repurposed and for an orphaned port, the reason already contains the known use.
        if !verdict.known_use.is_empty()
            && !matches!(verdict.status, Status::Repurposed | Status::Orphaned)
            && (!is_known || self.depth.in_full || self.depth.evidence)
        {
            self.item("Known use", &sanitize(&verdict_text::known_use(verdict)))?;
        }
        let ephemeral: Vec<_> = group
            .protocols
            .iter()
            .zip(contexts())
            .map(|(name, context)| (*name, context.ephemeral.as_ref()))
            .collect();
        self.optional("Ephemeral", context_text::ephemeral(&ephemeral))?;
        if self.depth.evidence { self.evidence(group) } else { Ok(()) }
    }

    /// Writes the connections that use the port without a listener.
    fn in_use_by(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
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
            self.item(if at == 0 { "In use by" } else { "" }, &line)?;
        }
        match group.connections.len().saturating_sub(FEW) {
            0 => Ok(()),
            more => self.item("", &format!("and {more} more")),
        }
    }

    /// Writes the evidence of the verdict, and the facts around the port.
    fn evidence(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        let contexts = || group.contexts.iter().copied();
        for assignment in &group.verdict.assignments {
            let notes = assignment.notes.map(|notes| format!("{}: {notes}", assignment.service));
            self.optional("IANA notes", notes)?;
        }
        self.optional("Evidence", context_text::evidence(group.verdict))?;
        let guarded = contexts().find_map(|context| context.guarded.as_ref());
        self.optional("Guarded", guarded.map(context_text::guarded))?;
        self.optional("Nearby", contexts().find_map(|context| context_text::nearby(&context.nearby)))?;
        self.optional("History", contexts().find_map(|context| context_text::history(&context.history)))
    }

    /// Writes a label and a text; nothing if there is no text. This function sanitizes the text.
    fn optional(&mut self, label: &str, text: Option<String>) -> io::Result<()> {
        text.map_or(Ok(()), |text| self.item(label, &sanitize(&text)))
    }

    /// Writes a label and a paragraph of sanitized text; an empty label continues the paragraph above.
    fn item(&mut self, label: &str, text: &str) -> io::Result<()> {
        labelled(label, text, self.style).iter().try_for_each(|line| writeln!(self.w, "{line}"))
    }

    /// Returns the text for a port without a known listener. A socket is visible even if its owner could not be read,
    /// so unread owners do not matter here.
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

    fn block(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        let verdict = group.verdict;
        let service = |a: &Assignment| match a.basis == verdict.basis {
            true => verdict_text::title(a),
            false => format!("{}, {}", verdict_text::title(a), verdict_text::standing(a)),
        };
        let services = verdict.assignments.iter().map(service).collect::<Vec<_>>().join("; ");
        let known_use = verdict_text::known_use(verdict);
        writeln!(
            self.w,
            "{}  {}  {}",
            self.style.paint(Emphasis::Heading, &format!("{:<11}", group.ports.to_string())),
            group.protocols.join(","),
            self.style.paint(tone(verdict.status), &verdict_text::status(verdict)),
        )?;
        for text in [services, known_use] {
            if !text.is_empty() {
                self.item("", &sanitize(&text))?;
            }
        }
        if verdict.assignments.is_empty() && verdict.known_use.is_empty() {
            self.item("", &sanitize(&verdict_text::reason(verdict)))?;
        }
        for judged in &group.listeners {
            let socket = &judged.socket;
            let at = format!("{} {}:{}", socket.local.protocol, address(socket), socket.local.port);
            let pids = process_cells::pids(socket.owner.pids(), CellFormat::Complete).replace(',', ", ");
            let pids = if pids.is_empty() { pids } else { format!(" (pid {pids})") };
            self.item(
                "",
                &format!(
                    "here now: {at} {}{pids}",
                    process_cells::process(judged, CellFormat::Complete).text
                ),
            )?;
        }
        Ok(())
    }
}

/// Returns the status of a port. A dormant registration does not mean that the port is unused.
fn status(group: &Group<'_, '_>) -> String {
    let is_used = || port_text::users(group.contexts.iter().copied()).is_some();
    match group.verdict.status {
        Status::Dormant if is_used() => {
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
    format!("{} ({})", verdict_text::title(a), facts.join("; "))
}

/// Returns the ports of listeners, separated by spaces.
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
