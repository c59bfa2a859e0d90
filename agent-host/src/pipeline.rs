//! When a frame is made, and what kind: damage decides, never a tick.
//!
//! ```text
//!  damage ──▶ at once if a slot is free ──▶ interactive frame
//!  120 ms without damage ─────────────────▶ refining frames, until nothing is seen of the coding
//!  200 ms after the last frame, then every 2 s ─▶ keep-alive frame of a few bytes
//!  key frame wanted ──────────────────────▶ at once for a new viewer, else at most every 200 ms
//! ```
//!
//! Rules: nothing is captured while nobody watches; while the encoder is busy damage adds up and
//! the newest picture wins; isolated changes never wait for a slot.

use std::time::{Duration, Instant};

use protocol::control::Quality;

use crate::damage::{Damage, Rect};
use crate::encode::{FrameKind, Qp};
use crate::picture::{Pass, Picture};
use crate::quality::Bounds;
use crate::rate::{Content, Rate};

/// Frames that may come back to back after a quiet time: echo of a key, then of its effect.
const FRAMES_BURST: u32 = 3;
/// The screen counts as still after so long: longer than the pauses of a fast typist's bursts.
const REFINE_AFTER: Duration = Duration::from_millis(120);
/// Between two refining frames: three of them end within 300 ms of the last change.
const REFINE_INTERVAL: Duration = Duration::from_millis(60);
/// Browsers ask for a key frame when they see none for 3 s.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// What was lost at the end of a frame is noticed by what comes after it. So the first keep-alive
/// comes so soon, after the first of the refining frames; else the loss would be seen for 2 s.
const FIRST_KEEP_ALIVE_AFTER: Duration = Duration::from_millis(200);
/// Key frames on request are no denser: requests for losses before a key frame come after it.
const KEY_SPACING: Duration = Duration::from_millis(200);

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read these boxes, then make a frame of what changed (of everything, if `Key`).
    Frame {
        boxes: Vec<Rect>,
        kind: FrameKind,
        /// When the first of the damage was seen; the frame's capture time.
        seen_at: Instant,
    },
    /// Make what is worse than [`Bounds::fine`] better.
    Refine,
    /// Say that nothing changed.
    KeepAlive,
}

/// How many viewers watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watchers(pub usize);

/// The decisions of one screen.
pub struct Pipeline {
    watchers: Watchers,
    damage: Damage,
    damaged_at: Option<Instant>,
    /// A key frame is wanted, not before this time.
    key_at: Option<Instant>,
    last_key_at: Option<Instant>,
    last_frame_at: Option<Instant>,
    /// How long the damage of the frame in work had waited.
    waited: Duration,
    /// The last frame said that nothing changed.
    was_keep_alive: bool,
    refine_at: Option<Instant>,
    /// When the last interactive frame that showed something was coded.
    moved_at: Option<Instant>,
    /// Theoretical time of the next slot (generic cell rate algorithm): a frame may come
    /// [`FRAMES_BURST`] − 1 intervals before it.
    slot_at: Instant,
    quality: Quality,
    bounds: Bounds,
    /// What the network carries, in bits per second; more than `bounds` may let through.
    estimate_bps: u64,
    rate: Rate,
}

impl Pipeline {
    pub fn new(bitrate_bps: u64, now: Instant) -> Self {
        Self {
            watchers: Watchers(0),
            damage: Damage::default(),
            damaged_at: None,
            key_at: None,
            last_key_at: None,
            last_frame_at: None,
            waited: Duration::ZERO,
            was_keep_alive: false,
            refine_at: None,
            moved_at: None,
            slot_at: now,
            quality: Quality::Auto,
            bounds: Bounds::of(Quality::Auto),
            estimate_bps: bitrate_bps,
            rate: Rate::new(bitrate_bps, now),
        }
    }

    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    pub fn quality(&self) -> Quality {
        self.quality
    }

    pub fn handle_estimate(&mut self, bitrate_bps: u64, now: Instant) {
        self.estimate_bps = bitrate_bps;
        let allowed = bitrate_bps.min(self.bounds.bitrate_bps_max);
        self.rate.handle_estimate(allowed, now);
    }

    /// Another quality is wanted. What is on the screen becomes as good as it asks for.
    pub fn handle_quality(&mut self, quality: Quality, now: Instant) {
        self.quality = quality;
        self.bounds = Bounds::of(quality);
        self.handle_estimate(self.estimate_bps, now);
        self.slot_at = self.slot_at.min(now + self.bounds.frame_interval);
        if self.watchers.0 > 0 && self.damaged_at.is_none() {
            self.refine_at = Some(now + REFINE_AFTER);
        }
    }

    /// The number of watching viewers changed. A new one needs a key frame at once.
    pub fn handle_watchers(&mut self, watchers: Watchers, now: Instant) {
        if watchers.0 > self.watchers.0 {
            self.key_at = Some(now);
        }
        if watchers.0 == 0 {
            self.damage.take();
            self.damaged_at = None;
            self.key_at = None;
            self.refine_at = None;
        }
        self.watchers = watchers;
    }

    pub fn watchers(&self) -> Watchers {
        self.watchers
    }

    /// Delta frames mean nothing any more: another size, or a viewer who has none.
    pub fn handle_key_at_once(&mut self, now: Instant) {
        self.key_at = Some(now);
    }

    /// The screen changed inside `rect`.
    pub fn handle_damage(&mut self, rect: Rect, now: Instant) {
        if self.watchers.0 == 0 || rect.is_empty() {
            return;
        }
        self.damage.add(rect);
        self.damaged_at.get_or_insert(now);
        self.refine_at = None;
    }

    /// A viewer cannot go on decoding.
    pub fn handle_key_wanted(&mut self, now: Instant) {
        if self.watchers.0 == 0 {
            return;
        }
        let earliest = self
            .last_key_at
            .map_or(now, |at| (at + KEY_SPACING).max(now));
        self.key_at = Some(self.key_at.map_or(earliest, |at| at.min(earliest)));
    }

    /// A viewer pressed or moved something: what follows on the screen need not wait for a slot.
    pub fn handle_input(&mut self, now: Instant) {
        if !self.bounds.hurries_after_input() {
            return;
        }
        let interval = self.bounds.frame_interval;
        let earliest = now - interval.min(Duration::from_millis(1));
        self.slot_at = (self.slot_at - interval).max(earliest);
    }

    /// Since when the screen is still, or will be; `None` while a change waits, or nobody watches.
    pub fn still_at(&self) -> Option<Instant> {
        let waits = self.watchers.0 == 0 || self.damaged_at.is_some() || self.key_at.is_some();
        self.moved_at.filter(|_| !waits).map(|at| at + REFINE_AFTER)
    }

    /// What to do now, if anything. Follow it with one of the `handle_coded`, `handle_unchanged`.
    pub fn poll_step(&mut self, now: Instant) -> Option<Step> {
        if self.watchers.0 == 0 {
            return None;
        }
        if self.key_at.is_some_and(|at| at <= now) {
            return Some(self.frame(FrameKind::Key, now));
        }
        if self.frame_at(now).is_some_and(|at| at <= now) {
            return Some(self.frame(FrameKind::Delta, now));
        }
        if self.refine_at(now).is_some_and(|at| at <= now) {
            return Some(Step::Refine);
        }
        let keep_alive = self.keep_alive_at().is_some_and(|at| at <= now);
        keep_alive.then_some(Step::KeepAlive)
    }

    /// When [`poll_step`](Self::poll_step) has something, if nothing else happens.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.watchers.0 == 0 {
            return None;
        }
        [
            self.key_at,
            self.frame_at(now),
            self.refine_at(now),
            self.keep_alive_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Plans the interactive frame of the last step. It codes what changed; but one that is finer
    /// than the frame before codes all that is worse than it (decision 0039), and if that is too
    /// much, it is as coarse as the one before.
    pub fn plan(&self, kind: FrameKind, picture: &mut Picture) -> Plan {
        let changed = picture.plan().blocks;
        let blocks = match kind {
            FrameKind::Key => picture.blocks(),
            FrameKind::Delta => changed,
        };
        let mut plan = Plan {
            pass: Pass::Interactive,
            kind,
            blocks,
            qp: self.qp_for(kind, blocks),
            finer_than: None,
        };
        let last = picture.last_qp();
        if kind == FrameKind::Key || blocks == 0 || plan.qp >= last {
            return plan;
        }
        let worse = picture.worse_than(plan.qp).blocks;
        let content = Content::of(kind, self.waited);
        plan.qp = self.rate.qp_for(content, worse, Some(last), &self.bounds);
        if plan.qp < last {
            plan.blocks = picture.plan_refined(plan.qp, usize::MAX).blocks;
            plan.finer_than = Some(last);
        } else {
            plan.qp = last;
        }
        plan
    }

    /// Plans a frame that says that nothing changed.
    pub fn plan_keep_alive(&self, picture: &mut Picture) -> Plan {
        Plan {
            pass: Pass::Interactive,
            kind: FrameKind::Delta,
            blocks: picture.plan().blocks,
            qp: picture.last_qp(),
            finer_than: None,
        }
    }

    /// Plans a refining frame; without macroblocks if nothing is left to refine.
    pub fn plan_refined(&self, picture: &mut Picture) -> Plan {
        let qp = self.bounds.fine;
        let blocks_max = self.rate.refined_blocks(qp);
        Plan {
            pass: Pass::Refine,
            kind: FrameKind::Delta,
            blocks: picture.plan_refined(qp, blocks_max).blocks,
            qp,
            finer_than: None,
        }
    }

    /// What the encoder has to settle at before a refining frame: else that would code all that is
    /// worse at once, and it is too much.
    pub fn settles_at(&self, picture: &Picture) -> Option<Qp> {
        let qp = self.bounds.fine;
        let too_much = picture.worse_than(qp).blocks > self.rate.refined_blocks(qp);
        (too_much && qp < picture.last_qp()).then_some(qp)
    }

    /// The quantiser for an interactive frame of so many macroblocks.
    pub fn qp_for(&self, kind: FrameKind, blocks: usize) -> Qp {
        let content = Content::of(kind, self.waited);
        self.rate.qp_for(content, blocks, None, &self.bounds)
    }

    /// The planned frame was coded and handed over.
    pub fn handle_coded(&mut self, coded: Plan, bytes: usize, now: Instant) {
        let waited = match coded.pass {
            Pass::Interactive => self.waited,
            Pass::Refine => Duration::ZERO,
        };
        let content = Content::of(coded.kind, waited);
        let (blocks, qp, finer_than) = (coded.blocks, coded.qp, coded.finer_than);
        self.rate
            .handle_coded(content, blocks, qp, finer_than, bytes);
        self.rate.handle_sent(bytes, now);
        self.last_frame_at = Some(now);
        self.was_keep_alive = coded.kind == FrameKind::Delta && coded.blocks == 0;
        if coded.pass == Pass::Interactive && coded.blocks > 0 {
            self.moved_at = Some(now);
        }
        if coded.kind == FrameKind::Key {
            self.last_key_at = Some(now);
        }
        self.refine_at = match coded.pass {
            Pass::Interactive if coded.blocks > 0 => Some(now + REFINE_AFTER),
            Pass::Interactive => self.refine_at,
            // Until nothing is left to refine, which `handle_unchanged` says.
            Pass::Refine => Some(now + REFINE_INTERVAL),
        };
    }

    /// The damage changed no pixel, or nothing was left to refine: no frame.
    pub fn handle_unchanged(&mut self, pass: Pass, now: Instant) {
        match pass {
            // It was repainted while waiting to be refined: it is as still as before.
            Pass::Interactive => self.refine_at = Some(now + REFINE_AFTER),
            Pass::Refine => self.refine_at = None,
        }
    }

    fn frame(&mut self, kind: FrameKind, now: Instant) -> Step {
        self.slot_at = self.slot_at.max(now) + self.bounds.frame_interval;
        if kind == FrameKind::Key {
            self.key_at = None;
        }
        let seen_at = self.damaged_at.take().unwrap_or(now);
        self.waited = now.saturating_duration_since(seen_at);
        Step::Frame {
            boxes: self.damage.take(),
            kind,
            seen_at,
        }
    }

    fn frame_at(&self, now: Instant) -> Option<Instant> {
        let damaged_at = self.damaged_at?;
        let slot = self
            .slot_at
            .checked_sub(self.bounds.frame_interval * (FRAMES_BURST - 1));
        let at = slot.map_or(damaged_at, |slot| slot.max(damaged_at));
        Some(self.rate.ready_at(now).map_or(at, |ready| ready.max(at)))
    }

    fn refine_at(&self, now: Instant) -> Option<Instant> {
        let at = self.refine_at?;
        Some(self.rate.ready_at(now).map_or(at, |ready| ready.max(at)))
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let wait = match self.was_keep_alive {
            true => KEEP_ALIVE_INTERVAL,
            false => FIRST_KEEP_ALIVE_AFTER,
        };
        Some(self.last_frame_at? + wait)
    }
}

/// What a frame codes, and how finely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub pass: Pass,
    pub kind: FrameKind,
    pub blocks: usize,
    pub qp: Qp,
    /// The quantiser of the frame before, of an interactive frame that is finer.
    pub finer_than: Option<Qp>,
}

#[cfg(test)]
mod tests;
