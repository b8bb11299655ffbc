//! The program: the library runs the command and returns the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    portolan::run()
}
