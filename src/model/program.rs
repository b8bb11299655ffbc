//! Which program a process is taken for, and what that rests on.

use serde::Serialize;

use super::{Pid, named};

named! {
    /// What the identification of a program rests on, from the strongest to the weakest.
    pub enum RestsOn {
        /// The name of the file that runs: the process cannot choose it once it runs.
        Exe = "exe",
        /// What an interpreter was told to run: the process can rewrite it.
        Cmdline = "cmdline",
        /// The name the process goes by: it can set it to anything.
        Name = "name",
    }
}

/// A program on a port where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usual {
    /// Its name in the list of programs.
    pub program: &'static str,
    /// What it is.
    pub product: &'static str,
    /// What the identification rests on.
    pub rests_on: RestsOn,
    /// Whether it belongs here because it commonly serves any port, and not because this one is its own.
    pub any_port: bool,
    /// The process.
    pub pid: Pid,
}
