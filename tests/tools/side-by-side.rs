//! Measures this program next to `ss`, `lsof` and `netstat`, on a generated load or on the current state of this
//! machine. The README says how to run it, and `--help` explains the options.
//!
//! As root, the load runs in pid, network and mount namespaces of its own, so every run sees the same load, and the
//! load ends with the namespaces. No traffic leaves the loopback device of the namespaces.

#[cfg(target_os = "linux")]
#[path = "side-by-side/front.rs"]
mod front;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    front::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;

    let _ = writeln!(std::io::stderr(), "side-by-side: its load and what it compares are Linux's");
    std::process::ExitCode::from(2)
}
