//! What goes to standard error beside a listing: what could not be seen, and what a reader should know.
//!
//! Each gap is told once, in a line of its own, with its remedy. A line is a message; on a terminal it is wrapped.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::judge::Asked;
use crate::model::{Gap, Matched, Note};

use super::wrap::wrap;
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
        remark(&note(said), style, w)?;
    }
    Ok(())
}

const FROM: &str = "portolan: ";

fn remark(text: &str, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut lines = wrap(FROM, &format!("note: {text}"), style.width).into_iter();
    lines.try_for_each(|line| writeln!(w, "{}", style.paint(Tone::Quiet, &line)))
}

/// Every gap.
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
                Some((from, rest)) => writeln!(w, "{from}{}{rest}", style.paint(Tone::Warning, MARK))?,
                None => writeln!(w, "{line}")?,
            }
        }
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
        remark(&format!("{}: {what} ({ports})", sanitize(text)), style, w)?;
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
