//! The clients that can reach a port according to the packet filter.

use serde::{Deserialize, Serialize};

use super::named;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reach {
    /// The extent to which clients can reach the port.
    pub kind: ReachKind,
    /// For [`ReachKind::Limited`] and [`ReachKind::Machine`]: the first few groups of clients that can reach the port,
    /// such as `10.0.0.0/8 on eth0` or `10.0.0.0/8 but 10.9.0.1`.
    pub from: Vec<String>,
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
        let from = vec!["this machine and the networks whose packets it forwards".to_owned()];
        Reach { kind: ReachKind::Machine, from, ..Reach::open() }
    }

    /// Returns [`Self::from`], split so that each text has one interface and one address. For example, `anyone on eth0,
    /// eth1` becomes `anyone on eth0` and `anyone on eth1`.
    #[must_use]
    pub fn one_place_each(&self) -> Vec<String> {
        let places = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let mut found = Vec::new();
        for text in &self.from {
            let (text, to) = text.split_once(" to ").map_or((&**text, None), |(text, to)| (text, Some(to)));
            let (who, on) = text.split_once(" on ").map_or((text, None), |(who, on)| (who, Some(on)));
            let on = on.map_or_else(|| vec![String::new()], places);
            for on in on.iter().map(|on| if on.is_empty() { String::new() } else { format!(" on {on}") }) {
                match to {
                    None => found.push(format!("{who}{on}")),
                    Some(to) => found.extend(places(to).iter().map(|to| format!("{who}{on} to {to}"))),
                }
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
            let reach = Reach { from: vec![from.to_owned()], ..Reach::open() };
            assert_eq!(reach.one_place_each(), wanted);
        }
    }
}
