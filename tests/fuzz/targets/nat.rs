//! Any bytes as the kernel's answer about nftables, as the output of iptables-save, and as the table of IPVS, and the way
//! of packets through the rules that they make: no panic, and an end. Good seeds are in tests/captures/firewalls.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portolan::Registry;
use portolan::internals::from;
use portolan::model::firewall::Interface;
use portolan::model::{Firewall, Snapshot};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    from::parse(include_bytes!("../../captures/five.json")).expect("a recorded snapshot")
});

fn interface(name: &str, address: &str) -> Interface {
    let addresses = vec![(address.parse().expect("an address"), 24)];
    Interface { name: name.to_owned(), is_up: true, addresses, ..Interface::default() }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = portolan::observe::linux::nat::parse(bytes);
    let interfaces = vec![interface("eth0", "10.0.0.1"), interface("eth1", "fd00::1")];
    let firewall = Firewall { interfaces, ..portolan::observe::linux::firewall::parse(bytes) };
    let snapshot = Snapshot { firewalls: vec![firewall], ..SNAPSHOT.clone() };
    let report = portolan::judge::judge(snapshot, Registry::embedded());
    assert!(report.entries.iter().any(|entry| entry.reach().is_some()));
});
