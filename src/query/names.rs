//! Messages for unknown names, with suggestions.

use crate::registry::Registry;

/// The maximum number of expected names in a message. If there are more, the message has only the nearest name.
const MANY: usize = 20;

/// The maximum edit distance for a suggestion of a subcommand or of a name in use on this machine.
const NEAR: usize = 2;

/// The maximum length of a short name. A short name is similar to almost every name. So a name of the registry is
/// suggested only if neither this name nor the typed name is short.
const SHORT: usize = 3;

const FEW: usize = 4;

/// Returns the message for a word that is not among `names`.
pub(crate) fn unknown(what: &str, word: &str, names: &[&str]) -> String {
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) if names.len() > MANY => format!("no such {what}; did you mean {near}?"),
        Some((_, near)) => format!("no such {what}; did you mean {near}? (expected {})", names.join(", ")),
        None => format!("no such {what} (expected {})", names.join(", ")),
    }
}

/// Returns `; did you mean …?` with the names that are similar to an unknown name; empty if there are none. Subcommands
/// and names in use on this machine come first, then services and programs of the registry.
pub(crate) fn suggestion<'a>(
    name: &str,
    commands: impl IntoIterator<Item = &'a str>,
    in_use: impl IntoIterator<Item = &'a str>,
    registry: &Registry,
) -> String {
    let mut found: Vec<&str> = near(name, commands.into_iter().collect(), SHORT);
    found.extend(near(name, in_use.into_iter().collect(), SHORT + 1));
    if name.chars().count() > SHORT {
        found.extend(registry.near(name).into_iter().filter(|known| known.len() > SHORT));
    }
    let mut names: Vec<&str> = Vec::new();
    for known in found {
        if !names.iter().any(|other| other.eq_ignore_ascii_case(known)) {
            names.push(known);
        }
    }
    names.truncate(FEW);
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(", ")) }
}

/// Returns the candidates within [`NEAR`] of a name, nearest first. Returns none if the name has fewer than `shortest`
/// letters.
pub(crate) fn near<'a>(name: &str, candidates: Vec<&'a str>, shortest: usize) -> Vec<&'a str> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    let most = if length > 5 { NEAR } else { 1 };
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter(|candidate| length >= shortest && candidate.chars().count().abs_diff(length) <= most)
        .map(|candidate| (strsim::osa_distance(&candidate.to_lowercase(), &name), candidate))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let commands = ["explain", "watch", "list"];
        let in_use = ["myserver", "nginx"];
        for (case, name, wanted) in [
            ("a subcommand", "expalin", "; did you mean explain?"),
            ("a short subcommand", "watc", "; did you mean watch"),
            ("a process here comes before the registry", "nginxx", "; did you mean nginx"),
            ("a process that no registry knows", "myservr", "; did you mean myserver"),
            ("a service of the registry", "postgress", "; did you mean postgres"),
            ("nothing is near", "qqqqqqqq", ""),
            ("a subcommand of which a letter is missing", "lst", "; did you mean list?"),
            ("too short to be near anything", "xyz", ""),
            ("a service with another first letter", "netstat", ""),
        ] {
            let found = suggestion(name, commands, in_use, &Registry::embedded());
            assert!(found.starts_with(wanted) && (!wanted.is_empty() || found.is_empty()), "{case}: {found}");
        }
        let found = suggestion("sshh", [], [], &Registry::embedded());
        let names = found.trim_start_matches("; did you mean ").trim_end_matches('?').split(", ");
        assert!(names.filter(|name| !name.is_empty()).all(|name| name.len() > SHORT), "{found}");
    }

    #[test]
    fn words_outside_a_list() {
        let states = ["listen", "bound"];
        assert_eq!(
            unknown("state", "listening", &states),
            "no such state; did you mean listen? (expected listen, bound)"
        );
        assert_eq!(unknown("state", "x", &states), "no such state (expected listen, bound)");
        assert_eq!(unknown("state", "listening", &["listen"; 30]), "no such state; did you mean listen?");
    }
}
