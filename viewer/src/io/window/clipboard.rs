//! The viewer's own clipboard, as an X selection: what the desktop copied is offered to programs
//! here, what a program here copied is sent when it is asked for.
//!
//! Text, or where there is none a PNG. A PNG passes as it is, nothing here decodes it; either is
//! bounded as on the wire, large ones in pieces (ICCCM §2.7.2, INCR), and given up past the bound.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use protocol::control::{
    CLIPBOARD_IMAGE_LEN_MAX, CLIPBOARD_LEN_MAX, FromViewer, ImageParts, image_parts,
};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::errors::ReplyError;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Property,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

x11rb::atom_manager! {
    Atoms: AtomsCookie {
        CLIPBOARD,
        UTF8_STRING,
        TEXT,
        TARGETS,
        INCR,
        MULTICLAW_CLIPBOARD,
        PLAIN: b"text/plain;charset=utf-8",
        PNG: b"image/png",
    }
}

/// What somebody copied.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Copied {
    Text(String),
    /// A PNG.
    Image(Vec<u8>),
}

/// What the owner of the clipboard was asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Targets,
    Text,
    Image,
}

impl Asked {
    fn len_max(self) -> usize {
        match self {
            Self::Targets | Self::Text => CLIPBOARD_LEN_MAX,
            Self::Image => CLIPBOARD_IMAGE_LEN_MAX,
        }
    }
}

/// The window's end. Without a display that has selections there is no clipboard, and everything
/// else works.
pub(super) struct Clipboard {
    selection: Option<Arc<Selection>>,
    /// The desktop's image as far as it has come.
    image: ImageParts,
}

impl Clipboard {
    pub(super) fn start(send: impl Fn(&FromViewer) + Send + Sync + 'static) -> Self {
        let selection = Selection::open(Box::new(send)).map(Arc::new);
        let selection = selection
            .inspect_err(|error| tracing::info!(%error, "there is no clipboard to share"))
            .ok();
        if let Some(selection) = selection.clone() {
            let thread = thread::Builder::new().name("clipboard".into());
            let _ = thread.spawn(move || selection.serve());
        }
        Self {
            selection,
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
        self.carry_out(Selection::ask_targets);
    }

    fn offer(&self, copied: Copied) {
        self.carry_out(|selection| selection.offer(copied));
    }

    fn carry_out(&self, order: impl FnOnce(&Selection) -> Result<(), ReplyError>) {
        if let Some(selection) = &self.selection
            && let Err(error) = order(selection)
        {
            tracing::debug!(%error, "the clipboard is gone");
        }
    }
}

/// The X client that owns or reads the selection.
struct Selection {
    conn: RustConnection,
    window: Window,
    atoms: Atoms,
    state: Mutex<State>,
    send: Box<dyn Fn(&FromViewer) + Send + Sync>,
}

struct State {
    /// What the desktop copied, while nobody here has copied anything since.
    offered: Option<Copied>,
    sent: Option<Copied>,
    asked: Asked,
    /// The pieces so far of a large selection.
    incoming: Option<Vec<u8>>,
}

impl Selection {
    fn open(send: Box<dyn Fn(&FromViewer) + Send + Sync>) -> anyhow::Result<Self> {
        let (conn, screen) = x11rb::connect(None)?;
        let atoms = Atoms::new(&conn)?.reply()?;
        let root = conn
            .setup()
            .roots
            .get(screen)
            .map_or(x11rb::NONE, |root| root.root);
        let window = conn.generate_id()?;
        let events = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let class = WindowClass::INPUT_ONLY;
        conn.create_window(0, window, root, 0, 0, 1, 1, 0, class, 0, &events)?
            .check()?;
        let state = State {
            offered: None,
            sent: None,
            asked: Asked::Targets,
            incoming: None,
        };
        Ok(Self {
            conn,
            window,
            atoms,
            state: Mutex::new(state),
            send,
        })
    }

    fn offer(&self, copied: Copied) -> Result<(), ReplyError> {
        self.state().offered = Some(copied);
        let name = self.atoms.CLIPBOARD;
        self.conn
            .set_selection_owner(self.window, name, x11rb::CURRENT_TIME)?;
        Ok(self.conn.flush()?)
    }

    fn ask_targets(&self) -> Result<(), ReplyError> {
        if self.state().offered.is_some() {
            return Ok(());
        }
        self.ask(Asked::Targets)
    }

    fn ask(&self, asked: Asked) -> Result<(), ReplyError> {
        let target = match asked {
            Asked::Targets => self.atoms.TARGETS,
            Asked::Text => self.atoms.UTF8_STRING,
            Asked::Image => self.atoms.PNG,
        };
        let mut state = self.state();
        (state.asked, state.incoming) = (asked, None);
        drop(state);
        let (name, property) = (self.atoms.CLIPBOARD, self.atoms.MULTICLAW_CLIPBOARD);
        let now = x11rb::CURRENT_TIME;
        self.conn
            .convert_selection(self.window, name, target, property, now)?;
        Ok(self.conn.flush()?)
    }

    /// Until the display goes away, and the window with it.
    fn serve(&self) {
        while let Ok(event) = self.conn.wait_for_event() {
            if let Err(error) = self.handle_event(&event) {
                tracing::debug!(%error, "a clipboard event was lost");
            }
        }
    }

    fn handle_event(&self, event: &Event) -> Result<(), ReplyError> {
        match event {
            Event::SelectionClear(_) => {
                self.state().offered = None;
                Ok(())
            }
            Event::SelectionNotify(notify) if notify.property != x11rb::NONE => self.read(),
            // An owner that cannot say what it has may have text all the same.
            Event::SelectionNotify(_) if self.state().asked == Asked::Targets => {
                self.ask(Asked::Text)
            }
            Event::PropertyNotify(notify) if notify.state == Property::NEW_VALUE => {
                self.read_piece()
            }
            Event::SelectionRequest(request) => self.answer(request),
            _ => Ok(()),
        }
    }

    fn read(&self) -> Result<(), ReplyError> {
        let asked = self.state().asked;
        let (kind, bytes, left) = self.take_property(asked)?;
        if kind == self.atoms.INCR {
            self.state().incoming = Some(Vec::new());
            return Ok(());
        }
        if asked == Asked::Targets {
            let targets = bytes
                .chunks_exact(4)
                .filter_map(|atom| atom.try_into().ok());
            let targets: Vec<Atom> = targets.map(u32::from_ne_bytes).collect();
            let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN];
            let is_text = texts.iter().any(|text| targets.contains(text));
            let image = targets.contains(&self.atoms.PNG) && !is_text;
            return self.ask(if image { Asked::Image } else { Asked::Text });
        }
        self.copied(asked, bytes, left);
        Ok(())
    }

    /// The deletion of a piece asks for the next; an empty piece is the end.
    fn read_piece(&self) -> Result<(), ReplyError> {
        let mut state = self.state();
        let (asked, Some(mut so_far)) = (state.asked, state.incoming.take()) else {
            return Ok(());
        };
        drop(state);
        let (_, bytes, left) = self.take_property(asked)?;
        let past = so_far.len() + bytes.len() + left > asked.len_max();
        if bytes.is_empty() || past {
            so_far.extend_from_slice(&bytes);
            self.copied(asked, so_far, left);
            return Ok(());
        }
        so_far.extend_from_slice(&bytes);
        self.state().incoming = Some(so_far);
        Ok(())
    }

    /// A program here copied this.
    fn copied(&self, asked: Asked, bytes: Vec<u8>, left: usize) {
        let len = bytes.len() + left;
        if len > asked.len_max() {
            return tracing::warn!(len, "the clipboard is too large to send: copy less");
        }
        let copied = match asked {
            Asked::Image => Some(Copied::Image(bytes)),
            Asked::Targets | Asked::Text => String::from_utf8(bytes).ok().map(Copied::Text),
        };
        let Some(copied) = copied.filter(|_| len > 0) else {
            return;
        };
        let before = self.state().sent.replace(copied.clone());
        if before.as_ref() != Some(&copied) {
            self.send(copied);
        }
    }

    fn send(&self, copied: Copied) {
        match copied {
            Copied::Text(text) => (self.send)(&FromViewer::ClipboardText(text)),
            Copied::Image(png) => {
                for (left, part) in image_parts(&png).into_iter().flatten() {
                    let part = part.to_vec();
                    (self.send)(&FromViewer::ClipboardImage { left, part });
                }
            }
        }
    }

    fn take_property(&self, asked: Asked) -> Result<(Atom, Vec<u8>, usize), ReplyError> {
        let words = u32::try_from(asked.len_max() / 4 + 1).unwrap_or(u32::MAX);
        let name = self.atoms.MULTICLAW_CLIPBOARD;
        let any = AtomEnum::ANY;
        let reply = self
            .conn
            .get_property(true, self.window, name, any, 0, words)?
            .reply()?;
        if reply.bytes_after > 0 {
            // The server deletes only what was read to its end.
            self.conn.delete_property(self.window, name)?;
        }
        Ok((reply.type_, reply.value, reply.bytes_after as usize))
    }

    /// A program pastes what the desktop copied.
    fn answer(&self, request: &SelectionRequestEvent) -> Result<(), ReplyError> {
        // ICCCM §2.2: clients of old give no property.
        let property = match request.property {
            x11rb::NONE => request.target,
            property => property,
        };
        let done = self.put(request, property)?;
        let notify = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if done { property } else { x11rb::NONE },
        };
        self.conn
            .send_event(false, request.requestor, EventMask::NO_EVENT, notify)?;
        Ok(self.conn.flush()?)
    }

    fn put(&self, request: &SelectionRequestEvent, property: Atom) -> Result<bool, ReplyError> {
        let (window, replace) = (request.requestor, PropMode::REPLACE);
        let state = self.state();
        let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN, self.atoms.TEXT];
        let (kinds, bytes) = match &state.offered {
            Some(Copied::Text(text)) => (&texts[..], text.as_bytes()),
            Some(Copied::Image(png)) => (&[self.atoms.PNG][..], &png[..]),
            None => return Ok(false),
        };
        if request.target == self.atoms.TARGETS {
            let targets = [&[self.atoms.TARGETS], kinds].concat();
            let atom = AtomEnum::ATOM;
            self.conn
                .change_property32(replace, window, property, atom, &targets)?;
            return Ok(true);
        }
        // Larger than any request the server takes: it is not there.
        let fits = bytes.len() + 64 <= self.conn.maximum_request_bytes();
        if !kinds.contains(&request.target) || !fits {
            return Ok(false);
        }
        let kind = match request.target {
            target if target == self.atoms.TEXT => self.atoms.UTF8_STRING,
            target => target,
        };
        self.conn
            .change_property8(replace, window, property, kind, bytes)?;
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
