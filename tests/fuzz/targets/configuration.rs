//! Any bytes as the configuration of every server: no panic, and no more results than the bytes can contain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(portolan::observe::linux::configuration::parse(bytes) <= bytes.len() + 8);
});
