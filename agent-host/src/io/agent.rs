//! The agent host at work: one task that hears signalling, the peers, the screen, the hands and the
//! clock, asks the machines what to do, and does it.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use peer::io::{Handle, SessionConfig, Trust};
use peer::{BitrateRange, Channel, CloseReason, Event, IceState, Side};
use protocol::Secret;
use protocol::control::{FromHost, Quality, image_parts};
use protocol::id::SessionId;
use protocol::problem::{Code, Problem};
use protocol::signal::{AgentSession, FromAgent, MESSAGE_LEN_MAX, Role, ToAgent};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::Config;
use crate::input::InputEvent;
use crate::io::hands::{HandsCommand, HandsReport, Repeats};
use crate::io::live::{Live, PeerViewer, Presence};
use crate::io::screen::{ScreenCommand, ScreenReport};
use crate::io::sound::SoundCommand;
use crate::io::wait::Outbox;
use crate::offer::Offerer;
use crate::quality;
use crate::registration::{Registration, SocketWish};
use crate::session::{Deed, Session};

/// Sessions at a time; each is a peer with sockets and a thread. For one more, that of the viewer ends
/// who cannot be reached the longest; if all can, it is refused.
const SESSIONS_MAX: usize = 16;
/// Happenings of all peers and threads that wait for the task. When full, the sender waits: peers
/// have bounded queues of their own behind it.
const HAPPENINGS_MAX: usize = 1024;
/// How long a socket may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long good-byes may take.
const FAREWELL: Duration = Duration::from_millis(300);

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

type Opening = Pin<Box<dyn Future<Output = anyhow::Result<Socket>>>>;

/// What the task hears, apart from signalling.
#[derive(Debug)]
pub enum Happening {
    /// From the peer of that generation; what an older one says is history.
    Peer(SessionId, u64, Event),
    Screen(ScreenReport),
    Hands(HandsReport),
}

/// Where threads and peers tell the task.
pub fn happenings() -> (mpsc::Sender<Happening>, mpsc::Receiver<Happening>) {
    mpsc::channel(HAPPENINGS_MAX)
}

/// The threads it gives orders to.
pub struct Threads {
    pub screen: Outbox<ScreenCommand>,
    pub hands: Outbox<HandsCommand>,
    /// `None` if there is no sound here.
    pub sound: Option<Outbox<SoundCommand>>,
}

/// The task's belongings.
pub struct Agent {
    config: Config,
    registration: Registration,
    sessions: HashMap<SessionId, Live>,
    threads: Threads,
    happened: mpsc::Receiver<Happening>,
    happen: mpsc::Sender<Happening>,
    failed: Option<String>,
    generations: u64,
    trust: Trust,
    /// As the screen thread makes the picture now.
    quality: Quality,
}

impl Agent {
    pub fn new(
        config: Config,
        credential: Secret,
        trust: Trust,
        threads: Threads,
        (happen, happened): (mpsc::Sender<Happening>, mpsc::Receiver<Happening>),
    ) -> Self {
        let instance = config.instance.clone();
        let registration = Registration::new(instance, credential, rand::random(), Instant::now());
        Self {
            config,
            registration,
            sessions: HashMap::new(),
            threads,
            happened,
            happen,
            failed: None,
            generations: 0,
            trust,
            quality: Quality::default(),
        }
    }

    /// Serves until `stop` is ready; then says good-bye to every viewer.
    ///
    /// # Errors
    ///
    /// No encoder works any more.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(stop);
        let mut socket: Option<Socket> = None;
        // Kept across turns: what happens meanwhile must not start it over.
        let mut opening: Option<Opening> = None;
        while self.failed.is_none() {
            self.transmit(&mut socket).await;
            let wish = self.registration.poll_wish(Instant::now());
            if wish == SocketWish::Wait {
                socket = None;
            }
            if wish == SocketWish::Open && socket.is_none() && opening.is_none() {
                opening = Some(Box::pin(open(self.config.signalling_url())));
            }
            let timer = sleep_until(self.poll_timeout());
            tokio::select! {
                () = &mut stop => break,
                Some(happening) = self.happened.recv() => self.handle_happening(happening),
                opened = opened(&mut opening), if opening.is_some() => {
                    opening = None;
                    socket = self.handle_opened(opened);
                }
                read = read(&mut socket), if socket.is_some() => {
                    if !self.handle_read(read) {
                        socket = None;
                    }
                }
                () = timer => {}
            }
            self.handle_timeouts();
            self.settle_quality();
        }
        self.farewell(&mut socket).await;
        self.failed.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }

    fn handle_opened(&mut self, opened: anyhow::Result<Socket>) -> Option<Socket> {
        let now = Instant::now();
        match opened {
            Ok(socket) => {
                let sessions = self.sessions.keys().copied().collect();
                self.registration.handle_open(sessions, now);
                Some(socket)
            }
            Err(error) => {
                tracing::debug!(%error, "signalling cannot be reached; trying again");
                self.registration.handle_lost(now);
                None
            }
        }
    }

    /// False if the socket is of no use any more.
    fn handle_read(&mut self, read: Option<Message>) -> bool {
        let now = Instant::now();
        match read {
            Some(Message::Text(text)) => {
                if let Some(message) = self.registration.handle_text(text.as_str(), now) {
                    self.handle_signal(message, now);
                }
                true
            }
            Some(Message::Close(_)) | None => {
                tracing::info!("signalling closed the connection; sessions go on");
                self.registration.handle_lost(now);
                false
            }
            Some(_) => true,
        }
    }

    async fn transmit(&mut self, socket: &mut Option<Socket>) {
        while let Some(open) = socket {
            let Some(message) = self.registration.poll_transmit() else {
                return;
            };
            let text = serde_json::to_string(&message).expect("our own messages are JSON");
            if open.send(Message::text(text)).await.is_err() {
                self.registration.handle_lost(Instant::now());
                *socket = None;
            }
        }
    }

    fn handle_signal(&mut self, message: ToAgent, now: Instant) {
        match message {
            ToAgent::Registered => tracing::info!(instance = %self.config.instance, "registered"),
            ToAgent::SessionOpened { session } => self.open_session(&session, now),
            ToAgent::SessionRenewed { session } => {
                if let Some(live) = self.sessions.get_mut(&session.session) {
                    live.session.handle_renewed(&session, now);
                    live.told = session.clone();
                    live.peer.set_ice_servers(&session.ice_servers);
                }
            }
            ToAgent::SessionClosed { session, problem } => self.close_session(session, &problem),
            ToAgent::Offer { session, sdp } => self.answer(session, &sdp),
            ToAgent::Candidate { session, candidate } => {
                if let Some(live) = self.sessions.get(&session) {
                    live.peer.handle_candidate(&candidate);
                }
            }
            ToAgent::Failed { problem } => tracing::warn!(%problem, "signalling refused"),
            ToAgent::Pong => {}
        }
    }

    fn open_session(&mut self, session: &AgentSession, now: Instant) {
        let id = session.session;
        if let Some(live) = self.sessions.get_mut(&id) {
            return live.session.handle_renewed(session, now);
        }
        if self.sessions.len() >= SESSIONS_MAX && !self.make_room() {
            let problem = Problem::new(
                Code::TooMany,
                format!("This desktop serves {SESSIONS_MAX} viewers already."),
                "Close another viewer and connect again.",
            );
            return self.registration.say(FromAgent::Close {
                session: id,
                problem,
            });
        }
        match self.start_peer(session) {
            Ok(peer) => {
                tracing::info!(session = %id, role = ?session.policy.role, "session opened");
                let live = Live {
                    session: Session::new(session, now),
                    told: session.clone(),
                    generation: self.generations,
                    offerer: None,
                    peer,
                    presence: Presence::Awaited,
                    hears: false,
                    listening: false,
                };
                self.sessions.insert(id, live);
            }
            Err(error) => {
                tracing::warn!(session = %id, %error, "no peer for the session");
                self.registration.say(FromAgent::Close {
                    session: id,
                    problem: internal(),
                });
            }
        }
    }

    fn start_peer(&mut self, session: &AgentSession) -> anyhow::Result<Handle> {
        let id = session.session;
        self.generations += 1;
        let generation = self.generations;
        let (peer, mut events) = peer::io::start(SessionConfig {
            side: Side::Host,
            path_mode: session.path_mode,
            addresses: self.config.network.addresses.clone(),
            ice_servers: session.ice_servers.clone(),
            bitrate: BitrateRange::default(),
            sound: peer::Sound::Wanted,
            trust: self.trust.clone(),
            name: "peer".into(),
        })?;
        let happen = self.happen.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if happen
                    .send(Happening::Peer(id, generation, event))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(peer)
    }

    fn answer(&mut self, session: SessionId, sdp: &str) {
        self.replace_stale_peer(session, sdp);
        let Some(live) = self.sessions.get(&session) else {
            return;
        };
        match live.peer.handle_offer(sdp) {
            Ok(sdp) => self.registration.say(FromAgent::Answer { session, sdp }),
            Err(error) => {
                tracing::debug!(%session, %error, "an offer was refused");
                let problem = Problem::new(
                    Code::BadMessage,
                    "The viewer's offer cannot be answered.",
                    "Update the viewer and connect again.",
                );
                self.end_session(session, problem);
            }
        }
    }

    /// A viewer that starts afresh needs a fresh peer here.
    fn replace_stale_peer(&mut self, id: SessionId, sdp: &str) {
        let offered = Offerer::of(sdp);
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        let before = live.offerer.replace(offered.clone());
        if before.is_none_or(|before| before == offered) {
            return;
        }
        let told = live.told.clone();
        live.hears = false;
        self.set_presence(id, Presence::Awaited);
        match self.start_peer(&told) {
            Ok(peer) => {
                let generation = self.generations;
                if let Some(live) = self.sessions.get_mut(&id) {
                    live.peer = peer;
                    live.generation = generation;
                }
            }
            Err(error) => tracing::warn!(session = %id, %error, "no fresh peer for the session"),
        }
    }

    fn handle_happening(&mut self, happening: Happening) {
        match happening {
            Happening::Peer(session, generation, event) => {
                let current = self.sessions.get(&session).map(|live| live.generation);
                if current == Some(generation) {
                    self.handle_peer(session, event);
                }
            }
            Happening::Screen(ScreenReport::Captured(captured)) => {
                self.registration.say(FromAgent::Captured { captured });
                if !captured {
                    self.notify_all(&Problem::new(
                        Code::DisplayLost,
                        "The desktop's display went away.",
                        "Wait: the picture comes back with the display.",
                    ));
                }
            }
            Happening::Screen(ScreenReport::Failed(why)) => self.failed = Some(why),
            Happening::Hands(HandsReport::Copied(text)) => self.share_clipboard(&text),
            Happening::Hands(HandsReport::CopiedImage(png)) => self.share_image(&png),
            Happening::Hands(HandsReport::CopiedTooMuch { len }) => {
                self.notify_all(&Problem::new(
                    Code::MessageTooLarge,
                    format!("What was copied on the desktop has {len} bytes, too many to send."),
                    "Copy less, or transfer it as a file.",
                ));
            }
        }
    }

    fn handle_peer(&mut self, id: SessionId, event: Event) {
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        match event {
            Event::Candidate(candidate) => self.registration.say(FromAgent::Candidate {
                session: id,
                candidate,
            }),
            Event::Connected(path) => {
                tracing::info!(session = %id, relayed = path.is_relayed(), "connected");
                self.set_presence(id, Presence::Here);
            }
            Event::IceState(IceState::Disconnected) if live.is_here() => {
                tracing::info!(session = %id, "the viewer cannot be reached");
                let since = Instant::now();
                self.set_presence(id, Presence::Away { since });
            }
            Event::IceState(IceState::Connected) if live.away_since().is_some() => {
                tracing::info!(session = %id, "the viewer is back");
                self.set_presence(id, Presence::Here);
            }
            Event::AudioWanted(wanted) => {
                live.hears = wanted;
                self.tell_listening(id);
            }
            Event::ChannelOpen(Channel::Control) => {
                let quality = FromHost::Quality(self.quality).encode();
                let _ = live.peer.send_message(Channel::Control, &quality);
                self.tell_screen(ScreenCommand::Introduce(id));
            }
            Event::Message { channel, bytes } => self.handle_message(id, channel, &bytes),
            Event::KeyFrameWanted => {
                if live.session.handle_key_frame_wanted(Instant::now()) {
                    self.tell_screen(ScreenCommand::KeyWanted);
                }
            }
            Event::EgressEstimate { bitrate_bps } => {
                self.tell_screen(ScreenCommand::Estimate(id, bitrate_bps));
            }
            Event::Closed(reason) => self.peer_closed(id, &reason),
            Event::RelayFailed { problem, .. } => tracing::debug!(session = %id, problem, "relay"),
            Event::PathChanged(path) => {
                tracing::info!(session = %id, relayed = path.is_relayed(), "another path");
            }
            Event::IceState(_)
            | Event::ChannelOpen(_)
            | Event::Video(_)
            | Event::Audio(_)
            | Event::Stats(_) => {}
        }
    }

    /// Who is here is sent the picture, and its keyboard counts; whoever leaves lets go of all keys.
    fn set_presence(&mut self, id: SessionId, presence: Presence) {
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut live.presence, presence);
        if before == presence {
            return;
        }
        let controls = live.session.policy().role == Role::Control;
        if presence == Presence::Here {
            let viewer = Box::new(PeerViewer(live.peer.clone()));
            self.tell_screen(ScreenCommand::Watch(id, viewer));
            self.tell_hands(HandsCommand::Repeat(Repeats::Viewers));
        } else if before == Presence::Here {
            self.tell_screen(ScreenCommand::Unwatch(id));
            // Who may not press anything holds nothing; what another viewer holds is theirs.
            if controls {
                self.tell_hands(HandsCommand::Input(InputEvent::ReleaseAll));
            }
            if !self.sessions.values().any(Live::is_here) {
                self.tell_hands(HandsCommand::Repeat(Repeats::Server));
            }
        }
        self.tell_listening(id);
    }

    /// Ends the session of the viewer who cannot be reached the longest. False: all can.
    fn make_room(&mut self) -> bool {
        let away = self
            .sessions
            .iter()
            .filter_map(|(&id, live)| Some((live.away_since()?, id)));
        let Some((_, id)) = away.min_by_key(|(since, _)| *since) else {
            return false;
        };
        let problem = Problem::new(
            Code::SessionEnded,
            "The viewer could not be reached, and its place was needed.",
            "Connect again.",
        );
        self.end_session(id, problem);
        true
    }

    /// Who is here and asked for sound gets it.
    fn tell_listening(&mut self, id: SessionId) {
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        let wanted = live.is_here() && live.hears;
        if wanted == std::mem::replace(&mut live.listening, wanted) {
            return;
        }
        let command = if wanted {
            SoundCommand::Listen(id, Box::new(PeerViewer(live.peer.clone())))
        } else {
            SoundCommand::Unlisten(id)
        };
        self.tell_sound(command);
    }

    fn tell_sound(&self, command: SoundCommand) {
        if let Some(sound) = &self.threads.sound
            && sound.send(command).is_err()
        {
            tracing::debug!("the sound thread takes no commands");
        }
    }

    fn handle_message(&mut self, id: SessionId, channel: Channel, bytes: &[u8]) {
        let Some(live) = self.sessions.get_mut(&id) else {
            return;
        };
        let deed = live.session.handle_message(channel, bytes, Instant::now());
        match deed {
            Some(Deed::Inject(event)) => {
                self.tell_hands(HandsCommand::Input(event));
                self.tell_screen(ScreenCommand::Input);
            }
            Some(Deed::SetClipboard(text)) => {
                self.tell_hands(HandsCommand::SetClipboard(text));
            }
            Some(Deed::SetImage(png)) => self.tell_hands(HandsCommand::SetImage(png)),
            Some(Deed::Resize { width, height }) => {
                self.tell_hands(HandsCommand::Resize { width, height });
            }
            Some(Deed::Pong { sent_us }) => {
                let host_us = unix_now_us();
                let pong = FromHost::Pong { sent_us, host_us };
                let _ = live.peer.send_message(Channel::Control, &pong.encode());
            }
            None => {}
        }
    }

    fn peer_closed(&mut self, id: SessionId, reason: &CloseReason) {
        let problem = match reason {
            CloseReason::MessageTooLarge { len } => Problem::new(
                Code::MessageTooLarge,
                format!("The viewer sent a message of {len} bytes."),
                "Connect again.",
            ),
            CloseReason::TooManyChannels => Problem::new(
                Code::TooMany,
                "The viewer opened more channels than there are.",
                "Connect again with a viewer that works.",
            ),
            CloseReason::Local | CloseReason::Remote => Problem::new(
                Code::SessionEnded,
                "The connection to the viewer was closed.",
                "Connect again.",
            ),
            CloseReason::Backlog => Problem::new(
                Code::TooMany,
                "The viewer sent more than the agent host can take.",
                "Connect again with a viewer that works.",
            ),
            CloseReason::Engine(_) => internal(),
        };
        tracing::info!(session = %id, ?reason, "session ended");
        self.forget(id);
        self.registration.say(FromAgent::Close {
            session: id,
            problem,
        });
    }

    /// The session ends here, with a reason for viewer and signalling.
    fn end_session(&mut self, id: SessionId, problem: Problem) {
        self.close_session(id, &problem);
        self.registration.say(FromAgent::Close {
            session: id,
            problem,
        });
    }

    fn close_session(&mut self, id: SessionId, problem: &Problem) {
        if let Some(live) = self.forget(id) {
            tracing::info!(session = %id, code = %problem.code, "session closed");
            let closed = FromHost::Closed(json(problem));
            let _ = live.peer.send_message(Channel::Control, &closed.encode());
            live.peer.close();
        }
    }

    fn forget(&mut self, id: SessionId) -> Option<Live> {
        self.set_presence(id, Presence::Awaited);
        self.sessions.remove(&id)
    }

    fn share_clipboard(&self, text: &str) {
        let message = FromHost::ClipboardText(text.to_owned()).encode();
        for live in self.sessions.values() {
            if live.session.policy().clipboard_to_viewer {
                let _ = live.peer.send_message(Channel::Control, &message);
            }
        }
    }

    fn share_image(&self, png: &[u8]) {
        for live in self.sessions.values() {
            let allowed = live.session.policy().clipboard_to_viewer;
            let Some(parts) = image_parts(png).filter(|_| allowed) else {
                continue;
            };
            for (left, part) in parts {
                let part = part.to_vec();
                let message = FromHost::ClipboardImage { left, part }.encode();
                // A queue that is full has another image in it; this one is not shown there.
                if live.peer.send_message(Channel::Control, &message).is_err() {
                    break;
                }
            }
        }
    }

    fn notify_all(&self, problem: &Problem) {
        let message = FromHost::Notice(json(problem)).encode();
        for live in self.sessions.values() {
            let _ = live.peer.send_message(Channel::Control, &message);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self
            .sessions
            .values()
            .filter_map(|l| l.session.poll_timeout());
        sessions.chain(self.registration.poll_timeout()).min()
    }

    fn handle_timeouts(&mut self) {
        let now = Instant::now();
        self.registration.handle_timeout(now);
        let mut ended = Vec::new();
        for (&id, live) in &mut self.sessions {
            live.session.handle_timeout(now);
            ended.extend(live.session.poll_end().map(|problem| (id, problem)));
        }
        for (id, problem) in ended {
            self.end_session(id, problem);
        }
    }

    /// There is one stream for all: whose choice decides is seen anew whenever anything happened.
    fn settle_quality(&mut self) {
        let here = self.sessions.values().filter(|live| live.is_here());
        let choices = here.map(|live| live.session.quality());
        let decided = quality::decided(choices);
        if decided == self.quality {
            return;
        }
        tracing::debug!(quality = ?decided, "another quality");
        self.quality = decided;
        self.tell_screen(ScreenCommand::Quality(decided));
        let message = FromHost::Quality(decided).encode();
        for live in self.sessions.values() {
            let _ = live.peer.send_message(Channel::Control, &message);
        }
    }

    async fn farewell(&mut self, socket: &mut Option<Socket>) {
        let problem = Problem::new(
            Code::ServiceRestarting,
            "The agent host of this desktop is stopping.",
            "Connect again in a moment.",
        );
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for id in sessions {
            self.end_session(id, problem.clone());
        }
        self.transmit(socket).await;
        if let Some(socket) = socket {
            let _ = tokio::time::timeout(FAREWELL, socket.close(None)).await;
        }
        self.tell_hands(HandsCommand::Stop);
        self.tell_screen(ScreenCommand::Stop);
        self.tell_sound(SoundCommand::Stop);
        tokio::time::sleep(FAREWELL).await;
    }

    /// Full hands: the newest input is lost, as on a machine that hangs.
    fn tell_hands(&self, command: HandsCommand) {
        if self.threads.hands.send(command).is_err() {
            tracing::debug!("the hands take no commands");
        }
    }

    fn tell_screen(&self, command: ScreenCommand) {
        if self.threads.screen.send(command).is_err() {
            tracing::debug!("the screen thread takes no commands");
        }
    }
}

async fn opened(opening: &mut Option<Opening>) -> anyhow::Result<Socket> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

async fn open(url: String) -> anyhow::Result<Socket> {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LEN_MAX))
        .max_frame_size(Some(MESSAGE_LEN_MAX));
    let connect = tokio_tungstenite::connect_async_with_config(url, Some(limits), true);
    let (socket, _) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
        .await
        .context("no answer")??;
    Ok(socket)
}

async fn read(socket: &mut Option<Socket>) -> Option<Message> {
    socket.as_mut()?.next().await?.ok()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn internal() -> Problem {
    Problem::new(
        Code::Internal,
        "The agent host could not go on with the session.",
        "Connect again; its log says why.",
    )
}

fn json(problem: &Problem) -> String {
    serde_json::to_string(problem).expect("a problem is JSON")
}

fn unix_now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
