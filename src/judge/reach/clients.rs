//! The clients whose packets meet a condition, certainly or possibly.

use crate::model::Family;
use crate::model::address_set::AddressSet;

/// Which elements of a set count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    All,
    /// Only elements that never expire.
    Permanent,
    /// All elements, some of which expire.
    ForSomeTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    None,
    All,
    Unknown,
    Some {
        /// The clients whose packets certainly meet the condition.
        sure: AddressSet,
        /// The clients whose packets may meet the condition, including those in `sure`.
        may: AddressSet,
    },
}

impl Clients {
    pub(super) fn negated(self, family: Family) -> Self {
        match self {
            Clients::None => Clients::All,
            Clients::All => Clients::None,
            Clients::Unknown => Clients::Unknown,
            Clients::Some { sure, may } => {
                Clients::Some { sure: may.complement(family), may: sure.complement(family) }
            }
        }
    }
}
