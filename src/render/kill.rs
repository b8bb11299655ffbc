//! Shows what `kill` is about to end, and why it does not end a listener.

use std::io::{self, Write};

use super::inferred;
use super::labelled::labelled;
use super::listener_card::{facts, places, what_runs};
use super::start_text::{how_to_stop, how_to_stop_with};
use super::{Emphasis, Style, process_name, sanitize};
use crate::findings::text::first_of;
use crate::judge::{HowToStop, KillRefusal, KillStep, Listener, Report};
use crate::model::{Owner, Pid, Process, Protocol, Rights};

/// The maximum number of listeners, and of processes, that a line names.
const FEW: usize = 6;
/// `kill` runs only on Linux.
const OS: &str = "linux";

/// The processes and units that one step of `kill` affects, in addition to the owners of its listeners.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The surviving descendants of the owners. They get no signal.
    pub children: Vec<(Pid, String)>,
    /// The processes that end with the unit, the container or the pid namespace.
    pub with_group: Vec<(Pid, String)>,
    /// The units that systemd stops too, because they depend on the units of the step.
    pub dependents: Vec<String>,
}

/// Writes what a step ends. `run` is the label of the command. `session` is the local port through which the user has
/// logged in with SSH.
pub fn step(
    step: &KillStep<'_>,
    around: &Around,
    run: &str,
    session: Option<u16>,
    report: &Report,
    style: &Style,
    w: &mut dyn Write,
) -> io::Result<()> {
    let mut lines = Vec::new();
    for listener in &step.named {
        lines.extend(facts(listener, report, style).into_iter().flat_map(|part| part.labelled(style)));
    }
    let also: Vec<String> = step.others.iter().map(named).collect();
    let (children, with_group) = (with_pids(&around.children), with_pids(&around.with_group));
    let mut add = |label: &str, text: String| lines.extend(labelled(label, &text, style));
    add(run, command(&step.how));
    if let HowToStop::Units(units) = &step.how
        && let Some(socket) = units.iter().find(|unit| unit.ends_with(".socket"))
    {
        let socket = sanitize(socket);
        let why = match units.len() {
            1 => format!(
                "systemd holds the port for {socket}, and starts the service of this unit when a client connects"
            ),
            _ => format!("{socket} is stopped too, because systemd would start the service again"),
        };
        add("", why);
    }
    if !also.is_empty() {
        add("Ends too", first_of(&also, FEW));
    }
    let mut label = if also.is_empty() { "Ends too" } else { "" };
    if !around.dependents.is_empty() {
        let units: Vec<String> = around.dependents.iter().map(|unit| sanitize(unit).into_owned()).collect();
        let (depend, it) = if units.len() == 1 { ("depends", "the unit") } else { ("depend", "the units") };
        add(label, format!("{it} {}, which {depend} on the stopped unit", first_of(&units, FEW)));
        label = "";
    }
    if !with_group.is_empty() {
        let place = match step.how {
            HowToStop::Container { .. } => "the container",
            HowToStop::Kill { .. } => "the pid namespace, which ends as a whole when its first process ends",
            _ => "the unit",
        };
        add(label, format!("{} in {place}", first_of(&with_group, FEW)));
    }
    if !children.is_empty() {
        add("Children", format!("{}: these processes get no signal", first_of(&children, FEW)));
    }
    if let Some(warning) = step.named.iter().find_map(|listener| way_in(listener, session)) {
        let warning = labelled("Warning", warning, style);
        lines.extend(warning.iter().map(|line| style.paint(Emphasis::Critical, line)));
    }
    lines.iter().try_for_each(|line| writeln!(w, "{line}"))
}

/// Returns the command of a step. A container is stopped by its ID, because another container can get its name.
fn command(how: &HowToStop<'_>) -> String {
    match *how {
        HowToStop::Container { manager, name, id } if name != id && !name.contains('/') => {
            let by_id = how_to_stop(&HowToStop::Container { manager, name: id, id }, OS);
            format!("{by_id}   (container {}, by its full ID)", sanitize(name))
        }
        _ => how_to_stop(how, OS),
    }
}

fn with_pids(processes: &[(Pid, String)]) -> Vec<String> {
    processes.iter().map(|(pid, name)| format!("{} (pid {pid})", process_name(Some(name)))).collect()
}

/// The names of programs that let users log in.
const LOGIN_SERVERS: [&str; 3] = ["sshd", "dropbear", "tinysshd"];

/// Returns a warning if users log in through the listener; `None` otherwise.
fn way_in(listener: &Listener<'_>, session: Option<u16>) -> Option<&'static str> {
    let local = &listener.first().socket.local;
    if local.protocol == Protocol::Tcp && session == Some(local.port) {
        return Some(
            "you are logged in through this port; you may not be able to log in again after it is closed",
        );
    }
    let is_login =
        |process: &Process| process.name.as_deref().is_some_and(|name| LOGIN_SERVERS.contains(&name));
    let is_reachable = listener.exposure().is_reachable_from_outside();
    (is_reachable && listener.processes().into_iter().any(is_login))
        .then_some("users log in through this SSH server; after the server has ended, nobody can log in through this port")
}

pub fn named(listener: &Listener<'_>) -> String {
    format!("{} on {}", sanitize(&what_runs(listener)), places(listener))
}

/// Returns why a listener is not ended, and what the user can do.
pub fn refusal(listener: &Listener<'_>, refusal: &KillRefusal<'_>, rights: Rights) -> String {
    let why = match refusal {
        KillRefusal::Hidden { as_root } => match listener.first().socket.owner {
            Owner::Unaccounted => "the process of its socket was not found; see portolan audit".to_owned(),
            _ if *as_root => "its process is not visible, even to root; portolan -v shows why".to_owned(),
            _ => match inferred::pid(listener) {
                Some(pid) => format!("its process is not certain (probably {pid}); run with sudo"),
                None => "its process is not visible; run with sudo".to_owned(),
            },
        },
        KillRefusal::PartlyHidden => {
            let socket = &listener.first().socket;
            let user =
                super::user(socket.user.as_deref(), socket.uid).unwrap_or_else(|| "another user".to_owned());
            format!("user {user} created its socket, and no process of {user} is visible; run with sudo")
        }
        KillRefusal::NoCommand(HowToStop::Kernel) => "its socket belongs to the kernel".to_owned(),
        KillRefusal::NoCommand(HowToStop::FirstProcess) => "pid 1 runs the whole system".to_owned(),
        KillRefusal::NoCommand(HowToStop::UserManager(user)) => {
            let user = user.map(|user| format!(" of user {}", sanitize(user))).unwrap_or_default();
            format!(
                "systemd{user} holds the port for a socket unit; stop that unit (see systemctl --user list-sockets)"
            )
        }
        KillRefusal::NoCommand(how) => {
            format!("stop it yourself: {}", in_sentence(&how_to_stop_with(how, OS, rights)))
        }
        KillRefusal::OtherUser(how) => {
            format!("only its user can stop it: {}", in_sentence(&how_to_stop(how, OS)))
        }
        KillRefusal::NeedsRoot(how) => format!("needs sudo ({})", in_sentence(&how_to_stop(how, OS))),
        KillRefusal::Own(pid) => {
            format!("its process (pid {pid}) is portolan, or started portolan; end the process by hand")
        }
    };
    format!("{}: not ended: {why}", named(listener))
}

/// Returns how to stop a listener, with a single space between the command and its remark.
fn in_sentence(how: &str) -> String {
    how.replacen("   (", " (", 1)
}
