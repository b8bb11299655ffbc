//! Sockets whose owner is hidden: a mount over `/proc/PID`, or a descriptor in flight. Program files that differ from
//! the file at their path.

use std::os::fd::OwnedFd;
use std::path::Path;

use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount, umount};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::net::{AddressFamily, SocketType, socket};
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server, send_unreceived, sleep, tcp};
use crate::report::{gap, held, on_port, summary};
use crate::{program_rows, same};

/// The scenes of this file.
pub const SCENES: &[Scene] = &[
    ("masked_process", masked_process),
    ("socket_in_flight", socket_in_flight),
    ("origins", origins),
    ("a_namespace_that_a_socket_keeps_alive_is_a_gap", namespace_of_a_socket),
    ("a_namespace_of_a_socket_in_flight_is_a_gap", namespace_of_a_socket_in_flight),
    ("a_preloaded_library_is_a_note", preloaded_library),
    ("a_moving_descriptor_is_found_with_another_owner", moving_descriptor),
    ("a_socket_that_only_an_io_uring_has_and_no_table_shows_is_a_gap", sockets_in_a_ring_only),
    ("an_endless_path_hides_no_other_descriptor", endless_path),
    ("a_decoy_hides_no_second_owner", second_owner),
    ("too_many_files_of_code_are_a_gap", too_many_files_of_code),
    ("an_io_uring_without_a_descriptor_is_a_gap", ring_without_a_descriptor),
    ("an_audit_without_bpf_says_what_it_cannot_find", without_bpf),
    ("an_audit_without_sys_says_what_to_mount", without_sys),
    ("an_audit_without_internet_sockets_sees_io_urings", without_internet_sockets),
    ("a_thread_that_waits_on_a_closed_descriptor_is_a_gap", waits_on_a_closed_descriptor),
    ("audit_in_a_container_is_incomplete_unless_accepted", in_a_container),
    ("audit_in_a_network_namespace_is_incomplete_unless_accepted", in_a_network_namespace),
];

/// A process that a mount hides is named, and its listener is not reported as a socket of the kernel.
fn masked_process(lab: &Lab) -> Outcome {
    let server = Server::start(&sleep(), vec![tcp("127.0.0.1:8951")?])?;
    let directory = format!("/proc/{}", server.pid());
    mount(Some("none"), Path::new(&directory), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let report = lab.json(&[]);
    umount(Path::new(&directory))?;
    let report = report?;
    gap(&report, "owners", &format!("a mount over {directory}"))?;
    // A view of the processes without that mount shows the owner, but no facts about its program.
    held(&report, 8951, &[server.pid()])?;
    let named = |gap: &Value| gap["pids"].as_array().is_some_and(|pids| pids.contains(&server.pid().into()));
    same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
    let finding = |finding: &Value| finding["code"] == "hidden-process" && finding["severity"] == "critical";
    let findings = &on_port(&report, 8951)?["flags"];
    same!(findings.as_array().is_some_and(|findings| findings.iter().any(finding)), true, "{findings:#}");
    Ok(())
}

/// A listener without a descriptor in any process, because the descriptor is in flight through a Unix socket.
fn socket_in_flight(lab: &Lab) -> Outcome {
    let listener = tcp("127.0.0.1:8952")?;
    let _queue = send_unreceived(listener)?;
    let report = lab.json(&[])?;
    let owner = &on_port(&report, 8952)?["owner"];
    // The listener is hidden if some process of this machine may not be read.
    same!(owner == "unaccounted" || owner == "hidden", true, "{owner}\n{}", summary(&report));
    same!(report["complete"], false);
    if owner == "unaccounted" {
        let me = Value::from(std::process::id());
        let named = |gap: &Value| gap["pids"].as_array().is_some_and(|pids| pids.contains(&me));
        same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
    }
    Ok(())
}

/// The users who can replace a running file: a file that is covered by another mount, a file in a world-writable
/// directory, and a file of root.
fn origins(lab: &Lab) -> Outcome {
    let (covered, open) =
        (lab.sleeper_called(b"covered")?, lab.directory_of_mode("open", 0o777)?.join("open"));
    std::fs::copy(sleep(), &open)?;
    let other = lab.sleeper_called(b"other")?;
    let elsewhere = Server::start(&covered, vec![tcp("127.0.0.1:8953")?])?;
    let anyone = Server::start(&open, vec![tcp("127.0.0.1:8954")?])?;
    mount(Some(&other), &covered, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let output = lab.portolan(["capture"]).output();
    umount(&covered)?;
    let capture: Value = serde_json::from_slice(&output?.stdout)?;
    for (server, kind) in [(&elsewhere, "elsewhere"), (&anyone, "open")] {
        same!(origin(&capture, server)?["kind"], kind);
    }
    let writable = open.parent().and_then(Path::to_str).ok_or("no parent")?;
    same!(origin(&capture, &anyone)?["writable"], writable);
    Ok(())
}

fn origin<'c>(capture: &'c Value, server: &Server) -> Result<&'c Value, Failed> {
    let processes = capture["processes"].as_array().ok_or("no processes")?;
    let process = processes.iter().find(|process| process["pid"] == server.pid()).ok_or("not captured")?;
    Ok(&process["origin"])
}

/// The socket has a visible owner, but an io_uring that no descriptor shows may have it too.
fn ring_without_a_descriptor(lab: &Lab) -> Outcome {
    lab.alone()?;
    for (port, mapped, options) in
        [(8960, "mapped", &[][..]), (8961, "mapped", &["--no-bpf"]), (8962, "unmapped", &[])]
    {
        let server = lab.helper(["registered-ring", &format!("127.0.0.1:{port}"), mapped])?;
        ring_is_a_gap(lab, &server, options)?;
    }
    Ok(())
}

fn ring_is_a_gap(lab: &Lab, server: &Server, options: &[&str]) -> Outcome {
    let output = lab.portolan([&["audit", "-o", "json"], options].concat()).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    gap(&report, "owners", "the sockets in such an io_uring cannot be read")?;
    let named = |gap: &Value| gap["pids"] == serde_json::json!([server.pid()]);
    same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
    Ok(())
}

/// Without BPF, a process that has an io_uring without a descriptor and a mapping is not found. A listing does not search
/// for such processes, so it has no gap.
fn without_bpf(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _server = lab.helper(["registered-ring", "127.0.0.1:8963", "unmapped"])?;
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let may_be_hidden = setting.is_ok_and(|text| text.trim() != "2");
    for (circumstance, options, why) in
        [(None, &["--no-bpf"][..], "--no-bpf was given"), (Some("bpf-refused"), &[], "did not run it")]
    {
        let run = |command: &[&str]| {
            let arguments = [command, options].concat();
            circumstance.map_or_else(|| lab.portolan(&arguments), |name| lab.portolan_under(name, &arguments))
        };
        let output = run(&["audit", "-o", "json"]).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        if may_be_hidden {
            gap(&report, "owners", why)?;
            same!(output.status.code(), Some(3));
        }
        let output = run(&["list", "-o", "json", "--netns", "all"]).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        same!(report["gaps"].to_string().contains("io_uring"), false, "{report:#}");
        same!(output.status.code(), Some(0));
    }
    Ok(())
}

/// The systemd unit lets the audit open no Internet sockets. The iterators do not need them.
fn without_internet_sockets(lab: &Lab) -> Outcome {
    lab.alone()?;
    let output = lab.portolan_under("no-internet-sockets", ["audit", "-o", "json"]).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    same!(report["gaps"].to_string().contains("io_uring"), false, "{report:#}");
    Ok(())
}

/// Without `/sys`, the kernel's types are not visible, so no BPF program can be made.
fn without_sys(lab: &Lab) -> Outcome {
    lab.alone()?;
    mount(Some("none"), Path::new("/sys"), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if setting.is_ok_and(|text| text.trim() != "2") {
        let output = lab.portolan(["audit", "-o", "json"]).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        gap(&report, "owners", "this needs /sys, which is not mounted")?;
        same!(output.status.code(), Some(3));
    }
    Ok(())
}

/// The socket has a visible owner, but a thread of another process waits for its next client.
fn waits_on_a_closed_descriptor(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = lab.helper(["blocked-accept", "127.0.0.1:8964"])?;
    let output = lab.portolan(["audit", "-o", "json"]).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    gap(&report, "owners", "a thread waits in a system call on a socket whose descriptor was closed")?;
    let named = |gap: &Value| gap["pids"] == serde_json::json!([server.pid()]);
    same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
    Ok(())
}

/// Every socket has a visible owner, but the processes outside the container are not visible.
fn in_a_container(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = Server::start(&sleep(), vec![tcp("127.0.0.1:1")?])?;
    let output = lab.portolan_on_a_machine(["audit"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    same!(output.status.code(), Some(3), "{text}");
    same!(text.lines().next().is_some_and(|line| line.contains("this container only")), true, "{text}");
    same!(text.contains("--scope container"), true, "{text}");
    let metrics = lab.portolan_on_a_machine(["audit", "-o", "metrics"]).output()?;
    let metrics = String::from_utf8(metrics.stdout)?;
    for line in ["portolan_complete 0", "portolan_host_info{scope=\"container\",complete=\"false\"} 1"] {
        same!(metrics.lines().any(|other| other == line), true, "{line}\n{metrics}");
    }
    let output = lab.portolan_on_a_machine(["-o", "json"]).output()?;
    let listing: Value = serde_json::from_slice(&output.stdout)?;
    same!(listing["host"]["scope"], "container");
    gap(&listing, "scope", "pid namespace")?;
    let output = lab.portolan(["audit"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    same!(output.status.code(), Some(0), "{text}");
    let text = text.replace('\n', " ");
    same!(text.contains("everything in this container could be seen"), true, "{text}");
    Ok(())
}

/// Every process is visible, but the sockets of the machine's own network namespace are not.
fn in_a_network_namespace(lab: &Lab) -> Outcome {
    let audit = |part| -> Result<Value, Failed> {
        let output = lab.portolan_on_a_machine(["audit", "-o", "json", "--scope", part]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let has_scope_gap = |report: &Value| {
        report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| gap["stage"] == "scope"))
    };
    let whole = audit("machine")?;
    if whole["host"]["scope"] == "container" {
        return Ok(()); // the scenes themselves run in a container
    }
    same!(whole["host"]["scope"], "namespace");
    gap(&whole, "scope", "network namespace")?;
    same!(has_scope_gap(&audit("namespace")?), false);
    Ok(())
}

/// A network namespace that only a socket keeps alive cannot be entered; its listener is a gap that names the
/// process. A socket that is not bound is not a gap.
fn namespace_of_a_socket(lab: &Lab) -> Outcome {
    lab.alone()?;
    let unbound = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let _idle = Server::start(&sleep(), vec![unbound])?;
    same!(lab.json(&["--netns", "all"])?["complete"], true);
    for (address, shown) in [
        ("127.0.0.1:8955", "TCP 127.0.0.1:8955"),
        ("raw", "RAW 0.0.0.0"),
        ("packet", "PACKET of every address"),
    ] {
        let away = lab.helper(["elsewhere", address, "-", "back"])?;
        let report = lab.json(&["--netns", "all"])?;
        gap(&report, "sockets", &format!("pid {} has {shown}", away.pid()))?;
        let output = lab.portolan(["audit"]).output()?;
        same!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// Such a namespace, whose socket no process has: the gap names the process to which the socket was sent.
fn namespace_of_a_socket_in_flight(lab: &Lab) -> Outcome {
    lab.alone()?;
    let away = lab.helper(["elsewhere", "127.0.0.1:8959", "-", "in-flight"])?;
    let report = lab.json(&["--netns", "all"])?;
    gap(&report, "sockets", "were sent, but not received yet")?;
    let named = |gap: &Value| gap["pids"] == serde_json::json!([away.pid()]);
    same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
    let output = lab.portolan(["audit"]).output()?;
    same!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    drop(away);
    same!(lab.json(&["--netns", "all"])?["complete"], true);
    Ok(())
}

/// The same two sockets, but an io_uring has the listener, or the Unix socket to which it was sent, without a
/// descriptor. The sockets of ordinary programs in an io_uring are not gaps: they are in tables.
fn sockets_in_a_ring_only(lab: &Lab) -> Outcome {
    lab.alone()?;
    let ordinary = lab.helper(["ring", "127.0.0.1:8960"])?;
    let connected = lab.helper(["ordinary-ring", "127.0.0.1:8960"])?;
    same!(lab.json(&["--netns", "all"])?["complete"], true);
    drop((ordinary, connected));
    for (stays, what) in
        [("ring", "in an io_uring but in no table"), ("in-flight-ring", "may carry descriptors")]
    {
        let away = lab.helper(["elsewhere", "127.0.0.1:8961", "-", stays])?;
        let report = lab.json(&["--netns", "all"])?;
        let named = |gap: &Value| {
            gap["pids"] == serde_json::json!([away.pid()])
                && gap["what"].as_str().is_some_and(|text| text.contains(what))
        };
        same!(report["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(named)), true, "{report:#}");
        let output = lab.portolan(["audit"]).output()?;
        same!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

/// A library that the environment loads into the program can change what the program reads.
fn preloaded_library(lab: &Lab) -> Outcome {
    for (variable, is_noted) in [("LD_PRELOAD", true), ("LD_AUDIT", true), ("LD_DEBUG_OUTPUT", false)] {
        let output = lab.portolan(["-o", "json"]).env(variable, "/nowhere/library.so").output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let notes = report["notes"].as_array().ok_or("no notes")?;
        let found =
            notes.iter().any(|note| note["what"].as_str().is_some_and(|what| what.contains("preloaded")));
        same!(found, is_noted && cfg!(not(target_feature = "crt-static")), "{variable}");
    }
    Ok(())
}

/// A descriptor moves while the descriptors of its process are read, and another process has the socket too.
fn moving_descriptor(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mover = lab.helper(["moving", "127.0.0.1:8962"])?;
    let decoy = mover.said[1].parse()?;
    for _ in 0..20 {
        held(&lab.json(&[])?, 8962, &[mover.pid(), decoy])?;
    }
    Ok(())
}

/// The path of a descriptor is longer than the kernel can return; the other descriptors of the process are read.
fn endless_path(lab: &Lab) -> Outcome {
    let mut directory: OwnedFd = std::fs::File::open(lab.path(""))?.into();
    let name = "d".repeat(250);
    for _ in 0..20 {
        mkdirat(&directory, &*name, Mode::RWXU)?;
        directory = openat(&directory, &*name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    }
    let server = Server::start(&sleep(), vec![directory, tcp("127.0.0.1:8956")?])?;
    held(&lab.json(&[])?, 8956, &[server.pid()])
}

/// Only so many files are checked; the rest is a gap.
fn too_many_files_of_code(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.directory_of_mode("bin", 0o755)?.join("perl");
    std::fs::hard_link(lab.path("helper"), &program)?;
    for (count, is_gap) in [(4_000, false), (4_200, true)] {
        let directories = (0..count).map(|number| format!("-I/usr/{number}"));
        let mut command = std::process::Command::new(&program);
        command.args(directories).arg("/usr/bin/x").env(program_rows::PLACES, "tcp/127.0.0.1:8850");
        let _server = Server::ready(command.env(program_rows::NAME, "perl"))?;
        let report = lab.json(&["8850"])?;
        same!(report["gaps"].to_string().contains("too many code files"), is_gap, "{report:#}");
    }
    Ok(())
}

/// A thread with its own descriptor table holds the socket, also in an io_uring only, and so does another process: an
/// audit names both.
fn second_owner(lab: &Lab) -> Outcome {
    lab.alone()?;
    for (helper, port) in [("own-table-of", 8957), ("own-ring-of", 8958)] {
        let hidden = lab.helper([helper, &format!("127.0.0.1:{port}")])?;
        let decoy = hidden.said[1].parse()?;
        let output = lab.portolan(["audit"]).output()?;
        let text = String::from_utf8(output.stdout)?.replace('\n', " ");
        held(&lab.json(&[])?, port, &[hidden.pid(), decoy])?;
        same!(text.contains(&hidden.pid().to_string()), true, "{helper}: {text}");
    }
    Ok(())
}
