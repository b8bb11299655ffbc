//! One scene for the tests of every renderer: sockets of each kind of owner, hostile names, and verdicts built
//! by hand, so that no change of the registry changes a test of a renderer.

use std::mem;

use crate::findings::reach::Exposed;
use crate::findings::registry::{
    DeadRegistration, Dormant, Ephemeral, Orphaned, OtherProtocol, QuietRegistration, Unassigned,
};
use crate::findings::socket::Kernel;
use crate::findings::{Evidence, Finding};
use crate::join::{Entry, join};
use crate::judge::{Explained, Report};
use crate::model::*;
use crate::registry::Registry;

pub(super) const HOSTILE: &str = "\x1b[2J\nevil\u{202e}";

const RANGE: PortRange = PortRange { low: 32768, high: 60999 };

pub(super) fn curated(standing: Standing, product: &'static str, reason: &'static str) -> Curated {
    Curated {
        standing,
        product,
        ended: None,
        reason,
        source: None,
        confidence: Confidence::Presumed,
        now_used_by: None,
        basis: Some("no trace of the product in packages"),
    }
}

fn assignment(port: u16, service: &'static str, description: &'static str, basis: Basis) -> Assignment {
    Assignment {
        service,
        ports: PortRange::single(port),
        description: Some(description),
        assignee: Some("[Mike_Klein]"),
        registered: Some("2002-02"),
        modified: None,
        reference: None,
        notes: None,
        status: basis.status(),
        basis,
        used_on: vec![],
        curated: None,
        life: vec![],
    }
}

pub(super) fn verdict(port: u16) -> Verdict {
    let mut verdict = Verdict {
        range: RegistryRange::of(port),
        status: Status::Unassigned,
        basis: Basis::Unregistered,
        assignments: vec![],
        known_use: vec![],
        otherwise: vec![],
        together: vec![],
        remark: None,
    };
    let mut row = |basis: Basis, service, description| {
        (verdict.status, verdict.basis) = (basis.status(), basis);
        verdict.assignments = vec![assignment(port, service, description, basis)];
    };
    match port {
        22 => {
            row(Basis::Evidence, "ssh", "The Secure Shell (SSH) Protocol");
            verdict.assignments[0].life = vec![Life::Curated, Life::Netbase];
            verdict.assignments[0].reference = Some("[RFC4251]");
        }
        443 => {
            row(Basis::Standard, "https", "http protocol over TLS/SSL");
            verdict.assignments[0].reference = Some("[RFC9110][RFC-ietf-x]");
        }
        1701 => {
            row(Basis::Evidence, "l2tp", "Layer Two Tunneling Protocol");
            verdict.assignments[0].life = vec![Life::Netbase];
            let mut l2f = assignment(1701, "l2f", "Layer Two Forwarding", Basis::Ended);
            l2f.curated = Some(Curated {
                ended: Some("2002-07"),
                confidence: Confidence::Confirmed,
                source: Some("https://example.org/rfc2341"),
                basis: None,
                ..curated(Standing::Orphaned, "Cisco Layer Two Forwarding", "L2TP replaced it")
            });
            verdict.assignments.push(l2f);
        }
        3416 => {
            row(Basis::Ended, "commandport", "AirMobile IS Command Port");
            verdict.assignments[0].curated = Some(curated(
                Standing::Orphaned,
                "AirMobile IS (apparently Motorola)",
                "Command port of AirMobile IS, apparently Motorola wireless middleware of which nothing is on offer today.",
            ));
        }
        5432 => {
            row(Basis::Evidence, "postgresql", "PostgreSQL Database");
            verdict.assignments[0].life = vec![Life::Curated];
            verdict.assignments[0].curated =
                Some(curated(Standing::Alive, "PostgreSQL", "In use today by PostgreSQL."));
        }
        8000 => {
            row(Basis::KnownUse, "irdmi", "iRDMI");
            (verdict.assignments[0].status, verdict.assignments[0].basis) = (Status::Orphaned, Basis::Ended);
            verdict.assignments[0].curated = Some(curated(
                Standing::Orphaned,
                "Intel Remote Desktop Management Interface",
                "Intel's iRDMI has no product today",
            ));
            verdict.known_use = vec!["development web servers (http.server, Django, uvicorn)"];
        }
        7777 => row(Basis::Obscure, "cbt", "cbt"),
        7778 => {
            row(Basis::Untouched, "interwise", "Interwise");
            verdict.assignments[0].assignee = None;
            verdict.assignments[0].registered = None;
        }
        9 => {
            row(Basis::Legacy, "discard", "Discard");
            verdict.assignments[0].curated = Some(curated(Standing::Legacy, "Discard", "Withdrawn"));
        }
        1023 => {
            verdict.basis = Basis::Reserved;
            verdict.remark = Some("kept back");
        }
        49152.. => (verdict.status, verdict.basis) = (Status::Dynamic, Basis::Range),
        _ => {}
    }
    verdict
}

fn findings(listener: &Entry) -> Vec<Finding> {
    let verdict = &listener.verdict;
    let local = &listener.socket.local;
    let status = match verdict.status {
        Status::Orphaned if verdict.basis == Basis::Ended => Some(Evidence::from(Orphaned {
            registrations: verdict
                .assignments
                .iter()
                .map(|a| DeadRegistration::new(a.service, a.curated.as_ref().unwrap()))
                .collect(),
        })),
        Status::Unassigned if verdict.basis == Basis::Unregistered => {
            Some(Unassigned { remark: verdict.remark }.into())
        }
        Status::Dormant if verdict.basis == Basis::Obscure => Some(Evidence::from(Dormant {
            basis: verdict.basis,
            registrations: vec![QuietRegistration {
                service: verdict.assignments[0].service,
                assignee: None,
                registered: Some("2002-02"),
                modified: None,
                used_on: vec![],
            }],
        })),
        _ => None,
    };
    let ephemeral = RANGE.contains(local.port).then(|| {
        Evidence::from(Ephemeral {
            kernel_range: Some(RANGE),
            iana_dynamic: local.port >= 49152,
            odd: Some(local.port % 2 == 1),
            kernel_would_pick: (local.protocol == Protocol::Tcp).then_some(local.port % 2 == 1),
            may_be_client: local.protocol == Protocol::Udp,
        })
    });
    let other = (local.port == 3415)
        .then(|| OtherProtocol { registered_for: Protocol::Tcp, services: vec!["bcinameservice"] }.into());
    let exposed = listener.exposure.beyond().then(|| {
        Evidence::from(Exposed {
            exposure: listener.exposure,
            address: local.address,
            device: local.device.clone(),
        })
    });
    let kernel =
        (listener.socket.owner == Owner::Kernel).then(|| Kernel { inode: listener.socket.inode }.into());
    [status, ephemeral, other, kernel, exposed]
        .into_iter()
        .flatten()
        .map(|evidence| Finding::new(evidence, listener.exposure))
        .collect()
}

pub(super) fn socket(local: &str, owner: Owner) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
        local,
        peer: None,
        mptcp: false,
        home: Home { uid: Some(0), user: Some("root".into()), ..Home::default() }.into(),
        inode: 4711.try_into().ok(),
        cookie: None,
        v6only: None,
        queues: None,
        owner,
    }
}

pub(super) fn process(pid: Pid, name: &str) -> Process {
    Process {
        name: Some(name.into()),
        exe: Some(Exe { path: format!("/usr/bin/{name}"), state: ExeState::Present, open_folders: None }),
        cmdline: vec![name.into(), "-m".into(), "serve".into()],
        uid: Some(0),
        user: Some("root".into()),
        started: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        parents: vec![Parent { pid: 1, name: "systemd".into() }],
        ..Process::unknown(pid)
    }
}

pub(super) fn empty() -> Snapshot {
    Snapshot {
        schema: SNAPSHOT_SCHEMA.into(),
        taken: "2026-11-21T12:00:00Z".parse().unwrap(),
        host: Host {
            name: Some("box".into()),
            os: "linux".into(),
            kernel: Some("6.18.0".into()),
            privileged: false,
            ephemeral: vec![RANGE],
            reserved: vec![],
            ephemeral_of: Vec::new(),
            ephemeral_source: "ip_local_port_range".into(),
        },
        scope: Scope::default(),
        sockets: vec![],
        processes: vec![],
        namespaces: Vec::new(),
        gaps: vec![],
        notes: vec![],
    }
}

pub(super) fn gap(stage: Stage, what: &str, count: Option<u64>) -> Gap {
    Gap {
        stage,
        what: what.into(),
        count,
        pids: Vec::new(),
        why: "permission denied".into(),
        remedy: Some("run as root".into()),
    }
}

/// A socket of each kind of owner, several holders, and hostile names.
pub(super) fn scene() -> Snapshot {
    let held = |pids: &[Pid]| Owner::Held(pids.to_vec().into());
    let home = |uid: Option<u32>, user: Option<&str>, unit: Option<&str>| {
        Home { uid, user: user.map(str::to_owned), unit: unit.map(str::to_owned), ..Home::default() }.into()
    };
    let mut hidden = socket("udp/[::]:3415", Owner::Hidden);
    hidden.home = home(Some(65534), None, None);
    let mut postgres = socket("tcp/127.0.0.1:5432", held(&[900]));
    postgres.home = home(Some(105), Some("postgres"), None);
    let mut hostile = socket("tcp/127.0.0.1:7777", held(&[1000, 1001]));
    hostile.home = home(Some(0), Some(HOSTILE), Some("evil\u{9b}.service"));
    let mut unknown = socket("tcp/[fe80::1%eth0]:22", Owner::Unknown);
    unknown.home = home(None, None, None);
    Snapshot {
        sockets: vec![
            socket("tcp/0.0.0.0:3416", held(&[812])),
            hidden,
            postgres,
            socket("tcp/0.0.0.0:8000", held(&[21, 22, 23, 24, 4_000_025])),
            socket("tcp/127.0.0.1:60417", Owner::Vanished),
            socket("udp/0.0.0.0:51820", Owner::Kernel),
            hostile,
            unknown,
        ],
        processes: vec![
            process(21, "nginx"),
            process(22, "nginx"),
            process(23, "nginx"),
            process(24, "nginx"),
            process(812, "python3"),
            process(900, "postgres"),
            process(1000, HOSTILE),
            process(1001, "(kernel)"),
            // 4,000,025 could not be read.
        ],
        namespaces: Vec::new(),
        gaps: vec![gap(Stage::Owners, "processes", Some(12))],
        notes: vec![Note { what: "other network namespaces".into(), count: Some(2), remedy: None }],
        ..empty()
    }
}

pub(super) fn report(snapshot: &Snapshot) -> Report {
    let mut snapshot = snapshot.clone();
    let (sockets, processes) = (mem::take(&mut snapshot.sockets), mem::take(&mut snapshot.processes));
    let seen = sockets.len();
    let mut entries = join(sockets, processes, &Registry::embedded());
    for entry in &mut entries {
        entry.verdict = verdict(entry.socket.local.port).into();
        entry.add_findings(findings(entry));
    }
    Report { snapshot, seen, entries, registry: Registry::embedded() }
}

pub(super) fn explained<'r>(report: &'r Report, ports: &[u16]) -> Vec<Explained<'r>> {
    let both = |port: &u16| [(*port, Protocol::Tcp), (*port, Protocol::Udp)];
    ports
        .iter()
        .flat_map(both)
        .map(|(port, protocol)| Explained {
            port,
            protocol,
            verdict: verdict(port),
            connections: vec![],
            context: Context::default(),
            listeners: report
                .entries
                .iter()
                .filter(|j| (j.socket.local.port, j.socket.local.protocol) == (port, protocol))
                .collect(),
        })
        .collect()
}

/// What a renderer writes, as text.
pub(super) fn text(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    render(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}
