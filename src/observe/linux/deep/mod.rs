//! The deep scan. It compares the tables of the kernel with each other (`tables.rs`). It also tries to bind every port,
//! to find ports that are in use without a visible socket (`sweep.rs`).

mod sweep;
mod tables;

use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

pub use self::sweep::{ListedPorts, PORTS, Port, SweepResult, sweep};
pub use self::tables::shown;
use super::scanned_namespaces::{ScannedNamespaces, not_entered};
use crate::model::{DeepScanResult, Gap, Namespaces, Netns, Note, Stage, TakenPort};
use crate::observe::{Error, Scope, progress};

/// Scans the requested network namespaces. A part that could not be scanned becomes a gap.
///
/// # Errors
///
/// Returns an error if a requested namespace cannot be found.
pub(in crate::observe) fn deep_scan(namespaces: &Namespaces) -> Result<DeepScanResult, Error> {
    let scanned_namespaces =
        ScannedNamespaces::open(&Scope { namespaces: namespaces.clone(), ..Scope::default() })?;
    let mut deep = DeepScanResult::default();
    let total = scanned_namespaces.others.len() + usize::from(scanned_namespaces.own);
    progress::begin("every port of network namespaces", total);
    if scanned_namespaces.own {
        add(&mut deep, scan_namespace(None));
        progress::advance(1);
    }
    for known in &scanned_namespaces.others {
        progress::advance(1);
        match known.enter(|| scan_namespace(Some(&known.netns))) {
            Ok(found) => add(&mut deep, found),
            Err(why) => deep
                .gaps
                .push(not_entered(format!("the deep scan of network namespace {}", known.netns.inode), why)),
        }
    }
    deep.notes = vec![
        done("port", "that the deep scan tried to bind, counted per protocol and family", deep.ports),
        done("socket", "that the deep scan compared in netlink, /proc/net and netstat2", deep.sockets),
        limits(),
    ];
    Ok(deep)
}

fn done(noun: &str, what: &str, count: u64) -> Note {
    let plural = if count == 1 { "" } else { "s" };
    Note::new(format!("{noun}{plural} {what}")).counted(count)
}

fn add(deep: &mut DeepScanResult, found: DeepScanResult) {
    deep.namespaces += 1;
    deep.sockets += found.sockets;
    deep.ports += found.ports;
    deep.disagreements.extend(found.disagreements);
    deep.taken.extend(found.taken);
    deep.gaps.extend(found.gaps);
}

fn limits() -> Note {
    Note::new(
        "a deep scan cannot find: hidden raw and packet sockets; a second, hidden socket on a port that is shown as taken; hidden ports of UDP-Lite, SCTP and DCCP; ports that a modified kernel hides from bind(2) too; network namespaces that only a socket keeps alive",
    )
}

/// Scans `netns`, the network namespace of the calling thread (`None` for portolan's own).
fn scan_namespace(netns: Option<&Netns>) -> DeepScanResult {
    let compared = tables::compare(netns);
    let lists_bound_sockets = lists_bound_sockets_here();
    let result = sweep(PORTS, &mut shown);
    let mut gaps = compared.gaps;
    gaps.extend(not_tried(&result, netns));
    let taken = result.taken.into_iter().map(|((protocol, family, port), tries)| TakenPort {
        protocol,
        family,
        port,
        netns: netns.cloned(),
        tries,
        lists_bound_sockets,
    });
    DeepScanResult {
        sockets: compared.sockets,
        ports: result.tried,
        disagreements: compared.disagreements,
        taken: taken.collect(),
        gaps,
        ..DeepScanResult::default()
    }
}

/// Returns whether this kernel lists TCP sockets that are bound but do not listen. A new socket is used for the test.
fn lists_bound_sockets_here() -> bool {
    let bound =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).and_then(|socket| {
            bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
            let local = SocketAddr::try_from(getsockname(&socket)?)?;
            Ok(tables::bound().iter().any(|record| record.local == (local.ip(), local.port())))
        });
    bound.unwrap_or(false)
}

fn not_tried(result: &SweepResult, netns: Option<&Netns>) -> Vec<Gap> {
    let place = netns.map(|netns| format!(" in the network namespace {}", netns.inode)).unwrap_or_default();
    let what = |count: u64| {
        let ports = if count == 1 { "port" } else { "ports" };
        format!("{ports}{place} that could not be tried, counted per protocol and family")
    };
    let mut gaps = Vec::new();
    for (errno, count) in &result.refused {
        let errno = Errno::from_raw_os_error(*errno);
        let (why, remedy) = match errno {
            Errno::ACCESS | Errno::PERM => {
                ("permission denied".to_owned(), "run as root, or with CAP_NET_BIND_SERVICE")
            }
            errno => (errno.to_string(), "run again"),
        };
        gaps.push(Gap::new(Stage::Sockets, what(*count), why).counted(*count).with_remedy(remedy));
    }
    if result.unsure > 0 {
        let why = "the tables that list the ports in use could not be read";
        let remedy = "mount /proc, or allow NETLINK_SOCK_DIAG sockets for this process";
        let gap = Gap::new(Stage::Sockets, what(result.unsure), why);
        gaps.push(gap.counted(result.unsure).with_remedy(remedy));
    }
    gaps
}
