//! Output that is longer than the terminal scrolls: the most important lines must be the ones that stay visible.

use std::path::Path;
use std::process::Command;

use crate::support::Terminal;

/// Runs the program on a terminal with 80 columns and 24 rows, and returns the lines that stay visible.
fn last_lines(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(env!("CARGO_BIN_EXE_portolan")).args(arguments);
    let mut terminal = Terminal::run((80, 24), command, &[("NO_COLOR", "1")]);
    terminal.ended();
    terminal.lines()
}

/// Returns the text of a saved snapshot with five listeners.
fn five() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/five.json");
    std::fs::read_to_string(path).unwrap()
}

/// Writes a snapshot, and returns its path.
fn written(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The gaps of two snapshots are longer than the changes, so the changes and the verdict come after the gaps.
#[test]
fn the_changes_of_a_diff() {
    let directory = tempfile::tempdir().unwrap();
    let gap = |what: &str| {
        format!(
            r#"{{"stage": "sockets", "what": "sockets of {what}", "count": null, "why": "the kernel refused this request for a reason that fills a line", "remedy": "run it again, or update the kernel to a later version"}}"#
        )
    };
    let gaps = |side: &str| {
        let gaps: Vec<String> = (0..6).map(|at| gap(&format!("{side} {at}"))).collect();
        format!("\"gaps\": [{}]", gaps.join(", "))
    };
    let before =
        written(directory.path(), "before.json", &five().replacen("\"gaps\": []", &gaps("the first"), 1));
    let later = five().replace("3416", "3417").replacen("\"gaps\": []", &gaps("the second"), 1);
    let after = written(directory.path(), "after.json", &later);
    let lines = last_lines(&["diff", &before, &after]);
    let at = |text: &str| lines.iter().position(|line| line.replace("  ", " ").starts_with(text));
    let (vanished, appeared) = (at("vanished? tcp 0.0.0.0:3416"), at("appeared? tcp 0.0.0.0:3417"));
    assert!(vanished < appeared && vanished.is_some(), "{lines:#?}");
    assert!(appeared < at("2 changes since "), "{lines:#?}");
    assert!(!lines[appeared.unwrap()..].iter().any(|line| line.contains("not seen")), "{lines:#?}");
}

/// The first rows of a sorted listing are the answer. If they scroll off the screen, the last line says how to see them.
/// A listing that fits the screen, or that is not sorted, has no such line.
#[test]
fn the_first_rows_of_a_sorted_listing() {
    let mut snapshot: serde_json::Value = serde_json::from_str(&five()).unwrap();
    let sockets = snapshot["sockets"].as_array_mut().unwrap();
    let first = sockets[0].clone();
    for port in 7000..7040 {
        let mut socket = first.clone();
        socket["local"]["port"] = port.into();
        sockets.push(socket);
    }
    let directory = tempfile::tempdir().unwrap();
    let long = written(directory.path(), "long.json", &snapshot.to_string());
    let short = written(directory.path(), "short.json", &five());
    let hint = "portolan: note: the first rows have scrolled off this screen; to see only the";
    for (arguments, is_explained) in [
        (&["--from", &long, "--sort", "-port"][..], true),
        (&["--from", &long, "--sort", "-since", "--columns", "port,since"], true),
        (&["--from", &long], false),
        (&["--from", &short, "--sort", "-port"], false),
    ] {
        let lines = last_lines(arguments);
        assert_eq!(lines.iter().any(|line| line == hint), is_explained, "{arguments:?}: {lines:#?}");
    }
}
