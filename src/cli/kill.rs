//! The arguments and the help of `kill`.

use clap::Args;

use super::FilterArgs;

pub(super) const ABOUT: &str = "Ends the listeners of a target. Portolan first shows what it would stop, and asks. A systemd unit or a container is stopped as a whole; processes without either get SIGTERM.

The exit code is 0 only if the ports are free afterwards.

If kill refuses to end one of the listeners, nothing is ended. The message names the reason: a process of the listener is not visible; only root or another user may stop the listener; a rule of the kernel forwards the port; an unknown container publishes the port; the socket belongs to the kernel; pid 1 or the service manager of a user owns the socket for an unknown socket unit; or the process is portolan, or started portolan. This command works only on Linux.";

pub(super) const EXAMPLES: &str = "Examples:
  portolan kill 3000             end the listener on port 3000
  portolan kill 3000 --dry-run   only show what would be ended
  portolan kill 3000 --yes       do not ask, for scripts
  portolan kill 3000 --force     send SIGKILL to processes that ignore SIGTERM

Exit codes: 0 the ports are free, or --dry-run found something to end; 1 nothing listens there, you answered no, or a port is not free; 2 usage or other error, or kill refused to end a listener; 3 nothing was seen there, but not everything could be seen.";

/// The arguments of `kill`.
#[derive(Args, Clone, Debug)]
pub struct KillArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Show what would be ended, and end nothing
    #[arg(long, help_heading = "Ending")]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short = 'y', long, help_heading = "Ending")]
    pub yes: bool,
    /// Not accepted: kill sends SIGTERM first
    #[arg(short = '9', hide = true)]
    pub nine: bool,
    /// Send SIGKILL to processes that have not ended 10 seconds after SIGTERM
    #[arg(long, help_heading = "Ending")]
    pub force: bool,
}
