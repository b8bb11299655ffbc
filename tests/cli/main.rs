//! The command line: what a user types, what the program writes, and the exit code. No test needs root: listings come
//! from a saved snapshot, and a test that scans this machine only checks that the scan works.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may"
)]

mod audit;
mod cases;
mod diff;
mod exit_codes;
mod help;
mod listing;
mod refusals;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn portolan<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments).env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command.stdin(Stdio::null());
    command
}

fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    portolan(arguments).output().unwrap()
}

/// Returns the path of a capture of five listeners, as a user saves it.
fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/five.json")
}

fn from_capture(arguments: &[&str]) -> Output {
    run(["--from", capture().to_str().unwrap()].iter().chain(arguments))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Returns the ports of a listing, in its order.
fn ports(output: &Output) -> Vec<u64> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["listeners"].as_array().unwrap().iter().map(|l| l["port"].as_u64().unwrap()).collect()
}

/// Asserts an error: one line on standard error that names the subject, nothing on standard output, exit code 2.
fn refused(output: &Output, about: &str, names: &str) {
    assert_eq!(output.status.code(), Some(2), "{about}: {output:?}");
    assert_eq!(stdout(output), "", "{about}");
    let messages = stderr(output);
    assert_eq!(messages.lines().count(), 1, "{about}: {messages}");
    assert!(messages.starts_with("portolan: "), "{about}: {messages}");
    assert!(messages.contains(names), "{about}: {names:?} is not in {messages:?}");
}

/// Audits the capture, and returns the exit code and the JSON.
fn audited(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = from_capture(&[&["audit", "-o", "json"], arguments].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Returns the ports and codes of an audit's findings.
fn found(audit: &serde_json::Value) -> Vec<(u64, &str)> {
    let findings = audit["findings"].as_array().unwrap();
    findings.iter().map(|f| (f["port"].as_u64().unwrap(), f["code"].as_str().unwrap())).collect()
}
