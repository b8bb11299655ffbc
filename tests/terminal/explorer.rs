//! The explorer that `watch` shows on a terminal: keys, the mouse, views, cards, and the end of a process.

use super::*;

/// The sizes of the terminals on which the explorer is tested.
const SIZES: [(u16, u16); 3] = [(80, 24), (40, 12), (200, 50)];

/// The row with the sign of the selected row.
fn selected(lines: &[String]) -> Option<&String> {
    lines.iter().find(|line| line.chars().nth(1) == Some('>') && line.contains("tcp"))
}

/// Scrolls with keys and the mouse, filters, opens a card and closes it, on every size.
#[test]
fn scrolls_filters_and_opens_cards() {
    let held: Vec<_> = (0..60).map(|_| listener()).collect();
    let mut ports: Vec<u16> = held.iter().map(|(_, port, _)| *port).collect();
    ports.sort_unstable();
    let targets: Vec<&str> = held.iter().map(|(.., target)| target.as_str()).collect();
    let (first, last) = (ports[0].to_string(), ports[59].to_string());
    for size in SIZES {
        let mut terminal = watch(size, &targets, &[("NO_COLOR", "1")]);
        let on = |terminal: &mut Terminal, port: &str| {
            let port = port.to_owned();
            let about = format!("{port} is selected, {size:?}");
            terminal.until(&about, |lines| selected(lines).is_some_and(|row| row.contains(&port)));
        };
        terminal.line_with(&["60 listeners"]);
        on(&mut terminal, &first);
        terminal.press(b"jj");
        on(&mut terminal, &ports[2].to_string());
        terminal.press(b"k\x1b[A");
        on(&mut terminal, &first);
        terminal.press(b"G");
        on(&mut terminal, &last);
        terminal.line_with(&["of 60 ─"]);
        // The wheel, up; then Home.
        terminal.press(b"\x1b[<64;5;6M");
        on(&mut terminal, &ports[56].to_string());
        terminal.press(b"\x1b[H");
        on(&mut terminal, &first);
        // A click selects a row, and a second click opens its card.
        terminal.press(b"\x1b[<0;5;7M\x1b[<0;5;7m");
        on(&mut terminal, &ports[2].to_string());
        terminal.press(b"\x1b[<0;5;7M");
        terminal.line_with(&[&format!("tcp 127.0.0.1:{}", ports[2])]);
        terminal.line_with(&["Esc close"]);
        terminal.press(b"\x1b");
        on(&mut terminal, &ports[2].to_string());
        // The filter, then the card with the process and the connections.
        let client = std::net::TcpStream::connect(("127.0.0.1", ports[59])).unwrap();
        terminal.press(format!("/{last}").as_bytes());
        terminal.line_with(&[&format!("1 with {last} ─")]);
        terminal.line_with(&[&format!("/{last}_")]);
        terminal.press(b"\r\r");
        let pid = format!("(pid {}", std::process::id());
        let is_shown = |lines: &[String]| {
            lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ").contains(&pid)
        };
        terminal.until("the process of the card", is_shown);
        if size.1 < 50 {
            terminal.press(b"G");
            let heading = format!("tcp 127.0.0.1:{last}  ");
            terminal.until("the card scrolls", |lines| !lines.iter().any(|line| line.starts_with(&heading)));
            terminal.press(b"g");
        }
        if size.1 >= 24 {
            terminal.line_with(&["established", &format!("127.0.0.1:{last} to 127.0.0.1:")]);
        }
        drop(client);
        terminal.press(b"q");
        terminal.line_with(&[&format!("1 with {last} ─")]);
        terminal.press(b"\x1b");
        terminal.line_with(&["of 60 ─"]);
        on(&mut terminal, &last);
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
}

/// What is over the rows when the size of the terminal changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Rows,
    Filter,
    Card,
    Help,
    Question,
}

/// From every size to every other one: the selected row stays selected and visible, and what was over the rows stays.
#[test]
fn stays_what_it_was_when_the_size_changes() {
    let mut held: Vec<_> = (0..60).map(|_| listener()).collect();
    held.sort_by_key(|(_, port, _)| *port);
    let targets: Vec<&str> = held.iter().map(|(.., target)| target.as_str()).collect();
    let last = held[59].1.to_string();
    let server = Server::start();
    let targets = || targets.iter().copied().chain([server.port.as_str()]).collect::<Vec<_>>();
    for (shown, keys, port) in [
        (Shown::Rows, "G".to_owned(), &last),
        (Shown::Filter, format!("/{last}"), &last),
        (Shown::Card, format!("/{last}\r\r"), &last),
        (Shown::Help, "?".to_owned(), &last),
        (Shown::Question, format!("/{}\rK", server.port), &server.port),
    ] {
        for from in SIZES {
            let mut terminal = watch(from, &targets(), &[("NO_COLOR", "1")]);
            terminal.line_with(&["61 listeners"]);
            terminal.press(keys.as_bytes());
            let is_as_it_was = |lines: &[String]| {
                let starts = |text: &str| lines.iter().any(|line| line.starts_with(text));
                match shown {
                    Shown::Rows => starts("q quit") && selected(lines).is_some_and(|row| row.contains(port)),
                    Shown::Filter => starts(&format!("/{port}_")) && selected(lines).is_some(),
                    Shown::Card => starts(&format!("tcp 127.0.0.1:{port}")) && starts("Esc close"),
                    Shown::Help => starts("Keys") && starts("Esc close"),
                    Shown::Question => starts("End terminal-") && starts("y end this"),
                }
            };
            let about = |size| format!("{shown:?} from {from:?} to {size:?}");
            terminal.until(&about(from), is_as_it_was);
            for to in SIZES.into_iter().filter(|to| *to != from).chain([from]) {
                resize(&terminal.user, to.0, to.1);
                terminal.emulator.screen_mut().set_size(to.1, to.0);
                // The emulator keeps the cells of the screen before, so only a new frame fills the last line.
                let lines = terminal.until(&about(to), |lines| {
                    is_as_it_was(lines) && !lines[usize::from(to.1) - 1].is_empty()
                });
                assert!(lines.iter().all(|line| line.width() <= usize::from(to.0)), "{lines:#?}");
            }
            terminal.press(b"\x03");
            assert_eq!(terminal.ended().code(), Some(0), "{shown:?} {from:?}");
        }
    }
}

/// Every view has its rows, by Tab and by a click on its name; the help has the keys.
#[test]
fn views_and_help() {
    let (listener, port, target) = listener();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = port.to_string();
    for size in SIZES {
        let mut terminal = watch(size, &[&target], &[("NO_COLOR", "1")]);
        terminal.line_with(&[">tcp", &port]);
        terminal.press(b"\t");
        terminal.line_with(&["[Connections]"]);
        terminal.line_with(&["tcp", "127.0.0.1"]);
        terminal.press(b"\t");
        terminal.line_with(&["No change was seen."]);
        terminal.press(b"\t");
        terminal.line_with(&["[Findings]"]);
        terminal.line_with(&[" >", first_flag()]);
        terminal.press(b"\x1b[<0;3;2M");
        terminal.line_with(&["[Listeners]"]);
        terminal.press(b"?");
        terminal.line_with(&["Down, j"]);
        terminal.press(b"q");
        terminal.line_with(&[">tcp", &port]);
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
}

/// A paused screen stays as it is, and says so; then it shows what changed meanwhile.
#[test]
fn a_paused_screen() {
    for size in SIZES {
        let (listener, port, target) = listener();
        let port = port.to_string();
        let mut terminal = watch(size, &["--interval", "0.1", &target], &[("NO_COLOR", "1")]);
        terminal.line_with(&[">tcp", &port]);
        terminal.press(b"p");
        terminal.line_with(&["paused"]);
        drop(listener);
        terminal.press(b"x");
        // Several scans would take place in this time.
        for _ in 0..20 {
            terminal.read(std::time::Duration::from_millis(50));
        }
        let is_unchanged = |lines: &[String]| selected(lines).is_some_and(|row| row.starts_with(" >"));
        terminal.until("still paused", |lines| lines[0].contains("paused") && is_unchanged(lines));
        terminal.press(b"p");
        terminal.line_with(&["->tcp", &port]);
        terminal.line_with(&["0 listeners"]);
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
}

/// The row goes to the clipboard of the terminal, and pasted text is never a command.
#[test]
fn copies_and_pastes() {
    let (_listener, port, target) = listener();
    let port = port.to_string();
    for size in SIZES {
        let mut terminal = watch(size, &[&target], &[("NO_COLOR", "1")]);
        terminal.line_with(&[">tcp", &port]);
        terminal.press(b"y");
        terminal.output_with("\x1b]52;c;dGNw"); // "tcp"
        terminal.line_with(&["Sent to the clipboard"]);
        terminal.press(b"\x1b[200~qqq\x1b[201~/\x1b[200~no such\n\x1b[201~");
        terminal.line_with(&["/no such _"]);
        terminal.line_with(&["No row matches"]);
        terminal.press(b"\x1b");
        terminal.line_with(&[">tcp", &port]);
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
}

/// Runs in a network namespace of its own for the test below: opens 10,000 listeners, then runs the program.
fn watch_many() -> ! {
    let wanted = rustix::process::Rlimit { current: Some(11_000), maximum: Some(11_000) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let held: Vec<_> = (10_000..20_000).map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap()).collect();
    let status = Command::new(env!("CARGO_BIN_EXE_portolan")).args(["watch", "--interval", "3600"]).status();
    drop(held);
    std::process::exit(status.unwrap().code().unwrap_or(1));
}

#[test]
fn ten_thousand_listeners() {
    if std::env::var_os("PORTOLAN_TEST_MANY").is_some() {
        watch_many();
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for size in SIZES {
        let mut program = Command::new("setsid");
        program.args(["--ctty", "unshare", "--net"]).arg(std::env::current_exe().unwrap());
        program.args(["--exact", "explorer::ten_thousand_listeners", "--nocapture"]);
        let environment = [("PORTOLAN_TEST_MANY", "1"), ("NO_COLOR", "1")];
        let mut terminal = Terminal::run(size, program, &environment);
        // A build without optimizations needs time for 10,000 sockets.
        for _ in 0..200 {
            if terminal.lines().iter().any(|line| line.contains("10000 listeners")) {
                break;
            }
            terminal.read(std::time::Duration::from_millis(500));
        }
        terminal.line_with(&["10000 listeners"]);
        terminal.line_with(&[">tcp", "10000"]);
        terminal.press(b"G");
        terminal.line_with(&[">tcp", "19999"]);
        terminal.press(b"\x1b[5~\x1b[6~k");
        terminal.line_with(&[">tcp", "19998"]);
        terminal.press(b"/tcp/12345");
        terminal.line_with(&["1 with tcp/12345 ─"]);
        terminal.press(b"\r");
        terminal.line_with(&[">tcp", "12345"]);
        terminal.press(b"\x1b");
        terminal.line_with(&["of 10000 ─"]);
        terminal.press(b"sss");
        terminal.line_with(&[">tcp", "10000"]);
        // A click in the third row of the table, the wheel, and every other size.
        terminal.press(b"\x1b[<0;5;7M\x1b[<0;5;7m");
        terminal.line_with(&[">tcp", "10002"]);
        terminal.press(b"\x1b[<65;5;6M");
        terminal.line_with(&[">tcp", "10005"]);
        for (width, height) in SIZES.into_iter().filter(|other| *other != size).chain([size]) {
            resize(&terminal.user, width, height);
            terminal.emulator.screen_mut().set_size(height, width);
            terminal.until("the new size", |lines| {
                selected(lines).is_some_and(|row| row.contains("10005"))
                    && lines[usize::from(height) - 1].starts_with("q quit")
            });
        }
        terminal.press(b"\r");
        terminal.line_with(&["tcp 0.0.0.0:10005"]);
        terminal.line_with(&["Esc close"]);
        // The owner of the listener started the program.
        terminal.press(b"\x1b");
        terminal.line_with(&[">tcp", "10005"]);
        terminal.press(b"K");
        terminal.line_with(&["on tcp 0.0.0.0:10005:"]);
        terminal.line_with(&["not ended: its process"]);
        terminal.press(b"\x1b");
        terminal.line_with(&[">tcp", "10005"]);
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
}

/// A process of its own that listens, for the test below: the owner of a listener of this process is an ancestor of the
/// program, which it never ends.
struct Server {
    child: std::process::Child,
    port: String,
}

impl Server {
    fn start() -> Self {
        Server::started_by(Command::new(std::env::current_exe().unwrap()))
    }

    /// Starts a server that ignores SIGTERM.
    fn start_stubborn() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' TERM; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        Server::started_by(shell)
    }

    fn started_by(mut command: Command) -> Self {
        command.args(["--exact", "explorer::ends_a_process_after_a_question", "--nocapture"]);
        command.env("PORTOLAN_TEST_LISTEN", "1").stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let port = lines.find_map(|line| line.unwrap().strip_prefix("port ").map(str::to_owned)).unwrap();
        Server { child, port }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listing of one port reads the connections; the card of a listener that was found in another way has them too.
#[test]
fn a_card_without_a_port_in_the_question_counts_connections() {
    let server = Server::start();
    let _client = std::net::TcpStream::connect(format!("127.0.0.1:{}", server.port)).unwrap();
    let card = printed(80, &["--pid", &server.child.id().to_string()]);
    assert!(card.contains("on this machine only; 1 connection now\n"), "{card}");
}

#[expect(clippy::print_stdout, reason = "the parent reads the port from standard output")]
fn listen_until_killed() -> ! {
    let (_listener, port, _) = listener();
    println!("\nport {port}");
    loop {
        std::thread::park();
    }
}

/// The question names what would be ended. Every key but one cancels, and a process above the program is never ended.
#[test]
fn ends_a_process_after_a_question() {
    if std::env::var_os("PORTOLAN_TEST_LISTEN").is_some() {
        listen_until_killed();
    }
    for size in SIZES {
        let mut server = Server::start();
        let target = format!("tcp/{}", server.port);
        let mut terminal = watch(size, &[&target], &[("NO_COLOR", "1")]);
        terminal.line_with(&[">tcp", &server.port]);
        terminal.press(b"K");
        terminal.line_with(&["End terminal-"]);
        terminal.line_with(&["y end this"]);
        // A small terminal shows the command at the end of the text.
        terminal.press(b"G");
        terminal.line_with(&["y will run", &format!("kill {}", server.child.id())]);
        terminal.press(b"n");
        terminal.line_with(&["Nothing was ended."]);
        assert!(!server.has_ended());
        // From the card too.
        terminal.press(b"\r");
        terminal.line_with(&["Esc close"]);
        terminal.press(b"K");
        terminal.line_with(&["y end this"]);
        terminal.press(b"y");
        terminal.line_with(&["Ended: "]);
        let server = std::cell::RefCell::new(server);
        terminal.until("the process has ended", |_| server.borrow_mut().has_ended());
        terminal.press(b"q");
        // A long message is a text over the rows, which q closes.
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.press(b"q");
        assert_eq!(terminal.ended().code(), Some(0));
    }
    let (_listener, port, target) = listener();
    let mut terminal = watch((80, 24), &[&target], &[("NO_COLOR", "1")]);
    terminal.line_with(&[">tcp", &port.to_string()]);
    terminal.press(b"K");
    terminal.line_with(&["not ended: its process"]);
    terminal.press(b"y\x1b");
    terminal.line_with(&[">tcp", &port.to_string()]);
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// A process that ignores SIGTERM gets SIGKILL only after a second question, which says so. A filter that is being typed
/// comes first, and `y`, which answers the first question, does not answer the second.
#[test]
fn forces_a_process_after_a_second_question() {
    let mut server = Server::start_stubborn();
    let pid = server.child.id();
    let target = format!("tcp/{}", server.port);
    let mut terminal = watch((80, 24), &[&target], &[("NO_COLOR", "1")]);
    for answer in [b"y", b"F"] {
        terminal.line_with(&[">tcp", &server.port]);
        terminal.press(b"K");
        terminal.line_with(&["y end this"]);
        terminal.press(b"y");
        terminal.line_with(&["Ending"]);
        terminal.press(format!("/{}", server.port).as_bytes());
        // The message appears while the filter is typed, and the question only afterwards.
        terminal.line_with(&[&format!("pid {pid}: has not ended 10 s after SIGTERM")]);
        assert!(!terminal.lines().iter().any(|line| line.contains("SIGKILL")), "{:#?}", terminal.lines());
        terminal.press(b"\x1b");
        terminal.line_with(&["F send SIGKILL  any other key cancel"]);
        terminal.line_with(&[&format!("F sends SIGKILL to pid {pid}.")]);
        terminal.line_with(&["Was run", &format!("kill {pid}")]);
        assert!(!server.has_ended());
        terminal.press(answer);
        if answer == b"y" {
            terminal.line_with(&["Nothing was forced to end."]);
            assert!(!server.has_ended());
        }
    }
    terminal.line_with(&["Ended: "]);
    let status = server.child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    terminal.press(b"q");
    std::thread::sleep(std::time::Duration::from_millis(100));
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// A listener that appears rings the bell, and runs a program without a shell: its arguments are the names of files here.
#[test]
fn a_new_listener_rings_and_runs_a_program() {
    let (listener, port, target) = listener();
    drop(listener);
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("tcp")).unwrap();
    let mut program = Command::new("setsid");
    program.current_dir(directory.path()).arg("--ctty").arg(env!("CARGO_BIN_EXE_portolan"));
    program.args(["watch", "--interval", "0.1", "--bell", "--on-appear", "touch", &target]);
    let mut terminal = Terminal::run((80, 24), program, &[("NO_COLOR", "1")]);
    terminal.line_with(&["0 listeners"]);
    assert!(!terminal.bytes.contains(&7));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    terminal.line_with(&["+>tcp", &port.to_string()]);
    terminal.output_with("\x07");
    let address = directory.path().join(format!("tcp/127.0.0.1:{port}"));
    terminal.until("the program ran", |_| address.exists());
    let files = || std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let end = format!(" on tcp 127.0.0.1:{port}");
    terminal.until("the second argument", |_| {
        files().any(|name| name.to_str().is_some_and(|name| name.ends_with(&end)))
    });
    drop(listener);
    terminal.press(b"q");
    assert_eq!(terminal.ended().code(), Some(0));
}
