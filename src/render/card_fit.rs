//! Shortens the answer of `explain` on a terminal with few rows.

use super::Style;
use super::labelled::labelled;

/// How important a part is. The least important parts are left out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A fact in addition to the answer, such as the ephemeral ports.
    Background,
    FurtherRegistration,
    Programs,
    /// A registration, or the status of a port that is in use as registered.
    Registration,
    Risk,
    /// The meaning of a port, and its status if the port is not in use as registered.
    Meaning,
    Heading,
    /// A part that is never left out, such as the listener and the port.
    Answer,
}

/// A part of the answer. An empty line between two parts is a block without lines.
pub(super) struct Block {
    pub rank: Rank,
    pub lines: Vec<String>,
}

pub(super) fn height(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.lines.len().max(1)).sum()
}

/// Leaves out the least important parts until the other parts have at most `most` lines. Adds a line with the number of
/// missing lines. Of parts with the same rank, the last is left out first.
pub(super) fn fit(blocks: &mut Vec<Block>, most: usize, style: &Style) {
    let before = text_height(blocks);
    // The last line is for the number of missing lines.
    while height(blocks) >= most {
        let ranked = blocks.iter().enumerate().filter(|(_, block)| !block.lines.is_empty());
        let least = ranked.rev().min_by_key(|(_, block)| block.rank);
        let Some((at, _)) = least.filter(|(_, block)| block.rank < Rank::Answer) else { break };
        blocks.remove(at);
        remove_double_gaps(blocks);
    }
    let more = before - text_height(blocks);
    if more > 0 {
        let text = match more {
            1 => "1 line; --full shows it.".to_owned(),
            _ => format!("{more} lines; --full shows them."),
        };
        blocks.push(Block { rank: Rank::Answer, lines: labelled("Not shown", &text, style) });
    }
}

fn text_height(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.lines.len()).sum()
}

/// Removes an empty line if it follows another empty line or ends the text.
fn remove_double_gaps(blocks: &mut Vec<Block>) {
    blocks.dedup_by(|next, block| next.lines.is_empty() && block.lines.is_empty());
    blocks.pop_if(|last| last.lines.is_empty());
}
