//! Reads processes on a separate thread with a time limit. A process can serve a file system that contains its own
//! memory. Reading the command line of this process may then never end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use super::process::ReadRequest;
use super::process::Reader;
use crate::model::{Pid, Process};

/// The time limit for one process. Reading usually takes far less than a millisecond.
const LIMIT: Duration = Duration::from_secs(2);
/// If this many processes do not answer, the remaining processes are not read.
const PATIENCE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct ReadProcesses {
    pub processes: Vec<Process>,
    /// The processes that did not answer in time, in ascending order.
    pub silent: Vec<Pid>,
    /// The processes that were read without their project, in ascending order.
    pub without_project: Vec<Pid>,
    /// The processes that could not be judged, each with the reason. Either the program file is unknown, or it is
    /// unknown who can replace the file.
    pub unjudged: Vec<(Pid, String)>,
    /// The processes with code in memory that does not come from a file.
    pub code_without_file: Vec<Pid>,
}

#[derive(Default)]
struct Progress {
    processes: Vec<Process>,
    unjudged: Vec<(Pid, String)>,
    code_without_file: Vec<Pid>,
    finished: bool,
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, Progress> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the processes. If a process takes too long, it is read again without its project, because its working
/// directory may be in a file system that does not answer. If the process still takes too long, it is read without its
/// command line.
pub(super) fn read(jobs: Vec<ReadRequest>) -> ReadProcesses {
    read_by(jobs, LIMIT, |reader, job| {
        let process = if job.everything { reader.process(job) } else { Some(reader.program(job)) };
        process.unwrap_or_else(|| Process::unknown(job.pid))
    })
}

fn read_by(
    mut jobs: Vec<ReadRequest>,
    limit: Duration,
    read: fn(&mut Reader, ReadRequest) -> Process,
) -> ReadProcesses {
    let mut outcome = ReadProcesses::default();
    let mut silent_projects = Vec::new();
    while !jobs.is_empty() && outcome.silent.len() < PATIENCE {
        let shared = Shared::default();
        let (theirs, their_jobs) = (Arc::clone(&shared), jobs.clone());
        let worker = move || {
            let mut reader = Reader::default();
            for job in their_jobs {
                let process = read(&mut reader, job);
                lock(&theirs).processes.push(process);
            }
            let mut progress = lock(&theirs);
            progress.unjudged = reader.unjudged;
            progress.code_without_file = reader.code_without_file;
            progress.finished = true;
            theirs.1.notify_all();
        };
        if std::thread::Builder::new().spawn(worker).is_err() {
            break;
        }
        let done = wait(&shared, limit, &mut outcome);
        let Some(stuck) = jobs.get(done).copied() else { break };
        // The blocked thread is left alone. It ends when portolan ends.
        jobs.drain(..=done);
        if stuck.project {
            // The remaining processes are read without their projects too, because their projects may be in the same
            // blocked file system.
            jobs.push(stuck);
            jobs.iter_mut().for_each(|job| job.project = false);
            silent_projects.push(stuck.pid);
            continue;
        }
        if stuck.cmdline {
            jobs.push(ReadRequest { cmdline: false, maps: false, ..stuck });
        }
        outcome.silent.push(stuck.pid);
    }
    let read: std::collections::HashSet<Pid> = outcome.processes.iter().map(|process| process.pid).collect();
    for job in jobs.into_iter().filter(|job| !read.contains(&job.pid)) {
        outcome.silent.push(job.pid);
    }
    let missing = outcome.silent.iter().filter(|pid| !read.contains(pid)).copied();
    let missing: std::collections::BTreeSet<Pid> = missing.collect();
    outcome.processes.extend(missing.into_iter().map(Process::unknown));
    outcome.processes.sort_by_key(|process| process.pid);
    outcome.silent.sort_unstable();
    outcome.silent.dedup();
    silent_projects.retain(|pid| !outcome.silent.contains(pid));
    outcome.without_project = silent_projects;
    outcome
}

/// Waits until every process is read, or until one process takes longer than the limit. Returns the number of processes
/// that were read before the slow process; `usize::MAX` if all were read.
fn wait(shared: &Shared, limit: Duration, outcome: &mut ReadProcesses) -> usize {
    let mut progress = lock(shared);
    loop {
        let before = progress.processes.len();
        let waited = shared.1.wait_timeout_while(progress, limit, |progress| !progress.finished);
        progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        if progress.finished || progress.processes.len() == before {
            let done = progress.processes.len();
            outcome.processes.append(&mut progress.processes);
            outcome.unjudged.append(&mut progress.unjudged);
            outcome.code_without_file.append(&mut progress.code_without_file);
            return if progress.finished { usize::MAX } else { done };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(pid: Pid) -> ReadRequest {
        ReadRequest { pid, everything: false, unit_known: true, project: false, cmdline: true, maps: true }
    }

    /// The working directory of process 2 does not answer. Process 3 does not answer at all.
    #[test]
    fn a_working_directory_that_does_not_answer_costs_only_the_project() {
        let jobs = (1..=4).map(|pid| ReadRequest { project: true, ..job(pid) }).collect();
        let outcome = read_by(jobs, Duration::from_secs(1), |_, job| {
            if job.pid == 2 && job.project || job.pid == 3 {
                std::thread::sleep(Duration::from_secs(60));
            }
            Process { name: Some("read".to_owned()), ..Process::unknown(job.pid) }
        });
        assert_eq!((&outcome.without_project[..], &outcome.silent[..]), (&[2][..], &[3][..]));
        let named = outcome.processes.iter().filter(|process| process.name.is_some());
        assert_eq!(named.map(|process| process.pid).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn a_process_that_does_not_answer_is_named_and_the_others_are_read() {
        let outcome = read_by((1..=5).map(job).collect(), Duration::from_millis(100), |_, job| {
            if job.pid == 3 && job.cmdline || job.pid == 4 {
                std::thread::sleep(Duration::from_secs(60));
            }
            Process { name: Some("read".to_owned()), ..Process::unknown(job.pid) }
        });
        assert_eq!(outcome.silent, [3, 4]);
        let read: Vec<_> =
            outcome.processes.iter().map(|process| (process.pid, process.name.is_some())).collect();
        assert_eq!(read, [(1, true), (2, true), (3, true), (4, false), (5, true)]);
    }

    #[test]
    fn reading_stops_after_eight_silent_processes() {
        let outcome = read_by((1..=20).map(job).collect(), Duration::from_millis(20), |_, _| {
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        });
        assert_eq!(outcome.silent, (1..=20).collect::<Vec<_>>());
        assert!(outcome.processes.iter().all(|process| process.name.is_none()));
        assert_eq!(outcome.processes.len(), 20);
    }
}
