//! The arguments and the help of `audit`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::FilterArgs;
use crate::model::Severity;

pub(super) const ABOUT: &str = "Checks every listener of this machine and reports findings, most severe first. Each finding says what was found, why it matters and what to do. The exit code is the verdict, so an audit can gate a deployment.

If something could not be seen, the verdict is never 'clear'. It is 'findings' if there is a finding at or above --fail-on, and otherwise 'incomplete', with exit code 3. The output says how to see the rest; usually, run the audit as root.

As root on Linux, an audit covers every network namespace, including those of containers. --scope namespace covers only the network namespace in which portolan runs, and --netns covers the one that you choose.

Targets and filters limit the report, not the scan. The report names the filter that was used.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo portolan audit                                     check every listener
  sudo portolan audit --fail-on critical                  fail on critical findings only
  sudo portolan audit -t --exposure any,public            TCP listeners that the internet may reach
  sudo portolan audit --policy policy.toml                compare with a policy (see portolan policy --help)
  portolan audit --rules                                  list all rules, with reason and remedy
  sudo portolan audit -o html --write report.html         a page for a browser, in one file
  sudo portolan audit -o sarif --write portolan.sarif     for a code-scanning dashboard
  sudo portolan audit -o metrics --write /var/lib/prometheus/node-exporter/portolan.prom
  portolan audit --from host.json                         check a snapshot of another machine
  sudo portolan audit --baseline host.json                also report what changed since a snapshot
  sudo portolan audit --deep                              also search for hidden sockets

Exit codes: 0 no finding at or above --fail-on, and everything could be seen; 1 a finding at \
or above --fail-on, or no listener matches the named targets; 2 usage or other error; 3 no finding at or above --fail-on, but not everything could be seen (0 with --allow-incomplete).";

/// The arguments of `audit`.
#[derive(Args, Clone, Debug)]
// An audit shows every finding, so `--flag` is hidden from its help.
#[command(mut_arg("flag", |arg| arg.hide(true)))]
pub struct AuditArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Fail on findings of this severity or higher
    #[arg(long, value_name = "SEVERITY", default_value = "warning", value_parser = severity())]
    pub fail_on: Severity,
    /// Also report listeners that this policy does not allow, and required listeners that are missing
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Exit with 0 instead of 3 if the verdict is 'incomplete'
    #[arg(long)]
    pub allow_incomplete: bool,
    /// Also report what changed since this snapshot
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Accept a baseline of another host
    #[arg(long, requires = "baseline")]
    pub other_host: bool,
    /// Also search for hidden sockets in every network namespace, about one second each (Linux, root)
    #[arg(long)]
    pub deep: bool,
    /// Only list the rules, without an audit: when each finding is raised, its severity, why it matters, what to do
    #[arg(long)]
    pub rules: bool,
    /// Write to this file instead of standard output; an existing file is replaced atomically
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::name))
        .try_map(|name| Severity::named(&name).ok_or("no such severity"))
}
