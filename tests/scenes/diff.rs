//! `portolan diff` and `audit --baseline` on the real kernel: each change is reported, and nothing else.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, tcp, udp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("diff_is_quiet_after_restarts_and_upgrades", quiet),
    ("diff_is_quiet_where_the_kernel_picked_the_port", picked),
    ("diff_reports_each_change", each_change),
    ("diff_reports_a_protection_that_was_dropped", weakened),
    ("diff_reports_listeners_that_it_could_not_compare", not_seen),
    ("diff_scans_the_namespaces_of_the_baseline", namespaces),
    ("audit_finds_what_changed_since_a_baseline", audited),
];

/// Saves a snapshot of the current state.
fn capture(lab: &Lab, name: &str, arguments: &[&str]) -> Result<String, Failed> {
    let path = lab.path(name);
    let output = lab.portolan(["capture"].iter().chain(arguments)).output()?;
    same!(output.status.code(), Some(0), "{output:?}");
    fs::write(&path, output.stdout)?;
    Ok(path)
}

/// Returns the exit code and the JSON of a comparison.
fn diff(lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, Value), Failed> {
    let output = lab.portolan(["diff", "-o", "json"].iter().chain(arguments)).output()?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {messages}"))?;
    Ok((output.status.code(), printed))
}

/// Returns the kinds and ports of the changes.
fn changes(printed: &Value) -> Vec<(String, u64)> {
    let changes = printed["changes"].as_array().into_iter().flatten();
    let change =
        |change: &Value| Some((change["change"].as_str()?.to_owned(), change["listener"]["port"].as_u64()?));
    changes.filter_map(change).collect()
}

/// Asserts that nothing changed since the snapshot, and that everything was visible.
fn same_as(lab: &Lab, before: &str, about: &str) -> Outcome {
    let (code, printed) = diff(lab, &[before])?;
    same!((code, changes(&printed)), (Some(0), vec![]), "{about}: {printed:#}");
    same!((&printed["complete"], &printed["changed"]), (&true.into(), &false.into()), "{about}");
    Ok(())
}

/// Asserts that exactly these changes are reported since the snapshot.
fn only(lab: &Lab, before: &str, kind: &str, port: u64) -> Result<Value, Failed> {
    let (code, mut printed) = diff(lab, &[before])?;
    same!((code, changes(&printed)), (Some(1), vec![(kind.to_owned(), port)]), "{printed:#}");
    Ok(printed["changes"][0].take())
}

/// Replaces the file of a program with a new file, as a package upgrade does.
fn upgrade(program: &Path) -> Outcome {
    let new = program.with_extension("new");
    fs::copy(program, &new)?;
    Ok(fs::rename(new, program)?)
}

fn web(program: &Path) -> Result<Server, Failed> {
    Server::start(program, vec![tcp("127.0.0.1:9300")?, tcp("[::1]:9300")?, udp("127.0.0.1:9301")?])
}

fn quiet(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.sleeper_called(b"web")?;
    let first = web(&program)?;
    let before = capture(lab, "before", &[])?;
    same_as(lab, &before, "at once")?;
    drop(first);
    let second = web(&program)?;
    same_as(lab, &before, "after a restart")?;
    // The program is upgraded but not restarted: the running file is not the installed one.
    upgrade(&program)?;
    let (code, printed) = diff(lab, &[&before])?;
    let kinds: Vec<_> = changes(&printed);
    same!(code, Some(1), "{printed:#}");
    same!(kinds.iter().all(|(kind, _)| kind == "replaced") && kinds.len() == 3, true, "{printed:#}");
    same!(printed["changes"][0]["listener"]["processes"][0]["exe_state"], "replaced", "{printed:#}");
    drop(second);
    let _third = web(&program)?;
    same_as(lab, &before, "after an upgrade")
}

/// A server that asks for any port gets another port at each start.
fn picked(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (program, other) = (lab.sleeper_called(b"mountd")?, lab.sleeper_called(b"other")?);
    let two = || vec![tcp("127.0.0.1:0"), tcp("127.0.0.1:0")].into_iter().collect::<Result<Vec<_>, _>>();
    let first = Server::start(&program, two()?)?;
    let before = capture(lab, "before", &[])?;
    drop(first);
    let second = Server::start(&program, two()?)?;
    same_as(lab, &before, "after a restart")?;
    let third = Server::start(&program, vec![tcp("127.0.0.1:0")?])?;
    let (code, printed) = diff(lab, &[&before])?;
    let kinds = |printed: &Value| changes(printed).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    same!((code, kinds(&printed)), (Some(1), vec!["appeared".to_owned()]), "{printed:#}");
    drop((second, third));
    // One listener on a port that the kernel would not have picked, and a listener of another program.
    let _chosen = Server::start(&program, vec![tcp("127.0.0.1:40002")?])?;
    let _other = Server::start(&other, vec![tcp("127.0.0.1:0")?])?;
    let (code, printed) = diff(lab, &[&before])?;
    let mut kinds = kinds(&printed);
    kinds.sort();
    same!(
        (code, kinds.join(" ")),
        (Some(1), "appeared appeared vanished vanished".to_owned()),
        "{printed:#}"
    );
    Ok(())
}

fn each_change(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (program, other) = (lab.sleeper_called(b"web")?, lab.sleeper_called(b"other")?);
    let holding = |program: &PathBuf, at: &str, uid| Server::start_as(program, vec![tcp(at)?], uid);
    let usual = || holding(&program, "127.0.0.1:9310", None);
    let first = usual()?;
    let _nearby = holding(&other, "127.0.0.1:9311", None)?;
    let before = capture(lab, "before", &[])?;

    let more = holding(&other, "127.0.0.1:9312", None)?;
    let printed = only(lab, &before, "appeared", 9312)?;
    same!((&printed["before"], &printed["passing"]), (&Value::Null, &false.into()), "{printed:#}");
    drop(more);
    drop(first);
    only(lab, &before, "vanished", 9310)?;
    let changed = holding(&other, "127.0.0.1:9310", None)?;
    let printed = only(lab, &before, "changed", 9310)?;
    same!(printed["before"]["processes"][0]["exe"].as_str(), program.to_str(), "{printed:#}");
    same!(printed["listener"]["processes"][0]["exe"].as_str(), other.to_str(), "{printed:#}");
    drop(changed);
    // The socket still belongs to root, because root created it; the process that owns it now runs as another user.
    let at = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    rustix::fs::fchown(
        &at,
        Some(rustix::fs::Uid::from_raw(NOBODY)),
        Some(rustix::fs::Gid::from_raw(NOBODY)),
    )?;
    rustix::net::bind(&at, &"127.0.0.1:9310".parse::<std::net::SocketAddr>()?)?;
    rustix::net::listen(&at, 1)?;
    let user = Server::start_as(&program, vec![at], Some(NOBODY))?;
    let printed = only(lab, &before, "changed", 9310)?;
    same!(
        (&printed["before"]["uid"], &printed["listener"]["uid"]),
        (&0.into(), &NOBODY.into()),
        "{printed:#}"
    );
    drop(user);
    let wide = holding(&program, "0.0.0.0:9310", None)?;
    let printed = only(lab, &before, "widened", 9310)?;
    same!(
        (&printed["before"]["exposure"], &printed["listener"]["exposure"]),
        (&"loopback".into(), &"any".into())
    );
    let after = capture(lab, "after", &[])?;
    drop(wide);
    let _again = usual()?;
    same_as(lab, &before, "as before")?;
    only(lab, &after, "narrowed", 9310)?;
    let (code, printed) = diff(lab, &[&after, &before])?;
    same!(
        (code, changes(&printed)),
        (Some(1), vec![("narrowed".to_owned(), 9310)]),
        "between files: {printed:#}"
    );

    // A client's socket is reported but does not count; the same client on another port is not a change.
    let client = Server::start(&other, vec![udp("0.0.0.0:0")?])?;
    let (code, printed) = diff(lab, &[&before])?;
    same!(code, Some(0), "{printed:#}");
    same!(
        (printed["changes"].as_array().map(Vec::len), &printed["changes"][0]["passing"]),
        (Some(1), &true.into())
    );
    let with_client = capture(lab, "with_client", &[])?;
    let _other_port = Server::start(&other, vec![udp("0.0.0.0:0")?])?;
    drop(client);
    same_as(lab, &with_client, "the client on another port")
}

/// The same program at the same address, without the option that asks for a password.
fn weakened(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.sleeper_called(b"redis-server")?;
    let start = |line: &str| -> Result<Server, Failed> {
        let mut command = Command::new(&program);
        Server::spawn(command.arg0(line).arg("600").stdin(tcp("0.0.0.0:6379")?).stdout(Stdio::null()))
    };
    let first = start("redis-server --requirepass secret")?;
    let before = capture(lab, "before", &[])?;
    same_as(lab, &before, "at once")?;
    drop(first);
    let second = start("redis-server --protected-mode no")?;
    let printed = only(lab, &before, "weakened", 6379)?;
    let text = printed["text"].as_str().unwrap_or_default();
    same!(text.contains("less protected than on") && text.contains("Redis: "), true, "{text}");
    let after = capture(lab, "after", &[])?;
    let table = String::from_utf8(lab.portolan(["diff", &before, &after]).output()?.stdout)?;
    same!(table.contains("weakened") && !table.contains("requirepass"), true, "{table}");
    let audit = lab.portolan(["audit", "-o", "json", "--baseline", &before]).output()?;
    let audit: Value = serde_json::from_slice(&audit.stdout)?;
    let found = audit["findings"].as_array().into_iter().flatten();
    let codes: Vec<_> = found.filter_map(|found| found["code"].as_str()).collect();
    same!(codes.contains(&"weakened"), true, "{codes:?}");
    drop(second);
    let _third = start("redis-server --requirepass secret")?;
    same_as(lab, &after, "more protected than before")
}

fn not_seen(lab: &Lab) -> Outcome {
    lab.alone()?;
    let program = lab.sleeper_called(b"web")?;
    let _web = web(&program)?;
    let before = capture(lab, "before", &[])?;
    let as_nobody = |arguments: &[&str]| -> Result<(Option<i32>, Value, String), Failed> {
        let mut command = lab.portolan(["diff", "-o", "json"].iter().chain(arguments));
        let output = command.uid(NOBODY).gid(NOBODY).output()?;
        let messages = String::from_utf8(output.stderr.clone())?;
        Ok((output.status.code(), serde_json::from_slice(&output.stdout)?, messages))
    };
    let (code, printed, messages) = as_nobody(&[&before])?;
    same!((code, changes(&printed), &printed["complete"]), (Some(3), vec![], &false.into()), "{printed:#}");
    let unsettled = printed["not_comparable"].as_array().ok_or("none")?;
    same!(unsettled.len(), 3, "{printed:#}");
    same!(unsettled.iter().all(|one| one["why"] == "process-not-seen"), true, "{printed:#}");
    same!(
        messages.contains("not comparable: 3 sockets") && messages.contains("not an all-clear"),
        true,
        "{messages}"
    );
    same!(messages.contains("No changes"), false, "{messages}");
    same!(as_nobody(&[&before, "--allow-incomplete"])?.0, Some(0));
    // Everything that is visible is compared.
    let _more = Server::start(&program, vec![tcp("127.0.0.1:9320")?])?;
    let (code, printed, _) = as_nobody(&[&before])?;
    same!((code, changes(&printed)), (Some(1), vec![("appeared".to_owned(), 9320)]), "{printed:#}");
    Ok(())
}

fn namespaces(lab: &Lab) -> Outcome {
    lab.alone()?;
    let name = lab.mount_point("blue");
    let blue = lab.helper(["elsewhere", "127.0.0.1:9330", &name, "stays"])?;
    let own = capture(lab, "own", &[])?;
    let all = capture(lab, "all", &["--netns", "all"])?;
    same_as(lab, &all, "all of them")?;
    let (code, printed) = diff(lab, &[&own, &all])?;
    same!((code, changes(&printed)), (Some(3), vec![]), "{printed:#}");
    same!(printed["not_comparable"][0]["why"], "namespace-not-looked-into", "{printed:#}");
    drop(blue);
    only(lab, &all, "vanished", 9330)?;
    same_as(lab, &own, "its own alone")
}

fn audited(lab: &Lab) -> Outcome {
    lab.alone()?;
    // Port 1 on loopback causes no other finding.
    let program = lab.sleeper_called(b"web")?;
    let first = Server::start(&program, vec![tcp("127.0.0.1:1")?])?;
    let before = capture(lab, "before", &[])?;
    let audit = |arguments: &[&str]| -> Result<(Option<i32>, Value), Failed> {
        let words = ["audit", "-o", "json", "--baseline", &before];
        let output = lab.portolan(words.iter().chain(arguments)).output()?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {messages}"))?;
        Ok((output.status.code(), printed))
    };
    let since = |printed: &Value| -> Vec<(String, String)> {
        let findings = printed["findings"].as_array().into_iter().flatten();
        let of = |found: &Value| {
            found["evidence"]["baseline"].as_str()?;
            Some((found["code"].as_str()?.to_owned(), found["severity"].as_str()?.to_owned()))
        };
        findings.filter_map(of).collect()
    };
    let (code, printed) = audit(&[])?;
    same!((code, since(&printed)), (Some(0), vec![]), "{printed:#}");
    drop(first);
    let gone = audit(&[])?;
    same!(since(&gone.1), [("vanished".into(), "notice".into())], "{:#}", gone.1);
    same!((gone.0, audit(&["--fail-on", "notice"])?.0), (Some(0), Some(1)));
    let _wide = Server::start(&program, vec![tcp("0.0.0.0:1")?])?;
    let (code, printed) = audit(&["--fail-on", "critical"])?;
    same!((code, since(&printed)), (Some(1), vec![("widened".into(), "critical".into())]), "{printed:#}");
    let text = fs::read_to_string(&before)?;
    let host: Value = serde_json::from_str(&text)?;
    let (name, id) = (host["host"]["name"].as_str().ok_or("no name")?, host["host"]["id"].as_str());
    let text = text.replace(&format!("\"name\": \"{name}\""), "\"name\": \"elsewhere\"");
    fs::write(&before, id.map_or(text.clone(), |id| text.replace(id, &"0".repeat(32))))?;
    let refused = lab.portolan(["audit", "--baseline", &before]).output()?;
    same!(refused.status.code(), Some(2));
    same!(String::from_utf8(refused.stderr)?.contains("elsewhere"), true);
    same!(audit(&["--other-host", "--fail-on", "critical"])?.0, Some(1));
    Ok(())
}
