//! The thread that plays: sound goes from the media thread into a short queue and from there to
//! the sound server, which may block as long as it likes. Without a server or the libraries there
//! is silence, which is said once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peer::AudioPacket;

use super::speaker::{Libraries, Speaker};
use crate::sound::{Piece, Waiting};

/// A sound server that is not there is tried again after so long, when there is something to play.
const RETRY: Duration = Duration::from_secs(3);

/// Where the media thread leaves sound. The thread that plays ends with the last of it.
pub(super) struct Playback(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Waiting,
    closed: bool,
}

impl Playback {
    /// `None` if this machine cannot play, which is said in the log.
    pub(super) fn start() -> Option<Arc<Self>> {
        let libraries = Libraries::load()
            .inspect_err(|missing| tracing::warn!("the desktop is not heard: {missing}"))
            .ok()?;
        let shared = Arc::<Shared>::default();
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sound".into())
            .spawn(move || run(&thread, libraries))
            .inspect_err(|error| tracing::warn!("the desktop is not heard: {error}"))
            .ok()?;
        Some(Arc::new(Self(shared)))
    }

    pub(super) fn play(&self, packet: &AudioPacket) {
        self.0.lock().waiting.handle_packet(packet);
        self.0.changed.notify_one();
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    /// The queue is whole after every statement made on it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for sound; `None` when there will be none any more.
    fn next(&self) -> Option<Piece> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(piece) = queue.waiting.poll_piece() {
                return Some(piece);
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(shared: &Shared, libraries: Libraries) {
    let mut speaker: Option<Speaker> = None;
    let mut retry_at = Instant::now();
    let mut told = false;
    while let Some(piece) = shared.next() {
        if speaker.is_none() && Instant::now() >= retry_at {
            speaker = Speaker::open(libraries)
                .inspect_err(|error| say(&mut told, error))
                .ok();
            retry_at = Instant::now() + RETRY;
        }
        let Some(open) = &mut speaker else {
            continue;
        };
        match open.play(&piece) {
            Ok(()) => told = false,
            Err(error) => {
                say(&mut told, &error);
                speaker = None;
            }
        }
    }
}

fn say(told: &mut bool, error: &anyhow::Error) {
    if !std::mem::replace(told, true) {
        tracing::warn!("the desktop is not heard until the sound server is back: {error:#}");
    }
}
