//! Rules about the socket itself.

use super::rules::Subject;
use crate::findings::Evidence;
use crate::findings::reach::Exposed;
use crate::findings::socket::{BacklogFull, BoundOnly, Kernel};
use crate::model::{Owner, Protocol, State};

/// Decides `exposed`, as far as address and device show it.
pub(super) fn exposed(subject: &Subject<'_>) -> Option<Evidence> {
    let listener = subject.listener;
    listener.exposure.beyond().then(|| {
        Exposed {
            exposure: listener.exposure,
            address: listener.socket.local.address,
            device: listener.socket.local.device.clone(),
        }
        .into()
    })
}

/// Decides `backlog-full`. The kernel refuses new connections when more than the limit wait, not when as many do
/// (`sk_acceptq_is_full` of net/sock.h): one that waits at a limit of one is ordinary.
pub(super) fn backlog_full(subject: &Subject<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    let queues = socket.queues?;
    let full = socket.local.protocol == Protocol::Tcp
        && socket.state == State::Listen
        && queues.receive > queues.send;
    full.then(|| BacklogFull { waiting: queues.receive, limit: queues.send }.into())
}

/// Decides `bound-only`.
pub(super) fn bound_only(subject: &Subject<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    if socket.local.protocol != Protocol::Tcp || socket.state != State::Bound {
        return None;
    }
    Some(BoundOnly { kernel_range: subject.snapshot.ephemeral_range(socket) }.into())
}

/// Decides `kernel`.
pub(super) fn kernel(subject: &Subject<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    (socket.owner == Owner::Kernel).then(|| Kernel { inode: socket.inode }.into())
}
