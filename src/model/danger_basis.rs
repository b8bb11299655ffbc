//! The evidence for a danger.

use super::named;

named! {
    /// The evidence for a danger.
    pub enum DangerBasis {
        /// The command line enables the dangerous behaviour.
        CommandLine = "command-line",
        /// An option in the environment enables the dangerous behaviour.
        Environment = "environment",
        /// The program is dangerous by default, and no observation contradicts this.
        Default = "default",
        /// The service is dangerous, but its command line requires a password or a certificate.
        Password = "password",
        /// The configuration file enables the dangerous behaviour.
        Configuration = "configuration",
        /// The service is presumed only from its port.
        Port = "port",
        /// A known program is on a port that it does not usually serve, so the kernel may have chosen the port.
        ChosenPort = "chosen-port",
    }
}
