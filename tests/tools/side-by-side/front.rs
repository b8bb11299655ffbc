//! The command line, the role in which this process runs, and the table of results.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};

mod measure;
mod scene;

use measure::{Comparison, Measured};
use scene::{Load, Scene};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The roles in which this program starts itself, as first argument.
mod role {
    /// The first process in the namespaces: builds the load and measures.
    pub(super) const SCENE: &str = "@scene";
    /// A process of the load.
    pub(super) const SERVER: &str = "@server";
    /// Runs one command and prints its cost.
    pub(super) const RUN: &str = "@run";
}

/// Measures portolan, ss, lsof and netstat, in turn, round after round
///
/// As root and with a scene or a number, the commands run on a load in separate namespaces; otherwise on the current
/// state of this machine. Ratios are medians of the ratios within a round: machines are noisy, rounds less so.
#[derive(Parser)]
#[command(name = "side-by-side")]
struct Options {
    /// The load to measure on; the options below change it
    #[arg(ignore_case = true)]
    scene: Option<Preset>,
    /// Listeners, TCP and UDP together
    #[arg(long, value_name = "N")]
    listeners: Option<usize>,
    /// How many of the listeners are UDP
    #[arg(long, value_name = "N")]
    udp: Option<usize>,
    /// Established sockets: two for each connection
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Processes in total
    #[arg(long, value_name = "N")]
    processes: Option<usize>,
    /// Number of processes that own the sockets and descriptors; the others sleep
    #[arg(long, value_name = "N")]
    servers: Option<usize>,
    /// Open descriptors in total
    #[arg(long, value_name = "N")]
    descriptors: Option<usize>,
    /// The program to measure; the default is the program of the same build
    #[arg(long, value_name = "PATH")]
    portolan: Option<PathBuf>,
    /// Rounds to run, after one to warm up
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: usize,
    /// Begin no further round after this number of seconds
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// A small server: 20 listeners, 52 processes
    #[value(name = "S1")]
    S1,
    /// A busy server: 150 listeners, 402 processes, 2,000 established sockets
    #[value(name = "S2")]
    S2,
    /// Many listeners: 2,000, in 502 processes with 104,000 descriptors, 20,000 established sockets
    #[value(name = "S3")]
    S3,
    /// Many processes: 5,202 with 106,000 descriptors, 350 listeners, 80,000 established sockets
    #[value(name = "S4")]
    S4,
}

impl Preset {
    const fn load(self) -> Load {
        let (listeners, udp, connections, processes, servers, descriptors) = match self {
            Preset::S1 => (20, 6, 20, 52, 10, 330),
            Preset::S2 => (150, 40, 2_000, 402, 100, 7_400),
            Preset::S3 => (2_000, 300, 20_000, 502, 500, 104_000),
            Preset::S4 => (350, 50, 80_000, 5_202, 200, 106_000),
        };
        Load { listeners, udp, connections, processes, servers, descriptors }
    }
}

impl Options {
    /// Returns the requested load, if there is one.
    fn load(&self) -> Option<Load> {
        let numbers =
            [self.listeners, self.udp, self.connections, self.processes, self.servers, self.descriptors];
        if self.scene.is_none() && numbers.iter().all(Option::is_none) {
            return None;
        }
        let base = self.scene.unwrap_or(Preset::S1).load();
        let [listeners, udp, connections, processes, servers, descriptors] = numbers;
        Some(Load {
            listeners: listeners.unwrap_or(base.listeners),
            udp: udp.unwrap_or(base.udp),
            connections: connections.unwrap_or(base.connections),
            processes: processes.unwrap_or(base.processes),
            servers: servers.unwrap_or(base.servers),
            descriptors: descriptors.unwrap_or(base.descriptors),
        })
    }
}

pub(super) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match play(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "side-by-side: {error}");
            ExitCode::from(2)
        }
    }
}

fn play(arguments: &[OsString]) -> Result<ExitCode> {
    let (within, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == role::RUN => return measure::child(rest),
        Some((first, rest)) if first == role::SERVER => return scene::hold(rest),
        Some((first, rest)) if first == role::SCENE => (true, rest),
        _ => (false, arguments),
    };
    let options = Options::parse_from([OsString::from("side-by-side")].iter().chain(arguments));
    let load = options.load();
    if load.is_some() && !within {
        // The namespaces belong to the child; this process stays outside and waits for it.
        match scene::leave() {
            Ok(()) => {
                let child =
                    Command::new(std::env::current_exe()?).arg(role::SCENE).args(arguments).status()?;
                return Ok(if child.success() { ExitCode::SUCCESS } else { ExitCode::from(2) });
            }
            Err(error) => writeln!(
                io::stderr(),
                "side-by-side: no namespaces for the load: {error} (run as root); this machine as it is, then"
            )?,
        }
    }
    let scene = load.filter(|_| within).map(Scene::build).transpose()?;
    let portolan = match options.portolan {
        Some(path) => path,
        // The examples are built into a subdirectory next to the program.
        None => std::env::current_exe()?.with_file_name("../portolan"),
    };
    let portolan = portolan.canonicalize().map_err(|e| format!("{}: {e}", portolan.display()))?;
    let view = measure::view(&portolan)?;
    let mut out = io::stdout().lock();
    match &scene {
        Some(scene) => writeln!(out, "Load: {scene}")?,
        None => writeln!(out, "Load: this machine as it is")?,
    }
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    writeln!(out, "Load averages: {}", busy.split(' ').take(3).collect::<Vec<_>>().join(" "))?;
    writeln!(out, "portolan: {view}\n")?;
    let mut contest = Comparison::new(&portolan);
    contest.run(options.rounds, Duration::from_secs(options.seconds))?;
    print(&contest.measured(), &mut out)?;
    Ok(ExitCode::SUCCESS)
}

fn print(measured: &[Measured], out: &mut impl Write) -> io::Result<()> {
    let mut row = |name: &str, cells: [&str; 7]| {
        let [wall, cpu, peak, calls, wall_ratio, cpu_ratio, base] = cells;
        writeln!(
            out,
            "| {name:22} | {wall:>8} | {cpu:>8} | {peak:>8} | {calls:>8} | {wall_ratio:>6} | {cpu_ratio:>6} | {base:9} |"
        )
    };
    row("command", ["wall ms", "CPU ms", "peak MiB", "calls", "wall", "CPU", "times"])?;
    row("---", ["--:", "--:", "--:", "--:", "--:", "--:", "---"])?;
    for Measured { name, base, figures } in measured {
        let Some(figures) = figures else {
            row(name, ["absent", "", "", "", "", "", ""])?;
            continue;
        };
        let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let cells = [
            format!("{:.2}", figures.wall),
            format!("{:.2}", figures.cpu),
            format!("{:.1}", figures.peak),
            figures.calls.map_or("-".to_owned(), |calls| calls.to_string()),
            ratio(figures.ratios.map(|ratios| ratios.0)),
            ratio(figures.ratios.map(|ratios| ratios.1)),
            (*base).to_owned(),
        ];
        row(name, cells.each_ref().map(String::as_str))?;
    }
    let figures = || measured.iter().filter_map(|measured| measured.figures.as_ref());
    writeln!(out, "\nMedians of {} rounds.", figures().map(|f| f.rounds).max().unwrap_or(0))?;
    if figures().all(|figures| figures.calls.is_none()) {
        writeln!(out, "No system calls were counted: strace is absent, too old or not allowed to trace.")?;
    }
    Ok(())
}
