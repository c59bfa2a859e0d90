//! The probe of the latency laboratory. Draws codes on the host's display and watches the viewer's
//! display for them, one clock for both; prints one JSON object. `cargo xtask bench` sets the stage.
#![expect(
    clippy::disallowed_methods,
    reason = "a measuring program owns its clock"
)]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tests::lab::canvas::Canvas;
use tests::lab::devtools::Browser;
use tests::lab::fidelity;
use tests::lab::figures;
use tests::lab::lines;
use tests::lab::link;
use tests::lab::opening;
use tests::lab::pattern::{self, HEIGHT, Place, WIDTH};
use tests::lab::scene::Scene;
use tests::lab::screen::Screen;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, MOTION_NOTIFY_EVENT, Rectangle,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// The picture is given this long to appear on the viewer's display at all.
const FIND_LIMIT: Duration = Duration::from_secs(30);
/// A code that has not been seen by then is lost.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// Mean of the random pause between changes: not in step with any tick.
const PAUSE_MEAN: Duration = Duration::from_millis(150);
/// No pause is shorter: each change is to be seen on its own.
const PAUSE_MIN: Duration = Duration::from_millis(60);
/// A viewer that fills its display shows the desktop this close to where it is, in pixels.
const NEAR: u16 = 64;
const SEED: u64 = 0x6d75_6c74;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Draw one code and keep it there.
    Draw {
        #[arg(long)]
        display: String,
        #[arg(long)]
        code: u16,
        #[arg(long, default_value_t = 600)]
        x: i16,
        #[arg(long, default_value_t = 300)]
        y: i16,
    },
    /// Draw thin coloured lines and letters and keep them there.
    Lines {
        #[arg(long)]
        display: String,
    },
    /// Change every pixel of a display at a rate, or play a scene on it, until stopped.
    Stir {
        #[arg(long)]
        display: String,
        #[arg(long, default_value_t = 60)]
        hertz: u32,
        #[arg(long, value_enum)]
        scene: Option<Scene>,
    },
    /// Make two network interfaces and be the cable between them, until stopped.
    Link {
        /// Their names; each may move to another network namespace then.
        #[arg(long, num_args = 2)]
        ends: Vec<String>,
        /// How long a packet is on its way.
        #[arg(long)]
        delay_ms: u64,
    },
    /// Wait until a display shows a code, and print where: corner and scale.
    Find {
        #[arg(long)]
        display: String,
        #[arg(long)]
        code: u16,
    },
    /// Change the picture at random moments; how long until the viewer shows it.
    Latency(Run),
    /// Click in the viewer; how long until the program on the host hears it, and until the viewer shows it.
    Click(Run),
    /// Change every pixel of the desktop at a rate; how many pictures arrive, and how late.
    Motion {
        #[command(flatten)]
        run: Run,
        #[arg(long, default_value_t = 60)]
        hertz: u32,
    },
    /// Play a scene; bytes on the wire and likeness of what the viewer shows.
    Fidelity {
        #[command(flatten)]
        run: Run,
        #[arg(long, value_enum)]
        scene: Scene,
    },
    /// Open a page; how long until it shows the desktop, and what happened meanwhile.
    FirstFrame {
        #[command(flatten)]
        run: Run,
        /// DevTools of the browser on the viewer's display.
        #[arg(long)]
        devtools: String,
        #[arg(long)]
        url: String,
        /// Between closing the page and opening it again.
        #[arg(long, default_value_t = 500)]
        pause_ms: u64,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Display of the desktop.
    #[arg(long)]
    host: String,
    /// Display the viewer is shown on.
    #[arg(long)]
    viewer: String,
    /// How often to measure; frames for `motion`.
    #[arg(long, default_value_t = 200)]
    samples: u32,
}

fn main() -> Result<()> {
    let figures = match Options::parse().command {
        Command::Draw {
            display,
            code,
            x,
            y,
        } => return draw(&display, code, x, y),
        Command::Lines { display } => {
            return keep(&lines::draw(&display)?, &json!({ "ready": "lines" }));
        }
        Command::Stir {
            display,
            hertz,
            scene,
        } => return stir(&display, hertz, scene),
        Command::Link { ends, delay_ms } => return be_cable(&ends, delay_ms),
        Command::Find { display, code } => find(&display, code)?,
        Command::Latency(run) => latency(&run)?,
        Command::Click(run) => click(&run)?,
        Command::Motion { run, hertz } => motion(&run, hertz)?,
        Command::Fidelity { run, scene } => fidelity(&run, scene)?,
        Command::FirstFrame {
            run,
            devtools,
            url,
            pause_ms,
        } => first_frame(
            &run,
            &Browser::at(&devtools),
            &url,
            Duration::from_millis(pause_ms),
        )?,
    };
    println!("{figures}");
    Ok(())
}

fn draw(display: &str, code: u16, x: i16, y: i16) -> Result<()> {
    let canvas = Canvas::open(display, x, y)?;
    canvas.show(code)?;
    keep(&canvas, &json!({ "ready": "draw", "code": code }))
}

fn keep(canvas: &Canvas, ready: &Value) -> Result<()> {
    println!("{ready}");
    // Ends when the display goes or the process is killed; a press changes nothing.
    loop {
        canvas.wait_for_press()?;
    }
}

fn stir(display: &str, hertz: u32, scene: Option<Scene>) -> Result<()> {
    let canvas = match scene {
        Some(scene) => scene.open(display)?,
        None => Canvas::full_screen(display)?,
    };
    let period = Duration::from_secs(1) / hertz;
    for code in (1..=u16::MAX).cycle() {
        match scene {
            Some(scene) => scene.show(&canvas, code)?,
            None => canvas.show_in_motion(code, code.wrapping_mul(7))?,
        }
        thread::sleep(period);
    }
    Ok(())
}

fn be_cable(ends: &[String], delay_ms: u64) -> Result<()> {
    let [one, other] = ends else {
        bail!("a cable has two ends, not {}", ends.len());
    };
    link::start([one, other], Duration::from_millis(delay_ms))?;
    println!("{}", json!({ "ready": "link" }));
    loop {
        thread::park();
    }
}

fn find(display: &str, code: u16) -> Result<Value> {
    let mut screen = Screen::open(display)?;
    screen.watch()?;
    let all = screen.area();
    let place = search(
        &mut screen,
        all,
        code,
        &scales(),
        Instant::now() + FIND_LIMIT,
    )?
    .context("the display never showed the code")?;
    Ok(json!({ "x": place.x, "y": place.y, "scale": place.scale }))
}

fn latency(run: &Run) -> Result<Value> {
    let canvas = Canvas::open(&run.host, 600, 300)?;
    let seen = watch_for_codes(run, |code| canvas.show(code))?;
    let mut pause = Pauses::new();
    let mut changed = Vec::new();
    for code in 1..=sample_count(run)? {
        canvas.show(code)?;
        changed.push((code, Instant::now()));
        thread::sleep(pause.next());
    }
    thread::sleep(LATE_AFTER);
    let delays = delays(&changed, &seen);
    Ok(
        json!({ "propagation_ms": figures::milliseconds(delays.clone()), "lost": changed.len() - delays.len() }),
    )
}

fn click(run: &Run) -> Result<Value> {
    let canvas = Canvas::open(&run.host, 600, 300)?;
    let mut screen = Screen::open(&run.viewer)?;
    let place = find_pattern(&mut screen, |code| canvas.show(code))?;
    let mouse = Mouse::at(&run.viewer, place)?;
    let seen = watch(screen, place)?;
    let heard = flip_at_each_press(canvas);
    let mut pause = Pauses::new();
    let mut clicked = Vec::new();
    let mut upstream = Vec::new();
    for _ in 0..run.samples {
        let at = Instant::now();
        mouse.press()?;
        if let Ok((code, when)) = heard.recv_timeout(LATE_AFTER) {
            upstream.push(when - at);
            clicked.push((code, at));
        }
        thread::sleep(PAUSE_MIN / 2);
        mouse.release()?;
        thread::sleep(pause.next());
    }
    thread::sleep(LATE_AFTER);
    if clicked.is_empty() {
        bail!("no click reached the desktop; does the viewer take input?");
    }
    let delays = delays(&clicked, &seen);
    Ok(json!({
        "click_to_pixel_ms": figures::milliseconds(delays.clone()),
        "click_to_program_ms": figures::milliseconds(upstream),
        "lost": run.samples as usize - delays.len(),
    }))
}

fn motion(run: &Run, hertz: u32) -> Result<Value> {
    let canvas = Canvas::full_screen(&run.host)?;
    let seen = watch_for_codes(run, |code| canvas.show_in_motion(code, 0))?;
    let period = Duration::from_secs(1) / hertz;
    let begun = Instant::now();
    let mut changed = Vec::new();
    for code in 1..=sample_count(run)? {
        canvas.show_in_motion(code, code * 7)?;
        changed.push((code, Instant::now()));
        let due = begun + period * u32::from(code);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let took = begun.elapsed();
    thread::sleep(LATE_AFTER);
    let delays = delays(&changed, &seen);
    let per_second = |count: usize| (count as f64 / took.as_secs_f64() * 10.0).round() / 10.0;
    Ok(json!({
        "frames_per_second": per_second(delays.len()),
        "frames_per_second_drawn": per_second(changed.len()),
        "propagation_ms": figures::milliseconds(delays),
    }))
}

fn first_frame(run: &Run, browser: &Browser, url: &str, pause: Duration) -> Result<Value> {
    let (x, y) = (600, 300);
    let canvas = Canvas::open(&run.host, x, y)?;
    let mut screen = Screen::open(&run.viewer)?;
    screen.watch()?;
    // Only where the picture will be: what a page animates meanwhile would cost a look each.
    let area = Rectangle {
        x: x - NEAR.cast_signed(),
        y: y - NEAR.cast_signed(),
        width: WIDTH + 2 * NEAR,
        height: HEIGHT + 2 * NEAR,
    };
    let mut openings = Vec::new();
    for code in 1..=sample_count(run)? {
        canvas.show(code)?;
        thread::sleep(Duration::from_millis(500));
        let (begun, begun_at) = (Instant::now(), SystemTime::now());
        let tab = browser.open(url)?;
        search(&mut screen, area, code, &[1.0], begun + FIND_LIMIT)?
            .context("the desktop never appeared")?;
        let shown = begun.elapsed();
        let timeline = browser.evaluate(&tab, opening::TIMELINE)?;
        let opened_unix = begun_at.duration_since(SystemTime::UNIX_EPOCH)?;
        openings.push(opening::told(&timeline, opened_unix, shown));
        // The last one stays, for whatever is measured next.
        if u32::from(code) < run.samples {
            browser.close(&tab)?;
        }
        thread::sleep(pause);
    }
    // The first of all fills caches that every later one finds.
    let cold = openings.remove(0);
    Ok(json!({ "cold": cold, "warm": openings }))
}

fn fidelity(run: &Run, scene: Scene) -> Result<Value> {
    let place = {
        let canvas = scene.open(&run.host)?;
        let mut screen = Screen::open(&run.viewer)?;
        find_pattern(&mut screen, |code| scene.show(&canvas, code))?
    };
    fidelity::measure(scene, &run.host, &run.viewer, place, sample_count(run)?)
}

fn sample_count(run: &Run) -> Result<u16> {
    run.samples.try_into().context("at most 65535 samples")
}

/// Finds where the viewer shows the pattern and starts to watch that place.
fn watch_for_codes(
    run: &Run,
    show: impl Fn(u16) -> Result<()>,
) -> Result<Receiver<(u16, Instant)>> {
    let mut screen = Screen::open(&run.viewer)?;
    let place = find_pattern(&mut screen, show)?;
    watch(screen, place)
}

/// The pattern's place on the viewer's display, found with a code nothing else would show.
fn find_pattern(screen: &mut Screen, show: impl Fn(u16) -> Result<()>) -> Result<Place> {
    const FIND_ME: u16 = 0xa5c3;
    show(FIND_ME)?;
    let scales = scales();
    let deadline = Instant::now() + FIND_LIMIT;
    screen.watch()?;
    let all = screen.area();
    let place = search(screen, all, FIND_ME, &scales, deadline)?
        .context("the viewer's display never showed the pattern")?;
    // The viewer may still be settling into its final size.
    thread::sleep(Duration::from_secs(2));
    search(screen, all, FIND_ME, &scales, deadline)?
        .with_context(|| format!("the pattern left {place:?}"))
}

/// One to one first, then half to twice the size.
fn scales() -> Vec<f64> {
    let others = (32..=128).map(|step| f64::from(step) / 64.0);
    std::iter::once(1.0).chain(others).collect()
}

/// Looks at the area at each change until the code is there.
fn search(
    screen: &mut Screen,
    area: Rectangle,
    code: u16,
    scales: &[f64],
    deadline: Instant,
) -> Result<Option<Place>> {
    while Instant::now() < deadline {
        if let Some(place) = pattern::find(screen.read(area)?, code, scales) {
            return Ok(Some(place));
        }
        while !screen.has_changed(area)? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(None)
}

/// Reports each code when the place first shows it. Ends with the process.
fn watch(mut screen: Screen, place: Place) -> Result<Receiver<(u16, Instant)>> {
    let (sender, receiver) = channel();
    let size = |side: u16| (f64::from(side) * place.scale).ceil() as u16 + 1;
    let area = Rectangle {
        x: place.x as i16,
        y: place.y as i16,
        width: size(WIDTH),
        height: size(HEIGHT),
    };
    let inside = Place {
        x: place.x.fract(),
        y: place.y.fract(),
        scale: place.scale,
    };
    thread::spawn(move || report_codes(&mut screen, area, inside, &sender));
    Ok(receiver)
}

fn report_codes(
    screen: &mut Screen,
    area: Rectangle,
    inside: Place,
    sender: &Sender<(u16, Instant)>,
) -> Result<()> {
    let mut last = None;
    loop {
        screen.wait_for_change(area)?;
        let code = pattern::read(screen.read(area)?, inside);
        if code.is_some() && code != last {
            last = code;
            sender.send((code.context("just checked")?, Instant::now()))?;
        }
    }
}

/// For each change that was seen, how long it took.
fn delays(changed: &[(u16, Instant)], seen: &Receiver<(u16, Instant)>) -> Vec<Duration> {
    let mut seen_at = HashMap::new();
    for (code, at) in seen.try_iter() {
        seen_at.entry(code).or_insert(at);
    }
    changed
        .iter()
        .filter_map(|(code, at)| seen_at.get(code)?.checked_duration_since(*at))
        .collect()
}

/// A program on the desktop that answers each press with the next code.
fn flip_at_each_press(canvas: Canvas) -> Receiver<(u16, Instant)> {
    let (sender, receiver) = channel();
    thread::spawn(move || -> Result<()> {
        for code in 1.. {
            canvas.wait_for_press()?;
            let heard = Instant::now();
            canvas.show(code)?;
            sender.send((code, heard))?;
        }
        Ok(())
    });
    receiver
}

/// A person's hand at the viewer's display.
struct Mouse {
    connection: RustConnection,
    root: u32,
}

impl Mouse {
    /// The pointer above the middle of the pattern.
    fn at(display: &str, place: Place) -> Result<Self> {
        let (connection, number) = x11rb::connect(Some(display))?;
        let root = connection.setup().roots[number].root;
        let mouse = Self { connection, root };
        let x = place.x + f64::from(WIDTH) * place.scale / 2.0;
        let y = place.y + f64::from(HEIGHT) * place.scale / 2.0;
        // From the side, so that the viewer sees it arrive; twice, so that it has woken up.
        for offset in [80, 40, 0] {
            mouse.connection.xtest_fake_input(
                MOTION_NOTIFY_EVENT,
                0,
                0,
                root,
                x as i16 + offset,
                y as i16,
                0,
            )?;
            mouse.connection.sync()?;
            thread::sleep(Duration::from_millis(300));
        }
        Ok(mouse)
    }

    fn press(&self) -> Result<()> {
        self.button(BUTTON_PRESS_EVENT)
    }

    fn release(&self) -> Result<()> {
        self.button(BUTTON_RELEASE_EVENT)
    }

    fn button(&self, kind: u8) -> Result<()> {
        self.connection
            .xtest_fake_input(kind, 1, 0, self.root, 0, 0, 0)?;
        self.connection.flush()?;
        Ok(())
    }
}

/// Exponentially distributed pauses from a fixed seed.
struct Pauses(StdRng);

impl Pauses {
    fn new() -> Self {
        Self(StdRng::seed_from_u64(SEED))
    }

    fn next(&mut self) -> Duration {
        let uniform: f64 = self.0.random();
        PAUSE_MIN + (PAUSE_MEAN - PAUSE_MIN).mul_f64(-(1.0 - uniform).ln())
    }
}
