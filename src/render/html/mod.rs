//! Writes an audit or a comparison as one HTML file.
//!
//! The file needs no network, and its script only sorts and searches tables. A content security policy allows only the
//! style sheet and the script of the file, by their checksums.

pub mod audit;
pub mod diff;
mod listeners;
mod map;
mod markup;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::model::{Severity, Snapshot};
use crate::render::{sanitize, stderr};

use self::markup::Html;

const fn class(severity: Option<Severity>) -> &'static str {
    match severity {
        None | Some(Severity::Info) => "s0",
        Some(Severity::Notice) => "s1",
        Some(Severity::Warning) => "s2",
        Some(Severity::Critical) => "s3",
    }
}

/// Adds the last lines of a page: the notes, the registry, the host, and the version of the program.
fn footer(judged_by: &str, snapshot: &Snapshot, html: &mut Html) {
    html.markup("<footer>\n");
    let notes: BTreeSet<_> = snapshot.notes.iter().collect();
    for note in notes {
        html.element("<p>Note: ", &stderr::note(note), "</p>\n");
    }
    html.element("<p>", judged_by, " ");
    if let Some(id) = &snapshot.host.id {
        html.element("Host ID ", &sanitize(id), ". ");
    }
    for (key, value) in &snapshot.host.labels {
        html.element("Label ", &sanitize(key), "=").text(&sanitize(value)).markup(". ");
    }
    html.element("Made by portolan ", env!("CARGO_PKG_VERSION"), ".</p>\n</footer>\n");
}
