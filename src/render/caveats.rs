//! The caveats of an answer: one line for each cause that hides something relevant.
//!
//! A gap that does not affect the answer is left out. For example, unreadable processes do not matter if every listener
//! in the answer has a known process. If nothing matched, every note is shown too, because a note may be the reason.

use crate::findings::text::plural;
use crate::join::Entry;
use crate::judge::Question;
use crate::model::{Gap, Owner, Pid, Reach, Snapshot, Stage};

use super::stderr;

pub fn caveats<'e>(
    snapshot: &Snapshot,
    entries: impl Iterator<Item = &'e Entry> + Clone,
    question: Question,
) -> Vec<String> {
    let parts = parts_of_caveats(snapshot, entries, question).into_iter();
    parts
        .map(|(what, remedy)| [Some(what), remedy].into_iter().flatten().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Returns the caveats, each with a sentence about its remedy. The sentence is `None` if the caveat already names its
/// remedy, or has none.
pub(super) fn parts_of_caveats<'e>(
    snapshot: &Snapshot,
    entries: impl Iterator<Item = &'e Entry> + Clone,
    question: Question,
) -> Vec<(String, Option<String>)> {
    let is_empty = entries.clone().next().is_none();
    let unseen = Unseen::of(entries, question.undecided);
    let has_pid = |pid: &Pid| unseen.pids.binary_search(pid).is_ok();
    let matters = |gap: &&Gap| match gap.stage {
        Stage::Sockets | Stage::Namespaces | Stage::Host => true,
        Stage::Scope => !question.is_narrowed || is_empty,
        Stage::Rules => !question.is_narrowed || is_empty || unseen.is_filter_unread,
        Stage::Owners => !question.is_narrowed || unseen.is_any(),
        Stage::Processes => gap.pids.is_empty() || gap.pids.iter().any(has_pid),
    };
    let mut gaps: Vec<&Gap> = snapshot.gaps.iter().filter(matters).collect();
    gaps.sort();
    gaps.dedup();
    let (privilege, others): (Vec<&Gap>, Vec<&Gap>) = gaps.into_iter().partition(|gap| gap.needs_privilege());
    let mut lines = Vec::new();
    for stage in Stage::ALL {
        let alike: Vec<&Gap> = privilege.iter().copied().filter(|gap| gap.stage == stage).collect();
        if alike.is_empty() {
            continue;
        }
        let owners = unseen.owners().filter(|_| stage == Stage::Owners);
        let (count, what) = owners.unwrap_or_else(|| unread(stage, &alike));
        let how = match stage {
            // In a container, root can lack CAP_NET_ADMIN.
            Stage::Rules if snapshot.host.privileged => "To read them, run with CAP_NET_ADMIN.".to_owned(),
            _ => remedy(snapshot, question, count),
        };
        lines.push((format!("{what}."), Some(how)));
    }
    let mut others = others.into_iter();
    // Hidden owners need an explanation. If no gap is due to missing privilege, the first of the other gaps explains
    // them.
    if let Some((_, owners)) = unseen.owners().filter(|_| lines.is_empty()) {
        let text = others.next().map_or(format!("{owners}."), |gap| sentence(&explained(&owners, gap)));
        lines.push((text, None));
    }
    if unseen.vanished > 0 {
        lines.push((format!("{} closed during the scan.", plural(unseen.vanished, "socket")), None));
    }
    lines.extend(others.map(|gap| (sentence(&unseen_text(gap)), None)));
    let notes = snapshot.notes.iter().filter(|note| is_empty || (note.important && !question.is_narrowed));
    lines.extend(notes.map(|note| (sentence(&stderr::note(note)), None)));
    lines
}

/// The number of sockets with an unknown owner, for each reason. The other fields decide which gaps matter.
#[derive(Default)]
struct Unseen {
    hidden: usize,
    unknown: usize,
    vanished: usize,
    /// The number of sockets that the answer leaves out, because a filter needs their owner and the owner is not known.
    undecided: usize,
    /// Whether the clients of a listener are unknown, because only root may read the rules of the firewall.
    is_filter_unread: bool,
    pids: Vec<Pid>,
}

impl Unseen {
    fn of<'e>(entries: impl Iterator<Item = &'e Entry>, undecided: usize) -> Self {
        let mut unseen = Unseen { undecided, ..Unseen::default() };
        for entry in entries {
            unseen.is_filter_unread |= entry.reach().is_some_and(Reach::is_refused);
            match &entry.socket.owner {
                Owner::Held(pids) => unseen.pids.extend(pids.iter()),
                Owner::Hidden => unseen.hidden += 1,
                Owner::Unaccounted | Owner::Unknown => unseen.unknown += 1,
                Owner::Vanished => unseen.vanished += 1,
                Owner::Kernel => {}
            }
        }
        unseen.pids.sort_unstable();
        unseen.pids.dedup();
        unseen
    }

    fn is_any(&self) -> bool {
        self.hidden + self.unknown + self.undecided > 0
    }

    /// Returns the number of sockets with a hidden owner, and a phrase about them; `None` if there are none. If filters
    /// left out sockets with unknown owners, only these sockets are counted.
    fn owners(&self) -> Option<(usize, String)> {
        match (self.undecided, self.hidden) {
            (0, 0) => None,
            (0, 1) => Some((1, "Owner of 1 socket hidden".to_owned())),
            (0, hidden) => Some((hidden, format!("Owners of {hidden} sockets hidden"))),
            (1, _) => Some((1, "1 socket left out: its owner could not be seen".to_owned())),
            (left_out, _) => {
                Some((left_out, format!("{left_out} sockets left out: their owners could not be seen")))
            }
        }
    }
}

fn unseen_text(gap: &Gap) -> String {
    if gap.stage == Stage::Owners && gap.what.starts_with("process") && !gap.pids.is_empty() {
        let why = stderr::with_remedy(&gap.why, gap.remedy.as_deref());
        return format!("Sockets of {} not seen: {why}", stderr::pids(&gap.pids));
    }
    format!("Not seen: {}", stderr::gap(gap))
}

fn explained(owners: &str, gap: &Gap) -> String {
    if gap.pids.is_empty() {
        return format!("{owners}: {}", stderr::gap(gap));
    }
    let Gap { why, remedy, .. } = gap;
    format!("{owners}, perhaps {}: {}", stderr::pids(&gap.pids), stderr::with_remedy(why, remedy.as_deref()))
}

/// Returns the number of things, such as processes, that could not be read without more privilege. Also returns a
/// phrase about them.
fn unread(stage: Stage, gaps: &[&Gap]) -> (usize, String) {
    if stage == Stage::Rules {
        let what = "Firewall and NAT rules could not be read";
        return (gaps.len().max(2), what.to_owned());
    }
    let count: u64 = gaps.iter().map(|gap| gap.count.unwrap_or(1)).sum();
    let (one, many) = match stage {
        Stage::Owners | Stage::Processes => ("process", "processes"),
        Stage::Namespaces => ("network namespace", "network namespaces"),
        Stage::Sockets => ("list of sockets", "lists of sockets"),
        Stage::Host => ("setting", "settings"),
        Stage::Scope => ("part of the machine", "parts of the machine"),
        Stage::Rules => ("set of rules", "sets of rules"),
    };
    let what = format!("{count} {} could not be read", if count == 1 { one } else { many });
    (usize::try_from(count).unwrap_or(usize::MAX), what)
}

fn remedy(snapshot: &Snapshot, question: Question, count: usize) -> String {
    let them = if count == 1 { "it" } else { "them" };
    let how = match (question.is_saved, snapshot.host.os.as_str()) {
        (true, "windows") => "Take the snapshot as administrator",
        (true, _) => "Take the snapshot with sudo",
        (false, "windows") => "Run as administrator",
        (false, _) => "Run with sudo",
    };
    format!("{how} to see {them}.")
}

/// Returns a text with a capital letter at its beginning and a full stop at its end.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", rest.as_str().trim_end_matches('.'))
}
