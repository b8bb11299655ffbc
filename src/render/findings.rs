//! The sentences of the findings that a policy makes, out of their evidence.
//!
//! As the rest of [`super::words`], they come out raw: whoever shows them sanitizes them.

use super::words::sentence;

/// That no rule allows it, and how near one comes.
pub(super) fn unexpected(nearest: Option<&str>, differs: &[String], expired: Option<&str>) -> String {
    match (nearest, expired) {
        (None, _) => "No rule of the policy allows it.".to_owned(),
        (Some(rule), Some(when)) => {
            format!("No rule of the policy allows it: the rule {rule} did, and expired on {when}.")
        }
        (Some(rule), None) if differs.is_empty() => {
            format!("No rule of the policy allows it; the rule {rule} comes nearest.")
        }
        (Some(rule), None) => sentence(&format!(
            "No rule of the policy allows it; the rule {rule} comes nearest, but {}",
            differs.join("; ")
        )),
    }
}

/// What the policy promises, why, and who answers for it.
pub(super) fn missing(rule: &str, wanted: &str, reason: Option<&str>, owner: Option<&str>) -> String {
    let mut said = format!("The rule {rule} of the policy promises {wanted}, and nothing seen is that.");
    for (label, text) in [("Reason", reason), ("Owner", owner)] {
        if let Some(text) = text {
            said.push_str(&format!(" {label}: {}", sentence(text)));
        }
    }
    said
}
