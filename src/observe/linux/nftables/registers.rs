//! The registers of the virtual machine of nftables, and their content while a rule is parsed.

use super::fields::{Form, Part};
use super::sets::Key;

/// The number of words of four bytes. The first four words belong to the verdict (net/netfilter/nf_tables.h).
const WORDS: usize = 20;
const WORD: usize = 4;

/// The content that an expression stored in consecutive registers.
#[derive(Clone, Debug)]
pub(super) enum Content<'d> {
    /// Consecutive fields of the packet, and a mask with the bits that are kept. Without a mask, all bits are kept.
    Packet {
        parts: Vec<Part>,
        mask: Option<Vec<u8>>,
    },
    Constant(&'d [u8]),
    /// The data that a map contains for a key.
    Mapped(Mapping<'d>),
}

#[derive(Clone, Debug)]
pub(super) struct Mapping<'d> {
    pub(super) key: Key,
    pub(super) set: &'d [u8],
    /// The index of the condition that the map contains the key.
    pub(super) condition: usize,
}

/// A field of the packet, and its position in the compared bytes.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) part: Part,
    pub(super) at: usize,
    /// The mask of the compared bits. Without a mask, all bits are compared.
    pub(super) mask: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Registers<'d> {
    contents: Vec<Content<'d>>,
    /// For each word, the index of its content and the offset in this content; `None` if the content is unknown.
    words: [Option<(usize, usize)>; WORDS],
}

/// Returns the first word of a register (`nft_registers` in linux/netfilter/nf_tables.h).
fn word(register: u32) -> Option<usize> {
    let register = usize::try_from(register).ok()?;
    match register {
        1..=4 => Some(register * 4),
        8..=23 => Some(register - 4),
        _ => None,
    }
}

impl<'d> Registers<'d> {
    /// Stores `content` in `len` bytes, starting at a register. `None` makes these bytes unknown.
    pub(super) fn store(&mut self, register: u32, len: usize, content: Option<Content<'d>>) {
        let Some(first) = word(register) else { return };
        let stored = content.map(|content| {
            self.contents.push(content);
            self.contents.len() - 1
        });
        let words = self.words.iter_mut().skip(first).take(len.div_ceil(WORD));
        for (at, word) in words.enumerate() {
            *word = stored.map(|content| (content, at));
        }
    }

    pub(super) fn content(&self, register: u32) -> Option<&Content<'d>> {
        match self.at(word(register)?)? {
            (content, 0) => Some(content),
            _ => None,
        }
    }

    fn at(&self, word: usize) -> Option<(&Content<'d>, usize)> {
        let (content, at) = (*self.words.get(word)?)?;
        Some((self.contents.get(content)?, at))
    }

    /// Returns the bytes of a constant that begin at a register.
    pub(super) fn constant(&self, register: u32) -> Option<&'d [u8]> {
        match self.at(word(register)?)? {
            (Content::Constant(bytes), at) => bytes.get(at * WORD..),
            _ => None,
        }
    }

    /// Returns the map look-up that stored its result in a register, and the offset of the register in the result.
    pub(super) fn mapping(&self, register: u32) -> Option<(&Mapping<'d>, usize)> {
        match self.at(word(register)?)? {
            (Content::Mapped(mapping), at) => Some((mapping, at * WORD)),
            _ => None,
        }
    }

    /// Returns the fields in `len` bytes, starting at a register.
    pub(super) fn pieces(&self, register: u32, len: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (Some(mut word), mut at) = (word(register), 0) else { return pieces };
        // A malformed key can be longer than all registers.
        while at < len && word < WORDS {
            let begin = at;
            match self.at(word) {
                Some((Content::Packet { parts, mask }, 0)) => {
                    for part in parts {
                        if at >= len {
                            break;
                        }
                        let part = part.cut(u8::try_from(len - at).unwrap_or(u8::MAX));
                        let end = at + usize::from(part.len);
                        let bits = mask.as_ref().and_then(|mask| mask.get(at - begin..end - begin));
                        pieces.push(Piece { part, at, mask: bits.map(<[u8]>::to_vec) });
                        at = end;
                    }
                }
                _ => {
                    let left = u8::try_from(len - at).unwrap_or(u8::MAX).min(4);
                    pieces.push(Piece { part: Part::opaque(left), at, mask: None });
                    at += usize::from(left);
                }
            }
            // The next field begins in a new word.
            let words = (at - begin).div_ceil(WORD).max(1);
            word += words;
            at = begin + words * WORD;
        }
        pieces
    }

    /// Copies a register like the expression `bitwise`. This expression keeps only the bits that are set in the first
    /// mask. It then flips the bits that are set in the second mask. If any bits are flipped, the copy is unknown,
    /// because portolan does not evaluate flipped bits.
    pub(super) fn mask(&mut self, from: u32, to: u32, len: usize, bits: Option<(&[u8], &[u8])>) {
        let content = match (self.content(from), bits) {
            (Some(Content::Packet { parts, mask: None }), Some((mask, flipped)))
                if flipped.iter().all(|byte| *byte == 0) && length(parts) == len && mask.len() == len =>
            {
                Some(Content::Packet { parts: parts.clone(), mask: Some(mask.to_vec()) })
            }
            _ => None,
        };
        self.store(to, len, content);
    }

    /// Copies a number to another register, in the opposite byte order.
    pub(super) fn turn(&mut self, from: u32, to: u32, len: usize, size: usize) {
        let content = match self.content(from) {
            Some(Content::Packet { parts, mask: None }) if len == size && length(parts) == len => {
                match parts.as_slice() {
                    [part] => turned(*part).map(|part| Content::Packet { parts: vec![part], mask: None }),
                    _ => None,
                }
            }
            _ => None,
        };
        self.store(to, len, content);
    }
}

fn length(parts: &[Part]) -> usize {
    parts.iter().map(|part| usize::from(part.len)).sum()
}

fn turned(part: Part) -> Option<Part> {
    let form = match part.form {
        Form::Number => Form::HostNumber,
        Form::HostNumber => Form::Number,
        _ => return None,
    };
    Some(Part { form, ..part })
}
