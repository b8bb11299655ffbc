//! The basic types that every other module uses: sockets, processes, verdicts, gaps. This module performs no input or
//! output. An unknown value is `None`, never an empty string, `"-"`, `0` or `-1`.

pub(crate) mod address_set;
mod container;
mod context;
mod deep;
mod endpoint;
mod exposure;
pub mod firewall;
mod forward;
mod free_port;
mod inferred_owner;
pub(crate) mod interpreter;
mod interpreter_runner;
mod interpreter_syntax;
pub(crate) mod loaded_code;
pub(crate) mod loaders;
mod named;
mod network;
mod process;
mod program;
pub(crate) mod python_modules;
mod reach;
mod received_packets;
pub(crate) mod relays;
mod replaceable_by;
mod rights;
mod scope;
mod search_hit;
mod severity;
mod snapshot;
mod socket;

mod danger_basis;
mod verdict;
mod what_runs;

pub use container::{Container, SHORT_ID, is_container_id, short_container};
pub use context::{
    Block, CommonService, Context, EphemeralHere, Event, EventKind, GuardedService, KnownProgram, Matched,
    NearbyRegistration, NearbyRegistrations, PortAnswer,
};
pub use danger_basis::DangerBasis;
pub use deep::{DeepScanResult, Disagreement, Source, TakenPort};
pub use endpoint::{BadEndpoint, Device, Endpoint, Family, PortRange, Protocol, host, unmapped};
pub use exposure::Exposure;
pub use firewall::Firewall;
pub use forward::ForwardTarget;
pub use free_port::Unsuitable;
pub use inferred_owner::{InferredOwner, OwnerEvidence};
pub use interpreter::RunTarget;
pub(crate) use named::named;
pub use network::{BadNetwork, Network};
pub use process::{
    AccessSetting, AdmittedClients, Configuration, Exe, ExeState, Origin, OriginKind, Parent, Pid, Process,
    Script,
};
pub(crate) use process::{LONGEST_COMMAND_LINE, file_name};
pub use program::{ListenerService, RestsOn, ServiceBy, UsualProgram};
pub use reach::{AllClients, ClientGroup, Clients, Reach, ReachKind};
pub use received_packets::ReceivedPackets;
pub use relays::{RelayRestriction, RelayRoute, RestrictedBy, SocketCommand};
pub use replaceable_by::ReplaceableBy;
pub use rights::Rights;
pub use scope::{HostScope, Namespaces, Scope};
pub use search_hit::{SearchField, SearchHit};
pub use severity::Severity;
pub use snapshot::{
    EphemeralPorts, EphemeralRange, Gap, Host, NAMED_PIDS, Namespace, Note, OLD_SNAPSHOT_SCHEMA,
    SNAPSHOT_SCHEMA, Snapshot, Stage, Tool, lists_bound_sockets, show_processes,
};
pub use socket::{Direction, Forwarding, Netns, Owner, Peer, Queues, Socket, SocketAttributes, State};
pub(crate) use verdict::alias_in;
pub use verdict::{
    Assignment, Confidence, Curated, CuratedState, EvidenceSource, PortVerdict, RegistryRange, Status,
    StatusBasis,
};
