//! The command line: what a user types, what comes back, and the exit code. Nothing here needs root: listings
//! are of a saved observation, and what is asked of this machine is only whether it answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn portolan<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    portolan(arguments).output().unwrap()
}

/// A capture of five listeners, as a user saves it.
fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/five.json")
}

fn from_capture(arguments: &[&str]) -> Output {
    run(["--from", capture().to_str().unwrap()].iter().chain(arguments))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What the system says of a file that is not there; wine and Windows do so in words of their own.
const NO_FILE: &str = if cfg!(windows) { "(os error 2)" } else { "No such file" };

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The ports of a listing, in its order.
fn ports(output: &Output) -> Vec<u64> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["listeners"].as_array().unwrap().iter().map(|l| l["port"].as_u64().unwrap()).collect()
}

/// One line on standard error that names the thing, nothing on standard output, exit code 2.
fn refused(output: &Output, about: &str, names: &str) {
    assert_eq!(output.status.code(), Some(2), "{about}: {output:?}");
    assert_eq!(stdout(output), "", "{about}");
    let talk = stderr(output);
    assert_eq!(talk.lines().count(), 1, "{about}: {talk}");
    assert!(talk.starts_with("portolan: "), "{about}: {talk}");
    assert!(talk.contains(names), "{about}: {names:?} is not in {talk:?}");
}

#[test]
fn bad_targets_are_refused_in_one_line() {
    for (target, names) in [
        ("65536", "65536"),
        ("99999999999999999999", "0 to 65535"),
        ("8100-8000", "try 8000-8100"),
        ("8000-", "no end"),
        ("tcp/70000", "tcp/70000"),
        ("icmp/7", "unknown protocol"),
        ("10.0.0.0/40", "0 to 32"),
        ("10.0.0.0/", "0 to 32"),
        ("fd00::/129", "0 to 128"),
        ("10.0.0.256/8", "no such address"),
        ("", "empty target"),
        ("no-such-service-or-process", "neither a port"),
        ("a\nb\u{1b}[2J", "a\\x0ab\\x1b[2J"),
    ] {
        refused(&run([target]), target, names);
        refused(&run(["explain", target]), target, names);
        refused(&from_capture(&[target]), target, names);
    }
}

#[test]
fn bad_options_are_refused_in_one_line() {
    for (arguments, names) in [
        (&["--frm", "x"][..], "--from"),
        (&["-o", "yaml"], "table"),
        (&["-z"], "-z"),
        (&["explain"], "TARGET"),
        (&["--color", "sometimes"], "auto"),
        (&["-t", "explain", "22"], "after the command"),
        (&["--from", "x", "--netns", "all"], "name one of them"),
        (&["--process", "("], "no regular expression"),
        (&["--process", "[a-"], "no closing bracket"),
        (&["--user", "no-such-user-here"], "no such user"),
        (&["--user", "-5"], "--user -5: no such user"),
        (&["--user", ""], "no user has an empty name"),
        (&["--unit", ""], "no unit has an empty name"),
        (&["--state", "listening"], "Did you mean listen?"),
        (&["--exposure", "world"], "any, public, private"),
        (&["--flag", "orphan"], "Did you mean orphaned?"),
        (&["--flag", "missing"], "only an audit finds it"),
        (&["--pid", "nginx"], "no process id"),
        (&["--pid", "-1"], "no process id"),
        (&["--not", "colour=red"], "no such key"),
        (&["--not", "flag=x"], "orphaned"),
        (&["-i", "icmp:7"], "unknown protocol"),
        (&["-i", "tcp@localhost:22"], "must be a number"),
        (&["-i", "tcp@[::1:22"], "bracket"),
        (&["-i", "tcp:"], "no port"),
        (&["-i", ":htpps"], "htpps is no registered service; did you mean https?"),
        (&["expalin", "22"], "did you mean explain?"),
        (&["watc"], "did you mean watch?"),
        (&["nginxx"], "did you mean nginx?"),
        (&["completions", "ksh"], "bash, zsh, fish, powershell, elvish"),
        (&["--columns", "port,colour"], "no such field"),
        (&["--columns", "prot"], "Did you mean port?"),
        (&["--columns", "port", "-o", "json"], "JSON always has every field"),
        (&["--sort", "colour"], "registry.status"),
        (&["--sort", "-protocl"], "Did you mean protocol?"),
        (&["explain", "22", "-o", "csv"], "explain prints a card"),
        (&["watch", "--pids", "22"], "'--pids' found: a listing takes it"),
        (&["watch", "--group"], "'--group' found: a listing takes it"),
        (&["watch", "-at", "--columns", "port"], "'--columns' found: a listing takes it"),
        (&["audit", "-ta"], "'-a' found: a listing takes it"),
        (&["audit", "--zebra"], "unexpected argument '--zebra' found; to pass"),
        (&["watch", "-o", "csv"], "no other shape"),
        (&["--pids"], "name what to match"),
        (&["--pids", "-o", "json", "22"], "leave out -o"),
        (&["--pids", "--no-holders", "22"], "--no-holders"),
        (&["explain", "10.0.0.0/8"], "not an address"),
        (&["--netns", "no-such-namespace"], "no-such-namespace"),
    ] {
        refused(&run(arguments), &format!("{arguments:?}"), names);
    }
}

#[test]
fn bad_watches_are_refused_in_one_line() {
    let seconds = "a number of seconds is needed, 0.1 to 86400";
    for (arguments, names) in [
        (&["--interval", "0"][..], seconds),
        (&["--interval", "-1"], seconds),
        (&["--interval", "0.09"], seconds),
        (&["--interval", "86401"], seconds),
        (&["--interval", "NaN"], seconds),
        (&["--interval", "inf"], seconds),
        (&["--interval", "1s"], seconds),
        (&["--interval", ""], seconds),
        (&["--timeout", "-1", "22", "--until-free"], "0 to 31536000"),
        (&["--timeout", "1", "22"], "--until-listening or --until-free"),
        (&["--until-free", "--until-listening", "22"], "--until-listening"),
        (&["--until-free"], "needs a target that names ports"),
        (&["--until-listening", "-t"], "needs a target that names ports"),
        (&["--until-listening", "22", "nginx-or-so"], "nginx-or-so: --until-listening waits for ports"),
        (&["--until-listening", "127.0.0.1"], "127.0.0.1: --until-listening waits for ports"),
        (&["--from", "x"], "a saved observation does not change"),
        (&["65536"], "65536"),
        (&["icmp/1"], "unknown protocol"),
        (&["--netns", "no-such-namespace"], "no-such-namespace"),
    ] {
        refused(&run([&["watch"], arguments].concat()), &format!("{arguments:?}"), names);
    }
}

#[test]
fn bad_audits_are_refused_in_one_line() {
    let capture = capture();
    let from = ["--from", capture.to_str().unwrap()];
    for (arguments, names) in [
        (&["--fail-on", "grave"][..], "[possible values: info, notice, warning, critical]"),
        (&["-o", "csv"], "sarif or metrics"),
        (&["-o", "wide"], "sarif or metrics"),
        (&["--pids", "22"], "'--pids' found: a listing takes it, this command does not"),
        (&["--group"], "'--group' found: a listing takes it, this command does not"),
        (&["--columns", "port"], "'--columns' found: a listing takes it, this command does not"),
        (&["--sort", "port"], "'--sort' found: a listing takes it, this command does not"),
        (&["--no-header"], "'--no-header' found: a listing takes it, this command does not"),
        (&["--no-holders"], "'--no-holders' found: a listing takes it, this command does not"),
        (&["-a"], "'-a' found: a listing takes it, this command does not"),
        (&["--state", "established"], "connections are none of it"),
        (&["--flag", "orphaned"], "'--flag' found: a listing takes it, this command does not"),
        (&["--not", "flag=orphaned"], "--fail-on"),
        (&["-t", "-o", "metrics"], "the whole machine"),
        (&["--rules", "-o", "ndjson"], "--rules prints text"),
        (&["65536"], "65536"),
        (&["no-such-service-or-process"], "neither a port"),
        (&["--write", "/"], "/: it is a folder"),
        (
            &["--write", "/no-such-folder/out"],
            if cfg!(windows) { "(os error 3)" } else { "/no-such-folder/out: No such file" },
        ),
    ] {
        refused(&run([&["audit"], &from[..], arguments].concat()), &format!("{arguments:?}"), names);
    }
    for (command, output) in
        [("list", "sarif"), ("explain", "metrics"), ("watch", "sarif"), ("capture", "metrics")]
    {
        let targets: &[&str] = if command == "explain" { &["22"] } else { &[] };
        refused(&run([&[command, "-o", output], targets].concat()), command, "portolan audit");
    }
}

/// An audit of the capture, and what it wrote as JSON.
fn audited(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = from_capture(&[&["audit", "-o", "json"], arguments].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The ports and codes of what an audit found.
fn found(audit: &serde_json::Value) -> Vec<(u64, &str)> {
    let findings = audit["findings"].as_array().unwrap();
    findings.iter().map(|f| (f["port"].as_u64().unwrap(), f["code"].as_str().unwrap())).collect()
}

#[test]
fn an_audit_answers_by_its_exit_code() {
    for (arguments, code, verdict) in [
        (&[][..], 1, "findings"),
        (&["--fail-on", "warning"], 1, "findings"),
        (&["--fail-on", "critical"], 0, "clear"),
        (&["--fail-on", "info"], 1, "findings"),
        (&["60416"], 0, "clear"),
        (&["60416", "--fail-on", "notice"], 1, "findings"),
        (&["--allow-incomplete"], 1, "findings"),
        (&["9"], 0, "clear"),
    ] {
        let (exit, audit) = audited(arguments);
        assert_eq!((exit, audit["verdict"].as_str()), (Some(code), Some(verdict)), "{arguments:?}");
    }
    // The same capture with something unseen: nothing found is no all-clear, something found is found all the same.
    let text = std::fs::read_to_string(capture()).unwrap();
    let gap = r#""gaps": [{"stage": "holders", "what": "things", "count": 1, "why": "no", "remedy": null}]"#;
    let partial = text.replace("\"gaps\": []", gap);
    assert_ne!(partial, text);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partial.json");
    std::fs::write(&path, partial).unwrap();
    for (arguments, code) in [
        (&["--fail-on", "critical"][..], 3),
        (&["--fail-on", "critical", "--allow-incomplete"], 0),
        (&[], 1),
        (&["--allow-incomplete"], 1),
    ] {
        for output in ["table", "json", "ndjson", "sarif", "metrics"] {
            let audit = run([&["audit", "--from", path.to_str().unwrap(), "-o", output], arguments].concat());
            assert_eq!(audit.status.code(), Some(code), "{arguments:?} {output}");
            assert!(stderr(&audit).contains("not seen: 1 things: no"), "{audit:?}");
            let told = format!("{}{}", stdout(&audit), stderr(&audit));
            assert!(!told.contains("Clear:"), "{arguments:?} {output}: {told}");
            assert!(
                told.contains("not everything could be seen") || told.contains("Not everything"),
                "{told}"
            );
        }
    }
}

#[test]
fn what_narrows_an_audit_narrows_what_is_told() {
    for (arguments, wanted) in [
        (&["3416"][..], &[(3416, "orphaned"), (3416, "exposed")][..]),
        (&["-u"], &[(3414, "orphaned"), (3414, "exposed")]),
        (&["--exposure", "loopback"], &[(5432, "impostor"), (60416, "ephemeral")]),
        (&["--not", "user=root"], &[]),
    ] {
        let (_, audit) = audited(arguments);
        assert_eq!(found(&audit), wanted, "{arguments:?}");
        assert_eq!(audit["narrowed"], arguments.join(" "), "{arguments:?}");
        assert!(audit["listeners"].as_array().unwrap().len() < 5);
        let table = from_capture(&[&["audit"], arguments].concat());
        assert!(stdout(&table).contains(" of 5 listeners: "), "{table:?}");
    }
    let (_, audit) = audited(&["-l", "-n"]);
    assert_eq!(
        (&audit["narrowed"], audit["listeners"].as_array().unwrap().len()),
        (&serde_json::Value::Null, 5)
    );
}

#[test]
fn an_audit_written_to_a_file_is_what_it_would_have_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    for output in ["table", "json", "ndjson", "sarif", "metrics"] {
        let printed = from_capture(&["audit", "-o", output]);
        std::fs::write(&path, "what was there").unwrap();
        let written =
            from_capture(&["audit", "-o", output, "--write", path.to_str().unwrap(), "--color", "always"]);
        assert_eq!((written.status.code(), stdout(&written)), (Some(1), ""), "{output}");
        assert_eq!(std::fs::read(&path).unwrap(), printed.stdout, "{output}");
        assert!(stderr(&written).contains("portolan: Findings: 3 warning."), "{written:?}");
    }
    // Where it cannot be written, what was there stays.
    #[cfg(unix)]
    {
        let lost = folder.path().join("gone").join("out");
        let output = from_capture(&["audit", "--write", lost.to_str().unwrap()]);
        refused(&output, "a folder that is not there", "nothing was written");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    let rules = run(["audit", "--rules", "--write", path.to_str().unwrap()]);
    assert_eq!(rules.status.code(), Some(0));
    assert_eq!(std::fs::read(&path).unwrap(), run(["audit", "--rules"]).stdout);
}

#[test]
fn a_reader_who_leaves_changes_no_verdict() {
    // Closed before a byte is written: the verdict is in the exit code all the same.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let capture = capture();
    let status = portolan(["audit", "--from", capture.to_str().unwrap()])
        .stdout(writer)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn bad_captures_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let good = std::fs::read(capture()).unwrap();
    let large = folder.path().join("large");
    File::create(&large).unwrap().set_len(200 * 1024 * 1024).unwrap(); // sparse
    let text = String::from_utf8(good.clone()).unwrap();
    for (path, names) in [
        (folder.path().join("missing"), "(os error 2)"),
        // Windows does not say that a folder is none of its files.
        (folder.path().to_owned(), if cfg!(windows) { "(os error 5)" } else { "directory" }),
        (write("empty", b""), "empty"),
        (write("truncated", &good[..good.len() / 2]), "cut off"),
        (
            write("schema", text.replace("observation/1", "observation/9").as_bytes()),
            "portolan.observation/9",
        ),
        (write("listing", br#"{"schema": "portolan/1"}"#), "portolan/1"),
        (write("binary", &[0xff, 0, 1, 2]), "not JSON"),
        (write("holders", text.replacen("\"held\": [", "\"held\": [9, 9, ", 1).as_bytes()), "rising order"),
        (write("deep", "[".repeat(1 << 20).as_bytes()), "recursion"),
        (large, "too large"),
    ] {
        let output = run([Path::new("--from"), &path]);
        refused(&output, &path.display().to_string(), names);
        assert!(stderr(&output).contains(path.to_str().unwrap()), "the file is not named: {output:?}");
    }
}

#[test]
fn a_capture_is_judged_like_the_machine_itself() {
    let output = from_capture(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(ports(&output), [1, 3414, 3416, 5432, 60416]);
    let standard_input =
        portolan(["--from", "-", "-o", "json"]).stdin(File::open(capture()).unwrap()).output().unwrap();
    assert_eq!(standard_input.stdout, output.stdout);
    // What is captured from a capture is the capture.
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
        (&["[::]:3414"], &[3414]),
        (&["::"], &[3414]),
        (&["-t"], &[1, 3416, 5432, 60416]),
        (&["-u"], &[3414]),
        (&["-tu", "-4"], &[1, 3416, 5432, 60416]),
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
        (&["--flag", "orphaned"], &[3414, 3416]),
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

#[test]
fn a_target_that_meets_nothing_is_no_error() {
    let output = from_capture(&["9"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("No match"), "{output:?}");
}

#[test]
fn columns_sort_and_formats() {
    for (arguments, wanted) in [
        (
            &["--columns", "port,user", "--sort", "port"][..],
            "PORT USER|1 root|3414 root|3416 root|5432 root|60416 root",
        ),
        (&["--columns", "port", "--sort", "-port", "--no-header"], "60416|5432|3416|3414|1"),
        (&["--columns", "PID,flags", "3416"], "PID FLAGS|4711 orphaned,exposed"),
        (
            &["--columns", "port,device,processes.parents", "5432"],
            "PORT DEVICE PROCESSES.PARENTS|5432 - systemd",
        ),
        (&["-o", "csv", "--columns", "port,owner,device", "3416"], "port,owner,device|3416,held,"),
        (
            &["-o", "csv", "--no-header", "--columns", "service,cmdline", "5432"],
            "postgresql,\"/bin/sleep,600\"",
        ),
        (&["--no-header", "3416"], "tcp 0.0.0.0 3416 any commandport sleep 4711 root orphaned (presumed)"),
    ] {
        let output = from_capture(arguments);
        let lines: Vec<String> = stdout(&output)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines.join("|"), wanted, "{arguments:?}");
    }
    let wide = from_capture(&["-o", "wide"]);
    assert!(
        stdout(&wide).lines().next().is_some_and(|names| names.contains("EXE") && names.contains("STATUS"))
    );
    let csv = from_capture(&["-o", "csv"]);
    assert_eq!(stdout(&csv).lines().count(), 6, "a row a listener and holder, and the names");
    let lines = from_capture(&["-o", "ndjson"]);
    let whole: serde_json::Value = serde_json::from_slice(&from_capture(&["-o", "json"]).stdout).unwrap();
    for (line, listener) in stdout(&lines).lines().zip(whole["listeners"].as_array().unwrap()) {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let line = line.as_object_mut().unwrap();
        for added in ["taken", "host", "complete"] {
            assert_eq!(line.remove(added).as_ref(), Some(&whole[added]), "{added}");
        }
        assert_eq!(serde_json::Value::from(line.clone()), *listener);
    }
}

#[test]
fn pids_are_those_of_what_matched_and_nothing_else() {
    for (arguments, pids) in [
        (&["3416"][..], "4711\n"),
        (&["--flag", "orphaned"], "4711\n4713\n"),
        (&["--not", "3416", "-t"], "4712\n4714\n4715\n"),
        (&["9"], ""),
        (&["--user", "4294967295"], ""),
    ] {
        let output = from_capture(&[&["--pids"], arguments].concat());
        assert_eq!(stdout(&output), pids, "{arguments:?}");
        assert_eq!(output.status.code(), Some(i32::from(pids.is_empty())), "{arguments:?}");
    }
}

#[test]
fn the_table_in_a_pipe_is_plain() {
    let output = from_capture(&[]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(!stdout(&output).contains('\u{1b}'));
    let row: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(
        row,
        ["tcp", "0.0.0.0", "3416", "any", "commandport", "sleep", "4711", "root", "orphaned", "(presumed)"]
    );
    assert!(stderr(&output).contains("5 listeners: 2 orphaned"), "{output:?}");
    let colored = from_capture(&["--color", "always"]);
    assert!(stdout(&colored).contains("\u{1b}["), "colour was asked for");
    let silent = portolan(["--from", capture().to_str().unwrap(), "--color", "always"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(silent.stdout, colored.stdout, "what is asked for on the command line wins over NO_COLOR");
}

#[test]
fn explain_answers_for_any_port_and_service() {
    for port in [0, 1, 22, 1023, 1024, 3416, 49151, 49152, 65535] {
        let output = from_capture(&["explain", &port.to_string(), "-o", "json"]);
        assert_eq!(output.status.code(), Some(0), "{port}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["schema"], "portolan.explain/1");
        let entries = told["ports"].as_array().unwrap();
        assert!(entries.len() >= 2 && entries.iter().all(|entry| entry["port"] == port), "{port}: {told}");
        assert!(
            entries.iter().all(|entry| entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()))
        );
    }
    let told = from_capture(&["explain", "3416"]);
    for text in
        ["orphaned (presumed)", "AirMobile", "commandport", "0.0.0.0:3416", "pid 4711", "portolan 3416"]
    {
        assert!(stdout(&told).contains(text), "{text}: {}", stdout(&told));
    }
    let told = from_capture(&["explain", "ssh", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let entries: Vec<_> = told["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["port"].as_u64(), e["protocol"].as_str()))
        .collect();
    assert_eq!(entries, [(Some(22), Some("tcp")), (Some(22), Some("udp")), (Some(22), Some("sctp"))]);
    // Every port there is, in one go.
    let all = from_capture(&["explain", "0-65535", "-o", "json"]);
    assert_eq!(all.status.code(), Some(0));
    assert!(all.stdout.len() > 10_000_000);
}

#[test]
fn this_machine_answers() {
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
        // Where the tests lie in a folder that anybody may write into, that is flagged as well.
        let mut flags = report["listeners"][0]["flags"].as_array().unwrap().iter();
        assert!(flags.any(|flag| flag["code"] == "ephemeral"), "{report:#}");
    }
    drop(listener);
    present(false);
}

#[test]
fn a_name_that_runs_and_does_not_listen_is_known() {
    // A program that every system has: this one, under a name of its own.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(format!("idle-portolan{}", std::env::consts::EXE_SUFFIX));
    std::fs::copy(env!("CARGO_BIN_EXE_portolan"), &program).unwrap();
    refused(&run(["idle-portolan"]), "before it runs", "idle-portolan");
    let waits = ["watch", "tcp/9", "--until-listening", "--timeout", "60"];
    let mut idle = Command::new(&program).args(waits).stdin(Stdio::null()).spawn().unwrap();
    let output = run(["idle-portolan"]);
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_closed_or_full_output_is_no_panic() {
    // The reader leaves at once.
    let mut child = portolan(["explain", "0-65535", "-o", "json"])
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

#[test]
fn help_names_what_is_not_inspected_and_the_exit_codes() {
    let output = run(["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for text in ["Exit codes", "Raw", "vsock", "explain", "capture", "3416"] {
        assert!(stdout(&output).contains(text), "{text}");
    }
    assert!(run(["-h"]).stdout.len() < output.stdout.len());
    let watch = run(["watch", "--help"]);
    for text in
        ["Examples", "Exit codes", "may be missed", "nc -z", "--until-free --timeout", "appeared", "fade"]
    {
        assert!(stdout(&watch).contains(text), "{text}: {}", stdout(&watch));
    }
    let audit = run(["audit", "--help"]);
    for text in
        ["Examples", "Exit codes", "--fail-on", "--allow-incomplete", "--rules", "--write", "node-exporter"]
    {
        assert!(stdout(&audit).contains(text), "{text}: {}", stdout(&audit));
    }
    // What a command refuses is not in its help.
    let shapes = ["--group", "--columns", "--sort", "--no-header", "--pids"];
    for option in shapes {
        assert!(stdout(&watch).split_whitespace().all(|word| word != option), "watch {option}");
    }
    for option in shapes.iter().chain(&["--all", "--flag", "--no-holders"]) {
        assert!(stdout(&audit).split_whitespace().all(|word| word != *option), "audit {option}");
    }
}

#[test]
fn versions() {
    let short = run(["-V"]);
    assert_eq!(stdout(&short), concat!("portolan ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = run(["--version"]);
    let lines: Vec<&str> = stdout(&long).lines().collect();
    assert_eq!(lines.len(), 4, "{long:?}");
    assert_eq!(format!("{}\n", lines[0]), stdout(&short));
    assert!(lines[1].starts_with("registry of 20") && lines[1].contains("port-desc 0."), "{long:?}");
    assert!(lines[2].starts_with("evidence: ") && lines[2].contains("Debian netbase "), "{long:?}");
    assert!(lines[3].starts_with(&format!("sources on {}: ", std::env::consts::OS)), "{long:?}");
}

/// Every command's long help has examples, and each of them is a line that the program takes.
#[test]
fn the_examples_of_every_help_can_be_typed() {
    use clap::{CommandFactory, Parser};
    use portolan::cli::Cli;

    let mut command = Cli::command();
    command.build();
    let below = command.get_subcommands().flat_map(clap::Command::get_subcommands);
    for command in command.get_subcommands().chain(below).chain([&command]) {
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let mut typed = 0;
        // What is typed ends where the words on it begin, or goes on elsewhere.
        for line in help.lines().filter(|line| line.starts_with("  ")) {
            let line = line.trim().split("  ").next().unwrap();
            for part in line.split(['|', ';', '>', '(', ')', '<', '\'']) {
                let words: Vec<&str> = part.split_whitespace().collect();
                let Some(at) = words.iter().position(|word| *word == "portolan") else { continue };
                let parsed = Cli::try_parse_from(&words[at..]);
                assert!(parsed.is_ok(), "{}: {part}: {}", command.get_name(), parsed.unwrap_err());
                typed += 1;
            }
        }
        assert!(typed > 0, "the long help of {} has no example: after_long_help", command.get_name());
    }
}

#[test]
fn the_manual_page_tells_all_and_passes_the_linters() {
    use clap::CommandFactory;

    let page = run(["man"]);
    assert_eq!(page.status.code(), Some(0));
    let text = stdout(&page).replace("\\-", "-");
    for heading in [
        "NAME",
        "SYNOPSIS",
        "OPTIONS",
        "COMMANDS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ] {
        assert_eq!(text.matches(&format!(".SH {heading}\n")).count(), 1, "{heading}: {text}");
    }
    let command = portolan::cli::Cli::command();
    for sub in command.get_subcommands() {
        assert!(text.contains(&format!(".SS {}\n", sub.get_name())), "{sub}");
        assert!(text.contains(&format!("portolan {}", sub.get_name())), "{sub}: usage or example");
    }
    let all = command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    for option in all.filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long) {
        assert!(text.contains(&format!("--{option}\\fR")), "--{option}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portolan.1");
    std::fs::write(&path, &page.stdout).unwrap();
    for linter in
        [&["mandoc", "-T", "lint", "-W", "warning"][..], &["groff", "-man", "-K", "utf8", "-ww", "-z"]]
    {
        match Command::new(linter[0]).args(&linter[1..]).arg(&path).stdin(Stdio::null()).output() {
            Err(error) => eprintln!("{}: {error}: its opinion is left out", linter[0]),
            Ok(said) => {
                let said = (said.status.code(), stdout(&said), stderr(&said));
                assert_eq!(said, (Some(0), "", ""), "{linter:?}");
            }
        }
    }
}

#[test]
fn bad_diffs_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let text = std::fs::read_to_string(capture()).unwrap();
    let good = capture().to_str().unwrap().to_owned();
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    let newer = write("newer", text.replace("observation/1", "observation/2").as_bytes());
    let other = write("other", text.replace("\"harbour\"", "\"haven\"").as_bytes());
    let nameless = write("nameless", text.replace("\"harbour\"", "null").as_bytes());
    let windows = write("windows", text.replace("\"os\": \"linux\"", "\"os\": \"windows\"").as_bytes());
    // A file cut off anywhere is never a baseline with less in it.
    let cuts: Vec<String> = (1..10)
        .map(|part| write(&format!("cut{part}"), &text.as_bytes()[..text.len() * part / 10]))
        .collect();
    let mut rows: Vec<(Vec<&str>, &str)> = vec![
        (vec![&missing], NO_FILE),
        (vec![&good, &missing], NO_FILE),
        (vec![&missing, &good], NO_FILE),
        (vec![&newer, &good], "observation/2"),
        (vec![&good, &newer], "observation/2"),
        (
            vec![&good, &other],
            "taken on harbour (linux), not on haven (linux); compare hosts with --other-host",
        ),
        (vec![&good], "--other-host"),
        (vec![&nameless, &nameless], "a host it does not name"),
        (vec![&good, &windows], "harbour (windows)"),
        (vec![], "BEFORE"),
        (vec!["-", "-"], "standard input"),
        (vec!["--from", &good, &good], "--from"),
        (vec!["--netns", "all", &good, &good], "--netns"),
        (vec!["-o", "metrics", &good, &good], "metrics"),
    ];
    rows.extend(cuts.iter().map(|cut| (vec![cut.as_str(), &good], "cut off")));
    rows.extend(cuts.iter().map(|cut| (vec![good.as_str(), cut], "cut off")));
    for (arguments, names) in rows {
        refused(&run(["diff"].iter().chain(&arguments)), &format!("{arguments:?}"), names);
    }
    for arguments in [vec!["--deep", "--from", &good], vec!["--baseline", &missing, "--from", &good]] {
        refused(&run(["audit"].iter().chain(&arguments)), &format!("{arguments:?}"), "");
    }
    refused(&run(["audit", "--from", &good, "--baseline", &other]), "another host", "haven");
    refused(&run(["audit", "--from", &good, "--other-host"]), "no baseline", "--baseline");
    refused(&run(["audit", "--from", "-", "--baseline", "-"]), "twice", "standard input");
}

#[test]
fn diffs_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(capture()).unwrap();
    let before = capture();
    let after = folder.path().join("after.json");
    // One listener on another port, one of another user, one reached by more.
    let changed = text
        .replacen(
            "\"address\": \"127.0.0.1\",\n        \"port\": 5432",
            "\"address\": \"0.0.0.0\",\n        \"port\": 5432",
            1,
        )
        .replacen("\"port\": 3416", "\"port\": 3417", 1);
    assert_ne!(changed, text);
    std::fs::write(&after, &changed).unwrap();
    let (before, after) = (before.to_str().unwrap(), after.to_str().unwrap());
    let same = run(["diff", before, before]);
    assert_eq!((same.status.code(), stdout(&same)), (Some(0), ""));
    assert_eq!(stderr(&same), "portolan: No changes since 2026-11-21 08:00 UTC (5 listeners compared).\n");

    let output = run(["diff", before, after]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("CHANGE ") && lines[0].ends_with("AFTER"), "{lines:#?}");
    for (line, words) in [
        (1, ["vanished", "tcp 0.0.0.0:3416", "as root"]),
        (2, ["appeared", "tcp 0.0.0.0:3417", "as root"]),
        (3, ["widened", "127.0.0.1:5432 (loopback)", "0.0.0.0:5432 (any)"]),
    ] {
        assert!(words.iter().all(|word| lines[line].contains(word)), "{words:?} in {lines:#?}");
    }
    assert!(stderr(&output).contains("3 changes since"), "{output:?}");

    let output = run(["diff", "-o", "json", before, after]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["schema"]), (Some(1), &"portolan.diff/1".into()));
    assert_eq!(
        (&told["complete"], &told["changed"], &told["compared"]),
        (&true.into(), &true.into(), &6.into())
    );
    assert_eq!(
        (&told["before"]["host"]["name"], &told["after"]["complete"]),
        (&"harbour".into(), &true.into())
    );
    let kinds: Vec<_> =
        told["changes"].as_array().unwrap().iter().map(|c| c["change"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["vanished", "appeared", "widened"]);
    assert_eq!(told["changes"][2]["before"]["address"], "127.0.0.1");
    assert!(told["changes"][2]["text"].as_str().unwrap().contains("can be reached by more"), "{told:#}");

    let output = run(["diff", "-o", "ndjson", before, after]);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines.iter().all(|line| line["schema"] == "portolan.diff/1" && line["host"]["name"] == "harbour")
    );
    let output = run(["diff", "-o", "csv", before, after]);
    assert_eq!(stdout(&output).lines().count(), 4, "{output:?}");
    assert!(stdout(&output).starts_with("change,passing,sure,protocol,"), "{output:?}");

    // What was not seen on either side is no all-clear, whatever the format.
    let blind = folder.path().join("blind.json");
    let gap = r#""gaps": [{"stage": "sockets", "what": "sockets", "count": null, "why": "refused", "remedy": null}]"#;
    std::fs::write(&blind, text.replacen("\"gaps\": []", gap, 1)).unwrap();
    let blind = blind.to_str().unwrap();
    for arguments in [[before, blind], [blind, before]] {
        for format in ["table", "json", "ndjson", "csv"] {
            let output = run(["diff", "-o", format].iter().chain(&arguments));
            assert_eq!(output.status.code(), Some(3), "{format} {arguments:?}");
            let talk = stderr(&output);
            assert!(talk.contains("not seen:") && talk.contains("no all-clear"), "{talk}");
            assert!(!talk.contains("No changes"), "{talk}");
            let allowed = run(["diff", "--allow-incomplete", "-o", format].iter().chain(&arguments));
            assert_eq!(allowed.status.code(), Some(0), "{format} {arguments:?}");
        }
    }
    assert_eq!(run(["diff", blind, after]).status.code(), Some(1));
    // Two hosts, told to.
    let other = folder.path().join("other.json");
    std::fs::write(&other, text.replace("\"harbour\"", "\"haven\"")).unwrap();
    let other = other.to_str().unwrap();
    assert_eq!(run(["diff", "--other-host", before, other]).status.code(), Some(0));

    let (code, told) = audited(&["--baseline", before]);
    assert_eq!(code, Some(1), "its own findings");
    assert!(told["findings"].as_array().unwrap().iter().all(|found| found["evidence"]["baseline"].is_null()));
    let (_, told) = audited(&["--baseline", after]);
    let since =
        found(&told).into_iter().filter(|(_, code)| ["appeared", "vanished", "narrowed"].contains(code));
    let since: std::collections::BTreeSet<_> = since.collect();
    assert_eq!(since, [(3416, "appeared"), (3417, "vanished"), (5432, "narrowed")].into());
}

/// What was not looked for on either side is no "no changes".
#[test]
fn a_diff_of_narrow_captures_is_no_all_clear() {
    let mut narrow: serde_json::Value = serde_json::from_slice(&std::fs::read(capture()).unwrap()).unwrap();
    narrow["extent"]["protocols"] = serde_json::json!(["tcp"]);
    narrow["sockets"].as_array_mut().unwrap().retain(|socket| socket["local"]["protocol"] == "tcp");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.json");
    std::fs::write(&path, narrow.to_string()).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(run(["diff", path, path]).status.code(), Some(3));
    let output = run(["diff", path, capture().to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output).contains("appeared?")), (Some(1), true), "{output:?}");
}
