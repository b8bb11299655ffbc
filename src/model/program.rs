//! The identification of a process as a program, and the evidence for it.

use serde::Serialize;

use super::{Pid, named};

named! {
    /// The evidence for the identification of a program, from the strongest to the weakest.
    pub enum RestsOn {
        /// The name of the running file. The process cannot change this name after its start.
        Exe = "exe",
        /// The script or module in an interpreter's command line. The process can rewrite its command line.
        Cmdline = "cmdline",
        /// The name of the process, which the process can set to anything.
        Name = "name",
        /// The name of the systemd unit in whose control group the socket was created. Only root can choose this name.
        /// This evidence is used if no process is visible.
        Unit = "unit",
    }
}

/// A program on its usual port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsualProgram {
    /// The name in the list of programs.
    pub program: &'static str,
    /// The product.
    pub product: &'static str,
    /// The evidence for the identification.
    pub rests_on: RestsOn,
    /// Whether the list of programs does not name this port, but says that the program commonly serves any port.
    pub any_port: bool,
    /// The process; `None` if the process is hidden.
    pub pid: Option<Pid>,
}

named! {
    /// The evidence for the name of a service.
    pub enum ServiceBy {
        /// A process of the listener is a known program.
        Process = "process",
        /// The process is hidden, but its system service has the name of a program that usually serves this port.
        Unit = "unit",
        /// The port is commonly used for the service. No known program was seen on the port.
        Port = "port",
    }
}

/// The service of the running program or, if the program is not known, the usual service of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerService {
    /// The registered name of the service, or else the name of the program.
    pub name: Option<&'static str>,
    /// The product.
    pub product: Option<&'static str>,
    /// The evidence for the service.
    pub by: ServiceBy,
}
