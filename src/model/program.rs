//! Which program a process is identified as, and what the identification rests on.

use serde::Serialize;

use super::{Pid, named};

named! {
    /// What the identification of a program rests on, from the strongest to the weakest.
    pub enum RestsOn {
        /// The name of the file that runs: the process cannot choose it once it runs.
        Exe = "exe",
        /// The script or module in an interpreter's command line: the process can rewrite it.
        Cmdline = "cmdline",
        /// The name of the process, which the process can set to anything.
        Name = "name",
        /// The system service that the socket belongs to, whose name root chose. The process is hidden.
        Unit = "unit",
    }
}

/// A program on a port where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsualProgram {
    /// Its name in the list of programs.
    pub program: &'static str,
    /// The product.
    pub product: &'static str,
    /// What the identification rests on.
    pub rests_on: RestsOn,
    /// Whether the program belongs here because it commonly serves any port, and not because this port is its own.
    pub any_port: bool,
    /// The process; `None` if it is hidden.
    pub pid: Option<Pid>,
}

named! {
    /// What the name of a service rests on.
    pub enum ServiceBy {
        /// A process of the listener is a known program.
        Process = "process",
        /// The process is hidden, and its system service is named like a program that usually serves this port.
        Unit = "unit",
        /// The port is commonly used for it. No known program was seen there.
        Port = "port",
    }
}

/// The service that a listener offers: what runs there, else what is usual there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerService {
    /// The name of the service as registered, or of the program if it has none.
    pub name: Option<&'static str>,
    /// The product.
    pub product: Option<&'static str>,
    /// What this rests on.
    pub by: ServiceBy,
}
