//! One session on one instance, from the click to the last picture.
//!
//! ```text
//!  Idle ─▶ Opening ─▶ Connecting(attempt) ─▶ Live(path) ◀─▶ Reconnecting
//!             └───────────────┴──────────────────┴──────────────┴──▶ Closed(problem)
//! ```
//!
//! [`Session`] is told what arrived from the ticket service, the signalling socket, the WebRTC
//! peer and the clock; it answers with [`Command`]s. Media does not depend on signalling: a lost
//! socket changes nothing but what can be asked for, and heals by itself. A lost path is mended by
//! an ICE restart first and by a fresh peer second.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::problem::{Code, Problem};
use protocol::signal::{
    self, CANDIDATES_MAX, Candidate, FromViewer, Grant, IceServer, PathMode, Policy, ToViewer,
};

use crate::backoff::Backoff;
use crate::link::{Action, Link};
use crate::mode::{ATTEMPT_MAX, Attempt, ModeSelector};
use crate::path::Path;
use crate::token::{Token, TokenKeeper};

/// Longest time from the click to a grant, retries of passing failures included.
pub const OPENING_MAX: Duration = Duration::from_secs(20);
/// Longest time a lost path is mended before the session is given up: the service keeps a session
/// whose viewer is away for 30 s.
pub const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// How long an ICE restart may take before a fresh peer is tried.
pub const RESTART_MAX: Duration = Duration::from_secs(4);

/// Where the session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    /// Ticket and grant are being fetched.
    Opening,
    /// Candidates are being checked.
    Connecting {
        attempt: Attempt,
    },
    Live {
        path: Path,
    },
    /// The path was lost and is being mended.
    Reconnecting,
    Closed {
        problem: Problem,
    },
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Exchange the access key for a connect ticket; answer with [`Session::handle_ticket`].
    FetchTicket,
    /// Open a signalling socket; answer with [`Session::handle_socket_opened`] or `_lost`.
    OpenSocket,
    /// Drop the socket.
    DropSocket,
    Signal(FromViewer),
    Peer(PeerCommand),
    /// Tell the person.
    Notice(Problem),
}

/// What the WebRTC peer does next.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerCommand {
    /// Make a fresh peer, dropping the one before, and its first offer.
    Start {
        ice_servers: Vec<IceServer>,
        attempt: Attempt,
    },
    /// Restart ICE on the peer there is: another offer; media goes on meanwhile.
    Restart {
        ice_servers: Vec<IceServer>,
        attempt: Attempt,
    },
    /// New credentials for the relays in use; nothing is renegotiated.
    RenewRelays {
        ice_servers: Vec<IceServer>,
    },
    Answer {
        sdp: String,
    },
    Candidate(Candidate),
    Close,
}

/// What the WebRTC peer tells.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    Offer {
        sdp: String,
    },
    Candidate(Candidate),
    /// A path carries media; said again when it changes.
    Connected(Path),
    /// The path stopped carrying anything.
    Lost,
    /// This peer cannot go on: no pair works, or DTLS failed.
    Failed {
        reason: String,
    },
}

/// What opens the door once.
#[derive(Clone, Debug)]
pub struct Pass {
    pub ticket: Secret,
    /// Milliseconds to each region that was measured.
    pub round_trips_ms: BTreeMap<String, u32>,
}

impl From<Secret> for Pass {
    /// Nothing was measured.
    fn from(ticket: Secret) -> Self {
        Self {
            ticket,
            round_trips_ms: BTreeMap::new(),
        }
    }
}

/// The connect ticket, on its way from the service to the first message.
#[derive(Debug)]
enum Ticket {
    /// None is wanted: the session is granted, or not begun.
    Unneeded,
    Fetching,
    RetryAt(Instant),
    Have(Pass),
    /// Sent; whether it was spent is not known until the grant.
    Sent,
}

/// An offer until it is answered, so that it can be said again on another socket.
#[derive(Debug, Default)]
struct Offer {
    sdp: Option<String>,
    candidates: Vec<Candidate>,
    answered: bool,
}

/// How a lost path is being mended.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    give_up_at: Instant,
    /// When the step under way counts as failed; `None` while it waits for signalling.
    step_ends_at: Option<Instant>,
    /// An ICE restart cannot help: the other end forgot this session, or a restart failed.
    fresh: bool,
}

/// The machine. One per session; make another to connect again.
#[derive(Debug)]
pub struct Session {
    state: State,
    mode: PathMode,
    selector: ModeSelector,
    link: Link,
    ticket: Ticket,
    ticket_backoff: Backoff,
    opening_deadline: Option<Instant>,
    /// Why opening did not succeed so far: what is said at the deadline.
    opening_problem: Option<Problem>,
    grant: Option<Grant>,
    keeper: Option<TokenKeeper>,
    offer: Offer,
    recovery: Option<Recovery>,
    /// The agent host's socket was gone since the last connected path.
    agent_was_away: bool,
    commands: VecDeque<Command>,
}

impl Session {
    /// `seed` makes the waits of this viewer its own.
    pub fn new(mode: PathMode, seed: u64) -> Self {
        Self {
            state: State::Idle,
            mode,
            selector: ModeSelector::new(mode),
            link: Link::new(seed),
            ticket: Ticket::Unneeded,
            ticket_backoff: Backoff::new(!seed),
            opening_deadline: None,
            opening_problem: None,
            grant: None,
            keeper: None,
            offer: Offer::default(),
            recovery: None,
            agent_was_away: false,
            commands: VecDeque::new(),
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// What this session may do; `None` before it is granted.
    pub fn policy(&self) -> Option<&Policy> {
        self.grant.as_ref().map(|grant| &grant.policy)
    }

    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The click. The ticket and the socket are fetched side by side.
    pub fn handle_start(&mut self, now: Instant) {
        if self.state != State::Idle {
            return;
        }
        self.state = State::Opening;
        self.opening_deadline = Some(now + OPENING_MAX);
        self.fetch_ticket();
        self.link.handle_wanted(now);
        self.handle_timeout(now);
    }

    /// The person leaves.
    pub fn handle_leave(&mut self) {
        self.close(Problem::new(
            Code::SessionEnded,
            "You closed the session.",
            "Connect again whenever you like.",
        ));
    }

    /// The answer to [`Command::FetchTicket`].
    pub fn handle_ticket(&mut self, answer: Result<Pass, Problem>, now: Instant) {
        if !matches!(self.ticket, Ticket::Fetching) {
            return;
        }
        match answer {
            Ok(pass) => {
                self.ticket_backoff.handle_success();
                self.ticket = Ticket::Have(pass);
                self.greet(now);
            }
            Err(problem) => self.retry_opening(problem, now),
        }
    }

    pub fn handle_socket_opened(&mut self, now: Instant) {
        self.link.handle_opened(now);
        self.greet(now);
    }

    /// The socket closed, or could not be opened.
    pub fn handle_socket_lost(&mut self, problem: Problem, now: Instant) {
        self.link.handle_lost(now);
        if let Some(keeper) = &mut self.keeper {
            keeper.handle_failed(now);
        }
        if self.grant.is_some() {
            return;
        }
        // A ticket that was sent may have been spent; one that was not is still good.
        match self.ticket {
            Ticket::Sent => self.retry_opening(problem, now),
            // What the service itself said is the better reason.
            _ => {
                self.opening_problem.get_or_insert(problem);
            }
        }
    }

    /// A message arrived on the socket.
    pub fn handle_signal(&mut self, message: ToViewer, now: Instant) {
        self.link.handle_heard(now);
        match message {
            ToViewer::Granted { grant } => self.handle_granted(grant, now),
            ToViewer::Resumed => self.handle_resumed(now),
            ToViewer::Refreshed { grant } => self.handle_refreshed(grant, now),
            ToViewer::Answer { sdp } => self.handle_answer(sdp),
            ToViewer::Candidate { candidate } => self.handle_remote_candidate(candidate),
            ToViewer::MoveRelay { ice_servers } => self.handle_move(ice_servers),
            ToViewer::AgentOnline { online } => self.handle_agent_online(online, now),
            ToViewer::Failed { problem } => self.handle_failed(problem, now),
            ToViewer::Closed { problem } => self.handle_closed(problem, now),
            ToViewer::Pong => {}
        }
    }

    /// The WebRTC peer has news.
    pub fn handle_peer(&mut self, event: PeerEvent, now: Instant) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        match event {
            PeerEvent::Offer { sdp } => self.handle_local_offer(sdp),
            PeerEvent::Candidate(candidate) => self.handle_local_candidate(candidate),
            PeerEvent::Connected(path) => self.handle_connected(path),
            PeerEvent::Lost => self.handle_path_lost(now),
            PeerEvent::Failed { reason } => self.handle_peer_failed(&reason, now),
        }
    }

    /// The agent host ends the connection, and says why.
    pub fn handle_host_closed(&mut self, problem: Problem, now: Instant) {
        if problem.code == Code::ServiceRestarting {
            // Another one takes its place.
            let reason = problem.cause;
            return self.handle_peer(PeerEvent::Failed { reason }, now);
        }
        self.close(problem);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Idle | State::Closed { .. }) {
            return None;
        }
        let ticket = match self.ticket {
            Ticket::RetryAt(at) => Some(at),
            _ => None,
        };
        // A refresh cannot be sent while the socket is down: it waits for the socket.
        let refresh = self.keeper.as_ref().map(TokenKeeper::poll_timeout);
        let recovery = self.recovery.map(|recovery| {
            recovery
                .step_ends_at
                .map_or(recovery.give_up_at, |at| at.min(recovery.give_up_at))
        });
        [
            ticket,
            self.opening_deadline,
            self.link.poll_timeout(),
            refresh.filter(|_| self.link.is_up()),
            self.selector.poll_timeout(),
            recovery,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Idle | State::Closed { .. }) {
            return;
        }
        if self.opening_deadline.is_some_and(|at| now >= at) {
            let problem = self.opening_problem.take();
            return self.close(problem.unwrap_or_else(unreachable_service));
        }
        if matches!(self.ticket, Ticket::RetryAt(at) if now >= at) {
            self.fetch_ticket();
        }
        self.drive_link(now);
        self.refresh_token(now);
        if self.selector.expired(now) {
            self.next_attempt("no path carried anything within 10 s", now);
        }
        self.drive_recovery(now);
    }

    fn fetch_ticket(&mut self) {
        self.ticket = Ticket::Fetching;
        self.commands.push_back(Command::FetchTicket);
    }

    fn drive_link(&mut self, now: Instant) {
        match self.link.handle_timeout(now) {
            None => {}
            Some(Action::Open) => self.commands.push_back(Command::OpenSocket),
            Some(Action::Ping) => self.signal(FromViewer::Ping),
            Some(Action::Drop) => {
                self.commands.push_back(Command::DropSocket);
                self.handle_socket_lost(unreachable_service(), now);
            }
        }
    }

    /// Says the first message on an open socket, once there is something to show.
    fn greet(&mut self, now: Instant) {
        if !self.link.is_open() {
            return;
        }
        if self.grant.is_some() {
            return self.greet_again(now);
        }
        if matches!(self.ticket, Ticket::Have(_))
            && let Ticket::Have(pass) = std::mem::replace(&mut self.ticket, Ticket::Sent)
        {
            self.signal(FromViewer::Open {
                version: signal::VERSION,
                ticket: pass.ticket,
                mode: self.mode,
                round_trips_ms: pass.round_trips_ms,
            });
        }
    }

    fn greet_again(&mut self, now: Instant) {
        match self.keeper.as_ref().and_then(|keeper| keeper.bearer(now)) {
            Some(token) => {
                let token = token.clone();
                self.signal(FromViewer::Resume {
                    version: signal::VERSION,
                    token,
                });
            }
            None => self.close(Problem::new(
                Code::SessionExpired,
                "The session expired while the service could not be reached.",
                "Connect again.",
            )),
        }
    }

    /// Opening failed. What may pass is tried again with a new ticket until the deadline.
    fn retry_opening(&mut self, problem: Problem, now: Instant) {
        if self.grant.is_some() || !problem.code.may_pass() {
            return self.close(problem);
        }
        self.ticket = Ticket::RetryAt(now + self.ticket_backoff.handle_failure());
        self.opening_problem = Some(problem);
    }

    fn handle_granted(&mut self, grant: Grant, now: Instant) {
        if self.state != State::Opening || self.grant.is_some() {
            return;
        }
        self.link.handle_welcomed(now);
        self.ticket = Ticket::Unneeded;
        self.opening_deadline = None;
        self.keeper = Some(TokenKeeper::new(Token::of(&grant, now), now));
        // The service may narrow what was asked for, never widen it.
        if self.mode == PathMode::Auto {
            self.mode = grant.path_mode;
            self.selector = ModeSelector::new(self.mode);
        }
        self.grant = Some(grant);
        let attempt = self.selector.handle_start(now);
        self.start_peer(attempt);
    }

    fn start_peer(&mut self, attempt: Attempt) {
        if !matches!(self.state, State::Reconnecting) {
            self.state = State::Connecting { attempt };
        }
        self.offer = Offer::default();
        let ice_servers = self.ice_servers();
        self.peer(PeerCommand::Start {
            ice_servers,
            attempt,
        });
    }

    fn restart_ice(&mut self) {
        self.offer = Offer::default();
        let ice_servers = self.ice_servers();
        let attempt = self.selector.attempt();
        self.peer(PeerCommand::Restart {
            ice_servers,
            attempt,
        });
    }

    fn handle_resumed(&mut self, now: Instant) {
        if self.grant.is_none() {
            return;
        }
        self.link.handle_welcomed(now);
        if !self.offer.answered {
            self.say_offer_again();
        }
        self.refresh_token(now);
        self.drive_recovery(now);
    }

    fn say_offer_again(&mut self) {
        let Some(sdp) = self.offer.sdp.clone() else {
            return;
        };
        self.signal(FromViewer::Offer { sdp });
        for candidate in self.offer.candidates.clone() {
            self.signal(FromViewer::Candidate { candidate });
        }
    }

    fn refresh_token(&mut self, now: Instant) {
        if !self.link.is_up() {
            return;
        }
        let handle = self
            .keeper
            .as_mut()
            .and_then(|keeper| keeper.handle_timeout(now));
        if let Some(handle) = handle {
            self.signal(FromViewer::Refresh { handle });
        }
    }

    fn handle_refreshed(&mut self, grant: Grant, now: Instant) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        keeper.handle_granted(Token::of(&grant, now), now);
        let ice_servers = grant.ice_servers.clone();
        self.grant = Some(grant);
        self.peer(PeerCommand::RenewRelays { ice_servers });
    }

    fn handle_answer(&mut self, sdp: String) {
        if self.offer.sdp.is_some() && !self.offer.answered {
            self.offer.answered = true;
            self.peer(PeerCommand::Answer { sdp });
        }
    }

    fn handle_remote_candidate(&mut self, candidate: Candidate) {
        if self.selector.attempt().allows_remote(&candidate) {
            self.peer(PeerCommand::Candidate(candidate));
        }
    }

    /// The relay is leaving. A path that does not use one stays as it is.
    fn handle_move(&mut self, ice_servers: Vec<IceServer>) {
        let Some(grant) = &mut self.grant else {
            return;
        };
        grant.ice_servers = ice_servers.clone();
        if matches!(&self.state, State::Live { path } if path.is_relayed()) {
            return self.restart_ice();
        }
        self.peer(PeerCommand::RenewRelays { ice_servers });
    }

    fn handle_agent_online(&mut self, online: bool, now: Instant) {
        if !online {
            self.agent_was_away = true;
            return;
        }
        if let Some(recovery) = &mut self.recovery
            && self.agent_was_away
        {
            // It came back without its peers, or it would have answered.
            recovery.fresh = true;
            recovery.step_ends_at = None;
            self.agent_was_away = false;
            self.drive_recovery(now);
        }
    }

    /// A request failed. Which one follows from what is under way.
    fn handle_failed(&mut self, problem: Problem, now: Instant) {
        if self.grant.is_none() {
            return self.handle_open_refused(problem, now);
        }
        if self.link.is_open() {
            return self.handle_resume_refused(problem, now);
        }
        if let Some(keeper) = &mut self.keeper
            && keeper.in_flight()
        {
            keeper.handle_failed(now);
        } else if matches!(self.state, State::Connecting { .. }) && !problem.code.may_pass() {
            return self.close(problem);
        }
        self.commands.push_back(Command::Notice(problem));
    }

    fn handle_open_refused(&mut self, problem: Problem, now: Instant) {
        self.link.handle_lost(now);
        self.commands.push_back(Command::DropSocket);
        self.retry_opening(problem, now);
    }

    fn handle_resume_refused(&mut self, problem: Problem, now: Instant) {
        if !problem.code.may_pass() {
            return self.close(problem);
        }
        self.link.handle_lost(now);
        self.commands.push_back(Command::DropSocket);
    }

    /// The service ends the socket, and the session unless the service itself is the one leaving.
    fn handle_closed(&mut self, problem: Problem, now: Instant) {
        if self.grant.is_none() {
            return self.handle_open_refused(problem, now);
        }
        if problem.code == Code::ServiceRestarting {
            return self.handle_socket_lost(problem, now);
        }
        self.close(problem);
    }

    fn handle_local_offer(&mut self, sdp: String) {
        self.offer = Offer {
            sdp: Some(sdp.clone()),
            ..Offer::default()
        };
        if self.link.is_up() {
            self.signal(FromViewer::Offer { sdp });
        }
    }

    fn handle_local_candidate(&mut self, candidate: Candidate) {
        if self.offer.candidates.len() >= CANDIDATES_MAX {
            return;
        }
        self.offer.candidates.push(candidate.clone());
        if self.link.is_up() {
            self.signal(FromViewer::Candidate { candidate });
        }
    }

    fn handle_connected(&mut self, path: Path) {
        self.selector.handle_connected();
        self.recovery = None;
        self.agent_was_away = false;
        self.state = State::Live { path };
    }

    fn handle_path_lost(&mut self, now: Instant) {
        if !matches!(self.state, State::Live { .. }) {
            return;
        }
        self.state = State::Reconnecting;
        self.recovery = Some(Recovery {
            give_up_at: now + RECOVERY_MAX,
            step_ends_at: None,
            fresh: self.agent_was_away,
        });
        // The network may have changed under the socket too: do not wait for its silence.
        self.link.handle_wanted(now);
        self.drive_link(now);
        self.drive_recovery(now);
    }

    fn handle_peer_failed(&mut self, reason: &str, now: Instant) {
        match self.state {
            State::Connecting { .. } => self.next_attempt(reason, now),
            State::Live { .. } => {
                self.handle_path_lost(now);
                self.end_recovery_step(now);
            }
            State::Reconnecting => self.end_recovery_step(now),
            State::Idle | State::Opening | State::Closed { .. } => {}
        }
    }

    fn next_attempt(&mut self, reason: &str, now: Instant) {
        match self.selector.handle_failed(now) {
            Some(attempt) => self.start_peer(attempt),
            None => self.close(no_path(self.mode, reason)),
        }
    }

    fn end_recovery_step(&mut self, now: Instant) {
        if let Some(recovery) = &mut self.recovery {
            recovery.fresh = true;
            recovery.step_ends_at = None;
        }
        self.drive_recovery(now);
    }

    /// Takes the next step of mending the path, if signalling is there to carry it.
    fn drive_recovery(&mut self, now: Instant) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        if now >= recovery.give_up_at {
            return self.close(no_path(
                self.mode,
                "the path was lost and did not come back",
            ));
        }
        match recovery.step_ends_at {
            Some(at) if now < at => return,
            Some(_) => recovery.fresh = true,
            None => {}
        }
        if !self.link.is_up() {
            recovery.step_ends_at = None;
            return;
        }
        let step = if recovery.fresh {
            ATTEMPT_MAX
        } else {
            RESTART_MAX
        };
        recovery.step_ends_at = Some(now + step);
        if recovery.fresh {
            self.start_peer(self.selector.attempt());
        } else {
            self.restart_ice();
        }
    }

    fn close(&mut self, problem: Problem) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        if self.link.is_up() {
            self.signal(FromViewer::Close);
        }
        self.link.handle_unwanted();
        self.recovery = None;
        self.commands.push_back(Command::DropSocket);
        self.peer(PeerCommand::Close);
        self.state = State::Closed { problem };
    }

    fn ice_servers(&self) -> Vec<IceServer> {
        self.grant
            .as_ref()
            .map(|grant| grant.ice_servers.clone())
            .unwrap_or_default()
    }

    fn signal(&mut self, message: FromViewer) {
        self.commands.push_back(Command::Signal(message));
    }

    fn peer(&mut self, command: PeerCommand) {
        self.commands.push_back(Command::Peer(command));
    }
}

impl State {
    /// The state as a person is told it.
    pub fn words(&self) -> String {
        match self {
            Self::Idle => "Not connected".into(),
            Self::Opening => "Opening the session".into(),
            Self::Connecting { attempt } => match attempt {
                Attempt::Any | Attempt::DirectOnly => "Checking the direct path".into(),
                Attempt::RelayOnly => "Checking the relay".into(),
            },
            Self::Live { path } => path.words(),
            Self::Reconnecting => "The path was lost; reconnecting".into(),
            Self::Closed { problem } => problem.to_string(),
        }
    }

    /// One word for statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Opening => "opening",
            Self::Connecting { .. } => "connecting",
            Self::Live { .. } => "live",
            Self::Reconnecting => "reconnecting",
            Self::Closed { .. } => "closed",
        }
    }
}

fn unreachable_service() -> Problem {
    Problem::new(
        Code::ServiceUnreachable,
        "The service did not answer in time.",
        "Check the address and the network, then connect again.",
    )
}

fn no_path(mode: PathMode, reason: &str) -> Problem {
    let next_step = match mode {
        PathMode::Auto => "Ask the network's owner to allow UDP or TCP 443 to the relay.",
        PathMode::Direct => "Connect with the relay instead (--mode relay or auto).",
        PathMode::Relay => "Check that the relay can be reached from this network.",
    };
    Problem::new(
        Code::NoPath,
        format!("No path was found: {reason}."),
        next_step,
    )
}

#[cfg(test)]
mod tests;
