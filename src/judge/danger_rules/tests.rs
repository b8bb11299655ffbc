use super::super::judge;
use super::super::tests::{program_process, seen, socket};
use super::*;
use crate::findings::FindingKind;
use crate::model::firewall::{FilterBase, FilterChain, FilterHook, FilterTable, Interface};
use crate::model::{
    Configuration, Family, Firewall, Forwarding, Netns, Origin, OriginKind, Process, Snapshot,
    SocketAttributes, State,
};
use crate::registry::Registry;

fn found(local: &str, process: Process) -> Option<(Severity, Exposed)> {
    let report =
        judge(seen(vec![socket(local, Owner::Held(vec![7].into()))], vec![process]), Registry::embedded());
    let mut findings = report.entries[0].findings().iter();
    findings.find_map(|finding| Some((finding.severity, Exposed::of(&finding.evidence)?.clone())))
}

/// On a port that almost only one service uses, an unknown program is presumed to be this service. Most other ports do
/// not show which program uses them.
#[test]
fn an_unknown_program_on_the_port_of_a_dangerous_service() {
    for (name, line, port, expected) in [
        (
            "cache-server",
            "cache-server --bind 0.0.0.0",
            6379,
            Some((Severity::Warning, "redis", DangerBasis::Port)),
        ),
        ("redis6-server", "redis6-server", 6379, Some((Severity::Critical, "redis", DangerBasis::Default))),
        ("engine", "engine", 2375, Some((Severity::Warning, "docker-api", DangerBasis::Port))),
        ("engine", "engine", 2379, Some((Severity::Notice, "etcd", DangerBasis::Port))),
        ("engine", "engine", 10250, Some((Severity::Warning, "kubelet-defaults", DangerBasis::Port))),
        ("engine", "engine", 9200, None),
        ("engine", "engine", 8086, None),
        ("nginx", "nginx", 6379, None),
        ("python3", "python3 server.py", 6379, None),
        ("webhook", "webhook", 10250, None),
        ("nc", "nc -l 6379", 6379, None),
    ] {
        let process = program_process(7, name, &format!("/usr/bin/{name}"), line);
        let found = found(&format!("tcp/0.0.0.0:{port}"), process);
        // How the program was started is not known.
        let text = found.as_ref().map(|(_, exposed)| exposed.sentence()).unwrap_or_default();
        assert!(!text.contains("started without"), "{text}");
        let found = found.map(|(severity, exposed)| (severity, exposed.service, exposed.basis));
        assert_eq!(found, expected, "{line} {port}");
    }
    let engine = program_process(7, "engine", "/usr/bin/engine", "engine");
    assert!(found("tcp/127.0.0.1:6379", engine.clone()).is_none(), "loopback");
    assert!(found("udp/0.0.0.0:6379", engine).is_none(), "UDP");
}

/// Systemd owns the socket. The name of the socket unit shows which program systemd starts.
#[test]
fn the_name_of_a_socket_unit_names_the_program() {
    for (unit, port, service) in [
        ("nyancat-server.socket", 23, None),
        ("telnet.socket", 23, Some("telnet-inetd")),
        ("other.socket", 23, Some("telnet-inetd")),
        ("owserver.socket", 4304, Some("home-bus")),
        ("other.socket", 4304, None),
        ("epmd.socket", 4369, Some("epmd")),
    ] {
        let mut listener = socket(&format!("tcp/0.0.0.0:{port}"), Owner::Held(vec![1].into()));
        listener.attributes = SocketAttributes { unit: Some(unit.to_owned()), ..Default::default() }.into();
        let mut systemd = program_process(1, "systemd", "/usr/lib/systemd/systemd", "/sbin/init");
        systemd.origin = Some(Origin::of(OriginKind::Package));
        let report = judge(seen(vec![listener], vec![systemd]), Registry::embedded());
        let mut findings = report.entries[0].findings().iter();
        let exposed = findings.find_map(|finding| Exposed::of(&finding.evidence));
        assert_eq!(exposed.map(|exposed| exposed.service), service, "{unit}");
        // The evidence is the program that the unit names, not the port.
        assert!(exposed.is_none_or(|exposed| exposed.basis == DangerBasis::Default), "{unit}");
    }
}

/// There is no warning for a namespace behind a tun or tap device. The process that has the device open usually accepts
/// only published ports.
#[test]
fn a_namespace_behind_a_device_of_a_process() {
    for (tun, severity, kind) in [
        (None, Severity::Critical, ReachKind::Open),
        (Some("tap0".to_owned()), Severity::Notice, ReachKind::Unknown),
    ] {
        let redis = program_process(7, "redis-server", "/usr/bin/redis-server", "redis-server");
        let netns = Netns { inode: 9, name: None };
        let mut listener = socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()));
        listener.attributes = SocketAttributes { netns: Some(netns), ..SocketAttributes::default() }.into();
        let mut snapshot = seen(vec![listener], vec![redis]);
        snapshot.firewalls = vec![Firewall { netns: Some(9), tun, ..Firewall::default() }];
        let report = judge(snapshot, Registry::embedded());
        let entry = &report.entries[0];
        let exposed = entry.findings().iter().find(|finding| Exposed::of(&finding.evidence).is_some());
        assert_eq!(exposed.map(|finding| finding.severity), Some(severity));
        assert_eq!(entry.reach().map(|reach| reach.kind), Some(kind));
    }
}

/// A firewall lowers the severity only if it certainly keeps out every client.
#[test]
fn a_firewall_that_lets_in_nobody() {
    let base = FilterBase {
        hook: FilterHook::Input,
        priority: 0,
        translates: false,
        drops: true,
        devices: None,
        text: "policy drop of a chain".to_owned(),
    };
    let found = |drops: bool, uncertain: Option<&str>| {
        let base = FilterBase { drops, ..base.clone() };
        let chain = FilterChain { base: Some(base), ..FilterChain::default() };
        let table = FilterTable { families: vec![Family::Ipv4], chains: vec![chain], sets: Vec::new() };
        let interface = Interface {
            name: "eth0".to_owned(),
            is_up: true,
            uncertain: uncertain.map(str::to_owned),
            addresses: vec![([10, 0, 0, 1].into(), 24)],
            ..Interface::default()
        };
        let firewall = Firewall { interfaces: vec![interface], tables: vec![table], ..Firewall::default() };
        let sockets = vec![socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()))];
        let snapshot = seen(sockets, vec![redis("/usr/bin/redis-server", None)]);
        let report = judge(Snapshot { firewalls: vec![firewall], ..snapshot }, Registry::embedded());
        let finding = report.entries[0].findings().iter().find(|one| one.flag() == Exposed::FLAG);
        let finding = finding.unwrap();
        (finding.severity, finding.sentence())
    };
    let (severity, text) = found(true, None);
    assert_eq!(severity, Severity::Warning);
    assert!(text.contains(" But the firewall lets in nobody (policy drop of a chain). "), "{text}");
    let (severity, text) = found(false, None);
    assert_eq!(severity, Severity::Critical);
    assert!(text.contains("The firewall lets in everyone"), "{text}");
    let (severity, text) = found(true, Some("an XDP program"));
    assert_eq!(severity, Severity::Critical);
    assert!(text.contains("It is not known which clients the firewall lets in (an XDP"), "{text}");
}

fn redis(exe: &str, configuration: Option<(&str, AdmittedClients)>) -> Process {
    let configuration = configuration.map(|(setting, clients)| Configuration {
        path: "/etc/redis/redis.conf".to_owned(),
        settings: vec![AccessSetting { port: None, setting: setting.to_owned(), clients }],
        changed: None,
    });
    Process { configuration, ..program_process(7, "redis-server", exe, "redis-server *:6379") }
}

#[test]
fn a_configuration_decides_between_critical_and_warning() {
    let (installed, at_home) = ("/usr/bin/redis-server", "/home/u/redis-server");
    use AdmittedClients::{Anyone, Authenticated, Local};
    use DangerBasis::{Configuration, Default};
    use Severity::{Critical, Warning};
    for (name, exe, configuration, severity, basis) in [
        ("not read", installed, None, Critical, Default),
        ("a password", installed, Some(("requirepass", Authenticated)), Warning, Configuration),
        // A client can switch off protected mode with `CONFIG SET protected-mode no`. The file does not show this.
        ("protected mode", installed, Some(("protected-mode yes", Local)), Warning, Configuration),
        ("no password", installed, Some(("no requirepass", Anyone)), Critical, Configuration),
        (
            "a password, but a user's program",
            at_home,
            Some(("requirepass", Authenticated)),
            Critical,
            Default,
        ),
        ("no password, a user's program", at_home, Some(("no requirepass", Anyone)), Critical, Configuration),
    ] {
        let process = Process { uid: Some(100), ..redis(exe, configuration) };
        let (found, exposed) = found("tcp/0.0.0.0:6379", process).unwrap();
        assert_eq!((found, exposed.basis), (severity, basis), "{name}");
        assert_eq!(exposed.configuration.is_some(), basis == Configuration, "{name}");
        let text = format!("{} {}", exposed.summary(), exposed.closing());
        let expected = if basis == Configuration { "/etc/redis/redis.conf: " } else { "(not checked)" };
        assert!(text.contains(expected), "{name}: {text}");
    }
}

/// The server may have read the file before the change, so the default of the program counts.
#[test]
fn a_changed_configuration_does_not_decide() {
    let path = "/etc/redis/more.conf";
    let changed = Configuration {
        path: "/etc/redis/redis.conf".to_owned(),
        settings: Vec::new(),
        changed: Some(path.to_owned()),
    };
    let process = Process { configuration: Some(changed), ..redis("/usr/bin/redis-server", None) };
    let (severity, exposed) = found("tcp/0.0.0.0:6379", process.clone()).unwrap();
    assert_eq!((severity, exposed.basis), (Severity::Critical, DangerBasis::Default));
    assert_eq!(
        (exposed.configuration.as_ref(), exposed.changed_configuration.as_deref()),
        (None, Some(path))
    );
    let text = exposed.sentence();
    assert!(
        text.contains("(not checked). /etc/redis/more.conf was changed after the process started"),
        "{text}"
    );
    assert!(text.contains("so portolan ignored the file. Fix: "), "{text}");
    let certain = ["redis-server", "*:6379", "--protected-mode", "no"].map(str::to_owned).to_vec();
    let (_, exposed) = found("tcp/0.0.0.0:6379", Process { cmdline: certain, ..process }).unwrap();
    assert_eq!(exposed.changed_configuration, None, "the command line decides");
}

#[test]
fn a_listener_of_kafka_is_decided_by_its_own_port() {
    let kafka = |line, port| {
        let settings = [(9092, AdmittedClients::Authenticated), (9093, AdmittedClients::Anyone)].map(
            |(port, clients)| AccessSetting { port: Some(port), setting: "listener".to_owned(), clients },
        );
        let configuration =
            Some(Configuration { path: "/s".to_owned(), settings: settings.to_vec(), changed: None });
        let process = program_process(7, "java", "/usr/bin/java", line);
        found(&format!("tcp/0.0.0.0:{port}"), Process { configuration, ..process }).unwrap()
    };
    let with_logins = "java -Djava.security.auth.login.config=/etc/jaas.conf kafka.Kafka /s";
    for (line, port, severity, service) in [
        ("java kafka.Kafka /s", 9092, Severity::Warning, "kafka"),
        ("java kafka.Kafka /s", 9093, Severity::Critical, "kafka"),
        (with_logins, 9092, Severity::Warning, "kafka-sasl"),
        (with_logins, 9093, Severity::Critical, "kafka"),
        (with_logins, 9094, Severity::Warning, "kafka-sasl"),
    ] {
        let (found, exposed) = kafka(line, port);
        assert_eq!((found, exposed.service), (severity, service), "{line} {port}");
    }
    let basis = [9092, 9093, 9094].map(|port| kafka("java kafka.Kafka /s", port).1.basis);
    assert_eq!(basis, [DangerBasis::Configuration, DangerBasis::Configuration, DangerBasis::Default]);
}

/// Returns the severity and the evidence for a proxy or dockerd with this setting in its configuration.
fn configured(line: &str, port: u16, uid: u32, one: (Option<u16>, AdmittedClients)) -> (Severity, Exposed) {
    let program = line.split(' ').next().unwrap_or_default();
    let setting = AccessSetting { port: one.0, setting: "the rule".to_owned(), clients: one.1 };
    let configuration =
        Some(Configuration { path: "/etc/x".to_owned(), settings: vec![setting], changed: None });
    let process = program_process(7, program, &format!("/usr/sbin/{program}"), line);
    found(&format!("tcp/0.0.0.0:{port}"), Process { configuration, uid: Some(uid), ..process }).unwrap()
}

#[test]
fn the_rules_of_a_proxy_decide() {
    use AdmittedClients::{Anyone, Authenticated, Listed, Local};
    use Severity::{Info, Notice, Warning};
    for (name, uid, clients, severity, text) in [
        (
            "as Debian installs it",
            13,
            Local,
            Info,
            "tcp/3128. Its configuration file says that it refuses clients from other machines (/etc/x: the rule).",
        ),
        ("the user nobody", NOBODY, Local, Info, "refuses clients from other machines"),
        ("of a person", 1000, Local, Warning, "Anyone who connects reaches the network"),
        ("private networks", 13, Listed, Notice, "A client with a listed address reaches the network"),
        ("private networks, of a person", 1000, Listed, Warning, "Anyone who connects reaches the network"),
        (
            "a password",
            13,
            Authenticated,
            Warning,
            "Its configuration file says that it requires a password (/etc/x: the rule).",
        ),
        (
            "open",
            13,
            Anyone,
            Warning,
            "Its configuration file says that it requires no password (/etc/x: the rule).",
        ),
    ] {
        let (found, exposed) = configured("squid -sYC", 3128, uid, (None, clients));
        assert_eq!(found, severity, "{name}");
        assert!(exposed.sentence().contains(text), "{name}: {}", exposed.sentence());
    }
    let refusing = configured("tinyproxy -d", 8888, NOBODY, (None, Local)).1;
    assert_eq!(
        refusing.summary(),
        "HTTP proxy: its configuration file says that it refuses clients from other machines."
    );
}

#[test]
fn the_configuration_of_dockerd_decides() {
    use AdmittedClients::{Anyone, Authenticated};
    use Severity::{Critical, Notice, Warning};
    let on_line = "dockerd -H tcp://0.0.0.0:2375";
    for (name, line, port, setting, severity, service) in [
        ("TLS alone", "dockerd", 2376, (Some(2376), Anyone), Critical, "docker-api"),
        ("another port", "dockerd", 999, (Some(999), Anyone), Critical, "docker-api"),
        ("another listener", "dockerd", 2376, (Some(999), Anyone), Warning, "docker-api-unknown"),
        ("certificates", "dockerd", 2375, (None, Authenticated), Notice, "docker-api-tls"),
        (
            "certificates, its port on the line",
            on_line,
            2375,
            (None, Authenticated),
            Notice,
            "docker-api-tls",
        ),
        ("all on the line", on_line, 2375, (Some(2376), Anyone), Critical, "docker-api"),
    ] {
        let (found, exposed) = configured(line, port, 0, setting);
        assert_eq!((found, exposed.service), (severity, service), "{name}");
    }
    let (_, open) = configured("dockerd", 2376, 0, (Some(2376), Anyone));
    assert_eq!(open.basis, DangerBasis::Configuration);
    let (_, closed) = configured("dockerd", 2376, 0, (None, Authenticated));
    assert!(
        closed.sentence().contains("Its configuration file says that it requires a certificate"),
        "{}",
        closed.sentence()
    );
}

#[test]
fn a_debugger_in_the_environment_is_certain() {
    use DangerBasis::{CommandLine, Environment, Port};
    use Severity::{Critical, Warning};
    for (name, program, line, options, port, expected) in [
        (
            "Node.js",
            "node",
            "node app.js",
            &["--inspect=0.0.0.0:9999"][..],
            9999,
            Some((Critical, Environment)),
        ),
        ("another port", "node", "node app.js", &["--inspect=0.0.0.0:9999"], 3000, None),
        ("no options", "node", "node app.js", &[], 9229, Some((Warning, Port))),
        (
            "Java",
            "java",
            "java -jar a.jar",
            &["-agentlib:jdwp=transport=dt_socket,address=*:8787"],
            8787,
            Some((Critical, Environment)),
        ),
        (
            "on the line too",
            "node",
            "node --inspect=0.0.0.0:9229 a.js",
            &["--inspect"],
            9229,
            Some((Critical, CommandLine)),
        ),
    ] {
        let debugger_options = options.iter().map(|&option| option.to_owned()).collect();
        let process = program_process(7, program, &format!("/usr/bin/{program}"), line);
        let found = found(&format!("tcp/0.0.0.0:{port}"), Process { debugger_options, ..process });
        assert_eq!(found.map(|(severity, exposed)| (severity, exposed.basis)), expected, "{name}");
    }
}

#[test]
fn a_published_port_is_presumed_one_grade_lower() {
    let proxy = |exe: &str| program_process(7, "docker-proxy", exe, "docker-proxy -proto tcp");
    let (severity, exposed) = found("tcp/0.0.0.0:6379", proxy("/usr/bin/docker-proxy")).unwrap();
    assert_eq!((severity, exposed.basis), (Severity::Warning, DangerBasis::Port));
    assert!(exposed.summary().starts_with("probably Redis"), "{}", exposed.summary());
    assert!(found("tcp/0.0.0.0:6379", proxy("/home/u/docker-proxy")).is_none(), "an impostor instead");
}

/// The service listens only on a loopback address. Clients of the relay can still reach the service.
#[test]
fn a_relay_to_a_dangerous_service() {
    use DangerBasis::{Configuration, Default, Port};
    use Severity::{Critical, Warning};
    let (direct, home) = ("socat TCP-LISTEN:8888,fork TCP:127.0.0.1:6379", "127.0.0.1:6379");
    for (name, line, service, configuration, expected) in [
        ("an open service", direct, home, None, Some((Critical, Default))),
        ("a password", direct, home, Some(AdmittedClients::Authenticated), Some((Warning, Configuration))),
        // Redis takes the clients of the relay for clients on this machine.
        ("protected mode", direct, home, Some(AdmittedClients::Local), Some((Critical, Default))),
        (
            "an address list",
            &direct.replace(",fork", ",range=10.0.0.0/8"),
            home,
            None,
            Some((Warning, Default)),
        ),
        ("on the wildcard address", direct, "0.0.0.0:6379", None, Some((Critical, Default))),
        ("a second relay", "socat TCP-LISTEN:8888 TCP:localhost:7000", home, None, Some((Critical, Default))),
        ("its process is hidden", direct, "", None, Some((Warning, Port))),
        ("another port", "socat TCP-LISTEN:8888 TCP:127.0.0.1:6380", home, None, None),
        ("another machine", "socat TCP-LISTEN:8888 TCP:10.0.0.5:6379", home, None, None),
        ("a circle", "socat TCP-LISTEN:8888 TCP:127.0.0.1:8888", home, None, None),
    ] {
        let owned = |local: &str, pid: u32| socket(local, Owner::Held(vec![pid].into()));
        let behind = match service {
            "" => socket("tcp/127.0.0.1:6379", Owner::Hidden),
            place => owned(&format!("tcp/{place}"), 7),
        };
        let second = owned("tcp/127.0.0.1:7000", 9);
        let sockets = vec![owned("tcp/0.0.0.0:8888", 8), behind, second];
        let configuration = configuration.map(|clients| ("a setting", clients));
        let mut server = redis("/usr/bin/redis-server", configuration);
        server.uid = Some(100);
        let relay = |pid, line| program_process(pid, "socat", "/usr/bin/socat", line);
        let second = relay(9, "socat TCP-LISTEN:7000,bind=127.0.0.1 TCP:127.0.0.1:6379");
        let snapshot = seen(sockets, vec![server, relay(8, line), second]);
        let targets = crate::judge::relay_targets(&snapshot);
        assert!(targets.contains(&6379) && targets.len() <= 2, "{name}: {targets:?}");
        let report = judge(snapshot, Registry::embedded());
        let entry = report.entries.iter().find(|entry| entry.socket.local.port == 8888).unwrap();
        let found = entry.findings().iter().find(|finding| finding.flag() == Exposed::FLAG);
        let exposed = found.map(|finding| Exposed::of(&finding.evidence).unwrap());
        assert_eq!(exposed.map(|one| (one.severity, one.basis)), expected, "{name}");
        if let Some(exposed) = exposed {
            let (sentence, card) = (exposed.sentence(), exposed.card_sentence());
            assert!(
                sentence.contains("on tcp/8888. The relay socat passes these connections to 127.0.0.1:"),
                "{sentence}"
            );
            assert!(card.to_lowercase().contains("relay to ") && card.contains("Redis"), "{card}");
            assert!(sentence.contains("make the relay listen on a loopback address"), "{sentence}");
        }
    }
}

/// systemd listens for systemd-socket-proxyd, which has not started yet.
#[test]
fn a_socket_of_systemd_for_a_relay() {
    for (to, expected) in [("127.0.0.1:6379", Some(Severity::Critical)), ("10.0.0.5:6379", None)] {
        let mut systemd = program_process(1, "systemd", "/usr/lib/systemd/systemd", "/sbin/init");
        systemd.socket_commands = vec![crate::model::SocketCommand {
            on: "0.0.0.0:8888".parse().unwrap(),
            protocol: Protocol::Tcp,
            cmdline: vec!["/lib/systemd/systemd-socket-proxyd".to_owned(), to.to_owned()],
        }];
        let sockets = vec![
            socket("tcp/0.0.0.0:8888", Owner::Held(vec![1].into())),
            socket("tcp/127.0.0.1:6379", Owner::Held(vec![7].into())),
        ];
        let snapshot = seen(sockets, vec![systemd, redis("/usr/bin/redis-server", None)]);
        assert_eq!(crate::judge::relay_targets(&snapshot).into_iter().collect::<Vec<_>>(), [6379], "{to}");
        let report = judge(snapshot, Registry::embedded());
        let entry = report.entries.iter().find(|entry| entry.socket.local.port == 8888).unwrap();
        let found = entry.findings().iter().find_map(|finding| Exposed::of(&finding.evidence));
        assert_eq!(found.map(|one| one.severity), expected, "{to}");
    }
}

/// Docker may choose a published port inside the kernel's range.
#[test]
fn the_number_of_a_published_port_does_not_count() {
    let mut published = socket("tcp/0.0.0.0:49153", Owner::Kernel);
    published.state = State::Published;
    let to = Peer { address: [127, 0, 0, 1].into(), port: 7000 };
    let forwarding = Some(Forwarding { to, rule: "a rule".to_owned(), container: None });
    std::sync::Arc::make_mut(&mut published.attributes).forwarding = forwarding;
    let behind = socket("tcp/127.0.0.1:7000", Owner::Held(vec![7].into()));
    let process = redis("/usr/bin/redis-server", None);
    let report = judge(seen(vec![published, behind], vec![process]), Registry::embedded());
    let published = report.entries.iter().find(|entry| entry.socket.local.port == 49153).unwrap();
    let exposed = published.findings().iter().find_map(|finding| Exposed::of(&finding.evidence)).unwrap();
    assert_eq!((exposed.severity, exposed.basis), (Severity::Critical, DangerBasis::Default));
}

#[test]
fn unreachable_listeners_are_not_exposed() {
    let process = || redis("/usr/bin/redis-server", None);
    assert!(found("tcp/127.0.0.1:6379", process()).is_none(), "loopback");
    let mut bound = socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()));
    bound.state = State::Bound;
    let report = judge(seen(vec![bound], vec![process()]), Registry::embedded());
    assert!(report.entries[0].findings().iter().all(|one| Exposed::of(&one.evidence).is_none()), "bound");
}

/// The danger of an industrial protocol is presumed from the port alone. If the kernel chose the port, there is no
/// presumption.
#[test]
fn a_port_that_the_kernel_chose_matches_no_row() {
    let unknown = |local: &str| found(local, program_process(7, "xyzzy", "/usr/bin/xyzzy", "xyzzy"));
    assert_eq!(unknown("tcp/0.0.0.0:502").map(|(_, exposed)| exposed.basis), Some(DangerBasis::Port));
    assert!(unknown("tcp/0.0.0.0:44818").is_none(), "EtherNet/IP, inside the kernel's range");
    let (severity, chosen) = found("tcp/0.0.0.0:40000", redis("/usr/bin/redis-server", None)).unwrap();
    assert_eq!((severity, chosen.basis), (Severity::Warning, DangerBasis::ChosenPort));
    assert!(chosen.sentence().contains("The service is presumed: the program is not on its usual port"));
    assert!(chosen.summary().starts_with("probably Redis"), "{}", chosen.summary());
}
