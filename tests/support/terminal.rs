//! A program on a real pseudo-terminal. What comes out is fed to a terminal emulator, and it is the emulator's screen that is
//! looked at.

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

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal with a program on it.
pub struct Terminal {
    /// The user's side.
    pub user: File,
    /// The program's side, kept open to look at its settings.
    pub line: OwnedFd,
    pub before: Termios,
    pub child: Child,
    pub emulator: vt100::Parser,
    /// All that came out.
    pub bytes: Vec<u8>,
}

impl Terminal {
    /// `setsid` gives the program a session of its own, whose terminal this is.
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
        program.env_remove("NO_COLOR").env("TERM", "xterm-256color").envs(environment.iter().copied());
        let child = program.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        let emulator = vt100::Parser::new(height, width, 0);
        Terminal { user: File::from(user), line, before, child, emulator, bytes: Vec::new() }
    }

    /// Takes what has come out within `time`; whether anything has.
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

    /// Waits until the screen is as wanted.
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

    /// Waits for a line with all of these words.
    #[track_caller]
    pub fn line_with(&mut self, words: &[&str]) -> String {
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        let lines = self.until(&format!("{words:?}"), |lines| lines.iter().any(|line| fits(&line)));
        lines.iter().find(fits).unwrap().clone()
    }

    pub fn press(&mut self, keys: &[u8]) {
        self.user.write_all(keys).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end, and holds that the terminal is as it was before.
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

    /// Holds that the terminal is as it was before.
    #[track_caller]
    pub fn is_given_back(&mut self) {
        while self.read(Duration::ZERO) {}
        let screen = self.emulator.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left on");
        assert!(!screen.hide_cursor(), "the cursor is left hidden");
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

    /// Holds that a screen was up.
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

/// The flag that a listener of this process on a port of the kernel's choice has first, with its colour: a checkout in
/// a folder that anybody may write into makes its program odd.
pub fn first_flag() -> (&'static str, &'static str) {
    use std::os::unix::fs::MetadataExt;
    let program = std::env::current_exe().unwrap();
    let open = program.ancestors().skip(1).any(|folder| folder.metadata().unwrap().mode() & 0o002 != 0);
    if open { ("odd-executable", "\x1b[38;5;3m") } else { ("ephemeral", "\x1b[38;5;6m") }
}

pub fn resize(user: impl AsFd, width: u16, height: u16) {
    tcsetwinsize(user, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
