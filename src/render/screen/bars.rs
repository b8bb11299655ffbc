//! The lines around the rows: the status, the views, the horizontal line below the header, the gaps and the keys.

use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::lines::reversed;
use super::{CAVEATS, View};
use crate::findings::text::plural;
use crate::render::wrap::clip;
use crate::render::{Emphasis, Style, Zone, sanitize};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub listeners: usize,
    pub gaps: usize,
    /// The time at which the user paused the screen; `None` if the screen is not paused.
    pub paused: Option<Timestamp>,
    /// The column by which the rows are sorted, and whether the order is reversed.
    pub sort: Option<(&'static str, bool)>,
}

impl Status {
    /// Returns the first line. If the line is too long, its least important parts become shorter or are left out. The
    /// number of gaps is always kept.
    pub fn line(&self, now: Timestamp, interval: Duration, (width, zone): (u16, Zone)) -> String {
        let paused = self.paused.map(|since| format!("paused at {}", zone.time(since, "%H:%M:%S")));
        let mut parts = [
            paused.is_none().then(|| zone.time(now, "%H:%M:%S")),
            paused,
            Some(plural(self.listeners, "listener")),
            Some(match self.gaps {
                0 => "no gaps".to_owned(),
                gaps => format!("view incomplete ({})", plural(gaps, "gap")),
            }),
            self.sort.map(|(column, falling)| {
                format!("sorted by {column}{}", if falling { ", reversed" } else { "" })
            }),
            Some(format!("every {} s", interval.as_secs_f64())),
        ];
        let width = usize::from(width);
        let joined =
            |parts: &[Option<String>]| parts.iter().flatten().cloned().collect::<Vec<_>>().join("  ");
        let shorter = [
            (5, None),
            (0, None),
            (4, None),
            (1, self.paused.map(|_| "paused".to_owned())),
            (2, None),
            (3, Some(if self.gaps == 0 { "no gaps".to_owned() } else { plural(self.gaps, "gap") })),
            (1, None),
        ];
        for (at, part) in shorter {
            if joined(&parts).width() <= width {
                break;
            }
            parts[at] = part;
        }
        clip(&joined(&parts), width).into_owned()
    }
}

fn tab(view: View, count: Option<usize>) -> String {
    match count {
        Some(count) => format!("{} {count}", view.name()),
        None => view.name().to_owned(),
    }
}

/// Returns the texts for the views, and the number of columns between them. On a narrow terminal, the counts are left
/// out and the names are cut.
fn tab_texts(shown: View, counts: [Option<usize>; 4], width: usize) -> ([String; 4], usize) {
    let forms = [(GAP, true, usize::MAX), (GAP, false, usize::MAX), (1, false, usize::MAX), (1, false, 4)];
    let text = |view: View, count: Option<usize>, longest: usize| {
        let text = tab(view, count);
        if view == shown { format!("[{text}]") } else { clip(&text, longest).into_owned() }
    };
    let mut texts = ([const { String::new() }; 4], GAP);
    for (gap, has_counts, longest) in forms {
        for ((place, view), count) in texts.0.iter_mut().zip(View::ALL).zip(counts) {
            *place = text(view, count.filter(|_| has_counts), longest);
        }
        texts.1 = gap;
        if texts.0.iter().map(|text| text.width() + gap).sum::<usize>() <= width + gap {
            break;
        }
    }
    texts
}

const GAP: usize = 2;

pub(super) fn tabs(shown: View, counts: [Option<usize>; 4], width: usize, style: &Style) -> String {
    let (texts, gap) = tab_texts(shown, counts, width);
    let painted = texts
        .iter()
        .zip(View::ALL)
        .map(|(text, view)| if view == shown { reversed(text, text.width(), style) } else { text.clone() });
    painted.collect::<Vec<_>>().join(&" ".repeat(gap))
}

/// Returns the view whose name is at this column of the line of views.
pub fn tab_at(column: u16, shown: View, counts: [Option<usize>; 4], width: u16) -> Option<View> {
    let mut end = 0;
    let (texts, gap) = tab_texts(shown, counts, width.into());
    View::ALL.into_iter().zip(texts).find_map(|(view, text)| {
        let begin = end;
        end += text.width() + gap;
        (begin..end - gap).contains(&usize::from(column)).then_some(view)
    })
}

/// Returns the lines about the gaps: one line with the reasons that fit. If `is_verbose`, each reason has its own line.
pub fn caveat_lines(caveats: &[String], is_verbose: bool, width: u16) -> Vec<String> {
    let width = usize::from(width);
    let (mut lines, left) = match caveats {
        [] => return Vec::new(),
        _ if is_verbose => {
            let shown = if caveats.len() > CAVEATS { CAVEATS - 1 } else { caveats.len() };
            (caveats.iter().take(shown).cloned().collect::<Vec<_>>(), caveats.len() - shown)
        }
        [first, others @ ..] => {
            let all = caveats.join(" ");
            if all.width() <= width {
                return vec![all];
            }
            let space = width.saturating_sub(more(others.len()).width());
            let (mut line, mut left) = (first.clone(), 0);
            for caveat in others {
                if line.width() + 1 + caveat.width() <= space {
                    line = format!("{line} {caveat}");
                } else {
                    left += 1;
                }
            }
            (vec![line], left)
        }
    };
    match lines.last_mut() {
        Some(line) if left > 0 && !is_verbose => {
            let more = more(left);
            *line = format!("{}{more}", clip(line, width.saturating_sub(more.width())));
        }
        _ if left > 0 => lines.push(more(left).trim_start().to_owned()),
        _ => {}
    }
    lines
}

fn more(left: usize) -> String {
    format!(" +{left} more: ?")
}

/// Returns the horizontal line below the header, with a text at its end.
pub(super) fn rule(text: &str, width: usize, style: &Style) -> String {
    const BEFORE: usize = 4;
    let text = clip(text, width.saturating_sub(BEFORE + 3));
    if text.is_empty() {
        return "─".repeat(width);
    }
    let line = width.saturating_sub(text.width() + 3);
    format!("{} {} ─", "─".repeat(line), style.paint(Emphasis::Quiet, &text))
}

#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// The keys and what they do, the most important ones first.
    Of(&'a [(&'static str, &'static str)]),
    Filter {
        text: &'a str,
        error: Option<&'a str>,
    },
    /// A message that is shown until the next key.
    Message(&'a str),
}

impl Keys<'_> {
    pub(super) fn line(&self, width: usize, style: &Style) -> String {
        match self {
            Keys::Of(keys) => {
                let mut line = String::new();
                for (key, what) in *keys {
                    let gap = if line.is_empty() { 0 } else { GAP };
                    if line.width() + gap + key.width() + 1 + what.width() > width {
                        continue;
                    }
                    line.push_str(&format!("{}{key} {what}", " ".repeat(gap)));
                }
                style.paint(Emphasis::Quiet, &line)
            }
            Keys::Filter { text, error } => {
                let text = sanitize(text);
                // The end of a long filter stays visible, because the user is typing there.
                let space = width.saturating_sub(2);
                let mut shown: &str = &text;
                while shown.width() > space {
                    let mut letters = shown.chars();
                    letters.next();
                    shown = letters.as_str();
                }
                let error = error.map(|error| format!("  {}", sanitize(error))).unwrap_or_default();
                let error = clip(&error, space.saturating_sub(shown.width())).into_owned();
                format!("/{shown}_{}", style.paint(Emphasis::Warning, &error))
            }
            Keys::Message(text) => style.paint(Emphasis::Heading, &clip(text, width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use snapbox::str;

    use super::*;
    use crate::render::fixtures::assert_snapshot;

    const PLAIN: Style = Style { width: None, color: false, zone: Zone::UTC };

    /// The narrower the terminal, the less the status line shows. The number of gaps always stays.
    #[test]
    fn status_lines() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let status = Status { listeners: 37, gaps: 2, paused: None, sort: Some(("port", true)) };
        let line = |width| status.line(now, Duration::from_millis(500), (width, Zone::UTC));
        let paused = Status { paused: Some(now), ..status.clone() };
        let complete = Status { gaps: 0, ..status.clone() };
        let mut lines: Vec<String> = [100, 80, 60, 40, 30, 20].into_iter().map(line).collect();
        for (status, width) in
            [(&paused, 80), (&paused, 60), (&paused, 40), (&paused, 20), (&complete, 80), (&complete, 9)]
        {
            lines.push(status.line(now, Duration::from_secs(1), (width, Zone::UTC)));
        }
        assert_snapshot(
            lines.join("\n"),
            str![[r#"
12:00:00 UTC  37 listeners  view incomplete (2 gaps)  sorted by port, reversed  every 0.5 s
12:00:00 UTC  37 listeners  view incomplete (2 gaps)  sorted by port, reversed
37 listeners  view incomplete (2 gaps)
37 listeners  view incomplete (2 gaps)
view incomplete (2 gaps)
2 gaps
paused at 12:00:00 UTC  37 listeners  view incomplete (2 gaps)
paused  37 listeners  view incomplete (2 gaps)
paused  view incomplete (2 gaps)
paused  2 gaps
12:00:00 UTC  37 listeners  no gaps  sorted by port, reversed  every 1 s
no gaps
"#]],
        );
    }

    #[test]
    fn the_views_fit_and_can_be_clicked() {
        let counts = [None, None, Some(3), None];
        let line = |width| tabs(View::Changes, counts, width, &PLAIN);
        assert_snapshot(
            [60, 46, 40, 30].map(line).join("\n"),
            str![[r#"
Listeners  Connections  [Changes 3]  Findings
Listeners  Connections  [Changes 3]  Findings
Listeners Connections [Changes] Findings
Lis… Con… [Changes] Fin…
"#]],
        );
        for width in [60, 46, 40, 30] {
            let line = tabs(View::Changes, counts, width.into(), &PLAIN);
            for view in View::ALL {
                let before = &line[..line.find(&view.name()[..3]).unwrap()];
                let column = u16::try_from(before.width()).unwrap();
                assert_eq!(tab_at(column, View::Changes, counts, width), Some(view), "{width}");
            }
        }
        assert_eq!(tab_at(59, View::Changes, counts, 60), None);
    }

    #[test]
    fn lines_for_gaps() {
        let caveats = ["Owners of 21 sockets hidden.", "1 socket closed.", "Rules not read.", "d", "e"];
        let caveats = caveats.map(str::to_owned);
        let mut lines: Vec<String> = Vec::new();
        for (count, is_verbose, width) in
            [(1, false, 40), (1, false, 20), (2, false, 50), (3, false, 60), (3, false, 40), (3, false, 20)]
        {
            lines.extend(caveat_lines(&caveats[..count], is_verbose, width));
        }
        lines.extend(caveat_lines(&caveats[..4], true, 40));
        lines.extend(caveat_lines(&caveats, true, 40));
        assert_eq!(caveat_lines(&[], false, 40), Vec::<String>::new());
        assert_snapshot(
            lines.join("\n"),
            str![[r#"
Owners of 21 sockets hidden.
Owners of 21 sockets hidden.
Owners of 21 sockets hidden. 1 socket closed.
Owners of 21 sockets hidden. 1 socket closed. +1 more: ?
Owners of 21 sockets hidden. +2 more: ?
Owners o… +2 more: ?
Owners of 21 sockets hidden.
1 socket closed.
Rules not read.
d
Owners of 21 sockets hidden.
1 socket closed.
Rules not read.
+2 more: ?
"#]],
        );
    }

    /// On a narrow terminal, the first keys of the list stay visible.
    #[test]
    fn last_lines() {
        let keys = [("q", "quit"), ("Enter", "card"), ("/", "filter")];
        let long = "a".repeat(30);
        let lines = [
            Keys::Of(&keys).line(40, &PLAIN),
            Keys::Of(&keys).line(20, &PLAIN),
            Keys::Filter { text: "80", error: Some("not a port") }.line(40, &PLAIN),
            Keys::Filter { text: "\x1b[2J", error: None }.line(40, &PLAIN),
            Keys::Filter { text: &format!("{long}b"), error: Some("x") }.line(20, &PLAIN),
            Keys::Message("ended").line(40, &PLAIN),
            rule("1-8 of 30", 30, &PLAIN),
            rule("", 10, &PLAIN),
            rule("a long filter that does not fit", 20, &PLAIN),
        ];
        assert_snapshot(
            lines.join("\n"),
            str![[r#"
q quit  Enter card  / filter
q quit  Enter card
/80_  not a port
/\x1b[2J_
/aaaaaaaaaaaaaaaaab_…
ended
────────────────── 1-8 of 30 ─
──────────
──── a long filte… ─
"#]],
        );
    }
}
