//! Finds the units that systemd stops together with a unit, because they depend on it.

use std::collections::BTreeSet;
use std::process::Stdio;

use super::managers::program;
use crate::judge::{HowToStop, KillStep};

/// The properties with the names of the units that systemd stops together with a unit (systemd.unit(5)). They are
/// `PropagatesStopTo=`, and the reverse of `Requires=`, `Requisite=`, `BindsTo=` and `PartOf=`.
const PROPERTIES: &str =
    "--property=Id,ActiveState,RequiredBy,RequisiteOf,BoundBy,ConsistsOf,PropagatesStopTo";
/// The maximum number of steps from a unit to the units that depend on it.
const DEPTH: usize = 8;
/// The maximum number of units in one call of systemctl.
const MOST_UNITS: usize = 200;

/// Returns the running units that systemd stops with the units of a step. If systemd does not answer, returns none. In
/// that case, systemd cannot stop the units of the step either.
pub(super) fn dependents(step: &KillStep<'_>) -> Vec<String> {
    let (manager, units): (&[&str], &[&str]) = match &step.how {
        HowToStop::Units(units) => (&[], units),
        HowToStop::UserUnit { name, .. } => (&["--user"], &[name]),
        _ => return Vec::new(),
    };
    let stopped: BTreeSet<String> = units.iter().map(|unit| (*unit).to_owned()).collect();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let mut next = stopped.clone();
    let mut found = Vec::new();
    for _ in 0..DEPTH {
        if next.is_empty() {
            break;
        }
        let answers = show(manager, &next).unwrap_or_default();
        asked.append(&mut next);
        for unit in parse(&answers).into_iter().filter(|unit| unit.is_active) {
            next.extend(unit.dependents.into_iter().filter(|dependent| !asked.contains(dependent)));
            if !stopped.contains(&unit.id) {
                found.push(unit.id);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn show(manager: &[&str], units: &BTreeSet<String>) -> Option<String> {
    let mut command = program("systemctl").ok()?;
    command.args(manager).args(["show", PROPERTIES, "--"]).args(units.iter().take(MOST_UNITS));
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Unit {
    id: String,
    is_active: bool,
    dependents: Vec<String>,
}

/// Parses the output of `systemctl show`: one `NAME=VALUE` on each line, and an empty line between two units.
fn parse(text: &str) -> Vec<Unit> {
    let unit = |lines: &str| {
        let mut unit = Unit::default();
        for (name, value) in lines.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "Id" => value.clone_into(&mut unit.id),
                "ActiveState" => unit.is_active = !matches!(value, "inactive" | "failed"),
                _ => unit
                    .dependents
                    .extend(value.split(' ').filter(|name| !name.is_empty()).map(str::to_owned)),
            }
        }
        unit
    };
    text.split("\n\n").map(unit).filter(|unit| !unit.id.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_systemctl_show() {
        let text = "Id=shop.service\nActiveState=active\nRequiredBy=front.service back.service\nConsistsOf=\n\n\
                    Id=old.service\nActiveState=inactive\nBoundBy=x.service\n\nno name\n";
        let unit = |id: &str, is_active, dependents: &[&str]| Unit {
            id: id.to_owned(),
            is_active,
            dependents: dependents.iter().map(|name| (*name).to_owned()).collect(),
        };
        let shop = unit("shop.service", true, &["front.service", "back.service"]);
        assert_eq!(parse(text), [shop, unit("old.service", false, &["x.service"])]);
        assert_eq!(parse(""), []);
    }
}
