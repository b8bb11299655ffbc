//! The answer of `explain` to a search for words: the ports by rank, each with the text that matched.

use std::io::{self, Write};

use super::labelled::labelled;
use super::{Emphasis, Style, sanitize};
use crate::findings::text::{list, plural};
use crate::judge::{Query, Report};
use crate::model::{SearchField, SearchHit};

/// The maximum number of ports without `--full`.
const MOST: usize = 15;

pub fn ports(
    query: &Query<'_>,
    in_full: bool,
    report: &Report,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    // Protocols of a port with the same text share a line.
    let mut lines: Vec<(SearchHit, Vec<String>)> = Vec::new();
    for hit in &query.hits {
        let protocol = hit.protocol.name().to_owned();
        match lines.iter_mut().find(|(first, _)| (first.ports, first.text) == (hit.ports, hit.text)) {
            Some((_, protocols)) => protocols.push(protocol),
            None => lines.push((*hit, vec![protocol])),
        }
    }
    let words = sanitize(query.text);
    let heading = format!("Search for \"{words}\": {}", plural(lines.len(), "result"));
    writeln!(w, "{}", style.paint(Emphasis::Heading, &heading))?;
    let shown = if in_full { usize::MAX } else { MOST };
    for (hit, protocols) in lines.iter().take(shown) {
        let is_used = report.entries.iter().any(|entry| {
            entry.socket.state.holds_port()
                && entry.socket.port().is_some_and(|port| hit.ports.contains(port))
                && entry.socket.local.protocol.registered_as() == hit.protocol
        });
        let used = if is_used { "; in use here" } else { "" };
        let text = format!("{} ({}; {}{used})", hit.text, field(hit.field), list(protocols));
        labelled(&hit.ports.to_string(), &sanitize(&text), style)
            .iter()
            .try_for_each(|line| writeln!(w, "{line}"))?;
    }
    match lines.len().saturating_sub(shown) {
        0 => Ok(()),
        more => {
            let text = format!("and {more} more (--full)");
            labelled("", &text, style).iter().try_for_each(|line| writeln!(w, "{line}"))
        }
    }
}

const fn field(field: SearchField) -> &'static str {
    match field {
        SearchField::Name => "product",
        SearchField::Malware => "malware",
        SearchField::Service => "registered service",
        SearchField::Product => "registered product",
        SearchField::Program => "program",
        SearchField::KnownUse => "known use",
        SearchField::Description => "registered description",
        SearchField::Sentence => "description",
        SearchField::Assignee => "assignee",
    }
}
