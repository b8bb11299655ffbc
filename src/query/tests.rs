//! What targets and filters answer about sockets.

use std::collections::HashSet;

use super::Answer::{self, No, Unknown, Yes};
use super::{Selection, Subject, Target, TypedFilters};
use crate::join::{Entry, join};
use crate::model::{Endpoint, Family, Home, Owner, Peer, Protocol, Socket, State};
use crate::registry::Registry;

fn socket(local: &str, v6only: Option<bool>) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
        local,
        peer: None,
        mptcp: false,
        home: Home::default().into(),
        inode: 1.try_into().ok(),
        cookie: None,
        v6only,
        queues: None,
        owner: Owner::Hidden,
    }
}

fn entry(socket: Socket) -> Entry {
    let snapshot = serde_json::from_str(include_str!("../../tests/captures/five.json")).unwrap();
    join(vec![socket], Vec::new(), &snapshot, &Registry::embedded()).remove(0)
}

fn selected(asked: &TypedFilters<'_>, subject: &Subject<'_>) -> Answer {
    let selection = Selection::new(asked, &Registry::embedded()).unwrap();
    selection.test(subject, &mut HashSet::new())
}

#[test]
fn an_address_with_a_port_means_what_a_client_reaches() {
    for (name, target, local, v6only, answer) in [
        ("the address itself", "127.0.0.1:80", "tcp/127.0.0.1:80", None, Yes),
        ("another address", "127.0.0.1:80", "tcp/127.0.0.2:80", None, No),
        ("another port", "127.0.0.1:80", "tcp/127.0.0.1:81", None, No),
        ("the IPv4 wildcard", "127.0.0.1:80", "tcp/0.0.0.0:80", None, Yes),
        ("the IPv6 wildcard, both families", "127.0.0.1:80", "tcp/[::]:80", Some(false), Yes),
        ("the IPv6 wildcard, IPv6 only", "127.0.0.1:80", "tcp/[::]:80", Some(true), No),
        ("the IPv6 wildcard, not known", "127.0.0.1:80", "tcp/[::]:80", None, Unknown),
        ("an IPv6 address on the IPv4 wildcard", "[::1]:80", "tcp/0.0.0.0:80", None, No),
        ("a v4-mapped address", "127.0.0.1:80", "tcp/[::ffff:127.0.0.1]:80", Some(false), Yes),
        ("a wildcard on another device", "127.0.0.1:80", "tcp/0.0.0.0%eth0:80", None, No),
        ("an address that the device may have", "10.0.0.1:80", "tcp/0.0.0.0%eth0:80", None, Unknown),
        ("either family", "localhost:80", "tcp/[::1]:80", Some(true), Yes),
        ("an address alone is the bound one", "127.0.0.1", "tcp/0.0.0.0:80", None, No),
        ("another protocol", "udp/127.0.0.1:80", "tcp/127.0.0.1:80", None, No),
    ] {
        let target = Target::parse(target, &Registry::embedded()).unwrap();
        assert_eq!(target.test(&Subject::Entry(&entry(socket(local, v6only))), false), answer, "{name}");
    }
}

#[test]
fn a_family_means_the_clients_that_reach_a_socket() {
    for (family, local, v6only, answer) in [
        (Family::Ipv4, "tcp/0.0.0.0:80", None, Yes),
        (Family::Ipv4, "tcp/[::]:80", Some(false), Yes),
        (Family::Ipv4, "tcp/[::]:80", Some(true), No),
        (Family::Ipv4, "tcp/[::]:80", None, Unknown),
        (Family::Ipv4, "tcp/[::1]:80", Some(false), No),
        (Family::Ipv6, "tcp/[::]:80", None, Yes),
        (Family::Ipv6, "tcp/0.0.0.0:80", None, No),
    ] {
        let asked = TypedFilters { families: vec![family], ..TypedFilters::default() };
        let entry = entry(socket(local, v6only));
        assert_eq!(selected(&asked, &Subject::Entry(&entry)), answer, "{family:?} {local} {v6only:?}");
    }
}

#[test]
fn either_end_of_a_connection() {
    let mut connection = socket("tcp/10.0.0.1:40000", None);
    connection.state = State::Established;
    connection.peer = Some(Peer { address: [192, 0, 2, 1].into(), port: 443 });
    let entry = entry(connection);
    for (target, near, either) in [
        ("443", No, Yes),
        ("192.0.2.1", No, Yes),
        ("192.0.2.1:443", No, Yes),
        ("40000", Yes, Yes),
        ("80", No, No),
    ] {
        let target = Target::parse(target, &Registry::embedded()).unwrap();
        assert_eq!(target.test(&Subject::Entry(&entry), false), near, "{target:?}");
        assert_eq!(target.test(&Subject::Entry(&entry), true), either, "{target:?} with -a");
    }
}

/// A filter that asks about a process which is not visible, or about a place where nothing is, cannot be decided.
#[test]
fn missing_evidence_is_unknown() {
    let hidden = entry(socket("tcp/0.0.0.0:80", None));
    let kernel = entry(Socket { owner: Owner::Kernel, ..socket("tcp/0.0.0.0:80", None) });
    let place = Subject::Place { protocol: None, address: None, port: Some(80) };
    for (field, value, of_hidden, of_kernel, of_place) in [
        ("process", "nginx", Unknown, No, Unknown),
        ("pid", "1", Unknown, No, Unknown),
        ("user", "0", Unknown, Unknown, Unknown),
        ("unit", "nginx", Unknown, No, Unknown),
        ("container", "web", Unknown, No, Unknown),
        ("flag", "impostor", Unknown, No, Unknown),
        ("flag", "orphaned", No, No, Unknown),
        ("exposure", "any", Yes, Yes, Unknown),
        ("state", "listen", Yes, Yes, Unknown),
    ] {
        let fields = [(field, vec![value.to_owned()])];
        let asked = TypedFilters { fields: &fields, ..TypedFilters::default() };
        let subjects = [Subject::Entry(&hidden), Subject::Entry(&kernel), place];
        let answers = subjects.map(|subject| selected(&asked, &subject));
        assert_eq!(answers, [of_hidden, of_kernel, of_place], "--{field} {value}");
        let not = [format!("{field}={value}")];
        let asked = TypedFilters { not: &not, ..TypedFilters::default() };
        assert_eq!(
            subjects.map(|subject| selected(&asked, &subject)),
            answers.map(|a| !a),
            "--not {field}={value}"
        );
    }
}
