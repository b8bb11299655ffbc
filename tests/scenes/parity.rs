//! Three sources for the same sockets: Portolan's own source, netstat2, and ss if it is installed.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use portolan::model::{Gap, Snapshot, Stage};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server, complete, listeners, pids, sleep, tcp, udp};
use crate::{same, wires};

pub const SCENES: &[Scene] =
    &[("three_agree", three_agree), ("differences_from_other_tools", differences_from_other_tools)];

/// Protocol, address, port and pids.
type Seen = BTreeSet<(String, String, u16, Vec<u32>)>;

fn native(report: &Value) -> Result<Seen, Failed> {
    let seen = listeners(report)?.iter().map(|l| {
        let text = |key: &str| l[key].as_str().unwrap_or_default().to_owned();
        let port = u16::try_from(l["port"].as_u64().unwrap_or(0)).unwrap_or(0);
        (text("protocol"), text("address"), port, pids(l))
    });
    Ok(seen.collect())
}

/// Returns the sockets that netstat2 sees, in a process in the scene's pid namespace.
fn portable(lab: &Lab) -> Result<Seen, Failed> {
    let output = lab.as_helper(["portable"]).output()?;
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    // The scenes compare the processes, so a process that netstat2 does not find is not a failure here.
    let gaps: Vec<_> = snapshot.gaps.iter().filter(|gap| gap.stage != Stage::Owners).collect();
    same!(gaps, Vec::<&Gap>::new());
    let seen = snapshot.sockets.into_iter().map(|socket| {
        let pids = socket.owner.pids().to_vec();
        (socket.local.protocol.to_string(), socket.local.address.to_string(), socket.local.port, pids)
    });
    Ok(seen.collect())
}

/// Returns the output of `ss -Hntulp`, if ss is installed.
fn ss() -> Result<Option<Seen>, Failed> {
    let output = match Command::new("ss").arg("-Hntulp").output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("ss is not installed here: its opinion is left out");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8(output.stdout)?;
    Ok(Some(text.lines().map(line).collect::<Option<_>>().ok_or(text.clone())?))
}

/// Parses `tcp LISTEN 0 4096 127.0.0.1%lo:8900 0.0.0.0:* users:(("sleep",pid=5,fd=0))`.
fn line(line: &str) -> Option<(String, String, u16, Vec<u32>)> {
    let mut fields = line.split_ascii_whitespace();
    let (protocol, local) = (fields.next()?, fields.nth(3)?);
    let (address, port) = local.rsplit_once(':')?;
    let address = address.split('%').next()?.trim_start_matches('[').trim_end_matches(']');
    // ss writes `*` for an IPv6 socket that accepts IPv4 too.
    let address = if address == "*" { "::" } else { address };
    let servers = line.split("pid=").skip(1).filter_map(|rest| rest.split(',').next()?.parse().ok());
    let servers: BTreeSet<u32> = servers.collect();
    Some((protocol.to_owned(), address.to_owned(), port.parse().ok()?, servers.into_iter().collect()))
}

/// All sockets that netstat2 and ss show correctly.
fn three_agree(lab: &Lab) -> Outcome {
    lab.alone()?;
    let shared = tcp("127.0.0.1:8900")?;
    let _owners = [
        Server::start(&sleep(), vec![shared.as_fd().try_clone_to_owned()?, tcp("[::]:8901")?])?,
        Server::start(&sleep(), vec![shared, udp("0.0.0.0:8902")?, udp("[::1]:8903")?])?,
        Server::start(&sleep(), vec![tcp("0.0.0.0:8904")?, tcp("[::1]:8904")?, udp("127.0.0.1:8904")?])?,
        lab.helper(["many", "200"])?,
    ];
    let report = lab.json(&[])?;
    complete(&report, 207)?;
    let native = native(&report)?;
    same!(native.len(), 207);
    let others = [("netstat2", Some(portable(lab)?)), ("ss", ss()?)];
    for (who, seen) in others.iter().filter_map(|(who, seen)| Some((who, seen.as_ref()?))) {
        let missing: Vec<_> = native.difference(seen).collect();
        let more: Vec<_> = seen.difference(&native).collect();
        same!((missing.len(), more.len()), (0, 0), "{who}: {missing:?} {more:?}");
    }
    Ok(())
}

/// Each known difference by name. There are no other differences.
fn differences_from_other_tools(lab: &Lab) -> Outcome {
    wires::veth("wire1")?;
    lab.alone()?;
    let both = Server::start(&sleep(), vec![tcp("127.0.0.1:8910")?])?;
    let port = |native: &Seen, other: &Seen, what: &str| -> Result<(bool, bool), Failed> {
        let at = |seen: &Seen| seen.iter().any(|(_, _, port, pids)| *port == 8911 && !pids.is_empty());
        // All sources agree on the ordinary listener.
        for seen in [native, other] {
            same!(
                seen.iter().any(|(_, _, port, pids)| *port == 8910 && *pids == [both.pid()]),
                true,
                "{what}"
            );
        }
        Ok((at(native), at(other)))
    };
    let new = |kind, protocol| socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, protocol);
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], 8911));
    // The kind of socket; whether native, netstat2 and ss show it as a listener with its process.
    for (what, wanted) in [
        ("bound and not listening", (true, false, false)),
        ("a connected UDP socket", (false, true, false)),
        ("UDP-Lite", (true, false, false)),
        ("in the table of a thread", (true, false, false)),
        ("of a process whose first thread ended", (true, false, false)),
        ("a fixed file of an io_uring", (true, false, false)),
    ] {
        let held = |socket| Server::start(&sleep(), vec![socket]);
        let server = match what {
            "bound and not listening" => {
                let socket = new(SocketType::STREAM, None)?;
                bind(&socket, &here)?;
                held(socket)?
            }
            "a connected UDP socket" => {
                let socket = UdpSocket::bind(here)?;
                socket.connect("127.0.0.1:8912")?;
                held(socket.into())?
            }
            "UDP-Lite" => {
                let socket = new(SocketType::DGRAM, Some(ipproto::UDPLITE))?;
                bind(&socket, &here)?;
                held(socket)?
            }
            "in the table of a thread" => lab.helper(["own-table", "127.0.0.1:8911"])?,
            "of a process whose first thread ended" => lab.helper(["zombie-leader", "127.0.0.1:8911"])?,
            _ => lab.helper(["ring", "127.0.0.1:8911"])?,
        };
        let native = native(&lab.json(&[])?)?;
        let (ours, netstat2) = port(&native, &portable(lab)?, what)?;
        same!((ours, netstat2), (wanted.0, wanted.1), "{what}: native, netstat2");
        if let Some(seen) = ss()? {
            same!(port(&native, &seen, what)?.1, wanted.2, "{what}: ss");
        }
        drop(server);
    }
    one_port_two_devices(lab)
}

/// Two listeners on one port of two devices: netstat2 cannot distinguish them, and shows both of them twice.
fn one_port_two_devices(lab: &Lab) -> Outcome {
    let mut sockets = Vec::new();
    for device in ["wire1", "lo"] {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        setsockopt(&socket, BindToDevice, &device.into())?;
        bind(&socket, &std::net::SocketAddr::from(([0, 0, 0, 0], 8913)))?;
        listen(&socket, 1)?;
        sockets.push(socket);
    }
    let _owner = Server::start(&sleep(), sockets)?;
    let report = lab.json(&["8913"])?;
    let mut devices: Vec<_> = listeners(&report)?.iter().filter_map(|l| l["device"].as_str()).collect();
    devices.sort_unstable();
    same!(devices, ["lo", "wire1"]);
    let alike = portable(lab)?.iter().filter(|(_, _, port, _)| *port == 8913).count();
    same!(alike, 1, "netstat2 reports devices now");
    Ok(())
}
