//! Turns the expressions of a rule into conditions and actions. The kernel runs the expressions one after another
//! (linux/netfilter/nf_tables.h).

use super::attributes::{attributes, each, name, number, number_or_zero};
use super::conditions::{compared, in_elements, in_range, is};
use super::fields::{Context, Form, Part, of_connection, of_meta, of_packet, of_route};
use super::reader::{ReadRule, Reader, Table};
use super::registers::{Content, Mapping, Piece, Registers};
use super::sets::{Data, Key, fields, verdict};
use super::translation::{is_of_source, redirect, steering, translation};
use super::xt::{self, SOURCE_TARGETS};
use crate::model::Family;
use crate::model::firewall::{FilterAction, FilterCondition, FilterField, FilterValue};

const VERDICT: u32 = 0;

/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;

enum Effect {
    /// The expression does not affect the decision, or the reader has already stored its effect.
    Nothing,
    Action(FilterAction),
}

/// Returns the rules that a list of expressions defines; `None` if the list is malformed.
pub(super) fn read<'d>(expressions: &'d [u8], table: &mut Table<'d, '_>) -> Option<ReadRule<'d>> {
    let context = Context { family: table.family, protocol: None };
    let registers = Registers::default();
    let mut reader = Reader {
        table,
        registers,
        context,
        conditions: Vec::new(),
        comment: None,
        target: None,
        matches: Vec::new(),
    };
    let mut found = ReadRule::default();
    let mut list = each(expressions).peekable();
    while let Some(expression) = list.next() {
        let [_, kind, data] = attributes::<3>(expression?.1)?;
        let kind = name(kind)?;
        let data = data.unwrap_or_default();
        let Effect::Action(action) = reader.read(kind, data)? else { continue };
        if reader.changes_source(kind, data) {
            found.push(&reader.conditions, FilterAction::ChangeSource);
        }
        let ends = !matches!(
            action,
            FilterAction::Mark
                | FilterAction::Untrack
                | FilterAction::ChangeSource
                | FilterAction::Continue
                | FilterAction::Send { is_copy: true, .. }
        );
        // Expressions after a map of verdicts apply only to packets that the map does not contain. Portolan does not
        // evaluate this.
        let is_understood = list.peek().is_none() || !matches!(action, FilterAction::Lookup(..));
        let action = if is_understood { action } else { FilterAction::Unknown };
        found.push(&reader.conditions, action);
        if ends {
            break;
        }
    }
    // The rest of the rule is not evaluated. But it can send the packets to another interface.
    for expression in list {
        let [_, kind, data] = attributes::<3>(expression?.1)?;
        let effect = reader.read(name(kind)?, data.unwrap_or_default());
        if let Some(Effect::Action(action @ FilterAction::Send { .. })) = effect {
            found.push(&reader.conditions, action);
        }
    }
    let Reader { comment, target, matches, .. } = reader;
    Some(ReadRule { comment, target, matches, ..found })
}

/// Returns whether a list of expressions contains one of these kinds.
pub(super) fn has(expressions: &[u8], kinds: &[&[u8]]) -> bool {
    each(expressions).any(|expression| {
        let kind = expression.and_then(|(_, expression)| name(attributes::<2>(expression)?[1]));
        kind.is_some_and(|kind| kinds.contains(&kind))
    })
}

impl<'d> Reader<'d, '_, '_> {
    /// Returns the effect of an expression; `None` if the expression is malformed.
    fn read(&mut self, kind: &[u8], data: &'d [u8]) -> Option<Effect> {
        match kind {
            b"counter" | b"log" | b"last" | b"flow_offload" => {}
            b"dup" => return Some(Effect::Action(self.send(data, true)?)),
            b"fwd" => return Some(Effect::Action(self.send(data, false)?)),
            b"payload" => return self.payload(data),
            b"meta" => return self.meta(data),
            b"ct" => return self.connection(data),
            b"fib" => {
                let [_, register, result, flags] = attributes::<4>(data)?;
                let part = of_route(number(result)?, number_or_zero(flags));
                self.load(number(register)?, vec![part]);
            }
            b"cmp" => {
                let [_, register, operator, value] = attributes::<4>(data)?;
                let value = constant(value?)?;
                let pieces = self.registers.pieces(number(register)?, value.len());
                self.conditions(compared(&pieces, number(operator)?, value, self.table.links));
            }
            b"range" => {
                let [_, register, operator, from, to] = attributes::<5>(data)?;
                let (from, to) = (constant(from?)?, constant(to?)?);
                let pieces = self.registers.pieces(number(register)?, from.len());
                let condition = in_range(&pieces, number(operator)? != 0, from, to, self.table.links);
                self.conditions(vec![condition]);
            }
            b"bitwise" => {
                let [_, from, to, length, mask, flipped, operation] = attributes::<7>(data)?;
                let bits = match (number_or_zero(operation), mask, flipped) {
                    (0, Some(mask), Some(flipped)) => Some((constant(mask)?, constant(flipped)?)),
                    _ => None,
                };
                self.registers.mask(number(from)?, number(to)?, length_of(length)?, bits);
            }
            b"byteorder" => {
                let [_, from, to, _, length, size] = attributes::<6>(data)?;
                self.registers.turn(number(from)?, number(to)?, length_of(length)?, length_of(size)?);
            }
            b"immediate" => return self.immediate(data),
            b"lookup" => return self.lookup(data),
            b"dynset" => return self.change_of_set(data),
            b"limit" => {
                let [_, _, _, _, _, flags] = attributes::<6>(data)?;
                self.limit(number_or_zero(flags) & 1 != 0);
            }
            b"connlimit" => {
                let [_, _, flags] = attributes::<3>(data)?;
                self.limit(number_or_zero(flags) & 1 != 0);
            }
            b"quota" => self.conditions.push(FilterCondition::Unknown),
            b"objref" => return self.object(data),
            b"nat" => return Some(Effect::Action(translation(self, data)?)),
            b"redir" => return Some(Effect::Action(redirect(self, data)?)),
            b"tproxy" => return Some(Effect::Action(steering(self, data)?)),
            b"masq" => return Some(Effect::Action(FilterAction::Accept)),
            b"reject" => return Some(Effect::Action(FilterAction::Drop)),
            b"notrack" => return Some(Effect::Action(FilterAction::Untrack)),
            b"exthdr" => return self.option(data),
            b"rt" | b"socket" | b"osf" | b"tunnel" | b"xfrm" | b"numgen" | b"hash" => {
                self.unknown_load(kind, data)?;
            }
            b"match" => xt::matched(self, data)?,
            b"target" => return Some(Effect::Action(xt::target(self, data)?)),
            _ => return Some(Effect::Action(FilterAction::Unknown)),
        }
        Some(Effect::Nothing)
    }

    /// Returns whether an expression changes the source address of the packet.
    fn changes_source(&self, kind: &[u8], data: &[u8]) -> bool {
        match kind {
            b"masq" => true,
            b"nat" => is_of_source(data),
            b"target" => self.target.is_some_and(|target| SOURCE_TARGETS.contains(&target)),
            b"payload" => {
                let written = attributes::<5>(data).and_then(|[_, _, base, offset, length]| {
                    Some((number(base)?, number(offset)?, number(length)?))
                });
                let Some((NETWORK_HEADER, offset, length)) = written else { return false };
                let source = match self.context.family {
                    Some(Family::Ipv4) => 12..16,
                    Some(Family::Ipv6) => 8..24,
                    None if (offset, length) == (16, 4) => return false, // the destination of IPv4
                    None => 8..24,
                };
                offset < source.end && offset.saturating_add(length) > source.start
            }
            _ => false,
        }
    }

    /// Reads an expression that sends the packet or a copy of it to another interface (`NFTA_FWD_SREG_DEV`,
    /// `NFTA_DUP_SREG_DEV`).
    fn send(&self, data: &'d [u8], is_copy: bool) -> Option<FilterAction> {
        let [_, first, second] = attributes::<3>(data)?;
        let interface = if is_copy { second } else { first };
        let index = match interface {
            Some(_) => self.registers.constant(number(interface)?),
            None => None,
        };
        let index = index.and_then(|bytes| Some(u32::from_ne_bytes(*bytes.first_chunk()?)));
        let to = index.and_then(|index| self.table.links.get(&index).cloned());
        Some(FilterAction::Send { to, is_copy })
    }

    fn load(&mut self, register: u32, parts: Vec<Part>) {
        let length = parts.iter().map(|part| usize::from(part.len)).sum();
        self.registers.store(register, length, Some(Content::Packet { parts, mask: None }));
    }

    fn payload(&mut self, data: &'d [u8]) -> Option<Effect> {
        let [_, to, base, offset, length, from] = attributes::<6>(data)?;
        let (base, offset) = (number(base)?, number(offset)?);
        let length = u8::try_from(number(length)?).ok()?;
        if from.is_none() {
            self.load(number(to)?, of_packet(base, offset, length, self.context));
            return Some(Effect::Nothing);
        }
        // The first two bytes of an IP header contain the class of service. Writing the class of service (`ip dscp
        // set`) does not affect decisions.
        let is_class_of_service = base == 1 && offset.saturating_add(length.into()) <= 2;
        Some(if is_class_of_service { Effect::Nothing } else { Effect::Action(FilterAction::Unknown) })
    }

    fn meta(&mut self, data: &'d [u8]) -> Option<Effect> {
        const PRIORITY: u32 = 2;
        const MARK: u32 = 3;
        const TRACE: u32 = 12;
        const CLASS: u32 = 13;
        const SECURITY: u32 = 14;
        let [_, to, key, from] = attributes::<4>(data)?;
        let key = number(key)?;
        if from.is_none() {
            self.load(number(to)?, vec![of_meta(key, self.table.is_netdev)]);
            return Some(Effect::Nothing);
        }
        Some(match key {
            MARK => Effect::Action(FilterAction::Mark),
            PRIORITY | TRACE | CLASS | SECURITY => Effect::Nothing,
            _ => Effect::Action(FilterAction::Unknown),
        })
    }

    fn connection(&mut self, data: &'d [u8]) -> Option<Effect> {
        const MARK: u32 = 3;
        const SECURITY: u32 = 4;
        const LABELS: u32 = 13;
        const EVENTS: u32 = 18;
        let [_, to, key, _, from] = attributes::<5>(data)?;
        let key = number(key)?;
        if from.is_none() {
            self.load(number(to)?, vec![of_connection(key)]);
            return Some(Effect::Nothing);
        }
        Some(match key {
            MARK => Effect::Action(FilterAction::Mark),
            SECURITY | LABELS | EVENTS => Effect::Nothing,
            _ => Effect::Action(FilterAction::Unknown),
        })
    }

    /// Reads an expression about an extension header or a TCP option. An expression that changes a TCP option does not
    /// itself affect decisions. But the kernel applies the rest of the rule only to TCP packets, so TCP becomes a
    /// condition.
    fn option(&mut self, data: &'d [u8]) -> Option<Effect> {
        const OF_TCP: u32 = 1;
        let [_, to, _, _, length, _, operation, _] = attributes::<8>(data)?;
        match to {
            Some(_) => {
                let length = u8::try_from(number_or_zero(length)).unwrap_or(u8::MAX);
                self.load(number(to)?, vec![Part::opaque(length.max(1))]);
                Some(Effect::Nothing)
            }
            None if number_or_zero(operation) == OF_TCP => {
                let tcp = FilterValue::Numbers(6, 6);
                self.conditions(vec![is(FilterField::Protocol(None), tcp, false)]);
                Some(Effect::Nothing)
            }
            None => Some(Effect::Action(FilterAction::Unknown)),
        }
    }

    /// Makes the content of the register unknown, because the loaded value is not evaluated.
    fn unknown_load(&mut self, kind: &[u8], data: &'d [u8]) -> Option<()> {
        /// The length of the longest value: an address, or the name of an operating system.
        const LONGEST: usize = 16;
        let [_, first, second] = attributes::<3>(data)?;
        let register = if matches!(kind, b"socket" | b"tunnel" | b"hash") { second } else { first };
        self.registers.store(number(register)?, LONGEST, None);
        Some(())
    }

    fn immediate(&mut self, data: &'d [u8]) -> Option<Effect> {
        let [_, register, value] = attributes::<3>(data)?;
        let register = number(register)?;
        if register == VERDICT {
            let [_, _, code] = attributes::<3>(value?)?;
            return Some(Effect::Action(verdict(code?)?));
        }
        let bytes = constant(value?)?;
        self.registers.store(register, bytes.len(), Some(Content::Constant(bytes)));
        Some(Effect::Nothing)
    }

    fn lookup(&mut self, data: &'d [u8]) -> Option<Effect> {
        const INVERTED: u32 = 1;
        let [_, set, from, to, _, flags] = attributes::<6>(data)?;
        let set = name(set)?;
        let raw = self.table.sets.get(set);
        let (length, data_length) = raw.map_or((4, 16), |raw| (raw.key_length, raw.data_length));
        let key = self.key(number(from)?, length);
        let to = match to {
            Some(_) => Some(number(to)?),
            None => None,
        };
        if to == Some(VERDICT) {
            let elements = self.table.sets.elements(set, &key, Data::Verdict, self.table.links);
            return Some(Effect::Action(FilterAction::Lookup(fields(&key), elements)));
        }
        let negated = number_or_zero(flags) & INVERTED != 0;
        if let Some(to) = to {
            let mapping = Mapping { key, set, condition: self.conditions.len() };
            self.registers.store(to, data_length.max(1), Some(Content::Mapped(mapping)));
            // If the map does not contain the key, the rule ends. So the rule gets a condition.
            self.conditions.push(FilterCondition::Unknown);
            return Some(Effect::Nothing);
        }
        let (sets, links) = (&mut *self.table.sets, self.table.links);
        let condition = in_elements(&key, negated, || sets.elements(set, &key, Data::None, links));
        self.conditions(vec![condition]);
        Some(Effect::Nothing)
    }

    /// Returns the fields in the `length` bytes that begin at a register.
    fn key(&self, register: u32, length: usize) -> Key {
        let pieces = self.registers.pieces(register, length);
        let part = |piece: &Piece| {
            let is_whole = piece.mask.as_ref().is_none_or(|mask| mask.iter().all(|byte| *byte == 0xff));
            // A key that contains a route is not evaluated.
            let is_known = is_whole && piece.part.form != Form::Route;
            (if is_known { piece.part } else { Part::opaque(piece.part.len) }, piece.at)
        };
        pieces.iter().map(part).collect()
    }

    /// Reads an expression that adds an element to a set or removes one. A limit in the expression becomes a condition.
    fn change_of_set(&mut self, data: &'d [u8]) -> Option<Effect> {
        const INVERTED: u32 = 1;
        let [_, set, _, _, _, _, _, single, _, flags, several] = attributes::<11>(data)?;
        self.table.sets.changed.insert(name(set)?);
        let mut inner = Vec::new();
        inner.extend(single);
        for expression in each(several.unwrap_or_default()) {
            inner.push(expression?.1);
        }
        if single.is_some() && inner.len() > 1 {
            inner.remove(0); // the element is already among the others
        }
        let is_inverted = number_or_zero(flags) & INVERTED != 0;
        match inner.as_slice() {
            _ if is_inverted => self.conditions.push(FilterCondition::Unknown),
            [] => {}
            [one] => {
                let [_, kind, data] = attributes::<3>(one)?;
                return self.stateful(name(kind)?, data.unwrap_or_default());
            }
            _ => self.conditions.push(FilterCondition::Unknown),
        }
        Some(Effect::Nothing)
    }

    /// Reads an expression inside an element of a set, such as a counter or a limit.
    fn stateful(&mut self, kind: &[u8], data: &'d [u8]) -> Option<Effect> {
        match kind {
            b"counter" | b"last" | b"limit" | b"connlimit" | b"quota" => self.read(kind, data),
            _ => {
                self.conditions.push(FilterCondition::Unknown);
                Some(Effect::Nothing)
            }
        }
    }

    /// Reads a reference to a named object (`NFT_OBJECT_*`).
    fn object(&mut self, data: &'d [u8]) -> Option<Effect> {
        const COUNTER: u32 = 1;
        const HELPER: u32 = 3;
        const TIMEOUT: u32 = 7;
        const SECURITY: u32 = 8;
        const EXPECTATION: u32 = 9;
        const SYNPROXY: u32 = 10;
        let [_, kind] = attributes::<2>(data)?;
        match number_or_zero(kind) {
            COUNTER | HELPER | TIMEOUT | SECURITY | EXPECTATION => {}
            SYNPROXY => return Some(Effect::Action(FilterAction::Unknown)),
            _ => self.conditions.push(FilterCondition::Unknown),
        }
        Some(Effect::Nothing)
    }
}

fn constant(data: &[u8]) -> Option<&[u8]> {
    attributes::<2>(data)?[1]
}

fn length_of(value: Option<&[u8]>) -> Option<usize> {
    usize::try_from(number(value)?).ok()
}
