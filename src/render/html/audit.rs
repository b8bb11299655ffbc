//! An audit as a page: the verdict, the gaps, the findings, the reachable services, the map of the ports and all
//! listeners.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use crate::findings::Flag;
use crate::findings::text::{capitalized, plural, sentence};
use crate::judge::audit::{Audit, AuditVerdict, Subject};
use crate::model::Severity;
use crate::render::audit::counts::Rows as Counts;
use crate::render::audit::groups::{FindingGroup, groups, with_limit};
use crate::render::audit::reachable::{self, Reachable};
use crate::render::audit::{
    accepted, counted_severity, heading, judged_by, part, place, skipped_rules, verdict,
};
use crate::render::cells::{self, CellFormat};
use crate::render::{Zone, port_map, process_cells, sanitize, stderr};

use super::listeners::{Link, Mark, Row, Rows};
use super::map::{self, Point, PortMap};
use super::markup::Html;
use super::page::{self, Panels};
use super::{class, footer};

pub fn document(audit: &Audit<'_>, fail_on: Severity, zone: Zone, w: &mut dyn Write) -> io::Result<()> {
    let listed: Vec<_> = audit
        .findings
        .iter()
        .filter(|found| found.finding.severity > Severity::Info || fail_on == Severity::Info)
        .collect();
    let groups = groups(&listed, audit.report);
    let (rows, points) = rows(audit, &groups);
    let (counts, reachable) = (Counts::of(audit), reachable::services(audit));
    let heading = heading(&audit.report.snapshot, zone);
    page::write(
        &heading,
        |html| {
            map::shapes(html);
            html.element("<header><h1>", &heading, "</h1></header>\n<main>\n");
            panels(audit, fail_on, html);
            summary(audit, &counts, &reachable, html);
            findings(audit, &groups, listed.len(), &counts, html);
            services(&reachable, html);
            let kernel = port_map::kernel_ranges(&audit.report.snapshot);
            PortMap { points, kernel, without_port: rows.without_port() }.write(html);
            rows.write("FINDINGS", &audit.report.snapshot, html);
            policy(audit, html);
            html.markup("</main>\n");
            footer(&judged_by(audit), &audit.report.snapshot, html);
        },
        w,
    )
}

fn panels(audit: &Audit<'_>, fail_on: Severity, html: &mut Html) {
    let gaps: Vec<String> = audit.all_gaps().collect::<BTreeSet<_>>().into_iter().map(stderr::gap).collect();
    let within = part(audit.report.snapshot.host.scope).map(|part| format!(" in {part}")).unwrap_or_default();
    let seen = if audit.is_complete() {
        format!("Everything{within} could be seen.")
    } else {
        format!("Not everything could be seen ({}).", plural(audit.all_gaps().count(), "gap"))
    };
    let class = match audit.outcome(fail_on) {
        AuditVerdict::Clear => "good",
        AuditVerdict::Findings => class(audit.findings.iter().map(|found| found.finding.severity).max()),
        AuditVerdict::Incomplete | AuditVerdict::NothingMatched => "s2",
    };
    Panels { class, verdict: &verdict(audit, fail_on), seen: &seen, gaps: &gaps }.write(html);
}

fn summary(audit: &Audit<'_>, counts: &Counts, reachable: &Reachable<'_>, html: &mut Html) {
    html.markup("<nav aria-label=\"Parts of this report\"><ul class=\"tiles\">\n");
    for severity in Severity::ALL.into_iter().rev() {
        let count = counts.findings(audit, severity, None);
        let class = if count == 0 { "s0" } else { class(Some(severity)) };
        tile(&counted_severity(count, severity), "#findings", class, html);
    }
    let count = counts.listeners(reachable.listeners.iter().copied());
    tile(&format!("{count} reachable from other machines"), "#reachable", "s0", html);
    let count = counts.listeners(audit.listeners.iter().copied());
    tile(&plural(count, "listener"), "#listeners", "s0", html);
    html.markup(
        "<li><a href=\"#map\" class=\"s0\">port map</a>\n<li><a href=\"#policy\" class=\"s0\">policy</a>\n",
    );
    html.markup("</ul></nav>\n");
}

fn tile(text: &str, link: &'static str, class: &'static str, html: &mut Html) {
    let (count, what) = text.split_once(' ').unwrap_or((text, ""));
    html.markup("<li><a href=\"").markup(link).markup("\" class=\"").markup(class).markup("\">");
    html.element("<b>", count, "</b> ").text(what).markup("</a>\n");
}

fn findings(audit: &Audit<'_>, groups: &[FindingGroup<'_>], listed: usize, counts: &Counts, html: &mut Html) {
    html.markup("<section aria-labelledby=\"findings\">\n<h2 id=\"findings\">Findings</h2>\n");
    if groups.is_empty() {
        html.markup("<p>No notice, no warning and no critical finding.</p>\n");
    }
    let mut last = None;
    for (at, group) in groups.iter().enumerate() {
        if last.replace(group.severity) != Some(group.severity) {
            html.markup("<h3>").text(&capitalized(group.severity.name())).markup("</h3>\n");
        }
        html.markup("<article id=\"");
        Link::Group(at).write(html);
        html.markup("\" class=\"").markup(class(Some(group.severity))).markup("\">");
        map::icon(Some(group.severity), false, html);
        html.element("<h4><code>", &group.name(), "</code> ");
        html.text(&capitalized(group.flag.description())).markup("</h4>\n");
        for program in &group.programs {
            html.element("<h5>", &program.process_summary, "</h5>\n<ul>");
            for evidence in &program.evidence {
                html.markup("<li>").text(&evidence.sentence());
                html.element(" <span class=\"places\">", &evidence.places(None), "</span>");
            }
            html.markup("</ul>\n");
        }
        html.markup("<dl>").element("<dt>Why<dd>", group.flag.why(), "");
        html.element("<dt>Do<dd>", &sentence(&capitalized(group.flag.remedy())), "</dl>\n</article>\n");
    }
    if listed < audit.findings.len() {
        let folded = audit.findings.iter().filter(|found| found.finding.severity == Severity::Info);
        let flags: BTreeSet<Flag> = folded.map(|found| found.finding.flag()).collect();
        let count = |flag: Flag| counts.findings(audit, Severity::Info, Some(flag));
        let texts: Vec<String> =
            flags.into_iter().map(|flag| format!("{} {}", count(flag), flag.code())).collect();
        html.element(
            "<p>For information: ",
            &texts.join(", "),
            ". They are in the table of all listeners.</p>\n",
        );
    }
    html.markup("</section>\n");
}

fn services(reachable: &Reachable<'_>, html: &mut Html) {
    html.markup(
        "<section aria-labelledby=\"reachable\">\n<h2 id=\"reachable\">Reachable from other machines</h2>\n",
    );
    if reachable.services.is_empty() {
        html.markup("<p>None.</p>\n</section>\n");
        return;
    }
    let unknown = reachable.listeners.len() - reachable.certain().count();
    if unknown > 0 {
        let text = format!("The firewall was not checked for {}.", plural(unknown, "socket"));
        html.element("<p>", &text, "</p>\n");
    }
    html.markup("<ul class=\"services\">\n");
    for service in &reachable.services {
        html.markup("<li class=\"").markup(class(service.severity)).markup("\">");
        map::icon(service.severity, false, html);
        if let Some(severity) = service.severity {
            html.markup("<em>").markup(severity.name()).markup("</em> ");
        }
        html.element("<b>", &service.program, "</b>");
        let places = with_limit(service.places.join(", "), service.limited_to.as_deref());
        html.element(" <span class=\"places\">", &places, "</span>");
        // The page shows these findings in full above, so only their codes appear here. A service without these
        // findings has its text in `gets`.
        let codes: Vec<&str> = service.findings.iter().map(|found| found.code).collect();
        html.text(service.gets.as_deref().unwrap_or(&codes.join(", "))).markup("\n");
    }
    html.markup("</ul>\n</section>\n");
}

fn policy(audit: &Audit<'_>, html: &mut Html) {
    html.markup("<section aria-labelledby=\"policy\">\n<h2 id=\"policy\">Policy</h2>\n");
    match &audit.policy {
        None => _ = html.markup("<p>No policy was applied.</p>\n"),
        Some(policy) => {
            html.element("<p>", &sanitize(&policy.name), "<br>");
            html.element("<small>SHA-256 <code>", &policy.sha256, "</code></small></p>\n");
            if let Some(line) = skipped_rules(policy) {
                html.element("<p>", &sentence(&capitalized(&line)), "</p>\n");
            }
        }
    }
    let rules = audit.accepted_by_rule();
    if !rules.is_empty() {
        html.markup("<p>Accepted by policy:</p>\n<ul>");
        for rule in &rules {
            html.element("<li>", &accepted(rule), "");
        }
        html.markup("</ul>\n");
    }
    html.markup("</section>\n");
}

/// Returns the listeners as rows with their findings, and the points of the map.
fn rows(audit: &Audit<'_>, groups: &[FindingGroup<'_>]) -> (Rows, Vec<Point>) {
    let index: HashMap<(Severity, Flag, bool), usize> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| ((group.severity, group.flag, group.presumed), at))
        .collect();
    let mut rows = Rows::of(&audit.listeners);
    let mut points = Vec::new();
    for found in &audit.findings {
        let (finding, flag) = (&found.finding, found.finding.flag());
        let group = index.get(&(finding.severity, flag, finding.is_presumed())).copied();
        let (severity, link) = (Some(finding.severity), group.map(Link::Group));
        let presumed = if finding.is_presumed() { " (presumed)" } else { "" };
        match (found.subject, link) {
            (Subject::Entry(entry), link) => {
                rows.mark(entry, Mark { severity, text: format!("{}{presumed}", flag.code()), link });
            }
            (Subject::NoListener { port: Some(port), .. }, Some(link)) => points.push(Point {
                port,
                severity,
                is_reachable: false,
                text: format!("{}: {}", place(&found.subject), flag.code()),
                link,
            }),
            (Subject::NoListener { .. }, _) => {}
        }
    }
    points.extend(rows.rows.iter().enumerate().filter_map(|(at, row)| point(at, row)));
    (rows, points)
}

/// Returns the point of a row on the map; `None` if its socket has no port.
pub(super) fn point(at: usize, row: &Row) -> Option<Point> {
    let entry = &row.entry;
    let address = cells::addresses(entry, CellFormat::Complete);
    let port = entry.socket.port()?;
    let process = process_cells::process(entry, CellFormat::Complete).text;
    let mut text = format!("{} {address}:{port} {process}", entry.socket.local.protocol.name());
    for (mark_at, mark) in row.marks.iter().enumerate() {
        text.push_str(if mark_at == 0 { ": " } else { ", " });
        text.push_str(&mark.text);
    }
    if let Some(severity) = row.severity() {
        text.push_str(&format!(" ({})", severity.name()));
    }
    let is_reachable = entry.is_reachable() != Some(false);
    Some(Point { port, severity: row.severity(), is_reachable, text, link: Link::Row(at) })
}
