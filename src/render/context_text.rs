//! The sentences about the context of a port: the usual programs, the nearby ports, the history, the ephemeral range
//! on this host, and whether the process is usual on the port. This file is part of [`super::verdict_text`]; its
//! texts are not sanitized either.

use super::verdict_text::sources;
use crate::findings::identity::identified;
use crate::findings::text::{first_of, list, sentence};
use crate::model::{
    Context, EphemeralHere, Event, EventKind, EvidenceSource, GuardedService, KnownProgram,
    NearbyRegistrations, PortVerdict, UsualProgram,
};

/// The maximum number of names that are shown; the rest are counted.
const FEW: usize = 5;

/// Returns the packaged sources that name the registrations of a port, and the packaged sources that name another
/// service.
pub(super) fn evidence(verdict: &PortVerdict) -> Option<String> {
    let mut said = Vec::new();
    for a in &verdict.assignments {
        let packaged: Vec<EvidenceSource> =
            a.named_by.iter().copied().filter(|kind| EvidenceSource::PACKAGED.contains(kind)).collect();
        if !packaged.is_empty() {
            said.push(format!("{} is listed by {}", a.service, sources(&packaged)));
        }
    }
    if !verdict.named_otherwise_by.is_empty() {
        said.push(format!("another service is listed by {}", sources(&verdict.named_otherwise_by)));
    }
    (!said.is_empty()).then(|| sentence(&said.join("; ")))
}

/// Returns the programs that usually serve a port.
pub(super) fn programs<'c>(contexts: impl Iterator<Item = &'c Context>) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for KnownProgram { program, product } in contexts.flat_map(|context| &context.programs) {
        let name = format!("{product} [{program}]");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| sentence(&format!("served by {}", first_of(&names, FEW))))
}

/// Returns why an unknown program on the port is suspicious.
pub(super) fn guarded(guarded: &GuardedService) -> String {
    let GuardedService { service, programs, why } = guarded;
    let names: Vec<String> = programs.iter().map(|&name| name.to_owned()).collect();
    format!("{service}; known servers: {}. {}", first_of(&names, FEW), sentence(why))
}

/// Returns the block of ports that a vendor registered. If the port is in no block, returns the nearest
/// registrations.
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

/// Returns the events in the history of the port since its registrations were made, if there are any.
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

/// Returns a text about a port in the ephemeral range of this host, and about whether a program or the kernel
/// probably chose the port.
pub(super) fn ephemeral(here: &EphemeralHere) -> String {
    let mut said = match (here.kernel_range, here.iana_dynamic) {
        (Some(range), _) if here.is_reserved => {
            format!(
                "in the range {range}, which this kernel uses for outgoing connections; the port is reserved, so the kernel does not use it."
            )
        }
        (Some(range), _) => {
            format!(
                "in the range {range}, which this kernel uses for outgoing connections ({}).",
                here.source
            )
        }
        (None, _) => {
            "in IANA's dynamic range, but not in the range that this kernel uses for outgoing connections."
                .to_owned()
        }
    };
    said.push_str(match (here.likely_chosen, here.kernel_would_pick) {
        (Some(true), _) => " The listening program probably chose the port.",
        (Some(false), _) => " The kernel probably gave the port to the listening program.",
        (None, Some(true)) => " The kernel may give this port to a program that requests any free port.",
        (None, Some(false)) => {
            " The kernel does not pick this port by itself, so a program that listens here has \
                chosen the port."
        }
        (None, None) => " It is not known whether the kernel or the listening program chose the port.",
    });
    said
}

/// Returns the reason why a program is usual on its port.
pub(super) fn usual(usual: &UsualProgram) -> String {
    let UsualProgram { program, product, rests_on, any_port, .. } = usual;
    let where_ = if *any_port { "is commonly used on any port" } else { "usually serves this port" };
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
        let here = |kernel_would_pick, likely_chosen| EphemeralHere {
            kernel_range: PortRange::new(32768, 60999),
            source: "a setting".to_owned(),
            is_reserved: false,
            iana_dynamic: false,
            kernel_would_pick,
            likely_chosen,
        };
        for (picks, chosen, listed) in [
            (Some(true), None, "may give this port"),
            (Some(false), None, "has chosen the port"),
            (None, None, "It is not known whether"),
            (Some(true), Some(false), "kernel probably gave"),
            (Some(false), Some(true), "probably chose the port"),
        ] {
            assert!(ephemeral(&here(picks, chosen)).contains(listed), "{picks:?} {chosen:?}");
        }
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
