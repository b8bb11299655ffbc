//! Findings about who the process is.

use serde::Serialize;

use super::text::{first_of, list, sentence};
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
    /// Why an unknown program there is suspicious.
    pub why: &'static str,
    /// Whether a user who is not root can replace a file that runs there, or there is no such file.
    #[serde(skip)]
    pub is_replaceable: bool,
}

/// This many expected programs are named, and the rest counted.
const EXPECTED: usize = 6;

impl FindingKind for Impostor {
    const RULE: Rule = Rule {
        code: "impostor",
        family: FindingFamily::Identity,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "a program listens on the port of a well-known service and is not known to serve it",
        why: "Clients send passwords and data to this port without checking which program answers.",
        remedy: "find out who started the program; if it belongs here, allow it in the policy",
    };

    /// Critical if a user who is not root can have put the program there.
    fn severity(&self) -> Severity {
        if self.is_replaceable { Severity::Critical } else { Self::RULE.severity }
    }

    fn sentence(&self) -> String {
        // One text for each program, however many processes run it.
        let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
        for Stranger { program, pid, rests_on, products } in &self.found {
            let mut about = products.join(" or ");
            if *rests_on == RestsOn::Name {
                about =
                    format!("{about}{}identified by its name only", if about.is_empty() { "" } else { "; " });
            }
            let about = if about.is_empty() { program.clone() } else { format!("{program} [{about}]") };
            match groups.iter_mut().find(|(known, _)| *known == about) {
                Some((_, pids)) => pids.push(*pid),
                None => groups.push((about, vec![*pid])),
            }
        }
        let found: Vec<String> = groups
            .iter()
            .map(|(about, pids)| match pids.as_slice() {
                [first, _, ..] => format!("{about} (pid {first} and {} more)", pids.len() - 1),
                _ => format!("{about} (pid {})", pids.first().copied().unwrap_or_default()),
            })
            .collect();
        let expected: Vec<String> = self.expected.iter().map(|&name| name.to_owned()).collect();
        let (listens, is) = if found.len() > 1 { ("listen", "are") } else { ("listens", "is") };
        format!(
            "{} {listens} on the port of {}, but {is} not known to serve it (known: {}). {}",
            list(&found),
            self.service,
            first_of(&expected, EXPECTED),
            sentence(self.why)
        )
    }
}

/// Says what the identification of a program rests on.
pub(crate) const fn identified(on: RestsOn) -> &'static str {
    match on {
        RestsOn::Exe => "by its program file",
        RestsOn::Cmdline => "by its command line",
        RestsOn::Name => "by its name only",
    }
}

family!(Identity: Impostor);
