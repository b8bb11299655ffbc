//! The program on a real pseudo-terminal: what a user sees, and that `watch` restores the terminal in all cases. The
//! output is fed to a terminal emulator, and the tests read the emulator's screen.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod explorer;
mod last_lines;
#[path = "../support/terminal.rs"]
mod support;

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;
use rustix::termios::{OptionalActions, tcsetattr};
use support::{Terminal, first_flag, resize};
use unicode_width::UnicodeWidthStr;

/// Starts `watch` on a terminal.
fn watch(size: (u16, u16), arguments: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let mut program = Command::new("setsid");
    program.arg("--ctty").arg(env!("CARGO_BIN_EXE_portolan")).arg("watch").args(arguments);
    Terminal::run(size, program, environment)
}

/// Returns a listener of this process, its port, and a target that matches it alone.
fn listener() -> (TcpListener, u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port, format!("tcp/{port}"))
}

#[test]
fn a_screen_and_q() {
    let (_listener, port, target) = listener();
    let mut terminal = watch((100, 20), &[&target], &[]);
    terminal.line_with(&["tcp", "127.0.0.1", &port.to_string(), first_flag()]);
    terminal.is_up();
    let lines = terminal.lines();
    assert!(lines[0].contains("UTC  1 listener") && lines[0].ends_with("every 1 s"), "{lines:#?}");
    assert!(lines[2].starts_with("  PROTO  ADDRESS"), "{lines:#?}");
    assert!(lines[3].starts_with("────"), "{lines:#?}");
    // The screen is drawn in place: nothing scrolls, and the time advances.
    terminal.until("the time goes on", |now| now[0] != lines[0] && now[2..5] == lines[2..5]);
    assert!(lines[19].starts_with("q quit  ? help  Enter card"), "{lines:#?}");
    terminal.press(b"x");
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn control_c() {
    let (_listener, port, target) = listener();
    let mut terminal = watch((80, 20), &[&target], &[]);
    terminal.line_with(&[&port.to_string()]);
    terminal.is_up();
    terminal.press(b"\x03");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn signals_end_it_as_they_end_any_program() {
    let (_listener, port, target) = listener();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut terminal = watch((80, 20), &[&target], &[]);
        terminal.line_with(&[&port.to_string()]);
        terminal.is_up();
        terminal.signal(signal);
        assert_eq!(terminal.ended().signal(), Some(signal.as_raw()), "{signal:?}");
    }
}

/// When the program is stopped, by the key or by a signal, it restores the terminal for the shell; when it continues,
/// it takes the terminal over again.
#[test]
fn control_z_and_back() {
    let (_listener, port, target) = listener();
    let port = port.to_string();
    let mut terminal = watch((80, 20), &["--interval", "3600", &target], &[]);
    for by_key in [true, false] {
        terminal.line_with(&[&port]);
        terminal.is_up();
        if by_key {
            terminal.press(b"\x1a");
        } else {
            terminal.signal(Signal::TSTP);
        }
        terminal.is_stopped();
        terminal.is_given_back();
        assert!(!terminal.lines().iter().any(|line| line.contains(&port)), "{:#?}", terminal.lines());
        terminal.signal(Signal::CONT);
    }
    terminal.line_with(&[&port]);
    terminal.is_up();
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// SIGSTOP leaves no time to restore the terminal; when the program continues, it corrects the settings that were
/// changed meanwhile.
#[test]
fn stopped_by_force_and_back() {
    let (_listener, port, target) = listener();
    let port = port.to_string();
    let mut terminal = watch((80, 20), &["--interval", "3600", &target], &[]);
    terminal.line_with(&[&port]);
    terminal.signal(Signal::STOP);
    terminal.is_stopped();
    tcsetattr(&terminal.line, OptionalActions::Now, &terminal.before).unwrap();
    terminal.emulator.process(b"\x1b[2J\x1b[?25hsomebody else's words");
    assert!(!terminal.lines().iter().any(|line| line.contains(&port)));
    terminal.signal(Signal::CONT);
    let row = terminal.line_with(&["tcp", &port]);
    assert!(row.starts_with(" >tcp"), "{row}");
    terminal.until("the cursor is hidden", |lines| !lines.concat().contains("somebody"));
    terminal.is_up();
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// Runs on a terminal for the test below: the test starts itself with a variable in the environment.
fn panic_with_the_screen_up() -> ! {
    let mut screen = portolan::internals::Screen::enter().unwrap();
    screen.show(&["the screen is up".to_owned()]).unwrap();
    let mut key = [0];
    std::io::stdin().read_exact(&mut key).unwrap();
    // In a release, a panic aborts and nothing is dropped.
    std::mem::forget(screen);
    panic!("the worst has happened");
}

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::var_os("PORTOLAN_TEST_PANIC").is_some() {
        panic_with_the_screen_up();
    }
    let mut program = Command::new("setsid");
    program.arg("--ctty").arg(std::env::current_exe().unwrap());
    program.args(["--exact", "a_panic_gives_the_terminal_back", "--nocapture"]);
    let mut terminal =
        Terminal::run((80, 20), program, &[("PORTOLAN_TEST_PANIC", "1"), ("RUST_BACKTRACE", "0")]);
    terminal.line_with(&["the screen is up"]);
    terminal.is_up();
    terminal.press(b"x");
    assert_ne!(terminal.ended().code(), Some(0));
    // The message of the panic appears on the restored terminal, so it stays readable.
    let text = String::from_utf8_lossy(&terminal.bytes);
    let (_, after) = text.split_once("\x1b[?1049l").unwrap();
    assert!(after.contains("the worst has happened"), "{text:?}");
}

/// Returns the parameters of every SGR sequence that sets a style.
fn styles(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let sequences = text.split("\x1b[").skip(1).filter_map(|part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic())?;
        part[end..].starts_with('m').then(|| part[..end].to_owned())
    });
    sequences.filter(|style| !matches!(style.as_str(), "" | "0")).collect()
}

#[test]
fn marks_come_and_fade() {
    let (listener, port, target) = listener();
    let port = port.to_string();
    let mut terminal = watch((100, 20), &["--interval", "0.1", &target], &[("NO_COLOR", "1")]);
    let row = terminal.line_with(&["tcp", "127.0.0.1", &port]);
    assert!(row.starts_with(" >tcp"), "{row}");
    drop(listener);
    let row = terminal.line_with(&[">tcp", &port]);
    assert!(row.starts_with("->tcp") || row.starts_with(" >tcp"), "{row}");
    terminal.line_with(&["->tcp", &port]);
    terminal.line_with(&["- vanished: ", &port]);
    terminal.line_with(&["0 listeners"]);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    terminal.line_with(&["+>tcp", &port]);
    let lines = terminal.lines();
    assert_eq!(lines[4..10].iter().filter(|line| line.contains("127.0.0.1")).count(), 1, "{lines:#?}");
    assert!(lines[18].contains("+ appeared: "), "{lines:#?}");
    // The mark fades, but the change stays named.
    terminal
        .until("the mark fades", |lines| lines[18].contains("+ appeared: ") && lines[4].starts_with(" >tcp"));
    drop(listener);
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
    let text = String::from_utf8_lossy(&terminal.bytes).into_owned();
    let (_, after) = text.split_once("\x1b[?1049l").unwrap();
    assert!(after.contains("- vanished: ") && after.contains("+ appeared: "), "{after:?}");
    assert_eq!(styles(&terminal.bytes), [""; 0], "colour despite NO_COLOR");
}

#[test]
fn colour_where_it_may_be() {
    let (listener, port, target) = listener();
    let mut terminal = watch((100, 20), &["--interval", "0.1", &target], &[]);
    terminal.line_with(&[&port.to_string(), first_flag()]);
    drop(listener);
    terminal.line_with(&["->tcp"]);
    let styles = styles(&terminal.bytes);
    assert!(styles.iter().any(|style| style.starts_with('3') && style != "39"), "{styles:?}");
}

#[test]
fn fits_the_terminal_as_it_changes() {
    let (_listener, port, target) = listener();
    let port = port.to_string();
    let mut terminal = watch((120, 20), &["--interval", "3600", &target], &[]);
    terminal.line_with(&["PROTO", "FLAGS"]);
    for (width, height) in [(40, 10), (20, 5), (200, 50)] {
        resize(&terminal.user, width, height);
        terminal.emulator.screen_mut().set_size(height, width);
        // The rule is no wider than the terminal, and the row is one line.
        let columns = |line: &str| {
            let has_exposure = line.contains("EXPOSURE") || line.contains("REACH");
            (line.contains("PORT"), line.contains("FLAGS"), has_exposure)
        };
        terminal.until(&format!("{width}x{height}"), |lines| {
            let Some(rule) = lines.iter().position(|line| line.starts_with('─')) else { return false };
            lines[rule].width() <= usize::from(width)
                && columns(&lines[rule - 1]) == (true, true, width == 200)
                && lines[rule + 1].contains(&port)
                && lines[rule + 1].contains(&first_flag()[..5])
                && lines[rule + 2..].iter().all(|line| !line.contains(&port))
        });
    }
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// If no screen can be drawn, or a program reads the output, `watch` prints lines.
#[test]
fn a_dumb_terminal_gets_a_stream() {
    let (_listener, _, target) = listener();
    for (arguments, environment) in
        [(&[target.as_str()][..], &[("TERM", "dumb")][..]), (&["-o", "json", &target], &[("NO_COLOR", "1")])]
    {
        let mut terminal = watch((80, 20), arguments, environment);
        terminal.output_with(r#"{"kind":"host","host_id":"#);
        assert!(!terminal.bytes.contains(&0x1b), "{:?}", String::from_utf8_lossy(&terminal.bytes));
        terminal.press(b"\x03");
        assert_eq!(terminal.ended().signal(), Some(Signal::INT.as_raw()));
    }
}

/// A wait needs no screen.
#[test]
fn waiting_leaves_the_terminal_alone() {
    let (_listener, port, target) = listener();
    let mut terminal = watch((80, 20), &[&target, "--until-listening"], &[]);
    assert_eq!(terminal.ended().code(), Some(0));
    let text = String::from_utf8_lossy(&terminal.bytes);
    assert!(text.contains("Listening: ") && text.contains(&port.to_string()), "{text:?}");
    assert!(!text.contains("\x1b[?"), "{text:?}");
    let mut terminal = watch((80, 20), &["-o", "json", &target, "--until-free"], &[]);
    terminal.output_with(r#""event":"start""#);
    terminal.press(b"\x03");
    assert_eq!(terminal.ended().signal(), Some(Signal::INT.as_raw()));
}

/// A wait that takes longer says in one line what it waits for and since when. The line is gone afterwards, and is never
/// longer than the terminal. Events have no such line.
#[test]
fn a_wait_says_what_it_waits_for() {
    let (listener, port, target) = listener();
    let mut terminal = watch((80, 20), &[&target, "--until-free"], &[]);
    let shown = terminal.line_with(&[&format!("Waiting until free: {target} (since ")]);
    assert!(shown.contains(" UTC, ") && shown.ends_with(" s)"), "{shown}");
    drop(listener);
    assert_eq!(terminal.ended().code(), Some(0));
    assert!(terminal.lines().iter().all(String::is_empty), "{:#?}", terminal.lines());

    let mut terminal = watch((40, 20), &[&target, "--until-listening"], &[]);
    let shown = terminal.line_with(&[&format!("Waiting for a listener: {target}")]);
    assert!(shown.ends_with('…'), "{shown}");
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(terminal.ended().code(), Some(0));
    let lines = terminal.lines();
    assert!(lines[0].starts_with("Listening: "), "{lines:#?}");
    assert!(!lines.concat().contains("Waiting"), "{lines:#?}");

    let mut terminal = watch((80, 20), &["-o", "json", &target, "--until-free", "--timeout", "2"], &[]);
    assert_eq!(terminal.ended().code(), Some(1));
    assert!(!String::from_utf8_lossy(&terminal.bytes).contains("Waiting"), "{:#?}", terminal.lines());
}

/// A child that ends with the test.
struct Helper(std::process::Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Long work shows on standard error what it scans, in one line, if that is a terminal. Every network namespace makes
/// the work longer.
#[test]
fn long_work_shows_its_progress() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let namespace = || Helper(Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap());
    let _namespaces: Vec<Helper> = (0..8).map(|_| namespace()).collect();
    let mut program = Command::new("setsid");
    program.args(["--ctty", "sh", "-c", "exec \"$0\" audit --deep >/dev/null"]);
    program.arg(env!("CARGO_BIN_EXE_portolan"));
    let mut terminal = Terminal::run((80, 24), program, &[]);
    let shown = terminal.line_with(&["Scanning every port of network namespaces: ", " of ", " s)"]);
    assert!(shown.starts_with("Scanning "), "{shown}");
    assert_eq!(terminal.lines().iter().filter(|line| !line.is_empty()).count(), 1, "{:#?}", terminal.lines());
    terminal.press(b"\x03");
    assert_eq!(terminal.ended().signal(), Some(Signal::INT.as_raw()));
}

/// Output on a terminal of each width fits the terminal and is coloured only if that is allowed, for root and for
/// nobody.
#[test]
fn tables_and_cards_fit_every_terminal() {
    let (_listener, port, _) = listener();
    let port = port.to_string();
    // The user nobody may not be able to reach the checkout.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("portolan");
    // A separate process makes the copy. If this process did, a child of another test could inherit the open file,
    // and the copy could not be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_portolan")).arg(&program).status().unwrap().success());
    let root = rustix::process::geteuid().is_root();
    let users: &[&[&str]] =
        if root { &[&[], &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]] } else { &[&[]] };
    for (user, width, environment) in users.iter().flat_map(|user| {
        [20, 60, 80, 120, 200].into_iter().flat_map(move |width| {
            [None, Some(("TERM", "dumb")), Some(("NO_COLOR", "1"))]
                .map(|environment| (user, width, environment))
        })
    }) {
        for arguments in
            [&[port.as_str()][..], &[], &["-a", "-t"], &["explain", "3416"], &["-o", "wide", &port]]
        {
            let about = format!("{user:?} {width} {environment:?} {arguments:?}");
            let mut command = Command::new("setsid");
            command.args(["--ctty", "--wait"]).args(*user);
            // The messages on standard error are single lines of any length.
            command.args(["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/null"]).arg(&program).args(arguments);
            let mut terminal = Terminal::run((width, 200), command, environment.as_slice());
            assert_eq!(terminal.ended().code(), Some(0), "{about}");
            let text = String::from_utf8(terminal.bytes.clone()).unwrap();
            assert_eq!(text.contains("\x1b["), environment.is_none(), "{about}: {text:?}");
            // Output that is never cut may be wider than the terminal, and a card needs a minimum width.
            let fits = !arguments.contains(&"wide") && (width > 20 || arguments[..] != ["explain", "3416"]);
            let mut longest = 0;
            for line in plain(&text).lines().filter(|_| fits) {
                longest = longest.max(line.width());
                // A word is never broken: the path of this test may be long.
                let is_one_word = !line.trim().contains(' ');
                assert!(line.width() <= width.into() || is_one_word, "{about}: {line:?}");
            }
            assert!(longest > 10 || !fits, "{about}: {text:?}");
            if arguments[..] == [port.as_str()] {
                assert!(text.contains(&port), "{about}: {text:?}");
            }
        }
    }
}

/// Runs the program on a terminal until it ends, and returns what it printed on standard output.
fn printed(width: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", "exec \"$0\" \"$@\" 2>/dev/null"]);
    command.arg(env!("CARGO_BIN_EXE_portolan")).args(arguments);
    let mut terminal = Terminal::run((width, 50), command, &[("NO_COLOR", "1")]);
    assert_eq!(terminal.ended().code(), Some(0), "{arguments:?}");
    String::from_utf8(terminal.bytes.clone()).unwrap().replace('\r', "")
}

/// One listener is shown as a card, but only on a terminal, and only if no option requests a feature of the table.
#[test]
fn one_match_is_a_card() {
    let (_listener, port, _) = listener();
    let (_other, other_port, _) = listener();
    let (port, other_port) = (port.to_string(), other_port.to_string());
    let card = printed(80, &[&port]);
    let pid = std::process::id();
    assert!(card.starts_with(&format!("tcp 127.0.0.1:{port}  ")), "{card}");
    let directory = std::env::current_dir().unwrap();
    let directory: String = directory.to_str().unwrap().chars().take(10).collect();
    let mut lines = vec![
        format!("(pid {pid}, user "),
        " UTC".to_owned(),
        "  Reachable   on this machine only; no connections now\n".to_owned(),
        format!("  To stop     kill {pid}\n"),
    ];
    // If the tests run in a world-writable directory, that finding takes the lines of other facts.
    if first_flag() == "ephemeral" {
        lines.extend([format!("  Directory   {directory}"), "  Registry    ".to_owned()]);
    }
    for line in lines {
        assert!(card.contains(&line), "{line}: {card}");
    }
    assert!(card.lines().count() <= 14, "{card}");
    for arguments in [
        &["-o", "table", &port][..],
        &["--no-header", &port],
        &["--sort", "port", &port],
        &["--columns", "port", &port],
        &["--group", &port],
        &["--pids", &port],
        &[&port, &other_port],
    ] {
        let table = printed(80, arguments);
        assert!(!table.contains("To stop"), "{arguments:?}: {table}");
    }
    assert!(!printed(39, &[&port]).contains("To stop"), "a narrow terminal");
    let piped = Command::new(env!("CARGO_BIN_EXE_portolan")).arg(&port).output().unwrap();
    assert!(String::from_utf8(piped.stdout).unwrap().starts_with("PROTO "), "a pipe");
}

/// The answer of `explain` fits the terminal with the messages below it, so that its first line stays visible.
#[test]
fn an_explanation_does_not_scroll_off() {
    let explain = |size, arguments: &str| {
        let mut command = Command::new("setsid");
        let line = format!("exec {} explain {arguments}", env!("CARGO_BIN_EXE_portolan"));
        command.args(["--ctty", "--wait", "sh", "-c", &line]);
        let mut terminal = Terminal::run(size, command, &[("NO_COLOR", "1")]);
        assert!(matches!(terminal.ended().code(), Some(0 | 3)), "{arguments}");
        String::from_utf8(terminal.bytes.clone()).unwrap()
    };
    for arguments in ["80", "3000", "22 5432"] {
        let text = explain((80, 24), arguments);
        assert!(text.lines().count() < 24, "{arguments}: {text}");
        assert!(text.contains("--full shows them."), "{arguments}: {text}");
        for (size, arguments) in
            [((80, 400), arguments.to_owned()), ((80, 24), format!("{arguments} --full"))]
        {
            let text = explain(size, &arguments);
            assert!(text.lines().count() > 24, "{size:?} {arguments}: {text}");
            assert!(!text.contains(" lines; --full shows them."), "{size:?} {arguments}: {text}");
        }
    }
}

/// Sockets that occupy a port but do not listen are shown in a table, because there can be many of them.
#[test]
fn a_connection_is_not_a_card() {
    let (listener, port, _) = listener();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_served, _) = listener.accept().unwrap();
    assert!(printed(80, &[&port.to_string()]).contains("; 1 connection now\n"));
    let port = client.local_addr().unwrap().port().to_string();
    assert!(printed(80, &[&port]).starts_with("PROTO "));
}

/// Returns the text without the escape sequences of colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}
