//! Where a frame changes, as few boxes: hardware is told of those what x264 is told of each
//! macroblock.

use std::ops::Range;

/// What Intel's low-power encoders take; other hardware takes more.
pub const REGIONS_MAX: usize = 3;

/// A box of macroblocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Blocks {
    fn around(&self, other: &Self) -> Self {
        let around = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Self {
            rows: around(&self.rows, &other.rows),
            columns: around(&self.columns, &other.columns),
        }
    }
}

/// The boxes of what is 0 in `constant`, which has `wide` macroblocks in a row: one for each run of
/// rows with something in them, and those below the last of [`REGIONS_MAX`] together with it.
pub fn regions(constant: &[u8], wide: usize) -> Vec<Blocks> {
    let mut regions: Vec<Blocks> = Vec::new();
    for (row, blocks) in constant.chunks(wide.max(1)).enumerate() {
        let Some(first) = blocks.iter().position(|&constant| constant == 0) else {
            continue;
        };
        let last = blocks.iter().rposition(|&constant| constant == 0);
        let line = Blocks {
            rows: row..row + 1,
            columns: first..last.map_or(first, |last| last) + 1,
        };
        let is_full = regions.len() == REGIONS_MAX;
        match regions.last_mut() {
            Some(above) if above.rows.end == row || is_full => *above = above.around(&line),
            _ => regions.push(line),
        }
    }
    regions
}

/// The runs of what is 0 in one row.
pub fn runs(blocks: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from
            + blocks
                .get(from..)?
                .iter()
                .position(|&constant| constant == 0)?;
        let rest = blocks.get(start..)?;
        let length = rest.iter().position(|&constant| constant != 0);
        from = start + length.unwrap_or(rest.len());
        Some(start..from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(rows: Range<usize>, columns: Range<usize>) -> Blocks {
        Blocks { rows, columns }
    }

    /// Rows of a picture: a dot where nothing changed.
    fn check(picture: &[&str], expected: &[Blocks]) {
        let constant: Vec<u8> = picture
            .iter()
            .flat_map(|row| row.bytes().map(|byte| u8::from(byte == b'.')))
            .collect();
        assert_eq!(regions(&constant, picture[0].len()), expected);
    }

    #[test]
    fn rows_that_touch_are_one_box_and_others_are_their_own() {
        check(&["....", "...."], &[]);
        check(&["..x.", ".x.."], &[blocks(0..2, 1..3)]);
        check(
            &["x...", "....", "..xx"],
            &[blocks(0..1, 0..1), blocks(2..3, 2..4)],
        );
    }

    #[test]
    fn what_is_more_than_the_hardware_takes_joins_the_last_box() {
        check(
            &["x...", "....", ".x..", "....", "..x.", "....", "...x"],
            &[blocks(0..1, 0..1), blocks(2..3, 1..2), blocks(4..7, 2..4)],
        );
    }

    #[test]
    fn a_row_is_cut_into_its_runs() {
        let found: Vec<_> = runs(&[1, 0, 0, 1, 0]).collect();
        assert_eq!(found, [1..3, 4..5]);
        assert_eq!(runs(&[1, 1]).count(), 0);
        assert_eq!(runs(&[]).count(), 0);
    }
}
