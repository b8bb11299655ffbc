//! Which programs usually serve which ports, and which are known to serve what is guarded.
//!
//! The lists lie in `data/` (`programs.tsv`, `guarded.tsv`, `holders.tsv`, `interpreters.tsv`, `sockets.tsv`);
//! they are read when the first process is asked about, never for a verdict on a port. This file refuses to judge:
//! what a process is taken for is told in `identity.rs`.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::identity::stem;
use super::row::ports;
use crate::model::{PortRange, Protocol};

/// How a process is known to be a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Match {
    /// By its name, or its file's cut to the length of one.
    Comm,
    /// By its file's whole name.
    Exe(&'static str),
    /// An interpreter, by this text in its command line.
    Arg(&'static str),
}

/// A row of `programs.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// Its name, as the kernel cuts it.
    pub name: &'static str,
    /// What it is.
    pub product: &'static str,
    /// Whether it commonly serves any port.
    pub any_port: bool,
    pub(super) matches: Match,
    ports: &'static str,
}

impl Program {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let name = fields.next()?;
        let matches = match fields.next()?.split_once('=') {
            None => Match::Comm,
            Some(("exe", file)) => Match::Exe(file),
            Some(("arg", text)) => Match::Arg(text),
            Some(_) => return None,
        };
        let (product, ports) = (fields.next()?, fields.next()?);
        let any_port = fields.nth(1)? == "yes";
        Some(Program { name, product, any_port, matches, ports })
    }

    /// Whether the port is one of its own.
    #[must_use]
    pub fn serves(&self, port: u16, protocol: Protocol) -> bool {
        lists(self.ports, port, protocol)
    }

    /// Its own ports.
    pub fn ports(&self) -> impl Iterator<Item = (PortRange, Protocol)> + use<> {
        pairs(self.ports)
    }

    /// The text that tells it apart: of its file or its command line, else its name.
    #[must_use]
    pub const fn mark(&self) -> &'static str {
        match self.matches {
            Match::Comm => self.name,
            Match::Exe(text) | Match::Arg(text) => text,
        }
    }

    /// The name to show: of what an interpreter runs, its text.
    pub(super) fn shown(&self) -> &'static str {
        match self.matches {
            Match::Arg(text) => text.trim_start_matches(['-', '/']),
            Match::Comm | Match::Exe(_) => self.name,
        }
    }
}

/// `tcp/22,udp/60000-61000`.
pub(super) fn pairs(text: &'static str) -> impl Iterator<Item = (PortRange, Protocol)> {
    text.split(',').filter_map(|pair| {
        let (protocol, range) = pair.split_once('/')?;
        Some((ports(range)?, protocol.parse().ok()?))
    })
}

fn lists(text: &'static str, port: u16, protocol: Protocol) -> bool {
    pairs(text).any(|(range, p)| p == protocol.registered_as() && range.contains(port))
}

/// A row of `guarded.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The service.
    pub service: &'static str,
    /// Why a stranger there is suspicious.
    pub why: &'static str,
    pub(super) ports: &'static str,
    programs: &'static str,
    pub(super) interpreters_only: bool,
}

impl Guarded {
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Guarded {
            service: fields.next()?,
            ports: fields.next()?,
            programs: fields.next()?,
            interpreters_only: match fields.next()? {
                "anything" => false,
                "interpreters" => true,
                _ => return None,
            },
            why: fields.next()?,
        })
    }

    /// The programs known to serve it.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.programs.split(',')
    }
}

impl Program {
    pub(super) const fn is_arg(&self) -> bool {
        matches!(self.matches, Match::Arg(_))
    }
}

/// The lists, read once.
pub(super) struct Lists {
    /// By the name they are looked up under: a kernel's name or a file's.
    pub(super) by_name: HashMap<&'static str, Vec<Program>>,
    pub(super) args: Vec<Program>,
    /// Every program, a row for each of its ranges.
    on_port: Vec<(PortRange, Protocol, Program)>,
    guarded: Vec<Guarded>,
    pub(super) holders: Vec<&'static str>,
    /// Interpreter, and the beginning of the names of its files.
    pub(super) interpreters: Vec<(&'static str, &'static str)>,
}

fn body(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Every row of `programs.tsv`, in its order.
pub fn programs() -> impl Iterator<Item = Program> {
    body(include_str!("data/programs.tsv")).filter_map(Program::parse)
}

pub(super) fn lists_of() -> &'static Lists {
    static LISTS: OnceLock<Lists> = OnceLock::new();
    LISTS.get_or_init(|| {
        let mut by_name: HashMap<&'static str, Vec<Program>> = HashMap::with_capacity(2048);
        let mut args = Vec::new();
        for program in programs() {
            match program.matches {
                Match::Comm => by_name.entry(program.name).or_default().push(program),
                Match::Exe(file) => {
                    by_name.entry(program.name).or_default().push(program);
                    if file != program.name {
                        by_name.entry(file).or_default().push(program);
                    }
                }
                Match::Arg(_) => args.push(program),
            }
        }
        let first = |line: &'static str| line.split('\t').next();
        let interpreters = body(include_str!("data/interpreters.tsv")).flat_map(|line| {
            let mut fields = line.split('\t');
            let (name, patterns) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            patterns.split('|').map(move |pattern| {
                let fixed = pattern.split(['[', '?', '*']).next().unwrap_or_default();
                (name, stem(fixed))
            })
        });
        Lists {
            by_name,
            args,
            on_port: programs()
                .flat_map(|program| program.ports().map(move |(range, protocol)| (range, protocol, program)))
                .collect(),
            guarded: body(include_str!("data/guarded.tsv")).filter_map(Guarded::parse).collect(),
            holders: body(include_str!("data/holders.tsv")).filter_map(first).collect(),
            interpreters: interpreters.collect(),
        }
    })
}

/// The programs that serve a port as one of their own, those that serve few ports first.
#[must_use]
pub fn serving(port: u16, protocol: Protocol) -> Vec<Program> {
    let mut found: Vec<(u32, Program)> = lists_of()
        .on_port
        .iter()
        .filter(|(range, p, _)| *p == protocol.registered_as() && range.contains(port))
        .map(|(range, _, program)| (u32::from(range.high - range.low), *program))
        .collect();
    found.sort_by_key(|(width, _)| *width);
    found.into_iter().map(|(_, program)| program).collect()
}

/// The guarded services of a port.
pub fn guarded(port: u16, protocol: Protocol) -> impl Iterator<Item = Guarded> {
    lists_of().guarded.iter().filter(move |row| lists(row.ports, port, protocol)).copied()
}

/// The socket unit of Debian that gives this port to pid 1.
#[must_use]
pub fn socket_unit(port: u16, protocol: Protocol) -> Option<&'static str> {
    body(include_str!("data/sockets.tsv")).find_map(|line| {
        let mut fields = line.split('\t').skip(1);
        let (unit, at) = (fields.next()?, fields.next()?);
        lists(at, port, protocol).then_some(unit)
    })
}
