//! Groups the ports and protocols that have the same description.

use crate::judge::{Entry, Explained};
use crate::model::{Context, PortRange, PortVerdict};

pub(super) struct Group<'e, 'r> {
    pub(super) ports: PortRange,
    pub(super) protocols: Vec<&'static str>,
    pub(super) verdict: &'e PortVerdict,
    pub(super) listeners: Vec<&'r Entry>,
    pub(super) connections: Vec<&'r Entry>,
    pub(super) contexts: Vec<&'e Context>,
}

/// Returns the groups of each port. Protocols with the same verdict and facts share a group.
pub(super) fn groups<'e, 'r>(ports: &'e [Explained<'r>]) -> Vec<Group<'e, 'r>> {
    let mut groups: Vec<Group<'e, 'r>> = Vec::new();
    for Explained { port, protocol, verdict, listeners, connections, context } in ports {
        let same = groups
            .iter_mut()
            .rev()
            .take_while(|group| group.ports.contains(*port))
            .find(|group| group.verdict == verdict && agrees(group, context));
        match same {
            Some(group) => {
                group.protocols.push(protocol.name());
                group.listeners.extend(listeners);
                group.connections.extend(connections);
                group.contexts.push(context);
            }
            None => groups.push(Group {
                ports: PortRange::single(*port),
                protocols: vec![protocol.name()],
                verdict,
                listeners: listeners.clone(),
                connections: connections.clone(),
                contexts: vec![context],
            }),
        }
    }
    groups
}

/// Returns whether a context can join a group. It must have the same answer as the contexts of the group, or the same
/// services, programs and dangers.
fn agrees(group: &Group<'_, '_>, context: &Context) -> bool {
    group.contexts.iter().all(|other| {
        let has_answer = other.answer.is_some() && other.answer == context.answer;
        has_answer
            || (other.services == context.services
                && other.programs == context.programs
                && other.dangers == context.dangers)
    })
}

/// Merges the groups of adjacent ports that have no listeners and the same protocols and verdict.
pub(super) fn runs<'e, 'r>(groups: Vec<Group<'e, 'r>>) -> Vec<Group<'e, 'r>> {
    let mut runs: Vec<Group<'e, 'r>> = Vec::new();
    for group in groups {
        // A port can have several groups. So the last few groups are searched for the matching group of the previous
        // port.
        let before = runs.iter_mut().rev().take(4).find(|run| {
            run.ports.high.checked_add(1) == Some(group.ports.low)
                && run.listeners.is_empty()
                && group.listeners.is_empty()
                && run.protocols == group.protocols
                && run.verdict == group.verdict
        });
        match before {
            Some(run) => run.ports.high = group.ports.high,
            None => runs.push(group),
        }
    }
    runs
}
