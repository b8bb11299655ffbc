//! Runs system programs for facts that have no other source, with a clean environment and limits of time and size.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The time limit. An answer usually takes far less than a second.
const LIMIT: Duration = Duration::from_secs(10);
/// The maximum size of the output. A package of 10,000 files prints 1.5 MiB, and 100,000 rules of a firewall print
/// about 20 MiB.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Runs the program at a fixed path; returns its output.
///
/// # Errors
///
/// Returns the reason if there is no complete answer: a text that begins with the path.
pub(super) fn output(
    path: &str,
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Vec<u8>, String> {
    let mut child = Command::new(path)
        .args(arguments.into_iter().map(Into::into))
        .env_clear()
        // A user's files could run programs, for example through macros of rpm.
        .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C"), ("HOME", "/nonexistent")])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{path}: {error}"))?;
    let output = read(&mut child, path);
    let _ = child.kill();
    let _ = child.wait();
    output
}

/// Returns the output of the program within the limits.
fn read(child: &mut Child, path: &str) -> Result<Vec<u8>, String> {
    let Some(stdout) = child.stdout.take() else { return Err(format!("{path}: no output")) };
    let (sender, receiver) = mpsc::channel();
    let reader = move || {
        let mut bytes = Vec::new();
        let read = stdout.take(LARGEST + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    };
    std::thread::Builder::new().spawn(reader).map_err(|error| format!("{path}: {error}"))?;
    match receiver.recv_timeout(LIMIT) {
        Ok(Ok(bytes)) if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST) => Ok(bytes),
        Ok(Ok(_)) => Err(format!("{path}: too much output")),
        Ok(Err(error)) => Err(format!("{path}: {error}")),
        Err(_) => Err(format!("{path}: no answer within {} s", LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints() {
        assert_eq!(output("/bin/sh", ["-c", "echo $LC_ALL $USER $PWD"]), Ok(b"C /\n".to_vec()));
        assert!(output("/nonexistent", [""; 0]).unwrap_err().starts_with("/nonexistent: "));
    }
}
