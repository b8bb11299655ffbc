//! The rules of an audit: the meaning of each flag, its severity, why it matters and what to do.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::findings::Flag;
use crate::judge::usual_severity;
use crate::model::{Exposure, Severity, Tool};
use crate::render::wrap::prose;
use crate::render::{Emphasis, Style, json};

use super::table::MEASURE;

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
struct Severities {
    loopback: Severity,
    beyond: Severity,
}

impl Severities {
    fn of(flag: Flag) -> Self {
        let at = |exposure| usual_severity(flag, exposure);
        Severities { loopback: at(Exposure::Loopback), beyond: at(Exposure::Any) }
    }

    fn text(self) -> String {
        match self {
            Severities { loopback, beyond } if loopback == beyond => beyond.name().to_owned(),
            Severities { loopback, beyond } => {
                format!("{} on loopback, otherwise {}", loopback.name(), beyond.name())
            }
        }
    }
}

#[derive(Serialize)]
struct RuleJson {
    code: &'static str,
    family: &'static str,
    description: &'static str,
    severity: Severities,
    why: &'static str,
    remedy: &'static str,
}

impl RuleJson {
    fn of(flag: Flag) -> Self {
        RuleJson {
            code: flag.code(),
            family: flag.family().name(),
            description: flag.description(),
            severity: Severities::of(flag),
            why: flag.why(),
            remedy: flag.remedy(),
        }
    }
}

pub fn text(style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let mut w = BufWriter::new(w);
    for (at, rule) in Flag::all().map(RuleJson::of).enumerate() {
        if at > 0 {
            writeln!(w)?;
        }
        writeln!(w, "{}", style.paint(Emphasis::Heading, rule.code))?;
        let severity = rule.severity.text();
        for (label, text) in [
            ("  When      ", rule.description),
            ("  Severity  ", &severity),
            ("  Why       ", rule.why),
            ("  Do        ", rule.remedy),
        ] {
            for line in prose(label, text, MEASURE, style) {
                writeln!(w, "{line}")?;
            }
        }
    }
    w.flush()
}

/// Writes the rules as JSON (`portolan.rules/2`).
pub fn document(w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Document {
        schema: &'static str,
        tool: Tool,
        rules: Vec<RuleJson>,
    }
    let rules = Flag::all().map(RuleJson::of).collect();
    json::write(&Document { schema: "portolan.rules/2", tool: Tool::this(), rules }, w)
}
