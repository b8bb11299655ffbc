//! The destination of a published port.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Container, Pid};

/// The destination to which a program forwards a port. For example, docker-proxy forwards the published port of a
/// container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTarget {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The container with this address, if a file of the manager names it.
    pub container: Option<Arc<Container>>,
    /// The processes that listen at the destination, if their network namespace was scanned.
    pub pids: Vec<Pid>,
}
