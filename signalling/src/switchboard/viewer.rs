//! What viewers ask for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::Problem;
use protocol::signal::{
    CANDIDATES_MAX, Candidate, FromViewer, PathMode, ToAgent, ToViewer, VERSION,
};
use protocol::token::{SessionClaims, TicketClaims, is_expired};

use super::{SDP_LEN_MAX, Switchboard, is_sound};
use crate::effect::{Effect, SessionRow};
use crate::instances::Presence;
use crate::relays::Ends;
use crate::sessions::Renewal;
use crate::{ConnectionId, refusal};

/// What a viewer asks for beside the desktop itself.
struct Wish {
    mode: PathMode,
    round_trips_ms: BTreeMap<String, u32>,
}

impl Switchboard {
    /// One message of a viewer.
    pub fn handle_viewer(
        &mut self,
        viewer: ConnectionId,
        message: FromViewer,
        unix_now: Duration,
        now: Instant,
    ) {
        let session = self.sessions.of_viewer(viewer);
        match (session, message) {
            (_, FromViewer::Ping) => self.tell_viewer(viewer, ToViewer::Pong),
            (None, FromViewer::Open { version, .. } | FromViewer::Resume { version, .. })
                if version != VERSION =>
            {
                self.refuse_viewer(viewer, refusal::version(version));
            }
            (
                None,
                FromViewer::Open {
                    ticket,
                    mode,
                    round_trips_ms,
                    ..
                },
            ) => {
                let wish = Wish {
                    mode,
                    round_trips_ms,
                };
                self.open(viewer, &ticket, &wish, unix_now, now);
            }
            (None, FromViewer::Resume { token, .. }) => {
                self.resume(viewer, &token, unix_now, now);
            }
            (None, _) => self.refuse_viewer(
                viewer,
                refusal::out_of_order("The first message must open or resume a session"),
            ),
            (Some(_), FromViewer::Open { .. } | FromViewer::Resume { .. }) => self.fail_viewer(
                viewer,
                refusal::out_of_order("This connection has a session already"),
            ),
            (Some(session), FromViewer::Offer { sdp }) => self.offer(viewer, session, sdp),
            (Some(session), FromViewer::Candidate { candidate }) => {
                self.viewer_candidate(session, candidate);
            }
            (Some(session), FromViewer::Refresh { handle }) => {
                self.renew(viewer, session, &handle, unix_now, now);
            }
            (Some(session), FromViewer::Close) => {
                self.end(session, &refusal::session_left());
            }
        }
    }

    /// The viewer's socket is gone; its session stays until it expires.
    pub fn handle_viewer_gone(&mut self, viewer: ConnectionId, now: Instant) {
        self.sessions.detach(viewer, now);
    }

    fn open(
        &mut self,
        viewer: ConnectionId,
        ticket: &Secret,
        wish: &Wish,
        unix_now: Duration,
        now: Instant,
    ) {
        if let Err(problem) = self.try_open(viewer, ticket, wish, unix_now, now) {
            tracing::debug!(?viewer, code = %problem.code, "open refused");
            self.counters.opens_refused += 1;
            self.refuse_viewer(viewer, problem);
        }
    }

    fn try_open(
        &mut self,
        viewer: ConnectionId,
        ticket: &Secret,
        wish: &Wish,
        unix_now: Duration,
        now: Instant,
    ) -> Result<(), Problem> {
        let claims = self
            .granter
            .check_ticket(ticket, unix_now)
            .map_err(refusal::ticket)?;
        if self.tickets.is_spent(claims.jti) {
            return Err(refusal::ticket_used());
        }
        // A refusal from here on leaves the ticket unspent: the viewer may try again with it.
        let (region, client_region) = self.regions_that_serve(&claims, wish)?;
        if self.tickets.is_full() {
            return Err(refusal::too_many("sessions being opened"));
        }
        let row = SessionRow {
            session: self.new_session_id(),
            instance: claims.instance,
            role: claims.role,
            mode: wish.mode,
            subject: claims.sub,
            region,
            client_region,
            generation: 0,
            opened_unix: unix_now.as_secs(),
            issued_unix: unix_now.as_secs(),
            expires_unix: (unix_now + self.granter.terms().token_ttl).as_secs(),
        };
        let grant = self
            .granter
            .grant(&row)
            .map_err(|_| refusal::token_invalid())?;
        let evicted = self
            .sessions
            .open(row.clone(), viewer, now)
            .map_err(|_| refusal::too_many("sessions on this instance"))?;
        if let Some(evicted) = evicted {
            self.counters.sessions_evicted += 1;
            self.end(evicted, &refusal::session_ended());
        }
        self.spend(claims.jti, &row.instance, claims.exp);
        self.counters.sessions_opened += 1;
        tracing::info!(session = %row.session, instance = %row.instance, "session opened");
        self.persist(Effect::SessionStored(row.clone()));
        self.tell_viewer(viewer, ToViewer::Granted { grant });
        let session = self
            .granter
            .agent_session(&row, self.granter.terms().token_ttl);
        self.tell_agent_of(&row.instance, ToAgent::SessionOpened { session });
        Ok(())
    }

    /// The region of the instance, and the one near the person.
    fn regions_that_serve(
        &self,
        claims: &TicketClaims,
        wish: &Wish,
    ) -> Result<(String, String), Problem> {
        match self.instances.presence(&claims.instance) {
            Presence::Absent => return Err(refusal::instance_not_online()),
            Presence::Starting => return Err(refusal::instance_starting()),
            Presence::Online => {}
        }
        let region = self
            .instances
            .region_of(&claims.instance)
            .ok_or_else(refusal::instance_not_online)?;
        let relays = self.granter.relays();
        let client = relays.near_client(&wish.round_trips_ms, region);
        drop(relays);
        let ends = Ends {
            instance: region,
            client: &client,
        };
        if self.granter.can_serve(ends, wish.mode) {
            Ok((region.into(), client))
        } else {
            let status_page = &self.granter.terms().status_page;
            Err(refusal::region_unavailable(region, status_page))
        }
    }

    fn spend(&mut self, ticket: SessionId, instance: &InstanceId, expires_unix: u64) {
        self.tickets.spend(ticket, expires_unix);
        self.persist(Effect::TicketSpent {
            ticket,
            instance: instance.clone(),
            expires_unix,
        });
    }

    fn resume(&mut self, viewer: ConnectionId, token: &Secret, unix_now: Duration, now: Instant) {
        match self.resumable(token, unix_now) {
            Ok(claims) => {
                // The older socket of the same viewer is half open at best.
                if let Some(old) = self.sessions.attach(claims.session, viewer, now) {
                    self.outputs.push_back(super::Output::Disconnect(old));
                }
                self.tell_viewer(viewer, ToViewer::Resumed);
                let online = self.instances.presence(&claims.instance) == Presence::Online;
                self.tell_viewer(viewer, ToViewer::AgentOnline { online });
            }
            Err(problem) => {
                tracing::debug!(?viewer, code = %problem.code, "resume refused");
                self.counters.resumes_refused += 1;
                self.refuse_viewer(viewer, problem);
            }
        }
    }

    /// A token counts until it expires. Past that, the newest token of a session counts for as
    /// long as the session is kept: it is kept past its time only when this service was down and
    /// nobody could renew it.
    fn resumable(&self, token: &Secret, unix_now: Duration) -> Result<SessionClaims, Problem> {
        let claims = self
            .granter
            .check_session(token)
            .map_err(|_| refusal::token_invalid())?;
        let session = self
            .sessions
            .session(claims.session)
            .ok_or_else(refusal::session_expired)?;
        let newest = claims.exp == session.row.expires_unix;
        if is_expired(&claims, unix_now) && !newest {
            return Err(refusal::session_expired());
        }
        Ok(claims)
    }

    fn offer(&mut self, viewer: ConnectionId, session: SessionId, sdp: String) {
        if sdp.len() > SDP_LEN_MAX {
            return self.fail_viewer(viewer, refusal::too_large());
        }
        let Some(found) = self.sessions.session_mut(session) else {
            return;
        };
        // An offer begins an ICE generation: both sides' candidates are counted afresh.
        found.viewer_candidates = 0;
        found.agent_candidates = 0;
        let instance = found.row.instance.clone();
        if !self.tell_agent_of(&instance, ToAgent::Offer { session, sdp }) {
            self.fail_viewer(viewer, refusal::instance_not_online());
        }
    }

    fn viewer_candidate(&mut self, session: SessionId, candidate: Candidate) {
        let Some(found) = self.sessions.session_mut(session) else {
            return;
        };
        if found.viewer_candidates >= CANDIDATES_MAX || !is_sound(&candidate) {
            self.counters.candidates_dropped += 1;
            return;
        }
        found.viewer_candidates += 1;
        let instance = found.row.instance.clone();
        self.tell_agent_of(&instance, ToAgent::Candidate { session, candidate });
    }

    fn renew(
        &mut self,
        viewer: ConnectionId,
        session: SessionId,
        handle: &Secret,
        unix_now: Duration,
        now: Instant,
    ) {
        let Some((named, generation)) = self.granter.check_handle(handle) else {
            return self.fail_viewer(viewer, refusal::token_invalid());
        };
        if named != session {
            return self.fail_viewer(viewer, refusal::token_invalid());
        }
        match self.sessions.renew(session, generation, unix_now, now) {
            Renewal::Rotated => {
                self.counters.renewals += 1;
                self.say_renewed(viewer, session, now);
            }
            Renewal::Repeated => {
                self.counters.renewals_repeated += 1;
                self.say_renewed(viewer, session, now);
            }
            Renewal::Reused => {
                self.counters.handles_reused += 1;
                self.end(session, &refusal::handle_reused());
            }
            Renewal::Unknown => self.refuse_viewer(viewer, refusal::session_expired()),
        }
    }

    /// Stores the session as it is now and tells both ends; the same however often it is said.
    fn say_renewed(&mut self, viewer: ConnectionId, session: SessionId, now: Instant) {
        let Some(found) = self.sessions.session(session) else {
            return;
        };
        let (row, expires_in) = (found.row.clone(), found.expires_in(now));
        match self.granter.grant(&row) {
            Ok(grant) => self.tell_viewer(viewer, ToViewer::Refreshed { grant }),
            Err(_) => return self.fail_viewer(viewer, refusal::token_invalid()),
        }
        let session = self.granter.agent_session(&row, expires_in);
        self.tell_agent_of(&row.instance, ToAgent::SessionRenewed { session });
        self.persist(Effect::SessionStored(row));
    }

    fn fail_viewer(&mut self, viewer: ConnectionId, problem: Problem) {
        self.tell_viewer(viewer, ToViewer::Failed { problem });
    }
}
