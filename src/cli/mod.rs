//! The command line as typed: targets stay text until a command parses them.

mod audit;
mod diff;
mod kill;
mod list;
mod policy;
mod short_help;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::model::{HostScope, Scope};

pub use audit::AuditArgs;
pub use diff::DiffArgs;
pub use kill::KillArgs;
pub(crate) use list::filters;
pub use list::{FieldArgs, FilterArgs, ListArgs, ScanArgs};
pub use policy::{PolicyCheckArgs, PolicyCommand, PolicyInitArgs};
pub use watch::WatchArgs;

/// A parsed command line. The default is the command line without arguments.
#[derive(Debug, Default, Parser)]
#[command(
    name = "portolan",
    version,
    about = "Lists what listens on this machine, and flags what should not be there",
    long_about = "Portolan lists every TCP and UDP listener of this machine with its processes and the registration of its port. It flags suspicious listeners: leftovers on the ports of software that no longer exists, listeners on unassigned or ephemeral ports, and programs that do not belong on their port.\n\nIf something could not be seen, standard error and every machine-readable output say so.",
    after_long_help = AFTER,
    disable_help_subcommand = true,
    mut_subcommand("explain", |command| formats(command, &["table", "json"])),
    mut_subcommand("audit", |command| formats(command, &["table", "json", "ndjson", "sarif", "metrics", "html"])),
    mut_subcommand("kill", |command| formats(command, &["table"])),
    mut_subcommand("watch", |command| formats(command, &["table", "json", "ndjson"])),
    mut_subcommand("diff", |command| formats(command, &["table", "json", "ndjson", "csv", "html"]))
)]
pub struct Cli {
    /// The command; list if there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The options of a listing, if the command line names no command.
    #[command(flatten)]
    pub list: ListArgs,
    /// The options of every command.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Limits the output formats that a command accepts and lists in its help.
fn formats(command: clap::Command, names: &'static [&'static str]) -> clap::Command {
    let parser = PossibleValuesParser::new(names).try_map(|name| Output::from_str(&name, false));
    command.arg(
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FORMAT")
            .value_parser(parser)
            .default_value("table")
            .help("Output format")
            .help_heading("Output"),
    )
}

const AFTER: &str = "\
Examples:
  portolan                   every listener
  portolan 3416              the process that listens on port 3416
  portolan 8000-8100 nginx   these ports, and every socket of nginx
  portolan 127.0.0.1:8000    the listener that answers at this address
  portolan --reachable       what other machines can reach
  portolan -tulpn            the same options as ss
  portolan explain 3416      port 3416 in the registry, and its processes here
  portolan explain kazaa     ports by service, program or any other word
  portolan explain --free 8000-9000  free ports for a new service
  portolan explain --stats   the registry in figures, with its date
  portolan watch             changes as they happen (see portolan watch --help)
  portolan kill 3000         end the listener on port 3000, after asking
  portolan audit             check every listener (see portolan audit --help)
  portolan -o json           for scripts
  portolan capture >host.json; portolan --from host.json
  portolan diff host.json    changes since a snapshot (see portolan diff --help)
  portolan man | man -l -    the manual page
  portolan help completions  how to install completions for a shell

Exit codes: 0 something matched, or there was no filter; 1 nothing matched, and everything could be seen; 2 usage or other error; 3 nothing matched, but not everything could be seen.

Portolan inspects sockets of TCP (MPTCP included), UDP, UDP-Lite, SCTP and DCCP, and on Linux raw and packet sockets (--raw, audit). It does not inspect ICMP (ping), Unix, vsock, Bluetooth, TIPC, RDS, SMC, XDP and netlink sockets.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List listeners (the default)
    #[command(after_long_help = list::EXAMPLES)]
    List(Box<ListArgs>),
    /// Explain a port, service or program
    #[command(visible_alias = "why", after_long_help = EXPLAINED)]
    Explain(ExplainArgs),
    /// Watch listeners change, or wait for a port (--until-listening)
    #[command(long_about = watch::ABOUT, after_long_help = watch::EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Check every listener; the exit code is the verdict
    #[command(long_about = audit::ABOUT, after_long_help = audit::EXAMPLES)]
    Audit(Box<AuditArgs>),
    /// Write or check a policy
    #[command(arg_required_else_help = true, subcommand, long_about = policy::ABOUT, after_long_help = policy::EXAMPLES)]
    Policy(PolicyCommand),
    /// Show what changed since a saved snapshot
    #[command(long_about = diff::ABOUT, after_long_help = diff::EXAMPLES)]
    Diff(DiffArgs),
    /// End what listens on a port, after asking (Linux)
    #[command(long_about = kill::ABOUT, after_long_help = kill::EXAMPLES)]
    Kill(Box<KillArgs>),
    /// Write a snapshot as JSON, for --from and diff
    #[command(after_long_help = CAPTURED)]
    Capture,
    /// Write the completion script for a shell
    #[command(after_long_help = INSTALL)]
    Completions(CompletionsArgs),
    /// Write a manual page
    #[command(after_long_help = MANUAL)]
    Man(ManArgs),
    /// Show the help of a command
    #[command(after_long_help = "Examples:\n  portolan help audit\n  portolan help policy init")]
    Help(HelpArgs),
    /// Show the version, the registry and the sources of this build
    #[command(hide = true, after_long_help = "Examples:\n  portolan version")]
    Version,
}

const EXPLAINED: &str = "Examples:
  portolan explain 3416             the process on this port, why it runs, and the registration
  portolan why sshd                 the ports of a running program, and why it runs
  portolan explain udp/53 ssh       one protocol; a service by name
  portolan explain nginx            the ports a program usually serves
  portolan explain kazaa            every registration that mentions a word
  portolan explain 0-65535 -o json  the whole registry, for scripts
  portolan explain --stats          the registry in figures, with its date
  portolan explain --map            the listeners on a map of all ports

Exit codes: 0 something matched; 1 no such port, service or program, and everything could be seen; 2 usage or other error; 3 no such name, but not every process could be seen.";

const CAPTURED: &str = "\
Examples:
  portolan capture >host.json                            every listener of this machine
  ssh host portolan capture | portolan --from -          listeners of another machine
  sudo portolan capture --netns all >host.json           with the containers' listeners (Linux)
  sudo portolan capture --without cmdline >host.json     without command lines

A snapshot contains the names, users and command lines of processes. Command lines may contain secrets: protect the file.";

const MANUAL: &str = "\
Examples:
  portolan man | man -l -                               read portolan(1)
  portolan man policy | man -l -                        read portolan-policy(5)
  portolan man >/usr/local/share/man/man1/portolan.1    install it, as root
  portolan man audit >/usr/local/share/man/man1/portolan-audit.1
  portolan man policy >/usr/local/share/man/man5/portolan-policy.5";

/// The arguments of `man`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ManArgs {
    /// The page
    #[arg(value_name = "PAGE", default_value = "portolan")]
    pub page: Page,
}

/// The manual pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// portolan(1)
    Portolan,
    /// portolan-audit(1)
    #[value(alias = "portolan-audit")]
    Audit,
    /// portolan-policy(5)
    #[value(alias = "portolan-policy")]
    Policy,
}

/// The arguments of `help`.
#[derive(Args, Clone, Debug)]
pub struct HelpArgs {
    /// The command (default: the program itself)
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Parses a command line, with the name of the program as its first word.
///
/// # Errors
///
/// If the arguments are not a command line of this program, or if they ask for help or for the version.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let asks_for_short_help = |word: &OsString| {
        let word = word.to_string_lossy().into_owned();
        word.contains('h') && word.starts_with('-') && !word.starts_with("--")
    };
    if !words.iter().any(asks_for_short_help) {
        return Cli::try_parse_from(words);
    }
    Cli::from_arg_matches(&short_help::shortened(Cli::command()).try_get_matches_from(words)?)
}

/// Returns the long help of a command.
///
/// # Errors
///
/// If there is no such command.
pub fn help(path: &[String]) -> Result<StyledStr, String> {
    let mut command = Cli::command();
    command.build();
    for name in path {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| format!("{name}: no such command (see portolan help)"))?;
    }
    Ok(command.render_long_help())
}

/// Returns the names of the commands.
pub fn commands() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Returns whether `portolan list` accepts this option.
pub fn is_list_option(option: &str) -> bool {
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

The script runs portolan for each completion, so it offers the current services, processes, users and flags. An upgrade of portolan needs no new script.";

/// The arguments of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The shells for which portolan can write completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash, version 4.4 or later.
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

/// The arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A port, range, service, program or words: 3416, 8000-8100, tcp/3416, ssh, postgres, kazaa
    #[arg(value_name = "TARGET", required_unless_present_any = ["stats", "map", "free"])]
    pub targets: Vec<String>,
    /// Show totals of the registry: ports by range and status, evidence, dates
    #[arg(long, conflicts_with = "targets")]
    pub stats: bool,
    /// Show the listeners of this machine on a map of all ports, by severity
    #[arg(long, conflicts_with_all = ["targets", "stats"])]
    pub map: bool,
    /// Propose free TCP and UDP ports for a new service, with the reasons: --free 8000-9000
    #[arg(long, value_name = "RANGE", conflicts_with_all = ["targets", "stats", "map"])]
    pub free: Option<String>,
    /// Show the evidence for the status of each port, IANA's notes and the nearby registrations
    #[arg(long, conflicts_with_all = ["stats", "map", "free"])]
    pub evidence: bool,
    /// Show every protocol and registration, even those without a listener
    #[arg(long, conflicts_with_all = ["stats", "map", "free"])]
    pub full: bool,
    /// Show every gap and note in full
    #[arg(short = 'v', long, help_heading = "Output")]
    pub verbose: bool,
}

/// The options that every command accepts.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonArgs {
    /// `format_is_named` must stay the first field. Its parser reads `--output`, before the parser of a later field
    /// removes this argument.
    #[command(flatten)]
    pub format_is_named: FormatIsNamed,
    /// table (default), wide, json, ndjson or csv
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub output: Output,
    /// The same as -o json
    #[arg(long, global = true, hide_short_help = true, help_heading = "Output")]
    pub json: bool,
    /// Read this snapshot instead of the machine (- is stdin)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Source")]
    pub from: Option<PathBuf>,
    /// Network namespace: name, inode, PID or all (Linux)
    #[arg(long, global = true, value_name = "NAME|all", help_heading = "Source")]
    pub netns: Option<String>,
    /// Part of the machine that must be visible: machine (default of audit), namespace (default of other commands) or
    /// container. If less is visible, the missing part is reported as a gap (Linux)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PART",
        value_parser = part(),
        help_heading = "Source"
    )]
    pub scope: Option<HostScope>,
    /// Read the owners of sockets from /proc only, without a BPF program (Linux)
    #[arg(long, global = true, hide_short_help = true, help_heading = "Source")]
    pub no_bpf: bool,
    /// Use a newer registry: the CSV file from IANA (or set PORTOLAN_REGISTRY)
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", help_heading = "Source")]
    pub registry: Option<PathBuf>,
    /// ID of this host in every output, instead of the hashed machine ID
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", value_parser = host_id, help_heading = "Host")]
    pub host_id: Option<String>,
    /// Label of this host, in every output; may be repeated
    #[arg(long, global = true, hide_short_help = true, value_name = "KEY=VALUE", value_parser = label, help_heading = "Host")]
    pub label: Vec<(String, String)>,
    /// Leave this out of every output; the only value is cmdline, the command lines of processes
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "WHAT",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub without: Vec<Without>,
    /// When to use colour
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub color: Color,
}

impl CommonArgs {
    /// Returns these arguments, with the output format JSON if `--json` was given.
    pub(crate) fn resolved(&self) -> Self {
        let output = if self.json { Output::Json } else { self.output };
        CommonArgs { output, ..self.clone() }
    }

    /// Applies `--scope` and `--no-bpf` to the scope of a scan.
    pub(crate) fn apply_to(&self, scope: &mut Scope) {
        scope.part = self.scope.unwrap_or(scope.part);
        scope.bpf &= !self.no_bpf;
    }

    /// Returns whether this part must be omitted from every output.
    pub fn leaves_out(&self, what: Without) -> bool {
        self.without.contains(&what)
    }
}

/// Whether the user named an output format. If so, a listing never becomes a card, even if the user named the default
/// format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatIsNamed(pub bool);

impl Args for FormatIsNamed {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

impl FromArgMatches for FormatIsNamed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(FormatIsNamed(matches.value_source("output") == Some(ValueSource::CommandLine)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The parts that `--without` can leave out of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Without {
    /// The command lines of processes.
    Cmdline,
}

/// The maximum length, in bytes, of a host ID and of a label's value: the limit of DNS for a name.
const LONGEST_NAME: usize = 255;

fn host_id(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("empty (expected a name)".to_owned()),
        1..=LONGEST_NAME => Ok(text.to_owned()),
        _ => Err(format!("longer than {LONGEST_NAME} bytes")),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let is_key =
        |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    match text.split_once('=') {
        Some((key, value)) if is_key(key) && text.len() <= LONGEST_NAME => {
            Ok((key.to_owned(), value.to_owned()))
        }
        Some((key, _)) if is_key(key) => Err(format!("longer than {LONGEST_NAME} bytes")),
        _ => Err("not a label (expected KEY=VALUE; a key has letters, digits and ._-/)".to_owned()),
    }
}

fn part() -> impl TypedValueParser<Value = HostScope> {
    PossibleValuesParser::new(HostScope::ALL.map(HostScope::name))
        .try_map(|name| HostScope::named(&name).ok_or("no such part"))
}

/// The output formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// The table with every usual field. No text is cut.
    Wide,
    /// For machines.
    Json,
    /// One listener per line.
    Ndjson,
    /// For spreadsheets: one row per listener and process.
    Csv,
    /// For code-scanning dashboards (audit).
    Sarif,
    /// For Prometheus: text for node_exporter's textfile collector (audit).
    Metrics,
    /// A page for a browser, in one file (audit, diff).
    Html,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Use colour on a terminal, unless `NO_COLOR` is set or the terminal is dumb.
    #[default]
    Auto,
    /// Always use colour.
    Always,
    /// Never use colour.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_command_line_without_arguments() {
        let parsed = Cli::try_parse_from(["portolan"]).unwrap();
        assert_eq!(format!("{:?}", Cli::default()), format!("{parsed:?}"));
    }
}
