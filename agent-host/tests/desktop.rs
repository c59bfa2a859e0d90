//! The screen and the hands against a real X server: each test starts an Xvfb of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "real servers are waited for, in real time"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use agent_host::chroma::ChromaChoice;
use agent_host::damage::Rect;
use agent_host::encode::EncoderName;
use agent_host::input::InputEvent;
use agent_host::io::bench::Xvfb;
use agent_host::io::capture::{Screen, ScreenEvent, Watched};
use agent_host::io::hands::{self, HandsCommand, HandsReport, Repeats};
use agent_host::io::screen::{self, CodedFrame, Delivery, ScreenCommand, ScreenReport, Viewer};
use agent_host::io::wait::Outbox;
use agent_host::picture::Picture;
use protocol::control::{Chroma, FromHost, Quality};
use protocol::id::SessionId;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AutoRepeatMode, ConfigureWindowAux, ConnectionExt as _, CreateGCAux, CreateWindowAux,
    EventMask, InputFocus, Rectangle, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Longest a step may take before the test says that it never happened.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client with one window over the whole screen that notes what reaches it.
struct Client {
    conn: RustConnection,
    root: Window,
    window: Window,
}

impl Client {
    fn new(display: &str) -> Self {
        let (conn, number) = RustConnection::connect(Some(display)).unwrap();
        let root = conn.setup().roots[number].root;
        let window = conn.generate_id().unwrap();
        let look = CreateWindowAux::new().override_redirect(1).event_mask(
            EventMask::KEY_PRESS
                | EventMask::KEY_RELEASE
                | EventMask::BUTTON_PRESS
                | EventMask::POINTER_MOTION
                | EventMask::EXPOSURE,
        );
        let class = WindowClass::INPUT_OUTPUT;
        conn.create_window(24, window, root, 0, 0, 640, 480, 0, class, 0, &look)
            .unwrap();
        conn.map_window(window).unwrap();
        conn.sync().unwrap();
        conn.set_input_focus(InputFocus::NONE, window, x11rb::CURRENT_TIME)
            .unwrap();
        conn.sync().unwrap();
        Self { conn, root, window }
    }

    fn fill(&self, pixel: u32, rect: Rectangle) {
        let gc = self.conn.generate_id().unwrap();
        let ink = CreateGCAux::new().foreground(pixel);
        self.conn.create_gc(gc, self.window, &ink).unwrap();
        self.conn
            .poly_fill_rectangle(self.window, gc, &[rect])
            .unwrap();
        self.conn.sync().unwrap();
    }

    fn wait_event(&self) -> Event {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.conn.poll_for_event().unwrap() {
                return event;
            }
            assert!(Instant::now() < until, "the X server sent nothing more");
            std::thread::yield_now();
        }
    }

    /// The next keysyms typed, as this client's own look at the keyboard map has them.
    fn typed(&self, count: usize) -> Vec<u32> {
        let mut typed = Vec::new();
        while typed.len() < count {
            let Event::KeyPress(press) = self.wait_event() else {
                continue;
            };
            let map = self
                .conn
                .get_keyboard_mapping(press.detail, 1)
                .unwrap()
                .reply()
                .unwrap();
            let state = u16::from(press.state);
            let level = usize::from(state & 1 != 0) + if state & 0x80 != 0 { 4 } else { 0 };
            let keysym = map.keysyms.get(level).copied().unwrap_or(0);
            if !(0xFFE1..=0xFFEE).contains(&keysym) && keysym != 0xFE03 {
                typed.push(keysym);
            }
        }
        typed
    }
}

fn rectangle(x: i16, y: i16, width: u16, height: u16) -> Rectangle {
    Rectangle {
        x,
        y,
        width,
        height,
    }
}

fn wait_screen(screen: &mut Screen) -> ScreenEvent {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = screen.poll_event().unwrap() {
            return event;
        }
        assert!(Instant::now() < until, "the screen told nothing");
        std::thread::yield_now();
    }
}

struct Recorder {
    chroma: Chroma,
    frames: std::sync::mpsc::Sender<CodedFrame>,
    messages: std::sync::mpsc::Sender<FromHost>,
}

impl Viewer for Recorder {
    fn chroma(&self) -> Chroma {
        self.chroma
    }

    fn send_video(&self, frame: &CodedFrame) -> Delivery {
        let _ = self.frames.send(frame.clone());
        Delivery::Sent
    }

    fn send_control(&self, message: &FromHost) {
        let _ = self.messages.send(message.clone());
    }
}

fn start_screen(display: &str, chroma: ChromaChoice) -> Outbox<ScreenCommand> {
    screen::start(display, EncoderName::X264, chroma, Box::new(|_| {})).unwrap()
}

/// A screen whose viewers asked for the quality that carries 4:4:4.
fn start_sharp_screen(display: &str, chroma: ChromaChoice) -> Outbox<ScreenCommand> {
    let screen = start_screen(display, chroma);
    screen.send(ScreenCommand::Quality(Quality::Sharp)).unwrap();
    screen
}

fn session() -> SessionId {
    "00000000-0000-0000-0000-000000000001".parse().unwrap()
}

fn recorder() -> (Box<Recorder>, Receiver<CodedFrame>, Receiver<FromHost>) {
    recorder_of(Chroma::Yuv420)
}

fn recorder_of(chroma: Chroma) -> (Box<Recorder>, Receiver<CodedFrame>, Receiver<FromHost>) {
    let (frames, framed) = channel();
    let (messages, told) = channel();
    let recorder = Recorder {
        chroma,
        frames,
        messages,
    };
    (Box::new(recorder), framed, told)
}

fn key(keysym: u32) -> [HandsCommand; 2] {
    [true, false].map(|down| {
        HandsCommand::Input(InputEvent::Key {
            down,
            keysym,
            code: 0,
        })
    })
}

#[test]
fn only_the_damaged_box_is_reported_and_read() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let mut screen = Screen::connect(&server.display).unwrap();
    let mut picture = Picture::new(640, 480, Chroma::Yuv420);
    assert!(screen.is_shared());
    screen.read(&[screen.whole()], &mut picture).unwrap();
    picture.plan();
    picture.handle_coded(
        agent_host::encode::FrameKind::Key,
        agent_host::encode::Qp(20),
    );
    screen.watch(Watched::Yes).unwrap();
    // The server begins with all of it.
    let whole = screen.whole();
    assert_eq!(wait_screen(&mut screen), ScreenEvent::Damaged(whole));

    client.fill(0x00FF_FFFF, rectangle(101, 51, 20, 10));
    let event = wait_screen(&mut screen);
    let damaged = Rect::new(100, 50, 22, 12);
    assert_eq!(event, ScreenEvent::Damaged(damaged));

    // Drawn elsewhere before the read: a read of the whole screen would bring it along.
    client.fill(0x00FF_FFFF, rectangle(400, 300, 8, 8));
    screen.read(&[damaged], &mut picture).unwrap();
    let luma = |x: usize, y: usize| picture.planes()[0][y * 640 + x];
    assert_eq!(luma(101, 51), 235);
    assert_eq!(luma(100, 50), 16);
    assert_eq!(luma(404, 304), 16);
    // Two macroblocks wide (96..128), two high (48..64 only one): what changed and no more.
    assert_eq!(picture.stale().blocks, 2);
}

#[test]
fn a_screen_larger_than_the_shared_memory_arrives_whole_and_in_order() {
    const ROWS: usize = 8;
    let (width, height) = (1280, 1024);
    let server = Xvfb::start("1280x1024").unwrap();
    let client = Client::new(&server.display);
    let size = ConfigureWindowAux::new().width(1280).height(1024);
    client.conn.configure_window(client.window, &size).unwrap();
    let mut screen = Screen::connect(&server.display).unwrap();
    let mut picture = Picture::new(1280, 1024, Chroma::Yuv420);
    let grey = |band: usize| u32::try_from(band % 16 * 16).unwrap() * 0x01_0101;
    for band in 0..height / ROWS {
        let top = i16::try_from(band * ROWS).unwrap();
        client.fill(grey(band), rectangle(0, top, 1280, 8));
    }
    screen.read(&[screen.whole()], &mut picture).unwrap();
    for (y, row) in picture.planes()[0].chunks(width).enumerate() {
        // Limited range: 219 steps from black at 16 to white.
        let drawn = (grey(y / ROWS) & 255) as f64 * 219.0 / 255.0 + 16.0;
        let seen = row
            .iter()
            .all(|&luma| (f64::from(luma) - drawn).abs() < 1.5);
        assert!(seen, "row {y}: {:?} for {drawn}", &row[..4]);
    }
}

#[test]
fn a_change_becomes_a_frame_a_still_screen_is_refined_and_then_silent() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let screen = start_screen(&server.display, ChromaChoice::Auto);
    let (viewer, frames, told) = recorder();
    screen
        .send(ScreenCommand::Watch(session(), viewer))
        .unwrap();
    let first = frames.recv_timeout(PATIENCE).unwrap();
    assert!(first.key);
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        FromHost::Screen {
            width: 640,
            height: 480
        }
    );
    assert!(matches!(
        told.recv_timeout(PATIENCE).unwrap(),
        FromHost::Cursor { .. } | FromHost::CursorHidden
    ));
    // Refinement ends; then nothing comes before the keep-alive.
    while frames.recv_timeout(Duration::from_millis(700)).is_ok() {}

    client.fill(0x0000_00FF, rectangle(10, 10, 30, 30));
    let frame = frames.recv_timeout(PATIENCE).unwrap();
    assert!(!frame.key);
    assert!(frame.data.len() < 2000, "{}", frame.data.len());

    // The same pixels again: damage, but nothing to send but what refines or keeps alive.
    while frames.recv_timeout(Duration::from_millis(700)).is_ok() {}
    client.fill(0x0000_00FF, rectangle(10, 10, 30, 30));
    assert!(frames.recv_timeout(Duration::from_millis(300)).is_err());

    screen.send(ScreenCommand::KeyWanted).unwrap();
    assert!(frames.recv_timeout(PATIENCE).unwrap().key);
    screen.send(ScreenCommand::Stop).unwrap();
}

/// One-pixel lines, red on blue: 4:2:0 shows neither.
fn draw_lines(client: &Client) {
    client.fill(0x0000_00FF, rectangle(0, 0, 320, 240));
    for y in (0..240).step_by(2) {
        client.fill(0x00FF_0000, rectangle(0, y, 320, 1));
    }
}

/// Waits for a key frame of that chroma: parameter sets of its profile, then an IDR slice.
fn expect_key(frames: &Receiver<CodedFrame>, chroma: Chroma) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let frame = frames.recv_timeout(left).expect("the chroma changes");
        if frame.chroma != chroma {
            continue;
        }
        assert!(frame.key, "a chroma begins with a key frame");
        let profile = if chroma == Chroma::Yuv444 { 244 } else { 66 };
        assert_eq!(frame.data[..6], [0, 0, 0, 1, 0x67, profile]);
        return;
    }
}

#[test]
fn coloured_lines_bring_4_4_4_and_a_viewer_who_cannot_take_it_brings_4_2_0_back() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    draw_lines(&client);
    let screen = start_sharp_screen(&server.display, ChromaChoice::Auto);
    let (viewer, frames, _told) = recorder_of(Chroma::Yuv444);
    screen
        .send(ScreenCommand::Watch(session(), viewer))
        .unwrap();
    expect_key(&frames, Chroma::Yuv420);
    expect_key(&frames, Chroma::Yuv444);

    let other = "00000000-0000-0000-0000-000000000002".parse().unwrap();
    let (plain, plain_frames, _told) = recorder();
    screen.send(ScreenCommand::Watch(other, plain)).unwrap();
    expect_key(&frames, Chroma::Yuv420);
    let first = plain_frames.recv_timeout(PATIENCE).unwrap();
    assert!(first.key && first.chroma == Chroma::Yuv420);

    // When it is gone, the colours come back.
    screen.send(ScreenCommand::Unwatch(other)).unwrap();
    expect_key(&frames, Chroma::Yuv444);
    screen.send(ScreenCommand::Stop).unwrap();
}

#[test]
fn a_grey_screen_stays_4_2_0_and_so_does_a_coloured_one_where_the_operator_says_so() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    for chroma in [ChromaChoice::Auto, ChromaChoice::Yuv420] {
        let screen = start_sharp_screen(&server.display, chroma);
        let (viewer, frames, _told) = recorder_of(Chroma::Yuv444);
        screen
            .send(ScreenCommand::Watch(session(), viewer))
            .unwrap();
        // Until it is refined and silent: the look comes before that.
        while let Ok(frame) = frames.recv_timeout(Duration::from_millis(700)) {
            assert_eq!(frame.chroma, Chroma::Yuv420);
        }
        screen.send(ScreenCommand::Stop).unwrap();
        draw_lines(&client);
    }
}

/// On a display that no other test is given: those get the lowest number that is free, which may be
/// the one of a server that just ended.
fn own_server(number: u32, size: &str) -> KillOnDrop {
    let server = Command::new("Xvfb")
        .arg(format!(":{number}"))
        .args(["-screen", "0", &format!("{size}x24")])
        .args(["-noreset", "-nolisten", "tcp"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    KillOnDrop(server)
}

#[test]
fn a_display_that_goes_away_is_said_and_come_back_to() {
    let number = 1000 + std::process::id() % 30_000;
    let server = own_server(number, "320x240");
    let display = format!(":{number}");
    let until = Instant::now() + PATIENCE;
    while x11rb::connect(Some(&display)).is_err() {
        assert!(Instant::now() < until, "no X server at {display}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (reports, reported) = channel();
    let report = Box::new(move |report| drop(reports.send(report)));
    let screen = screen::start(&display, EncoderName::X264, ChromaChoice::Auto, report).unwrap();
    let next = || reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), ScreenReport::Captured(true));
    let (viewer, frames, _told) = recorder();
    screen
        .send(ScreenCommand::Watch(session(), viewer))
        .unwrap();
    frames.recv_timeout(PATIENCE).unwrap();

    drop(server);
    assert_eq!(next(), ScreenReport::Captured(false));
    let again = own_server(number, "400x300");
    assert_eq!(next(), ScreenReport::Captured(true));
    while frames.recv_timeout(PATIENCE).is_ok_and(|frame| !frame.key) {}
    drop(again);
}

struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn typed_keys_arrive_with_their_meaning_even_if_the_layout_lacks_them() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let hands = hands::start(&server.display, Box::new(|_| {})).unwrap();
    // a, A without Shift held, @, Return, €, ä, a Greek and a Chinese letter.
    let keysyms = [
        0x61,
        0x41,
        0x40,
        0xFF0D,
        0x20AC,
        0xE4,
        0x0100_03B1,
        0x0100_4E2D,
    ];
    for keysym in keysyms {
        for command in key(keysym) {
            hands.send(command).unwrap();
        }
    }
    assert_eq!(client.typed(keysyms.len()), keysyms);
    hands.send(HandsCommand::Stop).unwrap();
}

/// The X server repeats a held key after 660 ms; a release that comes later is a stalled network.
const STALL: Duration = Duration::from_millis(1500);

fn press(down: bool) -> HandsCommand {
    HandsCommand::Input(InputEvent::Key {
        down,
        keysym: 0x61,
        code: 0,
    })
}

fn auto_repeat(client: &Client) -> AutoRepeatMode {
    let control = client.conn.get_keyboard_control().unwrap();
    control.reply().unwrap().global_auto_repeat
}

fn wait_auto_repeat(client: &Client, mode: AutoRepeatMode) {
    let until = Instant::now() + PATIENCE;
    while auto_repeat(client) != mode {
        assert!(Instant::now() < until, "never {mode:?}");
    }
}

#[test]
fn a_key_whose_release_is_late_types_one_letter_and_repeats_come_from_the_viewer() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let hands = hands::start(&server.display, Box::new(|_| {})).unwrap();
    let send = |command| hands.send(command).unwrap();
    send(HandsCommand::Repeat(Repeats::Viewers));
    send(press(true));
    std::thread::sleep(STALL);
    // Two repeats of the viewer's own.
    send(press(true));
    std::thread::sleep(Duration::from_millis(40));
    send(press(true));
    send(press(false));
    let [mut pressed, mut released] = [0, 0];
    while pressed != released || pressed < 3 {
        match client.wait_event() {
            Event::KeyPress(_) => pressed += 1,
            Event::KeyRelease(_) => released += 1,
            _ => {}
        }
    }
    assert_eq!(pressed, 3);
    send(HandsCommand::Stop);
}

#[test]
fn the_servers_own_repeat_comes_back_even_after_an_agent_host_was_killed() {
    let server = Xvfb::start("320x240").unwrap();
    let client = Client::new(&server.display);
    assert_eq!(auto_repeat(&client), AutoRepeatMode::ON);
    let killed = hands::start(&server.display, Box::new(|_| {})).unwrap();
    killed.send(HandsCommand::Repeat(Repeats::Viewers)).unwrap();
    wait_auto_repeat(&client, AutoRepeatMode::OFF);

    // Another one finds the note, as it would of one that is gone.
    let next = hands::start(&server.display, Box::new(|_| {})).unwrap();
    wait_auto_repeat(&client, AutoRepeatMode::ON);
    next.send(HandsCommand::Repeat(Repeats::Viewers)).unwrap();
    wait_auto_repeat(&client, AutoRepeatMode::OFF);
    next.send(HandsCommand::Stop).unwrap();
    wait_auto_repeat(&client, AutoRepeatMode::ON);
    killed.send(HandsCommand::Stop).unwrap();
}

#[test]
fn text_of_more_letters_than_spare_keys_arrives_whole_and_in_order() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let hands = hands::start(&server.display, Box::new(|_| {})).unwrap();
    let text: String = (0x4E00..0x4E00 + 60).filter_map(char::from_u32).collect();
    let expected: Vec<u32> = text.chars().map(|c| 0x0100_0000 | u32::from(c)).collect();
    hands
        .send(HandsCommand::Input(InputEvent::Text(text)))
        .unwrap();
    assert_eq!(client.typed(60), expected);
    hands.send(HandsCommand::Stop).unwrap();
}

#[test]
fn pointer_buttons_and_wheel_arrive_where_they_were_made() {
    let server = Xvfb::start("640x480").unwrap();
    let client = Client::new(&server.display);
    let hands = hands::start(&server.display, Box::new(|_| {})).unwrap();
    let send = |event| hands.send(HandsCommand::Input(event)).unwrap();
    send(InputEvent::Button {
        down: true,
        button: 1,
        at: Some((123, 45)),
    });
    send(InputEvent::ReleaseAll);
    send(InputEvent::MoveBy { dx: 7, dy: -5 });
    send(InputEvent::Wheel {
        dx: 0,
        dy: 240,
        at: None,
    });
    let mut presses = Vec::new();
    while presses.len() < 3 {
        if let Event::ButtonPress(press) = client.wait_event() {
            presses.push((press.detail, press.root_x, press.root_y));
        }
    }
    assert_eq!(presses, [(1, 123, 45), (5, 130, 40), (5, 130, 40)]);
    let pointer = client.conn.query_pointer(client.root).unwrap();
    let held = u16::from(pointer.reply().unwrap().mask) & 0x1F00;
    assert_eq!(held, 0);
    hands.send(HandsCommand::Stop).unwrap();
}

#[test]
fn the_clipboard_goes_both_ways_large_ones_too() {
    let server = Xvfb::start("320x240").unwrap();
    let (reports, reported) = channel();
    let report = Box::new(move |report| drop(reports.send(report)));
    let hands = hands::start(&server.display, report).unwrap();
    let next = || reported.recv_timeout(PATIENCE).unwrap();

    copy(&server.display, "grüße".as_bytes());
    assert_eq!(next(), HandsReport::Copied("grüße".into()));
    // Larger than one property of an old server: xclip sends it in pieces.
    let large = "0123456789".repeat(20_000);
    copy(&server.display, large.as_bytes());
    assert_eq!(next(), HandsReport::Copied(large));
    copy(&server.display, &vec![b'x'; 1024 * 1024]);
    assert!(matches!(next(), HandsReport::CopiedTooMuch { .. }));

    hands
        .send(HandsCommand::SetClipboard("from the viewer €".into()))
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while paste(&server.display) != "from the viewer €" {
        assert!(Instant::now() < until, "the desktop never got it");
    }
    hands.send(HandsCommand::Stop).unwrap();
}

#[test]
fn an_image_goes_both_ways_and_one_too_large_is_said() {
    let server = Xvfb::start("320x240").unwrap();
    let (reports, reported) = channel();
    let report = Box::new(move |report| drop(reports.send(report)));
    let hands = hands::start(&server.display, report).unwrap();
    let next = || reported.recv_timeout(PATIENCE).unwrap();
    let png = |len: usize| {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        png.resize(len, 7);
        png
    };

    for len in [100, 700 * 1024] {
        copy_as(&server.display, "image/png", &png(len));
        assert_eq!(next(), HandsReport::CopiedImage(png(len)));
    }
    copy_as(&server.display, "image/png", &png(800 * 1024));
    assert!(matches!(next(), HandsReport::CopiedTooMuch { .. }));

    hands.send(HandsCommand::SetImage(png(700 * 1024))).unwrap();
    let until = Instant::now() + PATIENCE;
    while paste_as(&server.display, "image/png") != png(700 * 1024) {
        assert!(Instant::now() < until, "the desktop never got it");
    }
    assert_eq!(paste_as(&server.display, "UTF8_STRING"), b"");
    hands.send(HandsCommand::Stop).unwrap();
}

fn copy(display: &str, text: &[u8]) {
    copy_as(display, "UTF8_STRING", text);
}

fn copy_as(display: &str, target: &str, text: &[u8]) {
    let mut xclip = Command::new("xclip")
        .args(["-display", display, "-selection", "clipboard", "-in"])
        .args(["-target", target])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("install the package xclip");
    xclip.stdin.take().unwrap().write_all(text).unwrap();
    xclip.wait().unwrap();
}

fn paste(display: &str) -> String {
    String::from_utf8_lossy(&paste_as(display, "UTF8_STRING")).into_owned()
}

fn paste_as(display: &str, target: &str) -> Vec<u8> {
    let output = Command::new("xclip")
        .args(["-display", display, "-selection", "clipboard", "-out"])
        .args(["-target", target])
        .output()
        .expect("install the package xclip");
    output.stdout
}

#[test]
fn the_screen_takes_the_viewers_size_and_the_picture_follows() {
    let server = Xvfb::start("1280x800").unwrap();
    let hands = hands::start(&server.display, Box::new(|_| {})).unwrap();
    let screen = start_screen(&server.display, ChromaChoice::Auto);
    let (viewer, frames, told) = recorder();
    screen
        .send(ScreenCommand::Watch(session(), viewer))
        .unwrap();
    frames.recv_timeout(PATIENCE).unwrap();
    for (width, height) in [(1000, 600), (801, 601)] {
        hands.send(HandsCommand::Resize { width, height }).unwrap();
        let size = FromHost::Screen {
            width: width & !1,
            height: height & !1,
        };
        let until = Instant::now() + PATIENCE;
        while told.recv_timeout(PATIENCE).unwrap() != size {
            assert!(Instant::now() < until, "the screen kept its size");
        }
        while !frames.recv_timeout(PATIENCE).unwrap().key {}
    }
    hands.send(HandsCommand::Stop).unwrap();
    screen.send(ScreenCommand::Stop).unwrap();
}

#[test]
fn a_missing_display_is_one_sentence() {
    let result = screen::start(
        ":4711",
        EncoderName::X264,
        ChromaChoice::Auto,
        Box::new(|_| {}),
    );
    let Err(error) = result else {
        panic!("nobody runs a display 4711");
    };
    assert!(!error.to_string().contains('\n'), "{error}");
}
