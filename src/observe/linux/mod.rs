//! Linux: lists the sockets with `sock_diag(7)`, and finds their processes through the descriptors in `/proc`.
//!
//! The sockets are listed before their processes are searched. So the process of a socket is always found if it has the
//! socket during the whole scan. A socket without a process is listed and searched again. Only then is it reported as
//! vanished or as owned by the kernel.

mod acl;
mod blocked_calls;
mod bpf;
mod bytes;
mod cgroup;
mod closed_sockets;
pub mod configuration;
mod containers;
pub mod deep;
mod deleted_files;
mod descriptor_search;
pub mod diag;
mod executable;
mod external_program;
mod file_state;
mod files;
mod find_owners;
pub mod firewall;
mod found_descriptors;
mod fuse;
pub mod fuzzed;
mod generic_netlink;
mod hidden_processes;
mod inferred_owners;
mod iptables;
mod kernel_ids;
mod kernel_protocols;
mod kernel_services;
mod links;
mod loader;
mod machine;
mod mapped;
mod mapped_rings;
mod masked;
mod namespaces;
pub mod nat;
mod netlink;
mod netlink_dump;
pub mod nftables;
mod open_jars;
mod origin;
mod own_addresses;
mod owners;
pub mod packages;
mod process;
pub mod procnet;
mod raw_sockets;
mod reading;
mod ring_files;
mod rule_sets;
mod scanned_namespaces;
mod script;
mod settings;
mod shared_ports;
mod shared_table;
mod socket_attributes;
mod sockets;
mod task_iterator;
mod threads_and_rings;
mod tree;
mod unlisted_sockets;
mod users;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use self::configuration::ReachableSocket;
use self::find_owners::{OwnerSearch, find_owners};
pub(crate) use self::fuse::fuse_is_mounted;
pub(super) use self::inferred_owners::inferred_owners;
use self::owners::SocketDescriptor;
use self::reading::ReadRequest;
use self::scanned_namespaces::{ScannedNamespaces, SocketScan};
pub(super) use self::settings::rights;
use self::socket_attributes::{resolve_missing_users_and_cgroups, resolve_users_and_cgroups};
use self::sockets::FoundSocket;
pub(super) use self::watch::PollState;
use super::{Error, Scope};
use crate::model::{
    Gap, Host, Namespaces, Note, Pid, Process, SNAPSHOT_SCHEMA, Snapshot, Socket, Stage, State, Tool,
    show_processes,
};

/// Scans this machine. Returns an error if a requested network namespace cannot be found. Any other part that cannot be
/// read becomes a gap.
pub(super) fn observe(scope: &Scope) -> Result<Snapshot, Error> {
    scan(scope).map(|seen| seen.snapshot)
}

/// A snapshot, and the data that makes the next scan faster.
#[derive(Debug)]
struct ScanResult {
    snapshot: Snapshot,
    scanned_namespaces: ScannedNamespaces,
    /// The gaps in the list of sockets. They are compared with the gaps of the next list.
    blind: Vec<Gap>,
    descriptors: Vec<SocketDescriptor>,
}

fn scan(scope: &Scope) -> Result<ScanResult, Error> {
    let taken = Timestamp::now();
    let privileged = settings::privileged();
    let ephemeral = settings::ephemeral();
    let kernel = sysinfo::System::kernel_version().ok();
    let scanned_namespaces = ScannedNamespaces::open(scope)?;
    let SocketScan { mut found, namespaces, firewalls, mut gaps, mut notes } =
        scanned_namespaces.list_sockets(scope, true);
    let blind = gaps.clone();
    let (mut firewalls, unread_firewalls): (Vec<_>, Vec<_>) = firewalls.into_iter().unzip();
    gaps.extend(unread_firewalls.into_iter().flatten());
    let mut descriptors = Vec::new();
    let (mut hidden, mut used_bpf) = (BTreeSet::new(), false);
    gaps.extend(ephemeral.gaps);
    if scope.processes
        && let Some(walk) = find_owners(
            &mut found,
            OwnerSearch {
                privileged,
                threads_and_rings: scope.details || scope.packages,
                hidden_processes: scope.packages || (scope.details && scope.namespaces == Namespaces::All),
                bpf: scope.bpf,
            },
            || scanned_namespaces.scan_again(scope, &blind),
            || scanned_namespaces.kernel_services(),
            &mut gaps,
        )
    {
        notes.extend(scanned_namespaces.unseen(&walk));
        let programs = bpf::attached(&walk.bpf_links);
        if let Some(note) = programs.tcx {
            // The program refers to its device by an index, which is unique only within a network namespace. The
            // namespace is not known here, so the result of every firewall becomes unknown.
            let why =
                "a BPF program (tcx) can answer, drop or redirect packets before the firewall sees them";
            firewalls
                .iter_mut()
                .for_each(|firewall| _ = firewall.unread.get_or_insert_with(|| why.to_owned()));
            notes.push(note);
        }
        let steering = if scope.bpf { scanned_namespaces.steering_programs() } else { None };
        if let Some(gap) = bpf::steering_gap(steering.unwrap_or(0), programs.steering) {
            // The program can also choose a listener in another network namespace.
            let why = "a BPF program (sk_lookup) can redirect connections for other ports to a listener";
            firewalls.iter_mut().for_each(|firewall| firewall.steering = Some(why.to_owned()));
            for found in found.iter_mut().filter(|found| found.socket.absent) {
                Arc::make_mut(&mut found.socket.attributes).absent = false;
            }
            gaps.push(gap);
        } else if scope.packages && steering.is_none() && !gaps.contains(&Gap::refused_rules()) {
            gaps.push(bpf::unasked(scope.bpf));
        }
        used_bpf = walk.tasks.is_some();
        if scope.packages {
            gaps.extend(mapped_rings::unsearched(&walk, scope.bpf));
        }
        hidden.extend(walk.masked.iter().chain(&walk.unlisted).copied());
        descriptors = walk.descriptors;
    }
    let part = settings::host_scope();
    if scope.processes {
        gaps.extend(part.and_then(|part| part.gap(scope)));
    }
    notes.extend(settings::limits(scope, kernel.as_deref()));
    let mut users = users::Users::load();
    resolve_users_and_cgroups(&mut found, &mut users);
    let mut processes = processes(scope, &mut found, &mut users, &mut gaps, &mut notes);
    mark_hidden(&mut processes, hidden, &found);
    if scope.packages {
        let (package_gaps, package_notes) = packages::look_up(&mut processes);
        gaps.extend(package_gaps);
        notes.extend(package_notes);
    }
    configuration::look_up(&mut processes, &reachable_sockets(&found));
    let mut sockets: Vec<Socket> = found.into_iter().map(|found| found.socket).collect();
    sockets.shrink_to_fit();
    if scope.processes {
        containers::name_published(&mut sockets);
    }
    // A plain table does not show the ID of the host. Its calculation would take 1% of the time of a short listing.
    let is_detailed = scope.details || scope.packages;
    let snapshot = Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        tool: Some(Tool::this()),
        taken,
        host: Host {
            name: sysinfo::System::host_name().ok(),
            id: is_detailed.then(machine::id).flatten(),
            boot: is_detailed.then(machine::boot).flatten(),
            labels: BTreeMap::new(),
            os: std::env::consts::OS.to_owned(),
            kernel,
            privileged,
            scope: part,
            ephemeral: vec![ephemeral.range],
            reserved: ephemeral.reserved,
            ephemeral_of: Vec::new(),
            ephemeral_source: ephemeral.source.to_owned(),
        },
        scope: scope.clone(),
        sockets,
        processes,
        namespaces,
        firewalls,
        gaps,
        notes,
        used_bpf,
    };
    Ok(ScanResult { snapshot, scanned_namespaces, blind, descriptors })
}

/// Returns whether portolan may read every process and runs in the network namespace of process 1.
pub(super) fn is_in_first_namespace() -> bool {
    settings::privileged() && namespaces::of_process(1).is_some_and(|first| namespaces::own() == Some(first))
}

pub(super) fn is_user(name: &str) -> bool {
    users::Users::load().knows(name)
}

pub(super) fn interface_addresses(name: &str) -> Option<Vec<IpAddr>> {
    links::addresses(name).ok().flatten()
}

pub(super) fn is_own_address(address: IpAddr) -> bool {
    links::is_local(address) == Some(true)
}

pub(super) fn process_tree() -> Vec<super::TreeProcess> {
    process::tree()
}

/// Returns whether a process in `/proc` has this name. The kernel cuts names at 15 bytes.
pub(super) fn is_running(name: &str) -> bool {
    files::numbers("/proc")
        .unwrap_or_default()
        .into_iter()
        .filter_map(process::Reader::name)
        .any(|own| own == name || (own.len() == 15 && name.starts_with(&own)))
}

/// Reads the processes that own the sockets. They are returned in ascending order of their pid.
fn processes(
    scope: &Scope,
    found: &mut [FoundSocket],
    users: &mut users::Users,
    gaps: &mut Vec<Gap>,
    notes: &mut Vec<Note>,
) -> Vec<Process> {
    let pids: BTreeSet<Pid> = found.iter().flat_map(|f| f.socket.owner.pids()).copied().collect();
    let reading::ReadProcesses { mut processes, silent, without_project, unjudged, code_without_file } =
        reading::read(jobs(scope, found, pids));
    notes.extend(note_on_code_without_file(&code_without_file));
    name_users(&mut processes, users);
    let mut reasons: BTreeMap<String, Vec<Pid>> = BTreeMap::new();
    for (pid, why) in unjudged {
        reasons.entry(why).or_default().push(pid);
    }
    gaps.extend(reasons.into_iter().map(|(why, pids)| unread_processes("program file", pids, why)));
    if !silent.is_empty() {
        gaps.push(unread_processes("command line", silent, "the process did not answer in time".to_owned()));
    }
    if !without_project.is_empty() {
        let why = "the file system of the working directory did not answer in time".to_owned();
        gaps.push(unread_processes("project", without_project, why));
    }
    containers::name(&mut processes, &groups(found));
    if scope.details {
        resolve_missing_users_and_cgroups(found, &processes);
    }
    processes
}

/// Marks the owners that `/proc` hides. Hidden owners that are missing from `processes` are added.
fn mark_hidden(processes: &mut Vec<Process>, mut hidden: BTreeSet<Pid>, found: &[FoundSocket]) {
    if hidden.is_empty() {
        return;
    }
    let owners: BTreeSet<Pid> = found.iter().flat_map(|f| f.socket.owner.pids()).copied().collect();
    hidden.retain(|pid| owners.contains(pid));
    for process in &mut *processes {
        process.is_hidden = hidden.remove(&process.pid);
    }
    processes.extend(hidden.into_iter().map(|pid| Process { is_hidden: true, ..Process::unknown(pid) }));
    processes.sort_by_key(|process| process.pid);
}

fn note_on_code_without_file(pids: &[Pid]) -> Option<Note> {
    let what = format!(
        "process{} with code in memory that belongs to no file: normal for programs with a just-in-time compiler, \
            but injected code looks the same",
        if pids.len() == 1 { "" } else { "es" }
    );
    Some(Note::new(what).counted(pids.len()).with_remedy(show_processes(pids, "linux")?))
}

/// Returns, for each process, its sockets that other machines can reach, directly or through a rule that forwards a
/// port.
fn reachable_sockets(found: &[FoundSocket]) -> BTreeMap<Pid, Vec<ReachableSocket>> {
    let is_forwarded = found.iter().any(|f| f.socket.state == State::Published);
    let reachable = found.iter().filter(|f| {
        let socket = &f.socket;
        socket.state.accepts_traffic() && (is_forwarded || socket.exposure().is_reachable_from_outside())
    });
    let mut sockets: BTreeMap<Pid, Vec<ReachableSocket>> = BTreeMap::new();
    for socket in reachable.map(|f| &f.socket) {
        for pid in socket.owner.pids() {
            sockets.entry(*pid).or_default().push(ReachableSocket {
                local: SocketAddr::new(socket.local.address, socket.local.port),
                protocol: socket.local.protocol,
                unit: socket.unit.clone(),
            });
        }
    }
    sockets
}

/// Returns the container of each process. The container is taken from the control groups of the sockets.
fn groups(found: &[FoundSocket]) -> BTreeMap<Pid, String> {
    let in_container = found.iter().filter_map(|f| Some((&f.socket, f.socket.container.as_ref()?)));
    in_container
        .flat_map(|(socket, group)| socket.owner.pids().iter().map(|pid| (*pid, group.clone())))
        .collect()
}

fn name_users(processes: &mut [Process], users: &mut users::Users) {
    for process in processes {
        process.user = process.uid.and_then(|uid| users.name(uid));
        for parent in &mut process.parents {
            parent.user = parent.uid.and_then(|uid| users.name(uid));
        }
    }
}

/// Reads the details that a listing leaves out. A process stays unchanged if it cannot be read, or if its pid now
/// belongs to another process.
pub(super) fn read_rest(processes: &mut [Process]) {
    let unread = processes.iter().filter(|process| process.started.is_none());
    let jobs = unread.map(|process| ReadRequest {
        pid: process.pid,
        everything: true,
        unit_known: false,
        project: true,
        cmdline: true,
        maps: false,
    });
    let mut read = reading::read(jobs.collect()).processes;
    name_users(&mut read, &mut users::Users::load());
    for rest in read {
        let Some(process) = processes.iter_mut().find(|process| process.pid == rest.pid) else { continue };
        if (&rest.name, &rest.exe) != (&process.name, &process.exe) {
            continue;
        }
        let known = process.clone();
        *process = Process {
            exe: known.exe,
            loader: known.loader,
            origin: known.origin,
            script: known.script,
            code: known.code,
            is_program_mapped: known.is_program_mapped,
            cmdline: known.cmdline,
            configuration: known.configuration,
            relay_routes: known.relay_routes,
            socket_commands: known.socket_commands,
            debugger_options: known.debugger_options,
            ..rest
        };
    }
    packages::name(processes);
    containers::name(processes, &BTreeMap::new());
}

fn unread_processes(what: &str, pids: Vec<Pid>, why: String) -> Gap {
    let what = format!("process{} whose {what} could not be read", if pids.len() == 1 { "" } else { "es" });
    Gap::new(Stage::Processes, what, why).counted(pids.len()).of_processes(pids, "linux")
}

/// Returns which parts of each process must be read.
fn jobs(scope: &Scope, found: &[FoundSocket], pids: BTreeSet<Pid>) -> Vec<ReadRequest> {
    let sharing = if scope.details { HashSet::new() } else { shared_ports::processes_sharing_ports(found) };
    // If the control group of a socket names neither a unit nor a container, the control groups of its processes are
    // read. They may name a container in another hierarchy. Process 1 is left out, because it opens sockets for other
    // services.
    let silent = found.iter().filter(|f| f.socket.unit.is_none() && f.socket.container.is_none());
    let silent: HashSet<Pid> =
        silent.flat_map(|f| f.socket.owner.pids()).copied().filter(|pid| *pid != 1).collect();
    let job = |pid| ReadRequest {
        pid,
        everything: scope.details || sharing.contains(&pid),
        project: scope.details || sharing.contains(&pid),
        unit_known: !silent.contains(&pid),
        cmdline: true,
        maps: scope.details || scope.packages,
    };
    pids.into_iter().map(job).collect()
}
