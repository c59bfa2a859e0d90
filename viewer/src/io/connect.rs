//! `multiclaw-viewer connect`: the loop that carries the session's commands out and its news in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use peer::{Event, IceState};
use protocol::Secret;
use protocol::control::{FromHost, FromViewer, Quality};
use protocol::id::InstanceId;
use protocol::problem::{Code, Problem};
use protocol::signal::{PathMode, ToViewer};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::load::visitor::Visitor;
use super::media::{self, Books, FromPeer, Into, SharedBooks, lock, unix_us};
use super::nearness;
use super::port::{Shown, Status, ToWindow, WindowPort, Wish};
use super::printing::{Host, Line};
use super::service::Service;
use super::socket::{self, FromSocket, News, Outgoing};
use super::sound::Playback;
use crate::load::ledger::Metric;
use crate::mode::Attempt;
use crate::news::PeerNews;
use crate::session::{Command, Pass, PeerCommand, PeerEvent, Session, State};

/// News waiting for the loop. Senders wait when it is full: nothing is lost.
const NEWS_MAX: usize = 256;
/// Between two pings, and between two printed lines.
const TICK: Duration = Duration::from_secs(1);

/// What the person asked for.
pub(super) struct Options {
    pub(super) cloud: String,
    pub(super) instance: InstanceId,
    pub(super) key: Secret,
    pub(super) mode: PathMode,
    pub(super) quality: Quality,
    pub(super) json: bool,
    pub(super) duration: Option<Duration>,
    pub(super) snapshot: Option<PathBuf>,
    pub(super) trust: peer::io::Trust,
    pub(super) sound: peer::Sound,
    /// Print a line a second.
    pub(super) prints: bool,
    /// Who measures this session for a load test.
    pub(super) visitor: Option<Arc<Visitor>>,
}

/// Runs one session for a load test to the end of its time. It starts at once: what the generator
/// is late is measured by its visitor.
///
/// # Errors
///
/// The problem that ended it before its time.
pub(super) async fn visit(options: &Options, service: Service) -> Result<(), Problem> {
    let mut desk = Desk::new(options, service, None);
    desk.session.handle_start(Instant::now());
    let ended = desk.turn_until_the_end().await;
    desk.leave().await;
    ended
}

/// Runs one session to its end; with a window, another after it as often as the person wants.
///
/// # Errors
///
/// The problem that ended it, or that no picture came.
pub(super) async fn run(options: Options, mut window: Option<WindowPort>) -> anyhow::Result<()> {
    let service = Service::new(
        &options.cloud,
        options.instance.clone(),
        options.key.clone(),
    )?;
    loop {
        let mut desk = Desk::new(&options, service.clone(), window);
        desk.session.handle_start(Instant::now());
        let ended = desk.turn_until_the_end().await;
        desk.leave().await;
        desk.write_snapshot()?;
        window = desk.window.take();
        let Err(problem) = ended else {
            return Ok(());
        };
        let Some(port) = window.as_mut().filter(|_| options.duration.is_none()) else {
            return Err(problem.into());
        };
        tracing::warn!(%problem);
        port.set_peer(None);
        port.tell_status(Status {
            words: format!("{} {}", problem.cause, problem.next_step),
            policy: None,
            ended: true,
        });
        if port.wishes.recv().await != Some(Wish::Again) {
            return Ok(());
        }
    }
}

struct Desk<'a> {
    options: &'a Options,
    window: Option<WindowPort>,
    /// Where pictures go, if anybody looks.
    shown: Option<Arc<Shown>>,
    /// Where sound goes: with a window.
    playback: Option<Arc<Playback>>,
    service: Service,
    session: Session,
    books: SharedBooks,
    outgoing: Option<Outgoing>,
    sockets: u64,
    peer: Option<peer::io::Handle>,
    peers: u64,
    news: PeerNews,
    bitrate: (u64, u64),
    round_trip: Option<Duration>,
    started_at: Instant,
    /// What the service said last against opening the session.
    held_up: Option<Problem>,
    to_socket_news: Sender<FromSocket>,
    socket_news: Receiver<FromSocket>,
    to_peer_news: Sender<FromPeer>,
    peer_news: Receiver<FromPeer>,
    to_tickets: Sender<Result<Pass, Problem>>,
    tickets: Receiver<Result<Pass, Problem>>,
}

impl<'a> Desk<'a> {
    fn new(options: &'a Options, service: Service, window: Option<WindowPort>) -> Self {
        let (to_socket_news, socket_news) = channel(NEWS_MAX);
        let (to_peer_news, peer_news) = channel(NEWS_MAX);
        let (to_tickets, tickets) = channel(1);
        let in_window = window.as_ref().map(|port| Arc::clone(&port.shown));
        let plays = window.is_some() && options.sound == peer::Sound::Wanted;
        let kept = || options.snapshot.is_some().then(|| Arc::new(Shown::kept()));
        Self {
            session: Session::new(options.mode, rand::random()),
            shown: in_window.or_else(kept),
            playback: plays.then(Playback::start).flatten(),
            options,
            window,
            service,
            books: SharedBooks::new(Books::default().into()),
            outgoing: None,
            sockets: 0,
            peer: None,
            peers: 0,
            news: PeerNews::default(),
            bitrate: (0, 0),
            round_trip: None,
            started_at: Instant::now(),
            held_up: None,
            to_socket_news,
            socket_news,
            to_peer_news,
            peer_news,
            to_tickets,
            tickets,
        }
    }

    /// One turn per piece of news, until the session closes, the time is over or a signal comes.
    async fn turn_until_the_end(&mut self) -> Result<(), Problem> {
        let end = self.options.duration.map(|time| self.started_at + time);
        let mut tick = tokio::time::interval(TICK);
        let mut stop = std::pin::pin!(stop_signal());
        loop {
            self.carry_out();
            self.tell_window();
            if let State::Closed { problem } = self.session.state() {
                return Err(problem.clone());
            }
            let timeout = self.session.poll_timeout();
            let wake_at = timeout.into_iter().chain(end).min();
            tokio::select! {
                Some(news) = self.socket_news.recv() => self.handle_socket(news),
                Some(news) = self.peer_news.recv() => self.handle_peer(news),
                Some(ticket) = self.tickets.recv() => {
                    match &ticket {
                        Ok(_) => self.passed(Metric::Ticket),
                        Err(problem) => self.held_up = Some(problem.clone()),
                    }
                    self.session.handle_ticket(ticket, Instant::now());
                }
                _ = tick.tick() => self.handle_tick(),
                wish = wished(&mut self.window) => {
                    // Connecting again is for a session that ended.
                    if wish != Wish::Again {
                        return Ok(());
                    }
                }
                () = sleep_until(wake_at) => self.session.handle_timeout(Instant::now()),
                () = &mut stop => return Ok(()),
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return self.verdict();
            }
        }
    }

    async fn leave(&mut self) {
        self.session.handle_leave();
        self.carry_out();
        // The farewell leaves the queue of the socket's task.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn passed(&self, step: Metric) {
        if let Some(visitor) = &self.options.visitor {
            visitor.handle_passed(step, Instant::now());
        }
    }

    /// The time is over: fine if there was a picture.
    fn verdict(&self) -> Result<(), Problem> {
        match lock(&self.books).first_decoded_at {
            Some(_) => Ok(()),
            None => Err(self.held_up.clone().unwrap_or_else(|| {
                Problem::new(
                    Code::NoPath,
                    "No picture came in the time given.",
                    "Give it more time, or look at the log with RUST_LOG=viewer=debug.",
                )
            })),
        }
    }

    fn tell_window(&mut self) {
        let Some(window) = &mut self.window else {
            return;
        };
        let live = matches!(self.session.state(), State::Live { .. });
        window.tell_status(Status {
            words: self.session.state().words(),
            policy: self.session.policy().filter(|_| live).cloned(),
            ended: false,
        });
    }

    fn carry_out(&mut self) {
        while let Some(command) = self.session.poll_command() {
            match command {
                Command::FetchTicket => self.fetch_ticket(),
                Command::OpenSocket => {
                    self.sockets += 1;
                    let news = self.to_socket_news.clone();
                    self.outgoing = Some(socket::open(self.service.clone(), self.sockets, news));
                }
                Command::DropSocket => self.outgoing = None,
                Command::Signal(message) => {
                    let said = self.outgoing.as_ref().is_some_and(|out| out.say(message));
                    tracing::trace!(said, "signalled");
                }
                Command::Peer(command) => self.command_peer(command),
                Command::Notice(problem) => tracing::warn!(%problem),
            }
        }
    }

    fn fetch_ticket(&self) {
        let (service, to_tickets) = (self.service.clone(), self.to_tickets.clone());
        tokio::spawn(async move {
            let fetched = match service.fetch_ticket().await {
                Ok(issued) => Ok(Pass {
                    round_trips_ms: nearness::measure(issued.regions).await,
                    ticket: issued.ticket,
                }),
                Err(problem) => Err(problem),
            };
            let _ = to_tickets.send(fetched).await;
        });
    }

    fn command_peer(&mut self, command: PeerCommand) {
        let now = Instant::now();
        match (command, &self.peer) {
            (
                PeerCommand::Start {
                    ice_servers,
                    attempt,
                },
                _,
            ) => {
                if let Err(error) = self.start_peer(ice_servers, attempt) {
                    let reason = format!("{error:#}");
                    self.session.handle_peer(PeerEvent::Failed { reason }, now);
                }
            }
            (PeerCommand::Restart { ice_servers, .. }, Some(peer)) => {
                peer.set_ice_servers(&ice_servers);
                match peer.create_offer() {
                    Ok(sdp) => self.session.handle_peer(PeerEvent::Offer { sdp }, now),
                    Err(error) => {
                        let reason = error.to_string();
                        self.session.handle_peer(PeerEvent::Failed { reason }, now);
                    }
                }
            }
            (PeerCommand::RenewRelays { ice_servers }, Some(peer)) => {
                peer.set_ice_servers(&ice_servers);
            }
            (PeerCommand::Answer { sdp }, Some(peer)) => {
                if let Err(error) = peer.handle_answer(&sdp) {
                    tracing::debug!(%error, "answer refused");
                }
            }
            (PeerCommand::Candidate(candidate), Some(peer)) => peer.handle_candidate(&candidate),
            (PeerCommand::Close, Some(peer)) => peer.close(),
            (_, None) => {}
        }
    }

    fn start_peer(
        &mut self,
        ice_servers: Vec<protocol::signal::IceServer>,
        attempt: Attempt,
    ) -> anyhow::Result<()> {
        if let Some(old) = self.peer.take() {
            old.close();
        }
        self.peers += 1;
        let (handle, events) = peer::io::start(peer::io::SessionConfig {
            side: peer::Side::Viewer,
            path_mode: match attempt {
                Attempt::Any => PathMode::Auto,
                Attempt::DirectOnly => PathMode::Direct,
                Attempt::RelayOnly => PathMode::Relay,
            },
            addresses: Vec::new(),
            ice_servers,
            bitrate: peer::BitrateRange::default(),
            sound: self.options.sound,
            trust: self.options.trust.clone(),
            name: "viewer-peer".into(),
        })?;
        let sdp = handle.create_offer()?;
        let into = Into {
            books: self.books.clone(),
            shown: self.shown.clone(),
            visitor: self.options.visitor.clone(),
            playback: self.playback.clone(),
        };
        let news = self.to_peer_news.clone();
        media::start((handle.clone(), events), into, self.peers, news)?;
        if let Some(visitor) = &self.options.visitor {
            visitor.handle_peer(handle.clone());
        }
        if let Some(window) = &self.window {
            window.set_peer(Some(handle.clone()));
        }
        self.peer = Some(handle);
        self.session
            .handle_peer(PeerEvent::Offer { sdp }, Instant::now());
        Ok(())
    }

    fn handle_socket(&mut self, FromSocket { socket, news }: FromSocket) {
        if socket != self.sockets {
            return;
        }
        let now = Instant::now();
        match news {
            News::Opened => {
                self.passed(Metric::Socket);
                self.session.handle_socket_opened(now);
            }
            News::Said(message) => {
                match &*message {
                    ToViewer::Granted { .. } => {
                        self.passed(Metric::Granted);
                        self.held_up = None;
                    }
                    ToViewer::Failed { problem } => self.held_up = Some(problem.clone()),
                    _ => {}
                }
                self.session.handle_signal(*message, now);
            }
            News::Lost(problem) => self.session.handle_socket_lost(problem, now),
        }
    }

    fn handle_peer(&mut self, FromPeer { peer, event }: FromPeer) {
        if peer != self.peers {
            return;
        }
        match &event {
            Event::Candidate(last) if last.candidate.is_empty() => self.passed(Metric::Gathered),
            Event::IceState(IceState::Connected) => self.passed(Metric::Ice),
            Event::Connected(_) => {
                self.passed(Metric::Dtls);
                self.ping();
            }
            Event::PathChanged(_) => self.ping(),
            Event::ChannelOpen(peer::Channel::Control) => {
                self.ping();
                self.say(&FromViewer::Quality(self.options.quality));
            }
            Event::Message { bytes, .. } => self.handle_host(bytes),
            Event::Stats(stats) => {
                self.bitrate = (stats.ingress_bps, stats.bytes_received);
                self.round_trip = stats.round_trip;
                if let Some(visitor) = &self.options.visitor {
                    let pinged = lock(&self.books).clock.round_trip();
                    visitor.handle_stats(stats, self.news.path(), pinged);
                }
            }
            Event::RelayFailed {
                region, problem, ..
            } => tracing::warn!(region, problem, "a relay cannot be used"),
            _ => {}
        }
        if let Some(event) = self.news.handle_event(&event, self.session.state()) {
            self.session.handle_peer(event, Instant::now());
        }
    }

    /// A message of the host that is neither picture nor measurement.
    fn handle_host(&mut self, bytes: &[u8]) {
        let message = match FromHost::decode(bytes) {
            Ok(message) => message,
            Err(error) => return tracing::debug!(%error, "a message of the host makes no sense"),
        };
        match message {
            FromHost::Notice(json) => {
                if let Ok(problem) = serde_json::from_str::<Problem>(&json) {
                    tracing::warn!(%problem);
                }
            }
            FromHost::Closed(json) => {
                if let Ok(problem) = serde_json::from_str(&json) {
                    self.session.handle_host_closed(problem, Instant::now());
                }
            }
            message => {
                if let Some(window) = &self.window {
                    window.tell(ToWindow::Host(message));
                }
            }
        }
    }

    fn ping(&self) {
        self.say(&FromViewer::Ping { sent_us: unix_us() });
    }

    fn say(&self, message: &FromViewer) {
        if let Some(peer) = &self.peer {
            // Before the channel is open there is nobody to ask.
            let _ = peer.send_message(peer::Channel::Control, &message.encode());
        }
    }

    fn handle_tick(&mut self) {
        self.ping();
        if self.options.prints {
            self.print();
        }
    }

    fn print(&mut self) {
        let now = Instant::now();
        let mut books = lock(&self.books);
        let report = books.meter.report(now);
        let (error, host) = (books.clock.error(), books.host);
        let pinged = books.clock.round_trip();
        let first = books.first_decoded_at;
        drop(books);
        let first_frame = first.map(|at| at.saturating_duration_since(self.started_at));
        let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
        let state = self.session.state();
        let line = Line {
            state: state.name(),
            path: self.news.path().cloned(),
            rtt_ms: self.round_trip.or(pinged).map(ms),
            bitrate_bps: self.bitrate.0,
            bytes_received: self.bitrate.1,
            first_frame_ms: first_frame.map(ms),
            clock_error_ms: error.map(ms),
            host: Host {
                capture_us: host.capture_us,
                encode_us: host.encode_us,
                queue_us: host.queue_us,
                chroma: host.chroma.as_str(),
            },
            report,
        };
        let text = if self.options.json {
            line.json()
        } else {
            line.text(state)
        };
        println!("{text}");
    }

    fn write_snapshot(&self) -> anyhow::Result<()> {
        let Some(file) = &self.options.snapshot else {
            return Ok(());
        };
        let Some(shown) = &self.shown else {
            return Ok(());
        };
        let newest = shown.look();
        let picture = &newest.picture;
        anyhow::ensure!(!picture.pixels.is_empty(), "there is no picture to write");
        let png = file.extension().is_some_and(|end| end == "png");
        let bytes = if png {
            picture.to_png()
        } else {
            picture.to_ppm()
        };
        std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
    }
}

async fn wished(window: &mut Option<WindowPort>) -> Wish {
    match window {
        // A window that is gone wants the session to be gone too.
        Some(port) => port.wishes.recv().await.unwrap_or(Wish::Leave),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C or SIGTERM.
pub(super) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
