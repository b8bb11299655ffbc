//! The command line: exactly what was typed. No environment is read here, no default needs the machine, and
//! targets stay text until the command that takes them judges them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "portolan",
    version,
    about = "Lists what listens on this machine, and says what should not be there",
    long_about = "Portolan asks the operating system for every live TCP and UDP listener, joins each with the \
        registry of port assignments and with the processes that hold it, and flags what should not be there: \
        listeners on orphaned ports (registered once, the software dead), on unassigned ports and on ephemeral ones.\n\n\
        What could not be seen is always said: on standard error, and in every machine-readable output.",
    after_long_help = AFTER,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do; without a word, list.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a listing, where no command is named.
    #[command(flatten)]
    pub list: ListArgs,
    /// What every command takes.
    #[command(flatten)]
    pub common: CommonArgs,
}

const AFTER: &str = "\
Examples:
  portolan                   everything that listens here
  portolan 3416              who listens on port 3416?
  portolan 8000-8100 nginx   these ports, and whatever nginx listens on
  portolan -tulpn            from habit
  portolan explain 3416      what the registry says of port 3416, and who is on it
  portolan explain kazaa     the same for a service, a program or words
  portolan explain --stats   what the registry knows, and of what date
  portolan watch             the same as it changes; see portolan watch --help
  portolan -o json           for machines
  portolan capture >host.json; portolan --from host.json

Exit codes: 0 something matched, 1 nothing matched, 2 a usage or other error.

Sockets of TCP (MPTCP included), UDP, UDP-Lite, SCTP and DCCP are inspected. Raw, packet, ICMP (ping), Unix,
vsock, Bluetooth, TIPC, RDS, SMC, XDP and netlink sockets are not.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what listens (the same as no command)
    List(Box<ListArgs>),
    /// Tell what the registry says of a port or service, and who is on it here now
    Explain(ExplainArgs),
    /// Watch what listens: on a terminal a table that keeps itself up to date, elsewhere a stream of events
    #[command(long_about = WATCH, after_long_help = WATCH_EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Write the raw observation as JSON, for --from here or on another machine
    Capture,
}

const WATCH: &str = "\
Watches what listens: looks again every second, and shows what appeared, vanished, changed hands (another program or
user on the same address and port), and what can be reached by more (widened) or fewer (narrowed) than before. A
restart of the same program under the same user is no change.

On a terminal it is one screen that keeps itself up to date: + appeared, - vanished, ~ changed, ^ widened, v narrowed;
the marks fade. q or Ctrl-C quits. In a pipe, with -o json or where TERM is dumb it is a stream of events, one JSON
object a line: first 'start', then 'appeared', 'vanished', 'changed', 'widened', 'narrowed' as they happen, and
'incomplete' or 'complete' where what can be seen changes.

What lives for less than the interval may be missed. A process that is handed a socket which listened before may be told
a minute late: holders are looked for anew when a socket comes, a holder goes, and now and then.

With --until-listening or --until-free it waits in silence, and the exit code tells.";

const WATCH_EXAMPLES: &str = "\
Examples:
  portolan watch                                    everything, on one screen
  portolan watch -t 8000-8100                       these ports
  portolan watch -o json | jq .event                for machines
  portolan watch 5432 --until-listening             instead of: while ! nc -z localhost 5432; do sleep 1; done
  portolan watch 3000 --until-free --timeout 10     has the old server let go of it?

Exit codes: 0 quit, or what was waited for came true; 1 it did not within --timeout; 2 a usage or other error. A signal
ends it as it ends any program.";

/// What narrows a listing.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ListArgs {
    /// A port (3416, :3416), a range (8000-8100), tcp/3416, an address (127.0.0.1:5432, 10.0.0.0/8), a service
    /// (ssh) or a process (nginx); several widen
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// TCP only
    #[arg(short = 't', long)]
    pub tcp: bool,
    /// UDP and UDP-Lite only
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// IPv4 sockets only
    #[arg(short = '4', long)]
    pub ipv4: bool,
    /// IPv6 sockets only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Every socket, connections included
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Listeners with how many connections each has now
    #[arg(long)]
    pub group: bool,
    /// Only sockets in this state: listen, unconnected, bound, established, …
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only sockets of processes whose name or program file matches this regular expression
    #[arg(long, value_name = "REGEX")]
    pub process: Vec<String>,
    /// Only sockets that this process holds
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub pid: Vec<String>,
    /// Only sockets of this user, by name or id
    #[arg(long, value_name = "NAME|UID", value_delimiter = ',')]
    pub user: Vec<String>,
    /// Only this exposure: any, public, private, link-local, multicast, loopback
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub exposure: Vec<String>,
    /// Only what has this flag: orphaned, ephemeral, unassigned, …
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub flag: Vec<String>,
    /// Only sockets of this systemd unit (Linux)
    #[arg(long, value_name = "NAME")]
    pub unit: Vec<String>,
    /// Only sockets of this container, by its name or the beginning of its id (Linux)
    #[arg(long, value_name = "NAME|ID")]
    pub container: Vec<String>,
    /// Leave out a target, or KEY=VALUE of the options above: --not ssh, --not user=root
    #[arg(long, value_name = "TARGET|KEY=VALUE")]
    pub not: Vec<String>,
    /// An address as lsof writes it: -i :3416, -i tcp@127.0.0.1:22, -i4TCP
    #[arg(short = 'i', value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    pub inet: Vec<String>,
    /// The fields to show, by their names in the JSON: port,user,processes.exe (table and CSV)
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Order by this field; -FIELD is the other way round
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Leave out the line of names (table and CSV)
    #[arg(long)]
    pub no_header: bool,
    /// Print the process ids of what matched, one a line and nothing else: kill $(portolan --pids 3000)
    #[arg(long)]
    pub pids: bool,
    /// Look neither for the processes that hold the sockets nor for sockets that are bound and not listening:
    /// faster, and said so
    #[arg(long)]
    pub no_holders: bool,
    /// Accepted from habit: listeners are what is listed
    #[arg(short = 'l', hide = true)]
    pub listening: bool,
    /// Accepted from habit: addresses and ports are always numbers
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
    /// Accepted from habit: processes are always shown
    #[arg(short = 'p', hide = true)]
    pub processes: bool,
    /// Accepted from habit: ports are always numbers
    #[arg(short = 'P', hide = true)]
    pub numeric_ports: bool,
}

/// What `watch` takes.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// What narrows it, as in a listing.
    #[command(flatten)]
    pub list: ListArgs,
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

/// What `explain` takes.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A port (3416), a range (8000-8100), tcp/3416, a service (ssh), a program (postgres) or words (kazaa)
    #[arg(value_name = "TARGET", required_unless_present = "stats")]
    pub targets: Vec<String>,
    /// Sum the registry instead: statuses by range, evidence, the date of the data
    #[arg(long, conflicts_with = "targets")]
    pub stats: bool,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub output: Output,
    /// Judge a saved observation instead of this machine (- for standard input)
    #[arg(long, global = true, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Look into another network namespace: its name, its inode or a process in it; all for every one (Linux)
    #[arg(long, global = true, value_name = "NAME|all")]
    pub netns: Option<String>,
    /// Judge by this newer registry, IANA's own CSV, instead of the embedded one; also PORTOLAN_REGISTRY
    #[arg(long, global = true, value_name = "FILE")]
    pub registry: Option<PathBuf>,
    /// When to colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The table with every usual field, never cut.
    Wide,
    /// For machines.
    Json,
    /// A listener a line.
    Ndjson,
    /// For spreadsheets: a row a listener and holder.
    Csv,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}
