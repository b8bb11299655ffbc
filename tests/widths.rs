//! A listing, `explain` and `watch` on a real pseudo-terminal of every usual width, with and without colour, for root
//! and for an ordinary user, and without a reader.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/terminal.rs"]
mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use support::{Terminal, first_flag};

/// Returns a listener of this process, its port, and a target that matches it alone.
fn listener() -> (TcpListener, u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port, format!("tcp/{port}"))
}

/// The program in a place that every user can reach, because the user nobody may not be able to reach the checkout.
static ANYWHERE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("portolan");
    // A separate process makes the copy. If this process did, a child of another test could inherit the open file,
    // and the copy could not be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_portolan")).arg(&program).status().unwrap().success());
    (directory, program)
});

/// Returns the users that run the program: the user of the tests, and nobody too if the tests run as root.
fn users() -> &'static [Option<u32>] {
    if rustix::process::geteuid().is_root() { &[None, Some(65534)] } else { &[None] }
}

fn as_user(user: Option<u32>, arguments: &[&str]) -> Command {
    let mut program = Command::new("setsid");
    program.arg("--ctty").arg(&ANYWHERE.1).args(arguments);
    if let Some(user) = user {
        program.uid(user).gid(user);
    }
    program
}

/// Assertions about the drawn output.
impl Terminal {
    /// Asserts that every line fits, and that the output is plain text, except for colour if it is allowed.
    #[track_caller]
    fn is_well_drawn(&self, colour: bool, about: &str) {
        let screen = self.emulator.screen();
        // The terminal would continue a long path in its first column.
        let lines = self.lines();
        let wrapped: Vec<_> = (0..screen.size().0).filter(|row| screen.row_wrapped(*row)).collect();
        assert_eq!(wrapped, [0; 0], "{about}: {lines:#?}");
        let text = String::from_utf8(self.bytes.clone()).unwrap();
        assert!(!text.contains("panicked"), "{about}: {text}");
        let coloured = text.split("\x1b[").skip(1).any(|part| {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            part[end..].starts_with('m') && !matches!(&part[..end], "" | "0")
        });
        assert_eq!(coloured, colour, "{about}: {text:?}");
    }

    /// Asserts that the cells of a table begin at the columns where the headings begin.
    #[track_caller]
    fn is_aligned(&self, about: &str) {
        let lines = self.lines();
        let header = lines.iter().position(|line| line.contains("PORT ")).unwrap();
        assert!(lines[header + 1].starts_with("──"), "{about}: {lines:#?}");
        let names: Vec<char> = lines[header].chars().collect();
        let begins = |at: usize| names[at] != ' ' && (at == 0 || names[at - 1] == ' ');
        let rows: Vec<&String> = lines[header + 2..].iter().take_while(|line| line.contains("tcp")).collect();
        assert!(!rows.is_empty(), "{about}: {lines:#?}");
        for row in rows {
            let cells: Vec<char> = row.chars().collect();
            for at in (0..names.len()).filter(|at| begins(*at)) {
                assert_ne!(cells.get(at), Some(&' '), "{about}: column {at} of {row:?}");
                // `>` marks the selected row.
                assert!(
                    at == 0 || cells.get(at - 1).is_none_or(|c| [' ', '>'].contains(c)),
                    "{about}: column {at} of {row:?}"
                );
            }
        }
    }
}

/// Every command that draws, on terminals of every usual width, with and without colour, for root and for nobody. The
/// output must always name the gap.
#[test]
fn every_width_colour_and_user() {
    let (_listener, port, _) = listener();
    let port = port.to_string();
    for user in users() {
        for (width, colour) in
            [60, 80, 120, 200].into_iter().flat_map(|width| [(width, true), (width, false)])
        {
            let environment = if colour { &[][..] } else { &[("NO_COLOR", "1")] };
            for arguments in [
                &["-o", "table", &*port][..],
                &[&port],
                &["explain", &port],
                &["watch", "--interval", "3600", &port],
            ] {
                let about = format!("{user:?} {width} {colour} {arguments:?}");
                let mut terminal = Terminal::run((width, 60), as_user(*user, arguments), environment);
                let watched = arguments[0] == "watch";
                // A user who cannot see the program gets no flag about the program's file.
                let flag = if user.is_some() { "ephem" } else { &first_flag()[..5] };
                if watched {
                    // The last line of the output: about a gap, or the last line of the table.
                    terminal.line_with(&[if user.is_some() { "Owner of 1 socket hidden." } else { flag }]);
                    terminal.until(&about, |lines| lines.iter().any(|line| line.contains(flag)));
                } else {
                    assert_eq!(terminal.ended().code(), Some(0), "{about}: {:#?}", terminal.lines());
                }
                let shown = terminal.lines().join(" ");
                let printed = shown.split_whitespace().collect::<Vec<_>>().join(" ");
                if user.is_some() {
                    let gap = "Owner of 1 socket hidden. Run with sudo to see it.";
                    assert!(printed.contains(gap), "{about}: {shown}");
                    assert!(
                        printed.contains("(hidd") || printed.contains("not visible (run with sudo)"),
                        "{about}: {shown}"
                    );
                }
                terminal.is_well_drawn(colour, &about);
                if watched || arguments.contains(&"table") {
                    terminal.is_aligned(&about);
                }
                if watched {
                    terminal.press(b"q");
                    assert_eq!(terminal.ended().code(), Some(0), "{about}");
                }
            }
        }
    }
}

/// An unusually narrow terminal: no panic, and the port and its flags are shown.
#[test]
fn twenty_columns_and_fewer() {
    let (_listener, port, _) = listener();
    let port = port.to_string();
    for width in [20, 5, 1] {
        for arguments in [&[&*port][..], &["explain", &port]] {
            let mut terminal = Terminal::run((width, 200), as_user(None, arguments), &[("NO_COLOR", "1")]);
            assert_eq!(terminal.ended().code(), Some(0), "{width} {arguments:?}");
            let text = String::from_utf8(terminal.bytes.clone()).unwrap();
            assert!(!text.contains("panicked"), "{text}");
            if width == 20 && arguments.len() == 1 {
                terminal.line_with(&[&port, &first_flag()[..5]]);
            }
        }
    }
}

/// A dumb terminal, or a user who disables colour, gets no colour; a user who forces colour gets colour on every
/// terminal.
#[test]
fn colour_only_where_it_is_asked_for() {
    let (_listener, port, _) = listener();
    let port = port.to_string();
    for (arguments, environment, colour) in [
        (&[][..], &[][..], true),
        (&[], &[("TERM", "dumb")], false),
        (&[], &[("NO_COLOR", "1")], false),
        (&[], &[("NO_COLOR", "")], true),
        (&["--color", "never"], &[], false),
        (&["--color", "always"], &[("NO_COLOR", "1"), ("TERM", "dumb")], true),
    ] {
        let all = [arguments, &[&*port]].concat();
        let mut terminal = Terminal::run((100, 200), as_user(None, &all), environment);
        assert_eq!(terminal.ended().code(), Some(0), "{all:?}");
        terminal.is_well_drawn(colour, &format!("{all:?} {environment:?}"));
    }
}

/// Without a reader there is no panic, and lost output is an error unless the reader has closed the pipe.
#[test]
fn no_reader() {
    let (_listener, port, _) = listener();
    let port = port.to_string();
    for arguments in [&[&*port][..], &["explain", &port], &["watch", &port], &["-o", "json"]] {
        // Standard output is closed before the program starts.
        let mut closed = Command::new("sh");
        closed.args(["-c", "exec timeout 1 \"$0\" \"$@\" >&-"]).arg(&ANYWHERE.1).args(arguments);
        let output = closed.stderr(Stdio::piped()).output().unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert!(!messages.contains("panicked"), "{arguments:?}: {messages}");
        // The reader has closed the pipe.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let gone = Command::new("timeout").arg("20").arg(&ANYWHERE.1).args(arguments).stdout(writer).output();
        let gone = gone.unwrap();
        let messages = String::from_utf8(gone.stderr).unwrap();
        assert_eq!(
            (gone.status.code(), messages.contains("standard output")),
            (Some(0), false),
            "{arguments:?}: {messages}"
        );
    }
}

/// The messages at the end of a wait are longer than a narrow terminal.
#[test]
fn the_end_of_a_wait() {
    let (_listener, port, _) = listener();
    let (port, free) = (port.to_string(), "tcp/1");
    for arguments in [["watch", "--until-free", &port], ["watch", "--until-listening", free]] {
        let mut program = as_user(None, &arguments);
        program.args(["--timeout", "0"]);
        let mut terminal = Terminal::run((30, 30), program, &[("NO_COLOR", "1")]);
        terminal.ended();
        let lines = terminal.lines();
        assert!(lines.iter().any(|line| line.starts_with("portolan: ")), "{lines:#?}");
        terminal.is_well_drawn(false, &format!("{arguments:?}"));
    }
}
