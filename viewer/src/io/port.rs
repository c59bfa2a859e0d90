//! Between the session's threads and the window's: the newest picture, what the host says, and
//! which peer input goes to.
//!
//! Input takes the short way: the window's thread hands it to the peer itself, and no other thread
//! has to wake up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer::Channel;
use protocol::control::FromViewer;
use protocol::signal::Policy;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use winit::event_loop::EventLoopProxy;

use crate::decode::Picture;
use crate::geometry::Area;
use crate::image::{Bgra, Changes, ImageError};

/// Wishes of the window; it has only two.
const WISHES_MAX: usize = 4;

/// What a window is told.
#[derive(Clone, Debug)]
pub(super) enum ToWindow {
    /// There is a newer picture.
    Picture,
    Status(Status),
    /// Cursor, size of the screen, clipboard.
    Host(protocol::control::FromHost),
    /// The session's thread is done.
    Over,
}

/// The session in a sentence, and what it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) words: String,
    /// What this viewer may do; `None` while it may do nothing.
    pub(super) policy: Option<Policy>,
    /// It ended and can be opened again.
    pub(super) ended: bool,
}

/// What a person wants of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Connect again after the end.
    Again,
    Leave,
}

/// The newest picture, and who waits for it.
pub(super) struct Shown {
    newest: Mutex<Newest>,
    /// Told of a picture and has not looked yet.
    told: AtomicBool,
    window: Option<EventLoopProxy<ToWindow>>,
}

/// The newest picture, and what of it nobody has looked at.
#[derive(Default)]
pub(super) struct Newest {
    pub(super) picture: Bgra,
    changes: Changes,
    unseen: Option<Area>,
}

impl Newest {
    fn show(&mut self, picture: &Picture<'_>) -> Result<(), ImageError> {
        let Some(changed) = self.changes.handle_picture(picture) else {
            return Ok(());
        };
        self.unseen = Some(self.unseen.map_or(changed, |unseen| unseen.union(changed)));
        self.picture.show_changed(picture, changed)
    }

    /// What differs from the picture at the last call.
    pub(super) fn take_unseen(&mut self) -> Option<Area> {
        self.unseen.take()
    }
}

impl Shown {
    /// Keeps the newest picture, for nobody in particular.
    pub(super) fn kept() -> Self {
        Self::new(None)
    }

    fn new(window: Option<EventLoopProxy<ToWindow>>) -> Self {
        Self {
            newest: Mutex::default(),
            told: AtomicBool::new(false),
            window,
        }
    }

    pub(super) fn show(&self, picture: &Picture<'_>) {
        if lock(&self.newest).show(picture).is_err() {
            return;
        }
        if let Some(window) = &self.window
            && !self.told.swap(true, Ordering::AcqRel)
        {
            // A window that is gone needs no picture.
            let _ = window.send_event(ToWindow::Picture);
        }
    }

    /// The newest picture; those that came before it are gone.
    pub(super) fn look(&self) -> MutexGuard<'_, Newest> {
        self.told.store(false, Ordering::Release);
        lock(&self.newest)
    }
}

type Peer = Arc<Mutex<Option<peer::io::Handle>>>;

/// The session's end of it.
pub(super) struct WindowPort {
    window: EventLoopProxy<ToWindow>,
    peer: Peer,
    pub(super) shown: Arc<Shown>,
    pub(super) wishes: Receiver<Wish>,
    last_status: Status,
}

/// The window's end of it.
pub(super) struct SessionPort {
    peer: Peer,
    pub(super) shown: Arc<Shown>,
    wishes: Sender<Wish>,
}

pub(super) fn ports(window: &EventLoopProxy<ToWindow>) -> (WindowPort, SessionPort) {
    let (to_session, wishes) = channel(WISHES_MAX);
    let (peer, shown) = (Peer::default(), Shown::new(Some(window.clone())));
    let shown = Arc::new(shown);
    let session = SessionPort {
        peer: Arc::clone(&peer),
        shown: Arc::clone(&shown),
        wishes: to_session,
    };
    let port = WindowPort {
        window: window.clone(),
        peer,
        shown,
        wishes,
        last_status: Status::default(),
    };
    (port, session)
}

impl WindowPort {
    pub(super) fn tell(&self, message: ToWindow) {
        let _ = self.window.send_event(message);
    }

    /// Tells what is different.
    pub(super) fn tell_status(&mut self, status: Status) {
        if self.last_status != status {
            self.last_status = status.clone();
            self.tell(ToWindow::Status(status));
        }
    }

    /// Input goes to this peer from now on.
    pub(super) fn set_peer(&self, peer: Option<peer::io::Handle>) {
        *lock(&self.peer) = peer;
    }
}

impl SessionPort {
    /// Sends over the channel the message belongs to. Without a connection, or when the channel is
    /// full, it is lost, as on a machine that hangs.
    pub(super) fn send(&self, message: &FromViewer) {
        if let Some(peer) = &*lock(&self.peer) {
            let _ = peer.send_message(Channel::of(message), &message.encode());
        }
    }

    pub(super) fn wish(&self, wish: Wish) {
        // A full queue holds the same wish already.
        let _ = self.wishes.try_send(wish);
    }

    /// For a thread that only sends.
    pub(super) fn sender(&self) -> impl Fn(&FromViewer) + Send + use<> {
        let (peer, shown, wishes) = (
            Arc::clone(&self.peer),
            Arc::clone(&self.shown),
            self.wishes.clone(),
        );
        let port = Self {
            peer,
            shown,
            wishes,
        };
        move |message| port.send(message)
    }
}

/// What is inside is whole after every statement made on it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
