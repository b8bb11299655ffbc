//! A comparison as a page: the gaps of both snapshots, the changes, the map of the ports, and all listeners of the
//! later snapshot.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::baseline::{ChangeKind, Comparison, since};
use crate::findings::text::plural;
use crate::judge::{Entry, Report};
use crate::model::{Severity, Snapshot};
use crate::render::diff::{HEADINGS, on, reasons, row, summary};
use crate::render::{Emphasis, Zone, host_name, port_map, registry, stderr, system};

use super::audit::point;
use super::listeners::{Link, Mark, Rows, search};
use super::map::{self, Point, PortMap};
use super::markup::Html;
use super::page::{self, Panels};
use super::{class, footer};

/// Writes a comparison. `after` is the later snapshot; times are in `zone`.
pub fn document(
    comparison: &Comparison<'_>,
    after: &Report,
    zone: Zone,
    w: &mut dyn Write,
) -> io::Result<()> {
    let host = &comparison.after.host;
    let time = |snapshot: &Snapshot| zone.time(snapshot.taken, "%Y-%m-%d %H:%M:%S");
    let heading = format!(
        "Changes of {} ({}), {} to {}",
        host_name(host),
        system(host),
        time(comparison.before),
        time(comparison.after)
    );
    let (rows, points) = rows(comparison, after);
    page::write(
        &heading,
        |html| {
            map::shapes(html);
            html.element("<header><h1>", &heading, "</h1></header>\n<main>\n");
            panels(comparison, zone, html);
            changes(comparison, html);
            let kernel = port_map::kernel_ranges(comparison.after);
            PortMap { points, kernel, without_port: rows.without_port() }.write(html);
            rows.write("CHANGES", comparison.after, html);
            html.markup("</main>\n");
            footer(&registry(&after.registry), comparison.after, html);
        },
        w,
    )
}

fn panels(comparison: &Comparison<'_>, zone: Zone, html: &mut Html) {
    let sides = [("before", comparison.before), ("after", comparison.after)];
    let gaps =
        sides.into_iter().flat_map(|(side, snapshot)| snapshot.gaps.iter().map(move |gap| on(side, gap)));
    let mut unseen: Vec<String> = gaps.collect::<BTreeSet<_>>().iter().map(stderr::gap).collect();
    unseen.extend(reasons(comparison).iter().map(|line| format!("Not comparable: {line}")));
    let seen = if comparison.is_complete() {
        "Everything could be seen and compared."
    } else {
        "Not everything could be seen or compared."
    };
    let class = match (comparison.changed(), comparison.is_complete()) {
        (true, _) => class(
            comparison.changes.iter().filter_map(|change| severity(&row(&since(change, comparison)))).max(),
        ),
        (false, true) => "good",
        (false, false) => "s2",
    };
    Panels { class, verdict: &summary(comparison, false, zone), seen, gaps: &unseen }.write(html);
}

/// The tag of each cell in a row of changes. The last two cells are long: the programs with their paths.
const CELLS: [&str; 4] = ["<td>", "<td>", "<td class=long>", "<td class=long>"];

/// Returns the severity whose colour marks a row of changes; `None` if the row has no colour.
const fn severity([(_, tone), ..]: &[(String, Emphasis); 4]) -> Option<Severity> {
    match tone {
        Emphasis::Critical => Some(Severity::Critical),
        Emphasis::Warning => Some(Severity::Warning),
        Emphasis::Notice => Some(Severity::Notice),
        _ => None,
    }
}

fn changes(comparison: &Comparison<'_>, html: &mut Html) {
    html.markup("<section class=\"data\" aria-labelledby=\"changes\">\n<h2 id=\"changes\">Changes</h2>\n");
    if comparison.changes.is_empty() {
        html.markup("<p>")
            .text(&plural(comparison.compared, "socket"))
            .markup(" compared, no change seen.</p>\n");
        html.markup("</section>\n");
        return;
    }
    search("Search changes", comparison.changes.len(), "change", html);
    html.markup(
        "<div class=\"wide\" role=\"group\" aria-labelledby=\"changes\" tabindex=\"0\">\n<table><thead><tr>",
    );
    for heading in HEADINGS {
        html.element("<th scope=\"col\">", heading, "");
    }
    html.markup("</thead>\n<tbody>\n");
    for (at, reported) in comparison.changes.iter().enumerate() {
        let cells = row(&since(reported, comparison));
        html.markup("<tr id=");
        Link::Change(at).write(html);
        html.markup(" class=").markup(class(severity(&cells))).markup(">");
        for ((text, _), tag) in cells.iter().zip(CELLS) {
            html.element(tag, text, "");
        }
        html.markup("\n");
    }
    html.markup("</tbody></table>\n</div>\n</section>\n");
}

/// Returns the listeners of the later snapshot as rows with their changes, and the points of the map.
fn rows(comparison: &Comparison<'_>, after: &Report) -> (Rows, Vec<Point>) {
    let listeners: Vec<&Entry> =
        after.entries.iter().filter(|entry| entry.socket.state.holds_port()).collect();
    let mut rows = Rows::of(&listeners);
    let mut points = Vec::new();
    for (at, reported) in comparison.changes.iter().enumerate() {
        let cells = row(&since(reported, comparison));
        let (severity, listener) = (severity(&cells), reported.change.listener);
        let [(kind, _), (place, _), ..] = cells;
        let link = Link::Change(at);
        if reported.change.kind == ChangeKind::Vanished {
            let text = format!("{place}: {kind}");
            let Some(port) = listener.socket.port() else { continue };
            points.push(Point { port, severity, is_reachable: false, text, link });
        } else {
            rows.mark(listener, Mark { severity, text: kind, link: Some(link) });
        }
    }
    points.extend(rows.rows.iter().enumerate().filter_map(|(at, row)| point(at, row)));
    (rows, points)
}
