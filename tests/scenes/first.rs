//! The required content of a listing: every listener, every owner, and every gap.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::Value;

use crate::lab::{
    Lab, NOBODY, Outcome, Scene, Server, flags, listeners, on_port, pids, sleep, tcp, udp, unmount_proc,
};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("five_listeners", five_listeners),
    ("five_listeners_as_nobody", five_listeners_as_nobody),
    ("nobody_sees_its_own", nobody_sees_its_own),
    ("reuseport_group", reuseport_group),
    ("inherited_by_three", inherited_by_three),
    ("hostile_name", hostile_name),
    ("no_proc", no_proc),
];

const FIVE: [(&str, &str, u16); 5] = [
    ("tcp", "0.0.0.0", 3416),
    ("tcp", "127.0.0.1", 60416),
    ("udp", "::", 3414),
    ("tcp", "127.0.0.1", 5432),
    ("tcp", "0.0.0.0", 1),
];

fn five() -> Result<[Server; 5], libtest_mimic::Failed> {
    let hold = |socket| Server::start(&sleep(), vec![socket]);
    Ok([
        hold(tcp("0.0.0.0:3416")?)?,
        hold(tcp("127.0.0.1:60416")?)?,
        hold(udp("[::]:3414")?)?,
        hold(tcp("127.0.0.1:5432")?)?,
        hold(tcp("0.0.0.0:1")?)?,
    ])
}

fn exactly_five(report: &Value) -> Outcome {
    let shown: BTreeSet<_> = listeners(report)?
        .iter()
        .map(|l| (l["protocol"].as_str(), l["address"].as_str(), l["port"].as_u64()))
        .collect();
    let wanted = FIVE
        .iter()
        .map(|(protocol, address, port)| (Some(*protocol), Some(*address), Some(u64::from(*port))))
        .collect();
    same!(shown, wanted);
    same!(listeners(report)?.len(), 5);
    Ok(())
}

fn five_listeners(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = five()?;
    let report = lab.json(&[])?;
    same!(report["schema"], "portolan/2");
    exactly_five(&report)?;
    for (server, (_, _, port)) in servers.iter().zip(FIVE) {
        let listener = on_port(&report, port)?;
        same!(listener["owner"], "held");
        same!(pids(listener), vec![server.pid()]);
        let process = &listener["processes"][0];
        same!(process["exe"], sleep().to_str().unwrap());
        same!(process["exe_deleted"], false);
        same!(process["name"], "sleep");
        same!(process["user"], "root");
        same!(listener["user"], "root");
        same!(process["cmdline"], serde_json::json!([sleep().to_str().unwrap(), "600"]));
    }
    same!(flags(on_port(&report, 3416)?), ["orphaned"]);
    same!(flags(on_port(&report, 60416)?), ["ephemeral"]);
    // `sleep` on a port that is guarded for PostgreSQL; there is no other finding about this listener.
    same!(flags(on_port(&report, 5432)?), ["impostor"]);
    same!(flags(on_port(&report, 3414)?), ["unexplained"]);
    same!(on_port(&report, 3414)?["state"], "unconnected");
    same!(on_port(&report, 3414)?["v6only"], false);
    Ok(())
}

fn five_listeners_as_nobody(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owners = five()?;
    let (report, messages) = lab.json_as_nobody(&[])?;
    exactly_five(&report)?;
    for listener in listeners(&report)? {
        same!(listener["owner"], "hidden");
        same!(listener["processes"], serde_json::json!([]));
        same!((&listener["uid"], &listener["user"]), (&Value::from(0), &Value::from("root")));
    }
    same!(report["complete"], false);
    same!(report["host"]["privileged"], false);
    let caveat = "Owners of 5 sockets hidden. Run with sudo to see them.";
    same!(messages.lines().next(), Some(&*format!("portolan: {caveat}")));
    // The table must not look like an all-clear either.
    let output = std::os::unix::process::CommandExt::uid(&mut lab.portolan([""; 0]), NOBODY).output()?;
    let table = String::from_utf8(output.stdout)?;
    same!(table.matches("hidden").count(), 5, "{table}");
    let summary = String::from_utf8(output.stderr)?;
    same!(summary.lines().nth(1), Some(caveat));
    // The scene has a pid namespace of its own, but the owners are inside: one cause, one gap.
    same!(summary.lines().count(), 4, "{summary}");
    same!(summary.lines().any(|line| line.contains("Firewall and NAT rules")), true, "{summary}");
    let gaps = report["gaps"].as_array().into_iter().flatten().filter(|gap| gap["stage"] == "owners");
    same!(gaps.map(|gap| &gap["why"]).collect::<Vec<_>>(), ["permission denied"], "{report:#}");
    same!(output.status.code(), Some(0));
    // Every gap in full.
    let output = std::os::unix::process::CommandExt::uid(&mut lab.portolan(["-v"]), NOBODY).output()?;
    let messages = String::from_utf8(output.stderr)?;
    same!(messages.contains("permission denied") && messages.contains("run as root"), true, "{messages}");
    Ok(())
}

fn nobody_sees_its_own(lab: &Lab) -> Outcome {
    lab.alone()?;
    let theirs = Server::start(&sleep(), vec![tcp("127.0.0.1:8001")?])?;
    let own = Server::start_as(&sleep(), vec![tcp("127.0.0.1:8002")?], Some(NOBODY))?;
    let (report, _) = lab.json_as_nobody(&[])?;
    same!(on_port(&report, 8001)?["owner"], "hidden", "{}", theirs.pid());
    same!(on_port(&report, 8002)?["owner"], "held");
    same!(pids(on_port(&report, 8002)?), vec![own.pid()]);
    same!(report["complete"], false);
    Ok(())
}

fn reuseport_group(lab: &Lab) -> Outcome {
    lab.alone()?;
    let shared = || -> Result<_, libtest_mimic::Failed> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_reuseport(&socket, true)?;
        bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 8100)))?;
        listen(&socket, 16)?;
        Ok(socket)
    };
    let servers = [Server::start(&sleep(), vec![shared()?])?, Server::start(&sleep(), vec![shared()?])?];
    let report = lab.json(&["8100"])?;
    same!(listeners(&report)?.len(), 2);
    let mut shown: Vec<u32> = listeners(&report)?.iter().flat_map(pids).collect();
    shown.sort_unstable();
    let mut wanted: Vec<u32> = servers.iter().map(Server::pid).collect();
    wanted.sort_unstable();
    same!(shown, wanted);
    Ok(())
}

fn inherited_by_three(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = tcp("127.0.0.1:8200")?;
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start(&sleep(), vec![socket.as_fd().try_clone_to_owned()?])?);
    }
    drop(socket); // the process that made the socket is gone
    let report = lab.json(&["8200"])?;
    let mut wanted: Vec<u32> = servers.iter().map(Server::pid).collect();
    wanted.sort_unstable();
    same!(pids(on_port(&report, 8200)?), wanted);
    Ok(())
}

/// `ESC[2J`, a newline and a right-to-left override, in the name of a process and in the path of its file.
fn hostile_name(lab: &Lab) -> Outcome {
    lab.alone()?;
    let name = "\u{1b}[2J\nx\u{202e}";
    let server = Server::start(&lab.sleeper_called(name.as_bytes())?, vec![tcp("127.0.0.1:8300")?])?;
    let report = lab.json(&["8300"])?;
    same!(on_port(&report, 8300)?["processes"][0]["name"], name);
    for arguments in [
        &["8300"][..],
        &["--color", "always", "8300"],
        &["explain", "8300"],
        &["-o", "json", "8300"],
        &["capture"],
    ] {
        let output = lab.portolan(arguments).output()?;
        let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        same!(text.contains("\u{1b}[2J"), false, "{arguments:?}: {text:?}");
        same!(text.contains('\u{202e}'), false, "{arguments:?}: {text:?}");
        if !arguments.contains(&"always") {
            same!(text.contains('\u{1b}'), false, "{arguments:?}: {text:?}");
        }
    }
    let rows = String::from_utf8(lab.portolan(["8300"]).output()?.stdout)?;
    same!(rows.lines().filter(|line| line.contains("8300")).count(), 1, "{rows}");
    same!(
        rows.lines().any(|line| line.contains("8300") && line.contains(&server.pid().to_string())),
        true,
        "{rows}"
    );
    Ok(())
}

fn no_proc(lab: &Lab) -> Outcome {
    let _owner = Server::start(&sleep(), vec![tcp("127.0.0.1:8400")?, udp("127.0.0.1:8401")?])?;
    unmount_proc()?;
    let report = lab.json(&[])?;
    for port in [8400, 8401] {
        same!(on_port(&report, port)?["owner"], "hidden");
    }
    same!(report["complete"], false);
    let gaps = report["gaps"].as_array().cloned().unwrap_or_default();
    same!(
        gaps.iter().any(|gap| gap["stage"] == "owners" && gap["remedy"] == "mount /proc"),
        true,
        "{gaps:?}"
    );
    Ok(())
}
