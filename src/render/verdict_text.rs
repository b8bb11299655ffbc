//! The sentences made from data: the reason for the status of a port, the evidence of a finding, the meaning of a
//! range.
//!
//! A sentence about a presumption contains "presumed". The texts are not sanitized: code that shows them on a
//! terminal sanitizes them, and the JSON serializer escapes them.

use crate::findings::registry::{DeadRegistration, QuietRegistration, grounds};
use crate::findings::text::{capitalized, list, sentence};
use crate::model::{
    Assignment, Confidence, CuratedState, EvidenceSource, Exposure, Owner, PortVerdict, RegistryRange,
    Status, StatusBasis,
};

/// Returns the name of a part of the port space (RFC 6335, sections 6 and 8).
pub(super) const fn range(range: RegistryRange) -> &'static str {
    match range {
        RegistryRange::System => {
            "the system range, 0 to 1023: IANA assigns these ports after review by the IETF (RFC 6335)"
        }
        RegistryRange::Registered => {
            "the registered range, 1024 to 49151: IANA assigns these ports on request (RFC 6335)"
        }
        RegistryRange::Dynamic => {
            "the dynamic range, 49152 to 65535: IANA assigns none of these ports, and any program may use one temporarily (RFC 6335)"
        }
    }
}

/// Returns the clients that can reach a listener, by its address alone.
pub(super) const fn exposure(exposure: Exposure) -> &'static str {
    match exposure {
        Exposure::Any => "on every address of this machine",
        Exposure::Public => "on a public address",
        Exposure::Private => "on a private network",
        Exposure::LinkLocal => "on one link only",
        Exposure::Multicast => "by multicast",
        Exposure::Loopback => "on this machine only",
        Exposure::None => "nowhere, because this machine does not have the address or device",
    }
}

/// Returns what is known about the owner of a socket.
pub(super) const fn owner(owner: &Owner) -> &'static str {
    match owner {
        Owner::Held(_) => "owned by a process",
        Owner::Hidden => "owner hidden, judged by the port and the unit alone",
        Owner::Unaccounted => "no process owns the socket, and no kernel service explains it",
        Owner::Kernel => "owned by the kernel, not by a process",
        Owner::Vanished => "closed during the scan",
        Owner::Unknown => "owner unknown: this system does not report it",
    }
}

/// Returns the status, with the confidence if the basis is a curated row: `orphaned (presumed)`.
pub(super) fn status(verdict: &PortVerdict) -> String {
    match confidence(verdict) {
        Some(confidence) => format!("{} ({})", verdict.status.name(), confidence.name()),
        None if verdict.basis == StatusBasis::Reserved => "unassigned (reserved)".to_owned(),
        None => verdict.status.name().to_owned(),
    }
}

/// Returns the status of a single registration, with its confidence.
pub(super) fn standing(assignment: &Assignment) -> String {
    match assignment_confidence(assignment) {
        Some(confidence) => format!("{} ({})", assignment.status.name(), confidence.name()),
        None => assignment.status.name().to_owned(),
    }
}

/// Returns the confidence of a dead verdict: the confidence of its least certain row.
pub(super) fn confidence(verdict: &PortVerdict) -> Option<Confidence> {
    let rows = || verdict.assignments.iter().filter(|a| a.status == verdict.status);
    let all = || rows().filter_map(assignment_confidence);
    match verdict.status {
        // One registration that is certainly in use is enough.
        Status::Active if rows().any(|a| assignment_confidence(a).is_none()) => None,
        Status::Active => all().find(|c| *c == Confidence::Confirmed).or_else(|| all().next()),
        // Every registration is dead, and each has a curated row.
        Status::Orphaned => {
            let rows = || verdict.assignments.iter().filter_map(assignment_confidence);
            rows().find(|c| *c == Confidence::Presumed).or_else(|| rows().next())
        }
        _ => None,
    }
}

fn assignment_confidence(assignment: &Assignment) -> Option<Confidence> {
    let row = assignment.curated.as_ref()?;
    match assignment.status {
        Status::Orphaned => Some(row.confidence),
        // Independent sources confirm the status in addition to the curated row.
        Status::Active if assignment.named_by.iter().any(|named_by| *named_by != EvidenceSource::Curated) => {
            None
        }
        Status::Active => Some(row.confidence),
        _ => None,
    }
}

/// Returns a registered service and its description.
pub(super) fn title(a: &Assignment) -> String {
    match a.description.filter(|d| !d.is_empty() && !d.eq_ignore_ascii_case(a.service)) {
        Some(description) => format!("{}: {description}", a.service),
        None => a.service.to_owned(),
    }
}

/// Returns the known uses of a port as a phrase; empty if there are none.
pub(super) fn known_use(verdict: &PortVerdict) -> String {
    match verdict.known_use.as_slice() {
        [] => String::new(),
        uses => format!("Commonly used by: {}", uses.join("; ")),
    }
}

/// Returns the reason for the status of a port and protocol.
pub(super) fn reason(verdict: &PortVerdict) -> String {
    let mut said: Vec<String> = Vec::new();
    let remark = |said: &mut Vec<String>| {
        said.extend(verdict.remark.map(|r| sentence(&format!("IANA remarks: {r}"))));
    };
    match verdict.status {
        Status::Dynamic => {
            said.push("IANA assigns no port from 49152 on: programs use these ports temporarily.".into());
        }
        Status::Unassigned if verdict.basis == StatusBasis::Reserved => {
            said.push("IANA reserves this port: it is assigned to no service.".into());
            remark(&mut said);
        }
        Status::Unassigned => {
            said.push("Nothing is registered for this port and protocol, and no common use is known.".into());
            remark(&mut said);
        }
        Status::Repurposed => {
            if verdict.known_use.is_empty() {
                let who = capitalized(&sources(&verdict.agreeing));
                said.push(format!("{who} agree that another service uses this port."));
            } else {
                said.push(sentence(&known_use(verdict)));
            }
            if verdict.assignments.is_empty() {
                said.push("Nothing is registered.".into());
                remark(&mut said);
            }
            said.extend(verdict.assignments.iter().map(|a| dead(a).unwrap_or_else(|| registered(a))));
        }
        Status::Active if verdict.basis == StatusBasis::Evidence => {
            let living = verdict.assignments.iter().filter(|a| a.basis == StatusBasis::Evidence);
            said.extend(living.map(alive));
            said.extend(verdict.assignments.iter().filter_map(dead));
        }
        Status::Active => {
            let standard = verdict.assignments.iter().filter(|a| a.basis == StatusBasis::Standard);
            said.extend(standard.map(|a| match rfcs(a.reference).as_slice() {
                [] => format!("{} is defined by an RFC and not known to be dead.", a.service),
                rfcs => {
                    format!("{} is defined by {} and not known to be dead.", a.service, list(rfcs))
                }
            }));
            said.extend(verdict.assignments.iter().filter_map(dead));
        }
        Status::Orphaned => {
            said.extend(verdict.assignments.iter().map(|a| dead(a).unwrap_or_else(|| registered(a))));
        }
        Status::Dormant => {
            said.extend(
                verdict
                    .assignments
                    .iter()
                    .map(|a| dead(a).unwrap_or_else(|| QuietRegistration::new(a).sentence(a.basis))),
            );
        }
    }
    if verdict.status != Status::Repurposed && !verdict.named_otherwise_by.is_empty() && lacks_life(verdict) {
        let (who, verb) =
            (capitalized(&sources(&verdict.named_otherwise_by)), lists(&verdict.named_otherwise_by));
        said.push(format!("{who} {verb} another service for this port."));
    }
    said.join(" ")
}

/// Returns whether no packaged source names a registration of the port. Another name for the port is then useful to
/// the reader.
fn lacks_life(verdict: &PortVerdict) -> bool {
    !verdict.assignments.iter().any(|a| a.named_by.iter().any(|kind| EvidenceSource::PACKAGED.contains(kind)))
}

/// Returns the kinds of source that name a registration, as text.
pub(super) fn sources(named_by: &[EvidenceSource]) -> String {
    let names: Vec<String> = named_by
        .iter()
        .map(|kind| {
            match kind {
                EvidenceSource::Curated => "the curated list of living services",
                EvidenceSource::KnownUse => "the curated list of known uses",
                EvidenceSource::Netbase => "the services file of Debian's netbase",
                EvidenceSource::Tshark => "Wireshark's dissectors",
                EvidenceSource::Selinux => "the SELinux reference policy",
                EvidenceSource::Firewalld => "firewalld's services",
                EvidenceSource::Ndpi => "nDPI's protocols",
                EvidenceSource::Ufw => "ufw's application profiles",
            }
            .to_owned()
        })
        .collect();
    list(&names)
}

/// Returns the verb "list" in the number that agrees with these kinds of source.
fn lists(named_by: &[EvidenceSource]) -> &'static str {
    match named_by {
        [
            EvidenceSource::Curated
            | EvidenceSource::KnownUse
            | EvidenceSource::Netbase
            | EvidenceSource::Selinux,
        ] => "lists",
        _ => "list",
    }
}

fn alive(a: &Assignment) -> String {
    let named = if a.named_by.is_empty() {
        format!("{} is in use.", a.service)
    } else {
        format!("{} is in use: {} {} it.", a.service, sources(&a.named_by), lists(&a.named_by))
    };
    // The reason of the curated row is added only if no packaged source confirms the service.
    let alone = a.named_by.iter().all(|kind| !EvidenceSource::PACKAGED.contains(kind));
    match a.curated.as_ref().filter(|row| alone && row.standing == CuratedState::Alive) {
        Some(row) => {
            format!("{named} {} {}", sentence(row.reason), grounds(row.confidence, row.source, row.basis))
        }
        None => named,
    }
}

/// Returns the text of the curated lists about a dead or withdrawn registration; `None` for any other registration.
fn dead(a: &Assignment) -> Option<String> {
    let row = a.curated.as_ref()?;
    let how = match row.standing {
        CuratedState::Alive => return None,
        CuratedState::Orphaned => "dead",
        CuratedState::Legacy => "withdrawn but still in use",
    };
    let died = DeadRegistration::new(a.service, row).sentence(how);
    let packaged: Vec<EvidenceSource> =
        a.named_by.iter().copied().filter(|kind| EvidenceSource::PACKAGED.contains(kind)).collect();
    if packaged.is_empty() {
        return Some(died);
    }
    Some(format!(
        "{died} {} still {} it, but this does not prove that the service is used.",
        capitalized(&sources(&packaged)),
        lists(&packaged)
    ))
}

fn registered(a: &Assignment) -> String {
    match a.description.filter(|d| !d.is_empty()) {
        Some(description) => sentence(&format!("{} is registered here: {description}", a.service)),
        None => format!("{} is registered here.", a.service),
    }
}

/// Returns the RFCs that a reference names: `[RFC9110]` gives `RFC 9110`.
fn rfcs(reference: Option<&str>) -> Vec<String> {
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut named: Vec<String> = reference
        .unwrap_or_default()
        .split("RFC")
        .skip(1)
        .map(|part| number(part.trim_start_matches([' ', '-'])))
        .filter(|number| !number.is_empty())
        .map(|number| format!("RFC {number}"))
        .collect();
    named.dedup();
    named
}
