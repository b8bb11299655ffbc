//! Looking again at little cost: the sockets are listed and compared by cookie, the known holders are asked in
//! turn, by a `readlink` each, whether they still hold their sockets, and at times which program they run.
//!
//! A whole look is due where a socket is new, a holder is gone or runs another program, or the kernel answers less or
//! more than it did; again right after, for a server may still be handing its socket to its workers; and now and then.
//! So a process that is handed a socket that was there before is met at the next whole look, and so is a new network
//! namespace; a socket that is bound and does not listen comes into sight a few looks later. Nothing is guessed: a cheap
//! look finds all as it was, or sockets gone, or leaves it to a whole one.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::owners::{Folders, Place};
use super::sockets::{Found, Identity};
use super::{Seen, Sight, look};
use crate::model::{Endpoint, Owner, Pid, Snapshot, Socket, State};
use crate::observe::{Error, Scope};

/// The longest that a whole look is put off, where one is cheap.
const NOW_AND_THEN: Duration = Duration::from_secs(60);
/// Where whole looks are dear, they take at most this part of the time: 1/500, or 0.2% of a core.
const SPARING: u32 = 500;

/// Sockets that are bound and do not listen are asked for at every so many cheap looks: the kernel walks every bound
/// port for them, connections included, which costs more than all the rest (measured: 1 ms beside 2,000 connections).
const BOUND_EVERY: u32 = 10;
/// So many whole looks follow each other at most, where each finds something new: it may be new every time.
const RESTLESS: u8 = 2;

/// A look asks this part of the holders, a quarter, and at least so many: a socket whose last holder lets go of it is
/// gone by itself, so that only one which changes hands is met some looks later. A `readlink` costs 2 to 4 µs.
const PART: usize = 4;
const AT_LEAST: usize = 32;
/// What the holders run is asked at every so many: a process seldom becomes another program with its sockets kept.
const PROGRAMS_EVERY: u32 = 5;

/// What one look leaves to the next.
#[derive(Debug, Default)]
pub(in crate::observe) struct Memory {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    seen: Seen,
    folders: Folders,
    /// What each holder ran, where that may be read.
    programs: Vec<(Pid, Option<PathBuf>)>,
    /// When a whole look is due, if nothing calls for one earlier.
    due: Instant,
    /// How many cheap looks there were since.
    cheap_looks: u32,
    /// How many whole looks in a row found something other than the look before.
    restless: u8,
}

/// What a cheap look came to.
enum Cheap {
    /// All is as it was.
    Same,
    /// These sockets are gone, and nothing else changed.
    Gone(HashSet<usize>),
    /// Only a whole look can tell.
    Whole,
}

impl Memory {
    /// Looks now: an observation, or `None` where all is as it was.
    ///
    /// # Errors
    /// As [`super::observe`].
    pub(in crate::observe) fn look(&mut self, scope: &Scope) -> Result<Option<Snapshot>, Error> {
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
                Cheap::Same => return Ok(None),
                Cheap::Gone(gone) => {
                    last.forget(&gone);
                    return Ok(Some(last.seen.observation.clone()));
                }
                Cheap::Whole => {}
            }
        }
        let began = Instant::now();
        let mut seen = look(scope)?;
        let cost = began.elapsed();
        // What went while it was looked at is gone, and what was known of it before says more.
        seen.observation.sockets.retain(|socket| socket.owner != Owner::Vanished);
        seen.places.sort_unstable();
        seen.places.dedup_by_key(|place| (place.pid, place.inode));
        let programs = seen.observation.processes.iter().map(|process| (process.pid, program(process.pid)));
        let programs = programs.collect();
        let folders = Folders::of(&seen.places);
        let observation = seen.observation.clone();
        let other = self.last.as_ref().is_none_or(|last| last.seen.is_other(&seen));
        let restless = if other { restless + 1 } else { 0 };
        let due = began + NOW_AND_THEN.max(cost * SPARING);
        self.last = Some(Last { seen, folders, programs, due, cheap_looks: 0, restless });
        Ok(Some(observation))
    }
}

impl Seen {
    /// Whether sockets, holders or what is out of sight are not the same, so that more may be about to change.
    fn is_other(&self, new: &Seen) -> bool {
        let held = |seen: &Seen| {
            let sockets = seen.observation.sockets.iter();
            sockets.map(|socket| (socket.cookie, socket.owner.clone())).collect::<Vec<_>>()
        };
        let gaps = |seen: &Seen| {
            let gaps = seen.observation.gaps.iter();
            gaps.map(|gap| (gap.stage, gap.why.clone())).collect::<Vec<_>>()
        };
        held(self) != held(new) || gaps(self) != gaps(new)
    }
}

impl Last {
    fn cheap(&mut self, scope: &Scope) -> Cheap {
        self.cheap_looks = self.cheap_looks.wrapping_add(1);
        let Seen { observation, view, blind, places } = &self.seen;
        // Where no holder is known that could be asked, nothing else would tell that one is gone.
        let bound = scope.states.contains(&State::Bound)
            && (!scope.processes || self.cheap_looks.is_multiple_of(BOUND_EVERY));
        let mut scope = scope.clone();
        scope.states.retain(|state| bound || *state != State::Bound);
        let scope = &scope;
        let Sight { found, gaps, .. } = view.look(scope);
        if if bound { gaps != *blind } else { gaps.iter().any(|gap| !blind.contains(gap)) } {
            return Cheap::Whole;
        }
        let known: HashSet<Key<'_>> = observation.sockets.iter().map(key).collect();
        let mut present: HashSet<Key<'_>> = found.iter().map(|found| key(&found.socket)).collect();
        if !bound {
            let unasked = observation.sockets.iter().filter(|socket| socket.state == State::Bound);
            present.extend(unasked.map(key));
        }
        if !present.is_subset(&known) {
            return Cheap::Whole;
        }
        let again: Vec<Found>;
        if present.len() < known.len() {
            // A dump is not atomic: what it does not name twice is gone.
            again = view.look(scope).found;
            present.extend(again.iter().map(|found| key(&found.socket)));
        }
        let sockets = || observation.sockets.iter().enumerate();
        let gone: HashSet<usize> =
            sockets().filter(|(_, socket)| !present.contains(&key(socket))).map(|(at, _)| at).collect();
        if present.len() > known.len() {
            return Cheap::Whole; // the second dump names a new one
        }
        let dropped: HashSet<u64> =
            gone.iter().filter_map(|at| observation.sockets.get(*at)?.inode).map(u64::from).collect();
        let places = places.iter().filter(|place| !dropped.contains(&place.inode));
        // A process that holds nothing any more is of no concern.
        let mut holding: Vec<Pid> = places.clone().map(|place| place.pid).collect();
        holding.dedup();
        let mut programs = self.programs.iter().filter(|(pid, _)| holding.binary_search(pid).is_ok());
        let part = self.seen.places.len().div_ceil(PART).max(AT_LEAST);
        let turn = usize::try_from(self.cheap_looks).unwrap_or(0).wrapping_mul(part);
        let asked = places.clone().cycle().skip(turn % places.clone().count().max(1)).take(part);
        let run_others = self.cheap_looks.is_multiple_of(PROGRAMS_EVERY)
            && programs.any(|(pid, was)| program(*pid) != *was);
        if run_others || !self.folders.hold(asked) {
            return Cheap::Whole;
        }
        if gone.is_empty() { Cheap::Same } else { Cheap::Gone(gone) }
    }

    /// Takes sockets out of the observation, and the processes that held nothing else.
    fn forget(&mut self, gone: &HashSet<usize>) {
        let Snapshot { sockets, processes, taken, .. } = &mut self.seen.observation;
        let mut at = 0..;
        sockets.retain(|_| at.next().is_none_or(|at| !gone.contains(&at)));
        let holders: HashSet<Pid> = sockets.iter().flat_map(|socket| socket.owner.pids()).copied().collect();
        let inodes: HashSet<u64> = sockets.iter().filter_map(|socket| socket.inode).map(u64::from).collect();
        processes.retain(|process| holders.contains(&process.pid));
        self.programs.retain(|(pid, _)| holders.contains(pid));
        self.folders.retain(&holders);
        self.seen.places.retain(|Place { inode, .. }| inodes.contains(inode));
        *taken = Timestamp::now();
    }
}

/// What must not change of a socket: which one it is, where it is bound, and its state.
type Key<'s> = (Identity, Option<u64>, &'s Endpoint, State);

fn key(socket: &Socket) -> Key<'_> {
    let inode = if socket.cookie.is_some() { None } else { socket.inode };
    ((socket.cookie, inode), socket.netns.as_ref().map(|netns| netns.inode), &socket.local, socket.state)
}

/// The link to the program that a process runs, as it stands.
fn program(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}
