//! Sends signals to processes through pidfds. Each process is opened before it is checked, so a signal never reaches a
//! process that reuses the pid.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid as RawPid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};

use crate::model::Pid;

/// A set of processes, each open as a pidfd.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeMap<Pid, OwnedFd>);

impl Processes {
    /// Opens further processes. A process that has ended is left out.
    pub(super) fn open(&mut self, pids: impl IntoIterator<Item = Pid>) -> Result<()> {
        for pid in pids {
            let raw = i32::try_from(pid).ok().and_then(RawPid::from_raw);
            let raw = raw.ok_or_else(|| anyhow!("pid {pid}: not a process that can be ended"))?;
            match test_kill_process(raw).and_then(|()| pidfd_open(raw, PidfdFlags::empty())) {
                Ok(process) => _ = self.0.insert(pid, process),
                Err(Errno::SRCH) => _ = self.0.remove(&pid),
                Err(Errno::PERM) => {
                    return Err(anyhow!(
                        "pid {pid}: belongs to another user; nothing was ended; run with sudo"
                    ));
                }
                Err(errno) => return Err(anyhow!("pid {pid}: {errno}; nothing was ended")),
            }
        }
        Ok(())
    }

    /// Returns whether a process was opened and has not ended.
    pub(super) fn is_alive(&self, pid: Pid) -> bool {
        self.0.get(&pid).is_some_and(|process| !has_ended(process, Duration::ZERO))
    }

    pub(super) fn alive(&self, pids: &[Pid]) -> Vec<Pid> {
        pids.iter().copied().filter(|pid| self.is_alive(*pid)).collect()
    }

    pub(super) fn signal(&self, pids: &[Pid], signal: Signal) -> Result<()> {
        for pid in pids {
            let Some(process) = self.0.get(pid) else { continue };
            match pidfd_send_signal(process, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(anyhow!("pid {pid}: {errno}")),
            }
        }
        Ok(())
    }

    /// Waits until `end` at the latest. Returns whether all given processes have ended.
    pub(super) fn wait(&self, pids: &[Pid], end: Instant) -> bool {
        pids.iter().all(|pid| {
            let left = end.saturating_duration_since(Instant::now());
            self.0.get(pid).is_none_or(|process| has_ended(process, left))
        })
    }
}

/// Returns whether a process ends within this time. When a process ends, its pidfd becomes readable (`pidfd_open(2)`).
fn has_ended(process: &OwnedFd, within: Duration) -> bool {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            count => return count == Ok(1),
        }
    }
}
