//! The rule `sniffer`, about sockets without a port.

use super::program_identity::IdentifiedProcess;
use super::severity::{Trust, trust_in};
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::socket::Sniffer;
use crate::model::{OriginKind, Severity};
use crate::registry::tools::{PacketProgram, packet_program};

/// Returns the evidence of `sniffer`. Of several processes, the process with the highest severity counts. A program's
/// name is trusted only if no user can replace its file.
pub(super) fn sniffer(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let socket = &subject.listener.socket;
    let received = socket.receives.as_ref()?;
    let protocol = socket.local.protocol;
    // A socket that only sends has no finding.
    let receives = received.name(protocol)?;
    let has_data = received.has_data_of_programs(protocol);
    let judged = |process| (severity_of(process, has_data, subject.snapshot.scope.packages), process);
    // `max_by_key` returns the last of several equal elements. The order is reversed, because the first process is
    // wanted.
    let ((severity, known), process) =
        subject.processes.iter().map(judged).rev().max_by_key(|((severity, _), _)| *severity)?;
    let attack = known.map_or("T1040", |known| known.attack);
    let sniffer = Sniffer {
        pid: process.process.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        known_as: known.map(|known| known.what),
        receives: receives.into_owned(),
        device: socket.local.device.clone(),
        promiscuous: received.promiscuous.clone(),
        attack: Some(attack).filter(|attack| !attack.is_empty()),
        protocol,
        severity,
    };
    Some(sniffer.into())
}

/// Returns the severity of a process that receives packets, and the known use of its program.
fn severity_of(
    process: &IdentifiedProcess<'_>,
    has_data: bool,
    knows_packages: bool,
) -> (Severity, Option<PacketProgram>) {
    let trust = trust_in(process);
    let origin = process.process.origin.as_ref().map(|origin| origin.kind);
    let is_packaged = !knows_packages || origin == Some(OriginKind::Package);
    let is_exact = process.process.exe.is_some() && !process.is_replaceable();
    let known = process.command_line().and_then(packet_program);
    match known.filter(|_| is_exact) {
        Some(known) if is_packaged => (known.severity, Some(known)),
        Some(known) => (known.severity.max(Severity::Notice), Some(known)),
        None if trust >= Trust::Unproven && (is_packaged || !has_data) => (Severity::Notice, None),
        None if trust == Trust::Unknown && !has_data => (Severity::Notice, None),
        None => (Severity::Warning, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::findings::{Finding, FindingKind};
    use crate::model::{
        Exe, ExeState, Origin, Owner, Process, ReceivedPackets, Scope, Snapshot, Socket, SocketAttributes,
        State,
    };
    use crate::registry::Registry;

    fn findings(local: &str, number: u16, process: Process, packages: bool) -> Vec<Finding> {
        let receives = Some(ReceivedPackets { number, promiscuous: Vec::new() });
        let attributes = SocketAttributes { receives, ..SocketAttributes::default() };
        let raw = Socket {
            state: State::Raw,
            attributes: attributes.into(),
            ..socket(local, Owner::Held(vec![process.pid].into()))
        };
        let scope = Scope { packages, ..Scope::default() };
        let report = judge(Snapshot { scope, ..seen(vec![raw], vec![process]) }, Registry::embedded());
        report.entries[0].findings().to_vec()
    }

    #[test]
    fn the_program_and_the_packets_decide() {
        use OriginKind::{Open, Package, System, User};
        use Severity::{Info, Notice, Warning};
        let (every, lldp) = (("packet/0.0.0.0%eth0", 3), ("packet/0.0.0.0%eth0", 0x88cc));
        let (icmp, sends) = (("raw/0.0.0.0", 1), ("raw/0.0.0.0", 255));
        for (name, (local, number), exe, kind, packages, expected) in [
            ("a DHCP client", every, "/usr/sbin/dhclient", Package, true, Some((Info, true))),
            ("a DHCP client of no package", every, "/usr/sbin/dhclient", System, true, Some((Notice, true))),
            ("packages not looked up", every, "/usr/sbin/dhclient", System, false, Some((Info, true))),
            ("a DHCP client of a user", every, "/home/u/dhclient", User, true, Some((Warning, false))),
            ("a recorder", every, "/usr/bin/tcpdump", Package, true, Some((Notice, true))),
            ("a tool of attackers", every, "/usr/bin/ettercap", Package, true, Some((Warning, true))),
            ("unknown, packaged", every, "/usr/bin/xyzzy", Package, true, Some((Notice, false))),
            ("unknown, of root", every, "/usr/bin/xyzzy", System, true, Some((Warning, false))),
            ("unknown, of root, in a listing", every, "/usr/bin/xyzzy", System, false, Some((Notice, false))),
            ("unknown, open", icmp, "/srv/xyzzy", Open, true, Some((Warning, false))),
            ("unknown, of root, for LLDP", lldp, "/usr/bin/xyzzy", System, true, Some((Notice, false))),
            ("a socket that only sends", sends, "/srv/xyzzy", Open, true, None),
        ] {
            let process = Process { origin: Some(Origin::of(kind)), ..program_process(7, "x", exe, exe) };
            let found = findings(local, number, process, packages);
            let found = found.iter().find(|found| found.flag() == Sniffer::FLAG);
            let is_known = |found: &Finding| Sniffer::of(&found.evidence).unwrap().known_as.is_some();
            assert_eq!(found.map(|found| (found.severity, is_known(found))), expected, "{name}");
        }
    }

    #[test]
    fn sentences_name_the_packets() {
        for (local, number, sentence) in [
            ("packet/0.0.0.0%eth0", 3, "xyzzy (pid 7) can receive every packet on eth0. "),
            (
                "packet/0.0.0.0",
                0x0800,
                "xyzzy (pid 7) can receive every IPv4 packet on every network device. ",
            ),
            ("packet/0.0.0.0", 0x1234, "xyzzy (pid 7) can receive every packet of the EtherType 0x1234 on "),
            ("raw/[::]", 58, "xyzzy (pid 7) can receive every ICMPv6 packet for this machine. "),
            (
                "raw/0.0.0.0",
                253,
                "xyzzy (pid 7) can receive every packet of the protocol 253 for this machine. ",
            ),
        ] {
            let found = findings(local, number, program_process(7, "xyzzy", "/srv/xyzzy", "xyzzy"), false);
            let said = found.iter().find(|found| found.flag() == Sniffer::FLAG).unwrap().sentence();
            assert!(said.starts_with(sentence), "{said}");
            assert!(said.ends_with("Portolan knows no reason why this program receives packets."), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_gone_counts_without_a_port_too() {
        let exe = Exe { path: "/memfd:x".to_owned(), state: ExeState::Memfd, open_directories: None };
        let process = Process {
            exe: Some(exe),
            origin: Some(Origin::of(OriginKind::Memory)),
            ..program_process(7, "x", "/memfd:x", "/sbin/udevd -d")
        };
        let codes: Vec<_> = findings("packet/0.0.0.0", 0x0800, process, true)
            .iter()
            .map(|found| found.flag().code())
            .collect();
        assert!(codes.contains(&"runs-from-memory") && codes.contains(&"sniffer"), "{codes:?}");
    }
}
