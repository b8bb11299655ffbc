//! Holds the plan of the house: which room may import which, and which crates stay in which room.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the lowest to the highest, and the rooms each may name.
const ROOMS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("observe", &["model"]),
    ("registry", &["model"]),
    ("join", &["model", "registry"]),
    ("judge", &["model", "registry", "join"]),
    // The registry comes with a report: it is named for its type, not asked for a verdict.
    ("baseline", &["model", "registry", "join", "judge"]),
    // A policy adds its findings to those of an audit.
    ("policy", &["model", "registry", "join", "judge"]),
    ("render", &["model", "registry", "join", "judge", "baseline", "policy"]),
    ("cli", &["model"]),
    ("command", &["model", "observe", "registry", "join", "judge", "baseline", "policy", "render", "cli"]),
];

/// Crates that are named in one place only.
const CRATES: [(&str, &[&str]); 10] = [
    ("netstat2", &["observe/"]),
    ("sysinfo", &["observe/"]),
    ("comfy_table", &["render/table.rs"]),
    // Colour of the table, and the screen of `watch`.
    ("crossterm", &["render/table.rs", "command/screen.rs"]),
    ("signal_hook", &["command/screen.rs"]),
    ("clap", &["cli/", "main.rs", "command/completions.rs", "command/man.rs"]),
    ("clap_complete", &["command/completions.rs"]),
    ("roff", &["command/man.rs"]),
    ("toml", &["policy/"]),
    // Beside the kernel's answers: whether anybody reads a stream of events.
    ("rustix", &["observe/linux/", "command/reader.rs"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The code of every source, comments left out, by its path below `src`.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> =
                text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            (path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/"), code.join("\n"))
        })
        .collect()
}

/// The rooms that a piece of code names by `crate::ROOM`, within a `use crate::{…}` too.
fn named(code: &str) -> Vec<&'static str> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        for (room, _) in ROOMS {
            let after = |text: &str| {
                text.strip_prefix(room)
                    .is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            let grouped = rest.strip_prefix('{').is_some_and(|group| {
                group.split(';').next().unwrap_or_default().split([',', '{']).any(|part| after(part.trim()))
            });
            if after(rest) || grouped {
                rooms.push(room);
            }
        }
    }
    rooms
}

#[test]
fn imports_point_downwards() {
    let code = code();
    assert!(code.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for (path, text) in &code {
        let home = path.split(['/', '.']).next().unwrap_or_default();
        let Some((_, may)) = ROOMS.iter().find(|(room, _)| *room == home) else { continue };
        for room in named(text) {
            if room != home && !may.contains(&room) {
                wrong.push(format!("src/{path} names {room}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_in_the_plan() {
    for (path, _) in code() {
        let home = path.split(['/', '.']).next().unwrap_or_default().to_owned();
        assert!(
            ["main", "lib"].contains(&home.as_str()) || ROOMS.iter().any(|(room, _)| *room == home),
            "src/{path} is in no room of the plan"
        );
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (path, text) in code() {
        for (name, homes) in CRATES {
            let uses = text.contains(&format!("{name}::")) || text.contains(&format!("use {name}"));
            if uses && !homes.iter().any(|home| path.starts_with(home)) {
                wrong.push(format!("src/{path} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_imports_reads_them() {
    assert_eq!(named("use crate::model::Pid;"), ["model"]);
    assert_eq!(named("use crate::{join, model::{Pid}, render};"), ["model", "join", "render"]);
    assert_eq!(named("crate::joinery::x(); crate::judge::judge()"), ["judge"]);
}

/// Every dependency has its own reason right above it.
#[test]
fn dependencies_say_why() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (mut listed, mut said, mut count) = (false, false, 0);
    for line in manifest.lines() {
        match line {
            _ if line.starts_with('[') => (listed, said) = (line.ends_with("dependencies]"), false),
            "" => said = false,
            _ if line.starts_with('#') => said = true,
            _ if listed => {
                count += 1;
                assert!(said, "Cargo.toml gives no reason for: {line}");
                said = false;
            }
            _ => {}
        }
    }
    assert!(count > 20, "the dependencies were not found");
}
