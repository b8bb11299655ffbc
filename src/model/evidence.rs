//! What findings rest on: data, from which every output makes its own words.

use std::net::IpAddr;
use std::num::NonZeroU64;

use serde::Serialize;

use super::{
    Confidence, Curated, Device, Difference, Disagreement, Exposure, Holders, OddProgram, PortRange,
    Protocol, Running, Side, Since, Status, Stranger, TakenPort,
};

/// A dead registration, as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadRegistration {
    /// The service name as registered.
    pub service: &'static str,
    /// What it was for.
    pub product: &'static str,
    /// When that ended.
    pub ended: Option<&'static str>,
    /// One sentence.
    pub reason: &'static str,
    /// `confirmed` or `presumed`.
    pub confidence: Confidence,
    /// The page that says so.
    pub source: Option<&'static str>,
    /// What a presumption rests on.
    pub basis: Option<&'static str>,
}

impl DeadRegistration {
    /// The evidence in a curated row.
    #[must_use]
    pub const fn new(service: &'static str, row: &Curated) -> Self {
        DeadRegistration {
            service,
            product: row.product,
            ended: row.ended,
            reason: row.reason,
            confidence: row.confidence,
            source: row.source,
            basis: row.basis,
        }
    }
}

/// A registration nothing else speaks for, as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuietRegistration {
    /// The service name as registered.
    pub service: &'static str,
    /// Who holds it, where the registry says.
    pub assignee: Option<&'static str>,
    /// When it was registered, where the registry says.
    pub registered: Option<&'static str>,
    /// When it was last changed, where the registry says.
    pub modified: Option<&'static str>,
}

/// What a finding rests on. Each variant belongs to one flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Evidence {
    /// For [`Flag::Orphaned`](super::Flag::Orphaned).
    Orphaned {
        /// Every registration of the port that a curated list calls dead.
        registrations: Vec<DeadRegistration>,
    },
    /// For [`Flag::Ephemeral`](super::Flag::Ephemeral).
    Ephemeral {
        /// The part of this kernel's own range the port lies in.
        kernel_range: Option<PortRange>,
        /// Whether it lies in IANA's dynamic range, 49152 to 65535.
        iana_dynamic: bool,
        /// Whether the port is odd (Linux, TCP); `None` where that tells nothing.
        odd: Option<bool>,
        /// Whether the kernel itself would have picked it for `bind` to port 0; where not, somebody likely
        /// chose it. `None` where the port does not tell.
        kernel_would_pick: Option<bool>,
        /// Whether a client that waits for answers looks the same (datagram sockets).
        may_be_client: bool,
    },
    /// For [`Flag::Reserved`](super::Flag::Reserved).
    Reserved {
        /// What IANA says beside.
        remark: Option<&'static str>,
    },
    /// For [`Flag::Unassigned`](super::Flag::Unassigned).
    Unassigned {
        /// What IANA says beside.
        remark: Option<&'static str>,
    },
    /// For [`Flag::Dormant`](super::Flag::Dormant).
    Dormant {
        /// `dormant` or `obscure`.
        status: Status,
        /// The registrations of the port.
        registrations: Vec<QuietRegistration>,
    },
    /// For [`Flag::OtherProtocol`](super::Flag::OtherProtocol).
    OtherProtocol {
        /// The protocol the port is registered for.
        registered_for: Protocol,
        /// The services registered there.
        services: Vec<&'static str>,
    },
    /// For [`Flag::Impostor`](super::Flag::Impostor).
    Impostor {
        /// The guarded service.
        service: &'static str,
        /// The programs known to serve it.
        expected: Vec<&'static str>,
        /// Who holds the port instead.
        found: Vec<Stranger>,
        /// Why a stranger there is suspicious.
        why: &'static str,
    },
    /// For [`Flag::Shadowed`](super::Flag::Shadowed); told on both sides.
    Shadowed {
        /// The device this listener itself is bound to.
        device: Option<Device>,
        /// Wider listeners of others that lose to this one what comes to its address.
        takes_from: Vec<Side>,
        /// Narrower listeners of others that take what comes to their addresses from this one.
        loses_to: Vec<Side>,
        /// How many sides there are beyond those.
        more: usize,
    },
    /// For [`Flag::Shared`](super::Flag::Shared).
    Shared {
        /// In what the holders differ.
        differ_in: Vec<Difference>,
        /// Who holds the port on this address.
        holders: Holders,
        /// On how many sockets.
        sockets: usize,
    },
    /// For [`Flag::DeletedExecutable`](super::Flag::DeletedExecutable).
    DeletedExecutable {
        /// Processes whose file was replaced: another stands at its path.
        replaced: Vec<Running>,
        /// Processes whose file is gone: nothing stands at its path.
        gone: Vec<Running>,
    },
    /// For [`Flag::OddExecutable`](super::Flag::OddExecutable).
    OddExecutable {
        /// The programs that run from such a place.
        found: Vec<OddProgram>,
    },
    /// For [`Flag::BacklogFull`](super::Flag::BacklogFull).
    BacklogFull {
        /// Connections that wait to be accepted.
        waiting: u32,
        /// How many may, as the program said to `listen`.
        limit: u32,
    },
    /// For [`Flag::BoundOnly`](super::Flag::BoundOnly).
    BoundOnly {
        /// The range of outgoing connections that the port lies in: who is about to connect looks no different.
        kernel_range: Option<PortRange>,
    },
    /// For [`Flag::Kernel`](super::Flag::Kernel).
    Kernel {
        /// Its inode. Without one no file stands for it, so that no process can hold it; with one, every process
        /// could be read and none holds it.
        inode: Option<NonZeroU64>,
    },
    /// For [`Flag::Exposed`](super::Flag::Exposed).
    Exposed {
        /// The class of the address.
        exposure: Exposure,
        /// The address.
        address: IpAddr,
        /// The device it is bound to.
        device: Option<Device>,
    },
    /// For [`Flag::Unexpected`](super::Flag::Unexpected).
    Unexpected {
        /// The id of the rule that comes nearest: all but a few of its conditions hold.
        nearest: Option<String>,
        /// The conditions of that rule that do not hold, a phrase each: `user is root, not postgres`.
        differs: Vec<String>,
        /// When that rule expired, where it would allow this otherwise.
        expired: Option<String>,
    },
    /// For [`Flag::Missing`](super::Flag::Missing).
    Missing {
        /// The id of the rule that promises it.
        rule: String,
        /// What it promises, in short: `tcp/443 on any address`.
        wanted: String,
        /// Why it must listen, as the rule says.
        reason: Option<String>,
        /// Who answers for it, as the rule says.
        owner: Option<String>,
    },
    /// For the flags that tell of a change since a baseline.
    Since(Since),
    /// For [`Flag::HiddenPort`](super::Flag::HiddenPort).
    HiddenPort(TakenPort),
    /// For [`Flag::Disagreement`](super::Flag::Disagreement).
    Disagreement(Disagreement),
}
