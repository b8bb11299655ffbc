//! The command line: exactly what was typed. No environment is read here, no default needs the machine, and
//! targets stay text until the command that takes them judges them.

mod audit;
mod diff;
mod list;
mod policy;
mod watch;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use audit::AuditArgs;
pub use diff::DiffArgs;
pub use list::{FilterArgs, ListArgs, SightArgs};
pub use policy::{PolicyCheckArgs, PolicyCommand, PolicyInitArgs};
pub use watch::WatchArgs;

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
  portolan audit             is anything here that should not be? see portolan audit --help
  portolan -o json           for machines
  portolan capture >host.json; portolan --from host.json
  portolan diff host.json    what changed here since; see portolan diff --help
  portolan man | man -l -    the manual page; completions: portolan completions --help

Exit codes: 0 something matched, 1 nothing matched, 2 a usage or other error.

Sockets of TCP (MPTCP included), UDP, UDP-Lite, SCTP and DCCP are inspected. Raw, packet, ICMP (ping), Unix,
vsock, Bluetooth, TIPC, RDS, SMC, XDP and netlink sockets are not.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what listens (the same as no command)
    #[command(after_long_help = list::EXAMPLES)]
    List(Box<ListArgs>),
    /// Tell what the registry says of a port or service, and who is on it here now
    #[command(after_long_help = EXPLAINED)]
    Explain(ExplainArgs),
    /// Watch what listens: on a terminal a table that keeps itself up to date, elsewhere a stream of events
    #[command(long_about = watch::ABOUT, after_long_help = watch::EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Judge every listener: what should not be here, and why; the exit code is the verdict
    #[command(long_about = audit::ABOUT, after_long_help = audit::EXAMPLES)]
    Audit(Box<AuditArgs>),
    /// Write a policy from what listens now; check a policy file
    #[command(subcommand, long_about = policy::ABOUT, after_long_help = policy::EXAMPLES)]
    Policy(PolicyCommand),
    /// Tell what changed since a saved observation
    #[command(long_about = diff::ABOUT, after_long_help = diff::EXAMPLES)]
    Diff(DiffArgs),
    /// Write the raw observation as JSON, for --from here or on another machine
    #[command(after_long_help = CAPTURED)]
    Capture,
    /// Write the completions of a shell; each is loaded when the shell starts
    #[command(after_long_help = INSTALL)]
    Completions(CompletionsArgs),
    /// Write the manual page
    #[command(
        after_long_help = "Examples:\n  portolan man >/usr/local/share/man/man1/portolan.1\n  portolan man | man -l -"
    )]
    Man,
}

const EXPLAINED: &str = "\
Examples:
  portolan explain 3416             its registrations, what is known of them, and who is on it here
  portolan explain udp/53 ssh       one protocol; a service by its name
  portolan explain nginx            the ports a program usually serves
  portolan explain kazaa            whatever tells of a word
  portolan explain 0-65535 -o json  the whole registry, for machines
  portolan explain --stats          what the registry knows, and of what date

Exit codes: 0 it was told, 2 nothing goes by that name, or another error.";

const CAPTURED: &str = "\
Examples:
  portolan capture >host.json                            what listens here, as it was seen
  ssh host portolan capture | portolan --from -          judged here
  sudo portolan capture --netns all >host.json           the containers' too (Linux)

It holds names, command lines and users of the processes that hold sockets: keep it as you would keep those.";

/// The names of the commands.
#[must_use]
pub fn commands() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Whether a listing takes this option, whatever another command does.
#[must_use]
pub fn is_of_a_listing(option: &str) -> bool {
    Cli::command().get_arguments().any(|arg| match option.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_short().is_some_and(|short| option.strip_prefix('-') == Some(&*short.to_string())),
    })
}

const INSTALL: &str = "\
Examples:
  echo 'source <(portolan completions bash)' >>~/.bashrc
  echo 'source <(portolan completions zsh)' >>~/.zshrc      after compinit
  echo 'portolan completions fish | source' >>~/.config/fish/config.fish
  echo 'eval (portolan completions elvish | slurp)' >>~/.config/elvish/rc.elv
  Add-Content $PROFILE 'portolan completions powershell | Out-String | Invoke-Expression'

The shell asks the program what can follow: services, processes that listen here, flags, fields and all other names that
exist are offered, and an upgrade needs no new script.";

/// What `completions` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// Of which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The shells that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash, 4.4 or newer as a rule.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// `PowerShell`.
    Powershell,
    /// Elvish.
    Elvish,
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
    /// For code-scanning dashboards (audit).
    Sarif,
    /// For Prometheus: text for node_exporter's textfile collector (audit).
    Metrics,
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
