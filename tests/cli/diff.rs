//! Two saved observations compared.

use std::fs::File;
use std::io::Write;

use crate::{NO_FILE, audited, capture, found, refused, run, stderr, stdout};

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
    narrow["scope"]["protocols"] = serde_json::json!(["tcp"]);
    narrow["sockets"].as_array_mut().unwrap().retain(|socket| socket["local"]["protocol"] == "tcp");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.json");
    std::fs::write(&path, narrow.to_string()).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(run(["diff", path, path]).status.code(), Some(3));
    let output = run(["diff", path, capture().to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output).contains("appeared?")), (Some(1), true), "{output:?}");
}
