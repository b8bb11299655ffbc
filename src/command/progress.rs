//! Shows a line on standard error while the program works or waits.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::{charset, screen, width};
use crate::observe::progress;
use crate::render::clip;

/// The time after which the line appears.
const PATIENCE: Duration = Duration::from_millis(500);
const OFTEN: Duration = Duration::from_millis(200);

/// Shows the progress until it is dropped.
pub(super) struct Progress {
    has_ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show the line after some time. Returns `None` if standard error is not a terminal that can remove a
    /// line, or if the screen of `watch` is shown.
    pub(super) fn start() -> Option<Self> {
        Self::showing(|time| line(progress::current(), time))
    }

    /// Like [`Progress::start`], but `line` makes the line from the elapsed time.
    pub(super) fn showing(line: impl Fn(Duration) -> String + Send + 'static) -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !io::stderr().is_terminal() || is_dumb || screen::is_up() {
            return None;
        }
        let has_ended = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&has_ended);
        let thread = Builder::new().spawn(move || show(&shared, line)).ok()?;
        Some(Progress { has_ended, thread: Some(thread) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let (has_ended, changed) = &*self.has_ended;
        *has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show((has_ended, changed): &(Mutex<bool>, Condvar), line: impl Fn(Duration) -> String) {
    let began = Instant::now();
    let mut is_shown = false;
    let mut ended = has_ended.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let time = if is_shown { OFTEN } else { PATIENCE };
        (ended, _) =
            changed.wait_timeout_while(ended, time, |ended| !*ended).unwrap_or_else(PoisonError::into_inner);
        if *ended {
            break;
        }
        is_shown = true;
        write(&line(began.elapsed()));
    }
    if is_shown {
        write("");
    }
}

/// Replaces the line. The text is cut to the width of the terminal, because a line that wraps cannot be removed. Errors
/// are ignored.
fn write(text: &str) {
    let columns = width(true, terminal_size::terminal_size_of(io::stderr())).unwrap_or(0);
    let text = clip(text, columns.into());
    let mut stderr = charset::stderr();
    // The cursor stays at the beginning, so that the next output replaces the line if the program is killed.
    let _ = write!(stderr, "\r\x1b[2K{text}\r").and_then(|()| stderr.flush());
}

fn line(step: Option<progress::Step>, time: Duration) -> String {
    let seconds = time.as_secs();
    match step {
        Some(progress::Step { what, done, total }) if total > 1 => {
            format!("Scanning {what}: {done} of {total} ({seconds} s)")
        }
        Some(progress::Step { what, .. }) => format!("Scanning {what} ({seconds} s)"),
        None => format!("Scanning ({seconds} s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let step = |done, total| Some(progress::Step { what: "network namespaces", done, total });
        for (step, text) in [
            (None, "Scanning (2 s)"),
            (step(0, 1), "Scanning network namespaces (2 s)"),
            (step(12, 80), "Scanning network namespaces: 12 of 80 (2 s)"),
        ] {
            assert_eq!(line(step, Duration::from_millis(2400)), text);
        }
    }
}
