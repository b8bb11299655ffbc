//! Comparisons of two saved snapshots.

use std::path::Path;

#[cfg(unix)]
use crate::portolan;
use crate::{capture, refused, run, stderr, stdout};

/// A gap on either side prevents an all-clear in every format.
#[test]
fn a_diff_with_gaps_is_never_clear() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(capture()).unwrap();
    let before = capture();
    let before = before.to_str().unwrap();
    let blind = directory.path().join("blind.json");
    let gap = r#""gaps": [{"stage": "sockets", "what": "sockets", "count": null, "why": "refused", "remedy": null}]"#;
    std::fs::write(&blind, text.replacen("\"gaps\": []", gap, 1)).unwrap();
    let blind = blind.to_str().unwrap();
    for arguments in [[before, blind], [blind, before]] {
        for format in ["table", "json", "ndjson", "csv"] {
            let output = run(["diff", "-o", format].iter().chain(&arguments));
            assert_eq!(output.status.code(), Some(3), "{format} {arguments:?}");
            let messages = stderr(&output);
            assert!(messages.contains("Not seen:") && messages.contains("not an all-clear"), "{messages}");
            assert!(!messages.contains("No changes"), "{messages}");
            let allowed = run(["diff", "--allow-incomplete", "-o", format].iter().chain(&arguments));
            assert_eq!(allowed.status.code(), Some(0), "{format} {arguments:?}");
        }
    }
}

/// With the sides exchanged, a new listener would be a vanished one, which an audit only notes.
#[test]
fn the_earlier_snapshot_must_not_be_the_later_one() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(capture()).unwrap();
    let future = directory.path().join("future.json");
    let taken = text.lines().find(|line| line.contains("\"taken\"")).unwrap();
    std::fs::write(&future, text.replacen(taken, "\"taken\": \"2126-11-21T08:00:00Z\",", 1)).unwrap();
    let capture = capture();
    let (past, future) = (capture.to_str().unwrap(), future.to_str().unwrap());
    let audit = ["audit", "--from", past, "--baseline", future];
    refused(&run(audit), future, "exchange the snapshots");
    refused(&run(audit.iter().chain(&["--other-host"])), future, "exchange the snapshots");
    let backwards = run(["diff", future, past]);
    let said = String::from_utf8(backwards.stderr).unwrap();
    assert!(backwards.status.code() == Some(0) && said.contains("exchange the snapshots"), "{said}");
    for arguments in [["diff", past, future], ["diff", past, past]] {
        assert_eq!(run(arguments).status.code(), Some(0), "{arguments:?}");
    }
}

/// The commands fit 80 columns, so they can be pasted from a narrow terminal. Root needs no sudo.
#[cfg(unix)]
#[test]
fn a_diff_without_a_snapshot_names_the_commands() {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let nobody = is_root.then(|| portolan(["diff"]).uid(65534).gid(65534).output().ok()).flatten();
    for (sudo, output) in [("sudo ", nobody), (if is_root { "" } else { "sudo " }, Some(run(["diff"])))] {
        let Some(output) = output else { continue };
        let expected = format!(
            "portolan: diff needs an earlier snapshot\n  \
             take one now:       {sudo}portolan capture >before.json\n  \
             after a change:     {sudo}portolan diff before.json\n  \
             what started last:  portolan --sort -since --columns port,process,since\n"
        );
        assert_eq!((output.status.code(), stderr(&output)), (Some(2), &*expected));
        assert!(expected.lines().all(|line| line.len() <= 80));
    }
}

#[test]
fn this_machine_is_another_host() {
    refused(&run([Path::new("diff"), &capture()]), "this machine", "--other-host");
}

/// A truncated file is never read as a snapshot with fewer sockets.
#[test]
fn a_cut_baseline_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read(capture()).unwrap();
    let (good, cut) = (capture(), directory.path().join("cut"));
    for part in 1..10 {
        std::fs::write(&cut, &text[..text.len() * part / 10]).unwrap();
        refused(&run([Path::new("diff"), &cut, &good]), "before", "cut off");
        refused(&run([Path::new("diff"), &good, &cut]), "after", "cut off");
    }
}

/// If a scope leaves something out on either side, the output does not say "no changes".
#[test]
fn a_diff_of_narrow_captures_is_never_clear() {
    let mut narrow: serde_json::Value = serde_json::from_slice(&std::fs::read(capture()).unwrap()).unwrap();
    narrow["scope"]["protocols"] = serde_json::json!(["tcp"]);
    narrow["sockets"].as_array_mut().unwrap().retain(|socket| socket["local"]["protocol"] == "tcp");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("narrow.json");
    std::fs::write(&path, narrow.to_string()).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(run(["diff", path, path]).status.code(), Some(3));
    let output = run(["diff", path, capture().to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output).contains("appeared?")), (Some(1), true), "{output:?}");
}
