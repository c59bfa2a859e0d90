//! The desktop's clipboard: owned by us when a viewer copied, read when a program copied.
//!
//! Text only, UTF-8, at most [`CLIPBOARD_LEN_MAX`] bytes; larger selections come in pieces (ICCCM
//! §2.7.2, INCR) and are given up when they pass the bound. What a viewer copied is offered, not
//! sent back to it.

use protocol::control::CLIPBOARD_LEN_MAX;
use x11rb::connection::Connection as _;
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
    }
}

/// The clipboard of one display.
pub(super) struct Clipboard {
    window: Window,
    atoms: Atoms,
    offered: Option<String>,
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
            incoming: None,
        })
    }

    /// A viewer copied `text`.
    ///
    /// # Errors
    ///
    /// The connection is gone.
    pub(super) fn offer(&mut self, conn: &RustConnection, text: String) -> anyhow::Result<()> {
        self.offered = Some(text);
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
                    self.ask(conn)?;
                }
                Ok(None)
            }
            Event::SelectionNotify(notify) if notify.property != x11rb::NONE => self.read(conn),
            Event::PropertyNotify(notify)
                if notify.state == Property::NEW_VALUE && self.incoming.is_some() =>
            {
                self.read_piece(conn)
            }
            Event::SelectionRequest(request) => self.answer(conn, request).map(|()| None),
            _ => Ok(None),
        }
    }

    fn ask(&self, conn: &RustConnection) -> anyhow::Result<()> {
        conn.convert_selection(
            self.window,
            self.atoms.CLIPBOARD,
            self.atoms.UTF8_STRING,
            self.atoms.MULTICLAW_CLIPBOARD,
            x11rb::CURRENT_TIME,
        )?;
        conn.flush()?;
        Ok(())
    }

    fn read(&mut self, conn: &RustConnection) -> anyhow::Result<Option<HandsReport>> {
        let (kind, bytes, left) = self.take_property(conn)?;
        if kind == self.atoms.INCR {
            self.incoming = Some(Vec::new());
            return Ok(None);
        }
        if left > 0 {
            let len = bytes.len() + left;
            return Ok(Some(HandsReport::CopiedTooMuch { len }));
        }
        Ok(copied(bytes))
    }

    /// The deletion of a piece asks for the next; an empty piece is the end.
    fn read_piece(&mut self, conn: &RustConnection) -> anyhow::Result<Option<HandsReport>> {
        let (_, bytes, left) = self.take_property(conn)?;
        let Some(mut so_far) = self.incoming.take() else {
            return Ok(None);
        };
        if bytes.is_empty() {
            return Ok(copied(so_far));
        }
        so_far.extend_from_slice(&bytes);
        let len = so_far.len() + left;
        if len > CLIPBOARD_LEN_MAX {
            return Ok(Some(HandsReport::CopiedTooMuch { len }));
        }
        self.incoming = Some(so_far);
        Ok(None)
    }

    fn take_property(&self, conn: &RustConnection) -> anyhow::Result<(Atom, Vec<u8>, usize)> {
        let words = u32::try_from(CLIPBOARD_LEN_MAX / 4 + 1)?;
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
        let Some(text) = &self.offered else {
            return Ok(false);
        };
        let (window, replace) = (request.requestor, PropMode::REPLACE);
        let texts = [self.atoms.UTF8_STRING, self.atoms.PLAIN, self.atoms.TEXT];
        if request.target == self.atoms.TARGETS {
            let targets = [&[self.atoms.TARGETS], &texts[..]].concat();
            conn.change_property32(replace, window, property, AtomEnum::ATOM, &targets)?;
            return Ok(true);
        }
        let string = u32::from(AtomEnum::STRING);
        if !texts.contains(&request.target) && request.target != string {
            return Ok(false);
        }
        let kind = if request.target == self.atoms.TEXT {
            self.atoms.UTF8_STRING
        } else {
            request.target
        };
        conn.change_property8(replace, window, property, kind, text.as_bytes())?;
        Ok(true)
    }
}

fn copied(bytes: Vec<u8>) -> Option<HandsReport> {
    if bytes.len() > CLIPBOARD_LEN_MAX {
        return Some(HandsReport::CopiedTooMuch { len: bytes.len() });
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty())
        .map(HandsReport::Copied)
}
