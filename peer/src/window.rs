//! How much of the picture may be on its way at once.
//!
//! Reports come every 50 ms at best: by then a path that became ten times thinner holds half a second
//! of what was sent, and sound and input wait behind it. So pictures wait here, where those overtake
//! them, and leave as fast as the other side says that they come: among them go connectivity checks
//! (RFC 8445 §7.2), which are answered at once, by browsers too.
//!
//! Rule: on the way is at most what the path carries in its usual round trip and half of that more,
//! but not less than [`QUEUE_MAX`] more; and another round trip while answers are [`FAST`]. A check goes
//! behind half of that more. If no answer comes about as soon as usual, the path is emptied once and
//! measured. Who answers no such check, or none for [`SILENCE_MAX`], gets everything at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::path::{Datagram, Selected};
use crate::shortest::Shortest;

/// On a short path as much may wait where it is as wide as it is believed to be, and ten times as much
/// where it just became ten times thinner. On a long one answers are less even than that, and who
/// waits for a late one has not sent what the path carries.
const QUEUE_MAX: Duration = Duration::from_millis(10);
/// The window is at least this: a dozen packets.
const BYTES_MIN: f64 = 16_000.0;
/// Where an answer comes no more than this later than usual, the path carries more than is believed:
/// the window holds another round trip then, so that a frame need not wait for as many answers.
const FAST: Duration = Duration::from_millis(4);
/// Packets held; as many as the engine keeps for sending. When full the oldest leaves.
const HELD_MAX: usize = 4096;
/// The last packets of a frame leave without a check among them.
const END_MAX: usize = 8;
/// Without an answer to it for so much longer than usual a check is followed by the next, while
/// something waits.
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// After this nobody answers: a queue of 16 kB on 128 kbit/s.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Checks remembered until their answer. When full the oldest is forgotten: a later one says more.
const CHECKS_MAX: usize = 16;
/// Longest username: two fragments of 256 characters (RFC 8839 §5.4).
const CHECK_LEN_MAX: usize = 640;
/// Where for so long no answer came about as soon as usual, the path may have become longer; and for
/// twice as long each time that it had not, because then it is full.
const DOUBT_AFTER: Duration = Duration::from_millis(100);
const DOUBT_AFTER_MAX: Duration = Duration::from_secs(3);
/// ICE attributes (RFC 8445 §16.1).
const PRIORITY: Attribute = Attribute(0x0024);
const ICE_CONTROLLED: Attribute = Attribute(0x8029);
/// Of a peer-reflexive candidate (RFC 8445 §5.1.2): the pair stands, so nobody looks at it.
const PEER_REFLEXIVE: u32 = 110 << 24 | 0xFFFF << 8 | 0xFF;

/// Video that waits, and what is known of the video that left.
pub(crate) struct Window {
    held: VecDeque<Datagram>,
    /// Where nothing of ours waits, as ICE's checks say and as one of ours said last.
    usual: Duration,
    alone: Duration,
    shortest: Shortest,
    doubt_after: Duration,
    /// Nothing leaves until everything has come.
    drains: bool,
    bps: f64,
    /// The last answer was no later than [`FAST`].
    is_fast: bool,
    /// Of the last packet that came, and when the last one left.
    way: Option<Selected>,
    left_at: Option<Instant>,
    /// Bytes that left, that were followed by a check, and that came.
    left: u64,
    checked: u64,
    confirmed: u64,
    checks: VecDeque<Check>,
    /// Of the checks without an answer, when the first was sent.
    silent_since: Option<Instant>,
    /// Nobody has answered a check on this way yet, or any more.
    is_open: bool,
    credentials: Option<Credentials>,
    rng: StdRng,
}

/// Sent behind so many bytes.
#[derive(Clone, Copy)]
struct Check {
    transaction: TransactionId,
    at: Instant,
    left: u64,
    /// Behind nothing of ours.
    is_alone: bool,
}

/// Of the other side, for checks of ours (RFC 8445 §7.2.2).
struct Credentials {
    username: String,
    key: Key,
}

impl Window {
    pub(crate) fn new(start_bps: u64, seed: u64) -> Self {
        Self {
            held: VecDeque::new(),
            usual: Duration::ZERO,
            alone: Duration::ZERO,
            shortest: Shortest::default(),
            doubt_after: DOUBT_AFTER,
            drains: false,
            bps: start_bps as f64,
            is_fast: false,
            way: None,
            left_at: None,
            left: 0,
            checked: 0,
            confirmed: 0,
            checks: VecDeque::new(),
            silent_since: None,
            is_open: true,
            credentials: None,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Fragments of both sides' names and the other side's password, as descriptions say them.
    pub(crate) fn handle_description(&mut self, theirs: &str, ours: &str, password: &Secret) {
        // Browsers' passwords have 24 or 32 characters; with a longer one nothing is held.
        let key = Key::short_term(password);
        self.credentials = key.map(|key| Credentials {
            username: format!("{theirs}:{ours}"),
            key,
        });
        self.open();
    }

    /// What the path is believed to carry.
    pub(crate) fn handle_estimate(&mut self, bps: u64) {
        self.bps = bps as f64;
    }

    /// How long the path takes where nothing of ours waits, once that is known.
    pub(crate) fn handle_round_trip(&mut self, usual: Option<Duration>) {
        self.usual = usual.unwrap_or(self.usual);
    }

    fn round_trip(&self) -> Duration {
        self.usual.max(self.alone)
    }

    /// Nothing waits here, and what left has come, as far as is believed.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let unconfirmed = (self.left - self.confirmed) as f64 * 8.0 / self.bps.max(1.0);
        let came_at = |left_at: Instant| left_at + QUEUE_MAX + Duration::from_secs_f64(unconfirmed);
        self.held.is_empty() && self.left_at.is_none_or(|at| now >= came_at(at))
    }

    /// Whether nothing would be overtaken.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A packet of video is ready.
    pub(crate) fn handle_video(&mut self, packet: Datagram) {
        let way = Some(Selected {
            source: packet.from,
            destination: packet.to,
        });
        if self.way != way {
            // The one before is dead, or will not be used any more.
            self.way = way;
            self.open();
        }
        self.held.push_back(packet);
    }

    /// A packet came; `false` if it answers no check of ours.
    pub(crate) fn handle_answer(&mut self, bytes: &[u8], now: Instant) -> bool {
        if self.checks.is_empty() || !is_binding_success(bytes) {
            return false;
        }
        let Ok(message) = Message::parse(bytes) else {
            return false;
        };
        let transaction = message.transaction();
        let mut checks = self.checks.iter().copied().enumerate();
        let Some((index, check)) = checks.find(|(_, check)| check.transaction == transaction)
        else {
            return false;
        };
        let key = self.credentials.as_ref().map(|one| &one.key);
        if !key.is_some_and(|key| message.verify(key)) {
            return false;
        }
        // Those before it came too.
        self.checks.drain(..=index);
        self.silent_since = self.checks.front().map(|check| check.at);
        self.confirmed = check.left;
        self.is_open = false;
        self.is_fast = now <= check.at + self.round_trip() + FAST;
        self.handle_check_time(check, now);
        true
    }

    /// In full motion something of ours always waits, so ICE's checks say nothing new. If the path may
    /// have become longer, it is emptied once, and a check goes first then.
    fn handle_check_time(&mut self, check: Check, now: Instant) {
        let round_trip = now - check.at;
        let usual_at_most = self.round_trip() + self.uneven();
        if check.is_alone {
            self.alone = round_trip;
            self.doubt_after = match round_trip > usual_at_most {
                true => DOUBT_AFTER,
                false => (self.doubt_after * 2).min(DOUBT_AFTER_MAX),
            };
            return;
        }
        self.shortest
            .handle_round_trip(round_trip, self.doubt_after, now);
        if let Some(shortest) = self.shortest.settled() {
            self.alone = self.alone.min(shortest);
            self.drains = shortest > usual_at_most;
        }
        if round_trip <= usual_at_most {
            self.doubt_after = DOUBT_AFTER;
        }
    }

    /// What leaves now, in this order: video, and checks among it.
    pub(crate) fn poll_datagram(&mut self, now: Instant) -> Option<Datagram> {
        if self.silent_since.is_some_and(|at| now >= at + SILENCE_MAX) {
            self.open();
        }
        if self.drains && self.confirmed == self.left {
            self.drains = false;
            self.shortest = Shortest::default();
            return self.check(true, now);
        }
        let next = self.held.front().map(|packet| packet.bytes.len() as u64);
        let may_leave = next.is_some_and(|len| self.has_room(len));
        let waits = next.is_some() && !may_leave;
        if self.wants_check(waits, now)
            && let Some(check) = self.check(false, now)
        {
            return Some(check);
        }
        let packet = self.held.pop_front_if(|_| may_leave)?;
        self.left += packet.bytes.len() as u64;
        self.left_at = Some(now);
        Some(packet)
    }

    /// When [`poll_datagram`](Self::poll_datagram) has something without anything having come.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let last = self.checks.back().filter(|_| !self.held.is_empty())?;
        Some(self.repeat_at(last))
    }

    fn has_room(&self, len: u64) -> bool {
        let on_the_way = self.left - self.confirmed;
        let fits = on_the_way == 0 || (on_the_way + len) as f64 <= self.bytes();
        fits && !self.drains || self.is_open || self.held.len() > HELD_MAX
    }

    /// Bytes that may be on the way.
    fn bytes(&self) -> f64 {
        let round_trips = if self.is_fast { 2 } else { 1 };
        let time = self.round_trip() * round_trips + self.uneven();
        self.carried_in(time).max(BYTES_MIN)
    }

    /// Bytes behind which a check leaves: while it is not answered they count as on the way, and what
    /// is left of the window still fills the path.
    fn unchecked(&self) -> f64 {
        self.carried_in(self.uneven() / 2).max(BYTES_MIN / 2.0)
    }

    /// How much later than usual an answer may come.
    fn uneven(&self) -> Duration {
        (self.round_trip() / 2).max(QUEUE_MAX)
    }

    fn carried_in(&self, time: Duration) -> f64 {
        self.bps / 8.0 * time.as_secs_f64()
    }

    /// Nothing is known of what is on the way.
    fn open(&mut self) {
        self.is_open = true;
        self.is_fast = false;
        self.drains = false;
        self.alone = Duration::ZERO;
        self.shortest = Shortest::default();
        self.doubt_after = DOUBT_AFTER;
        self.checks.clear();
        self.silent_since = None;
        self.checked = self.left;
        self.confirmed = self.left;
    }

    /// Behind what may go without one, or if otherwise nobody would say that there is room.
    fn wants_check(&self, waits: bool, now: Instant) -> bool {
        let since_check = (self.left - self.checked) as f64;
        if self.drains && since_check > 0.0 {
            return true;
        }
        if since_check >= self.unchecked() {
            // The end of a frame goes in front: packets of one size leave in one system call.
            let may_end = self.held.is_empty() || waits || self.held.len() > END_MAX;
            return may_end && (!self.is_open || self.checks.is_empty());
        }
        let last = self.checks.back();
        waits && last.is_none_or(|last| now >= self.repeat_at(last))
    }

    fn repeat_at(&self, check: &Check) -> Instant {
        check.at + self.round_trip() + REPEAT_AFTER
    }

    fn check(&mut self, is_alone: bool, now: Instant) -> Option<Datagram> {
        let way = self.way?;
        let credentials = self.credentials.as_ref()?;
        let transaction = TransactionId(self.rng.random());
        let mut bytes = vec![0; CHECK_LEN_MAX];
        let mut builder = Builder::new(&mut bytes, Class::Request, Method::Binding, transaction);
        builder
            .username(&credentials.username)
            .attribute(PRIORITY, &PEER_REFLEXIVE.to_be_bytes())
            // The side that answers descriptions is the controlled one (§6.1.1).
            .attribute(ICE_CONTROLLED, &0_u64.to_be_bytes())
            .integrity(&credentials.key)
            .fingerprint();
        let len = builder.finish().ok()?;
        bytes.truncate(len);
        if self.checks.len() == CHECKS_MAX {
            self.checks.pop_front();
        }
        self.checked = self.left;
        self.silent_since.get_or_insert(now);
        self.checks.push_back(Check {
            transaction,
            at: now,
            left: self.left,
            is_alone,
        });
        Some(Datagram {
            from: way.source,
            to: way.destination,
            bytes,
        })
    }
}

/// RFC 8489 §5: 0x0101.
fn is_binding_success(bytes: &[u8]) -> bool {
    matches!(bytes, [1, 1, ..])
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::testing::start;

    const LEN: usize = 1_200;
    const BPS: u64 = 20_000_000;
    const PASSWORD: &str = "a password of 24 letters";

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn window() -> Window {
        let mut window = Window::new(BPS, 1);
        window.handle_description("them", "us", &Secret::new(PASSWORD));
        window
    }

    fn push(window: &mut Window, packets: usize) {
        push_to(1, window, packets);
    }

    fn push_to(port: u16, window: &mut Window, packets: usize) {
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        for number in 0..packets {
            let mut bytes = vec![number as u8; LEN];
            bytes[0] = 128;
            window.handle_video(Datagram {
                from: address,
                to: address,
                bytes,
            });
        }
    }

    /// Packets of media that leave now, and the checks among them.
    fn leaving(window: &mut Window, now: Instant) -> (usize, Vec<Vec<u8>>) {
        let all = std::iter::from_fn(|| window.poll_datagram(now)).map(|one| one.bytes);
        let (media, checks): (Vec<_>, Vec<_>) = all.partition(|bytes| bytes[0] == 128);
        (media.len(), checks)
    }

    fn answer(check: &[u8], password: &str) -> Vec<u8> {
        let transaction = Message::parse(check).unwrap().transaction();
        let mut bytes = vec![0; 200];
        let mut builder = Builder::new(&mut bytes, Class::Success, Method::Binding, transaction);
        let key = Key::short_term(&Secret::new(password)).unwrap();
        let len = builder.integrity(&key).fingerprint().finish().unwrap();
        bytes.truncate(len);
        bytes
    }

    /// One that was answered as late as a full window is.
    fn closed() -> (Window, Instant) {
        let (mut window, now) = (window(), start());
        push(&mut window, 20);
        let (_, checks) = leaving(&mut window, now);
        window.handle_round_trip(Some(ms(1)));
        let now = now + ms(11);
        assert!(window.handle_answer(&answer(&checks[0], PASSWORD), now));
        (window, now)
    }

    #[test]
    fn until_a_check_is_answered_everything_leaves_at_once() {
        let (mut window, now) = (window(), start());
        push(&mut window, 200);
        let (media, checks) = leaving(&mut window, now);
        assert_eq!((media, checks.len()), (200, 1));
        push(&mut window, 200);
        assert_eq!(leaving(&mut window, now + ms(500)), (200, vec![]));
        assert_eq!(window.poll_timeout(), None);
    }

    #[test]
    fn no_more_leaves_than_the_path_carries_in_a_round_trip_and_ten_milliseconds() {
        let (mut window, now) = closed();
        push(&mut window, 200);
        let (mut left, checks) = leaving(&mut window, now);
        assert_eq!(leaving(&mut window, now + ms(10)), (0, vec![]));
        let mut waiting = VecDeque::from(checks);
        let mut now = now;
        while let Some(check) = waiting.pop_front() {
            // 20 Mbit/s for 11 ms.
            assert!(window.left - window.confirmed <= 27_500);
            now += ms(11);
            assert!(window.handle_answer(&answer(&check, PASSWORD), now));
            let (media, checks) = leaving(&mut window, now);
            left += media;
            waiting.extend(checks);
        }
        assert_eq!(left, 200);
    }

    #[test]
    fn where_answers_are_fast_the_window_holds_another_round_trip() {
        let (mut window, mut now) = closed();
        window.handle_round_trip(Some(ms(20)));
        let mut on_the_way = Vec::new();
        for late in [20, 24, 25, 21] {
            push(&mut window, 200);
            let (_, checks) = leaving(&mut window, now);
            on_the_way.push((window.left - window.confirmed) / 1_000);
            now += ms(late);
            let last = checks.last().unwrap();
            assert!(window.handle_answer(&answer(last, PASSWORD), now));
        }
        assert_eq!(on_the_way, [74, 124, 124, 74]);
    }

    #[test]
    fn on_a_long_path_there_are_enough_checks_to_keep_it_full() {
        let (mut window, now) = closed();
        window.handle_round_trip(Some(ms(40)));
        push(&mut window, 200);
        let (_, checks) = leaving(&mut window, now);
        // 20 Mbit/s for 60 ms, and behind 25 kB each.
        let sent_at = |check: &Check| (window.left - check.left) / 1_000;
        let behind: Vec<u64> = window.checks.iter().map(sent_at).collect();
        assert_eq!((checks.len(), behind), (5, vec![124, 99, 74, 49, 24]));
    }

    #[test]
    fn a_path_that_may_have_become_longer_is_emptied_once_and_measured() {
        let (mut window, mut now) = closed();
        let mut leaves = Vec::new();
        let mut waiting = VecDeque::new();
        while window.round_trip() < ms(40) {
            push(&mut window, 11);
            let (media, checks) = leaving(&mut window, now);
            leaves.push(media);
            waiting.extend(checks.into_iter().map(|check| (now + ms(40), check)));
            now += ms(20);
            while let Some((_, check)) = waiting.pop_front_if(|(due, _)| *due <= now) {
                assert!(window.handle_answer(&answer(&check, PASSWORD), now));
            }
        }
        // The first zero is the emptying; the second a full window of 20 Mbit/s for 11 ms.
        assert_eq!(leaves, [11, 2, 11, 11, 11, 11, 11, 11, 11, 11, 0, 22, 0]);
        push(&mut window, 200);
        leaving(&mut window, now);
        // 20 Mbit/s for 100 ms: answers are as soon as usual now.
        assert_eq!((window.left - window.confirmed) / 1_000, 249);
    }

    #[test]
    fn a_path_that_is_full_for_long_is_emptied_ever_less_often() {
        let (mut window, start) = closed();
        let mut emptied = Vec::new();
        for step in 0..500_u32 {
            let now = start + ms(20) * step;
            push(&mut window, 11);
            while let Some(packet) = window.poll_datagram(now) {
                let check = window.checks.back().copied();
                let Some(check) = check.filter(|_| packet.bytes[0] != 128) else {
                    continue;
                };
                if check.is_alone {
                    emptied.push(step * 20);
                }
                let late = if check.is_alone { ms(1) } else { ms(40) };
                let answer = answer(&packet.bytes, PASSWORD);
                assert!(window.handle_answer(&answer, now + late));
            }
        }
        assert_eq!(emptied, [160, 380, 800, 1_620, 3_240, 6_260, 9_280]);
    }

    #[test]
    fn a_check_that_is_lost_is_followed_by_another_and_after_a_second_nothing_is_held() {
        let (mut window, start) = closed();
        push(&mut window, 200);
        let (media, _) = leaving(&mut window, start);
        assert!(media < 200);
        let mut repeats = 0;
        while let Some(at) = window.poll_timeout() {
            let (more, checks) = leaving(&mut window, at);
            repeats += checks.len();
            assert!(more == 0 || at >= start + SILENCE_MAX, "{more} packets");
        }
        assert!((30..=50).contains(&repeats), "{repeats}");
        assert!(window.held.is_empty());
    }

    #[test]
    fn an_answer_that_is_forged_or_comes_again_changes_nothing() {
        let (mut window, now) = closed();
        push(&mut window, 200);
        let (_, checks) = leaving(&mut window, now);
        assert!(!window.handle_answer(&answer(&checks[0], "not the password"), now));
        assert_eq!(leaving(&mut window, now).0, 0);
        assert!(window.handle_answer(&answer(&checks[0], PASSWORD), now));
        assert!(!window.handle_answer(&answer(&checks[0], PASSWORD), now));
        for bytes in [&[][..], &[1, 1], &[1, 1, 0, 0, 0x21, 0x12], &checks[0]] {
            assert!(!window.handle_answer(bytes, now));
        }
    }

    #[test]
    fn another_way_is_not_held_to_what_is_known_of_the_one_before() {
        let (mut window, now) = closed();
        push(&mut window, 200);
        assert!(leaving(&mut window, now).0 < 200);
        push_to(2, &mut window, 200);
        leaving(&mut window, now);
        assert!(window.held.is_empty());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut window, now) = closed();
        push(&mut window, 2 * HELD_MAX);
        leaving(&mut window, now);
        assert_eq!(window.held.len(), HELD_MAX);
    }
}
