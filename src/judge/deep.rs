//! Turns the results of a deep scan into findings of an audit. These findings are about ports, because no listener is
//! visible there.

use super::audit::{Audit, AuditFinding, Subject};
use crate::findings::Finding;
use crate::model::DeepScanResult;

/// Adds the findings of a deep scan to an audit, and the parts that the scan could not check.
pub fn add_to(audit: &mut Audit<'_>, deep: &DeepScanResult) {
    for taken in &deep.taken {
        let subject =
            Subject::NoListener { protocol: Some(taken.protocol), address: None, port: Some(taken.port) };
        let finding = Finding::new(taken.clone());
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    for found in &deep.disagreements {
        let subject = Subject::NoListener {
            protocol: Some(found.protocol),
            address: Some(found.address),
            port: Some(found.port),
        };
        let finding = Finding::new(found.clone());
        audit.findings.push(AuditFinding { subject, finding, rule: None });
    }
    audit.gaps.extend(deep.gaps.iter().cloned());
    audit.sort();
}
