//! The completions in real shells, each on a terminal of its own: the content of the line after TAB. bash is always
//! present; other shells are tested if they are installed. The completions for PowerShell are only read.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may")]

#[path = "support/terminal.rs"]
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use support::Terminal;

/// The typed text, and the line after TAB.
const LINES: [(&str, &str); 9] = [
    ("portolan --flag orph", "portolan --flag orphaned"),
    ("portolan commandp", "portolan commandport"),
    ("portolan zz-compl", "portolan zz-completed"),
    ("portolan watch -t zz-compl", "portolan watch -t zz-completed"),
    ("portolan --columns port,processes.exe_d", "portolan --columns port,processes.exe_deleted"),
    ("portolan --sort -proto", "portolan --sort -protocol"),
    ("portolan list --exposure loop,mul", "portolan list --exposure loop,multicast"),
    ("portolan --state unc", "portolan --state unconnected"),
    ("portolan expla", "portolan explain"),
];

/// Returns a PATH on which the shell finds the program, as a user's shell does.
fn path() -> String {
    let directory = Path::new(env!("CARGO_BIN_EXE_portolan")).parent().unwrap().to_str().unwrap();
    format!("{directory}:{}", std::env::var("PATH").unwrap())
}

/// Starts a shell, loads the completions with the line from the help, and types.
fn typed_in(shell: &[&str], load: &[&str]) {
    let name = shell[0];
    if Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("{name} is not installed here: its completions are left out");
        return;
    }
    // This process listens, with this name.
    std::fs::write("/proc/self/comm", "zz-completed").unwrap();
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut program = Command::new("setsid");
    program.arg("--ctty").args(shell).env("HOME", home.path()).env("PATH", path());
    program.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    let environment = [("PS1", "ready> "), ("LANG", "C.UTF-8")];
    let mut terminal = Terminal::run((100, 50), program, &environment);
    for line in load {
        terminal.press(format!("{line}\r").as_bytes());
    }
    terminal.press(b"echo loa''ded\r");
    terminal.until(&format!("{name} is ready"), |lines| lines.iter().any(|line| line == "loaded"));
    // Elvish quotes a name that contains a comma, and asks first.
    for (typed, wanted) in LINES.into_iter().filter(|(typed, _)| name != "elvish" || !typed.contains(',')) {
        terminal.press(format!("{typed}\t").as_bytes());
        let stands = |line: &String| line.ends_with(wanted) || line.contains(&format!("{wanted} "));
        terminal.until(&format!("{name}: {typed}"), |lines| lines.iter().any(stands));
        // Clears the line.
        terminal.press(b"\x15");
        terminal.until(&format!("{name}: nothing"), |lines| !lines.iter().any(stands));
    }
}

#[test]
fn bash() {
    typed_in(&["bash", "--norc", "--noprofile", "-i"], &["source <(portolan completions bash)"]);
}

#[test]
fn zsh() {
    let load = ["autoload -U compinit; compinit -u -D", "source <(portolan completions zsh)"];
    typed_in(&["zsh", "-f", "-i"], &load);
}

#[test]
fn fish() {
    typed_in(&["fish", "--no-config", "-i"], &["portolan completions fish | source"]);
}

#[test]
fn elvish() {
    typed_in(&["elvish", "-norc"], &["eval (portolan completions elvish | slurp)"]);
}

#[test]
fn powershell_asks_the_program_too() {
    let script =
        Command::new(env!("CARGO_BIN_EXE_portolan")).args(["completions", "powershell"]).output().unwrap();
    let script = String::from_utf8(script.stdout).unwrap();
    for text in ["Register-ArgumentCompleter", "-CommandName portolan", "PORTOLAN_COMPLETE", "\"powershell\""]
    {
        assert!(script.contains(text), "{text}: {script}");
    }
}

/// An unknown shell is an error; without the variable, the program behaves as usual.
#[test]
fn completions_are_printed_only_for_a_shell() {
    let asked = |shell: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_portolan"));
        program.args(["--", "portolan", "--flag", "orph"]).env("PORTOLAN_COMPLETE", shell);
        program.env("_CLAP_COMPLETE_INDEX", "2").output().unwrap()
    };
    let answer = asked("bash");
    assert_eq!((answer.status.code(), answer.stdout.as_slice()), (Some(0), &b"orphaned"[..]), "{answer:?}");
    let refused = asked("tcsh");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{refused:?}");
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(
        line.starts_with("portolan: PORTOLAN_COMPLETE: unknown shell `tcsh`") && line.lines().count() == 1
    );
}
