//! The sentences of the findings on who holds a socket, and of those that a policy makes, out of their evidence.
//!
//! As the rest of [`super::words`], they come out raw: whoever shows them sanitizes them.

use std::num::NonZeroU64;

use crate::model::{Difference, Holder, Holders, OddProgram, Place, PortRange, Running, Side};

use super::words::{list, sentence};

/// So many are named, and the rest counted.
const FEW: usize = 4;

/// What an address takes from others, and what it loses to others.
pub(super) fn shadowed(on_device: bool, takes_from: &[Side], loses_to: &[Side], more: usize) -> String {
    let mut said = Vec::new();
    let at = |side: &Side| {
        let device = side.device.as_deref().map(|device| format!("%{device}")).unwrap_or_default();
        format!("{}{device}", side.address)
    };
    if !takes_from.is_empty() {
        let from: Vec<String> =
            takes_from.iter().map(|side| format!("{} on {}", holders(&side.holders), at(side))).collect();
        said.push(format!("What comes to this address comes here and not to {}.", few(&from)));
    }
    if !loses_to.is_empty() {
        let to: Vec<String> =
            loses_to.iter().map(|side| format!("{} goes to {}", at(side), holders(&side.holders))).collect();
        said.push(format!("Not all that seems to come here does: what comes to {}.", few(&to)));
    }
    if more > 0 {
        said.push(format!("So it is with {more} more."));
    }
    if on_device || takes_from.iter().chain(loses_to).any(|side| side.device.is_some()) {
        said.push("Devices are not looked into: one that is a VRF keeps the two apart.".to_owned());
    }
    said.join(" ")
}

/// Who holds one port together, and in what they differ.
pub(super) fn shared(differ_in: &[Difference], who: &Holders, sockets: usize) -> String {
    let words: Vec<String> = differ_in
        .iter()
        .map(|difference| {
            match difference {
                Difference::User => "user",
                Difference::Executable => "executable",
            }
            .to_owned()
        })
        .collect();
    let on =
        if sockets > 1 { format!("{sockets} sockets on this address") } else { "this socket".to_owned() };
    let holders: Vec<String> = who.known.iter().map(with_file).collect();
    let holders = with_rest(&few(&holders), who);
    format!("The holders of {on} differ in {}: {holders}.", words.join(" and "))
}

/// Whose file was replaced, and whose is gone.
pub(super) fn deleted_executable(replaced: &[Running], gone: &[Running]) -> String {
    let mut said = Vec::new();
    if !replaced.is_empty() {
        said.push(format!(
            "Another file has taken the place of the one that runs, as an upgrade does: {}.",
            running(replaced)
        ));
    }
    if !gone.is_empty() {
        said.push(format!("The file that runs is gone, and nothing stands at its path: {}.", running(gone)));
    }
    said.join(" ")
}

/// What runs from where.
pub(super) fn odd_executable(found: &[OddProgram]) -> String {
    let told: Vec<String> = found
        .iter()
        .map(|odd| {
            let what = running(std::slice::from_ref(&odd.running));
            match &odd.place {
                Place::Memory => format!("{what} runs from memory, without a file on disk"),
                Place::WorldWritable { folder } => {
                    format!("{what} runs below {folder}, a folder that anybody may write into")
                }
                Place::Hidden { folder } => format!("{what} runs below {folder}, a hidden folder"),
            }
        })
        .collect();
    sentence(&match told.len().saturating_sub(FEW) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told[..FEW].join("; ")),
    })
}

/// How many wait, and how many may.
pub(super) fn backlog_full(waiting: u32, limit: u32) -> String {
    let (wait, many) = if waiting == 1 { ("waits", "connection") } else { ("wait", "connections") };
    format!(
        "{waiting} {many} {wait} to be accepted, with a limit of {limit}: the kernel turns others away. It was so when \
         it was looked at; how long it lasts was not."
    )
}

/// That a port is taken, and who looks the same.
pub(super) fn bound_only(kernel_range: Option<PortRange>) -> String {
    let held = "The port is held, but nothing listens on it.";
    match kernel_range {
        Some(range) => format!(
            "{held} It lies in {range}, where outgoing connections get their ports: a program about to connect looks no different."
        ),
        None => held.to_owned(),
    }
}

/// Why no process can hold it.
pub(super) const fn kernel(inode: Option<NonZeroU64>) -> &'static str {
    match inode {
        None => "No file stands for this socket, so that no process can hold it: it is the kernel's own.",
        Some(_) => "Every process could be read, and none holds it: it is the kernel's own.",
    }
}

/// `nginx (user www-data, pid 12 and 3 more)`
fn holder(holder: &Holder, file: bool) -> String {
    let mut facts: Vec<String> = Vec::new();
    facts.extend(
        holder
            .user
            .as_ref()
            .map(|user| format!("user {user}"))
            .or_else(|| holder.uid.map(|uid| format!("user {uid}"))),
    );
    facts.extend(holder.exe.as_ref().filter(|_| file).cloned());
    facts.push(match holder.count {
        1 => format!("pid {}", holder.pid),
        count => format!("pid {} and {} more", holder.pid, count - 1),
    });
    format!("{} ({})", holder.name.as_deref().unwrap_or("?"), facts.join(", "))
}

fn with_file(who: &Holder) -> String {
    holder(who, true)
}

fn holders(who: &Holders) -> String {
    let known: Vec<String> = who.known.iter().map(|known| holder(known, false)).collect();
    with_rest(&few(&known), who)
}

/// With those that evidence does not name.
fn with_rest(text: &str, who: &Holders) -> String {
    let mut text = text.to_owned();
    if who.more > 0 {
        text.push_str(&format!(", {} more kinds", who.more));
    }
    if who.unread > 0 {
        text.push_str(&format!(", and {} that could not be read", who.unread));
    }
    text
}

fn running(those: &[Running]) -> String {
    let name =
        |one: &Running| format!("{} (pid {}, {})", one.name.as_deref().unwrap_or("?"), one.pid, one.exe);
    few(&those.iter().map(name).collect::<Vec<_>>())
}

/// The first few, and how many more there are.
fn few(items: &[String]) -> String {
    match items.len().saturating_sub(FEW) {
        0 => list(items),
        more => format!("{} and {more} more", items[..FEW].join(", ")),
    }
}

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
