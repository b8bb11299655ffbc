//! Output that cannot be written, for every command: a full disk, a closed output, a reader that has closed the pipe.
//! No panic, the right exit code, and one line on standard error if that can be written.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// One command line for each kind of output.
const LINES: [&str; 16] = [
    "",
    "--color always",
    "-o wide",
    "-o json",
    "-o ndjson",
    "-o csv",
    "--columns port,flags --sort -port",
    "--pids 3416",
    "explain 22",
    "explain 0-200",
    "explain 22 -o json",
    "capture",
    "man",
    "completions bash",
    "--help",
    "--version",
];

fn portolan(line: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(["--from", "tests/captures/five.json"]).args(line.split_whitespace());
    command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn ended(line: &str, output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    let messages = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!messages.contains("panicked"), "{line}: {messages}");
    messages
}

#[test]
fn a_full_disk() {
    for line in LINES {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let messages = ended(line, &portolan(line).stdout(full).output().unwrap(), 2);
        let printed =
            messages.lines().filter(|line| line.starts_with("portolan: standard output: No space left"));
        assert_eq!(printed.count(), 1, "{line}: {messages}");
    }
}

#[test]
fn a_reader_that_has_left() {
    for line in LINES {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let messages = ended(line, &portolan(line).stdout(writer).output().unwrap(), 0);
        assert!(!messages.contains("standard output"), "{line}: {messages}");
    }
}

/// A shell closes the output with `>&-`; the system's loader then gives the program an empty output, so the program
/// ends as usual.
#[test]
fn a_closed_output() {
    for line in LINES {
        let mut closed = Command::new("sh");
        closed.args(["-c", "exec \"$0\" \"$@\" >&-"]).arg(env!("CARGO_BIN_EXE_portolan"));
        closed.args(portolan(line).get_args()).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        ended(line, &closed.output().unwrap(), 0);
    }
}

/// If no stream can be written, the exit code alone reports the error.
#[test]
fn exit_codes_if_no_stream_can_be_written() {
    for line in LINES {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        ended(line, &portolan(line).stderr(full()).output().unwrap(), 0);
        ended(line, &portolan(line).stderr(full()).stdout(full()).output().unwrap(), 2);
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    ended("a bad target", &portolan("65536").stderr(full).output().unwrap(), 2);
}
