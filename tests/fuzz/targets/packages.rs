//! Any bytes as the databases of every package manager: no panic, and no more results than the bytes can contain.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(portolan::observe::linux::packages::parse(bytes) <= 2 * bytes.len() + 2);
});
