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
