//! Findings about who the process is.

use serde::Serialize;

use super::text::{list, sentence};
use super::{FindingFamily, FindingKind, OnLoopback, Rule};
use crate::model::{Pid, RestsOn, Severity};

/// A process that holds the port of a guarded service and is not known to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// The process.
    pub pid: Pid,
    /// The name of its file, of its script, or of the process.
    pub program: String,
    /// What that program is, if it is known; several if a name does not distinguish them.
    pub products: Vec<&'static str>,
    /// What the identification rests on.
    pub rests_on: RestsOn,
}

/// A process on a guarded service's port that is not among the programs known to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Impostor {
    /// The guarded service.
    pub service: &'static str,
    /// The programs known to serve it.
    pub expected: Vec<&'static str>,
    /// The processes that hold the port instead.
    pub found: Vec<Stranger>,
    /// Why a stranger there is suspicious.
    pub why: &'static str,
}

/// This many expected programs are named, and the rest counted.
const EXPECTED: usize = 6;

impl FindingKind for Impostor {
    const RULE: Rule = Rule {
        code: "impostor",
        family: FindingFamily::Identity,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Lower,
        description: "not a program known to serve what belongs on this port",
        why: "Clients trust this port with passwords and data, whoever answers there.",
        remedy: "find out who started it; if it belongs here, allow it in the policy",
    };

    fn sentence(&self) -> String {
        // Those of one program are told together, however many processes it has.
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        for Stranger { program, pid, rests_on, products, .. } in &self.found {
            let what = match products.as_slice() {
                [] => "of which nothing is known".to_owned(),
                products => products.join(" or "),
            };
            let about = format!("{program} ({what}; known {};", identified(*rests_on));
            match groups.iter_mut().find(|(known, _)| *known == about) {
                Some((_, pids)) => pids.push(*pid),
                None => groups.push((about, vec![*pid])),
            }
        }
        let found: Vec<String> = groups
            .into_iter()
            .map(|(about, pids)| match pids.as_slice() {
                [pid] => format!("{about} pid {pid})"),
                pids => format!(
                    "{about} pid {} and {} more)",
                    pids.first().copied().unwrap_or_default(),
                    pids.len() - 1
                ),
            })
            .collect();
        let named: Vec<String> = self.expected.iter().take(EXPECTED).map(|&name| name.to_owned()).collect();
        let more = match self.expected.len().saturating_sub(EXPECTED) {
            0 => list(&named),
            more => format!("{} and {more} more", named.join(", ")),
        };
        format!(
            "{} holds the port of {}, which is known to be served by {more}. {}",
            list(&found),
            self.service,
            sentence(self.why)
        )
    }
}

/// Says what the identification of a program rests on.
#[must_use]
pub(crate) const fn identified(on: RestsOn) -> &'static str {
    match on {
        RestsOn::Exe => "by the file that runs",
        RestsOn::Cmdline => "by its command line",
        RestsOn::Name => "only by the name it goes by",
    }
}

family!(Identity: Impostor);
