//! Who can reach a port according to the packet filter.

use serde::{Deserialize, Serialize};

use super::named;

named! {
    /// How far the packet filter lets clients on other machines reach a port.
    pub enum ReachKind {
        /// It accepts a new connection from every address, on every interface.
        Open = "open",
        /// It accepts new connections only from some addresses, or only on some interfaces.
        Limited = "limited",
        /// It accepts no new connection.
        Filtered = "filtered",
        /// Its rules could not be read or evaluated.
        Unknown = "unknown",
    }
}

/// Who can reach a port according to the packet filter, and the rule that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// How far.
    pub kind: ReachKind,
    /// For [`ReachKind::Limited`]: those who can reach it, as `10.0.0.0/8 on eth0`; the first few.
    pub from: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// The deciding rule, or why nothing could be decided; `None` if there are no rules, or only root may read them.
    pub rule: Option<String>,
}

impl Reach {
    /// Returns the reach of a port that no rule concerns.
    #[must_use]
    pub const fn open() -> Self {
        Reach { kind: ReachKind::Open, from: Vec::new(), more: 0, rule: None }
    }

    /// Returns that nothing could be decided, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Reach { kind: ReachKind::Unknown, from: Vec::new(), more: 0, rule: Some(why.to_owned()) }
    }
}
