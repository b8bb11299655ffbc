//! The output of an audit in every format. No format suggests an all-clear if something could not be observed.

pub(super) mod counts;
pub(super) mod groups;
pub mod json;
pub mod metrics;
pub(super) mod reachable;
pub mod rules;
pub mod sarif;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::baseline::{
    Destination, Fingerprint, ListenerOwner, NetnsIdentity, ProgramIdentity, UserIdentity,
};
use crate::findings::text::{FEW, first_of, plural};
use crate::findings::{Evidence, Finding, deep, policy};
use crate::judge::Entry;
use crate::judge::audit::{AcceptedByRule, AppliedPolicy, Audit, AuditFinding, AuditVerdict, Subject};
use crate::model::{HostScope, Netns, Note, Owner, ServiceBy, Severity, Snapshot};

use self::counts::Rows;
use super::cells::{self, CellFormat};
use super::process_cells;
use super::{Zone, host_name, registry, sanitize, system};

/// Returns the verdict in one line, without its newline.
pub fn verdict(audit: &Audit<'_>, fail_on: Severity) -> String {
    let rows = Rows::of(audit);
    let counted = |at: &dyn Fn(Severity) -> bool| -> Vec<String> {
        let severities = Severity::ALL.into_iter().rev().filter(|severity| at(*severity));
        severities
            .filter_map(|severity| match rows.findings(audit, severity, None) {
                0 => None,
                count if severity == Severity::Critical => {
                    Some(format!("{} ({})", counted_severity(count, severity), criticals(audit)))
                }
                count => Some(counted_severity(count, severity)),
            })
            .collect()
    };
    let below = counted(&|severity| severity < fail_on);
    let below = if below.is_empty() { String::new() } else { format!(" Also: {}.", below.join(", ")) };
    let at = match fail_on {
        Severity::Critical => fail_on.name().to_owned(),
        _ => format!("{} or above", fail_on.name()),
    };
    let gaps = plural(audit.all_gaps().count(), "gap");
    let snapshot = &audit.report.snapshot;
    let within = match part(snapshot.host.scope) {
        Some(part) => format!(" in {part}"),
        None if snapshot.notes.iter().any(Note::is_about_namespaces) => {
            " in this network namespace".to_owned()
        }
        None => String::new(),
    };
    let mut said = match audit.outcome(fail_on) {
        AuditVerdict::Findings => {
            format!("Findings: {}.{below}", counted(&|severity| severity >= fail_on).join(", "))
        }
        AuditVerdict::Clear => {
            let judged = plural(rows.listeners(audit.listeners.iter().copied()), "listener");
            format!(
                "Clear: {judged} judged, no finding at {at}, and everything{within} could be seen.{below}"
            )
        }
        AuditVerdict::NothingMatched if audit.is_complete() => {
            "Nothing matched: no listener was judged, so this is not an all-clear.".to_owned()
        }
        AuditVerdict::NothingMatched => format!(
            "Nothing matched: no listener was judged, and not everything could be seen ({gaps}). This is not an all-clear."
        ),
        AuditVerdict::Incomplete => format!(
            "Incomplete: no finding at {at}, but not everything could be seen ({gaps}). This is not an all-clear.{below}"
        ),
    };
    if audit.outcome(fail_on) == AuditVerdict::Findings && !audit.is_complete() {
        said.push_str(&format!(" Not everything could be seen ({gaps}), so there may be more findings."));
    }
    let accepted = audit.accepted.iter().filter(|accepted| accepted.severity >= fail_on).count();
    if accepted > 0 {
        said.push_str(&format!(" The policy accepts {} at {at}.", plural(accepted, "more finding")));
    }
    if let Some(asked) = &audit.narrowed {
        said.push_str(&format!(
            " Showing {} of {} (filter: {}).",
            rows.listeners(audit.listeners.iter().copied()),
            plural(rows.listeners(audit.everything()), "listener"),
            sanitize(asked)
        ));
    }
    said
}

/// Returns the first line of an audit: the host, its system, the visible part and the time.
pub(super) fn heading(snapshot: &Snapshot, zone: Zone) -> String {
    let part = part(snapshot.host.scope).map(|part| format!(", {part} only")).unwrap_or_default();
    let when = zone.time(snapshot.taken, "%Y-%m-%d %H:%M:%S");
    format!("Audit of {} ({}){part}, {when}", host_name(&snapshot.host), system(&snapshot.host))
}

/// Returns sentences about the audited network namespaces and the registry.
pub(super) fn judged_by(audit: &Audit<'_>) -> String {
    let registry = registry(&audit.report.registry);
    match audit.report.snapshot.namespaces.len() {
        0 => registry,
        others => {
            format!("The audit covers this network namespace and {}. {registry}", plural(others, "other"))
        }
    }
}

/// Returns one line about the findings that a rule of the policy accepted, sanitized.
pub(super) fn accepted(accepted: &AcceptedByRule<'_>) -> String {
    let AcceptedByRule { severity, rule, reason, count, .. } = accepted;
    let count = match severity {
        Severity::Warning => plural(*count, "warning"),
        other => format!("{count} {}", other.name()),
    };
    let reason = reason.map_or("none given".into(), sanitize);
    format!("{count}, rule {}, reason: {reason}", sanitize(rule))
}

/// Returns a short list of the critical findings: `shell-listener: socat on tcp *:4444`.
fn criticals(audit: &Audit<'_>) -> String {
    let critical = audit.findings.iter().filter(|found| found.finding.severity == Severity::Critical);
    let mut named: Vec<(String, Vec<String>)> = Vec::new();
    for found in critical {
        let program = match found.subject {
            Subject::Entry(judged) => {
                format!("{} on ", process_cells::process(judged, CellFormat::Complete).text)
            }
            Subject::NoListener { .. } => String::new(),
        };
        let what = format!("{}: {program}", found.finding.flag().code());
        match named.iter_mut().find(|(known, _)| *known == what) {
            Some((_, places)) => places.push(place(&found.subject)),
            None => named.push((what, vec![place(&found.subject)])),
        }
    }
    let named: Vec<String> = named
        .into_iter()
        .map(|(what, places)| format!("{what}{}", first_of(&merged_places(&places), FEW)))
        .collect();
    let more = named.len().saturating_sub(FEW);
    let more = if more == 0 { String::new() } else { format!("; {more} more") };
    format!("{}{more}", named.into_iter().take(FEW).collect::<Vec<_>>().join("; "))
}

/// Merges the places of IPv4 and IPv6 sockets: `tcp 0.0.0.0:80` and `tcp [::]:80` become `tcp *:80`.
pub(super) fn merged_places(places: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(places.len());
    let mut pairs = HashSet::new();
    let all: HashSet<&str> = places.iter().map(String::as_str).collect();
    for place in places {
        let four = place.replacen(" [::]:", " 0.0.0.0:", 1);
        let six = place.replacen(" 0.0.0.0:", " [::]:", 1);
        let is_pair = four != six && all.contains(&*four) && all.contains(&*six);
        let name = if is_pair { four.replacen(" 0.0.0.0:", " *:", 1) } else { place.clone() };
        if !is_pair || pairs.insert(four) {
            merged.push(name);
        }
    }
    merged
}

/// Returns the name of the visible part of the machine. `None` if the whole machine was visible, or if the part is not
/// known.
pub(super) const fn part(scope: Option<HostScope>) -> Option<&'static str> {
    match scope {
        None | Some(HostScope::Machine) => None,
        Some(HostScope::Namespace) => Some("this network namespace"),
        Some(HostScope::Container) => Some("this container"),
    }
}

/// Returns the number of policy rules for other hosts, and the names of the first few of these rules. `None` if there
/// are no such rules.
pub fn skipped_rules(policy: &AppliedPolicy) -> Option<String> {
    let rules = &policy.skipped_rules;
    if rules.is_empty() {
        return None;
    }
    let named: Vec<String> = rules.iter().map(|rule| sanitize(rule).into_owned()).collect();
    let are = if rules.len() == 1 { "1 rule is" } else { &format!("{} rules are", rules.len()) };
    Some(format!("{are} for other hosts, and not applied here: {}", first_of(&named, FEW)))
}

pub(super) fn counted_severity(count: usize, severity: Severity) -> String {
    match severity {
        Severity::Notice | Severity::Warning => plural(count, severity.name()),
        Severity::Info | Severity::Critical => format!("{count} {}", severity.name()),
    }
}

/// Returns the identity of a program: its file, or else its name. For an interpreter, the script is added. For a relay,
/// the arguments are added.
fn program(program: &ProgramIdentity<'_>) -> serde_json::Value {
    match program {
        ProgramIdentity::File { path, runs, is_elsewhere: false } => match runs.text() {
            Some(runs) => serde_json::json!([path, runs]),
            None => serde_json::json!(path),
        },
        ProgramIdentity::File { path, runs, is_elsewhere: true } => {
            serde_json::json!([path, runs.text(), "elsewhere"])
        }
        ProgramIdentity::Name(name) => serde_json::json!(name),
    }
}

/// Returns the text that identifies a finding across scans. It has the flag of the finding, and the place, the programs
/// and the user of the listener.
///
/// The text is JSON, so that its parts cannot be confused. It contains no pid, socket inode or time, because a restart
/// of the program must not change it.
fn identity(found: &AuditFinding<'_>) -> String {
    let code = found.finding.flag().code();
    let value = match found.subject {
        Subject::Entry(judged) => {
            let Fingerprint { place, owner, user } = Fingerprint::of(judged);
            let netns = match place.netns {
                NetnsIdentity::Own => None,
                NetnsIdentity::Container(name) | NetnsIdentity::Named(name) => Some(name.to_owned()),
                NetnsIdentity::Numbered(inode) => Some(inode.to_string()),
            };
            let owner: Vec<serde_json::Value> = match &owner {
                ListenerOwner::Programs(programs) => programs.iter().map(program).collect(),
                ListenerOwner::Kernel(None) => vec!["(kernel)".into()],
                ListenerOwner::Kernel(Some(Destination::Container(name, port))) => {
                    vec![serde_json::json!(["(kernel)", name, port])]
                }
                ListenerOwner::Kernel(Some(Destination::Address(address, port))) => {
                    vec![serde_json::json!(["(kernel)", address, port])]
                }
                ListenerOwner::Unseen => Vec::new(),
            };
            let user = user.map(|user| match user {
                UserIdentity::Number(number) => number.to_string(),
                UserIdentity::Name(name) => name.to_owned(),
            });
            // A socket without a port is identified by the packets that it receives.
            let port = match &judged.socket.receives {
                Some(received) => serde_json::json!(received.name(place.protocol)),
                None => place.port.into(),
            };
            serde_json::json!([code, place.protocol, place.address, port, place.device, netns, owner, user])
        }
        Subject::NoListener { protocol, address, port } => {
            let rest = match &found.finding.evidence {
                Evidence::Policy(policy::Evidence::Missing(missing)) => serde_json::json!(missing.rule),
                Evidence::Deep(deep::Evidence::TakenPort(taken)) => {
                    serde_json::json!([taken.family, taken.netns.as_ref().map(netns)])
                }
                Evidence::Deep(deep::Evidence::Disagreement(found)) => {
                    serde_json::json!([found.missing_from, found.netns.as_ref().map(netns)])
                }
                Evidence::Change(change) => change.before.as_ref().map_or_else(
                    || serde_json::json!(found.rule),
                    |was| {
                        serde_json::json!([was.device, was.netns.as_ref().map(netns), was.programs, was.user])
                    },
                ),
                _ => serde_json::json!(found.rule),
            };
            serde_json::json!([code, protocol, address, port, rest])
        }
    };
    value.to_string()
}

fn netns(netns: &Netns) -> String {
    netns.name.clone().unwrap_or_else(|| netns.inode.to_string())
}

fn processes_of(found: &AuditFinding<'_>) -> String {
    match found.subject {
        Subject::Entry(judged) => process_summary(judged),
        Subject::NoListener { .. } => text_without_listener(&found.finding).to_owned(),
    }
}

/// Returns the text that stands in place of the process, for a finding without a visible listener.
const fn text_without_listener(finding: &Finding) -> &'static str {
    match finding.evidence {
        Evidence::Deep(deep::Evidence::TakenPort(_)) => "no socket in any table",
        Evidence::Deep(deep::Evidence::Disagreement(_)) => "a socket that one source does not show",
        _ => "nothing listens there",
    }
}

pub(super) fn place(subject: &Subject<'_>) -> String {
    match subject {
        Subject::Entry(judged) => {
            let socket = &judged.socket;
            let netns = match &socket.netns {
                None => String::new(),
                Some(_) if let Some(container) = container_of(judged) => {
                    format!(" in the container {}{}", sanitize(container), published_as(judged))
                }
                Some(Netns { name: Some(name), .. }) => {
                    format!(" in the network namespace {}", sanitize(name))
                }
                Some(Netns { inode, name: None }) => format!(" in the network namespace {inode}"),
            };
            let protocol = socket.local.protocol;
            let end = match &socket.receives {
                Some(received) => format!(" ({})", received.name(protocol).unwrap_or("nothing".into())),
                None => format!(":{}", socket.local.port),
            };
            format!("{} {}{end}{netns}", protocol.name(), cells::addresses(judged, CellFormat::Complete))
        }
        Subject::NoListener { protocol, address, port } => format!(
            "{}, {}, {}",
            protocol.map_or("any protocol", |protocol| protocol.name()),
            address.map_or_else(|| "any address".to_owned(), |address| address.to_string()),
            port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"))
        ),
    }
}

fn container_of(judged: &Entry) -> Option<&str> {
    let details = judged.container_details();
    details.and_then(|details| details.name.as_deref()).or_else(|| cells::running_container(judged))
}

/// Returns the ports of this machine that lead to a listener in a container: ` (published as tcp/0.0.0.0:8080)`.
fn published_as(judged: &Entry) -> String {
    let ports: Vec<String> = judged.published_as().iter().map(ToString::to_string).collect();
    if ports.is_empty() { String::new() } else { format!(" (published as {})", first_of(&ports, FEW)) }
}

/// Returns the program and the users of a listener, sanitized, without pids.
fn service_owner(judged: &Entry) -> String {
    let mut said = match judged.socket.owner {
        // The unit is known, but the program is not.
        Owner::Hidden => {
            let service = judged.service().filter(|service| service.by != ServiceBy::Port);
            let name = service.and_then(|service| service.product.or(service.name));
            let unit = cells::running_unit(judged).map(|unit| format!(", unit {unit}")).unwrap_or_default();
            let owner = judged.inferred_owner().filter(|owner| owner.process.name.is_some());
            let owner = owner.map(|owner| process_cells::what_runs(&owner.process));
            let probably = owner.map(|owner| format!(", probably {owner}")).unwrap_or_default();
            let name = name.unwrap_or("unknown service");
            sanitize(&format!("{name} (program hidden{probably}{unit})")).into_owned()
        }
        _ => process_cells::process(judged, CellFormat::Complete).text.into_owned(),
    };
    let users = cells::user(judged, CellFormat::Complete).text;
    if !users.is_empty() {
        said.push_str(&format!(", user {users}"));
    }
    let published = judged.forward_target().and_then(|to| to.container.as_deref()?.name.as_deref());
    if let Some(container) = published {
        said.push_str(&format!(", for the container {}", sanitize(container)));
    }
    said
}

/// Returns the program, the user, the unit or container, and the file of a listener, sanitized, without pids.
fn process_summary(judged: &Entry) -> String {
    let mut said = service_owner(judged);
    let exe = judged.processes.first().and_then(|process| process.exe.as_ref()).map(|exe| &*exe.path);
    let unit = cells::running_unit(judged).filter(|_| judged.socket.owner != Owner::Hidden);
    let container = cells::running_container(judged);
    for (label, text) in [("unit ", unit), ("container ", container), ("", exe)] {
        if let Some(text) = text {
            said.push_str(&format!(", {label}{}", sanitize(text)));
        }
    }
    said
}
