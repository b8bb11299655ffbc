//! The sentences of changes since an earlier observation, and of what a deep look found.
//!
//! As the rest of [`super::words`], they come out raw: whoever shows them sanitizes them.

use crate::model::{
    ChangeKind, Disagreement, ExeState, Held, Netns, Protocol, Since, Source, TakenPort, host,
};

/// Who holds it, as who: `/usr/sbin/nginx as root`.
#[must_use]
pub fn holders(held: &Held) -> String {
    let who = if held.programs.is_empty() {
        match held.owner {
            "held" => "a process that could not be read".to_owned(),
            owner => format!("({owner})"),
        }
    } else {
        held.programs.join(", ")
    };
    let file = match held.executable {
        None | Some(ExeState::Present) => "",
        Some(ExeState::Replaced) => " (file replaced)",
        Some(ExeState::Deleted) => " (file deleted)",
        Some(ExeState::Memfd) => " (in memory)",
    };
    let user = held.user.as_deref().map(|user| format!(" as {user}")).unwrap_or_default();
    format!("{who}{file}{user}")
}

/// Where it is: `tcp [::]:80`, with device and network namespace.
#[must_use]
pub fn place(held: &Held) -> String {
    format!("{} {}", held.protocol, address(held))
}

/// Its address and port, with device and network namespace.
#[must_use]
pub fn address(held: &Held) -> String {
    let host = host(held.address, held.device.as_deref());
    format!("{host}:{}{}", held.port, within(held.netns.as_ref()))
}

fn within(netns: Option<&Netns>) -> String {
    let Some(netns) = netns else { return String::new() };
    match &netns.name {
        Some(name) => format!(" in the network namespace {name}"),
        None => format!(" in the network namespace {}", netns.inode),
    }
}

/// What changed, from what to what.
#[must_use]
pub fn since(since: &Since) -> String {
    let when = since.baseline.strftime("%Y-%m-%d %H:%M UTC");
    let (before, after) = (since.before.as_ref(), since.after.as_ref());
    let mut said = match (since.change, before, after) {
        (ChangeKind::Appeared, _, Some(is)) => {
            format!("{}, held by {}, was not there on {when}.", place(is), holders(is))
        }
        (ChangeKind::Vanished, Some(was), _) => {
            format!("{}, held by {} on {when}, is gone.", place(was), holders(was))
        }
        (ChangeKind::Changed, Some(was), Some(is)) => {
            format!("{} was held by {} on {when}, and is held by {}.", place(is), holders(was), holders(is))
        }
        (ChangeKind::Replaced, Some(was), Some(is)) => {
            format!("{} is held by {}, which on {when} was {}.", place(is), holders(is), holders(was))
        }
        (ChangeKind::Widened, Some(was), Some(is)) => format!(
            "{} of {} can be reached by more than on {when}, when it was on {}.",
            place(is),
            holders(is),
            address(was)
        ),
        (ChangeKind::Narrowed, Some(was), Some(is)) => format!(
            "{} of {} can be reached by fewer than on {when}, when it was on {}.",
            place(is),
            holders(is),
            address(was)
        ),
        // No such change is ever made.
        (kind, ..) => format!("It {} since {when}.", kind.name()),
    };
    if since.passing {
        said.push_str(" A client waiting for an answer looks no different, and comes and goes.");
    }
    if !since.sure {
        said.push_str(match since.change {
            ChangeKind::Appeared => " Not everything was seen then: it may have been there.",
            _ => " Not everything is seen now: it may still be there.",
        });
    }
    said
}

/// A port that is taken and not shown.
pub(super) fn taken(port: &TakenPort) -> String {
    let mut said = format!(
        "{} port {} over {} is taken{}: {} attempts to bind it all failed, and no table that could be read shows a socket on it.",
        port.protocol,
        port.port,
        port.family.name(),
        within(port.netns.as_ref()),
        port.tries,
    );
    if port.protocol == Protocol::Tcp && !port.bound_told {
        said.push_str(
            " Sockets that are bound and do not listen could not be listed here, and one of them would look the same.",
        );
    }
    said
}

/// A socket that one table shows and another lacks.
pub(super) fn disagreement(disagreement: &Disagreement) -> String {
    let names = |sources: &[Source]| sources.iter().map(|s| s.name()).collect::<Vec<_>>().join(" and ");
    let Disagreement { protocol, address, port, inode, netns, shown_by, missing_from, .. } = disagreement;
    let end = std::net::SocketAddr::new(*address, *port);
    format!(
        "{protocol} {end} (inode {inode}){} is shown by {} and not by {}, three times in a row.",
        within(netns.as_ref()),
        names(shown_by),
        names(missing_from),
    )
}
