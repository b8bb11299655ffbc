//! The programs that are usual on a port, and the way `explain` interprets a name, on the real kernel.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, flags, on_port, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("another_program_on_a_guarded_port_is_an_impostor", impostor),
    ("a_program_is_known_by_its_file", known_by_file),
    ("a_program_on_its_usual_port_is_not_remarkable", usual),
    ("explain_takes_programs_and_words", names),
    ("explain_stats_and_a_newer_registry", stats),
    ("explain_proposes_only_free_ports", free_ports),
    ("explain_confirms_no_free_port_to_an_ordinary_user", unconfirmed_free_ports),
    ("a_listing_reads_the_configuration_of_a_reachable_server", configuration),
    ("a_web_server_whose_clients_can_write_files", writable_web_server),
    ("the_configuration_of_a_relay_names_its_destination", configured_relay),
];

fn flag<'v>(listener: &'v Value, code: &str) -> &'v Value {
    let found = listener["flags"].as_array().and_then(|flags| flags.iter().find(|f| f["code"] == code));
    found.unwrap_or(&Value::Null)
}

/// HAProxy in front of a Redis that only this machine can reach. `tail` follows the file, and shows the command line of
/// HAProxy.
fn configured_relay(lab: &Lab) -> Outcome {
    let redis = lab.sleeper_called(b"redis-server")?;
    let mut command = Command::new(&redis);
    let _redis = Server::spawn(command.arg("60").stdin(tcp("127.0.0.1:6379")?).stdout(Stdio::null()))?;
    let program = lab.sleeper_called(b"haproxy")?;
    std::fs::copy("/usr/bin/tail", &program)?;
    let file = program.with_file_name("haproxy.cfg");
    for (server, critical, gap) in
        [("127.0.0.1:6379", true, false), ("127.0.0.1:6380", false, false), ("db:6379", false, true)]
    {
        let text = "frontend a\n bind *:8888\n default_backend b\nbackend b\n server s ";
        std::fs::write(&file, format!("{text}{server}\n"))?;
        // A file that was changed in the clock tick in which the server starts may be younger than the server.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut command = Command::new(&program);
        command.arg("-f").arg(&file).stdin(tcp("0.0.0.0:8888")?).stdout(Stdio::null());
        let _haproxy = Server::spawn(&mut command)?;
        let report = lab.json(&["8888"])?;
        let exposed = flag(on_port(&report, 8888)?, "exposed");
        same!(exposed["severity"] == "critical", critical, "{server}: {report:#}");
        let gaps = report["gaps"].as_array().ok_or("no gaps")?;
        let is_unknown =
            |one: &Value| one["what"].as_str().is_some_and(|what| what.contains("an unknown destination"));
        same!(gaps.iter().any(is_unknown), gap, "{server}: {report:#}");
    }
    // Only a rule that refuses everyone who is not listed lowers the severity.
    for (rule, restriction) in [
        ("tcp-request content reject if { src 192.0.2.1 }", Value::Null),
        ("http-request deny unless { src 10.0.0.0/8 }", Value::Null),
        ("tcp-request connection reject unless { src 10.0.0.0/8 }", json!("addresses")),
    ] {
        let text = format!("listen a\n bind *:8888\n {rule}\n server s 127.0.0.1:6379\n");
        std::fs::write(&file, text)?;
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut command = Command::new(&program);
        command.arg("-f").arg(&file).stdin(tcp("0.0.0.0:8888")?).stdout(Stdio::null());
        let _haproxy = Server::spawn(&mut command)?;
        let report = lab.json(&["8888"])?;
        let exposed = flag(on_port(&report, 8888)?, "exposed");
        same!(exposed["severity"] == "warning", restriction.is_string(), "{rule}: {report:#}");
        let found = &exposed["evidence"]["relay"]["restriction"];
        same!(&found["by"], &restriction, "{rule}: {report:#}");
        let place = format!("Its configuration file {} admits only listed addresses.", file.display());
        same!(
            exposed["text"].as_str().is_some_and(|text| text.contains(&place)),
            restriction.is_string(),
            "{rule}: {report:#}"
        );
    }
    Ok(())
}

/// Web servers with a file that switches on WebDAV without a login. `tail` follows the file, and shows the command line of
/// the server.
fn writable_web_server(lab: &Lab) -> Outcome {
    const NGINX: &str = "events {}\nhttp { include more.conf; }\n";
    const APACHE: &str =
        "LoadModule dav_module a.so\nLoadModule dav_fs_module b.so\nIncludeOptional more.conf\n";
    const LIGHTTPD: &str = "server.modules += (\"mod_webdav\")\ninclude \"more.conf\"\n";
    for (name, text, open, closed) in [
        (
            "nginx",
            NGINX,
            "server { listen 80; location / { dav_methods PUT DELETE; } }",
            "server { listen 80; location / { dav_methods PUT DELETE; auth_basic x; } }",
        ),
        (
            "apache2",
            APACHE,
            "<Directory /srv/dav>\nDav On\nRequire all granted\n</Directory>",
            "<Directory /srv/dav>\nDav On\nRequire valid-user\n</Directory>",
        ),
        (
            "lighttpd",
            LIGHTTPD,
            "webdav.activate = \"enable\"",
            "webdav.activate = \"enable\"\nauth.require = ( \"\" => ( ) )",
        ),
    ] {
        let program = lab.sleeper_called(name.as_bytes())?;
        std::fs::copy("/usr/bin/tail", &program)?;
        let file = program.with_file_name("main.conf");
        std::fs::write(&file, text)?;
        for (more, expected) in [(open, json!("critical")), (closed, Value::Null)] {
            std::fs::write(program.with_file_name("more.conf"), more)?;
            // A file that was changed in the clock tick in which the server starts may be younger than the server.
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut command = Command::new(&program);
            if name == "nginx" {
                command.arg0(format!("nginx: master process nginx -c {}", file.display()));
            }
            command.arg("-f").arg(&file).stdin(tcp("0.0.0.0:80")?).stdout(Stdio::null());
            let _server = Server::spawn(&mut command)?;
            let report = lab.json(&["80"])?;
            let exposed = flag(on_port(&report, 80)?, "exposed");
            same!(&exposed["severity"], &expected, "{name} {more}: {report:#}");
        }
    }
    Ok(())
}

/// A server with a configuration file that is the evidence: `tail` follows the file, so it keeps running with the
/// arguments of a Redis. A listing reads the file as an audit does, if other machines can reach the server.
fn configuration(lab: &Lab) -> Outcome {
    let program = lab.sleeper_called(b"redis-server")?;
    std::fs::copy("/usr/bin/tail", &program)?;
    let file = program.with_file_name("redis.conf");
    std::fs::write(&file, "protected-mode no\n")?;
    // A file that was changed in the clock tick in which the server starts may be younger than the server.
    let tick = || std::thread::sleep(std::time::Duration::from_millis(50));
    tick();
    let start = |address: &str| -> Result<Server, Failed> {
        let mut command = Command::new(&program);
        Server::spawn(command.arg(&file).arg("-f").stdin(tcp(address)?).stdout(Stdio::null()))
    };
    for address in ["0.0.0.0:6379", "127.0.0.1:6379"] {
        let _server = start(address)?;
        let report = lab.json(&["6379"])?;
        let evidence = &flag(on_port(&report, 6379)?, "exposed")["evidence"]["configuration"];
        same!(evidence["setting"].is_string(), address.starts_with('0'), "{report:#}");
    }
    // Another file is mounted over the file while the server runs.
    let other = program.with_file_name("other.conf");
    std::fs::write(&other, "requirepass x\n")?;
    tick();
    let server = start("0.0.0.0:6379")?;
    nix::mount::mount(Some(&other), &file, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)?;
    let report = lab.json(&["6379"]);
    nix::mount::umount2(&file, nix::mount::MntFlags::MNT_DETACH)?;
    let report = report?;
    let exposed = flag(on_port(&report, 6379)?, "exposed");
    same!(
        exposed["evidence"]["configuration"].is_null() && exposed["severity"] == "critical",
        true,
        "{exposed:#}"
    );
    drop(server);
    // The file is replaced directly after the start.
    let server = start("0.0.0.0:6379")?;
    std::fs::write(&file, "requirepass x\n")?;
    let report = lab.json(&["6379"])?;
    let exposed = flag(on_port(&report, 6379)?, "exposed");
    same!(
        exposed["evidence"]["configuration"].is_null() && exposed["severity"] == "critical",
        true,
        "{exposed:#}"
    );
    drop(server);
    // The administrator adds a password and does not restart the server.
    let _server = start("0.0.0.0:6379")?;
    std::fs::write(&file, "requirepass x\n")?;
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::open(&file)?.set_times(std::fs::FileTimes::new().set_modified(later))?;
    let report = lab.json(&["6379"])?;
    let exposed = flag(on_port(&report, 6379)?, "exposed");
    same!(exposed["severity"], "critical");
    same!(exposed["evidence"]["basis"], "default");
    same!(exposed["evidence"]["changed_configuration"], file.to_string_lossy().into_owned());
    Ok(())
}

fn impostor(lab: &Lab) -> Outcome {
    let redis = lab.sleeper_called(b"redis-server")?;
    let _owner = Server::start(&redis, vec![tcp("127.0.0.1:22")?, tcp("0.0.0.0:5432")?])?;
    let _unknown = Server::start(&sleep(), vec![tcp("0.0.0.0:6379")?])?;
    let report = lab.json(&[])?;
    let unknown = on_port(&report, 6379)?;
    same!(flags(unknown), ["exposed", "unfamiliar"]);
    same!(
        (&flag(unknown, "exposed")["severity"], &flag(unknown, "exposed")["evidence"]["basis"]),
        (&json!("warning"), &json!("port"))
    );
    let ssh = on_port(&report, 22)?;
    same!(flag(ssh, "impostor")["severity"], "notice");
    same!(flag(ssh, "impostor")["evidence"]["service"], "ssh");
    same!(flag(ssh, "impostor")["evidence"]["found"][0]["rests_on"], "exe");
    same!(flag(on_port(&report, 5432)?, "impostor")["severity"], "warning");
    // The table needs the program's file too.
    let table = String::from_utf8(lab.portolan(["22"]).output()?.stdout)?;
    same!(table.contains("impostor"), true, "{table}");
    Ok(())
}

fn known_by_file(lab: &Lab) -> Outcome {
    let _right = Server::start(&lab.sleeper_called(b"sshd")?, vec![tcp("127.0.0.1:22")?])?;
    let _wrong = Server::start(&lab.sleeper_called(b"sshd-not")?, vec![tcp("127.0.0.2:22")?])?;
    let report = lab.json(&["22"])?;
    for (address, is_flagged) in [("127.0.0.1", false), ("127.0.0.2", true)] {
        let listener =
            report["listeners"].as_array().and_then(|all| all.iter().find(|l| l["address"] == address));
        let listener = listener.ok_or("no such listener")?;
        same!(flags(listener).contains(&"impostor"), is_flagged, "{address}");
        same!(listener["usual"].is_null(), is_flagged, "{address}");
    }
    Ok(())
}

fn usual(lab: &Lab) -> Outcome {
    let prometheus = Server::start(&lab.sleeper_called(b"prometheus")?, vec![tcp("127.0.0.1:9090")?])?;
    let _nginx =
        Server::start(&lab.sleeper_called(b"nginx")?, vec![tcp("127.0.0.1:4")?, tcp("127.0.0.1:3416")?])?;
    let report = lab.json(&[])?;
    let listener = on_port(&report, 9090)?;
    same!(flags(listener), [""; 0]);
    same!(
        listener["usual"],
        json!({"program": "prometheus", "product": "Prometheus", "rests_on": "exe", "any_port": false,
               "pid": prometheus.pid()})
    );
    same!(flags(on_port(&report, 4)?), [""; 0]);
    same!(flags(on_port(&report, 3416)?), ["orphaned"]);
    let table = String::from_utf8(lab.portolan(["9090"]).output()?.stdout)?;
    same!(table.contains(" Prometheus") && !table.contains("websm"), true, "{table}");
    Ok(())
}

fn names(lab: &Lab) -> Outcome {
    for (target, matched, port) in [
        ("ssh", "service", 22),
        ("postgres", "program", 5432),
        ("kazaa", "service", 1214),
        ("fasttrack", "text", 1214),
    ] {
        let report = lab.json(&["explain", target])?;
        same!(report["targets"][0]["text"], target);
        same!(report["targets"][0]["matched"], matched);
        same!(report["targets"][0]["hits"] == json!([]), matched != "text", "{target}");
        let ports = report["ports"].as_array().ok_or("no ports")?;
        same!(ports.iter().any(|entry| entry["port"] == port), true, "{target}");
        for key in ["evidence", "otherwise", "programs", "guarded", "neighbours", "history", "ephemeral"] {
            same!(ports[0].get(key).is_some(), true, "{key}");
        }
    }
    let output = lab.portolan(["explain", "postgress"]).output()?;
    same!(matches!(output.status.code(), Some(1 | 3)), true);
    let messages = String::from_utf8(output.stderr)?;
    same!(messages.contains("did you mean postgres"), true, "{messages}");
    let card = String::from_utf8(lab.portolan(["explain", "40001"]).output()?.stdout)?;
    same!(card.contains("Ephemeral") && card.contains("Registry of "), true, "{card}");
    Ok(())
}

fn stats(lab: &Lab) -> Outcome {
    let report = lab.json(&["explain", "--stats"])?;
    let sum: u64 = report["stats"]["statuses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|count| count["ports"].as_u64())
        .sum();
    same!(sum, 2 * 65536);
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("newer.csv");
    std::fs::write(
        &file,
        "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,\
         Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n\
         brand-new,4,tcp,Something,[X],[X],2031-01-02,,,,,\n",
    )?;
    let mut command = lab.portolan(["explain", "-o", "json", "4"]);
    let newer = Lab::parsed(&command.env("PORTOLAN_REGISTRY", &file).output()?)?;
    same!(newer["registry"]["date"], "2031-01-02");
    same!(newer["ports"][0]["assignments"][0]["service"], "brand-new");
    let mut command = lab.portolan(["explain", "--stats", "-o", "json"]);
    let newer = Lab::parsed(&command.env("PORTOLAN_REGISTRY", &file).output()?)?;
    same!(newer["stats"]["compared"]["added"][0]["service"], "brand-new");
    let output = lab.portolan(["--registry", "/bin/sleep", "4"]).output()?;
    same!(output.status.code(), Some(2));
    Ok(())
}

/// Every kind of use keeps a port from being proposed: a listener of either family, a bound socket, UDP, a connection, and
/// both settings of the kernel.
fn free_ports(lab: &Lab) -> Outcome {
    const SETTINGS: &str = "/proc/sys/net/ipv4";
    let proposals = |report: &Value| -> Vec<u64> {
        let proposals = report["free"]["proposals"].as_array().into_iter().flatten();
        proposals.filter_map(|proposal| proposal["port"].as_u64()).collect()
    };
    let ask = |range: &str| lab.json(&["explain", "--free", range]);
    let reason = |report: &Value, port: u64| -> Value {
        let refused = report["free"]["refused"].as_array().into_iter().flatten();
        refused.filter(|one| one["port"] == port).map(|one| one["reason"].clone()).next().unwrap_or_default()
    };
    // Nothing is registered or known in this range.
    same!(proposals(&ask("27850-27854")?), [27850, 27851, 27852, 27853, 27854]);
    let listener = std::net::TcpListener::bind("127.0.0.1:27850")?;
    let _udp = std::net::UdpSocket::bind("[::1]:27851")?;
    let bound = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    rustix::net::bind(&bound, &"127.0.0.1:27852".parse::<std::net::SocketAddr>()?)?;
    let client = std::net::TcpStream::connect("127.0.0.1:27850")?;
    let own = client.local_addr()?.port();
    std::fs::write(format!("{SETTINGS}/ip_local_reserved_ports"), "27853")?;
    let report = ask("27850-27854")?;
    same!(proposals(&report), [27854]);
    for port in [27850, 27851, 27852] {
        same!(reason(&report, port), "taken", "{port}");
    }
    same!(reason(&report, 27853), "kernel-reserved");
    same!(report["free"]["confirmed"], true, "{report:#}");
    // The local port of a connection is taken, and not only in the range of the kernel.
    same!(reason(&ask(&own.to_string())?, own.into()), "taken");
    let (accepted, _) = listener.accept()?;
    // The side that closes first keeps the port in TIME_WAIT.
    drop(accepted);
    drop(client);
    drop(listener);
    same!(reason(&ask("27850")?, 27850), "taken");
    std::fs::write(format!("{SETTINGS}/ip_local_port_range"), "27854 60999")?;
    let output = lab.portolan(["explain", "--free", "27850-27854"]).output()?;
    same!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    same!(text.contains("No port of 27850-27854 is suitable for a new service."), true, "{text}");
    same!(text.contains("Ephemeral") && text.contains("In use"), true, "{text}");
    Ok(())
}

/// An ordinary user may not read the rules of address translation, which may use a port.
fn unconfirmed_free_ports(lab: &Lab) -> Outcome {
    let mut command = lab.portolan(["explain", "-o", "json", "--free", "27850-27854"]);
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    same!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    same!(report["free"]["confirmed"], false, "{report:#}");
    same!(report["free"]["proposals"].as_array().map(Vec::len), Some(5));
    Ok(())
}
