//! The conditions that the filters of a command line and the rules of a policy share. The caller decides which values
//! match.

use super::{Answer, Quantifier, Subject};
use crate::model::{
    Container, Exe, Exposure, Family, Netns, Owner, Process, Protocol, RunTarget, is_container_id, unmapped,
};

/// Returns whether clients of this family reach the socket. IPv4 clients also reach a socket on the IPv6 wildcard
/// address, unless it accepts only IPv6.
pub(crate) fn family(subject: &Subject<'_>, family: Family) -> Answer {
    let Some(address) = subject.address().map(unmapped) else { return Answer::Unknown };
    match family {
        Family::Ipv6 => Answer::of(address.is_ipv6()),
        Family::Ipv4 if address.is_ipv4() => Answer::Yes,
        Family::Ipv4 if address.is_unspecified() => serves_ipv4(subject),
        Family::Ipv4 => Answer::No,
    }
}

/// Returns whether a socket on the IPv6 wildcard address accepts IPv4 traffic too.
pub(crate) fn serves_ipv4(subject: &Subject<'_>) -> Answer {
    Answer::of_known(subject.socket().and_then(|socket| socket.v6only), |v6only| !v6only)
}

pub(crate) fn protocol(subject: &Subject<'_>, wanted: Protocol) -> Answer {
    Answer::of_known(subject.protocol(), |protocol| protocol == wanted)
}

/// Returns whether clients on other machines can reach the socket. If this is not known for an entry, the answer is
/// yes.
pub(crate) fn may_be_reachable(subject: &Subject<'_>) -> Answer {
    match subject {
        Subject::Entry(entry) => Answer::of(entry.is_reachable() != Some(false)),
        _ => Answer::of_known(subject.exposure(), Exposure::is_reachable_from_outside),
    }
}

/// Applies the condition `is` to the device that the socket is bound to. `is` gets `None` if the socket is not bound to
/// a device.
pub(crate) fn device(subject: &Subject<'_>, is: impl Fn(Option<&str>) -> bool) -> Answer {
    Answer::of_known(subject.socket(), |socket| is(socket.local.device.as_deref()))
}

/// Applies the condition `is` to the network namespace. `is` gets `None` for the namespace in which portolan runs.
pub(crate) fn namespace(subject: &Subject<'_>, is: impl Fn(Option<&Netns>) -> bool) -> Answer {
    Answer::of_known(subject.socket(), |socket| is(socket.netns.as_ref()))
}

/// Applies the condition `is` to the name and the ID of the user of each process. A socket of the kernel has no
/// process, so its own user counts.
pub(crate) fn user(
    subject: &Subject<'_>,
    quantifier: Quantifier,
    is: impl Fn(Option<&str>, Option<u32>) -> bool,
) -> Answer {
    let known = |name: Option<&str>, uid: Option<u32>| {
        if name.is_none() && uid.is_none() { Answer::Unknown } else { Answer::of(is(name, uid)) }
    };
    match subject.socket() {
        Some(socket) if socket.owner == Owner::Kernel => known(socket.user.as_deref(), socket.uid),
        // A server often creates its socket as root and then changes its user. So the creator is no evidence about the
        // process. But if no process is visible, listings show the creator, and filters match the creator too.
        Some(socket) if quantifier == Quantifier::Any && subject.processes().next().is_none() => {
            known(socket.user.as_deref(), socket.uid).max(Answer::Unknown)
        }
        _ => subject.ask_processes(quantifier, |process| known(process.user.as_deref(), process.uid)),
    }
}

pub(crate) fn executable(
    subject: &Subject<'_>,
    quantifier: Quantifier,
    is: impl Fn(&Process, &Exe) -> bool,
) -> Answer {
    subject
        .ask_processes(quantifier, |process| Answer::of_known(process.exe.as_ref(), |exe| is(process, exe)))
}

/// Applies the condition `is` to the script of each interpreter, and to the arguments of each relay.
pub(crate) fn runs(
    subject: &Subject<'_>,
    quantifier: Quantifier,
    is: impl Fn(Option<&str>) -> bool,
) -> Answer {
    subject.ask_processes(quantifier, |process| match RunTarget::of(process) {
        RunTarget::None if process.exe.is_none() && process.name.is_none() => Answer::Unknown,
        RunTarget::None => Answer::of(is(None)),
        RunTarget::Unknown => Answer::Unknown,
        RunTarget::Target(text) => Answer::of(is(Some(&text))),
    })
}

pub(crate) fn unit(subject: &Subject<'_>, quantifier: Quantifier, is: impl Fn(&str) -> bool) -> Answer {
    let socket = subject.socket().and_then(|socket| socket.unit.as_deref());
    group(subject, quantifier, socket, |process| process.unit.as_deref(), is)
}

/// Applies the condition `is` to the ID and the names of the container of each process. For a filter, the container of
/// a published port counts too.
pub(crate) fn container(subject: &Subject<'_>, quantifier: Quantifier, is: impl Fn(&str) -> bool) -> Answer {
    if quantifier == Quantifier::Any
        && let Some(publisher) = publishing_container(subject)
        && (is(&publisher.id) || publisher.names().any(&is))
    {
        return Answer::Yes;
    }
    let socket = subject.socket().and_then(|socket| socket.container.as_deref());
    let by_id = group(subject, quantifier, socket, |process| process.container.as_deref(), &is);
    let is_named = |process: &Process| match (&process.container_details, &process.container) {
        (Some(details), _) => Answer::of(details.names().any(&is)),
        // The files that name the container could not be read.
        (None, Some(id)) if is_container_id(id) => Answer::Unknown,
        (None, _) => Answer::No,
    };
    by_id.or(subject.ask_processes(quantifier, is_named))
}

/// Returns the container that receives the traffic of a published port, if it is known.
pub(crate) fn publishing_container<'a>(subject: &Subject<'a>) -> Option<&'a Container> {
    let Subject::Entry(entry) = subject else { return None };
    entry.forward_target()?.container.as_deref()
}

/// Applies the condition `is` to the unit or container of each process.
///
/// For a filter, the control group of the socket counts too. A policy ignores it, because a process outside this
/// control group may now own the socket.
fn group(
    subject: &Subject<'_>,
    quantifier: Quantifier,
    socket: Option<&str>,
    of: impl Fn(&Process) -> Option<&str>,
    is: impl Fn(&str) -> bool,
) -> Answer {
    if quantifier == Quantifier::Any && socket.is_some_and(&is) {
        return Answer::Yes;
    }
    subject.ask_processes(quantifier, |process| match of(process) {
        Some(name) => Answer::of(is(name)),
        // A process that could not be read may be in any unit or container.
        None if process.name.is_none() => Answer::Unknown,
        None => Answer::No,
    })
}
