//! What agent hosts say.

use std::time::Instant;

use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::Problem;
use protocol::signal::{CANDIDATES_MAX, Candidate, FromAgent, ToAgent, ToViewer, VERSION};

use super::{Output, SDP_LEN_MAX, Switchboard, is_sound};
use crate::instances::{InstanceRecord, Presence};
use crate::{ConnectionId, refusal};

/// The first message of an agent host.
#[derive(Clone, Debug)]
pub struct Registration {
    pub version: u32,
    pub instance: InstanceId,
    pub credential: Secret,
    /// Sessions it still serves.
    pub sessions: Vec<SessionId>,
    /// It has captured a frame since it started.
    pub captured: bool,
}

impl Switchboard {
    /// An agent host introduces itself; `record` is what is stored under the instance it names.
    pub fn handle_registration(
        &mut self,
        agent: ConnectionId,
        registration: &Registration,
        record: Option<&InstanceRecord>,
        now: Instant,
    ) {
        if let Err(problem) = self.try_register(agent, registration, record, now) {
            tracing::debug!(?agent, code = %problem.code, "registration refused");
            self.counters.registrations_refused += 1;
            self.refuse_agent(agent, problem);
        }
    }

    /// One message of an agent host, after its registration.
    pub fn handle_agent(&mut self, agent: ConnectionId, message: FromAgent) {
        let Some(instance) = self.instances.instance_of(agent).cloned() else {
            return self.refuse_agent(
                agent,
                refusal::out_of_order("The first message must register the agent host"),
            );
        };
        match message {
            FromAgent::Ping => self.tell_agent(agent, ToAgent::Pong),
            FromAgent::Register { .. } => {
                let problem = refusal::out_of_order("This agent host is registered already");
                self.tell_agent(agent, ToAgent::Failed { problem });
            }
            FromAgent::Captured { captured } => {
                if self.instances.set_captured(&instance, captured) {
                    self.tell_viewers(&instance);
                }
            }
            FromAgent::Answer { session, sdp } => {
                if self.is_served_by(session, &instance, agent) {
                    self.answer(agent, session, sdp);
                }
            }
            FromAgent::Candidate { session, candidate } => {
                if self.is_served_by(session, &instance, agent) {
                    self.agent_candidate(session, candidate);
                }
            }
            FromAgent::Close { session, problem } => {
                if self.is_served_by(session, &instance, agent) {
                    self.end(session, &problem);
                }
            }
        }
    }

    /// The agent host's socket is gone; its sessions stay, for their media may.
    pub fn handle_agent_gone(&mut self, agent: ConnectionId) {
        let Some(instance) = self.instances.remove(agent) else {
            return;
        };
        tracing::info!(%instance, "agent host gone");
        self.tell_viewers(&instance);
    }

    fn try_register(
        &mut self,
        agent: ConnectionId,
        registration: &Registration,
        record: Option<&InstanceRecord>,
        now: Instant,
    ) -> Result<(), Problem> {
        if registration.version != VERSION {
            return Err(refusal::version(registration.version));
        }
        let record = record
            .filter(|record| record.instance == registration.instance)
            .filter(|record| record.accepts(&registration.credential))
            .ok_or_else(refusal::agent_denied)?;
        let fenced = self
            .instances
            .register(record, registration.captured, agent)
            .map_err(|_| refusal::too_many("agent hosts"))?;
        self.counters.registrations += 1;
        if let Some(old) = fenced {
            self.counters.agents_fenced += 1;
            self.refuse_agent(old, refusal::agent_fenced());
        }
        tracing::info!(instance = %record.instance, fenced = fenced.is_some(), "agent host registered");
        self.tell_agent(agent, ToAgent::Registered);
        self.reconcile(agent, registration, now);
        self.tell_viewers(&record.instance);
        Ok(())
    }

    /// Brings an agent host's view of its sessions in line with ours.
    fn reconcile(&mut self, agent: ConnectionId, registration: &Registration, now: Instant) {
        let ours: Vec<_> = self.sessions.of_instance(&registration.instance).collect();
        for stale in registration.sessions.iter().filter(|id| !ours.contains(id)) {
            self.tell_agent(
                agent,
                ToAgent::SessionClosed {
                    session: *stale,
                    problem: refusal::session_expired(),
                },
            );
        }
        for id in ours {
            let Some(found) = self.sessions.session(id) else {
                continue;
            };
            let session = self
                .granter
                .agent_session(&found.row, found.expires_in(now));
            let message = if registration.sessions.contains(&id) {
                ToAgent::SessionRenewed { session }
            } else {
                ToAgent::SessionOpened { session }
            };
            self.tell_agent(agent, message);
        }
    }

    fn tell_viewers(&mut self, instance: &InstanceId) {
        let presence = self.instances.presence(instance);
        self.presence_news.insert(instance.clone(), presence);
        let online = presence == Presence::Online;
        let viewers: Vec<_> = self
            .sessions
            .of_instance(instance)
            .filter_map(|id| self.sessions.session(id)?.viewer)
            .collect();
        for viewer in viewers {
            self.tell_viewer(viewer, ToViewer::AgentOnline { online });
        }
    }

    /// Whether the session belongs to this agent host's instance; if not, it is told so.
    fn is_served_by(
        &mut self,
        session: SessionId,
        instance: &InstanceId,
        agent: ConnectionId,
    ) -> bool {
        let found = self.sessions.session(session);
        let served = found.is_some_and(|found| found.row.instance == *instance);
        if !served {
            // The same answer for a session that is over and for one of somebody else.
            let problem = refusal::session_expired();
            self.tell_agent(agent, ToAgent::SessionClosed { session, problem });
        }
        served
    }

    fn answer(&mut self, agent: ConnectionId, session: SessionId, sdp: String) {
        if sdp.len() > SDP_LEN_MAX {
            let problem = refusal::too_large();
            return self.tell_agent(agent, ToAgent::Failed { problem });
        }
        self.tell_viewer_of(session, ToViewer::Answer { sdp });
    }

    fn agent_candidate(&mut self, session: SessionId, candidate: Candidate) {
        let Some(found) = self.sessions.session_mut(session) else {
            return;
        };
        if found.agent_candidates >= CANDIDATES_MAX || !is_sound(&candidate) {
            self.counters.candidates_dropped += 1;
            return;
        }
        found.agent_candidates += 1;
        self.tell_viewer_of(session, ToViewer::Candidate { candidate });
    }

    /// A viewer whose socket is away misses it, and offers again when it is back.
    fn tell_viewer_of(&mut self, session: SessionId, message: ToViewer) {
        let viewer = self
            .sessions
            .session(session)
            .and_then(|found| found.viewer);
        if let Some(viewer) = viewer {
            self.outputs.push_back(Output::ToViewer(viewer, message));
        }
    }
}
