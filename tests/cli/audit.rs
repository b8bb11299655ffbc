//! An audit of a saved snapshot: its exit code, its filters, and its output file.

use std::process::Stdio;

use crate::{audited, capture, found, from_capture, portolan, run, stderr, stdout};

#[test]
fn an_audit_answers_by_its_exit_code() {
    for (arguments, code, verdict) in [
        (&[][..], 0, "clear"),
        (&["--fail-on", "warning"], 0, "clear"),
        (&["--fail-on", "notice"], 1, "findings"),
        (&["--fail-on", "critical"], 0, "clear"),
        (&["--fail-on", "info"], 1, "findings"),
        (&["60416"], 0, "clear"),
        (&["60416", "--fail-on", "notice"], 0, "clear"),
        (&["60416", "--fail-on", "info"], 1, "findings"),
        (&["--fail-on", "notice", "--allow-incomplete"], 1, "findings"),
        (&["9"], 1, "nothing-matched"),
        (&["--user", "4711"], 1, "nothing-matched"),
        (&["--process", "absent"], 1, "nothing-matched"),
        (&["--pid", "999999"], 1, "nothing-matched"),
        (&["--unit", "absent.service"], 1, "nothing-matched"),
        (&["--container", "absent"], 1, "nothing-matched"),
        (&["9", "--allow-incomplete"], 1, "nothing-matched"),
        // No listener of a class is a good result, not a mistake.
        (&["--exposure", "multicast"], 0, "clear"),
    ] {
        let (exit, audit) = audited(arguments);
        assert_eq!((exit, audit["verdict"].as_str()), (Some(code), Some(verdict)), "{arguments:?}");
    }
    // The same capture with a gap: an audit without findings is then not clear, and a finding is still reported.
    let text = std::fs::read_to_string(capture()).unwrap();
    let gap = r#""gaps": [{"stage": "owners", "what": "things", "count": 1, "why": "no", "remedy": null}]"#;
    let partial = text.replace("\"gaps\": []", gap);
    assert_ne!(partial, text);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("partial.json");
    std::fs::write(&path, partial).unwrap();
    for (arguments, code) in [
        (&["--fail-on", "critical"][..], 3),
        (&["--fail-on", "critical", "--allow-incomplete"], 0),
        (&["--fail-on", "notice"], 1),
        (&["--fail-on", "notice", "--allow-incomplete"], 1),
    ] {
        for output in ["table", "json", "ndjson", "sarif", "metrics", "html"] {
            let audit = run([&["audit", "--from", path.to_str().unwrap(), "-o", output], arguments].concat());
            assert_eq!(audit.status.code(), Some(code), "{arguments:?} {output}");
            let printed = format!("{}{}", stdout(&audit), stderr(&audit));
            if output == "table" {
                // The report contains the gap, so standard error does not repeat it.
                assert_eq!(printed.matches("1 things").count(), 1, "{printed}");
            } else {
                assert!(stderr(&audit).contains("not seen: 1 things: no"), "{audit:?}");
            }
            assert!(!printed.contains("Clear:"), "{arguments:?} {output}: {printed}");
            assert!(
                printed.contains("not everything could be seen") || printed.contains("Not everything"),
                "{printed}"
            );
        }
    }
}

#[test]
fn filters_limit_the_report_of_an_audit() {
    for (arguments, wanted) in [
        (&["3416"][..], &[(3416, "orphaned")][..]),
        (&["-u"], &[(3414, "unexplained")]),
        (&["--exposure", "loopback"], &[(5432, "impostor"), (60416, "ephemeral")]),
        (&["--not", "user=root"], &[]),
    ] {
        let (_, audit) = audited(arguments);
        assert_eq!(found(&audit), wanted, "{arguments:?}");
        assert_eq!(audit["narrowed"], arguments.join(" "), "{arguments:?}");
        assert!(audit["listeners"].as_array().unwrap().len() < 5);
        let table = from_capture(&[&["audit"], arguments].concat());
        let words: Vec<_> = stdout(&table).split_whitespace().collect();
        assert!(words.join(" ").contains(" of 5 listeners (filter: "), "{table:?}");
    }
    let (_, audit) = audited(&["-l", "-n"]);
    assert_eq!(
        (&audit["narrowed"], audit["listeners"].as_array().unwrap().len()),
        (&serde_json::Value::Null, 5)
    );
}

#[test]
fn an_audit_written_to_a_file_is_what_it_would_have_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    for output in ["table", "json", "ndjson", "sarif", "metrics", "html"] {
        let audit = ["audit", "--fail-on", "notice", "-o", output];
        let printed = from_capture(&audit);
        std::fs::write(&path, "what was there").unwrap();
        let to_file = ["--write", path.to_str().unwrap(), "--color", "always"];
        let written = from_capture(&[&audit[..], &to_file].concat());
        assert_eq!((written.status.code(), stdout(&written)), (Some(1), ""), "{output}");
        assert_eq!(std::fs::read(&path).unwrap(), printed.stdout, "{output}");
        assert!(stderr(&written).starts_with("portolan: Findings: "), "{written:?}");
    }
    // If the file cannot be written, the old content stays.
    #[cfg(unix)]
    {
        let lost = directory.path().join("gone").join("out");
        let output = from_capture(&["audit", "--write", lost.to_str().unwrap()]);
        crate::refused(&output, "a directory that does not exist", "nothing was written");
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no other file is left");
    let rules = run(["audit", "--rules", "--write", path.to_str().unwrap()]);
    assert_eq!(rules.status.code(), Some(0));
    assert_eq!(std::fs::read(&path).unwrap(), run(["audit", "--rules"]).stdout);
}

#[test]
fn a_reader_who_leaves_changes_no_verdict() {
    // Standard output is closed before a byte is written: the exit code still has the verdict.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let capture = capture();
    let status = portolan(["audit", "--fail-on", "notice", "--from", capture.to_str().unwrap()])
        .stdout(writer)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// On a terminal, both streams appear together, so a message in parts mixes with the report.
#[cfg(unix)]
#[test]
fn each_message_is_one_write() {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    // The reader of a datagram socket receives each write on its own.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let capture = capture();
    let arguments = ["audit", "--from", capture.to_str().unwrap(), "-o", "json", "--fail-on", "critical"];
    let status = portolan(arguments).stdout(Stdio::null()).stderr(OwnedFd::from(theirs)).status().unwrap();
    assert_eq!(status.code(), Some(0));
    ours.set_nonblocking(true).unwrap();
    let mut writes = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length) = ours.recv(&mut bytes) {
        writes.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    assert!(!writes.is_empty());
    for write in &writes {
        assert!(write.starts_with("portolan: ") && write.ends_with('\n'), "{writes:?}");
    }
}
