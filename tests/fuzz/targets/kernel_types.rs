//! Any bytes as the kernel's description of its types: no panic, and no more memory than the bytes justify.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::fuzzed;

fuzz_target!(|bytes: &[u8]| {
    let _ = fuzzed::kernel_types(bytes);
});
