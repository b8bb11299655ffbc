//! Bad input: one line that names the thing, exit code 2, nothing on standard output.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::{capture, from_capture, refused, run, stderr};

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
        (&["--write", "/"], "/: it is a directory"),
        (
            &["--write", "/no-such-folder/out"],
            if cfg!(windows) {
                "(os error 3)"
            } else {
                "/no-such-folder/out: nothing was written: No such file"
            },
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
