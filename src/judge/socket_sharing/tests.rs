use std::sync::Arc;

use super::super::judge;
use super::super::tests::{program_process, seen, socket};
use crate::findings::socket::{Shadowed, Shared};
use crate::findings::{Difference, Evidence, Finding, FindingKind};
use crate::model::*;
use crate::registry::Registry;

/// A process, given as its pid, user, file and parents.
type ProcessSpec = (Pid, u32, &'static str, &'static [Pid]);

const NGINX: &str = "/usr/sbin/nginx";
const PYTHON: &str = "/usr/bin/python3.11";
const SYSTEMD: ProcessSpec = (1, 0, "/usr/lib/systemd/systemd", &[]);

fn process(&(pid, uid, exe, parents): &ProcessSpec) -> Process {
    let name = exe.rsplit('/').next().unwrap_or_default();
    let parents = parents.iter().map(|&pid| Parent::new(pid, "parent".to_owned())).collect();
    Process {
        uid: Some(uid),
        user: Some(format!("u{uid}")),
        parents,
        ..program_process(pid, name, exe, &format!("{name} {pid}"))
    }
}

fn evidence(sockets: Vec<Socket>, processes: Vec<Process>) -> Vec<Vec<Evidence>> {
    let mut sockets = sockets;
    for (at, socket) in sockets.iter_mut().enumerate() {
        socket.inode = u64::try_from(at + 1).unwrap().try_into().ok();
    }
    let count = sockets.len();
    let snapshot = seen(sockets, processes);
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut found = vec![Vec::new(); count];
    for judged in &report.entries {
        let at = usize::try_from(judged.socket.inode.unwrap().get()).unwrap() - 1;
        let new = |finding: &&Finding| [Shadowed::FLAG, Shared::FLAG].contains(&finding.flag());
        found[at] = judged.findings().iter().filter(new).map(|finding| finding.evidence.clone()).collect();
    }
    found
}

fn of(sockets: &[(&str, &[Pid])], who: &[ProcessSpec]) -> Vec<Vec<Evidence>> {
    let sockets = sockets
        .iter()
        .map(|(local, pids)| Socket {
            v6only: Some(false),
            ..socket(local, Owner::Held(pids.to_vec().into()))
        })
        .collect();
    evidence(sockets, who.iter().map(process).collect())
}

fn codes(found: &[Vec<Evidence>]) -> Vec<String> {
    let code = |evidence: &Evidence| match (Shared::of(evidence), Shadowed::of(evidence)) {
        (Some(shared), _) => format!("{:?}", shared.differ_in),
        (_, Some(Shadowed { takes_from, loses_to, .. })) => {
            format!("takes {} loses {}", takes_from.len(), loses_to.len())
        }
        _ => format!("{evidence:?}"),
    };
    found.iter().map(|all| all.iter().map(code).collect::<Vec<_>>().join("; ")).collect()
}

#[test]
fn owners_of_one_socket() {
    let at = "tcp/0.0.0.0:8080";
    for (name, who, wanted) in [
        ("alone", vec![(7, 0, NGINX, &[1][..])], ""),
        ("two of one program", vec![(7, 5, NGINX, &[1]), (8, 5, NGINX, &[1])], ""),
        (
            "master and workers",
            vec![(7, 0, NGINX, &[1]), (8, 33, NGINX, &[7, 1]), (9, 33, NGINX, &[7, 1])],
            "",
        ),
        ("workers of a worker", vec![(7, 0, NGINX, &[1]), (8, 5, NGINX, &[7]), (9, 6, NGINX, &[8, 7])], ""),
        ("two users, unrelated", vec![(7, 0, NGINX, &[1]), (8, 33, NGINX, &[1])], "[User]"),
        ("an inherited socket", vec![(7, 0, NGINX, &[1]), (8, 0, "/bin/bash", &[7, 1])], "[Executable]"),
        (
            "another program, another user",
            vec![(7, 0, NGINX, &[1]), (8, 5, PYTHON, &[1])],
            "[User, Executable]",
        ),
        ("systemd and a service", vec![SYSTEMD, (7, 5, NGINX, &[1])], ""),
        (
            "systemd and two unrelated programs",
            vec![SYSTEMD, (7, 5, NGINX, &[1]), (8, 5, PYTHON, &[1])],
            "[Executable]",
        ),
        (
            "a user's systemd and a service",
            vec![(7, 5, "/usr/lib/systemd/systemd", &[1]), (8, 5, PYTHON, &[7, 1])],
            "",
        ),
        (
            "a systemd and an unknown program",
            vec![(7, 5, "/usr/lib/systemd/systemd", &[1]), (8, 6, PYTHON, &[1])],
            "[User, Executable]",
        ),
        ("an inetd and what it started", vec![(7, 0, "/usr/sbin/inetd", &[1]), (8, 5, PYTHON, &[7, 1])], ""),
        (
            "a suite in its own directory",
            vec![(7, 0, "/usr/lib/postfix/sbin/master", &[1]), (8, 5, "/usr/lib/postfix/sbin/smtpd", &[7])],
            "",
        ),
        (
            "a suite below a directory of the master's name",
            vec![(7, 0, "/usr/sbin/dovecot", &[1]), (8, 5, "/usr/lib/dovecot/imap-login", &[7])],
            "",
        ),
        (
            "one directory, unrelated",
            vec![(7, 0, "/opt/a/bin/x", &[1]), (8, 0, "/opt/a/bin/y", &[1])],
            "[Executable]",
        ),
        (
            "a common directory",
            vec![(7, 0, "/usr/sbin/x", &[1]), (8, 0, "/usr/sbin/y", &[7])],
            "[Executable]",
        ),
        (
            "a directory called as the interpreter",
            vec![(7, 0, "/usr/bin/python3", &[1]), (8, 0, "/usr/lib/python3/x", &[7])],
            "[Executable]",
        ),
        ("an upgrade under way", vec![(7, 0, NGINX, &[1]), (8, 0, NGINX, &[7])], ""),
    ] {
        let pids: Vec<Pid> = who.iter().map(|(pid, ..)| *pid).collect();
        assert_eq!(codes(&of(&[(at, &pids)], &who)), [wanted], "{name}");
    }
}

#[test]
fn known_programs_of_one_service_belong_together() {
    let who = [(7, 0, "/usr/sbin/cyrmaster", &[1][..]), (8, 5, "/usr/lib/cyrus/bin/imap-login", &[7, 1])];
    assert_eq!(codes(&of(&[("tcp/0.0.0.0:143", &[7, 8])], &who)), [""]);
    assert_eq!(codes(&of(&[("tcp/0.0.0.0:144", &[7, 8])], &who)), ["[User, Executable]"]);
}

#[test]
fn sockets_on_one_address() {
    let two = |a: &'static str, b: &'static str| [(a, &[7][..]), (b, &[8][..])];
    let users = [(7, 0, NGINX, &[1][..]), (8, 33, NGINX, &[1])];
    let programs = [(7, 5, NGINX, &[1][..]), (8, 5, PYTHON, &[1])];
    let same = [(7, 5, NGINX, &[1][..]), (8, 5, NGINX, &[1])];
    for (name, sockets, who, wanted) in [
        ("two users", two("tcp/127.0.0.1:8080", "tcp/127.0.0.1:8080"), users, ["[User]"; 2]),
        ("two programs", two("tcp/0.0.0.0:8080", "tcp/0.0.0.0:8080"), programs, ["[Executable]"; 2]),
        ("mapped", two("udp/[::ffff:127.0.0.1]:8080", "udp/127.0.0.1:8080"), users, ["[User]"; 2]),
        ("one program twice", two("tcp/0.0.0.0:8080", "tcp/0.0.0.0:8080"), same, [""; 2]),
        ("two addresses", two("tcp/127.0.0.1:8080", "tcp/127.0.0.2:8080"), programs, [""; 2]),
        ("two ports", two("tcp/127.0.0.1:8080", "tcp/127.0.0.1:8081"), programs, [""; 2]),
        ("two protocols", two("tcp/127.0.0.1:8080", "udp/127.0.0.1:8080"), programs, [""; 2]),
        ("two devices", two("udp/0.0.0.0%a:8080", "udp/0.0.0.0%b:8080"), programs, [""; 2]),
        ("mDNS", two("udp/0.0.0.0:5353", "udp/0.0.0.0:5353"), users, [""; 2]),
        ("no mDNS", two("tcp/0.0.0.0:5353", "tcp/0.0.0.0:5353"), users, ["[User]"; 2]),
    ] {
        assert_eq!(codes(&of(&sockets, &who)), wanted, "{name}");
    }
    // In these tests, each command line is `python3.11 PID`. Therefore each process runs another script.
    let scripts = [(7, 5, PYTHON, &[1][..]), (8, 5, PYTHON, &[1])];
    assert_eq!(codes(&of(&two("tcp/0.0.0.0:8080", "tcp/0.0.0.0:8080"), &scripts)), ["[Executable]"; 2]);
    let worker = [(7, 5, PYTHON, &[1][..]), (8, 5, PYTHON, &[7, 1])];
    assert_eq!(codes(&of(&two("tcp/0.0.0.0:8080", "tcp/0.0.0.0:8080"), &worker)), [""; 2]);
    // A single mDNS socket with two processes is shared.
    let found = of(&[("udp/0.0.0.0:5353", &[7, 8]), ("udp/0.0.0.0:5353", &[7])], &programs);
    assert_eq!(codes(&found), ["[Executable]", ""]);
}

#[test]
fn the_evidence_of_sharing() {
    let who = [(7, 0, NGINX, &[1][..]), (8, 33, NGINX, &[7]), (9, 33, NGINX, &[7]), (10, 6, PYTHON, &[1])];
    let found = of(&[("tcp/0.0.0.0:80", &[7, 8, 9, 10, 11])], &who);
    let Some(Shared { differ_in, processes, sockets: 1 }) = found[0].iter().find_map(Shared::of) else {
        panic!("{found:?}")
    };
    assert_eq!(differ_in, &[Difference::User, Difference::Executable]);
    let printed: Vec<_> = processes.known.iter().map(|known| (known.pid, known.count, known.uid)).collect();
    assert_eq!(printed, [(7, 1, Some(0)), (8, 2, Some(33)), (10, 1, Some(6))]);
    assert_eq!((processes.more, processes.unread), (0, 1));
    let crowd: Vec<ProcessSpec> = (1..=30).map(|pid| (pid, pid, NGINX, &[][..])).collect();
    let pids: Vec<Pid> = (1..=30).collect();
    let found = of(&[("tcp/0.0.0.0:80", &pids)], &crowd);
    let Shared { processes, .. } = found[0].iter().find_map(Shared::of).unwrap();
    assert_eq!((processes.known.len(), processes.more), (8, 22));
}

#[test]
fn shadows() {
    let are_unrelated = [(7, 5, NGINX, &[1][..]), (8, 5, PYTHON, &[1])];
    let scripts = [(7, 5, PYTHON, &[1][..]), (8, 5, PYTHON, &[1])];
    let users = [(7, 0, NGINX, &[1][..]), (8, 33, NGINX, &[1])];
    let same = [(7, 5, NGINX, &[1][..]), (8, 5, NGINX, &[1])];
    let family = [(7, 0, NGINX, &[1][..]), (8, 33, NGINX, &[7, 1])];
    let reverse = [(7, 33, NGINX, &[8, 1][..]), (8, 0, NGINX, &[1])];
    let opened = [SYSTEMD, (8, 33, NGINX, &[1][..])];
    let both = ["takes 1 loses 0", "takes 0 loses 1"];
    let (local, any) = ("tcp/127.0.0.1:8080", "tcp/0.0.0.0:8080");
    for (name, narrow, wide, who, wanted) in [
        ("another program", local, any, are_unrelated, both),
        ("another script", local, any, scripts, both),
        ("another user", local, any, users, both),
        ("two instances of one program", local, any, same, both),
        ("two instances, one address", "udp/127.0.0.1%lo:8080", "udp/127.0.0.1:8080", same, ["", ""]),
        ("a worker", local, any, family, ["", ""]),
        ("a master", local, any, reverse, ["", ""]),
        ("for whom systemd opened it is not known", local, any, opened, ["", ""]),
        ("both families", local, "tcp/[::]:8080", are_unrelated, both),
        ("IPv4 and both families", any, "tcp/[::]:8080", are_unrelated, both),
        ("another port", local, "tcp/0.0.0.0:8081", are_unrelated, ["", ""]),
        ("a device", "udp/0.0.0.0%lo:8080", "udp/0.0.0.0:8080", are_unrelated, both),
        ("a device and no wildcard", "udp/127.0.0.1%lo:8080", "udp/127.0.0.1:8080", are_unrelated, both),
        ("a group", "udp/224.0.0.251:5353", "udp/0.0.0.0:5353", are_unrelated, ["", ""]),
    ] {
        let [first, second] = [who[0].0, who[1].0];
        let found = of(&[(narrow, &[first]), (wide, &[second])], &who);
        assert_eq!(codes(&found), wanted, "{name}");
    }
    // Two workers of one master count as one instance.
    let workers = [7, 8].map(|pid| {
        let parents = vec![Parent::new(3, "nginx".to_owned())];
        Process { parents, ..process(&(pid, 5, NGINX, &[])) }
    });
    let sockets = [(local, 7), (any, 8)].map(|(local, pid)| socket(local, Owner::Held(vec![pid].into())));
    assert_eq!(codes(&evidence(sockets.to_vec(), workers.to_vec())), ["", ""], "workers");
    // A process that owns both sockets loses no traffic.
    assert_eq!(codes(&of(&[(local, &[7, 8]), (any, &[8])], &are_unrelated)), ["[Executable]", ""]);
    assert_eq!(
        codes(&of(&[(local, &[7, 9]), (any, &[8, 9])], &are_unrelated)),
        ["", ""],
        "9 could not be read"
    );
    // An unknown process gets no finding.
    assert_eq!(codes(&of(&[(local, &[7]), (any, &[9])], &are_unrelated)), ["", ""]);
    let hidden = vec![
        socket(local, Owner::Held(vec![7].into())),
        socket(any, Owner::Hidden),
        socket("tcp/[::]:8080", Owner::Kernel),
    ];
    assert_eq!(codes(&evidence(hidden, vec![process(&are_unrelated[0])])), ["", "", ""]);
    let mut bare = are_unrelated.map(|who| process(&who));
    bare[1].uid = None;
    let sockets = vec![socket(local, Owner::Held(vec![7].into())), socket(any, Owner::Held(vec![8].into()))];
    assert_eq!(codes(&evidence(sockets, bare.to_vec())), ["", ""]);
}

#[test]
fn a_namespace_is_a_network_of_its_own() {
    let are_unrelated = [(7, 5, NGINX, &[1][..]), (8, 6, PYTHON, &[1])].map(|who| process(&who));
    let netns = Some(Netns { inode: 7, name: None });
    let elsewhere: Arc<SocketAttributes> = SocketAttributes { netns, ..SocketAttributes::default() }.into();
    for (first, second) in [("tcp/127.0.0.1:80", "tcp/0.0.0.0:80"), ("tcp/0.0.0.0:80", "tcp/0.0.0.0:80")] {
        let sockets = vec![
            Socket { attributes: elsewhere.clone(), ..socket(first, Owner::Held(vec![7].into())) },
            socket(second, Owner::Held(vec![8].into())),
        ];
        assert_eq!(codes(&evidence(sockets, are_unrelated.to_vec())), ["", ""]);
    }
}

#[test]
fn the_evidence_of_a_shadow() {
    let who = [(7, 5, NGINX, &[1][..]), (8, 6, PYTHON, &[1]), (9, 6, PYTHON, &[1])];
    let found = of(
        &[
            ("tcp/127.0.0.1:80", &[7]),
            ("tcp/0.0.0.0:80", &[8]),
            ("tcp/[::]:80", &[9]),
            ("tcp/[::1]:80", &[8]),
        ],
        &who,
    );
    // Process 9 runs another script. It loses the traffic to all IPv4 addresses, and to one IPv6 address.
    assert_eq!(codes(&found), ["takes 2 loses 0", "takes 1 loses 1", "takes 0 loses 3", "takes 1 loses 0"]);
    let Some(Shadowed { takes_from, more: 0, .. }) = found[0].iter().find_map(Shadowed::of) else {
        panic!("{found:?}")
    };
    assert_eq!(takes_from[0].address.to_string(), "0.0.0.0");
    assert_eq!(takes_from[0].processes.known[0].pid, 8);
    let mut sockets = vec![("udp/0.0.0.0:9".to_owned(), 8)];
    sockets.extend((1..=20).map(|n| (format!("udp/127.0.0.{n}:9"), 7)));
    let sockets: Vec<(&str, Vec<Pid>)> =
        sockets.iter().map(|(local, pid)| (local.as_str(), vec![*pid])).collect();
    let sockets: Vec<(&str, &[Pid])> = sockets.iter().map(|(local, pids)| (*local, &pids[..])).collect();
    let found = of(&sockets, &who);
    let Shadowed { loses_to, more, .. } = found[0].iter().find_map(Shadowed::of).unwrap();
    assert_eq!((loses_to.len(), *more), (8, 12));
}

/// Any user can open ten thousand sockets on one port, with as many processes. The evidence for each socket must stay
/// short.
#[test]
fn a_crowd_on_one_port() {
    let crowd = 2000;
    let mut sockets = Vec::new();
    let mut processes = Vec::new();
    for n in 1..=crowd {
        sockets
            .push(socket(&format!("udp/127.1.{}.{}:9", n / 250, n % 250 + 1), Owner::Held(vec![n].into())));
        sockets.push(socket("udp/0.0.0.0:9", Owner::Held(vec![crowd + n].into())));
        processes.push(process(&(n, n, NGINX, &[][..])));
        processes.push(process(&(crowd + n, 1, "/usr/sbin/other", &[][..])));
    }
    let found = evidence(sockets, processes);
    assert_eq!(codes(&found)[..2], ["takes 1 loses 0", "takes 0 loses 8"]);
}
