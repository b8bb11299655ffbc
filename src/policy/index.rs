//! Which rules are worth asking for a listener: those of its port, those of its program, and those that name neither.

use std::collections::HashMap;

use jiff::civil::Date;

use super::matching::{self, Answer};
use super::{Allow, Ports, Program};
use crate::join::Entry;
use crate::model::{Owner, Snapshot};

/// A rule that names more ports than this is not looked up by port.
const FEW_PORTS: u32 = 64;

/// So many rules are looked at for the nearest, of each kind.
const NEAREST_OF: usize = 64;

/// The rules of a policy that are for this host, in its order, and by what they can be looked up.
#[derive(Default)]
pub(super) struct Index<'p> {
    rules: Vec<InForce<'p>>,
    /// Rules that name few ports.
    by_port: HashMap<u16, Vec<u32>>,
    /// Of the others, rules that name programs by their whole paths.
    by_program: HashMap<&'p str, Vec<u32>>,
    /// The same rules in the order of the policy, for listeners whose programs were not seen.
    programs: Vec<u32>,
    /// All other rules.
    wide: Vec<u32>,
    /// Whatever rules name a program by its whole path.
    of_program: HashMap<&'p str, Vec<u32>>,
}

/// A rule on this host, today.
pub(super) struct InForce<'p> {
    pub(super) rule: &'p Allow,
    /// Whether its host is this one, as far as was seen; never [`Answer::No`].
    pub(super) on_host: Answer,
    /// Whether it is over.
    pub(super) over: bool,
}

/// What a policy says of a listener.
pub(super) enum Said<'p> {
    /// This rule allows it.
    Allowed(&'p Allow),
    /// This is the first rule that may, as far as was seen; none surely does.
    Undecided(&'p Allow),
    /// No rule allows it.
    Refused {
        /// The rule that would, if it were not over.
        over: Option<&'p Allow>,
    },
}

impl<'p> Index<'p> {
    pub(super) fn new(rules: &'p [Allow], observation: &Snapshot, today: Date) -> Self {
        let mut index = Index::default();
        for rule in rules {
            let on_host = matching::on_host(&rule.hosts, observation.host.name.as_deref());
            if on_host == Answer::No {
                continue;
            }
            let Ok(number) = u32::try_from(index.rules.len()) else { break };
            index.rules.push(InForce { rule, on_host, over: matching::is_over(rule.expires, today) });
            let literal = |program: &'p Program| match program {
                Program::File(glob) => glob.literal(),
                Program::Kernel => None,
            };
            let mut paths: Vec<&str> = rule.executables.iter().filter_map(literal).collect();
            let all_literal = !paths.is_empty() && paths.len() == rule.executables.len();
            paths.sort_unstable();
            paths.dedup();
            for path in &paths {
                index.of_program.entry(path).or_default().push(number);
            }
            if let Some(ports) = few_ports(rule) {
                for port in ports {
                    index.by_port.entry(port).or_default().push(number);
                }
            } else if all_literal {
                index.programs.push(number);
                for path in paths {
                    index.by_program.entry(path).or_default().push(number);
                }
            } else {
                index.wide.push(number);
            }
        }
        index
    }

    /// The rules on this host, in the order of the policy.
    pub(super) fn rules(&self) -> &[InForce<'p>] {
        &self.rules
    }

    /// The rules that may hold for a listener, in the order of the policy.
    fn for_listener(&self, listener: &Entry) -> impl Iterator<Item = &InForce<'p>> {
        let of_port = self.by_port.get(&listener.socket.local.port).map(Vec::as_slice).unwrap_or_default();
        // Every holder's program must be among those of a rule, so the rules of any one of them will do.
        let program = listener.processes.iter().find_map(|process| process.exe.as_ref());
        let of_program = match program {
            Some(exe) => self.by_program.get(exe.path.as_str()).map(Vec::as_slice).unwrap_or_default(),
            None if listener.socket.owner == Owner::Kernel => &[],
            None => &self.programs,
        };
        let mut lists = [of_port, of_program, &self.wide];
        std::iter::from_fn(move || {
            let list = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let (first, rest) = list.split_first()?;
            *list = rest;
            self.rules.get(*first as usize)
        })
    }

    /// The first rule that holds decides.
    pub(super) fn decide(&self, listener: &Entry, observation: &Snapshot) -> Said<'p> {
        let (mut undecided, mut over) = (None, None);
        for InForce { rule, on_host, over: is_over } in self.for_listener(listener) {
            if (*is_over && over.is_some()) || (!is_over && *on_host == Answer::Maybe && undecided.is_some())
            {
                continue;
            }
            match matching::holds(rule, listener, observation).max(*on_host) {
                Answer::No => {}
                _ if *is_over => over = Some(*rule),
                Answer::Yes => return Said::Allowed(rule),
                Answer::Maybe => undecided = undecided.or(Some(*rule)),
            }
        }
        undecided.map_or(Said::Refused { over }, Said::Undecided)
    }

    /// The rule that fails to hold in the fewest conditions, of those for its port and for its programs; the first of
    /// several.
    pub(super) fn nearest(&self, listener: &Entry, observation: &Snapshot) -> Option<&'p Allow> {
        let port = listener.socket.local.port;
        let of_port = self.by_port.get(&port).into_iter().flat_map(|list| list.iter().take(NEAREST_OF));
        let of_program = listener.processes.iter().filter_map(|process| process.exe.as_ref());
        let of_program = of_program
            .filter_map(|exe| self.of_program.get(exe.path.as_str()))
            .flat_map(|list| list.iter().take(NEAREST_OF))
            .take(NEAREST_OF);
        let mut candidates: Vec<u32> =
            of_port.chain(of_program).chain(self.wide.iter().take(NEAREST_OF)).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut best: Option<(usize, &'p Allow)> = None;
        for number in candidates {
            let Some(InForce { rule, over: false, .. }) = self.rules.get(number as usize) else { continue };
            let enough = best.map_or(usize::MAX, |(least, _)| least);
            let distance = matching::distance(rule, listener, observation, enough);
            if distance < enough {
                best = Some((distance, rule));
            }
        }
        best.map(|(_, rule)| rule)
    }
}

/// The ports of a rule that names few.
fn few_ports(rule: &Allow) -> Option<Vec<u16>> {
    let count = |ports: &Ports| match ports {
        Ports::Range(range) => u32::from(range.high) - u32::from(range.low) + 1,
        Ports::Ephemeral => FEW_PORTS + 1,
    };
    if rule.ports.is_empty() || rule.ports.iter().map(count).sum::<u32>() > FEW_PORTS {
        return None;
    }
    let mut ports: Vec<u16> = rule.ranges().flat_map(|range| range.low..=range.high).collect();
    ports.sort_unstable();
    ports.dedup();
    Some(ports)
}
