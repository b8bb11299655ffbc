//! The reasons why a port is not suitable for a new service.

use super::named;

named! {
    /// The reason why a port is not suitable for a new service. If several reasons apply, the first in this order
    /// counts.
    pub enum Unsuitable {
        /// A socket or a rule of this machine uses the port.
        Taken = "taken",
        /// A setting of the kernel reserves the port for a program.
        KernelReserved = "kernel-reserved",
        /// The port is in the range from which this kernel takes ports for outgoing connections.
        KernelRange = "kernel-range",
        /// The port is below 1024, so a program usually needs root to bind it.
        System = "system",
        /// The port is in IANA's dynamic range, which is for temporary use.
        Dynamic = "dynamic",
        /// A service is registered for the port, on any protocol.
        Registered = "registered",
        /// IANA reserves the port, or lists it with a remark instead of a service.
        Reserved = "reserved",
        /// Known software uses the port, on any protocol.
        Common = "common",
    }
}
