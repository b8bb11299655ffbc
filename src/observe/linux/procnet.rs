//! Parses the text tables of `/proc/net`. They are read if `sock_diag` does not answer.
//!
//! The tables show no devices, no `IPV6_V6ONLY`, no control groups and no cookies. Sockets that are bound but do not
//! listen are missing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::diag::SocketRecord;
use crate::model::Family;

/// Returns the sockets of a table, and the number of lines that could not be parsed.
#[must_use]
pub fn table(text: &str) -> (Vec<SocketRecord>, u64) {
    rows(text, row)
}

fn rows<T>(text: &str, parse: fn(&str) -> Option<T>) -> (Vec<T>, u64) {
    let (mut rows, mut refused) = (Vec::new(), 0);
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        match parse(line) {
            Some(row) => rows.push(row),
            None => refused += 1,
        }
    }
    (rows, refused)
}

/// A packet socket from `/proc/net/packet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSocket {
    /// The `EtherType`; 0 if the socket receives nothing.
    pub protocol: u16,
    /// The index of the device to which the socket is bound; 0 if it receives from all devices.
    pub interface: u32,
    /// The user ID.
    pub uid: u32,
    /// The inode.
    pub inode: u32,
}

/// Returns the sockets in `/proc/net/packet`, and the number of lines that could not be parsed.
#[must_use]
pub fn packets(text: &str) -> (Vec<PacketSocket>, u64) {
    rows(text, packet)
}

/// Parses `sk refcnt type proto iface running rmem user inode` (`packet_seq_show`, net/packet/af_packet.c). Only `sk`
/// and `proto` are hexadecimal.
fn packet(line: &str) -> Option<PacketSocket> {
    let mut fields = line.split_ascii_whitespace();
    let protocol = number(fields.nth(3)?, 16)?.try_into().ok()?;
    let interface = number(fields.next()?, 10)?;
    let uid = number(fields.nth(2)?, 10)?;
    let inode = number(fields.next()?, 10)?;
    Some(PacketSocket { protocol, interface, uid, inode })
}

/// Parses `sl: local remote st tx:rx tr:when retrnsmt uid timeout inode …`. Of the fields that are read, only `uid` and
/// `inode` are decimal.
fn row(line: &str) -> Option<SocketRecord> {
    let mut fields = line.split_ascii_whitespace();
    fields.next()?.strip_suffix(':')?;
    let (family, local) = endpoint(fields.next()?)?;
    let (peer_family, peer) = endpoint(fields.next()?)?;
    if family != peer_family {
        return None;
    }
    let state = number(fields.next()?, 16)?.try_into().ok()?;
    let (send, receive) = fields.next()?.split_once(':')?;
    let uid = number(fields.nth(2)?, 10)?;
    let inode = number(fields.nth(1)?, 10)?;
    Some(SocketRecord {
        family,
        state,
        local,
        peer,
        interface: 0,
        cookie: 0,
        receive: number(receive, 16)?,
        send: number(send, 16)?,
        uid,
        inode,
        v6only: None,
        cgroup: None,
        transparent: false,
        path_mtu: None,
    })
}

/// Parses `0100007F:1F90`: the address as 32-bit words in host byte order, then the port.
fn endpoint(text: &str) -> Option<(Family, (IpAddr, u16))> {
    let (address, port) = text.split_once(':')?;
    let port = number(port, 16)?.try_into().ok()?;
    let word = |at: usize| number(address.get(at * 8..at * 8 + 8)?, 16).map(u32::to_ne_bytes);
    match address.len() {
        8 => Some((Family::Ipv4, (IpAddr::V4(Ipv4Addr::from(word(0)?)), port))),
        32 => {
            let mut octets = [0; 16];
            for at in 0..4 {
                octets[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some((Family::Ipv6, (IpAddr::V6(Ipv6Addr::from(octets)), port)))
        }
        _ => None,
    }
}

/// Parses a number. A sign is refused; Rust's own parser would accept a plus sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, radix).ok())?
}

/// Returns the number of sockets of each protocol in the network namespace, from the text of `/proc/net/protocols`.
pub(super) fn inventory(text: &str) -> HashMap<&str, u64> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            Some((fields.next()?, fields.nth(1)?.parse().unwrap_or(u64::MAX)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 21507 1 0000000000000000 100 0 0 10 0
 101: 0100007F:0016 0200000A:D431 01 00000010:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0CEB 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     7        0 9 2 0000000000000000 0
";

    #[test]
    fn rows_are_read() {
        let (records, refused) = table(TCP);
        assert_eq!((records.len(), refused), (2, 0));
        assert_eq!(records[0].local, ("127.0.0.1".parse().unwrap(), 5432));
        assert_eq!(
            (records[0].state, records[0].uid, records[0].inode, records[0].receive),
            (10, 1000, 21507, 3)
        );
        assert_eq!(records[1].peer, ("10.0.0.2".parse().unwrap(), 54321));
        assert_eq!((records[1].state, records[1].inode, records[1].send), (1, 0, 16));
        let (records, refused) = table(TCP6);
        assert_eq!(refused, 0);
        assert_eq!(records[0].local, ("::1".parse().unwrap(), 3307));
        assert_eq!((records[0].state, records[0].uid, records[0].inode), (7, 7, 9));
    }

    #[test]
    fn packet_sockets() {
        let header = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
        let row = "0000000000000000 3      3    0003   2     1 0      100    25811 \n";
        let socket = PacketSocket { protocol: 3, interface: 2, uid: 100, inode: 25811 };
        assert_eq!(packets(&format!("{header}{row}")), (vec![socket], 0));
        for (what, from, to) in [
            ("a protocol beyond 16 bits", "0003", "10003"),
            ("no number", "25811", "x"),
            ("a row that ends too early", "25811", ""),
            ("a device with a sign", " 2 ", " -2 "),
        ] {
            assert_eq!(packets(&format!("{header}{}", row.replacen(from, to, 1))), (Vec::new(), 1), "{what}");
        }
    }

    #[test]
    fn broken_rows_are_counted() {
        for line in [
            "x",
            "0: zz:1 0:0 0A",
            "   0: 0100007F:1538 00000000:0000 0A 0:0",
            "   0: 0100007F:15388 00000000:0000 0A 0:0 0:0 0 0 0 1",
            "   0: 0100007é:1538 00000000:0000 0A 0:0 0:0 0 0 0 1",
        ] {
            assert_eq!(table(&format!("header\n{line}\n")), (Vec::new(), 1), "{line}");
        }
        assert_eq!(table(""), (Vec::new(), 0));
    }

    #[test]
    fn rows_that_must_not_pass() {
        let good = TCP.lines().nth(1).unwrap();
        assert_eq!(table(&format!("header\n{good}")).0.len(), 1);
        for (what, from, to) in [
            ("a row without its colon", "0:", "0"),
            ("a user with a sign", "1000", "+1000"),
            ("an address of another length", "0100007F:1538", "0100007F00:1538"),
            ("two families", "00000000:0000", "00000000000000000000000000000000:0000"),
            ("a port beyond 16 bits", ":1538", ":11538"),
            ("a state beyond a byte", " 0A ", " 10A "),
            ("an inode beyond 32 bits", "21507", "99999999999"),
            ("a negative user", "1000", "-1000"),
            ("a sign where there is none", ":1538", ":+538"),
        ] {
            let line = good.replacen(from, to, 1);
            assert_ne!(line, good, "{what}");
            assert_eq!(table(&format!("header\n{line}")), (Vec::new(), 1), "{what}");
        }
        // An incomplete last line is refused or ignored, but never read as a socket.
        for cut in 0..good.find("21507").unwrap() {
            let (records, refused) = table(&format!("header\n{}", &good[..cut]));
            assert!(records.is_empty() && refused <= 1, "cut at {cut}");
        }
    }

    fn accounted_for(text: &str) {
        let (records, refused) = table(text);
        let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
        assert_eq!(records.len() + usize::try_from(refused).unwrap(), lines);
    }

    proptest::proptest! {
        #[test]
        fn every_line_is_read_or_counted(text in "(?s).{0,400}") {
            accounted_for(&text);
        }

        #[test]
        fn every_line_of_a_changed_table_is_read_or_counted(
            six in proptest::bool::ANY,
            changes in proptest::collection::vec(
                (proptest::prelude::any::<proptest::sample::Index>(), "[0-9A-Fa-f: \n+-]"), 1..6),
        ) {
            let mut text = if six { TCP6 } else { TCP }.to_owned();
            for (at, to) in changes {
                let at = at.index(text.len());
                text.replace_range(at..=at, &to);
            }
            accounted_for(&text);
        }
    }
}
