//! Ours beside another implementation, on the same input: where they differ there is either a
//! reason written here, or a defect.

pub mod codec;
pub mod server;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Numbers that come again from the same seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() >> 16) as usize % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}

/// The committed inputs of a fuzz target.
pub fn corpus(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../corpus")
        .join(target);
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        inputs.push(fs::read(entry?.path())?);
    }
    ensure!(!inputs.is_empty(), "{target} has no inputs");
    Ok(inputs)
}

/// One to four changes: a byte, a cut, a piece doubled, a length nudged.
pub fn mutate(input: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len());
        match dice.below(6) {
            0 => bytes[at] = dice.roll() as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 => bytes[at] = bytes[at].wrapping_add(4),
            4 => {
                let piece = bytes[at..].iter().take(8).copied().collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
            _ => right_length(&mut bytes),
        }
    }
    if dice.below(2) == 0 {
        right_length(&mut bytes);
    }
    bytes
}

/// Most mutations would die at the header's length; half of them shall not.
fn right_length(bytes: &mut [u8]) {
    let len = bytes.len().saturating_sub(20) as u16;
    if let Some(field) = bytes.get_mut(2..4) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}
