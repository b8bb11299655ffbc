//! The severity of a finding. It depends on the kind of finding, on the clients that can reach the listener, and on the
//! trust in its process.

use super::program_identity::IdentifiedProcess;
use crate::findings::{Evidence, Finding, FindingFamily, Flag, OnLoopback};
use crate::model::{Exposure, OriginKind, Process, ReplaceableBy, Severity};

/// The trust in a process, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// A user other than root can replace the program file, or the file does not exist.
    Replaceable,
    /// The program is not known, or it is an interpreter that runs an unknown script.
    Unknown,
    /// No process could be read, or the program is known but the origin of its file is not.
    Unproven,
    /// A known program in a directory that only root can write.
    Installed,
}

/// Directories that only root can write on an ordinary system.
const SYSTEM_DIRECTORIES: [&str; 12] = [
    "/usr/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/lib64/",
    "/opt/",
    "/snap/",
    "/nix/store/",
    "/gnu/store/",
    "/System/",
    r"C:\Windows\",
    r"C:\Program Files",
];

/// Returns whether only root can replace the program file. Its origin decides or, if this is not known, its path.
fn is_system_file(process: &Process) -> bool {
    match (&process.origin, &process.exe) {
        (Some(origin), _) => matches!(origin.kind, OriginKind::Package | OriginKind::System),
        (None, Some(exe)) => SYSTEM_DIRECTORIES.iter().any(|directory| exe.path.starts_with(directory)),
        (None, None) => false,
    }
}

/// Returns the trust in the least trusted of these processes.
pub(super) fn trust(processes: &[IdentifiedProcess<'_>]) -> Trust {
    processes.iter().map(trust_in).min().unwrap_or(Trust::Unproven)
}

pub(super) fn trust_in(identified: &IdentifiedProcess<'_>) -> Trust {
    let process = identified.process;
    match (identified.is_known(), is_system_file(process)) {
        _ if identified.is_replaceable() => Trust::Replaceable,
        _ if ReplaceableBy::of(process) == ReplaceableBy::Unknown => Trust::Unknown,
        (true, true) => Trust::Installed,
        (true, false) => Trust::Unproven,
        // If only root can replace its file, an unknown program is not suspicious.
        (false, true) if !identified.is_interpreted() || runs_system_script(process) => Trust::Unproven,
        (false, _) => Trust::Unknown,
    }
}

fn runs_system_script(process: &Process) -> bool {
    let origin = process.script.as_ref().and_then(|script| script.origin.as_ref());
    origin.is_some_and(|origin| matches!(origin.kind, OriginKind::Package | OriginKind::System))
}

pub(super) fn finding(evidence: Evidence, exposure: Exposure, trust: Trust) -> Finding {
    let finding = Finding::new(evidence);
    Finding { severity: severity(finding.flag(), finding.severity, exposure, trust), ..finding }
}

/// Returns the severity of a finding. On loopback, most flags have a severity one level below `base`. For findings
/// about the registry, low trust raises `base` by one level, but at most to a warning. High trust lowers `base` by one
/// level.
pub(super) fn severity(flag: Flag, base: Severity, exposure: Exposure, trust: Trust) -> Severity {
    let moved = match (flag.family(), trust) {
        (FindingFamily::Registry, Trust::Replaceable | Trust::Unknown) => {
            base.higher().min(Severity::Warning)
        }
        (FindingFamily::Registry, Trust::Installed) => base.lower(),
        _ => base,
    };
    on_loopback(flag, moved, exposure)
}

fn on_loopback(flag: Flag, severity: Severity, exposure: Exposure) -> Severity {
    match flag.on_loopback() {
        OnLoopback::Lower if !exposure.is_reachable_from_outside() => severity.lower(),
        _ => severity,
    }
}

/// Returns the usual severity of a flag at an exposure. This is the severity for a known program of unknown origin.
#[must_use]
pub fn usual_severity(flag: Flag, exposure: Exposure) -> Severity {
    on_loopback(flag, flag.severity(), exposure)
}

/// Returns every severity that a finding of this kind can have, if no policy changes it.
#[must_use]
pub fn possible_severities(flag: Flag) -> Vec<Severity> {
    let mut possible = Vec::new();
    for &base in flag.severities() {
        for exposure in [Exposure::Any, Exposure::Loopback] {
            for trust in [Trust::Replaceable, Trust::Unknown, Trust::Unproven, Trust::Installed] {
                possible.push(severity(flag, base, exposure, trust));
            }
        }
    }
    possible.sort();
    possible.dedup();
    possible
}

#[cfg(test)]
mod tests {
    use super::super::program_identity::Identities;
    use super::super::tests::program_process;
    use super::*;
    use crate::findings::FindingKind;
    use crate::findings::identity::Impostor;
    use crate::findings::policy::Unexpected;
    use crate::findings::registry::{Ephemeral, Orphaned};
    use crate::model::{Exe, Origin};

    #[test]
    fn severities_by_family_exposure_and_trust() {
        use Severity::{Critical, Info, Notice, Warning};
        use Trust::{Installed, Replaceable, Unknown, Unproven};
        for (name, flag, base, exposure, trust, severity_is) in [
            ("orphaned, packaged", Orphaned::FLAG, Notice, Exposure::Any, Installed, Info),
            ("orphaned", Orphaned::FLAG, Notice, Exposure::Any, Unproven, Notice),
            ("orphaned, unknown", Orphaned::FLAG, Notice, Exposure::Any, Unknown, Warning),
            ("orphaned, unknown, loopback", Orphaned::FLAG, Notice, Exposure::Loopback, Unknown, Notice),
            ("never above warning", Orphaned::FLAG, Warning, Exposure::Any, Replaceable, Warning),
            ("ephemeral, unknown", Ephemeral::FLAG, Info, Exposure::Any, Unknown, Notice),
            ("ephemeral, packaged", Ephemeral::FLAG, Info, Exposure::Any, Installed, Info),
            ("identity ignores trust", Impostor::FLAG, Warning, Exposure::Any, Replaceable, Warning),
            ("identity on loopback", Impostor::FLAG, Critical, Exposure::Loopback, Unknown, Warning),
            ("policy on loopback", Unexpected::FLAG, Critical, Exposure::Loopback, Unknown, Critical),
        ] {
            assert_eq!(severity(flag, base, exposure, trust), severity_is, "{name}");
        }
    }

    #[test]
    fn trust_rests_on_program_and_file() {
        let open = |process: Process| Process {
            exe: process.exe.map(|exe| Exe { open_directories: Some(vec!["/usr/x".to_owned()]), ..exe }),
            ..process
        };
        let with_origin = |exe: &str, kind| Process {
            origin: Some(Origin::of(kind)),
            ..program_process(1, "nginx", exe, "nginx")
        };
        for (name, process, trust_is) in [
            ("of its user", with_origin("/usr/sbin/nginx", OriginKind::User), Trust::Replaceable),
            ("of the system, at home", with_origin("/home/u/nginx", OriginKind::System), Trust::Installed),
            ("mounted over", with_origin("/usr/sbin/nginx", OriginKind::Elsewhere), Trust::Replaceable),
            ("packaged", program_process(1, "nginx", "/usr/sbin/nginx", "nginx"), Trust::Installed),
            ("known, elsewhere", program_process(1, "nginx", "/srv/nginx", "nginx"), Trust::Unproven),
            ("known, at home", program_process(1, "nginx", "/home/u/nginx", "nginx"), Trust::Replaceable),
            (
                "unknown, of the system",
                program_process(1, "xyzzy", "/usr/bin/xyzzy", "xyzzy"),
                Trust::Unproven,
            ),
            ("unknown", program_process(1, "xyzzy", "/srv/xyzzy", "xyzzy"), Trust::Unknown),
            (
                "a script",
                program_process(1, "python3", "/usr/bin/python3.11", "python3 x.py"),
                Trust::Unknown,
            ),
            (
                "world-writable",
                open(program_process(1, "nginx", "/usr/x/nginx", "nginx")),
                Trust::Replaceable,
            ),
        ] {
            assert_eq!(trust(&[Identities::default().identify(&process)]), trust_is, "{name}");
        }
        assert_eq!(trust(&[]), Trust::Unproven, "nothing could be read");
    }
}
