//! Notices that the path carries less than is believed, and limits the estimate.
//!
//! str0m's estimator remembers 1,000 packets and averages over 3 s. Where a path becomes much
//! thinner, more packets than that wait in the network within half a second; it knows nothing of
//! those that reports tell of then, and would send at the old rate for ever.
//!
//! Rule: what waits is the round trip of the newest packet that arrived, beyond the shortest of
//! late. Too much of it in two reports running (draft-holmer-rmcat-transport-wide-cc-extensions-01),
//! while less arrives than was sent, sets a limit below what arrives, deeper the more waits. From
//! then on the limit decides, and grows while nothing waits, until the estimate has caught up, or
//! packets are lost while none wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::shortest::Shortest;

/// Packets remembered, 2 s of 40 Mbit/s. When full the oldest is forgotten; a report about it says
/// nothing.
const SENT_MAX: usize = 8192;
/// Reports remembered; they come every 50 to 250 ms. When full the oldest is forgotten.
const REPORTS_MAX: usize = 64;
/// The shortest round trip counts for between one and two of these.
const BASE_AGE: Duration = Duration::from_secs(5);
/// Rates are counted over this time at least.
const WINDOW: Duration = Duration::from_millis(90);
/// More than this on the way, twice, is too much: a frame may take 50 ms.
const QUEUE_MAX: Duration = Duration::from_millis(60);
/// Less than this is an empty queue and an uneven network.
const QUEUE_EMPTY: Duration = Duration::from_millis(30);
/// Up to this share of what the path carried the limit doubles every second; then it feels its way,
/// by 7 % in the first second, three times as fast in each that follows, doubling at most.
const KNOWN_SHARE: f64 = 0.9;
const CLIMB_FIRST: f64 = 0.1;
const CLIMB_FASTER: f64 = 3.0;
/// From less it would take minutes to come back.
const LIMIT_MIN_BPS: f64 = 200_000.0;
/// The estimate is an average over this time; until then it is of the time before a cut.
const ESTIMATE_AGE: Duration = Duration::from_secs(3);
/// At least so much of the limit has to arrive for it to grow.
const USED_SHARE: f64 = 0.5;
/// What is sent is so much more than what arrives where a queue grows, if it is not somebody else's.
const GROWTH: f64 = 1.02;
/// The same while little waits, where one frame more or less is in the count.
const GROWTH_EARLY: f64 = 1.1;
/// More than this share of what was sent is lost, where none wait: that is for the estimate.
const LOSS_MAX: f64 = 0.1;

/// What was sent until one packet.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Instant,
    /// Bytes of all packets up to this one.
    total: u64,
}

/// What had arrived when a report came.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    newest: Sent,
    /// How long that one had waited on the way.
    queue: Duration,
    /// Bytes since the start.
    arrived: f64,
    lost: f64,
}

/// The packets on the way and the limit they led to.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    sent: VecDeque<Sent>,
    seen: VecDeque<Seen>,
    arrived: f64,
    lost: f64,
    base: Shortest,
    /// Reports running that told of too much.
    high: u32,
    limit: Option<Limit>,
    cut_at: Option<Instant>,
    judged_at: Option<Instant>,
}

/// Over the last [`WINDOW`], in bits per second.
#[derive(Clone, Copy, Debug)]
struct Flow {
    sent_bps: f64,
    arrived_bps: f64,
    /// Of what reports told of, 0.0–1.0.
    lost_share: f64,
}

/// Bits per second that may be sent, and how they grow.
#[derive(Clone, Copy, Debug)]
struct Limit {
    bps: f64,
    /// What arrived when it was set: the path carries about as much.
    carried_bps: f64,
    /// Doublings a second once more is sent than was carried.
    climb: f64,
}

impl Congestion {
    /// A packet with this transport-wide sequence number leaves.
    pub(crate) fn handle_sent(&mut self, sequence: u16, len: usize, now: Instant) {
        let before = self.sent.back();
        let step = |last: &Sent| u64::from(sequence.wrapping_sub(last.number as u16));
        let number = before.map_or(u64::from(sequence), |last| last.number + step(last));
        let total = before.map_or(0, |last| last.total) + len as u64;
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            number,
            at: now,
            total,
        });
    }

    /// A report tells of `count` packets from `base` on, of which `received` arrived; the last one
    /// did.
    pub(crate) fn handle_report(&mut self, base: u16, count: u16, received: usize, now: Instant) {
        let Some(newest) = self.find(base.wrapping_add(count).wrapping_sub(1)) else {
            return;
        };
        let known = self.seen.back().map(|seen| seen.newest);
        if known.is_some_and(|known| known.number >= newest.number) {
            return;
        }
        let share = received as f64 / f64::from(count.max(1));
        let bytes = newest.total - known.map_or(newest.total, |known| known.total);
        let arrived = bytes as f64 * share.min(1.0);
        self.arrived += arrived;
        self.lost += bytes as f64 - arrived;
        let round_trip = now.saturating_duration_since(newest.at);
        self.base.handle_round_trip(round_trip, BASE_AGE, now);
        let queue = round_trip.saturating_sub(self.base.get().unwrap_or_default());
        if self.seen.len() == REPORTS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            at: now,
            newest,
            queue,
            arrived: self.arrived,
            lost: self.lost,
        });
        let since = self.judged_at.replace(now);
        let Some(flow) = self.flow(now) else {
            return;
        };
        if queue < QUEUE_EMPTY {
            let since = since.map(|at| now.saturating_duration_since(at));
            self.grow(flow, since.unwrap_or_default());
        }
        self.judge(queue, flow, now);
    }

    /// What was sent in the last second, in bits per second: a probe alone is little of that.
    pub(crate) fn sent_bps(&self, now: Instant) -> u64 {
        let until = self.sent.back().map_or(0, |last| last.total);
        let before = now.checked_sub(Duration::from_secs(1));
        (until - before.map_or(until, |at| self.sent_until(at))) * 8
    }

    /// What may be sent, in bits per second, where the estimate says `estimate_bps`.
    pub(crate) fn limited(&mut self, estimate_bps: u64, now: Instant) -> u64 {
        let old = self.cut_at.is_none_or(|at| now >= at + ESTIMATE_AGE);
        let overtaken = |limit: &Limit| old && estimate_bps as f64 >= limit.bps;
        self.limit = self.limit.filter(|limit| !overtaken(limit));
        self.limit.map_or(estimate_bps, |limit| limit.bps as u64)
    }

    /// The packet of a sequence number that has come back; `None` if it is not on the way.
    fn find(&self, sequence: u16) -> Option<Sent> {
        let (first, last) = (self.sent.front()?, self.sent.back()?);
        let age = u64::from((last.number as u16).wrapping_sub(sequence));
        let number = last.number.checked_sub(age)?;
        let index = usize::try_from(number.checked_sub(first.number)?).ok()?;
        // Numbers have no gaps while every packet is told of; where they have, nothing is found.
        self.sent
            .get(index)
            .copied()
            .filter(|sent| sent.number == number)
    }

    /// Whether too much waits twice running; then cuts the limit. Where nothing waits and packets are
    /// lost all the same, the estimate knows better.
    fn judge(&mut self, queue: Duration, flow: Flow, now: Instant) {
        let much = queue > QUEUE_MAX;
        let growth = if much { GROWTH } else { GROWTH_EARLY };
        let grows = queue > QUEUE_EMPTY && flow.sent_bps > flow.arrived_bps * growth;
        let is_lossy = !much && flow.lost_share > LOSS_MAX;
        if !grows && !is_lossy {
            self.high = 0;
            return;
        }
        self.high += 1;
        let cut_just_now = self.cut_at.is_some_and(|at| now < at + WINDOW);
        if self.high < 2 || cut_just_now {
            return;
        }
        if !much {
            if is_lossy {
                self.limit = None;
            }
            return;
        }
        let (share, carried_bps) = match queue.as_millis() {
            0..150 => (0.7, self.carried_bps(now).unwrap_or(flow.arrived_bps)),
            150..400 => (0.5, flow.arrived_bps),
            _ => (0.25, flow.arrived_bps),
        };
        self.limit = Some(Limit {
            bps: (carried_bps * share).max(LIMIT_MIN_BPS),
            carried_bps,
            climb: CLIMB_FIRST,
        });
        self.cut_at = Some(now);
    }

    /// What arrived since something waits: all that the path carries.
    fn carried_bps(&self, now: Instant) -> Option<f64> {
        let busy = self.seen.iter().rev();
        let first = busy.take_while(|seen| seen.queue > QUEUE_EMPTY).last()?;
        let time = now.saturating_duration_since(first.at);
        let bits = (self.arrived - first.arrived) * 8.0;
        (time >= WINDOW / 2).then(|| bits / time.as_secs_f64())
    }

    /// A limit that nobody needs proves nothing, and stays.
    fn grow(&mut self, flow: Flow, time: Duration) {
        let used = |limit: &&mut Limit| flow.arrived_bps >= limit.bps * USED_SHARE;
        let Some(limit) = self.limit.as_mut().filter(used) else {
            return;
        };
        let seconds = time.as_secs_f64().min(1.0);
        let mut doublings = 1.0;
        if limit.bps >= limit.carried_bps * KNOWN_SHARE {
            doublings = limit.climb;
            limit.climb = (limit.climb * CLIMB_FASTER.powf(seconds)).min(1.0);
        }
        limit.bps *= (doublings * seconds).exp2();
    }

    /// What was sent and what arrived of late, the former a round trip earlier.
    fn flow(&self, now: Instant) -> Option<Flow> {
        let from = self.seen.iter().rfind(|seen| seen.at + WINDOW <= now)?;
        let shortest = self.base.get().unwrap_or_default();
        let sent = self.sent_until(now - shortest) - self.sent_until(from.at - shortest);
        let (arrived, lost) = (self.arrived - from.arrived, self.lost - from.lost);
        // Before the first of them could arrive nothing was missing.
        let first = self.find(from.newest.number.wrapping_add(1) as u16)?;
        let begun = from.at.max(first.at + shortest);
        let time = now.checked_duration_since(begun)?;
        let bps = |bytes: f64| bytes * 8.0 / time.as_secs_f64();
        (time >= WINDOW / 2).then(|| Flow {
            sent_bps: bps(sent as f64),
            arrived_bps: bps(arrived),
            lost_share: lost / (arrived + lost).max(1.0),
        })
    }

    /// Bytes sent until a moment.
    fn sent_until(&self, at: Instant) -> u64 {
        let index = self.sent.partition_point(|sent| sent.at <= at);
        let before = index.checked_sub(1).and_then(|index| self.sent.get(index));
        let first = self.sent.front().map_or(0, |sent| sent.total);
        before.map_or(first, |sent| sent.total)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::testing::start;

    const THIN_BPS: u64 = 2_000_000;
    const ESTIMATE_BPS: u64 = 20_000_000;
    const PACKET: usize = 1_200;

    /// A path that carries [`THIN_BPS`], one packet after the other, and reports every 50 ms.
    struct Line {
        congestion: Congestion,
        now: Instant,
        number: u16,
        told: u16,
        free_at: Instant,
        /// When those arrive that no report told of.
        arrivals: VecDeque<Instant>,
        report_at: Instant,
    }

    impl Line {
        fn new() -> Self {
            Self {
                congestion: Congestion::default(),
                now: start(),
                number: 0,
                told: 0,
                free_at: start(),
                arrivals: VecDeque::new(),
                report_at: start(),
            }
        }

        fn send(&mut self, packets: usize) {
            let time = Duration::from_secs_f64((PACKET * 8) as f64 / THIN_BPS as f64);
            for _ in 0..packets {
                self.congestion.handle_sent(self.number, PACKET, self.now);
                self.number = self.number.wrapping_add(1);
                self.free_at = self.free_at.max(self.now) + time;
                self.arrivals.push_back(self.free_at);
            }
        }

        fn wait(&mut self, time: Duration) {
            let until = self.now + time;
            while self.report_at <= until {
                self.now = self.report_at;
                self.report_at += Duration::from_millis(50);
                let count = self.arrivals.partition_point(|&at| at <= self.now);
                self.arrivals.drain(..count);
                if count > 0 {
                    let told = count as u16;
                    self.congestion
                        .handle_report(self.told, told, count, self.now);
                    self.told = self.told.wrapping_add(told);
                }
            }
            self.now = until;
        }

        fn limited(&mut self) -> u64 {
            self.congestion.limited(ESTIMATE_BPS, self.now)
        }
    }

    #[test]
    fn frames_of_another_size_each_do_not_end_a_limit_while_nothing_is_lost() {
        let mut line = Line::new();
        while line.limited() == ESTIMATE_BPS {
            line.send(20);
            line.wait(Duration::from_millis(33));
        }
        // Seven tenths of what the path carries.
        for packets in [2, 20, 1, 25, 3, 21].into_iter().cycle().take(30) {
            line.send(packets);
            line.wait(Duration::from_millis(83));
            let limited = line.limited();
            assert!(limited < 2 * THIN_BPS, "{limited}");
        }
    }

    #[test]
    fn what_a_probe_takes_is_not_what_is_needed() {
        let mut line = Line::new();
        line.send(1);
        line.wait(Duration::from_secs(2));
        line.send(50);
        line.wait(Duration::from_millis(20));
        assert_eq!(line.congestion.sent_bps(line.now), 480_000);
        line.wait(Duration::from_secs(1));
        assert_eq!(line.congestion.sent_bps(line.now), 0);
    }

    #[test]
    fn reports_that_lie_neither_raise_what_may_be_sent_nor_stop_it() {
        let mut rng = StdRng::seed_from_u64(11);
        let mut congestion = Congestion::default();
        let mut now = start();
        for number in 0..60_000_u32 {
            now += Duration::from_millis(1);
            congestion.handle_sent(number as u16, 1200, now);
            let [base, count, received] = std::array::from_fn(|_| rng.random::<u16>());
            congestion.handle_report(base, count, received.into(), now);
            let limited = congestion.limited(20_000_000, now);
            assert!(
                (LIMIT_MIN_BPS as u64..=20_000_000).contains(&limited),
                "{limited}"
            );
        }
    }
}
