//! What `audit` takes, exactly as typed, and what its help says.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::FilterArgs;
use crate::model::Severity;

pub(super) const ABOUT: &str = "\
Judges every listener of this machine, and tells what should not be here, gravest first: what was found, what that rests
on, why it matters and what to do. The exit code is the verdict, so that it can gate a deployment.

It never calls all well what it could not see: where the view is incomplete and nothing grave is found, the verdict is
'incomplete' and the exit code 3. What would show the rest is told with it; as a rule: run it as root.

Targets and the options that narrow a listing narrow what is told, not what is looked at; a narrowed audit says so.";

pub(super) const EXAMPLES: &str = "\
Examples:
  sudo portolan audit                                     everything, for people
  sudo portolan audit --fail-on critical                  only what is critical fails
  sudo portolan audit -t --exposure any,public            what TCP offers to everybody
  sudo portolan audit --policy policy.toml                by what may listen here; see portolan policy --help
  portolan audit --rules                                  every rule: when, how grave, why, what to do
  sudo portolan audit -o sarif --write portolan.sarif     for a code-scanning dashboard
  sudo portolan audit -o metrics --write /var/lib/prometheus/node-exporter/portolan.prom
  portolan audit --from host.json                         of another machine's capture
  sudo portolan audit --baseline host.json                what changed since is a finding
  sudo portolan audit --deep                              what no table shows too

Exit codes: 0 nothing at or above --fail-on, and everything could be seen; 1 findings at or above it; 2 a usage or other
error; 3 no such finding, but not everything could be seen (--allow-incomplete turns it into 0).";

/// What `audit` takes.
#[derive(Args, Clone, Debug)]
// An audit shows every finding.
#[command(mut_arg("flag", |arg| arg.hide(true)))]
pub struct AuditArgs {
    /// What narrows it, as in a listing.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Fail on findings of this severity or graver
    #[arg(long, value_name = "SEVERITY", default_value = "warning", value_parser = severity())]
    pub fail_on: Severity,
    /// Judge by this policy too: what it does not allow is found, and what it promises and nobody sees
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Exit with 0 where nothing is found although not everything could be seen; the verdict stays 'incomplete'
    #[arg(long)]
    pub allow_incomplete: bool,
    /// What changed since this saved observation is found too
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Take a baseline of another host
    #[arg(long, requires = "baseline")]
    pub other_host: bool,
    /// Look deeper: whether the kernel's tables contradict each other, and whether a port is taken that none shows, in
    /// every network namespace; takes about a second each (Linux, root)
    #[arg(long)]
    pub deep: bool,
    /// List the rules instead: what each flag means, how grave it is, why it matters, what to do
    #[arg(long)]
    pub rules: bool,
    /// Write to this file instead of standard output: all of it or nothing, in place of what was there
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

fn severity() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::name))
        .try_map(|name| Severity::ALL.into_iter().find(|s| s.name() == name).ok_or("no such severity"))
}
