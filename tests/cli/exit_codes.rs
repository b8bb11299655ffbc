//! The exit code of every command, as in the README. The exit code does not depend on the reader of the output.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use crate::{capture, portolan, stdout};

/// Each row: the situation, the command line, and the exit code. `FIVE` and similar names are saved snapshots.
const ROWS: &[(&str, &str, i32)] = &[
    ("a listing", "--from FIVE", 0),
    ("a listing of nothing, and no target", "--from EMPTY", 0),
    ("a listing by protocol of nothing", "--from EMPTY -t", 0),
    ("a listing that saw nothing", "--from BLIND", 0),
    ("a match", "--from FIVE 3416", 0),
    ("no match", "--from FIVE 9", 1),
    ("no match in an empty listing", "--from EMPTY 3416", 1),
    ("no match, but sockets are hidden", "--from BLIND 3416", 3),
    ("no match, but owners are hidden", "--from HIDDEN nosuchprogram", 3),
    ("no match of a port; owners do not matter", "--from HIDDEN 9", 1),
    ("a name without a match", "--from FIVE ssh", 1),
    ("an unknown name", "--from FIVE nosuchprogram", 1),
    ("a mistyped command before a target", "--from FIVE kil 3416", 2),
    ("an everyday verb before a target", "--from FIVE stop 3416", 2),
    ("a program before a target", "--from FIVE sleep 3416", 0),
    ("a verb after the command", "--from FIVE list stop 3416", 0),
    ("a bad port", "--from FIVE 65536", 2),
    ("a bad option", "--from FIVE --nonsense", 2),
    ("a missing file", "--from MISSING", 2),
    ("process IDs", "--from FIVE --pids 3416", 0),
    ("no process IDs", "--from FIVE --pids 9", 1),
    ("process IDs of a hidden owner", "--from HIDDEN --pids 3416", 3),
    ("process IDs, but sockets are hidden", "--from BLIND --pids 3416", 3),
    ("process IDs without a target", "--from FIVE --pids", 2),
    ("JSON", "--from FIVE -o json 9", 1),
    ("JSON of a blind host", "--from BLIND -o ndjson 9", 3),
    ("explain", "--from FIVE explain 3416", 0),
    ("explain an unknown name", "--from FIVE explain nosuchprogram", 1),
    ("explain an unknown name, but owners are hidden", "--from HIDDEN explain nosuchprogram", 3),
    ("explain an unknown name, but sockets are hidden", "--from BLIND explain nosuchprogram", 3),
    ("explain without a target", "--from FIVE explain", 2),
    ("an audit with findings", "--from FIVE audit --fail-on info", 1),
    ("an audit of nothing", "--from EMPTY audit", 0),
    ("an audit that saw nothing", "--from BLIND audit", 3),
    ("an audit that saw nothing, accepted", "--from BLIND audit --allow-incomplete", 0),
    ("an audit with findings that saw little", "--from HIDDEN audit --fail-on info", 1),
    ("an audit with findings, as JSON", "--from FIVE audit --fail-on info -o json", 1),
    ("an audit by a missing policy", "--from FIVE audit --policy MISSING", 2),
    ("the rules", "audit --rules", 0),
    ("a diff without changes", "diff FIVE FIVE", 0),
    ("a diff with changes", "diff FIVE LATER", 1),
    ("a diff with changes, as JSON", "diff FIVE LATER -o json", 1),
    ("a diff without visible changes", "diff FIVE GAP", 3),
    ("a diff without visible changes, accepted", "diff FIVE GAP --allow-incomplete", 0),
    ("a diff of two hosts", "diff FIVE OTHER", 2),
    ("a diff of two hosts, accepted", "diff FIVE OTHER --other-host", 0),
    ("a diff of a missing file", "diff MISSING FIVE", 2),
    ("a policy of nothing", "--from EMPTY policy init", 0),
    ("a policy that saw nothing", "--from BLIND policy init", 3),
    ("a good policy", "policy check POLICY", 0),
    ("a bad policy", "policy check FIVE", 2),
    ("kill in a snapshot", "--from FIVE kill 3416", 2),
    ("kill without a target", "kill --yes", 2),
    ("a capture", "--from FIVE capture", 0),
    ("a capture that saw nothing", "--from BLIND capture", 0),
    ("completions", "completions bash", 0),
    ("completions for no shell", "completions nosuchshell", 2),
    ("the manual page", "man", 0),
    ("help", "--help", 0),
    ("a wait for nothing", "watch --until-free", 2),
    ("a wait without an end", "watch --timeout 1", 2),
];

const GAP: &str =
    r#""gaps": [{"stage": "STAGE", "what": "x", "count": 1, "pids": [], "why": "y", "remedy": null}]"#;

fn write_snapshots(directory: &Path) {
    let five = fs::read_to_string(capture()).unwrap();
    let with = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let gap = |text: &str, stage: &str| with(text, "\"gaps\": []", &GAP.replace("STAGE", stage));
    let mut empty: serde_json::Value = serde_json::from_str(&five).unwrap();
    (empty["sockets"], empty["processes"]) = (serde_json::json!([]), serde_json::json!([]));
    let mut blind = empty.clone();
    blind["gaps"] = serde_json::from_str::<serde_json::Value>(&format!("{{{GAP}}}")).unwrap()["gaps"].clone();
    blind["gaps"][0]["stage"] = "sockets".into();
    let mut hidden: serde_json::Value = serde_json::from_str(&gap(&five, "owners")).unwrap();
    for socket in hidden["sockets"].as_array_mut().unwrap() {
        socket["owner"] = "hidden".into();
    }
    hidden["processes"] = serde_json::json!([]);
    for (name, text) in [
        ("FIVE", five.clone()),
        ("EMPTY", empty.to_string()),
        ("BLIND", blind.to_string()),
        ("HIDDEN", hidden.to_string()),
        ("GAP", gap(&five, "owners")),
        ("LATER", with(&five, "\"port\": 3416", "\"port\": 3417")),
        ("OTHER", with(&five, "\"id\": \"", "\"id\": \"f")),
        ("POLICY", "schema = \"portolan.policy/1\"\n".to_owned()),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    write_snapshots(directory.path());
    for (about, line, code) in ROWS {
        let command = || {
            let mut command = portolan(line.split_whitespace());
            command.current_dir(directory.path());
            command
        };
        let output = command().output().unwrap();
        assert_eq!(output.status.code(), Some(*code), "{about}: {line}: {output:?}");
        if *code == 2 {
            assert!(output.stdout.is_empty(), "{about}: {line}");
            continue;
        }
        // The reader has closed the output before the first byte.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = command().stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(unread.code(), Some(*code), "{about}: {line}, unread");
        #[cfg(target_os = "linux")]
        if !stdout(&output).is_empty() {
            let full = fs::File::options().write(true).open("/dev/full").unwrap();
            let lost = command().stdout(full).stderr(Stdio::null()).status().unwrap();
            assert_eq!(lost.code(), Some(2), "{about}: {line}: the output is lost, which is an error");
        }
    }
}

#[test]
fn exit_codes_of_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp/127.0.0.1:{}", listener.local_addr().unwrap().port());
    // No program needs a port of the system range.
    let free = "tcp/127.0.0.1:4";
    for (option, target, code) in [
        ("--until-listening", taken.as_str(), 0),
        ("--until-listening", free, 1),
        ("--until-free", &taken, 1),
        ("--until-free", free, 0),
    ] {
        let output = portolan(["watch", option, target, "--timeout", "0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{option} {target}: {output:?}");
    }
}
