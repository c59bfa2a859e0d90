//! The thread between a peer and everything else: frames are decoded here, the rest is handed on.
//!
//! One thread for both, so that a frame wakes nobody between the wire and the decoder.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use peer::{Channel, Event, VideoFrame};
use protocol::control::{FromHost, HostStats};
use tokio::sync::mpsc::Sender;

use super::load::visitor::Visitor;
use super::openh264::OpenH264;
use super::port::Shown;
use super::sound::Playback;
use crate::clock::HostClock;
use crate::decode::{Admission, DecodeQueue, Decoder};
use crate::stats::{Decoded, Meter};

/// What the media thread leaves for others to read.
#[derive(Default)]
pub(super) struct Books {
    pub(super) meter: Meter,
    pub(super) clock: HostClock,
    pub(super) host: HostStats,
    pub(super) first_decoded_at: Option<Instant>,
}

pub(super) type SharedBooks = Arc<Mutex<Books>>;

/// The books are whole after every statement made on them.
pub(super) fn lock(books: &SharedBooks) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Microseconds since the Unix epoch.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// What one peer of a session says to the loop; `peer` counts the peers of the session.
pub(super) struct FromPeer {
    pub(super) peer: u64,
    pub(super) event: Event,
}

/// Where what is seen and measured goes.
pub(super) struct Into {
    pub(super) books: SharedBooks,
    /// Where pictures go, if anybody looks.
    pub(super) shown: Option<Arc<Shown>>,
    pub(super) visitor: Option<Arc<Visitor>>,
    /// Where sound goes, if anybody hears it.
    pub(super) playback: Option<Arc<Playback>>,
}

struct Media {
    handle: peer::io::Handle,
    queue: DecodeQueue,
    /// `None`: frames are counted and not looked at.
    decoder: Option<OpenH264>,
    into: Into,
}

/// Starts the thread of one peer; it ends with the peer's events.
///
/// # Errors
///
/// No decoder, or no thread.
pub(super) fn start(
    (handle, mut events): (peer::io::Handle, peer::io::Events),
    into: Into,
    peer: u64,
    to_loop: Sender<FromPeer>,
) -> anyhow::Result<()> {
    let looks = into
        .visitor
        .as_ref()
        .is_none_or(|visitor| visitor.decodes());
    let mut media = Media {
        handle,
        queue: DecodeQueue::default(),
        decoder: looks.then(OpenH264::new).transpose()?,
        into,
    };
    let run = move || {
        while let Some(event) = events.blocking_recv() {
            let mut next = Some(event);
            loop {
                while let Some(event) = next.take() {
                    if let Some(event) = media.handle_event(event)
                        && to_loop.blocking_send(FromPeer { peer, event }).is_err()
                    {
                        return;
                    }
                    next = events.try_recv();
                }
                let Some(frame) = media.queue.poll_frame() else {
                    break;
                };
                media.decode(&frame);
                next = events.try_recv();
            }
        }
    };
    let thread = thread::Builder::new().name("media".into()).spawn(run);
    thread.context("the system has no thread left").map(drop)
}

impl Media {
    /// Takes what is media or measurement; gives back the rest.
    fn handle_event(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Video(frame) => {
                if let Some(visitor) = &self.into.visitor {
                    visitor.handle_frame(&frame, self.age(&frame));
                }
                if self.queue.handle_frame(frame) == Admission::AskForKeyFrame {
                    self.handle.request_key_frame();
                }
                None
            }
            Event::Audio(packet) => {
                if let Some(playback) = &self.into.playback {
                    playback.play(&packet);
                }
                let mut books = lock(&self.into.books);
                books.meter.handle_sound(packet.data.len(), packet.missing);
                None
            }
            Event::Message {
                channel: Channel::Control,
                bytes,
            } => {
                let taken = match FromHost::decode(&bytes) {
                    Ok(FromHost::Pong { sent_us, host_us }) => {
                        let now_us = unix_us();
                        lock(&self.into.books)
                            .clock
                            .handle_pong(sent_us, host_us, now_us);
                        true
                    }
                    Ok(FromHost::HostStats(stats)) => {
                        lock(&self.into.books).host = stats;
                        true
                    }
                    _ => false,
                };
                (!taken).then_some(Event::Message {
                    channel: Channel::Control,
                    bytes,
                })
            }
            other => Some(other),
        }
    }

    /// Time since the frame was captured, if the clocks can be compared.
    fn age(&self, frame: &VideoFrame) -> Option<Duration> {
        let captured_us = u64::try_from(frame.captured_unix?.as_micros()).ok()?;
        lock(&self.into.books).clock.since(captured_us, unix_us())
    }

    fn decode(&mut self, frame: &VideoFrame) {
        let started = Instant::now();
        let Some(decoder) = &mut self.decoder else {
            let mut books = lock(&self.into.books);
            books.first_decoded_at.get_or_insert(started);
            return;
        };
        let books = &self.into.books;
        let shown = self.into.shown.as_ref().filter(|_| self.queue.is_empty());
        let visitor = &self.into.visitor;
        let result = decoder.decode(&frame.data, &mut |picture| {
            let decode = started.elapsed();
            let mut books = lock(books);
            books.first_decoded_at.get_or_insert_with(Instant::now);
            let captured = frame.captured_unix.map(|at| at.as_micros());
            let captured_us = captured.and_then(|us| u64::try_from(us).ok());
            let elapsed = captured_us.and_then(|us| books.clock.since(us, unix_us()));
            books.meter.handle_decoded(Decoded {
                key: frame.key,
                width: picture.width,
                height: picture.height,
                receive: started.saturating_duration_since(frame.received_at),
                wait: Duration::ZERO,
                decode,
                capture_to_decoded: elapsed,
            });
            if let Some(visitor) = visitor {
                visitor.handle_picture(picture, &books.clock);
            }
            drop(books);
            if let Some(shown) = shown {
                shown.show(picture);
            }
        });
        if let Err(error) = result {
            tracing::debug!(%error, decoder = decoder.name(), "frame refused");
            lock(&self.into.books).meter.handle_broken();
            if self.queue.handle_refused() == Admission::AskForKeyFrame {
                self.handle.request_key_frame();
            }
        }
    }
}
