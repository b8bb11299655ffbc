//! Runs a program on a real pseudo-terminal. Its output is fed to a terminal emulator, and the tests read the
//! emulator's screen.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// The longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal with a program on it.
pub struct Terminal {
    /// The user's end.
    pub user: File,
    /// The program's end, kept open so that its settings can be read.
    pub line: OwnedFd,
    pub before: Termios,
    pub child: Child,
    pub emulator: vt100::Parser,
    /// The whole output.
    pub bytes: Vec<u8>,
}

impl Terminal {
    /// Starts a program; `setsid` gives it a session of its own, with this terminal.
    pub fn run((width, height): (u16, u16), mut program: Command, environment: &[(&str, &str)]) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let path = ptsname(&user, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let line = rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        let before = tcgetattr(&line).unwrap();
        resize(&user, width, height);
        let side = || line.as_fd().try_clone_to_owned().unwrap();
        program
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .env("TZ", "UTC")
            .envs(environment.iter().copied());
        let child = program.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let emulator = vt100::Parser::new(height, width, 0);
        Terminal { user: File::from(user), line, before, child, emulator, bytes: Vec::new() }
    }

    /// Reads the output that arrives within `time`; returns whether there was any.
    pub fn read(&mut self, time: Duration) -> bool {
        let mut ends = [PollFd::new(&self.user, PollFlags::IN)];
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        if poll(&mut ends, Some(&time)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let length = self.user.read(&mut buffer).unwrap();
        self.emulator.process(&buffer[..length]);
        self.bytes.extend(&buffer[..length]);
        true
    }

    pub fn lines(&self) -> Vec<String> {
        let screen = self.emulator.screen();
        screen.rows(0, screen.size().1).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the screen meets a condition.
    #[track_caller]
    pub fn until(&mut self, about: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let began = Instant::now();
        while !wanted(&self.lines()) {
            let known = String::from_utf8_lossy(&self.bytes);
            assert!(began.elapsed() < PATIENCE, "{about}: {:#?}\n{known:?}", self.lines());
            self.read(Duration::from_millis(50));
        }
        self.lines()
    }

    /// Waits for a line that contains all of these words.
    #[track_caller]
    pub fn line_with(&mut self, words: &[&str]) -> String {
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        let lines = self.until(&format!("{words:?}"), |lines| lines.iter().any(|line| fits(&line)));
        lines.iter().find(fits).unwrap().clone()
    }

    /// Waits for text in the raw output. On the screen, a long line can break at any character.
    #[track_caller]
    pub fn output_with(&mut self, text: &str) {
        let began = Instant::now();
        while !String::from_utf8_lossy(&self.bytes).contains(text) {
            assert!(
                began.elapsed() < PATIENCE,
                "{text:?} is not in {:?}",
                String::from_utf8_lossy(&self.bytes)
            );
            self.read(Duration::from_millis(50));
        }
    }

    pub fn press(&mut self, keys: &[u8]) {
        self.user.write_all(keys).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and asserts that the terminal has the settings it had before.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {:#?}", self.lines());
            self.read(Duration::from_millis(20));
        };
        self.is_given_back();
        status
    }

    /// Asserts that the terminal has the settings it had before.
    #[track_caller]
    pub fn is_given_back(&mut self) {
        while self.read(Duration::ZERO) {}
        let screen = self.emulator.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left on");
        assert!(!screen.hide_cursor(), "the cursor is left hidden");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None, "the mouse is left on");
        assert!(!screen.bracketed_paste(), "pastes are left marked");
        let settings = |termios: &Termios| format!("{termios:?}");
        assert_eq!(settings(&tcgetattr(&self.line).unwrap()), settings(&self.before));
    }

    /// Waits until the program is stopped.
    #[track_caller]
    pub fn is_stopped(&mut self) {
        let began = Instant::now();
        let stat = format!("/proc/{}/stat", self.child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(began.elapsed() < PATIENCE, "it does not stop: {:#?}", self.lines());
            self.read(Duration::from_millis(20));
        }
    }

    /// Asserts that the program has shown a screen.
    #[track_caller]
    pub fn is_up(&self) {
        let screen = self.emulator.screen();
        assert!(screen.alternate_screen() && screen.hide_cursor());
        let settings = |termios: &Termios| format!("{termios:?}");
        assert_ne!(settings(&tcgetattr(&self.line).unwrap()), settings(&self.before), "keys are not single");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the first flag of a listener of this process on a port that the kernel chose: a checkout in a world-writable
/// directory adds a flag to its programs. It is the beginning of the flag, because a narrow table cuts it.
pub fn first_flag() -> &'static str {
    use std::os::unix::fs::MetadataExt;
    let program = std::env::current_exe().unwrap();
    let open = program.ancestors().skip(1).any(|directory| directory.metadata().unwrap().mode() & 0o002 != 0);
    if open { "writable-e" } else { "ephemeral" }
}

pub fn resize(user: impl AsFd, width: u16, height: u16) {
    tcsetwinsize(user, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
