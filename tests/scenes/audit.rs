//! `portolan audit` on the real kernel: each of its exit codes, and the file that it writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, gap, sleep, tcp};
use crate::published::{has_tools, machine_behind_a_wire, sh};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("audit_exits_with_0_if_nothing_is_found_and_everything_is_seen", clear),
    ("audit_exits_with_1_if_something_is_found", findings),
    ("audit_exits_with_2_for_bad_arguments", trouble),
    ("audit_exits_with_3_if_not_everything_could_be_seen", incomplete),
    ("audit_needs_no_more_than_to_read", reading_is_enough),
    ("audit_with_a_filter_scans_everything", narrowed),
    ("audit_replaces_a_file_atomically", whole_file),
    ("audit_covers_other_network_namespaces", other_namespaces),
    ("baseline_and_policy_of_one_network_namespace", one_namespace),
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

/// Returns a network namespace with an interface that may lead outside the machine, and a server in it.
fn server_elsewhere(lab: &Lab, name: &str, place: &str) -> Result<[Server; 2], Failed> {
    let namespace = lab.helper(["in-namespace", "-", "answer"])?;
    let pid = namespace.pid().to_string();
    sh(&format!(
        "nsenter -t {pid} -n sh -c 'ip link set lo up && ip link add outer type veth peer name end && ip address add 10.9.0.1/24 dev outer && \
         ip link set outer up'"
    ))?;
    let server = lab.helper_called(name, &["in-namespace", &pid, "answer", place])?;
    Ok([namespace, server])
}

/// An audit as root judges the listeners of every network namespace, without an option. Listeners that only this machine
/// reaches stay below warning.
fn other_namespaces(lab: &Lab) -> Outcome {
    lab.alone()?;
    if !has_tools() {
        return Ok(());
    }
    let _owner = harmless()?;
    let inside = machine_behind_a_wire(lab, "outer", "172.31.0.1", "172.31.0.2")?;
    sh(
        "ip address del 172.31.0.1/24 dev outer; ip link add bridge0 type bridge && ip link set outer master bridge0 && \
        ip address add 172.31.0.1/24 dev bridge0 && ip link set bridge0 up; echo 0 >/proc/sys/net/ipv4/ip_forward",
    )?;
    let pid = inside.pid().to_string();
    let _database = lab.helper_called("postgres", &["in-namespace", &pid, "answer", "0.0.0.0:5432"])?;
    let _store = lab.helper_called("redis-server", &["in-namespace", &pid, "answer", "0.0.0.0:6379"])?;
    let (code, printed) = audit(lab, &[])?;
    same!((code, printed["verdict"].as_str()), (Some(0), Some("clear")), "{printed:#}");
    same!(printed["listeners"].as_array().map(Vec::len), Some(3), "{printed:#}");
    let elsewhere = server_elsewhere(lab, "redis-server", "0.0.0.0:6380")?;
    let (code, printed) = audit(lab, &[])?;
    same!((code, codes(&printed, 6380).contains("exposed")), (Some(1), true), "{printed:#}");
    // Process 1 selects the namespace in which portolan runs.
    for options in [["--scope", "namespace"], ["--netns", "1"]] {
        let output = lab.portolan_on_a_machine(["audit", "-o", "json"].iter().chain(&options)).output()?;
        let printed: Value = serde_json::from_slice(&output.stdout)?;
        same!(printed["listeners"].as_array().map(Vec::len), Some(1), "{printed:#}");
    }
    // An audit of a snapshot that does not cover the namespace is incomplete.
    let file = lab.path("own.json");
    fs::write(&file, lab.portolan(["capture"]).output()?.stdout)?;
    let (code, printed) = audit(lab, &["--from", &file])?;
    same!((code, printed["gaps"].to_string().contains("does not cover")), (Some(3), true), "{printed:#}");
    drop(elsewhere);
    Ok(())
}

/// A baseline and a policy that cover one network namespace say nothing about the listeners of another namespace, which
/// the other rules judge. With `--netns all`, they apply to every namespace.
fn one_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    if !has_tools() {
        return Ok(());
    }
    let _owner = harmless()?;
    let baseline = lab.path("baseline.json");
    fs::write(&baseline, lab.portolan(["capture"]).output()?.stdout)?;
    let policy = lab.path("policy.toml");
    fs::write(
        &policy,
        "schema = \"portolan.policy/1\"\n[[allow]]\nid = \"one\"\nport = 1\nprotocol = \"tcp\"\n",
    )?;
    let wide = lab.path("wide.toml");
    fs::write(
        &wide,
        "schema = \"portolan.policy/1\"\n[[allow]]\nid = \"one\"\nport = 1\nprotocol = \"tcp\"\nnetns = [\"own\", \"unnamed\"]\n",
    )?;
    let elsewhere = server_elsewhere(lab, "web", "127.0.0.1:8080")?;
    let notes =
        |printed: &Value| printed["notes"].to_string().contains("does not apply to listeners in other");
    for (options, code, is_noted, unexpected) in [
        (&["--baseline", &baseline][..], Some(0), true, false),
        (&["--baseline", &baseline, "--netns", "all"], Some(3), false, false),
        (&["--policy", &policy], Some(0), true, false),
        (&["--policy", &policy, "--netns", "all"], Some(1), false, true),
        (&["--policy", &wide], Some(1), false, true),
    ] {
        let (found, printed) = audit(lab, options)?;
        same!((found, notes(&printed)), (code, is_noted), "{options:?}: {printed:#}");
        let codes = codes(&printed, 8080);
        same!((codes.contains("unexpected"), codes.contains("appeared")), (unexpected, false), "{printed:#}");
    }
    drop(elsewhere);
    Ok(())
}
