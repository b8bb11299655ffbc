//! Any text as `mountinfo`: no panic, and no more mounts than lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::fuzzed;

fuzz_target!(|text: &str| {
    assert!(fuzzed::mountinfo(text) <= 2 * text.lines().count() + 2);
});
