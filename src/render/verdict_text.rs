//! The sentences made from data: the reason for the status of a port, the evidence of a finding, the meaning of a
//! range. A sentence about a presumption contains "presumed". The texts are not sanitized.

use crate::findings::registry::{DeadRegistration, QuietRegistration, rarely_used_by};
use crate::findings::text::{capitalized, list, sentence};
use crate::model::{
    Assignment, Confidence, CuratedState, EvidenceSource, Exposure, Owner, PortVerdict, RegistryRange,
    Status, StatusBasis,
};

/// Returns the name of a part of the port space (RFC 6335, sections 6 and 8).
pub(super) const fn range(range: RegistryRange) -> &'static str {
    match range {
        RegistryRange::System => "system range, 0 to 1023",
        RegistryRange::Registered => "registered range, 1024 to 49151",
        RegistryRange::Dynamic => "dynamic range, 49152 to 65535",
    }
}

/// Returns a sentence about a part of the port space, and how IANA assigns its ports.
pub(super) const fn range_in_full(range: RegistryRange) -> &'static str {
    match range {
        RegistryRange::System => {
            "0 to 1023, the system range: IANA assigns these ports after review by the IETF (RFC 6335)."
        }
        RegistryRange::Registered => {
            "1024 to 49151, the registered range: IANA assigns these ports on request (RFC 6335)."
        }
        RegistryRange::Dynamic => {
            "49152 to 65535, the dynamic range: IANA assigns none of these ports, and any program may use one temporarily (RFC 6335)."
        }
    }
}

/// Returns a sentence about the use of a port without a known common service; `None` if the other texts are enough.
/// `possible` is a sentence about the dangerous services that can use the port. `over` is ` over UDP` if the text is
/// only about UDP, and empty if the text is about all protocols.
pub(super) fn without_service(verdict: &PortVerdict, possible: Option<String>, over: &str) -> Option<String> {
    match verdict.status {
        Status::Unassigned | Status::Dynamic if verdict.known_use.is_empty() => {
            Some(possible.unwrap_or_else(|| format!("No service is known to use this port{over}.")))
        }
        Status::Orphaned => {
            let rows = verdict.registrations().filter_map(|a| a.curated.as_ref());
            let products: Vec<String> = rows.map(|row| row.product.to_owned()).collect();
            let now = match (verdict.basis, possible) {
                (StatusBasis::Legacy, _) if confidence(verdict) == Some(Confidence::Presumed) => {
                    "This software is presumed obsolete, but old installations may still use this port."
                        .to_owned()
                }
                (StatusBasis::Legacy, _) => {
                    "This software is obsolete, but old installations still use this port.".to_owned()
                }
                (_, Some(possible)) => possible,
                _ if !verdict.known_use.is_empty() => sentence(&known_use(verdict)),
                _ => format!("No service is known to use this port{over} today."),
            };
            Some(format!("Formerly {}. {now}", list(&products)))
        }
        Status::Active => {
            let alive = verdict.registrations().filter_map(|a| a.curated.as_ref());
            let alive =
                alive.filter(|row| row.standing == CuratedState::Alive).map(|row| sentence(row.reason));
            alive.into_iter().next()
        }
        Status::Dormant => possible,
        _ => None,
    }
}

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

pub(super) const fn owner(owner: &Owner) -> &'static str {
    match owner {
        Owner::Held(_) => "owned by a process",
        Owner::Hidden => "owner hidden, so only the port and the unit were judged",
        Owner::Unaccounted => "no process owns the socket, and no kernel service explains it",
        Owner::Kernel => "owned by the kernel, not by a process",
        Owner::Vanished => "closed during the scan",
        Owner::Unknown => "owner unknown: this system does not report it",
    }
}

/// Returns the status of a port, with its confidence if a curated row is its basis: `orphaned (presumed)`.
pub(super) fn status(verdict: &PortVerdict) -> String {
    match confidence(verdict) {
        Some(confidence) => format!("{} ({})", verdict.status.name(), confidence.name()),
        None if verdict.basis == StatusBasis::Reserved => "unassigned (reserved)".to_owned(),
        None => verdict.status.name().to_owned(),
    }
}

/// Returns the status of one registration, with its confidence: `presumed orphaned`. Obsolete software that still has
/// users is called obsolete, not orphaned.
pub(super) fn standing(assignment: &Assignment) -> String {
    let status = match assignment.basis {
        StatusBasis::Legacy => "obsolete",
        _ => assignment.status.name(),
    };
    match assignment_confidence(assignment) {
        Some(confidence) => format!("{} {status}", confidence.name()),
        None => status.to_owned(),
    }
}

/// Returns the confidence of the status of a port, if curated rows decide it.
pub(super) fn confidence(verdict: &PortVerdict) -> Option<Confidence> {
    let rows = || verdict.assignments.iter().filter(|a| a.status == verdict.status);
    let all = || rows().filter_map(assignment_confidence);
    match verdict.status {
        // If one registration is certainly in use, the status is certain.
        Status::Active if rows().any(|a| assignment_confidence(a).is_none()) => None,
        Status::Active => all().find(|c| *c == Confidence::Confirmed).or_else(|| all().next()),
        // A port is orphaned only if all its registrations are orphaned. If one of them is only presumed orphaned, so
        // is the port.
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
        // An independent source makes the status certain.
        Status::Active if assignment.named_by.iter().any(|named_by| *named_by != EvidenceSource::Curated) => {
            None
        }
        Status::Active => Some(row.confidence),
        _ => None,
    }
}

pub(super) fn title(a: &Assignment) -> String {
    match own_description(a) {
        Some(description) => format!("{}: {description}", a.service),
        None => a.service.to_owned(),
    }
}

/// Returns the description of a registration, unless it only repeats the name of the service.
fn own_description(a: &Assignment) -> Option<&'static str> {
    a.description.filter(|d| !d.is_empty() && !d.eq_ignore_ascii_case(a.service))
}

/// Returns the known uses of a port as a phrase; empty if there are none.
pub(super) fn known_use(verdict: &PortVerdict) -> String {
    match verdict.known_use.as_slice() {
        [] => String::new(),
        uses if verdict.status == Status::Orphaned => rarely_used_by(uses),
        uses => format!("Commonly used by: {}", uses.join("; ")),
    }
}

pub(super) fn reason(verdict: &PortVerdict) -> String {
    let mut said: Vec<String> = Vec::new();
    let remark = |said: &mut Vec<String>| {
        said.extend(verdict.remark.map(|r| sentence(&format!("IANA remarks: {r}"))));
    };
    let used = || (!verdict.known_use.is_empty()).then(|| sentence(&known_use(verdict)));
    match verdict.status {
        Status::Dynamic => {
            said.push("IANA assigns no port above 49151, so any program may use this one.".into());
        }
        Status::Unassigned if verdict.basis == StatusBasis::Reserved => {
            said.push("IANA reserves this port and assigns it to no service.".into());
            said.extend(used());
            remark(&mut said);
        }
        Status::Unassigned => {
            said.push("Nothing is registered for this port and protocol.".into());
            said.extend(used());
            remark(&mut said);
        }
        Status::Repurposed => {
            if verdict.known_use.is_empty() {
                let who = first_in_sentence(&verdict.agreeing);
                said.push(format!(
                    "{who} agree that another service uses this port, not the registered service."
                ));
            } else {
                said.push(sentence(&known_use(verdict)));
            }
            said.extend(verdict.registrations().map(|a| dead(a).unwrap_or_else(|| registered(a))));
        }
        Status::Active if verdict.basis == StatusBasis::Evidence => {
            let living = verdict.registrations().filter(|a| a.basis == StatusBasis::Evidence);
            said.extend(
                grouped(living, |a| (a.named_by.as_slice(), own_reason(a))).iter().map(|group| alive(group)),
            );
            said.extend(verdict.registrations().filter_map(dead));
        }
        Status::Active => {
            let standard = verdict.registrations().filter(|a| a.basis == StatusBasis::Standard);
            said.extend(standard.map(|a| match rfcs(a.reference).as_slice() {
                [] => format!("{} is defined by an RFC, and no source calls it obsolete.", a.service),
                rfcs => {
                    format!("{} is defined by {}, and no source calls it obsolete.", a.service, list(rfcs))
                }
            }));
            said.extend(verdict.registrations().filter_map(dead));
        }
        Status::Orphaned => {
            said.extend(verdict.registrations().map(|a| dead(a).unwrap_or_else(|| registered(a))));
            said.extend(used());
        }
        Status::Dormant => {
            let (other, own): (Vec<&Assignment>, Vec<&Assignment>) = verdict.registrations().partition(|a| {
                a.basis == StatusBasis::OtherProtocol && !a.used_on.is_empty() && dead(a).is_none()
            });
            said.extend(
                own.into_iter()
                    .map(|a| dead(a).unwrap_or_else(|| QuietRegistration::new(a).sentence(a.basis))),
            );
            let other = grouped(other.into_iter(), |a| a.used_on.as_slice());
            said.extend(other.iter().map(|group| used_elsewhere(group)));
        }
    }
    said.join(" ")
}

pub(super) fn sources(named_by: &[EvidenceSource]) -> String {
    let names: Vec<String> = named_by
        .iter()
        .map(|kind| {
            match kind {
                EvidenceSource::Curated | EvidenceSource::KnownUse => "Portolan's own data",
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

/// Returns "lists" for one kind of source, otherwise "list".
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

/// Returns the sources as the beginning of a sentence. The name of a program is not capitalized.
fn first_in_sentence(named_by: &[EvidenceSource]) -> String {
    let text = sources(named_by);
    if text.starts_with("the ") { capitalized(&text) } else { text }
}

/// Groups adjacent registrations with equal keys, so that one sentence describes each group.
fn grouped<'a, K: PartialEq>(
    assignments: impl Iterator<Item = &'a Assignment>,
    key: impl Fn(&'a Assignment) -> K,
) -> Vec<Vec<&'a Assignment>> {
    let mut groups: Vec<Vec<&Assignment>> = Vec::new();
    for assignment in assignments {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| key(first) == key(assignment)))
        {
            Some(group) => group.push(assignment),
            None => groups.push(vec![assignment]),
        }
    }
    groups
}

fn names(group: &[&Assignment]) -> (String, &'static str) {
    let names: Vec<String> = group.iter().map(|a| a.service.to_owned()).collect();
    (list(&names), if group.len() == 1 { "is" } else { "are" })
}

/// Returns a sentence about registrations that are in use only on other protocols.
fn used_elsewhere(group: &[&Assignment]) -> String {
    let (names, verb) = names(group);
    let used_on = group.first().map(|a| a.used_on.as_slice()).unwrap_or_default();
    let used_on: Vec<String> = used_on.iter().map(|protocol| protocol.name().to_uppercase()).collect();
    format!("{names} {verb} registered for this protocol too, but used on {} only.", list(&used_on))
}

/// Returns the curated row that says why a registration is in use. `None` if there is no row, or if a packaged source
/// names the service.
fn own_reason(a: &Assignment) -> Option<&crate::model::Curated> {
    let alone = a.named_by.iter().all(|kind| !EvidenceSource::PACKAGED.contains(kind));
    a.curated.as_ref().filter(|row| alone && row.standing == CuratedState::Alive)
}

/// Returns a sentence about registrations that are in use, with the first sources that list them. All registrations of
/// `group` have the same evidence.
fn alive(group: &[&Assignment]) -> String {
    const FEW: usize = 2;
    let (names, verb) = names(group);
    let Some(first) = group.first() else { return String::new() };
    let mut kinds = first.named_by.clone();
    kinds.sort_by_key(|kind| !EvidenceSource::PACKAGED.contains(kind));
    // All kinds that are not packaged sources have the same name in the text, so only one of them stays.
    kinds.dedup_by_key(|kind| EvidenceSource::PACKAGED.contains(kind).then_some(*kind));
    if let Some(row) = own_reason(first) {
        return match (row.confidence, row.source) {
            (Confidence::Presumed, _) => format!("{names} {verb} presumed to be in use."),
            (Confidence::Confirmed, Some(source)) => format!("{names} {verb} in use ({source})."),
            (Confidence::Confirmed, None) => format!("{names} {verb} in use."),
        };
    }
    match kinds.len().saturating_sub(FEW) {
        0 if kinds.is_empty() => format!("{names} {verb} in use."),
        0 | 1 => format!("{names} {verb} in use according to {}.", sources(&kinds)),
        more => {
            let kinds: Vec<String> = kinds.iter().take(FEW).map(|kind| sources(&[*kind])).collect();
            format!("{names} {verb} in use according to {} and {more} more sources.", kinds.join(", "))
        }
    }
}

/// Returns the curated text about a registration whose product is orphaned or obsolete; `None` for any other
/// registration.
fn dead(a: &Assignment) -> Option<String> {
    let row = a.curated.as_ref()?;
    let (state, but_used) = match (row.standing, row.confidence) {
        (CuratedState::Alive, _) => return None,
        (CuratedState::Orphaned, _) => ("discontinued", ""),
        (CuratedState::Legacy, Confidence::Confirmed) => ("obsolete", " but still in use"),
        (CuratedState::Legacy, Confidence::Presumed) => ("obsolete", ", but it may still be in use"),
    };
    let died = DeadRegistration::new(a.service, row).sentence(state, but_used);
    let packaged: Vec<EvidenceSource> =
        a.named_by.iter().copied().filter(|kind| EvidenceSource::PACKAGED.contains(kind)).collect();
    if packaged.is_empty() {
        return Some(died);
    }
    Some(format!(
        "{died} {} still {} it, but this does not prove that the service is used.",
        first_in_sentence(&packaged),
        lists(&packaged)
    ))
}

fn registered(a: &Assignment) -> String {
    let unused = if a.status == Status::Dormant { "; there is no evidence that it is used" } else { "" };
    match own_description(a) {
        Some(description) => format!("The registered service is {} ({description}){unused}.", a.service),
        None => format!("The registered service is {}{unused}.", a.service),
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
