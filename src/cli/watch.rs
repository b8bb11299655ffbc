//! The arguments and the help of `watch`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ScanArgs;

pub(super) const ABOUT: &str = "Scans every second and shows the changes of listeners. The kinds of change are: appeared, vanished, changed (another program or user now has the address and port), replaced (the program file was replaced or deleted), widened (more clients can reach the listener) and narrowed (fewer clients can reach it). A restart of the same program as the same user is not a change.

On a terminal, watch shows a screen and keeps it up to date: + appeared, - vanished, ~ changed, = replaced, ^ widened, v narrowed. The marks fade, and the view Changes keeps every change with its time. The arrows or the mouse select a row, Enter opens its card, / filters, s sorts, Tab shows connections, changes and findings, K asks and then ends the process, ? shows all keys, q quits.

In a pipe, with -o json, or if TERM is dumb, watch writes a stream of events, one JSON object per line: first 'start', then 'appeared', 'vanished', 'changed', 'replaced', 'widened' and 'narrowed' as they happen, and 'incomplete' or 'complete' when the gaps change.

A socket that opens and closes between two scans is not seen. If one process passes a listening socket to another, the name of the new process may appear up to a minute late: processes are looked up again only when a socket appears, when a process ends, and once a minute.

With --until-listening or --until-free, watch waits, and the exit code is the result. On a terminal, --until-listening prints the listener that it waited for. With -o json, watch prints the events. In all other cases it prints nothing.";

pub(super) const EXAMPLES: &str = "Examples:
  portolan watch                                    every listener, on a screen
  portolan watch -t 8000-8100                       these TCP ports
  portolan watch -o json | jq .event                for scripts
  portolan watch --on-appear ./notify               run a program for each new listener, without a shell
  portolan watch 5432 --until-listening             instead of: while ! nc -z localhost 5432; do sleep 1; done
  portolan watch postgres --until-listening         a program, on any port
  portolan watch 3000 --until-free --timeout 10     wait until the old server has released the port

Exit codes: 0 you quit, or the awaited condition became true; 1 the condition stayed false until --timeout; 2 usage or other error; 3 unknown: the condition was not seen to become true, but some sockets could not be checked. If a signal ends watch, the exit code is the usual one for that signal.";

/// The arguments of `watch`.
#[derive(Args, Clone, Debug, Default)]
pub struct WatchArgs {
    #[command(flatten)]
    pub scan: ScanArgs,
    /// Seconds between two scans, 0.1 to 86400 [default: 1, or 0.1 with --until-...]
    #[arg(long, value_name = "SECONDS", value_parser = interval, allow_negative_numbers = true)]
    pub interval: Option<Duration>,
    /// Wait until every target (a port, a service or a program) has a listener
    #[arg(long, conflicts_with = "until_free")]
    pub until_listening: bool,
    /// Wait until the ports of all targets are free; each target must be a port or a service
    #[arg(long)]
    pub until_free: bool,
    /// When a listener appears, run this program with two arguments, for example tcp/0.0.0.0:80 'nginx on tcp
    /// 0.0.0.0:80'
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["until_listening", "until_free"])]
    pub on_appear: Option<PathBuf>,
    /// When a listener appears, ring the bell of the terminal
    #[arg(long, conflicts_with_all = ["until_listening", "until_free"])]
    pub bell: bool,
    /// Not accepted: use --until-listening or --until-free
    #[arg(long, value_name = "PORT", num_args = 0..=1, hide = true)]
    pub until: Option<Option<String>>,
    /// Stop waiting after this time, with exit code 1, or 3 if not everything could be seen. With 0, scan only once
    #[arg(long, value_name = "SECONDS", value_parser = timeout, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

/// The minimum and the maximum time between two scans, in seconds. The maximum is one day.
const INTERVALS: (f64, f64) = (0.1, 86_400.0);
/// The maximum time to wait, in seconds: about a year.
const LONGEST_WAIT: f64 = 31_536_000.0;

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text, INTERVALS.0, INTERVALS.1)
}

fn timeout(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, LONGEST_WAIT)
}

fn seconds(text: &str, low: f64, high: f64) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (low..=high).contains(seconds));
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("not a number of seconds (expected {low} to {high})"))
}
