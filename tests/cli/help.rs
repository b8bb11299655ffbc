//! Help, versions, examples and the manual page.

use std::process::Command;
use std::process::Stdio;

use crate::{run, stderr, stdout};

#[test]
fn help_leaves_out_refused_options() {
    let (watch, audit) = (run(["watch", "--help"]), run(["audit", "--help"]));
    let shapes = ["--group", "--columns", "--sort", "--no-header", "--pids"];
    for option in shapes {
        assert!(stdout(&watch).split_whitespace().all(|word| word != option), "watch {option}");
    }
    for option in shapes.iter().chain(&["--all", "--flag", "--no-holders"]) {
        assert!(stdout(&audit).split_whitespace().all(|word| word != *option), "audit {option}");
    }
}

#[test]
fn versions() {
    let short = run(["-V"]);
    assert_eq!(stdout(&short), concat!("portolan ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = run(["--version"]);
    let lines: Vec<&str> = stdout(&long).lines().collect();
    assert_eq!(lines.len(), 4, "{long:?}");
    assert_eq!(format!("{}\n", lines[0]), stdout(&short));
    assert!(lines[1].starts_with("registry of 20") && lines[1].contains("port-desc 0."), "{long:?}");
    assert!(lines[2].starts_with("evidence: ") && lines[2].contains("Debian netbase "), "{long:?}");
    assert!(lines[3].starts_with(&format!("sources on {}: ", std::env::consts::OS)), "{long:?}");
}

/// The help explains every word that the lines below a table explain.
#[test]
fn the_help_of_list_explains_words_and_marks() {
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = spaced(stdout(&run(["list", "--help"])));
    let reference = spaced(&std::fs::read_to_string("src/docs/reference.md").unwrap());
    for sentence in portolan::internals::legend::all() {
        let (_, meaning) = sentence.split_once(": ").unwrap();
        assert!(help.contains(meaning), "{sentence}");
        assert!(reference.contains(meaning.trim_end_matches('.')), "{sentence}");
    }
}

/// The short help of every command fits a terminal of 24 rows, with the prompt below it.
#[test]
fn the_short_help_fits_a_screen() {
    use clap::CommandFactory;

    let mut program = portolan::internals::Cli::command();
    program.build();
    let mut commands = vec![Vec::new()];
    for command in program.get_subcommands() {
        commands.push(vec![command.get_name()]);
        commands.extend(command.get_subcommands().map(|below| vec![command.get_name(), below.get_name()]));
    }
    for words in commands {
        let help = run(words.iter().chain(&["-h"]));
        let lines: Vec<&str> = stdout(&help).lines().collect();
        assert!((8..24).contains(&lines.len()), "{words:?}: {} lines", lines.len());
    }
    let help = run(["-h"]);
    for heading in ["Commands:", "Filters:", "Output:", "Source:", "Examples:"] {
        assert!(stdout(&help).lines().any(|line| line.starts_with(heading)), "{heading}");
    }
    assert_eq!(stdout(&run(["-th"])), stdout(&help));
    assert!(stdout(&run(["--help"])).lines().count() > 100);
}

#[test]
fn help_and_version_are_commands_too() {
    for (command, option) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "audit"], &["audit", "--help"]),
        (&["help", "policy", "init"], &["policy", "init", "--help"]),
        (&["version"], &["--version"]),
        (&["policy"], &["policy", "-h"]),
    ] {
        let (command, option) = (run(command), run(option));
        assert_eq!(command.status.code(), Some(0), "{command:?}");
        assert_eq!(stdout(&command).trim_end(), stdout(&option).trim_end());
    }
}

/// Every command's long help has examples, and the program accepts each of them.
#[test]
fn the_examples_of_every_help_can_be_typed() {
    use clap::{CommandFactory, Parser};
    use portolan::internals::Cli;

    let mut command = Cli::command();
    command.build();
    let below = command.get_subcommands().flat_map(clap::Command::get_subcommands);
    for command in command.get_subcommands().chain(below).chain([&command]) {
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let mut typed = 0;
        // The text on an example's line ends the command, or the command continues on the next line.
        for line in help.lines().filter(|line| line.starts_with("  ")) {
            let line = line.trim().split("  ").next().unwrap();
            for part in line.split(['|', ';', '>', '(', ')', '<', '\'']) {
                let words: Vec<&str> = part.split_whitespace().collect();
                let Some(at) = words.iter().position(|word| *word == "portolan") else { continue };
                let parsed = Cli::try_parse_from(&words[at..]);
                assert!(parsed.is_ok(), "{}: {part}: {}", command.get_name(), parsed.unwrap_err());
                typed += 1;
            }
        }
        assert!(typed > 0, "the long help of {} has no example: after_long_help", command.get_name());
    }
}

#[test]
fn the_manual_page_is_complete_and_passes_the_linters() {
    use clap::CommandFactory;

    let page = run(["man"]);
    assert_eq!(page.status.code(), Some(0));
    let text = stdout(&page).replace("\\-", "-");
    for heading in [
        "NAME",
        "SYNOPSIS",
        "OPTIONS",
        "COMMANDS",
        "\"EXIT STATUS\"",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "\"SEE ALSO\"",
    ] {
        assert_eq!(text.matches(&format!(".SH {heading}\n")).count(), 1, "{heading}: {text}");
    }
    let command = portolan::internals::Cli::command();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        assert!(text.contains(&format!(".SS {}\n", sub.get_name())), "{sub}");
        assert!(text.contains(&format!("portolan {}", sub.get_name())), "{sub}: usage or example");
    }
    let all = command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    for option in all.filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long) {
        assert!(text.contains(&format!("--{option}\\fR")), "--{option}");
    }
    lint("portolan.1", &page.stdout);
}

#[test]
fn the_manual_pages_of_audit_and_policy() {
    let audit = run(["man", "audit"]);
    let text = stdout(&audit).replace("\\-", "-");
    assert!(text.contains(".TH PORTOLAN-AUDIT 1 "), "{text}");
    for part in ["--fail-on", "writable-executable", ".SH \"EXIT STATUS\"", "portolan-policy (5)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    lint("portolan-audit.1", &audit.stdout);
    let policy = run(["man", "policy"]);
    let text = stdout(&policy).replace("\\-", "-");
    assert!(text.contains(".TH PORTOLAN-POLICY 5 "), "{text}");
    // The example keeps its lines.
    assert!(text.contains("\n.nf\n[[allow]]\nid = \"web\"\nhosts = \"web-*\"\n"), "{text}");
    lint("portolan-policy.5", &policy.stdout);
    assert_eq!(run(["man", "portolan-policy"]).stdout, policy.stdout);
}

/// Runs the linters of manual pages that are installed.
#[track_caller]
fn lint(name: &str, page: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, page).unwrap();
    for linter in
        [&["mandoc", "-T", "lint", "-W", "warning"][..], &["groff", "-man", "-K", "utf8", "-ww", "-z"]]
    {
        match Command::new(linter[0]).args(&linter[1..]).arg(&path).stdin(Stdio::null()).output() {
            Err(error) => eprintln!("{}: {error}: its opinion is left out", linter[0]),
            Ok(said) => {
                let said = (said.status.code(), stdout(&said), stderr(&said));
                assert_eq!(said, (Some(0), "", ""), "{linter:?}");
            }
        }
    }
}
