//! Any bytes as the output of iptables-save and nft, and as the table of IPVS: no panic, and an end.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = portolan::observe::linux::nat::parse(bytes);
});
