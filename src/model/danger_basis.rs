//! The evidence for a danger.

use super::named;

named! {
    /// The evidence for a danger.
    pub enum DangerBasis {
        /// The command line enables the dangerous behaviour.
        CommandLine = "command-line",
        /// An option in the environment enables the dangerous behaviour.
        Environment = "environment",
        /// The dangerous behaviour is the default of the program, and no observation contradicts it.
        Default = "default",
        /// The command line sets a password or asks for a certificate.
        Password = "password",
        /// The configuration file enables the dangerous behaviour.
        Configuration = "configuration",
        /// The service is presumed only from its port.
        Port = "port",
        /// The program is known, but does not usually serve this port, so the kernel may have chosen the port.
        ChosenPort = "chosen-port",
    }
}
