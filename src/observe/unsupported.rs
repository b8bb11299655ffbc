//! Systems without a source. They get an error instead of an empty list.

use std::net::IpAddr;

use super::{Error, Scope};
use crate::model::{InferredOwner, Process, Snapshot};

/// Returns an error, because the system is not supported.
///
/// # Errors
///
/// Always returns an error.
pub(super) fn observe(_: &Scope) -> Result<Snapshot, Error> {
    Err(Error(format!(
        "{}: this system is not supported; use --from with a snapshot of another machine",
        std::env::consts::OS
    )))
}

/// Does nothing, because there are no processes.
pub(super) fn read_rest(_: &mut [Process]) {}

/// Returns `None`, because only Linux has control groups.
pub(super) fn inferred_owner(_: &str) -> Option<InferredOwner> {
    None
}

/// Returns `None`, because the network interfaces are not read on these systems.
pub(super) fn interface_addresses(_: &str) -> Option<Vec<IpAddr>> {
    None
}

/// Returns false, because the addresses of an unsupported system are not known.
pub(super) fn is_own_address(_: IpAddr) -> bool {
    false
}

/// Returns false, because the users of an unsupported system are not known.
pub(super) fn is_user(_: &str) -> bool {
    false
}

/// Returns false, because the processes of an unsupported system are not known.
pub(super) fn is_running(_: &str) -> bool {
    false
}
