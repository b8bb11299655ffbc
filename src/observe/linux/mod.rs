//! Linux: sockets from the kernel's socket diagnosis, their processes from the descriptors in `/proc`.
//!
//! The order of the steps makes the result correct. Sockets are listed first and their processes found afterwards, so
//! no process of a socket that existed all along is missed. A socket without a process is listed and searched for a
//! second time before it is reported as owned by the kernel or as gone.

mod cgroup;
pub mod deep;
pub mod diag;
mod executable;
mod files;
mod interpreter;
mod kernel_services;
mod links;
mod machine;
mod masked;
mod namespaces;
mod netlink;
mod origin;
mod owners;
pub mod packages;
mod process;
pub mod procnet;
mod reading;
mod settings;
mod shared_ports;
mod sockets;
mod users;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::io::Errno;

use self::namespaces::Known;
use self::owners::{Place, Walk};
use self::reading::Job;
use self::sockets::{Found, Listed};
pub(super) use self::watch::PollState;
use super::{Error, Scope};
use crate::model::{
    Gap, Home, Host, Namespace, Namespaces, Note, Owner, Pid, Process, SNAPSHOT_SCHEMA, Snapshot, Socket,
    Stage, Tool,
};

/// Scans this machine.
///
/// # Errors
///
/// Returns an error if a network namespace that was asked for cannot be found; anything else that could not be seen is
/// a gap.
pub(super) fn observe(scope: &Scope) -> Result<Snapshot, Error> {
    look(scope).map(|seen| seen.observation)
}

/// A snapshot, and the data that makes the next scan cheaper.
#[derive(Debug)]
struct ScanResult {
    observation: Snapshot,
    view: View,
    /// The gaps in the list of sockets alone.
    blind: Vec<Gap>,
    places: Vec<Place>,
}

fn look(scope: &Scope) -> Result<ScanResult, Error> {
    let taken = Timestamp::now();
    let privileged = settings::privileged();
    let ephemeral = settings::ephemeral();
    let kernel = sysinfo::System::kernel_version().ok();
    let view = View::open(scope)?;
    let SocketScan { mut found, namespaces, mut gaps, mut notes } = view.look(scope);
    let blind = gaps.clone();
    let mut places = Vec::new();
    gaps.extend(ephemeral.gaps);
    if scope.processes
        && let Some(walk) = find_holders(
            &mut found,
            Asked { privileged, closely: scope.details },
            || view.look_again(scope, &blind),
            || view.kernel_services(),
            &mut gaps,
        )
    {
        notes.extend(view.unseen(&walk));
        places = walk.places;
    }
    notes.extend(settings::limits(scope, kernel.as_deref()));
    let mut users = users::Users::load();
    resolve_users_and_cgroups(&mut found, &mut users);
    let mut processes = processes(scope, &mut found, &mut users, &mut gaps);
    if scope.packages {
        let (package_gaps, package_notes) = packages::look_up(&mut processes);
        gaps.extend(package_gaps);
        notes.extend(package_notes);
    }
    let mut sockets: Vec<Socket> = found.into_iter().map(|found| found.socket).collect();
    sockets.shrink_to_fit();
    let observation = Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        tool: Some(Tool::this()),
        taken,
        host: Host {
            name: sysinfo::System::host_name().ok(),
            id: machine::id(),
            boot: machine::boot(),
            labels: BTreeMap::new(),
            os: std::env::consts::OS.to_owned(),
            kernel,
            privileged,
            scope: settings::host_scope(),
            ephemeral: vec![ephemeral.range],
            reserved: ephemeral.reserved,
            ephemeral_of: Vec::new(),
            ephemeral_source: ephemeral.source.to_owned(),
        },
        scope: scope.clone(),
        sockets,
        processes,
        namespaces,
        gaps,
        notes,
    };
    Ok(ScanResult { observation, view, blind, places })
}

/// The network namespaces of a scope.
#[derive(Debug)]
struct View {
    own: bool,
    others: Vec<Known>,
}

/// The sockets in these namespaces.
#[derive(Default)]
struct SocketScan {
    found: Vec<Found>,
    namespaces: Vec<Namespace>,
    gaps: Vec<Gap>,
    notes: Vec<Note>,
}

impl View {
    fn open(scope: &Scope) -> Result<Self, Error> {
        if scope.namespaces == Namespaces::Own {
            return Ok(View { own: true, others: Vec::new() });
        }
        let mut known = namespaces::discover();
        let own = namespaces::own().and_then(|inode| known.remove(&inode));
        let Namespaces::Called(name) = &scope.namespaces else {
            return Ok(View { own: true, others: known.into_values().collect() });
        };
        known.retain(|_, known| known.is_called(name));
        let own = own.is_some_and(|own| own.is_called(name));
        if !own && known.is_empty() {
            return Err(Error(format!(
                "{name}: no network namespace of this name, inode or process is to be found"
            )));
        }
        Ok(View { own, others: known.into_values().collect() })
    }

    /// Lists the sockets of all these namespaces.
    fn look(&self, scope: &Scope) -> SocketScan {
        let mut sight = SocketScan::default();
        if self.own {
            sight.add(sockets::list(scope, None));
        }
        for known in &self.others {
            match known.look(scope) {
                Ok((listed, mut ephemeral)) => {
                    sight.add(listed);
                    for mut gap in ephemeral.iter_mut().flat_map(|ephemeral| ephemeral.gaps.drain(..)) {
                        gap.what.push_str(&format!(" (network namespace {})", known.netns.inode));
                        sight.gaps.push(gap);
                    }
                    sight.namespaces.push(Namespace {
                        netns: known.netns.clone(),
                        ephemeral: ephemeral.iter().map(|ephemeral| ephemeral.range).collect(),
                        reserved: ephemeral.iter().flat_map(|ephemeral| ephemeral.reserved.clone()).collect(),
                        ephemeral_source: ephemeral
                            .map_or("not readable from outside it", |e| e.source)
                            .to_owned(),
                    });
                }
                Err(why) => sight.gaps.push(Gap {
                    stage: Stage::Namespaces,
                    what: format!("the network namespace {}", known.netns.inode),
                    count: None,
                    pids: Vec::new(),
                    why: why.to_string(),
                    remedy: Some("run as root".to_owned()),
                }),
            }
        }
        sight
    }

    /// Lists the sockets once more; returns `None` if less could be seen than with the gaps of the first time, so that
    /// a missing socket proves nothing.
    fn look_again(&self, scope: &Scope, gaps: &[Gap]) -> Option<Vec<Found>> {
        let again = self.look(scope);
        again.gaps.iter().all(|gap| gaps.contains(gap)).then_some(again.found)
    }

    /// Returns the kernel services that run, as far as they can be seen from here and inside the other namespaces.
    fn kernel_services(&self) -> kernel_services::RunningProgram {
        let mut running = kernel_services::RunningProgram::find();
        for known in &self.others {
            let links = known.enter(links::list).and_then(|links| links).unwrap_or_default();
            running.add(Some(known.netns.inode), links);
        }
        running
    }

    /// Returns a note about the namespaces that were not asked for.
    fn unseen(&self, walk: &Walk) -> Option<Note> {
        let own = namespaces::own();
        let looked_into = |inode: &u64| {
            (self.own && own == Some(*inode)) || self.others.iter().any(|known| known.netns.inode == *inode)
        };
        let mounted = namespaces::mounted().into_iter().map(|(inode, _)| inode);
        let known: HashSet<_> = walk.namespaces.iter().copied().chain(mounted).collect();
        let count = known.iter().filter(|inode| !looked_into(inode)).count();
        (count > 0).then(|| Note {
            what: format!("other network namespace{}, not looked into", if count == 1 { "" } else { "s" }),
            count: u64::try_from(count).ok(),
            remedy: Some("--netns all".to_owned()),
        })
    }
}

impl SocketScan {
    fn add(&mut self, listed: Listed) {
        if self.found.is_empty() {
            self.found = listed.found; // not twice in memory, even for a moment
        } else {
            self.found.extend(listed.found);
        }
        self.gaps.extend(listed.gaps);
        self.notes.extend(listed.notes);
    }
}

/// Returns whether the system knows a user of this name.
pub(super) fn is_user(name: &str) -> bool {
    users::Users::load().knows(name)
}

/// Returns whether any process in `/proc` has this name, which the kernel cuts at 15 bytes.
pub(super) fn is_running(name: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process::Reader::name)
        .any(|own| own == name || (own.len() == 15 && name.starts_with(&own)))
}

/// How to look for owners.
#[derive(Clone, Copy)]
struct Asked {
    /// Whether every process that can be seen can be read.
    privileged: bool,
    /// Whether to search threads and io_urings also if another process is known to own the socket.
    closely: bool,
}

/// Fills in the owner of every socket and adds the obstacles to the gaps. `look` lists the sockets again.
fn find_holders(
    found: &mut [Found],
    Asked { privileged, closely }: Asked,
    look: impl Fn() -> Option<Vec<Found>>,
    kernel_services: impl FnOnce() -> kernel_services::RunningProgram,
    gaps: &mut Vec<Gap>,
) -> Option<Walk> {
    gaps.extend(hidden_by_proc(privileged));
    if found.is_empty() {
        return owners::namespaces_only().ok();
    }
    let mut open: HashSet<u64> = found.iter().filter_map(|f| f.socket.inode).map(u64::from).collect();
    let mut walk = match owners::walk(&open) {
        Ok(walk) => walk,
        Err(errno) => {
            found.iter_mut().for_each(|f| f.socket.owner = Owner::Hidden);
            gaps.push(Gap {
                stage: Stage::Owners,
                what: "the processes that hold the sockets".to_owned(),
                count: None,
                pids: Vec::new(),
                why: format!("/proc: {errno}"),
                remedy: Some("mount /proc".to_owned()),
            });
            return None;
        }
    };
    if closely && let Err(errno) = owners::search_threads_and_io_uring(&mut walk, &open) {
        walk.unread.insert(0, errno);
    }
    open.retain(|inode| !walk.is_held(*inode));
    let mut gone = HashSet::new();
    let mut unsure = false;
    if !open.is_empty() {
        // The second look removes sockets that are gone by now. The remaining sockets are searched for where
        // descriptors hide, and once more in the ordinary descriptors, because a socket may have moved to another
        // process during the walk.
        let mut drop_the_gone = |open: &mut HashSet<u64>| {
            let Some(listed) = look() else {
                unsure = true;
                return;
            };
            let present: HashSet<_> = listed.iter().map(Found::identity).collect();
            let mut still = HashSet::new();
            for f in found.iter().filter(|f| f.socket.inode.is_some_and(|inode| open.contains(&inode.get())))
            {
                if present.contains(&f.identity()) {
                    still.extend(f.socket.inode.map(u64::from));
                } else {
                    gone.insert(f.identity());
                }
            }
            *open = still;
        };
        drop_the_gone(&mut open);
        if !open.is_empty() {
            let blind = !walk.unread.is_empty();
            let hidden = if closely { Ok(()) } else { owners::search_threads_and_io_uring(&mut walk, &open) };
            let second = hidden
                // A second walk cannot help if not every process may be read.
                .and_then(|()| if blind { Ok(Walk::default()) } else { owners::walk(&open) });
            match second {
                Ok(second) => walk.absorb(second),
                Err(errno) => _ = walk.unread.insert(0, errno),
            }
            open.retain(|inode| !walk.is_held(*inode));
            drop_the_gone(&mut open);
        }
    }
    gaps.extend(unread(&walk, privileged));
    gaps.extend(masked_processes(&walk));
    if unsure {
        gaps.push(Gap {
            stage: Stage::Owners,
            what: "whether sockets without a holder were still there".to_owned(),
            count: None,
            pids: Vec::new(),
            why: "they could not be listed again".to_owned(),
            remedy: Some("run again".to_owned()),
        });
    }
    gaps.extend(outside_the_namespace(open.len()));
    // If not every process was seen, the owner of the remaining sockets is unknown.
    let blind = gaps.iter().any(|gap| gap.stage == Stage::Owners);
    let services =
        if open.is_empty() || blind { kernel_services::RunningProgram::default() } else { kernel_services() };
    let mut unaccounted = 0;
    let mut shared: HashSet<Arc<Vec<Pid>>> = HashSet::new();
    for f in found {
        let Some(inode) = f.socket.inode else {
            f.socket.owner = Owner::Kernel; // no file stands for it, so no process can hold it
            continue;
        };
        let pids = walk.holders(inode.get());
        f.socket.owner = match (gone.contains(&f.identity()), blind) {
            _ if !pids.is_empty() => {
                let pids = shared.get(&pids).cloned().unwrap_or_else(|| Arc::new(pids));
                shared.insert(Arc::clone(&pids));
                Owner::Held(pids)
            }
            (true, _) => Owner::Vanished,
            (false, true) => Owner::Hidden,
            (false, false) if services.explains(&f.socket) => Owner::Kernel,
            (false, false) => {
                unaccounted += 1;
                Owner::Unaccounted
            }
        };
    }
    if unaccounted > 0 {
        let pids = owners::candidates(&walk);
        gaps.push(Gap {
            stage: Stage::Owners,
            what: format!("owner{} of sockets that no process holds", if unaccounted == 1 { "" } else { "s" }),
            count: Some(unaccounted),
            why: match &*pids {
                [] => "every process was read, and no kernel service explains them".to_owned(),
                pids => format!(
                    "no kernel service explains them; a process can hold a socket in an io_uring, or while it passes it on: {}",
                    pids.iter().take(NAMED).map(|pid| format!("pid {pid}")).collect::<Vec<_>>().join(", ")
                ),
            },
            pids,
            remedy: None,
        });
    }
    Some(walk)
}

/// The text of a gap names this many processes; its `pids` contain all of them.
const NAMED: usize = 8;

/// Returns a gap if `/proc` hides the processes of other users. There is a gap even if every socket has an owner,
/// because a hidden process may own the socket too.
fn hidden_by_proc(privileged: bool) -> Option<Gap> {
    settings::hides_others(privileged).then(|| Gap {
        stage: Stage::Owners,
        what: "processes of other users".to_owned(),
        count: None,
        pids: Vec::new(),
        why: "/proc is mounted with hidepid: the processes of others are not shown".to_owned(),
        remedy: Some("run as root".to_owned()),
    })
}

/// Returns a gap for sockets that have no owner inside the pid namespace of this process. [`Host::scope`] shows that
/// limit of the view, also if every socket has an owner.
fn outside_the_namespace(sockets: usize) -> Option<Gap> {
    let (why, remedy) = settings::processes_outside().filter(|_| sockets > 0)?;
    Some(Gap {
        stage: Stage::Owners,
        what: format!("owner{} of sockets out of sight", if sockets == 1 { "" } else { "s" }),
        count: u64::try_from(sockets).ok(),
        pids: Vec::new(),
        why: why.to_owned(),
        remedy: Some(remedy.to_owned()),
    })
}

/// Returns one gap that names the processes hidden by a mount.
fn masked_processes(walk: &Walk) -> Option<Gap> {
    let first = walk.masked.first()?;
    let count = walk.masked.len();
    Some(Gap {
        stage: Stage::Owners,
        what: format!("process{} hidden by a mount over /proc/PID", if count == 1 { "" } else { "es" }),
        count: u64::try_from(count).ok(),
        pids: walk.masked.clone(),
        why: format!("/proc/self/mountinfo shows a mount over /proc/{first}"),
        remedy: Some(format!("umount /proc/{first}")),
    })
}

/// Returns the gaps for processes that a walk could not read, one for each reason.
fn unread(walk: &Walk, privileged: bool) -> Vec<Gap> {
    let mut reasons: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for (pid, errno) in &walk.unread {
        let refusal = matches!(*errno, Errno::ACCESS | Errno::PERM);
        reasons.entry(if refusal { Errno::ACCESS } else { *errno }.raw_os_error()).or_default().push(*pid);
    }
    let gap = |(errno, mut pids): (i32, Vec<Pid>)| {
        let count = u64::try_from(pids.len()).unwrap_or(u64::MAX);
        pids.retain(|pid| *pid != 0); // stands for /proc itself
        pids.sort_unstable();
        let errno = Errno::from_raw_os_error(errno);
        let refused = errno == Errno::ACCESS;
        Gap {
            stage: Stage::Owners,
            what: format!(
                "process{} whose open sockets could not be read",
                if count == 1 { "" } else { "es" }
            ),
            count: Some(count),
            pids,
            why: if refused { "permission denied".to_owned() } else { errno.to_string() },
            // A user with every privilege gets no remedy.
            remedy: (refused && !privileged)
                .then(|| "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".to_owned()),
        }
    };
    reasons.into_iter().map(gap).collect()
}

/// Looks up the users of sockets, and turns the IDs of their control groups into paths, units and containers.
fn resolve_users_and_cgroups(found: &mut [Found], users: &mut users::Users) {
    let wanted: HashSet<u64> = found.iter().filter_map(|f| f.cgroup).map(u64::from).collect();
    let paths = if wanted.is_empty() { HashMap::new() } else { cgroup::paths(&wanted) };
    let mut named = HashMap::new();
    for Found { socket, cgroup } in found {
        let home = named.entry((Arc::clone(&socket.home), *cgroup)).or_insert_with(|| {
            let path = cgroup.and_then(|id| paths.get(&id.get()));
            Arc::new(Home {
                user: socket.uid.and_then(|uid| users.name(uid)),
                unit: path.and_then(|path| cgroup::unit(path)).map(str::to_owned),
                container: path.and_then(|path| cgroup::container(path)).map(str::to_owned),
                cgroup: path.cloned(),
                ..(*socket.home).clone()
            })
        });
        socket.home = Arc::clone(home);
    }
}

/// Reads the owners, in rising order of pid, and looks up their users.
fn processes(
    scope: &Scope,
    found: &mut [Found],
    users: &mut users::Users,
    gaps: &mut Vec<Gap>,
) -> Vec<Process> {
    let pids: BTreeSet<Pid> = found.iter().flat_map(|f| f.socket.owner.pids()).copied().collect();
    let reading::Outcome { mut processes, silent, unjudged } = reading::read(jobs(scope, found, pids));
    for process in &mut processes {
        process.user = process.uid.and_then(|uid| users.name(uid));
    }
    let mut reasons: BTreeMap<String, Vec<Pid>> = BTreeMap::new();
    for (pid, why) in unjudged {
        reasons.entry(why).or_default().push(pid);
    }
    gaps.extend(reasons.into_iter().map(|(why, pids)| unread_processes("program file", pids, why)));
    if !silent.is_empty() {
        gaps.push(unread_processes("command line", silent, "the process did not answer in time".to_owned()));
    }
    if scope.details {
        resolve_missing_users_and_cgroups(found, &processes);
    }
    processes
}

/// Returns the gap for processes that could not be read completely.
fn unread_processes(what: &str, pids: Vec<Pid>, why: String) -> Gap {
    let count = pids.len();
    Gap {
        stage: Stage::Processes,
        what: format!("process{} whose {what} could not be read", if count == 1 { "" } else { "es" }),
        count: u64::try_from(count).ok(),
        pids,
        why,
        remedy: None,
    }
}

/// Returns what to read of each process.
fn jobs(scope: &Scope, found: &[Found], pids: BTreeSet<Pid>) -> Vec<Job> {
    let sharing = if scope.details { HashSet::new() } else { shared_ports::of(found) };
    // If a socket's own control group has no name, the groups of its owners are used. Process 1 opens sockets for other
    // processes.
    let silent = found.iter().filter(|f| f.socket.cgroup.is_none());
    let silent: HashSet<Pid> =
        silent.flat_map(|f| f.socket.owner.pids()).copied().filter(|pid| *pid != 1).collect();
    let job = |pid| Job {
        pid,
        everything: scope.details || sharing.contains(&pid),
        sockets_say: !silent.contains(&pid),
        cmdline: true,
    };
    pids.into_iter().map(job).collect()
}

/// Uses the control group of the first owner if the socket's own group has no name (cgroup v1).
fn resolve_missing_users_and_cgroups(found: &mut [Found], processes: &[Process]) {
    let by_pid: HashMap<Pid, &Process> = processes.iter().map(|p| (p.pid, p)).collect();
    let mut shared: HashSet<Arc<Home>> = HashSet::new();
    for f in found.iter_mut().filter(|f| f.socket.cgroup.is_none()) {
        let owners: Vec<&&Process> = {
            let others = f.socket.owner.pids().iter().filter(|pid| **pid != 1);
            others.filter_map(|pid| by_pid.get(pid)).collect()
        };
        let unit = owners.iter().find_map(|owner| owner.unit.clone());
        let container = owners.iter().find_map(|owner| owner.container.clone());
        if unit.is_some() || container.is_some() {
            let home = Home { unit, container, ..(*f.socket.home).clone() };
            let home = shared.get(&home).cloned().unwrap_or_else(|| Arc::new(home));
            shared.insert(Arc::clone(&home));
            f.socket.home = home;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Socket, State};

    /// Returns a socket that no process owns.
    fn found() -> Found {
        let local: Endpoint = "tcp/127.0.0.1:9".parse().unwrap();
        let socket = Socket {
            local,
            peer: None,
            state: State::Listen,
            mptcp: false,
            home: Home::default().into(),
            inode: u64::MAX.try_into().ok(),
            cookie: u64::MAX.try_into().ok(),
            v6only: None,
            queues: None,
            owner: Owner::Unknown,
        };
        Found { socket, cgroup: None }
    }

    #[test]
    fn a_second_listing_that_fails_proves_nothing_gone() {
        let told = |again: fn() -> Option<Vec<Found>>| {
            let (mut one, mut gaps) = ([found()], Vec::new());
            let asked = Asked { privileged: true, closely: false };
            find_holders(&mut one, asked, again, kernel_services::RunningProgram::default, &mut gaps)
                .unwrap();
            let failed = gaps.iter().any(|gap| gap.why == "they could not be listed again");
            (one[0].socket.owner.clone(), failed)
        };
        assert_eq!(told(|| None), (Owner::Hidden, true));
        assert_eq!(told(|| Some(Vec::new())), (Owner::Vanished, false));
        let (owner, failed) = told(|| Some(vec![found()]));
        // If another process may not be read, that process may own the socket.
        assert!(matches!(owner, Owner::Unaccounted | Owner::Hidden) && !failed, "{owner:?}");
    }
}
