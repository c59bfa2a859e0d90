//! `multiclaw-agent-host bench`: draws on an X display and measures what this program makes of it:
//! from the drawing request to the coded frame, stage by stage, and the CPU it takes.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use protocol::control::{Chroma, FromHost, Quality};
use protocol::id::SessionId;
use serde::Serialize;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    ChangeGCAux, ConnectionExt as _, CreateGCAux, CreateWindowAux, Gcontext, Rectangle, Window,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::chroma::ChromaChoice;
use crate::encode::Trial;
use crate::io::screen::{self, CodedFrame, Delivery, ScreenCommand, Viewer};
use crate::io::trial::Chosen;
use crate::io::wait::{Outbox, process_cpu_time, thread_cpu_time};

/// Frames the bench may fall behind by; when full the newest is not measured.
const FRAMES_MAX: usize = 256;
/// How long a drawing may take to become a frame before it counts as lost.
const FRAME_WAIT: Duration = Duration::from_secs(1);

/// The table.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    pub encoder: &'static str,
    pub encoders: Vec<Tried>,
    pub width: u32,
    pub height: u32,
    pub rss_kb: u64,
    pub shared_kb: u64,
    pub first_frame_ms: f64,
    pub workloads: Vec<Workload>,
}

/// An encoder in the measurement at start: what a small change took, or why it is left out.
#[derive(Debug, Serialize)]
pub struct Tried {
    pub encoder: &'static str,
    pub small_change_us: Option<u128>,
    pub left_out: Option<String>,
}

impl Tried {
    fn of(trial: &Trial) -> Self {
        let left_out = trial.result.as_ref().err().map(ToString::to_string);
        Self {
            encoder: trial.name.as_str(),
            small_change_us: trial.result.as_ref().ok().map(Duration::as_micros),
            left_out,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Workload {
    pub name: &'static str,
    pub frames: usize,
    /// Share of them in 4:4:4, 0 to 1.
    pub fine_share: f64,
    pub fps: f64,
    /// Percent of one core, this program without the drawing.
    pub cpu_percent: f64,
    pub bytes_per_second: f64,
    pub stages: Option<Stages>,
}

/// Microseconds: median and 99th percentile.
#[derive(Debug, Serialize)]
pub struct Stages {
    pub drawn_to_coded_us: [u128; 2],
    pub wait_us: [u128; 2],
    pub read_us: [u128; 2],
    pub convert_us: [u128; 2],
    pub encode_us: [u128; 2],
    pub bytes: [u128; 2],
}

struct Recorder(SyncSender<CodedFrame>);

impl Viewer for Recorder {
    fn chroma(&self) -> Chroma {
        Chroma::Yuv444
    }

    fn send_video(&self, frame: &CodedFrame) -> Delivery {
        // A full queue loses a measurement, not a picture.
        let _ = self.0.try_send(frame.clone());
        Delivery::Sent
    }

    fn send_control(&self, _message: &FromHost) {}
}

/// An Xvfb that ends with the bench.
pub struct Xvfb {
    child: Child,
    pub display: String,
}

impl Xvfb {
    /// # Errors
    ///
    /// Xvfb is not installed or does not start.
    pub fn start(size: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", &format!("{size}x24")])
            .args(["-noreset", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("Xvfb does not start; install the package xvfb")?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("Xvfb has no stdout")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        anyhow::ensure!(!line.trim().is_empty(), "Xvfb ended at once");
        let display = format!(":{}", line.trim());
        Ok(Self { child, display })
    }
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs every workload for `time`.
///
/// # Errors
///
/// The display or the encoder does not work.
pub fn run(
    display: &str,
    chosen: &Chosen,
    quality: Quality,
    time: Duration,
) -> anyhow::Result<BenchReport> {
    let pencil = Pencil::connect(display)?;
    let encoder = chosen.encoder;
    let screen = screen::start(display, encoder, ChromaChoice::Auto, Box::new(|_| {}))?;
    screen.send(ScreenCommand::Quality(quality))?;
    let (sender, frames) = sync_channel(FRAMES_MAX);
    let asked_at = Instant::now();
    let session = SessionId::from_uuid(uuid::Uuid::nil());
    let watch = ScreenCommand::Watch(session, Box::new(Recorder(sender)));
    screen.send(watch)?;
    // The bench measures the program, not a network.
    screen.send(ScreenCommand::Estimate(session, 1_000_000_000))?;
    let first = frames.recv_timeout(FRAME_WAIT).context("no first frame")?;
    let first_frame_ms = (first.cost.coded_at - asked_at).as_secs_f64() * 1e3;
    let bench = Bench {
        pencil,
        frames,
        time,
    };
    bench.settle();
    let workloads = vec![
        bench.still(),
        bench.single_changes("typing", Pencil::type_one)?,
        bench.single_changes("window", Pencil::repaint)?,
        bench.motion("scroll", Pencil::scroll)?,
        bench.motion("full motion", Pencil::flood)?,
    ];
    let (rss_kb, shared_kb) = memory()?;
    let report = BenchReport {
        encoder: encoder.as_str(),
        encoders: chosen.trials.iter().map(Tried::of).collect(),
        width: bench.pencil.width.into(),
        height: bench.pencil.height.into(),
        rss_kb,
        shared_kb,
        first_frame_ms,
        workloads,
    };
    stop(&screen);
    Ok(report)
}

fn stop(screen: &Outbox<ScreenCommand>) {
    let _ = screen.send(ScreenCommand::Stop);
}

struct Bench {
    pencil: Pencil,
    frames: Receiver<CodedFrame>,
    time: Duration,
}

struct Sample {
    drawn_at: Instant,
    frame: CodedFrame,
}

impl Bench {
    /// Waits until refinement is over.
    fn settle(&self) {
        while self.frames.recv_timeout(Duration::from_millis(400)).is_ok() {}
    }

    fn still(&self) -> Workload {
        let meter = Meter::start();
        std::thread::sleep(self.time.max(Duration::from_secs(5)));
        let frames: Vec<_> = self.frames.try_iter().collect();
        meter.finish("still", &frames, None)
    }

    /// One change at a time, at moments that follow no tick.
    fn single_changes(
        &self,
        name: &'static str,
        draw: fn(&Pencil, u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<Workload> {
        self.settle();
        let meter = Meter::start();
        let mut samples = Vec::new();
        let mut i = 0_u32;
        while meter.begun.elapsed() < self.time {
            std::thread::sleep(Duration::from_micros(35_000 + u64::from(i * 7919 % 30_011)));
            while self.frames.try_recv().is_ok() {}
            let drawn_at = Instant::now();
            draw(&self.pencil, i)?;
            if let Ok(frame) = self.frames.recv_timeout(FRAME_WAIT) {
                samples.push(Sample { drawn_at, frame });
            }
            i += 1;
        }
        let frames: Vec<_> = samples.iter().map(|s| s.frame.clone()).collect();
        Ok(meter.finish(name, &frames, Some(stages(&samples))))
    }

    /// As fast as the X server draws, for a while.
    fn motion(
        &self,
        name: &'static str,
        draw: fn(&Pencil, u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<Workload> {
        self.settle();
        let meter = Meter::start();
        let mut samples = Vec::new();
        let mut i = 0_u32;
        while meter.begun.elapsed() < self.time {
            draw(&self.pencil, i)?;
            std::thread::sleep(Duration::from_millis(8));
            samples.extend(self.frames.try_iter().map(|frame| Sample {
                drawn_at: frame.captured_at,
                frame,
            }));
            i += 1;
        }
        let frames: Vec<_> = samples.iter().map(|s| s.frame.clone()).collect();
        Ok(meter.finish(name, &frames, Some(stages(&samples))))
    }
}

struct Meter {
    begun: Instant,
    cpu: Duration,
    drawing: Duration,
}

impl Meter {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu: process_cpu_time(),
            drawing: thread_cpu_time(),
        }
    }

    fn finish(self, name: &'static str, frames: &[CodedFrame], stages: Option<Stages>) -> Workload {
        let secs = self.begun.elapsed().as_secs_f64();
        let drawing = thread_cpu_time() - self.drawing;
        let cpu = (process_cpu_time() - self.cpu).saturating_sub(drawing);
        let fine = frames.iter().filter(|f| f.chroma == Chroma::Yuv444).count();
        let bytes: usize = frames.iter().map(|f| f.data.len()).sum();
        Workload {
            name,
            frames: frames.len(),
            fine_share: fine as f64 / frames.len().max(1) as f64,
            fps: frames.len() as f64 / secs,
            cpu_percent: cpu.as_secs_f64() / secs * 100.0,
            bytes_per_second: bytes as f64 / secs,
            stages,
        }
    }
}

fn stages(samples: &[Sample]) -> Stages {
    let of = |stage: fn(&Sample) -> Duration| {
        percentiles(samples.iter().map(|s| stage(s).as_micros()).collect())
    };
    Stages {
        drawn_to_coded_us: of(|s| s.frame.cost.coded_at.saturating_duration_since(s.drawn_at)),
        wait_us: of(|s| s.frame.cost.wait),
        read_us: of(|s| s.frame.cost.read),
        convert_us: of(|s| s.frame.cost.convert),
        encode_us: of(|s| s.frame.cost.encode),
        bytes: percentiles(samples.iter().map(|s| s.frame.data.len() as u128).collect()),
    }
}

fn percentiles(mut values: Vec<u128>) -> [u128; 2] {
    values.sort_unstable();
    let at = |percent: usize| {
        let index = (values.len() * percent / 100).min(values.len().saturating_sub(1));
        values.get(index).copied().unwrap_or(0)
    };
    [at(50), at(99)]
}

/// Resident kilobytes of this process: all, and the part that is shared with the X server.
fn memory() -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Ok((
        field("VmRSS:").context("no VmRSS")?,
        field("RssShmem:").context("no RssShmem")?,
    ))
}

/// Draws with plain X requests, as programs do.
struct Pencil {
    conn: RustConnection,
    window: Window,
    gc: Gcontext,
    width: u16,
    height: u16,
}

impl Pencil {
    fn connect(display: &str) -> anyhow::Result<Self> {
        let (conn, number) = RustConnection::connect(Some(display))?;
        let screen = &conn.setup().roots[number];
        let (root, width, height) = (screen.root, screen.width_in_pixels, screen.height_in_pixels);
        let window = conn.generate_id()?;
        let gc = conn.generate_id()?;
        let look = CreateWindowAux::new()
            .background_pixel(0x00FF_FFFF)
            .override_redirect(1);
        let class = WindowClass::INPUT_OUTPUT;
        conn.create_window(24, window, root, 0, 0, width, height, 0, class, 0, &look)?;
        conn.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?;
        conn.map_window(window)?;
        conn.sync()?;
        let pencil = Self {
            conn,
            window,
            gc,
            width,
            height,
        };
        for row in 0..u32::from(height) / 18 {
            pencil.text_row(row, row)?;
        }
        pencil.conn.sync()?;
        Ok(pencil)
    }

    fn color(&self, pixel: u32) -> anyhow::Result<()> {
        let ink = ChangeGCAux::new().foreground(pixel);
        self.conn.change_gc(self.gc, &ink)?;
        Ok(())
    }

    /// A letter-like mark of 8×14 pixels.
    fn mark(x: i16, y: i16, seed: u32) -> [Rectangle; 3] {
        let bar = |x, y, width, height| Rectangle {
            x,
            y,
            width,
            height,
        };
        let [a, b] = [seed % 5, seed / 5 % 10].map(|n| n as i16);
        [
            bar(x + a, y, 2, 12),
            bar(x, y + b, 7, 2),
            bar(x + 6 - a, y + b / 2, 1, 8),
        ]
    }

    fn text_row(&self, row: u32, seed: u32) -> anyhow::Result<()> {
        let y = (row * 18) as i16;
        let columns = u32::from(self.width) / 10;
        let marks = (0..columns)
            .filter(|c| !(c * 7 + seed * 3).is_multiple_of(6))
            .flat_map(|c| Self::mark((c * 10) as i16, y, c * 31 + seed * 17));
        let marks: Vec<_> = marks.collect();
        self.color(ink(seed))?;
        self.conn
            .poly_fill_rectangle(self.window, self.gc, &marks)?;
        Ok(())
    }

    fn type_one(&self, i: u32) -> anyhow::Result<()> {
        let (x, y) = ((i * 10 % 1200) as i16, (i / 120 % 50 * 18) as i16);
        self.color(0x00FF_FFFF)?;
        let cell = Rectangle {
            x,
            y,
            width: 10,
            height: 18,
        };
        self.conn
            .poly_fill_rectangle(self.window, self.gc, &[cell])?;
        self.color(0x0000_0000)?;
        let mark = Self::mark(x, y, i.wrapping_mul(2_654_435_761) >> 8);
        self.conn.poly_fill_rectangle(self.window, self.gc, &mark)?;
        self.conn.flush()?;
        Ok(())
    }

    /// A window of 800×600 gets other contents.
    fn repaint(&self, i: u32) -> anyhow::Result<()> {
        self.color(0x00E0_E8F0 ^ (i & 7))?;
        let window = Rectangle {
            x: 200,
            y: 180,
            width: 800,
            height: 600,
        };
        self.conn
            .poly_fill_rectangle(self.window, self.gc, &[window])?;
        self.color(0x0020_2020)?;
        let marks: Vec<_> = (0..33 * 80)
            .flat_map(|n| {
                let (x, y) = (200 + n % 80 * 10, 180 + n / 80 * 18);
                Self::mark(x as i16, y as i16, n * 13 + i * 7)
            })
            .collect();
        self.conn
            .poly_fill_rectangle(self.window, self.gc, &marks)?;
        self.conn.flush()?;
        Ok(())
    }

    /// A terminal of 800×600 scrolls by a line.
    fn scroll(&self, i: u32) -> anyhow::Result<()> {
        let (window, gc) = (self.window, self.gc);
        self.conn
            .copy_area(window, window, gc, 0, 18, 0, 0, 800, 582)?;
        self.color(0x00FF_FFFF)?;
        let line = Rectangle {
            x: 0,
            y: 582,
            width: 800,
            height: 18,
        };
        self.conn.poly_fill_rectangle(window, gc, &[line])?;
        self.color(ink(i))?;
        let marks: Vec<_> = (0..80)
            .filter(|c| !(c * 7 + i * 3).is_multiple_of(6))
            .flat_map(|c| Self::mark((c * 10) as i16, 582, c * 31 + i * 17))
            .collect();
        self.conn.poly_fill_rectangle(window, gc, &marks)?;
        self.conn.flush()?;
        Ok(())
    }

    /// Every pixel of the screen changes.
    fn flood(&self, i: u32) -> anyhow::Result<()> {
        let bars: Vec<_> = (0..24)
            .map(|n: u32| Rectangle {
                x: ((n * 80 + i * 8) % u32::from(self.width)) as i16,
                y: 0,
                width: 40,
                height: self.height,
            })
            .collect();
        self.color(i.wrapping_mul(0x0001_0305) | 0x40)?;
        self.conn.poly_fill_rectangle(self.window, self.gc, &bars)?;
        self.conn.flush()?;
        Ok(())
    }
}

/// Colours of a build's log, line by line.
fn ink(line: u32) -> u32 {
    const INKS: [u32; 4] = [0x0020_2020, 0x001A_6E1A, 0x0020_2020, 0x00A0_3020];
    INKS[line as usize % INKS.len()]
}

impl std::fmt::Display for BenchReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for tried in &self.encoders {
            match (tried.small_change_us, &tried.left_out) {
                (Some(us), _) => writeln!(f, "{:12} small change {us} µs", tried.encoder)?,
                (None, why) => writeln!(f, "{}", why.as_deref().unwrap_or_default())?,
            }
        }
        writeln!(
            f,
            "{} at {}×{}; first frame {:.1} ms; resident {} kB, {} kB of it shared with X",
            self.encoder, self.width, self.height, self.first_frame_ms, self.rss_kb, self.shared_kb
        )?;
        writeln!(
            f,
            "{:12} {:>6} {:>5} {:>6} {:>9}  µs p50/p99: drawn→coded      read   convert      encode   bytes",
            "workload", "fps", "4:4:4", "cpu %", "kB/s"
        )?;
        for w in &self.workloads {
            write!(
                f,
                "{:12} {:6.1} {:5.2} {:6.2} {:9.1}",
                w.name,
                w.fps,
                w.fine_share,
                w.cpu_percent,
                w.bytes_per_second / 1e3
            )?;
            if let Some(s) = &w.stages {
                let stages = [
                    s.drawn_to_coded_us,
                    s.read_us,
                    s.convert_us,
                    s.encode_us,
                    s.bytes,
                ];
                for [p50, p99] in stages {
                    write!(f, "  {p50}/{p99}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
