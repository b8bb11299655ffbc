//! Each row of `programs.tsv`, as a running program: a file with its name, its arguments, and its ports.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server, listeners};
use crate::same;

pub const SCENES: &[Scene] = &[("every_program_is_recognised", every_program_is_recognised)];

/// Contains the places at which [`serve`] listens.
pub const PLACES: &str = "PORTOLAN_SCENE_PLACES";
/// Contains the name that [`serve`] gives its process.
pub const NAME: &str = "PORTOLAN_SCENE_NAME";

const PROGRAMS: &str = include_str!("../../src/registry/data/programs.tsv");
const INTERPRETERS: &str = include_str!("../../src/registry/data/interpreters.tsv");

/// The number of programs that run at the same time.
const BATCH: usize = 200;

#[derive(Debug)]
struct Row {
    name: &'static str,
    product: &'static str,
    ports: Vec<(&'static str, u16)>,
    /// The file name and the arguments.
    command: (&'static str, Vec<String>),
}

fn fields(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

/// Returns the rows that have ports, except those of the kernel, which has no process. Both ends of a range stand for
/// the range.
fn rows() -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for line in fields(PROGRAMS).filter(|line| !line[0].starts_with('[')) {
        let command = command_line(line[0], line[1]);
        let mut row = Row { name: line[0], product: line[2], ports: Vec::new(), command };
        for part in line[3].split(',').filter(|part| !part.is_empty()) {
            let (protocol, ports) = part.split_once('/').ok_or(part)?;
            let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
            row.ports.push((protocol, low.parse()?));
            if low != high {
                row.ports.push((protocol, high.parse()?));
            }
        }
        // A range may contain another port of the row.
        row.ports.sort_unstable();
        row.ports.dedup();
        if !row.ports.is_empty() {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Returns the file name and the arguments of a row's program.
fn command_line(name: &'static str, matches: &'static str) -> (&'static str, Vec<String>) {
    if let Some(file) = matches.strip_prefix("exe=") {
        return (file, Vec::new());
    }
    let Some(text) = matches.strip_prefix("arg=") else { return (name, Vec::new()) };
    // The name of a row with arguments is that of an interpreter, a path that a script of Perl sets as its name, or
    // another name that a script of Python sets.
    if let Some((directory, _)) = name.rsplit_once('/') {
        return ("perl", vec![format!("{directory}/{text} (master)")]);
    }
    let file = match fields(INTERPRETERS).find(|line| line[0] == name) {
        Some(line) => line[1].split(['|', '[', '?', '*']).next().unwrap_or_default(),
        None => "python",
    };
    (if file == "python" { "python3" } else { file }, text.split(' ').map(str::to_owned).collect())
}

/// Listens at the places, and waits until its standard input ends.
pub fn serve(places: &str) -> ExitCode {
    let mut sockets: (Vec<TcpListener>, Vec<UdpSocket>) = Default::default();
    for place in places.split(',') {
        let opened = match place.split_once('/') {
            Some(("udp", place)) => UdpSocket::bind(place).map(|socket| sockets.1.push(socket)),
            Some((_, place)) => TcpListener::bind(place).map(|socket| sockets.0.push(socket)),
            None => Err(std::io::ErrorKind::InvalidInput.into()),
        };
        if let Err(error) = opened {
            eprintln!("{place}: {error}");
            return ExitCode::FAILURE;
        }
    }
    let named = std::env::var(NAME).ok().and_then(|name| std::ffi::CString::new(name).ok());
    if named.is_none_or(|name| rustix::thread::set_name(&name).is_err()) {
        return ExitCode::FAILURE;
    }
    println!("ready");
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// Starts a row's program, which listens at an address of its own on each of the row's ports.
fn start(lab: &Lab, row: &Row, address: Ipv4Addr) -> Result<Server, libtest_mimic::Failed> {
    let (file, arguments) = &row.command;
    let program = lab.directory_of_mode("bin", 0o755)?.join(file);
    fs::create_dir_all(program.parent().ok_or("no parent")?)?;
    fs::hard_link(lab.path("helper"), &program)?;
    let places: Vec<_> =
        row.ports.iter().map(|(protocol, port)| format!("{protocol}/{address}:{port}")).collect();
    let mut command = Command::new(program);
    command.env(PLACES, places.join(",")).env(NAME, row.name);
    match &arguments[..] {
        // A script of Perl writes its name over its whole command line.
        [title] if row.name.starts_with('/') => command.arg0(title),
        arguments => command.args(arguments),
    };
    Server::ready(&mut command)
}

/// Returns what is wrong with the listener of a row on one of its ports.
fn fault(row: &Row, products: &[&str], listener: Option<&Value>) -> Option<String> {
    let Some(listener) = listener else { return Some("no listener".to_owned()) };
    let service = &listener["service"];
    let product = service["product"].as_str().unwrap_or_default();
    // The first program of a system listens for other programs, so its port names the service.
    let is_recognised = match row.name {
        "launchd" => service["by"] == "port",
        _ => service["by"] == "process" && (product == row.product || products.contains(&product)),
    };
    (!is_recognised).then(|| service.to_string())
}

fn every_program_is_recognised(lab: &Lab) -> Outcome {
    lab.alone()?;
    let rows = rows().map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    for batch in rows.chunks(BATCH) {
        let mut servers = Vec::new();
        for (index, row) in (0_u32..).zip(batch) {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + index);
            servers.push((
                row,
                address,
                start(lab, row, address).map_err(|failed| format!("{row:?}: {failed:?}"))?,
            ));
        }
        let report = lab.json(&[])?;
        let by_place: BTreeMap<_, _> = listeners(&report)?
            .iter()
            .map(|one| ((one["address"].as_str(), one["protocol"].as_str(), one["port"].as_u64()), one))
            .collect();
        for (row, address, _server) in &servers {
            // Programs with the same name and arguments differ only in their ports.
            let namesakes: Vec<_> =
                rows.iter().filter(|other| other.command == row.command).map(|other| other.product).collect();
            for (protocol, port) in &row.ports {
                let address = address.to_string();
                let listener =
                    by_place.get(&(Some(address.as_str()), Some(protocol), Some(u64::from(*port))));
                if let Some(fault) = fault(row, &namesakes, listener.copied()) {
                    faults.push(format!("{protocol}/{port}: {fault}, not {row:?}"));
                }
            }
        }
    }
    same!(faults.len(), 0, "of {} programs: {faults:#?}", rows.len());
    same!(rows.len() > 900, true, "{}", rows.len());
    Ok(())
}
