//! Any bytes as a saved snapshot: an error, or a report without a panic and without a byte that a terminal could
//! interpret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::Registry;
use portolan::internals::{Style, from, is_unsafe, json, table};
use portolan::judge::judge;

fuzz_target!(|bytes: &[u8]| {
    // The error quotes the file; it is sanitized when it is printed.
    let Ok(snapshot) = from::parse(bytes) else { return };
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut shown = Vec::new();
    let _ = table::listing(&report, true, &Style { width: Some(80), color: false, ..Style::default() }, &mut shown).unwrap();
    json::listing(&report, &mut shown).unwrap();
    json::print_snapshot(&snapshot, &mut shown).unwrap();
    let text = String::from_utf8(shown).unwrap();
    let obeyed = text.chars().find(|c| is_unsafe(*c) && *c != '\n');
    assert_eq!(obeyed, None);
});
