//! The place of a socket: every kind of address, device and protocol, shown as the kernel has it.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use libtest_mimic::Failed;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_v6only, set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use serde_json::{Value, json};

use crate::lab::{Lab, Outcome, Scene, Server, complete, flags, gap, held, on_port, sleep, tcp, udp};
use crate::{same, wires};

pub const SCENES: &[Scene] = &[
    ("bound_and_not_listening", bound_and_not_listening),
    ("dual_stack_and_v6only", dual_stack_and_v6only),
    ("link_local_with_scope", link_local_with_scope),
    ("an_address_of_this_machine_means_what_is_reached_there", own_address),
    ("multicast_and_broadcast", multicast_and_broadcast),
    ("bound_to_a_device", bound_to_a_device),
    ("freebind", freebind),
    ("connected_udp_is_not_a_listener", connected_udp_is_not_a_listener),
    ("connections_are_not_listeners", connections_are_not_listeners),
    ("udplite", udplite),
    ("mptcp", mptcp),
    ("ephemeral_follows_the_namespace", ephemeral_follows_the_namespace),
    ("the_parity_of_a_port", the_parity_of_a_port),
    ("a_long_list_of_reserved_ports_is_read_completely", many_reserved_ports),
    ("reserved_ports_that_cannot_be_read_are_a_gap", reserved_ports_unread),
];

const STREAM: SocketType = SocketType::STREAM;
const DATAGRAM: SocketType = SocketType::DGRAM;

fn made(address: SocketAddr, kind: SocketType, protocol: Option<Protocol>) -> Result<OwnedFd, Failed> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?)
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// Returns the report's entry for the one listener on a port, owned by one process.
fn printed<'r>(report: &'r Value, port: u16, server: &Server) -> Result<&'r Value, Failed> {
    held(report, port, &[server.pid()])?;
    on_port(report, port)
}

fn bound_and_not_listening(lab: &Lab) -> Outcome {
    lab.alone()?;
    let four = made(at("0.0.0.0:0"), STREAM, None)?;
    bind(&four, &at("127.0.0.1:8700"))?;
    let six = made(at("[::]:0"), STREAM, None)?;
    bind(&six, &at("[::1]:8701"))?;
    let unbound = made(at("0.0.0.0:0"), STREAM, None)?;
    let server = Server::start(&sleep(), vec![four, six, unbound])?;
    let listening = Server::start(&sleep(), vec![tcp("127.0.0.1:8702")?])?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    for port in [8700, 8701] {
        let listener = printed(&report, port, &server)?;
        same!(listener["state"], "bound");
    }
    same!(printed(&report, 8702, &listening)?["state"], "listen");
    Ok(())
}

fn dual_stack_and_v6only(lab: &Lab) -> Outcome {
    lab.alone()?;
    let dual = made(at("[::]:0"), STREAM, None)?;
    set_ipv6_v6only(&dual, false)?;
    bind(&dual, &at("[::]:8710"))?;
    listen(&dual, 7)?;
    let alone = made(at("[::]:0"), STREAM, None)?;
    set_ipv6_v6only(&alone, true)?;
    bind(&alone, &at("[::]:8711"))?;
    listen(&alone, 7)?;
    let mapped = made(at("[::]:0"), STREAM, None)?;
    set_ipv6_v6only(&mapped, false)?;
    bind(&mapped, &at("[::ffff:127.0.0.1]:8712"))?;
    listen(&mapped, 7)?;
    let server = Server::start(&sleep(), vec![dual, alone, mapped])?;
    let udp_alone = made(at("[::]:0"), DATAGRAM, None)?;
    set_ipv6_v6only(&udp_alone, true)?;
    bind(&udp_alone, &at("[::]:8713"))?;
    let datagrams = Server::start(&sleep(), vec![udp_alone, udp("[::]:8714")?])?;
    let four = Server::start(&sleep(), vec![tcp("0.0.0.0:8711")?])?;
    let report = lab.json(&[])?;
    complete(&report, 6)?;
    for (port, v6only, address) in [(8710, false, "::"), (8712, false, "::ffff:127.0.0.1")] {
        let listener = printed(&report, port, &server)?;
        same!((&listener["v6only"], &listener["address"]), (&json!(v6only), &json!(address)));
        same!(listener["family"], "ipv6");
        same!(listener["queues"]["send"], 7);
    }
    same!(on_port(&report, 8710)?["exposure"], "any");
    same!(on_port(&report, 8712)?["exposure"], "loopback");
    same!(printed(&report, 8713, &datagrams)?["v6only"], true);
    same!(printed(&report, 8714, &datagrams)?["v6only"], false);
    // Two listeners share one port, and neither takes traffic from the other.
    let six = lab.json(&["-6", "8711"])?;
    same!(printed(&six, 8711, &server)?["v6only"], true);
    let four_only = lab.json(&["-4", "8711"])?;
    same!(printed(&four_only, 8711, &four)?["v6only"], Value::Null);
    Ok(())
}

/// The address of this machine includes the listeners on every address, also if another listener is bound to it.
fn own_address(lab: &Lab) -> Outcome {
    wires::address(wires::veth("near2")?, "fd79::1".parse()?)?;
    lab.alone()?;
    let _everywhere = Server::start(&sleep(), vec![tcp("[::]:8713")?, tcp("0.0.0.0:8714")?])?;
    let local = Server::start(&sleep(), vec![tcp("127.0.0.1:8715")?])?;
    let ports = |target: &str| -> Result<Vec<u64>, Failed> {
        let report = lab.json(&[target])?;
        let mut ports: Vec<_> =
            crate::lab::listeners(&report)?.iter().filter_map(|listener| listener["port"].as_u64()).collect();
        ports.sort_unstable();
        Ok(ports)
    };
    same!(ports("fd79::1")?, [8713]);
    let _there = Server::start(&sleep(), vec![tcp("[fd79::1]:8716")?])?;
    same!(ports("fd79::1")?, [8713, 8716]);
    same!(ports("127.0.0.1")?, [8713, 8714, 8715]);
    // Another machine's address, and a network, are the sockets that are bound there.
    same!(ports("fd79::2")?, [0; 0]);
    same!(ports("fd79::/64")?, [8716]);
    // What is ended must be named.
    let pids = String::from_utf8(lab.portolan(["--pids", "127.0.0.1"]).output()?.stdout)?;
    same!(pids.trim(), local.pid().to_string());
    Ok(())
}

fn link_local_with_scope(lab: &Lab) -> Outcome {
    let local: Ipv6Addr = "fe80::1234".parse()?;
    let (first, second) = (wires::veth("near0")?, wires::veth("near1")?);
    wires::address(first, local)?;
    wires::address(second, local)?;
    lab.alone()?;
    let on = |port, kind, scope| -> Result<OwnedFd, Failed> {
        let address = SocketAddr::V6(SocketAddrV6::new(local, port, 0, scope));
        let socket = made(address, kind, None)?;
        bind(&socket, &address)?;
        if kind == STREAM {
            listen(&socket, 1)?;
        }
        Ok(socket)
    };
    // The same address and port on two devices are two listeners.
    let one = Server::start(&sleep(), vec![on(8720, STREAM, first)?, on(8721, DATAGRAM, first)?])?;
    let other = Server::start(&sleep(), vec![on(8720, STREAM, second)?])?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    let udp = printed(&report, 8721, &one)?;
    same!((&udp["device"], &udp["address"]), (&json!("near0"), &json!("fe80::1234")));
    same!(udp["exposure"], "link-local");
    for (device, server) in [("near0", &one), ("near1", &other)] {
        let listeners: Vec<_> = crate::lab::listeners(&report)?
            .iter()
            .filter(|l| l["port"] == 8720 && l["device"] == device)
            .collect();
        same!(listeners.len(), 1, "{device}");
        same!(crate::lab::pids(listeners[0]), [server.pid()]);
    }
    Ok(())
}

fn multicast_and_broadcast(lab: &Lab) -> Outcome {
    let wire = wires::veth("wire2")?;
    lab.alone()?;
    let group = made(at("0.0.0.0:0"), DATAGRAM, None)?;
    set_socket_reuseaddr(&group, true)?;
    bind(&group, &at("224.0.0.251:8730"))?;
    let six = made(at("[::]:0"), DATAGRAM, None)?;
    bind(&six, &SocketAddr::V6(SocketAddrV6::new("ff02::fb".parse()?, 8731, 0, wire)))?;
    let broadcast = made(at("0.0.0.0:0"), DATAGRAM, None)?;
    set_socket_broadcast(&broadcast, true)?;
    bind(&broadcast, &at("255.255.255.255:8732"))?;
    let server = Server::start(&sleep(), vec![group, six, broadcast])?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    for (port, address) in [(8730, "224.0.0.251"), (8731, "ff02::fb"), (8732, "255.255.255.255")] {
        let listener = printed(&report, port, &server)?;
        same!(listener["address"], address);
        same!(listener["state"], "unconnected");
    }
    same!(on_port(&report, 8730)?["exposure"], "multicast");
    same!(on_port(&report, 8731)?["exposure"], "multicast");
    same!(on_port(&report, 8731)?["device"], "wire2");
    Ok(())
}

fn bound_to_a_device(lab: &Lab) -> Outcome {
    let index = wires::veth("wire0")?;
    lab.alone()?;
    let on = |device: &str, port| -> Result<OwnedFd, Failed> {
        let socket = made(at("0.0.0.0:0"), STREAM, None)?;
        setsockopt(&socket, BindToDevice, &device.into())?;
        bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port)))?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    let datagram = made(at("0.0.0.0:0"), DATAGRAM, None)?;
    setsockopt(&datagram, BindToDevice, &"wire0".into())?;
    bind(&datagram, &at("0.0.0.0:8741"))?;
    let wire = Server::start(&sleep(), vec![on("wire0", 8740)?, datagram])?;
    let loopback = Server::start(&sleep(), vec![on("lo", 8740)?])?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    same!(printed(&report, 8741, &wire)?["device"], "wire0");
    for (device, server) in [("wire0", &wire), ("lo", &loopback)] {
        let mut same_port = crate::lab::listeners(&report)?.iter().filter(|l| l["port"] == 8740);
        let listener = same_port.find(|l| l["device"] == device).ok_or("not on the device")?;
        same!(crate::lab::pids(listener), [server.pid()]);
        same!(listener["exposure"], if device == "lo" { "loopback" } else { "any" });
    }
    // The sockets stay bound to a device that is gone.
    wires::delete(index)?;
    let report = lab.json(&["8741"])?;
    same!(printed(&report, 8741, &wire)?["exposure"], "none");
    Ok(())
}

/// An address that this machine does not have.
fn freebind(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = made(at("0.0.0.0:0"), STREAM, None)?;
    set_ip_freebind(&socket, true)?;
    bind(&socket, &at("203.0.113.7:8750"))?;
    listen(&socket, 1)?;
    let server = Server::start(&sleep(), vec![socket])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    same!(printed(&report, 8750, &server)?["address"], "203.0.113.7");
    same!(printed(&report, 8750, &server)?["exposure"], "none");
    complete(&lab.json(&["--exposure", "none"])?, 1)?;
    // A route can make an address local that no device has.
    let route = ["route", "add", "local", "203.0.113.0/24", "dev", "lo"];
    match std::process::Command::new("/sbin/ip").args(route).output() {
        Ok(output) if output.status.success() => {
            same!(printed(&lab.json(&[])?, 8750, &server)?["exposure"], "public");
        }
        _ => eprintln!("ip is not installed: no route makes the address local"),
    }
    Ok(())
}

fn connected_udp_is_not_a_listener(lab: &Lab) -> Outcome {
    lab.alone()?;
    let connected = UdpSocket::bind("127.0.0.1:8760")?;
    connected.connect("127.0.0.1:8761")?;
    let six = UdpSocket::bind("[::1]:8762")?;
    six.connect("[::1]:8761")?;
    let server = Server::start(&sleep(), vec![connected.into(), six.into(), udp("127.0.0.1:8761")?])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    same!(printed(&report, 8761, &server)?["state"], "unconnected");
    Ok(())
}

/// An established connection, a half-open connection, and a connection that waits to be accepted: only the listener
/// is listed.
fn connections_are_not_listeners(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = TcpListener::bind("127.0.0.1:8770")?;
    let client = TcpStream::connect("127.0.0.1:8770")?;
    let (accepted, _) = server.accept()?;
    let waiting = TcpStream::connect("127.0.0.1:8770")?;
    let server = Server::start(&sleep(), vec![server.into(), client.into(), accepted.into()])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    same!(printed(&report, 8770, &server)?["queues"]["receive"], 1);
    drop(waiting);
    Ok(())
}

fn udplite(lab: &Lab) -> Outcome {
    lab.alone()?;
    let four = made(at("0.0.0.0:0"), DATAGRAM, Some(ipproto::UDPLITE))?;
    bind(&four, &at("127.0.0.1:8780"))?;
    let six = made(at("[::]:0"), DATAGRAM, Some(ipproto::UDPLITE))?;
    bind(&six, &at("[::1]:8781"))?;
    // UDP and UDP-Lite do not share ports: the same number is another listener.
    let server = Server::start(&sleep(), vec![four, six, udp("127.0.0.1:8782")?])?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    for (port, protocol) in [(8780, "udplite"), (8781, "udplite"), (8782, "udp")] {
        same!(printed(&report, port, &server)?["protocol"], protocol);
    }
    // The text tables list UDP-Lite if netlink does not answer for it.
    let (report, _) = lab.json_under("no-netlink", &[])?;
    same!(printed(&report, 8780, &server)?["protocol"], "udplite");
    same!(printed(&report, 8781, &server)?["protocol"], "udplite");
    Ok(())
}

fn mptcp(lab: &Lab) -> Outcome {
    lab.alone()?;
    std::fs::metadata("/proc/sys/net/mptcp").map_err(|_| "this kernel has no MPTCP")?;
    let listening = |address: &str| -> Result<OwnedFd, Failed> {
        let socket = made(at(address), STREAM, Some(ipproto::MPTCP))?;
        bind(&socket, &at(address))?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    let server = Server::start(
        &sleep(),
        vec![listening("127.0.0.1:8790")?, listening("[::1]:8791")?, tcp("127.0.0.1:8792")?],
    )?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    for (port, mptcp) in [(8790, true), (8791, true), (8792, false)] {
        let listener = printed(&report, port, &server)?;
        same!((&listener["protocol"], &listener["mptcp"]), (&json!("tcp"), &json!(mptcp)), "{port}");
    }
    Ok(())
}

fn ephemeral_follows_the_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let setting = |name: &str, value: &str| std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
    let server = Server::start(&sleep(), vec![tcp("127.0.0.1:40001")?, tcp("127.0.0.1:20001")?])?;
    let flagged = |lab: &Lab| -> Result<Vec<u16>, Failed> {
        let report = lab.json(&[])?;
        let mut ports = Vec::new();
        for port in [20001, 40001] {
            if flags(printed(&report, port, &server)?).contains(&"ephemeral") {
                ports.push(port);
            }
        }
        Ok(ports)
    };
    same!(flagged(lab)?, [40001]);
    setting("ip_local_port_range", "20000 30000")?;
    same!(flagged(lab)?, [20001]);
    same!(lab.json(&[])?["host"]["ephemeral"], json!([{"low": 20000, "high": 30000}]));
    setting("ip_local_reserved_ports", "20001,20010-20020")?;
    same!(flagged(lab)?, [0; 0]);
    setting("ip_local_reserved_ports", "20002")?;
    same!(flagged(lab)?, [20001]);
    Ok(())
}

/// Which ports the kernel gives to TCP listeners, UDP sockets and outgoing TCP connections, and what `explain` concludes
/// from the number of a port.
fn the_parity_of_a_port(lab: &Lab) -> Outcome {
    lab.alone()?;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999")?;
    let listeners: Vec<TcpListener> =
        (0..100).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let given = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    same!(given.iter().filter(|address| address.port() % 2 == 0).count(), 0);
    let connections: Vec<TcpStream> = given.iter().map(TcpStream::connect).collect::<Result<_, _>>()?;
    for connection in &connections {
        same!(connection.local_addr()?.port() % 2, 0);
    }
    let datagrams: Vec<UdpSocket> =
        (0..100).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports =
        datagrams.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<Result<Vec<_>, Failed>>()?;
    let even = *ports.iter().find(|port| *port % 2 == 0).ok_or("every UDP port is odd")?;
    ports.iter().find(|port| *port % 2 == 1).ok_or("every UDP port is even")?;

    // A UDP port does not show who chose it. For TCP, the port is free.
    let answer = lab.json(&["explain", &even.to_string()])?;
    let facts = |protocol: &str| -> Result<Value, Failed> {
        let mut ports = answer["ports"].as_array().ok_or("no ports")?.iter();
        let port =
            ports.find(|one| one["port"] == even && one["protocol"] == protocol).ok_or("no such protocol")?;
        let here = &port["ephemeral"];
        Ok(json!([here["kernel_would_pick"], here["likely_chosen"]]))
    };
    same!(facts("udp")?, json!([true, null]), "{answer:#}");
    same!(facts("tcp")?, json!([false, null]));
    Ok(())
}

/// The kernel returns no more bytes of a setting than fit in the first read.
fn many_reserved_ports(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = Server::start(&sleep(), vec![tcp("127.0.0.1:45001")?, tcp("127.0.0.1:45002")?])?;
    let list: Vec<String> = (40_001..=45_001).step_by(2).map(|port| port.to_string()).collect();
    std::fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", list.join(","))?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    same!(report["host"]["reserved"].as_array().map(Vec::len), Some(list.len()));
    same!(flags(printed(&report, 45_001, &server)?).contains(&"ephemeral"), false);
    same!(flags(printed(&report, 45_002, &server)?).contains(&"ephemeral"), true);
    Ok(())
}

fn reserved_ports_unread(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = Server::start(&sleep(), vec![tcp("127.0.0.1:40001")?])?;
    // The setting is replaced by a text that is not a list of ports, and by a file that cannot be opened.
    let (words, socket) = (lab.mount_point("words"), lab.mount_point("socket"));
    std::fs::write(&words, "20001,and more\n")?;
    let _kept = std::os::unix::net::UnixListener::bind(&socket)?;
    for (instead, why) in [(&words, "could not be parsed"), (&socket, "No such device")] {
        let setting = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        nix::mount::mount(
            Some(instead.as_str()),
            setting,
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )?;
        let (report, messages) = lab.json_under("nofile-64", &[])?;
        gap(&report, "host", why)?;
        same!(report["host"]["reserved"], json!([]));
        same!(messages.contains("reserved ports of this kernel"), true, "{messages}");
    }
    Ok(())
}
