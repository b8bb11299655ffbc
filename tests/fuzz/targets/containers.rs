//! Any bytes as the files in which container managers describe containers: no panic, and no more results than the
//! bytes can contain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::fuzzed;

fuzz_target!(|bytes: &[u8]| {
    assert!(fuzzed::containers(bytes) <= 4 * bytes.len());
});
