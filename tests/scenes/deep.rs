//! The deep scan finds sockets that no table shows, and reports nothing else.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libtest_mimic::Failed;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use portolan::model::{DeepScanResult, Family, Namespaces, Protocol};
use portolan::observe::linux::deep::{PORTS, shown, sweep};
use rustix::net::{
    AddressFamily, Protocol as Ip, SocketFlags, SocketType, bind, ipproto, listen, socket_with,
};

use serde_json::{Value, json};

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, gap, sleep, tcp, udp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("deep_finds_nothing_if_the_tables_are_complete", nothing_where_all_is_shown),
    ("deep_finds_ports_that_no_table_shows", what_no_table_shows),
    ("deep_reports_nothing_while_sockets_come_and_go", nobody_for_churn),
    ("deep_lets_services_start", services_start),
    ("deep_audit_is_clear_if_the_tables_are_complete", clear),
    ("deep_audit_where_tables_are_falsified", falsified),
    ("deep_audit_where_netlink_is_refused", netlink_refused),
    ("deep_audit_as_nobody", as_nobody),
    ("deep_audit_of_other_namespaces", other_namespaces),
];

/// Returns a bound socket of any kind.
fn bound(family: AddressFamily, kind: SocketType, protocol: Option<Ip>, at: &str) -> Result<OwnedFd, Failed> {
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    bind(&socket, &at.parse::<SocketAddr>()?).map_err(|errno| format!("{at}: {errno}"))?;
    Ok(socket)
}

const V4: AddressFamily = AddressFamily::INET;
const V6: AddressFamily = AddressFamily::INET6;

/// Returns the two ends of a connection to a listener.
fn connected(listener: &TcpListener) -> Result<(TcpStream, TcpStream), Failed> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

/// Returns an `MPTCP` socket, if the kernel has it.
fn multipath(at: &str) -> Option<OwnedFd> {
    let protocol = Some(ipproto::MPTCP);
    let socket = bound(V4, SocketType::STREAM, protocol, at).ok()?;
    listen(&socket, 1).ok()?;
    Some(socket)
}

/// Asserts that a deep scan saw everything and found nothing.
fn nothing(deep: &DeepScanResult, about: &str) -> Outcome {
    same!(deep.taken, [], "{about}");
    same!(deep.disagreements, [], "{about}");
    same!(deep.gaps, [], "{about}");
    Ok(())
}

/// Every kind of process and socket that a table explains.
fn nothing_where_all_is_shown(_: &Lab) -> Outcome {
    let mut held: Vec<OwnedFd> = vec![
        tcp("127.0.0.1:9000")?,
        tcp("[::1]:9001")?,
        tcp("[::]:9002")?, // both families
        udp("0.0.0.0:9003")?,
        udp("[::]:9004")?,
        bound(V4, SocketType::STREAM, None, "0.0.0.0:9005")?,
        bound(V6, SocketType::STREAM, None, "[::1]:9006")?,
        bound(V6, SocketType::STREAM, None, "[::]:9007")?,
        bound(V6, SocketType::STREAM, None, "[::ffff:127.0.0.1]:9008")?,
        bound(V6, SocketType::DGRAM, None, "[::ffff:127.0.0.1]:9009")?,
        bound(V4, SocketType::DGRAM, Some(ipproto::UDPLITE), "0.0.0.0:9010")?,
    ];
    held.extend(multipath("127.0.0.1:9011"));
    held.extend(bound(V4, SocketType::STREAM, Some(ipproto::MPTCP), "127.0.0.1:9012"));
    for device in [false, true] {
        let socket = socket_with(V6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if device {
            setsockopt(&socket, BindToDevice, &"lo".into())?;
        }
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        bind(
            &socket,
            &SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, if device { 9014 } else { 9013 })),
        )?;
        listen(&socket, 1)?;
        held.push(socket);
    }
    // One socket per worker on one port.
    for _ in 0..2 {
        let socket = socket_with(V4, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &"0.0.0.0:9015".parse::<SocketAddr>()?)?;
        listen(&socket, 1)?;
        held.push(socket);
    }
    // Connections: established, half closed, in TIME_WAIT; a connection whose listener is gone, on a socket of both
    // families; and a client that chose its port.
    let listener = TcpListener::bind("127.0.0.1:9016")?;
    let alive = connected(&listener)?;
    let half = connected(&listener)?;
    half.0.shutdown(std::net::Shutdown::Write)?;
    let gone = connected(&listener)?;
    drop(gone.0);
    drop(gone.1);
    let both = TcpListener::bind("[::]:9017")?;
    let client = TcpStream::connect("127.0.0.1:9017")?;
    let orphan = (client, both.accept()?.0);
    drop(both);
    // A client with an IPv6 port from the kernel, which takes the port in IPv4 as well: established, and in
    // TIME_WAIT.
    let six = TcpListener::bind("[::1]:9020")?;
    let alive_six = connected(&six)?;
    drop(connected(&six)?);
    let never_accepted = TcpStream::connect("127.0.0.1:9016")?;
    let asks = UdpSocket::bind("127.0.0.1:9018")?;
    asks.connect("127.0.0.1:9003")?;
    let mapped = UdpSocket::bind("[::]:9019")?;
    mapped.connect("[::ffff:127.0.0.1]:9003")?;

    let deep = portolan::observe::deep(&Namespaces::Own)?;
    nothing(&deep, "all is shown")?;
    same!((deep.namespaces, deep.ports > 4 * 65_400, deep.sockets > 20), (1, true, true), "{deep:?}");
    drop((held, alive, alive_six, half, orphan, never_accepted, asks, mapped));
    Ok(())
}

/// One socket of each kind that the tables leave out.
fn what_no_table_shows(_: &Lab) -> Outcome {
    use Family::{Ipv4, Ipv6};
    use Protocol::{Tcp, Udp};
    type Make = fn(&str) -> Result<OwnedFd, Failed>;
    type Row = (&'static str, &'static str, Make, &'static [(Protocol, Family)]);
    let rows: [Row; 8] = [
        ("a listener", "127.0.0.1:9101", tcp, &[(Tcp, Ipv4)]),
        ("a listener of IPv6", "[::1]:9102", tcp, &[(Tcp, Ipv6)]),
        ("a listener of both", "[::]:9103", tcp, &[(Tcp, Ipv4), (Tcp, Ipv6)]),
        ("a datagram socket", "0.0.0.0:9104", udp, &[(Udp, Ipv4)]),
        ("one of IPv6", "[::1]:9105", udp, &[(Udp, Ipv6)]),
        ("bound alone", "127.0.0.1:9106", |at| bound(V4, SocketType::STREAM, None, at), &[(Tcp, Ipv4)]),
        ("the first port", "127.0.0.1:1", tcp, &[(Tcp, Ipv4)]),
        ("the last port", "0.0.0.0:65535", udp, &[(Udp, Ipv4)]),
    ];
    // The other sockets are shown.
    let _others = [tcp("127.0.0.1:9110")?, udp("[::]:9111")?];
    for (what, at, make, wanted) in rows {
        let held = make(at)?;
        let port = at.parse::<SocketAddr>()?.port();
        let mut blind = || {
            let mut shown = shown()?;
            for protocol in [Tcp, Udp] {
                for family in [Ipv4, Ipv6] {
                    shown.forget(protocol, family, port);
                }
            }
            Some(shown)
        };
        let taken = |ports, blind: &mut dyn FnMut() -> _| {
            let result = sweep(ports, blind);
            result.taken.into_iter().map(|(port, _)| port).collect::<Vec<_>>()
        };
        let wanted: Vec<_> = wanted.iter().map(|(protocol, family)| (*protocol, *family, port)).collect();
        same!(taken(PORTS, &mut blind), wanted, "{what}, left out");
        same!(taken(port..=port, &mut shown), [], "{what}, shown");
        drop(held);
        same!(taken(port..=port, &mut blind), [], "{what}, gone");
    }
    Ok(())
}

/// Runs `act` on several threads until the first action is done; returns the count of each thread.
fn meanwhile<T>(acts: &[&(dyn Fn(&AtomicBool) -> u64 + Sync)], first: impl FnOnce() -> T) -> (T, Vec<u64>) {
    let over = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = acts.iter().map(|_| AtomicU64::new(0)).collect();
    let done = std::thread::scope(|threads| {
        for (act, count) in acts.iter().zip(&counts) {
            let over = &over;
            threads.spawn(move || count.store(act(over), Ordering::Relaxed));
        }
        let done = first();
        over.store(true, Ordering::Relaxed);
        done
    });
    (done, counts.into_iter().map(AtomicU64::into_inner).collect())
}

/// Repeats an action until `over` is set, or a million times, and counts the successes.
fn again_and_again(over: &AtomicBool, mut act: impl FnMut(u16) -> bool) -> u64 {
    let mut count = 0;
    for round in 0..1_000_000_u32 {
        if over.load(Ordering::Relaxed) {
            break;
        }
        count += u64::from(act(u16::try_from(round % 1000).unwrap_or(0)));
    }
    count
}

/// Servers that start and stop, clients that connect and leave, connections that end.
fn nobody_for_churn(lab: &Lab) -> Outcome {
    let churn = lab.helper(["churn"])?;
    let server = TcpListener::bind("[::]:9200")?;
    let connections = |over: &AtomicBool| {
        again_and_again(over, |_| {
            std::thread::sleep(Duration::from_micros(500));
            connected(&server).is_ok()
        })
    };
    let on_one_port = |over: &AtomicBool| {
        again_and_again(over, |round| {
            let both = (TcpListener::bind("127.0.0.1:9201"), UdpSocket::bind(("127.0.0.1", 9202 + round)));
            std::thread::sleep(Duration::from_micros(300));
            both.0.is_ok() && both.1.is_ok()
        })
    };
    let (deep, counts) = meanwhile(&[&connections, &on_one_port], || {
        (0..4).map(|_| portolan::observe::deep(&Namespaces::Own)).collect::<Result<Vec<_>, _>>()
    });
    for deep in &deep? {
        nothing(deep, "under churn")?;
    }
    churn.end()?;
    same!(counts.iter().all(|count| *count > 100), true, "{counts:?}");
    Ok(())
}

/// Services start while ports are tried: almost none of them fails to bind.
fn services_start(_: &Lab) -> Outcome {
    let refused = AtomicU64::new(0);
    let start = |over: &AtomicBool| {
        again_and_again(over, |round| {
            // Both families, as with most servers: the scan would collide with such a server in each family.
            match TcpListener::bind(("::", 10_000 + round * 37)) {
                Ok(_) => true,
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    false
                }
                Err(_) => false,
            }
        })
    };
    let (results, counts) =
        meanwhile(&[&start], || (0..4).map(|_| sweep(PORTS, &mut shown)).collect::<Vec<_>>());
    let (started, refused) = (counts[0], refused.into_inner());
    eprintln!("{started} services started during four sweeps, {refused} were refused");
    for one in results {
        same!(one.taken, []);
    }
    same!(started > 1000, true, "{started}");
    same!(refused * 1000 <= started, true, "{refused} of {started}");
    Ok(())
}

/// Returns the exit code and the JSON of a deep audit.
fn audit(mut command: std::process::Command) -> Result<(Option<i32>, Value), Failed> {
    let output = command.args(["audit", "--deep", "-o", "json"]).output()?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {messages}"))?;
    Ok((output.status.code(), printed))
}

/// Returns the findings of a flag.
fn findings<'a>(printed: &'a Value, code: &str) -> Vec<&'a Value> {
    let findings = printed["findings"].as_array().into_iter().flatten();
    findings.filter(|found| found["code"] == code).collect()
}

fn clear(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _harmless = Server::start(&sleep(), vec![tcp("127.0.0.1:1")?])?;
    let (code, printed) = audit(lab.portolan([""; 0]))?;
    same!((code, printed["verdict"].as_str()), (Some(0), Some("clear")), "{printed:#}");
    let notes = printed["notes"].as_array().into_iter().flatten();
    let tried = notes.filter(|note| {
        note["what"].as_str().is_some_and(|what| what.contains("ports that the deep scan tried"))
    });
    same!(tried.filter_map(|note| note["count"].as_u64()).sum::<u64>(), 4 * 65535 - 1, "{printed:#}");
    Ok(())
}

/// A socket that `/proc/net/tcp` hides, and a socket that exists only in `/proc/net/tcp`.
fn falsified(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _held = Server::start(&sleep(), vec![tcp("127.0.0.1:9480")?])?;
    let (_, printed) = audit(lab.portolan([""; 0]))?;
    same!(findings(&printed, "disagreement").len(), 0, "{printed:#}");
    for (circumstance, shown_by, missing_from) in [
        ("a-line-less", json!(["netlink", "netstat2"]), json!(["proc-net"])),
        ("a-line-more", json!(["proc-net"]), json!(["netlink", "netstat2"])),
    ] {
        let (code, printed) = audit(lab.portolan_under(circumstance, [""; 0]))?;
        let found = findings(&printed, "disagreement");
        same!((code, found.len()), (Some(1), 1), "{circumstance}: {printed:#}");
        let (port, evidence) = (&found[0]["port"], &found[0]["evidence"]);
        same!((port, &evidence["shown_by"]), (&json!(9480), &shown_by), "{circumstance}: {found:#?}");
        same!(
            (&evidence["missing_from"], &found[0]["severity"]),
            (&missing_from, &json!("warning")),
            "{circumstance}"
        );
        same!(findings(&printed, "hidden-port").len(), 0, "{circumstance}: {printed:#}");
    }
    Ok(())
}

/// Without netlink, no table shows sockets that are bound but do not listen: only trying the port finds them, and the
/// report says that they may be such sockets.
fn netlink_refused(lab: &Lab) -> Outcome {
    lab.alone()?;
    let bound = bound(V4, SocketType::STREAM, None, "127.0.0.1:9490")?;
    let _held = Server::start(&sleep(), vec![bound, tcp("127.0.0.1:9491")?, udp("[::]:9492")?])?;
    let (_, printed) = audit(lab.portolan([""; 0]))?;
    same!(findings(&printed, "hidden-port").len(), 0, "{printed:#}");
    let (code, printed) = audit(lab.portolan_under("no-netlink", [""; 0]))?;
    let found = findings(&printed, "hidden-port");
    same!((code, found.len()), (Some(1), 1), "{printed:#}");
    let [found] = found[..] else { return Err("one".into()) };
    same!(
        (&found["port"], &found["protocol"], &found["severity"]),
        (&json!(9490), &json!("tcp"), &json!("warning"))
    );
    let evidence = &found["evidence"];
    same!((&evidence["bound_told"], &evidence["family"]), (&json!(false), &json!("ipv4")), "{found:#}");
    same!(findings(&printed, "disagreement").len(), 0, "{printed:#}");
    gap(&printed, "sockets", "ermitted")?;
    // Without any table there are no flags and no all-clear. The machine's own /proc is mounted below the scene's
    // /proc.
    crate::lab::unmount_proc()?;
    crate::lab::unmount_proc()?;
    let blind = audit(lab.portolan_under("no-netlink", [""; 0]));
    crate::lab::remount_proc()?;
    let (code, printed) = blind?;
    same!((findings(&printed, "hidden-port").len(), code), (0, Some(3)), "{printed:#}");
    gap(&printed, "sockets", "could not be read")
}

fn as_nobody(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut command = lab.portolan([""; 0]);
    command.uid(NOBODY).gid(NOBODY);
    let (code, printed) = audit(command)?;
    same!((code, findings(&printed, "hidden-port").len()), (Some(3), 0), "{printed:#}");
    gap(&printed, "sockets", "permission denied")?;
    let refused = printed["gaps"].as_array().into_iter().flatten();
    let refused =
        refused.filter(|gap| gap["what"].as_str().is_some_and(|what| what.contains("could not be tried")));
    // Ports below 1024, TCP and UDP, IPv4 and IPv6.
    same!(refused.filter_map(|gap| gap["count"].as_u64()).collect::<Vec<_>>(), [4 * 1023], "{printed:#}");
    Ok(())
}

/// The sockets of another namespace are scanned in that namespace.
fn other_namespaces(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _blue = lab.helper(["elsewhere", "127.0.0.1:1", &lab.mount_point("blue"), "stays"])?;
    let (code, printed) = audit(lab.portolan([""; 0]))?;
    same!((code, printed["verdict"].as_str()), (Some(0), Some("clear")), "{printed:#}");
    same!(printed["listeners"].as_array().map(Vec::len), Some(1), "{printed:#}");
    let notes = printed["notes"].as_array().into_iter().flatten();
    let tried = notes.filter(|note| {
        note["what"].as_str().is_some_and(|what| what.contains("ports that the deep scan tried"))
    });
    same!(tried.filter_map(|note| note["count"].as_u64()).sum::<u64>(), 2 * 4 * 65535 - 1, "{printed:#}");
    Ok(())
}
