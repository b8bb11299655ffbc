//! Turns the changes since a baseline into findings of an audit.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::{ChangeKind, Comparison, ReportedChange, weakened};
use crate::findings::Finding;
use crate::findings::change::{BaselineChange, ListenerState};
use crate::join::RunningUser;
use crate::judge::Entry;
use crate::judge::audit::{Audit, AuditFinding, Subject};
use crate::model::{ExeState, Forwarding, Gap, RunTarget, Stage};

pub fn since(reported: &ReportedChange<'_>, comparison: &Comparison<'_>) -> BaselineChange {
    let change = &reported.change;
    let vanished = change.kind == ChangeKind::Vanished;
    let [old, new] = match (change.kind, change.before) {
        (ChangeKind::Weakened, Some(was)) => weakened::texts(was, change.listener),
        _ => Default::default(),
    };
    BaselineChange {
        change: change.kind,
        baseline: comparison.before.taken,
        before: change.before.or(vanished.then_some(change.listener)).map(|was| state_of(was, old)),
        after: (!vanished).then(|| state_of(change.listener, new)),
        passing: reported.passing,
        sure: reported.sure,
        is_probable: change.is_probable,
    }
}

fn destination(forwarding: &Forwarding) -> String {
    let to = SocketAddr::new(forwarding.to.address, forwarding.to.port);
    match forwarding.container.as_deref() {
        Some(container) => format!("{to} (container {})", container.name.as_deref().unwrap_or(&container.id)),
        None => to.to_string(),
    }
}

fn state_of(judged: &Entry, findings: Vec<String>) -> ListenerState {
    let listener = judged;
    let socket = &listener.socket;
    let programs: BTreeSet<&str> = listener
        .processes
        .iter()
        .filter_map(|process| process.exe.as_ref().map(|exe| exe.path.as_str()).or(process.name.as_deref()))
        .collect();
    let rank = |state: &ExeState| match state {
        ExeState::Present => 0,
        ExeState::Replaced => 1,
        ExeState::Deleted => 2,
        ExeState::Memfd => 3,
    };
    let states = listener.processes.iter().filter_map(|process| process.exe.as_ref()).map(|exe| exe.state);
    let users: Vec<String> = listener.users().iter().filter_map(RunningUser::text).collect();
    let runs: BTreeSet<String> = listener
        .processes
        .iter()
        .filter_map(|process| RunTarget::of(process).text().map(str::to_owned))
        .collect();
    ListenerState {
        protocol: socket.local.protocol,
        address: socket.local.address,
        other_address: None,
        port: socket.local.port,
        device: socket.local.device.clone(),
        netns: socket.netns.clone(),
        exposure: listener.exposure,
        reach: listener.reach().cloned().map(Box::new),
        v6only: socket.takes_only_ipv6(),
        owner: socket.owner.name(),
        unit: socket.unit.clone(),
        probable_owner: listener
            .inferred_owner()
            .and_then(|owner| owner.process.what_runs())
            .map(Cow::into_owned),
        forwards_to: socket.forwarding.as_ref().map(destination),
        programs: programs.into_iter().map(str::to_owned).collect(),
        runs: runs.into_iter().collect(),
        executable: states.max_by_key(rank),
        user: (!users.is_empty()).then(|| users.join(",")),
        creator: listener.creator().and_then(|creator| creator.text()),
        findings,
    }
}

/// Adds the changes since a baseline to an audit, and a gap for the listeners that cannot be compared.
pub fn add_to<'r>(audit: &mut Audit<'r>, comparison: &Comparison<'r>) {
    for reported in &comparison.changes {
        let since = since(reported, comparison);
        let local = &reported.change.listener.socket.local;
        let subject = match reported.change.kind {
            ChangeKind::Vanished => Subject::NoListener {
                protocol: Some(local.protocol),
                address: Some(local.address),
                port: Some(local.port),
            },
            _ => Subject::Entry(reported.change.listener),
        };
        let finding = Finding::new(since);
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    for gap in &comparison.before.gaps {
        audit.gaps.push(Gap { what: format!("{} (in the baseline)", gap.what), ..gap.clone() });
    }
    if !comparison.not_compared.is_empty() {
        let count = comparison.not_compared.len();
        let listeners = if count == 1 { "listener" } else { "listeners" };
        let gap = Gap::new(
            Stage::Owners,
            format!("{listeners} that cannot be compared with the baseline"),
            "the process, the user or the network namespace was not visible in the baseline or in this scan",
        );
        let remedy = "run capture and audit as root, with the same --netns";
        audit.gaps.push(gap.counted(count).with_remedy(remedy));
    }
    audit.sort();
}
