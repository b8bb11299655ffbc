//! Any datagram: no panic, and never more sockets than its bytes can contain.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::diag::Reading;

/// The size of a message's header and of a socket's fixed part, in bytes.
const LEAST: usize = 16 + 72;

fuzz_target!(|bytes: &[u8]| {
    let mut reading = Reading::default();
    let _ = reading.datagram(bytes, 1);
    assert!(reading.records.len() <= bytes.len() / LEAST);
    for record in &reading.records {
        assert_eq!(record.local.0.is_ipv4(), record.family == portolan::model::Family::Ipv4);
    }
});
