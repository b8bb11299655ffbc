//! Twelve failures of similar tools, observed on one machine, each with a scene that would reveal the failure: (1) a
//! false all-clear, (2) the owner lost, (3) the address lost, (4) the device lost, (5) hostile names, (6) other
//! network namespaces, (7) UDP, (8) invalid machine-readable output, (9) meaningless exit codes, (10) process IDs
//! that match no filter, (11) the time for large outputs, (12) the registry.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::Failed;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};
use serde_json::Value;

use crate::lab::{
    Lab, NOBODY, Outcome, Scene, Server, complete, flags, held, listeners, on_port, pids, sleep, tcp, udp,
};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("peers_01_a_false_all_clear", a_false_all_clear),
    ("peers_02_the_owner_lost", the_owner_lost),
    ("peers_03_the_address_lost", the_address_lost),
    ("peers_04_the_device_lost", the_device_lost),
    ("peers_05_hostile_names", hostile_names),
    ("peers_06_other_namespaces", other_namespaces),
    ("peers_07_udp", unconnected_connected_and_lite),
    ("peers_08_machine_output", machine_output),
    ("peers_09_exit_codes", exit_codes),
    ("peers_10_process_ids", process_ids),
    ("peers_11_three_thousand_listeners", three_thousand_listeners),
    ("peers_12_the_registry", the_registry),
];

/// Returns standard output, standard error and the exit code of a run.
fn said(command: &mut Command) -> Result<(String, String, Option<i32>), Failed> {
    let output = command.output()?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?, output.status.code()))
}

/// Seven tools report to an ordinary user that nothing listens: they leave out every socket whose owner they cannot
/// read.
fn a_false_all_clear(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = Server::start(&sleep(), vec![tcp("0.0.0.0:9001")?, udp("[::1]:9002")?])?;
    let formats = [&[][..], &["-o", "wide"], &["-o", "csv"], &["-o", "ndjson"], &["-o", "json"], &["9001"]];
    for arguments in formats {
        let (out, messages, code) = said(lab.portolan(arguments).uid(NOBODY).gid(NOBODY))?;
        same!(code, Some(0), "{arguments:?}");
        same!(out.contains("9001") && out.contains("hidden"), true, "{arguments:?}: {out}");
        same!(out.contains("9002"), *arguments != ["9001"], "{arguments:?}: {out}");
        same!(messages.contains(" hidden. Run with sudo to see "), true, "{arguments:?}: {messages}");
    }
    Ok(())
}

fn shared(port: u16) -> Result<OwnedFd, Failed> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    listen(&socket, 1)?;
    Ok(socket)
}

/// netstat and others name only one process of a shared or inherited socket, and a different one in different runs.
fn the_owner_lost(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inherited = tcp("127.0.0.1:9010")?;
    let heirs = (0..3)
        .map(|_| Server::start(&sleep(), vec![inherited.as_fd().try_clone_to_owned()?]))
        .collect::<Result<Vec<_>, _>>()?;
    drop(inherited);
    let sharers =
        [Server::start(&sleep(), vec![shared(9011)?])?, Server::start(&sleep(), vec![shared(9011)?])?];
    let rows = |lab: &Lab| said(&mut lab.portolan([""; 0]));
    let first = rows(lab)?;
    for _ in 0..5 {
        let report = lab.json(&[])?;
        complete(&report, 3)?;
        held(&report, 9010, &heirs.iter().map(Server::pid).collect::<Vec<_>>())?;
        let of_both: BTreeSet<u32> =
            listeners(&report)?.iter().filter(|l| l["port"] == 9011).flat_map(pids).collect();
        same!(of_both, sharers.iter().map(Server::pid).collect());
        same!(rows(lab)?, first);
    }
    Ok(())
}

/// One tool shows no local address: a listener on loopback appears as 0.0.0.0.
fn the_address_lost(lab: &Lab) -> Outcome {
    lab.alone()?;
    let three = vec![tcp("127.0.0.1:9020")?, tcp("127.0.0.53:9020")?, tcp("[::1]:9020")?];
    let _loopback = Server::start(&sleep(), three)?;
    let _everywhere = Server::start(&sleep(), vec![tcp("0.0.0.0:9021")?])?;
    let report = lab.json(&[])?;
    complete(&report, 4)?;
    let on_9020 = || listeners(&report).map(|all| all.iter().filter(|l| l["port"] == 9020));
    let addresses: BTreeSet<_> = on_9020()?.filter_map(|l| l["address"].as_str()).collect();
    same!(addresses, BTreeSet::from(["127.0.0.1", "127.0.0.53", "::1"]));
    same!(on_9020()?.all(|l| l["exposure"] == "loopback"), true);
    same!(on_port(&report, 9021)?["exposure"], "any");
    for (arguments, addresses) in [
        (&["9020"][..], &["127.0.0.1+[::1] ", "127.0.0.53 "][..]),
        (&["9020", "--no-merge"], &["127.0.0.1 ", "127.0.0.53 ", "[::1] "]),
    ] {
        let (table, ..) = said(&mut lab.portolan(arguments))?;
        same!(table.contains("0.0.0.0"), false, "{table}");
        same!(table.lines().count(), 1 + addresses.len(), "{table}");
        for address in addresses {
            same!(table.contains(address), true, "{table}");
        }
    }
    Ok(())
}

/// All tools except ss show a socket that is bound to a device as plain 0.0.0.0.
fn the_device_lost(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    setsockopt(&socket, BindToDevice, &"lo".into())?;
    bind(&socket, &SocketAddr::from(([0, 0, 0, 0], 9030)))?;
    listen(&socket, 1)?;
    let _owner = Server::start(&sleep(), vec![socket])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    let listener = on_port(&report, 9030)?;
    same!((&listener["address"], &listener["device"]), (&"0.0.0.0".into(), &"lo".into()));
    same!(listener["exposure"], "loopback");
    let (table, ..) = said(&mut lab.portolan(["9030"]))?;
    same!(table.contains("0.0.0.0%lo"), true, "{table}");
    Ok(())
}

/// Six tools print a process name without escaping: `ESC[8m` conceals the rest of a listing, and a newline splits a row
/// of ss.
fn hostile_names(lab: &Lab) -> Outcome {
    lab.alone()?;
    let name = "\u{1b}[8m\n\u{9b}2J,\"";
    let _hostile = Server::start(&lab.sleeper_called(name.as_bytes())?, vec![tcp("127.0.0.1:9040")?])?;
    let _after = Server::start(&sleep(), vec![tcp("127.0.0.1:9041")?])?;
    let formats = ["table", "wide", "csv", "ndjson", "json"].map(|format| vec!["-o", format]);
    let others =
        [vec!["explain", "9040"], vec!["capture"], vec!["--group"], vec!["--columns", "process,exe,cmdline"]];
    for arguments in formats.iter().chain(&others) {
        let (out, messages, code) = said(&mut lab.portolan(arguments))?;
        same!(code, Some(0), "{messages}");
        let raw = |c: char| c.is_control() && c != '\n';
        same!(
            (out.chars().find(|c| raw(*c)), messages.chars().find(|c| raw(*c))),
            (None, None),
            "{arguments:?}"
        );
        if matches!(arguments[1..], ["table" | "wide" | "csv" | "ndjson"]) {
            // The first line is the header, or the host.
            same!(out.lines().count(), 1 + 2, "{arguments:?}: {out}");
        }
    }
    same!(on_port(&lab.json(&[])?, 9040)?["processes"][0]["name"], name);
    Ok(())
}

/// Listeners in other network namespaces, such as those of all containers, are invisible to all tools except `ss -N`.
fn other_namespaces(lab: &Lab) -> Outcome {
    lab.alone()?;
    let here = Server::start(&sleep(), vec![tcp("127.0.0.1:9050")?])?;
    let there = lab.helper(["elsewhere", "127.0.0.1:9051", "-", "stays"])?;
    let note = "1 other network namespace, not scanned (--netns all)";
    // The namespace matters if the answer is empty, or if the user asks for everything.
    for (arguments, is_noted) in [(&[][..], false), (&["9050"], false), (&["9051"], true), (&["-v"], true)] {
        let (_, messages, _) = said(&mut lab.portolan(arguments))?;
        same!(messages.contains(note), is_noted, "{arguments:?}: {messages}");
    }
    let report = lab.json(&["--netns", "all"])?;
    complete(&report, 2)?;
    held(&report, 9050, &[here.pid()])?;
    held(&report, 9051, &[there.pid()])?;
    same!(on_port(&report, 9051)?["netns"]["inode"].to_string(), there.said[1]);
    Ok(())
}

/// Some tools leave out UDP sockets that are not connected, some count connected sockets as listening, and only one
/// option of one tool shows UDP-Lite.
fn unconnected_connected_and_lite(lab: &Lab) -> Outcome {
    lab.alone()?;
    let connected = UdpSocket::bind("127.0.0.1:9060")?;
    connected.connect("127.0.0.1:9061")?;
    let lite =
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::UDPLITE))?;
    bind(&lite, &SocketAddr::from(([127, 0, 0, 1], 9062)))?;
    let server = Server::start(&sleep(), vec![connected.into(), udp("127.0.0.1:9061")?, lite])?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    for (port, protocol) in [(9061, "udp"), (9062, "udplite")] {
        held(&report, port, &[server.pid()])?;
        let listener = on_port(&report, port)?;
        same!((&listener["protocol"], &listener["state"]), (&protocol.into(), &"unconnected".into()));
    }
    // The connected socket appears if connections are listed.
    same!(on_port(&lab.json(&["-a"])?, 9060)?["peer"]["port"], 9061);
    Ok(())
}

/// One tool colours JSON in a file, one writes numbers as text, and one prints the environment, including secrets.
fn machine_output(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut secretive = Command::new(sleep());
    secretive.arg("600").env("PORTOLAN_TEST_SECRET", "hunter2").stdin(tcp("127.0.0.1:9070")?);
    let server = Server::spawn(&mut secretive)?;
    for arguments in [
        &["-o", "json"][..],
        &["-o", "ndjson"],
        &["-o", "csv"],
        &["capture"],
        &["explain", "9070", "-o", "json"],
    ] {
        let (out, ..) =
            said(lab.portolan(["--color", "always"].iter().chain(arguments)).env("CLICOLOR_FORCE", "1"))?;
        same!(out.contains('\u{1b}'), false, "{arguments:?}: {out:?}");
        same!(out.contains("hunter2") || out.contains("PORTOLAN_TEST_SECRET"), false, "{arguments:?}: {out}");
    }
    let report = lab.json(&[])?;
    let listener = on_port(&report, 9070)?;
    let process = &listener["processes"][0];
    same!(process["pid"], server.pid());
    for number in [&listener["port"], &listener["uid"], &listener["inode"], &process["pid"], &process["uid"]]
    {
        same!(number.is_u64(), true, "{listener:#}");
    }
    for unknown in [&listener["device"], &listener["peer"], &listener["netns"], &process["container"]] {
        same!(*unknown, Value::Null);
    }
    Ok(())
}

/// `ss sport = :9999` ends with 0 although nothing matches, other tools end with 0 although the port is invalid, and
/// one tool calls a port free that a UDP socket uses.
fn exit_codes(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = Server::start(&sleep(), vec![udp("127.0.0.1:9080")?])?;
    for (arguments, wanted) in [
        (&["9080"][..], 0),
        (&["9999"], 1),
        (&["-t", "9080"], 1),
        (&["abc/9080"], 2),
        (&["99999"], 2),
        (&["--pid", "abc"], 2),
        (&["--from", "/no/such/file"], 2),
        (&["--pids", "9999"], 1),
        (&["watch", "9080", "--until-free", "--timeout", "0.2"], 1),
        (&["watch", "9999", "--until-free", "--timeout", "5"], 0),
    ] {
        let (_, messages, code) = said(&mut lab.portolan(arguments))?;
        same!(code, Some(wanted), "{arguments:?}: {messages}");
    }
    Ok(())
}

/// `-t -i :9100` of one tool printed every process ID of the machine, which is fatal inside `kill $(…)`.
fn process_ids(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers =
        [Server::start(&sleep(), vec![shared(9100)?])?, Server::start(&sleep(), vec![shared(9100)?])?];
    let _other = Server::start(&sleep(), vec![tcp("127.0.0.1:9101")?])?;
    let mut wanted = servers.each_ref().map(Server::pid);
    wanted.sort_unstable();
    let wanted = wanted.map(|pid| format!("{pid}\n")).concat();
    for arguments in [["--pids", "9100", "-t"], ["--pids", "-i", ":9100"]] {
        let (out, _, code) = said(&mut lab.portolan(arguments))?;
        same!((out.as_str(), code), (wanted.as_str(), Some(0)), "{arguments:?}");
    }
    for arguments in [&["--pids"][..], &["--pids", ""], &["--pids", "-t"]] {
        let (out, _, code) = said(&mut lab.portolan(arguments))?;
        same!((out.as_str(), code), ("", Some(2)), "{arguments:?}");
    }
    Ok(())
}

/// One tool took 35 seconds to draw 1,000 listeners and 93 for 3,000.
fn three_thousand_listeners(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = lab.helper(["many", "3000"])?;
    let program = lab.portolan([""; 0]).get_program().to_owned();
    // Without colour, and as on a terminal.
    for color in ["never", "always"] {
        let mut bounded = Command::new("timeout");
        bounded.arg("60").arg(&program).args(["--color", color, "10001-13000"]);
        let (table, _, code) = said(&mut bounded)?;
        same!((code, table.lines().count()), (Some(0), 3_001), "--color {color}");
        same!(table.contains(" 13000 "), true);
    }
    Ok(())
}

/// ss, lsof and netstat know the 318 names of `/etc/services`, the new tools 22 to 170, one 11,441 of 2021; no tool
/// compares the local port with the whole registry, and no tool flags ports that are unassigned, dead, or in the
/// kernel's own ephemeral range.
fn the_registry(lab: &Lab) -> Outcome {
    lab.alone()?;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 21999")?;
    let _owner =
        Server::start(&sleep(), vec![tcp("127.0.0.1:3416")?, tcp("127.0.0.1:4")?, tcp("127.0.0.1:20501")?])?;
    let _named = Server::start(&sleep(), vec![tcp("127.0.0.1:8471")?, tcp("127.0.0.1:60001")?])?;
    let report = lab.json(&[])?;
    let service = |port| on_port(&report, port).map(|l| &l["registry"]["assignments"][0]["service"]);
    same!(*service(3416)?, "commandport");
    same!(*service(8471)?, "pim-port");
    for (port, flag) in [(3416, "orphaned"), (4, "unexplained"), (20501, "ephemeral")] {
        same!(flags(on_port(&report, port)?).contains(&flag), true, "{port}");
    }
    // IANA's dynamic range is not used if the kernel's own range is known.
    same!(flags(on_port(&report, 60001)?).contains(&"ephemeral"), false);
    let evidence = |port| -> Result<&Value, Failed> {
        let flags = on_port(&report, port)?["flags"].as_array().ok_or("no flags")?;
        Ok(&flags.iter().find(|flag| flag["code"] == "ephemeral").ok_or("not ephemeral")?["evidence"])
    };
    same!(evidence(20501)?["kernel_range"], serde_json::json!({"low": 20000, "high": 21999}));
    Ok(())
}
