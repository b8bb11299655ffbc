//! An error that takes several lines.

use std::fmt;

use super::{charset, print_message};
use crate::render::stderr;

/// An error with several messages, or with commands that the user can type next.
#[derive(Debug, Default)]
pub(super) struct LongError {
    pub messages: Vec<String>,
    /// The commands, each with a short text that says when to type it.
    pub commands: Vec<(&'static str, String)>,
}

impl LongError {
    /// Prints the error on standard error. A command is never wrapped, so that it can be copied.
    pub(super) fn print(&self) {
        self.messages.iter().for_each(|message| print_message(message));
        // If the write fails, only the exit code shows the problem.
        let _ = stderr::commands(&self.commands, &mut charset::stderr());
    }
}

impl fmt::Display for LongError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("; "))
    }
}

impl std::error::Error for LongError {}
