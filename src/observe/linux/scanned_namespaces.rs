//! The network namespaces of a scan, and the lists of their sockets.

use rustix::io::Errno;

use super::bpf;
use super::external_program::TimeBudget;
use super::firewall::peers;
use super::kernel_services;
use super::namespaces::{self, NamespaceHandle};
use super::owners::Walk;
use super::sockets::{self, FoundSocket, SocketList};
use crate::model::{Firewall, Gap, Namespace, Namespaces, Note, Stage, State};
use crate::observe::{Error, Scope, progress};

pub(super) fn not_entered(what: String, why: Errno) -> Gap {
    let remedy = [Errno::PERM, Errno::ACCESS].contains(&why).then(|| "run as root".to_owned());
    Gap { remedy, ..Gap::new(Stage::Namespaces, what, why.to_string()) }
}

#[derive(Debug)]
pub(super) struct ScannedNamespaces {
    pub(super) own: bool,
    pub(super) others: Vec<NamespaceHandle>,
}

#[derive(Default)]
pub(super) struct SocketScan {
    pub(super) found: Vec<FoundSocket>,
    pub(super) namespaces: Vec<Namespace>,
    /// The packet filters of the namespaces. A packet filter has a gap if it could not be read.
    pub(super) firewalls: Vec<(Firewall, Option<Gap>)>,
    pub(super) gaps: Vec<Gap>,
    pub(super) notes: Vec<Note>,
}

impl ScannedNamespaces {
    pub(super) fn open(scope: &Scope) -> Result<Self, Error> {
        if scope.namespaces == Namespaces::Own {
            return Ok(ScannedNamespaces { own: true, others: Vec::new() });
        }
        let mut known = namespaces::discover();
        let own = namespaces::own().and_then(|inode| known.remove(&inode));
        let Namespaces::Called(name) = &scope.namespaces else {
            return Ok(ScannedNamespaces { own: true, others: known.into_values().collect() });
        };
        known.retain(|_, known| known.is_called(name));
        let own = own.is_some_and(|own| own.is_called(name));
        if !own && known.is_empty() {
            return Err(Error(format!(
                "{name}: no such network namespace (expected a name, an inode or a process ID)"
            )));
        }
        Ok(ScannedNamespaces { own, others: known.into_values().collect() })
    }

    /// Lists the sockets of all these namespaces. With `with_firewalls`, also reads their packet filters. The external
    /// programs that are run for this share one time limit.
    pub(super) fn list_sockets(&self, scope: &Scope, with_firewalls: bool) -> SocketScan {
        let mut scan = SocketScan::default();
        let budget = TimeBudget::default();
        if self.own {
            scan.add(sockets::list(scope, None, with_firewalls, &budget));
        }
        if !self.others.is_empty() {
            progress::begin("network namespaces", self.others.len());
        }
        for known in &self.others {
            progress::advance(1);
            match known.list_sockets(scope, with_firewalls, &budget) {
                Ok((listed, mut ephemeral)) => {
                    scan.add(listed);
                    for mut gap in ephemeral.iter_mut().flat_map(|ephemeral| ephemeral.gaps.drain(..)) {
                        gap.what.push_str(&format!(" (network namespace {})", known.netns.inode));
                        scan.gaps.push(gap);
                    }
                    scan.namespaces.push(Namespace {
                        netns: known.netns.clone(),
                        addresses: known.addresses(),
                        ephemeral: ephemeral.iter().map(|ephemeral| ephemeral.range).collect(),
                        reserved: ephemeral.iter().flat_map(|ephemeral| ephemeral.reserved.clone()).collect(),
                        ephemeral_source: ephemeral
                            .map_or("not readable from outside the namespace", |e| e.source)
                            .to_owned(),
                    });
                }
                Err(why) => {
                    scan.gaps.push(not_entered(format!("the network namespace {}", known.netns.inode), why));
                }
            }
        }
        let mut firewalls: Vec<&mut Firewall> =
            scan.firewalls.iter_mut().map(|(firewall, _)| firewall).collect();
        peers::resolve(&mut firewalls, &self.others);
        scan
    }

    /// Lists the sockets again. Returns `None` if this list has a new gap, because a socket that is missing from the
    /// list may then still exist. Published ports have no owner, so they are not listed again.
    pub(super) fn scan_again(&self, scope: &Scope, gaps: &[Gap]) -> Option<Vec<FoundSocket>> {
        let mut scope = scope.clone();
        scope.states.retain(|state| *state != State::Published);
        let again = self.list_sockets(&scope, false);
        again.gaps.iter().all(|gap| gaps.contains(gap)).then_some(again.found)
    }

    /// Returns the number of BPF programs that redirect connections in these namespaces. `None` if the kernel refuses
    /// to answer. A namespace that cannot be entered is left out, because it already has a gap.
    pub(super) fn steering_programs(&self) -> Option<u32> {
        let own = self.own.then(bpf::steering_programs);
        let others = self.others.iter().filter_map(|known| known.enter(bpf::steering_programs).ok());
        own.into_iter().chain(others).sum()
    }

    pub(super) fn kernel_services(&self) -> kernel_services::RunningServices {
        let mut running = kernel_services::RunningServices::find();
        for known in &self.others {
            running.add(Some(known.netns.inode), known.enter(kernel_services::devices).unwrap_or_default());
        }
        running
    }

    /// Returns a note about the network namespaces that exist but were not scanned.
    pub(super) fn unseen(&self, walk: &Walk) -> Option<Note> {
        let own = namespaces::own();
        let is_scanned = |inode: &u64| {
            (self.own && own == Some(*inode)) || self.others.iter().any(|known| known.netns.inode == *inode)
        };
        let count = walk.namespaces.iter().filter(|inode| !is_scanned(inode)).count();
        (count > 0).then(|| {
            Note::new(format!("other network namespace{}, not scanned", if count == 1 { "" } else { "s" }))
                .counted(count)
                .with_remedy(Note::ALL_NAMESPACES)
        })
    }
}

impl SocketScan {
    fn add(&mut self, listed: SocketList) {
        if self.found.is_empty() {
            self.found = listed.found; // the list is moved, so that it is never in memory twice
        } else {
            self.found.extend(listed.found);
        }
        self.gaps.extend(listed.gaps);
        self.notes.extend(listed.notes);
        self.firewalls.extend(listed.firewall);
    }
}
