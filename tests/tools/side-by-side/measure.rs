//! The commands, the cost of each run, and the resulting figures.
//!
//! Every run has a small parent process of its own and is its only child: the cost that the kernel reports for the
//! children of this parent is the cost of the run. The peak memory of a command includes the memory of this parent,
//! some 2 MiB, because the command starts as a copy of it.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Result, role};

/// The commands, each with the index of the command it is compared with.
const COMMANDS: [(&str, usize); 6] = [
    ("ss -tulpn", 0),
    (PORTOLAN, 0),
    ("lsof -nP -i", 0),
    ("netstat -tulpn", 0),
    ("ss -tuln", 4),
    ("portolan --no-holders", 4),
];
const PORTOLAN: &str = "portolan";

/// The cost of one run.
#[derive(Clone, Copy)]
struct Sample {
    /// Wall time in milliseconds.
    wall: f64,
    /// User and system CPU time in milliseconds.
    cpu: f64,
    /// Peak memory in MiB.
    peak: f64,
}

/// A command with its runs so far.
struct ComparedCommand {
    name: &'static str,
    base: usize,
    command: Vec<OsString>,
    absent: bool,
    samples: Vec<Sample>,
}

/// The commands, run in turn.
pub(super) struct Comparison {
    contestants: Vec<ComparedCommand>,
}

/// The results of a command.
pub(super) struct Measured {
    pub name: &'static str,
    /// The command that the ratios refer to.
    pub base: &'static str,
    /// `None` if the command is absent.
    pub figures: Option<Figures>,
}

/// Medians.
pub(super) struct Figures {
    pub wall: f64,
    pub cpu: f64,
    pub peak: f64,
    /// The number of system calls of one run, if `strace` is available.
    pub calls: Option<u64>,
    /// Wall and CPU time divided by those of the base in the same round.
    pub ratios: Option<(f64, f64)>,
    pub rounds: usize,
}

impl Comparison {
    pub(super) fn new(portolan: &Path) -> Self {
        let word = |word: &str| if word == PORTOLAN { portolan.into() } else { word.into() };
        let contestant = |(name, base): (&'static str, usize)| ComparedCommand {
            name,
            base,
            command: name.split(' ').map(word).collect(),
            absent: false,
            samples: Vec::new(),
        };
        Comparison { contestants: COMMANDS.map(contestant).into() }
    }

    /// Runs one round to warm up and to find the available commands, then as many rounds as requested within the
    /// time.
    pub(super) fn run(&mut self, rounds: usize, limit: Duration) -> Result<()> {
        for contestant in &mut self.contestants {
            contestant.absent = run(&contestant.command)?.is_none();
        }
        let start = Instant::now();
        for round in 0..rounds {
            if round > 0 && start.elapsed() > limit {
                break;
            }
            for contestant in self.contestants.iter_mut().filter(|c| !c.absent) {
                contestant.samples.extend(run(&contestant.command)?);
            }
        }
        Ok(())
    }

    pub(super) fn measured(&self) -> Vec<Measured> {
        let figures = |contestant: &ComparedCommand| {
            let samples = &contestant.samples;
            let base = &self.contestants[contestant.base].samples;
            let of = |what: fn(&Sample) -> f64| median(samples.iter().map(what).collect());
            let ratio = |what: fn(&Sample) -> f64| {
                median(samples.iter().zip(base).map(|(own, base)| what(own) / what(base)).collect())
            };
            Some(Figures {
                wall: of(|s| s.wall)?,
                cpu: of(|s| s.cpu)?,
                peak: of(|s| s.peak)?,
                calls: calls(&contestant.command),
                ratios: ratio(|s| s.wall).zip(ratio(|s| s.cpu)),
                rounds: samples.len(),
            })
        };
        self.contestants
            .iter()
            .map(|c| Measured { name: c.name, base: COMMANDS[c.base].0, figures: figures(c) })
            .collect()
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Runs a command once; returns `None` if the command does not exist.
fn run(command: &[OsString]) -> Result<Option<Sample>> {
    let output = Command::new(std::env::current_exe()?).arg(role::RUN).args(command).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = printed.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [wall, cpu, peak] => Ok(Some(Sample { wall, cpu, peak })),
        _ if output.status.success() => Ok(None),
        _ => Err(String::from_utf8(output.stderr)?.into()),
    }
}

/// Acts as the parent of one run: prints wall and CPU time and the peak memory, or nothing if the command does not
/// exist.
pub(super) fn child(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().ok_or("no command to run")?;
    let start = Instant::now();
    let ended = silent(Command::new(program).args(arguments)).status();
    let wall = start.elapsed();
    let took = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    match ended {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ExitCode::SUCCESS),
        // lsof and portolan end with 1 if nothing matched.
        Ok(status) if matches!(status.code(), Some(0 | 1)) => {}
        other => return Err(format!("{}: {other:?}", program.display()).into()),
    }
    let cpu = (took.user_time() + took.system_time()).num_microseconds();
    let (ms, mib) = (1e3, 1024.0);
    #[allow(clippy::cast_precision_loss, reason = "neither comes near what a double cannot hold")]
    let (cpu, peak) = (cpu as f64 / ms, took.max_rss() as f64 / mib);
    writeln!(io::stdout(), "{} {cpu} {peak}", wall.as_secs_f64() * ms)?;
    Ok(ExitCode::SUCCESS)
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Returns the number of system calls of a run of a command, including its threads and children.
fn calls(command: &[OsString]) -> Option<u64> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "--"]).args(command);
    let output = silent(&mut strace).stderr(Stdio::piped()).output().ok()?;
    // The command's own messages come first.
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    printed.lines().rev().find_map(|line| line.trim().strip_suffix(" total")?.trim().parse().ok())
}

/// The numbers of portolan's own report.
pub(super) struct View {
    complete: bool,
    listeners: usize,
    held: usize,
    servers: usize,
    gaps: Vec<String>,
}

/// Runs portolan once, before anything is measured.
pub(super) fn view(portolan: &Path) -> Result<View> {
    let output = Command::new(portolan).args(["-o", "json"]).stdin(Stdio::null()).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{}: {}", portolan.display(), String::from_utf8_lossy(&output.stderr).trim()))?;
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let listeners = list("listeners");
    Ok(View {
        complete: report["complete"] == true,
        listeners: listeners.len(),
        held: listeners.iter().filter(|l| l["owner"] == "held").count(),
        servers: listeners.iter().map(|l| l["processes"].as_array().map_or(0, Vec::len)).sum(),
        gaps: list("gaps")
            .iter()
            .map(|gap| format!("{} ({})", text(&gap["what"]), text(&gap["why"])))
            .collect(),
    })
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let View { complete, listeners, held, servers, gaps } = self;
        let complete = if *complete { "a complete view" } else { "an incomplete view" };
        write!(
            f,
            "{complete}, {listeners} listeners, {held} of them with a process found, {servers} owners in all"
        )?;
        gaps.iter().try_for_each(|gap| write!(f, "; not seen: {gap}"))
    }
}
