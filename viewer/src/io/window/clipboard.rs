//! The viewer's own clipboard: what the desktop copied is offered to programs here, what a program
//! here copied is sent when the window asks for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use platform::io::clipboard::{Clipboard as Selection, Copied, Pasted};
use protocol::control::{FromViewer, ImageParts, image_parts};
use x11rb::connection::Connection as _;
use x11rb::errors::ReplyError;
use x11rb::protocol::Event;
use x11rb::rust_connection::RustConnection;

/// The window's end. Without a display that has selections there is no clipboard, and everything
/// else works.
pub(super) struct Clipboard {
    client: Option<Arc<Client>>,
    /// The desktop's image as far as it has come.
    image: ImageParts,
}

impl Clipboard {
    pub(super) fn start(send: impl Fn(&FromViewer) + Send + Sync + 'static) -> Self {
        let client = Client::open(Box::new(send)).map(Arc::new);
        let client = client
            .inspect_err(|error| tracing::info!(%error, "there is no clipboard to share"))
            .ok();
        if let Some(client) = client.clone() {
            let thread = thread::Builder::new().name("clipboard".into());
            let _ = thread.spawn(move || client.serve());
        }
        Self {
            client,
            image: ImageParts::default(),
        }
    }

    /// The desktop's clipboard becomes ours.
    pub(super) fn take(&self, text: String) {
        self.offer(Copied::Text(text));
    }

    /// A part of an image does.
    pub(super) fn take_image(&mut self, left: u32, part: &[u8]) {
        if let Some(png) = self.image.handle_part(left, part) {
            self.offer(Copied::Image(png));
        }
    }

    /// Ours is sent, if it is not what was taken or sent last.
    pub(super) fn share(&self) {
        self.carry_out(Selection::read);
    }

    fn offer(&self, copied: Copied) {
        self.carry_out(|selection, conn| selection.offer(conn, copied));
    }

    fn carry_out(
        &self,
        order: impl FnOnce(&mut Selection, &RustConnection) -> Result<(), ReplyError>,
    ) {
        if let Some(client) = &self.client
            && let Err(error) = client.with_selection(order)
        {
            tracing::debug!(%error, "the clipboard is gone");
        }
    }
}

/// The X client that owns or reads the selection.
struct Client {
    conn: RustConnection,
    selection: Mutex<Selection>,
    send: Box<dyn Fn(&FromViewer) + Send + Sync>,
}

impl Client {
    fn open(send: Box<dyn Fn(&FromViewer) + Send + Sync>) -> anyhow::Result<Self> {
        let (conn, screen) = x11rb::connect(None)?;
        let screen = conn.setup().roots.get(screen);
        let root = screen.map_or(x11rb::NONE, |screen| screen.root);
        let selection = Mutex::new(Selection::new(&conn, root)?);
        Ok(Self {
            conn,
            selection,
            send,
        })
    }

    /// Until the display goes away, and the window with it.
    fn serve(&self) {
        let mut sent = None;
        while let Ok(event) = self.conn.wait_for_event() {
            match self.handle_event(&event) {
                Ok(Some(Pasted::Copied(copied))) => {
                    if sent.as_ref() != Some(&copied) {
                        self.send(&copied);
                        sent = Some(copied);
                    }
                }
                Ok(Some(Pasted::TooMuch { len })) => {
                    tracing::warn!(len, "the clipboard is too large to send: copy less");
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "a clipboard event was lost"),
            }
        }
    }

    fn handle_event(&self, event: &Event) -> Result<Option<Pasted>, ReplyError> {
        self.with_selection(|selection, conn| selection.handle_event(conn, event))
    }

    fn with_selection<T>(&self, order: impl FnOnce(&mut Selection, &RustConnection) -> T) -> T {
        let selection = self.selection.lock();
        let mut selection = selection.unwrap_or_else(PoisonError::into_inner);
        order(&mut selection, &self.conn)
    }

    fn send(&self, copied: &Copied) {
        match copied {
            Copied::Text(text) => (self.send)(&FromViewer::ClipboardText(text.clone())),
            Copied::Image(png) => {
                for (left, part) in image_parts(png).into_iter().flatten() {
                    let part = part.to_vec();
                    (self.send)(&FromViewer::ClipboardImage { left, part });
                }
            }
        }
    }
}
