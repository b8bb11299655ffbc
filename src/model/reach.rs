//! The clients that can reach a port according to the packet filter.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Network, named};

named! {
    /// The extent to which clients on other machines can reach a port through the packet filter.
    pub enum ReachKind {
        /// The packet filter accepts a new connection from every address, on every interface through which other
        /// machines can connect.
        Open = "open",
        /// The packet filter accepts new connections only from some addresses, or only on some interfaces.
        Limited = "limited",
        /// Only two kinds of clients can connect: this machine, and networks whose packets this machine forwards. An
        /// example is a bridge for containers.
        Machine = "machine",
        /// The packet filter accepts no new connection.
        Filtered = "filtered",
        /// The rules could not be read or evaluated.
        Unknown = "unknown",
    }
}

/// The clients that can reach a port according to the packet filter, and the rule that decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Reach {
    /// The extent to which clients can reach the port.
    pub kind: ReachKind,
    /// For [`ReachKind::Limited`] and [`ReachKind::Machine`]: the first few groups of clients that can reach the port.
    pub from: Vec<ClientGroup>,
    /// The number of further groups.
    pub more: usize,
    /// The rule that decides, or the reason why there is no result. `None` if there are no rules, or if only root may
    /// read them.
    pub rule: Option<String>,
    /// The number and a hash of all clients, for comparisons. `from` names only some groups of clients.
    #[serde(skip)]
    pub all: Option<AllClients>,
    /// Whether packets of other machines must pass through a process of this machine. Such a process usually accepts
    /// packets for published ports only.
    #[serde(skip)]
    pub through_process: bool,
    /// Whether a rule may change the source addresses of clients, so that the service does not see them.
    #[serde(skip)]
    pub hides_clients: bool,
}

/// A group of clients, and the places where they can reach a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientGroup {
    /// The clients.
    pub who: Clients,
    /// The first networks whose clients cannot reach the port.
    pub except: Vec<Network>,
    /// Whether there are more such networks.
    pub has_more_exceptions: bool,
    /// The interfaces; empty for all.
    pub on: Vec<String>,
    /// The addresses of this machine, or words such as `broadcast addresses`; empty for all.
    pub to: Vec<String>,
}

/// The clients of a [`ClientGroup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clients {
    /// Every client.
    Anyone,
    /// Every IPv4 client.
    AnyIpv4,
    /// Every IPv6 client.
    AnyIpv6,
    /// The addresses of a network.
    Network(Network),
    /// The clients on an interface for containers.
    Inner,
    /// This machine.
    Machine,
    /// This machine and the networks whose packets it forwards.
    MachineAndForwarded,
}

impl Clients {
    /// Returns whether these are all clients of a family, or of both.
    #[must_use]
    pub const fn is_everyone(self) -> bool {
        matches!(self, Clients::Anyone | Clients::AnyIpv4 | Clients::AnyIpv6)
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clients::Anyone => "anyone",
            Clients::AnyIpv4 => "any IPv4 address",
            Clients::AnyIpv6 => "any IPv6 address",
            Clients::Network(network) => return network.fmt(f),
            Clients::Inner => "clients",
            Clients::Machine => "this machine",
            Clients::MachineAndForwarded => "this machine and the networks whose packets it forwards",
        })
    }
}

impl From<Clients> for ClientGroup {
    fn from(who: Clients) -> Self {
        let (on, to) = (Vec::new(), Vec::new());
        ClientGroup { who, except: Vec::new(), has_more_exceptions: false, on, to }
    }
}

/// Writes `10.0.0.0/8 but 10.9.0.1 on eth0, eth1 to 10.0.0.1`.
impl fmt::Display for ClientGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.who.fmt(f)?;
        let except: Vec<String> = self.except.iter().map(ToString::to_string).collect();
        for (word, places) in [("but", &except), ("on", &self.on), ("to", &self.to)] {
            if !places.is_empty() {
                write!(f, " {word} {}", places.join(", "))?;
            }
            if word == "but" && self.has_more_exceptions {
                f.write_str(" and other networks")?;
            }
        }
        Ok(())
    }
}

impl Serialize for ClientGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number and a hash of all clients that can reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllClients {
    /// The number of addresses.
    pub count: u128,
    /// A hash of the addresses, valid only in this process.
    pub hash: u64,
}

impl ReachKind {
    /// Returns whether other machines can connect, as far as that is known.
    #[must_use]
    pub const fn lets_in_other_machines(self) -> bool {
        !matches!(self, ReachKind::Machine | ReachKind::Filtered)
    }
}

impl Reach {
    /// Returns the reach of a port if no rule applies.
    #[must_use]
    pub const fn open() -> Self {
        Reach {
            kind: ReachKind::Open,
            from: Vec::new(),
            more: 0,
            rule: None,
            all: None,
            through_process: false,
            hides_clients: false,
        }
    }

    /// Returns the reach of a port in a network namespace inside this machine.
    #[must_use]
    pub fn machine() -> Self {
        let from = vec![Clients::MachineAndForwarded.into()];
        Reach { kind: ReachKind::Machine, from, ..Reach::open() }
    }

    /// Returns the clients of [`Self::from`] with one interface and one address in each group: `anyone on eth0` and
    /// `anyone on eth1` for `anyone on eth0, eth1`.
    #[must_use]
    pub fn one_place_each(&self) -> Vec<ClientGroup> {
        let each = |places: &[String]| match places {
            [] => vec![Vec::new()],
            places => places.iter().map(|place| vec![place.clone()]).collect(),
        };
        let mut found = Vec::new();
        for group in &self.from {
            for on in each(&group.on) {
                let of_address = |to| ClientGroup { on: on.clone(), to, ..group.clone() };
                found.extend(each(&group.to).into_iter().map(of_address));
            }
        }
        found
    }

    /// Returns whether only root may read the rules.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == ReachKind::Unknown && self.rule.is_none()
    }

    /// Returns the reach of a port in a network namespace behind a tun or tap device. The process that has the device
    /// open decides which packets arrive. For example, slirp4netns and pasta accept only packets for published ports.
    #[must_use]
    pub fn through_process(device: &str) -> Self {
        let why = format!(
            "the process that has the device {device} open, such as slirp4netns, decides who can connect"
        );
        Reach { through_process: true, ..Reach::unknown(&why) }
    }

    /// Returns an unknown reach, with the reason.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Reach { kind: ReachKind::Unknown, rule: Some(why.to_owned()), ..Reach::open() }
    }
}

#[cfg(test)]
impl From<&str> for ClientGroup {
    /// Parses the text of a group, for tests.
    fn from(text: &str) -> Self {
        let names = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let (text, to) = text.split_once(" to ").map_or((text, Vec::new()), |(text, to)| (text, names(to)));
        let (text, on) = text.split_once(" on ").map_or((text, Vec::new()), |(text, on)| (text, names(on)));
        let (who, but) = text.split_once(" but ").unwrap_or((text, ""));
        let (but, has_more_exceptions) =
            but.strip_suffix(" and other networks").map_or((but, false), |but| (but, true));
        let except = but.split(", ").filter_map(|network| network.parse().ok()).collect();
        let words = [Clients::Anyone, Clients::AnyIpv4, Clients::AnyIpv6, Clients::Inner, Clients::Machine];
        let word = words.into_iter().find(|word| word.to_string() == who);
        let who = word.unwrap_or_else(|| Clients::Network(who.parse().unwrap()));
        ClientGroup { who, except, has_more_exceptions, on, to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interface_and_one_address_in_each_text() {
        for (from, wanted) in [
            ("10.0.0.0/8 but 10.9.0.1, 10.9.0.2", &["10.0.0.0/8 but 10.9.0.1, 10.9.0.2"][..]),
            ("anyone on eth1, docker0", &["anyone on eth1", "anyone on docker0"]),
            ("anyone to 10.0.0.1, ::1", &["anyone to 10.0.0.1", "anyone to ::1"]),
            (
                "anyone but 9.9.9.9 on a, b to ::1",
                &["anyone but 9.9.9.9 on a to ::1", "anyone but 9.9.9.9 on b to ::1"],
            ),
        ] {
            let reach = Reach { from: vec![from.into()], ..Reach::open() };
            assert_eq!(reach.from[0].to_string(), from);
            let found: Vec<String> = reach.one_place_each().iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted);
        }
    }
}
