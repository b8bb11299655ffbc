//! What goes to standard error beside a listing: what could not be seen, and what a reader should know.
//!
//! Each gap is told once, in a line of its own, with its remedy. Nothing is wrapped: a line is a message.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::judge::Asked;
use crate::model::{Gap, Matched, Note, Observation};

use super::{Style, Tone, sanitize};

/// Every gap, then every note.
pub fn gaps(observation: &Observation, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    unseen(observation, style, w)?;
    for Note { what, count, remedy } in observation.notes.iter().collect::<BTreeSet<_>>() {
        let line = format!("portolan: note: {}{}", counted(what, *count), in_brackets(remedy.as_deref()));
        writeln!(w, "{}", style.paint(Tone::Quiet, &line))?;
    }
    Ok(())
}

/// Every gap.
pub fn unseen(observation: &Observation, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    for Gap { what, count, why, remedy, .. } in observation.gaps.iter().collect::<BTreeSet<_>>() {
        let what = counted(what, *count);
        let line = format!("{what}: {}{}", sanitize(why), in_brackets(remedy.as_deref()));
        writeln!(w, "portolan: {} {line}", style.paint(Tone::Warning, "not seen:"))?;
    }
    Ok(())
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
