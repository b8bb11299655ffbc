//! Bad input that cannot be written in a case file: control characters, and errors that differ between systems.

use crate::{from_capture, refused, run, stderr, stdout};

#[test]
fn a_hostile_target_is_escaped() {
    let target = "a\nb\u{1b}[2J";
    for output in [from_capture(&[target]), from_capture(&["explain", target])] {
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{output:?}");
        assert!(stderr(&output).contains("a\\x0ab\\x1b[2J: no such port"), "{output:?}");
    }
}

#[test]
fn an_unknown_namespace_is_refused() {
    refused(&run(["--netns", "no-such-namespace"]), "list", "no-such-namespace");
    refused(&run(["watch", "--netns", "no-such-namespace"]), "watch", "no-such-namespace");
}

/// A word that is no command would be a target, and the other targets would match: the user would get an answer to another
/// question.
#[test]
fn a_verb_before_a_target_is_no_target() {
    for (typed, meant) in [
        (&["kil", "3416"][..], "portolan kill 3416?"),
        (&["stop", "3416"], "portolan kill 3416?"),
        (&["explian", "3416"], "portolan explain 3416?"),
        (&["who", "3416"], "portolan list 3416?"),
        (&["status", "3416"], "portolan list 3416?"),
        (&["wait", "5432"], "portolan watch 5432 --until-listening?"),
        (&["wait-for", "5432", "3416"], "portolan watch 5432 3416 --until-listening?"),
        (&["Snapshot", "5432"], "portolan capture?"),
    ] {
        refused(&from_capture(typed), typed[0], meant);
    }
    let output = from_capture(&["stop"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("did you mean portolan kill TARGET?"), "{output:?}");
}

#[test]
fn the_usual_words_for_reachable_name_the_option() {
    for option in ["--exposed", "--external", "--open", "--public"] {
        refused(&run([option]), option, "type portolan --reachable");
    }
}

/// A comparison needs a snapshot. The command that needs none is named too.
#[test]
fn a_question_about_changes_names_the_newest_listeners() {
    let newest = "did you mean portolan --sort -since --columns port,process,since";
    for typed in [&["what", "changed?"][..], &["what", "is", "new"], &["since", "yesterday"]] {
        refused(&from_capture(typed), typed[0], newest);
    }
    for word in ["changes", "changed?", "newest"] {
        let said = from_capture(&[word]);
        assert!(said.status.code() == Some(1) && stderr(&said).contains(newest), "{said:?}");
        assert_eq!(stderr(&said).contains("or portolan diff FILE"), word != "newest", "{said:?}");
    }
}

#[test]
fn the_usual_words_for_what_started_last_name_the_command() {
    for option in ["--since", "--recent"] {
        refused(&run([option]), option, "type portolan --sort -since --columns port,process,since");
    }
}

/// A program would read the text for people as JSON.
#[cfg(target_os = "linux")]
#[test]
fn kill_has_no_machine_format() {
    refused(&run(["kill", "9", "--json", "--dry-run"]), "kill", "expected table");
}
