//! The card of a listener, for real processes: their start time, their starter, their directory, and how to stop
//! them.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("a_server_that_a_shell_started_in_a_project", of_a_shell),
    ("the_package_of_a_listener", package),
    ("explain_by_name_shows_each_listener", by_name),
];

/// Returns the text of the card without its line breaks.
fn card(lab: &Lab, target: &str, uid: u32) -> Result<String, libtest_mimic::Failed> {
    let output = lab.portolan(["why", target]).uid(uid).gid(uid).output()?;
    same!(output.status.code(), Some(0), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A user who is not root sees as much of the user's own server as root does.
fn of_a_shell(lab: &Lab) -> Outcome {
    lab.alone()?;
    let project = lab.directory_of_mode("shop", 0o755)?;
    let directory = project.join("api");
    fs::create_dir_all(&directory)?;
    fs::create_dir(project.join(".git"))?;
    let server = lab.as_helper(["master", "127.0.0.1:8960", "sleep", "-"]);
    let mut shell = Command::new("/bin/bash");
    shell.args(["-c", "\"$0\" \"$@\"; true"]).arg(server.get_program()).args(server.get_args());
    let server = Server::ready(shell.current_dir(&directory).uid(NOBODY).gid(NOBODY))?;
    let worker = server.said.get(1).ok_or("no worker")?;
    let _client = TcpStream::connect("127.0.0.1:8960")?;
    for uid in [0, NOBODY] {
        let card = card(lab, "8960", uid)?;
        let (_, pid) = card.split_once("helper (pid ").ok_or_else(|| card.clone())?;
        let pid = pid.split(',').next().unwrap_or_default();
        for line in [
            format!("  Process     helper (pid {pid}, user nobody), since "),
            " UTC".to_owned(),
            format!("              and sleep (pid {worker}, user nobody)\n"),
            "  Command     ".to_owned(),
            format!("  Directory   {} (project shop)\n", directory.display()),
            "  Why         started from bash by nobody\n".to_owned(),
            "  Reachable   on this machine only; 1 connection now\n".to_owned(),
            format!("  To stop     kill {pid}\n"),
            "  Not shown   udp/8960 (nothing listens there); --full shows them.\n".to_owned(),
        ] {
            same!(card.contains(&line), true, "{uid}: {line:?} is not in {card}");
        }
    }
    let full = String::from_utf8(lab.portolan(["explain", "--full", "8960"]).output()?.stdout)?;
    same!(full.contains("Not shown"), false, "{full}");
    Ok(())
}

/// The package is named only if a database of packages knows the program.
fn package(lab: &Lab) -> Outcome {
    let _server = Server::start(&sleep(), vec![tcp("127.0.0.1:8961")?])?;
    let report = lab.json(&["explain", "8961"])?;
    let origin = &report["ports"][0]["listeners"][0]["processes"][0]["origin"];
    let debian = Path::new("/var/lib/dpkg/info/coreutils.list").exists();
    same!(origin["package"] == "coreutils", debian, "{origin:#}");
    same!(card(lab, "8961", 0)?.contains(", package coreutils "), debian);
    let listing = lab.json(&["8961"])?;
    same!(
        listing["listeners"][0]["processes"][0]["origin"]["package"].is_null(),
        true,
        "a listing asks nobody"
    );
    Ok(())
}

/// A program that listens on a port is explained on this port, and not on every port where it could listen.
fn by_name(lab: &Lab) -> Outcome {
    let program = lab.sleeper_called(b"nginx")?;
    let servers: Result<Vec<Server>, _> = ["127.0.0.1:8962", "127.0.0.1:8963"]
        .into_iter()
        .map(|address| Server::start(&program, vec![tcp(address)?]))
        .collect();
    let servers = servers?;
    // Another program on a usual port of nginx.
    let _other = Server::start(&sleep(), vec![tcp("127.0.0.1:8080")?])?;
    let text = card(lab, "nginx", 0)?;
    for (server, port) in servers.iter().zip([8962, 8963]) {
        same!(text.contains(&format!("tcp 127.0.0.1:{port}  nginx")), true, "{text}");
        same!(text.contains(&format!("kill {}\n", server.pid())), true, "{text}");
        same!(text.contains(&format!("Port {port} ")), true, "{text}");
    }
    same!(text.contains("Not shown   tcp/80, tcp/443 and tcp/8080; --full"), true, "{text}");
    same!(text.contains("8080  ") || text.contains("Port 80"), false, "{text}");
    let full = String::from_utf8(lab.portolan(["explain", "--full", "nginx"]).output()?.stdout)?;
    same!(full.contains("\n443 ") && !full.contains("Not shown"), true, "{full}");
    same!(full.contains(&format!("kill {}\n", servers[0].pid())), true, "{full}");
    Ok(())
}
