//! `cargo bench`: the cost of each module alone, on 10,000 generated listeners, and the cost of a complete scan of
//! this machine. The figures compare two states of this program on one machine; `tests/tools/side-by-side.rs`
//! compares Portolan with other tools.

#![allow(clippy::unwrap_used, reason = "a benchmark may")]

use std::io;
use std::mem::take;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use jiff::Timestamp;
use portolan::Registry;
use portolan::internals::findings::FindingKind;
use portolan::internals::findings::policy::Unexpected;
use portolan::internals::{Included, Policy, Style, apply, join, json, parse, table};
use portolan::judge::audit::Audit;
use portolan::judge::judge;
use portolan::model::{
    Endpoint, Exe, ExeState, Host, Owner, Parent, Pid, PortRange, Process, Protocol, Queues, SNAPSHOT_SCHEMA,
    Snapshot, Socket, SocketAttributes, State,
};
use portolan::observe::{Scope, observe};

const LISTENERS: u32 = 10_000;
const PROCESSES: u32 = 1_000;
const FIRST_PID: Pid = 1_000;

fn main() {
    divan::main();
}

/// The complete program with `--from` and a file from `capture`, next to a program that does nothing.
mod start {
    use std::process::{Command, Stdio};

    fn run(program: &str, arguments: &[&str]) {
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }

    #[divan::bench]
    fn nothing() {
        run("true", &[]);
    }

    #[divan::bench]
    fn explain() {
        run(env!("CARGO_BIN_EXE_portolan"), &["explain", "3416"]);
    }

    #[divan::bench]
    fn list() {
        run(env!("CARGO_BIN_EXE_portolan"), &[]);
    }
}

#[divan::bench]
fn read_saved(bencher: Bencher<'_, '_>) {
    let mut saved = Vec::new();
    json::print_snapshot(&current_snapshot(), &mut saved).unwrap();
    bencher
        .counter(BytesCount::of_slice(&saved))
        .bench_local(|| serde_json::from_slice::<Snapshot>(&saved).unwrap());
}

#[divan::bench(name = "join")]
fn join_only(bencher: Bencher<'_, '_>) {
    let (snapshot, registry) = (current_snapshot(), Registry::embedded());
    bencher.counter(ItemsCount::new(LISTENERS)).with_inputs(|| snapshot.clone()).bench_local_values(
        |mut snapshot| {
            let (sockets, processes) = (take(&mut snapshot.sockets), take(&mut snapshot.processes));
            join(sockets, processes, &snapshot, &registry)
        },
    );
}

/// 10,000 listeners with a port each, and 10,000 listeners on a hundred ports.
#[divan::bench(args = ["apart", "together"])]
fn join_and_judge(bencher: Bencher<'_, '_>, lie: &str) {
    let (mut snapshot, registry) = (current_snapshot(), Registry::embedded());
    if lie == "together" {
        for (k, socket) in (0..).zip(&mut snapshot.sockets) {
            let wildcard = u32::from(k % 1000 < 100);
            socket.local.address = Ipv4Addr::from((0x7f00_0000 + k) * (1 - wildcard)).into();
            socket.local.port = 8000 + u16::try_from(k % 100).unwrap();
        }
    }
    bencher
        .counter(ItemsCount::new(LISTENERS))
        .with_inputs(|| snapshot.clone())
        .bench_local_values(|snapshot| judge(snapshot, registry));
}

/// 5,000 rules over 10,000 listeners. By port, each rule allows one listener; by program, no rule names a port, and
/// every listener is allowed; for another machine, no listener is allowed, and each listener is reported with the
/// nearest rule.
#[divan::bench(args = ["by port", "by program", "of another machine"])]
fn policy_apply(bencher: Bencher<'_, '_>, kind: &str) {
    let (snapshot, policy) = (current_snapshot(), rules(kind));
    let report = judge(snapshot.clone(), Registry::embedded());
    let unexpected =
        |audit: &Audit<'_>| audit.findings.iter().filter(|f| f.finding.flag() == Unexpected::FLAG).count();
    bencher.counter(ItemsCount::new(LISTENERS)).with_inputs(|| Audit::of(&report)).bench_local_values(
        |mut audit| {
            apply(&policy, &mut audit);
            let expected = match kind {
                "by port" => LISTENERS - RULES,
                "by program" => 0,
                _ => LISTENERS,
            };
            assert_eq!(unexpected(&audit), expected as usize);
            audit
        },
    );
}

/// The same 5,000 rules, parsed from their file.
#[divan::bench]
fn policy_parse(bencher: Bencher<'_, '_>) {
    let file = rules_file("by port");
    bencher
        .counter(BytesCount::of_slice(&file.bytes))
        .bench_local(|| parse(&file, &mut |_, _| Err(String::new())));
}

const RULES: u32 = 5_000;

fn rules(kind: &str) -> Policy {
    parse(&rules_file(kind), &mut |_, _| Err(String::new())).unwrap()
}

fn rules_file(kind: &str) -> Included {
    use std::fmt::Write;
    let mut text = "schema = \"portolan.policy/1\"\n".to_owned();
    for k in (0..RULES).rev() {
        write!(text, "[[allow]]\nid = \"rule-{k}\"\n").unwrap();
        let (address, port) = place(k);
        match kind {
            "by port" => write!(text, "port = {port}\naddress = \"{address}\"\n"),
            // The sockets of the kernel are included.
            "by program" if k == 0 => writeln!(text, "executable = \"kernel\""),
            "by program" => {
                let n = k % PROCESSES;
                let exe = |n: u32| format!("\"/usr/lib/service-{n}/bin/service-{n}\"");
                let five: Vec<String> = (0..5).map(|more| exe((n + more) % PROCESSES)).collect();
                write!(text, "executable = [{}]\nuser = \"root\"\n", five.join(", "))
            }
            _ => write!(text, "port = {port}\nexecutable = \"/opt/x/*/{k}\"\nuser = \"x\"\n"),
        }
        .unwrap();
    }
    Included { name: "rules.toml".to_owned(), identity: String::new(), bytes: text.into_bytes() }
}

/// The table in a pipe, and on terminals of 80 and 200 columns in colour.
#[divan::bench(name = "table", args = [None, Some(80), Some(200)])]
fn render_table(bencher: Bencher<'_, '_>, width: Option<u16>) {
    let snapshot = current_snapshot();
    let report = judge(snapshot.clone(), Registry::embedded());
    let style = Style { width, color: width.is_some(), ..Style::default() };
    bencher
        .counter(ItemsCount::new(LISTENERS))
        .bench_local(|| table::listing(&report, true, &style, &mut io::sink()).unwrap());
}

#[divan::bench(name = "json")]
fn render_json(bencher: Bencher<'_, '_>) {
    let snapshot = current_snapshot();
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut text = Vec::new();
    json::listing(&report, &mut text).unwrap();
    bencher
        .counter(BytesCount::of_slice(&text))
        .bench_local(|| json::listing(&report, &mut io::sink()).unwrap());
}

/// One look-up in the registry: a registered port, an unregistered port, and a port that cannot be registered.
#[divan::bench(args = [3416, 4_960, 60_000])]
fn verdict(bencher: Bencher<'_, '_>, port: u16) {
    let registry = Registry::embedded();
    bencher.bench_local(|| registry.verdict(divan::black_box(port), Protocol::Tcp));
}

/// A scan of this machine, with and without the process lookup.
#[divan::bench(name = "observe", args = ["processes", "no processes"])]
fn observe_here(look: &str) -> Snapshot {
    let servers = look == "processes";
    observe(&Scope { processes: servers, ..Scope::default() }).unwrap()
}

/// Returns listeners of every kind: spread over all ports, some with five processes and some with none.
fn current_snapshot() -> Snapshot {
    Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        tool: None,
        taken: Timestamp::UNIX_EPOCH,
        host: Host {
            name: Some("bench".to_owned()),
            id: None,
            boot: None,
            labels: std::collections::BTreeMap::new(),
            os: "linux".to_owned(),
            kernel: Some("6.12.0".to_owned()),
            privileged: true,
            scope: None,
            ephemeral: vec![PortRange { low: 32_768, high: 60_999 }],
            reserved: Vec::new(),
            ephemeral_of: Vec::new(),
            ephemeral_source: "net.ipv4.ip_local_port_range".to_owned(),
        },
        scope: Scope::default(),
        sockets: (0..LISTENERS).map(socket).collect(),
        processes: (0..PROCESSES).map(process).collect(),
        namespaces: Vec::new(),
        firewalls: Vec::new(),
        gaps: Vec::new(),
        notes: Vec::new(),
        used_bpf: false,
    }
}

fn socket(k: u32) -> Socket {
    let udp = k.is_multiple_of(5);
    let (address, port) = place(k);
    let server = |nth: u32| FIRST_PID + (k + nth) % PROCESSES;
    let servers = |count: u32| {
        let mut pids: Vec<Pid> = (0..count).map(server).collect();
        pids.sort_unstable();
        Owner::Held(pids.into())
    };
    Socket {
        local: Endpoint {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            address,
            port,
            device: (k.is_multiple_of(97)).then(|| "eth0".into()),
        },
        peer: None,
        state: if udp { State::Unconnected } else { State::Listen },
        mptcp: k.is_multiple_of(101),
        attributes: Arc::new(SocketAttributes {
            uid: Some(k % 7 * 100),
            user: Some(
                ["root", "www-data", "postgres", "nobody", "mail", "dns", "backup"][k as usize % 7]
                    .to_owned(),
            ),
            cgroup: Some(format!("/system.slice/service-{}.service", k % PROCESSES)),
            unit: Some(format!("service-{}.service", k % PROCESSES)),
            ..SocketAttributes::default()
        }),
        inode: NonZeroU64::new(20_000 + u64::from(k)),
        cookie: NonZeroU64::new(u64::from(k) + 1),
        v6only: address.is_ipv6().then_some(k % 8 == 2),
        queues: Some(Queues { receive: 0, send: if udp { 0 } else { 4096 } }),
        owner: match k {
            _ if k.is_multiple_of(50) => Owner::Kernel,
            _ if k.is_multiple_of(7) => servers(5),
            _ => servers(1),
        },
    }
}

/// Returns an address of each kind in turn, and a port that is used once: 13 has no divisor in common with 65,535.
fn place(k: u32) -> (IpAddr, u16) {
    let address = match k % 4 {
        0 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        1 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        2 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    (address, u16::try_from(k * 13 % 65_535 + 1).unwrap())
}

fn process(k: u32) -> Process {
    let exe = format!("/usr/lib/service-{k}/bin/service-{k}");
    Process {
        // Some names contain an escape sequence that must not reach a terminal.
        name: Some(if k.is_multiple_of(100) { format!("evil\u{1b}[2J-{k}") } else { format!("service-{k}") }),
        cmdline: vec![exe.clone(), "--config".to_owned(), format!("/etc/service-{k}/service.conf")],
        exe: Some(Exe { path: exe, state: ExeState::Present, open_directories: None }),
        uid: Some(k % 7 * 100),
        user: Some("root".to_owned()),
        started: Some(Timestamp::UNIX_EPOCH),
        parents: vec![Parent::new(1, "systemd".to_owned())],
        unit: Some(format!("service-{k}.service")),
        ..Process::unknown(FIRST_PID + k)
    }
}

/// The parser of the kernel's socket diagnostics (sock_diag).
#[cfg(target_os = "linux")]
mod diag {
    use portolan::observe::linux::diag::{Progress, Reading};

    use super::*;

    /// Parses the kernel's replies to one dump of all listeners, record by record.
    #[divan::bench]
    fn parse(bencher: Bencher<'_, '_>) {
        let datagrams = dump();
        bencher.counter(ItemsCount::new(LISTENERS)).bench_local(|| {
            let mut reading = Reading::default();
            let end = datagrams.iter().map(|bytes| reading.datagram(bytes, SEQUENCE).unwrap()).last();
            assert_eq!((reading.records.len(), end), (LISTENERS as usize, Some(Progress::Done)));
            reading
        });
    }

    const SEQUENCE: u32 = 7;

    /// Returns the datagrams of a dump: records with the attributes of Linux 6, in the sizes that the kernel fills.
    fn dump() -> Vec<Vec<u8>> {
        let mut datagrams = vec![Vec::new()];
        for message in (0..LISTENERS).map(record).chain([message(3, &[0; 4])]) {
            if datagrams.last().unwrap().len() + message.len() > 32 * 1024 {
                datagrams.push(Vec::new());
            }
            datagrams.last_mut().unwrap().extend(message);
        }
        datagrams
    }

    /// `struct nlmsghdr`: length, type, flags, sequence, port.
    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + payload.len()).unwrap();
        let mut bytes = Vec::with_capacity(16 + payload.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes()); // NLM_F_MULTI
        bytes.extend(SEQUENCE.to_ne_bytes());
        bytes.extend(4_711u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    /// `struct inet_diag_msg` of a TCP listener, with its attributes.
    fn record(k: u32) -> Vec<u8> {
        let (address, port) = place(k);
        let mut bytes = vec![if address.is_ipv6() { 10 } else { 2 }, 10, 0, 0]; // family, TCP_LISTEN, timer, retransmits
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 2]); // peer port
        let mut source = [0; 16];
        match address {
            IpAddr::V4(a) => source[..4].copy_from_slice(&a.octets()),
            IpAddr::V6(a) => source = a.octets(),
        }
        bytes.extend(source);
        bytes.extend([0; 20]); // peer address, device
        bytes.extend(u64::from(k + 1).to_ne_bytes()); // cookie
        bytes.extend([0; 8]); // expiry, receive queue
        bytes.extend(4096u32.to_ne_bytes()); // backlog
        bytes.extend((k % 7 * 100).to_ne_bytes()); // user
        bytes.extend((20_000 + k).to_ne_bytes()); // inode
        assert_eq!(bytes.len(), 72);
        let mut attribute = |kind: u16, value: &[u8]| {
            bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        };
        attribute(8, &[0]); // INET_DIAG_SHUTDOWN
        if address.is_ipv6() {
            attribute(11, &[u8::from(k % 8 == 2)]); // INET_DIAG_SKV6ONLY
        }
        attribute(15, &[0; 4]); // INET_DIAG_MARK
        attribute(21, &u64::from(4_000 + k % PROCESSES).to_ne_bytes()); // INET_DIAG_CGROUP_ID
        attribute(22, &[0; 2]); // INET_DIAG_SOCKOPT
        message(20, &bytes)
    }
}
