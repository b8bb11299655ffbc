//! The sentences about the context of a port, such as the usual programs, the nearby ports and the history. The texts
//! are not sanitized.

use super::verdict_text::sources;
use crate::findings::identity::identified;
use crate::findings::text::{first_of, list, sentence};
use crate::model::{
    Context, Curated, CuratedState, EphemeralHere, Event, EventKind, EvidenceSource, GuardedService,
    KnownProgram, NearbyRegistrations, PortVerdict, UsualProgram,
};

/// The maximum number of names that are shown; the rest are counted.
const FEW: usize = 5;

/// Returns the evidence about the registrations of a port; `None` if there is no evidence. It has two parts: the basis
/// of each presumption, and the packaged sources that name a service for the port.
pub(super) fn evidence(verdict: &PortVerdict) -> Option<String> {
    let mut said = Vec::new();
    for a in verdict.registrations() {
        let packaged: Vec<EvidenceSource> =
            a.named_by.iter().copied().filter(|kind| EvidenceSource::PACKAGED.contains(kind)).collect();
        // If packaged sources name the registration, a curated row that says "in use" adds nothing. So its basis is
        // left out.
        let is_alive = |row: &Curated| row.standing == CuratedState::Alive && !packaged.is_empty();
        if let Some(basis) = a.curated.as_ref().filter(|row| !is_alive(row)).and_then(|row| row.basis) {
            said.push(format!("{}: {}", a.service, basis.trim_end_matches('.')));
        }
        if !packaged.is_empty() {
            said.push(format!("{} is listed by {}", a.service, sources(&packaged)));
        }
    }
    if !verdict.named_otherwise_by.is_empty() {
        said.push(format!("another service is listed by {}", sources(&verdict.named_otherwise_by)));
    }
    (!said.is_empty()).then(|| sentence(&said.join("; ")))
}

pub(super) fn programs<'c>(contexts: impl Iterator<Item = &'c Context>) -> Option<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut products: Vec<(&str, Vec<&str>)> = Vec::new();
    for KnownProgram { program, product } in contexts.flat_map(|context| &context.programs) {
        // The name of a kernel thread has its own brackets.
        let program = program.trim_matches(['[', ']']);
        if seen.contains(&program) {
            continue;
        }
        seen.push(program);
        match products.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(product)) {
            Some((_, programs)) => programs.push(program),
            None => products.push((product, vec![program])),
        }
    }
    let names: Vec<String> =
        products.iter().map(|(product, programs)| format!("{product} [{}]", programs.join(", "))).collect();
    (!names.is_empty()).then(|| sentence(&format!("served by {}", first_of(&names, FEW))))
}

pub(super) fn guarded(guarded: &GuardedService) -> String {
    let GuardedService { service, programs, why } = guarded;
    let names: Vec<String> = programs.iter().map(|&name| name.to_owned()).collect();
    format!("{service}; known servers: {}. {}", first_of(&names, FEW), sentence(why))
}

/// Returns a text about the block of ports that a vendor registered. If the port is in no block, returns the nearest
/// registrations. `None` if nothing is registered nearby.
pub(super) fn nearby(nearby: &NearbyRegistrations) -> Option<String> {
    let one = |n: &crate::model::NearbyRegistration| format!("{} {}", n.port, n.service);
    if let Some(block) = &nearby.block {
        let services: Vec<String> = block.services.iter().map(one).collect();
        return Some(sentence(&format!(
            "{} registered the block {}: {}",
            block.assignee,
            block.ports,
            first_of(&services, FEW)
        )));
    }
    let around: Vec<String> = [&nearby.before, &nearby.after].into_iter().flatten().map(one).collect();
    (!around.is_empty()).then(|| sentence(&list(&around)))
}

/// Returns the history of the port as a text. `None` if the history has nothing to show except registrations.
pub(super) fn history(events: &[Event]) -> Option<String> {
    if events
        .iter()
        .all(|event| matches!(event.what, EventKind::Registered | EventKind::Noted | EventKind::Abused))
    {
        return None;
    }
    let listed = events
        .iter()
        .filter(|event| !matches!(event.what, EventKind::Noted | EventKind::Abused))
        .map(|event| {
            let of = event.service.map(|service| format!(" {service}")).unwrap_or_default();
            let text = event.text.map(|text| format!(" ({text})")).unwrap_or_default();
            let what = match event.what {
                EventKind::Registered => "registered",
                EventKind::Changed => "changed",
                EventKind::Renamed => "renamed",
                EventKind::Ended => "ended",
                EventKind::Noted | EventKind::Abused => "noted",
            };
            let date = event.date.map(|date| format!("{date} ")).unwrap_or_default();
            format!("{date}{what}{of}{text}")
        });
    Some(sentence(&listed.collect::<Vec<_>>().join("; ")))
}

/// Returns a text about the ephemeral ranges of this host that contain a port; `None` if no range contains it. The text
/// also says whether a program or the kernel probably chose the port. `of` has one item for each protocol.
pub(super) fn ephemeral(of: &[(&str, Option<&EphemeralHere>)]) -> Option<String> {
    let here: Vec<(&str, &EphemeralHere)> =
        of.iter().filter_map(|(name, here)| Some((*name, (*here)?))).collect();
    let (_, first) = here.first()?;
    let place = ephemeral_range(first);
    let is_one_place = here.len() == of.len() && here.iter().all(|(_, here)| ephemeral_range(here) == place);
    let mut texts: Vec<(Vec<&str>, String)> = Vec::new();
    for (name, here) in here {
        let who = who_chose(here);
        let text = if is_one_place { who } else { format!("{} {who}", ephemeral_range(here)) };
        match texts.iter_mut().find(|(_, other)| *other == text) {
            Some((names, _)) => names.push(name),
            None => texts.push((vec![name], text)),
        }
    }
    let mut said = if is_one_place { vec![place] } else { Vec::new() };
    match texts.as_slice() {
        [(_, text)] if is_one_place => said.push(text.clone()),
        texts => said.extend(texts.iter().map(|(names, text)| format!("{}: {text}", names.join(", ")))),
    }
    Some(said.join(" "))
}

fn ephemeral_range(here: &EphemeralHere) -> String {
    match here.kernel_range {
        Some(range) if here.is_reserved => {
            format!(
                "in the range {range}, which this kernel uses for outgoing connections; the port is reserved, so the kernel does not use it."
            )
        }
        Some(range) => {
            format!(
                "in the range {range}, which this kernel uses for outgoing connections ({}).",
                here.source
            )
        }
        None => {
            "in IANA's dynamic range, but not in the range that this kernel uses for outgoing connections."
                .to_owned()
        }
    }
}

/// Returns a sentence that says whether a program or the kernel probably chose the port. If nothing listens, the
/// sentence says whether the kernel gives the port to a program that requests any free port.
fn who_chose(here: &EphemeralHere) -> String {
    let listeners_get = match here.listeners_get_odd {
        Some(true) => Some("an odd"),
        Some(false) => Some("an even"),
        None => None,
    };
    let own = if listeners_get == Some("an odd") { "even" } else { "odd" };
    match (here.likely_chosen, here.kernel_would_pick, listeners_get) {
        (Some(true), Some(false), Some(usual)) => format!(
            "A program that requests any free port usually gets {usual} one. This port is {own}, so the listening program probably chose it."
        ),
        (Some(true), ..) => "The listening program probably chose the port.".to_owned(),
        (Some(false), ..) => "The kernel probably gave the port to the listening program.".to_owned(),
        (None, Some(true), Some(usual)) => {
            format!("A program that requests any free port usually gets {usual} one, such as this port.")
        }
        (None, Some(false), Some(usual)) => format!(
            "Outgoing connections can get this port, but a program that requests any free port usually gets {usual} one. A program that listens here has therefore probably chosen the port."
        ),
        (None, Some(true), None) => {
            "The kernel may give this port to a program that requests any free port.".to_owned()
        }
        (None, Some(false), None) => {
            "The kernel does not pick this port by itself, so a program that listens here has probably chosen it."
                .to_owned()
        }
        (None, None, _) => "It is not known whether the kernel gives this port to a program that requests any free port.".to_owned(),
    }
}

pub(super) fn usual(usual: &UsualProgram) -> String {
    let UsualProgram { program, product, rests_on, any_port, .. } = usual;
    let where_ = if *any_port { "is also used on other ports" } else { "usually serves this port" };
    sentence(&format!("{program} ({product}) {where_}; identified {}", identified(*rests_on)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NearbyRegistration, PortRange};

    #[test]
    fn nearby_registrations_are_listed() {
        let one = |port, service| NearbyRegistration { port, service };
        let mut around = NearbyRegistrations {
            block: None,
            before: Some(one(3414, "wip-port")),
            after: Some(one(3416, "commandport")),
        };
        assert_eq!(nearby(&around).unwrap(), "3414 wip-port and 3416 commandport.");
        around.block = Some(crate::model::Block {
            ports: PortRange { low: 1, high: 2 },
            assignee: "Someone",
            services: vec![one(1, "a"), one(2, "b")],
        });
        assert_eq!(nearby(&around).unwrap(), "Someone registered the block 1-2: 1 a and 2 b.");
        assert_eq!(nearby(&NearbyRegistrations::default()), None);
    }

    #[test]
    fn ephemeral_ports_are_explained() {
        let here = |kernel_would_pick, likely_chosen, listeners_get_odd| EphemeralHere {
            kernel_range: PortRange::new(32768, 60999),
            source: "a setting".to_owned(),
            is_reserved: false,
            iana_dynamic: false,
            kernel_would_pick,
            likely_chosen,
            listeners_get_odd,
        };
        for (picks, chosen, odd, listed) in [
            (Some(true), None, Some(true), "usually gets an odd one, such as this port."),
            (
                Some(false),
                None,
                Some(true),
                "usually gets an odd one. A program that listens here has therefore probably",
            ),
            (Some(false), None, Some(false), "usually gets an even one"),
            (Some(true), None, None, "may give this port"),
            (Some(false), None, None, "has probably chosen it"),
            (None, None, None, "It is not known whether"),
            (Some(true), Some(false), Some(true), "kernel probably gave"),
            (
                Some(false),
                Some(true),
                Some(true),
                "This port is even, so the listening program probably chose it",
            ),
            (Some(true), Some(true), Some(true), " The listening program probably chose the port."),
        ] {
            let text = ephemeral(&[("tcp", Some(&here(picks, chosen, odd)))]).unwrap();
            assert!(text.contains(listed), "{picks:?} {chosen:?} {odd:?}: {text}");
        }
        let (even, any) = (here(Some(false), None, Some(true)), here(Some(true), None, None));
        let text = ephemeral(&[("tcp", Some(&even)), ("udp", Some(&any)), ("sctp", Some(&any))]).unwrap();
        for part in
            ["(a setting). tcp: Outgoing", "chosen the port. udp, sctp: The kernel may give this port"]
        {
            assert!(text.contains(part), "{text}");
        }
        let text = ephemeral(&[("tcp", None), ("udp", Some(&any))]).unwrap();
        assert!(text.starts_with("udp: in the range 32768-60999, "), "{text}");
        assert_eq!(ephemeral(&[("tcp", None)]), None);
    }

    #[test]
    fn history_is_shown_if_there_is_one() {
        let event = |date, what| Event { date, what, service: Some("a"), text: None };
        assert_eq!(history(&[event(Some("2002"), EventKind::Registered)]), None);
        assert_eq!(
            history(&[event(Some("2002"), EventKind::Registered), event(Some("2010"), EventKind::Ended)])
                .unwrap(),
            "2002 registered a; 2010 ended a."
        );
    }
}
