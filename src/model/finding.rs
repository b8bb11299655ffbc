//! What is remarkable about a listener, how bad it is, and what that rests on.

use super::{ChangeKind, Evidence, Exposure, Flag, OddProgram, Place, Protocol, Severity, Since};

/// One remarkable thing about one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Why; it tells the flag too.
    pub evidence: Evidence,
}

impl Finding {
    /// A finding of default severity. A hidden folder alone weighs less than the other odd places: the tools of
    /// developers live in hidden folders of their homes.
    #[must_use]
    pub fn new(evidence: Evidence, protocol: Protocol, exposure: Exposure) -> Self {
        let mut finding = Finding { severity: Severity::Info, evidence };
        let hidden = |odd: &OddProgram| matches!(odd.place, Place::Hidden { .. });
        let weighs_as = match &finding.evidence {
            Evidence::OddExecutable { found } if found.iter().all(hidden) => Flag::Unassigned,
            _ => finding.flag(),
        };
        finding.severity = weighs_as.severity(protocol, exposure);
        finding
    }

    /// The flag its evidence belongs to.
    #[must_use]
    pub const fn flag(&self) -> Flag {
        match self.evidence {
            Evidence::Orphaned { .. } => Flag::Orphaned,
            Evidence::Ephemeral { .. } => Flag::Ephemeral,
            Evidence::Reserved { .. } => Flag::Reserved,
            Evidence::Unassigned { .. } => Flag::Unassigned,
            Evidence::Dormant { .. } => Flag::Dormant,
            Evidence::OtherProtocol { .. } => Flag::OtherProtocol,
            Evidence::Impostor { .. } => Flag::Impostor,
            Evidence::Shadowed { .. } => Flag::Shadowed,
            Evidence::Shared { .. } => Flag::Shared,
            Evidence::DeletedExecutable { .. } => Flag::DeletedExecutable,
            Evidence::OddExecutable { .. } => Flag::OddExecutable,
            Evidence::BacklogFull { .. } => Flag::BacklogFull,
            Evidence::BoundOnly { .. } => Flag::BoundOnly,
            Evidence::Kernel { .. } => Flag::Kernel,
            Evidence::Exposed { .. } => Flag::Exposed,
            Evidence::Unexpected { .. } => Flag::Unexpected,
            Evidence::Missing { .. } => Flag::Missing,
            Evidence::Since(Since { change, .. }) => match change {
                ChangeKind::Appeared => Flag::Appeared,
                ChangeKind::Vanished => Flag::Vanished,
                ChangeKind::Changed => Flag::Changed,
                ChangeKind::Replaced => Flag::Replaced,
                ChangeKind::Widened => Flag::Widened,
                ChangeKind::Narrowed => Flag::Narrowed,
            },
            Evidence::HiddenPort(_) => Flag::HiddenPort,
            Evidence::Disagreement(_) => Flag::Disagreement,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_told_in_full() {
        for (at, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, at, "the order of the list is that of the variants");
            assert!(flag.code().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{flag:?}");
            // A sentence, and two phrases that a sentence can hold.
            assert!(flag.why().ends_with('.') && !flag.why().contains(". "), "{flag:?}");
            for phrase in [flag.description(), flag.remedy()] {
                assert!(!phrase.is_empty() && !phrase.ends_with('.'), "{flag:?}");
            }
        }
        assert_eq!(Flag::ALL.last(), Some(&Flag::Disagreement), "the list is whole");
    }

    #[test]
    fn severities_by_exposure() {
        use Severity::{Critical, Info, Notice, Warning};
        let of = |flag: Flag, exposure| flag.severity(Protocol::Tcp, exposure);
        for (flag, loopback, beyond) in [
            (Flag::Orphaned, Notice, Warning),
            (Flag::Ephemeral, Notice, Warning),
            (Flag::Unassigned, Info, Notice),
            (Flag::Impostor, Warning, Critical),
            (Flag::Shadowed, Warning, Warning),
            (Flag::Shared, Warning, Warning),
            (Flag::DeletedExecutable, Warning, Warning),
            (Flag::OddExecutable, Warning, Critical),
            (Flag::BacklogFull, Warning, Warning),
            (Flag::BoundOnly, Info, Notice),
            (Flag::Kernel, Info, Info),
            (Flag::Unexpected, Critical, Critical),
            (Flag::Missing, Warning, Warning),
        ] {
            assert_eq!(
                (of(flag, Exposure::Loopback), of(flag, Exposure::Any)),
                (loopback, beyond),
                "{flag:?}"
            );
        }
    }
}
