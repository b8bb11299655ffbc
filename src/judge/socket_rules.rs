//! Rules about the socket itself.

use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::reach::Published;
use crate::findings::socket::{BacklogFull, BoundOnly};
use crate::model::{Forwarding, Owner, Protocol, State};

/// Returns the evidence of `backlog-full`: more connections wait than the limit allows. The kernel accepts one
/// connection beyond the limit (`sk_acceptq_is_full` of net/sock.h), so a queue at the limit is not yet full.
pub(super) fn backlog_full(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    let queues = socket.queues?;
    let full = socket.local.protocol == Protocol::Tcp
        && socket.state == State::Listen
        && queues.receive > queues.send;
    full.then(|| BacklogFull { waiting: queues.receive, limit: queues.send }.into())
}

pub(super) fn published(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let Forwarding { to, rule, .. } = subject.listener.socket.forwarding.clone()?;
    Some(Published { local: subject.listener.socket.local.clone(), to, rule }.into())
}

pub(super) fn bound_only(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    let is_closed = socket.owner == Owner::Vanished; // such a socket may have listened
    if socket.local.protocol != Protocol::Tcp || socket.state != State::Bound || is_closed {
        return None;
    }
    Some(BoundOnly { kernel_range: subject.snapshot.ephemeral_range(socket) }.into())
}
