//! What a deep look found, as findings of an audit: on places, for no listener stands for them.

use super::audit::{Audit, AuditFinding, Subject};
use crate::model::{
    DeepLook, Disagreement, Evidence, Exposure, Finding, Flag, Protocol, Severity, Source, TakenPort,
};

/// Adds to an audit what a deep look found, and what it could not look at.
pub fn add_to(audit: &mut Audit<'_>, deep: &DeepLook) {
    for taken in &deep.taken {
        let subject =
            Subject::Place { protocol: Some(taken.protocol), address: None, port: Some(taken.port) };
        let finding = Finding { severity: of_taken(taken), evidence: Evidence::HiddenPort(taken.clone()) };
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    for found in &deep.disagreements {
        let subject = Subject::Place {
            protocol: Some(found.protocol),
            address: Some(found.address),
            port: Some(found.port),
        };
        let finding =
            Finding { severity: of_disagreement(found), evidence: Evidence::Disagreement(found.clone()) };
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    audit.gaps.extend(deep.gaps.iter().cloned());
    audit.sort();
}

/// Milder where a socket that is bound and does not listen would look the same.
fn of_taken(taken: &TakenPort) -> Severity {
    if taken.protocol == Protocol::Tcp && !taken.bound_told {
        Severity::Warning
    } else {
        Flag::HiddenPort.severity(taken.protocol, Exposure::Any)
    }
}

/// Milder where netstat2 alone lacks a socket: it asks the kernel the same question, and reads the answer by itself.
fn of_disagreement(found: &Disagreement) -> Severity {
    if found.missing_from == [Source::Netstat2] {
        Severity::Notice
    } else {
        Flag::Disagreement.severity(found.protocol, Exposure::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn what_may_be_harmless_is_milder() {
        let taken = |protocol, bound_told| {
            of_taken(&TakenPort {
                protocol,
                family: Family::Ipv4,
                port: 80,
                netns: None,
                tries: 81,
                bound_told,
            })
        };
        assert_eq!(taken(Protocol::Tcp, true), Severity::Critical);
        assert_eq!(taken(Protocol::Tcp, false), Severity::Warning);
        assert_eq!(taken(Protocol::Udp, false), Severity::Critical);
        let missing = |missing_from: &[Source]| {
            of_disagreement(&Disagreement {
                protocol: Protocol::Tcp,
                address: [127, 0, 0, 1].into(),
                port: 80,
                state: None,
                inode: 7,
                netns: None,
                shown_by: vec![Source::Netlink],
                missing_from: missing_from.to_vec(),
            })
        };
        assert_eq!(missing(&[Source::ProcNet]), Severity::Warning);
        assert_eq!(missing(&[Source::ProcNet, Source::Netstat2]), Severity::Warning);
        assert_eq!(missing(&[Source::Netstat2]), Severity::Notice);
    }
}
