//! One scene for the tests of every renderer: sockets with each kind of owner, and hostile names. The scene passes
//! through the real judge and the embedded registry, so a renderer is tested with real input.

use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::data::Inline;
use snapbox::{Assert, IntoData};

use crate::judge::{self, Explained, Report, judge};
use crate::model::*;
use crate::registry::Registry;

pub(crate) const HOSTILE: &str = "\x1b[2J\nevil\u{202e}";

const RANGE: PortRange = PortRange { low: 32768, high: 60999 };

pub(crate) fn socket(local: &str, owner: Owner) -> Socket {
    let local: Endpoint = local.parse().unwrap();
    Socket {
        state: if local.protocol == Protocol::Tcp { State::Listen } else { State::Unconnected },
        local,
        peer: None,
        mptcp: false,
        attributes: SocketAttributes {
            uid: Some(0),
            user: Some("root".into()),
            ..SocketAttributes::default()
        }
        .into(),
        inode: 4711.try_into().ok(),
        cookie: None,
        v6only: None,
        queues: None,
        owner,
    }
}

pub(crate) fn process(pid: Pid, name: &str) -> Process {
    Process {
        name: Some(name.into()),
        exe: Some(Exe { path: format!("/usr/bin/{name}"), state: ExeState::Present, open_directories: None }),
        cmdline: vec![name.into(), "-m".into(), "serve".into()],
        uid: Some(0),
        user: Some("root".into()),
        started: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        parents: vec![Parent::new(1, "systemd".into())],
        ..Process::unknown(pid)
    }
}

pub(crate) fn empty() -> Snapshot {
    Snapshot {
        schema: SNAPSHOT_SCHEMA.into(),
        tool: None,
        taken: "2026-11-21T12:00:00Z".parse().unwrap(),
        host: Host {
            name: Some("box".into()),
            id: Some("5bd68a4e1c3f4a7a9a0d6a5ce1f0b7c2".into()),
            boot: Some("6c9a4f7e-1b0d-4f7c-8d3a-2f1e5b7a9c10".into()),
            labels: [("site".to_owned(), "berlin".to_owned())].into(),
            os: "linux".into(),
            kernel: Some("6.18.0".into()),
            privileged: false,
            scope: None,
            ephemeral: vec![RANGE],
            reserved: vec![],
            ephemeral_of: Vec::new(),
            ephemeral_source: "ip_local_port_range".into(),
        },
        scope: Scope::default(),
        sockets: vec![],
        processes: vec![],
        namespaces: Vec::new(),
        firewalls: Vec::new(),
        gaps: vec![],
        notes: vec![],
        used_bpf: false,
    }
}

pub(crate) fn gap(stage: Stage, what: &str, count: Option<u64>) -> Gap {
    Gap { count, ..Gap::new(stage, what, "permission denied").with_remedy("run as root") }
}

/// Returns a snapshot of one socket per kind of owner, with several processes and hostile names.
pub(crate) fn scene() -> Snapshot {
    let held = |pids: &[Pid]| Owner::Held(pids.to_vec().into());
    let attributes = |uid: Option<u32>, user: Option<&str>, unit: Option<&str>| {
        SocketAttributes {
            uid,
            user: user.map(str::to_owned),
            unit: unit.map(str::to_owned),
            ..SocketAttributes::default()
        }
        .into()
    };
    let mut hidden = socket("udp/[::]:4913", Owner::Hidden);
    hidden.attributes = attributes(Some(65534), None, None);
    let mut postgres = socket("tcp/127.0.0.1:5432", held(&[900]));
    postgres.attributes = attributes(Some(105), Some("postgres"), None);
    let mut hostile = socket("tcp/127.0.0.1:8003", held(&[1000, 1001]));
    hostile.attributes = attributes(Some(0), Some(HOSTILE), Some("evil\u{9b}.service"));
    let mut unknown = socket("tcp/[fe80::1%eth0]:22", Owner::Unknown);
    unknown.attributes = attributes(None, None, None);
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
            Process { user: Some(HOSTILE.into()), ..process(1000, HOSTILE) },
            Process { user: Some(HOSTILE.into()), ..process(1001, "(kernel)") },
            // Process 4,000,025 could not be read.
        ],
        namespaces: Vec::new(),
        firewalls: Vec::new(),
        gaps: vec![Gap { pids: vec![4_000_025], ..gap(Stage::Owners, "processes", Some(12)) }],
        notes: vec![Note::new("other network namespaces").counted(2)],
        ..empty()
    }
}

pub(crate) fn report(snapshot: &Snapshot) -> Report {
    judge(snapshot.clone(), Registry::embedded())
}

pub(crate) fn verdict(port: u16) -> PortVerdict {
    Registry::embedded().verdict(port, Protocol::Tcp)
}

pub(crate) fn explained<'r>(report: &'r Report, ports: &[u16]) -> Vec<Explained<'r>> {
    let both = |port: &u16| [(*port, Protocol::Tcp), (*port, Protocol::Udp)];
    let explain = |(port, protocol)| judge::explain(report, port, protocol, ports.len() == 1);
    ports.iter().flat_map(both).map(explain).collect()
}

pub(crate) fn text<T>(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<T>) -> String {
    let mut bytes = Vec::new();
    let _ = render(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Compares a text with the snapshot in the test's source. The registry's date changes with the data, so it is masked.
/// `SNAPSHOTS=overwrite cargo test --locked --lib --test cli` accepts the new text.
#[track_caller]
pub(crate) fn assert_snapshot(text: impl AsRef<str>, expected: Inline) {
    let masked = text.as_ref().replace(Registry::embedded().date(), "DATE");
    Assert::new().action_env(DEFAULT_ACTION_ENV).eq(masked, expected.raw());
}
