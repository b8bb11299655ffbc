//! The card of a listener: who listens, since when, why it runs, who can reach it and how to stop it. A fact that is
//! not known is left out, or the card says how to make the fact visible.

use std::net::SocketAddr;

use super::cells::{CellFormat, addresses};
use super::labelled::{first_lines, labelled, measure, on_one_line, paragraph, with_label};
use super::merge::merge;
use super::process_cells::shell_words;
use super::start_text::{container, how_to_stop, since, started_by};
use super::wrap::wrap;
use super::{Emphasis, Style, Zone, process_name, sanitize, user, verdict_text};
use crate::findings::reach::firewall;
use crate::findings::registry::{Orphaned, Unexplained};
use crate::findings::text::{list, plural};
use crate::findings::{FindingFamily, FindingKind, Flag};
use crate::judge::{ContainerManager, Finding, HowToStop, Listener, Report, StartedBy};
use crate::model::{
    Confidence, Exposure, ForwardTarget, Owner, Pid, PortVerdict, Process, ServiceBy, Severity, State,
    Status, StatusBasis, short_container,
};

/// The maximum number of lines of a card.
const TALLEST: usize = 14;
/// The maximum number of lines of one fact, such as the starter of the listener.
const LONGEST: usize = 2;
/// The usual width of a terminal, in columns.
const USUAL: u16 = 80;
/// The maximum number of lines about the registry in a card.
const REGISTRY: usize = 3;
/// On a narrower terminal, the table is used, because it shows more.
pub const NARROWEST: u16 = 60;
/// The maximum number of addresses and of process IDs that a card names.
const FEW: usize = 4;

/// Writes the card of a listener, with the registrations of its port.
///
/// # Errors
/// If a line cannot be written.
pub fn listing(
    listener: &Listener<'_>,
    report: &Report,
    style: &Style,
    w: &mut dyn std::io::Write,
) -> std::io::Result<()> {
    let mut lines = facts(listener, report, style);
    let flags = flags(listener, |_| false, style);
    let stop = stop(listener, report, style);
    let registry = labelled("Registry", &registry(listener), style);
    // A card also leaves space on a narrow terminal, because its lines are short.
    let tallest = if style.width.is_some_and(|width| width < USUAL) { usize::MAX } else { TALLEST };
    let height = flags.iter().map(|flag| flag.lines.len()).sum::<usize>();
    let space = tallest.saturating_sub(lines.len() + stop.len());
    let is_cut = registry.len() > REGISTRY || height + registry.len() > space;
    let space = space.saturating_sub(usize::from(is_cut));
    // The registry shrinks first, then the findings that are only information.
    let most = space.saturating_sub(height).clamp(1, REGISTRY);
    let space = space.saturating_sub(registry.len().min(most));
    lines.extend(shown_flags(&flags, space, style));
    lines.extend(stop);
    lines.extend(first_lines(registry, most, style));
    if is_cut {
        let command = format!("portolan explain {}", listener.first().socket.local.port);
        lines.push(on_one_line("More", &command, "", style));
    }
    lines.iter().try_for_each(|line| writeln!(w, "{line}"))?;
    w.flush()
}

/// Returns whether the text about the port already contains the evidence of a finding.
fn is_in_verdict(flag: Flag) -> bool {
    [Orphaned::FLAG, Unexplained::FLAG].contains(&flag)
}

/// Returns the lines of the card of a listener, without the registry. Findings about the registry are in their short
/// form, unless `with_sentences` is set.
pub(super) fn in_full(
    listener: &Listener<'_>,
    with_sentences: bool,
    report: &Report,
    style: &Style,
) -> Vec<String> {
    let mut lines = facts(listener, report, style);
    let is_below = if with_sentences { |_| false } else { is_in_verdict };
    lines.extend(shown_flags(&flags(listener, is_below, style), usize::MAX, style));
    lines.extend(stop(listener, report, style));
    lines
}

/// Returns the facts about a listener, without its findings and its port.
pub(super) fn facts(listener: &Listener<'_>, report: &Report, style: &Style) -> Vec<String> {
    let os = &*report.snapshot.host.os;
    let mut lines = heading(listener, style);
    let mut add = |label: &str, text: String| {
        let text = if text.is_empty() { Vec::new() } else { paragraph(&text, style) };
        lines.extend(with_label(label, first_lines(text, LONGEST, style), style));
    };
    add("Process", process(listener, report, style.zone));
    add("", others(listener));
    let main = listener.main();
    let command = match main.map(|process| &*process.cmdline) {
        None | Some([]) => None,
        // Some programs replace their command line by a single text.
        Some([text]) => Some(text.clone()),
        Some(words) => Some(shell_words(words)),
    };
    lines.extend(command.map(|command| on_one_line("Command", &sanitize(&command), "", style)));
    if let Some((path, package)) = main.and_then(program) {
        lines.push(on_one_line("Program", &path, &package, style));
    }
    if let Some((path, project)) = main.and_then(directory) {
        lines.push(on_one_line("Directory", &path, &project, style));
    }
    let mut add = |label: &str, text: Option<String>| {
        let text = text.map(|text| first_lines(paragraph(&text, style), LONGEST, style));
        lines.extend(with_label(label, text.unwrap_or_default(), style));
    };
    add("Forwards to", listener.first().forward_target().map(forwards_to));
    add("Why", StartedBy::of(listener, os).map(|started| started_by(&started)));
    lines.extend(labelled("Reachable", &reach(listener, report), style));
    lines
}

fn stop(listener: &Listener<'_>, report: &Report, style: &Style) -> Vec<String> {
    let os = &*report.snapshot.host.os;
    let how = HowToStop::of(listener, os).map(|how| how_to_stop(&how, os));
    how.into_iter().flat_map(|text| labelled("To stop", &text, style)).collect()
}

/// Returns the addresses, and the name of the listener.
pub(super) fn heading(listener: &Listener<'_>, style: &Style) -> Vec<String> {
    let mut heading = places(listener);
    if listener.first().socket.state == State::Bound {
        heading.push_str(" (bound, not listening)");
    }
    let place = elsewhere(listener).map(|place| format!(", in {place}")).unwrap_or_default();
    let what = sanitize(&format!("{}{place}", what_runs(listener))).into_owned();
    let text = format!("{heading}  {what}");
    match wrap("", &text, measure(style)).as_slice() {
        [_] => vec![format!("{}  {what}", style.paint(Emphasis::Heading, &heading))],
        lines => lines.iter().map(|line| style.paint(Emphasis::Heading, line)).collect(),
    }
}

/// Returns the addresses and ports of a listener, as `tcp *:80, [::1]:8080`.
pub(super) fn places(listener: &Listener<'_>) -> String {
    let mut places: Vec<String> = Vec::new();
    let mut protocol = "";
    for entry in merge(listener.sockets.iter().map(|entry| (*entry).clone()).collect()) {
        let local = &entry.socket.local;
        let name = local.protocol.name();
        let place = format!("{}:{}", addresses(&entry, CellFormat::Complete), local.port);
        places.push(if protocol == name { place } else { format!("{name} {place}") });
        protocol = name;
    }
    let more = places.len().saturating_sub(FEW);
    places.truncate(FEW);
    if more > 0 {
        places.push(format!("{more} more"));
    }
    places.join(", ")
}

/// Returns the product and the program of a listener.
pub(super) fn what_runs(listener: &Listener<'_>) -> String {
    let entry = listener.first();
    let main = listener.main();
    let script = main.and_then(|process| process.script.as_ref());
    let script = script.and_then(|script| script.path.rsplit('/').next()).map(|name| format!(" {name}"));
    let name = main.map(|process| process.name.as_deref().unwrap_or("?"));
    let name = name.map(|name| format!("{name}{}", script.unwrap_or_default()));
    let product = entry.service().filter(|service| service.by != ServiceBy::Port);
    // A product may have a remark in parentheses. The remark is removed, because the name of the program follows in
    // parentheses.
    let product = product.and_then(|service| service.product?.split(" (").next());
    match (product, name) {
        (Some(product), Some(name)) if !product.eq_ignore_ascii_case(&name) => format!("{product} ({name})"),
        (_, Some(name)) => name,
        (Some(product), None) => format!("{product} (program hidden)"),
        _ if entry.socket.owner == Owner::Hidden => "program hidden".to_owned(),
        _ if entry.socket.forwarding.is_some() => "NAT rule".to_owned(),
        _ if entry.socket.owner == Owner::Kernel => "kernel".to_owned(),
        _ => "unknown program".to_owned(),
    }
}

/// Returns the main process, or the reason why there is none.
pub(super) fn process(listener: &Listener<'_>, report: &Report, zone: Zone) -> String {
    let socket = &listener.first().socket;
    let created = user(socket.user.as_deref(), socket.uid);
    let created = created.map(|user| format!("; user {user} created the socket")).unwrap_or_default();
    match (listener.main(), &socket.owner) {
        (Some(process), _) => {
            let name = process_name(process.name.as_deref());
            let user = user(process.user.as_deref(), process.uid);
            let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
            let since = process.started.map(|started| since(started, report.snapshot.taken, zone));
            let since = since.map(|since| format!(", {since}"));
            let stopped = if process.state == Some('T') { ", stopped" } else { "" };
            format!("{name} (pid {}{user}){}{stopped}", process.pid, since.unwrap_or_default())
        }
        (None, Owner::Held(pids)) => format!("{}, {}", pid_list(pids), not_visible(report)),
        (None, Owner::Hidden) => format!("{}{created}", not_visible(report)),
        (None, Owner::Kernel) => verdict_text::owner(&Owner::Kernel).to_owned(),
        (None, owner) => format!("{}{created}", verdict_text::owner(owner)),
    }
}

/// Returns the text for an invisible process, with the way to make it visible.
fn not_visible(report: &Report) -> &'static str {
    let host = &report.snapshot.host;
    match (host.privileged, &*host.os) {
        (true, _) => "not visible: not every process could be read",
        (false, "windows") => "not visible (run as administrator)",
        (false, _) => "not visible (run with sudo)",
    }
}

/// Returns the processes other than the main process; empty if there are none.
pub(super) fn others(listener: &Listener<'_>) -> String {
    let owners = listener.first().socket.owner.pids();
    let processes = listener.processes();
    let mut alike: Vec<(&Process, Vec<Pid>)> = Vec::new();
    for process in processes.iter().skip(1) {
        match alike.iter_mut().find(|(other, _)| (&other.name, &other.user) == (&process.name, &process.user))
        {
            Some((_, pids)) => pids.push(process.pid),
            None => alike.push((process, vec![process.pid])),
        }
    }
    let mut texts: Vec<String> = alike
        .iter()
        .take(FEW)
        .map(|(process, pids)| {
            let user = user(process.user.as_deref(), process.uid);
            let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
            format!("{} ({}{user})", process_name(process.name.as_deref()), pid_list(pids))
        })
        .collect();
    if alike.len() > FEW {
        texts.push(format!("{} other programs", alike.len() - FEW));
    }
    let unread: Vec<Pid> =
        owners.iter().filter(|pid| processes.iter().all(|process| process.pid != **pid)).copied().collect();
    if !unread.is_empty() && !processes.is_empty() {
        texts.push(format!("{} (could not be read)", pid_list(&unread)));
    }
    if texts.is_empty() { String::new() } else { format!("and {}", list(&texts)) }
}

/// Returns `pid 7` or `pids 7, 8 and 2 more`.
fn pid_list(pids: &[Pid]) -> String {
    let mut shown: Vec<String> = pids.iter().take(FEW).map(ToString::to_string).collect();
    if pids.len() > FEW {
        shown.push(format!("{} more", pids.len() - FEW));
    }
    format!("pid{} {}", if pids.len() == 1 { "" } else { "s" }, list(&shown))
}

/// Returns the program file, and its package.
fn program(process: &Process) -> Option<(String, String)> {
    let exe = process.exe.as_ref()?;
    let deleted = if exe.is_deleted() { format!(" ({})", exe.state.name()) } else { String::new() };
    let package = process.origin.as_ref().and_then(|origin| {
        let version = origin.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        Some(format!(", package {}{version}", origin.package.as_deref()?))
    });
    let end = sanitize(&format!("{deleted}{}", package.unwrap_or_default())).into_owned();
    Some((sanitize(&exe.path).into_owned(), end))
}

/// Returns the working directory and its project.
fn directory(process: &Process) -> Option<(String, String)> {
    let cwd = sanitize(process.cwd.as_deref()?).into_owned();
    let project = process.project.as_deref().map(|project| format!(" (project {})", sanitize(project)));
    Some((cwd, project.unwrap_or_default()))
}

/// Returns the destination of a published port.
fn forwards_to(to: &ForwardTarget) -> String {
    let place = SocketAddr::new(to.address, to.port);
    match to.container.as_deref() {
        Some(to) => {
            let name = to.name.as_deref().unwrap_or(&to.id);
            format!("{place} in {}", container(ContainerManager::of_files(to), name, Some(to)))
        }
        None => place.to_string(),
    }
}

/// Returns the network namespace of a listener outside the observer's own: `container web-cache`, `network namespace blue`.
fn elsewhere(listener: &Listener<'_>) -> Option<String> {
    let first = listener.first();
    let netns = first.socket.netns.as_ref()?;
    Some(match (listener.container().or(first.container()), &netns.name) {
        (Some(container), _) => format!("container {}", short_container(container)),
        (None, Some(name)) => format!("network namespace {name}"),
        (None, None) => format!("network namespace {}", netns.inode),
    })
}

fn reach(listener: &Listener<'_>, report: &Report) -> String {
    let exposure = match (elsewhere(listener), listener.exposure()) {
        (None, exposure) => verdict_text::exposure(exposure).to_owned(),
        (Some(place), Exposure::Any) => {
            format!("on every address of {}, not of this machine", sanitize(&place))
        }
        (Some(place), Exposure::Loopback) => format!("inside {} only", sanitize(&place)),
        (Some(place), exposure) => format!("{}, in {}", verdict_text::exposure(exposure), sanitize(&place)),
    };
    let connections = match listener.connections(&report.snapshot) {
        Some(0) => "; no connections now".to_owned(),
        Some(count) => {
            format!("; {} now", plural(usize::try_from(count).unwrap_or(usize::MAX), "connection"))
        }
        None => String::new(),
    };
    let firewall = match listener.reach() {
        Some(reach) if reach.is_refused() => {
            let host = &report.snapshot.host;
            let how = if host.privileged { "needs CAP_NET_ADMIN" } else { "run with sudo" };
            format!("; the firewall was not checked ({how})")
        }
        reach => reach.and_then(firewall).map(|text| format!("; {}", sanitize(&text))).unwrap_or_default(),
    };
    format!("{exposure}{firewall}{connections}")
}

/// A finding and its lines.
struct ShownFlag {
    code: String,
    severity: Severity,
    /// Whether every line is shown: the consequence and the remedy are at the end.
    endangers: bool,
    lines: Vec<String>,
}

/// Returns the findings, most severe first, each once. The sentence of a finding is omitted if it follows below the
/// card.
fn flags(listener: &Listener<'_>, is_below: fn(Flag) -> bool, style: &Style) -> Vec<ShownFlag> {
    let mut found: Vec<&Finding> = Vec::new();
    for finding in listener.sockets.iter().flat_map(|entry| entry.findings()) {
        if !found.iter().any(|other| other.flag() == finding.flag()) {
            found.push(finding);
        }
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let shown = |finding: &Finding| {
        let code = format!("{} ({})", finding.flag().code(), finding.severity.name());
        let lines = match is_below(finding.flag()) {
            true => vec![code.clone()],
            false => paragraph(&format!("{code}: {}", sanitize(&finding.card_sentence())), style),
        };
        let endangers =
            finding.severity > Severity::Info && finding.flag().family() != FindingFamily::Registry;
        ShownFlag { code, severity: finding.severity, endangers, lines }
    };
    found.into_iter().map(shown).collect()
}

/// Returns the findings, the most severe ones first. A finding that endangers nothing gets as many lines as the space
/// allows; all others have every line.
fn shown_flags(flags: &[ShownFlag], space: usize, style: &Style) -> Vec<String> {
    let full: usize = flags.iter().filter(|flag| flag.endangers).map(|flag| flag.lines.len()).sum();
    let others = flags.iter().filter(|flag| !flag.endangers).count();
    let space = space.saturating_sub(full).max(usize::from(others > 0));
    let named = if others <= space { others } else { space.saturating_sub(1) };
    let mut left = space.saturating_sub(usize::from(named < others));
    let (mut lines, mut codes, mut shown) = (Vec::new(), Vec::new(), 0);
    for flag in flags {
        let most = match flag.endangers {
            true => flag.lines.len(),
            false if shown == named => {
                codes.push(&*flag.code);
                continue;
            }
            false => left.saturating_sub(named - shown - 1).max(1),
        };
        let mut kept = first_lines(flag.lines.clone(), most, style);
        if !flag.endangers {
            shown += 1;
            left = left.saturating_sub(kept.len());
        }
        if let Some(first) = kept.first_mut() {
            *first = first.replacen(&flag.code, &style.paint(flag.severity.into(), &flag.code), 1);
        }
        lines.extend(kept);
    }
    if !codes.is_empty() {
        lines.extend(first_lines(paragraph(&codes.join(", "), style), 1, style));
    }
    with_label("Flags", lines, style)
}

/// Returns the registrations of the port, for each protocol with a different text.
fn registry(listener: &Listener<'_>) -> String {
    let mut texts: Vec<(Vec<&str>, String)> = Vec::new();
    for entry in &listener.sockets {
        let (protocol, text) = (entry.socket.local.protocol.name(), registered(&entry.verdict));
        match texts.iter_mut().find(|(_, other)| *other == text) {
            Some((protocols, _)) if protocols.contains(&protocol) => {}
            Some((protocols, _)) => protocols.push(protocol),
            None => texts.push((vec![protocol], text)),
        }
    }
    let port = listener.first().socket.local.port;
    let several = texts.len() > 1;
    let texts: Vec<String> = texts
        .iter()
        .map(|(protocols, text)| match several {
            true => format!("{}/{port} {text}", protocols.join(", ")),
            false => text.clone(),
        })
        .collect();
    sanitize(&texts.join(" ")).into_owned()
}

/// Returns the registered services of a port and its common use. The status of the port is in words, because a word such
/// as "active" would read as the state of the listener.
fn registered(verdict: &PortVerdict) -> String {
    let services: Vec<String> = verdict.assignments.iter().map(verdict_text::title).collect();
    let services = services.join("; ");
    let mut said = match verdict.status {
        Status::Unassigned if verdict.basis == StatusBasis::Reserved => {
            "IANA reserves this port for no service.".to_owned()
        }
        _ if services.is_empty() => "nothing is registered.".to_owned(),
        Status::Orphaned => {
            let presumed = match verdict_text::confidence(verdict) {
                Some(Confidence::Presumed) => "presumed ",
                _ => "",
            };
            format!("registered for {services} ({presumed}dead).")
        }
        Status::Dormant => format!("registered for {services} (no known software uses it)."),
        _ => format!("registered for {services}."),
    };
    let known_use = verdict_text::known_use(verdict);
    if !known_use.is_empty() {
        said.push_str(&format!(" {known_use}."));
    }
    said
}
