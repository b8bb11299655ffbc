//! The README and the pages about the audit and the verdicts show real output. Every console block and every example of a
//! status is run on a saved snapshot in `tests/captures`, and compared. To write the blocks again:
//! `PORTOLAN_BLESS=1 cargo test --test readme`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn console_blocks_are_what_the_program_prints() {
    for (page, capture) in [("README.md", "server.json"), ("src/docs/audit.md", "five.json")] {
        blocks_of(page, capture);
    }
}

/// Links between the pages lead to files that exist.
#[test]
fn relative_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("src/docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let mut checked = 0;
    for page in pages.chain(["README.md", "CHANGELOG.md"].map(|name| root.join(name))) {
        for link in std::fs::read_to_string(&page).unwrap().split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            checked += 1;
            assert!(page.with_file_name(target).exists(), "{}: {target} does not exist", page.display());
        }
    }
    assert!(checked > 20, "only {checked} links were found");
}

/// The examples of statuses are what `explain` prints; `…` replaces a part of the text.
#[test]
fn status_examples_are_what_explain_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("src/docs/verdicts.md")).unwrap();
    let mut checked = 0;
    for row in page.lines() {
        let example = row.trim_end_matches([' ', '|']).rsplit("| ").next().unwrap();
        let Some((port, text)) = example.split_once(": ").filter(|(port, _)| is_port(port)) else { continue };
        let output = portolan(&["explain", port, "-o", "json", "--from", "tests/captures/five.json"]);
        let explained: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let reason = explained["ports"][0]["reason"].as_str().unwrap();
        let mut rest = reason;
        for part in text.split('…') {
            let Some((_, after)) = rest.split_once(part.trim()) else { panic!("{port}: {reason}") };
            rest = after;
        }
        checked += 1;
    }
    assert_eq!(checked, 11, "the page has another number of examples");
}

fn is_port(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(protocol, port)| matches!(protocol, "tcp" | "udp") && port.parse::<u16>().is_ok())
}

/// Runs the program in the root of the project, so that a saved snapshot has a short path.
fn portolan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

fn blocks_of(page: &str, capture: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut printed = String::new();
    let mut blocks = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        writeln!(printed, "{line}").unwrap();
        if line != "```console" {
            continue;
        }
        blocks += 1;
        let command = lines.next().unwrap();
        let arguments = command.strip_prefix("$ portolan").unwrap_or_else(|| panic!("{command}"));
        let snapshot = format!("tests/captures/{capture}");
        let from = ["--from", &snapshot];
        let output = portolan(&arguments.split_whitespace().chain(from).collect::<Vec<_>>());
        // An audit with findings ends with 1.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {output:?}");
        write!(printed, "{command}\n{}```\n", String::from_utf8(output.stdout).unwrap()).unwrap();
        lines.by_ref().find(|line| *line == "```").unwrap();
    }
    assert!(blocks >= 2, "{page} shows nothing");
    if std::env::var_os("PORTOLAN_BLESS").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let differs = text.lines().zip(printed.lines()).find(|(shown, printed)| shown != printed);
    assert_eq!(
        differs, None,
        "{page} does not show what the program prints; accept it with PORTOLAN_BLESS=1"
    );
    assert_eq!(text.len(), printed.len(), "{page} shows more or less than the program prints");
}
