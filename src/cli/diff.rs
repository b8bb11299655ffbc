//! The arguments of `diff`, exactly as typed, and its help.

use std::path::PathBuf;

use clap::Args;

pub(super) const ABOUT: &str = "Shows what changed since a saved snapshot. A listener can have appeared or vanished. It can have changed: another program or user now has the same address and port. It can be replaced: its program file was replaced or deleted. More clients (widened) or fewer clients (narrowed) can reach it than before.

A listener is recognised by protocol, address, port, network namespace, program file and user, never by its process ID: restarting the same program is not a change. A UDP socket on an ephemeral port probably belongs to a client, and so does a TCP socket there that does not listen. Such a socket is reported as passing and does not count as a change.

If one of the two snapshots is incomplete, diff never says that nothing changed. It lists the listeners that could not be compared, and the exit code is 3.";

pub(super) const EXAMPLES: &str = "Examples:
  sudo portolan capture >before.json        take a baseline
  sudo portolan diff before.json            what changed since, on this machine
  portolan --sort -since --columns port,process,since    without a snapshot: what started last
  portolan diff before.json after.json      compare two files
  portolan diff web1.json web2.json --other-host
  portolan diff -o html before.json after.json >changes.html
  sudo portolan diff -o json before.json | jq '.changes[].text'

Exit codes: 0 nothing changed, and everything was seen; 1 something changed; 2 usage or other error, such as an unreadable file; 3 no change was seen, but one of the two snapshots is incomplete (0 with --allow-incomplete).";

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
    /// Exit with 0 if no change was seen, even if not everything could be seen
    #[arg(long)]
    pub allow_incomplete: bool,
}
