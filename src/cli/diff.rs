//! What `diff` takes, exactly as typed, and what its help says.

use std::path::PathBuf;

use clap::Args;

pub(super) const ABOUT: &str = "\
Tells what changed since a saved observation: what appeared, vanished, changed hands (another program or user at the
same address and port), runs from a file that was replaced or deleted since, and what can be reached by more (widened) or
fewer (narrowed) than before.

A listener is known again by protocol, address, port, network namespace, program file and user, never by a process id:
the same program started again is no change. A socket of UDP, or of TCP that does not listen, on a port that the kernel
hands out looks like a client's: the same program with another such port is no change either, and what else comes and
goes there is told as passing and does not count.

It never says that nothing changed where not everything was seen: what was hidden on either side is told as not
comparable, and the exit code is 3 then.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo portolan capture >before.json        take a baseline
  sudo portolan diff before.json            what changed since, on this machine
  portolan diff before.json after.json      between two files
  portolan diff web1.json web2.json --other-host
  sudo portolan diff -o json before.json | jq '.changes[].text'

Exit codes: 0 nothing changed, and everything was seen; 1 something changed; 2 a usage or other error, an unreadable file
included; 3 no change is seen, but not everything was seen on both sides (--allow-incomplete turns it into 0).";

/// What `diff` takes.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The earlier observation, as portolan capture wrote it (- for standard input)
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later one; without it, this machine now, in the network namespaces that BEFORE was asked for
    #[arg(value_name = "AFTER")]
    pub after: Option<PathBuf>,
    /// Compare observations of two hosts
    #[arg(long)]
    pub other_host: bool,
    /// Exit with 0 where no change is seen although not everything could be
    #[arg(long)]
    pub allow_incomplete: bool,
}
