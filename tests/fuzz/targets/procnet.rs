//! Any text as a table of `/proc/net`: no panic, and every line is parsed or counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::procnet::{packets, table};

fuzz_target!(|text: &str| {
    let (records, refused) = table(text);
    let lines = text.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    assert_eq!(records.len() + usize::try_from(refused).unwrap(), lines);
    let (sockets, refused) = packets(text);
    assert_eq!(sockets.len() + usize::try_from(refused).unwrap(), lines);
});
