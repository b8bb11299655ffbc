//! Finds ports by common names: the name of a program, words of a description, or a misspelt name.
//!
//! Every search is one pass over the embedded texts; an index would cost more than it saves for such rare queries. An
//! exact name is never mixed with similar names.

use super::Registry;
use super::programs::{self, ListedProgram};
use super::row::{CuratedRow, KnownUse, RegistryRow};
use super::services;
use crate::model::{PortRange, Protocol};

/// The maximum number of suggestions.
const FEW: usize = 5;

impl Registry {
    /// Returns the ports that match all words of `text`, in ascending order. The search covers the name and
    /// description of a service, the product of a curated row, a known use, the product of a program, and the name
    /// and sentence of a common service.
    #[must_use]
    pub fn search(&self, text: &str) -> Vec<(PortRange, Protocol)> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mentions = |fields: &[Option<&str>]| {
            !words.is_empty()
                && words.iter().all(|word| fields.iter().flatten().any(|field| has_word(field, word)))
        };
        let mut found: Vec<(PortRange, Protocol)> = Vec::new();
        for row in self.rows.lines().chain(self.ranges.lines()).filter_map(RegistryRow::parse) {
            if row.service.is_some() && mentions(&[row.service, row.description]) {
                found.extend(row.protocols().map(|protocol| (row.ports, protocol)));
            }
        }
        let dead = self.dead.lines().filter_map(CuratedRow::dead);
        for row in dead.chain(self.live.lines().filter_map(CuratedRow::live)) {
            if mentions(&[Some(row.curated.product), row.curated.now_used_by]) {
                let protocols = row.protocols.split('+').filter_map(|name| name.parse().ok());
                // Only existing registrations count: a newer registry may have removed some.
                let of = |protocol: &Protocol| {
                    self.verdict(row.ports.low, *protocol)
                        .assignments
                        .iter()
                        .any(|a| a.service == row.service)
                };
                found.extend(protocols.filter(of).map(|protocol| (row.ports, protocol)));
            }
        }
        for known in self.known_uses.lines().filter_map(KnownUse::parse) {
            if mentions(&[known.text]) {
                found.push((PortRange::single(known.port), known.protocol));
            }
        }
        for program in programs::programs().filter(|program| mentions(&[Some(program.product)])) {
            found.extend(program.ports());
        }
        found.extend(services::ports_of(|service| mentions(&[Some(service.name), Some(service.what)])));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the names of registered services that begin with `text`, in alphabetical order.
    #[must_use]
    pub fn beginning(&self, text: &str) -> Vec<&'static str> {
        let names = self.rows.lines().chain(self.ranges.lines()).filter_map(|line| line.split('\t').nth(2));
        let mut names: Vec<&str> = names.filter(|name| !name.is_empty() && name.starts_with(text)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the names of services and programs similar to an unknown name, the most similar first.
    #[must_use]
    pub fn near(&self, name: &str) -> Vec<&'static str> {
        let services =
            self.rows.lines().chain(self.ranges.lines()).filter_map(|line| line.split('\t').nth(2));
        // A name that the kernel cut is not a name that anybody would type.
        let programs = programs::programs().filter(|program| !program.is_cut()).map(|program| program.name);
        let most = match name.chars().count() {
            0..=2 => return Vec::new(),
            3..=7 => 1,
            _ => 2,
        };
        let mut near: Vec<(usize, &str)> = services
            .chain(programs)
            .filter(|known| !known.is_empty() && known.len().abs_diff(name.len()) <= most)
            .filter(|known| begins_alike(known, name))
            .filter_map(|known| Some((distance(known, name, most)?, known)))
            .collect();
        near.sort_unstable();
        near.dedup_by(|a, b| a.1.eq_ignore_ascii_case(b.1));
        near.into_iter().take(FEW).map(|(_, known)| known).collect()
    }
}

/// Returns the programs with this name, this file or this text in a command line; case is ignored.
#[must_use]
pub fn programs_called(name: &str) -> Vec<ListedProgram> {
    programs::programs()
        .filter(|program| {
            program.name.eq_ignore_ascii_case(name)
                || program.mark().eq_ignore_ascii_case(name)
                || (name.len() > 15
                    && name.get(..15).is_some_and(|cut| program.name.eq_ignore_ascii_case(cut)))
        })
        .collect()
}

/// Returns whether a word of `text` begins with `word`, ignoring case; a short `word` must be the whole word.
fn has_word(text: &str, word: &str) -> bool {
    const SHORT: usize = 3;
    if word.len() <= SHORT {
        return has_whole_word(text, word);
    }
    let (text, word) = (text.as_bytes(), word.as_bytes());
    text.windows(word.len()).enumerate().any(|(at, window)| {
        window.eq_ignore_ascii_case(word)
            && !at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Returns whether `text` contains `name` as a word, ignoring case: `l2tp` is a word of `L2TP (xl2tpd)`, but `http` is
/// not a word of `http-alt`.
pub(super) fn has_whole_word(text: &str, name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let (text, name) = (text.as_bytes(), name.as_bytes());
    !name.is_empty()
        && text.windows(name.len()).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(name)
                && !at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|&b| inside(b))
                && !text.get(at + name.len()).is_some_and(|&b| inside(b))
        })
}

/// Returns whether two names have the same first letter, or the first two letters swapped. A typing error is rarely
/// in the first letter, and this check skips most of the thousands of names.
fn begins_alike(a: &str, b: &str) -> bool {
    let first_two = |text: &str| {
        let mut letters = text.chars().map(|c| c.to_ascii_lowercase());
        (letters.next(), letters.next())
    };
    let (a, b) = (first_two(a), first_two(b));
    a.0 == b.0 || (a.0 == b.1 && a.1 == b.0)
}

/// Returns the number of letters that must be added, removed, changed or swapped with the next letter; `None` if
/// above `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        if row.iter().all(|cost| *cost > most) {
            return None;
        }
        rows.push(row);
    }
    Some(rows[a.len()][b.len()]).filter(|cost| *cost <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found() {
        let registry = Registry::embedded();
        let tcp = |port| (PortRange::single(port), Protocol::Tcp);
        for (text, port) in [
            ("kazaa", 1214),
            ("postgres", 5432),
            ("prometheus", 9090),
            ("grafana", 3000),
            ("AirMobile", 3416),
            ("command port AirMobile", 3416),
            ("Secure Shell", 22),
        ] {
            assert!(registry.search(text).contains(&tcp(port)), "{text}: {:?}", registry.search(text));
        }
        for text in ["", "  ", "qqqqqq", "ostgres"] {
            assert_eq!(registry.search(text), [], "{text:?}");
        }
        // Every word must occur.
        assert!(!registry.search("AirMobile qqqqqq").contains(&tcp(3416)));
        assert!(registry.search("postgres").is_sorted());
    }

    #[test]
    fn names_that_begin_so() {
        let registry = Registry::embedded();
        let names = registry.beginning("commandp");
        assert_eq!(names, ["commandport"]);
        let all = registry.beginning("");
        assert!(all.len() > 5000 && all.is_sorted_by(|a, b| a < b), "{}", all.len());
        assert!(all.iter().step_by(97).all(|name| registry.is_service(name)));
        assert_eq!(registry.beginning("qqq"), [""; 0]);
    }

    #[test]
    fn near_names_are_suggested() {
        let registry = Registry::embedded();
        for (name, near) in [("postgress", "postgres"), ("sshh", "ssh"), ("ngnix", "nginx"), ("htpt", "http")]
        {
            assert!(registry.near(name).contains(&near), "{name}: {:?}", registry.near(name));
            assert!(registry.near(name).len() <= FEW);
        }
        for name in ["", "x", "qqqqqqqq"] {
            assert_eq!(registry.near(name), [""; 0], "{name}");
        }
    }

    #[test]
    fn programs_are_found_by_name() {
        for (name, mark) in [
            ("postgres", "postgres"),
            ("NGINX", "nginx"),
            ("prometheus-node-exporter", "prometheus-node-exporter"),
            ("systemd-resolved", "systemd-resolve"),
            ("kafka.Kafka", "kafka.Kafka"),
        ] {
            assert!(programs_called(name).iter().any(|program| program.mark() == mark), "{name}");
        }
        assert!(programs_called("nosuch").is_empty());
    }

    #[test]
    fn distances() {
        for (a, b, most, cost) in [
            ("abc", "abc", 1, Some(0)),
            ("abc", "ABD", 1, Some(1)),
            ("abc", "acb", 1, Some(1)),
            ("abc", "abcd", 1, Some(1)),
            ("abc", "xyz", 2, None),
            ("", "ab", 2, Some(2)),
        ] {
            assert_eq!(distance(a, b, most), cost, "{a} {b}");
        }
    }

    #[test]
    fn whole_words() {
        for (text, name, named) in [
            ("L2TP (xl2tpd, strongSwan setups)", "l2tp", true),
            ("xl2tpd", "l2tp", false),
            ("served by http-alt", "http", false),
            ("http and others", "http", true),
            ("Grafana, Node.js", "hbci", false),
            ("an nfs", "nfs", true),
            ("nfs_4", "nfs", false),
            ("text", "", false),
            ("nfs", "longer-than-text", false),
        ] {
            assert_eq!(has_whole_word(text, name), named, "{text} {name}");
        }
    }
}
