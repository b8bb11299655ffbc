mod compare;
mod moves;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::join::join;
use crate::model::*;
use crate::registry::Registry;

/// Makes a socket and its process; without a program the owner is hidden.
fn socket(local: &str, inode: u64, uid: Option<u32>, owner: Owner) -> Socket {
    Socket {
        local: local.parse().unwrap(),
        peer: None,
        state: State::Listen,
        mptcp: false,
        attributes: SocketAttributes { uid, ..SocketAttributes::default() }.into(),
        inode: inode.try_into().ok(),
        cookie: inode.try_into().ok(),
        v6only: None,
        queues: None,
        owner,
    }
}

fn snapshot_of(held: &[(&str, Option<u32>, &[&str])]) -> Snapshot {
    let mut snapshot = Snapshot {
        schema: SNAPSHOT_SCHEMA.into(),
        tool: None,
        taken: Default::default(),
        host: Host {
            name: None,
            id: None,
            boot: None,
            labels: Default::default(),
            os: "linux".into(),
            kernel: None,
            privileged: true,
            scope: None,
            ephemeral: vec![],
            reserved: vec![],
            ephemeral_of: Vec::new(),
            ephemeral_source: String::new(),
        },
        scope: Scope::default(),
        sockets: vec![],
        processes: vec![],
        namespaces: vec![],
        firewalls: vec![],
        gaps: vec![],
        notes: vec![],
        used_bpf: false,
    };
    let mut pid = 100;
    for (inode, (local, uid, programs)) in (1..).zip(held) {
        let mut pids = Vec::new();
        for program in *programs {
            pid += 1;
            pids.push(pid);
            let exe = program.starts_with('/').then(|| Exe {
                path: (*program).to_owned(),
                state: ExeState::Present,
                open_directories: None,
            });
            let name = exe.is_none().then(|| (*program).to_owned());
            snapshot.processes.push(Process { exe, name, ..Process::unknown(pid) });
        }
        let owner = match programs {
            ["kernel"] => Owner::Kernel,
            [] => Owner::Hidden,
            _ => Owner::Held(Arc::new(pids)),
        };
        snapshot.sockets.push(socket(local, inode, *uid, owner));
    }
    snapshot
}

/// Returns the entries in the order of the snapshot. A difference must not depend on this order.
fn joined(snapshot: &Snapshot) -> Vec<Entry> {
    let alone = |socket: &Socket| {
        join(vec![socket.clone()], snapshot.processes.clone(), snapshot, &Registry::embedded())
    };
    snapshot.sockets.iter().flat_map(alone).collect()
}

/// Returns the difference as text: kind, endpoint, and the former endpoint if it differs.
fn printed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    matched(&joined(before), &joined(after))
        .changes
        .iter()
        .map(|change| {
            let local = &change.listener.socket.local;
            let was = change.before.map(|before| &before.socket.local).filter(|was| *was != local);
            let was = was.map(|was| format!(" from {was}")).unwrap_or_default();
            format!("{} {local}{was}", change.kind.name())
        })
        .collect()
}

/// The script of an interpreter, or the arguments of a relay, are a part of the program. If only one side knows them,
/// there is no difference.
#[test]
fn scripts_modules_and_destinations_are_identity() {
    let running = |exe: &str, cmdline: &str| {
        let mut snapshot = snapshot_of(&[("tcp/127.0.0.1:80", Some(7), &["/placeholder"])]);
        let process = &mut snapshot.processes[0];
        process.exe.as_mut().unwrap().path = exe.to_owned();
        process.cmdline = cmdline.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        snapshot
    };
    let python = "/usr/bin/python3.11";
    let changed = vec!["changed tcp/127.0.0.1:80".to_owned()];
    for (name, exe, before, after, is_changed) in [
        ("the same script", python, "python3 /srv/server.py -v", "python3 /srv/server.py", false),
        ("another script", python, "python3 /srv/server.py", "python3 /srv/evil.py", true),
        ("a script in place of none", python, "python3", "python3 /srv/evil.py", true),
        ("another module", python, "python3 -m http.server", "python3 -m pty", true),
        ("a worker with other descriptors", python, "python3 -c main(5)", "python3 -c main(17)", false),
        ("not known before", python, "", "python3 /srv/evil.py", false),
        ("another jar", "/usr/bin/java", "java -jar /a.jar", "java -jar /b.jar", true),
        ("another destination", "/usr/bin/socat", "socat TCP-L:80 TCP:a:1", "socat TCP-L:80 TCP:b:1", true),
        ("a server's arguments", "/usr/sbin/nginx", "nginx -c a", "nginx -c b", false),
    ] {
        let found = printed(&running(exe, before), &running(exe, after));
        assert_eq!(found, if is_changed { changed.clone() } else { vec![] }, "{name}");
    }
    let nginx = running("/usr/sbin/nginx", "nginx");
    let mut covered = nginx.clone();
    covered.processes[0].origin = Some(Origin::of(OriginKind::Elsewhere));
    assert_eq!(printed(&nginx, &covered), changed, "another file at the path");
    let script =
        |origin| Some(Script { path: "/srv/a.py".to_owned(), origin: Some(origin), is_program: false });
    let mut before = running(python, "python3 /srv/a.py");
    before.processes[0].script = script(Origin::of(OriginKind::System));
    let mut after = before.clone();
    after.processes[0].script = script(Origin::of(OriginKind::Elsewhere));
    assert_eq!(printed(&before, &after), changed, "another script at the path");
}

/// The destination of a forwarded port is part of its identity. A container is identified by its name, because its
/// address may change at every start.
#[test]
fn the_destination_of_a_forwarded_port() {
    let to = |address: &str, port, container: Option<&str>| {
        let container = container.map(|name| {
            let id = "4f1c".into();
            Arc::new(Container {
                id,
                manager: "docker".into(),
                name: Some(name.into()),
                ..Container::default()
            })
        });
        let to = Peer { address: address.parse().unwrap(), port };
        let mut snapshot = snapshot_of(&[("tcp/0.0.0.0:80", None, &["kernel"])]);
        let forwarding = Some(Forwarding { to, rule: "x".into(), container });
        let socket = &mut snapshot.sockets[0];
        socket.state = State::Published;
        socket.attributes = Arc::new(SocketAttributes { forwarding, ..SocketAttributes::default() });
        snapshot
    };
    let before = to("10.0.0.2", 80, None);
    for (name, after, is_changed) in [
        ("the same", to("10.0.0.2", 80, None), false),
        ("another address", to("10.0.0.3", 80, None), true),
        ("another port", to("10.0.0.2", 81, None), true),
        ("a container whose name was not known", to("10.0.0.2", 80, Some("shop")), false),
    ] {
        assert_eq!(!printed(&before, &after).is_empty(), is_changed, "{name}");
    }
    let shop = to("10.0.0.2", 80, Some("shop"));
    assert_eq!(printed(&shop, &to("10.0.0.9", 80, Some("shop"))), Vec::<String>::new(), "after a restart");
    assert_eq!(printed(&shop, &to("10.0.0.2", 80, Some("evil"))), ["changed tcp/0.0.0.0:80"]);
    let report = |snapshot| crate::judge::judge(snapshot, Registry::embedded());
    let (was, is) = (report(shop), report(to("10.0.0.9", 81, Some("shop"))));
    let comparison = compare(&was, &is);
    let change = since(&comparison.changes[0], &comparison);
    let sides = [change.before, change.after].map(|side| side.unwrap().processes());
    assert_eq!(
        sides,
        ["NAT rule to 10.0.0.2:80 (container shop)", "NAT rule to 10.0.0.9:81 (container shop)"]
    );
}

type Row = (&'static str, Option<u32>, &'static [&'static str]);

/// A case: its name, the listeners before and after, and the expected report.
type Case = (&'static str, &'static [Row], &'static [Row], &'static [&'static str]);

#[test]
fn differences() {
    const WEB: Row = ("tcp/127.0.0.1:80", Some(0), &["/bin/web"]);
    const OPEN: Row = ("tcp/0.0.0.0:80", Some(0), &["/bin/web"]);
    let rows: &[Case] = &[
        ("nothing", &[], &[], &[]),
        ("appeared", &[], &[WEB], &["appeared tcp/127.0.0.1:80"]),
        ("vanished", &[WEB], &[], &["vanished tcp/127.0.0.1:80"]),
        ("a restart", &[WEB, OPEN], &[OPEN, WEB], &[]),
        ("more workers", &[WEB], &[WEB, WEB, ("tcp/127.0.0.1:80", Some(0), &["/bin/web", "/bin/web"])], &[]),
        (
            "another program",
            &[WEB],
            &[("tcp/127.0.0.1:80", Some(0), &["/bin/x"])],
            &["changed tcp/127.0.0.1:80"],
        ),
        (
            "another user",
            &[WEB],
            &[("tcp/127.0.0.1:80", Some(7), &["/bin/web"])],
            &["changed tcp/127.0.0.1:80"],
        ),
        (
            "a name is not a file",
            &[("tcp/0.0.0.0:80", None, &["x"])],
            &[("tcp/0.0.0.0:80", None, &["y"])],
            &["changed tcp/0.0.0.0:80"],
        ),
        (
            "one more next to it",
            &[WEB],
            &[WEB, ("tcp/127.0.0.1:80", Some(0), &["/bin/x"])],
            &["appeared tcp/127.0.0.1:80"],
        ),
        ("widened", &[WEB], &[OPEN], &["widened tcp/0.0.0.0:80 from tcp/127.0.0.1:80"]),
        ("narrowed", &[OPEN], &[WEB], &["narrowed tcp/127.0.0.1:80 from tcp/0.0.0.0:80"]),
        (
            "widened by its device",
            &[("tcp/0.0.0.0%lo:80", Some(0), &["/bin/web"])],
            &[OPEN],
            &["widened tcp/0.0.0.0:80 from tcp/0.0.0.0%lo:80"],
        ),
        (
            "as wide elsewhere",
            &[OPEN],
            &[("tcp/[::]:80", Some(0), &["/bin/web"])],
            &["vanished tcp/0.0.0.0:80", "appeared tcp/[::]:80"],
        ),
        (
            "another's wider",
            &[WEB],
            &[("tcp/0.0.0.0:80", Some(0), &["/bin/x"])],
            &["appeared tcp/0.0.0.0:80", "vanished tcp/127.0.0.1:80"],
        ),
        (
            "wider by who knows whom",
            &[("tcp/127.0.0.1:80", Some(0), &[])],
            &[("tcp/0.0.0.0:80", Some(0), &[])],
            &["appeared tcp/0.0.0.0:80", "vanished tcp/127.0.0.1:80"],
        ),
        (
            "another protocol",
            &[WEB],
            &[("udp/127.0.0.1:80", Some(0), &["/bin/web"])],
            &["vanished tcp/127.0.0.1:80", "appeared udp/127.0.0.1:80"],
        ),
        ("hidden and seen", &[("tcp/127.0.0.1:80", Some(0), &[])], &[WEB], &[]),
        ("user not known", &[("tcp/127.0.0.1:80", None, &["/bin/web"])], &[WEB], &[]),
        (
            "hidden, of another user",
            &[("tcp/127.0.0.1:80", Some(7), &[])],
            &[WEB],
            &["changed tcp/127.0.0.1:80"],
        ),
        (
            "the kernel's is not hidden",
            &[("udp/0.0.0.0:9", Some(0), &["kernel"])],
            &[("udp/0.0.0.0:9", Some(0), &["/bin/x"])],
            &["changed udp/0.0.0.0:9"],
        ),
    ];
    for (name, before, after, wanted) in rows {
        assert_eq!(printed(&snapshot_of(before), &snapshot_of(after)), *wanted, "{name}");
    }
}

#[test]
fn a_namespace_is_part_of_the_address() {
    let netns = |inode, name: Option<&str>| Some(Netns { inode, name: name.map(str::to_owned) });
    let of = |netns| {
        let mut snapshot = snapshot_of(&[("tcp/0.0.0.0:80", Some(0), &["/bin/web"])]);
        Arc::make_mut(&mut snapshot.sockets[0].attributes).netns = netns;
        snapshot
    };
    assert_eq!(printed(&of(netns(1, Some("blue"))), &of(netns(2, Some("blue")))), [""; 0]);
    assert_eq!(printed(&of(netns(1, None)), &of(netns(2, None))).len(), 2);
    assert_eq!(printed(&of(None), &of(netns(2, None))).len(), 2);
    // A restarted container has another namespace with another name.
    let contained = |netns, container: &str| {
        let mut snapshot = of(netns);
        Arc::make_mut(&mut snapshot.sockets[0].attributes).container = Some(container.into());
        snapshot
    };
    let (before, after) = (contained(netns(1, Some("ab")), "web"), contained(netns(2, Some("cd")), "web"));
    assert_eq!(printed(&before, &after), [""; 0]);
    assert_eq!(printed(&before, &contained(netns(2, Some("cd")), "db")).len(), 2);
    assert_eq!(printed(&contained(None, "web"), &contained(None, "db")), [""; 0]);
}

/// Comparing a file that was crafted to be slow takes linear time.
#[test]
fn many_of_one_service() {
    let at = |network: &'static str| {
        let mut many = snapshot_of(&[("tcp/127.0.0.1:80", Some(0), &["/bin/web"])]);
        let one = many.sockets[0].clone();
        let sockets = (0..5_000_u32).map(|host| {
            let local = format!("tcp/{network}.{}.{}:80", host / 250, host % 250 + 1);
            Socket { local: local.parse().unwrap(), ..one.clone() }
        });
        many.sockets = sockets.collect();
        many
    };
    let printed = printed(&at("127.0"), &at("10.0"));
    assert_eq!(printed.len(), 10_000);
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let local = prop_oneof![
        Just("tcp/127.0.0.1:80"),
        Just("tcp/0.0.0.0:80"),
        Just("tcp/[::]:80"),
        Just("tcp/10.0.0.1:80"),
        Just("udp/0.0.0.0:80"),
        Just("tcp/127.0.0.1:81"),
    ];
    let programs: [&'static [&'static str]; 6] =
        [&[], &["kernel"], &["/bin/a"], &["/bin/b"], &["/bin/a", "/bin/b"], &["a"]];
    let uid = prop_oneof![Just(None), Just(Some(0)), Just(Some(7))];
    proptest::collection::vec((local, uid, proptest::sample::select(programs.to_vec())), 0..8)
}

/// Returns the text of a difference, turned into the text of the opposite difference.
fn turned(printed: &[String]) -> Vec<String> {
    let mut turned: Vec<String> = printed
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let kind = match words[0] {
                "appeared" => "vanished",
                "vanished" => "appeared",
                "widened" => "narrowed",
                "narrowed" => "widened",
                same => same,
            };
            match words[..] {
                [_, is, "from", was] => format!("{kind} {was} from {is}"),
                _ => format!("{kind} {}", words[1]),
            }
        })
        .collect();
    turned.sort();
    turned
}

proptest! {
    #[test]
    fn empty_against_itself(rows in rows()) {
        let snapshot = snapshot_of(&rows);
        prop_assert_eq!(printed(&snapshot, &snapshot), [""; 0]);
    }

    #[test]
    fn pids_inodes_and_order_do_not_matter(before in rows(), after in rows()) {
        let reported_as_it_is = printed(&snapshot_of(&before), &snapshot_of(&after));
        let reversed = |rows: &[Row]| snapshot_of(&rows.iter().rev().copied().collect::<Vec<_>>());
        prop_assert_eq!(printed(&reversed(&before), &reversed(&after)), reported_as_it_is);
        prop_assert_eq!(printed(&snapshot_of(&before), &reversed(&before)), [""; 0]);
    }

    #[test]
    fn swapped_sides_give_the_reverse_difference(before in rows(), after in rows()) {
        let (before, after) = (snapshot_of(&before), snapshot_of(&after));
        let mut back = printed(&after, &before);
        back.sort();
        prop_assert_eq!(turned(&printed(&before, &after)), back);
    }

    #[test]
    fn a_listener_on_one_side_only_is_reported(before in rows(), after in rows()) {
        let printed = printed(&snapshot_of(&before), &snapshot_of(&after)).join("\n") + "\n";
        for row in after.iter().filter(|row| before.iter().all(|other| other.0 != row.0)) {
            let line = |line: &&str| line.split(' ').nth(1) == Some(row.0);
            prop_assert!(printed.lines().any(|l| line(&l)), "{} is not in {}", row.0, printed);
        }
    }
}

/// IPv4 clients reach a socket on `[::]` unless it is set to IPv6 only.
#[test]
fn the_families_of_a_wildcard_socket() {
    let with = |local: &str, v6only| {
        let mut snapshot = snapshot_of(&[(local, Some(0), &["/bin/web"])]);
        snapshot.sockets.iter_mut().for_each(|socket| socket.v6only = v6only);
        joined(&snapshot)
    };
    for (local, was, is, wanted) in [
        ("tcp/[::]:80", Some(true), Some(false), Some(ChangeKind::Widened)),
        ("tcp/[::]:80", Some(false), Some(true), Some(ChangeKind::Narrowed)),
        ("tcp/[::]:80", Some(true), Some(true), None),
        ("tcp/[::]:80", None, Some(false), None),
        ("tcp/[::1]:80", Some(true), Some(false), None),
    ] {
        let (before, after) = (with(local, was), with(local, is));
        let found = matched(&before, &after).changes;
        let kinds: Vec<ChangeKind> = found.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, Vec::from_iter(wanted), "{local} {was:?} {is:?}");
    }
}
