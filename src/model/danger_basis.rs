//! What a danger rests on.

use super::named;

named! {
    /// What a danger rests on.
    pub enum DangerBasis {
        /// The command line says so.
        CommandLine = "command-line",
        /// An option in the environment says so.
        Environment = "environment",
        /// The program does so by default, and nothing observed contradicts this.
        Default = "default",
        /// The command line sets a password or asks for a certificate.
        Password = "password",
        /// The configuration file says so.
        Configuration = "configuration",
        /// The service is presumed from its port alone.
        Port = "port",
        /// The program is known, but the port is not one of the service's: the kernel can have chosen it.
        ChosenPort = "chosen-port",
    }
}
