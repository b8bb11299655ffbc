//! What goes to standard error beside a listing: what could not be seen, and what a reader should know.
//!
//! Each gap is told once, in a line of its own, with its remedy. Nothing is wrapped: a line is a message.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::judge::Asked;
use crate::model::{Gap, Matched, Note};

use super::{Style, Tone, sanitize};

/// Every gap, then every note.
pub fn gaps<'a>(
    gaps: impl IntoIterator<Item = &'a Gap>,
    notes: &[Note],
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    unseen(gaps, style, w)?;
    for said in notes.iter().collect::<BTreeSet<_>>() {
        let line = format!("portolan: note: {}", note(said));
        writeln!(w, "{}", style.paint(Tone::Quiet, &line))?;
    }
    Ok(())
}

/// Every gap.
pub fn unseen<'a>(
    gaps: impl IntoIterator<Item = &'a Gap>,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    for said in gaps.into_iter().collect::<BTreeSet<_>>() {
        writeln!(w, "portolan: {} {}", style.paint(Tone::Warning, "not seen:"), gap(said))?;
    }
    Ok(())
}

/// What was not seen, why, and what would show it, in one line.
pub(super) fn gap(gap: &Gap) -> String {
    let Gap { what, count, why, remedy, .. } = gap;
    format!("{}: {}{}", counted(what, *count), sanitize(why), in_brackets(remedy.as_deref()))
}

/// A note in one line.
pub(super) fn note(note: &Note) -> String {
    let Note { what, count, remedy } = note;
    format!("{}{}", counted(what, *count), in_brackets(remedy.as_deref()))
}

/// What a name turned out to be, where it is not what its form says.
pub fn asked(asked: &[Asked<'_>], style: &Style, w: &mut dyn Write) -> io::Result<()> {
    for Asked { text, matched, added } in asked {
        let what = match matched {
            Matched::Port | Matched::Service => continue,
            Matched::Program => "no service of this name; shown is what the program of this name uses",
            Matched::Text => "no service or program of this name; shown is what tells of these words",
        };
        let ports = if *added == 1 { "1 port".to_owned() } else { format!("{added} ports") };
        let line = format!("portolan: note: {}: {what} ({ports})", sanitize(text));
        writeln!(w, "{}", style.paint(Tone::Quiet, &line))?;
    }
    Ok(())
}

/// That what was waited for did not come in time.
///
/// # Errors
/// Where the line cannot be written.
pub fn gave_up(targets: &[String], free: bool, w: &mut dyn Write) -> io::Result<()> {
    let what = if free { "still held" } else { "nothing listens" };
    writeln!(w, "portolan: {}: {what} after the time given", sanitize(&targets.join(" ")))
}

fn counted(what: &str, count: Option<u64>) -> String {
    let what = sanitize(what);
    count.map_or_else(|| what.clone().into_owned(), |count| format!("{count} {what}"))
}

fn in_brackets(remedy: Option<&str>) -> String {
    remedy.map(|remedy| format!(" ({})", sanitize(remedy))).unwrap_or_default()
}
