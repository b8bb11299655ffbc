//! The commands, what each run of them takes, and the figures that come of it.
//!
//! Every run has a small parent of its own, whose only child it is: what the kernel then tells of the children of that
//! parent is the run's. A command's peak of memory counts from that parent's on, some 2 MiB, for it is born as its copy.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Result, role};

/// The commands, and which of them each is measured against.
const COMMANDS: [(&str, usize); 6] = [
    ("ss -tulpn", 0),
    (PORTOLAN, 0),
    ("lsof -nP -i", 0),
    ("netstat -tulpn", 0),
    ("ss -tuln", 4),
    ("portolan --no-holders", 4),
];
const PORTOLAN: &str = "portolan";

/// What one run took.
#[derive(Clone, Copy)]
struct Sample {
    /// Milliseconds on the clock.
    wall: f64,
    /// Milliseconds of processor, of the user's and the kernel's.
    cpu: f64,
    /// MiB at the most.
    peak: f64,
}

/// A command with its runs so far.
struct Contestant {
    name: &'static str,
    base: usize,
    command: Vec<OsString>,
    absent: bool,
    samples: Vec<Sample>,
}

/// The commands, run in turn.
pub(super) struct Contest {
    contestants: Vec<Contestant>,
}

/// What is told of a command.
pub(super) struct Measured {
    pub name: &'static str,
    /// The command its ratios are to.
    pub base: &'static str,
    /// Nothing where the command is absent.
    pub figures: Option<Figures>,
}

/// Medians.
pub(super) struct Figures {
    pub wall: f64,
    pub cpu: f64,
    pub peak: f64,
    /// System calls of one run, where `strace` counts them.
    pub calls: Option<u64>,
    /// Wall and CPU time over those of the base in the same round.
    pub ratios: Option<(f64, f64)>,
    pub rounds: usize,
}

impl Contest {
    pub(super) fn new(portolan: &Path) -> Self {
        let word = |word: &str| if word == PORTOLAN { portolan.into() } else { word.into() };
        let contestant = |(name, base): (&'static str, usize)| Contestant {
            name,
            base,
            command: name.split(' ').map(word).collect(),
            absent: false,
            samples: Vec::new(),
        };
        Contest { contestants: COMMANDS.map(contestant).into() }
    }

    /// One round to warm up and see who is there, then as many as are asked for and time allows.
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
        let figures = |contestant: &Contestant| {
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

/// Runs a command once; nothing where there is no such command.
fn run(command: &[OsString]) -> Result<Option<Sample>> {
    let output = Command::new(std::env::current_exe()?).arg(role::RUN).args(command).output()?;
    let told = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [wall, cpu, peak] => Ok(Some(Sample { wall, cpu, peak })),
        _ if output.status.success() => Ok(None),
        _ => Err(String::from_utf8(output.stderr)?.into()),
    }
}

/// The parent of one run: tells wall and CPU time and the peak of memory, or nothing where there is no such command.
pub(super) fn child(command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().ok_or("no command to run")?;
    let start = Instant::now();
    let ended = silent(Command::new(program).args(arguments)).status();
    let wall = start.elapsed();
    let took = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    match ended {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ExitCode::SUCCESS),
        // lsof and portolan end with 1 where nothing matched.
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

/// How many system calls a run of a command makes, its threads and children included.
fn calls(command: &[OsString]) -> Option<u64> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "--"]).args(command);
    let output = silent(&mut strace).stderr(Stdio::piped()).output().ok()?;
    // The command's own talk comes first.
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    told.lines().rev().find_map(|line| line.trim().strip_suffix(" total")?.trim().parse().ok())
}

/// What portolan says it saw.
pub(super) struct View {
    complete: bool,
    listeners: usize,
    held: usize,
    holders: usize,
    gaps: Vec<String>,
}

/// Asks it, before anything is measured.
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
        holders: listeners.iter().map(|l| l["processes"].as_array().map_or(0, Vec::len)).sum(),
        gaps: list("gaps")
            .iter()
            .map(|gap| format!("{} ({})", text(&gap["what"]), text(&gap["why"])))
            .collect(),
    })
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let View { complete, listeners, held, holders, gaps } = self;
        let complete = if *complete { "a complete view" } else { "an incomplete view" };
        write!(
            f,
            "{complete}, {listeners} listeners, {held} of them with a holder found, {holders} owners in all"
        )?;
        gaps.iter().try_for_each(|gap| write!(f, "; not seen: {gap}"))
    }
}
