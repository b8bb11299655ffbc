//! Tests whether a port is free: hundreds of random situations, compared with the result of `bind(2)`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use libtest_mimic::Failed;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketType, accept, bind, connect, getsockname, listen, socket};

use crate::lab::{Lab, Outcome, Scene, on_port, pids};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("free_exactly_where_bind_works", free_exactly_where_bind_works),
    ("a_port_that_a_connection_keeps", a_port_that_a_connection_keeps),
];

/// The number of situations; each has a port of its own.
const SITUATIONS: u16 = 300;
/// A port below the range of ports that the kernel hands out.
const FIRST_PORT: u16 = 10_000;

const ADDRESSES: [&str; 6] = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"];

/// Numbers that are the same in every run (Knuth's linear congruential generator, MMIX).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    pub fn one_of<T: Copy>(&mut self, texts: &[T]) -> T {
        texts[self.below(texts.len())]
    }
}

#[derive(Clone, Copy)]
struct Options {
    datagram: bool,
    v6only: bool,
    reuse_address: bool,
}

fn bound(address: SocketAddr, options: Options) -> Result<OwnedFd, rustix::io::Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if options.datagram { SocketType::DGRAM } else { SocketType::STREAM };
    let socket = socket(family, kind, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, options.v6only)?;
    }
    if options.reuse_address {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// Returns the address at which a client of the same family reaches a socket.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".parse().unwrap(),
        IpAddr::V6(ip) if ip.is_unspecified() => "::1".parse().unwrap(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn unbound(address: SocketAddr) -> Result<OwnedFd, rustix::io::Errno> {
    socket(
        if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 },
        SocketType::STREAM,
        None,
    )
}

/// Makes a socket that uses the port, or the leftover of such a socket; returns the sockets that stay open. An error
/// means that the socket conflicts with another socket.
fn occupy(address: SocketAddr, how: &str, options: Options) -> Result<Vec<OwnedFd>, rustix::io::Errno> {
    let stream = Options { datagram: false, v6only: false, ..options };
    match how {
        "listening" => {
            let socket = bound(address, Options { datagram: false, ..options })?;
            listen(&socket, 8)?;
            Ok(vec![socket])
        }
        "bound" => Ok(vec![bound(address, Options { datagram: false, ..options })?]),
        "datagrams" => Ok(vec![bound(address, Options { datagram: true, ..options })?]),
        "datagrams of one peer" => {
            let socket = bound(address, Options { datagram: true, v6only: false, ..options })?;
            connect(&socket, &SocketAddr::new(reached(address).ip(), 9))?;
            Ok(vec![socket])
        }
        "outgoing" => {
            let server = bound(SocketAddr::new(reached(address).ip(), 0), stream)?;
            listen(&server, 8)?;
            let socket = bound(address, stream)?;
            connect(&socket, &SocketAddr::try_from(getsockname(&server)?).unwrap())?;
            Ok(vec![server, socket])
        }
        _ => {
            let server = bound(address, stream)?;
            listen(&server, 8)?;
            let client = unbound(address)?;
            connect(&client, &reached(address))?;
            let accepted = accept(&server)?;
            Ok(match how {
                "left behind" => vec![client, accepted],
                "left behind, closed by the peer" => vec![accepted],
                // The side that closes first keeps the port in TIME_WAIT.
                _ => {
                    drop((server, accepted, client));
                    Vec::new()
                }
            })
        }
    }
}

/// Returns a target, its options, and whether a plain `bind` of the target works.
fn tried(
    wanted: &str,
    port: u16,
    datagram: bool,
) -> Result<(String, Option<&'static str>, [bool; 2]), Failed> {
    let protocol = if datagram { "udp" } else { "tcp" };
    let (target, family, address, v6only) = match wanted {
        "" => (format!("{protocol}/{port}"), None, "::", false),
        "-4" => (format!("{protocol}/{port}"), Some("-4"), "0.0.0.0", false),
        "-6" => (format!("{protocol}/{port}"), Some("-6"), "::", true),
        address if address.contains(':') => (format!("{protocol}/[{address}]:{port}"), None, address, false),
        address => (format!("{protocol}/{address}:{port}"), None, address, false),
    };
    let address = SocketAddr::new(address.parse()?, port);
    let works = |reuse_address| bound(address, Options { datagram, v6only, reuse_address }).is_ok();
    Ok((target, family, [works(false), works(true)]))
}

/// Returns whether a connection of an IPv6 socket blocks all IPv4 addresses only if its listener was bound to `[::]`.
/// The kernel does not report this about a connection, so the port is not reported as free.
fn is_in_doubt(wanted: &str, made: &[String]) -> bool {
    let of_a_connection =
        |one: &String| one.contains("[::1]") && !one.starts_with("bound") && !one.starts_with("listening");
    ["-4", "0.0.0.0"].contains(&wanted) && made.iter().any(of_a_connection)
}

fn free_exactly_where_bind_works(lab: &Lab) -> Outcome {
    let mut random = Random(14);
    let (mut free, mut taken, mut sooner) = (0, 0, 0);
    for port in FIRST_PORT..FIRST_PORT + SITUATIONS {
        let mut open = Vec::new();
        let mut made = Vec::new();
        for _ in 0..=random.below(2) {
            let address = SocketAddr::new(random.one_of(&ADDRESSES).parse()?, port);
            let how = random.one_of(&[
                "listening",
                "bound",
                "datagrams",
                "datagrams of one peer",
                "outgoing",
                "left behind",
                "left behind, closed by the peer",
                "closed",
            ]);
            let options = Options {
                datagram: false,
                v6only: random.below(3) == 0,
                reuse_address: random.below(2) == 0,
            };
            if let Ok(sockets) = occupy(address, how, options) {
                made.push(format!("{how} {address}, v6only {}", options.v6only));
                open.extend(sockets);
            }
        }
        let datagram = random.below(3) == 0;
        for _ in 0..2 {
            let wanted = random.one_of(&["", "-4", "-6", "127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"]);
            let (target, family, [works, works_with_reuse]) = tried(wanted, port, datagram)?;
            let mut command = lab.portolan(["watch", "--until-free", "--timeout", "0", &target]);
            let code = command.args(family).output()?.status.code();
            if !(works && code == Some(1) && is_in_doubt(wanted, &made)) {
                same!(code, Some(if works { 0 } else { 1 }), "{target} {family:?}, next to {made:#?}");
            }
            same!(works && !works_with_reuse, false, "a server that reuses addresses can bind what is free");
            free += u32::from(works);
            taken += u32::from(!works);
            sooner += u32::from(works_with_reuse && !works);
        }
    }
    // The situations must be varied; otherwise the comparison would be useless.
    same!(free > 100 && taken > 100 && sooner > 10, true, "{free} free, {taken} taken, {sooner} sooner");
    Ok(())
}

/// The listing and `explain` show the connection, with its process, and not as opened from this machine.
fn a_port_that_a_connection_keeps(lab: &Lab) -> Outcome {
    lab.alone()?;
    let worker = lab.helper(["left-behind", "127.0.0.1:5001"])?;
    let report = lab.json(&["5001"])?;
    let row = on_port(&report, 5001)?;
    same!((&row["state"], &row["direction"]), (&"close-wait".into(), &serde_json::Value::Null));
    same!(pids(row), [worker.pid()]);
    same!(row["peer"]["address"], "127.0.0.1");
    let output = lab.portolan(["--pids", "5001"]).output()?;
    same!(String::from_utf8(output.stdout)?, format!("{}\n", worker.pid()));
    let report = lab.json(&["explain", "5001"])?;
    same!(report["ports"][0]["connections"][0]["processes"][0]["pid"], worker.pid());
    let output = lab.portolan(["watch", "--until-free", "5001", "--timeout", "0"]).output()?;
    same!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr)?;
    same!(message.contains("still in use (1 close-wait)"), true, "{message}");
    // The process of the other end is gone: no source shows any more which end opened the connection.
    let report = lab.json(&["-a", "--state", "fin-wait2", "5001"])?;
    let rows = report["listeners"].as_array().ok_or("no rows")?;
    same!(rows.len(), 1, "{report}");
    same!(rows[0]["direction"], serde_json::Value::Null);
    Ok(())
}
