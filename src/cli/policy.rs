//! What `policy` takes, exactly as typed, and what its help says.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const ABOUT: &str = "\
A policy is a TOML file that says what may listen, what must, and how grave each kind of finding is; `portolan audit
--policy FILE` judges by it. `init` writes one from what listens now, `check` says whether a file is good.

  schema = \"portolan.policy/1\"
  include = [\"base.toml\"]

  [[allow]]
  id = \"web\"
  hosts = \"web-*\"
  port = [80, 443]
  protocol = \"tcp\"
  executable = \"/usr/sbin/nginx\"
  user = [\"root\", \"www-data\"]
  reason = \"the shop\"
  owner = \"web team\"
  expires = 2027-12-31
  required = true

  [[rule]]
  id = \"quiet-unexplained\"
  code = \"unexplained\"
  severity = \"off\"
  reason = \"the registry's silence means nothing on these hosts\"

Every condition of a rule must hold, and the first rule that holds decides. Conditions: port (443, \"8000-8100\",
\"ephemeral\"), protocol, address (an address or a block), exposure, device, executable (a pattern of the whole path, or
\"kernel\"), runs (what an interpreter or a relay runs), user, unit, container, netns. Each may be a list, of which one must hold.";

pub(super) const EXAMPLES: &str = "\
Examples:
  portolan policy init                              a policy of what listens now
  sudo portolan policy init --write policy.toml     the same into a new file
  portolan policy init --from host.json             of what another machine listened on
  portolan policy check policy.toml                 is it good? do rules never match?
  sudo portolan policy check --here policy.toml     the same, and which rules match nothing here now
  sudo portolan audit --policy policy.toml          judge by it

Exit codes: 0 done (check: the files are valid, with or without remarks); 1 init: listeners with findings at or above
warning need your decision; 2 usage or other error, or an invalid policy; 3 init: not every process could be read, so the
policy is incomplete.";

pub(super) const INIT: &str = "\
Examples:
  portolan policy init                                 to read first
  sudo portolan policy init --write policy.toml        into a new file, with every holder seen
  portolan policy init --from host.json --write host.toml

Listeners with findings at or above warning are written as commented-out rules: a draft approves nothing suspicious.

Exit codes: 0 written; 1 written, and listeners need your decision; 2 usage or other error; 3 written, but not every
process could be read, so the policy is incomplete.";

pub(super) const CHECK: &str = "\
Examples:
  portolan policy check policy.toml                    is it good? do rules never match?
  portolan policy check web.toml database.toml         each by itself
  sudo portolan policy check --here policy.toml        and which rules match nothing here now?
  portolan policy check --from host.json policy.toml   nothing there then?

Exit codes: 0 the files are good, whatever there is to remark; 2 a usage or other error, a bad policy included.";

/// What `policy` does.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a policy of what listens now
    #[command(after_long_help = INIT)]
    Init(PolicyInitArgs),
    /// Say whether policy files are good, and which rules never match
    #[command(after_long_help = CHECK)]
    Check(PolicyCheckArgs),
}

/// What `policy init` takes.
#[derive(Args, Clone, Debug)]
pub struct PolicyInitArgs {
    /// Write to this new file instead of standard output; one that is there is never replaced
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// What `policy check` takes.
#[derive(Args, Clone, Debug)]
pub struct PolicyCheckArgs {
    /// The files; what they include is read with them
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Name the rules that match nothing on this machine now; with --from, on that one then
    #[arg(long, conflicts_with = "from")]
    pub here: bool,
}
