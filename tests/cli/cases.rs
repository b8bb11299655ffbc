//! Cases as files: each file in `cases` contains commands, with the output and the exit code of each command.
//!
//! A line `$ portolan ...` is run in a directory with the captures below, so that no path of this machine is in the
//! output. After the line come standard output, indented by two spaces, standard error after `! `, and the exit code
//! after `? ` if it is not 0. Lines with `# ` say what a reader should look for.
//!
//! To add a case, write its command; `SNAPSHOTS=overwrite cargo test --locked --lib --test cli` writes the other
//! lines, and accepts changed output.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use portolan::Registry;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::data::DataFormat;
use snapbox::{Assert, Data};

use crate::{capture, portolan};

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_file_is_run() {
            let mut files: Vec<_> = fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name()).collect();
            files.sort();
            assert_eq!(files, [$(concat!(stringify!($name), ".txt")),*]);
        }
    };
}

cases! { audit captures diff explain help listing options targets watch }

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/cases")
}

#[track_caller]
fn check(name: &str) {
    let file = directory().join(name).with_extension("txt");
    let captures = tempfile::tempdir().unwrap();
    write_captures(captures.path());
    let mut actual = String::new();
    let mut last = "";
    for line in fs::read_to_string(&file).unwrap().lines() {
        if !line.starts_with("# ") && !line.starts_with("$ ") {
            continue;
        }
        if !last.is_empty() && !last.starts_with("# ") {
            actual.push('\n');
        }
        writeln!(actual, "{line}").unwrap();
        if let Some(command) = line.strip_prefix("$ portolan") {
            run(command, captures.path(), &mut actual);
        }
        last = line;
    }
    Assert::new()
        .action_env(DEFAULT_ACTION_ENV)
        .eq(actual, Data::read_from(&file, Some(DataFormat::Text)).raw());
}

fn run(command: &str, captures: &Path, actual: &mut String) {
    // Single quotes group words; the cases need nothing else of a shell.
    let mut words = Vec::new();
    for (at, part) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    let output = portolan(words).env_remove("COLUMNS").current_dir(captures).output().unwrap();
    let (stdout, stderr) = (crate::stdout(&output), crate::stderr(&output));
    let code = output.status.code().unwrap();
    if code == 2 {
        // An error is one line for any snapshot.
        assert!(stdout.is_empty(), "{command}: {stdout}");
        assert!(stderr.starts_with("portolan: ") && stderr.lines().count() == 1, "{command}: {stderr}");
    }
    for line in stdout.lines() {
        writeln!(actual, "{}", format!("  {}", filtered(line)).trim_end()).unwrap();
    }
    for line in stderr.lines() {
        writeln!(actual, "! {}", filtered(line)).unwrap();
    }
    if code != 0 {
        writeln!(actual, "? {code}").unwrap();
    }
}

/// Masks texts that depend on the data, the release or the system.
fn filtered(line: &str) -> String {
    let registry = Registry::embedded();
    let filters: [(&str, &[&str]); 4] = [
        ("[DATE]", &[registry.date()]),
        ("[VERSION]", &[env!("CARGO_PKG_VERSION")]),
        (
            "[NO SUCH FILE]",
            &[
                "No such file or directory (os error 2)",
                "File not found. (os error 2)",
                "The system cannot find the file specified. (os error 2)",
                "Path not found. (os error 3)",
                "The system cannot find the path specified. (os error 3)",
            ],
        ),
        (
            "[DIRECTORY]",
            &[
                "Is a directory (os error 21)",
                "Access denied. (os error 5)",
                "Access is denied. (os error 5)",
            ],
        ),
    ];
    filters.iter().fold(line.to_owned(), |line, (name, texts)| {
        texts.iter().fold(line, |line, text| line.replace(text, name))
    })
}

/// Writes `five.json` as a user saves it, and variants of it.
fn write_captures(directory: &Path) {
    let five = fs::read_to_string(capture()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(five.contains(from), "{from}");
        five.replacen(from, to, 1)
    };
    let captures = [
        ("five.json", five.clone()),
        // A server with units.
        ("server.json", fs::read_to_string(capture().with_file_name("server.json")).unwrap()),
        // A snapshot with a gap.
        ("no-owners.json", with("\"gaps\": []", GAP_OWNERS)),
        ("no-sockets.json", with("\"gaps\": []", GAP_SOCKETS)),
        // One listener on another port, and one listener that more clients can reach.
        (
            "later.json",
            with("\"port\": 3416", "\"port\": 3417").replacen(
                "\"address\": \"127.0.0.1\",\n        \"port\": 5432",
                "\"address\": \"0.0.0.0\",\n        \"port\": 5432",
                1,
            ),
        ),
        ("other-host.json", five.replace("\"harbour\"", "\"haven\"")),
        ("no-host.json", five.replace("\"harbour\"", "null")),
        ("windows.json", with("\"os\": \"linux\"", "\"os\": \"windows\"")),
        ("other-schema.json", with("observation/2", "observation/9")),
        ("listing.json", r#"{"schema": "portolan/2"}"#.to_owned()),
        ("pids-twice.json", with("\"held\": [", "\"held\": [9, 9, ")),
        ("cut.json", five[..five.len() / 2].to_owned()),
        ("empty.json", String::new()),
        ("deep.json", "[".repeat(1 << 20)),
    ];
    for (name, text) in captures {
        fs::write(directory.join(name), text).unwrap();
    }
    fs::write(directory.join("binary.json"), [0xff, 0, 1, 2]).unwrap();
    // The file is sparse: it takes no space on the disk.
    fs::File::create(directory.join("large.json")).unwrap().set_len(200 << 20).unwrap();
}

const GAP_OWNERS: &str = r#""gaps": [{"stage": "owners", "what": "processes", "count": 1, "why": "permission denied", "remedy": null}]"#;
const GAP_SOCKETS: &str =
    r#""gaps": [{"stage": "sockets", "what": "sockets", "count": null, "why": "refused", "remedy": null}]"#;

/// In a locale without UTF-8, text for people is ASCII, and machine formats are unchanged.
#[test]
fn a_locale_without_utf_8_gets_ascii() {
    let capture = capture();
    let run = |locale: &str, arguments: &[&str]| {
        let command = [&["--from", capture.to_str().unwrap()], arguments].concat();
        portolan(command).env("LC_ALL", locale).output().unwrap()
    };
    for arguments in
        [&[][..], &["explain", "3416"], &["audit"], &["help"], &["--color", "always", "-o", "wide"]]
    {
        let output = run("C", arguments);
        assert!(output.stdout.is_ascii() && output.stderr.is_ascii(), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    let json = |locale: &str| run(locale, &["-o", "json"]).stdout;
    assert_eq!(json("C"), json("C.UTF-8"));
}
