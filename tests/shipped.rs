//! Other projects' tools accept the files that are shipped with the program, and its output for these tools.
//!
//! `PORTOLAN_TOOLS` names a directory with those tools; `.ci/tools DIRECTORY` fills it. If the variable is not set, the
//! tests that need a tool are reported as ignored.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// A test, which gets the directory of the tools.
type Test = fn(&Path) -> Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    let tools = std::env::var_os("PORTOLAN_TOOLS").map(PathBuf::from).filter(|directory| directory.is_dir());
    let absent = tools.is_none();
    let tools = tools.unwrap_or_default();
    let with_tools: [(&str, Test); 5] = [
        ("sarif_is_what_its_schema_asks_for", sarif),
        ("promtool_accepts_the_metrics", metrics),
        ("promtool_accepts_the_alert_rules_and_they_do_what_they_say", alerts),
        ("promtool_understands_the_dashboard", dashboard),
        ("systemd_accepts_the_units", units),
    ];
    let mut trials: Vec<Trial> = with_tools
        .into_iter()
        .map(|(name, test)| {
            let tools = tools.clone();
            Trial::test(name, move || test(&tools)).with_ignored_flag(absent)
        })
        .collect();
    trials.push(Trial::test("alerts_and_dashboard_ask_for_metrics_there_are", names));
    trials.push(Trial::test("examples_of_the_gate_do_what_they_say", gates));
    libtest_mimic::run(&arguments, trials).exit();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn share(path: &str) -> PathBuf {
    root().join("src/share").join(path)
}

/// Returns the output of an audit of the saved snapshot, with these arguments.
fn audit(capture: &Path, arguments: &[&str]) -> Result<Vec<u8>, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    let output = command.args(["audit", "--from"]).arg(capture).args(arguments).output()?;
    match output.status.code() {
        Some(0 | 1 | 3) => Ok(output.stdout),
        _ => Err(format!("{arguments:?}: {output:?}").into()),
    }
}

/// Returns the saved snapshot of the tests, and a variant of it with gaps and hostile names.
fn captures(directory: &Path) -> Result<[PathBuf; 2], Failed> {
    let good = root().join("tests/captures/five.json");
    let mut bad: Value = serde_json::from_slice(&fs::read(&good)?)?;
    let evil = "\u{1b}[2J\"\\\n\u{202e}";
    bad["host"]["name"] = evil.into();
    bad["gaps"] = json!([{"stage": "owners", "what": evil, "count": 3, "why": evil, "remedy": evil}]);
    for process in bad["processes"].as_array_mut().unwrap() {
        process["name"] = evil.into();
        process["exe"]["path"] = evil.into();
    }
    let path = directory.join("bad.json");
    fs::write(&path, bad.to_string())?;
    Ok([good, path])
}

/// Runs a tool, which must accept its input.
fn run(command: &mut Command) -> Result<String, Failed> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("{command:?}: {said}").into()) }
}

fn sarif(tools: &Path) -> Result<(), Failed> {
    let schema = fs::read_to_string(tools.join("sarif-2.1.0.json"))?;
    // The published pattern of a language, which Portolan's output does not contain, has one bracket too many to be
    // valid.
    let schema: Value = serde_json::from_str(&schema.replace("{2}]?$", "{2}$"))?;
    let validator = jsonschema::options().should_validate_formats(true).build(&schema)?;
    let directory = tempfile::tempdir()?;
    for capture in captures(directory.path())? {
        for arguments in
            [&[][..], &["-t", "3416"], &["9"], &["--fail-on", "info"], &["--fail-on", "critical"]]
        {
            let log = audit(&capture, &[&["-o", "sarif"], arguments].concat())?;
            let log: Value = serde_json::from_slice(&log)?;
            let wrong: Vec<String> = validator
                .iter_errors(&log)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            if !wrong.is_empty() {
                return Err(format!("{arguments:?}: {wrong:#?}").into());
            }
            // Check the validator itself: it must refuse a broken log.
            for (pointer, value) in [
                ("/version", json!("2.0.0")),
                ("/runs/0/tool/driver/rules/0/defaultConfiguration/level", json!("severe")),
                ("/runs/0/invocations/0/startTimeUtc", json!("yesterday")),
                ("/runs/0/invocations/0/executionSuccessful", Value::Null),
            ] {
                let mut broken = log.clone();
                *broken.pointer_mut(pointer).ok_or(pointer)? = value;
                if validator.is_valid(&broken) {
                    return Err(format!("{pointer} may be anything").into());
                }
            }
        }
    }
    Ok(())
}

fn metrics(tools: &Path) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    for capture in captures(directory.path())? {
        let path = directory.path().join("portolan.prom");
        fs::write(&path, audit(&capture, &["-o", "metrics"])?)?;
        let mut promtool = Command::new(tools.join("promtool"));
        let output = promtool.args(["check", "metrics"]).stdin(fs::File::open(&path)?).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The tool reports objections to names or help texts, and then fails.
        if !output.status.success() || !said.is_empty() {
            return Err(said.into());
        }
    }
    Ok(())
}

fn alerts(tools: &Path) -> Result<(), Failed> {
    let rules = share("prometheus/portolan.rules.yml");
    run(Command::new(tools.join("promtool")).args(["check", "rules"]).arg(&rules))?;
    let directory = tempfile::tempdir()?;
    let test = directory.path().join("alerts.test.yml");
    fs::copy(root().join("tests/monitoring/alerts.test.yml"), &test)?;
    fs::copy(&rules, directory.path().join("portolan.rules.yml"))?;
    run(Command::new(tools.join("promtool")).args(["test", "rules"]).arg(&test))?;
    Ok(())
}

/// Returns the queries of the dashboard's panels, with its variables filled in.
fn expressions() -> Result<Vec<String>, Failed> {
    let dashboard: Value = serde_json::from_slice(&fs::read(share("grafana/portolan.json"))?)?;
    let panels = dashboard["panels"].as_array().ok_or("no panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let asked: Option<Vec<_>> = targets.map(|target| target["expr"].as_str()).collect();
    Ok(asked
        .ok_or("a target asks nothing")?
        .into_iter()
        .map(|expr| expr.replace("$instance", ".*"))
        .collect())
}

fn dashboard(tools: &Path) -> Result<(), Failed> {
    let asked = expressions()?;
    if asked.len() < 10 {
        return Err(format!("the panels ask little: {asked:?}").into());
    }
    let rules: Vec<Value> = asked
        .iter()
        .enumerate()
        .map(|(at, expr)| json!({"record": format!("panel:{at}"), "expr": expr}))
        .collect();
    // JSON is valid YAML.
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("dashboard.yml");
    fs::write(&path, file.to_string())?;
    run(Command::new(tools.join("promtool")).args(["check", "rules"]).arg(&path))?;
    Ok(())
}

fn units(tools: &Path) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let mut verify = Command::new(tools.join("systemd-analyze"));
    verify.arg("verify");
    for unit in ["portolan-audit.service", "portolan-audit.timer"] {
        // The tool checks that the program exists.
        let text = fs::read_to_string(share("systemd").join(unit))?;
        let path = directory.path().join(unit);
        fs::write(&path, text.replace("/usr/bin/portolan", env!("CARGO_BIN_EXE_portolan")))?;
        verify.arg(path);
    }
    let said = run(&mut verify)?;
    // The tool warns about an unknown line, but does not fail.
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("portolan-audit")).collect();
    if of_ours.is_empty() { Ok(()) } else { Err(of_ours.join("\n").into()) }
}

/// Returns the names of the metrics in a text.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("portolan_").map(|(at, _)| &text[at..]);
    starts
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(rest))
        .collect()
}

fn names() -> Result<(), Failed> {
    let capture = root().join("tests/captures/five.json");
    let written = String::from_utf8(audit(&capture, &["-o", "metrics"])?)?;
    let mut there = metric_names(&written);
    // Without a policy, this date is missing.
    there.insert("portolan_policy_timestamp_seconds");
    let rules = fs::read_to_string(share("prometheus/portolan.rules.yml"))?;
    let asked = expressions()?.join("\n");
    for (what, text) in [("the alerts", &rules), ("the dashboard", &asked)] {
        let named = metric_names(text);
        let unknown: Vec<_> = named.difference(&there).collect();
        if named.len() < 3 || !unknown.is_empty() {
            return Err(format!("{what} ask for {named:?}, of which there are not: {unknown:?}").into());
        }
        // The codes and severities must exist too.
        for label in ["code", "severity"] {
            let opening = format!("{label}=\"");
            let values = text.split(&opening).skip(1).filter_map(|rest| rest.split('"').next());
            for value in values {
                if !written.contains(&format!("{label}=\"{value}\"")) {
                    return Err(format!("{what} ask for {label} {value}").into());
                }
            }
        }
    }
    Ok(())
}

/// Runs every command of the examples in a directory with a saved snapshot, and returns the results by file, line and
/// exit code.
fn typed(directory: &Path, file: &str, command: &str) -> Result<Vec<(String, Option<i32>)>, Failed> {
    let mut done = Vec::new();
    for line in fs::read_to_string(root().join("src/docs").join(file))?.lines() {
        // In a sentence, a command is in backticks.
        let Some((before, arguments)) = line.split_once("portolan ") else { continue };
        if before.ends_with('`') || !arguments.starts_with(command) {
            continue;
        }
        let arguments = arguments.split(['|', '#']).next().unwrap_or_default().split_whitespace();
        let mut portolan = Command::new(env!("CARGO_BIN_EXE_portolan"));
        let output = portolan.args(arguments).current_dir(directory).output()?;
        done.push((format!("{file}: {line}: {output:?}"), output.status.code()));
    }
    Ok(done)
}

/// Every command of the examples does what its text says: the rules fail on the listeners in the saved snapshot; the
/// policy that is drafted from the snapshot accepts this snapshot and fails on another snapshot.
fn gates() -> Result<(), Failed> {
    let five = fs::read_to_string(root().join("tests/captures/five.json"))?;
    // Without the impostor on PostgreSQL's port, nothing needs a decision. With an impostor that other machines can
    // reach, there is a warning, and no rule of the draft allows it.
    let impostor = "\"127.0.0.1\",\n        \"port\": 5432";
    let other = five.replacen(impostor, "\"0.0.0.0\",\n        \"port\": 5432", 1);
    // An unknown program would only be unfamiliar.
    let other = other.replace("/usr/bin/sleep", "/usr/bin/redis-server");
    let five = five.replacen(impostor, "\"127.0.0.1\",\n        \"port\": 15432", 1);
    for (file, audits, held) in
        [("examples/github-actions.yml", 4, 2), ("examples/gitlab-ci.yml", 2, 1), ("ci.md", 3, 1)]
    {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("deploy"))?;
        let saved = directory.path().join("listeners.json");
        fs::write(&saved, &five)?;
        let mut done: Vec<_> = typed(directory.path(), file, "policy ")?;
        if done.is_empty() || done.iter().any(|(_, code)| *code != Some(0)) {
            return Err(format!("{done:#?}").into());
        }
        for (seen, code) in [(&five, 0), (&other, 1)] {
            fs::write(&saved, seen)?;
            done = typed(directory.path(), file, "audit ")?;
            let by_policy = |line: &str| line.split("Output").next().is_some_and(|l| l.contains("--policy"));
            let wrong = done.iter().find(|(_, found)| *found != Some(code));
            let by_policy = done.iter().filter(|(line, _)| by_policy(line)).count();
            if wrong.is_some() || (done.len(), by_policy) != (audits, held) {
                return Err(format!("{} audits, {by_policy} by a policy: {wrong:#?}", done.len()).into());
            }
        }
    }
    Ok(())
}
