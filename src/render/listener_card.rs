//! The card of a listener. If a fact is not known, the card leaves it out or says how to make it visible.

use super::card_part::{Part, Shrinks, fit};
use super::cells::{CellFormat, addresses, is_unjudged};
use super::inferred;
use super::labelled::{MEASURE, first_lines, one_line, paragraph};
use super::merge::merge;
use super::process_cells::command_line;
use super::published::{forwards_to, published_as};
use super::start_text::{how_to_stop_with, since, started_by};
use super::wrap::prose;
use super::{Emphasis, Style, Zone, process_name, sanitize, user, verdict_text};
use crate::findings::reach::firewall;
use crate::findings::registry::{Orphaned, Unexplained};
use crate::findings::text::{list, plural};
use crate::findings::{FindingFamily, FindingKind, Flag};
use crate::judge::{Entry, Finding, HowToStop, Listener, Report, StartedBy};
use crate::model::{
    Confidence, Exposure, OriginKind, Owner, Pid, PortVerdict, Process, Reach, ServiceBy, Severity, State,
    Status, StatusBasis, file_name, short_container, unmapped,
};

/// The maximum number of lines of a card. A card with a critical finding may use all free rows of the terminal.
const TALLEST: usize = 14;
/// The maximum number of lines of one fact. A limit is necessary, because a command line may have thousands of words.
const LONGEST: usize = 8;
const HEADING: usize = 3;
const USUAL: u16 = 80;
/// The minimum width of a terminal for a card. On a narrower terminal, a table shows more than a card.
pub const NARROWEST: u16 = 40;
/// The maximum number of findings that have their sentence in a card.
const WITH_SENTENCE: usize = 3;
/// The maximum number of addresses and of process IDs that a card names.
const FEW: usize = 4;

/// Writes the card of a listener, with the registrations of its port. `free` is the number of free rows of the terminal.
pub fn listing(
    listener: &Listener<'_>,
    free: usize,
    report: &Report,
    style: &Style,
    w: &mut dyn std::io::Write,
) -> std::io::Result<()> {
    let mut parts = facts(listener, report, style);
    parts.extend(flags(listener, |_| false, style));
    parts.extend(stop(listener, report, style));
    let registry = paragraph(&registry(listener), style);
    parts.push(Part::new("Registry", registry, Shrinks::Registry, 0));
    // On a terminal that is narrower than `USUAL`, the text needs more lines. So the height is not limited.
    let tallest =
        if style.width.is_some_and(|width| width < USUAL) { usize::MAX } else { tallest(listener, free) };
    let height: usize = parts.iter().map(Part::height).sum();
    if height > tallest {
        let command = format!("portolan explain {}", listener.first().socket.local.port);
        parts.push(Part::new("More", vec![one_line(&command, "", style)], Shrinks::Never, 1));
    }
    fit(&mut parts, tallest, style);
    let mut lines = parts.into_iter().flat_map(|part| part.labelled(style));
    lines.try_for_each(|line| writeln!(w, "{line}"))?;
    w.flush()
}

fn tallest(listener: &Listener<'_>, free: usize) -> usize {
    let is_critical = listener.findings().iter().any(|(_, finding)| finding.severity == Severity::Critical);
    match free {
        // There is no terminal, or the user chose --verbose.
        usize::MAX => usize::MAX,
        _ if is_critical => free.max(TALLEST),
        _ => free.min(TALLEST),
    }
}

/// Returns whether a finding is about the registry. The text about the port already contains the evidence of these
/// findings.
fn is_in_verdict(flag: Flag) -> bool {
    [Orphaned::FLAG, Unexplained::FLAG].contains(&flag)
}

/// Returns the lines of the card of a listener, without the registrations of its port. If `free` rows are not enough,
/// the card is shortened. If `with_sentences` is false, findings about the registry are shown by name only.
pub(super) fn in_full(
    listener: &Listener<'_>,
    with_sentences: bool,
    free: usize,
    report: &Report,
    style: &Style,
) -> Vec<String> {
    let mut parts = facts(listener, report, style);
    let is_below = if with_sentences { |_| false } else { is_in_verdict };
    parts.extend(flags(listener, is_below, style));
    parts.extend(stop(listener, report, style));
    fit(&mut parts, tallest(listener, free), style);
    parts.into_iter().flat_map(|part| part.labelled(style)).collect()
}

/// Returns the facts about a listener, without its findings and its port.
pub(super) fn facts(listener: &Listener<'_>, report: &Report, style: &Style) -> Vec<Part> {
    let os = &*report.snapshot.host.os;
    let mut parts = vec![Part::heading(heading(listener, style))];
    let fact = |label, text: String, shrinks| {
        let lines = if text.is_empty() { Vec::new() } else { paragraph(&text, style) };
        Part::new(label, first_lines(lines, LONGEST, style), shrinks, 1)
    };
    parts.push(fact("Process", process(listener, report, style.zone), Shrinks::Answer));
    parts.push(fact("", others(listener), Shrinks::Detail));
    parts.push(fact("", inferred::others(listener), Shrinks::Detail));
    let inferred = listener.first().inferred_owner();
    let main = listener.main().or(inferred.map(|owner| &owner.process));
    let command = main.and_then(|process| command_line(&process.cmdline));
    let command = command.map(|command| (sanitize(&command).into_owned(), String::new()));
    parts.extend(command.map(|command| place("Command", &command, style)));
    parts.extend(main.and_then(program).map(|program| place("Program", &program, style)));
    let directory = main.and_then(directory).or_else(|| inferred::directory(listener, report));
    parts.extend(directory.map(|directory| place("Directory", &directory, style)));
    let to = listener.first().forward_target().map(forwards_to);
    let to = to.or_else(|| inferred::forwards_to(listener, report));
    parts.extend(to.map(|to| fact("Forwards to", to, Shrinks::Answer)));
    parts.push(fact("Published", published_as(listener), Shrinks::Answer));
    let probably =
        StartedBy::probably(listener, os).map(|started| format!("probably {}", started_by(&started)));
    let why = probably.or_else(|| StartedBy::of(listener, os).map(|started| started_by(&started)));
    parts.extend(why.map(|why| fact("Why", why, Shrinks::Answer)));
    parts.push(fact("Reachable", reach(listener, report), Shrinks::Answer));
    parts
}

/// Returns a part with a text and an ending, such as a path and the name of its package. In a pipe, the part is always
/// on one line. On a terminal, the ending stays visible if the part is shortened to one line.
fn place(label: &'static str, (text, end): &(String, String), style: &Style) -> Part {
    let short = one_line(text, end, style);
    let lines = match style.width {
        None => vec![short.clone()],
        Some(_) => first_lines(paragraph(&format!("{text}{end}"), style), LONGEST, style),
    };
    Part::new(label, lines, Shrinks::Detail, 1).or_on_one_line(short)
}

fn stop(listener: &Listener<'_>, report: &Report, style: &Style) -> Option<Part> {
    let os = &*report.snapshot.host.os;
    let port = listener.first().socket.local.port;
    let published = inferred::is_published(listener).then_some(HowToStop::PublishedPort(port));
    let how = match HowToStop::of(listener, os).or(published) {
        Some(how) => how_to_stop_with(&how, os, report.rights),
        None if inferred::may_see_with_sudo(listener, report) => {
            format!("sudo portolan kill {port}   (shows the process, and asks first)")
        }
        None => return None,
    };
    Some(Part::new("To stop", paragraph(&how, style), Shrinks::Answer, 1))
}

pub(super) fn heading(listener: &Listener<'_>, style: &Style) -> Vec<String> {
    let mut heading = places(listener);
    if listener.first().socket.state == State::Bound {
        heading.push_str(" (bound, not listening)");
    }
    let place = elsewhere(listener).map(|place| format!(", in {place}")).unwrap_or_default();
    let what = sanitize(&format!("{}{place}", what_runs(listener))).into_owned();
    let text = format!("{heading}  {what}");
    let lines = prose("", &text, MEASURE, style);
    match lines.as_slice() {
        [_] => vec![format!("{}  {what}", style.paint(Emphasis::Heading, &heading))],
        _ => {
            let lines = first_lines(lines, HEADING, style);
            lines.iter().map(|line| style.paint(Emphasis::Heading, line)).collect()
        }
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

/// Returns the product and the program of a listener, or the probable program if the owner is hidden.
pub(super) fn what_runs(listener: &Listener<'_>) -> String {
    if let Some(probable) = inferred::what_runs(listener) {
        return probable;
    }
    let entry = listener.first();
    let main = listener.main();
    let script = main.and_then(|process| process.script.as_ref());
    let script = script.and_then(|script| script.path.rsplit('/').next()).map(|name| format!(" {name}"));
    let name = main.map(|process| process.name.as_deref().unwrap_or("?"));
    let name = name.map(|name| format!("{name}{}", script.unwrap_or_default()));
    let product = entry.service().filter(|service| service.by != ServiceBy::Port);
    // A product may end with a remark in parentheses. The remark is removed, because the name of the program follows in
    // parentheses.
    let product = product.and_then(|service| service.product?.split(" (").next());
    match (product, name) {
        (Some(product), Some(name)) if !product.eq_ignore_ascii_case(&name) => format!("{product} ({name})"),
        (_, Some(name)) => name,
        (Some(product), None) if entry.socket.forwarding.is_some() => {
            format!("{product}, behind a NAT rule")
        }
        (Some(product), None) => format!("{product} (program hidden)"),
        _ if entry.socket.owner == Owner::Hidden => "program hidden".to_owned(),
        _ if entry.socket.forwarding.is_some() => "NAT rule".to_owned(),
        _ if entry.socket.owner == Owner::Kernel => "kernel".to_owned(),
        _ => "unknown program".to_owned(),
    }
}

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
        (None, Owner::Hidden) => match inferred::process(listener, report, zone) {
            Some(inferred) => inferred,
            None => format!("{}{created}", not_visible(report)),
        },
        (None, Owner::Kernel) => verdict_text::owner(&Owner::Kernel).to_owned(),
        (None, owner) => format!("{}{created}", verdict_text::owner(owner)),
    }
}

/// Returns the text for an invisible process, and how to make it visible.
fn not_visible(report: &Report) -> &'static str {
    let host = &report.snapshot.host;
    match (host.privileged, &*host.os) {
        (true, _) => "not visible: not every process could be read",
        (false, "windows") => "not visible (run as administrator)",
        (false, _) => "not visible (run with sudo)",
    }
}

pub(super) fn others(listener: &Listener<'_>) -> String {
    let owners = listener.first().socket.owner.pids();
    let processes = listener.processes();
    let of_first = processes.iter().skip(1).map(|process| (*process, None));
    // Each socket of docker-proxy has a process of its own.
    let of_others = listener.sockets.iter().skip(1).flat_map(|entry| {
        let others = entry.processes.iter().filter(|process| !owners.contains(&process.pid));
        others.map(move |process| (&**process, Some(super::address(&entry.socket))))
    });
    let mut alike: Vec<(&Process, Option<String>, Vec<Pid>)> = Vec::new();
    for (process, address) in of_first.chain(of_others) {
        let is_alike = |(other, on, _): &&mut (&Process, Option<String>, Vec<Pid>)| {
            (&other.name, &other.user, on) == (&process.name, &process.user, &address)
        };
        match alike.iter_mut().find(is_alike) {
            Some((.., pids)) => pids.push(process.pid),
            None => alike.push((process, address, vec![process.pid])),
        }
    }
    let mut texts: Vec<String> = alike
        .iter()
        .take(FEW)
        .map(|(process, address, pids)| {
            let user = user(process.user.as_deref(), process.uid);
            let user = user.map(|user| format!(", user {user}")).unwrap_or_default();
            let on = address.as_ref().map(|address| format!(" on {address}")).unwrap_or_default();
            format!("{} ({}{user}){on}", process_name(process.name.as_deref()), pid_list(pids))
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

fn pid_list(pids: &[Pid]) -> String {
    let mut shown: Vec<String> = pids.iter().take(FEW).map(ToString::to_string).collect();
    if pids.len() > FEW {
        shown.push(format!("{} more", pids.len() - FEW));
    }
    format!("pid{} {}", if pids.len() == 1 { "" } else { "s" }, list(&shown))
}

fn program(process: &Process) -> Option<(String, String)> {
    let exe = process.exe.as_ref()?;
    let deleted = if exe.is_deleted() { format!(" ({})", exe.state.name()) } else { String::new() };
    let package = process.origin.as_ref().and_then(|origin| {
        let version = origin.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
        Some(format!(", package {}{version}", origin.package.as_deref()?))
    });
    let loader = process.loader.as_deref().map(|loader| format!(", run by {loader}")).unwrap_or_default();
    let started_as = started_as(process).map(|name| format!(" (started as {name})")).unwrap_or_default();
    let end = format!("{deleted}{started_as}{}{loader}", package.unwrap_or_default());
    let end = sanitize(&end).into_owned();
    Some((sanitize(&exe.path).into_owned(), end))
}

/// Returns the name under which a program was started, if its file has another name: Debian's `redis-server` is a link
/// to `redis-check-rdb`. `None` if a user other than root can write to the file, because a program can give itself any
/// name.
fn started_as(process: &Process) -> Option<&str> {
    let is_trusted = |kind| matches!(kind, OriginKind::Package | OriginKind::System);
    process.origin.as_ref().filter(|origin| is_trusted(origin.kind))?;
    let first = process.cmdline.first()?.split(' ').next()?;
    let (name, file) = (file_name(first), file_name(&process.exe.as_ref()?.path));
    let is_version_of = |name: &str, other: &str| name.starts_with(other) || other.starts_with(name);
    (process.name.as_deref() == Some(name) && !is_version_of(name, file)).then_some(name)
}

/// Returns the working directory and its project; `None` for the root directory, in which most services run.
fn directory(process: &Process) -> Option<(String, String)> {
    let cwd = process.cwd.as_deref().filter(|cwd| *cwd != "/")?;
    let cwd = sanitize(cwd).into_owned();
    let project = process.project.as_deref().map(|project| format!(" (project {})", sanitize(project)));
    Some((cwd, project.unwrap_or_default()))
}

/// Returns the place of a listener in another network namespace: `container web-cache` or `network namespace blue`.
/// `None` in portolan's own network namespace.
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
        (None, Exposure::LinkLocal) if unmapped(listener.first().socket.local.address).is_loopback() => {
            "on this machine, and by machines on the same link that send packets for 127.0.0.1 to it"
                .to_owned()
        }
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
    let reaches = listener.reaches();
    let mut text = exposure;
    if listener.first().is_forwarded_unseen() {
        text += ", unless the rule that forwards the port lets in other machines (run with sudo)";
    }
    for (entry, reach) in &reaches {
        let lets_in = if reach.is_refused() {
            let host = &report.snapshot.host;
            let how = if host.privileged { "needs CAP_NET_ADMIN" } else { "run with sudo" };
            format!("the firewall was not checked ({how})")
        } else {
            // This text is shown only for a listener with several addresses, because it shows how the addresses differ.
            let open = || (reaches.len() > 1).then(|| "the firewall lets in everyone".to_owned());
            let Some(lets_in) = firewall(reach).or_else(open) else { continue };
            sanitize(&lets_in).into_owned()
        };
        text += "; ";
        if reaches.len() > 1 {
            text += &format!("{}: ", clients_of(entry, &reaches));
        }
        text += &lets_in;
    }
    text + &connections
}

/// Returns a name for one socket of a listener with several sockets. The name is `IPv4` or `IPv6` if no other socket
/// has the same address family. Otherwise the name is the address: `to 10.0.0.1`.
fn clients_of(entry: &Entry, reaches: &[(&Entry, &Reach)]) -> String {
    let is_ipv6 = |entry: &Entry| entry.socket.local.address.is_ipv6();
    let of_family = reaches.iter().filter(|(other, _)| is_ipv6(other) == is_ipv6(entry)).count();
    match (of_family, is_ipv6(entry)) {
        (1, false) => "IPv4".to_owned(),
        (1, true) => "IPv6".to_owned(),
        _ => format!("to {}", entry.socket.local.address),
    }
}

/// Returns the findings, each once, the most severe first. The first three have their sentences. A sentence is left out
/// if the text below the card already contains it.
fn flags(listener: &Listener<'_>, is_below: fn(Flag) -> bool, style: &Style) -> Vec<Part> {
    let found: Vec<&Finding> = listener.findings().into_iter().map(|(_, finding)| finding).collect();
    let name = |finding: &Finding| format!("{} ({})", finding.flag().code(), finding.severity.name());
    let label = |at| if at == 0 { "Flags" } else { "" };
    let mut parts = Vec::new();
    let (first, named) = found.split_at(found.len().min(WITH_SENTENCE));
    for (at, finding) in first.iter().enumerate() {
        let name = name(finding);
        let lines = match is_below(finding.flag()) {
            true => vec![name.clone()],
            false => paragraph(&format!("{name}: {}", sanitize(&finding.card_sentence())), style),
        };
        let endangers =
            finding.severity > Severity::Info && finding.flag().family() != FindingFamily::Registry;
        let shrinks = match (endangers, at) {
            (false, _) => Shrinks::Information,
            _ if finding.severity == Severity::Critical => Shrinks::CriticalFinding,
            (true, 0) => Shrinks::WorstFinding,
            (true, _) => Shrinks::FurtherFinding,
        };
        parts.push(Part::new(label(at), lines, shrinks, 1).painted(&name, finding.severity.into()));
    }
    // Without this line, a hidden program would look like one without findings.
    if found.is_empty() && is_unjudged(listener.first()) {
        let text = "not judged, because the process is not visible";
        parts.push(Part::new("Flags", paragraph(text, style), Shrinks::WorstFinding, 1));
    }
    if !named.is_empty() {
        let names: Vec<String> = named.iter().map(|finding| name(finding)).collect();
        parts.push(Part::new("", paragraph(&names.join(", "), style), Shrinks::FurtherFinding, 1));
    }
    parts
}

/// Returns the registrations of the port. Protocols with the same text are shown together.
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

/// Returns the registered services of a port and its common use. The status is a sentence, because readers would take a
/// word such as "active" for the state of the listener.
fn registered(verdict: &PortVerdict) -> String {
    let services: Vec<String> = verdict.registrations().map(verdict_text::title).collect();
    let services = services.join("; ");
    let mut said = match verdict.status {
        Status::Unassigned if verdict.basis == StatusBasis::Reserved => {
            "IANA reserves this port and assigns it to no service.".to_owned()
        }
        _ if services.is_empty() => "nothing is registered.".to_owned(),
        Status::Orphaned => {
            let presumed = match verdict_text::confidence(verdict) {
                Some(Confidence::Presumed) => "presumed ",
                _ => "",
            };
            format!("registered for {services} ({presumed}discontinued).")
        }
        Status::Dormant => format!("registered for {services} (there is no evidence of use)."),
        _ => format!("registered for {services}."),
    };
    let known_use = verdict_text::known_use(verdict);
    if !known_use.is_empty() {
        said.push_str(&format!(" {known_use}."));
    }
    said
}
