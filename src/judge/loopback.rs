//! Listeners on loopback addresses that other machines can reach.
//!
//! A machine on the same link can send packets for 127.0.0.1 to the hardware address of this machine. The packets reach
//! a listener in two cases:
//! - The interface accepts them (`route_localnet`).
//! - A rule that forwards the port changes their destination before the kernel checks it. Docker before version 28 made
//!   such rules.
//!
//! Packets of any machine can reach the loopback interface if a rule of the family netdev or a filter of traffic
//! control sends them there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::program_identity::Identities;
use super::published::{PublishedPorts, reserved_by_dockerd};
use super::{reach, service};
use crate::join::Entry;
use crate::model::{Exposure, Reach, Socket, unmapped};

/// Changes the exposure of listeners on loopback addresses that other machines can reach. The exposure becomes `any` if
/// a rule sends packets to the loopback interface, otherwise `link-local`. Returns the clients of each of these
/// listeners, by the index of its entry.
pub(super) fn find_reachable(
    entries: &mut [Entry],
    identities: &mut Identities,
    firewalls: &mut reach::Firewalls<'_>,
    published: &PublishedPorts,
) -> HashMap<usize, Arc<Reach>> {
    let mut found = HashMap::new();
    let on_loopback =
        |entry: &Entry| entry.socket.state.accepts_traffic() && entry.socket.exposure() == Exposure::Loopback;
    let sent: HashMap<usize, Arc<Reach>> = (0..)
        .zip(entries.iter())
        .filter(|(_, entry)| on_loopback(entry))
        .filter_map(|(at, entry)| Some((at, firewalls.sent_to_loopback(&entry.socket)?)))
        .collect();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| is_on_loopback_address(&entry.socket)) {
        if !firewalls.opens_loopback(&entry.socket, published.contains_key(&entry.socket.port_key())) {
            continue;
        }
        let processes = &identities.processes(entry);
        let reserved = reserved_by_dockerd(published, entry, processes);
        let socket = reserved.unwrap_or(&entry.socket);
        let by_rule = socket.forwarding.as_ref().map(|forwarding| forwarding.to);
        let forwarded_to = by_rule.or_else(|| service::forwards_to(processes));
        if let Some(reach) = firewalls.reach_of_loopback(socket, forwarded_to) {
            found.insert(at, reach);
        }
    }
    for at in found.keys() {
        entries[*at].exposure = Exposure::LinkLocal;
    }
    for at in sent.keys() {
        entries[*at].exposure = Exposure::Any;
    }
    found.extend(sent);
    found
}

/// Returns whether a socket accepts traffic for an IPv4 loopback address on any device. A socket that is bound to the
/// loopback device does not count.
fn is_on_loopback_address(socket: &Socket) -> bool {
    matches!(unmapped(socket.local.address), IpAddr::V4(four) if four.is_loopback())
        && socket.state.accepts_traffic()
        && socket.exposure() == Exposure::Loopback
        && socket.on_loopback != Some(true)
}

#[cfg(test)]
mod tests {
    use crate::findings::reach::Exposed;
    use crate::judge::judge;
    use crate::judge::tests::{program_process, seen, socket};
    use crate::model::firewall::Interface;
    use crate::model::{Exposure, Firewall, Owner, Severity};
    use crate::registry::Registry;

    #[test]
    fn a_dangerous_service_on_a_loopback_address_that_the_link_reaches() {
        for (routes_localnet, is_refused, expected) in [
            (false, false, None),
            // The rules are not known. They could drop the packets, so there is no finding, only the note about
            // `route_localnet`.
            (true, true, None),
            (true, false, Some(Severity::Warning)),
        ] {
            let redis = program_process(7, "redis-server", "/usr/bin/redis-server", "redis-server");
            let own = Owner::Held(vec![7].into());
            let mut snapshot = seen(vec![socket("tcp/127.0.0.1:6379", own)], vec![redis]);
            let eth0 =
                Interface { name: "eth0".to_owned(), is_up: true, routes_localnet, ..Interface::default() };
            snapshot.firewalls = vec![Firewall { interfaces: vec![eth0], is_refused, ..Firewall::default() }];
            let report = judge(snapshot, Registry::embedded());
            let [entry] = &report.entries[..] else { panic!("one entry is expected") };
            let found = entry.findings().iter().find(|one| Exposed::of(&one.evidence).is_some());
            assert_eq!(found.map(|one| one.severity), expected);
            let exposure = if expected.is_some() { Exposure::LinkLocal } else { Exposure::Loopback };
            assert_eq!(entry.exposure, exposure);
            if let Some(finding) = found {
                let sentence = finding.sentence();
                assert!(
                    sentence.contains("machines on the same link that send packets for 127.0.0.1"),
                    "{sentence}"
                );
                assert!(sentence.contains("! -i lo -j DROP"), "{sentence}");
            }
        }
    }
}
