//! Sockets that processes share or take from each other, on the real kernel; and processes that must not be flagged.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use libtest_mimic::Failed;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::{Value, json};

use crate::lab::{
    Lab, NOBODY, Outcome, Scene, Server, complete, flags, held, listeners, on_port, pids, sleep, tcp, udp,
};
use crate::report::gap;
use crate::same;

pub const SCENES: &[Scene] = &[
    ("rules_shadowed_by_a_specific_address", shadowed),
    ("rules_shadowed_across_families", shadowed_across_families),
    ("rules_shadowed_by_a_device", shadowed_by_a_device),
    ("rules_shadowed_by_another_instance", shadowed_by_an_instance),
    ("rules_shadowed_needs_visible_owners", shadowed_as_nobody),
    ("rules_shared_by_two_users", shared_by_users),
    ("rules_shared_by_inheritance", shared_by_inheritance),
    ("rules_shared_spares_master_and_worker", master_and_worker),
    ("rules_shared_spares_socket_activation", socket_activation),
    ("rules_backlog_full", backlog_full),
    ("rules_bound_only", bound_only),
    ("a_relay_with_an_unknown_destination_is_a_gap", relay_to_unknown),
    ("a_socket_of_the_kernel_has_no_finding", kernel),
    ("rules_in_every_output", every_output),
];

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// Returns a listening or bound socket that lets other sockets of its kind share its port.
fn sharing(address: &str, kind: SocketType) -> Result<OwnedFd, Failed> {
    let address = at(address);
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if kind == SocketType::STREAM {
        set_socket_reuseport(&socket, true)?;
    } else {
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        listen(&socket, 16)?;
    }
    Ok(socket)
}

/// Returns the flag with this code on a listener, or null.
pub fn flag<'v>(listener: &'v Value, code: &str) -> &'v Value {
    let found = listener["flags"].as_array().and_then(|flags| flags.iter().find(|f| f["code"] == code));
    found.unwrap_or(&Value::Null)
}

/// Returns the one listener on this address.
fn on<'r>(report: &'r Value, address: &str) -> Result<&'r Value, Failed> {
    let found: Vec<_> = listeners(report)?.iter().filter(|l| l["address"] == address).collect();
    match found[..] {
        [one] => Ok(one),
        _ => Err(format!("{} listeners on {address}: {report:#}", found.len()).into()),
    }
}

pub fn severity_and_code(listener: &Value, code: &str) -> (String, String) {
    let flag = flag(listener, code);
    let text = |key: &str| flag[key].as_str().unwrap_or_default().to_owned();
    (text("severity"), text("code"))
}

fn shadowed(lab: &Lab) -> Outcome {
    lab.alone()?;
    for kind in [SocketType::STREAM, SocketType::DGRAM] {
        let wide = Server::start(&lab.sleeper_called(b"wide")?, vec![sharing("0.0.0.0:8900", kind)?])?;
        let narrow = Server::start(&lab.sleeper_called(b"narrow")?, vec![sharing("127.0.0.1:8900", kind)?])?;
        let report = lab.json(&[])?;
        complete(&report, 2)?;
        let taker = flag(on(&report, "127.0.0.1")?, "shadowed");
        same!(taker["severity"], "notice");
        same!(taker["evidence"]["takes_from"][0]["address"], "0.0.0.0");
        same!(taker["evidence"]["takes_from"][0]["holders"]["known"][0]["pid"], wide.pid());
        same!(taker["evidence"]["loses_to"], json!([]));
        let loser = flag(on(&report, "0.0.0.0")?, "shadowed");
        same!(loser["severity"], "warning");
        same!(loser["evidence"]["loses_to"][0]["address"], "127.0.0.1");
        same!(loser["evidence"]["loses_to"][0]["holders"]["known"][0]["pid"], narrow.pid());
        // The kernel behaves as the rule assumes.
        if kind == SocketType::DGRAM {
            UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:8900")?;
            let waiting = |address| on(&report_now(lab)?, address).map(|l| l["queues"]["receive"].clone());
            same!(waiting("0.0.0.0")?, 0);
            same!(waiting("127.0.0.1")? != 0, true);
        }
        let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
        same!(table.matches("shadowed").count(), 2, "{table}");
        // A single address in the filter is still judged with the other sockets on the port.
        let one = lab.json(&["127.0.0.1:8900"])?;
        same!(flags(on(&one, "127.0.0.1")?).contains(&"shadowed"), true, "{one:#}");
    }
    Ok(())
}

fn report_now(lab: &Lab) -> Result<Value, Failed> {
    lab.json(&[])
}

fn shadowed_across_families(lab: &Lab) -> Outcome {
    lab.alone()?;
    let dual = sharing("[::]:8901", SocketType::STREAM)?;
    let _dual = Server::start(&lab.sleeper_called(b"dual")?, vec![dual])?;
    let v4 = sharing("127.0.0.1:8901", SocketType::STREAM)?;
    let _v4 = Server::start(&lab.sleeper_called(b"v4")?, vec![v4])?;
    // A socket that does not accept IPv4 takes no traffic from another socket.
    let apart = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_ipv6_v6only(&apart, true)?;
    bind(&apart, &at("[::]:8902"))?;
    listen(&apart, 16)?;
    let _apart = Server::start(&lab.sleeper_called(b"apart")?, vec![apart])?;
    let _together = Server::start(&lab.sleeper_called(b"second")?, vec![tcp("0.0.0.0:8902")?])?;
    let report = lab.json(&[])?;
    complete(&report, 4)?;
    for listener in listeners(&report)? {
        same!(flags(listener).contains(&"shadowed"), listener["port"] == 8901, "{listener:#}");
    }
    // With a filter by family, each socket is still judged together with the other socket. IPv4 clients reach the
    // dual-stack socket too.
    for (family, address, shown) in [("-4", "127.0.0.1", 2), ("-6", "::", 1)] {
        let one = lab.json(&[family, "8901"])?;
        complete(&one, shown)?;
        same!(flags(on(&one, address)?).contains(&"shadowed"), true, "{one:#}");
    }
    Ok(())
}

fn shadowed_by_a_device(lab: &Lab) -> Outcome {
    lab.alone()?;
    let on_device = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&on_device, true)?;
    setsockopt(&on_device, BindToDevice, &"lo".into())?;
    bind(&on_device, &at("0.0.0.0:8903"))?;
    let _one = Server::start(&lab.sleeper_called(b"device")?, vec![on_device])?;
    let wide = sharing("0.0.0.0:8903", SocketType::DGRAM)?;
    let _two = Server::start(&lab.sleeper_called(b"wide")?, vec![wide])?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    for listener in listeners(&report)? {
        let side = if listener["device"] == "lo" { "takes_from" } else { "loses_to" };
        let evidence = &flag(listener, "shadowed")["evidence"];
        same!(evidence[side].as_array().map(Vec::len), Some(1), "{listener:#}");
        same!(flag(listener, "shadowed")["text"].as_str().unwrap_or_default().contains("VRF"), true);
    }
    Ok(())
}

/// One program in two processes, one process with both sockets, and a multicast group that delivers to many sockets.
/// Two instances of one program shadow each other; one process with two sockets, and mDNS, do not.
fn shadowed_by_an_instance(lab: &Lab) -> Outcome {
    lab.alone()?;
    let stream = |address| sharing(address, SocketType::STREAM);
    let program = lab.sleeper_called(b"server")?;
    let _a = Server::start(&program, vec![stream("0.0.0.0:8904")?])?;
    let _b = Server::start(&program, vec![stream("127.0.0.1:8904")?])?;
    let _c = Server::start(&program, vec![stream("0.0.0.0:8905")?, stream("127.0.0.1:8905")?])?;
    let group = sharing("224.0.0.251:5353", SocketType::DGRAM)?;
    let _d = Server::start(&lab.sleeper_called(b"browser")?, vec![group])?;
    let all = sharing("0.0.0.0:5353", SocketType::DGRAM)?;
    let _e = Server::start_as(&lab.sleeper_called(b"responder")?, vec![all], Some(NOBODY))?;
    let report = lab.json(&[])?;
    complete(&report, 6)?;
    for listener in listeners(&report)? {
        let found = flags(listener);
        same!(found.contains(&"shared"), false, "{listener:#}");
        same!(found.contains(&"shadowed"), listener["port"] == 8904, "{listener:#}");
    }
    let _other = Server::start_as(&program, vec![stream("127.0.0.2:8904")?], Some(NOBODY))?;
    let report = lab.json(&[])?;
    same!(flags(on(&report, "127.0.0.2")?).contains(&"shadowed"), true, "{report:#}");
    Ok(())
}

fn shadowed_as_nobody(lab: &Lab) -> Outcome {
    let stream = |address| sharing(address, SocketType::STREAM);
    let _a = Server::start(&lab.sleeper_called(b"wide")?, vec![stream("0.0.0.0:8906")?])?;
    let own = lab.sleeper_called(b"narrow")?;
    let _b = Server::start_as(&own, vec![stream("127.0.0.1:8906")?], Some(NOBODY))?;
    let (report, _) = lab.json_as_nobody(&["8906"])?;
    same!(on(&report, "0.0.0.0")?["owner"], "hidden");
    for address in ["0.0.0.0", "127.0.0.1"] {
        same!(flags(on(&report, address)?).contains(&"shadowed"), false, "{report:#}");
    }
    let report = lab.json(&["8906"])?;
    same!(flags(on(&report, "0.0.0.0")?).contains(&"shadowed"), true, "{report:#}");
    Ok(())
}

/// Two sockets on one address and port, one of them owned by another user's process.
fn shared_by_users(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.sleeper_called(b"server")?;
    let stream = || sharing("127.0.0.1:8910", SocketType::STREAM);
    let _own = Server::start(&program, vec![stream()?])?;
    let _also = Server::start(&program, vec![stream()?])?;
    for listener in listeners(&lab.json(&[])?)? {
        same!(flags(listener).contains(&"shared"), false, "one program, one user: {listener:#}");
    }
    let unknown = Server::start_as(&program, vec![stream()?], Some(NOBODY))?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    for listener in listeners(&report)? {
        let shared = flag(listener, "shared");
        same!(shared["severity"], "notice", "{listener:#}");
        same!(shared["evidence"]["differ_in"], json!(["user"]));
        same!(shared["evidence"]["sockets"], 3);
        let known = shared["evidence"]["holders"]["known"].as_array().ok_or("no processes")?;
        same!(known.len(), 2);
        same!(known.iter().any(|one| one["pid"] == unknown.pid() && one["uid"] == NOBODY), true);
    }
    // The table, which reads fewer facts about each process, has the same flags.
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.matches("shared").count(), 3, "{table}");
    Ok(())
}

/// A program that a server started keeps the server's socket.
fn shared_by_inheritance(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = lab.helper(["master", "127.0.0.1:8911", "sleep", "-"])?;
    let child: u32 = server.said[1].parse()?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8911, &[server.pid(), child])?;
    let shared = flag(on_port(&report, 8911)?, "shared");
    same!(shared["evidence"]["differ_in"], json!(["executable"]), "{report:#}");
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.contains("shared"), true, "{table}");
    Ok(())
}

/// A master as root, and a worker with the same file under another user, as with nginx.
fn master_and_worker(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = lab.helper(["master", "127.0.0.1:8912", "worker", "65534"])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    let listener = on_port(&report, 8912)?;
    same!(pids(listener).len(), 2);
    let users: Vec<_> = listener["processes"].as_array().into_iter().flatten().map(|p| &p["uid"]).collect();
    same!(users, [&json!(0), &json!(NOBODY)], "{listener:#}");
    same!(flags(listener).contains(&"shared"), false, "{listener:#}");
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.contains("shared"), false, "{table}");
    drop(server);
    Ok(())
}

/// A program with systemd's name passes its socket to a service of another user; then a program with another name does
/// so.
fn socket_activation(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _manager = lab.helper_called("systemd", &["master", "127.0.0.1:8913", "sleep", "65534"])?;
    let _server = lab.helper_called("systemc", &["master", "127.0.0.1:8914", "sleep", "65534"])?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    same!(flags(on_port(&report, 8913)?).contains(&"shared"), false, "{report:#}");
    same!(flag(on_port(&report, 8914)?, "shared")["evidence"]["differ_in"], json!(["user", "executable"]));
    Ok(())
}

fn backlog_full(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &at("127.0.0.1:8940"))?;
    listen(&socket, 1)?;
    let _owner = Server::start(&sleep(), vec![socket])?;
    let mut clients = Vec::new();
    for (waiting, full) in [(0, false), (1, false), (2, true)] {
        while clients.len() < waiting {
            clients.push(TcpStream::connect("127.0.0.1:8940")?);
        }
        let report = lab.json(&[])?;
        complete(&report, 1)?;
        let listener = on_port(&report, 8940)?;
        same!(listener["queues"], json!({"receive": waiting, "send": 1}));
        let found = flag(listener, "backlog-full");
        same!(!found.is_null(), full, "{waiting}: {listener:#}");
        if full {
            same!(found["severity"], "notice");
            same!(found["evidence"], json!({"waiting": 2, "limit": 1}));
        }
    }
    // The kernel refuses further connections.
    let late = TcpStream::connect_timeout(&at("127.0.0.1:8940"), std::time::Duration::from_millis(300));
    same!(late.is_err(), true);
    Ok(())
}

fn bound_only(lab: &Lab) -> Outcome {
    lab.alone()?;
    let bound = |address: &str| -> Result<OwnedFd, Failed> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &at(address))?;
        Ok(socket)
    };
    let held = vec![bound("127.0.0.1:8941")?, bound("0.0.0.0:8942")?, bound("127.0.0.1:40001")?];
    let _owner = Server::start(&sleep(), held)?;
    let _listening = Server::start(&sleep(), vec![tcp("127.0.0.1:8943")?, udp("127.0.0.1:8944")?])?;
    let report = lab.json(&[])?;
    complete(&report, 5)?;
    for (port, severity) in [(8941, "info"), (8942, "notice"), (40001, "info"), (8943, ""), (8944, "")] {
        same!(severity_and_code(on_port(&report, port)?, "bound-only").0, severity, "{port}");
    }
    same!(flag(on_port(&report, 8941)?, "bound-only")["evidence"]["kernel_range"], Value::Null);
    same!(flag(on_port(&report, 40001)?, "bound-only")["evidence"]["kernel_range"]["low"].is_u64(), true);
    let table = String::from_utf8(lab.portolan(["8941"]).output()?.stdout)?;
    same!(table.contains("bound-only"), true, "{table}");
    Ok(())
}

/// A tunnel of the kernel opens a socket that no process owns. The column PROCESS names the kernel, and there is no
/// flag.
fn kernel(lab: &Lab) -> Outcome {
    crate::wires::vxlan("vx0", 8945)?;
    let _owner = Server::start(&sleep(), vec![udp("0.0.0.0:8946")?])?;
    let report = lab.json(&[])?;
    // If a process of this machine cannot be read, the owner is not known.
    let owner = on_port(&report, 8945)?["owner"].as_str().ok_or("no owner")?;
    same!(owner == "kernel" || (owner == "hidden" && report["complete"] == false), true, "{report:#}");
    same!(on_port(&report, 8946)?["owner"], "held");
    for code in ["kernel", "unaccounted", "impostor"] {
        same!(flags(on_port(&report, 8945)?).contains(&code), false, "{report:#}");
    }
    let table = String::from_utf8(lab.portolan(["8945"]).output()?.stdout)?;
    same!(table.contains("(kernel)"), owner == "kernel", "{table}");
    Ok(())
}

/// Every output shows the same finding.
fn every_output(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _server = lab.helper(["master", "127.0.0.1:8950", "sleep", "65534"])?;
    for arguments in [
        &["8950"][..],
        &["-o", "wide", "8950"],
        &["-o", "csv", "8950"],
        &["-o", "ndjson", "8950"],
        &["--flag", "shared"],
        &["explain", "8950"],
        &["explain", "-o", "json", "8950"],
    ] {
        let output = lab.portolan(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        same!(output.status.code(), Some(0), "{arguments:?}");
        same!(text.contains("shared"), true, "{arguments:?}: {text}");
    }
    let card = String::from_utf8(lab.portolan(["explain", "8950"]).output()?.stdout)?;
    let card = card.split_whitespace().collect::<Vec<_>>().join(" ");
    same!(
        card.contains("The processes of this socket differ in user and executable: helper"),
        true,
        "{card}"
    );
    Ok(())
}

/// Only the configuration file of the relay names the service that gets the connections.
fn relay_to_unknown(lab: &Lab) -> Outcome {
    lab.alone()?;
    let relay = lab.sleeper_called(b"rinetd")?;
    let local = Server::start(&relay, vec![tcp("127.0.0.1:8961")?])?;
    same!(lab.json(&[])?["gaps"].as_array().map(Vec::len), Some(0));
    drop(local);
    let server = Server::start(&relay, vec![tcp("0.0.0.0:8961")?])?;
    let report = lab.json(&[])?;
    gap(&report, "processes", "shows which service")?;
    same!(report["gaps"][0]["pids"], json!([server.pid()]));
    same!(lab.portolan(["audit", "--fail-on", "critical"]).output()?.status.code(), Some(3));
    Ok(())
}
