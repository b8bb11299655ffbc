//! Finds sockets that one source shows and another does not. The sources are `sock_diag`, the text tables in `/proc`,
//! and netstat2.
//!
//! Sockets come and go while a table is read. Therefore a socket is reported only if it is missing in several
//! consecutive comparisons. In each comparison, another source must show the socket before and after the reading that
//! lacks it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::IpAddr;

use super::super::diag::{DumpError, SocketRecord};
use super::super::kernel_protocols::{BOUND_INACTIVE, KERNEL_PROTOCOLS, KernelProtocol, state};
use super::super::netlink::{DumpRequest, Netlink};
use super::super::procnet;
use super::sweep::{ListedPorts, exists};
use crate::model::{Disagreement, Family, Gap, Netns, Protocol, Source, Stage};
use crate::observe::portable;

/// A socket is reported if it was missing in this many consecutive comparisons.
const ROUNDS: usize = 3;

/// One bit for each TCP state of the kernel (net/tcp_states.h). Connections that are not established yet are included.
const EVERY_STATE: u32 = 0x1FFE;

/// The kernel has one table for each protocol and family.
type ProtocolFamily = (Protocol, Family);

/// The sockets in a single reading of one source.
#[derive(Debug, Default)]
struct Reading {
    /// The state of each socket that has a file. The state is 0 if the source does not give it.
    sockets: HashMap<Key, u8>,
    /// The protocols and families for which the answer was complete.
    answered: BTreeSet<ProtocolFamily>,
    refused: BTreeMap<ProtocolFamily, String>,
}

/// Protocol and family, inode, local address and port.
type Key = (ProtocolFamily, u32, IpAddr, u16);

impl Reading {
    fn answer(&mut self, kind: ProtocolFamily, records: impl IntoIterator<Item = SocketRecord>) {
        self.answered.insert(kind);
        for record in records.into_iter().filter(|record| record.inode != 0) {
            self.sockets.insert((kind, record.inode, record.local.0, record.local.1), record.state);
        }
    }
}

/// Returns the protocols and families that this kernel supports, with their `IPPROTO_*` numbers and text tables.
fn kinds() -> Vec<(ProtocolFamily, u16, &'static str)> {
    let mut kinds = Vec::new();
    for KernelProtocol { number, protocol, tables, .. } in &KERNEL_PROTOCOLS {
        let families = [Family::Ipv4, Family::Ipv6].into_iter().zip(tables.iter().flatten());
        kinds.extend(families.map(|(family, table)| ((*protocol, family), *number, *table)));
    }
    kinds.retain(|((protocol, family), _, table)| {
        exists(*protocol, *family) && (*protocol != Protocol::Udplite || fs::metadata(path(table)).is_ok())
    });
    kinds
}

fn path(table: &str) -> String {
    format!("/proc/thread-self/net/{table}")
}

/// Returns the sockets in a text table, or the reason why the table cannot be read.
fn text_table(table: &str) -> Result<Vec<SocketRecord>, String> {
    let path = path(table);
    let bytes = fs::read(&path).map_err(|error: io::Error| format!("{path}: {error}"))?;
    let (records, refused) = procnet::table(&String::from_utf8_lossy(&bytes));
    if refused > 0 {
        return Err(format!("{path}: lines that were not understood: {refused}"));
    }
    Ok(records)
}

fn dump(
    netlink: &mut Netlink,
    family: Option<Family>,
    protocol: u16,
    states: u32,
) -> Result<Vec<SocketRecord>, String> {
    let mut records = Vec::new();
    let request = DumpRequest { family, protocol, states, ports: None };
    let trouble = netlink.dump(request, &mut |record| records.push(record.clone()));
    match trouble.map_err(|errno| errno.to_string())? {
        // Dumps that differ are accepted, because each source is read several times. A socket that is missing from one
        // dump causes no finding.
        None | Some(DumpError::NotCompared) => Ok(records),
        Some(trouble) => Err(trouble.to_string()),
    }
}

fn read(source: Source) -> Reading {
    let mut reading = Reading::default();
    let mut netlink = None;
    for (kind, number, table) in kinds() {
        let answer = match source {
            Source::ProcNet => text_table(table),
            Source::Netlink => match netlink.get_or_insert_with(Netlink::open) {
                Ok(netlink) => dump(netlink, Some(kind.1), number, EVERY_STATE),
                Err(errno) => Err(errno.to_string()),
            },
            Source::Netstat2 => match portable::second_opinion(kind.0, kind.1) {
                None => continue,
                Some(Err(why)) => Err(why),
                Some(Ok(seen)) => {
                    reading.answered.insert(kind);
                    for (address, port, inode) in seen.into_iter().filter(|(_, _, inode)| *inode != 0) {
                        reading.sockets.insert((kind, inode, address, port), 0);
                    }
                    continue;
                }
            },
        };
        match answer {
            Ok(records) => reading.answer(kind, records),
            Err(why) => _ = reading.refused.insert(kind, why),
        }
    }
    reading
}

#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The number of compared sockets.
    pub sockets: u64,
    pub disagreements: Vec<Disagreement>,
    pub gaps: Vec<Gap>,
}

/// Compares the sources in `netns`, the network namespace of the calling thread (`None` for portolan's own).
pub(super) fn compare(netns: Option<&Netns>) -> Compared {
    let mut compared = Compared::default();
    let mut missed: BTreeMap<Key, MissingSocket> = BTreeMap::new();
    for round in 0..ROUNDS {
        let first = Source::ALL.map(read);
        let second = Source::ALL.map(read);
        let now = differences(&first, &second);
        if round == 0 {
            compared.sockets = count(&first);
            compared.gaps = unanswered(&first, netns);
            missed = now;
        } else {
            missed = missed
                .into_iter()
                .filter_map(|(key, was)| {
                    let is = now.get(&key)?;
                    let still: Vec<Source> =
                        was.by.into_iter().filter(|source| is.by.contains(source)).collect();
                    (!still.is_empty()).then(|| (key, MissingSocket { by: still, ..is.clone() }))
                })
                .collect();
        }
        if missed.is_empty() {
            return compared;
        }
    }
    compared.disagreements = missed
        .into_iter()
        .map(|((kind, inode, address, port), missed)| Disagreement {
            protocol: kind.0,
            address,
            port,
            state: state(missed.state, kind.0, port),
            inode: u64::from(inode),
            netns: netns.cloned(),
            shown_by: missed.shown,
            missing_from: missed.by,
        })
        .collect();
    compared
}

/// A socket, the sources that do not show it, and the sources that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MissingSocket {
    by: Vec<Source>,
    shown: Vec<Source>,
    state: u8,
}

/// Returns the sockets on which the sources differ.
///
/// Every source is read once for `first`, then once for `second`. If a source shows a socket both times, the socket
/// existed in between. Every source that was read in between must have shown it.
fn differences(first: &[Reading; 3], second: &[Reading; 3]) -> BTreeMap<Key, MissingSocket> {
    let mut missed = BTreeMap::new();
    for (at, (before, after)) in first.iter().zip(second).enumerate() {
        for (key, state) in before.sockets.iter().filter(|(key, _)| after.sockets.contains_key(*key)) {
            for (other, source) in Source::ALL.into_iter().enumerate().filter(|(other, _)| *other != at) {
                let between = if other > at { &first[other] } else { &second[other] };
                if between.answered.contains(&key.0) && !between.sockets.contains_key(key) {
                    let entry = missed.entry(*key).or_insert_with(|| MissingSocket {
                        by: Vec::new(),
                        shown: shown_by(key, first),
                        state: *state,
                    });
                    if !entry.by.contains(&source) {
                        entry.by.push(source);
                    }
                    // netstat2 gives no state (0), so the state comes from another source.
                    entry.state = entry.state.max(*state);
                }
            }
        }
    }
    missed
}

fn shown_by(key: &Key, readings: &[Reading; 3]) -> Vec<Source> {
    let shows = readings.iter().zip(Source::ALL).filter(|(reading, _)| reading.sockets.contains_key(key));
    shows.map(|(_, source)| source).collect()
}

fn count(readings: &[Reading; 3]) -> u64 {
    let keys: BTreeSet<&Key> = readings.iter().flat_map(|reading| reading.sockets.keys()).collect();
    u64::try_from(keys.len()).unwrap_or(u64::MAX)
}

/// Returns one gap for each source that did not answer.
fn unanswered(readings: &[Reading; 3], netns: Option<&Netns>) -> Vec<Gap> {
    let place = netns.map(|netns| format!(" in the network namespace {}", netns.inode)).unwrap_or_default();
    let gap = |source: Source, kinds: &BTreeMap<ProtocolFamily, String>| {
        let why = kinds.values().next()?.clone();
        let names: BTreeSet<&str> = kinds.keys().map(|(protocol, _)| protocol.name()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        Some(
            Gap::new(
                Stage::Sockets,
                format!(
                    "{} sockets in {}{place}, for the comparison of the tables",
                    names.join(", "),
                    source.name()
                ),
                why,
            )
            .with_remedy("mount /proc, and allow NETLINK_SOCK_DIAG sockets for this process"),
        )
    };
    readings.iter().zip(Source::ALL).filter_map(|(reading, source)| gap(source, &reading.refused)).collect()
}

/// Returns the ports that any table shows as in use in the network namespace of the calling thread. UDP-Lite is left
/// out. Returns `None` if both the text table and the answer of `sock_diag` are incomplete for some protocol and
/// family.
#[must_use]
pub fn shown() -> Option<ListedPorts> {
    let mut shown = ListedPorts::default();
    let mut add = |protocol, records: Vec<SocketRecord>| {
        for record in records {
            shown.add(protocol, record.local.0, record.local.1, record.v6only);
        }
    };
    let mut netlink = Netlink::open();
    for (kind, number, table) in
        kinds().into_iter().filter(|((protocol, _), ..)| *protocol != Protocol::Udplite)
    {
        let dumped = match &mut netlink {
            Ok(netlink) => dump(netlink, Some(kind.1), number, EVERY_STATE),
            Err(errno) => Err(errno.to_string()),
        };
        let listed = text_table(table);
        if dumped.is_err() && listed.is_err() {
            return None;
        }
        // The text table does not contain v6only. So an IPv6 socket that only this table shows is assumed to take its
        // port in IPv4 too.
        match dumped {
            Ok(records) => {
                let known: BTreeSet<(IpAddr, u16)> = records.iter().map(|record| record.local).collect();
                add(kind.0, records);
                let more =
                    listed.unwrap_or_default().into_iter().filter(|record| !known.contains(&record.local));
                add(kind.0, more.collect());
            }
            Err(_) => add(kind.0, listed.unwrap_or_default()),
        }
    }
    add(Protocol::Tcp, bound());
    Some(shown)
}

/// Returns the TCP sockets that are bound but do not listen. Returns no socket if this kernel does not list them.
pub(super) fn bound() -> Vec<SocketRecord> {
    let netlink = Netlink::open();
    netlink
        .ok()
        .and_then(|mut netlink| dump(&mut netlink, None, 6, 1 << BOUND_INACTIVE).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: ProtocolFamily = (Protocol::Tcp, Family::Ipv4);

    fn reading(inodes: &[u32]) -> Reading {
        let key = |inode: &u32| (TCP, *inode, IpAddr::from([127, 0, 0, 1]), 80);
        Reading {
            sockets: inodes.iter().map(|inode| (key(inode), 10)).collect(),
            answered: [TCP].into(),
            refused: BTreeMap::new(),
        }
    }

    /// Returns the missing sockets and their sources. The readings have the order netlink, /proc/net, netstat2, and
    /// then the same order again.
    fn missed(readings: [&[u32]; 6]) -> Vec<(u32, Vec<Source>, Vec<Source>)> {
        let [a, b, c, d, e, f] = readings.map(reading);
        let missed = differences(&[a, b, c], &[d, e, f]);
        missed.into_iter().map(|(key, missed)| (key.1, missed.by, missed.shown)).collect()
    }

    #[test]
    fn differences_name_the_sources_that_lack_a_socket() {
        use Source::{Netlink, Netstat2, ProcNet};
        for (name, readings, wanted) in [
            ("all agree", [&[1, 2][..]; 6], vec![]),
            ("a socket that comes", [&[], &[], &[1], &[1], &[1], &[1]], vec![]),
            ("a socket that goes", [&[1], &[1], &[1], &[1], &[], &[]], vec![]),
            ("a socket that comes and goes", [&[], &[1], &[1], &[1], &[], &[]], vec![]),
            (
                "hidden from /proc",
                [&[1], &[], &[1], &[1], &[], &[1]],
                vec![(1, vec![ProcNet], vec![Netlink, Netstat2])],
            ),
            (
                "hidden from netlink, however it is asked",
                [&[], &[1], &[], &[], &[1], &[]],
                vec![(1, vec![Netlink, Netstat2], vec![ProcNet])],
            ),
            (
                "hidden from all but netstat2",
                [&[], &[], &[1], &[], &[], &[1]],
                vec![(1, vec![Netlink, ProcNet], vec![Netstat2])],
            ),
        ] {
            assert_eq!(missed(readings), wanted, "{name}");
        }
    }

    #[test]
    fn a_source_without_an_answer_causes_no_difference() {
        let [a, mut b, c] = [[1], [2], [1]].map(|inodes| reading(&inodes));
        b.answered.clear();
        b.sockets.clear();
        let again = [reading(&[1]), Reading::default(), reading(&[1])];
        assert!(differences(&[a, b, c], &again).is_empty());
    }
}
