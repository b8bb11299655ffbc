//! Repeats scans at low cost. Most of these scans are quick scans.
//!
//! A quick scan compares the sockets by cookie and checks a part of the known descriptors. From time to time, it also
//! checks the programs of the processes. If a quick scan finds a change, a full scan follows. Then a second full scan
//! follows, because a server may still be passing its socket to its workers.
//!
//! A full scan also takes place at long intervals, because a quick scan misses two changes: a new network namespace,
//! and another process that received an existing socket.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::closed_sockets::ClosedSockets;
use super::owners::{OpenDirectories, SocketDescriptor};
use super::scanned_namespaces::SocketScan;
use super::sockets::{FoundSocket, SocketId};
use super::{ScanResult, scan};
use crate::model::firewall::{FilterTable, Interface, LocalRoute};
use crate::model::{Endpoint, Firewall, Gap, Owner, Pid, Snapshot, Socket, State};
use crate::observe::{Error, Scope};

/// The minimum time between full scans if there is no change. If full scans are slow, the time is longer (see
/// [`SPARING`]).
const NOW_AND_THEN: Duration = Duration::from_secs(60);
/// Slow full scans take at most 1/500 (0.2%) of the time.
const SPARING: u32 = 500;

/// Sockets that are bound but do not listen are requested once in this many quick scans. For this request, the kernel
/// walks every bound port of the machine, even ports of connections and of other namespaces. This takes 1 ms with 2,000
/// sockets, and 15 ms with 80,000 sockets (measured).
const BOUND_EVERY: u32 = 10;
/// The requests for bound sockets take at most 1/2000 (0.05%) of a core.
const BOUND_SPARING: u32 = 2000;
/// The maximum number of consecutive full scans after a change. It is needed because some machines change all the time.
const RESTLESS: u8 = 2;

/// A quick scan checks a quarter of the descriptors, but at least `AT_LEAST`. Not all are checked, because each
/// `readlink` costs 2 to 4 µs. So a quick scan may miss a socket that moved to another process; a later scan then finds
/// the change.
const PART: usize = 4;
const AT_LEAST: usize = 32;
/// The programs of the processes are checked once in this many quick scans. A process with sockets rarely starts
/// another program (`exec`).
const PROGRAMS_EVERY: u32 = 5;

/// The rules and interfaces of the firewalls are compared once in this many quick scans.
const FIREWALLS_EVERY: u32 = 2;

#[derive(Debug, Default)]
pub(in crate::observe) struct PollState {
    last: Option<LastScan>,
    closed: Option<ClosedSockets>,
    /// Whether the last snapshot contained closed sockets that no scan has found.
    has_unseen: bool,
}

#[derive(Debug)]
struct LastScan {
    seen: ScanResult,
    directories: OpenDirectories,
    /// The program of each process; `None` if it is not readable.
    programs: Vec<(Pid, Option<PathBuf>)>,
    /// The time of the next full scan. A change causes an earlier full scan.
    due: Instant,
    /// The earliest time of the next quick request for bound sockets.
    bound_due: Instant,
    /// The number of quick scans since the last full scan.
    cheap_looks: u32,
    /// The number of consecutive full scans that found a change.
    restless: u8,
}

enum QuickScan {
    Same,
    /// These sockets have vanished, and nothing else has changed. A socket is given by its index in the snapshot.
    Gone(HashSet<usize>),
    /// Only a full scan can show what changed.
    Whole,
}

impl PollState {
    /// Returns a snapshot. `None` if nothing has changed.
    pub(in crate::observe) fn scan(&mut self, scope: &Scope) -> Result<Option<Snapshot>, Error> {
        if self.last.is_none() {
            self.closed = ClosedSockets::subscribe(scope);
        }
        let snapshot = self.scan_open(scope)?;
        let (Some(closed), Some(last)) = (&mut self.closed, &self.last) else { return Ok(snapshot) };
        let scanned = &last.seen.snapshot;
        let unseen = closed.unseen(snapshot.as_ref().map(|_| &*scanned.sockets), scope);
        if closed.has_lost_track() {
            self.closed = None;
        }
        // If the last snapshot contained closed sockets, a new snapshot without them is needed.
        let is_changed = std::mem::replace(&mut self.has_unseen, !unseen.is_empty()) || self.has_unseen;
        if !is_changed {
            return Ok(snapshot);
        }
        let mut snapshot =
            snapshot.unwrap_or_else(|| Snapshot { taken: Timestamp::now(), ..scanned.clone() });
        snapshot.sockets.extend(unseen);
        Ok(Some(snapshot))
    }

    /// Scans the open sockets. Returns `None` if nothing has changed.
    fn scan_open(&mut self, scope: &Scope) -> Result<Option<Snapshot>, Error> {
        let now = Instant::now();
        let mut restless = 0;
        if let Some(last) = &mut self.last
            && (1..=RESTLESS).contains(&last.restless)
        {
            restless = last.restless;
        } else if let Some(last) = &mut self.last
            && now < last.due
        {
            match last.cheap(scope) {
                QuickScan::Same => return Ok(None),
                QuickScan::Gone(gone) => {
                    last.forget(&gone);
                    return Ok(Some(last.seen.snapshot.clone()));
                }
                QuickScan::Whole => {}
            }
        }
        let began = Instant::now();
        let mut seen = scan(scope)?;
        let cost = began.elapsed();
        // Sockets that vanished during the scan are removed, because an earlier snapshot has more data about them.
        seen.snapshot.sockets.retain(|socket| socket.owner != Owner::Vanished);
        seen.descriptors.sort_unstable();
        seen.descriptors.dedup_by_key(|held| (held.pid, held.inode));
        let programs = seen.snapshot.processes.iter().map(|process| (process.pid, program(process.pid)));
        let programs = programs.collect();
        let directories = OpenDirectories::of(&seen.descriptors);
        let snapshot = seen.snapshot.clone();
        let other = self.last.as_ref().is_none_or(|last| last.seen.is_other(&seen));
        let restless = if other { restless + 1 } else { 0 };
        let due = began + NOW_AND_THEN.max(cost * SPARING);
        self.last =
            Some(LastScan { seen, directories, programs, due, bound_due: began, cheap_looks: 0, restless });
        Ok(Some(snapshot))
    }
}

impl ScanResult {
    /// Returns whether sockets, owners or gaps differ between this scan and the new scan. If so, more changes may
    /// follow soon.
    fn is_other(&self, new: &ScanResult) -> bool {
        let held = |seen: &ScanResult| {
            let sockets = seen.snapshot.sockets.iter();
            sockets.map(|socket| (socket.cookie, socket.owner.clone())).collect::<Vec<_>>()
        };
        let gaps = |seen: &ScanResult| {
            let gaps = seen.snapshot.gaps.iter();
            gaps.map(|gap| (gap.stage, gap.why.clone())).collect::<Vec<_>>()
        };
        held(self) != held(new) || gaps(self) != gaps(new)
    }
}

impl LastScan {
    fn cheap(&mut self, scope: &Scope) -> QuickScan {
        self.cheap_looks = self.cheap_looks.wrapping_add(1);
        let ScanResult { snapshot, scanned_namespaces, blind, descriptors } = &self.seen;
        // If the owners are not looked up, the descriptors are not checked either. Only a request for bound sockets
        // then shows that a bound socket has vanished.
        let bound = scope.states.contains(&State::Bound)
            && (!scope.processes
                || (self.cheap_looks.is_multiple_of(BOUND_EVERY) && Instant::now() >= self.bound_due));
        let mut scope = scope.clone();
        scope.states.retain(|state| bound || *state != State::Bound);
        let scope = &scope;
        let with_firewalls = self.cheap_looks.is_multiple_of(FIREWALLS_EVERY);
        let (began, used) = (Instant::now(), processor_time());
        let SocketScan { found, gaps, firewalls, .. } =
            scanned_namespaces.list_sockets(scope, with_firewalls);
        if bound {
            self.bound_due = began + processor_time().saturating_sub(used) * BOUND_SPARING;
        }
        if with_firewalls && !are_same_rules(&snapshot.firewalls, &firewalls) {
            return QuickScan::Whole;
        }
        if if bound { gaps != *blind } else { gaps.iter().any(|gap| !blind.contains(gap)) } {
            return QuickScan::Whole;
        }
        let known: HashSet<Key<'_>> = snapshot.sockets.iter().map(key).collect();
        let mut present: HashSet<Key<'_>> = found.iter().map(|found| key(&found.socket)).collect();
        if !bound {
            let unasked = snapshot.sockets.iter().filter(|socket| socket.state == State::Bound);
            present.extend(unasked.map(key));
        }
        if !present.is_subset(&known) {
            return QuickScan::Whole;
        }
        let again: Vec<FoundSocket>;
        if present.len() < known.len() {
            // The kernel does not list all sockets at one moment, so a socket can be missing by accident. It counts as
            // gone only if two lists lack it.
            again = scanned_namespaces.list_sockets(scope, false).found;
            present.extend(again.iter().map(|found| key(&found.socket)));
        }
        let sockets = || snapshot.sockets.iter().enumerate();
        let gone: HashSet<usize> =
            sockets().filter(|(_, socket)| !present.contains(&key(socket))).map(|(at, _)| at).collect();
        if present.len() > known.len() {
            return QuickScan::Whole; // the second dump contains a new socket
        }
        let dropped: HashSet<u64> =
            gone.iter().filter_map(|at| snapshot.sockets.get(*at)?.inode).map(u64::from).collect();
        let descriptors = descriptors.iter().filter(|held| !dropped.contains(&held.inode));
        // If a process no longer owns a socket, its program is not checked.
        let mut holding: Vec<Pid> = descriptors.clone().map(|held| held.pid).collect();
        holding.dedup();
        let mut programs = self.programs.iter().filter(|(pid, _)| holding.binary_search(pid).is_ok());
        let part = self.seen.descriptors.len().div_ceil(PART).max(AT_LEAST);
        let turn = usize::try_from(self.cheap_looks).unwrap_or(0).wrapping_mul(part);
        let asked = descriptors.clone().cycle().skip(turn % descriptors.clone().count().max(1)).take(part);
        let run_others = self.cheap_looks.is_multiple_of(PROGRAMS_EVERY)
            && programs.any(|(pid, was)| program(*pid) != *was);
        if run_others || !self.directories.hold(asked) {
            return QuickScan::Whole;
        }
        if gone.is_empty() { QuickScan::Same } else { QuickScan::Gone(gone) }
    }

    /// Removes sockets from the snapshot. Also removes the processes that own no other socket.
    fn forget(&mut self, gone: &HashSet<usize>) {
        let Snapshot { sockets, processes, taken, .. } = &mut self.seen.snapshot;
        let mut at = 0..;
        sockets.retain(|_| at.next().is_none_or(|at| !gone.contains(&at)));
        let owners_of: HashSet<Pid> =
            sockets.iter().flat_map(|socket| socket.owner.pids()).copied().collect();
        let inodes: HashSet<u64> = sockets.iter().filter_map(|socket| socket.inode).map(u64::from).collect();
        processes.retain(|process| owners_of.contains(&process.pid));
        self.programs.retain(|(pid, _)| owners_of.contains(pid));
        self.directories.retain(&owners_of);
        self.seen.descriptors.retain(|SocketDescriptor { inode, .. }| inodes.contains(inode));
        *taken = Timestamp::now();
    }
}

/// Returns whether the firewalls have equal rules and interfaces. BPF programs and filters that see packets before the
/// rules are not compared. Only a full scan notices their changes.
fn are_same_rules(known: &[Firewall], now: &[(Firewall, Option<Gap>)]) -> bool {
    known.len() == now.len() && known.iter().zip(now).all(|(known, (now, _))| rules(known) == rules(now))
}

/// The rules of a firewall, and the settings and interfaces on which their effect depends.
type Rules<'f> = (Option<u64>, [bool; 3], &'f [Interface], &'f [LocalRoute], [bool; 2], &'f [FilterTable]);

fn rules(firewall: &Firewall) -> Rules<'_> {
    let Firewall {
        netns,
        is_refused,
        interfaces,
        local_routes,
        forwards,
        tables,
        is_internal,
        tun,
        unread: _,
        steering: _,
    } = firewall;
    (*netns, [*is_refused, *is_internal, tun.is_some()], interfaces, local_routes, *forwards, tables)
}

/// The parts of a socket that must not change: its identity, network namespace, address, port and state.
type Key<'s> = (SocketId, Option<u64>, &'s Endpoint, State);

fn key(socket: &Socket) -> Key<'_> {
    let inode = if socket.cookie.is_some() { None } else { socket.inode };
    ((socket.cookie, inode), socket.netns.as_ref().map(|netns| netns.inode), &socket.local, socket.state)
}

/// Returns the processor time of portolan. It measures the work of a scan correctly even on a busy machine.
fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(tv_sec.try_into().unwrap_or_default(), tv_nsec.try_into().unwrap_or_default())
}

fn program(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}
