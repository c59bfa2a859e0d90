//! How coarse a frame has to be, and when the next one may go.
//!
//! Rule: no frame queues on the wire for longer than [`FRAME_TIME_MAX`] at the rate the network
//! is believed to carry. The size of a frame is foretold from how many macroblocks it codes and
//! what such macroblocks cost lately; six steps of the quantiser halve it. Sharpness comes back
//! by refinement once the screen is still.
//!
//! A frame that had to wait for the wire shows what has moved on: where the search for motion finds
//! nothing, a macroblock costs about five times as much as one that moved a little. So such frames
//! are foretold from their like. A frame that is finer than the one before carries besides what that
//! one left out, where nothing moved, too: many times what the motion takes.

use std::time::{Duration, Instant};

use crate::encode::{FrameKind, Qp};
use crate::quality::Bounds;

/// Longest a frame may take on the wire.
pub const FRAME_TIME_MAX: Duration = Duration::from_millis(50);
/// What may be on the wire when another frame is sent after it.
const BACKLOG_MAX: Duration = Duration::from_millis(50);
/// A frame that is on the wire for no longer, coded as finely as refinement ends, is coded so at
/// once: one frame instead of two.
const FINE_TIME_MAX: Duration = Duration::from_millis(4);
/// A larger interactive frame is never finer: text is sharp at it, and finer costs time.
pub const QP_SHARP: Qp = Qp(21);
/// Refinement ends here: nothing is seen of the coding.
pub const QP_FINE: Qp = Qp(14);
/// Coarser is not worth sending.
pub const QP_WORST: Qp = Qp(44);
/// The quantiser costs are kept for.
const QP_REFERENCE: Qp = Qp(24);
/// Bytes per macroblock at [`QP_REFERENCE`] before anything was coded: dense text.
const COST_START: f64 = 40.0;
/// What a coarser frame left out of a macroblock, at least and at most: of a plain one, and of dense
/// text whose motion was found.
const FINER_COST: std::ops::Range<f64> = 4.0..200.0;
/// Damage that waited so long for the wire makes a late frame: two or more of a film or a scroll were
/// left out.
const LATE_AFTER: Duration = Duration::from_millis(40);
/// Weight of the newest frame in the running cost.
const COST_WEIGHT: f64 = 0.5;
/// Frames of fewer macroblocks say little about the next one.
const BLOCKS_TELLING: usize = 16;

/// What a frame's macroblocks are like, for what they will cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of the screen, without what was there before.
    Key,
    /// What changed just now.
    Fresh,
    /// What changed and waited for the wire.
    Late,
}

impl Content {
    /// Of a frame whose oldest damage is as old as `waited`.
    pub fn of(kind: FrameKind, waited: Duration) -> Self {
        match kind {
            FrameKind::Key => Self::Key,
            FrameKind::Delta if waited > LATE_AFTER => Self::Late,
            FrameKind::Delta => Self::Fresh,
        }
    }
}

/// The estimate and what is still on its way.
#[derive(Debug)]
pub struct Rate {
    bitrate_bps: u64,
    key_cost: f64,
    fresh_cost: f64,
    late_cost: f64,
    /// Of what a coarser frame left out.
    finer_cost: f64,
    /// Bytes handed over and not yet carried, at `backlog_at`.
    backlog: f64,
    backlog_at: Instant,
}

impl Rate {
    pub fn new(bitrate_bps: u64, now: Instant) -> Self {
        Self {
            bitrate_bps,
            key_cost: COST_START,
            fresh_cost: COST_START,
            late_cost: COST_START,
            finer_cost: COST_START,
            backlog: 0.0,
            backlog_at: now,
        }
    }

    pub fn bitrate_bps(&self) -> u64 {
        self.bitrate_bps
    }

    pub fn handle_estimate(&mut self, bitrate_bps: u64, now: Instant) {
        self.drain(now);
        self.bitrate_bps = bitrate_bps.max(1);
    }

    /// The quantiser for an interactive frame that codes `blocks` macroblocks, within `bounds`. With
    /// `finer_than`, the quantiser of the frame before, for one that is finer: it codes what that one
    /// left out, too. An answer that is not finer says nothing then.
    pub fn qp_for(
        &self,
        content: Content,
        blocks: usize,
        finer_than: Option<Qp>,
        bounds: &Bounds,
    ) -> Qp {
        let soon = self.blocks_within(FINE_TIME_MAX, bounds.fine, content);
        let is_small = content != Content::Key && blocks <= soon;
        let finest = if is_small { bounds.fine } else { bounds.sharp };
        let budget = self.bytes_in(FRAME_TIME_MAX).max(1.0);
        let (mut cost, mut each) = (self.cost(content), budget / blocks as f64);
        if let Some(last) = finer_than {
            cost += self.finer_cost;
            each += self.finer_cost * scale(last);
        }
        let steps = 6.0 * (cost / each).log2();
        let qp = f64::from(QP_REFERENCE.0) + steps.ceil();
        let qp = qp.min(f64::from(bounds.worst.0)).max(f64::from(finest.0));
        // In 0..=51 after both; NaN and -inf (no blocks) become the finest.
        Qp((qp as u8).max(finest.0))
    }

    /// How many macroblocks a refining frame may code to stay within its time on the wire.
    pub fn refined_blocks(&self, fine: Qp) -> usize {
        self.blocks_within(FRAME_TIME_MAX, fine, Content::Fresh)
            .max(BLOCKS_TELLING)
    }

    /// How many macroblocks at `qp` are carried in `time`.
    fn blocks_within(&self, time: Duration, qp: Qp, content: Content) -> usize {
        let bytes_each = self.cost(content) * scale(qp);
        (self.bytes_in(time) / bytes_each.max(0.1)) as usize
    }

    /// A frame for which [`qp_for`](Self::qp_for) was asked took so many bytes.
    pub fn handle_coded(
        &mut self,
        content: Content,
        blocks: usize,
        qp: Qp,
        finer_than: Option<Qp>,
        bytes: usize,
    ) {
        if blocks < BLOCKS_TELLING {
            return;
        }
        let each = bytes as f64 / blocks as f64;
        let (cost, seen) = match finer_than.filter(|last| qp < *last) {
            None => (self.cost_mut(content), each / scale(qp)),
            Some(last) => {
                let left_out = each - self.cost(content) * scale(qp);
                let seen = left_out / (scale(qp) - scale(last));
                (
                    &mut self.finer_cost,
                    seen.clamp(FINER_COST.start, FINER_COST.end),
                )
            }
        };
        *cost += (seen - *cost) * COST_WEIGHT;
    }

    /// So many bytes were handed over.
    pub fn handle_sent(&mut self, bytes: usize, now: Instant) {
        self.drain(now);
        self.backlog += bytes as f64;
    }

    /// When the wire is free enough for another frame; `None` means now.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let rate = self.bytes_in(Duration::from_secs(1)).max(1.0);
        let carried = now.saturating_duration_since(self.backlog_at).as_secs_f64() * rate;
        let excess = self.backlog - carried - self.bytes_in(BACKLOG_MAX);
        (excess > 0.0).then(|| now + Duration::from_secs_f64(excess / rate))
    }

    fn cost(&self, content: Content) -> f64 {
        match content {
            Content::Key => self.key_cost,
            Content::Fresh => self.fresh_cost,
            Content::Late => self.late_cost,
        }
    }

    fn cost_mut(&mut self, content: Content) -> &mut f64 {
        match content {
            Content::Key => &mut self.key_cost,
            Content::Fresh => &mut self.fresh_cost,
            Content::Late => &mut self.late_cost,
        }
    }

    fn bytes_in(&self, time: Duration) -> f64 {
        self.bitrate_bps as f64 / 8.0 * time.as_secs_f64()
    }

    fn drain(&mut self, now: Instant) {
        let carried = self.bytes_in(now.saturating_duration_since(self.backlog_at));
        self.backlog = (self.backlog - carried).max(0.0);
        self.backlog_at = now;
    }
}

/// Six steps of the quantiser halve what a macroblock takes; 1 at [`QP_REFERENCE`].
fn scale(qp: Qp) -> f64 {
    ((f64::from(QP_REFERENCE.0) - f64::from(qp.0)) / 6.0).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS_1080P: usize = 8160;
    const AUTO: Bounds = Bounds::AUTO;

    #[test]
    fn a_typed_character_is_fine_at_once_and_a_whole_screen_on_a_thin_line_is_coarse() {
        let rate = Rate::new(2_000_000, Instant::now());
        assert_eq!(rate.qp_for(Content::Fresh, 2, None, &AUTO), QP_FINE);
        assert_eq!(
            rate.qp_for(Content::Key, BLOCKS_1080P, None, &AUTO),
            QP_WORST
        );
        assert_eq!(rate.qp_for(Content::Fresh, 0, None, &AUTO), QP_FINE);
    }

    #[test]
    fn what_would_wait_for_its_own_fineness_is_sharp_first() {
        let rate = Rate::new(20_000_000, Instant::now());
        // 10,000 bytes in 4 ms at 40 · 2^(10/6) bytes each.
        assert_eq!(rate.qp_for(Content::Fresh, 78, None, &AUTO), QP_FINE);
        assert_eq!(rate.qp_for(Content::Fresh, 79, None, &AUTO), QP_SHARP);
        assert_eq!(rate.qp_for(Content::Key, 78, None, &AUTO), QP_SHARP);
    }

    #[test]
    fn a_foretold_frame_fits_its_time_on_the_wire() {
        let now = Instant::now();
        let mut rate = Rate::new(20_000_000, now);
        for _ in 0..8 {
            rate.handle_coded(Content::Key, BLOCKS_1080P, Qp(24), None, 8 * BLOCKS_1080P);
        }
        let qp = rate.qp_for(Content::Key, BLOCKS_1080P, None, &AUTO);
        let bytes = 8.0 * BLOCKS_1080P as f64 * (f64::from(24 - i16::from(qp.0)) / 6.0).exp2();
        let on_wire = Duration::from_secs_f64(bytes * 8.0 / 20e6);
        assert!(on_wire <= FRAME_TIME_MAX, "{qp:?} takes {on_wire:?}");
    }

    #[test]
    fn a_refining_frame_codes_no_more_than_fits_its_time_on_the_wire() {
        let rate = Rate::new(8_000_000, Instant::now());
        // 50,000 bytes at 40 · 2^(10/6) bytes each.
        assert_eq!(rate.refined_blocks(QP_FINE), 393);
    }

    #[test]
    fn a_frame_waits_until_what_was_sent_is_nearly_carried() {
        let now = Instant::now();
        let mut rate = Rate::new(8_000_000, now);
        assert_eq!(rate.ready_at(now), None);
        // 150 ms worth of bytes: 100 ms until only 50 are left.
        rate.handle_sent(150_000, now);
        assert_eq!(rate.ready_at(now), Some(now + Duration::from_millis(100)));
        assert_eq!(rate.ready_at(now + Duration::from_millis(100)), None);
    }

    #[test]
    fn what_waited_for_the_wire_is_not_foretold_from_what_moved_a_little() {
        let now = Instant::now();
        let mut rate = Rate::new(2_000_000, now);
        // A film of which every frame was sent: a byte for each macroblock.
        for _ in 0..20 {
            rate.handle_coded(Content::Fresh, BLOCKS_1080P, Qp(24), None, BLOCKS_1080P);
        }
        let waited = Content::of(FrameKind::Delta, Duration::from_millis(100));
        assert_eq!(rate.qp_for(waited, BLOCKS_1080P, None, &AUTO), QP_WORST);
        let fresh = Content::of(FrameKind::Delta, Duration::from_millis(20));
        assert_eq!(rate.qp_for(fresh, BLOCKS_1080P, None, &AUTO), QP_SHARP);
    }

    /// A terminal of 2,000 macroblocks scrolls: 3 bytes each, and 60 for what a coarser frame left out.
    #[test]
    fn a_frame_that_is_finer_is_foretold_with_what_the_one_before_left_out() {
        const BLOCKS: usize = 2_000;
        let mut rate = Rate::new(2_000_000, Instant::now());
        let bytes_of = |last: Qp, qp: Qp| {
            let left_out = 60.0 * (scale(qp) - scale(last)).max(0.0);
            (BLOCKS as f64 * (3.0 * scale(qp) + left_out)) as usize
        };
        let mut last = Qp(40);
        let mut learned = 0;
        for _ in 0..40 {
            let qp = rate.qp_for(Content::Fresh, BLOCKS, Some(last), &AUTO);
            if qp < last {
                let bytes = bytes_of(last, qp);
                let on_wire = Duration::from_secs_f64(bytes as f64 * 8.0 / 2e6);
                // What a step costs is learned.
                assert!(
                    learned < 4 || on_wire < Duration::from_millis(75),
                    "{on_wire:?}"
                );
                rate.handle_coded(Content::Fresh, BLOCKS, qp, Some(last), bytes);
                learned += 1;
                last = qp;
            } else {
                rate.handle_coded(Content::Fresh, BLOCKS, last, None, bytes_of(last, last));
            }
        }
        // Another step would take more than 50 ms.
        assert_eq!(last, Qp(26));
    }
}
