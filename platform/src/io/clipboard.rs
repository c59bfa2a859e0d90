//! The X clipboard of one display: owned by us while what is in it came from the other end, read
//! when a program here copied.
//!
//! Text (UTF-8, at most [`CLIPBOARD_LEN_MAX`] bytes) or, where there is none, an image (PNG, at most
//! [`CLIPBOARD_IMAGE_LEN_MAX`]), which nothing here decodes. Large selections come in pieces (ICCCM
//! §2.7.2, INCR) and are given up when they pass the bound.

use protocol::control::{CLIPBOARD_IMAGE_LEN_MAX, CLIPBOARD_LEN_MAX};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::errors::{ReplyError, ReplyOrIdError};
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Property,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Of a request, around what it carries.
const REQUEST_HEAD_LEN: usize = 64;

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
pub enum Copied {
    Text(String),
    /// A PNG.
    Image(Vec<u8>),
}

/// What reading the clipboard came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pasted {
    Copied(Copied),
    /// Past the bound, and given up at that many bytes.
    TooMuch {
        len: usize,
    },
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

/// The clipboard of one display.
#[derive(Debug)]
pub struct Clipboard {
    window: Window,
    atoms: Atoms,
    /// What came from the other end, while nobody here has copied anything since.
    offered: Option<Copied>,
    asked: Asked,
    /// A selection that comes in pieces.
    incoming: Option<Vec<u8>>,
}

impl Clipboard {
    /// # Errors
    ///
    /// The connection is gone.
    pub fn new(conn: &RustConnection, root: Window) -> Result<Self, ReplyOrIdError> {
        let atoms = Atoms::new(conn)?.reply()?;
        let window = conn.generate_id()?;
        let events = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let class = WindowClass::INPUT_ONLY;
        conn.create_window(0, window, root, 0, 0, 1, 1, 0, class, 0, &events)?
            .check()?;
        Ok(Self {
            window,
            atoms,
            offered: None,
            asked: Asked::Targets,
            incoming: None,
        })
    }

    /// Reads by itself whatever a program copies from now on.
    ///
    /// # Errors
    ///
    /// The server has no XFixes.
    pub fn watch(&self, conn: &RustConnection) -> Result<(), ReplyError> {
        conn.xfixes_query_version(5, 0)?.reply()?;
        let (name, owners) = (
            self.atoms.CLIPBOARD,
            SelectionEventMask::SET_SELECTION_OWNER,
        );
        conn.xfixes_select_selection_input(self.window, name, owners)?;
        Ok(conn.flush()?)
    }

    /// The other end copied something.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn offer(&mut self, conn: &RustConnection, copied: Copied) -> Result<(), ReplyError> {
        self.offered = Some(copied);
        conn.set_selection_owner(self.window, self.atoms.CLIPBOARD, x11rb::CURRENT_TIME)?;
        Ok(conn.flush()?)
    }

    /// Reads what a program copied, if one did; [`Clipboard::handle_event`] has it later.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn read(&mut self, conn: &RustConnection) -> Result<(), ReplyError> {
        if self.offered.is_some() {
            return Ok(());
        }
        self.ask(conn, Asked::Targets)
    }

    /// Something happened on the display; the result is what a program copied.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub fn handle_event(
        &mut self,
        conn: &RustConnection,
        event: &Event,
    ) -> Result<Option<Pasted>, ReplyError> {
        match event {
            Event::SelectionClear(_) => self.offered = None,
            Event::XfixesSelectionNotify(notify) if notify.owner != self.window => {
                self.offered = None;
                self.incoming = None;
                if notify.owner != x11rb::NONE {
                    self.ask(conn, Asked::Targets)?;
                }
            }
            Event::SelectionNotify(notify) if notify.property != x11rb::NONE => {
                return self.take_answer(conn);
            }
            // An owner that cannot say what it has may have text all the same.
            Event::SelectionNotify(_) if self.asked == Asked::Targets => {
                self.ask(conn, Asked::Text)?;
            }
            Event::PropertyNotify(notify) if notify.state == Property::NEW_VALUE => {
                return self.take_piece(conn);
            }
            Event::SelectionRequest(request) => self.answer(conn, request)?,
            _ => {}
        }
        Ok(None)
    }

    fn ask(&mut self, conn: &RustConnection, asked: Asked) -> Result<(), ReplyError> {
        (self.asked, self.incoming) = (asked, None);
        let target = match asked {
            Asked::Targets => self.atoms.TARGETS,
            Asked::Text => self.atoms.UTF8_STRING,
            Asked::Image => self.atoms.PNG,
        };
        let (name, property) = (self.atoms.CLIPBOARD, self.atoms.MULTICLAW_CLIPBOARD);
        conn.convert_selection(self.window, name, target, property, x11rb::CURRENT_TIME)?;
        Ok(conn.flush()?)
    }

    fn take_answer(&mut self, conn: &RustConnection) -> Result<Option<Pasted>, ReplyError> {
        let (kind, bytes, left) = self.take_property(conn)?;
        if kind == self.atoms.INCR {
            self.incoming = Some(Vec::new());
            return Ok(None);
        }
        if self.asked == Asked::Targets {
            let targets = bytes
                .chunks_exact(4)
                .filter_map(|atom| atom.try_into().ok());
            let targets: Vec<Atom> = targets.map(u32::from_ne_bytes).collect();
            let image = targets.contains(&self.atoms.PNG) && !self.is_text(&targets);
            self.ask(conn, if image { Asked::Image } else { Asked::Text })?;
            return Ok(None);
        }
        Ok(self.pasted(bytes, left))
    }

    fn is_text(&self, targets: &[Atom]) -> bool {
        let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN];
        texts.iter().any(|text| targets.contains(text))
    }

    /// The deletion of a piece asks for the next; an empty piece is the end.
    fn take_piece(&mut self, conn: &RustConnection) -> Result<Option<Pasted>, ReplyError> {
        let Some(mut so_far) = self.incoming.take() else {
            return Ok(None);
        };
        let (_, bytes, left) = self.take_property(conn)?;
        so_far.extend_from_slice(&bytes);
        if bytes.is_empty() || so_far.len() + left > self.asked.len_max() {
            return Ok(self.pasted(so_far, left));
        }
        self.incoming = Some(so_far);
        Ok(None)
    }

    /// `left` is how many more bytes there were.
    fn pasted(&self, bytes: Vec<u8>, left: usize) -> Option<Pasted> {
        let len = bytes.len() + left;
        if len > self.asked.len_max() {
            return Some(Pasted::TooMuch { len });
        }
        let copied = match self.asked {
            Asked::Image => Copied::Image(bytes),
            Asked::Targets | Asked::Text => Copied::Text(String::from_utf8(bytes).ok()?),
        };
        (len > 0).then_some(Pasted::Copied(copied))
    }

    fn take_property(&self, conn: &RustConnection) -> Result<(Atom, Vec<u8>, usize), ReplyError> {
        let words = u32::try_from(self.asked.len_max() / 4 + 1).unwrap_or(u32::MAX);
        let name = self.atoms.MULTICLAW_CLIPBOARD;
        let any = AtomEnum::ANY;
        let reply = conn
            .get_property(true, self.window, name, any, 0, words)?
            .reply()?;
        if reply.bytes_after > 0 {
            // The server deletes only what was read to its end.
            conn.delete_property(self.window, name)?;
        }
        Ok((reply.type_, reply.value, reply.bytes_after as usize))
    }

    /// A program pastes what the other end copied.
    fn answer(
        &self,
        conn: &RustConnection,
        request: &SelectionRequestEvent,
    ) -> Result<(), ReplyError> {
        // ICCCM §2.2: clients of old give no property.
        let property = match request.property {
            x11rb::NONE => request.target,
            property => property,
        };
        let done = self.put(conn, request, property)?;
        let notify = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if done { property } else { x11rb::NONE },
        };
        conn.send_event(false, request.requestor, EventMask::NO_EVENT, notify)?;
        Ok(conn.flush()?)
    }

    fn put(
        &self,
        conn: &RustConnection,
        request: &SelectionRequestEvent,
        property: Atom,
    ) -> Result<bool, ReplyError> {
        let (window, replace) = (request.requestor, PropMode::REPLACE);
        let atoms = &self.atoms;
        let texts = [atoms.UTF8_STRING, atoms.PLAIN, atoms.TEXT];
        let (kinds, bytes) = match &self.offered {
            Some(Copied::Text(text)) => (&texts[..], text.as_bytes()),
            Some(Copied::Image(png)) => (&[atoms.PNG][..], &png[..]),
            None => return Ok(false),
        };
        if request.target == atoms.TARGETS {
            let targets = [&[atoms.TARGETS], kinds].concat();
            conn.change_property32(replace, window, property, AtomEnum::ATOM, &targets)?;
            return Ok(true);
        }
        // For programs that know no other; it is not told, so that nobody prefers it.
        let is_text = matches!(self.offered, Some(Copied::Text(_)));
        let old = is_text && request.target == u32::from(AtomEnum::STRING);
        // Larger than any request the server takes: it is not there.
        let fits = bytes.len() + REQUEST_HEAD_LEN <= conn.maximum_request_bytes();
        if !(kinds.contains(&request.target) || old) || !fits {
            return Ok(false);
        }
        let kind = match request.target {
            target if target == atoms.TEXT => atoms.UTF8_STRING,
            target => target,
        };
        conn.change_property8(replace, window, property, kind, bytes)?;
        Ok(true)
    }
}
