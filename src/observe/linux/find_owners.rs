//! Finds the owner of every socket, and reports why some owners were not found.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rustix::io::Errno;

use super::kernel_ids::KernelIds;
use super::owners::{Search, Walk};
use super::sockets::{FoundSocket, SocketId};
use super::threads_and_rings::{candidates, search_threads_and_io_uring};
use super::{
    blocked_calls, descriptor_search, hidden_processes, kernel_services, mapped_rings, ring_files, settings,
    unlisted_sockets,
};
use crate::model::{Endpoint, Gap, Owner, Pid, Protocol, Stage, show_processes};

#[derive(Clone, Copy)]
pub(super) struct OwnerSearch {
    /// Whether portolan is permitted to read all visible processes.
    pub(super) privileged: bool,
    /// Whether to search threads and io_urings even for sockets that already have an owner.
    pub(super) threads_and_rings: bool,
    /// Whether to search for hidden processes, and for sockets that no table shows.
    pub(super) hidden_processes: bool,
    /// Whether the iterators of the kernel may be used.
    pub(super) bpf: bool,
}

/// Sets the owner of every socket, and adds a gap for every reason why an owner is unknown.
pub(super) fn find_owners(
    found: &mut Vec<FoundSocket>,
    OwnerSearch { privileged, threads_and_rings, hidden_processes, bpf }: OwnerSearch,
    list_again: impl Fn() -> Option<Vec<FoundSocket>>,
    kernel_services: impl FnOnce() -> kernel_services::RunningServices,
    gaps: &mut Vec<Gap>,
) -> Option<Walk> {
    gaps.extend(hidden_by_proc(privileged));
    if found.is_empty() && !hidden_processes {
        let walk = descriptor_search::namespaces_only(bpf).ok()?;
        gaps.extend(masked_processes(&walk));
        return Some(walk);
    }
    let mut open: KernelIds = found.iter().filter_map(|f| f.socket.inode).map(u64::from).collect();
    let mut walk = match descriptor_search::walk(Search { wanted: &open, strays: hidden_processes, bpf }) {
        Ok(walk) => walk,
        Err(errno) => {
            found.iter_mut().for_each(|f| f.socket.owner = Owner::Hidden);
            gaps.push(
                Gap::new(Stage::Owners, "the processes that own the sockets", format!("/proc: {errno}"))
                    .with_remedy("mount /proc"),
            );
            return None;
        }
    };
    if threads_and_rings && let Err(errno) = search_closely(&mut walk, &open, hidden_processes, bpf) {
        walk.unread.insert(0, errno);
    }
    open.retain(|inode| !walk.is_held(*inode));
    // During the walk, sockets may vanish, be replaced by new sockets, or move to other processes. So the sockets are
    // listed again. Owners that are still unknown are searched outside ordinary descriptors first, and then again in
    // ordinary descriptors.
    let mut later = Later::default();
    if !open.is_empty() {
        later.compare(found, &mut open, list_again());
    }
    let blind = !walk.unread.is_empty();
    for _ in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        let is_replaced = !later.new.is_empty();
        let hidden = if threads_and_rings && !is_replaced {
            Ok(())
        } else {
            search_closely(&mut walk, &open, false, bpf)
        };
        let again = hidden
            // A process that could not be read probably owns the remaining sockets. A second walk is then useful only
            // for new sockets.
            .and_then(|()| {
                if blind && !is_replaced {
                    Ok(Walk::default())
                } else {
                    descriptor_search::walk(Search { wanted: &open, strays: false, bpf })
                }
            });
        match again {
            Ok(again) => walk.absorb(again),
            Err(errno) => _ = walk.unread.insert(0, errno),
        }
        open.retain(|inode| !walk.is_held(*inode));
        later.compare(found, &mut open, list_again());
        if later.new.is_empty() {
            break;
        }
    }
    gaps.extend(unread(&walk, privileged));
    gaps.extend(masked_processes(&walk));
    gaps.extend(unlisted_processes(&walk));
    // If every visible process was read, the owners of the remaining sockets may be outside the pid namespace.
    if !gaps.iter().any(|gap| gap.stage == Stage::Owners) {
        // Sockets that have just replaced other sockets are not counted, because their owners were not searched yet.
        gaps.extend(outside_the_namespace(open.len().saturating_sub(later.new.len())));
    }
    if later.is_unsure {
        gaps.push(
            Gap::new(
                Stage::Owners,
                "which sockets without a process were closed during the scan",
                "the sockets could not be listed again",
            )
            .with_remedy("run again"),
        );
    }
    // A process that could not be read may own a socket that seems to have no owner.
    let blind = gaps.iter().any(|gap| gap.stage == Stage::Owners);
    let services = if open.is_empty() || blind {
        kernel_services::RunningServices::default()
    } else {
        kernel_services()
    };
    let rings =
        if hidden_processes { mapped_rings::search(&walk) } else { mapped_rings::MappedRings::default() };
    let without_owner = assign(found, &walk, &later, blind, &services);
    let unaccounted = unaccounted_sockets(without_owner, || candidates(&walk, &rings.found));
    let named = unaccounted.as_ref().map_or(&[][..], |gap| &gap.pids);
    let mut unlisted = unlisted_sockets::find(&walk.strays, named);
    unlisted.extend(ring_files::gaps(&walk, named));
    gaps.extend(replaced_sockets(found, &later));
    gaps.extend(mapped_rings::gaps(&rings, named));
    if hidden_processes {
        gaps.extend(blocked_calls::gap(&walk.pids));
    }
    gaps.extend(unaccounted);
    gaps.extend(unlisted);
    Some(walk)
}

/// Searches for hidden processes, and for sockets outside ordinary descriptors.
fn search_closely(
    walk: &mut Walk,
    wanted: &KernelIds,
    hidden_processes: bool,
    bpf: bool,
) -> Result<(), Errno> {
    let search = Search { wanted, strays: hidden_processes, bpf };
    search_threads_and_io_uring(walk, search)?;
    hidden_processes::search(walk, search, hidden_processes)
}

/// The maximum number of walks after the first. During each walk, new sockets can replace old ones.
const ROUNDS: usize = 4;

/// The sockets that vanished since the walk, and the new sockets that replaced them.
#[derive(Debug, Default)]
struct Later {
    /// The sockets that are no longer listed and whose process was not found.
    gone: HashSet<SocketId>,
    /// The new sockets in the last list. Each of them replaced a vanished socket.
    new: HashSet<SocketId>,
    /// Whether the sockets could not be listed again.
    is_unsure: bool,
}

impl Later {
    /// Removes vanished sockets from `open`, which has the inodes of the sockets whose owner is unknown. If new sockets
    /// replaced a vanished socket, they take its place in `open` and `found`.
    fn compare(
        &mut self,
        found: &mut Vec<FoundSocket>,
        open: &mut KernelIds,
        listed: Option<Vec<FoundSocket>>,
    ) {
        self.new.clear();
        let Some(listed) = listed else {
            self.is_unsure = true;
            return;
        };
        let present: HashSet<_> = listed.iter().map(FoundSocket::identity).collect();
        let mut still = KernelIds::default();
        let mut freed: HashSet<Place> = HashSet::new();
        for f in found.iter().filter(|f| f.socket.inode.is_some_and(|inode| open.contains(&inode.get()))) {
            if present.contains(&f.identity()) {
                still.extend(f.socket.inode.map(u64::from));
            } else {
                self.gone.insert(f.identity());
                freed.extend(place(f));
            }
        }
        *open = still;
        if freed.is_empty() {
            return;
        }
        let known: HashSet<_> = found.iter().map(FoundSocket::identity).collect();
        let is_new = |f: &FoundSocket| {
            !known.contains(&f.identity()) && place(f).is_some_and(|place| freed.contains(&place))
        };
        let new: Vec<FoundSocket> = listed.into_iter().filter(is_new).collect();
        let taken: HashSet<Place> = new.iter().filter_map(place).collect();
        found.retain(|f| {
            !self.gone.contains(&f.identity()) || place(f).is_none_or(|place| !taken.contains(&place))
        });
        self.new = new.iter().map(FoundSocket::identity).collect();
        open.extend(new.iter().filter_map(|f| f.socket.inode).map(u64::from));
        found.extend(new);
    }
}

/// The network namespace, the protocol and the port of a socket. The address is left out, because a socket on `0.0.0.0`
/// may replace a socket on `127.0.0.1`.
type Place = (Option<u64>, Protocol, u16);

/// Returns the place of a socket. `None` if the socket does not accept traffic.
fn place(found: &FoundSocket) -> Option<Place> {
    let FoundSocket { socket, .. } = found;
    let Endpoint { protocol, port, .. } = socket.local;
    let netns = socket.netns.as_ref().map(|netns| netns.inode);
    (socket.state.accepts_traffic() && port != 0).then_some((netns, protocol, port))
}

/// Sets the owner of every socket. Returns the number of sockets that belong neither to a process nor to a kernel
/// service.
fn assign(
    found: &mut [FoundSocket],
    walk: &Walk,
    later: &Later,
    blind: bool,
    services: &kernel_services::RunningServices,
) -> u64 {
    let mut unaccounted = 0;
    let mut shared: HashSet<Arc<Vec<Pid>>> = HashSet::new();
    for f in found {
        let Some(inode) = f.socket.inode else {
            f.socket.owner = Owner::Kernel; // the socket has no inode, so no process can own it
            continue;
        };
        let pids = walk.owners_of(inode.get());
        f.socket.owner = match (later.gone.contains(&f.identity()), blind) {
            _ if !pids.is_empty() => {
                let pids = shared.get(&pids).cloned().unwrap_or_else(|| Arc::new(pids));
                shared.insert(Arc::clone(&pids));
                Owner::Held(pids)
            }
            (true, _) => Owner::Vanished,
            _ if later.new.contains(&f.identity()) => Owner::Hidden,
            (false, true) => Owner::Hidden,
            (false, false) if services.explains(&f.socket) => Owner::Kernel,
            (false, false) => {
                unaccounted += 1;
                Owner::Unaccounted
            }
        };
    }
    unaccounted
}

fn unaccounted_sockets(count: u64, candidates: impl FnOnce() -> Vec<Pid>) -> Option<Gap> {
    if count == 0 {
        return None;
    }
    let pids = candidates();
    let what = format!("owner{} without a process", if count == 1 { " of a socket" } else { "s of sockets" });
    let why = match &*pids {
        [] => {
            "every process was read, but none has such a socket, and no known kernel service explains such a socket"
        }
        _ => {
            "no kernel service explains such a socket; one of these processes may have the socket in an io_uring, or may be passing it to another process"
        }
    };
    let remedy = show_processes(&pids, "linux").unwrap_or_else(|| "portolan audit --deep".to_owned());
    Some(Gap::new(Stage::Owners, what, why).counted(count).with_pids(pids).with_remedy(remedy))
}

fn replaced_sockets(found: &[FoundSocket], later: &Later) -> Option<Gap> {
    let hidden = |f: &&FoundSocket| f.socket.owner == Owner::Hidden && later.new.contains(&f.identity());
    let mut addresses: Vec<String> =
        found.iter().filter(hidden).map(|f| f.socket.local.to_string()).collect();
    addresses.sort();
    addresses.dedup();
    let count = addresses.len();
    let what = match count {
        1 => "owner of a socket that replaced another socket during the scan",
        _ => "owners of sockets that replaced other sockets during the scan",
    };
    let why = format!(
        "during each search for owners, new sockets replaced earlier sockets at these addresses: {}{}",
        addresses.get(..NAMED.min(count)).unwrap_or_default().join(", "),
        if count > NAMED { ", …" } else { "" },
    );
    (count > 0).then(|| Gap::new(Stage::Owners, what, why).counted(count).with_remedy("run again"))
}

/// The maximum number of addresses in the text of a gap.
const NAMED: usize = 4;

/// Returns a gap if `/proc` hides the processes of other users. The gap matters even if every socket has an owner,
/// because a hidden process may share a socket with a visible process.
fn hidden_by_proc(privileged: bool) -> Option<Gap> {
    settings::hides_others(privileged).then(|| {
        Gap::new(
            Stage::Owners,
            "processes of other users",
            "/proc is mounted with hidepid, which hides the processes of other users",
        )
        .with_remedy("run as root")
    })
}

fn outside_the_namespace(count: usize) -> Option<Gap> {
    let (why, remedy) = if count > 0 { settings::processes_outside()? } else { return None };
    Some(
        Gap::new(
            Stage::Owners,
            format!("owner{}", if count == 1 { " of a socket" } else { "s of sockets" }),
            why,
        )
        .counted(count)
        .with_remedy(remedy),
    )
}

fn masked_processes(walk: &Walk) -> Option<Gap> {
    let Some(first) = walk.masked.first() else {
        let why = match walk.masked_unknown? {
            Errno::FBIG => "the table of mounts is too large".to_owned(),
            errno => format!("the table of mounts could not be read: {errno}"),
        };
        return Some(Gap::new(Stage::Owners, "processes that a mount over /proc/PID may hide", why));
    };
    let count = walk.masked.len();
    let what = format!("process{} hidden by a mount over /proc/PID", if count == 1 { "" } else { "es" });
    let gap = Gap::new(Stage::Owners, what, format!("there is a mount over /proc/{first}"));
    Some(gap.counted(count).with_pids(walk.masked.clone()).with_remedy(format!("umount /proc/{first}")))
}

fn unlisted_processes(walk: &Walk) -> Option<Gap> {
    let count = walk.unlisted.len();
    let what = format!("process{} that /proc does not list", if count == 1 { "" } else { "es" });
    let why = "the kernel knows these processes, but /proc does not list them; a rootkit can be the cause";
    (count > 0).then(|| Gap::new(Stage::Owners, what, why).counted(count).with_pids(walk.unlisted.clone()))
}

/// Returns a gap for each reason why processes could not be read.
fn unread(walk: &Walk, privileged: bool) -> Vec<Gap> {
    let mut reasons: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    let hidden = |pid: &Pid| walk.masked.contains(pid) || walk.unlisted.contains(pid);
    for (pid, errno) in walk.unread.iter().filter(|(pid, _)| !hidden(pid)) {
        let refusal = matches!(*errno, Errno::ACCESS | Errno::PERM);
        reasons.entry(if refusal { Errno::ACCESS } else { *errno }.raw_os_error()).or_default().push(*pid);
    }
    let gap = |(errno, mut pids): (i32, Vec<Pid>)| {
        let count = u64::try_from(pids.len()).unwrap_or(u64::MAX);
        pids.retain(|pid| *pid != 0); // pid 0 stands for /proc itself
        pids.sort_unstable();
        let errno = Errno::from_raw_os_error(errno);
        let what =
            format!("process{} whose open sockets could not be read", if count == 1 { "" } else { "es" });
        let why = match errno {
            Errno::ACCESS => "permission denied".to_owned(),
            Errno::MFILE => {
                "too many files are open only in the separate descriptor tables of threads, or registered in io_urings; not all were read"
                    .to_owned()
            }
            errno => errno.to_string(),
        };
        let gap = Gap::new(Stage::Owners, what, why).counted(count);
        if errno == Errno::ACCESS && !privileged {
            gap.with_pids(pids).with_remedy("run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
        } else {
            gap.of_processes(pids, "linux")
        }
    };
    reasons.into_iter().map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Socket, SocketAttributes, State};

    fn found() -> FoundSocket {
        listener("tcp/127.0.0.1:9", u64::MAX)
    }

    /// Returns a listener that no process owns. `identity` is both its inode and its cookie.
    fn listener(local: &str, identity: u64) -> FoundSocket {
        let local: Endpoint = local.parse().unwrap();
        let socket = Socket {
            local,
            peer: None,
            state: State::Listen,
            mptcp: false,
            attributes: SocketAttributes::default().into(),
            inode: identity.try_into().ok(),
            cookie: identity.try_into().ok(),
            v6only: None,
            queues: None,
            owner: Owner::Unknown,
        };
        FoundSocket { socket, cgroup: None }
    }

    #[test]
    fn a_replaced_socket_is_not_gone() {
        let owner_after = |place: &str| {
            let (mut one, mut gaps) = (vec![found()], Vec::new());
            let asked = OwnerSearch {
                privileged: true,
                threads_and_rings: false,
                hidden_processes: false,
                bpf: true,
            };
            let lists = std::cell::Cell::new(0);
            let again = || {
                lists.set(lists.get() + 1);
                Some(vec![listener(place, u64::MAX - lists.get())])
            };
            find_owners(&mut one, asked, again, kernel_services::RunningServices::default, &mut gaps)
                .unwrap();
            let gap = gaps.into_iter().find(|gap| gap.what.contains("replaced"));
            let owners: Vec<Owner> = one.into_iter().map(|f| f.socket.owner).collect();
            (owners, gap.map(|gap| gap.why.rsplit(": ").next().unwrap_or_default().to_owned()))
        };
        for place in ["tcp/127.0.0.1:9", "tcp/0.0.0.0:9"] {
            assert_eq!(owner_after(place), (vec![Owner::Hidden], Some(place.to_owned())));
        }
        for other in ["tcp/127.0.0.1:10", "udp/127.0.0.1:9"] {
            assert_eq!(owner_after(other), (vec![Owner::Vanished], None));
        }
    }

    #[test]
    fn a_second_listing_that_fails_proves_nothing_gone() {
        let owner_after = |again: fn() -> Option<Vec<FoundSocket>>| {
            let (mut one, mut gaps) = (vec![found()], Vec::new());
            let asked = OwnerSearch {
                privileged: true,
                threads_and_rings: false,
                hidden_processes: false,
                bpf: true,
            };
            find_owners(&mut one, asked, again, kernel_services::RunningServices::default, &mut gaps)
                .unwrap();
            let failed = gaps.iter().any(|gap| gap.why == "the sockets could not be listed again");
            (one[0].socket.owner.clone(), failed)
        };
        assert_eq!(owner_after(|| None), (Owner::Hidden, true));
        assert_eq!(owner_after(|| Some(Vec::new())), (Owner::Vanished, false));
        let (owner, failed) = owner_after(|| Some(vec![found()]));
        // If a process could not be read, it may own the socket.
        assert!(matches!(owner, Owner::Unaccounted | Owner::Hidden) && !failed, "{owner:?}");
    }
}
