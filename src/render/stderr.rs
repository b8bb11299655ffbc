//! The messages on standard error: gaps and notes. Each gap is one line with its remedy, wrapped on a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;

use crate::join::Entry;
use crate::judge::Query;
use crate::model::{Gap, Matched, NAMED_PIDS, Note, Pid, State};

use super::wrap::wrap;
use super::{Emphasis, Style, Zone, sanitize};

pub fn gaps<'a>(
    gaps: impl IntoIterator<Item = &'a Gap>,
    notes: &[Note],
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    unseen(gaps, style, w)?;
    for said in notes.iter().collect::<BTreeSet<_>>() {
        remark(&note(said), style, w)?;
    }
    Ok(())
}

const FROM: &str = "portolan: ";

pub fn message(text: &str, width: Option<u16>, w: &mut dyn Write) -> io::Result<()> {
    wrap(FROM, &sanitize(text), width).iter().try_for_each(|line| writeln!(w, "{line}"))
}

/// Writes commands that the user can type next, one per line, each after a short text. A command is not wrapped, so
/// that it can be copied from a narrow terminal.
pub fn commands(commands: &[(&str, String)], w: &mut dyn Write) -> io::Result<()> {
    let widest = commands.iter().map(|(when, _)| when.len()).max().unwrap_or_default();
    commands.iter().try_for_each(|(when, command)| writeln!(w, "  {when:widest$}  {}", sanitize(command)))
}

fn remark(text: &str, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut lines = wrap(FROM, &format!("note: {text}"), style.width).into_iter();
    lines.try_for_each(|line| writeln!(w, "{}", style.paint(Emphasis::Quiet, &line)))
}

pub fn unseen<'a>(
    gaps: impl IntoIterator<Item = &'a Gap>,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    const MARK: &str = "not seen:";
    for said in gaps.into_iter().collect::<BTreeSet<_>>() {
        let text = format!("{MARK} {}", gap(said));
        for (at, line) in wrap(FROM, &text, style.width).into_iter().enumerate() {
            match line.split_once(MARK).filter(|_| at == 0) {
                Some((from, rest)) => writeln!(w, "{from}{}{rest}", style.paint(Emphasis::Warning, MARK))?,
                None => writeln!(w, "{line}")?,
            }
        }
    }
    Ok(())
}

pub fn caveats(caveats: &[String], style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut lines = caveats.iter().flat_map(|text| wrap(FROM, text, style.width));
    lines.try_for_each(|line| writeln!(w, "{}", style.paint(Emphasis::Warning, &line)))
}

/// Returns a gap as one line: the parts that were not observed, the pids, the reason and the remedy.
pub(super) fn gap(gap: &Gap) -> String {
    let what = counted(&gap.what, gap.count);
    let why = with_remedy(&gap.why, gap.remedy.as_deref());
    match gap.pids[..] {
        [] => format!("{what}: {why}"),
        _ => format!("{what} ({}): {why}", pids(&gap.pids)),
    }
}

pub(super) fn with_remedy(why: &str, remedy: Option<&str>) -> String {
    format!("{}{}", sanitize(why), in_brackets(remedy))
}

pub(super) fn pids(pids: &[Pid]) -> String {
    let named: Vec<String> = pids.iter().take(NAMED_PIDS).map(ToString::to_string).collect();
    match (pids.len(), pids.len() - named.len()) {
        (1, _) => format!("pid {}", named.concat()),
        (_, 0) => format!("pids {}", named.join(", ")),
        (_, more) => format!("pids {} and {more} more", named.join(", ")),
    }
}

pub(super) fn note(note: &Note) -> String {
    let Note { what, count, remedy, .. } = note;
    format!("{}{}", counted(what, *count), in_brackets(remedy.as_deref()))
}

/// Writes how each name was interpreted. Ports and names of registered services need no explanation.
pub fn interpretations(asked: &[Query<'_>], style: &Style, w: &mut dyn Write) -> io::Result<()> {
    for Query { text, matched, added, hits: _ } in asked {
        let what = match matched {
            Matched::Port | Matched::Service => continue,
            Matched::Program => "not the name of a service; showing the ports of the program with this name",
            Matched::Text => {
                "not the name of a service or program; showing the ports whose descriptions contain these words"
            }
        };
        let ports = if *added == 1 { "1 port".to_owned() } else { format!("{added} ports") };
        remark(&format!("{}: {what} ({ports})", sanitize(text)), style, w)?;
    }
    Ok(())
}

/// Returns the message during a wait: `Waiting for a listener: 5432 (since 12:00:00 UTC, 7 s)`.
pub fn awaited(targets: &[String], free: bool, (since, time): (Timestamp, Duration), zone: Zone) -> String {
    let what = if free { "until free" } else { "for a listener" };
    let (targets, since) = (targets.join(", "), zone.time(since, "%H:%M:%S"));
    format!("Waiting {what}: {} (since {since}, {} s)", sanitize(&targets), time.as_secs())
}

/// Returns the message for a wait that timed out, with the sockets that still use the port.
pub fn gave_up(targets: &[String], taken_by: &[Entry]) -> String {
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for entry in taken_by {
        *states.entry(entry.socket.state).or_default() += 1;
    }
    let states: Vec<String> =
        states.iter().map(|(state, count)| format!("{count} {}", state.name())).collect();
    let only_left_over = !taken_by.is_empty() && taken_by.iter().all(|e| e.socket.state == State::TimeWait);
    let what = match (&states[..], only_left_over) {
        ([], _) => "nothing listens".to_owned(),
        (states, false) => format!("still in use ({})", states.join(", ")),
        (states, true) => {
            format!(
                "still in use ({}); a server that sets SO_REUSEADDR may be able to bind the port now",
                states.join(", ")
            )
        }
    };
    format!("{}: timed out, {what}", targets.join(" "))
}

/// Returns the message for a wait that cannot be decided, because the scan may have missed sockets. `only_rules` says
/// whether the scan missed only rules that forward ports.
pub fn blind(targets: &[String], free: bool, only_rules: bool) -> String {
    let what = if free { "no socket is seen" } else { "timed out, no listener is seen" };
    let why = match only_rules {
        true => "a rule may forward this port, and the rules could not be read",
        false => "not every socket could be seen",
    };
    format!("{}: {what}, but {why}", targets.join(" "))
}

fn counted(what: &str, count: Option<u64>) -> String {
    let what = sanitize(what);
    count.map_or_else(|| what.clone().into_owned(), |count| format!("{count} {what}"))
}

fn in_brackets(remedy: Option<&str>) -> String {
    remedy.map(|remedy| format!(" ({})", sanitize(remedy))).unwrap_or_default()
}
