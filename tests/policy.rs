//! Policies from the command line: errors, remarks, and files that must not be written. Listings come from the saved
//! snapshot `tests/captures/five.json`; no test needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SCHEMA: &str = "schema = \"portolan.policy/1\"\n";

/// A directory with the files of a policy, in which the program runs.
struct PolicyDirectory(TempDir);

impl PolicyDirectory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = PolicyDirectory(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = directory.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{SCHEMA}{text}")).unwrap();
        }
        directory
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/five.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        let arguments =
            arguments.iter().map(|a| if *a == "CAPTURE" { capture.to_str().unwrap() } else { *a });
        command.args(arguments).current_dir(self.0.path()).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Asserts that every command that reads the policy fails in the same way: one line that begins with this text,
    /// exit code 2, nothing on standard output, and no written file.
    #[track_caller]
    fn refused(&self, file: &str, begins: &str) {
        self.refused_by(&["audit", "--from", "CAPTURE", "--policy", file], begins);
        self.refused_by(&["audit", "--from", "CAPTURE", "--policy", file, "--write", "out"], begins);
        self.refused_by(&["policy", "check", file], begins);
    }

    #[track_caller]
    fn refused_by(&self, arguments: &[&str], begins: &str) {
        let before = self.listing();
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert!(stderr.starts_with(&format!("portolan: {begins}")), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(self.listing(), before, "something was written");
    }

    fn listing(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Returns this system's message for a file that cannot be read: each system has its own.
fn no(file: &str) -> String {
    fs::read(file).unwrap_err().to_string()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn bad_policies_are_refused_with_file_line_and_column() {
    for (text, begins) in [
        ("[[allow]]\nid = \"a\"\nprot = 80", "p.toml:4:1: no such key: \"prot\"; did you mean port?"),
        ("[[allow]]\nid = \"a\"\nexecutable = \"/usr/[\"", "p.toml:4:14: bad pattern \"/usr/[\""),
        ("[[allow]]\nid = \"a\"\nport = [80, 65536]", "p.toml:4:13: no such port: 65536"),
        (
            "[[allow]]\nid = \"a\"\n\n[[allow]]\nid = \"a\"",
            "p.toml:5:1: the id \"a\" is already used by the rule at p.toml:2:1",
        ),
        ("[[allow]]\nid = \"a\"\nport = ", "p.toml:4:"),
        ("include = \"nowhere.toml\"", &format!("p.toml:2:11: include \"nowhere.toml\": {}", no("nowhere"))),
        ("include = \"p.toml\"", "p.toml:2:11: include \"p.toml\": the file includes itself"),
        ("include = \"b.toml\"", "b.toml:2:11: include \"p.toml\": the file includes itself"),
        ("include = \"sub/c.toml\"", &format!("sub{}c.toml:3:1: no such key", std::path::MAIN_SEPARATOR)),
        ("include = \"../x.toml\"", "p.toml:2:11: include \"../x.toml\": "),
        (
            "include = \"/etc/passwd\"",
            "p.toml:2:11: include \"/etc/passwd\": outside the directory of the policy",
        ),
        ("include = \"sub/../../../etc/passwd\"", "p.toml:2:11: include \"sub/../../../etc/passwd\": "),
        ("include = \"sub\"", "p.toml:2:11: include \"sub\": not a regular file"),
        ("include = \"a\\n\\u001b[2J\"", "p.toml:2:11: include \"a\\x0a\\x1b[2J\": "),
    ] {
        let directory = PolicyDirectory::new(&[
            ("p.toml", text),
            ("b.toml", "include = \"p.toml\""),
            ("sub/c.toml", "\nx = 1"),
        ]);
        directory.refused("p.toml", begins);
    }
    PolicyDirectory::new(&[]).refused("p.toml", &format!("p.toml: {}", no("nowhere")));
    PolicyDirectory::new(&[("p.toml/x", "")]).refused("p.toml", &format!("p.toml: {}", no(".")));
    let directory = PolicyDirectory::new(&[]);
    fs::write(directory.path("p.toml"), b"\x7fELF\xff").unwrap();
    directory.refused("p.toml", "p.toml:1:5: the file is not UTF-8");
}

#[cfg(unix)]
#[test]
fn an_include_stays_in_the_directory_also_through_links() {
    use std::os::unix::fs::symlink;

    let outside = PolicyDirectory::new(&[("base.toml", "")]);
    let directory = PolicyDirectory::new(&[
        ("p.toml", "include = \"link.toml\""),
        ("q.toml", "include = \"directory/base.toml\""),
        ("sub/in.toml", ""),
    ]);
    symlink(outside.path("base.toml"), directory.path("link.toml")).unwrap();
    symlink(outside.0.path(), directory.path("directory")).unwrap();
    directory.refused("p.toml", "p.toml:2:11: include \"link.toml\": outside the directory of the policy");
    directory.refused(
        "q.toml",
        "q.toml:2:11: include \"directory/base.toml\": outside the directory of the policy",
    );
    // A link within the directory is a name like any other; the policy itself may be reached through a link.
    fs::remove_file(directory.path("link.toml")).unwrap();
    symlink("sub/in.toml", directory.path("link.toml")).unwrap();
    symlink(directory.path("p.toml"), outside.path("p.toml")).unwrap();
    for (directory, file) in [(&directory, "p.toml"), (&outside, "p.toml")] {
        let output = directory.run(&["policy", "check", file]);
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(0), "p.toml: valid: 0 rules in 2 files, no remarks\n")
        );
    }
    // The same file under two names is included twice, and a circle through a link is detected.
    fs::write(directory.path("p.toml"), format!("{SCHEMA}include = [\"link.toml\", \"sub/in.toml\"]"))
        .unwrap();
    directory.refused("p.toml", "p.toml:2:25: include \"sub/in.toml\": the file is included already");
    fs::write(directory.path("sub/in.toml"), format!("{SCHEMA}include = \"../p.toml\"")).unwrap();
    directory.refused("p.toml", "sub/in.toml:2:11: include \"../p.toml\": the file includes itself");
}

#[cfg(unix)]
#[test]
fn files_that_may_not_be_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    // Root can read everything; if the test runs as root, another user runs the program.
    const NOBODY: u32 = 65534;
    let directory = PolicyDirectory::new(&[("p.toml", "include = \"secret.toml\""), ("secret.toml", "")]);
    let program = directory.path("portolan");
    // A separate process makes the copy. If this process did, a child of another test could inherit the open file,
    // and the copy could not be run.
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_portolan")).arg(&program).status().unwrap().success());
    fs::set_permissions(directory.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(directory.path("secret.toml"), fs::Permissions::from_mode(0o0)).unwrap();
    let root = is_root();
    for (file, begins) in [
        ("p.toml", "portolan: p.toml:2:11: include \"secret.toml\": Permission denied"),
        ("secret.toml", "portolan: secret.toml: Permission denied"),
    ] {
        let mut command = Command::new(&program);
        command.args(["policy", "check", file]).current_dir(directory.0.path());
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(begins) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A policy within the limits is read; a larger or more deeply nested policy is refused before it costs time or
/// memory.
#[test]
fn many_rules_are_read_or_refused() {
    let rules = |count: usize| {
        let mut text = SCHEMA.to_owned();
        for n in 0..count {
            text += &format!("[[allow]]\nid = \"r{n}\"\nport = {}\nuser = {n}\n", n % 60_000 + 1);
        }
        text
    };
    let directory = PolicyDirectory::new(&[]);
    fs::write(directory.path("most.toml"), rules(5_000)).unwrap();
    let output = directory.run(&["policy", "check", "most.toml"]);
    assert_eq!(stdout(&output), "most.toml: valid: 5000 rules, no remarks\n", "{output:?}");
    fs::write(directory.path("more.toml"), rules(5_001)).unwrap();
    directory.refused_by(
        &["policy", "check", "more.toml"],
        "more.toml:20002:1: too many rules (the limit is 5000)",
    );
    let huge = fs::File::create(directory.path("huge.toml")).unwrap();
    huge.set_len(40 << 20).unwrap();
    directory.refused_by(&["policy", "check", "huge.toml"], "huge.toml: too large for a policy");
    let deep = format!("{SCHEMA}x = {}", "[".repeat(1_000_000));
    fs::write(directory.path("deep.toml"), deep).unwrap();
    directory.refused_by(&["policy", "check", "deep.toml"], "deep.toml:1:1: too many values");
    let dotted = format!("{SCHEMA}{} = 1", ["a"; 1_000_000].join("."));
    fs::write(directory.path("dotted.toml"), dotted).unwrap();
    directory.refused_by(&["policy", "check", "dotted.toml"], "dotted.toml:");
}

#[test]
fn a_check_lists_the_remarks_about_a_policy() {
    let directory = PolicyDirectory::new(&[
        (
            "p.toml",
            "include = \"base.toml\"\n[[allow]]\nid = \"all\"\nprotocol = \"tcp\"\n\n[[allow]]\nid = \"web\"\nport = 80\nprotocol = \"tcp\"\n",
        ),
        (
            "base.toml",
            "[[allow]]\nid = \"old\"\nport = 5432\nexpires = 2020-01-01\n[[allow]]\nid = \"no\"\naddress = \"127.0.0.1\"\nexposure = \"any\"\n",
        ),
    ]);
    let output = directory.run(&["policy", "check", "p.toml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(
        lines,
        [
            "p.toml:3:1: rule all allows everything: it names no port, address, exposure, device, executable, runs, user, unit or container",
            "p.toml:7:1: rule web never applies: the earlier rule all allows the same listeners",
            "base.toml:2:1: rule old expired on 2020-01-01",
            "base.toml:6:1: rule no never matches: no address in the rule has an exposure that the rule allows",
            "p.toml: valid: 4 rules in 2 files, 4 remarks",
        ]
    );
    // With a snapshot, the check reports rules that match nothing in it. No listener in five.json is on port 80.
    let output = directory.run(&["policy", "check", "p.toml", "--from", "CAPTURE"]);
    assert!(stdout(&output).contains("p.toml:7:1: rule web matches no listener"), "{output:?}");
    let output = directory.run(&["policy", "check", "--here", "p.toml", "--from", "CAPTURE"]);
    assert_eq!(output.status.code(), Some(2));
}

/// The example of the documentation and the example of the help are valid policies with the same meaning.
#[test]
fn the_examples_are_valid() {
    let page = include_str!("../src/docs/policy.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let directory = PolicyDirectory::new(&[("base.toml", "")]);
    fs::write(directory.path("p.toml"), example).unwrap();
    let output = directory.run(&["policy", "check", "p.toml"]);
    assert_eq!(stdout(&output), "p.toml: valid: 3 rules in 2 files, no remarks\n", "{output:?}");
    let help = directory.run(&["policy", "--help"]);
    let help: String = stdout(&help).lines().map(|line| format!("{}\n", line.trim())).collect();
    let start = help.find("schema =").unwrap();
    let end = help.find("A rule applies").unwrap();
    fs::write(directory.path("h.toml"), &help[start..end]).unwrap();
    let output = directory.run(&["policy", "check", "h.toml"]);
    assert_eq!(stdout(&output), "h.toml: valid: 2 rules in 2 files, no remarks\n", "{output:?}");
    // Every key on the page is valid, and every valid key is on the page.
    for key in [
        "port",
        "protocol",
        "address",
        "exposure",
        "device",
        "executable",
        "user",
        "unit",
        "container",
        "netns",
        "hosts",
        "id",
        "reason",
        "owner",
        "expires",
        "required",
        "accept",
    ] {
        assert!(page.contains(&format!("`{key}`")), "{key} is missing from the page");
    }
}

#[test]
fn a_draft_is_written_atomically_and_never_over_another_file() {
    let directory = PolicyDirectory::new(&[]);
    let shown = directory.run(&["policy", "init", "--from", "CAPTURE"]);
    // The impostor of the capture needs a decision.
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    let written = directory.run(&["policy", "init", "--from", "CAPTURE", "--write", "p.toml"]);
    assert_eq!((written.status.code(), written.stdout.as_slice()), (Some(1), &b""[..]), "{written:?}");
    assert_eq!(fs::read_to_string(directory.path("p.toml")).unwrap(), stdout(&shown));
    assert_eq!(directory.listing(), ["p.toml"]);

    let check = directory.run(&["policy", "check", "p.toml", "--from", "CAPTURE"]);
    assert_eq!(stdout(&check), "p.toml: valid: 3 rules, no remarks\n");
    let audit = directory.run(&["audit", "--from", "CAPTURE", "--policy", "p.toml"]);
    // The draft does not allow the impostor.
    assert_eq!(audit.status.code(), Some(1), "{}", stdout(&audit));

    fs::write(directory.path("mine.toml"), "mine").unwrap();
    for (file, why) in [
        ("mine.toml", "portolan: --write mine.toml: exists already"),
        (
            "no/such/p.toml",
            &*format!("portolan: --write no/such/p.toml: nothing was written: {}", no("no/such/p.toml")),
        ),
        ("..", "portolan: --write ..: this is a directory"),
    ] {
        let output = directory.run(&["policy", "init", "--from", "CAPTURE", "--write", file]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(why) && stderr.lines().count() == 1, "{stderr}");
    }
    assert_eq!(fs::read_to_string(directory.path("mine.toml")).unwrap(), "mine");
    assert_eq!(directory.listing(), ["mine.toml", "p.toml"]);
    let output = directory.run(&["policy", "init", "--from", "CAPTURE", "-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
}

/// A capture with a listener whose process is hidden: the draft names the part that it leaves out, and the exit code
/// is 3.
#[test]
fn a_draft_names_hidden_listeners_that_it_leaves_out() {
    let directory = PolicyDirectory::new(&[]);
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/five.json");
    let mut saved: serde_json::Value = serde_json::from_slice(&fs::read(capture).unwrap()).unwrap();
    let port = saved["sockets"][0]["local"]["port"].clone();
    saved["sockets"][0]["owner"] = "hidden".into();
    fs::write(directory.path("hidden.json"), saved.to_string()).unwrap();
    let output = directory.run(&["policy", "init", "--from", "hidden.json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("# INCOMPLETE") && text.contains(&format!(":{port}, owner (hidden)")), "{text}");
    fs::write(directory.path("p.toml"), text).unwrap();
    let audit = directory.run(&["audit", "--from", "CAPTURE", "--policy", "p.toml", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
    let unexpected: Vec<&serde_json::Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == "unexpected")
        .map(|finding| &finding["port"])
        .collect();
    assert_eq!(unexpected, [&port]);
}
