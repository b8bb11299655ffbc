//! Checks the identified program of a process, and the programs that are expected on a guarded port.

use super::super::identity::{RecognisedProgram, identify};
use super::super::programs::{self, guarded, pairs, programs as rows, socket_unit};
use super::body;
use crate::model::{Exe, ExeState, Origin, OriginKind, Process, Protocol, RestsOn, Script};
use crate::registry::Registry;

fn process(name: &str, exe: &str, cmdline: &str) -> Process {
    let exe = (!exe.is_empty()).then(|| Exe {
        path: exe.to_owned(),
        state: ExeState::Present,
        open_directories: None,
    });
    let cmdline = cmdline.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Process { name: (!name.is_empty()).then(|| name.to_owned()), exe, cmdline, ..Process::unknown(7) }
}

fn taken(name: &str, exe: &str, cmdline: &str) -> RecognisedProgram {
    identify(&process(name, exe, cmdline)).unwrap_or_else(|| panic!("{name} {exe} {cmdline}"))
}

/// A wider range of ports belongs in the column `picks_from`.
const WIDE: u16 = 100;

#[test]
fn lists_have_their_shape() {
    let columns = |text: &'static str, columns: usize| {
        for line in body(text) {
            assert_eq!(line.split('\t').count(), columns, "{line}");
            assert!(line.split('\t').all(|field| field.trim() == field), "{line}");
        }
    };
    let text = include_str!("../data/programs.tsv");
    columns(text, 10);
    columns(include_str!("../data/guarded.tsv"), 5);
    columns(include_str!("../data/holders.tsv"), 2);
    columns(include_str!("../data/interpreters.tsv"), 3);
    columns(include_str!("../data/sockets.tsv"), 4);
    assert!(rows().count() >= 1290);
    assert_eq!(rows().count(), body(text).count(), "a row of programs.tsv cannot be read");
    for (row, line) in rows().zip(body(text)) {
        let fields: Vec<_> = line.split('\t').collect();
        assert!(!row.name.is_empty() && row.name.len() <= 15 && !row.product.is_empty(), "{line}");
        let listed = fields[3].split(',').filter(|pair| !pair.is_empty()).count();
        assert_eq!(row.ports().count(), listed, "{line}");
        assert!(["yes", "no"].contains(&fields[5]), "{line}");
        assert!(["seen", "known"].contains(&fields[7]) && !fields[6].is_empty(), "{line}");
        assert!((1..=4).contains(&row.rank), "{line}");
        assert!(row.ports().all(|(ports, _)| ports.high - ports.low < WIDE), "{line}");
        let picks: Vec<_> = pairs(fields[9]).collect();
        assert_eq!(picks.len(), fields[9].split(',').filter(|pair| !pair.is_empty()).count(), "{line}");
        assert!(picks.iter().all(|(ports, _)| ports.high - ports.low >= WIDE), "{line}");
    }
    // Every program in `guarded.tsv` is also in the table of programs, or owns sockets for other programs.
    let known: std::collections::BTreeSet<_> = rows().map(|row| row.name).collect();
    for line in body(include_str!("../data/guarded.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        let (protocol, port) = fields[1].split(',').next().unwrap().split_once('/').unwrap();
        let port = port.split('-').next().unwrap().parse().unwrap();
        let row = guarded(port, protocol.parse().unwrap()).find(|row| row.service == fields[0]).unwrap();
        for name in row.programs() {
            assert!(known.contains(name) || name == "java", "{name} of {} is not in programs.tsv", fields[0]);
        }
    }
    assert_eq!(body(include_str!("../data/guarded.tsv")).count(), 96);
}

/// On a port that is not its own, a program serves its main service. For example, Gitea on another port is not an SSH
/// server.
#[test]
fn the_main_service_is_that_of_the_first_port() {
    let registry = Registry::embedded();
    for line in body(include_str!("../data/programs.tsv")) {
        let fields: Vec<_> = line.split('\t').collect();
        let (ports, services) = (fields[3], fields[4]);
        let Some((first, protocol)) = pairs(ports).next() else { continue };
        let main = services.split(',').next().filter(|name| !name.is_empty());
        let registered = registry.verdict(first.low, protocol);
        let is_there = |main| registered.assignments.iter().any(|one| one.service.eq_ignore_ascii_case(main));
        assert!(main.is_none_or(is_there), "{line}: put a comma before the services");
    }
    let service = |program: &str, port| {
        let row = rows().find(|row| row.name == program).unwrap();
        row.service(port, Protocol::Tcp, &[])
    };
    assert_eq!(["squid", "gitea", "sshd"].map(|program| service(program, 8123)), ["squid", "gitea", "ssh"]);
}

#[test]
fn processes_are_identified() {
    use RestsOn::{Cmdline, Exe, Name};
    for (name, exe, cmdline, rests_on, marks) in [
        ("sshd", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D", Exe, &["sshd"][..]),
        // A process can set any name, so the file decides.
        ("sshd", "/usr/bin/python3.11", "python3 x.py", Exe, &["python3"]),
        ("sshd", "/tmp/x", "sshd", Exe, &[]),
        ("sshd", "", "", Name, &["sshd"]),
        ("postgres", "/usr/lib/postgresql/15/bin/postgres", "", Exe, &["postgres"]),
        // One file can be several programs.
        ("redis-server", "/usr/bin/redis-check-rdb", "", Exe, &["redis-check-rdb"]),
        ("redis-sentinel", "/usr/bin/redis-check-rdb", "", Exe, &["redis-check-rdb"]),
        ("x", "/usr/bin/redis-check-rdb", "", Exe, &["redis-check-rdb", "redis-check-rdb"]),
        ("systemd-resolve", "/usr/lib/systemd/systemd-resolved", "", Exe, &["systemd-resolve"]),
        // These programs have the same process name. Only their files distinguish them.
        (
            "prometheus-post",
            "/usr/bin/prometheus-postgres-exporter",
            "",
            Exe,
            &["prometheus-postgres-exporter"],
        ),
        ("prometheus-post", "", "", Name, &["prometheus-postfix-exporter", "prometheus-postgres-exporter"]),
        ("prometheus-post", "/usr/bin/prometheus-poster", "", Exe, &[]),
        // An interpreter is identified by its script.
        (
            "java",
            "/usr/lib/jvm/x/bin/java",
            "java -Xmx1g kafka.Kafka c.properties",
            Cmdline,
            &["kafka.Kafka"],
        ),
        ("java", "", "java -cp x org.elasticsearch.bootstrap", Cmdline, &["org.elasticsearch"]),
        ("python3", "/usr/bin/python3.11", "python3 -m http.server 8000", Cmdline, &["http.server"]),
        (
            "node",
            "/usr/bin/node",
            "node /srv/app/node_modules/.bin/vite preview",
            Cmdline,
            &["/vite preview"],
        ),
        (
            "perl",
            "/usr/bin/perl",
            "/usr/bin/perl /usr/share/webmin/miniserv.pl /etc",
            Cmdline,
            &["miniserv.pl"],
        ),
        ("MainThread", "/usr/bin/node", "node x.js", Exe, &["node"]),
        // The name of a script counts only if the script is installed.
        ("fail2ban-server", "/usr/bin/python3.11", "python3 /usr/sbin/sshd", Cmdline, &["sshd"]),
        ("x", "/usr/bin/python3.11", "python3 /tmp/sshd", Exe, &["python3"]),
        ("x", "/usr/bin/python3.11", "python3 /usr/../tmp/sshd", Exe, &["python3"]),
        ("x", "/usr/bin/python3.11", "python3 -c code /usr/sbin/sshd", Exe, &["python3"]),
        // Any program can be started with any arguments and under any name.
        ("x", "/usr/bin/python3.11", "python3 /home/u/evil.py gunicorn", Exe, &["python3"]),
        ("x", "/usr/bin/python3.11", "gunicorn /home/u/evil.py", Exe, &["python3"]),
        ("x", "/usr/bin/python3.11", "python3 -c code -m gunicorn", Exe, &["python3"]),
        (
            "x",
            "/usr/bin/python3.11",
            "python3 /srv/manage.py runserver 0:80",
            Cmdline,
            &["manage.py runserver"],
        ),
        (
            "x",
            "/usr/bin/perl5.36-x86_64-linux-gnu",
            "perl /usr/share/webmin/miniserv.pl",
            Cmdline,
            &["miniserv.pl"],
        ),
        ("x", "/usr/bin/python3.11-dbg", "python3 -m gunicorn", Cmdline, &["gunicorn"]),
        ("nosuch", "", "", Name, &[]),
        ("dns", "C:\\Windows\\System32\\dns.exe", "", Exe, &["dns.exe"]),
    ] {
        let identity = taken(name, exe, cmdline);
        assert_eq!(identity.rests_on, rests_on, "{name} {exe} {cmdline}");
        let mut found: Vec<_> = identity.programs.iter().map(programs::ListedProgram::mark).collect();
        found.dedup_by(|a, b| a == b && marks.len() == 1);
        found.sort_unstable();
        assert_eq!(found, marks, "{name} {exe} {cmdline}");
    }
    assert_eq!(identify(&process("", "", "")), None);
    let sentinel = taken("redis-sentinel", "/usr/bin/redis-check-rdb", "");
    assert_eq!(sentinel.programs[0].name, "redis-sentinel");
}

/// BusyBox runs the applet that its arguments name. The name of the process does not matter.
#[test]
fn busybox_is_the_applet_that_it_runs() {
    for (name, exe, cmdline, applet) in [
        ("busybox", "/bin/busybox", "busybox telnetd -F", "telnetd"),
        ("busybox", "/bin/busybox-extras", "/bin/busybox-extras dnsd", "dnsd"),
        ("ntpd", "/bin/busybox", "/usr/sbin/ntpd -l", "ntpd"),
        ("udhcpd", "/bin/busybox", "", "udhcpd"),
        ("telnetd", "/bin/busybox", "nc -l -p 23", "busybox"),
        ("busybox", "/bin/busybox", "busybox nc -l -p 23", "busybox"),
        ("busybox", "/bin/busybox", "busybox", "busybox"),
    ] {
        let identity = taken(name, exe, cmdline);
        let found: Vec<_> = identity.programs.iter().map(|program| program.name).collect();
        assert_eq!(found, [applet], "{name} {exe} {cmdline}");
        for (port, protocol) in [(23, Protocol::Tcp), (53, Protocol::Udp), (123, Protocol::Udp)] {
            let expected = guarded(port, protocol).find_map(|row| identity.is_expected_on(&row));
            let is_server = [("telnetd", 23), ("dnsd", 53), ("ntpd", 123)].contains(&(applet, port));
            assert_eq!(expected, Some(is_server), "{cmdline} on {port}");
        }
    }
}

#[test]
fn a_script_counts_by_its_name_only_if_it_is_one_of_root() {
    let origin = |kind| Some(Origin::of(kind));
    for (name, origin, is_program, marks) in [
        ("of root", origin(OriginKind::System), false, &["sshd"][..]),
        ("of a package", origin(OriginKind::Package), false, &["sshd"]),
        ("a compiled program", origin(OriginKind::Package), true, &["python3"]),
        ("a user's", origin(OriginKind::User), false, &["python3"]),
        ("missing", origin(OriginKind::Deleted), false, &["python3"]),
        ("unreadable", None, false, &["python3"]),
    ] {
        let script = Script { path: "/usr/sbin/sshd".to_owned(), origin, is_program };
        let python = process("x", "/usr/bin/python3.11", "python3 /usr/sbin/sshd");
        let identity = identify(&Process { script: Some(script), ..python }).unwrap();
        let mut found: Vec<_> = identity.programs.iter().map(programs::ListedProgram::mark).collect();
        found.dedup();
        assert_eq!(found, marks, "{name}");
    }
}

#[test]
fn a_title_names_a_program_but_does_not_say_what_runs() {
    let titled = |rest: &[&str]| {
        let cmdline = ["gunicorn: master"].iter().chain(rest).map(|&word| word.to_owned()).collect();
        identify(&Process { cmdline, ..process("x", "/usr/bin/python3.11", "") }).unwrap()
    };
    for (rest, is_title, is_named) in
        [(&[][..], true, true), (&["", ""], true, true), (&["x.py"], false, false)]
    {
        let identity = titled(rest);
        assert_eq!(identity.rests_on_title(), is_title, "{rest:?}");
        assert_eq!(
            identity.programs.iter().any(|program| program.mark() == "gunicorn"),
            is_named,
            "{rest:?}"
        );
    }
}

#[test]
fn programs_serve_their_own_ports() {
    for (name, exe, cmdline, port, serves, anywhere) in [
        ("prometheus", "/usr/bin/prometheus", "", 9090, true, false),
        ("prometheus", "/usr/bin/prometheus", "", 9091, false, false),
        ("nginx", "/usr/sbin/nginx", "", 80, true, true),
        ("nginx", "/usr/sbin/nginx", "", 8765, false, true),
        ("python3", "/usr/bin/python3.11", "python3 x.py", 8765, false, false),
        ("python3", "/usr/bin/python3.11", "python3 -m uvicorn x", 8765, false, true),
        (
            "java",
            "/usr/bin/java",
            "java -agentlib:jdwp=x org.apache.catalina.startup.Bootstrap",
            5005,
            true,
            true,
        ),
        ("prometheus-post", "", "", 9187, true, false),
        ("python3", "/usr/bin/python3.11", "python3 -m flask run", 5000, true, true),
        ("python3", "/usr/bin/python3.11", "python3 flaskapp.py", 5000, false, false),
        ("php", "/usr/bin/php8.2", "php -S 127.0.0.1:8000", 8000, true, true),
        // An option for a debugger explains only the debugger's port.
        ("node", "/usr/bin/node", "node --inspect a.js", 9229, true, false),
        ("node", "/usr/bin/node", "node --inspect a.js", 3000, false, false),
    ] {
        let identity = taken(name, exe, cmdline);
        assert_eq!(identity.serving(port, Protocol::Tcp).is_some(), serves, "{name} {cmdline} {port}");
        assert_eq!(identity.anywhere().is_some(), anywhere, "{name} {cmdline}");
    }
    assert_eq!(socket_unit(22, Protocol::Tcp), Some("ssh.socket"));
    assert_eq!(socket_unit(22, Protocol::Udp), None);
}

#[test]
fn programs_that_belong_on_a_guarded_port() {
    for (name, exe, cmdline, target, belongs) in [
        ("sshd", "/usr/sbin/sshd", "", "tcp/22", Some(true)),
        ("sshd", "", "", "tcp/22", Some(true)),
        ("python3", "/usr/bin/python3.11", "python3 evil.py", "tcp/22", Some(false)),
        ("sshd", "/usr/bin/python3.11", "sshd: evil", "tcp/22", Some(false)),
        ("sshd", "/dev/shm/x", "", "tcp/22", Some(false)),
        // Neither the file nor the name is known.
        ("nosuch", "", "", "tcp/22", None),
        ("nginx", "", "", "tcp/22", Some(false)),
        ("redis-server", "/usr/bin/redis-check-rdb", "", "tcp/6379", Some(true)),
        ("prometheus", "/usr/bin/prometheus", "", "tcp/9090", Some(true)),
        ("cockpit-tls", "/usr/lib/cockpit/cockpit-tls", "", "tcp/9090", Some(true)),
        ("java", "/usr/bin/java", "java org.jivesoftware.openfire", "tcp/9090", Some(true)),
        ("java", "/usr/bin/java", "java -jar x.jar", "tcp/9090", Some(false)),
        ("java", "/usr/bin/java", "java org.elasticsearch.x", "tcp/9200", Some(true)),
        ("java", "/usr/bin/java", "java -jar x.jar", "tcp/9200", Some(false)),
        ("beam.smp", "/usr/lib/erlang/bin/beam.smp", "beam -rabbit x", "tcp/5672", Some(true)),
        ("beam.smp", "/usr/lib/erlang/bin/beam.smp", "beam x", "tcp/5672", Some(false)),
        // A release contains its own runtime and boot file.
        (
            "beam.smp",
            "/app/erts-14/bin/beam.smp",
            "beam.smp -boot /app/releases/1/start",
            "tcp/5432",
            Some(true),
        ),
        (
            "beam.smp",
            "/app/erts-14/bin/beam.smp",
            "beam.smp -boot /srv/releases/1/start",
            "tcp/5432",
            Some(false),
        ),
        (
            "beam.smp",
            "/app/erts-14/bin/beam.smp",
            "beam.smp -boot /app/releases/1/start",
            "tcp/22",
            Some(false),
        ),
        ("salt-master", "/usr/bin/python3.11", "python3 /usr/bin/salt-master", "tcp/4505", Some(true)),
        ("perl", "/usr/bin/perl", "perl /usr/share/webmin/miniserv.pl", "tcp/10000", Some(true)),
        // There are too many web servers to list them all. So an unknown program is expected, but an interpreter with
        // an unknown script is not.
        ("myapp", "/srv/myapp", "", "tcp/80", Some(true)),
        ("python3", "/usr/bin/python3.11", "python3 -m http.server 80", "tcp/80", Some(true)),
        ("python3", "/usr/bin/python3.11", "python3 x.py", "tcp/80", Some(false)),
    ] {
        let (protocol, port) = target.split_once('/').unwrap();
        let row = guarded(port.parse().unwrap(), protocol.parse().unwrap()).next().unwrap();
        assert_eq!(
            taken(name, exe, cmdline).is_expected_on(&row),
            belongs,
            "{name} {exe} {cmdline} {target}"
        );
    }
    for (name, exe, holds) in [
        ("systemd", "/usr/lib/systemd/systemd", true),
        ("docker-proxy", "/usr/bin/docker-proxy", true),
        ("haproxy", "/usr/sbin/haproxy", true),
        ("haproxy", "/tmp/evil", false),
        ("python3", "/usr/bin/python3", false),
    ] {
        assert_eq!(taken(name, exe, "").is_forwarder(), holds, "{name} {exe}");
    }
    assert_eq!(guarded(2222, Protocol::Tcp).count(), 0);
}
