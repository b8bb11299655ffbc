//! Finds threads that wait in a system call on a socket after its descriptor was closed. The call keeps the socket
//! open, although no descriptor refers to it. The thread still receives the next client or packet.

use std::time::Duration;

use nix::libc;
use rustix::fs::{CWD, readlinkat_raw};
use rustix::io::Errno;

use super::files::{numbers, slurp};
use crate::model::{Gap, Pid, Stage};

/// The system calls that wait for a client or for data, and that work only on sockets.
const CALLS: [libc::c_long; 5] =
    [libc::SYS_accept, libc::SYS_accept4, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg];
/// The maximum number of threads to read. Reading so many threads takes about a second.
const MOST_THREADS: usize = 100_000;
/// How many times a waiting thread is checked again. In an ordinary program, the call ends shortly after the socket was
/// closed. So one check would report such a program by mistake.
const CHECKS: usize = 3;
const BETWEEN_CHECKS: Duration = Duration::from_millis(20);

/// Returns a gap with the processes whose threads wait on a closed descriptor. If no thread does, but some threads were
/// not read, returns a gap that says so.
pub(super) fn gap(pids: &[Pid]) -> Option<Gap> {
    let mut left = MOST_THREADS;
    let mut waiting: Vec<(Pid, Pid, u32)> = Vec::new();
    for &pid in pids {
        for thread in numbers(format!("/proc/{pid}/task")).unwrap_or_default() {
            left = left.saturating_sub(1);
            if left == 0 {
                break;
            }
            waiting.extend(closed(pid, thread).map(|descriptor| (pid, thread, descriptor)));
        }
    }
    for _ in 0..CHECKS {
        if waiting.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN_CHECKS);
        waiting.retain(|&(pid, thread, descriptor)| closed(pid, thread) == Some(descriptor));
    }
    let mut found: Vec<Pid> = waiting.into_iter().map(|(pid, ..)| pid).collect();
    found.dedup();
    if found.is_empty() {
        let why = "there are too many threads; not all were read";
        return (left == 0).then(|| Gap::new(Stage::Owners, "threads that may be waiting for clients", why));
    }
    let what = match found.len() {
        1 => "process that waits for clients on a closed descriptor",
        _ => "processes that wait for clients on a closed descriptor",
    };
    let why = "a thread waits in a system call on a socket whose descriptor was closed; the kernel's tables may not list this socket";
    Some(Gap::new(Stage::Owners, what, why).counted(found.len()).of_processes(found, "linux"))
}

/// Returns the descriptor on which a thread waits, if the descriptor was closed or is now another kind of file.
fn closed(pid: Pid, thread: Pid) -> Option<u32> {
    let text = slurp(format!("/proc/{pid}/task/{thread}/syscall"), 256, 256).ok()?;
    let descriptor = waits_on(&text)?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    match readlinkat_raw(CWD, format!("/proc/{pid}/task/{thread}/fd/{descriptor}"), &mut buffer) {
        Ok((link, _)) => !link.starts_with(b"socket:["),
        Err(errno) => matches!(errno, Errno::NOENT | Errno::NAMETOOLONG),
    }
    .then_some(descriptor)
}

/// Parses `/proc/PID/syscall`: the number of the call, then its arguments (`43 0x3 0x0 …`). Returns the descriptor if
/// the call is one of [`CALLS`].
fn waits_on(text: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let call = words.next()?.parse().ok()?;
    let argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    // The kernel uses only the lower 32 bits of the register as the descriptor.
    CALLS.contains(&call).then_some(u32::try_from(argument & 0xffff_ffff).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_wait() {
        let accept = format!("{} 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f01\n", libc::SYS_accept4);
        assert_eq!(waits_on(accept.as_bytes()), Some(3));
        for other in ["running\n", "-1 0x7ffd 0x7f01\n", "", "x 0x3", &format!("{} 3", libc::SYS_accept)] {
            assert_eq!(waits_on(other.as_bytes()), None, "{other}");
        }
        assert_eq!(waits_on(format!("{} 0x3", libc::SYS_close).as_bytes()), None);
    }
}
