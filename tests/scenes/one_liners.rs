//! The table of one-liners in `src/docs`: each Portolan command has the effect that the table describes, on one
//! machine with all situations at once. It is no longer than the command that it replaces, and it shows the same
//! processes as the other tool, if the tool is installed.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;

use crate::lab::{Lab, Outcome, Scene, Server, sleep, tcp, udp};
use crate::same;

pub const SCENES: &[Scene] = &[("one_liners_of_the_table", one_liners_of_the_table)];

/// The user ID of `www-data`, from Debian's base-passwd.
const WWW_DATA: u32 = 33;

/// The first pid in the scene, which the table names.
const FIRST: u32 = 4711;

/// Returns the rows: the usual command, and the Portolan command.
fn rows() -> Result<Vec<(String, String)>, Failed> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/one-liners.md");
    let page = fs::read_to_string(page)?;
    let rows = page.lines().filter(|line| line.starts_with('|')).skip(2).map(|line| {
        let line = line.replace("\\|", "\0");
        let mut cells = line.split('|').skip(2).map(|cell| cell.trim().trim_matches('`').replace('\0', "|"));
        cells.next().zip(cells.next()).ok_or_else(|| format!("no row: {line}").into())
    });
    rows.collect()
}

/// Returns the known pids that an output contains.
fn printed(output: &Output, known: &BTreeSet<u32>) -> BTreeSet<u32> {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let numbers = texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_digit()));
    numbers.filter_map(|number| number.parse().ok()).filter(|pid| known.contains(pid)).collect()
}

fn one_liners_of_the_table(lab: &Lab) -> Outcome {
    let rows = rows()?;
    same!(rows.len(), 30, "the page promises as many");
    for (usual, ours) in &rows {
        same!(ours.chars().count() <= usual.chars().count(), true, "{ours} is longer than {usual}");
    }
    lab.alone()?;
    // The pids must not equal other numbers in the output: the next process gets this pid.
    shell(lab, &format!("echo {} >/proc/sys/kernel/ns_last_pid", FIRST - 1))?;
    let web = TcpListener::bind("0.0.0.0:80")?;
    let client = TcpStream::connect("127.0.0.1:80")?;
    let accepted = web.accept()?.0;
    let nginx = lab.sleeper_called(b"nginx")?;
    let nginx_sockets = vec![OwnedFd::from(web), tcp("127.0.0.1:8080")?, OwnedFd::from(accepted)];
    let mut servers = vec![Server::start_as(&nginx, nginx_sockets, Some(WWW_DATA))?];
    for sockets in [
        vec![OwnedFd::from(client)],
        vec![tcp("0.0.0.0:3416")?],
        vec![tcp("127.0.0.1:3000")?],
        vec![tcp("127.0.0.1:5432")?],
        vec![udp("[::]:3414")?, udp("0.0.0.0:53")?],
        vec![tcp("[::1]:8001")?],
    ] {
        servers.push(Server::start(&sleep(), sockets)?);
    }
    let known: BTreeSet<u32> = servers.iter().map(Server::pid).collect();
    same!(known.first(), Some(&FIRST), "{known:?}");

    let mut compared = 0;
    for (usual, ours) in &rows {
        let kills = ours.starts_with("kill");
        let waits = ours.contains("--until") || kills;
        if kills && is_installed("lsof") {
            // The processes that the command would end, before it runs.
            let inner = |line: &str| line.trim_start_matches("kill $(").trim_end_matches(')').to_owned();
            let [usual, ours] = [usual, ours].map(|line| shell(lab, &inner(line)));
            same!(String::from_utf8(usual?.stdout)?, String::from_utf8(ours?.stdout)?);
            compared += 1;
        }
        // `watch` does not end by itself.
        let output =
            shell(lab, &if ours == "portolan watch" { format!("timeout 2 {ours}") } else { ours.clone() })?;
        let code = if ours == "portolan watch" { Some(124) } else { Some(0) };
        same!(output.status.code(), code, "{ours}: {output:?}");
        same!(output.stdout.is_empty(), waits, "{ours}: {output:?}");
        if kills {
            // A signal takes some time to be delivered.
            for _ in 0..100 {
                servers.retain_mut(|server| !server.has_ended());
                if servers.len() < known.len() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            same!(servers.len(), known.len() - 1, "{ours}");
        }
        if waits || usual.starts_with("watch") || usual.contains("findstr") || usual.contains("Get-") {
            continue;
        }
        let tools = usual.split([' ', '(']).filter(|word| ["ss", "lsof", "netstat", "fuser"].contains(word));
        if let Some(absent) = tools.into_iter().find(|tool| !is_installed(tool)) {
            eprintln!("{absent} is not installed here: its opinion is left out");
            continue;
        }
        let theirs = shell(lab, usual)?;
        let pids = printed(&theirs, &known);
        if !pids.is_empty() {
            same!(printed(&output, &known), pids, "{ours} and {usual}: {output:?} {theirs:?}");
            compared += 1;
        }
    }
    eprintln!("{compared} of the one-liners compared with the tools themselves");
    Ok(())
}

fn is_installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs a line as a user types it, with this program first in PATH.
fn shell(lab: &Lab, line: &str) -> Result<Output, Failed> {
    let program = lab.portolan([""; 0]);
    let directory = Path::new(program.get_program()).parent().ok_or("no directory")?.display().to_string();
    let path = format!("{directory}:{}", std::env::var("PATH")?);
    let mut command = Command::new("bash");
    command.args(["-c", line]).env("PATH", path).env_remove("NO_COLOR").stdin(Stdio::null());
    Ok(command.output()?)
}
