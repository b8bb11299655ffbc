use std::sync::Arc;

use super::super::cells::CellFormat;
use super::super::columns::named;
use super::super::fixtures::*;
use super::super::service_cells::shortened;
use super::super::{process_cells, table};
use super::PLAIN;
use crate::judge::Report;
use crate::model::*;

fn one(socket: Socket, processes: Vec<Process>) -> Report {
    report(&Snapshot { sockets: vec![socket], processes, ..empty() })
}

fn cell(report: &Report, column: &str, form: CellFormat) -> String {
    named(column).unwrap().cell(&report.entries[0], &report.snapshot, form).text.into_owned()
}

fn interpreted(name: &str, exe: &str, cmdline: &[&str]) -> Process {
    Process {
        exe: Some(Exe { path: exe.into(), state: ExeState::Present, open_directories: None }),
        cmdline: cmdline.iter().map(ToString::to_string).collect(),
        ..process(7, name)
    }
}

/// SERVICE contains the service of the program. If the program is not known, SERVICE contains the usual or the
/// registered service of the port.
#[test]
fn service_is_what_runs() {
    for (name, local, program, service) in [
        ("a known program on its port", "tcp/0.0.0.0:22", "sshd", "OpenSSH server"),
        ("a known program on another port", "tcp/127.0.0.1:8081", "nginx", "nginx"),
        ("an unknown program on a port in use", "tcp/127.0.0.1:5432", "xyzzy", "(postgresql)"),
        (
            "a known use",
            "tcp/127.0.0.1:3000",
            "xyzzy",
            "(Node.js, React and Rails development servers, Grafana, Gitea)",
        ),
        (
            "another use next to the registered one",
            "tcp/127.0.0.1:9100",
            "xyzzy",
            "(node_exporter of Prometheus, JetDirect printing)",
        ),
        ("a dead registration", "tcp/0.0.0.0:3416", "xyzzy", "IANA: commandport"),
        ("a registration without evidence", "tcp/0.0.0.0:2024", "xyzzy", "IANA: xinuexpansion4"),
        ("nothing registered", "tcp/0.0.0.0:4", "xyzzy", ""),
        ("an ephemeral port", "tcp/0.0.0.0:60417", "xyzzy", ""),
        // An impostor is not the usual service of the port.
        ("an impostor", "tcp/0.0.0.0:3306", "python3", ""),
    ] {
        let report = one(socket(local, Owner::Held(vec![7].into())), vec![process(7, program)]);
        for form in [CellFormat::Complete, CellFormat::Long] {
            assert_eq!(cell(&report, "service", form), service, "{name}");
        }
        let wide = text(|w| table::grid(&report, &[named("service").unwrap()], false, &PLAIN, w));
        assert_eq!(wide.trim_end(), if service.is_empty() { "-" } else { service }, "{name}");
    }
}

/// A product is cut between two words. The name of a container is cut inside a word.
#[test]
fn service_in_a_narrow_column() {
    for (text, width, expected) in [
        ("Python http.server", 18, "Python http.server"),
        ("Python http.server", 17, "Python…"),
        ("Prometheus", 8, "Prometh…"),
        ("(Node.js, React and Rails development servers)", 24, "(Node.js, React and…)"),
        ("(Node.js, React and Rails development servers)", 10, "(Node.js…)"),
        ("(ssh)", 2, "(…"),
        ("IANA: commandport", 12, "IANA: comma…"),
        ("to frontend", 10, "frontend"),
        ("to shop-database-1", 12, "shop-databa…"),
    ] {
        assert_eq!(shortened(text, width), expected, "{width}");
    }
}

/// A server opens its socket as root and then serves as another user.
#[test]
fn user_is_the_effective_user() {
    let by = |pid: Pid, uid: Option<u32>, user: Option<&str>| Process {
        uid,
        user: user.map(str::to_owned),
        ..process(pid, "nginx")
    };
    let root = || by(7, Some(0), Some("root"));
    let worker = |pid| by(pid, Some(33), Some("www-data"));
    for (name, processes, user, users) in [
        ("dropped", vec![by(7, Some(65534), Some("nobody"))], "nobody", "nobody"),
        ("master and workers", vec![root(), worker(8), worker(9)], "root,www-data", "root,www-data"),
        ("a number", vec![by(7, Some(1234), None)], "", "1234"),
        ("not read", vec![], "root", "root"),
    ] {
        let pids: Vec<Pid> = (7..=9).take(processes.len().max(1)).collect();
        let report = one(socket("tcp/0.0.0.0:80", Owner::Held(pids.into())), processes);
        assert_eq!(cell(&report, "user", CellFormat::Complete), users, "{name}");
        assert_eq!(cell(&report, "user", CellFormat::Data), user, "{name}");
    }
    let mut hidden = socket("tcp/0.0.0.0:80", Owner::Hidden);
    Arc::make_mut(&mut hidden.attributes).user = Some("mallory".into());
    assert_eq!(cell(&one(hidden, Vec::new()), "user", CellFormat::Complete), "mallory");
}

/// PROCESS shows the script of an interpreter, the whole name, and whether the process is stopped.
#[test]
fn process_is_what_runs() {
    let stopped = |process| Process { state: Some('T'), ..process };
    for (process, shown) in [
        (
            interpreted("node", "/usr/bin/node", &["node", "/srv/app/server.js", "--port", "80"]),
            "node server.js",
        ),
        (interpreted("node-MainThread", "/usr/bin/node", &["node", "server.js"]), "node server.js"),
        (
            interpreted("python3", "/usr/bin/python3.11", &["python3", "-m", "http.server"]),
            "python3 -m http.server",
        ),
        (
            interpreted("server.py", "/usr/bin/python3.11", &["/usr/bin/python3", "./server.py"]),
            "python3 server.py",
        ),
        (interpreted("python3", "/usr/bin/python3.11", &["python3", "-c", "import x"]), "python3 (code)"),
        (
            interpreted("java", "/usr/lib/jvm/17/bin/java", &["java", "-Xmx1g", "-jar", "/opt/app.jar"]),
            "java app.jar",
        ),
        (
            interpreted(
                "java",
                "/usr/bin/java",
                &["java", "-cp", "/opt/lib/*", "org.apache.zookeeper.QuorumPeerMain"],
            ),
            "java QuorumPeerMain",
        ),
        (interpreted("gunicorn", "/usr/bin/python3.11", &["gunicorn: master [app]"]), "gunicorn"),
        (interpreted("python3", "/usr/bin/python3.11", &[]), "python3"),
        (
            interpreted("prometheus-node", "/usr/bin/prometheus-node-exporter", &[]),
            "prometheus-node-exporter",
        ),
        // The name of this process differs from the name of its file. The cell shows the name of the process.
        (interpreted("prometheus-node", "/usr/bin/xyzzy", &[]), "prometheus-node"),
        (stopped(process(7, "nginx")), "nginx (stopped)"),
        (process(7, "x (stopped)"), r"x \x28stopped)"),
        (interpreted("node", "/usr/bin/node", &["node", "\x1b[2J.js"]), r"node \x1b[2J.js"),
    ] {
        assert_eq!(process_cells::what_runs(&process), shown, "{process:?}");
    }
}

#[test]
fn short_cells_leave_out_words() {
    let node = super::listener_card::node();
    for (column, socket, process, long, short) in [
        ("service", "tcp/0.0.0.0:22", process(7, "sshd"), "OpenSSH server", "OpenSSH"),
        ("process", "tcp/0.0.0.0:3000", node, "node server.js", "server.js"),
        ("exposure", "tcp/127.0.0.1:22", process(7, "sshd"), "loopback", "lo"),
        ("exposure", "tcp/169.254.1.1:22", process(7, "sshd"), "link-local", "link"),
        ("exposure", "udp/224.0.0.251:5353", process(7, "avahi-daemon"), "multicast", "mcast"),
    ] {
        let report = one(socket_of(socket, process.pid), vec![process]);
        assert_eq!(cell(&report, column, CellFormat::Long), long);
        assert_eq!(cell(&report, column, CellFormat::Short), short);
    }
}

fn socket_of(local: &str, pid: Pid) -> Socket {
    socket(local, Owner::Held(vec![pid].into()))
}

#[test]
fn a_hidden_program_is_not_judged() {
    for (owner, text, data) in [(Owner::Hidden, "?", ""), (Owner::Kernel, "", "")] {
        let report = one(socket("tcp/0.0.0.0:22", owner), Vec::new());
        assert_eq!(cell(&report, "flags", CellFormat::Short), text);
        assert_eq!(cell(&report, "flags", CellFormat::Data), data);
    }
}
