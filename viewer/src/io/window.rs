//! The window: the newest picture at once, local cursor, keyboard, pointer, clipboard, full screen.
//!
//! winit wants the program's first thread; the session runs on another. Everything a person does
//! goes to the peer from here (see `port`).

mod canvas;
mod clipboard;
mod keysyms;
mod pointer;

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use protocol::control::{FromHost, FromViewer};
use protocol::signal::Role;
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::{DeviceEvent, DeviceId, ElementState, Ime, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop, EventLoopProxy};
use winit::keyboard::{KeyCode, ModifiersState, NamedKey, PhysicalKey};
use winit::window::{CursorGrabMode, CustomCursor, Fullscreen, Window, WindowId};

use super::port::{SessionPort, Status, ToWindow, Wish};
use crate::geometry::Size;
use crate::keys::{Keyboard, texts};
use canvas::{Canvas, Light};
use clipboard::Clipboard;
use pointer::{Hold, Pointer, View};

/// Before the desktop says how large it is.
const FIRST_SIZE: PhysicalSize<u32> = PhysicalSize::new(1280, 800);
/// A window being dragged settles for so long before the desktop follows.
const SETTLE: Duration = Duration::from_millis(250);

/// How the desktop and the window agree on a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The desktop keeps its size and is fitted into the window.
    Scale,
    /// The desktop takes the size of the window.
    Match,
}

/// # Errors
///
/// There is no display to open a window on.
pub(super) fn event_loop() -> anyhow::Result<EventLoop<ToWindow>> {
    EventLoop::with_user_event()
        .build()
        .context("no window can be opened here: set DISPLAY or WAYLAND_DISPLAY, or add --headless")
}

/// Shows the window until the session is over or the person closes it.
///
/// # Errors
///
/// The window system refused something it must give.
pub(super) fn run(
    events: EventLoop<ToWindow>,
    port: SessionPort,
    name: &str,
    fit: Fit,
) -> anyhow::Result<()> {
    let clipboard = Clipboard::start(port.sender());
    let mut app = App {
        port,
        name: name.to_owned(),
        fit,
        clipboard,
        status: Status::default(),
        screen: None,
        desktop: Size::default(),
        sized: false,
        keyboard: Keyboard::default(),
        modifiers: ModifiersState::empty(),
        pointer: Pointer::default(),
        ask_size_at: None,
        problem: None,
    };
    events
        .run_app(&mut app)
        .context("the window system failed")?;
    app.problem.map_or(Ok(()), Err)
}

/// Wakes the window from any thread.
pub(super) fn waker(events: &EventLoop<ToWindow>) -> EventLoopProxy<ToWindow> {
    events.create_proxy()
}

struct App {
    port: SessionPort,
    name: String,
    fit: Fit,
    clipboard: Clipboard,
    status: Status,
    screen: Option<OnScreen>,
    desktop: Size,
    /// The window has taken the desktop's size once.
    sized: bool,
    keyboard: Keyboard,
    modifiers: ModifiersState,
    pointer: Pointer,
    ask_size_at: Option<Instant>,
    problem: Option<anyhow::Error>,
}

/// What exists while the window does.
struct OnScreen {
    window: Rc<Window>,
    canvas: Canvas,
}

impl App {
    fn open(&mut self, events: &ActiveEventLoop) -> anyhow::Result<()> {
        let wanted = Window::default_attributes()
            .with_title(self.title())
            .with_inner_size(FIRST_SIZE);
        let window = events.create_window(wanted).context("no window")?;
        window.set_ime_allowed(true);
        let window = Rc::new(window);
        let canvas = Canvas::new(events.owned_display_handle(), Rc::clone(&window))?;
        self.screen = Some(OnScreen { window, canvas });
        Ok(())
    }

    fn title(&self) -> String {
        let words = match self.status.words.as_str() {
            "" => "Opening the session",
            words => words,
        };
        let again = if self.status.ended {
            " Press Enter to connect again."
        } else {
            ""
        };
        format!("{} – {words}{again} – MultiClaw", self.name)
    }

    fn handle_status(&mut self, status: Status) {
        let starts = self.status.policy.is_none() && status.policy.is_some();
        self.status = status;
        if starts {
            // Its host holds no key, knows no size and shares no clipboard.
            self.keyboard.forget();
            self.pointer.restart();
            self.ask_size_at = Some(Instant::now());
            self.share_clipboard();
        }
        if let Some(screen) = &self.screen {
            screen.window.set_title(&self.title());
        }
        self.draw();
    }

    fn handle_host(&mut self, message: FromHost, events: &ActiveEventLoop) {
        let Some(screen) = &self.screen else {
            return;
        };
        match message {
            FromHost::Cursor {
                width,
                height,
                hot_x,
                hot_y,
                rgba,
            } => {
                // A shape the window system refuses leaves the one before.
                if let Ok(source) = CustomCursor::from_rgba(rgba, width, height, hot_x, hot_y) {
                    screen
                        .window
                        .set_cursor(events.create_custom_cursor(source));
                }
                screen.window.set_cursor_visible(true);
            }
            FromHost::CursorHidden => screen.window.set_cursor_visible(false),
            FromHost::Screen { width, height } => {
                self.desktop = Size::new(width.into(), height.into());
                self.take_desktop_size();
            }
            FromHost::ClipboardText(text) if self.takes_clipboard() => self.clipboard.take(text),
            FromHost::ClipboardImage { left, part } if self.takes_clipboard() => {
                self.clipboard.take_image(left, &part);
            }
            // Who may not take the clipboard was sent one all the same; or it is not the window's.
            FromHost::ClipboardText(_)
            | FromHost::ClipboardImage { .. }
            | FromHost::Quality(_)
            | FromHost::Pong { .. }
            | FromHost::HostStats(_)
            | FromHost::Notice(_)
            | FromHost::Closed(_) => {}
        }
    }

    /// The first time the desktop's size is known, the window takes it, as far as there is room.
    fn take_desktop_size(&mut self) {
        let Some(screen) = &self.screen else {
            return;
        };
        if self.sized || self.fit == Fit::Match {
            return;
        }
        self.sized = true;
        let room = screen
            .window
            .current_monitor()
            .map(|monitor| monitor.size());
        let room = room.unwrap_or(FIRST_SIZE);
        let (width, height) = (self.desktop.width, self.desktop.height);
        let size = PhysicalSize::new(width.min(room.width), height.min(room.height));
        let _ = screen.window.request_inner_size(size);
    }

    fn draw(&mut self) {
        let Some(screen) = &mut self.screen else {
            return;
        };
        let light = if self.status.ended {
            Light::Dimmed
        } else {
            Light::Full
        };
        let drawn = screen.canvas.draw(&mut self.port.shown.look(), light);
        if let Err(error) = drawn {
            tracing::debug!(%error, "not drawn");
        }
    }

    fn handle_exposed(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.canvas.expose();
        }
        self.draw();
    }

    fn may_control(&self) -> bool {
        let policy = self.status.policy.as_ref();
        policy.is_some_and(|policy| policy.role == Role::Control)
    }

    fn send(&self, message: Option<FromViewer>) {
        if let Some(message) = message
            && self.may_control()
        {
            self.port.send(&message);
        }
    }

    fn takes_clipboard(&self) -> bool {
        let policy = self.status.policy.as_ref();
        policy.is_some_and(|policy| policy.clipboard_to_viewer)
    }

    fn share_clipboard(&self) {
        let policy = self.status.policy.as_ref();
        if self.may_control() && policy.is_some_and(|policy| policy.clipboard_to_host) {
            self.clipboard.share();
        }
    }

    fn view(&self) -> View {
        let placement = self.screen.as_ref().map(|on| on.canvas.placement());
        View {
            placement: placement.unwrap_or_default(),
            desktop: self.desktop,
        }
    }

    fn handle_key(&mut self, event: &KeyEvent, events: &ActiveEventLoop) {
        let down = event.state == ElementState::Pressed;
        if down && self.handle_chord(event, events) {
            return;
        }
        if self.status.ended {
            if down && event.logical_key == NamedKey::Enter {
                self.port.wish(Wish::Again);
            }
            return;
        }
        let key = keysyms::key_of(event);
        let message = match down {
            true if keysyms::is_dead(event) => None,
            true if event.repeat => self.keyboard.handle_repeat(key),
            true => self.keyboard.handle_down(key),
            false => self.keyboard.handle_up(key),
        };
        self.send(message);
    }

    /// Control, Alt, Shift and a letter are the viewer's own.
    fn handle_chord(&mut self, event: &KeyEvent, events: &ActiveEventLoop) -> bool {
        let all = ModifiersState::CONTROL | ModifiersState::ALT | ModifiersState::SHIFT;
        if !self.modifiers.contains(all) || event.repeat {
            return false;
        }
        match event.physical_key {
            PhysicalKey::Code(KeyCode::KeyF) => self.toggle_full_screen(),
            PhysicalKey::Code(KeyCode::KeyS) => self.toggle_fit(),
            PhysicalKey::Code(KeyCode::KeyL) => self.toggle_hold(),
            PhysicalKey::Code(KeyCode::KeyQ) => self.leave(events),
            _ => return false,
        }
        true
    }

    fn toggle_full_screen(&self) {
        if let Some(screen) = &self.screen {
            let next = match screen.window.fullscreen() {
                None => Some(Fullscreen::Borderless(None)),
                Some(_) => None,
            };
            screen.window.set_fullscreen(next);
        }
    }

    fn toggle_fit(&mut self) {
        self.fit = match self.fit {
            Fit::Scale => Fit::Match,
            Fit::Match => Fit::Scale,
        };
        self.ask_size_at = Some(Instant::now());
    }

    fn toggle_hold(&mut self) {
        let next = match self.pointer.hold {
            Hold::Free => Hold::Held,
            Hold::Held => Hold::Free,
        };
        self.hold_pointer(next);
    }

    fn hold_pointer(&mut self, hold: Hold) {
        let Some(screen) = &self.screen else {
            return;
        };
        let taken = match hold {
            Hold::Free => screen.window.set_cursor_grab(CursorGrabMode::None),
            // X11 confines the pointer, Wayland locks it; either counts its movements.
            Hold::Held => screen
                .window
                .set_cursor_grab(CursorGrabMode::Locked)
                .or_else(|_| screen.window.set_cursor_grab(CursorGrabMode::Confined)),
        };
        match taken {
            Ok(()) => self.pointer.hold = hold,
            Err(error) => tracing::warn!(%error, "the pointer was not taken"),
        }
    }

    fn handle_focus(&mut self, focused: bool) {
        if focused {
            return self.share_clipboard();
        }
        self.hold_pointer(Hold::Free);
        let message = self.keyboard.release_all();
        self.send(Some(message));
    }

    fn handle_resized(&mut self, size: PhysicalSize<u32>) {
        if let Some(screen) = &mut self.screen {
            screen.canvas.set_size(Size::new(size.width, size.height));
        }
        self.ask_size_at = Some(Instant::now() + SETTLE);
        self.draw();
    }

    /// Asks for a screen of the window's size, if the two are to match and it is time.
    fn ask_size(&mut self, now: Instant) {
        if self.ask_size_at.is_none_or(|at| now < at) {
            return;
        }
        self.ask_size_at = None;
        let Some(screen) = &self.screen else {
            return;
        };
        let size = screen.canvas.size();
        if self.fit == Fit::Match && !size.is_empty() {
            let (width, height) = size.wanted_screen();
            let percent = (screen.window.scale_factor() * 100.0).clamp(50.0, 400.0);
            self.send(Some(FromViewer::Resize {
                width,
                height,
                scale_percent: percent as u16,
            }));
        }
    }

    fn leave(&self, events: &ActiveEventLoop) {
        self.port.wish(Wish::Leave);
        events.exit();
    }
}

impl ApplicationHandler<ToWindow> for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.screen.is_none()
            && let Err(error) = self.open(events)
        {
            self.problem = Some(error);
            self.leave(events);
        }
    }

    fn user_event(&mut self, events: &ActiveEventLoop, event: ToWindow) {
        match event {
            ToWindow::Picture => self.draw(),
            ToWindow::Status(status) => self.handle_status(status),
            ToWindow::Host(message) => self.handle_host(message, events),
            ToWindow::Over => events.exit(),
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let view = self.view();
        match event {
            WindowEvent::CloseRequested | WindowEvent::Destroyed => self.leave(events),
            WindowEvent::RedrawRequested => self.handle_exposed(),
            WindowEvent::Resized(size) => self.handle_resized(size),
            WindowEvent::Focused(focused) => self.handle_focus(focused),
            WindowEvent::ModifiersChanged(now) => self.modifiers = now.state(),
            // Keys that were down before the window had the focus were not meant for it.
            WindowEvent::KeyboardInput {
                event,
                is_synthetic: false,
                ..
            } => self.handle_key(&event, events),
            WindowEvent::Ime(Ime::Commit(text)) => {
                for message in texts(&text) {
                    self.send(Some(message));
                }
            }
            WindowEvent::CursorMoved { position, .. } => {
                let message = self.pointer.handle_moved((position.x, position.y), view);
                self.send(message);
            }
            WindowEvent::MouseInput { state, button, .. } => {
                let down = state == ElementState::Pressed;
                let message = self.pointer.handle_button(button, down, view);
                self.send(message);
            }
            WindowEvent::MouseWheel { delta, .. } => {
                let message = self.pointer.handle_wheel(delta, view);
                self.send(message);
            }
            _ => {}
        }
    }

    fn device_event(&mut self, _: &ActiveEventLoop, _: DeviceId, event: DeviceEvent) {
        if let DeviceEvent::MouseMotion { delta } = event {
            let message = self.pointer.handle_motion(delta);
            self.send(message);
        }
    }

    fn about_to_wait(&mut self, events: &ActiveEventLoop) {
        self.ask_size(Instant::now());
        let flow = self.ask_size_at.map(ControlFlow::WaitUntil);
        events.set_control_flow(flow.unwrap_or(ControlFlow::Wait));
    }
}
