//! The sentences about the common use of a port and the risk of an open port. The texts are not sanitized.

use crate::findings::text::{capitalized, first_of, list, sentence};
use crate::model::{CommonService, Context, EventKind};

/// The maximum number of services that are named; the rest are counted.
const FEW: usize = 5;

pub(super) fn what<'c>(contexts: impl Iterator<Item = &'c Context> + Clone) -> Option<String> {
    if let Some(answer) = contexts.clone().find_map(|context| context.answer) {
        return Some(answer.what.to_owned());
    }
    let services = services(contexts);
    let (first, others) = services.split_first()?;
    let others: Vec<String> = others.iter().map(|service| service.name.to_owned()).collect();
    let also =
        if others.is_empty() { String::new() } else { format!(" Also {}.", first_of(&others, FEW - 1)) };
    Some(format!("{}: {}{also}", first.name, sentence(first.what)))
}

/// Returns a sentence with the dangerous services that can use the port; `None` if there are none.
pub(super) fn possible<'c>(mut contexts: impl Iterator<Item = &'c Context>) -> Option<String> {
    let dangers = &contexts.next()?.dangers;
    let names: Vec<String> = dangers.iter().map(|title| (*title).to_owned()).collect();
    (!names.is_empty()).then(|| format!("May be used by: {}.", first_of(&names, FEW)))
}

/// Returns sentences about the risk of a port that other machines can reach. Services with the same risk share a
/// sentence.
pub(super) fn if_open<'c>(contexts: impl Iterator<Item = &'c Context> + Clone) -> Option<String> {
    if let Some(answer) = contexts.clone().find_map(|context| context.answer) {
        return Some(answer.open.to_owned());
    }
    let mut risks: Vec<(String, Vec<String>)> = Vec::new();
    let services = services(contexts);
    for service in services.iter().take(FEW) {
        let Some(risk) = risk(service) else { continue };
        match risks.iter_mut().find(|(other, _)| *other == risk) {
            Some((_, names)) => names.push(service.name.to_owned()),
            None => risks.push((risk, vec![service.name.to_owned()])),
        }
    }
    match risks.as_slice() {
        [] => None,
        [(risk, names)] if names.len() == services.len() => Some(sentence(&capitalized(risk))),
        risks => {
            let texts = risks.iter().map(|(risk, names)| sentence(&format!("{}: {risk}", list(names))));
            Some(texts.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Returns a text about the login and the encryption of a service, and the clients that should reach it. `None` if they
/// are not known for the port.
fn risk(service: &CommonService) -> Option<String> {
    let login = match service.authentication {
        "none" => Some("no login"),
        "optional" => Some("login only if configured"),
        "password" => Some("login with a password"),
        "key" => Some("login with a key or a certificate"),
        _ => None,
    };
    let encryption = match service.encryption {
        "none" => Some("no encryption"),
        "optional" => Some("encryption only if configured"),
        "always" => Some("always encrypted"),
        _ => None,
    };
    let place = match service.reach {
        "local" => "only this machine should reach it",
        "lan" => "only the local network should reach it",
        "public" => "made to be reached from the internet",
        _ => return None,
    };
    let facts = match (login, encryption) {
        (Some("login only if configured"), Some("encryption only if configured")) => {
            vec!["login and encryption only if configured"]
        }
        _ => login.into_iter().chain(encryption).collect(),
    };
    Some(match facts.as_slice() {
        [] => place.to_owned(),
        facts => format!("{}; {place}", facts.join(", ")),
    })
}

/// Returns whether a program or a service usually uses the port.
pub(super) fn is_used<'c>(mut contexts: impl Iterator<Item = &'c Context>) -> bool {
    contexts.any(|context| {
        !context.programs.is_empty() || context.services.iter().any(|service| !service.is_abuse())
    })
}

pub(super) fn abused_by<'c>(contexts: impl Iterator<Item = &'c Context> + Clone) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for service in contexts.clone().flat_map(|context| &context.services).filter(|one| one.is_abuse()) {
        let since = service.since.map(|since| format!(" ({since})")).unwrap_or_default();
        names.push(format!("{}{since}", service.name));
    }
    let events = contexts.flat_map(|context| &context.history);
    let texts = events.filter(|event| event.what == EventKind::Abused).filter_map(|event| event.text);
    // An event lists names with their years: `Conficker 2008, WannaCry 2017`.
    for text in texts.flat_map(|text| text.split(", ")) {
        let (name, year) = text.rsplit_once(' ').unwrap_or((text, ""));
        if !names.iter().any(|known| known.contains(name)) {
            names.push(if year.is_empty() { name.to_owned() } else { format!("{name} ({year})") });
        }
    }
    names.dedup();
    let shown = names.iter().take(FEW).cloned().collect::<Vec<_>>().join("; ");
    let more = names.len().saturating_sub(FEW);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| sentence(&format!("{shown}{more}")))
}

/// Returns the services that are neither malware nor tools of attackers, the most common first. Each service appears once.
fn services<'c>(contexts: impl Iterator<Item = &'c Context>) -> Vec<&'c CommonService> {
    let mut services: Vec<&CommonService> = Vec::new();
    for service in contexts.flat_map(|context| &context.services) {
        if !service.is_abuse() && !services.contains(&service) {
            services.push(service);
        }
    }
    services
}
