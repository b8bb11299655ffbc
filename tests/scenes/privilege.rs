//! Parts that the observer may not see are never reported as absent.

use std::process::{Command, Stdio};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::lab::{
    Lab, NOBODY, Outcome, Scene, Server, complete, gap, held, listeners, on_port, sleep, tcp, udp,
    unmount_proc,
};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("hidepid_2", hidepid_2),
    ("hidepid_2_as_root", hidepid_2_as_root),
    ("subset_pid", subset_pid),
    ("no_ptrace", no_ptrace),
    ("an_unprivileged_user_who_may_read_processes", an_unprivileged_user_who_may_read_processes),
    ("user_namespace", user_namespace),
    ("foreign_pid_namespace", foreign_pid_namespace),
    ("foreign_pid_namespace_with_old_proc", foreign_pid_namespace_with_old_proc),
    ("netlink_refused", netlink_refused),
    ("netlink_without_answer", netlink_without_answer),
    ("a_second_listing_that_is_refused_proves_nothing", second_listing_refused),
    ("neither_netlink_nor_tables", neither_netlink_nor_tables),
    ("eight_descriptors", eight_descriptors),
];

/// Starts one TCP listener of root, and one UDP socket of nobody.
fn two() -> Result<[Server; 2], libtest_mimic::Failed> {
    same!(geteuid().is_root(), true);
    Ok([
        Server::start(&sleep(), vec![tcp("0.0.0.0:8600")?])?,
        Server::start_as(&sleep(), vec![udp("[::1]:8601")?], Some(NOBODY))?,
    ])
}

/// Both sockets are listed. The socket of root is hidden, without a guessed process; the socket of nobody has its
/// process.
fn roots_is_hidden(report: &Value, servers: &[Server; 2], why: &str) -> Outcome {
    same!(listeners(report)?.len(), 2, "{report:#}");
    same!(on_port(report, 8600)?["owner"], "hidden");
    same!(on_port(report, 8600)?["processes"], json!([]));
    held(report, 8601, &[servers[1].pid()])?;
    gap(report, "owners", why)
}

fn hidepid_2(lab: &Lab) -> Outcome {
    remount_proc("hidepid=2")?;
    let servers = two()?;
    let (report, messages) = lab.json_under("nobody", &[])?;
    roots_is_hidden(&report, &servers, "hidepid")?;
    same!(messages.contains("Owner of 1 socket hidden. Run with sudo to see it."), true, "{messages}");
    // The same check in a pid namespace: the process may be outside, but hidepid is enough to hide it.
    lab.alone_with("hidepid=2")?;
    let servers = two_more()?;
    let (report, _) = lab.json_under("nobody", &["8610", "8611"])?;
    same!(on_port(&report, 8610)?["owner"], "hidden");
    held(&report, 8611, &[servers[1].pid()])?;
    gap(&report, "owners", "hidepid")
}

fn two_more() -> Result<[Server; 2], libtest_mimic::Failed> {
    Ok([
        Server::start(&sleep(), vec![tcp("0.0.0.0:8610")?])?,
        Server::start_as(&sleep(), vec![udp("[::1]:8611")?], Some(NOBODY))?,
    ])
}

/// Mounts another `/proc` over the existing one, in this scene's mount namespace alone.
fn remount_proc(options: &str) -> Outcome {
    use nix::mount::{MsFlags, mount};
    Ok(mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some(options))?)
}

fn both_held(report: &Value, servers: &[Server; 2]) -> Outcome {
    held(report, 8600, &[servers[0].pid()])?;
    held(report, 8601, &[servers[1].pid()])?;
    same!(listeners(report)?.len(), 2);
    Ok(())
}

/// hidepid does not restrict a user who may read everything.
fn hidepid_2_as_root(lab: &Lab) -> Outcome {
    lab.alone_with("hidepid=2")?;
    let servers = two()?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    both_held(&report, &servers)
}

/// `/proc` with only processes: no settings, no list of protocols, no tables.
fn subset_pid(lab: &Lab) -> Outcome {
    lab.alone_with("subset=pid")?;
    let servers = two()?;
    let report = lab.json(&[])?;
    both_held(&report, &servers)?;
    gap(&report, "host", "ip_local_port_range")
}

fn no_ptrace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = two()?;
    let (report, messages) = lab.json_under("no-ptrace", &["--no-bpf"])?;
    same!(report["host"]["privileged"], false);
    // Root's other process has the capability that the observer gave up, so the observer may not read it.
    same!(on_port(&report, 8600)?["owner"], "hidden", "{report:#}");
    same!(listeners(&report)?.len(), 2);
    same!(["held", "hidden"].map(Value::from).contains(&on_port(&report, 8601)?["owner"]), true);
    gap(&report, "owners", "permission denied")?;
    same!(messages.contains("Run with sudo to see them."), true, "{messages}");
    drop(servers);
    Ok(())
}

fn an_unprivileged_user_who_may_read_processes(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = two()?;
    let (report, messages) = lab.json_under("nobody-who-may-read", &[])?;
    complete(&report, 2)?;
    both_held(&report, &servers)?;
    let process = &on_port(&report, 8600)?["processes"][0];
    same!(process["exe"], sleep().to_str().unwrap());
    same!(messages.contains("permission"), false, "{messages}");
    // A process of the same user without the capability cannot be read either.
    let (report, _) = lab.json_under("nobody", &[])?;
    roots_is_hidden(&report, &servers, "permission denied")
}

fn user_namespace(lab: &Lab) -> Outcome {
    let _owners = two()?;
    let (report, _) = lab.json_under("user-namespace", &[])?;
    same!(report["host"]["privileged"], false);
    same!(listeners(&report)?.len(), 2);
    for port in [8600, 8601] {
        same!(on_port(&report, port)?["owner"], "hidden");
    }
    gap(&report, "owners", "permission denied")
}

fn foreign_pid_namespace(lab: &Lab) -> Outcome {
    let _owners = two()?;
    let (report, _) = lab.json_under("pid-namespace", &[])?;
    same!(listeners(&report)?.len(), 2);
    for port in [8600, 8601] {
        same!(on_port(&report, port)?["owner"], "hidden");
    }
    gap(&report, "owners", "cannot see the processes outside")
}

/// The visible processes are those of the old `/proc`: they are found, and other owners are hidden.
fn foreign_pid_namespace_with_old_proc(lab: &Lab) -> Outcome {
    let servers = two()?;
    let _mine = tcp("127.0.0.1:8602")?;
    let (report, _) = lab.json_under("pid-namespace-old-proc", &[])?;
    same!(listeners(&report)?.len(), 3);
    held(&report, 8600, &[servers[0].pid()])?;
    held(&report, 8601, &[servers[1].pid()])?;
    Ok(())
}

/// The tables of `/proc/net` are read instead: they show the same sockets, and a gap names the missing fields.
fn netlink_refused(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = two()?;
    for circumstance in ["no-netlink", "no-netlink-family"] {
        let (report, messages) = lab.json_under(circumstance, &[])?;
        both_held(&report, &servers)?;
        same!(on_port(&report, 8600)?["state"], "listen");
        same!(on_port(&report, 8601)?["state"], "unconnected");
        same!(on_port(&report, 8601)?["uid"], 0);
        gap(&report, "sockets", "netlink")?;
        let notes = &report["notes"];
        same!(notes.to_string().contains("/proc/thread-self/net"), true, "{notes}");
        same!(messages.contains("netlink"), true, "{messages}");
    }
    Ok(())
}

/// Netlink can be opened but not used: the list is never silently short or empty.
fn netlink_without_answer(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = two()?;
    for (circumstance, why, remedy) in [
        ("no-answer", "netlink", "allow NETLINK_SOCK_DIAG sockets for this process"),
        ("no-question", "netlink", "allow NETLINK_SOCK_DIAG sockets for this process"),
        ("no-diagnosis", "not loaded", "modprobe tcp_diag udp_diag"),
    ] {
        let (report, _) = lab.json_under(circumstance, &[])?;
        both_held(&report, &servers)?;
        gap(&report, "sockets", why)?;
        // The gap appears once, with its remedy.
        let gaps = report["gaps"].as_array().ok_or("no gaps")?;
        let remedies: Vec<_> =
            gaps.iter().filter(|gap| gap["stage"] == "sockets").map(|gap| &gap["remedy"]).collect();
        same!(remedies, [remedy], "{circumstance}: {gaps:?}");
    }
    Ok(())
}

/// The sockets were listed only once: the report says that sockets without a visible owner may no longer exist.
fn second_listing_refused(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _outside = tcp("127.0.0.1:8600")?;
    let within = Server::start(&sleep(), vec![tcp("127.0.0.1:8601")?])?;
    let program = lab.portolan([""; 0]).get_program().to_owned();
    // The kernel refuses every socket after the first.
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=socket:error=EPERM:when=2+"]);
    traced.arg(program).args(["-o", "json"]).stdin(Stdio::null());
    let output = match traced.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no strace to refuse the second listing: left to the unit test");
            return Ok(());
        }
        output => output?,
    };
    let report = Lab::parsed(&output)?;
    held(&report, 8601, &[within.pid()])?;
    same!(on_port(&report, 8600)?["owner"], "hidden");
    gap(&report, "owners", "could not be listed again")
}

/// Neither source answers: no socket is listed, and the gaps name every missing protocol.
fn neither_netlink_nor_tables(lab: &Lab) -> Outcome {
    let _owners = two()?;
    unmount_proc()?;
    let (report, messages) = lab.json_under("no-netlink", &[])?;
    same!(listeners(&report)?.len(), 0);
    gap(&report, "sockets", "netlink")?;
    let gaps = report["gaps"].to_string();
    for protocol in ["TCP", "TCPv6", "UDP", "UDPv6", "UDP-Lite", "SCTP", "DCCP"] {
        same!(
            gaps.contains(&format!("{protocol}\"")) || gaps.contains(&format!("{protocol},")),
            true,
            "{protocol}: {gaps}"
        );
    }
    same!(messages.contains("mount /proc"), true, "{messages}");
    Ok(())
}

/// With eight descriptors everything is visible; with fewer, the report has gaps, or the run fails.
fn eight_descriptors(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = two()?;
    let (report, _) = lab.json_under("nofile-8", &[])?;
    complete(&report, 2)?;
    both_held(&report, &servers)?;
    for limit in 3..8 {
        let output = lab.portolan_under(&format!("nofile-{limit}"), ["-o", "json"]).output()?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            continue; // the program could not even start
        }
        let report = Lab::parsed(&output)?;
        if report["complete"] == true {
            both_held(&report, &servers)?;
        }
    }
    Ok(())
}
