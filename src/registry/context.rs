//! Further facts about a port: nearby registrations, usual programs, and the history of its registrations.

use super::row::{KnownUse, RegistryRow};
use super::{Registry, dangers, programs, services};
use crate::model::{
    Assignment, Block, Context, Event, EventKind, GuardedService, KnownProgram, NearbyRegistration,
    NearbyRegistrations, PortRange, PortVerdict, Protocol,
};

/// Assignees that are not vendors. If such an assignee has adjacent ports, these ports do not belong to one product,
/// and are not shown as a block.
const BODIES: [&str; 4] = ["IESG", "IETF", "IANA", "Jon Postel"];

/// How many ports below and above a port are searched for its block.
const FAR: u16 = 64;

impl Registry {
    /// Returns further facts about a port, except the facts about ephemeral ranges.
    #[must_use]
    pub fn context(&self, port: u16, protocol: Protocol, verdict: &PortVerdict) -> Context {
        let mut known: Vec<KnownProgram> = Vec::new();
        for program in programs::serving(port, protocol) {
            let one = KnownProgram { program: program.mark(), product: program.product };
            if !known.iter().any(|other| other.product == one.product) {
                known.push(one);
            }
        }
        let guarded = programs::guarded(port, protocol).next().map(|row| GuardedService {
            service: row.service,
            programs: row.programs().collect(),
            why: row.why,
        });
        Context {
            answer: services::answer(port, protocol),
            services: services::common(port, protocol),
            programs: known,
            dangers: dangers::titles(port, protocol),
            guarded,
            nearby: self.nearby(port, protocol.registered_as(), verdict),
            history: self.history(port, protocol.registered_as(), verdict),
            ephemeral: None,
        }
    }

    fn nearby(&self, port: u16, protocol: Protocol, verdict: &PortVerdict) -> NearbyRegistrations {
        let named = |line: &'static str| {
            let row = RegistryRow::parse(line)?;
            let service = row.service.filter(|_| row.covers(row.ports.low, protocol))?;
            Some(NearbyRegistration { port: row.ports.low, service })
        };
        NearbyRegistrations {
            block: verdict.assignments.iter().find_map(|a| self.block(a, port, protocol)),
            before: self.rows.before(port).find_map(named),
            after: self.rows.after(port).find_map(named),
        }
    }

    /// Returns the events without a date, then the dated events, oldest first.
    fn history(&self, port: u16, protocol: Protocol, verdict: &PortVerdict) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let mut add = |date, what, service, text| events.push(Event { date, what, service, text });
        if let Some(remark) = verdict.remark {
            add(None, EventKind::Noted, None, Some(remark));
        }
        let uses = self.known_uses.at(port).filter_map(KnownUse::parse);
        for malware in uses.filter(|known| known.protocol == protocol).filter_map(|known| known.abused_by) {
            add(None, EventKind::Abused, None, Some(malware));
        }
        for a in &verdict.assignments {
            let service = Some(a.service);
            if let Some(date) = a.registered {
                add(Some(date), EventKind::Registered, service, None);
            }
            if let Some(date) = a.modified {
                add(Some(date), EventKind::Changed, service, None);
            }
            if let Some(row) = a.curated
                && let Some(ended) = row.ended
            {
                add(Some(ended), EventKind::Ended, service, Some(row.product));
            }
            if let Some(notes) = a.notes {
                let renamed = ["formerly ", "named between "].iter().any(|begin| notes.contains(begin));
                add(None, if renamed { EventKind::Renamed } else { EventKind::Noted }, service, Some(notes));
            }
        }
        events.sort();
        events
    }

    /// Returns the block of adjacent ports around `port` that one vendor registered; `None` if the block has only one
    /// port.
    fn block(&self, own: &Assignment, port: u16, protocol: Protocol) -> Option<Block> {
        let assignee = own.assignee.filter(|assignee| !BODIES.contains(assignee))?;
        let of = |port: u16| {
            let rows = self.rows.at(port).filter_map(RegistryRow::parse);
            let mut of_it = rows.filter(|row| row.assignee == Some(assignee) && row.covers(port, protocol));
            of_it.find_map(|row| Some(NearbyRegistration { port, service: row.service? }))
        };
        let mut services: Vec<NearbyRegistration> =
            (port.saturating_sub(FAR)..port).rev().map_while(of).collect::<Vec<_>>();
        services.reverse();
        services.extend((port..=port.saturating_add(FAR)).map_while(of));
        let (first, last) = (services.first()?.port, services.last()?.port);
        (first < last).then_some(Block { ports: PortRange { low: first, high: last }, assignee, services })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(port: u16) -> Context {
        let registry = Registry::embedded();
        registry.context(port, Protocol::Tcp, &registry.verdict(port, Protocol::Tcp))
    }

    #[test]
    fn nearby_ports_and_blocks() {
        let nearby = |port| {
            let found = context(port).nearby;
            (found.before.map(|n| n.port), found.after.map(|n| n.port), found.block.map(|b| b.ports))
        };
        assert_eq!(nearby(3415), (Some(3414), Some(3416), None));
        assert_eq!(nearby(0), (None, Some(1), None));
        assert_eq!(nearby(65535).1, None);
        assert!(nearby(65535).0.is_some());
        let canon = context(8613).nearby.block.unwrap();
        assert_eq!((canon.ports.low, canon.ports.high), (8611, 8614));
        let services: Vec<_> = canon.services.iter().map(|n| n.service).collect();
        assert_eq!(services, ["canon-bjnp1", "canon-bjnp2", "canon-bjnp3", "canon-bjnp4"]);
    }

    #[test]
    fn programs_and_guards() {
        let prometheus = context(9090);
        assert!(prometheus.programs.iter().any(|p| p.program == "prometheus"));
        assert_eq!(context(22).guarded.unwrap().service, "ssh");
        assert_eq!(context(3416).guarded, None);
    }

    #[test]
    fn histories() {
        let ended = context(2408).history;
        assert!(ended.iter().any(|e| e.what == EventKind::Ended && e.date == Some("2024-01")), "{ended:?}");
        let dated = context(3416).history;
        assert!(
            dated.iter().any(|e| e.what == EventKind::Registered && e.date == Some("2002-02")),
            "{dated:?}"
        );
        assert!(ended.is_sorted());
        assert!(context(1980).history.iter().any(|e| e.what == EventKind::Renamed));
        assert_eq!(context(15).history[0].text, Some("Unassigned [was netstat]"));
    }
}
