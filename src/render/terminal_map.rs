//! The map of all ports on a terminal, for `portolan explain --map`: one character for 16 system ports or for 32 other
//! ports. A higher block is a more severe finding, so the map can be read without colour.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::findings::text::plural;
use crate::judge::Report;
use crate::model::Severity;

use super::labelled::MEASURE;
use super::merge::merge;
use super::port_map::{self, REGIONS, Region, kernel_ranges};
use super::wrap::{prose, wrap};
use super::{Emphasis, Style, host_name, registry, system};

/// The number of characters in a line. A line on a narrow terminal has fewer.
const CHARACTERS: usize = 64;
const CHARACTERS_ON_NARROW: usize = 32;
const MARGIN: usize = 8;
/// The number of ports in a line of system ports, and in a line of other ports.
const SYSTEM_LINE: u16 = 1024;
const OTHER_LINE: u16 = 2048;

/// The characters for ports without a listener. `KERNEL` is for ports that the kernel gives to outgoing connections.
const FREE: char = '.';
const KERNEL: char = '░';

/// The ports with a listener, each with the severity of its most severe finding, if any.
type Ports = BTreeMap<u16, Option<Severity>>;

pub fn document(report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let snapshot = &report.snapshot;
    let listeners = report.entries.iter().filter(|entry| entry.socket.state.holds_port()).cloned();
    let listeners = merge(listeners.collect());
    let mut ports = Ports::new();
    let mut counts = [0; REGIONS.len()];
    for listener in &listeners {
        let Some(port) = listener.socket.port() else { continue };
        let worst = listener.findings().iter().map(|finding| finding.severity).max();
        let known = ports.entry(port).or_default();
        *known = (*known).max(worst);
        for (count, region) in counts.iter_mut().zip(REGIONS) {
            *count += usize::from(region.ports.contains(port));
        }
    }
    let when = style.zone.time(snapshot.taken, "%Y-%m-%d %H:%M:%S");
    let heading = format!("Ports of {} ({}), {when}", host_name(&snapshot.host), system(&snapshot.host));
    for line in wrap("", &heading, style.width) {
        writeln!(w, "{}", style.paint(Emphasis::Heading, &line))?;
    }
    for (count, region) in counts.into_iter().zip(REGIONS) {
        writeln!(w)?;
        let Region { name, ports: range } = region;
        let heading = format!("{name} ports {}: {}", port_map::text(&[range]), plural(count, "listener"));
        for line in wrap("", &heading, style.width) {
            writeln!(w, "{}", style.paint(Emphasis::Heading, &line))?;
        }
        self::region(region, &ports, report, style, w)?;
    }
    writeln!(w)?;
    legend(report, style, w)
}

fn region(
    region: Region,
    ports: &Ports,
    report: &Report,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let (low, high) = (region.ports.low, region.ports.high);
    let each = ports_of_character(region, style);
    let kernel = kernel_ranges(&report.snapshot);
    let per_line = each * characters(style);
    let mut first = usize::from(low);
    while first <= usize::from(high) {
        let mut line = format!("{first:>width$} ", width = MARGIN - 1);
        for from in (first..first + per_line).step_by(each).take_while(|from| *from <= usize::from(high)) {
            let from = u16::try_from(from).unwrap_or(u16::MAX);
            let to = from.saturating_add(u16::try_from(each - 1).unwrap_or(u16::MAX));
            let worst = ports.range(from..=to).map(|(_, worst)| *worst).max();
            let (character, tone) = match worst {
                Some(worst) => block(worst),
                None if kernel.iter().any(|range| range.low <= to && from <= range.high) => {
                    (KERNEL, Emphasis::Quiet)
                }
                None => (FREE, Emphasis::Quiet),
            };
            line.push_str(&style.paint(tone, &character.to_string()));
        }
        writeln!(w, "{line}")?;
        first += per_line;
    }
    Ok(())
}

fn characters(style: &Style) -> usize {
    match style.width {
        Some(width) if usize::from(width) < MARGIN + CHARACTERS => CHARACTERS_ON_NARROW,
        _ => CHARACTERS,
    }
}

fn ports_of_character(region: Region, style: &Style) -> usize {
    usize::from(if region.ports.low == 0 { SYSTEM_LINE } else { OTHER_LINE }) / characters(style)
}

/// Returns the block and the tone of listeners whose most severe finding is `worst`.
fn block(worst: Option<Severity>) -> (char, Emphasis) {
    let character = match worst {
        None | Some(Severity::Info) => '▂',
        Some(Severity::Notice) => '▄',
        Some(Severity::Warning) => '▆',
        Some(Severity::Critical) => '█',
    };
    (character, worst.map_or(Emphasis::Plain, Emphasis::from))
}

fn legend(report: &Report, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let blocks = [None, Some(Severity::Notice), Some(Severity::Warning), Some(Severity::Critical)];
    let blocks = blocks.map(|severity| {
        let (character, tone) = block(severity);
        format!(
            "{} {}",
            style.paint(tone, &character.to_string()),
            severity.map_or("listener", Severity::name)
        )
    });
    let between = if characters(style) == CHARACTERS { "   " } else { "\n" };
    writeln!(w, "{}", blocks.join(between))?;
    let kernel = kernel_ranges(&report.snapshot);
    if !kernel.is_empty() {
        let text = format!("given to outgoing connections by the kernel: {}", port_map::text(&kernel));
        for line in wrap(&format!("{KERNEL} "), &text, style.width) {
            writeln!(w, "{line}")?;
        }
    }
    let [system, other, _] = REGIONS.map(|region| ports_of_character(region, style));
    let text = format!(
        "Each character stands for {system} ports below 1024, or {other} ports above. To list the listeners of a range: \
         portolan 8000-8100. {}",
        registry(&report.registry)
    );
    prose("", &text, MEASURE, style).iter().try_for_each(|line| writeln!(w, "{line}"))
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::model::{Owner, Snapshot};
    use crate::render::ascii;
    use crate::render::fixtures::{empty, process, report, scene, socket, text};

    fn page(report: &Report, width: u16) -> String {
        text(|w| document(report, &Style { width: Some(width), ..Style::default() }, w))
    }

    fn characters_of(page: &str) -> Vec<char> {
        let is_line =
            |line: &&str| line.get(..MARGIN).is_some_and(|start| start.trim().parse::<u16>().is_ok());
        page.lines().filter(is_line).flat_map(|line| line.chars().skip(MARGIN)).collect()
    }

    #[test]
    fn each_port_has_its_character() {
        let held = |pid: u32| Owner::Held(vec![pid].into());
        for (name, port, at, wide) in [
            ("the first port", 0, 0, 80),
            ("a system port", 22, 1, 80),
            ("the last system port", 1023, 63, 80),
            ("the first registered port", 1024, 64, 80),
            ("another registered port", 3416, 64 + (3416 - 1024) / 32, 80),
            ("the first dynamic port", 49152, 64 + 1504, 80),
            ("the last port", 65535, 64 + 1504 + 511, 80),
            ("the last port on a narrow terminal", 65535, 32 + 752 + 255, 40),
        ] {
            let sockets = vec![socket(&format!("tcp/127.0.0.1:{port}"), held(6))];
            let report = report(&Snapshot { sockets, processes: vec![process(6, "nginx")], ..empty() });
            let page = page(&report, wide);
            let characters = characters_of(&page);
            let marked: Vec<usize> =
                (0..characters.len()).filter(|at| ![FREE, KERNEL].contains(&characters[*at])).collect();
            assert_eq!(marked, [at], "{name}\n{page}");
        }
    }

    #[test]
    fn a_map_fits_its_terminal() {
        let report = report(&scene());
        for width in [40, 72, 80, 200] {
            for line in page(&report, width).lines() {
                assert!(line.width() <= width.into(), "{width}: {line}");
            }
        }
    }

    #[test]
    fn severities_are_distinguishable() {
        let severities = [None, Some(Severity::Notice), Some(Severity::Warning), Some(Severity::Critical)];
        let mut shown: Vec<String> = severities.map(|severity| block(severity).0.to_string()).to_vec();
        shown.extend([FREE, KERNEL].map(String::from));
        let in_ascii: Vec<String> = shown.iter().map(|character| ascii(character).into_owned()).collect();
        for characters in [&shown, &in_ascii] {
            let unique: std::collections::BTreeSet<&String> = characters.iter().collect();
            assert_eq!(unique.len(), 6, "{characters:?}");
        }
        assert!(!in_ascii.concat().contains('?'));
    }
}
