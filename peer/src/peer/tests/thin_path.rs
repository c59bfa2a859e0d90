//! A path that becomes ten times thinner, with two seconds of room for what is too much.

use std::collections::VecDeque;

use super::*;

const WIDE_BPS: u64 = 20_000_000;
const THIN_BPS: u64 = 2_000_000;
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// What a scrolled line takes, a quarter more than the thin path carries, and when the next one comes.
const LINE_BYTES: std::ops::Range<usize> = 4_200..6_200;
const LINE_INTERVAL_US: std::ops::Range<u64> = 14_000..19_300;
/// The sender sends when less than this is under way, at the rate it was told.
const BACKLOG_MAX: Duration = Duration::from_millis(50);
/// One way across a continent.
const LONG_LATENCY: Duration = Duration::from_millis(20);
/// What the network lets wait before it loses the newest.
const ROOM_BYTES: u64 = 500_000;

/// Carries so much a second, one packet after the other.
pub(super) struct Bucket {
    bps: u64,
    waiting: VecDeque<Transmit>,
    free_at: Instant,
}

impl Bucket {
    pub(super) fn new(bps: u64, now: Instant) -> Self {
        Self {
            bps,
            waiting: VecDeque::new(),
            free_at: now,
        }
    }

    fn bytes(&self) -> u64 {
        self.waiting.iter().map(|one| one.bytes.len() as u64).sum()
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64((bytes * 8) as f64 / self.bps as f64)
    }

    /// What has no room is lost.
    pub(super) fn push(&mut self, transmit: Transmit, now: Instant) {
        if self.waiting.is_empty() {
            self.free_at = self.free_at.max(now);
        }
        if self.bytes() < ROOM_BYTES {
            self.waiting.push_back(transmit);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.free_at)
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let transmit = self.waiting.pop_front_if(|_| self.free_at <= now)?;
        self.free_at += self.time_of(transmit.bytes.len() as u64);
        Some(transmit)
    }
}

/// What the sender was told last that the path carries.
fn told(world: &World) -> u64 {
    let told = world
        .host_events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::EgressEstimate { bitrate_bps } => Some(*bitrate_bps),
            _ => None,
        });
    told.unwrap_or(BitrateRange::default().start_bps)
}

/// Frames as large as the estimate allows, as a screen in full motion makes them.
fn move_for(world: &mut World, time: Duration) {
    let until = world.now + time;
    while world.now < until {
        let bps = told(world) as f64;
        let len = bps / 8.0 * FRAME_INTERVAL.as_secs_f64();
        let wanted = world
            .host_events
            .iter()
            .any(|event| matches!(event, Event::KeyFrameWanted));
        world
            .host_events
            .retain(|event| matches!(event, Event::EgressEstimate { .. }));
        let _ = world.send_frame(len as usize, wanted);
        world.run_for(FRAME_INTERVAL);
    }
}

fn waits(world: &World) -> Duration {
    let bucket = world.thin.as_ref().unwrap();
    bucket.time_of(bucket.bytes())
}

fn set_rate(world: &mut World, bps: u64) {
    world.thin.as_mut().unwrap().bps = bps;
}

#[test]
fn when_the_path_becomes_ten_times_thinner_the_queue_empties_and_the_picture_goes_on() {
    let mut world = World::connected();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    move_for(&mut world, Duration::from_secs(8));
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        move_for(&mut world, Duration::from_millis(100));
        worst = worst.max(waits(&world));
    }
    assert!(
        worst < Duration::from_millis(150),
        "{worst:?} wait on a path that stays as it is"
    );

    set_rate(&mut world, THIN_BPS);
    move_for(&mut world, Duration::from_secs(5));
    let before = world.frames().len();
    let mut worst = Duration::ZERO;
    for _ in 0..60 {
        move_for(&mut world, Duration::from_millis(100));
        worst = worst.max(waits(&world));
    }
    let shown = world.frames().len() - before;
    assert!(
        worst < Duration::from_millis(300),
        "{worst:?} wait on the thin path"
    );
    assert!(shown > 90, "{shown} of 180 frames arrived");

    set_rate(&mut world, WIDE_BPS);
    move_for(&mut world, Duration::from_secs(6));
    let back = told(&world);
    assert!(
        back > 2 * THIN_BPS,
        "{back} bit/s after the path is wide again"
    );
}

/// What arrives of the path's rate in full motion, after so long.
fn share_filled(world: &mut World, after: Duration) -> f64 {
    move_for(world, after);
    let before = world.frames().len();
    move_for(world, Duration::from_secs(4));
    let frames = world.frames();
    let arrived: usize = frames[before..].iter().map(|frame| frame.data.len()).sum();
    arrived as f64 * 8.0 / 4.0 / WIDE_BPS as f64
}

#[test]
fn a_long_path_is_filled_from_the_beginning() {
    let mut world = World::new();
    world.latency = LONG_LATENCY;
    world.connect();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    let share = share_filled(&mut world, Duration::from_secs(4));
    assert!(share > 0.8, "{share}");
}

#[test]
fn a_path_that_becomes_longer_in_full_motion_is_filled_again() {
    let mut world = World::connected();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    move_for(&mut world, Duration::from_secs(4));
    world.latency = LONG_LATENCY;
    let share = share_filled(&mut world, Duration::from_secs(16));
    assert!(share > 0.8, "{share}");
}

#[test]
fn where_packets_are_lost_no_more_is_sent_than_a_viewer_of_ours_can_repair() {
    let mut world = World::connected();
    world.latency = LONG_LATENCY;
    world.thin = Some(Bucket::new(3 * WIDE_BPS, world.now));
    move_for(&mut world, Duration::from_secs(10));
    let wide = told(&world);
    assert!(wide > WIDE_BPS, "{wide}");
    world.loss = 0.01;
    move_for(&mut world, Duration::from_secs(4));
    let before = world.frames().len();
    move_for(&mut world, Duration::from_secs(4));
    let frames = world.frames();
    let whole = frames[before..].iter().filter(|frame| frame.contiguous);
    let whole = whole.count();
    assert!(
        whole > 90,
        "{whole} of 121 frames at {} bit/s",
        told(&world)
    );
}

#[test]
fn while_little_moves_no_burst_of_ours_waits_in_front_of_the_next_frame() {
    let mut world = World::connected();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    // The rate is looked for in the beginning.
    let mut worst = Duration::ZERO;
    for step in 0..900_u32 {
        let _ = world.send_frame(4_000, false);
        for _ in 0..11 {
            world.run_for(Duration::from_millis(3));
            if step >= 400 {
                worst = worst.max(waits(&world));
            }
        }
    }
    assert!(worst < Duration::from_millis(5), "{worst:?}");
}

/// A terminal that scrolls 60 lines a second, as many of them as the sender may send; returns the
/// longest that anything waits.
fn scroll_for(world: &mut World, time: Duration) -> Duration {
    let until = world.now + time;
    let (mut worst, mut backlog) = (Duration::ZERO, 0.0);
    while world.now < until {
        let bytes_per_second = told(world) as f64 / 8.0;
        if backlog <= bytes_per_second * BACKLOG_MAX.as_secs_f64() {
            let len = world.rng.random_range(LINE_BYTES);
            world.send_frame(len, false).unwrap();
            backlog += len as f64;
        }
        let next = world.now + Duration::from_micros(world.rng.random_range(LINE_INTERVAL_US));
        backlog -= bytes_per_second * (next - world.now).as_secs_f64();
        backlog = backlog.max(0.0);
        while world.now < next {
            world.run_for(Duration::from_millis(2));
            worst = worst.max(waits(world));
        }
    }
    worst
}

#[test]
fn where_a_quarter_too_much_is_sent_the_queue_stays_shorter_than_a_sixth_of_a_second() {
    let mut world = World::connected();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    // Until the rate has been looked for.
    scroll_for(&mut world, Duration::from_secs(20));
    set_rate(&mut world, THIN_BPS);
    let worst = scroll_for(&mut world, Duration::from_secs(8));
    assert!(worst < Duration::from_millis(166), "{worst:?}");
}

#[test]
fn what_a_full_path_holds_when_it_becomes_ten_times_thinner_is_gone_in_four_tenths_of_a_second() {
    let mut world = World::connected();
    world.thin = Some(Bucket::new(WIDE_BPS, world.now));
    move_for(&mut world, Duration::from_secs(16));
    set_rate(&mut world, THIN_BPS);
    let mut worst = Duration::ZERO;
    for _ in 0..60 {
        move_for(&mut world, Duration::from_millis(33));
        worst = worst.max(waits(&world));
    }
    // 20 Mbit/s for a round trip of 20 ms and 10 ms more are 300 ms; the rest leaves before the drop is
    // known.
    assert!(worst < Duration::from_millis(400), "{worst:?}");
}
