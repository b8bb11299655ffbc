//! Combines all filters of a command line. An entry must match one value of each option, and nothing that `--not`
//! names.

use std::collections::HashSet;

use super::filter::{self, Filter};
use super::target::{self, OwnAddresses, Target, TargetKind};
use super::{Answer, Subject, conditions, foreign_options};
use crate::join::Entry;
use crate::model::{Exposure, Family, PortRange, Protocol, State};
use crate::registry::Registry;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypedFilters<'a> {
    pub(crate) targets: &'a [String],
    /// The filters that were used, each with its name and values.
    pub(crate) fields: &'a [(&'static str, Vec<String>)],
    pub(crate) not: &'a [String],
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) families: Vec<Family>,
    /// Whether to select the sockets without a port.
    pub(crate) raw: bool,
    pub(crate) reachable: bool,
    /// Whether connections are listed too. If so, a target matches either end of a connection.
    pub(crate) either_end: bool,
    pub(crate) foreign_options: foreign_options::ForeignOptions<'a>,
}

pub(crate) struct Selection {
    targets: Vec<Target>,
    groups: Vec<Vec<Filter>>,
    not: Vec<Filter>,
    /// The values of `--not` as typed, in the order of `not`.
    typed_not: Vec<String>,
    either_end: bool,
}

impl Selection {
    /// Parses the typed filters. The error is one line that names the option.
    pub(crate) fn new(asked: &TypedFilters<'_>, registry: &Registry) -> Result<Self, String> {
        foreign_options::refuse(&asked.foreign_options)?;
        foreign_options::refuse_bare_protocols(asked.targets)?;
        let targets = match foreign_options::ss_filter(asked.targets)? {
            Some(targets) => target::parse_all(&targets, registry)?,
            None => target::parse_all(asked.targets, registry)?,
        };
        let mut groups = vec![
            asked.protocols.iter().copied().map(Filter::Protocol).collect(),
            asked.families.iter().copied().map(Filter::Family).collect(),
            foreign_options::inet(asked.foreign_options.inet, registry)?,
            foreign_options::states(asked.foreign_options.states)?,
        ];
        for (name, values) in asked.fields {
            groups.push(values.iter().map(|value| filter::keyed(name, value)).collect::<Result<_, _>>()?);
        }
        if asked.raw {
            groups.push(vec![Filter::WithoutPort]);
        }
        if asked.reachable {
            groups.push(vec![Filter::Reachable]);
        }
        groups.retain(|group: &Vec<Filter>| !group.is_empty());
        let not = asked.not.iter().map(|text| filter::negated(text, registry)).collect::<Result<_, _>>()?;
        let typed_not = asked.not.to_vec();
        Ok(Selection { targets, groups, not, typed_not, either_end: asked.either_end })
    }

    /// Looks up the targets on this machine. A name may be the name of a network interface, and an address may be an
    /// address of this machine.
    pub(crate) fn resolve(&mut self, machine: &OwnAddresses<'_>) {
        self.targets.iter_mut().for_each(|target| target.resolve(machine));
        // `--not` with an address excludes only the sockets that are bound to this address. The sockets on the wildcard
        // address stay.
        let bound = OwnAddresses { has: &|_| false, ..*machine };
        for filter in &mut self.not {
            if let Filter::Target(target) = filter {
                target.resolve(&bound);
            }
        }
    }

    /// For each target with an address, selects only the sockets that are bound to this address. `kill` uses this,
    /// because it must not end listeners on the wildcard address.
    pub(crate) fn mean_bound_sockets(&mut self) {
        self.targets.iter_mut().for_each(Target::mean_bound_sockets);
    }

    /// Returns the values of `--not` that exclude no entry, as typed.
    pub(crate) fn unused_exclusions<'s>(&'s self, entries: &[Entry]) -> Vec<&'s str> {
        let excludes = |filter: &Filter| {
            entries.iter().any(|entry| !filter.test(&Subject::Entry(entry), self.either_end).is_no())
        };
        let unused = self.not.iter().zip(&self.typed_not).filter(|(filter, _)| !excludes(filter));
        unused.map(|(_, typed)| &**typed).collect()
    }

    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns whether there is no target, no exclusion and no narrow filter. Filters by protocol, by address family,
    /// and for sockets without a port are not narrow.
    pub(crate) fn is_everything(&self) -> bool {
        let is_broad =
            |filter: &Filter| matches!(filter, Filter::Protocol(_) | Filter::Family(_) | Filter::WithoutPort);
        self.targets.is_empty() && self.not.is_empty() && self.groups.iter().flatten().all(is_broad)
    }

    /// Returns whether the user gave a target, or a filter by program, process, user, unit or container. If nothing
    /// matches, the user may have misspelt a name.
    pub(crate) fn names_listeners(&self) -> bool {
        let names = ["process", "pid", "user", "unit", "container"];
        let is_name = |filter: &Filter| names.iter().any(|name| filter.value(name).is_some());
        !self.targets.is_empty() || self.groups.iter().flatten().any(is_name)
    }

    /// Returns whether an entry, or an address without a listener, matches. Adds the indices of the matching targets to
    /// `matched`.
    pub(crate) fn test(&self, subject: &Subject<'_>, matched: &mut HashSet<usize>) -> Answer {
        self.test_targets(subject, matched, |_| true)
    }

    /// Returns whether an entry matches. Only the targets that name ports by number count.
    pub(crate) fn test_numbers(&self, entry: &Entry, matched: &mut HashSet<usize>) -> Answer {
        self.test_targets(&Subject::Entry(entry), matched, |target| target.ports().is_some())
    }

    fn test_targets(
        &self,
        subject: &Subject<'_>,
        matched: &mut HashSet<usize>,
        counts: fn(&Target) -> bool,
    ) -> Answer {
        let wanted = self.test_filters(subject, self.groups.iter());
        if self.targets.is_empty() {
            return wanted;
        }
        let mut any = Answer::No;
        // Every target is tested even after a match, so that targets without a match can be reported.
        for (index, target) in self.targets.iter().enumerate().filter(|(_, target)| counts(target)) {
            let answer = target.test(subject, self.either_end);
            if answer.is_yes() {
                matched.insert(index);
            }
            any = any.or(answer);
        }
        wanted.and(any)
    }

    /// Returns whether a subject matches at least one filter of each group, and nothing that `--not` names.
    fn test_filters<'s>(
        &'s self,
        subject: &Subject<'_>,
        groups: impl Iterator<Item = &'s Vec<Filter>>,
    ) -> Answer {
        let any = |filters: &[Filter]| {
            Answer::any(filters.iter().map(|filter| filter.test(subject, self.either_end)))
        };
        Answer::all(groups.map(|group| any(group))).and(!any(&self.not))
    }

    /// Returns whether an entry matches all filters, and prevents a program from binding a port of at least one target.
    /// If so, adds the indices of these targets to `matched`.
    pub(crate) fn blocks_target(&self, entry: &Entry, matched: &mut HashSet<usize>) -> Answer {
        let subject = Subject::Entry(entry);
        let only_family = |group: &Vec<Filter>| match group[..] {
            [Filter::Family(family)] => Some(family),
            _ => None,
        };
        let family = self.groups.iter().find_map(only_family);
        let others = self.groups.iter().filter(|group| only_family(group).is_none());
        let wanted = self.test_filters(&subject, others);
        let targets = self.targets.iter().enumerate();
        let taken: Vec<usize> = targets
            .filter(|(_, target)| target.names_ports() && target.is_taken_by(&entry.socket, family))
            .map(|(index, _)| index)
            .collect();
        let answer = wanted.and(Answer::of(!taken.is_empty()));
        if answer.is_yes() {
            matched.extend(taken);
        }
        answer
    }

    /// Returns whether the answer depends on the probable owners of hidden sockets.
    pub(crate) fn uses_probable_owners(&self) -> bool {
        self.targets.iter().any(Target::is_name)
            || self.groups.iter().flatten().any(|filter| matches!(filter, Filter::Reachable))
    }

    pub(crate) fn names_numbers(&self) -> bool {
        self.targets.iter().any(|target| target.ports().is_some())
    }

    /// Returns the ports that can match; `None` means any port.
    pub(crate) fn ports(&self) -> Option<Vec<PortRange>> {
        if self.either_end {
            return None;
        }
        let of_targets = self.targets.iter().map(Target::ports).collect::<Option<Vec<_>>>();
        if let Some(ports) = of_targets.filter(|ports| !ports.is_empty()) {
            return Some(ports.concat());
        }
        let mut of_groups =
            self.groups.iter().map(|group| group.iter().map(Filter::ports).collect::<Option<Vec<_>>>());
        of_groups.find_map(|ports| ports).map(|ports| ports.concat())
    }

    pub(crate) fn needs_details(&self) -> bool {
        self.filters().any(|filter| matches!(filter, Filter::Field { field, .. } if field.details))
    }

    /// Returns the values of an option, including those of `--not`.
    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.filters().filter_map(move |filter| filter.value(name))
    }

    /// Returns the number of reachable listeners that the filter by exposure excludes, but no other filter does. For
    /// example, a filter for public addresses excludes listeners on the wildcard address, although clients with public
    /// addresses reach them.
    pub(crate) fn also_reachable(&self, entries: &[Entry]) -> usize {
        let classes = |group: &[Filter]| -> Vec<String> {
            group.iter().filter_map(|filter| filter.value("exposure")).map(str::to_lowercase).collect()
        };
        let asked: Vec<String> = self.groups.iter().flat_map(|group| classes(group)).collect();
        let is_asked = |exposure: &Exposure| asked.iter().any(|asked| asked == exposure.name());
        if !Exposure::ALL.iter().any(|class| class.is_reachable_from_outside() && is_asked(class)) {
            return 0;
        }
        let is_left_out = |entry: &&Entry| {
            let subject = Subject::Entry(entry);
            let test = |filter: &Filter| filter.test(&subject, self.either_end).is_yes();
            let of_targets = |target: &Target| target.test(&subject, self.either_end).is_yes();
            !is_asked(&entry.exposure)
                && conditions::may_be_reachable(&subject).is_yes()
                && !self.not.iter().any(test)
                && self
                    .groups
                    .iter()
                    .filter(|group| classes(group).is_empty())
                    .all(|group| group.iter().any(test))
                && (self.targets.is_empty() || self.targets.iter().any(of_targets))
        };
        entries.iter().filter(is_left_out).count()
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = State> {
        let state = |filter: &Filter| {
            let typed = match filter {
                Filter::WithoutPort => return Some(State::Raw),
                filter => filter.value("state")?,
            };
            State::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(typed))
        };
        self.groups.iter().flatten().filter_map(state)
    }

    /// Returns a message for each target that matched nothing, but is a known name or port 0: `ssh: nothing found
    /// (searched: tcp/22)`.
    pub(crate) fn searched(&self, matched: &HashSet<usize>) -> Vec<String> {
        self.unmatched(matched)
            .filter_map(|target| match &target.kind {
                TargetKind::Name(name) if name.is_known() => {
                    Some(format!("{}: {}", name.name, name.searched()))
                }
                TargetKind::Ports(ports) if ports.iter().all(|range| range.high == 0) => Some(format!(
                    "{}: no socket can have this port; a program that requests port 0 gets a free port from the kernel",
                    target.text
                )),
                _ => None,
            })
            .collect()
    }

    /// Returns the targets that matched nothing and are unknown names. A name is left out if `is_running` returns true
    /// for it.
    pub(crate) fn unknown_names(
        &self,
        matched: &HashSet<usize>,
        is_running: impl Fn(&str) -> bool,
    ) -> Vec<&str> {
        self.unmatched(matched)
            .filter_map(|target| match &target.kind {
                TargetKind::Name(name) if !name.is_known() => Some(&*name.name),
                _ => None,
            })
            .filter(|name| !is_running(name))
            .collect()
    }

    /// Returns a message for each target that matched nothing because this machine does not have its address.
    pub(crate) fn foreign_addresses(&self, matched: &HashSet<usize>) -> Vec<String> {
        self.unmatched(matched)
            .filter(|target| {
                matches!(&target.kind, TargetKind::Address(address) if address.is_own == Some(false))
            })
            .map(|target| format!("{}: this machine does not have this address", target.text))
            .collect()
    }

    fn unmatched(&self, matched: &HashSet<usize>) -> impl Iterator<Item = &Target> {
        let unmatched = self.targets.iter().enumerate().filter(|(index, _)| !matched.contains(index));
        unmatched.map(|(_, target)| target)
    }

    /// Returns the port if the user gave a single port as the only target, and no filter.
    pub(crate) fn only_port(&self) -> Option<u16> {
        let [Target { kind: TargetKind::Ports(ports), protocol: None, .. }] = &self.targets[..] else {
            return None;
        };
        let [range] = ports[..] else { return None };
        (range.low == range.high && self.filters().next().is_none()).then_some(range.low)
    }

    fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.groups.iter().flatten().chain(&self.not)
    }
}
