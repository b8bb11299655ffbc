//! The arguments and the help of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const ABOUT: &str = "A policy is a TOML file that says what may listen, what must listen, and how severe each kind of finding is. `portolan audit --policy FILE` compares the listeners with the policy. `portolan policy init` writes a policy from the current listeners, and `portolan policy check` validates policy files.

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
  reason = \"most programs on these hosts are in-house\"

A rule applies if all of its conditions match, and the first rule that applies decides. Conditions: port (443, \"8000-8100\", \"ephemeral\"), protocol, address (an address or a block), exposure, device, executable (a pattern for the absolute path, or \"kernel\"), runs (the script, class or module of an interpreter, or the arguments of a relay such as socat), user, unit, container, netns. A condition may have a list of values: one of them must match.";

pub(super) const EXAMPLES: &str = "Examples:
  portolan policy init                              print a policy for the current listeners
  sudo portolan policy init --write policy.toml     write it to a new file
  portolan policy init --from host.json             a policy for the listeners of a snapshot
  portolan policy check policy.toml                 is it valid? which rules can never match?
  sudo portolan policy check --here policy.toml     also: which rules match no current listener?
  sudo portolan audit --policy policy.toml          compare the listeners with a policy

Exit codes: 0 init wrote the policy, or check found every file valid (with or without remarks); 1 init wrote the policy, and listeners with findings at or above warning need your decision; 2 usage or other error, or an invalid policy; 3 init wrote the policy, but could not read every process, so the policy is incomplete.";

pub(super) const INIT: &str = "\
Examples:
  portolan policy init                                 print the draft and write no file
  sudo portolan policy init --write policy.toml        write a new file; root can see every process
  portolan policy init --from host.json --write host.toml

Listeners with findings at or above warning are written as commented-out rules: a drafted policy never allows something suspicious.

Exit codes: 0 written; 1 written, and listeners need your decision; 2 usage or other error; 3 written, but not every \
process could be read, so the policy is incomplete.";

pub(super) const CHECK: &str = "\
Examples:
  portolan policy check policy.toml                    is it valid? which rules can never match?
  portolan policy check web.toml database.toml         two policies, each by itself
  sudo portolan policy check --here policy.toml        also: which rules match no current listener?
  portolan policy check --from host.json policy.toml   also: which rules match nothing in a snapshot?

Exit codes: 0 the files are valid, with or without remarks; 2 usage or other error, or an invalid policy.";

/// The subcommands of `policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a policy for the current listeners
    #[command(after_long_help = INIT)]
    Init(PolicyInitArgs),
    /// Validate policy files, and report rules that never match
    #[command(after_long_help = CHECK)]
    Check(PolicyCheckArgs),
}

/// The arguments of `policy init`.
#[derive(Args, Clone, Debug)]
pub struct PolicyInitArgs {
    /// Write to this file instead of standard output; the file must not exist yet
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// The arguments of `policy check`.
#[derive(Args, Clone, Debug)]
pub struct PolicyCheckArgs {
    /// Policy files; included files are read too
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Also report rules that match no current listener of this machine
    #[arg(long, conflicts_with = "from")]
    pub here: bool,
}
