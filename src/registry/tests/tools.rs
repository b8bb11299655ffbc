//! Checks which command lines the tables of dangerous services and of tools match.

use super::super::command_line::{CommandLine, compile};
use super::super::dangers::{behind_published_port, danger};
use super::super::programs::pairs;
use super::super::tools::{AdHocUse, ad_hoc, dual_use, dual_use_rows};
use super::body;
use crate::model::DangerBasis;
use crate::model::{Protocol, Severity};

fn arguments(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn command_lines_are_judged_as_listed() {
    let (mut count, mut wrong) = (0, Vec::new());
    for line in body(include_str!("command-lines.tsv")) {
        let [file, command, protocol, port, severity, service] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let arguments = arguments(command);
        let found = danger(
            &CommandLine::new(file, &arguments),
            port.parse().unwrap(),
            protocol.parse().unwrap(),
            false,
        );
        let found = found.map_or(("-", ""), |found| (found.severity.name(), found.service));
        if found != (severity, service) {
            wrong.push((line, found));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 180);
}

#[test]
fn a_danger_says_what_it_rests_on() {
    for (name, file, line, port, by_kernel, expected) in [
        (
            "by default",
            "redis-server",
            "redis-server *:6379",
            6379,
            false,
            Some((Severity::Critical, DangerBasis::Default)),
        ),
        (
            "a password",
            "rqlited",
            "rqlited -auth x",
            4001,
            false,
            Some((Severity::Warning, DangerBasis::Password)),
        ),
        (
            "arguments",
            "dockerd",
            "dockerd -H tcp://:2375",
            2375,
            false,
            Some((Severity::Critical, DangerBasis::CommandLine)),
        ),
        ("a plant's port", "x", "./x", 502, false, Some((Severity::Critical, DangerBasis::Port))),
        ("a port the kernel chose", "x", "./x", 502, true, None),
        (
            "TCP row on UDP",
            "redis-server",
            "redis-server",
            0,
            false,
            Some((Severity::Critical, DangerBasis::Default)),
        ),
        ("no row", "sshd", "sshd -D", 22, false, None),
    ] {
        let arguments = arguments(line);
        let found = danger(&CommandLine::new(file, &arguments), port, Protocol::Tcp, by_kernel);
        assert_eq!(found.map(|found| (found.severity, found.basis)), expected, "{name}");
    }
    let arguments = arguments("redis-server");
    assert_eq!(danger(&CommandLine::new("redis-server", &arguments), 6379, Protocol::Udp, false), None);
}

/// If an option switches the login off, the text names no password.
#[test]
fn a_danger_without_a_login_says_so() {
    for (file, line, port, authentication, gets) in [
        ("arangod", "arangod", 8529, "password", "Tries passwords; the server"),
        (
            "arangod",
            "arangod --server.authentication false",
            8529,
            "none",
            "Reads and changes every database,",
        ),
        ("mysqld", "mysqld --skip-grant-tables", 3306, "none", "Reads and changes every database as root."),
        ("busybox", "busybox telnetd -l /bin/sh", 23, "none", "Gets a shell of this machine without"),
        ("python3.12", "python3 /usr/bin/marimo edit --no-token", 2718, "none", "Runs code as this user."),
    ] {
        let arguments = arguments(line);
        let found = danger(&CommandLine::new(file, &arguments), port, Protocol::Tcp, false).unwrap();
        assert_eq!(found.authentication, authentication, "{line}");
        assert!(found.outsider_gets.starts_with(gets), "{line}: {}", found.outsider_gets);
    }
}

#[test]
fn a_published_port_is_judged_one_lower() {
    let redis = behind_published_port(6379, Protocol::Tcp).unwrap();
    assert_eq!((redis.service, redis.severity, redis.basis), ("redis", Severity::Warning, DangerBasis::Port));
    assert_eq!(behind_published_port(8081, Protocol::Tcp), None);
}

#[test]
fn tools_are_known_by_their_command_line() {
    for (name, file, line, expected) in [
        ("a shell behind netcat", "nc.traditional", "nc -lvp 4444 -e /bin/bash", Some(AdHocUse::Shell)),
        ("netcat that listens", "nc.openbsd", "nc -lk 443", Some(AdHocUse::Listen)),
        ("busybox as netcat", "busybox", "busybox nc -l -p 23", Some(AdHocUse::Listen)),
        ("busybox as something else", "busybox", "busybox syslogd", None),
        (
            "socat to a shell",
            "socat1",
            "socat TCP-LISTEN:1337,fork EXEC:/bin/bash,pty",
            Some(AdHocUse::Shell),
        ),
        // A relay that starts a system program is not a shell, unless that program runs commands that clients send.
        ("socat to cat", "socat", "socat TCP-LISTEN:1,fork EXEC:/bin/cat", Some(AdHocUse::Relay)),
        ("socat to date", "socat", "socat TCP-LISTEN:1,fork EXEC:date,pty", Some(AdHocUse::Relay)),
        ("socat to a shell with a version", "socat", "socat TCP-L:1 EXEC:bash5.2", Some(AdHocUse::Shell)),
        ("socat to an interpreter", "socat", "socat TCP-L:1 EXEC:/usr/bin/lua5.4", Some(AdHocUse::Shell)),
        ("socat to a wrapper", "socat", "socat TCP-L:1 EXEC:/bin/busybox ash", Some(AdHocUse::Shell)),
        ("socat to an argument", "socat", "socat TCP-L:1 EXEC:/usr/bin/x -- zsh", Some(AdHocUse::Shell)),
        ("socat to a user's file", "socat", "socat TCP-L:1 EXEC:/tmp/cat", Some(AdHocUse::Shell)),
        ("socat to a relative file", "socat", "socat TCP-L:1 EXEC:./cat", Some(AdHocUse::Shell)),
        ("socat to a shell's text", "socat", "socat TCP-L:1 SYSTEM:cat", Some(AdHocUse::Shell)),
        ("netcat to cat", "ncat", "ncat -lk 1 -e /bin/cat", Some(AdHocUse::Relay)),
        ("netcat to cat, long", "ncat", "ncat -l 1 --exec /bin/cat", Some(AdHocUse::Relay)),
        ("netcat to a user's file", "ncat", "ncat -l 1 -e /tmp/cat", Some(AdHocUse::Shell)),
        ("netcat to an interpreter", "ncat", "ncat -l 1 -e /usr/bin/perl", Some(AdHocUse::Shell)),
        ("code on the command line", "python3.11", "python3 -c import http.server", Some(AdHocUse::Listen)),
        ("a script", "python3.11", "python3 server.py", None),
        ("a shell", "bash", "-bash", Some(AdHocUse::Shell)),
        ("a service", "nginx", "nginx: master process", None),
    ] {
        let arguments = arguments(line);
        let found = ad_hoc(&CommandLine::new(file, &arguments));
        assert_eq!(found.map(|found| found.used_for), expected, "{name}");
        assert_eq!(found.is_some_and(|found| found.is_shell), file == "bash", "{name}");
    }
    for (name, file, line, expected) in
        [("by its name", "chisel", "chisel server", Some("tunnel")), ("a service", "nginx", "nginx", None)]
    {
        let arguments = arguments(line);
        assert_eq!(
            dual_use(&dual_use_rows(&CommandLine::new(file, &arguments)), 0, Protocol::Tcp)
                .map(|found| found.kind),
            expected,
            "{name}"
        );
    }
}

/// Padding does not hide the code that follows it. If the command line is cut, the code does not count as harmless.
#[test]
fn code_after_padding_is_judged() {
    let code = |padding: usize, code: &str| {
        let code = format!("'{}'\n{code}", "#".repeat(padding));
        let arguments = ["python3".to_owned(), "-c".to_owned(), code];
        ad_hoc(&CommandLine::new("python3.11", &arguments)).map(|tool| (tool.used_for, tool.beyond_loopback))
    };
    let shell = Some((AdHocUse::Shell, Severity::Critical));
    assert_eq!(code(0, "import socket, pty"), shell, "several lines");
    assert_eq!(code(130_000, "import socket, pty"), shell, "the longest argument");
    assert_eq!(code(300_000, "import pty"), Some((AdHocUse::Listen, Severity::Warning)), "cut");
    assert_eq!(code(0, "print()"), Some((AdHocUse::Listen, Severity::Notice)), "harmless");
}

#[test]
fn the_line_is_bounded() {
    let arguments = vec!["x".to_owned(), "é".repeat(1 << 18)];
    assert!(!CommandLine::new("x", &arguments).matches("y"));
}

fn check_programs(column: &str, line: &str) {
    for program in column.split(',') {
        assert!(!program.is_empty(), "{line}");
        if let Some(regex) = program.split_once(":/").and_then(|(_, rest)| rest.strip_suffix('/')) {
            assert!(compile(regex).is_some(), "{line}");
        }
    }
}

/// On a port that the kernel chose, a program often does not offer its usual service. The port may belong to JMX or to
/// the distribution of Erlang, or another program may connect back to it.
#[test]
fn on_a_port_that_the_kernel_chose_the_service_is_presumed() {
    use DangerBasis::{ChosenPort, Default};
    use Severity::{Critical, Notice, Warning};
    let zookeeper = "java -cp /x org.apache.zookeeper.server.quorum.QuorumPeerMain /etc/zoo.cfg";
    let with_jmx =
        "java -Dcom.sun.management.jmxremote -cp /x org.apache.zookeeper.server.quorum.QuorumPeerMain z";
    let with_exporter =
        "java -javaagent:/o/jmx_prometheus_javaagent-0.20.0.jar=7071:/o/k.yml -cp /k.jar kafka.Kafka /s";
    let erlang = "beam.smp -- -root /usr/lib/erlang -- -sname ejabberd -s ejabberd";
    for (name, file, line, port, chosen, expected) in [
        ("its own port", "java", zookeeper, 2181, false, Some(("zookeeper", Critical, Default))),
        ("chosen", "java", zookeeper, 40_000, true, Some(("zookeeper", Warning, ChosenPort))),
        ("any other", "java", zookeeper, 12_181, false, Some(("zookeeper", Critical, Default))),
        ("metrics of Java", "java", with_exporter, 7071, false, None),
        (
            "its own port, with metrics",
            "java",
            with_exporter,
            9092,
            false,
            Some(("kafka", Critical, Default)),
        ),
        ("metrics of etcd", "etcd", "etcd --listen-metrics-urls http://0.0.0.0:15692", 15_692, false, None),
        ("metrics of dockerd", "dockerd", "dockerd -H fd:// --metrics-addr 0.0.0.0:9399", 9399, false, None),
        ("profiles", "buildkitd", "buildkitd --debugaddr=:6060", 6060, false, None),
        (
            "a longer number",
            "buildkitd",
            "buildkitd --debugaddr=:16060 --addr tcp://:6060",
            6060,
            false,
            Some(("buildkit", Critical, Default)),
        ),
        ("a broker in Node-RED", "node", "node /x/node_modules/node-red/red.js", 1883, false, None),
        ("chosen, with JMX", "java", with_jmx, 40_000, true, Some(("jmx-chosen-port", Notice, Default))),
        ("its own port, with JMX", "java", with_jmx, 2181, false, Some(("zookeeper", Critical, Default))),
        ("Redis", "redis-server", "redis-server *:40000", 40_000, true, Some(("redis", Warning, ChosenPort))),
        (
            "named",
            "etcd",
            "etcd --listen-client-urls http://0.0.0.0:40000",
            40_000,
            true,
            Some(("etcd", Critical, DangerBasis::CommandLine)),
        ),
        ("Erlang", "beam.smp", erlang, 40_000, true, Some(("erlang-distribution", Warning, Default))),
        ("Erlang, another port", "beam.smp", erlang, 5222, false, None),
        ("Erlang, not distributed", "beam.smp", "beam.smp -- -root /x -s app", 40_000, true, None),
        (
            "a row without ports",
            "podman",
            "podman system service tcp:0.0.0.0:40000",
            40_000,
            true,
            Some(("podman-api", Critical, Default)),
        ),
        ("a plant's port", "x", "./x", 44_818, true, None),
    ] {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = danger(&CommandLine::new(file, &arguments), port, Protocol::Tcp, chosen);
        assert_eq!(found.map(|found| (found.service, found.severity, found.basis)), expected, "{name}");
    }
}

#[test]
fn the_dangers_are_well_formed() {
    let mut services = std::collections::BTreeSet::new();
    for line in body(include_str!("../data/dangers.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        let [
            service,
            title,
            programs,
            ports,
            only_ports,
            arguments,
            severity,
            authentication,
            encryption,
            gets,
            remedy,
            attack,
            source,
        ] = fields[..]
        else {
            panic!("{line}")
        };
        assert!(services.insert(service), "twice: {service}");
        assert!(fields.iter().all(|field| field.trim() == *field), "{line}");
        assert!(["critical", "warning", "notice", "none"].contains(&severity), "{line}");
        assert!(
            ["none", "none-by-default", "optional", "password", "strong", "n/a"].contains(&authentication),
            "{line}"
        );
        assert!(["none", "optional", "always"].contains(&encryption), "{line}");
        let except = only_ports.split(',').count();
        assert!(["yes", "no"].contains(&only_ports) || pairs(fields[4]).count() == except, "{line}");
        assert!(
            !title.is_empty() && gets.ends_with('.') && remedy.ends_with('.') && !source.is_empty(),
            "{line}"
        );
        check_programs(programs, line);
        let listed = ports.split(',').filter(|port| !port.is_empty()).count();
        assert_eq!(pairs(fields[3]).count(), listed, "{line}");
        for expression in arguments.split(" ;; ").filter(|expression| !expression.is_empty()) {
            let bare = expression.trim_start_matches(['!', '~']).replace("{port}", "12345");
            assert!(compile(&bare).is_some(), "{line}");
        }
        assert!(only_ports != "yes" || listed > 0 || arguments.contains("{port}"), "can never match: {line}");
        assert!(!programs.split(',').any(|program| program == "*") || only_ports == "yes", "{line}");
        let is_technique = |text: &str| text.starts_with('T') && text.len() >= 5;
        assert!(attack.split(',').all(|one| one.is_empty() || is_technique(one)), "{line}");
    }
    assert!(services.len() >= 340);
}

#[test]
fn the_tools_are_well_formed() {
    for line in body(include_str!("../data/ad-hoc.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        assert_eq!(fields.len(), 5, "{line}");
        check_programs(fields[0], line);
        assert!(fields[1].is_empty() || compile(fields[1]).is_some(), "{line}");
        assert!(["shell", "relay", "listen", "start"].contains(&fields[2]), "{line}");
        for severity in &fields[3..] {
            assert!(Severity::ALL.iter().any(|known| known.name() == *severity), "{line}");
        }
    }
    for line in body(include_str!("../data/dual-use.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        assert_eq!(fields.len(), 7, "{line}");
        check_programs(fields[0], line);
        let listed = fields[1].split(',').filter(|port| !port.is_empty()).count();
        assert!(pairs(fields[1]).count() == listed && fields[0].contains('@') == (listed > 0), "{line}");
        let kinds = ["tunnel", "remote-control", "attack", "miner", "interception", "proxy"];
        assert!(kinds.contains(&fields[2]) && ["warning", "notice"].contains(&fields[3]), "{line}");
    }
}
