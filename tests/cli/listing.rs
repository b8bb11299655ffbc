//! A listing: targets, options, formats, and this machine.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::process::Stdio;

use crate::{capture, from_capture, portolan, ports, run, stderr, stdout};

#[test]
fn a_capture_is_judged_like_the_machine_itself() {
    let output = from_capture(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(ports(&output), [1, 3414, 3416, 5432, 60416]);
    let standard_input =
        portolan(["--from", "-", "-o", "json"]).stdin(File::open(capture()).unwrap()).output().unwrap();
    assert_eq!(standard_input.stdout, output.stdout);
    // `capture --from FILE` writes the content of FILE unchanged.
    let again = from_capture(&["capture"]);
    assert_eq!(stdout(&again), std::fs::read_to_string(capture()).unwrap());
}

#[test]
fn targets_widen_and_options_narrow() {
    for (arguments, wanted) in [
        (&["3416"][..], &[3416][..]),
        (&[":3416"], &[3416]),
        (&["3414-3416"], &[3414, 3416]),
        (&["udp/3414"], &[3414]),
        (&["tcp/3414"], &[]),
        (&["3416", "postgresql"], &[3416, 5432]),
        (&["PostgreSQL"], &[5432]),
        (&["udp/postgresql"], &[]),
        (&["sleep"], &[1, 3414, 3416, 5432, 60416]),
        (&["127.0.0.0/8"], &[5432, 60416]),
        (&["127.0.0.1:5432"], &[5432]),
        (&["127.0.0.1:3416"], &[3416]),
        (&["127.0.0.1:3414"], &[3414]),
        (&["[::1]:3416"], &[]),
        (&["localhost:3416"], &[3416]),
        (&["3414,3416"], &[3414, 3416]),
        (&["*:3416"], &[3416]),
        (&["3416/tcp"], &[3416]),
        (&["tcp:3416"], &[3416]),
        (&["3414,postgresql"], &[3414, 5432]),
        (&["/usr/bin/sleep"], &[1, 3414, 3416, 5432, 60416]),
        (&["sport = :3416"], &[3416]),
        (&["-p", "-t", "3416"], &[3416]),
        (&["-tlp", "3416"], &[3416]),
        (&["-iTCP", "-sTCP:LISTEN", "-P", "-n"], &[1, 3416, 5432, 60416]),
        (&["-tulpen"], &[1, 3414, 3416, 5432, 60416]),
        (&["[::]:3414"], &[3414]),
        (&["::"], &[3414]),
        (&["-t"], &[1, 3416, 5432, 60416]),
        (&["-u"], &[3414]),
        (&["-tu", "-4"], &[1, 3414, 3416, 5432, 60416]),
        (&["-6"], &[3414]),
        (&["-46"], &[1, 3414, 3416, 5432, 60416]),
        (&["-tulpn", "3414-3416"], &[3414, 3416]),
        (&["list", "3416"], &[3416]),
        (&["9"], &[]),
        (&["-i", ":3416"], &[3416]),
        (&["-i:3416"], &[3416]),
        (&["-i", "tcp@127.0.0.1:5432"], &[5432]),
        (&["-i", "@[::]:3414-3416"], &[3414]),
        (&["-i4TCP"], &[1, 3416, 5432, 60416]),
        (&["-i6UDP"], &[3414]),
        (&["-i", ":postgresql", "-i", "udp"], &[3414, 5432]),
        (&["-i"], &[1, 3414, 3416, 5432, 60416]),
        (&["-nP", "-iTCP"], &[1, 3416, 5432, 60416]),
        (&["--not", "3416", "--not", "postgresql"], &[1, 3414, 60416]),
        (&["--not", "exposure=any"], &[5432, 60416]),
        (&["3414-5432", "--not", "udp/3414"], &[3416, 5432]),
        (&["--process", "^sl(ee|o)p$"], &[1, 3414, 3416, 5432, 60416]),
        (&["--process", "/bin/"], &[1, 3414, 3416, 5432, 60416]),
        (&["--process", "ssh"], &[]),
        (&["--pid", "4711,4712"], &[3416, 60416]),
        (&["--user", "root", "-t"], &[1, 3416, 5432, 60416]),
        (&["--user", "0"], &[1, 3414, 3416, 5432, 60416]),
        (&["--user", "4294967295"], &[]),
        (&["--exposure", "loopback"], &[5432, 60416]),
        (&["--exposure", "any,private", "-u"], &[3414]),
        (&["--reachable"], &[1, 3414, 3416]),
        (&["--reachable", "-u"], &[3414]),
        (&["--flag", "orphaned"], &[3416]),
        (&["--flag", "ephemeral", "--flag", "impostor"], &[5432, 60416]),
        (&["--flag", "orphaned", "--exposure", "loopback"], &[]),
        (&["--state", "unconnected"], &[3414]),
        (&["--state", "LISTEN", "3414-3416"], &[3416]),
        (&["-tan"], &[1, 3416, 5432, 60416]),
        (&["--unit", "nginx"], &[]),
        (&["--container", "web1"], &[]),
    ] {
        let output = from_capture(
            &[&["list", "-o", "json"], arguments.strip_prefix(&["list"]).unwrap_or(arguments)].concat(),
        );
        assert_eq!(ports(&output), wanted, "{arguments:?}");
        assert_eq!(output.status.code(), Some(i32::from(wanted.is_empty())), "{arguments:?}");
        let bare = from_capture(&[&["-o", "json"], arguments].concat());
        assert_eq!(bare.stdout, output.stdout, "{arguments:?}: with and without the word list");
    }
}

/// A script can distinguish "nothing is there" from "not everything was visible".
#[test]
fn exit_codes_of_a_listing() {
    let directory = tempfile::tempdir().unwrap();
    let saved = |name: &str, edit: fn(&mut serde_json::Value)| {
        let mut snapshot = serde_json::from_slice(&std::fs::read(capture()).unwrap()).unwrap();
        edit(&mut snapshot);
        let path = directory.path().join(name);
        std::fs::write(&path, snapshot.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty = saved("empty.json", |snapshot| snapshot["sockets"] = serde_json::json!([]));
    let blind = saved("blind.json", |snapshot| {
        snapshot["sockets"] = serde_json::json!([]);
        snapshot["gaps"] = serde_json::json!([
            {"stage": "sockets", "what": "sockets of TCP", "count": null, "why": "EPERM", "remedy": null}
        ]);
    });
    let hidden = saved("hidden.json", |snapshot| {
        snapshot["processes"] = serde_json::json!([]);
        for socket in snapshot["sockets"].as_array_mut().unwrap() {
            socket["owner"] = serde_json::json!("hidden");
        }
    });
    for (case, arguments, code) in [
        ("something matched", &["--from", &*hidden, "3416"][..], 0),
        ("nothing was asked for", &["--from", &*empty], 0),
        ("nothing matched", &["--from", &*empty, "3416"], 1),
        ("process IDs of nothing", &["--from", &*empty, "--pids", "3416"], 1),
        ("sockets were not seen", &["--from", &*blind, "3416"], 3),
        ("process IDs of sockets that were not seen", &["--from", &*blind, "--pids", "3416"], 3),
        ("the process is hidden", &["--from", &*hidden, "--pids", "3416"], 3),
        ("a filter needs a hidden process", &["--from", &*hidden, "--process", "nginx"], 3),
        ("a hidden process may have the name", &["--from", &*hidden, "no-such-name"], 3),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{case}");
    }
}

#[test]
fn ndjson_has_one_line_per_listener() {
    let lines = from_capture(&["-o", "ndjson"]);
    let whole: serde_json::Value = serde_json::from_slice(&from_capture(&["-o", "json"]).stdout).unwrap();
    let text = stdout(&lines);
    let (host, lines) = text.split_once('\n').unwrap();
    let host: serde_json::Value = serde_json::from_str(host).unwrap();
    assert_eq!(
        (&host["kind"], &host["gaps"], &host["host"]),
        (&"host".into(), &whole["gaps"], &whole["host"])
    );
    let listeners = whole["listeners"].as_array().unwrap();
    assert_eq!(lines.lines().count(), listeners.len());
    for (line, listener) in lines.lines().zip(listeners) {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = line.as_object_mut().unwrap();
        assert_eq!(line.remove("kind"), Some("listener".into()));
        assert_eq!(line.remove("host_id"), Some(whole["host"]["id"].clone()));
        for added in ["taken", "host", "complete"] {
            assert_eq!(line.remove(added).as_ref(), Some(&whole[added]), "{added}");
        }
        assert_eq!(serde_json::Value::from(line.clone()), *listener);
    }
}

#[test]
fn colour_is_what_was_asked_for() {
    let colored = from_capture(&["--color", "always"]);
    assert!(stdout(&colored).contains("\u{1b}["), "colour was asked for");
    let silent = portolan(["--from", capture().to_str().unwrap(), "--color", "always"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(silent.stdout, colored.stdout, "what is asked for on the command line wins over NO_COLOR");
}

#[test]
fn explain_accepts_any_port_and_service() {
    for port in [0, 1, 22, 1023, 1024, 3416, 49151, 49152, 65535] {
        let output = from_capture(&["explain", &port.to_string(), "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{port}");
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed["schema"], "portolan.explain/2");
        let entries = printed["ports"].as_array().unwrap();
        assert!(entries.len() >= 2 && entries.iter().all(|entry| entry["port"] == port), "{port}: {printed}");
        assert!(
            entries.iter().all(|entry| entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()))
        );
    }
    let printed = from_capture(&["explain", "ssh", "-o", "json"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let entries: Vec<_> = printed["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["port"].as_u64(), e["protocol"].as_str()))
        .collect();
    assert_eq!(entries, [(Some(22), Some("tcp")), (Some(22), Some("udp")), (Some(22), Some("sctp"))]);
    // All ports at once.
    let all = from_capture(&["explain", "0-65535", "-o", "json"]);
    assert_eq!(all.status.code(), Some(0));
    assert!(all.stdout.len() > 10_000_000);
}

#[test]
fn a_listing_of_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let present = |wanted: bool| {
        let output = run(["-o", "json", &format!("tcp/{port}")]);
        assert_eq!(output.status.code(), Some(i32::from(!wanted)), "{output:?}");
        assert_eq!(ports(&output), if wanted { vec![u64::from(port)] } else { vec![] });
        output
    };
    let output = present(true);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(report["listeners"][0]["processes"][0]["pid"], std::process::id());
        // If the tests run in a world-writable directory, this directory is flagged as well.
        let mut flags = report["listeners"][0]["flags"].as_array().unwrap().iter();
        assert!(flags.any(|flag| flag["code"] == "ephemeral"), "{report:#}");
    }
    drop(listener);
    present(false);
}

#[test]
fn a_name_that_runs_and_does_not_listen_is_known() {
    // Every system has this program: the test itself, with its own name.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join(format!("idle-portolan{}", std::env::consts::EXE_SUFFIX));
    // A separate process makes the copy. If this process did, a child of another test could inherit the open file,
    // and the copy could not be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_portolan")).arg(&program).status().unwrap().success());
    let before = run(["idle-portolan"]);
    assert!(stderr(&before).contains("idle-portolan: no such port"), "{before:?}");
    let waits = ["watch", "tcp/9", "--until-listening", "--timeout", "60"];
    let mut idle = Command::new(&program).args(waits).stdin(Stdio::null()).spawn().unwrap();
    let output = run(["idle-portolan"]);
    idle.kill().unwrap();
    idle.wait().unwrap();
    // The exit code is 3 if a process that this user cannot read may also have the name.
    assert!(matches!(output.status.code(), Some(1 | 3)), "{output:?}");
    assert!(!stderr(&output).contains("no such port"), "{output:?}");
}

#[test]
fn a_closed_or_full_output_is_no_panic() {
    // The reader closes the output at once.
    let mut child = portolan(["explain", "0-2000", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).contains("panicked")), (Some(0), false), "{output:?}");
    if cfg!(target_os = "linux") {
        for arguments in
            [&["explain", "22"][..], &["capture"], &["--help"], &["-o", "json"], &["watch"], &["audit"]]
        {
            let full = portolan(arguments)
                .stdout(File::options().write(true).open("/dev/full").unwrap())
                .output()
                .unwrap();
            assert_eq!(full.status.code(), Some(2), "{arguments:?}: {full:?}");
            assert!(
                stderr(&full).lines().any(|line| line.starts_with("portolan: standard output: ")),
                "{full:?}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_id_of_a_listening_process_is_explained() {
    let message = |pid: u32| stderr(&run([&*pid.to_string()])).to_owned();
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let me = std::process::id();
    let seen = message(me);
    assert!(seen.contains(" listens on ") && seen.contains(&format!("portolan --pid {me}")), "{seen}");
    let mut idle = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let seen = message(idle.id());
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert!(!seen.contains("--pid"), "{seen}");
}
