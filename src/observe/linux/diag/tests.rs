//! Tests the parser with datagrams recorded from a kernel, and with many kinds of corrupt datagrams.

// The datagrams were recorded on a machine of this byte order.
#![cfg(target_endian = "little")]

use proptest::prelude::*;

use super::*;

/// Recorded on Linux 6.18 (x86-64, little-endian), sequence 1: the first datagram of each dump.
const SEQUENCE: u32 = 1;
/// TCP over IPv4: 0.0.0.0:3416 on device 3 and 127.0.0.1:5432, each with a backlog of 5.
const TCP4: &str = "\
    7c0000001400020001000000775a0000020a00000d580000000000000000000000000000000000000000000000000000\
    000000000000000003000000d3f900000000000000000000000000000500000000000000c42f28000500080000000000\
    08000f00000000000c001500010000000000000006001600520000007c0000001400020001000000775a0000020a0000\
    153800007f0000010000000000000000000000000000000000000000000000000000000000000000d4f9000000000000\
    00000000000000000500000000000000c32f2800050008000000000008000f00000000000c0015000100000000000000\
    0600160052000000\
";
/// TCP over IPv6: [::]:8080 with `IPV6_V6ONLY` and [::1]:631.
const TCP6: &str = "\
    840000001400020001000000775a00000a0a00001f900000000000000000000000000000000000000000000000000000\
    000000000000000000000000d5f900000000000000000000000000000500000000000000c52f28000500080000000000\
    05000b000100000008000f00000000000c00150001000000000000000600160012000000840000001400020001000000\
    775a00000a0a000002770000000000000000000000000000000000010000000000000000000000000000000000000000\
    d6f900000000000000000000000000000500000000000000c62f2800050008000000000005000b000100000008000f00\
    000000000c00150001000000000000000600160012000000\
";
/// UDP over IPv4: 127.0.0.1:53.
const UDP4: &str = "\
    7c0000001400020001000000775a000002070000003500007f0000010000000000000000000000000000000000000000\
    000000000000000000000000d7f900000000000000000000000000000000000000000000c72f28000500080000000000\
    08000f00000000000c00150001000000000000000600160050000000\
";
/// UDP over IPv6: [::]:5353.
const UDP6: &str = "\
    840000001400020001000000775a00000a07000014e90000000000000000000000000000000000000000000000000000\
    000000000000000000000000d8f900000000000000000000000000000000000000000000c82f28000500080000000000\
    05000b000000000008000f00000000000c00150001000000000000000600160010000000\
";
const END: &str = "\
    140000000300020001000000775a000000000000\
";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn read(datagram: &[u8]) -> (Vec<SocketRecord>, Result<Progress, DumpError>) {
    let mut reading = Reading::default();
    let outcome = reading.datagram(datagram, SEQUENCE);
    (reading.records, outcome)
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(SEQUENCE.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn plain() -> Vec<u8> {
    bytes(UDP4)[HEADER..HEADER + RECORD].to_vec()
}

fn with_attribute(length: u16, kind: u16, value: &[u8]) -> Vec<u8> {
    let mut payload = plain();
    payload.extend(length.to_ne_bytes());
    payload.extend(kind.to_ne_bytes());
    payload.extend(value);
    payload
}

#[test]
fn recorded_tcp_over_ipv4() {
    let (records, outcome) = read(&bytes(TCP4));
    assert_eq!(outcome, Ok(Progress::More));
    let first = SocketRecord {
        family: Family::Ipv4,
        state: 10,
        local: ("0.0.0.0".parse().unwrap(), 3416),
        peer: ("0.0.0.0".parse().unwrap(), 0),
        interface: 3,
        cookie: 63_955,
        receive: 0,
        send: 5,
        uid: 0,
        inode: 2_633_668,
        v6only: None,
        cgroup: Some(1),
        transparent: false,
        path_mtu: None,
    };
    let second = SocketRecord {
        local: ("127.0.0.1".parse().unwrap(), 5432),
        interface: 0,
        cookie: 63_956,
        inode: 2_633_667,
        ..first.clone()
    };
    assert_eq!(records, [first, second]);
}

#[test]
fn recorded_tcp_over_ipv6() {
    let (records, _) = read(&bytes(TCP6));
    let reported: Vec<_> = records.iter().map(|r| (r.local, r.v6only, r.state, r.send)).collect();
    // A socket on an IPv6 address other than the wildcard does not accept IPv4. The kernel reports this regardless of
    // the socket option.
    let (any, loopback) = ("::".parse().unwrap(), "::1".parse().unwrap());
    assert_eq!(reported, [((any, 8080), Some(true), 10, 5), ((loopback, 631), Some(true), 10, 5)]);
    assert!(records.iter().all(|r| r.family == Family::Ipv6 && r.cgroup == Some(1)));
}

#[test]
fn recorded_udp() {
    let (four, _) = read(&bytes(UDP4));
    let (six, _) = read(&bytes(UDP6));
    assert_eq!((four.len(), six.len()), (1, 1));
    assert_eq!((four[0].local, four[0].state), (("127.0.0.1".parse().unwrap(), 53), 7));
    assert_eq!((six[0].local, six[0].state, six[0].v6only), (("::".parse().unwrap(), 5353), 7, Some(false)));
    assert_eq!(read(&bytes(END)), (Vec::new(), Ok(Progress::Done)));
}

#[test]
fn requests_are_what_the_kernel_reads() {
    let (kind, asked) = request(Family::Ipv6, 17, 1 << 7, None);
    assert_eq!((kind, asked.len()), (20, 56));
    assert_eq!((asked[0], asked[1], number(&asked, 4)), (10, 17, Some(128)));
    // The number of MPTCP does not fit into one byte, so it goes into an attribute.
    let (_, asked) = request(Family::Ipv4, 262, 1 << 10, None);
    assert_eq!((asked.len(), asked[0]), (64, 2));
    assert_eq!((short(&asked, 56), short(&asked, 58), number(&asked, 60)), (Some(8), Some(3), Some(262)));
    // A filter by port comes before the attribute of the protocol.
    let (_, asked) = request(Family::Ipv4, 262, 1 << 10, PortRange::new(80, 90));
    assert_eq!((asked.len(), short(&asked, 56), short(&asked, 58)), (84, Some(20), Some(1)));
    assert_eq!((short(&asked, 66), short(&asked, 74), short(&asked, 78)), (Some(80), Some(90), Some(3)));
}

/// Each row has the name of the fault, the datagram, the number of parsed records, and the outcome.
#[test]
fn corrupt_datagrams() {
    let good = bytes(UDP4);
    let cut = |length: usize| good[..length].to_vec();
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let after = |tail: Vec<u8>| [good.clone(), tail].concat();
    let number = |number: i32| number.to_ne_bytes().to_vec();
    let sockets = |payload: &[u8]| message(SOCK_DIAG_BY_FAMILY, 2, payload);
    let more = Ok(Progress::More);
    let malformed = Err(DumpError::Malformed);
    let rows = [
        ("nothing at all", Vec::new(), 0, more),
        ("whole and sound", good.clone(), 1, more),
        ("refused", message(NLMSG_ERROR, 0, &number(-1)), 0, Err(DumpError::Kernel(1))),
        ("refused after a socket", after(message(NLMSG_ERROR, 0, &number(-2))), 1, Err(DumpError::Kernel(2))),
        (
            "refused with the least number",
            message(NLMSG_ERROR, 0, &number(i32::MIN)),
            0,
            Err(DumpError::Kernel(i32::MAX)),
        ),
        ("an acknowledgement", message(NLMSG_ERROR, 0, &number(0)), 0, more),
        (
            "an acknowledgement, then a socket",
            [message(NLMSG_ERROR, 0, &number(0)), good.clone()].concat(),
            1,
            more,
        ),
        ("an error without a number", message(NLMSG_ERROR, 0, &[]), 0, malformed),
        ("an error with half a number", message(NLMSG_ERROR, 0, &[255, 255]), 0, malformed),
        ("the end", after(message(NLMSG_DONE, 2, &number(0))), 1, Ok(Progress::Done)),
        ("the end without a number", message(NLMSG_DONE, 2, &[]), 0, Ok(Progress::Done)),
        ("the end with an error", after(message(NLMSG_DONE, 2, &number(-22))), 1, Err(DumpError::Kernel(22))),
        (
            "the end of an interrupted dump",
            after(message(NLMSG_DONE, 0x12, &number(0))),
            1,
            Err(DumpError::Interrupted),
        ),
        (
            "the end after an interrupted part",
            [changed(6, &[0x12, 0]), bytes(END)].concat(),
            1,
            Err(DumpError::Interrupted),
        ),
        ("an interrupted part alone", changed(6, &[0x12, 0]), 1, more),
        ("a socket after the end", [bytes(END), good.clone()].concat(), 0, Ok(Progress::Done)),
        ("rubbish after the end", [bytes(END), vec![1, 2, 3]].concat(), 0, Ok(Progress::Done)),
        ("messages lost", message(OVERRUN, 0, &[]), 0, Err(DumpError::Truncated)),
        ("messages lost after a socket", after(message(OVERRUN, 0, &[])), 1, Err(DumpError::Truncated)),
        ("no operation", message(1, 0, &[]), 0, more),
        ("an unknown type", message(99, 0, &plain()), 0, more),
        ("an answer to another question", changed(8, &[2, 0, 0, 0]), 0, more),
        ("an error for another question", changed_sequence(message(NLMSG_ERROR, 0, &number(-1))), 0, more),
        ("the end of another dump", changed_sequence(bytes(END)), 0, more),
        ("one byte", vec![20], 0, malformed),
        ("half a header", cut(10), 0, malformed),
        ("a header alone, of a longer message", cut(16), 0, malformed),
        ("a length beyond the datagram", changed(0, &[125, 0, 0, 0]), 0, malformed),
        ("a length beyond everything", changed(0, &[255; 4]), 0, malformed),
        ("a length of nothing", changed(0, &[0; 4]), 0, malformed),
        ("a length below the header's", changed(0, &[15, 0, 0, 0]), 0, malformed),
        ("cut off in the second message", [good.clone(), cut(60)].concat(), 1, malformed),
        ("a record a byte short", sockets(&plain()[..RECORD - 1]), 0, malformed),
        ("a record of nothing", sockets(&[]), 0, malformed),
        ("a record without attributes", sockets(&plain()), 1, more),
        ("a family of neither kind", changed(16, &[1]), 0, malformed),
        ("no family", changed(16, &[0]), 0, malformed),
        ("an attribute beyond the record", sockets(&with_attribute(9, 5, &[0; 4])), 0, malformed),
        ("an attribute without an end", sockets(&with_attribute(u16::MAX, 5, &[0; 4])), 0, malformed),
        ("an attribute shorter than its header", sockets(&with_attribute(3, 5, &[])), 0, malformed),
        ("an attribute of no length", sockets(&with_attribute(0, 5, &[])), 0, malformed),
        ("half an attribute's header", sockets(&[plain(), vec![8, 0]].concat()), 0, malformed),
        ("an unknown attribute", sockets(&with_attribute(8, 999, &[1; 4])), 1, more),
        ("an attribute with nothing in it", sockets(&with_attribute(4, 999, &[])), 1, more),
        ("the last attribute without padding", sockets(&with_attribute(5, 999, &[1])), 1, more),
        ("v6only without a value", sockets(&with_attribute(4, INET_DIAG_SKV6ONLY, &[])), 0, malformed),
        ("half a control group", sockets(&with_attribute(8, INET_DIAG_CGROUP_ID, &[1; 4])), 0, malformed),
    ];
    for (name, datagram, count, outcome) in rows {
        let (records, reported) = read(&datagram);
        assert_eq!((records.len(), reported), (count, outcome), "{name}");
    }
}

fn changed_sequence(mut message: Vec<u8>) -> Vec<u8> {
    message[8] = message[8].wrapping_add(1);
    message
}

/// An incomplete dump is never "done", regardless of the other messages in the datagram.
#[test]
fn a_truncated_dump_is_never_complete() {
    for cut in 1..bytes(TCP4).len() {
        let (records, outcome) = read(&bytes(TCP4)[..cut]);
        if records.len() < 2 && cut != 124 {
            assert_eq!(outcome, Err(DumpError::Malformed), "cut at {cut}");
        }
        assert_ne!(outcome, Ok(Progress::Done), "cut at {cut}");
    }
}

fn bounded(datagram: &[u8]) {
    let (records, _) = read(datagram);
    assert!(records.len() <= datagram.len() / (HEADER + RECORD));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(datagram in proptest::collection::vec(any::<u8>(), 0..4096)) {
        bounded(&datagram);
    }

    /// Tests bytes that are more likely than random bytes to pass the check of the header.
    #[test]
    fn any_messages_are_read_or_refused(
        messages in proptest::collection::vec(
            (prop_oneof![Just(SOCK_DIAG_BY_FAMILY), Just(NLMSG_ERROR), Just(NLMSG_DONE), any::<u16>()], any::<u16>(),
             proptest::collection::vec(any::<u8>(), 0..160)),
            0..20)
    ) {
        let datagram: Vec<u8> = messages.iter().flat_map(|(kind, flags, payload)| message(*kind, *flags, payload)).collect();
        bounded(&datagram);
    }

    #[test]
    fn any_change_of_a_real_dump_is_read_or_refused(
        which in 0..4_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut datagram = bytes([TCP4, TCP6, UDP4, UDP6][which]);
        datagram.extend(bytes(END));
        for (at, to) in changes {
            let at = at.index(datagram.len());
            datagram[at] = to;
        }
        bounded(&datagram);
        bounded(&datagram[..cut.index(datagram.len())]);
    }
}
