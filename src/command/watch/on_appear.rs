//! The options `--on-appear` and `--bell`: actions when a listener appears. The program gets its arguments directly,
//! without a shell.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::WatchUpdate;
use crate::baseline::ChangeKind;
use crate::findings::text::plural;
use crate::judge::Listener;
use crate::render::kill::named;
use crate::render::sanitize;

/// The maximum number of programs that run at once. Without a limit, many listeners in one scan would start many
/// programs.
const AT_ONCE: usize = 8;
/// The maximum number of listeners that wait for their program. No program is started for further listeners.
const WAITING: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct OnAppear {
    program: Option<PathBuf>,
    running: Vec<Child>,
    /// The arguments of the program: the address, and a text about the listener.
    waiting: VecDeque<[String; 2]>,
    /// The number of listeners for which no program is started.
    left_out: usize,
}

impl OnAppear {
    pub(super) fn new(program: Option<PathBuf>) -> Self {
        OnAppear { program, ..OnAppear::default() }
    }

    /// Queues the program for each listener that has appeared. Returns whether there is any.
    pub(super) fn note(&mut self, update: &WatchUpdate<'_>) -> bool {
        let WatchUpdate::Next { changes, .. } = update else { return false };
        let appeared = changes.iter().filter(|change| change.kind == ChangeKind::Appeared);
        let listeners = Listener::all(appeared.map(|change| change.listener));
        if self.program.is_some() {
            let space = WAITING.saturating_sub(self.waiting.len());
            self.left_out += listeners.len().saturating_sub(space);
            self.waiting.extend(listeners.iter().take(space).map(|listener| {
                let place = listener.first().socket.local.to_string();
                [sanitize(&place).into_owned(), text_argument(named(listener))]
            }));
        }
        !listeners.is_empty()
    }

    /// Starts programs for waiting listeners. Call this after every scan. Returns the reason why a program was not
    /// started, or the exit status of a program that failed.
    pub(super) fn run(&mut self) -> Option<String> {
        let program = self.program.as_ref()?;
        let mut failed = None;
        self.running.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => false,
            Ok(Some(status)) => {
                failed.get_or_insert(status.to_string());
                false
            }
            Err(error) => {
                failed.get_or_insert(error.to_string());
                false
            }
        });
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let listeners = plural(left_out, "listener");
            return Some(format!(
                "--on-appear: the program is not run for {listeners}: {WAITING} other listeners are already in the queue"
            ));
        }
        while self.running.len() < AT_ONCE {
            let Some(arguments) = self.waiting.pop_front() else { break };
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            match command.spawn() {
                Ok(child) => self.running.push(child),
                Err(error) => {
                    self.waiting.clear();
                    let program = program.display().to_string();
                    return Some(format!("--on-appear {}: {error}", sanitize(&program)));
                }
            }
        }
        let program = program.display().to_string();
        failed.map(|status| format!("--on-appear {}: the program failed ({status})", sanitize(&program)))
    }
}

/// Returns the text about a listener as an argument. It begins with the name of a process, which any user can choose. A
/// program could take a name such as `-V` for an option, or `@x` for a file with arguments. To prevent this, the word
/// `process` is put before the name.
fn text_argument(text: String) -> String {
    if text.starts_with(['-', '+', '@', '/']) { format!("process {text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_is_no_option() {
        for (text, argument) in [
            ("nginx on tcp 0.0.0.0:80", "nginx on tcp 0.0.0.0:80"),
            ("-V on tcp 0.0.0.0:80", "process -V on tcp 0.0.0.0:80"),
            ("--server=1 on tcp 0.0.0.0:80", "process --server=1 on tcp 0.0.0.0:80"),
            ("@/etc/shadow on tcp 0.0.0.0:80", "process @/etc/shadow on tcp 0.0.0.0:80"),
        ] {
            assert_eq!(text_argument(text.to_owned()), argument);
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_exit_status_of_the_program_is_reported() {
        for (program, expected) in [("true", None), ("false", Some("exit status: 1"))] {
            let mut on_appear = OnAppear::new(Some(program.into()));
            on_appear.waiting.push_back(["tcp/127.0.0.1:1".to_owned(), "a on tcp 127.0.0.1:1".to_owned()]);
            assert_eq!(on_appear.run(), None);
            let mut reported = None;
            for _ in 0..10_000 {
                if on_appear.running.is_empty() {
                    break;
                }
                reported = on_appear.run();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let reported = reported.unwrap_or_default();
            assert_eq!(reported.contains("the program failed"), expected.is_some(), "{reported}");
            assert!(reported.contains(expected.unwrap_or_default()), "{reported}");
        }
    }
}
