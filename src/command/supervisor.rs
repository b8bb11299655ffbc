//! Runs the command in a child process, because a process cannot end while it waits for a file system that does not
//! answer.
//!
//! For example, a thread that reads from a FUSE file system cannot be ended before the file system answers. Therefore
//! the child reports its exit code through a pipe, and this process then ends at once.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_parent_process_death_signal, waitid,
};
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::observe::fuse_is_mounted;

/// The environment variable with the file descriptor of the pipe through which the child reports its exit code.
const PIPE: &str = "PORTOLAN_EXIT_CODE_PIPE";

/// Runs the command with `run` and returns its exit code. If the child process cannot be started, this process runs the
/// command.
pub(super) fn supervised(run: impl FnOnce() -> u8) -> u8 {
    if let Some(mut pipe) = pipe_of_supervisor() {
        // If the supervisor is killed, the command must not continue.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        let code = run();
        let _ = io::stdout().flush();
        let _ = pipe.write_all(&[code]);
        return code;
    }
    match fuse_is_mounted().then(start) {
        Some(Ok((child, codes))) => wait(child, codes),
        _ => run(),
    }
}

/// Returns the pipe to the supervisor if this process is a supervised child.
fn pipe_of_supervisor() -> Option<File> {
    let descriptor: u32 = env::var(PIPE).ok()?.parse().ok()?;
    let pipe = OpenOptions::new().write(true).open(format!("/proc/self/fd/{descriptor}")).ok()?;
    pipe.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()).then_some(pipe)
}

/// Starts this program again with the same arguments. Returns the child, and the pipe for its exit code.
fn start() -> io::Result<(Child, PipeReader)> {
    let (codes, pipe) = io::pipe()?;
    fcntl_setfd(&pipe, FdFlags::empty())?;
    let mut program = Command::new("/proc/self/exe");
    if let Some(name) = env::args_os().next() {
        std::os::unix::process::CommandExt::arg0(&mut program, name);
    }
    let descriptor = pipe.as_fd().as_raw_fd().to_string();
    let child = program.args(env::args_os().skip(1)).env(PIPE, descriptor).spawn()?;
    Ok((child, codes))
}

/// Returns the exit code as soon as the child reports it. If the child ends without a report, this process ends in the
/// same way: with the same exit code, or by the same signal.
fn wait(mut child: Child, mut codes: PipeReader) -> u8 {
    let pid = Pid::from_child(&child);
    if let Ok(mut signals) = Signals::new([SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP]) {
        let pass_all = move || signals.forever().for_each(|signal| pass_on(signal, pid));
        let _ = std::thread::Builder::new().spawn(pass_all);
    }
    let mut code = [0];
    if codes.read_exact(&mut code).is_ok() {
        return code[0];
    }
    let Ok(status) = child.wait() else { return u8::MAX };
    if let Some(signal) = status.signal() {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Passes a signal on to the child. If the child has stopped (SIGCHLD), stops this process too.
fn pass_on(signal: i32, child: Pid) {
    if signal != SIGCHLD {
        let _ = Signal::from_named_raw(signal).map(|signal| kill_process(child, signal));
    } else if let Ok(Some(_)) = waitid(WaitId::Pid(child), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG) {
        let _ = kill_process(getpid(), Signal::STOP);
    }
}
