//! Where a published port leads.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Container, Pid};

/// The place to which a program forwards a port, as docker-proxy does for the published port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardTarget {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The container that has this address, if a file of the manager says so.
    pub container: Option<Arc<Container>>,
    /// The processes that listen there, if their network namespace was scanned.
    pub pids: Vec<Pid>,
}
