//! Runs system programs for facts that have no other source. The programs get a clean environment, and their time and
//! output are limited.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// The time limit of one program. Programs usually answer in well below a second.
const LIMIT: Duration = Duration::from_secs(10);
/// The time limit of all programs that share a budget. It is needed because a machine can have a thousand network
/// namespaces.
const TOTAL: Duration = Duration::from_secs(20);
/// The maximum size of the output. A package of 10,000 files prints 1.5 MiB; a firewall of 100,000 rules prints about
/// 20 MiB.
const LARGEST: u64 = 64 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct TimeBudget(Mutex<Duration>);

impl Default for TimeBudget {
    fn default() -> Self {
        TimeBudget(Mutex::new(TOTAL))
    }
}

/// Runs the program at a fixed path and returns its output. The program is ended when its time limit or the budget is
/// used up. An error begins with the path.
pub(super) fn output(
    path: &str,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
    budget: &TimeBudget,
) -> Result<Vec<u8>, String> {
    let mut left = budget.0.lock().unwrap_or_else(PoisonError::into_inner);
    if left.is_zero() {
        return Err(format!(
            "{path}: the program was not run, because earlier programs took more than {} s",
            TOTAL.as_secs()
        ));
    }
    let start = Instant::now();
    let output = output_within(path, arguments, LIMIT.min(*left));
    *left = left.saturating_sub(start.elapsed());
    output
}

fn output_within(
    path: &str,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
    limit: Duration,
) -> Result<Vec<u8>, String> {
    let mut child = Command::new(path)
        .args(arguments.into_iter().map(Into::into))
        .env_clear()
        // `HOME` is replaced, because files in the home directory of a user could make a program run other programs.
        // Macros of rpm are an example.
        .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C"), ("HOME", "/nonexistent")])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{path}: {error}"))?;
    let output = read(&mut child, path, limit);
    let _ = child.kill();
    let _ = child.wait();
    output
}

fn read(child: &mut Child, path: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let Some(stdout) = child.stdout.take() else {
        return Err(format!("{path}: the program printed nothing"));
    };
    let (sender, receiver) = mpsc::channel();
    let reader = move || {
        let mut bytes = Vec::new();
        let read = stdout.take(LARGEST + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    };
    std::thread::Builder::new().spawn(reader).map_err(|error| format!("{path}: {error}"))?;
    match receiver.recv_timeout(limit) {
        Ok(Ok(bytes)) if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) => Ok(bytes),
        Ok(Ok(_)) => Err(format!("{path}: the program printed too much")),
        Ok(Err(error)) => Err(format!("{path}: {error}")),
        Err(_) => Err(format!("{path}: the program did not end within {} s", limit.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints() {
        let budget = TimeBudget::default();
        assert_eq!(output("/bin/sh", ["-c", "echo $LC_ALL $USER $PWD"], &budget), Ok(b"C /\n".to_vec()));
        assert!(output("/nonexistent", [""; 0], &budget).unwrap_err().starts_with("/nonexistent: "));
    }

    #[test]
    fn programs_share_one_time_limit() {
        let budget = TimeBudget(Mutex::new(Duration::from_millis(50)));
        let ask = || output("/bin/sh", ["-c", "sleep 60"], &budget).unwrap_err();
        assert_eq!(ask(), "/bin/sh: the program did not end within 0 s");
        assert_eq!(ask(), "/bin/sh: the program was not run, because earlier programs took more than 20 s");
    }
}
