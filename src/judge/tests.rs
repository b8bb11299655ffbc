//! The usual program of a port, tested from a snapshot to its findings.

use std::sync::Arc;

use crate::findings::Finding;
use crate::findings::identity::Impostor;
use crate::join::Entry;
use crate::judge::judge;
use crate::model::*;
use crate::registry::Registry;

pub(super) fn program_process(pid: Pid, name: &str, exe: &str, cmdline: &str) -> Process {
    let exe = (!exe.is_empty()).then(|| Exe {
        path: exe.to_owned(),
        state: ExeState::Present,
        open_directories: None,
    });
    let cmdline = cmdline.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Process { name: (!name.is_empty()).then(|| name.to_owned()), exe, cmdline, ..Process::unknown(pid) }
}

pub(crate) fn socket(local: &str, owner: Owner) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
        local,
        peer: None,
        mptcp: false,
        attributes: SocketAttributes::default().into(),
        inode: 1.try_into().ok(),
        cookie: None,
        v6only: None,
        queues: None,
        owner,
    }
}

pub(crate) fn seen(sockets: Vec<Socket>, processes: Vec<Process>) -> Snapshot {
    Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        tool: None,
        taken: "2026-11-21T12:00:00Z".parse().unwrap(),
        host: Host {
            name: None,
            id: None,
            boot: None,
            labels: Default::default(),
            os: "linux".to_owned(),
            kernel: None,
            privileged: true,
            scope: None,
            ephemeral: vec![PortRange { low: 32768, high: 60999 }],
            reserved: Vec::new(),
            ephemeral_of: Vec::new(),
            ephemeral_source: String::new(),
        },
        scope: Scope::default(),
        sockets,
        processes,
        namespaces: Vec::new(),
        firewalls: Vec::new(),
        gaps: Vec::new(),
        notes: Vec::new(),
        used_bpf: false,
    }
}

/// Returns the findings on one socket of these processes, and the usual program.
fn judged(local: &str, owner: Owner, processes: Vec<Process>) -> (Vec<Finding>, Option<UsualProgram>) {
    let snapshot = seen(vec![socket(local, owner)], processes);
    let report = judge(snapshot.clone(), Registry::embedded());
    let judged = &report.entries[0];
    (judged.findings().to_vec(), judged.usual().copied())
}

fn held(local: &str, processes: &[(&str, &str, &str)]) -> (Vec<&'static str>, Option<UsualProgram>) {
    let pids = (1..).zip(processes).map(|(pid, _)| pid).collect();
    let processes = (1..)
        .zip(processes)
        .map(|(pid, (name, exe, cmdline))| program_process(pid, name, exe, cmdline))
        .collect();
    let (findings, usual) = judged(local, Owner::Held(Arc::new(pids)), processes);
    (findings.iter().map(|finding| finding.flag().code()).collect(), usual)
}

const PYTHON: (&str, &str, &str) = ("python3", "/usr/bin/python3.11", "python3 x.py");
const NGINX: (&str, &str, &str) = ("nginx", "/usr/sbin/nginx", "nginx");
const ASTERISK: (&str, &str, &str) = ("asterisk", "/usr/sbin/asterisk", "asterisk");
const SYSTEMD: (&str, &str, &str) = ("systemd", "/usr/lib/systemd/systemd", "/sbin/init");

#[test]
fn usual_programs_make_a_port_unremarkable() {
    for (local, servers, codes, product) in [
        ("tcp/127.0.0.1:9090", vec![("prometheus", "/usr/bin/prometheus", "")], vec![], Some("Prometheus")),
        // The usual port of the program is not registered.
        ("tcp/127.0.0.1:10249", vec![("kube-proxy", "/usr/bin/kube-proxy", "")], vec![], Some("kube-proxy")),
        ("tcp/127.0.0.1:10249", vec![PYTHON], vec!["unexplained"], None),
        ("tcp/127.0.0.1:4", vec![NGINX], vec![], Some("nginx")),
        ("tcp/127.0.0.1:4", vec![("nginx", "/tmp/x", "")], vec!["masquerading", "unexplained"], None),
        // There is still a finding if one process is an unknown program or could not be read.
        ("tcp/127.0.0.1:4", vec![NGINX, PYTHON], vec!["unexplained"], None),
        ("tcp/127.0.0.1:4", vec![NGINX, ("", "", "")], vec!["unexplained"], None),
        ("tcp/127.0.0.1:3416", vec![NGINX], vec!["orphaned"], Some("nginx")),
        // A port that a program picked from its own range has no finding about the registration. Another program on the
        // same port has a finding.
        ("udp/127.0.0.1:13224", vec![ASTERISK], vec![], None),
        ("udp/127.0.0.1:13224", vec![PYTHON], vec!["orphaned"], None),
        ("udp/127.0.0.1:13224", vec![ASTERISK, PYTHON], vec!["orphaned"], None),
        ("udp/127.0.0.1:10004", vec![ASTERISK], vec![], None),
        ("udp/127.0.0.1:10004", vec![PYTHON], vec!["unexplained"], None),
        ("tcp/127.0.0.1:40001", vec![NGINX], vec!["ephemeral"], Some("nginx")),
        // A port in the kernel's own range needs no explanation, even if it is registered.
        ("tcp/127.0.0.1:40841", vec![PYTHON], vec!["ephemeral"], None),
        // A datagram socket in this range is usually a client.
        ("tcp/127.0.0.1:40001", vec![PYTHON], vec!["ephemeral"], None),
        ("udp/127.0.0.1:40001", vec![PYTHON], vec![], None),
        // The kernel does not give ports outside its range to outgoing connections.
        ("tcp/127.0.0.1:61001", vec![PYTHON], vec![], None),
        // Pid 1 opens the ports of Debian's socket units.
        ("tcp/127.0.0.1:30865", vec![SYSTEMD], vec![], Some("csync2.socket")),
    ] {
        let (found, usual) = held(local, &servers);
        assert_eq!(found, codes, "{local} {servers:?}");
        match (usual, product) {
            (Some(usual), Some(product)) => assert!(usual.product.contains(product), "{usual:?}"),
            (usual, product) => assert_eq!(usual.is_some(), product.is_some(), "{local} {usual:?}"),
        }
    }
}

#[test]
fn impostors() {
    for (local, servers, flagged) in [
        ("tcp/127.0.0.1:22", vec![PYTHON], true),
        ("tcp/127.0.0.1:22", vec![("sshd", "/usr/sbin/sshd", "")], false),
        // A program that opens sockets for other programs has no finding. The program that uses the socket may have
        // one.
        ("tcp/127.0.0.1:22", vec![SYSTEMD], false),
        ("tcp/127.0.0.1:22", vec![SYSTEMD, PYTHON], true),
        ("tcp/127.0.0.1:3306", vec![SYSTEMD], false),
        // One process of the inherited socket is the expected server. A process that could not be read may be this
        // server.
        ("tcp/127.0.0.1:22", vec![("sshd", "/usr/sbin/sshd", ""), PYTHON], false),
        ("tcp/127.0.0.1:22", vec![("", "", ""), PYTHON], false),
        ("tcp/127.0.0.1:22", vec![("nosuch", "", "")], false),
        ("udp/127.0.0.1:22", vec![PYTHON], false),
        // On a port that many programs serve, an unknown script is unfamiliar, but not an impostor.
        ("tcp/127.0.0.1:80", vec![PYTHON], false),
        ("tcp/127.0.0.1:80", vec![("myapp", "/srv/myapp", "")], false),
    ] {
        let (found, _) = held(local, &servers);
        assert_eq!(found.contains(&"impostor"), flagged, "{local} {servers:?}: {found:?}");
    }
    for owner in [Owner::Kernel, Owner::Hidden, Owner::Vanished, Owner::Unknown] {
        let (findings, _) = judged("tcp/127.0.0.1:22", owner.clone(), Vec::new());
        let codes: Vec<_> = findings.iter().map(|finding| finding.flag().code()).collect();
        assert!(codes.is_empty(), "{owner:?}: {codes:?}");
    }
}

/// An ordinary user cannot see the process. If a system service has the name of the program, the verdict is still the
/// same as for root.
#[test]
fn a_hidden_process_is_judged_by_its_unit() {
    for (local, unit, container, codes) in [
        ("tcp/0.0.0.0:10249", Some("kube-proxy.service"), None, vec![]),
        ("tcp/0.0.0.0:10249", Some("kube-proxy@1.service"), None, vec![]),
        ("tcp/0.0.0.0:10249", None, None, vec!["unexplained"]),
        ("tcp/0.0.0.0:10249", Some("nginx.service"), None, vec!["unexplained"]),
        // A user may give a service any name.
        ("tcp/0.0.0.0:10249", Some("user@1000.service/kube-proxy.service"), None, vec!["unexplained"]),
        ("tcp/0.0.0.0:10249", Some("kube-proxy.service"), Some("4f2a"), vec!["unexplained"]),
    ] {
        let mut one = socket(local, Owner::Hidden);
        let attributes = Arc::make_mut(&mut one.attributes);
        attributes.unit = unit.map(str::to_owned);
        attributes.container = container.map(str::to_owned);
        let report = judge(seen(vec![one], Vec::new()), Registry::embedded());
        let entry = &report.entries[0];
        let found: Vec<_> = entry.findings().iter().map(|finding| finding.flag().code()).collect();
        assert_eq!(found, codes, "{unit:?}");
        let mut sentences = entry.findings().iter().map(Finding::sentence);
        assert!(
            sentences.all(|text| text
                .ends_with("The process could not be seen, so this finding is based on the port alone.")),
            "{unit:?}"
        );
        assert_eq!(entry.usual().map(|usual| usual.rests_on), codes.is_empty().then_some(RestsOn::Unit));
        assert_eq!(entry.service().is_some(), codes.is_empty(), "{unit:?}");
    }
}

#[test]
fn units_are_named_like_programs() {
    for (unit, port, product) in [
        ("ssh.service", "tcp/0.0.0.0:22", Some("OpenSSH server")),
        ("sshd.service", "tcp/0.0.0.0:22", Some("OpenSSH server")),
        ("nginx.service", "tcp/0.0.0.0:80", Some("nginx")),
        ("postgresql@15-main.service", "tcp/0.0.0.0:5432", Some("PostgreSQL")),
        ("prometheus-node-exporter.service", "tcp/0.0.0.0:9100", Some("Prometheus node exporter")),
        ("ssh.service", "tcp/0.0.0.0:80", None),
    ] {
        let mut one = socket(port, Owner::Hidden);
        Arc::make_mut(&mut one.attributes).unit = Some(unit.to_owned());
        let report = judge(seen(vec![one], Vec::new()), Registry::embedded());
        let service = report.entries[0].service().filter(|service| service.by == ServiceBy::Unit);
        let found = service.and_then(|service| service.product).and_then(|text| text.split(" (").next());
        assert_eq!(found, product, "{unit}");
    }
}

#[test]
fn an_impostor_is_reported_with_its_evidence() {
    let at_home = "/home/u/python3.11";
    for (local, exe, severity) in [
        ("tcp/127.0.0.1:22", "/usr/bin/python3.11", Severity::Notice),
        ("tcp/0.0.0.0:22", "/usr/bin/python3.11", Severity::Warning),
        ("tcp/0.0.0.0:22", at_home, Severity::Critical),
    ] {
        let (findings, usual) =
            judged(local, Owner::Held(vec![7].into()), vec![program_process(7, "sshd", exe, "sshd: x")]);
        assert_eq!(usual, None);
        // An interpreter that claims to be a server has a separate finding.
        let claims = findings.iter().find(|finding| finding.flag().code() == "masquerading").unwrap();
        assert_eq!(claims.severity, Severity::Critical);
        let finding = findings.iter().find(|finding| finding.flag().code() == "impostor").unwrap();
        assert_eq!(finding.severity, severity);
        let Impostor { service, expected, found, why, .. } = Impostor::of(&finding.evidence).unwrap();
        assert_eq!(*service, "ssh");
        assert!(expected.contains(&"sshd") && why.contains("passwords"));
        assert_eq!((found[0].pid, found[0].rests_on), (7, RestsOn::Exe));
        assert_eq!(found[0].program, "python3.11");
    }
}

/// A listing of all connections has 100,000 values of each of these types, so the types must stay small. Measured: 20
/// MiB for 80,000 connections.
#[test]
#[cfg(target_pointer_width = "64")]
fn sockets_and_entries_are_small() {
    assert!(size_of::<Socket>() <= 112, "{}", size_of::<Socket>());
    assert!(size_of::<Entry>() <= size_of::<Socket>() + 40, "{}", size_of::<Entry>());
}
