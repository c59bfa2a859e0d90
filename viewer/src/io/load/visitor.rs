//! One session of a load test as its books see it. The session's loop and its media thread tell what
//! happened; everything is counted from the instant the session was meant to arrive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peer::{Channel, Stats, VideoFrame};
use protocol::control::FromViewer;
use protocol::problem::Problem;

use super::super::media::unix_us;
use crate::clock::HostClock;
use crate::decode::Picture;
use crate::load::ledger::{Ledger, Metric, Visit};
use crate::load::strip::{Click, Strip};
use crate::path::Path;

/// A click that the picture has not answered by then is lost.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Clicks that wait for their answer; when full, the oldest is lost.
const WAITING_MAX: usize = 8;

/// The books of the whole load.
pub(in crate::io) struct Shared {
    pub(super) began: Instant,
    ledger: Mutex<Ledger>,
}

impl Shared {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            ledger: Mutex::default(),
        }
    }

    /// The ledger is whole after every statement made on it.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, metric: Metric, value: Duration) {
        let at = self.began.elapsed();
        self.ledger().record(metric, value, at);
    }
}

/// One session.
pub(in crate::io) struct Visitor {
    shared: Arc<Shared>,
    /// Counts the sessions of the load.
    number: usize,
    intended: Instant,
    looks: Looks,
    books: Mutex<Books>,
}

/// What a visitor does with the video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Frames are put together and counted.
    Counts,
    /// Frames are decoded too.
    Decodes,
    /// And the strip at that corner is read.
    Reads { corner: (u32, u32) },
}

#[derive(Default)]
struct Books {
    passed: Vec<Metric>,
    live_since: Option<Instant>,
    peer: Option<peer::io::Handle>,
    stats: Stats,
    losses: (f64, u64),
    path: Option<Path>,
    strip: Option<Strip>,
    clicks: u64,
    waiting: Vec<(Click, Instant)>,
}

impl Visitor {
    pub(super) fn new(shared: Arc<Shared>, number: usize, intended: Instant, looks: Looks) -> Self {
        Self {
            shared,
            number,
            intended,
            looks,
            books: Mutex::default(),
        }
    }

    pub(in crate::io) fn decodes(&self) -> bool {
        self.looks != Looks::Counts
    }

    /// The session is past a step; only the first time counts.
    pub(in crate::io) fn handle_passed(&self, step: Metric, now: Instant) {
        let mut books = self.books();
        if !books.passed.contains(&step) {
            books.passed.push(step);
            let late = now.saturating_duration_since(self.intended);
            self.shared.record(step, late);
        }
    }

    pub(in crate::io) fn handle_peer(&self, peer: peer::io::Handle) {
        self.books().peer = Some(peer);
    }

    /// Once a second.
    pub(in crate::io) fn handle_stats(
        &self,
        stats: &Stats,
        path: Option<&Path>,
        pinged: Option<Duration>,
    ) {
        let mut books = self.books();
        if let Some(loss) = stats.ingress_loss {
            books.losses = (books.losses.0 + f64::from(loss), books.losses.1 + 1);
        }
        let before = std::mem::replace(&mut books.stats, stats.clone()).bytes_received;
        books.path = path.cloned();
        drop(books);
        self.shared.ledger().media_so_far += stats.bytes_received.saturating_sub(before);
        if let Some(round_trip) = stats.round_trip.or(pinged) {
            self.shared.record(Metric::RoundTrip, round_trip);
        }
    }

    /// A whole frame came, so long after its capture.
    pub(in crate::io) fn handle_frame(&self, frame: &VideoFrame, age: Option<Duration>) {
        let now = Instant::now();
        let first = {
            let mut books = self.books();
            let first = books.live_since.is_none() && frame.key;
            if first {
                books.live_since = Some(now);
            }
            first
        };
        if first {
            self.handle_passed(Metric::FirstPacket, frame.received_at);
            self.shared.ledger().handle_live();
            if !self.decodes() {
                self.handle_passed(Metric::FirstFrame, now);
            }
        }
        let at = self.shared.began.elapsed();
        self.shared.ledger().handle_frame(age, at);
    }

    /// A picture was decoded.
    pub(in crate::io) fn handle_picture(&self, picture: &Picture<'_>, clock: &HostClock) {
        let (now, now_us) = (Instant::now(), unix_us());
        self.handle_passed(Metric::FirstFrame, now);
        self.shared.ledger().pictures += 1;
        let Looks::Reads { corner } = self.looks else {
            return;
        };
        match Strip::read(picture, corner) {
            None => self.shared.ledger().strips_missing += 1,
            Some(strip) => self.handle_strip(strip, clock, (now, now_us)),
        }
    }

    fn handle_strip(&self, strip: Strip, clock: &HostClock, (now, now_us): (Instant, u64)) {
        let mut books = self.books();
        // The first one was drawn before this session looked.
        let before = books.strip.replace(strip);
        if before.is_some_and(|before| before.drawn != strip.drawn)
            && let Some(age) = clock.since(strip.drawn_us(now_us), now_us)
        {
            self.shared.record(Metric::Picture, age);
        }
        books.waiting.retain(|(click, intended)| {
            let answered = strip.echoes.contains(click);
            if answered {
                let late = now.saturating_duration_since(*intended);
                self.shared.record(Metric::Input, late);
            }
            !answered
        });
    }

    /// Clicks on the strip; it was meant to be done at `intended`.
    pub(super) fn click(&self, intended: Instant) {
        let Looks::Reads { corner } = self.looks else {
            return;
        };
        let mut books = self.books();
        self.give_up_old(&mut books, intended);
        let (Some(peer), Some(_)) = (&books.peer, &books.strip) else {
            return;
        };
        let click = Click::of(self.number, books.clicks);
        let at =
            |corner: u32, offset: u8| u16::try_from(corner + u32::from(offset)).unwrap_or(u16::MAX);
        let (x, y) = (at(corner.0, click.x), at(corner.1, click.y));
        for down in [true, false] {
            let message = FromViewer::Button {
                down,
                button: 1,
                x,
                y,
            };
            // One that cannot be sent is one that is not answered.
            let _ = peer.send_message(Channel::Input, &message.encode());
        }
        books.clicks += 1;
        books.waiting.push((click, intended));
        self.shared.ledger().clicks += 1;
    }

    fn give_up_old(&self, books: &mut Books, now: Instant) {
        let before = books.waiting.len();
        let late = |at: &Instant| now.saturating_duration_since(*at) > ANSWER_MAX;
        books.waiting.retain(|(_, at)| !late(at));
        if books.waiting.len() >= WAITING_MAX {
            books.waiting.remove(0);
        }
        self.shared.ledger().clicks_lost += (before - books.waiting.len()) as u64;
    }

    /// The session is over. A click that had no time to be answered is not lost.
    pub(super) fn handle_end(&self, ended: Result<(), Problem>, signalling_bytes: u64) {
        let mut books = self.books();
        // Its peer must not outlive it.
        books.peer = None;
        let failure = ended
            .err()
            .map(|problem| (problem.code.to_string(), problem.cause));
        let visit = Visit {
            live: books.live_since.map_or(Duration::ZERO, |at| at.elapsed()),
            media_bytes: books.stats.bytes_received,
            signalling_bytes,
            nacks: books.stats.nacks,
            plis: books.stats.plis,
            loss: (books.losses.1 > 0).then(|| books.losses.0 / books.losses.1 as f64),
            path: books.path.as_ref().map(Path::to_string),
            failure,
        };
        drop(books);
        self.shared.ledger().handle_end(visit);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
