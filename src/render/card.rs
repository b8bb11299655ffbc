//! The card of `explain`: what a port is, what is registered there and whether it is still in use, what is commonly
//! found there, which process uses it now, and the command that shows it.
//!
//! A few ports get a card each; more ports get a compact block each, and runs of ports with the same text share one.
//! Protocols with the same text are shown together. "Nothing listens" appears only if every socket was visible.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use crate::findings::registry::{Orphaned, Unexplained};
use crate::findings::{FindingKind, Flag};
use crate::judge::{Entry, Explained, Report};
use crate::model::{Assignment, Owner, Pid, Process, RegistryRange, Severity, Stage, Status};

use super::cells::Form;
use super::group::{Group, groups, runs};
use super::wrap::{clip, wrap};
use super::{Style, Tone, address, context_text, process_cells, process_name, sanitize, user, verdict_text};

/// Up to this many ports get a card each.
pub const CARDS: usize = 3;

/// The width of prose without a terminal, in columns: people read that output too.
const MEASURE: u16 = 80;

/// The column at which the text of a card begins.
const INDENT: usize = 14;

/// Writes a card for each port, or a block for each if there are many.
pub fn explain(ports: &[Explained<'_>], report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut out = Card { report, style, w: BufWriter::with_capacity(1 << 16, w) };
    let groups = groups(ports);
    let mut seen = BTreeSet::new();
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.port).collect();
    numbers.retain(|port| seen.insert(*port));
    if numbers.len() > CARDS {
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
    out.w.flush()
}

struct Card<'a> {
    report: &'a Report,
    style: &'a Style,
    w: BufWriter<&'a mut dyn Write>,
}

impl Card<'_> {
    /// Returns the width at which prose is wrapped.
    fn measure(&self) -> Option<u16> {
        self.style.width.or(Some(MEASURE))
    }

    fn card<'g>(&mut self, port: u16, groups: impl Iterator<Item = &'g Group<'g, 'g>>) -> io::Result<()> {
        let heading = format!("Port {port}");
        let range = format!("is in {}.", verdict_text::range(RegistryRange::of(port)));
        let mut lines = wrap(&" ".repeat(heading.len() + 1), &range, self.measure()).into_iter();
        let first = lines.next().unwrap_or_default();
        writeln!(self.w, "{} {}", self.style.paint(Tone::Heading, &heading), first.trim_start())?;
        for line in lines {
            writeln!(self.w, "{}", line.trim_start())?;
        }
        for group in groups {
            writeln!(self.w)?;
            self.group(group)?;
        }
        writeln!(self.w)?;
        self.check(port)
    }

    fn group(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        let verdict = group.verdict;
        writeln!(
            self.w,
            "{}  {}",
            self.style.paint(Tone::Heading, &group.protocols.join(", ")),
            self.style.paint(tone(verdict.status), &verdict_text::status(verdict))
        )?;
        self.item("Why", &sanitize(&verdict_text::reason(verdict)))?;
        for assignment in &verdict.assignments {
            self.registration(assignment)?;
        }
        // For a repurposed port, the reason contains the known use already.
        if !verdict.known_use.is_empty() && verdict.status != Status::Repurposed {
            self.item("Known use", &sanitize(&verdict_text::known_use(verdict)))?;
        }
        self.context_items(group)?;
        self.listeners(group)
    }

    /// Writes the context: what is worth showing in addition to the verdict.
    fn context_items(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        let contexts = || group.contexts.iter().copied();
        // For a port in use, the reason contains the evidence already.
        let reason_has_evidence =
            group.verdict.status == Status::Active && group.verdict.otherwise.is_empty();
        let evidence = context_text::evidence(group.verdict).filter(|_| !reason_has_evidence);
        let items = [
            ("Evidence", evidence),
            ("Usually", context_text::programs(contexts())),
            ("Guarded", contexts().find_map(|context| context.guarded.as_ref()).map(context_text::guarded)),
            ("Nearby", contexts().find_map(|context| context_text::nearby(&context.nearby))),
            ("History", contexts().find_map(|context| context_text::history(&context.history))),
            (
                "Ephemeral",
                contexts().find_map(|context| context.ephemeral.as_ref()).map(context_text::ephemeral),
            ),
        ];
        for (label, text) in items {
            if let Some(text) = text {
                self.item(label, &sanitize(&text))?;
            }
        }
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
                process_cells::process(judged, Form::Complete).text,
            );
            self.item(if at == 0 { "In use by" } else { "" }, &line)?;
        }
        match group.connections.len().saturating_sub(FEW) {
            0 => Ok(()),
            more => self.item("", &format!("and {more} more")),
        }
    }

    /// Writes a label and a paragraph of sanitized text; an empty label continues the paragraph above.
    fn item(&mut self, label: &str, text: &str) -> io::Result<()> {
        let lines = wrap(&" ".repeat(INDENT), text, self.measure());
        let label = format!("{:<width$}", format!("  {label}"), width = INDENT);
        for (at, line) in lines.iter().enumerate() {
            let before = if at == 0 { self.style.paint(Tone::Quiet, &label) } else { " ".repeat(INDENT) };
            writeln!(self.w, "{}", format!("{before}{}", line.trim_start()).trim_end())?;
        }
        Ok(())
    }

    fn registration(&mut self, a: &Assignment) -> io::Result<()> {
        self.item("Registered", &sanitize(&title(a)))?;
        let mut facts = vec![verdict_text::standing(a)];
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
        self.item("", &sanitize(&facts.join("; ")))?;
        match a.notes {
            Some(notes) => self.item("", &sanitize(&format!("IANA notes: {notes}"))),
            None => Ok(()),
        }
    }

    fn listeners(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        if group.listeners.is_empty() {
            return self.item("Here now", &sanitize(&self.no_listener_text()));
        }
        for (at, judged) in group.listeners.iter().enumerate() {
            let listener = judged;
            let socket = &listener.socket;
            self.item(
                if at == 0 { "Here now" } else { "" },
                &format!(
                    "{} {}:{}, reachable {}",
                    socket.local.protocol,
                    address(socket),
                    socket.local.port,
                    verdict_text::exposure(listener.exposure)
                ),
            )?;
            self.processes(judged)?;
            if let Some(usual) = judged.usual() {
                self.item("", &sanitize(&context_text::usual(usual)))?;
            }
            self.flags(judged)?;
        }
        Ok(())
    }

    fn processes(&mut self, judged: &Entry) -> io::Result<()> {
        let socket = &judged.socket;
        if !matches!(socket.owner, Owner::Held(_)) {
            let user = user(socket.user.as_deref(), socket.uid);
            let user = user.map(|user| format!("created by user {user}; ")).unwrap_or_default();
            return self.item("", &format!("{user}{}", verdict_text::owner(&socket.owner)));
        }
        let known = |pid: &Pid| judged.processes.iter().map(|process| &**process).find(|p| p.pid == *pid);
        let mut alike: Vec<(Option<&Process>, Vec<String>)> = Vec::new();
        for pid in socket.owner.pids() {
            let process = known(pid);
            match alike.iter_mut().find(|(other, _)| same_program(*other, process)) {
                Some((_, pids)) => pids.push(pid.to_string()),
                None => alike.push((process, vec![pid.to_string()])),
            }
        }
        for (process, pids) in alike {
            let pids = format!("pid{} {}", if pids.len() > 1 { "s" } else { "" }, pids.join(", "));
            match process {
                Some(process) => self.process(process, &pids)?,
                None => self.item("", &format!("{pids} (could not be read)"))?,
            }
        }
        Ok(())
    }

    fn process(&mut self, process: &Process, pids: &str) -> io::Result<()> {
        let user = user(process.user.as_deref(), process.uid);
        let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
        let unit = process.container.as_deref().or(process.unit.as_deref());
        let unit = unit.map(|unit| format!(", in {}", sanitize(unit))).unwrap_or_default();
        self.item("", &format!("{} ({pids}{user}{unit})", process_name(process.name.as_deref())))?;
        let mut command = process.cmdline.iter().map(|a| sanitize(a)).collect::<Vec<_>>().join(" ");
        if let (true, Some(exe)) = (command.is_empty(), &process.exe) {
            command = sanitize(&exe.path).into_owned();
        }
        if command.is_empty() {
            return Ok(());
        }
        let width =
            self.style.width.map_or(usize::MAX, |w| usize::from(w).saturating_sub(INDENT + 2).max(20));
        let command = self.style.paint(Tone::Quiet, &clip(&command, width));
        writeln!(self.w, "{:INDENT$}  {command}", "")
    }

    /// Writes the codes in one line, and the details of a flag that the verdict does not contain already.
    fn flags(&mut self, judged: &Entry) -> io::Result<()> {
        if judged.findings().is_empty() {
            return Ok(());
        }
        let codes: Vec<String> = judged
            .findings()
            .iter()
            .map(|f| format!("{} ({})", f.flag().code(), f.severity.name()))
            .collect();
        let worst = judged.worst().unwrap_or(Severity::Info);
        for line in wrap(&" ".repeat(INDENT), &format!("flags: {}", codes.join(", ")), self.measure()) {
            writeln!(self.w, "{:INDENT$}{}", "", self.style.paint(worst.into(), line.trim_start()))?;
        }
        for finding in judged.findings().iter().filter(|finding| !is_in_verdict(finding.flag())) {
            self.item("", &sanitize(&finding.sentence()))?;
        }
        Ok(())
    }

    /// Returns the text for a port without a known listener. Owners that could not be read hide no listener.
    fn no_listener_text(&self) -> String {
        let unseen = |stage| matches!(stage, Stage::Sockets | Stage::Namespaces);
        match self.report.snapshot.gaps.iter().find(|gap| unseen(gap.stage)) {
            Some(gap) => {
                let remedy = gap.remedy.as_deref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                format!(
                    "no listener seen, but not everything could be seen: {}: {}{remedy}.",
                    gap.what, gap.why
                )
            }
            None => "nothing listens on this port.".into(),
        }
    }

    /// Writes the command that shows which process uses the port.
    fn check(&mut self, port: u16) -> io::Result<()> {
        self.item("To check", &format!("portolan {port}"))?;
        let host = &self.report.snapshot.host;
        match (host.privileged, host.os.as_str()) {
            (true, _) => Ok(()),
            (false, "windows") => self.item("", "run it as administrator to see every process"),
            (false, _) => self.item("", &format!("sudo portolan {port}   (shows every process)")),
        }
    }

    fn block(&mut self, group: &Group<'_, '_>) -> io::Result<()> {
        let verdict = group.verdict;
        let service = |a: &Assignment| match a.basis == verdict.basis {
            true => title(a),
            false => format!("{}, {}", title(a), verdict_text::standing(a)),
        };
        let services = verdict.assignments.iter().map(service).collect::<Vec<_>>().join("; ");
        let known_use = verdict_text::known_use(verdict);
        writeln!(
            self.w,
            "{}  {}  {}",
            self.style.paint(Tone::Heading, &format!("{:<11}", group.ports.to_string())),
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
            let pids = process_cells::pids(socket.owner.pids(), Form::Complete).replace(',', ", ");
            let pids = if pids.is_empty() { pids } else { format!(" (pid {pids})") };
            self.item(
                "",
                &format!("here now: {at} {}{pids}", process_cells::process(judged, Form::Complete).text),
            )?;
        }
        Ok(())
    }
}

/// Returns whether the card's verdict already contains the evidence of the finding.
fn is_in_verdict(flag: Flag) -> bool {
    [Orphaned::FLAG, Unexplained::FLAG].contains(&flag)
}

/// Returns whether two processes differ only in their pids, as far as the card shows them.
fn same_program(a: Option<&Process>, b: Option<&Process>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            (&a.name, &a.user, a.uid, &a.cmdline, &a.exe, &a.unit, &a.container)
                == (&b.name, &b.user, b.uid, &b.cmdline, &b.exe, &b.unit, &b.container)
        }
        _ => false,
    }
}

fn title(a: &Assignment) -> String {
    match a.description.filter(|d| !d.is_empty()) {
        Some(description) => format!("{}: {description}", a.service),
        None => a.service.to_owned(),
    }
}

/// Returns IANA's `[Mike_Klein][IESG]` as a person writes it.
fn plain_names(text: &str) -> String {
    text.replace("][", ", ").replace(['[', ']'], "").replace('_', " ")
}

const fn tone(status: Status) -> Tone {
    match status {
        Status::Active => Tone::Good,
        Status::Orphaned => Tone::Warning,
        Status::Dynamic | Status::Unassigned | Status::Repurposed | Status::Dormant => Tone::Notice,
    }
}
