//! The options of a listing, as typed. Other commands share some of them.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser};

use crate::model::{Family, Protocol};
use crate::query::fields::{FIELDS, Field};
use crate::query::{ForeignOptions, TypedFilters};

pub(super) const EXAMPLES: &str = "Examples:
  portolan list 3416 8000-8100 nginx            these ports, and every socket of nginx
  portolan list 127.0.0.1:8000                  the listener that answers at this address
  portolan list --reachable                     what other machines can reach
  portolan list -t --exposure any               TCP listeners on every address
  portolan list --flag orphaned,impostor        sockets with one of these findings
  portolan list --user www-data --not ssh       sockets of this user, without ssh
  portolan list -at --state established         connections, with their direction
  portolan list --group                         connections per listener
  sudo portolan list --raw                      programs with a raw or packet socket
  portolan list --columns port,exe --sort port  these columns, in this order
  portolan list -o csv --no-header              for a spreadsheet
  kill $(portolan list --pids 3000)             print only the process IDs

Words and marks in a table:
  ADDRESS *: every IPv4 and IPv6 address.
  ADDRESS localhost: 127.0.0.1 and [::1].
  EXPOSURE (on a narrow terminal REACH): the clients that can reach the listener.
  REACH any: every address of this machine.
  REACH public, private: an address on the Internet or on a private network.
  REACH link, link-local: only machines on the same link can connect.
  REACH mcast, multicast: a multicast address.
  REACH lo, loopback: this machine only.
  REACH with ?, such as any? or lo?: it is not known whether the firewall lets in other machines.
  REACH machine: only this machine and networks whose packets it forwards, such as container networks, can connect.
  REACH limited: the firewall lets in only some clients; portolan explain PORT names them.
  REACH filtered: the firewall lets in nobody.
  SERVICE: the running service, such as 'OpenSSH server'.
  SERVICE in parentheses: the service that usually uses the port.
  SERVICE IANA: the registered service of the port; the running service is not known.
  SERVICE with 'to', such as 'to shop-web': the container that receives the traffic.
  PROCESS (hidden): you are not allowed to see the process; run with sudo.
  PROCESS with ?, such as nginx?: the probable owner.
  PROCESS (kernel): the socket belongs to the kernel, not to a process.
  PROCESS (NAT rule): no program listens; a rule forwards the port.
  PROCESS (stopped): the process is stopped and answers no client.
  USER: the effective user of the processes or, if no process is visible, the creator of the socket.
  FLAGS ?: not judged, because the program is not visible.
  FLAGS with ?, such as orphaned?: the finding is presumed.
  STARTED with ?: when the probable owner started.

On a terminal, a single listener is shown as a card; -o table shows the table. In a pipe, 'portolan explain 3000' writes the card.

If you give several targets, or several values for one option, a socket must match one of them. If you give different options, a socket must match all of them.

Exit codes: 0 something matched, or there was no filter; 1 nothing matched, and everything could be seen; 2 usage or other error; 3 nothing matched, but not everything could be seen.";

/// The filters of `list`, `watch`, `audit` and `kill`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// `pid_after_p` must stay the first field. Its parser reads arguments of later fields, before the parsers of these
    /// fields remove the arguments.
    #[command(flatten)]
    pub pid_after_p: PidAfterP,
    /// The targets. A listener must match at least one target.
    #[arg(
        value_name = "TARGET",
        help = "Port, address, interface, service or program",
        long_help = "A port, address, network interface, service, program or script: 3416, 80,443, 8000-8100, tcp/53, [::1]:80, 10.0.0.0/8, eth0, ssh, nginx, server.py"
    )]
    pub targets: Vec<String>,
    /// TCP only
    #[arg(short = 't', long)]
    pub tcp: bool,
    /// UDP and UDP-Lite only
    #[arg(short = 'u', long)]
    pub udp: bool,
    /// Sockets that IPv4 clients can reach
    #[arg(short = '4', long)]
    pub ipv4: bool,
    /// Sockets that IPv6 clients can reach
    #[arg(short = '6', long, hide_short_help = true)]
    pub ipv6: bool,
    /// Sockets that other machines can reach
    #[arg(long)]
    pub reachable: bool,
    #[command(flatten)]
    pub fields: FieldArgs,
    /// Exclude matches: --not ssh, --not user=root
    #[arg(long, value_name = "FILTER")]
    pub not: Vec<String>,
    /// An address as lsof writes it: -i :3416, -i tcp@127.0.0.1:22, -i4TCP
    #[arg(short = 'i', value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "", hide_short_help = true)]
    pub inet: Vec<String>,
    /// Accepted for users of lsof: -sTCP:LISTEN
    #[arg(short = 's', value_name = "STATE", hide = true)]
    pub lsof_states: Vec<String>,
    /// Accepted for users of ss: listeners are always listed
    #[arg(short = 'l', long, hide = true)]
    pub listening: bool,
    /// Accepted for users of ss: addresses and ports are always numbers
    #[arg(short = 'n', long, hide = true)]
    pub numeric: bool,
    /// Accepted for users of ss: processes are always shown
    #[arg(short = 'p', long, hide = true)]
    pub processes: bool,
    /// Accepted for users of ss: ports are always numbers
    #[arg(short = 'P', hide = true)]
    pub numeric_ports: bool,
    /// Accepted for users of ss: -o wide shows more
    #[arg(short = 'e', long, hide = true)]
    pub extended: bool,
    /// Not accepted: a port needs no option
    #[arg(long, value_name = "PORT", hide = true)]
    pub port: Option<String>,
}

impl FilterArgs {
    /// Returns the filters as typed. With `either_end`, a target also matches the remote end of a connection.
    pub(crate) fn typed_filters(&self, either_end: bool) -> TypedFilters<'_> {
        let mut protocols = Vec::new();
        if self.tcp {
            protocols.push(Protocol::Tcp);
        }
        if self.udp {
            protocols.extend([Protocol::Udp, Protocol::Udplite]);
        }
        let families = match (self.ipv4, self.ipv6) {
            (true, false) => vec![Family::Ipv4],
            (false, true) => vec![Family::Ipv6],
            _ => Vec::new(),
        };
        TypedFilters {
            targets: &self.targets,
            fields: &self.fields.values,
            not: &self.not,
            protocols,
            families,
            raw: false,
            reachable: self.reachable,
            either_end,
            foreign_options: ForeignOptions {
                inet: &self.inet,
                states: &self.lsof_states,
                t: self.tcp,
                pid: self.pid_after_p.0.as_deref(),
                port: self.port.as_deref(),
            },
        }
    }

    /// Returns the filters as typed, in one text; `None` without filters.
    pub(crate) fn typed(&self) -> Option<String> {
        let flags = [
            ("-t", self.tcp),
            ("-u", self.udp),
            ("-4", self.ipv4),
            ("-6", self.ipv6),
            ("--reachable", self.reachable),
        ];
        let mut words: Vec<String> = self.targets.clone();
        words.extend(flags.iter().filter(|(_, typed)| *typed).map(|(flag, _)| (*flag).to_owned()));
        for (name, values) in &self.fields.values {
            words.extend(values.iter().map(|value| format!("--{name} {value}")));
        }
        for (option, values) in [("--not", &self.not), ("-i", &self.inet), ("-s", &self.lsof_states)] {
            words.extend(values.iter().map(|value| format!("{option} {value}").trim_end().to_owned()));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// The filters that the user types on the screen of `watch`.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct TypedOnScreen {
    #[command(flatten)]
    filter: FilterArgs,
}

/// Parses the words of a filter as command-line arguments. An error is one line of text.
pub(crate) fn filters<'w>(words: impl Iterator<Item = &'w str>) -> Result<FilterArgs, String> {
    TypedOnScreen::try_parse_from(words).map(|typed| typed.filter).map_err(|error| {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    })
}

/// The filter options, one for each field of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldArgs {
    /// The values of each filter option, by the name of the option.
    pub(crate) values: Vec<(&'static str, Vec<String>)>,
}

impl Args for FieldArgs {
    fn augment_args(command: Command) -> Command {
        command.args(FIELDS.iter().map(|field| {
            let arg = Arg::new(field.name).long(field.name).value_name(field.value).help(field.help);
            let arg = arg.action(ArgAction::Append).allow_negative_numbers(true);
            let arg = arg.hide_short_help(field.only_long_help);
            if field.list { arg.value_delimiter(',') } else { arg }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FieldArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |field: &Field| {
            let typed = matches.get_many::<String>(field.name)?.cloned().collect();
            Some((field.name, typed))
        };
        Ok(FieldArgs { values: FIELDS.iter().filter_map(values).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The process ID after `-p`, as in lsof. `None` if `-t`, `-u` or `-l` is given. In this case, `-p` is the option of
/// ss, and a number after it is a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidAfterP(Option<String>);

impl Args for PidAfterP {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for PidAfterP {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(PidAfterP(pid_after_p(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn pid_after_p(matches: &ArgMatches) -> Option<String> {
    if ["tcp", "udp", "listening"].iter().any(|flag| matches.get_flag(flag)) || !matches.get_flag("processes")
    {
        return None;
    }
    let after = matches.index_of("processes")? + 1;
    let at = matches.indices_of("targets")?.position(|index| index == after)?;
    let target = matches.get_many::<String>("targets")?.nth(at)?;
    target.bytes().all(|byte| byte.is_ascii_digit()).then(|| target.clone())
}

/// The filters and the scan options of `list` and `watch`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Filters")]
pub struct ScanArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Include connections; a target matches either end
    #[arg(short = 'a', long, help_heading = "Filters")]
    pub all: bool,
    /// Skip the process lookup and sockets that are bound but do not listen (faster)
    #[arg(long, hide_short_help = true, help_heading = "Filters")]
    pub no_holders: bool,
    /// Show every gap and note in full
    #[arg(short = 'v', long, help_heading = "Output")]
    pub verbose: bool,
}

/// The arguments of `list`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ListArgs {
    #[command(flatten)]
    pub scan: ScanArgs,
    /// List raw and packet sockets, which have no port, and their processes (Linux)
    #[arg(short = 'w', long, hide_short_help = true, help_heading = "Filters")]
    pub raw: bool,
    /// Show how many connections each listener has
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub group: bool,
    /// Short flat rows, one per listener and process (-o ndjson or csv)
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub brief: bool,
    /// Columns to show, for example port,user,processes.exe
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', help_heading = "Output")]
    pub columns: Vec<String>,
    /// Sort by this column; -COLUMN reverses the order
    #[arg(
        long,
        value_name = "COLUMN",
        allow_hyphen_values = true,
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub sort: Option<String>,
    /// Leave out the header line (table and CSV)
    #[arg(short = 'H', long, hide_short_help = true, help_heading = "Output")]
    pub no_header: bool,
    /// Show every socket in a row of its own (table and wide)
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    pub no_merge: bool,
    /// Print only process IDs: kill $(portolan --pids 3000)
    #[arg(long, help_heading = "Output")]
    pub pids: bool,
}
