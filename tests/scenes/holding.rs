//! The ways in which a process can own a socket, including odd ones: the owner is always found.

use std::os::fd::AsFd;

use serde_json::Value;

use crate::lab::{
    Lab, Outcome, Scene, Server, complete, gap, held, listeners, on_port, pids, send_unreceived, shared_tcp,
    sleep, tcp, udp,
};
use crate::{same, wires};

pub const SCENES: &[Scene] = &[
    ("reuseport_group_of_200", reuseport_group_of_200),
    ("parent_ended", parent_ended),
    ("held_by_a_pair", held_by_a_pair),
    ("held_twice_by_one", held_twice_by_one),
    ("thread_with_its_own_table", thread_with_its_own_table),
    ("zombie_leader", zombie_leader),
    ("io_uring_fixed_file", io_uring_fixed_file),
    ("a_socket_without_a_visible_process", a_socket_without_a_visible_process),
    ("kernel_socket", kernel_socket),
    ("in_flight", in_flight),
];

/// One port, 200 sockets, 100 processes: each socket appears once, with its own process.
fn reuseport_group_of_200(lab: &Lab) -> Outcome {
    lab.alone()?;
    let shared = || shared_tcp(([127, 0, 0, 1], 8100).into());
    let servers = (0..100)
        .map(|_| Server::start(&sleep(), vec![shared()?, shared()?]))
        .collect::<Result<Vec<_>, _>>()?;
    let report = lab.json(&[])?;
    complete(&report, 200)?;
    let mut shown: Vec<u32> = listeners(&report)?.iter().flat_map(pids).collect();
    shown.sort_unstable();
    let mut wanted: Vec<u32> = servers.iter().flat_map(|server| [server.pid(); 2]).collect();
    wanted.sort_unstable();
    same!(shown, wanted);
    Ok(())
}

fn parent_ended(lab: &Lab) -> Outcome {
    lab.alone()?;
    let maker = lab.helper(["maker", "127.0.0.1:8200"])?;
    let children: Vec<u32> = maker.said[1..].iter().map(|pid| pid.parse()).collect::<Result<_, _>>()?;
    same!(children.len(), 2);
    let parents = |report: &Value, pid: u32| -> Result<Vec<Value>, libtest_mimic::Failed> {
        let processes = on_port(report, 8200)?["processes"].as_array().ok_or("no processes")?;
        let process = processes.iter().find(|process| process["pid"] == pid).ok_or("no such process")?;
        let parents = process["parents"].as_array().ok_or("no parents")?;
        Ok(parents.iter().map(|parent| parent["pid"].clone()).collect())
    };
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8200, &[children[0], children[1], maker.pid()])?;
    same!(parents(&report, children[0])?, [maker.pid()]);
    maker.end()?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8200, &children)?;
    // A process that loses its parent becomes a child of the first process.
    same!(parents(&report, children[0])?, [1]);
    same!(parents(&report, children[1])?, [1]);
    Ok(())
}

/// A process made the socket and keeps it, and another process serves the socket, as with socket activation.
fn held_by_a_pair(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = tcp("0.0.0.0:8201")?;
    let manager = Server::start(&sleep(), vec![socket.as_fd().try_clone_to_owned()?])?;
    let service = Server::start(&sleep(), vec![socket])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8201, &[manager.pid(), service.pid()])?;
    // The table shows both processes.
    let output = lab.portolan(["8201"]).output()?;
    let table = String::from_utf8(output.stdout)?;
    for server in [&manager, &service] {
        same!(table.contains(&server.pid().to_string()), true, "{table}");
    }
    drop(service);
    held(&lab.json(&[])?, 8201, &[manager.pid()])?;
    drop(manager);
    same!(listeners(&lab.json(&[])?)?.len(), 0);
    Ok(())
}

fn held_twice_by_one(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = udp("127.0.0.1:8202")?;
    let twin = socket.as_fd().try_clone_to_owned()?;
    let server = Server::start(&sleep(), vec![socket, twin])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8202, &[server.pid()])
}

/// Two listeners, one with an ordinary owner and one that only this process owns: both are found, and nothing is
/// missing.
fn found_nevertheless(lab: &Lab, helper: &str) -> Result<(Value, Server), libtest_mimic::Failed> {
    let usual = Server::start(&sleep(), vec![tcp("127.0.0.1:8210")?])?;
    let odd = lab.helper([helper, "127.0.0.1:8211"])?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    held(&report, 8210, &[usual.pid()])?;
    held(&report, 8211, &[odd.pid()])?;
    Ok((report, odd))
}

fn thread_with_its_own_table(lab: &Lab) -> Outcome {
    lab.alone()?;
    found_nevertheless(lab, "own-table").map(drop)
}

fn zombie_leader(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (report, _odd) = found_nevertheless(lab, "zombie-leader")?;
    let process = &on_port(&report, 8211)?["processes"][0];
    same!(process["name"], "helper");
    Ok(())
}

fn io_uring_fixed_file(lab: &Lab) -> Outcome {
    lab.alone()?;
    found_nevertheless(lab, "ring").map(drop)
}

/// This test process owns the socket, outside the pid namespace: inside, the owner must never be "the kernel".
fn a_socket_without_a_visible_process(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _outside = tcp("127.0.0.1:8220")?;
    let within = Server::start(&sleep(), vec![tcp("127.0.0.1:8221")?])?;
    let report = lab.json(&[])?;
    same!(listeners(&report)?.len(), 2);
    held(&report, 8221, &[within.pid()])?;
    same!(on_port(&report, 8220)?["owner"], "hidden");
    same!(on_port(&report, 8220)?["processes"], serde_json::json!([]));
    gap(&report, "owners", "pid namespace")
}

/// Returns whether every process of this machine may be read, and all of them are visible. Even root may not read a
/// process that the vendor of the machine protects.
fn every_process_can_be_read() -> bool {
    let first =
        std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]");
    let readable = |pid: u32| {
        let Ok(directory) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        directory.flatten().all(|entry| {
            std::fs::read_link(entry.path())
                .map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |_| true)
        })
    };
    first && readable(1) && readable(2)
}

/// A VXLAN device has a UDP socket that no process owns. If every process was read, the socket belongs to the kernel;
/// otherwise the owner is unknown.
fn kernel_socket(lab: &Lab) -> Outcome {
    wires::vxlan("vx0", 4789)?;
    let server = Server::start(&sleep(), vec![udp("0.0.0.0:4790")?])?;
    // The iterators of the kernel, which many processes make worthwhile, can read every process.
    let report = lab.json(&["--no-bpf"])?;
    same!(listeners(&report)?.len(), 2);
    held(&report, 4790, &[server.pid()])?;
    let listener = on_port(&report, 4789)?;
    same!(listener["processes"], serde_json::json!([]));
    same!(listener["protocol"], "udp");
    if every_process_can_be_read() {
        same!(listener["owner"], "kernel");
        complete(&report, 2)?;
    } else {
        eprintln!("not every process of this machine may be read: the kernel's socket is hidden, not kernel");
        same!(listener["owner"], "hidden");
        gap(&report, "owners", "")?;
    }
    // The user nobody can conclude even less than root.
    let (report, _) = lab.json_as_nobody(&[])?;
    same!(on_port(&report, 4789)?["owner"], "hidden");
    gap(&report, "owners", "permission denied")
}

/// While a descriptor is passed from one process to another, no process has it in its table. The socket is still
/// listed.
fn in_flight(lab: &Lab) -> Outcome {
    lab.alone()?;
    let socket = tcp("127.0.0.1:8230")?;
    let _queue = Server::start(&sleep(), send_unreceived(socket)?.into())?;
    let report = lab.json(&[])?;
    same!(listeners(&report)?.len(), 1);
    same!(on_port(&report, 8230)?["owner"], "hidden");
    gap(&report, "owners", "pid namespace")
}
