//! The pictures in `src/docs/pictures` show the current program: its coloured terminal output for saved snapshots in
//! `tests/captures`, as a terminal emulator shows it. To generate them again: `PORTOLAN_BLESS=1 cargo test
//! --test pictures`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/terminal.rs"]
mod support;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use portolan::internals::{Key, Size, Style, pictured};
use portolan::model::{Process, Snapshot};
use support::Terminal;

/// The rows of the terminals: more than any output in these tests needs.
const HEIGHT: u16 = 60;

/// The dimensions of the terminal in the picture, in points.
const FONT: f32 = 14.0;
const CELL: (f32, f32) = (8.43, 18.0);
const MARGIN: f32 = 14.0;
const BACKGROUND: &str = "#1c1f26";
const FOREGROUND: &str = "#d8dee9";
/// The eight colours of ECMA-48, and the bright ones.
const PALETTE: [&str; 16] = [
    "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9", "#636d83",
    "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#ffffff",
];

/// The style of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TextStyle {
    color: vt100::Color,
    bold: bool,
    dim: bool,
}

/// Returns the screen of a terminal as SVG, down to its last line.
fn svg(screen: &vt100::Screen, title: &str) -> String {
    let (_, width) = screen.size();
    let lines: Vec<String> = screen.rows(0, width).collect();
    let height = lines.iter().rposition(|line| !line.trim().is_empty()).unwrap() + 1;
    let high = CELL.1 * f32::from(u16::try_from(height).unwrap()) + 2.0 * MARGIN;
    let wide = CELL.0 * f32::from(width) + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" viewBox=\"0 0 {wide:.0} {high:.0}\" \
         role=\"img\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"{FONT}\" xml:space=\"preserve\">\n",
    );
    for row in 0..u16::try_from(height).unwrap() {
        let mut piece: Option<(u16, TextStyle, String)> = None;
        for column in 0..width {
            let cell = screen.cell(row, column).unwrap();
            let style = TextStyle { color: cell.fgcolor(), bold: cell.bold(), dim: cell.dim() };
            let blank = matches!(cell.contents(), "" | " ");
            match &mut piece {
                // Each word begins at the column where the terminal has it, with any font.
                Some((_, same, text)) if *same == style && !blank => text.push_str(cell.contents()),
                _ => {
                    write_piece(&mut svg, row, piece.take());
                    piece = (!blank).then(|| (column, style, cell.contents().to_owned()));
                }
            }
        }
        write_piece(&mut svg, row, piece);
    }
    svg + "</g>\n</svg>\n"
}

fn write_piece(svg: &mut String, row: u16, piece: Option<(u16, TextStyle, String)>) {
    let Some((column, style, text)) = piece else { return };
    let color = match style.color {
        vt100::Color::Default => FOREGROUND,
        vt100::Color::Idx(index) => PALETTE[usize::from(index)],
        vt100::Color::Rgb(..) => panic!("a colour that no terminal was asked for"),
    };
    let x = MARGIN + CELL.0 * f32::from(column);
    let y = MARGIN + CELL.1 * f32::from(row) + FONT;
    let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
    let faint = if style.dim { " opacity=\"0.6\"" } else { "" };
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{color}\"{weight}{faint}>{text}</text>").unwrap();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Asserts that the picture with this name is up to date, or writes it.
fn shows(name: &str, picture: &str) {
    let path = root().join("src/docs/pictures").join(name);
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(&path, picture).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let other = committed.lines().zip(picture.lines()).find(|(old, new)| old != new);
    assert!(
        committed == picture,
        "{name} is not of the program as it is: {other:?}; PORTOLAN_BLESS=1 cargo test --test pictures makes it again"
    );
    let is_shown = |page: &str| {
        std::fs::read_to_string(root().join(page)).unwrap().contains(&format!("pictures/{name}"))
    };
    let pages = ["README.md", "src/docs/reference.md", "src/docs/watch.md"];
    assert!(pages.into_iter().any(is_shown), "no page shows {name}");
}

/// Returns the picture of a command line and its output on a terminal of this width.
fn typed(arguments: &[&str], width: u16) -> String {
    let mut program = Command::new("setsid");
    program.args(["--ctty", "--wait"]).arg(env!("CARGO_BIN_EXE_portolan")).args(arguments);
    program.args(["--from", "tests/captures/server.json"]).current_dir(root());
    let mut terminal = Terminal::run((width, HEIGHT), program, &[]);
    assert_eq!(terminal.ended().code(), Some(0));
    let line = ["portolan"].iter().chain(arguments).copied().collect::<Vec<_>>().join(" ");
    let mut emulator = vt100::Parser::new(HEIGHT, width, 0);
    emulator.process(format!("\x1b[2m$\x1b[m {line}\r\n").as_bytes());
    emulator.process(&terminal.bytes);
    svg(emulator.screen(), &line)
}

#[test]
fn the_table() {
    shows("table.svg", &typed(&[], 100));
}

#[test]
fn the_card() {
    shows("card.svg", &typed(&["3000"], 84));
}

/// Returns two snapshots with one difference of each kind.
fn snapshots() -> [Snapshot; 2] {
    let saved = std::fs::read(root().join("tests/captures/five.json")).unwrap();
    let after: Snapshot = serde_json::from_slice(&saved).unwrap();
    let mut before = after.clone();
    for socket in &mut before.sockets {
        match socket.local.port {
            3416 => socket.local.address = "127.0.0.1".parse().unwrap(),
            1 => socket.local.port = 8080,
            _ => {}
        }
    }
    before.sockets.retain(|socket| socket.local.port != 60416);
    for Process { pid, name, exe, .. } in &mut before.processes {
        if *pid == 4714 {
            *name = Some("postgres".to_owned());
            exe.as_mut().unwrap().path = "/usr/lib/postgresql/17/bin/postgres".to_owned();
        }
    }
    [before, after]
}

/// A real screen of `watch` contains the time and the listeners of the machine. So these screens are drawn from
/// snapshots, by the code that draws every screen, after these keys.
#[track_caller]
fn watched(name: &str, snapshots: [Snapshot; 2], keys: &[Key], height: u16) {
    let size = Size { width: 100, height };
    let style = Style { color: true, ..Style::default() };
    let [before, after] = snapshots;
    let lines = pictured(before, after, keys, size, &style);
    let mut emulator = vt100::Parser::new(size.height, size.width, 0);
    emulator.process(lines.join("\r\n").as_bytes());
    shows(name, &svg(emulator.screen(), "portolan watch"));
}

/// Returns the snapshot of a server, twice.
fn server() -> [Snapshot; 2] {
    let saved = std::fs::read(root().join("tests/captures/server.json")).unwrap();
    let snapshot: Snapshot = serde_json::from_slice(&saved).unwrap();
    [snapshot.clone(), snapshot]
}

#[test]
fn the_listeners_of_watch() {
    watched("watch.svg", snapshots(), &[Key::Down, Key::Down], 19);
}

#[test]
fn the_changes_of_watch() {
    watched("watch-changes.svg", snapshots(), &[Key::Char('3')], 12);
}

#[test]
fn a_card_of_watch() {
    let keys: Vec<Key> = "/3000".chars().map(Key::Char).chain([Key::Enter, Key::Enter]).collect();
    watched("watch-card.svg", server(), &keys, 30);
}

#[test]
fn the_findings_of_watch() {
    watched("watch-findings.svg", server(), &[Key::Char('4'), Key::Down], 19);
}
