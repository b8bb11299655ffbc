//! The arguments of `kill`, exactly as typed, and its help.

use clap::Args;

use super::FilterArgs;

pub(super) const ABOUT: &str = "Ends what listens on a target, after it showed what it would do and asked. It stops the systemd unit or the container of the listener. If there is neither, it sends SIGTERM to the processes.

The exit code is 0 only if the ports are free afterwards.

Nothing is ended if any of the listeners belongs to a process that is not visible, to the kernel, to pid 1, to this program or to the processes that started it. Only on Linux.";

pub(super) const EXAMPLES: &str = "Examples:
  portolan kill 3000             end what listens on port 3000
  portolan kill 3000 --dry-run   only show what would be ended
  portolan kill 3000 --yes       do not ask, for scripts
  portolan kill 3000 --force     send SIGKILL to what does not end by itself

Exit codes: 0 the ports are free, or --dry-run found something to end; 1 nothing listens there, the answer was no, or a port is not free; 2 usage or other error, or nothing may be ended; 3 no listener or socket is seen there, but not everything could be seen.";

/// The arguments of `kill`.
#[derive(Args, Clone, Debug)]
pub struct KillArgs {
    /// The same filters as in a listing.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Show what would be ended, and end nothing
    #[arg(long, help_heading = "Ending")]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short = 'y', long, help_heading = "Ending")]
    pub yes: bool,
    /// Send SIGKILL to processes that have not ended 10 seconds after SIGTERM
    #[arg(long, help_heading = "Ending")]
    pub force: bool,
}
