//! Prometheus text (exposition format 0.0.4), for the textfile collector of node_exporter.
//!
//! No label contains a port, pid, process, user or other value from the machine. So there are at most 120 series,
//! unless a policy sets severities.
//!
//! Every possible combination of code and severity is written, even if its count is zero. Otherwise an alert would not
//! clear when the last finding vanishes.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::findings::Flag;
use crate::judge::audit::{Audit, AuditVerdict};
use crate::judge::possible_severities;
use crate::model::{Exposure, HostScope, Severity, Status};

pub fn document(audit: &Audit<'_>, fail_on: Severity, w: &mut dyn Write) -> io::Result<()> {
    let mut out = String::with_capacity(1 << 14);
    let snapshot = &audit.report.snapshot;
    let one = |condition: bool| if condition { 1 } else { 0 };

    family(&mut out, "build_info", "The version of portolan that wrote this; the value is always 1.");
    sample(&mut out, "build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);

    family(&mut out, "last_run_timestamp_seconds", "The time of the scan, in seconds since 1970.");
    sample(&mut out, "last_run_timestamp_seconds", &[], snapshot.taken.as_second());

    family(&mut out, "complete", "1 if everything could be seen, otherwise 0.");
    sample(&mut out, "complete", &[], one(audit.is_complete()));

    family(
        &mut out,
        "host_info",
        "The part of the machine that the scan covers, and whether everything in this part could be seen; the value is always 1.",
    );
    let scope = snapshot.host.scope.map_or("unknown", HostScope::name);
    let labels = [("scope", scope), ("complete", if audit.is_complete() { "true" } else { "false" })];
    sample(&mut out, "host_info", &labels, 1);

    family(&mut out, "gaps", "The number of gaps; each gap is a kind of data that could not be read.");
    sample(&mut out, "gaps", &[], count(audit.all_gaps().count()));

    let verdict = audit.outcome(fail_on);
    family(&mut out, "verdict", "The verdict of the audit: 1 for the current verdict, 0 for the others.");
    for outcome in [AuditVerdict::Clear, AuditVerdict::Findings, AuditVerdict::Incomplete] {
        sample(&mut out, "verdict", &[("verdict", outcome.name())], one(outcome == verdict));
    }

    family(&mut out, "listeners", "Listeners by exposure and by the status of the port in the registry.");
    for exposure in Exposure::ALL {
        for status in Status::ALL {
            let those = audit
                .listeners
                .iter()
                .filter(|judged| judged.exposure == exposure && judged.verdict.status == status);
            let labels = [("exposure", exposure.name()), ("status", status.name())];
            let number = count(those.count());
            // Listeners that nobody can reach are rare, so their sample is left out if its value is zero.
            if number > 0 || exposure != Exposure::None {
                sample(&mut out, "listeners", &labels, number);
            }
        }
    }

    family(&mut out, "findings", "Findings by code and severity.");
    for flag in Flag::all() {
        let possible = possible_severities(flag);
        for severity in Severity::ALL {
            let those = audit.findings.iter().map(|found| &found.finding);
            let those = those.filter(|finding| finding.flag() == flag && finding.severity == severity);
            let number = count(those.count());
            // A severity that only a policy can set is written only if a finding has it.
            if number > 0 || possible.contains(&severity) {
                let labels = [("code", flag.code()), ("severity", severity.name())];
                sample(&mut out, "findings", &labels, number);
            }
        }
    }

    dated(
        &mut out,
        "registry_timestamp_seconds",
        "The date of the port registry, in seconds since 1970.",
        midnight(audit.report.registry.date()),
    );
    if let Some(policy) = &audit.policy {
        family(&mut out, "policy_info", "The policy of the audit, with its checksum; the value is always 1.");
        sample(&mut out, "policy_info", &[("name", &policy.name), ("sha256", &policy.sha256)], 1);
    }
    dated(
        &mut out,
        "policy_timestamp_seconds",
        "The time of the last change of the policy, in seconds since 1970; absent without a policy.",
        audit.policy.as_ref().and_then(|policy| policy.changed),
    );
    w.write_all(out.as_bytes())
}

/// Writes a date. An unknown date is left out, because zero would mean 1970.
fn dated(out: &mut String, name: &str, help: &str, date: Option<Timestamp>) {
    if let Some(date) = date {
        family(out, name, help);
        sample(out, name, &[], date.as_second());
    }
}

/// Returns the first second of a day; `None` if the text is not a date.
fn midnight(date: &str) -> Option<Timestamp> {
    let date: Date = date.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

// Writing to a String cannot fail.

fn family(out: &mut String, name: &str, help: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(out, "# HELP portolan_{name} {help}\n# TYPE portolan_{name} gauge\n");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: i64) {
    let _ = write!(out, "portolan_{name}");
    for (at, (label, text)) in labels.iter().enumerate() {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
    }
    let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut out = String::new();
        family(&mut out, "a", "one\\two\nthree");
        sample(&mut out, "a", &[("x", "a\"b\\c\nd"), ("y", "")], -1);
        assert_eq!(
            out,
            "# HELP portolan_a one\\\\two\\nthree\n# TYPE portolan_a gauge\nportolan_a{x=\"a\\\"b\\\\c\\nd\",y=\"\"} -1\n"
        );
    }

    #[test]
    fn an_unknown_date_has_no_sample() {
        assert_eq!(midnight("2026-09-17").map(Timestamp::as_second), Some(1_789_603_200));
        assert_eq!(midnight("unknown"), None);
    }
}
