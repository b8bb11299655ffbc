//! What narrows, widens and shapes a listing, exactly as typed. A watch takes what narrows and widens, an audit what narrows.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Examples:
  portolan list 3416 8000-8100 nginx            these ports, and whatever nginx listens on
  portolan list -t --exposure any               TCP, reachable on every address
  portolan list --flag orphaned,impostor        what has one of these flags
  portolan list --user www-data --not ssh       of this user, all but ssh
  portolan list -at --state established         connections, with their direction
  portolan list --group                         how many connections each listener has
  portolan list --columns port,exe --sort port  these fields, in this order
  portolan list -o csv --no-header              for a spreadsheet
  kill $(portolan list --pids 3000)             the processes alone

Values of one option widen, several options narrow. Exit codes: 0 something matched, 1 nothing matched, 2 a usage or other
error.";

/// What narrows a listing, a watch and an audit alike.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterArgs {
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
    /// Only sockets in this state: listen, unconnected, bound, established, …
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only sockets of processes whose name or program file matches this regular expression
    #[arg(long, value_name = "REGEX")]
    pub process: Vec<String>,
    /// Only sockets that this process holds
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true)]
    pub pid: Vec<String>,
    /// Only sockets of this user, by name or id
    #[arg(long, value_name = "NAME|UID", value_delimiter = ',', allow_negative_numbers = true)]
    pub user: Vec<String>,
    /// Only this exposure: any, public, private, link-local, multicast, loopback
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    pub exposure: Vec<String>,
    /// Only sockets of this systemd unit (Linux)
    #[arg(long, value_name = "NAME")]
    pub unit: Vec<String>,
    /// Only sockets of this container, by its name or the beginning of its id (Linux)
    #[arg(long, value_name = "NAME|ID")]
    pub container: Vec<String>,
    /// Leave out a target, or KEY=VALUE of an option: --not ssh, --not user=root
    #[arg(long, value_name = "TARGET|KEY=VALUE")]
    pub not: Vec<String>,
    /// An address as lsof writes it: -i :3416, -i tcp@127.0.0.1:22, -i4TCP
    #[arg(short = 'i', value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "")]
    pub inet: Vec<String>,
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

/// What narrows a listing or a watch, and how far it looks.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SightArgs {
    /// What narrows it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only what has this flag: orphaned, ephemeral, unassigned, …
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub flag: Vec<String>,
    /// Every socket, connections included
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Look neither for the processes that hold the sockets nor for sockets that are bound and not listening:
    /// faster, and said so
    #[arg(long)]
    pub no_holders: bool,
}

/// What a listing takes.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ListArgs {
    /// What narrows it, and how far it looks.
    #[command(flatten)]
    pub sight: SightArgs,
    /// Listeners with how many connections each has now
    #[arg(long)]
    pub group: bool,
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
}
