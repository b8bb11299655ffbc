//! The arguments of `diff`, exactly as typed, and its help.

use std::path::PathBuf;

use clap::Args;

pub(super) const ABOUT: &str = "Shows what changed since a saved snapshot: listeners that appeared or vanished, changed hands (another program or user at the same address and port), run from a file that was replaced or deleted since, or can be reached by more (widened) or fewer (narrowed) clients than before.

A listener is recognised by protocol, address, port, network namespace, program file and user, never by its process ID: restarting the same program is not a change. On an ephemeral port, a UDP socket or a TCP socket that does not listen probably belongs to a client: it is reported as passing and does not count as a change.

If something could not be seen, before or after, diff never says that nothing changed: it lists the listeners that could not be compared, and the exit code is 3.";

pub(super) const EXAMPLES: &str = "Examples:
  sudo portolan capture >before.json        take a baseline
  sudo portolan diff before.json            what changed since, on this machine
  portolan diff before.json after.json      compare two files
  portolan diff web1.json web2.json --other-host
  portolan diff -o html before.json after.json >changes.html
  sudo portolan diff -o json before.json | jq '.changes[].text'

Exit codes: 0 nothing changed, and everything was seen; 1 something changed; 2 usage or other error, such as an unreadable file; 3 no change was seen, but not everything was seen, before or after (0 with --allow-incomplete).";

/// The arguments of `diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The earlier snapshot, written by portolan capture (- for standard input)
    #[arg(value_name = "BEFORE")]
    pub before: Option<PathBuf>,
    /// The later snapshot; without it, this machine now, in the same network namespaces as BEFORE
    #[arg(value_name = "AFTER")]
    pub after: Option<PathBuf>,
    /// Accept snapshots of two different hosts
    #[arg(long)]
    pub other_host: bool,
    /// Exit with 0 if no change was seen, even if not everything could be seen
    #[arg(long)]
    pub allow_incomplete: bool,
}
