//! Checks which sockets match a target or a filter.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Answer::{self, No, Unknown, Yes};
use super::{OwnAddresses, Selection, Subject, Target, TypedFilters, filter};
use crate::join::{Entry, join};
use crate::model::{
    Container, Endpoint, Exe, ExeState, Family, ForwardTarget, InferredOwner, ListenerService, Owner,
    OwnerEvidence, Peer, Process, Protocol, ServiceBy, Socket, SocketAttributes, State,
};
use crate::registry::Registry;

fn socket(local: &str, v6only: Option<bool>) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
        local,
        peer: None,
        mptcp: false,
        attributes: SocketAttributes::default().into(),
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
        ("a loopback address on another device", "127.0.0.1:80", "tcp/127.0.0.1%eth0:80", None, No),
        ("a loopback address on its device", "127.0.0.53:53", "tcp/127.0.0.53%lo:53", None, Yes),
        ("an address on its device", "10.0.0.1:80", "tcp/10.0.0.1%eth0:80", None, Yes),
        ("a wildcard on the loopback device", "127.0.0.1:80", "tcp/0.0.0.0%lo:80", None, Yes),
        ("any address on the loopback device", "10.0.0.1:80", "tcp/0.0.0.0%lo:80", None, Unknown),
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

#[test]
fn the_name_of_an_interface_means_what_is_reached_through_it() {
    for (name, local, v6only, answer) in [
        ("bound to it", "tcp/0.0.0.0%eth0:80", None, Yes),
        ("bound to another", "tcp/0.0.0.0%eth1:80", None, No),
        ("an address of it", "tcp/10.1.2.3:80", None, Yes),
        ("another address", "tcp/10.1.2.4:80", None, No),
        ("every IPv4 address", "tcp/0.0.0.0:80", None, Yes),
        ("every IPv6 address alone", "tcp/[::]:80", Some(true), No),
        ("both families", "tcp/[::]:80", Some(false), Yes),
        ("loopback", "tcp/127.0.0.1:80", None, No),
    ] {
        let mut target = Target::parse("eth0", &Registry::embedded()).unwrap();
        target.resolve(&OwnAddresses {
            of_interface: &|name| (name == "eth0").then(|| vec![[10, 1, 2, 3].into()]),
            has: &|address| address == IpAddr::from([10, 1, 2, 3]) || address.is_loopback(),
        });
        let mut socket = socket(local, v6only);
        socket.owner = Owner::Kernel;
        assert_eq!(target.test(&Subject::Entry(&entry(socket)), false), answer, "{name}");
    }
}

/// An address of this machine selects the sockets that receive traffic for it, even if no port follows. Any other
/// address selects only the sockets that are bound to it.
#[test]
fn an_address_of_this_machine_means_what_is_reached_there() {
    let own = |address: IpAddr| address == IpAddr::from([10, 1, 2, 3]) || address.is_loopback();
    for (name, target, local, v6only, answer) in [
        ("bound to it", "10.1.2.3", "tcp/10.1.2.3:80", None, Yes),
        ("every IPv4 address", "10.1.2.3", "tcp/0.0.0.0:80", None, Yes),
        ("every address", "10.1.2.3", "tcp/[::]:80", Some(false), Yes),
        ("every IPv6 address alone", "10.1.2.3", "tcp/[::]:80", Some(true), No),
        ("another address", "10.1.2.3", "tcp/10.1.2.4:80", None, No),
        ("loopback", "127.0.0.1", "tcp/0.0.0.0:80", None, Yes),
        ("this machine by name", "localhost", "tcp/0.0.0.0:80", None, Yes),
        ("an address of another machine", "10.9.9.9", "tcp/0.0.0.0:80", None, No),
        ("its port", "10.9.9.9:80", "tcp/0.0.0.0:80", None, No),
        ("its port, bound to it", "10.9.9.9:80", "tcp/10.9.9.9:80", None, Yes),
        ("a multicast address", "224.0.0.251:5353", "udp/0.0.0.0:5353", None, Yes),
        ("a network", "10.1.2.0/24", "tcp/0.0.0.0:80", None, No),
        ("the wildcard address", "0.0.0.0", "tcp/10.1.2.3:80", None, No),
    ] {
        let mut target = Target::parse(target, &Registry::embedded()).unwrap();
        target.resolve(&OwnAddresses { of_interface: &|_| None, has: &own });
        let mut socket = socket(local, v6only);
        socket.owner = Owner::Kernel;
        assert_eq!(target.test(&Subject::Entry(&entry(socket)), false), answer, "{name}");
    }
}

/// A service with a hidden process is found by the name of its system service. It is also found by the product that a
/// listing shows for it.
#[test]
fn names_of_services_whose_process_is_hidden() {
    for (name, target, local, unit, product, answer) in [
        ("the unit has the name", "nginx", "tcp/0.0.0.0:80", "nginx.service", None, true),
        (
            "an instance",
            "postgres",
            "tcp/0.0.0.0:5432",
            "postgresql@15-main.service",
            Some("PostgreSQL"),
            true,
        ),
        ("a program without a list", "shop-api", "tcp/0.0.0.0:8080", "shop-api.service", None, true),
        ("a unit of a user", "nginx", "tcp/0.0.0.0:80", "user@1000.service/nginx.service", None, false),
        ("another unit", "nginx", "tcp/0.0.0.0:80", "apache2.service", Some("Apache HTTP Server"), false),
    ] {
        let socket = Socket {
            attributes: SocketAttributes { unit: Some(unit.into()), ..SocketAttributes::default() }.into(),
            owner: Owner::Hidden,
            ..socket(local, None)
        };
        let mut entry = entry(socket);
        if product.is_some() {
            entry.set_service(ListenerService { name: None, product, by: ServiceBy::Unit });
        }
        let target = Target::parse(target, &Registry::embedded()).unwrap();
        assert_eq!(target.test(&Subject::Entry(&entry), false).is_yes(), answer, "{name}");
    }
}

#[test]
fn the_filter_of_containers_finds_published_ports() {
    let mut entry = entry(Socket { owner: Owner::Kernel, ..socket("tcp/0.0.0.0:8888", None) });
    let container = Container { id: "0".repeat(64), name: Some("web-cache".into()), ..Container::default() };
    entry.set_forwards_to(ForwardTarget {
        address: [172, 17, 0, 2].into(),
        port: 80,
        container: Some(container.into()),
        pids: Vec::new(),
        served_by: None,
    });
    for (typed, answer) in [("web-cache", Yes), (&*"0".repeat(64), Yes), ("another", No)] {
        let filter = filter::keyed("container", typed).unwrap();
        assert_eq!(filter.test(&Subject::Entry(&entry), false), answer, "{typed}");
    }
}

/// The name of a service finds the programs that serve it, on any port. It does not find a program that only forwards
/// the port of the service.
#[test]
fn names_of_services_products_and_programs() {
    for (target, exe, line, answer) in [
        ("ssh", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", Yes),
        ("OpenSSH", "/usr/sbin/sshd", "/usr/sbin/sshd -D", Yes),
        ("ssh", "/usr/sbin/nginx", "nginx: master process", No),
        ("http", "/usr/sbin/nginx", "nginx: master process", Yes),
        ("http", "/usr/bin/ssh", "ssh -N -L 3000:localhost:80 gate", No),
        ("redis", "/usr/bin/redis-server", "redis-server 127.0.0.1:3000", Yes),
        ("http", "/usr/bin/redis-server", "redis-server 127.0.0.1:3000", No),
    ] {
        assert_eq!(test_on_another_port(target, exe, line), answer, "{target}: {line}");
    }
}

/// Tests a target against a listener on a port that the target does not name. `exe` and `line` describe the process.
fn test_on_another_port(target: &str, exe: &str, line: &str) -> Answer {
    let process = Process {
        name: Some("x".to_owned()),
        exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
        cmdline: line.split(' ').map(str::to_owned).collect(),
        ..Process::unknown(7)
    };
    let socket = Socket { owner: Owner::Held(vec![7].into()), ..socket("tcp/127.0.0.1:3000", None) };
    let snapshot = serde_json::from_str(include_str!("../../tests/captures/five.json")).unwrap();
    let entry = join(vec![socket], vec![process], &snapshot, &Registry::embedded()).remove(0);
    let target = Target::parse(target, &Registry::embedded()).unwrap();
    target.test(&Subject::Entry(&entry), false)
}

#[test]
fn scripts_archives_and_classes_are_names() {
    for (target, exe, line, answer) in [
        ("server.py", "/usr/bin/python3.11", "python3 -u server.py 80", Yes),
        ("server.js", "/usr/bin/node", "node -r dotenv/config /srv/server.js", Yes),
        ("dotenv", "/usr/bin/node", "node -r dotenv server.js", No),
        ("app.jar", "/usr/lib/jvm/bin/java", "java -Xmx1g -jar /opt/app.jar --port 80", Yes),
        ("Main", "/usr/lib/jvm/bin/java", "java -cp /opt org.shop.Main", Yes),
        ("http.server", "/usr/bin/python3", "python3 -m http.server 80", Yes),
        ("80", "/usr/bin/python3", "python3 -m http.server 80", No),
        ("server.py", "/usr/sbin/nginx", "nginx server.py", No),
    ] {
        assert_eq!(test_on_another_port(target, exe, line), answer, "{line}");
    }
}

/// A filter about the process has the answer unknown if the process is not visible, or if there is no listener.
#[test]
fn missing_evidence_is_unknown() {
    let hidden = entry(socket("tcp/0.0.0.0:80", None));
    let kernel = entry(Socket { owner: Owner::Kernel, ..socket("tcp/0.0.0.0:80", None) });
    let place = Subject::NoListener { protocol: None, address: None, port: Some(80) };
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

/// A container is found by its name or the name of its pod. The port that it publishes is found in the same way.
#[test]
fn a_container_is_a_target() {
    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    let details = std::sync::Arc::new(Container {
        id: ID.to_owned(),
        name: Some("user@1000.service/shop-web".to_owned()),
        pod: Some("shop-7d9f".to_owned()),
        ..Container::default()
    });
    let named = |process: Process| Process { name: Some("python3".to_owned()), ..process };
    let inside = Process {
        container: Some(ID.to_owned()),
        container_details: Some(std::sync::Arc::clone(&details)),
        ..Process::unknown(7)
    };
    let unnamed = Process { container_details: None, ..inside.clone() };
    let proxy = Process { forwards_to_container: Some(details), ..Process::unknown(7) };
    for (name, process, typed, answer) in [
        ("its name", named(inside.clone()), "shop-web", Yes),
        ("its pod", named(inside.clone()), "shop-7d9f", Yes),
        ("another name", named(inside), "shop-db", No),
        ("the proxy of a published port", named(proxy), "shop-web", Yes),
        ("its name, which could not be read", named(unnamed), "shop-web", Unknown),
    ] {
        let mut socket = socket("tcp/0.0.0.0:80", None);
        socket.owner = Owner::Held(vec![7].into());
        let snapshot = serde_json::from_str(include_str!("../../tests/captures/five.json")).unwrap();
        let entry = join(vec![socket], vec![process], &snapshot, &Registry::embedded()).remove(0);
        let target = Target::parse(typed, &Registry::embedded()).unwrap();
        assert_eq!(target.test(&Subject::Entry(&entry), false), answer, "{name}");
    }
}

/// A guess can select a listener, but never exclude it.
#[test]
fn the_probable_owner_of_a_hidden_socket_has_its_name() {
    let process = Process { name: Some("docker-proxy".to_owned()), ..Process::unknown(7) };
    let evidence = OwnerEvidence::OnlyProgram { count: 1 };
    let owner = InferredOwner { process, evidence };
    for (name, owner, typed, selects, excludes) in [
        ("its name", Some(&owner), "docker-proxy", Yes, Unknown),
        ("its name and protocol", Some(&owner), "tcp/docker-proxy", Yes, Unknown),
        ("another protocol", Some(&owner), "udp/docker-proxy", No, Yes),
        ("another name", Some(&owner), "nginx", Unknown, Unknown),
        ("no probable owner", None, "docker-proxy", Unknown, Unknown),
    ] {
        let mut entry = entry(socket("tcp/0.0.0.0:8080", None));
        owner.into_iter().for_each(|owner| entry.set_inferred_owner(std::sync::Arc::new(owner.clone())));
        let typed = [typed.to_owned()];
        let targets = TypedFilters { targets: &typed, ..TypedFilters::default() };
        let not = TypedFilters { not: &typed, ..TypedFilters::default() };
        let found = [targets, not].map(|asked| selected(&asked, &Subject::Entry(&entry)));
        assert_eq!(found, [selects, excludes], "{name}");
    }
}

/// A filter for one class of exposure leaves out listeners of other classes. Clients of the class can still reach these
/// listeners.
#[test]
fn reachable_listeners_that_an_exposure_leaves_out_are_noted() {
    let entries: Vec<Entry> = ["tcp/0.0.0.0:80", "tcp/0.0.0.0:81", "tcp/192.168.7.5:80", "tcp/127.0.0.1:80"]
        .map(|local| entry(socket(local, None)))
        .into();
    for (exposures, targets, noted) in [
        (&["public"][..], &[][..], 3),
        (&["Private"], &[], 2),
        (&["public"], &["80"], 2),
        (&["public", "any"], &[], 1),
        (&["any", "private"], &[], 0),
        (&["loopback"], &[], 0),
        (&["any"], &[], 1),
    ] {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
        let (targets, fields) = (owned(targets), [("exposure", owned(exposures))]);
        let typed = TypedFilters { targets: &targets, fields: &fields, ..TypedFilters::default() };
        let selection = Selection::new(&typed, &Registry::embedded()).unwrap();
        assert_eq!(selection.also_reachable(&entries), noted, "{exposures:?} {targets:?}");
    }
}
