//! Bad input that cannot be written in a case: control characters, and what differs from system to system.

use crate::{from_capture, refused, run};

#[test]
fn a_hostile_target_is_escaped() {
    let target = "a\nb\u{1b}[2J";
    refused(&run([target]), target, "a\\x0ab\\x1b[2J");
    refused(&run(["explain", target]), target, "a\\x0ab\\x1b[2J");
    refused(&from_capture(&[target]), target, "a\\x0ab\\x1b[2J");
}

#[test]
fn an_unknown_namespace_is_refused() {
    refused(&run(["--netns", "no-such-namespace"]), "list", "no-such-namespace");
    refused(&run(["watch", "--netns", "no-such-namespace"]), "watch", "no-such-namespace");
}
