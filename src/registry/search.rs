//! Finds ports by the name of a program, by words of a description, or by a misspelt name.
//!
//! Every search reads the embedded texts once. An index would cost more than it saves, because searches are rare.

use super::Registry;
use super::programs::{self, ListedProgram};
use super::row::{CuratedRow, KnownUse, RegistryRow};
use super::services;
use crate::model::{PortRange, Protocol, SearchField, SearchHit};

const FEW: usize = 5;

struct Search<'t> {
    text: &'t str,
    words: Vec<&'t str>,
    hits: Vec<SearchHit>,
}

impl<'t> Search<'t> {
    fn new(text: &'t str) -> Self {
        Search { text: text.trim(), words: text.split_whitespace().collect(), hits: Vec::new() }
    }

    /// Returns the field that matches best, and its rank. `None` if a word of the search is in no field.
    ///
    /// Earlier fields rank first. There is one exception. If a field contains only some of the words, and one of the
    /// next three fields contains all of them, the field with all words ranks first.
    fn best(
        &self,
        fields: &[(SearchField, Option<&'static str>)],
    ) -> Option<(u16, SearchField, &'static str)> {
        let given = || fields.iter().filter_map(|(field, text)| Some((*field, (*text)?)));
        let is_found = |word: &&str| given().any(|(_, text)| has_word(text, word));
        if self.words.is_empty() || !self.words.iter().all(is_found) {
            return None;
        }
        let rank = |(field, text): (SearchField, &'static str)| {
            let found = self.words.iter().filter(|word| has_word(text, word)).count();
            let how = match found {
                0 => return None,
                _ if text.eq_ignore_ascii_case(self.text) => 0,
                _ if has_word(text, self.text) => 2,
                all if all == self.words.len() => 5,
                _ => 40,
            };
            Some((10 * field as u16 + how, field, text))
        };
        given().filter_map(rank).min()
    }

    fn add(
        &mut self,
        fields: &[(SearchField, Option<&'static str>)],
        further: u16,
        places: impl Iterator<Item = (PortRange, Protocol)>,
    ) {
        if let Some((rank, field, text)) = self.best(fields) {
            // The first port of a service is its main port.
            let hits = (0..).zip(places).map(|(at, (ports, protocol))| {
                let rank = rank + further + u16::from(at > 0);
                SearchHit { ports, protocol, field, text, rank }
            });
            self.hits.extend(hits);
        }
    }

    /// Returns the best hit of each port and protocol, the best first.
    fn finish(mut self) -> Vec<SearchHit> {
        let place = |hit: &SearchHit| (hit.ports, hit.protocol);
        self.hits.sort_by_key(|hit| (place(hit), hit.rank));
        self.hits.dedup_by_key(|hit| place(hit));
        self.hits.sort_by_key(|hit| (hit.rank, place(hit)));
        self.hits
    }
}

impl Registry {
    /// Returns the ports that match all words of `text`, the best first. The search covers registrations, curated rows,
    /// known uses, malware, programs and common services.
    #[must_use]
    pub fn search(&self, text: &str) -> Vec<SearchHit> {
        let mut search = Search::new(text);
        for row in self.rows.lines().chain(self.ranges.lines()).filter_map(RegistryRow::parse) {
            let fields = [
                (SearchField::Service, row.service),
                (SearchField::Description, row.description),
                (SearchField::Assignee, row.assignee),
            ];
            if row.service.is_some() {
                search.add(&fields, 0, row.protocols().map(|protocol| (row.ports, protocol)));
            }
        }
        let dead = self.dead.lines().filter_map(CuratedRow::dead);
        for row in dead.chain(self.live.lines().filter_map(CuratedRow::live)) {
            let fields = [
                (SearchField::Product, Some(row.curated.product)),
                (SearchField::KnownUse, row.curated.now_used_by),
            ];
            if search.best(&fields).is_some() {
                // A newer registry may have removed the registration of a row. Such a row is left out.
                let is_registered = |protocol: &Protocol| {
                    let verdict = self.verdict(row.ports.low, *protocol);
                    verdict.assignments.iter().any(|a| a.service == row.service)
                };
                let protocols = row.protocols.split('+').filter_map(|name| name.parse().ok());
                let places = protocols.filter(is_registered).map(|protocol| (row.ports, protocol));
                search.add(&fields, 0, places.collect::<Vec<_>>().into_iter());
            }
        }
        for known in self.known_uses.lines().filter_map(KnownUse::parse) {
            let fields = [(SearchField::KnownUse, known.text), (SearchField::Malware, known.abused_by)];
            search.add(&fields, 0, std::iter::once((PortRange::single(known.port), known.protocol)));
        }
        for program in programs::programs() {
            search.add(&[(SearchField::Program, Some(program.product))], 0, program.ports());
        }
        for (service, places) in services::with_ports() {
            let name = if service.is_malware() { SearchField::Malware } else { SearchField::Name };
            let fields = [(name, Some(service.name)), (SearchField::Sentence, Some(service.what))];
            search.add(&fields, service.how_common.into(), places);
        }
        search.finish()
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

    /// Returns the names of services and programs that are similar to an unknown name, the most similar first.
    #[must_use]
    pub fn near(&self, name: &str) -> Vec<&'static str> {
        let services =
            self.rows.lines().chain(self.ranges.lines()).filter_map(|line| line.split('\t').nth(2));
        // A name that the kernel has cut is left out, because users do not type it.
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

/// Returns the programs that have this process name, this file name, or this text in the command line; case is ignored.
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

/// Returns whether a word of `text` begins with `word`, ignoring case. If `word` has at most three letters, it must be
/// equal to a word of `text`.
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

/// Returns whether two names begin with the same letter, or with the same two letters swapped. This fast check excludes
/// most names. A typing error is rarely in the first letter.
fn begins_alike(a: &str, b: &str) -> bool {
    let first_two = |text: &str| {
        let mut letters = text.chars().map(|c| c.to_ascii_lowercase());
        (letters.next(), letters.next())
    };
    let (a, b) = (first_two(a), first_two(b));
    a.0 == b.0 || (a.0 == b.1 && a.1 == b.0)
}

/// Returns how many changes turn one name into the other. A change adds, removes or replaces a letter, or swaps it with
/// the next. `None` if there are more than `most` changes.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let distance = strsim::osa_distance(&a.to_ascii_lowercase(), &b.to_ascii_lowercase());
    Some(distance).filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found() {
        let registry = Registry::embedded();
        for (text, port, field) in [
            ("kazaa", 1214, SearchField::Service),
            ("postgres", 5432, SearchField::Name),
            ("prometheus", 9090, SearchField::Name),
            ("remote desktop", 3389, SearchField::KnownUse),
            ("AirMobile", 3416, SearchField::Description),
            ("command port AirMobile", 3416, SearchField::Description),
            ("Secure Shell", 22, SearchField::Description),
            ("Mike Klein", 3416, SearchField::Assignee),
            ("back orifice", 31337, SearchField::Malware),
            ("NetBus", 12345, SearchField::Malware),
        ] {
            let hits = registry.search(text);
            let hit = hits.iter().find(|hit| hit.ports == PortRange::single(port));
            assert!(hit.is_some(), "{text}: {hits:?}");
            let first = hits.iter().take(4).find(|hit| hit.ports == PortRange::single(port));
            assert!(first.is_some() || text == "Secure Shell", "{text}: {hits:?}");
            if field != SearchField::Name {
                assert!(hits.iter().any(|hit| hit.ports == PortRange::single(port)), "{text}: {field:?}");
            }
            assert!(hits.is_sorted_by_key(|hit| hit.rank), "{text}");
        }
        for text in ["", "  ", "qqqqqq", "ostgres"] {
            assert_eq!(registry.search(text), [], "{text:?}");
        }
        assert_eq!(registry.search("AirMobile qqqqqq"), []);
    }

    #[test]
    fn the_most_important_text_comes_first() {
        let best = |text: &str, fields: &[(SearchField, Option<&'static str>)]| {
            Search::new(text).best(fields).map(|(_, field, _)| field)
        };
        let fields = [
            (SearchField::Name, Some("Windows Remote Desktop")),
            (SearchField::Sentence, Some("Desktop of a remote computer.")),
        ];
        assert_eq!(best("remote desktop", &fields), Some(SearchField::Name));
        assert_eq!(best("computer", &fields), Some(SearchField::Sentence));
        assert_eq!(best("windows computer", &fields), Some(SearchField::Name));
        assert_eq!(best("windows printer", &fields), None);
        let rank = |text: &str| Search::new(text).best(&fields[..1]).unwrap().0;
        assert!(rank("windows remote desktop") < rank("remote desktop"));
        assert!(rank("remote desktop") < rank("desktop windows"));
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
