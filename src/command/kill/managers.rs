//! The programs that stop units and containers of this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail};

use crate::command::print_message;
use crate::judge::HowToStop;
use crate::render::sanitize;

/// The directories of the programs that stop units and containers. `PATH` is not used, because it could lead to other
/// programs.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];
/// The socket of Docker on this machine. Without this option, Docker's client may connect to another machine.
const DOCKER: [&str; 2] = ["--host", "unix:///var/run/docker.sock"];
/// Makes Podman use this machine, even if its configuration names another one.
const PODMAN: &str = "--remote=false";
/// Variables that direct a client to another machine, where a container or unit may have the same name.
const OTHER_MACHINES: [&str; 5] =
    ["DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINER_CONNECTION", "DBUS_SYSTEM_BUS_ADDRESS"];

/// Returns the command for a program in `DIRECTORIES`, without the variables that lead to another machine.
pub(super) fn program(name: &str) -> Result<Command> {
    let mut paths = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    let path = paths.find(|path| path.is_file());
    let mut command =
        Command::new(path.ok_or_else(|| anyhow!("{name}: no such program in {}", DIRECTORIES.join(", ")))?);
    OTHER_MACHINES.iter().for_each(|variable| _ = command.env_remove(variable));
    Ok(command)
}

/// Stops a unit or a container with the program of its manager. If `is_quiet`, the program has no terminal, and the
/// error contains the output of the program.
pub(super) fn run_command(how: &HowToStop<'_>, is_quiet: bool) -> Result<()> {
    let Some((program, words)) =
        how.exact_command().and_then(|words| Some((*words.first()?, words[1..].to_vec())))
    else {
        return Ok(());
    };
    let mut command = self::program(program)?;
    let path = PathBuf::from(command.get_program());
    if !is_quiet {
        print_message(&format!("waiting until {program} {} has ended", sanitize(&words.join(" "))));
    }
    match program {
        "docker" => _ = command.args(DOCKER),
        "podman" => _ = command.arg(PODMAN),
        _ => {}
    }
    command.args(words);
    let failed = |error: io::Error| anyhow!("{}: {error}", path.display());
    let (status, message) = if is_quiet {
        let output = command.stdin(Stdio::null()).output().map_err(failed)?;
        (output.status, String::from_utf8_lossy(&output.stderr).trim().to_owned())
    } else {
        (command.stdout(io::stderr()).status().map_err(failed)?, String::new())
    };
    if !status.success() {
        let message = if message.is_empty() { message } else { format!(": {}", sanitize(&message)) };
        bail!("{}: {status}{message}", path.display());
    }
    Ok(())
}
