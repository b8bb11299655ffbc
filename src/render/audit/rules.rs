//! The rules of an audit: what each flag means, how grave it is, why it matters and what to do.
//!
//! They are told out of the flags themselves, so that no list of them can grow stale.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::findings::reach::Exposed;
use crate::findings::registry::Ephemeral;
use crate::findings::{FindingKind, Flag};
use crate::model::{Exposure, Severity};
use crate::render::wrap::wrap;
use crate::render::{Style, Tone, json};

use super::table::MEASURE;

/// The usual severities of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
struct Severities {
    loopback: Option<Severity>,
    beyond: Severity,
}

impl Severities {
    fn of(flag: Flag) -> Self {
        // What is reachable from other machines is not on loopback.
        let loopback = (flag != Exposed::FLAG).then(|| flag.severity(Exposure::Loopback));
        Severities { loopback, beyond: flag.severity(Exposure::Any) }
    }

    fn text(self) -> String {
        match self {
            Severities { loopback: None, beyond } => format!("{} beyond loopback", beyond.name()),
            Severities { loopback: Some(loopback), beyond } if loopback == beyond => beyond.name().to_owned(),
            Severities { loopback: Some(loopback), beyond } => {
                format!("{} on loopback, {} beyond", loopback.name(), beyond.name())
            }
        }
    }
}

/// One rule.
#[derive(Serialize)]
struct Rule {
    code: &'static str,
    description: &'static str,
    severity: Severities,
    /// For UDP, if it differs.
    severity_udp: Option<Severities>,
    why: &'static str,
    remedy: &'static str,
}

impl Rule {
    fn of(flag: Flag) -> Self {
        let severity = Severities::of(flag);
        let udp = Severities { loopback: Some(Severity::Info), beyond: Severity::Notice };
        Rule {
            code: flag.code(),
            description: flag.description(),
            severity,
            severity_udp: (flag == Ephemeral::FLAG).then_some(udp),
            why: flag.why(),
            remedy: flag.remedy(),
        }
    }
}

/// Writes the rules for people.
///
/// # Errors
/// Where they cannot be written.
pub fn text(style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut w = BufWriter::new(w);
    let width = style.width.or(Some(MEASURE));
    for (at, rule) in Flag::all().map(Rule::of).enumerate() {
        if at > 0 {
            writeln!(w)?;
        }
        writeln!(w, "{}", style.paint(Tone::Heading, rule.code))?;
        let mut severity = rule.severity.text();
        if let Some(udp) = rule.severity_udp {
            severity.push_str(&format!("; UDP: {}", udp.text()));
        }
        for (label, text) in [
            ("  When      ", rule.description),
            ("  Severity  ", &severity),
            ("  Why       ", rule.why),
            ("  Do        ", rule.remedy),
        ] {
            for line in wrap(label, text, width) {
                writeln!(w, "{line}")?;
            }
        }
    }
    w.flush()
}

/// Writes the rules as JSON (`portolan.rules/1`).
///
/// # Errors
/// Where they cannot be written.
pub fn document(w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document {
        schema: &'static str,
        rules: Vec<Rule>,
    }
    let rules = Flag::all().map(Rule::of).collect();
    json::write(&Document { schema: "portolan.rules/1", rules }, w)
}
