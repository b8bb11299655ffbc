//! Changes since a baseline as findings of an audit: the evidence and the severity of each.

use std::collections::BTreeSet;

use super::{Comparison, Kind, Told};
use crate::findings::Finding;
use crate::findings::change::{BaselineChange, ListenerState};
use crate::judge::Entry;
use crate::judge::audit::{Audit, AuditFinding, Subject};
use crate::model::{ExeState, Gap, Stage};

/// A change as evidence.
#[must_use]
pub fn since(told: &Told<'_>, comparison: &Comparison<'_>) -> BaselineChange {
    let change = &told.change;
    let vanished = change.kind == Kind::Vanished;
    BaselineChange {
        change: change.kind,
        baseline: comparison.before.taken,
        before: change.before.or(vanished.then_some(change.listener)).map(held),
        after: (!vanished).then(|| held(change.listener)),
        passing: told.passing,
        sure: told.sure,
    }
}

/// One side of a change.
fn held(judged: &Entry) -> ListenerState {
    let listener = judged;
    let socket = &listener.socket;
    let programs: BTreeSet<&str> = listener
        .processes
        .iter()
        .filter_map(|process| process.exe.as_ref().map(|exe| exe.path.as_str()).or(process.name.as_deref()))
        .collect();
    let gravity = |state: &ExeState| match state {
        ExeState::Present => 0,
        ExeState::Replaced => 1,
        ExeState::Deleted => 2,
        ExeState::Memfd => 3,
    };
    let states = listener.processes.iter().filter_map(|process| process.exe.as_ref()).map(|exe| exe.state);
    let holder = listener
        .processes
        .iter()
        .find_map(|process| process.user.clone().or_else(|| process.uid.map(|uid| uid.to_string())));
    ListenerState {
        protocol: socket.local.protocol,
        address: socket.local.address,
        port: socket.local.port,
        device: socket.local.device.clone(),
        netns: socket.netns.clone(),
        exposure: listener.exposure,
        owner: socket.owner.name(),
        programs: programs.into_iter().map(str::to_owned).collect(),
        executable: states.max_by_key(gravity),
        user: socket.user.clone().or_else(|| socket.uid.map(|uid| uid.to_string())).or(holder),
    }
}

/// Adds to an audit what changed since a baseline, and what could not be compared with it.
pub fn add_to<'r>(audit: &mut Audit<'r>, comparison: &Comparison<'r>) {
    for told in &comparison.changes {
        let since = since(told, comparison);
        let local = &told.change.listener.socket.local;
        let subject = match told.change.kind {
            Kind::Vanished => Subject::Place {
                protocol: Some(local.protocol),
                address: Some(local.address),
                port: Some(local.port),
            },
            _ => Subject::Listener(told.change.listener),
        };
        let finding = Finding::new(since);
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    for gap in &comparison.before.gaps {
        audit.gaps.push(Gap { what: format!("{} (in the baseline)", gap.what), ..gap.clone() });
    }
    if !comparison.unsettled.is_empty() {
        audit.gaps.push(Gap {
            stage: Stage::Owners,
            what: "listeners that cannot be compared with the baseline".to_owned(),
            count: u64::try_from(comparison.unsettled.len()).ok(),
            pids: Vec::new(),
            why: "holder, user or network namespace was not seen on both sides".to_owned(),
            remedy: Some("take the baseline and the audit as root, with the same --netns".to_owned()),
        });
    }
    audit.sort();
}
