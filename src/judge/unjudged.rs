//! Finds the listeners that the rules could not judge, because evidence is missing. Returns gaps.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::identity_rules::is_of_the_system;
use super::relayed::{has_unknown, starts_unknown};
use crate::join::Entry;
use crate::model::interpreter::shows_only_a_title;
use crate::model::{Gap, LONGEST_COMMAND_LINE, Pid, Process, RunTarget, Stage};
use crate::registry::identity::identify;

/// The two texts of a gap. The first follows the word "process" or "processes". The second is the reason.
type Missing = (&'static str, &'static str);

const PROCESS: Missing =
    ("whose data could not be read", "the process ended during the scan, or reading it is not permitted");
const FILE: Missing = (
    "whose program file is not known",
    "the process chooses its own name and command line, so they do not prove which program runs",
);
const COMMAND_LINE: Missing = (
    "with an unknown command line",
    "the process is an interpreter or a relay, and only its command line shows which code it runs",
);
const CUT: Missing = (
    "with a very long command line",
    "only the first 256 KiB of the command line were read, and an argument in the rest may change the findings",
);
const SCRIPT: Missing = ("whose script was not found", "it is not known who can replace the script");

const DESTINATION: Missing = (
    "with an unknown destination",
    "the process is a relay that other machines can reach; neither its command line nor its configuration shows which \
     service gets the connections, so this service was not judged",
);

const STARTED: Missing = (
    "that starts an unknown program",
    "the process listens for another program; the file that names this program could not be read, was changed after \
     the start, or is not understood, so the program was not judged",
);

const TITLE: Missing = (
    "whose script is hidden by a title",
    "the process overwrote its command line with a title, so the name of the script is not visible",
);

/// Returns a gap for each kind of missing evidence. Processes are left out if a gap in `known` already names them.
pub(super) fn gaps(entries: &[Entry], known: &[Gap], os: &str) -> Vec<Gap> {
    let named: BTreeSet<Pid> = known.iter().flat_map(|gap| &gap.pids).copied().collect();
    let mut missing: BTreeMap<Missing, BTreeSet<Pid>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for entry in entries.iter().filter(|entry| entry.socket.state.is_judged()) {
        for pid in entry.socket.owner.pids().iter().filter(|pid| seen.insert(**pid)) {
            // The processes are in ascending order of pid.
            let at = entry.processes.binary_search_by_key(pid, |process| process.pid);
            let process = at.ok().and_then(|at| entry.processes.get(at));
            let lacks = match process {
                Some(process) if !is_unread(process) => lacking(entry, process, os),
                _ => Some(PROCESS),
            };
            if let Some(lacks) = lacks {
                missing.entry(lacks).or_default().insert(*pid);
            }
        }
    }
    let gaps = missing.into_iter().filter_map(|((what, why), pids)| {
        let pids: Vec<Pid> = pids.difference(&named).copied().collect();
        let noun = if pids.len() == 1 { "process" } else { "processes" };
        let gap = Gap::new(Stage::Processes, format!("{noun} {what}"), why);
        (!pids.is_empty()).then(|| gap.counted(pids.len()).of_processes(pids, os))
    });
    gaps.collect()
}

fn lacking(entry: &Entry, process: &Process, os: &str) -> Option<Missing> {
    // On systems other than Linux, a process cannot change its name.
    if process.exe.is_none() && os == "linux" {
        return Some(FILE);
    }
    if RunTarget::of(process) == RunTarget::Unknown {
        return Some(COMMAND_LINE);
    }
    if process.cmdline.iter().map(|argument| argument.len() + 1).sum::<usize>() >= LONGEST_COMMAND_LINE {
        return Some(CUT);
    }
    if lets_in_others(entry) && has_unknown(process, &entry.socket.local) {
        return Some(DESTINATION);
    }
    if lets_in_others(entry) && starts_unknown(process, entry) {
        return Some(STARTED);
    }
    if hides_its_script(entry, process) {
        return Some(TITLE);
    }
    process.script.as_ref().is_some_and(|script| script.origin.is_none()).then_some(SCRIPT)
}

/// Returns whether other machines can connect to the listener.
fn lets_in_others(entry: &Entry) -> bool {
    let lets_in = entry.reach().is_none_or(|reach| reach.kind.lets_in_other_machines());
    let is_reachable = entry.socket.state.accepts_traffic() && entry.exposure.is_reachable_from_outside();
    lets_in && is_reachable
}

/// Returns whether a title hides the script of an interpreter. A known program in the title is believed if the process
/// belongs to the system, or if only this machine can reach the listener.
fn hides_its_script(entry: &Entry, process: &Process) -> bool {
    let file = process.exe.as_ref().and_then(|exe| exe.path.rsplit('/').next()).unwrap_or_default();
    let is_known = || identify(process).is_some_and(|identity| identity.program().is_some());
    let is_believed = || !entry.exposure.is_reachable_from_outside() || is_of_the_system(entry, process);
    shows_only_a_title(file, &process.cmdline) && !(is_believed() && is_known())
}

fn is_unread(process: &Process) -> bool {
    process.exe.is_none() && process.name.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::model::{Origin, OriginKind, Owner, Protocol, RelayRoute, Script, SocketCommand};
    use crate::registry::Registry;

    #[test]
    fn evidence_that_is_missing_is_a_gap() {
        let python = |line: &str| program_process(7, "python3", "/usr/bin/python3.11", line);
        let titled = |program: &str, title: &str, uid| Process {
            cmdline: vec![title.to_owned()],
            uid: Some(uid),
            ..program_process(7, program, &format!("/usr/bin/{program}"), "")
        };
        let script = |origin| Some(Script { path: "/srv/x.py".to_owned(), origin, is_program: false });
        let systemd = |line: &str| Process {
            socket_commands: vec![SocketCommand {
                on: "[::]:8000".parse().unwrap(),
                protocol: Protocol::Tcp,
                cmdline: line.split_whitespace().map(str::to_owned).collect(),
            }],
            ..program_process(7, "systemd", "/usr/lib/systemd/systemd", "/sbin/init")
        };
        let relay = |is_complete: Option<bool>| Process {
            relay_routes: is_complete.map(|is_complete| {
                let on = "0.0.0.0:8000".parse().unwrap();
                let protocol = Protocol::Tcp;
                vec![RelayRoute { on, protocol, to: Vec::new(), is_complete, restriction: None }]
            }),
            ..program_process(7, "haproxy", "/usr/sbin/haproxy", "haproxy -f /etc/haproxy/haproxy.cfg")
        };
        for (name, process, why) in [
            ("a server", program_process(7, "nginx", "/usr/sbin/nginx", ""), None),
            ("a script", python("python3 x.py"), None),
            ("no command line", python(""), Some(COMMAND_LINE.1)),
            (
                "a relay without command line",
                program_process(7, "socat", "/usr/bin/socat", ""),
                Some(COMMAND_LINE.1),
            ),
            (
                "a relay to an address",
                program_process(7, "socat", "/usr/bin/socat", "socat TCP-LISTEN:8000 TCP:10.0.0.5:80"),
                None,
            ),
            (
                "a relay to a Unix socket",
                program_process(7, "socat", "/usr/bin/socat", "socat TCP-LISTEN:8000 UNIX:/run/redis.sock"),
                Some(DESTINATION.1),
            ),
            (
                "systemd and a relay to an address",
                systemd("/lib/systemd/systemd-socket-proxyd 10.0.0.1:1"),
                None,
            ),
            (
                "systemd and a relay to a Unix socket",
                systemd("/lib/systemd/systemd-socket-proxyd /run/x"),
                Some(DESTINATION.1),
            ),
            ("systemd and a server", systemd("/usr/sbin/cupsd -l"), None),
            ("systemd and an unknown program", systemd(""), Some(STARTED.1)),
            ("a relay with an unknown file", relay(None), Some(DESTINATION.1)),
            ("a relay with a known file", relay(Some(true)), None),
            ("a relay to a name in its file", relay(Some(false)), Some(DESTINATION.1)),
            (
                "a command line that was cut",
                python(&format!("python3 {}", "x".repeat(LONGEST_COMMAND_LINE))),
                Some(CUT.1),
            ),
            ("ended", Process::unknown(7), Some(PROCESS.1)),
            ("a name only", program_process(7, "nginx", "", ""), Some(FILE.1)),
            (
                "a script whose origin is known",
                Process { script: script(Some(Origin::of(OriginKind::System))), ..python("python3 x.py") },
                None,
            ),
            (
                "a script that was not found",
                Process { script: script(None), ..python("python3 x.py") },
                Some(SCRIPT.1),
            ),
            ("an unknown title", titled("node", "shop worker", 0), Some(TITLE.1)),
            (
                "a known title of a user",
                titled("ruby", "puma 6.4 (tcp://0.0.0.0:8000) [x]", 1000),
                Some(TITLE.1),
            ),
            ("a known title of the system", titled("ruby", "puma 6.4 (tcp://0.0.0.0:8000) [x]", 33), None),
        ] {
            let snapshot = seen(vec![socket("tcp/0.0.0.0:8000", Owner::Held(vec![7].into()))], vec![process]);
            let gaps = judge(snapshot.clone(), Registry::embedded()).snapshot.gaps;
            let found: Vec<_> = gaps.iter().map(|gap| (gap.why.as_str(), gap.pids.clone())).collect();
            assert_eq!(found, why.into_iter().map(|why| (why, vec![7])).collect::<Vec<_>>(), "{name}");
            // If the snapshot already has a gap about the process, no second gap is added.
            let mut named = snapshot;
            named.gaps = gaps.clone();
            assert_eq!(judge(named, Registry::embedded()).snapshot.gaps.len(), gaps.len(), "{name}");
        }
        let started = program_process(8, "cupsd", "/usr/sbin/cupsd", "/usr/sbin/cupsd -l");
        let both = vec![socket("tcp/0.0.0.0:8000", Owner::Held(vec![7, 8].into()))];
        let gaps = judge(seen(both, vec![systemd(""), started]), Registry::embedded()).snapshot.gaps;
        assert_eq!(gaps, [], "the program was already started");
        let absent = seen(
            vec![socket("tcp/0.0.0.0:22", Owner::Held(vec![7, 8].into()))],
            vec![program_process(7, "sleep", "/usr/bin/sleep", "sleep")],
        );
        let gaps = judge(absent, Registry::embedded()).snapshot.gaps;
        assert_eq!((gaps.len(), &gaps[0].pids[..]), (1, &[8][..]), "the process that `impostor` waits for");
    }
}
