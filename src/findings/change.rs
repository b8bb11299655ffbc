//! Findings about differences from a baseline.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::reach::firewall;
use super::text::list;
use super::{FindingFacts, FindingFamily, FindingInfo, Flag, OnLoopback};
use crate::model::{Device, ExeState, Exposure, Netns, Protocol, Reach, Severity, host, named};

named! {
    /// How a listener changed from one snapshot to the next.
    pub enum ChangeKind {
        Appeared = "appeared",
        Vanished = "vanished",
        /// Other programs or another user own the same address and port.
        Changed = "changed",
        /// The path of the program is the same, but the running file is no longer at this path.
        Replaced = "replaced",
        /// More clients can reach the same service than before.
        Widened = "widened",
        /// Fewer clients can reach the same service than before.
        Narrowed = "narrowed",
        /// The same service has a finding that is new or more severe than before.
        Weakened = "weakened",
    }
}

/// A listener before or after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerState {
    pub protocol: Protocol,
    pub address: IpAddr,
    /// The second address, if an IPv4 and an IPv6 socket of one server are shown together.
    #[serde(skip)]
    pub other_address: Option<IpAddr>,
    pub port: u16,
    pub device: Option<Device>,
    /// The network namespace; `None` for the namespace in which portolan runs.
    pub netns: Option<Netns>,
    pub exposure: Exposure,
    /// `None` if the packet filter was not read, or if other machines cannot reach the address.
    pub reach: Option<Box<Reach>>,
    /// Whether a socket on `[::]` accepts only IPv6 clients. `None` for other addresses, or if this is not known.
    #[serde(skip)]
    pub v6only: Option<bool>,
    /// The state of the owner: `held`, `hidden`, ….
    pub owner: &'static str,
    #[serde(skip)]
    pub unit: Option<String>,
    /// The name of the program that probably owns a hidden socket.
    #[serde(skip)]
    pub probable_owner: Option<String>,
    /// The destination of a port that a rule of the kernel forwards: `10.0.0.2:80 (container shop-web)`.
    #[serde(skip)]
    pub forwards_to: Option<String>,
    /// The paths of the program files, each once. A program with an unknown path is listed by its name.
    pub programs: Vec<String>,
    /// The scripts of interpreters and the arguments of relays (such as socat), each once.
    pub runs: Vec<String>,
    /// The most suspicious state of the program files; `None` if no file could be read.
    pub executable: Option<ExeState>,
    /// The effective users of the processes, separated by commas. If no process is visible, the creator of the socket.
    pub user: Option<String>,
    /// The user who created the socket, by name, or by number if the user has no name.
    pub creator: Option<String>,
    /// The findings that make the change `weakened`, with their severities. Empty for the other kinds of change.
    #[serde(skip)]
    pub findings: Vec<String>,
}

/// In a sentence, the path of a script or the arguments of a relay are cut after this many characters.
const LONGEST_RUN: usize = 120;

impl ListenerState {
    /// Returns the programs and their user: `/usr/sbin/nginx as root`.
    pub(crate) fn processes(&self) -> String {
        let who = if self.programs.is_empty() {
            match self.owner {
                _ if let Some(to) = &self.forwards_to => format!("NAT rule to {to}"),
                "held" => "a process that could not be read".to_owned(),
                _ if let Some(name) = &self.probable_owner => format!("probably {name}"),
                owner => match &self.unit {
                    Some(unit) => format!("({owner}, unit {unit})"),
                    None => format!("({owner})"),
                },
            }
        } else {
            self.programs.join(", ")
        };
        let file = match self.executable {
            None | Some(ExeState::Present) => "",
            Some(ExeState::Replaced) => " (file replaced)",
            Some(ExeState::Deleted) => " (file deleted)",
            Some(ExeState::Memfd) => " (in memory)",
        };
        let user = self.user.as_deref().map(|user| format!(" as {user}")).unwrap_or_default();
        let runs = if self.runs.is_empty() {
            String::new()
        } else {
            let cut = |run: &String| match run.char_indices().nth(LONGEST_RUN) {
                Some((end, _)) => format!("{}…", run.get(..end).unwrap_or_default()),
                None => run.clone(),
            };
            format!(" with {}", list(&self.runs.iter().map(cut).collect::<Vec<_>>()))
        };
        format!("{who}{runs}{file}{user}")
    }

    /// Returns a sentence that compares the clients before the change with the clients now. `more_or_fewer` is `more`
    /// or `fewer`.
    fn reached_by(&self, more_or_fewer: &str, was: &Self, when: &str) -> String {
        let (place, processes) = (self.place(), self.processes());
        let change =
            format!("{place} ({processes}): {more_or_fewer} clients can reach this listener than on {when}");
        if was.endpoint() == self.endpoint() {
            format!("{change}. Before: {}. Now: {}.", was.clients(), self.clients())
        } else {
            format!("{change}. Before, it listened on {}.", was.endpoint())
        }
    }

    /// Returns protocol, address and port: `tcp [::]:80`, with device and network namespace.
    pub(crate) fn place(&self) -> String {
        format!("{} {}", self.protocol, self.endpoint())
    }

    /// Returns whether other machines can reach the listener. If the packet filter is unknown, only the address
    /// decides.
    fn is_reachable_from_outside(&self) -> bool {
        let lets_in = |reach: &Reach| reach.kind.lets_in_other_machines();
        self.exposure.is_reachable_from_outside() && self.reach.as_deref().is_none_or(lets_in)
    }

    /// Returns a phrase about the clients that the packet filter lets in. For a socket on `[::]`, the phrase also names
    /// the address families.
    pub(crate) fn clients(&self) -> String {
        let text = self.reach.as_deref().and_then(firewall);
        let text = text.unwrap_or_else(|| "no firewall rule excludes clients".to_owned());
        match self.v6only {
            Some(true) => format!("IPv6 clients only, {text}"),
            Some(false) => format!("IPv4 and IPv6 clients, {text}"),
            None => text,
        }
    }

    /// Returns the findings that make the change `weakened`, without a full stop.
    pub(crate) fn findings(&self) -> String {
        match self.findings[..] {
            [] => "no such finding".to_owned(),
            _ => self.findings.join(" ").trim_end_matches('.').to_owned(),
        }
    }

    /// Returns address and port, with device and network namespace.
    pub(crate) fn endpoint(&self) -> String {
        let device = self.device.as_deref();
        let own = host(self.address, device);
        let host = match self.other_address {
            None => own,
            Some(_) if self.address.is_unspecified() => {
                format!("*{}", device.map(|device| format!("%{device}")).unwrap_or_default())
            }
            Some(other) => format!("{own}+{}", host(other, device)),
        };
        format!("{host}:{}{}", self.port, in_namespace(self.netns.as_ref()))
    }
}

/// Returns the owners before and after the change. If only the creator of the socket changed, both texts name the
/// creator.
pub(crate) fn owners(was: &ListenerState, is: &ListenerState) -> [String; 2] {
    let [old, new] = [was, is].map(ListenerState::processes);
    if old != new || was.creator == is.creator {
        return [old, new];
    }
    let with_creator = |text: String, state: &ListenerState| match &state.creator {
        Some(creator) => format!("{text} (socket created by {creator})"),
        None => text,
    };
    [with_creator(old, was), with_creator(new, is)]
}

pub(super) fn in_namespace(netns: Option<&Netns>) -> String {
    let Some(netns) = netns else { return String::new() };
    match &netns.name {
        Some(name) => format!(" in network namespace {name}"),
        None => format!(" in network namespace {}", netns.inode),
    }
}

/// A change since a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaselineChange {
    pub change: ChangeKind,
    pub baseline: Timestamp,
    /// `None` if the listener appeared.
    pub before: Option<ListenerState>,
    /// `None` if the listener vanished.
    pub after: Option<ListenerState>,
    /// Whether the socket is transient: it may belong to a client that waits for a reply.
    pub passing: bool,
    /// Whether the appeared listener was certainly absent before, or the vanished listener is certainly absent now.
    /// False if the scan without the listener may have missed a socket.
    pub sure: bool,
    /// Whether it is only probable that the listeners before and after the change are one service. A process was not
    /// visible, but unit and user are the same.
    #[serde(skip)]
    pub is_probable: bool,
}

impl BaselineChange {
    /// Returns the reason why both listeners are probably one service. `None` if they certainly are, or if there is
    /// only one listener.
    pub(crate) fn match_evidence(&self) -> Option<String> {
        let is = self.after.as_ref().filter(|_| self.is_probable)?;
        let unit = is.unit.as_deref().map(|unit| format!(": same unit {unit}")).unwrap_or_default();
        Some(format!("probably the same service{unit}"))
    }
}

impl FindingFacts for BaselineChange {
    fn flag(&self) -> Flag {
        FLAGS[self.change as usize]
    }

    /// Returns info for a transient socket. Returns critical if other machines can reach the service now but could not
    /// before. Otherwise returns the usual severity.
    fn severity(&self) -> Severity {
        let is_beyond = |state: &Option<ListenerState>| {
            state.as_ref().is_some_and(ListenerState::is_reachable_from_outside)
        };
        match self.change {
            _ if self.passing => Severity::Info,
            ChangeKind::Widened if !is_beyond(&self.before) && is_beyond(&self.after) => Severity::Critical,
            _ => self.flag().severity(),
        }
    }

    fn sentence(&self) -> String {
        let when = self.baseline.strftime("%Y-%m-%d %H:%M UTC");
        let mut said = match (self.change, &self.before, &self.after) {
            (ChangeKind::Appeared, _, Some(is)) => {
                format!("{} ({}) is new since {when}.", is.place(), is.processes())
            }
            (ChangeKind::Vanished, Some(was), _) => {
                format!(
                    "{} ({}) was listening at {when}, but is not listening now.",
                    was.place(),
                    was.processes()
                )
            }
            (ChangeKind::Changed, Some(was), Some(is)) => {
                let [old, new] = owners(was, is);
                format!("{}: on {when} the program was {old}; now it is {new}.", is.place())
            }
            (ChangeKind::Replaced, Some(was), Some(is)) => format!(
                "{}: the program still runs, but its file is no longer at its path. Now: {}. On {when}: {}.",
                is.place(),
                is.processes(),
                was.processes()
            ),
            (ChangeKind::Widened, Some(was), Some(is)) => is.reached_by("more", was, &when.to_string()),
            (ChangeKind::Narrowed, Some(was), Some(is)) => is.reached_by("fewer", was, &when.to_string()),
            (ChangeKind::Weakened, Some(was), Some(is)) => format!(
                "{} ({}): less protected than on {when}. Before: {}. Now: {}.",
                is.place(),
                is.processes(),
                was.findings(),
                is.findings()
            ),
            // This case never occurs: the cases above cover every kind of change.
            (kind, ..) => format!("The listener {} since {when}.", kind.name()),
        };
        if let Some(evidence) = self.match_evidence() {
            said.push_str(&format!(" It is {evidence} and same user; a process was not visible."));
        }
        if self.passing {
            said.push_str(
                " This may be the socket of a client that waits for a reply. Such sockets are normal \
                 and exist only briefly.",
            );
        }
        if !self.sure {
            said.push_str(match self.change {
                ChangeKind::Appeared => " The baseline is incomplete: it may have missed the listener.",
                _ => " This scan is incomplete: it may have missed the listener.",
            });
        }
        said
    }
}

impl From<BaselineChange> for super::Evidence {
    fn from(change: BaselineChange) -> Self {
        super::Evidence::Change(Box::new(change))
    }
}

/// The flags of the kinds of change, in the order of [`ChangeKind`].
pub(super) const FLAGS: &[Flag] = &[
    Flag(
        &FindingInfo {
            code: "appeared",
            family: FindingFamily::Change,
            severity: Severity::Warning,
            on_loopback: OnLoopback::Same,
            description: "a listener that is not in the baseline",
            why: "A new listener is a new way into the machine.",
            remedy: "find out who started the program and why; if the listener is intended, take a new baseline: portolan capture > baseline.json",
        },
        &[Severity::Info, Severity::Warning],
    ),
    Flag(
        &FindingInfo {
            code: "vanished",
            family: FindingFamily::Change,
            severity: Severity::Notice,
            on_loopback: OnLoopback::Same,
            description: "a listener of the baseline is gone",
            why: "A service that is still needed may be down.",
            remedy: "if the listener should still exist, restore the service; otherwise take a new baseline: \
                portolan capture > baseline.json",
        },
        &[Severity::Info, Severity::Notice],
    ),
    Flag(
        &FindingInfo {
            code: "changed",
            family: FindingFamily::Change,
            severity: Severity::Warning,
            on_loopback: OnLoopback::Same,
            description: "the port belongs to another program or user than in the baseline",
            why: "Clients connect to the port and do not notice that another program answers.",
            remedy: "find out who changed the program and why; if the change is intended, take a new baseline: portolan capture > baseline.json",
        },
        &[Severity::Info, Severity::Warning],
    ),
    Flag(
        &FindingInfo {
            code: "replaced",
            family: FindingFamily::Change,
            severity: Severity::Notice,
            on_loopback: OnLoopback::Same,
            description: "the program still runs, but its file was replaced or deleted since the baseline",
            why: "Scanners and the package manager check the file on disk, but the process runs the old file.",
            remedy: "restart the service, so that it runs the installed file",
        },
        &[Severity::Info, Severity::Notice],
    ),
    Flag(
        &FindingInfo {
            code: "widened",
            family: FindingFamily::Change,
            severity: Severity::Warning,
            on_loopback: OnLoopback::Same,
            description: "more clients can reach the service than in the baseline",
            why: "Machines that could not reach the service before can reach it now.",
            remedy: "find out who made this change and why; if the change is intended, take a new baseline: portolan capture > baseline.json",
        },
        &[Severity::Info, Severity::Warning, Severity::Critical],
    ),
    Flag(
        &FindingInfo {
            code: "narrowed",
            family: FindingFamily::Change,
            severity: Severity::Info,
            on_loopback: OnLoopback::Same,
            description: "fewer clients can reach the service than in the baseline",
            why: "Clients that could reach the service before may be unable to reach it now.",
            remedy: "if the change is a mistake, undo the change; otherwise take a new baseline: portolan \
                capture > baseline.json",
        },
        &[Severity::Info],
    ),
    Flag(
        &FindingInfo {
            code: "weakened",
            family: FindingFamily::Change,
            severity: Severity::Warning,
            on_loopback: OnLoopback::Same,
            description: "the service has a finding that is new or more severe than in the baseline",
            why: "A service often loses its protection when it is restarted with other options or another configuration file.",
            remedy: "restore the protection that the service had; if the change is intended, take a new baseline: portolan capture > baseline.json",
        },
        &[Severity::Info, Severity::Warning],
    ),
];
