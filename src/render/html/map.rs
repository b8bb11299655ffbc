//! The map of all ports, as a drawing with one row for every 1,024 ports. The first row, which has the system ports, is
//! higher.
//!
//! A mark stands for all listeners within a few ports. Each mark is a link with the text of its listeners, for the
//! pointer, the keyboard and screen readers.

use std::collections::BTreeMap;

use crate::findings::text::plural;
use crate::model::{PortRange, Severity};
use crate::render::port_map::{PORTS, REGIONS, text};

use super::class;
use super::listeners::Link;
use super::markup::Html;

const ROW: usize = 1024;
/// How many ports share a mark. The second number is for pages with many listeners.
const SHARED: [usize; 2] = [8, 32];
/// From this number of listeners on, more ports share a mark.
const MANY: usize = 1000;
/// The first row is this many times as high as each of the other rows.
const FIRST: usize = 3;
const HEIGHT: usize = FIRST + PORTS / ROW - 1;
/// With at most this many marks, every mark has a port number. With more marks, only the mark of a warning or a
/// critical finding has a number.
const LABELLED: usize = 40;
/// The space that a port number needs next to a mark. The unit is the width of one port.
const LABEL: usize = 60;
const LABEL_ON_NARROW: usize = 180;
/// The maximum number of listeners in the text of a mark; the rest are counted.
const NAMED: usize = 8;

pub(super) struct Point {
    pub(super) port: u16,
    pub(super) severity: Option<Severity>,
    pub(super) is_reachable: bool,
    pub(super) text: String,
    pub(super) link: Link,
}

pub(super) struct PortMap {
    pub(super) points: Vec<Point>,
    pub(super) kernel: Vec<PortRange>,
    pub(super) without_port: usize,
}

/// Returns the position of a port: its distance from the left (measured in ports), the top of its row, and the height
/// of its row.
fn position(port: usize) -> (usize, usize, usize) {
    match (port % ROW, port / ROW) {
        (column, 0) => (column, 0, FIRST),
        (column, row) => (column, FIRST + row - 1, 1),
    }
}

impl PortMap {
    pub(super) fn write(&self, html: &mut Html) {
        let shared = SHARED[usize::from(self.points.len() >= MANY)];
        html.markup("<section aria-labelledby=\"map\">\n<h2 id=\"map\">Port map</h2>\n")
            .markup("<p>All 65,536 ports of this machine, 1,024 in each row. A mark is a listener, or several within ")
            .number(shared)
            .markup(" ports. <a class=\"skip\" href=\"#after-map\">Skip the marks</a></p>\n")
            .markup("<div class=\"map\">\n<div class=\"axis\" aria-hidden=\"true\"><span>0</span><span>1024</span>")
            .markup("<span>8192</span><span>16384</span><span>24576</span><span>32768</span><span>40960</span>")
            .markup("<span>49152</span><span>57344</span></div>\n<svg class=\"ports\" role=\"group\" aria-labelledby=\"map\">\n");
        self.backdrop(html);
        let mut marks: BTreeMap<usize, Vec<&Point>> = BTreeMap::new();
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by_key(|point| point.port);
        for point in points {
            marks.entry(usize::from(point.port) / shared).or_default().push(point);
        }
        // The most severe marks come last, on top of the others.
        let mut marks: Vec<_> = marks.into_values().collect();
        marks.sort_by_key(|points| worst(points));
        let labelled = match marks.len() {
            0..=LABELLED => None,
            _ => Some(Severity::Warning),
        };
        let places: Vec<(usize, usize)> = marks.iter().filter_map(|points| place(points)).collect();
        for points in marks {
            let is_labelled = worst(&points) >= labelled;
            let label = place(&points).filter(|_| is_labelled).and_then(|own| Label::of(own, &places));
            mark(&points, label, html);
        }
        html.markup("</svg>\n</div>\n");
        self.legend(html);
        self.counts(html);
        html.markup("</section>\n");
    }

    /// Draws the regions, and on top of them the ports that the kernel gives to outgoing connections.
    fn backdrop(&self, html: &mut Html) {
        for (class, region) in ["r0", "r1", "r2"].into_iter().zip(REGIONS) {
            area(class, region.ports, html);
        }
        for range in &self.kernel {
            area("kernel", *range, html);
        }
    }

    fn legend(&self, html: &mut Html) {
        html.markup("<ul class=\"legend\" id=\"after-map\">\n");
        for (severity, name) in [
            (Some(Severity::Critical), "critical"),
            (Some(Severity::Warning), "warning"),
            (Some(Severity::Notice), "notice"),
            (None, "nothing above information"),
        ] {
            html.markup("<li>");
            icon(severity, false, html);
            html.markup(name);
        }
        html.markup("<li>");
        icon(None, true, html);
        html.markup("outline: other machines cannot reach it");
        for (class, region) in ["r0", "r1", "r2"].into_iter().zip(REGIONS) {
            html.markup("<li><span class=\"key ").markup(class).markup("\"></span>");
            html.markup(region.name).markup(" ").text(&text(&[region.ports]));
        }
        if !self.kernel.is_empty() {
            html.markup(
                "<li><span class=\"key kernel\"></span>Given to outgoing connections by the kernel: ",
            );
            html.text(&text(&self.kernel));
        }
        html.markup("\n</ul>\n");
        if self.without_port > 0 {
            html.markup("<p>Not on the map: ").text(&plural(self.without_port, "listener"));
            html.markup(" without a port.</p>\n");
        }
    }

    fn counts(&self, html: &mut Html) {
        html.markup("<table class=\"counts\"><thead><tr><th scope=\"col\">PORTS<th scope=\"col\">LISTENERS")
            .markup("<th scope=\"col\">REACHABLE<th scope=\"col\">MOST SEVERE</thead>\n<tbody>\n");
        let kernel = self.kernel.iter().map(|range| ("Kernel's range", *range));
        for (name, ports) in REGIONS.iter().map(|region| (region.name, region.ports)).chain(kernel) {
            let inside: Vec<&Point> = self.points.iter().filter(|point| ports.contains(point.port)).collect();
            html.markup("<tr><th scope=\"row\">").markup(name).markup(" ").text(&text(&[ports]));
            // Only points with a row are counted. A vanished listener, for example, has no row.
            let listeners = || inside.iter().filter(|point| matches!(point.link, Link::Row(_)));
            html.markup("<td>").number(listeners().count());
            html.markup("<td>").number(listeners().filter(|point| point.is_reachable).count());
            html.markup("<td>").markup(worst(&inside).map_or("-", Severity::name)).markup("\n");
        }
        html.markup("</tbody></table>\n");
    }
}

fn worst(points: &[&Point]) -> Option<Severity> {
    points.iter().filter_map(|point| point.severity).max()
}

/// Adds the rectangles that cover a range: a part of its first row, the rows in between, and a part of its last row.
fn area(class: &'static str, ports: PortRange, html: &mut Html) {
    let (low, end) = (usize::from(ports.low), usize::from(ports.high) + 1);
    let mut from = low;
    while from < end {
        let is_whole_row = from % ROW == 0 && from > 0;
        let to = match (end - from) / ROW {
            rows if is_whole_row && rows > 0 => from + rows * ROW,
            _ => end.min((from / ROW + 1) * ROW),
        };
        let ((left, top, _), (_, last_top, last_height)) = (position(from), position(to - 1));
        html.markup("<rect class=\"").markup(class).markup("\" x=\"").percent(left, ROW);
        html.markup("\" y=\"").percent(top, HEIGHT);
        html.markup("\" width=\"").percent((to - from).min(ROW), ROW);
        html.markup("\" height=\"").percent(last_top + last_height - top, HEIGHT).markup("\"/>\n");
        from = to;
    }
}

fn place(points: &[&Point]) -> Option<(usize, usize)> {
    points.first().map(|point| (usize::from(point.port) % ROW, usize::from(point.port) / ROW))
}

#[derive(Clone, Copy, Debug)]
struct Label {
    is_left: bool,
    fits_narrow: bool,
}

impl Label {
    /// Returns the side of a mark that has space for its port number; `None` if neither side has enough space.
    fn of(own: (usize, usize), places: &[(usize, usize)]) -> Option<Self> {
        let near = |(column, row): &(usize, usize)| {
            let is_near = row.abs_diff(own.1) <= 1 && (*row == 0) == (own.1 == 0) && (*column, *row) != own;
            is_near.then_some(*column)
        };
        let columns: Vec<usize> = places.iter().filter_map(near).collect();
        let right =
            columns.iter().filter_map(|column| column.checked_sub(own.0)).min().unwrap_or(ROW - own.0);
        // The nearest mark on the left may have its own number on its right side. Each of the two marks gets half of
        // the space between them.
        let left = columns.iter().filter_map(|column| own.0.checked_sub(*column)).min().map(|free| free / 2);
        let left = left.unwrap_or(own.0);
        let (is_left, free) = if right >= LABEL { (false, right) } else { (true, left) };
        (free >= LABEL).then_some(Label { is_left, fits_narrow: free >= LABEL_ON_NARROW })
    }
}

/// Adds one mark for some listeners. The mark links to the most severe listener, and has the text of all these
/// listeners. If `label` is given, the port is written next to the mark.
fn mark(points: &[&Point], label: Option<Label>, html: &mut Html) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let severity = worst(points);
    let worst = points.iter().find(|point| point.severity == severity).unwrap_or(first);
    html.markup("<a href=\"#");
    worst.link.write(html);
    html.markup("\" class=\"").markup(class(severity));
    if !points.iter().any(|point| point.is_reachable) {
        html.markup(" local");
    }
    html.markup("\"><title>");
    let named: Vec<&str> = points.iter().take(NAMED).map(|point| point.text.as_str()).collect();
    html.text(&named.join("; "));
    if points.len() > named.len() {
        html.markup(" and ").number(points.len() - named.len()).markup(" more");
    }
    html.markup("</title><use href=\"#").markup(class(severity));
    // The mark is centred on its ports. Coordinates are doubled, so that the centre is a whole number.
    let (column, top, height) = position(usize::from(first.port));
    let width = usize::from(last.port - first.port) + 1;
    html.markup("\" x=\"").percent(2 * column + width, 2 * ROW);
    html.markup("\" y=\"").percent(2 * top + height, 2 * HEIGHT).markup("\"/>");
    if let Some(Label { is_left, fits_narrow }) = label {
        html.markup("<text aria-hidden=\"true\" x=\"").percent(2 * column + width, 2 * ROW);
        html.markup("\" y=\"").percent(2 * top + height, 2 * HEIGHT);
        html.markup(if is_left { "\" dx=\"-9\" dy=\"4\" text-anchor=\"end" } else { "\" dx=\"9\" dy=\"4" });
        html.markup(if fits_narrow { "\">" } else { "\" class=\"near\">" })
            .number(worst.port.into())
            .markup("</text>");
    }
    html.markup("</a>\n");
}

pub(super) fn icon(severity: Option<Severity>, is_local: bool, html: &mut Html) {
    html.markup("<svg class=\"icon ").markup(class(severity));
    html.markup(if is_local { " local" } else { "" });
    html.markup("\" aria-hidden=\"true\" viewBox=\"-8 -8 16 16\"><use href=\"#").markup(class(severity));
    html.markup("\"/></svg>");
}

/// Adds the shapes of the marks, once per page: each severity has a shape and a colour.
pub(super) fn shapes(html: &mut Html) {
    html.markup("<svg class=\"shapes\" aria-hidden=\"true\"><defs>")
        .markup("<pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" ")
        .markup("patternTransform=\"rotate(45)\"><path class=\"hatch\" d=\"M0 0V7\"/></pattern>")
        .markup("<circle id=\"s0\" r=\"3.5\"/>")
        .markup("<path id=\"s1\" d=\"M0-5 5 0 0 5-5 0z\"/>")
        .markup("<path id=\"s2\" d=\"M0-6 6 5H-6z\"/>")
        .markup("<path id=\"s3\" d=\"M-6-4-4-6 0-2 4-6 6-4 2 0 6 4 4 6 0 2-4 6-6 4-2 0z\"/>")
        .markup("</defs></svg>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_their_place() {
        for (port, place) in [
            (0, (0, 0, 3)),
            (1023, (1023, 0, 3)),
            (1024, (0, 3, 1)),
            (8192, (0, 10, 1)),
            (49152, (0, 50, 1)),
            (65535, (1023, 65, 1)),
        ] {
            assert_eq!(position(port), place, "{port}");
        }
        assert_eq!(HEIGHT, 66, "the axis of the style sheet has these rows");
    }

    #[test]
    fn areas_cover_their_range() {
        for (low, high, rectangles) in [
            (0, 1023, 1),
            (1024, 49151, 1),
            (32768, 60999, 2),
            (1, 1, 1),
            (1000, 5000, 3),
            (0, 65535, 2),
            (1500, 1600, 1),
        ] {
            let mut html = Html::default();
            area("x", PortRange { low, high }, &mut html);
            let text = String::from_utf8(html.as_bytes().to_vec()).unwrap();
            assert_eq!(text.matches("<rect").count(), rectangles, "{low} {text}");
        }
    }
}
