//! The arguments and the help of `diff`.

use std::path::PathBuf;

use clap::Args;

pub(super) const ABOUT: &str = "Shows what changed since a saved snapshot. The kinds of change are: appeared, vanished, changed (another program or user now has the address and port), replaced (the program file was replaced or deleted), widened (more clients can reach the listener), narrowed (fewer clients can reach it) and weakened (the service has a finding that is new or more severe).

A listener is recognised by protocol, address, port, network namespace, program file and user, never by its process ID: restarting the same program is not a change. On an ephemeral port, a UDP socket, or a TCP socket that does not listen, probably belongs to a client. If such a socket appears or vanishes, diff counts it separately, as short-lived ('passing' in JSON), not as a change.

If one of the two snapshots is incomplete, diff never says that nothing changed. It lists the listeners that could not be compared, and the exit code is 3. Each cause of missing data is shown in one line before the changes; -v shows every gap in full.";

pub(super) const EXAMPLES: &str = "Examples:
  sudo portolan capture >before.json        take a baseline
  sudo portolan diff before.json            what changed since, on this machine
  portolan --sort -since --columns port,process,since    without a snapshot: what started last
  portolan diff before.json after.json      compare two files
  portolan diff web1.json web2.json --other-host
  portolan diff -o html before.json after.json >changes.html
  sudo portolan diff -o json before.json | jq '.changes[].text'

Exit codes: 0 nothing changed, and everything was seen; 1 something changed; 2 usage or other error, such as an unreadable file; 3 no change was seen, but a snapshot is incomplete, so there may be changes (0 with --allow-incomplete).";

/// The arguments of `diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The earlier snapshot, written by portolan capture (- for standard input)
    #[arg(value_name = "BEFORE")]
    pub before: Option<PathBuf>,
    /// The later snapshot (default: this machine now, in the same network namespaces as BEFORE)
    #[arg(value_name = "AFTER")]
    pub after: Option<PathBuf>,
    /// Accept snapshots of two different hosts
    #[arg(long)]
    pub other_host: bool,
    /// Exit with 0 instead of 3 if no change was seen but a snapshot is incomplete
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Show every gap in full
    #[arg(short = 'v', long, help_heading = "Output")]
    pub verbose: bool,
}
