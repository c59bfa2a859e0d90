//! The hands thread: its own X connection for what viewers do to the desktop (keys and pointer by
//! XTEST, the clipboard, the screen's size), so that a grab or a large clipboard never delays the
//! picture.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::protocol::Event;
use x11rb::protocol::xkb::{self, ConnectionExt as _, ID, MapPart};
use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ConnectionExt as _, KEY_PRESS_EVENT,
    KEY_RELEASE_EVENT, MOTION_NOTIFY_EVENT, ModMask, Window,
};
use x11rb::protocol::xtest::{self, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

use platform::io::clipboard::{Clipboard, Copied, Pasted};

use crate::input::{Hands, Injection, InputEvent};
use crate::io::wait::{Inbox, Outbox, mailbox};
use crate::io::{repeat, resize};
use crate::keymap::{Key, Keymap};

/// A viewer that drags its window's edge asks many times; the last wish counts.
const RESIZE_QUIET: Duration = Duration::from_millis(150);
/// First and longest pause before a lost display is tried again.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// XTEST: a pointer motion is absolute or relative.
const ABSOLUTE: u8 = 0;
const RELATIVE: u8 = 1;

/// To the hands thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandsCommand {
    Input(InputEvent),
    SetClipboard(String),
    /// A PNG.
    SetImage(Vec<u8>),
    Resize {
        width: u16,
        height: u16,
    },
    Repeat(Repeats),
    Stop,
}

/// Who makes a held key repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// The X server, as without us.
    Server,
    /// The viewers' keyboards: what they do not send is not typed.
    Viewers,
}

/// From the hands thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandsReport {
    /// A program on the desktop copied this.
    Copied(String),
    /// A program on the desktop copied this PNG.
    CopiedImage(Vec<u8>),
    /// A program on the desktop copied so many bytes, more than a message may have.
    CopiedTooMuch { len: usize },
}

/// Takes reports; called on the hands thread.
pub type Reporter = Box<dyn Fn(HandsReport) + Send>;

/// Connects and starts the thread.
///
/// # Errors
///
/// The display is not there, or has no XTEST or XKB.
pub fn start(display: &str, report: Reporter) -> anyhow::Result<Outbox<HandsCommand>> {
    let (outbox, inbox) = mailbox()?;
    let body = Body::connect(display)?;
    let display = display.to_owned();
    std::thread::Builder::new()
        .name("hands".into())
        .spawn(move || run(&display, &inbox, &report, body))?;
    Ok(outbox)
}

fn run(display: &str, inbox: &Inbox<HandsCommand>, report: &Reporter, body: Body) {
    let mut body = Some(body);
    let mut repeats = Repeats::Server;
    let mut pause = RETRY_MIN;
    loop {
        if let Some(body) = body.as_mut() {
            pause = RETRY_MIN;
            match body.serve(inbox, report, &mut repeats) {
                Ok(()) => return,
                // The screen thread says it above DEBUG, for both.
                Err(error) => tracing::debug!(%error, "the hands lost the display"),
            }
        }
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            inbox.wait(None, Some(left));
            // Input for a display that is not there is gone.
            while let Some(command) = inbox.try_take() {
                match command {
                    HandsCommand::Stop => return,
                    HandsCommand::Repeat(by) => repeats = by,
                    _ => {}
                }
            }
        }
        pause = (pause * 2).min(RETRY_MAX);
        body = Body::connect(display).ok();
    }
}

/// What exists only while the display does.
struct Body {
    conn: RustConnection,
    root: Window,
    hands: Hands,
    clipboard: Clipboard,
    resize: Option<(u16, u16, Instant)>,
}

impl Body {
    fn connect(display: &str) -> anyhow::Result<Self> {
        let (conn, number) = RustConnection::connect(Some(display))?;
        let root = conn
            .setup()
            .roots
            .get(number)
            .context("no such screen")?
            .root;
        conn.extension_information(xtest::X11_EXTENSION_NAME)?
            .context("the X server has no XTEST extension")?;
        conn.xkb_use_extension(1, 0)?.reply()?;
        let events = xkb::EventType::NEW_KEYBOARD_NOTIFY | xkb::EventType::MAP_NOTIFY;
        conn.xkb_select_events(
            ID::USE_CORE_KBD.into(),
            0_u16.into(),
            events,
            MapPart::KEY_SYMS | MapPart::KEY_TYPES | MapPart::MODIFIER_MAP,
            MapPart::KEY_SYMS | MapPart::KEY_TYPES | MapPart::MODIFIER_MAP,
            &xkb::SelectEventsAux::new(),
        )?;
        let clipboard = Clipboard::new(&conn, root)?;
        clipboard.watch(&conn)?;
        let mut body = Self {
            conn,
            root,
            hands: Hands::default(),
            clipboard,
            resize: None,
        };
        body.unlock()?;
        body.load_keymap()?;
        Ok(body)
    }

    /// Caps and Num lock off: what a key means is the viewer's to say.
    fn unlock(&self) -> anyhow::Result<()> {
        let none = ModMask::from(0_u16);
        let locks = ModMask::LOCK | ModMask::M2;
        let core = ID::USE_CORE_KBD.into();
        self.conn
            .xkb_latch_lock_state(core, locks, none, false, 0_u8.into(), none, false, 0)?;
        Ok(())
    }

    fn load_keymap(&mut self) -> anyhow::Result<()> {
        self.hands.handle_keymap(read_keymap(&self.conn)?);
        Ok(())
    }

    fn serve(
        &mut self,
        inbox: &Inbox<HandsCommand>,
        report: &Reporter,
        repeats: &mut Repeats,
    ) -> anyhow::Result<()> {
        repeat::set(&self.conn, self.root, *repeats)?;
        loop {
            while let Some(event) = self.conn.poll_for_event()? {
                self.handle_event(event, report)?;
            }
            while let Some(command) = inbox.try_take() {
                let now = Instant::now();
                match command {
                    HandsCommand::Input(event) => self.hands.handle_event(event, now),
                    HandsCommand::SetClipboard(text) => {
                        self.clipboard.offer(&self.conn, Copied::Text(text))?;
                    }
                    HandsCommand::SetImage(png) => {
                        self.clipboard.offer(&self.conn, Copied::Image(png))?;
                    }
                    HandsCommand::Resize { width, height } => {
                        self.resize = Some((width, height, now + RESIZE_QUIET));
                    }
                    HandsCommand::Repeat(by) => {
                        *repeats = by;
                        repeat::set(&self.conn, self.root, by)?;
                    }
                    HandsCommand::Stop => {
                        self.hands.handle_event(InputEvent::ReleaseAll, now);
                        self.inject()?;
                        return repeat::set(&self.conn, self.root, Repeats::Server);
                    }
                }
                self.inject()?;
            }
            let now = Instant::now();
            self.handle_timeouts(now)?;
            // An answer awaited above may have brought events along.
            if let Some(event) = self.conn.poll_for_event()? {
                self.handle_event(event, report)?;
                continue;
            }
            let timeout = self
                .poll_timeout()
                .map(|at| at.saturating_duration_since(now));
            inbox.wait(Some(self.conn.stream().as_fd()), timeout);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let resize = self.resize.map(|(.., at)| at);
        resize.into_iter().chain(self.hands.poll_timeout()).min()
    }

    fn handle_timeouts(&mut self, now: Instant) -> anyhow::Result<()> {
        if self.hands.poll_timeout().is_some_and(|at| at <= now) {
            self.hands.handle_timeout(now);
            self.inject()?;
        }
        if let Some((width, height, _)) = self.resize.filter(|(.., at)| *at <= now) {
            self.resize = None;
            if let Err(error) = resize::resize(&self.conn, self.root, width, height) {
                tracing::debug!(%error, width, height, "the screen keeps its size");
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, event: Event, report: &Reporter) -> anyhow::Result<()> {
        match event {
            Event::XkbMapNotify(_) | Event::XkbNewKeyboardNotify(_) | Event::MappingNotify(_) => {
                self.load_keymap()
            }
            Event::Error(error) => {
                tracing::debug!(?error, "the X server refused a request");
                Ok(())
            }
            other => {
                let pasted = self.clipboard.handle_event(&self.conn, &other)?;
                if let Some(pasted) = pasted {
                    report(match pasted {
                        Pasted::Copied(Copied::Text(text)) => HandsReport::Copied(text),
                        Pasted::Copied(Copied::Image(png)) => HandsReport::CopiedImage(png),
                        Pasted::TooMuch { len } => HandsReport::CopiedTooMuch { len },
                    });
                }
                Ok(())
            }
        }
    }

    fn inject(&mut self) -> anyhow::Result<()> {
        while let Some(injection) = self.hands.poll_injection() {
            match injection {
                Injection::Key { keycode, down } => {
                    let kind = if down {
                        KEY_PRESS_EVENT
                    } else {
                        KEY_RELEASE_EVENT
                    };
                    self.fake(kind, keycode, 0, 0)?;
                }
                Injection::Button { button, down } => {
                    let kind = if down {
                        BUTTON_PRESS_EVENT
                    } else {
                        BUTTON_RELEASE_EVENT
                    };
                    self.fake(kind, button, 0, 0)?;
                }
                Injection::MoveTo { x, y } => {
                    let [x, y] = [x, y].map(|n| i16::try_from(n).unwrap_or(i16::MAX));
                    self.fake(MOTION_NOTIFY_EVENT, ABSOLUTE, x, y)?;
                }
                Injection::MoveBy { dx, dy } => {
                    let clamp = |n: i32| n.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                    self.fake(MOTION_NOTIFY_EVENT, RELATIVE, clamp(dx), clamp(dy))?;
                }
                Injection::Map { keycode, keysym } => {
                    // Twice: a lone letter would get its capital on the second level.
                    self.conn
                        .change_keyboard_mapping(1, keycode, 2, &[keysym, keysym])?;
                }
            }
        }
        self.conn.flush()?;
        Ok(())
    }

    fn fake(&self, kind: u8, detail: u8, x: i16, y: i16) -> anyhow::Result<()> {
        self.conn
            .xtest_fake_input(kind, detail, x11rb::CURRENT_TIME, self.root, x, y, 0)?;
        Ok(())
    }
}

/// The keys of the group in force.
fn read_keymap(conn: &RustConnection) -> anyhow::Result<Keymap> {
    let parts = MapPart::KEY_TYPES | MapPart::KEY_SYMS | MapPart::MODIFIER_MAP;
    let core = ID::USE_CORE_KBD.into();
    let none = MapPart::from(0_u16);
    let map = conn.xkb_get_map(
        core,
        parts,
        none,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0_u16.into(),
        0,
        0,
        0,
        0,
        0,
        0,
    )?;
    let state = conn.xkb_get_state(core)?;
    let (map, group) = (map.reply()?, usize::from(u8::from(state.reply()?.group)));
    let types = map.map.types_rtrn.unwrap_or_default();
    let mut keys: BTreeMap<u8, Key> = BTreeMap::new();
    for (keycode, sym) in (map.first_key_sym..=u8::MAX).zip(map.map.syms_rtrn.unwrap_or_default()) {
        let groups = usize::from(sym.group_info & 0x0F);
        if groups == 0 {
            keys.insert(keycode, Key::default());
            continue;
        }
        let group = group.min(groups - 1);
        let width = usize::from(sym.width);
        let syms = sym.syms.iter().skip(group * width).take(width).copied();
        let kind = sym
            .kt_index
            .get(group)
            .and_then(|&index| types.get(usize::from(index)));
        let levels = kind.map(|kind| {
            let active = kind.map.iter().filter(|entry| entry.active);
            active
                .map(|entry| (mask(entry.mods_mask), usize::from(entry.level)))
                .collect()
        });
        let key = Key {
            syms: syms.collect(),
            mask: kind.map_or(0, |kind| mask(kind.mods_mask)),
            levels: levels.unwrap_or_default(),
            sets: 0,
        };
        keys.insert(keycode, key);
    }
    for entry in map.map.modmap_rtrn.unwrap_or_default() {
        if let Some(key) = keys.get_mut(&entry.keycode) {
            key.sets = mask(entry.mods);
        }
    }
    Ok(Keymap::new(keys))
}

fn mask(mods: ModMask) -> u8 {
    (u16::from(mods) & 0xFF) as u8
}
