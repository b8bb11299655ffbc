//! What `watch` takes, exactly as typed, and what its help says.

use std::time::Duration;

use clap::Args;

use super::ScanArgs;

pub(super) const ABOUT: &str = "\
Watches what listens: looks again every second, and shows what appeared, vanished, changed hands (another program or
user on the same address and port), runs from a file that was replaced or deleted under it, and what can be reached by
more (widened) or fewer (narrowed) than before. A restart of the same program under the same user is no change.

On a terminal it is one screen that keeps itself up to date: + appeared, - vanished, ~ changed, = replaced, ^ widened,
v narrowed; the marks fade. q or Ctrl-C quits, Ctrl-Z stops it for a while. In a pipe, with -o json or where TERM is
dumb it is a stream of events, one JSON object a line: first 'start', then 'appeared', 'vanished', 'changed', 'replaced',
'widened', 'narrowed' as they happen, and 'incomplete' or 'complete' where what can be seen changes.

What lives for less than the interval may be missed. A process that is handed a socket which listened before may be told
a minute late: holders are looked for anew when a socket comes, a holder goes, and now and then.

With --until-listening or --until-free it waits in silence, and the exit code tells.";

pub(super) const EXAMPLES: &str = "\
Examples:
  portolan watch                                    everything, on one screen
  portolan watch -t 8000-8100                       these ports
  portolan watch -o json | jq .event                for machines
  portolan watch 5432 --until-listening             instead of: while ! nc -z localhost 5432; do sleep 1; done
  portolan watch 3000 --until-free --timeout 10     has the old server let go of it?

Exit codes: 0 quit, or what was waited for came true; 1 it did not within --timeout; 2 a usage or other error. A signal
ends it as it ends any program.";

/// What `watch` takes.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// What narrows it and how far it looks, as in a listing.
    #[command(flatten)]
    pub scan: ScanArgs,
    /// Look every so many seconds, 0.1 to 86400 [default: 1, or 0.1 with --until-...]
    #[arg(long, value_name = "SECONDS", value_parser = interval, allow_negative_numbers = true)]
    pub interval: Option<Duration>,
    /// Wait until something listens on every target; each must name ports
    #[arg(long, conflicts_with = "until_free")]
    pub until_listening: bool,
    /// Wait until nothing holds the ports of any target; each must name ports
    #[arg(long)]
    pub until_free: bool,
    /// Give up waiting after so many seconds, with exit code 1; 0 looks once
    #[arg(long, value_name = "SECONDS", value_parser = timeout, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
}

/// The shortest and the longest time between two looks, in seconds: a day is long enough for a stream of events.
const INTERVALS: (f64, f64) = (0.1, 86_400.0);
/// The longest wait, in seconds: about a year.
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
    seconds.ok_or_else(|| format!("a number of seconds is needed, {low} to {high}"))
}
