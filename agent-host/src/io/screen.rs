//! The screen thread: waits for damage or a command, captures, codes, and hands the frame to every
//! viewer's peer before it sleeps again. One thread, so no hand-over stands between the change and
//! the wire.
//!
//! When the display goes away it is said once, and tried again with back-off; viewers stay.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use protocol::control::{Chroma, FromHost, Quality};
use protocol::id::SessionId;

use crate::chroma::{ChromaChoice, Chromas};
use crate::damage::Rect;
use crate::encode::{self, EncodeError, Encoder, EncoderName, FrameKind, Order};
use crate::io::capture::{ReadTimes, Screen, ScreenEvent, Watched};
use crate::io::wait::{Inbox, Outbox, mailbox, release_free_memory};
use crate::picture::{Pass, Picture};
use crate::pipeline::{Pipeline, Plan, Step, Watchers};
use crate::stats::{FrameCost, StatsWindow};

/// Assumed until the first estimate: a local network.
pub const BITRATE_START_BPS: u64 = 10_000_000;
/// First and longest pause before a lost display is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Commands taken between two looks at the screen: none can starve the picture.
const COMMANDS_PER_TURN: usize = 64;

/// A coded frame with what it cost.
#[derive(Clone, Debug)]
pub struct CodedFrame {
    pub data: Arc<[u8]>,
    pub key: bool,
    pub chroma: Chroma,
    /// When the damage in it was first seen.
    pub captured_at: Instant,
    pub captured_unix: Duration,
    pub cost: FrameCost,
}

/// Somebody who watches. Called on the screen thread: must not block.
pub trait Viewer: Send {
    /// The finest it can show.
    fn chroma(&self) -> Chroma;
    fn send_video(&self, frame: &CodedFrame) -> Delivery;
    fn send_control(&self, message: &FromHost);
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The viewer missed it and needs a key frame.
    Dropped,
}

/// To the screen thread.
pub enum ScreenCommand {
    Watch(SessionId, Box<dyn Viewer>),
    Unwatch(SessionId),
    /// The viewer's control channel is open: it is told size and cursor.
    Introduce(SessionId),
    KeyWanted,
    /// What this viewer's network carries, in bits per second.
    Estimate(SessionId, u64),
    /// How the picture is made from now on.
    Quality(Quality),
    /// A viewer typed or pointed.
    Input,
    Stop,
}

/// From the screen thread.
#[derive(Debug, PartialEq, Eq)]
pub enum ScreenReport {
    /// A frame was captured, or the display went away.
    Captured(bool),
    /// No encoder works any more.
    Failed(String),
}

/// Takes reports; called on the screen thread.
pub type Reporter = Box<dyn Fn(ScreenReport) + Send>;

/// Connects and starts the thread.
///
/// # Errors
///
/// The display is not there, or the encoder cannot code pictures of its size.
pub fn start(
    display: &str,
    encoder: EncoderName,
    chroma: ChromaChoice,
    report: Reporter,
) -> anyhow::Result<Outbox<ScreenCommand>> {
    let (outbox, inbox) = mailbox()?;
    let mut stage = Stage::new(display, encoder)?;
    stage.warm()?;
    report(ScreenReport::Captured(true));
    let state = ScreenThread {
        display: display.to_owned(),
        encoder,
        inbox,
        report,
        viewers: Vec::new(),
        pipeline: Pipeline::new(BITRATE_START_BPS, Instant::now()),
        chromas: Chromas::default(),
        finest: encoder.chroma(),
        chroma,
        stats: StatsWindow::new(encoder as u8),
    };
    std::thread::Builder::new()
        .name("screen".into())
        .spawn(move || state.run(stage))?;
    Ok(outbox)
}

/// What exists only while the display does.
struct Stage {
    screen: Screen,
    picture: Picture,
    encoder: Box<dyn Encoder>,
    cursor: FromHost,
}

impl Stage {
    fn new(display: &str, encoder: EncoderName) -> anyhow::Result<Self> {
        let screen = Screen::connect(display)?;
        let whole = screen.whole();
        let picture = Picture::new(whole.width, whole.height, Chroma::Yuv420);
        let encoder = open(encoder, &picture)?;
        Ok(Self {
            cursor: screen.cursor()?,
            screen,
            picture,
            encoder,
        })
    }

    /// Captures and codes one frame for nobody: the first viewer finds every page touched.
    fn warm(&mut self) -> anyhow::Result<()> {
        let whole = self.screen.whole();
        self.screen.read(&[whole], &mut self.picture)?;
        let order = Order {
            kind: FrameKind::Key,
            qp: crate::rate::QP_SHARP,
            bitrate_bps: BITRATE_START_BPS,
        };
        self.picture.plan();
        self.encoder.encode(&self.picture, order)?;
        self.picture.handle_coded(order.kind, order.qp);
        Ok(())
    }

    /// The screen has another size, or its picture gets another chroma: a new picture, still
    /// black, and a new encoder. Both stay as they were if there is none.
    fn renew(&mut self, chroma: Chroma) -> Result<(), EncodeError> {
        let whole = self.screen.whole();
        let picture = Picture::new(whole.width, whole.height, chroma);
        self.encoder = open(self.encoder.name(), &picture)?;
        self.picture = picture;
        release_free_memory();
        Ok(())
    }

    fn size(&self) -> FromHost {
        let whole = self.screen.whole();
        let edge = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        FromHost::Screen {
            width: edge(whole.width),
            height: edge(whole.height),
        }
    }
}

fn open(name: EncoderName, picture: &Picture) -> Result<Box<dyn Encoder>, EncodeError> {
    encode::open(name, picture.width(), picture.height(), picture.chroma())
}

struct ScreenThread {
    display: String,
    encoder: EncoderName,
    inbox: Inbox<ScreenCommand>,
    report: Reporter,
    viewers: Vec<(SessionId, Box<dyn Viewer>, u64)>,
    pipeline: Pipeline,
    chromas: Chromas,
    /// What the encoder can code.
    finest: Chroma,
    chroma: ChromaChoice,
    stats: StatsWindow,
}

/// Why a turn of the loop was the last.
enum End {
    Stopped,
    DisplayLost(anyhow::Error),
    EncoderFailed(EncodeError),
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::DisplayLost(error)
    }
}

impl From<EncodeError> for End {
    fn from(error: EncodeError) -> Self {
        Self::EncoderFailed(error)
    }
}

impl ScreenThread {
    fn run(mut self, stage: Stage) {
        let mut stage = Some(stage);
        while let Some(current) = stage.take() {
            match self.serve(current) {
                Err(End::Stopped) | Ok(()) => return,
                Err(End::EncoderFailed(error)) => {
                    return (self.report)(ScreenReport::Failed(error.to_string()));
                }
                Err(End::DisplayLost(error)) => {
                    tracing::warn!(
                        display = %self.display, %error,
                        "the display went away; trying to come back"
                    );
                    (self.report)(ScreenReport::Captured(false));
                    stage = self.come_back();
                }
            }
        }
    }

    /// Tries the display again until it is there; `None` if told to stop.
    fn come_back(&mut self) -> Option<Stage> {
        let mut pause = RETRY_MIN;
        loop {
            let until = Instant::now() + pause;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                self.inbox.wait(None, Some(left));
                if self.take_commands(None).is_err() {
                    return None;
                }
            }
            match Stage::new(&self.display, self.encoder) {
                Ok(stage) => {
                    tracing::info!(display = %self.display, "the display is back");
                    (self.report)(ScreenReport::Captured(true));
                    return Some(stage);
                }
                Err(error) => tracing::debug!(%error, "the display is not back yet"),
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn serve(&mut self, mut stage: Stage) -> Result<(), End> {
        // Nobody was served from this stage yet: whoever watches starts anew.
        let watchers = Watchers(self.viewers.len());
        self.pipeline.handle_watchers(Watchers(0), Instant::now());
        self.chromas = Chromas::default();
        self.watchers_changed(watchers, Some(&mut stage))?;
        self.tell_all(&stage.size());
        self.tell_all(&stage.cursor);
        loop {
            while let Some(event) = stage.screen.poll_event()? {
                self.handle_screen(event, &mut stage)?;
            }
            self.take_commands(Some(&mut stage))?;
            let now = Instant::now();
            if self.chromas.poll_end() {
                self.renew(Chroma::Yuv420, &mut stage)?;
                continue;
            }
            let look_at = self.chromas.poll_look(self.pipeline.still_at());
            if look_at.is_some_and(|at| at <= now) {
                self.look(&mut stage)?;
                continue;
            }
            if let Some(step) = self.pipeline.poll_step(now) {
                self.step(step, &mut stage)?;
                continue;
            }
            let timeout = [self.pipeline.poll_timeout(now), look_at];
            let timeout = timeout.into_iter().flatten().min();
            let timeout = timeout.map(|at| at.saturating_duration_since(now));
            self.inbox.wait(Some(stage.screen.fd()), timeout);
        }
    }

    fn handle_screen(&mut self, event: ScreenEvent, stage: &mut Stage) -> Result<(), End> {
        let now = Instant::now();
        match event {
            ScreenEvent::Damaged(rect) => self.pipeline.handle_damage(rect, now),
            ScreenEvent::CursorChanged => {
                stage.cursor = stage.screen.cursor()?;
                self.tell_all(&stage.cursor);
            }
            ScreenEvent::Resized => {
                self.renew(stage.picture.chroma(), stage)?;
                self.tell_all(&stage.size());
            }
        }
        Ok(())
    }

    fn renew(&mut self, chroma: Chroma, stage: &mut Stage) -> Result<(), EncodeError> {
        let before = stage.picture.chroma();
        stage.renew(chroma)?;
        let now = Instant::now();
        if chroma != before {
            self.chromas.handle_changed(chroma, now);
        }
        self.pipeline.handle_key_at_once(now);
        self.pipeline.handle_damage(stage.screen.whole(), now);
        Ok(())
    }

    fn take_commands(&mut self, mut stage: Option<&mut Stage>) -> Result<(), End> {
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.inbox.try_take() else {
                break;
            };
            self.handle_command(command, stage.as_deref_mut())?;
        }
        Ok(())
    }

    fn handle_command(
        &mut self,
        command: ScreenCommand,
        mut stage: Option<&mut Stage>,
    ) -> Result<(), End> {
        let now = Instant::now();
        match command {
            ScreenCommand::Watch(session, viewer) => {
                self.viewers.retain(|(id, ..)| *id != session);
                self.viewers.push((session, viewer, BITRATE_START_BPS));
                self.pipeline.handle_key_at_once(now);
                self.watchers_changed(Watchers(self.viewers.len()), stage.as_deref_mut())?;
                self.introduce(session, stage.as_deref());
            }
            ScreenCommand::Introduce(session) => self.introduce(session, stage.as_deref()),
            ScreenCommand::Unwatch(session) => {
                self.viewers.retain(|(id, ..)| *id != session);
                self.watchers_changed(Watchers(self.viewers.len()), stage)?;
            }
            ScreenCommand::KeyWanted => self.pipeline.handle_key_wanted(now),
            ScreenCommand::Estimate(session, bps) => self.estimate(session, bps, now),
            ScreenCommand::Quality(quality) => {
                self.pipeline.handle_quality(quality, now);
                self.allow_chroma();
            }
            ScreenCommand::Input => self.pipeline.handle_input(now),
            ScreenCommand::Stop => return Err(End::Stopped),
        }
        Ok(())
    }

    fn introduce(&self, session: SessionId, stage: Option<&Stage>) {
        let viewer = self.viewers.iter().find(|(id, ..)| *id == session);
        if let (Some((_, viewer, _)), Some(stage)) = (viewer, stage) {
            viewer.send_control(&stage.size());
            viewer.send_control(&stage.cursor);
        }
    }

    fn watchers_changed(
        &mut self,
        watchers: Watchers,
        stage: Option<&mut Stage>,
    ) -> Result<(), End> {
        let now = Instant::now();
        let was_alone = self.pipeline.watchers() == Watchers(0);
        self.pipeline.handle_watchers(watchers, now);
        self.allow_chroma();
        let Some(stage) = stage else {
            return Ok(());
        };
        let watched = if watchers.0 > 0 {
            Watched::Yes
        } else {
            Watched::No
        };
        stage.screen.watch(watched)?;
        if was_alone && watchers.0 > 0 {
            // What changed while nobody watched was not reported.
            self.pipeline.handle_damage(stage.screen.whole(), now);
        }
        Ok(())
    }

    /// One encoder serves all: who takes least decides.
    fn allow_chroma(&mut self) {
        let viewers = self.viewers.iter().map(|(_, viewer, _)| viewer.chroma());
        let bounds = [self.finest, self.chroma.finest(self.pipeline.quality())];
        let finest = viewers.chain(bounds).min().unwrap_or_default();
        self.chromas.handle_allowed(finest);
    }

    /// One encoder serves all: the slowest network decides.
    fn estimate(&mut self, session: SessionId, bps: u64, now: Instant) {
        for (id, _, estimate) in &mut self.viewers {
            if *id == session {
                *estimate = bps;
            }
        }
        if let Some(slowest) = self.viewers.iter().map(|(.., bps)| *bps).min() {
            self.pipeline.handle_estimate(slowest, now);
        }
    }

    fn step(&mut self, step: Step, stage: &mut Stage) -> Result<(), End> {
        match step {
            Step::Frame {
                boxes,
                kind,
                seen_at,
            } => self.interactive(&boxes, kind, seen_at, stage),
            Step::Refine => self.refine(stage),
            Step::KeepAlive => {
                let plan = self.pipeline.plan_keep_alive(&mut stage.picture);
                self.code(plan, Times::now(), stage)
            }
        }
    }

    fn interactive(
        &mut self,
        boxes: &[Rect],
        kind: FrameKind,
        seen_at: Instant,
        stage: &mut Stage,
    ) -> Result<(), End> {
        let read = stage.screen.read(boxes, &mut stage.picture)?;
        let plan = self.pipeline.plan(kind, &mut stage.picture);
        if plan.blocks == 0 {
            self.pipeline
                .handle_unchanged(Pass::Interactive, Instant::now());
            return Ok(());
        }
        self.code(plan, Times { seen_at, read }, stage)
    }

    /// The screen is still: it gets 4:4:4 if that shows, instead of being refined in 4:2:0.
    fn look(&mut self, stage: &mut Stage) -> Result<(), End> {
        if !stage.screen.is_detailed()? {
            self.chromas.handle_plain(Instant::now());
        } else if let Err(error) = self.renew(Chroma::Yuv444, stage) {
            tracing::warn!(%error, "the picture stays 4:2:0");
            self.finest = Chroma::Yuv420;
            self.allow_chroma();
        }
        Ok(())
    }

    fn refine(&mut self, stage: &mut Stage) -> Result<(), End> {
        if let Some(qp) = self.pipeline.settles_at(&stage.picture)
            && let Some(data) = stage.encoder.settle(qp)?
        {
            stage.picture.handle_settled(qp);
            let plan = Plan {
                pass: Pass::Refine,
                kind: FrameKind::Delta,
                blocks: 0,
                qp,
                finer_than: None,
            };
            self.hand_over(data, plan, Times::now(), stage);
            return Ok(());
        }
        let plan = self.pipeline.plan_refined(&mut stage.picture);
        if plan.blocks == 0 {
            self.pipeline.handle_unchanged(Pass::Refine, Instant::now());
            return Ok(());
        }
        self.code(plan, Times::now(), stage)
    }

    /// Codes what was planned.
    fn code(&mut self, plan: Plan, times: Times, stage: &mut Stage) -> Result<(), End> {
        let qp = plan.qp;
        let order = Order {
            kind: plan.kind,
            qp,
            bitrate_bps: self.pipeline.rate().bitrate_bps(),
        };
        let data = stage.encoder.encode(&stage.picture, order)?;
        stage.picture.handle_coded(plan.kind, qp);
        self.hand_over(data, plan, times, stage);
        Ok(())
    }

    fn hand_over(&mut self, data: Arc<[u8]>, plan: Plan, times: Times, stage: &Stage) {
        let coded_at = Instant::now();
        let bytes = data.len();
        let rate = self.pipeline.rate();
        tracing::trace!(
            ?plan, bytes, bps = rate.bitrate_bps(), cost = ?times.cost(coded_at),
            "frame"
        );
        self.pipeline.handle_coded(plan, bytes, coded_at);
        if plan.pass == Pass::Interactive {
            self.chromas.handle_coded(plan.blocks, coded_at);
        }
        self.deliver(CodedFrame {
            data,
            key: plan.kind == FrameKind::Key,
            chroma: stage.picture.chroma(),
            captured_at: times.seen_at,
            captured_unix: unix_time_of(times.seen_at, coded_at),
            cost: times.cost(coded_at),
        });
    }

    fn deliver(&mut self, frame: CodedFrame) {
        let mut missed = false;
        for (_, viewer, _) in &self.viewers {
            missed |= viewer.send_video(&frame) == Delivery::Dropped;
        }
        let now = Instant::now();
        if missed {
            self.pipeline.handle_key_wanted(now);
        }
        self.stats
            .handle_frame(frame.cost, frame.chroma, now - frame.cost.coded_at);
        if let Some(stats) = self.stats.poll(now) {
            self.tell_all(&FromHost::HostStats(stats));
        }
    }

    fn tell_all(&self, message: &FromHost) {
        for (_, viewer, _) in &self.viewers {
            viewer.send_control(message);
        }
    }
}

#[derive(Clone, Copy)]
struct Times {
    seen_at: Instant,
    read: ReadTimes,
}

impl Times {
    /// A frame that reads nothing.
    fn now() -> Self {
        let now = Instant::now();
        Self {
            seen_at: now,
            read: ReadTimes {
                begun: now,
                read: now,
                converted: now,
            },
        }
    }

    fn cost(self, coded_at: Instant) -> FrameCost {
        FrameCost {
            wait: self.read.begun.saturating_duration_since(self.seen_at),
            read: self.read.read - self.read.begun,
            convert: self.read.converted - self.read.read,
            encode: coded_at - self.read.converted,
            coded_at,
        }
    }
}

fn unix_time_of(at: Instant, now: Instant) -> Duration {
    let unix_now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    unix_now.saturating_sub(now.saturating_duration_since(at))
}
