//! The desktop's clipboard: owned by us when a viewer copied, read when a program copied.
//!
//! Text (UTF-8, at most [`CLIPBOARD_LEN_MAX`] bytes) or, where there is none, an image (PNG, at most
//! [`CLIPBOARD_IMAGE_LEN_MAX`]); large selections come in pieces (ICCCM §2.7.2, INCR) and are given
//! up when they pass the bound. What a viewer copied is offered, not sent back to it.

use protocol::control::{CLIPBOARD_IMAGE_LEN_MAX, CLIPBOARD_LEN_MAX};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Property,
    SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::io::hands::HandsReport;

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
#[derive(Debug)]
pub(super) enum Copied {
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

/// The clipboard of one display.
pub(super) struct Clipboard {
    window: Window,
    atoms: Atoms,
    offered: Option<Copied>,
    asked: Asked,
    /// A selection that comes in pieces.
    incoming: Option<Vec<u8>>,
}

impl Clipboard {
    /// # Errors
    ///
    /// The server has no XFixes.
    pub(super) fn new(conn: &RustConnection, root: Window) -> anyhow::Result<Self> {
        let atoms = Atoms::new(conn)?.reply()?;
        conn.xfixes_query_version(5, 0)?.reply()?;
        let window = conn.generate_id()?;
        let events = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let class = WindowClass::INPUT_ONLY;
        conn.create_window(0, window, root, 0, 0, 1, 1, 0, class, 0, &events)?;
        conn.xfixes_select_selection_input(
            window,
            atoms.CLIPBOARD,
            SelectionEventMask::SET_SELECTION_OWNER,
        )?;
        conn.flush()?;
        Ok(Self {
            window,
            atoms,
            offered: None,
            asked: Asked::Targets,
            incoming: None,
        })
    }

    /// A viewer copied something.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub(super) fn offer(&mut self, conn: &RustConnection, copied: Copied) -> anyhow::Result<()> {
        self.offered = Some(copied);
        conn.set_selection_owner(self.window, self.atoms.CLIPBOARD, x11rb::CURRENT_TIME)?;
        conn.flush()?;
        Ok(())
    }

    /// Something happened on the display; the result is what a program copied.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub(super) fn handle_event(
        &mut self,
        conn: &RustConnection,
        event: &Event,
    ) -> anyhow::Result<Option<HandsReport>> {
        match event {
            Event::XfixesSelectionNotify(notify) if notify.owner != self.window => {
                self.offered = None;
                self.incoming = None;
                if notify.owner != x11rb::NONE {
                    self.ask(conn, Asked::Targets)?;
                }
                Ok(None)
            }
            Event::SelectionNotify(notify) if notify.property != x11rb::NONE => self.read(conn),
            Event::SelectionNotify(_) if self.asked == Asked::Targets => {
                // An owner that cannot say what it has may have text all the same.
                self.ask(conn, Asked::Text)?;
                Ok(None)
            }
            Event::PropertyNotify(notify)
                if notify.state == Property::NEW_VALUE && self.incoming.is_some() =>
            {
                self.read_piece(conn)
            }
            Event::SelectionRequest(request) => self.answer(conn, request).map(|()| None),
            _ => Ok(None),
        }
    }

    fn ask(&mut self, conn: &RustConnection, asked: Asked) -> anyhow::Result<()> {
        self.asked = asked;
        let target = match asked {
            Asked::Targets => self.atoms.TARGETS,
            Asked::Text => self.atoms.UTF8_STRING,
            Asked::Image => self.atoms.PNG,
        };
        let (name, property) = (self.atoms.CLIPBOARD, self.atoms.MULTICLAW_CLIPBOARD);
        conn.convert_selection(self.window, name, target, property, x11rb::CURRENT_TIME)?;
        conn.flush()?;
        Ok(())
    }

    fn read(&mut self, conn: &RustConnection) -> anyhow::Result<Option<HandsReport>> {
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
        if left > 0 {
            let len = bytes.len() + left;
            return Ok(Some(HandsReport::CopiedTooMuch { len }));
        }
        Ok(self.copied(bytes))
    }

    fn is_text(&self, targets: &[Atom]) -> bool {
        let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN];
        texts.iter().any(|text| targets.contains(text))
    }

    /// The deletion of a piece asks for the next; an empty piece is the end.
    fn read_piece(&mut self, conn: &RustConnection) -> anyhow::Result<Option<HandsReport>> {
        let (_, bytes, left) = self.take_property(conn)?;
        let Some(mut so_far) = self.incoming.take() else {
            return Ok(None);
        };
        if bytes.is_empty() {
            return Ok(self.copied(so_far));
        }
        so_far.extend_from_slice(&bytes);
        let len = so_far.len() + left;
        if len > self.asked.len_max() {
            return Ok(Some(HandsReport::CopiedTooMuch { len }));
        }
        self.incoming = Some(so_far);
        Ok(None)
    }

    fn copied(&self, bytes: Vec<u8>) -> Option<HandsReport> {
        let len = bytes.len();
        if len > self.asked.len_max() {
            return Some(HandsReport::CopiedTooMuch { len });
        }
        if self.asked == Asked::Image {
            return (len > 0).then_some(HandsReport::CopiedImage(bytes));
        }
        String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
            .map(HandsReport::Copied)
    }

    fn take_property(&self, conn: &RustConnection) -> anyhow::Result<(Atom, Vec<u8>, usize)> {
        let words = u32::try_from(self.asked.len_max() / 4 + 1)?;
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

    /// A program pastes what a viewer copied.
    fn answer(&self, conn: &RustConnection, request: &SelectionRequestEvent) -> anyhow::Result<()> {
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
        conn.flush()?;
        Ok(())
    }

    fn put(
        &self,
        conn: &RustConnection,
        request: &SelectionRequestEvent,
        property: Atom,
    ) -> anyhow::Result<bool> {
        let Some(offered) = &self.offered else {
            return Ok(false);
        };
        let (window, replace) = (request.requestor, PropMode::REPLACE);
        let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN, self.atoms.TEXT];
        let (kinds, bytes) = match offered {
            Copied::Text(text) => (&texts[..], text.as_bytes()),
            Copied::Image(png) => (&[self.atoms.PNG][..], &png[..]),
        };
        if request.target == self.atoms.TARGETS {
            let targets = [&[self.atoms.TARGETS], kinds].concat();
            conn.change_property32(replace, window, property, AtomEnum::ATOM, &targets)?;
            return Ok(true);
        }
        let is_text = matches!(offered, Copied::Text(_));
        let old = is_text && request.target == u32::from(AtomEnum::STRING);
        if !kinds.contains(&request.target) && !old {
            return Ok(false);
        }
        let kind = if request.target == self.atoms.TEXT {
            self.atoms.UTF8_STRING
        } else {
            request.target
        };
        // Larger than any request the server takes: it is not there.
        if bytes.len() + 64 > conn.maximum_request_bytes() {
            return Ok(false);
        }
        conn.change_property8(replace, window, property, kind, bytes)?;
        Ok(true)
    }
}
