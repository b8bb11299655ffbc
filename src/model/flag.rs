//! The kinds of findings: their stable codes, what each means, why it matters, what to do, and how grave it is.

use serde::Serialize;

use super::{Exposure, Protocol};

/// How much a finding asks for attention; the order of the variants is the order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Notice,
    /// Should be explained or ended.
    Warning,
    /// Act now.
    Critical,
}

impl Severity {
    /// Every severity, in rising order.
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Notice, Severity::Warning, Severity::Critical];

    /// The name in lower case, as in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A kind of finding: a stable code, what it means in one line, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// The registry's status is `orphaned`.
    Orphaned,
    /// A listener where outgoing connections get their ports.
    Ephemeral,
    /// IANA reserves the port.
    Reserved,
    /// No registration for this port and protocol.
    Unassigned,
    /// Status `dormant` or `obscure`.
    Dormant,
    /// Assigned for TCP and not UDP, or the reverse.
    OtherProtocol,
    /// On a guarded service's port, a program that is not among those known to serve it.
    Impostor,
    /// A specific address takes traffic from another program's wildcard on the same port.
    Shadowed,
    /// Holders of one port differ in user or executable.
    Shared,
    /// The program file is gone or was replaced.
    DeletedExecutable,
    /// It runs from memory, or below a world-writable or a hidden folder.
    OddExecutable,
    /// More connections wait to be accepted than the listener allows.
    BacklogFull,
    /// A TCP port held but not listened on.
    BoundOnly,
    /// No process can hold it.
    Kernel,
    /// Reachable from beyond this machine.
    Exposed,
    /// No rule of the policy allows it.
    Unexpected,
    /// The policy promises a listener that is not there.
    Missing,
    /// Not there in the baseline.
    Appeared,
    /// There in the baseline, and gone.
    Vanished,
    /// Held by another program or user than in the baseline.
    Changed,
    /// The program file is no longer the one that runs, as it was in the baseline.
    Replaced,
    /// Can be reached by more than in the baseline.
    Widened,
    /// Can be reached by fewer than in the baseline.
    Narrowed,
    /// A port is taken and no table shows by whom.
    HiddenPort,
    /// The kernel's tables differ on a socket.
    Disagreement,
}

impl Flag {
    /// Every flag, in the order of listings.
    pub const ALL: [Flag; 25] = [
        Flag::Orphaned,
        Flag::Ephemeral,
        Flag::Reserved,
        Flag::Unassigned,
        Flag::Dormant,
        Flag::OtherProtocol,
        Flag::Impostor,
        Flag::Shadowed,
        Flag::Shared,
        Flag::DeletedExecutable,
        Flag::OddExecutable,
        Flag::BacklogFull,
        Flag::BoundOnly,
        Flag::Kernel,
        Flag::Exposed,
        Flag::Unexpected,
        Flag::Missing,
        Flag::Appeared,
        Flag::Vanished,
        Flag::Changed,
        Flag::Replaced,
        Flag::Widened,
        Flag::Narrowed,
        Flag::HiddenPort,
        Flag::Disagreement,
    ];

    /// Whether only an audit finds it, for it takes a policy, a baseline or a deeper look.
    #[must_use]
    pub const fn takes_an_audit(self) -> bool {
        matches!(
            self,
            Flag::Unexpected
                | Flag::Missing
                | Flag::Appeared
                | Flag::Vanished
                | Flag::Changed
                | Flag::Replaced
                | Flag::Widened
                | Flag::Narrowed
                | Flag::HiddenPort
                | Flag::Disagreement
        )
    }

    /// The flags that a listing can show.
    pub fn listed() -> impl Iterator<Item = Flag> {
        Flag::ALL.into_iter().filter(|flag| !flag.takes_an_audit())
    }

    /// The stable code, in kebab-case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Flag::Orphaned => "orphaned",
            Flag::Ephemeral => "ephemeral",
            Flag::Reserved => "reserved",
            Flag::Unassigned => "unassigned",
            Flag::Dormant => "dormant",
            Flag::OtherProtocol => "other-protocol",
            Flag::Impostor => "impostor",
            Flag::Shadowed => "shadowed",
            Flag::Shared => "shared",
            Flag::DeletedExecutable => "deleted-executable",
            Flag::OddExecutable => "odd-executable",
            Flag::BacklogFull => "backlog-full",
            Flag::BoundOnly => "bound-only",
            Flag::Kernel => "kernel",
            Flag::Exposed => "exposed",
            Flag::Unexpected => "unexpected",
            Flag::Missing => "missing",
            Flag::Appeared => "appeared",
            Flag::Vanished => "vanished",
            Flag::Changed => "changed",
            Flag::Replaced => "replaced",
            Flag::Widened => "widened",
            Flag::Narrowed => "narrowed",
            Flag::HiddenPort => "hidden-port",
            Flag::Disagreement => "disagreement",
        }
    }

    /// What it means, in one line.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Flag::Orphaned => "every service registered for this port is dead",
            Flag::Ephemeral => "a listener on a port that outgoing connections draw from",
            Flag::Reserved => "IANA reserves this port",
            Flag::Unassigned => "nothing is registered for this port and protocol",
            Flag::Dormant => "registered, but nothing shows that the service is alive",
            Flag::OtherProtocol => "registered for the other of TCP and UDP only",
            Flag::Impostor => "not a program known to serve what belongs on this port",
            Flag::Shadowed => {
                "a specific address takes traffic from another program's wildcard on the same port"
            }
            Flag::Shared => "holders of one port differ in user or executable",
            Flag::DeletedExecutable => "the program file is gone or was replaced",
            Flag::OddExecutable => {
                "the program runs from memory, or below a world-writable or a hidden folder"
            }
            Flag::BacklogFull => "more connections wait to be accepted than the listener allows",
            Flag::BoundOnly => "a TCP port held but not listened on",
            Flag::Kernel => "no process can hold it",
            Flag::Exposed => "reachable from beyond this machine",
            Flag::Unexpected => "no rule of the policy allows it",
            Flag::Missing => "the policy promises a listener that is not there",
            Flag::Appeared => "not there in the baseline",
            Flag::Vanished => "there in the baseline, and gone",
            Flag::Changed => "held by another program or user than in the baseline",
            Flag::Replaced => "its program file was replaced or removed since the baseline, while it runs",
            Flag::Widened => "can be reached by more than in the baseline",
            Flag::Narrowed => "can be reached by fewer than in the baseline",
            Flag::HiddenPort => "a port is taken, and no table shows by whom",
            Flag::Disagreement => "the kernel's tables differ on a socket",
        }
    }

    /// Why it matters, in one sentence.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Flag::Orphaned => {
                "Nobody serves there what the port was registered for, so what listens is something else: \
                 dead software still running, or a program that hides behind an old name."
            }
            Flag::Ephemeral => {
                "The kernel may give the port to an outgoing connection first, and then the service cannot start; \
                 a port nobody chose is also where what should not be found likes to listen."
            }
            Flag::Reserved => {
                "No service can claim a reserved port, so whoever listens there chose it against the registry."
            }
            Flag::Unassigned => "The registry does not say what this is: only the program itself does.",
            Flag::Dormant => {
                "A registration that nothing speaks for explains no listener, so the port is as good as unassigned."
            }
            Flag::OtherProtocol => {
                "The registered service speaks the other protocol, so this listener is likely not that service."
            }
            Flag::Impostor => "Clients trust this port with passwords and data, whoever answers there.",
            Flag::Shadowed => {
                "Who connects there talks to another program than the one that seems to serve the port, and nobody is told."
            }
            Flag::Shared => {
                "Each holder can accept what was meant for the other, and the port stays taken until the last of them ends."
            }
            Flag::DeletedExecutable => {
                "What runs is not what lies on the disk: it misses the fixes of an upgrade, or hides what it was."
            }
            Flag::OddExecutable => {
                "No package installs a program there, and what anybody may put there anybody may run."
            }
            Flag::BacklogFull => "Clients wait or give up while the program does not accept them.",
            Flag::BoundOnly => "Nobody can connect to the port and nobody else can listen on it.",
            Flag::Kernel => "There is no process to ask or to end: only the kernel's own settings close it.",
            Flag::Exposed => {
                "Whoever can reach the address can talk to it, unless something in between forbids it."
            }
            Flag::Unexpected => "What nobody has allowed, nobody has answered for.",
            Flag::Missing => "Somebody counts on a service that does not answer.",
            Flag::Appeared => "What came since the machine was last known is what changed its risk.",
            Flag::Vanished => "A service that somebody relied on may be down.",
            Flag::Changed => {
                "Clients talk to the port, not to the program: they do not notice who took it over."
            }
            Flag::Replaced => {
                "What runs is not what a look at the disk, a scanner or a package manager sees."
            }
            Flag::Widened => "Whoever can reach it now could not when it was last found good.",
            Flag::Narrowed => "Clients that reached it before may not any more.",
            Flag::HiddenPort => {
                "Somebody went to lengths to keep it from being seen, or the kernel does not tell of it."
            }
            Flag::Disagreement => {
                "Tools that read one of the tables miss the socket, which is what some rootkits are made for."
            }
        }
    }

    /// What to do about it, in one line.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Flag::Orphaned => "find out what the program is; it is not what the port was registered for",
            Flag::Ephemeral => {
                "give the service a fixed port outside the range, or reserve the port in the kernel"
            }
            Flag::Reserved | Flag::Unassigned | Flag::Dormant | Flag::OtherProtocol => {
                "check that the program is one you know and that the port is meant"
            }
            Flag::Impostor => "find out who started it; if it belongs here, allow it in the policy",
            Flag::Shadowed => "end one of the two, or bind them to addresses that do not overlap",
            Flag::Shared => "end the holder that does not belong, or keep the socket from being inherited",
            Flag::DeletedExecutable => {
                "restart it; where nothing stands at the path any more, find out why first"
            }
            Flag::OddExecutable => {
                "find out who started it, and install what belongs here in a place of its own"
            }
            Flag::BacklogFull => "see why the program does not accept, or give it a longer backlog",
            Flag::BoundOnly => "see why the holder does not listen, or end it",
            Flag::Kernel => "find the part of the kernel that opened it: NFS, WireGuard and other tunnels do",
            Flag::Exposed => "bind it to a loopback address if only this machine should reach it",
            Flag::Unexpected => "end it, or allow it in the policy with a reason and an owner",
            Flag::Missing => "start the service, or take the rule out of the policy",
            Flag::Appeared | Flag::Changed | Flag::Widened => {
                "find out who did it and why; if it is meant, take a new baseline"
            }
            Flag::Vanished | Flag::Narrowed => {
                "if it is meant, take a new baseline; if not, start it as it was"
            }
            Flag::Replaced => "restart the service, so that it runs what is installed",
            Flag::HiddenPort => {
                "look at the machine from outside, and from a medium that can be trusted; do not trust its own tools"
            }
            Flag::Disagreement => {
                "run again; if it stays, compare with the same machine looked at from outside"
            }
        }
    }

    /// Default severity on loopback and when reachable from beyond this machine; `ephemeral` on anything
    /// but TCP is one step milder, for a client's waiting socket looks no different. `exposed` has none on
    /// loopback, where it cannot be.
    #[must_use]
    pub const fn severity(self, protocol: Protocol, exposure: Exposure) -> Severity {
        let beyond = exposure.beyond();
        match (self, beyond) {
            (Flag::Ephemeral, _) if !matches!(protocol, Protocol::Tcp | Protocol::Sctp | Protocol::Dccp) => {
                if beyond {
                    Severity::Notice
                } else {
                    Severity::Info
                }
            }
            (Flag::Impostor | Flag::OddExecutable, true) | (Flag::Unexpected | Flag::HiddenPort, _) => {
                Severity::Critical
            }
            (Flag::Vanished | Flag::Replaced, _) => Severity::Notice,
            (Flag::Narrowed, _) => Severity::Info,
            (Flag::Appeared | Flag::Changed | Flag::Widened | Flag::Disagreement, _) => Severity::Warning,
            (Flag::Impostor | Flag::OddExecutable, false)
            | (Flag::Orphaned | Flag::Ephemeral | Flag::Reserved, true)
            | (
                Flag::Shadowed | Flag::Shared | Flag::DeletedExecutable | Flag::BacklogFull | Flag::Missing,
                _,
            ) => Severity::Warning,
            (Flag::Orphaned | Flag::Ephemeral | Flag::Reserved, false)
            | (Flag::Unassigned | Flag::Dormant | Flag::OtherProtocol | Flag::BoundOnly, true) => {
                Severity::Notice
            }
            (Flag::Unassigned | Flag::Dormant | Flag::OtherProtocol | Flag::BoundOnly, false)
            | (Flag::Kernel | Flag::Exposed, _) => Severity::Info,
        }
    }
}
