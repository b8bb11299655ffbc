//! A set of addresses of one family, as ranges of numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub(crate) use super::network::number;
use super::{Family, Network};

/// Ranges of addresses in ascending order. Two ranges never touch. A set can have ten thousand ranges, so clones share
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AddressSet(Arc<Vec<(u128, u128)>>);

/// The number of ranges that a search compares one by one before it uses binary search.
const NEAR: usize = 8;

/// The number of addresses in the largest hole that [`AddressSet::without_small_holes`] fills.
const SMALL_HOLE: u128 = 8;

/// [`AddressSet::rounded`] fills a hole of at most 1/16 of the size of the two ranges next to it.
const HOLE: u128 = 16;

const fn highest(family: Family) -> u128 {
    match family {
        Family::Ipv4 => u32::MAX as u128,
        Family::Ipv6 => u128::MAX,
    }
}

impl AddressSet {
    pub(crate) fn all(family: Family) -> Self {
        AddressSet(Arc::new(vec![(0, highest(family))]))
    }

    /// Returns the addresses in these ranges, which can be in any order.
    pub(crate) fn of(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        AddressSet(Arc::new(merged))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of addresses, at most `u128::MAX`.
    pub(crate) fn count(&self) -> u128 {
        let sizes = self.0.iter().map(|(first, last)| (last - first).saturating_add(1));
        sizes.fold(0, u128::saturating_add)
    }

    /// Returns the addresses that are in both sets.
    pub(crate) fn and(&self, other: &AddressSet) -> AddressSet {
        if Arc::ptr_eq(&self.0, &other.0) {
            return self.clone();
        }
        let (few, many) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        let mut both = Vec::new();
        let mut from = 0;
        for (first, last) in few.0.iter() {
            // If both sets have a similar number of ranges, the next overlap is usually only a few ranges away.
            let near = &many.0[from..many.len().min(from + NEAR)];
            from += match near.iter().position(|(_, end)| end >= first) {
                Some(at) => at,
                None => near.len() + many.0[from + near.len()..].partition_point(|(_, end)| end < first),
            };
            let overlapping = many.0[from..].iter().take_while(|(start, _)| start <= last);
            both.extend(overlapping.map(|(start, end)| (*start.max(first), *end.min(last))));
        }
        AddressSet(Arc::new(both))
    }

    pub(crate) fn complement(&self, family: Family) -> AddressSet {
        let mut gaps = Vec::with_capacity(self.len() + 1);
        let mut next = Some(0);
        for (first, last) in self.0.iter() {
            if let Some(start) = next.filter(|start| start < first) {
                gaps.push((start, first - 1));
            }
            next = last.checked_add(1);
        }
        gaps.extend(next.filter(|start| *start <= highest(family)).map(|start| (start, highest(family))));
        AddressSet(Arc::new(gaps))
    }

    /// Returns the addresses of this set that are not in the other set.
    pub(crate) fn without(&self, other: &AddressSet, family: Family) -> AddressSet {
        match other {
            _ if other.is_empty() => self.clone(),
            _ if Arc::ptr_eq(&self.0, &other.0) => AddressSet::default(),
            _ => self.and(&other.complement(family)),
        }
    }

    pub(crate) fn remove(&mut self, other: &AddressSet, family: Family) {
        if Arc::ptr_eq(&self.0, &other.0) {
            *self = AddressSet::default();
            return;
        }
        let [(first, last)] = other.0[..] else {
            *self = self.without(other, family);
            return;
        };
        let ranges = Arc::make_mut(&mut self.0);
        let from = ranges.partition_point(|(_, end)| *end < first);
        let to = ranges.partition_point(|(start, _)| *start <= last).max(from);
        let left = |(start, end): &(u128, u128)| {
            let before = (*start < first).then(|| (*start, first - 1));
            before.into_iter().chain((*end > last).then(|| (last + 1, *end))).collect::<Vec<_>>()
        };
        let pieces: Vec<_> = ranges[from..to].iter().flat_map(left).collect();
        ranges.splice(from..to, pieces);
    }

    /// Returns the set with every hole of at most [`SMALL_HOLE`] addresses filled. Two snapshots are compared in this
    /// form. One more banned address is then not reported as a change.
    pub(crate) fn without_small_holes(&self) -> AddressSet {
        let mut filled: Vec<(u128, u128)> = Vec::with_capacity(self.len());
        for &(first, last) in self.0.iter() {
            match filled.last_mut() {
                Some((_, end)) if first - *end <= SMALL_HOLE + 1 => *end = last,
                _ => filled.push((first, last)),
            }
        }
        AddressSet(Arc::new(filled))
    }

    /// Returns a similar set that has fewer networks. A small hole between two large ranges is filled. A range is
    /// extended to a whole network if this adds few addresses.
    pub(crate) fn rounded(&self) -> AddressSet {
        let size = |(first, last): (u128, u128)| (last - first).saturating_add(1);
        let mut filled: Vec<(u128, u128)> = Vec::new();
        for &range in self.0.iter() {
            match filled.last_mut() {
                Some(before) if range.0 - before.1 <= size(*before).saturating_add(size(range)) / HOLE => {
                    before.1 = range.1;
                }
                _ => filled.push(range),
            }
        }
        let network = |range: (u128, u128)| {
            let host = u128::MAX.checked_shr((range.0 ^ range.1).leading_zeros()).unwrap_or(0);
            let network = (range.0 & !host, range.1 | host);
            if size(network) - size(range) <= size(range) / HOLE { network } else { range }
        };
        AddressSet::of(filled.into_iter().map(network).collect())
    }

    pub(crate) fn of_network(network: Network) -> AddressSet {
        let (first, last) = network.bounds();
        AddressSet(Arc::new(vec![(number(first), number(last))]))
    }

    pub(crate) fn push_to(&self, ranges: &mut Vec<(u128, u128)>) {
        ranges.extend_from_slice(&self.0);
    }

    pub(crate) fn add(&mut self, other: &AddressSet) {
        if other.is_empty() || Arc::ptr_eq(&self.0, &other.0) {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        if let [(first, last)] = other.0[..] {
            // For a single range, an insertion is faster than sorting all ranges. Rules can add ten thousand single
            // addresses.
            let ranges = Arc::make_mut(&mut self.0);
            let from = ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
            let to = ranges.partition_point(|(start, _)| *start <= last.saturating_add(1)).max(from);
            let merged = ranges[from..to]
                .iter()
                .fold((first, last), |(first, last), (start, end)| (first.min(*start), last.max(*end)));
            ranges.splice(from..to, [merged]);
            return;
        }
        let all = self.0.iter().chain(other.0.iter()).copied().collect();
        *self = AddressSet::of(all);
    }

    /// Returns the first `most` networks of the set, and the number of all its networks. Counting stops at `most` plus
    /// one.
    pub(crate) fn networks(&self, family: Family, most: usize) -> (Vec<Network>, usize) {
        let bits: u32 = if family == Family::Ipv4 { 32 } else { 128 };
        let (mut networks, mut count) = (Vec::new(), 0);
        for (first, last) in self.0.iter() {
            let mut next = Some(*first);
            while let Some(start) = next.filter(|start| start <= last) {
                // Two things limit the size of the block that starts here: the alignment of its address, and the number
                // of remaining addresses.
                let aligned = start.trailing_zeros().min(bits);
                let left = last - start;
                let fits = if left == u128::MAX { 128 } else { (left + 1).ilog2() };
                let size = aligned.min(fits);
                count += 1;
                if networks.len() < most {
                    networks.extend(network(start, family, bits - size));
                } else if count > most {
                    return (networks, count);
                }
                next =
                    start.checked_add(1_u128.checked_shl(size).unwrap_or(0)).filter(|after| *after > start);
            }
        }
        (networks, count)
    }
}

fn network(address: u128, family: Family, prefix: u32) -> Option<Network> {
    let address: IpAddr = match family {
        Family::Ipv4 => Ipv4Addr::from_bits(u32::try_from(address).ok()?).into(),
        Family::Ipv6 => Ipv6Addr::from_bits(address).into(),
    };
    Network::new(address, u8::try_from(prefix).ok()?).map(Network::unmapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_holes() {
        let holes = set(&[(0, 9), (11, 20), (29, 40), (50, 60)]);
        assert_eq!(holes.without_small_holes(), set(&[(0, 40), (50, 60)]));
        assert_eq!(AddressSet::default().without_small_holes(), AddressSet::default());
    }

    fn set(ranges: &[(u128, u128)]) -> AddressSet {
        AddressSet::of(ranges.to_vec())
    }

    #[test]
    fn sets_of_addresses() {
        let all = u128::from(u32::MAX);
        for (name, found, wanted) in [
            ("merged", set(&[(5, 9), (1, 4), (11, 12), (6, 7)]), set(&[(1, 9), (11, 12)])),
            (
                "both",
                set(&[(1, 9), (20, 30)]).and(&set(&[(0, 2), (8, 21), (25, 25)])),
                set(&[(1, 2), (8, 9), (20, 21), (25, 25)]),
            ),
            ("the rest", set(&[(1, 9)]).complement(Family::Ipv4), set(&[(0, 0), (10, all)])),
            ("nothing is left", AddressSet::all(Family::Ipv4).complement(Family::Ipv4), set(&[])),
            ("all", set(&[]).complement(Family::Ipv6), AddressSet::all(Family::Ipv6)),
            ("without", set(&[(1, 9)]).without(&set(&[(3, 4)]), Family::Ipv6), set(&[(1, 2), (5, 9)])),
        ] {
            assert_eq!(found, wanted, "{name}");
        }
        for (name, one, added, removed) in [
            ("touching", (3, 3), &[(1, 3), (6, 9)][..], &[(1, 2), (6, 9)][..]),
            ("between", (4, 4), &[(1, 2), (4, 4), (6, 9)], &[(1, 2), (6, 9)]),
            ("across", (2, 7), &[(1, 9)], &[(1, 1), (8, 9)]),
            ("inside", (7, 8), &[(1, 2), (6, 9)], &[(1, 2), (6, 6), (9, 9)]),
            ("everything", (0, 99), &[(0, 99)], &[]),
            ("behind", (20, 30), &[(1, 2), (6, 9), (20, 30)], &[(1, 2), (6, 9)]),
        ] {
            let (mut sum, mut rest) = (set(&[(1, 2), (6, 9)]), set(&[(1, 2), (6, 9)]));
            sum.add(&set(&[one]));
            rest.remove(&set(&[one]), Family::Ipv4);
            assert_eq!((sum, rest), (set(added), set(removed)), "{name}");
        }
        assert_eq!(set(&[(1, 2), (4, 9)]).count(), 8);
    }

    #[test]
    fn addresses_in_both_of_two_long_sets() {
        let every =
            |step: u128, count: u128| set(&(0..count).map(|n| (n * step, n * step + 2)).collect::<Vec<_>>());
        for (one, other) in [((5, 100), (7, 70)), ((5, 1000), (301, 3)), ((5, 1000), (5, 1000))] {
            let (one, other) = (every(one.0, one.1), every(other.0, other.1));
            let has = |set: &AddressSet, address| {
                set.0.iter().any(|(first, last)| (*first..=*last).contains(&address))
            };
            let both: Vec<u128> = (0..5100).filter(|n| has(&one, *n) && has(&other, *n)).collect();
            let wanted = set(&both.into_iter().map(|n| (n, n)).collect::<Vec<_>>());
            assert_eq!(AddressSet::of(one.and(&other).0.to_vec()), wanted);
            assert_eq!(one.and(&other), other.and(&one));
        }
    }

    #[test]
    fn networks_of_a_set() {
        let text = |set: AddressSet, family, most| {
            let (networks, count) = set.networks(family, most);
            (networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), count)
        };
        let ten = number("10.0.0.0".parse().unwrap());
        let v4 = |ranges: &[(u128, u128)], most| text(set(ranges), Family::Ipv4, most);
        assert_eq!(v4(&[(ten, ten + 0xff_ffff)], 3), ("10.0.0.0/8".to_owned(), 1));
        assert_eq!(v4(&[(ten + 1, ten + 4)], 9), ("10.0.0.1 10.0.0.2/31 10.0.0.4".to_owned(), 3));
        assert_eq!(v4(&[(ten + 1, ten + 0xffff)], 1), ("10.0.0.1".to_owned(), 2));
        assert_eq!(text(AddressSet::all(Family::Ipv4), Family::Ipv4, 2), ("0.0.0.0/0".to_owned(), 1));
        assert_eq!(text(AddressSet::all(Family::Ipv6), Family::Ipv6, 2), ("::/0".to_owned(), 1));
    }
}
