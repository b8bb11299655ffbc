//! `portolan audit` on the real kernel: each of its exit codes, and the file that it writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, gap, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("audit_exits_with_0_if_nothing_is_found_and_everything_is_seen", clear),
    ("audit_exits_with_1_if_something_is_found", findings),
    ("audit_exits_with_2_for_bad_arguments", trouble),
    ("audit_exits_with_3_if_not_everything_could_be_seen", incomplete),
    ("audit_needs_no_more_than_to_read", reading_is_enough),
    ("audit_with_a_filter_scans_everything", narrowed),
    ("audit_replaces_a_file_atomically", whole_file),
];

/// Runs an audit as root, and returns its exit code and its JSON.
fn audit(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, Value), Failed> {
    let output = lab.portolan(["audit", "-o", "json"].iter().chain(arguments)).output()?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// Runs an audit as nobody, and returns its exit code and its JSON.
fn audit_as_nobody(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, Value), Failed> {
    let mut command = lab.portolan(["audit", "-o", "json"].iter().chain(arguments));
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// Returns the codes of the findings on a port.
fn codes(audit: &Value, port: u16) -> BTreeSet<&str> {
    let findings = audit["findings"].as_array().into_iter().flatten();
    findings.filter(|found| found["port"] == port).filter_map(|found| found["code"].as_str()).collect()
}

/// Port 1 on loopback causes no finding: its registration is withdrawn, but the service is still in use.
fn harmless() -> Result<Server, Failed> {
    Server::start(&sleep(), vec![tcp("127.0.0.1:1")?])
}

fn clear(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = harmless()?;
    let (code, printed) = audit(lab, &[])?;
    same!(
        (code, printed["verdict"].as_str(), &printed["complete"]),
        (Some(0), Some("clear"), &true.into()),
        "{printed:#}"
    );
    same!(printed["listeners"].as_array().map(Vec::len), Some(1), "{printed:#}");
    Ok(())
}

fn findings(lab: &Lab) -> Outcome {
    lab.alone()?;
    let notice = &["--fail-on", "notice"];
    let _harmless = harmless()?;
    same!(audit(lab, notice)?.0, Some(0), "before");
    let server = Server::start(&sleep(), vec![tcp("0.0.0.0:3416")?])?;
    let (code, printed) = audit(lab, notice)?;
    same!((code, printed["verdict"].as_str()), (Some(1), Some("findings")), "{printed:#}");
    same!(codes(&printed, 3416).contains("orphaned"), true, "{printed:#}");
    let found =
        printed["findings"].as_array().into_iter().flatten().find(|found| found["code"] == "orphaned");
    same!(
        found.and_then(|found| found["processes"][0]["pid"].as_u64()),
        Some(server.pid().into()),
        "{printed:#}"
    );
    // `--fail-on critical` is above the severity of the finding.
    same!(audit(lab, &["--fail-on", "critical"])?.0, Some(0));
    // An ordinary user sees less, but still sees this finding.
    let (code, printed) = audit_as_nobody(lab, notice)?;
    same!(
        (code, printed["verdict"].as_str(), &printed["complete"]),
        (Some(1), Some("findings"), &false.into()),
        "{printed:#}"
    );
    drop(server);
    same!(audit(lab, notice)?.0, Some(0), "after");
    Ok(())
}

fn trouble(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = Server::start(&sleep(), vec![tcp("0.0.0.0:3416")?])?;
    for arguments in
        [&["--fail-on", "severe"][..], &["--write", "/no-such-directory/out"], &["--netns", "none"]]
    {
        let output = lab.portolan([&["audit"], arguments].concat()).output()?;
        same!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{arguments:?}: {output:?}");
    }
    Ok(())
}

fn incomplete(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = harmless()?;
    let (code, printed) = audit_as_nobody(lab, &[])?;
    same!((code, printed["verdict"].as_str()), (Some(3), Some("incomplete")), "{printed:#}");
    gap(&printed, "owners", "")?;
    let (code, printed) = audit_as_nobody(lab, &["--allow-incomplete"])?;
    same!((code, printed["verdict"].as_str()), (Some(0), Some("incomplete")), "{printed:#}");
    // Root sees everything.
    same!(audit(lab, &[])?.0, Some(0));
    Ok(())
}

/// The systemd unit keeps only the capabilities that are needed to read processes, rules and io_urings.
fn reading_is_enough(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _owner = harmless()?;
    let output = lab.portolan_under("nobody-who-may-read", ["audit", "-o", "json"]).output()?;
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    same!((output.status.code(), &printed["complete"]), (Some(0), &true.into()), "{printed:#}");
    same!(printed["listeners"][0]["owner"], "held", "{printed:#}");
    Ok(())
}

/// A target narrows the findings, but processes that could not be read elsewhere are still a gap.
fn narrowed(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _harmless = harmless()?;
    let _other = Server::start(&sleep(), vec![tcp("0.0.0.0:3416")?])?;
    let (code, printed) = audit(lab, &["tcp/1"])?;
    same!((code, &printed["narrowed"]), (Some(0), &"tcp/1".into()), "{printed:#}");
    same!(
        (codes(&printed, 3416).len(), printed["listeners"].as_array().map(Vec::len)),
        (0, Some(1)),
        "{printed:#}"
    );
    same!(audit(lab, &["tcp/3416", "--fail-on", "notice"])?.0, Some(1));
    same!(audit_as_nobody(lab, &["tcp/1"])?.0, Some(3));
    Ok(())
}

/// A reader of the file sees a complete audit, never a part, while the file is replaced; everybody may read the file.
fn whole_file(lab: &Lab) -> Outcome {
    let _owner = harmless()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("portolan.prom");
    let write = || -> Outcome {
        let mut command = lab.portolan(["audit", "-o", "metrics", "--write"]);
        let output = command.arg(&path).output()?;
        // This scene does not depend on whether all processes of this machine can be read.
        same!(
            (matches!(output.status.code(), Some(0 | 3)), output.stdout.is_empty()),
            (true, true),
            "{output:?}"
        );
        Ok(())
    };
    write()?;
    same!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o644);
    let whole = fs::read_to_string(&path)?.lines().count();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome {
        let reader = scope.spawn(|| -> Result<usize, String> {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
                if text.lines().count() != whole || !text.ends_with('\n') {
                    return Err(format!("half a file: {text}"));
                }
                looks += 1;
            }
            Ok(looks)
        });
        let written = (0..20).try_for_each(|_| write());
        done.store(true, Ordering::Relaxed);
        let looks = reader.join().map_err(|_| "the reader panicked")??;
        written?;
        same!(looks > 20, true, "{looks} looks");
        Ok(())
    })?;
    same!(fs::read_dir(directory.path())?.count(), 1, "no other file is left");
    Ok(())
}
