//! Joins viewers' sockets, sessions and agent hosts' sockets: the whole service without its IO.
//!
//! The shell passes in each message with the time and takes out [`Output`]s, in order. Whatever
//! one message caused belongs together: its effects are stored before its messages are sent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::id::{InstanceId, SessionId};
use protocol::problem::Problem;
use protocol::signal::{Candidate, ToAgent, ToViewer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::effect::{Effect, SessionRow};
use crate::grant::Granter;
use crate::instances::{Instances, Presence};
use crate::sessions::Sessions;
use crate::tickets::SpentTickets;
use crate::{ConnectionId, refusal};

mod agent;
mod claims;
mod moves;
mod viewer;

use moves::Moves;

pub use agent::Registration;
pub use claims::Claim;

/// Longest SDP passed on, in bytes: Chromium's offer with everything on is about 12 KB.
pub const SDP_LEN_MAX: usize = 32 * 1024;
/// Longest candidate line, in bytes; RFC 8839 ones are under 300.
pub const CANDIDATE_LEN_MAX: usize = 1024;
/// Spent tickets are tidied up this often.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Persist(Effect),
    ToViewer(ConnectionId, ToViewer),
    ToAgent(ConnectionId, ToAgent),
    /// Close the socket once what was sent to it before is out.
    Disconnect(ConnectionId),
    /// The same, and it comes back at once: another node has its session.
    SendAway(ConnectionId),
}

/// What happened so far; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub sessions_opened: u64,
    pub sessions_expired: u64,
    pub sessions_evicted: u64,
    pub opens_refused: u64,
    pub resumes_refused: u64,
    pub renewals: u64,
    pub renewals_repeated: u64,
    pub handles_reused: u64,
    pub registrations: u64,
    pub registrations_refused: u64,
    pub agents_fenced: u64,
    pub candidates_dropped: u64,
    pub sessions_moved: u64,
}

/// The service without its IO.
pub struct Switchboard {
    granter: Arc<Granter>,
    rng: StdRng,
    sessions: Sessions,
    instances: Instances,
    claims: claims::Claims,
    tickets: SpentTickets,
    tidy_at: Instant,
    moves: Moves,
    outputs: VecDeque<Output>,
    /// What nobody has taken out yet; the newest wins, so there is at most one per instance.
    presence_news: HashMap<InstanceId, Presence>,
    counters: Counters,
}

impl Switchboard {
    /// `seed` must be unpredictable in production: session ids come from it.
    pub fn new(granter: Arc<Granter>, seed: [u8; 32], now: Instant) -> Self {
        let sessions = Sessions::new(granter.terms().token_ttl, granter.terms().grace);
        Self {
            granter,
            rng: StdRng::from_seed(seed),
            sessions,
            instances: Instances::default(),
            claims: claims::Claims::default(),
            tickets: SpentTickets::default(),
            tidy_at: now + TIDY_INTERVAL,
            moves: Moves::default(),
            outputs: VecDeque::new(),
            presence_news: HashMap::new(),
            counters: Counters::default(),
        }
    }

    /// Takes in what was stored when the service, or another node that had it, last ran.
    pub fn load(
        &mut self,
        sessions: impl IntoIterator<Item = SessionRow>,
        spent_tickets: impl IntoIterator<Item = (SessionId, u64)>,
        unix_now: Duration,
        now: Instant,
    ) {
        for (ticket, expires_unix) in spent_tickets {
            self.tickets.spend(ticket, expires_unix);
        }
        for row in sessions {
            let session = row.session;
            if self.sessions.session(session).is_some() {
                // It never left.
                continue;
            }
            if !self.sessions.load(row, unix_now, now) {
                self.persist(Effect::SessionRemoved(session));
            }
        }
    }

    /// Ends a session from outside: by its owner, by an operator. `false` if there is none.
    pub fn handle_end(&mut self, session: SessionId) -> bool {
        self.end(session, &refusal::session_ended())
    }

    /// Compares what is here with what is stored: an instance that was deleted is served no more,
    /// and a session whose access was taken back ends.
    pub fn handle_directory(
        &mut self,
        instances: &HashSet<InstanceId>,
        revoked_subjects: &HashSet<String>,
    ) {
        let lost: Vec<_> = self
            .sessions
            .iter()
            .filter(|session| {
                !instances.contains(&session.row.instance)
                    || revoked_subjects.contains(&session.row.subject)
            })
            .map(|session| session.row.session)
            .collect();
        for session in lost {
            self.end(session, &refusal::instance_deleted());
        }
        for instance in self.instances.strangers(instances) {
            if let Some(agent) = self.instances.connection_of(&instance) {
                self.refuse_agent(agent, refusal::agent_denied());
                self.handle_agent_gone(agent);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Instant {
        [self.sessions.poll_timeout(), self.poll_moves_timeout()]
            .into_iter()
            .flatten()
            .fold(self.tidy_at, Instant::min)
    }

    /// Ends what has expired.
    pub fn handle_timeout(&mut self, unix_now: Duration, now: Instant) {
        while let Some(session) = self.sessions.poll_expired(now) {
            self.counters.sessions_expired += 1;
            self.end(session, &refusal::session_expired());
        }
        self.handle_moves_timeout(now);
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY_INTERVAL;
            if let Some(before_unix) = self.tickets.forget(unix_now) {
                self.persist(Effect::TicketsForgotten { before_unix });
            }
        }
    }

    /// The next thing to do; `None` when there is nothing more.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// An instance whose agent host came, went or saw its screen; for those who watch instances.
    pub fn poll_presence(&mut self) -> Option<(InstanceId, Presence)> {
        let instance = self.presence_news.keys().next()?.clone();
        self.presence_news.remove_entry(&instance)
    }

    pub fn presence(&self, instance: &InstanceId) -> Presence {
        self.instances.presence(instance)
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Ends a session and tells both ends.
    fn end(&mut self, session: SessionId, why: &Problem) -> bool {
        let Some(ended) = self.sessions.remove(session) else {
            return false;
        };
        self.persist(Effect::SessionRemoved(session));
        if let Some(viewer) = ended.viewer {
            self.refuse_viewer(viewer, why.clone());
        }
        let problem = why.clone();
        self.tell_agent_of(
            &ended.row.instance,
            ToAgent::SessionClosed { session, problem },
        );
        tracing::info!(%session, instance = %ended.row.instance, code = %why.code, "session over");
        true
    }

    fn persist(&mut self, effect: Effect) {
        self.outputs.push_back(Output::Persist(effect));
    }

    fn tell_viewer(&mut self, viewer: ConnectionId, message: ToViewer) {
        self.outputs.push_back(Output::ToViewer(viewer, message));
    }

    fn tell_agent(&mut self, agent: ConnectionId, message: ToAgent) {
        self.outputs.push_back(Output::ToAgent(agent, message));
    }

    /// `false` if no agent host is there.
    fn tell_agent_of(&mut self, instance: &InstanceId, message: ToAgent) -> bool {
        let agent = self.instances.connection_of(instance);
        if let Some(agent) = agent {
            self.tell_agent(agent, message);
        }
        agent.is_some()
    }

    /// Says why and closes the viewer's socket.
    fn refuse_viewer(&mut self, viewer: ConnectionId, problem: Problem) {
        self.tell_viewer(viewer, ToViewer::Closed { problem });
        self.outputs.push_back(Output::Disconnect(viewer));
    }

    /// Says why and closes the agent host's socket.
    fn refuse_agent(&mut self, agent: ConnectionId, problem: Problem) {
        self.tell_agent(agent, ToAgent::Failed { problem });
        self.outputs.push_back(Output::Disconnect(agent));
    }

    fn new_session_id(&mut self) -> SessionId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        SessionId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// Whether a candidate is small enough and free of control characters; its grammar is the
/// receiver's business.
fn is_sound(candidate: &Candidate) -> bool {
    let sound = |text: &str| text.len() <= CANDIDATE_LEN_MAX && !text.contains(char::is_control);
    sound(&candidate.candidate)
        && candidate.mid.as_deref().is_none_or(sound)
        && candidate.username_fragment.as_deref().is_none_or(sound)
}

#[cfg(test)]
mod tests;
