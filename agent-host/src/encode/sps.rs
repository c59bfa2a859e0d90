//! What a sequence parameter set of the baseline profile says of colours (H.264 §7.3.2.1, §E.1.1).

/// Where the bits of a set end, or say something the baseline profile has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// As in table E-3 to E-5; `None` where the set does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours {
    pub is_full_range: bool,
    /// Primaries, transfer, matrix; BT.709 is 1 for each.
    pub description: Option<[u32; 3]>,
}

/// BT.709 in limited range.
pub const BT709: Colours = Colours {
    is_full_range: false,
    description: Some([1; 3]),
};
/// More bits than that are no number of a parameter set.
const LEADING_ZEROES_MAX: u32 = 31;

/// From the byte with the type of the unit on.
///
/// # Errors
///
/// [`Cut`]
pub fn colours(unit: &[u8]) -> Result<Option<Colours>, Cut> {
    let mut bits = Bits::new(unit);
    // Type of the unit, profile, constraints, level.
    bits.take(32)?;
    // Id, and the length of frame numbers.
    bits.numbers(2)?;
    match bits.number()? {
        0 => bits.numbers(1)?,
        1 => {
            bits.take(1)?;
            bits.numbers(2)?;
            let cycle = bits.number()?;
            bits.numbers(cycle.min(255))?;
        }
        _ => {}
    }
    bits.numbers(1)?;
    bits.take(1)?;
    // Width and height in macroblocks.
    bits.numbers(2)?;
    if bits.take(1)? == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    if bits.take(1)? == 1 {
        bits.numbers(4)?;
    }
    let has_vui = bits.take(1)? == 1;
    if has_vui {
        video_signal(&mut bits)
    } else {
        Ok(None)
    }
}

fn video_signal(bits: &mut Bits<'_>) -> Result<Option<Colours>, Cut> {
    const EXTENDED_ASPECT: u32 = 255;
    if bits.take(1)? == 1 && bits.take(8)? == EXTENDED_ASPECT {
        bits.take(32)?;
    }
    if bits.take(1)? == 1 {
        bits.take(1)?;
    }
    if bits.take(1)? == 0 {
        return Ok(None);
    }
    bits.take(3)?;
    let is_full_range = bits.take(1)? == 1;
    let is_described = bits.take(1)? == 1;
    let description = if is_described {
        Some([bits.take(8)?, bits.take(8)?, bits.take(8)?])
    } else {
        None
    };
    Ok(Some(Colours {
        is_full_range,
        description,
    }))
}

/// The bits of a unit, without the bytes that keep it from looking like the start of another.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    zeroes: u32,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            zeroes: 0,
            left: 0,
        }
    }

    fn take(&mut self, count: u32) -> Result<u32, Cut> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | self.bit()?;
        }
        Ok(value)
    }

    fn bit(&mut self) -> Result<u32, Cut> {
        if self.left == 0 {
            self.next_byte()?;
        }
        self.left -= 1;
        let byte = self.bytes.get(self.at - 1).ok_or(Cut)?;
        Ok(u32::from(byte >> self.left & 1))
    }

    fn next_byte(&mut self) -> Result<(), Cut> {
        let escapes = self.zeroes >= 2 && self.bytes.get(self.at) == Some(&3);
        if escapes {
            self.at += 1;
            self.zeroes = 0;
        }
        let byte = self.bytes.get(self.at).ok_or(Cut)?;
        self.zeroes = if *byte == 0 { self.zeroes + 1 } else { 0 };
        self.at += 1;
        self.left = 8;
        Ok(())
    }

    /// An Exp-Golomb number; signed ones have the same length.
    fn number(&mut self) -> Result<u32, Cut> {
        let mut zeroes = 0;
        while self.bit()? == 0 {
            zeroes += 1;
            if zeroes > LEADING_ZEROES_MAX {
                return Err(Cut);
            }
        }
        let rest = self.take(zeroes)?;
        Ok(((1_u64 << zeroes) - 1 + u64::from(rest)) as u32)
    }

    fn numbers(&mut self, count: u32) -> Result<(), Cut> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as written in the tables, with spaces between fields.
    fn unit(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b & 1).collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |n, i| n << 1 | bits.get(i).unwrap_or(&0));
        let head = [0x67, 66, 0xC0, 31];
        head.into_iter().chain(bits.chunks(8).map(byte)).collect()
    }

    /// Ids, order type 2, one reference, 4 × 4 macroblocks, progressive, no cropping.
    const SIZE: &str = "1 1 011 010 0 00100 00100 1 1 0";

    #[test]
    fn colours_are_read_behind_an_aspect_ratio_and_overscan() {
        let bits = format!("{SIZE} 1 1 00000001 1 1 1 101 0 1 00000001 00000001 00000001 0");
        assert_eq!(colours(&unit(&bits)), Ok(Some(BT709)));
    }

    #[test]
    fn full_range_without_a_description_is_told_from_limited_range() {
        let bits = format!("{SIZE} 1 0 0 1 101 1 0 0");
        let full = Colours {
            is_full_range: true,
            description: None,
        };
        assert_eq!(colours(&unit(&bits)), Ok(Some(full)));
    }

    #[test]
    fn a_set_that_says_nothing_of_colours_says_so() {
        assert_eq!(colours(&unit(&format!("{SIZE} 0 1"))), Ok(None));
        assert_eq!(colours(&unit(&format!("{SIZE} 1 0 0 0 0 1"))), Ok(None));
    }

    #[test]
    fn a_byte_that_only_keeps_units_apart_is_left_out() {
        let plain = unit(&format!(
            "{SIZE} 1 0 0 1 101 0 1 00000001 00000001 00000001 0"
        ));
        let mut escaped = plain.clone();
        // Between the level, made zero with the constraints, and what follows.
        escaped[2] = 0;
        escaped[3] = 0;
        escaped.insert(4, 3);
        assert_eq!(colours(&escaped), colours(&plain));
        assert_eq!(colours(&escaped), Ok(Some(BT709)));
    }

    #[test]
    fn every_prefix_of_a_set_is_cut_or_complete_and_never_a_panic() {
        let whole = unit(&format!(
            "{SIZE} 1 0 0 1 101 0 1 00000001 00000001 00000001 0"
        ));
        for end in 0..6 {
            assert_eq!(colours(&whole[..end]), Err(Cut), "{end}");
        }
        assert_eq!(colours(&[0; 64]), Err(Cut));
    }
}
