//! The task that owns the switchboard: inputs in, stored effects and messages out.
//!
//! Inputs that arrive while the database is busy are handled as one batch with one commit, so the
//! rate of openings is not bound by the time of one commit. What was not stored is not said.

use std::collections::HashMap;
use std::time::Instant;

use protocol::id::{InstanceId, SessionId};
use protocol::signal::{ToAgent, ToViewer};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::service::{
    Claimed, Committed, Figures, Input, Side, StoreRequest, close_code, unix_now,
};
use super::socket::Outgoing;
use crate::effect::Effect;
use crate::instances::{InstanceRecord, Presence};
use crate::switchboard::{Claim, Output, Registration, Switchboard};
use crate::{ConnectionId, refusal};

/// Inputs handled before their effects are stored together.
const BATCH_MAX: usize = 256;

/// Owns the switchboard and the ways to the sockets.
pub(super) struct Task {
    switchboard: Switchboard,
    sockets: HashMap<ConnectionId, (Side, mpsc::Sender<Outgoing>)>,
    store: mpsc::Sender<StoreRequest>,
    presence: [broadcast::Sender<(InstanceId, Presence)>; 2],
    draining: bool,
}

/// What one input caused.
#[derive(Default)]
struct Turn {
    /// Whose input it was.
    origin: Option<ConnectionId>,
    effects: Vec<Effect>,
    sends: Vec<Output>,
}

impl Task {
    pub(super) fn new(
        switchboard: Switchboard,
        store: mpsc::Sender<StoreRequest>,
        presence: [broadcast::Sender<(InstanceId, Presence)>; 2],
    ) -> Self {
        Self {
            switchboard,
            sockets: HashMap::new(),
            store,
            presence,
            draining: false,
        }
    }

    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let wake = tokio::time::Instant::from_std(self.switchboard.poll_timeout());
            tokio::select! {
                received = inputs.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = tokio::time::sleep_until(wake) => {}
            }
            let mut turns: Vec<_> = batch.drain(..).map(|input| self.handle(input)).collect();
            self.switchboard.handle_timeout(unix_now(), Instant::now());
            turns.push(self.take_turn(None));
            self.finish(turns).await;
            while let Some(news) = self.switchboard.poll_presence() {
                for watchers in &self.presence {
                    // Nobody may be watching.
                    let _ = watchers.send(news.clone());
                }
            }
        }
    }

    fn handle(&mut self, input: Input) -> Turn {
        let (unix_now, now) = (unix_now(), Instant::now());
        let mut origin = None;
        match input {
            Input::Attached(connection, side, outbox) => self.attach(connection, side, outbox),
            Input::Viewer(viewer, message) => {
                origin = Some(viewer);
                self.switchboard
                    .handle_viewer(viewer, message, unix_now, now);
            }
            Input::Registration(agent, registration, record, claimed) => {
                origin = Some(agent);
                self.register(agent, &registration, record.as_ref(), claimed);
            }
            Input::Claims(claims) => {
                for (instance, claim) in claims {
                    self.switchboard.handle_claim(&instance, claim);
                }
            }
            Input::Holds(instance, session, reply) => {
                let _ = reply.send(self.holds(&instance, session));
            }
            Input::Registered(reply) => {
                let _ = reply.send(self.switchboard.instances().iter().cloned().collect());
            }
            Input::Agent(agent, message) => {
                origin = Some(agent);
                self.switchboard.handle_agent(agent, message);
            }
            Input::Gone(connection) => self.forget(connection, now),
            Input::Presence(instance, reply) => {
                let _ = reply.send(self.switchboard.presence(&instance));
            }
            Input::Counters(reply) => {
                let _ = reply.send(self.figures());
            }
            Input::Directory(instances, revoked) => {
                self.switchboard.handle_directory(&instances, &revoked);
            }
            Input::RelayLost(region) => self.switchboard.handle_relay_lost(&region, now),
            Input::End(session) => {
                self.switchboard.handle_end(session);
            }
            Input::Drain(done) => {
                self.drain();
                let _ = done.send(());
            }
        }
        self.take_turn(origin)
    }

    fn register(
        &mut self,
        agent: ConnectionId,
        registration: &Registration,
        record: Option<&InstanceRecord>,
        claimed: Option<Claimed>,
    ) {
        let (unix_now, now) = (unix_now(), Instant::now());
        if let Some(claimed) = claimed {
            let instance = &registration.instance;
            if !self.switchboard.note_claim(instance, claimed.claim) {
                return self.close(agent, refusal::agent_fenced(), close_code::NORMAL);
            }
            let (sessions, tickets) = (claimed.sessions, claimed.spent_tickets);
            self.switchboard.load(sessions, tickets, unix_now, now);
        }
        self.switchboard
            .handle_registration(agent, registration, record, now);
    }

    fn holds(&self, instance: &InstanceId, session: Option<SessionId>) -> bool {
        let registered = self
            .switchboard
            .instances()
            .connection_of(instance)
            .is_some();
        let known = |session| self.switchboard.sessions().session(session).is_some();
        registered || session.is_some_and(known)
    }

    fn take_turn(&mut self, origin: Option<ConnectionId>) -> Turn {
        let mut turn = Turn {
            origin,
            ..Turn::default()
        };
        while let Some(output) = self.switchboard.poll_output() {
            match output {
                Output::Persist(effect) => turn.effects.push(effect),
                send => turn.sends.push(send),
            }
        }
        turn
    }

    /// Stores what the turns changed, then sends what they said.
    async fn finish(&mut self, mut turns: Vec<Turn>) {
        let stored = loop {
            match self.commit(&turns).await {
                Committed::Stored => break true,
                // Each time something goes, so this ends.
                Committed::Fenced(claims) if self.let_go(&claims, &mut turns) => {}
                Committed::Fenced(_) | Committed::Failed => break false,
            }
        };
        for turn in turns {
            if stored || turn.effects.is_empty() || turn.origin.is_none() {
                turn.sends.into_iter().for_each(|send| self.deliver(send));
            } else if let Some(origin) = turn.origin {
                // Nobody is told of what could not be stored; whoever asked comes back.
                self.close(origin, refusal::not_stored(), close_code::ERROR);
            }
        }
    }

    async fn commit(&self, turns: &[Turn]) -> Committed {
        let effects: Vec<_> = turns.iter().flat_map(|turn| turn.effects.clone()).collect();
        if effects.is_empty() {
            return Committed::Stored;
        }
        let stored = effects.iter().filter_map(instance_of);
        let claims: HashMap<_, _> = stored
            .filter_map(|instance| Some((instance.clone(), self.switchboard.claim_of(instance)?)))
            .collect();
        let (done, committed) = oneshot::channel();
        let request = StoreRequest::Commit {
            effects,
            claims,
            done,
        };
        if self.store.send(request).await.is_err() {
            return Committed::Failed;
        }
        committed.await.unwrap_or(Committed::Failed)
    }

    /// Forgets what was to be stored about instances that are another node's now, and sends away
    /// whoever asked for it; `false` if there is nothing of the kind.
    fn let_go(&mut self, claims: &HashMap<InstanceId, Claim>, turns: &mut Vec<Turn>) -> bool {
        for (instance, claim) in claims {
            self.switchboard.handle_claim(instance, *claim);
        }
        let mut found = false;
        for turn in turns.iter_mut() {
            let lost =
                |effect: &Effect| instance_of(effect).is_some_and(|of| claims.contains_key(of));
            let before = turn.effects.len();
            turn.effects.retain(|effect| !lost(effect));
            if turn.effects.len() == before {
                continue;
            }
            found = true;
            if let Some(origin) = turn.origin.take() {
                turn.sends.clear();
                self.close(origin, refusal::restarting(), close_code::RESTART);
            }
        }
        turns.push(self.take_turn(None));
        found
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::ToViewer(viewer, message) => self.post(viewer, &message),
            Output::ToAgent(agent, message) => self.post(agent, &message),
            Output::Disconnect(connection) => {
                if let Some((_, outbox)) = self.sockets.remove(&connection) {
                    let _ = outbox.try_send(Outgoing::Close(close_code::NORMAL));
                }
            }
            Output::SendAway(viewer) => {
                self.close(viewer, refusal::restarting(), close_code::RESTART);
            }
            Output::Persist(_) => {}
        }
    }

    fn post(&mut self, connection: ConnectionId, message: &impl Serialize) {
        let Some((_, outbox)) = self.sockets.get(&connection) else {
            return;
        };
        let Ok(text) = serde_json::to_string(message) else {
            return;
        };
        if outbox.try_send(Outgoing::Text(text)).is_err() {
            tracing::debug!(?connection, "socket too slow or gone: closed");
            // Dropping the sender ends the socket's task, which reports it gone.
            self.sockets.remove(&connection);
        }
    }

    fn attach(&mut self, connection: ConnectionId, side: Side, outbox: mpsc::Sender<Outgoing>) {
        self.sockets.insert(connection, (side, outbox));
        if self.draining {
            self.close(connection, refusal::restarting(), close_code::RESTART);
        }
    }

    fn forget(&mut self, connection: ConnectionId, now: Instant) {
        self.sockets.remove(&connection);
        self.switchboard.handle_viewer_gone(connection, now);
        self.switchboard.handle_agent_gone(connection);
    }

    fn drain(&mut self) {
        self.draining = true;
        let everyone: Vec<_> = self.sockets.keys().copied().collect();
        for connection in everyone {
            self.close(connection, refusal::restarting(), close_code::RESTART);
        }
    }

    /// Says why the socket closes, without ending the session.
    fn close(&mut self, connection: ConnectionId, problem: protocol::problem::Problem, code: u16) {
        match self.sockets.get(&connection) {
            Some((Side::Viewer, _)) => self.post(connection, &ToViewer::Failed { problem }),
            Some((Side::Agent, _)) => self.post(connection, &ToAgent::Failed { problem }),
            None => {}
        }
        if let Some((_, outbox)) = self.sockets.remove(&connection) {
            let _ = outbox.try_send(Outgoing::Close(code));
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            counters: self.switchboard.counters(),
            sessions: self.switchboard.sessions().len(),
            instances: self.switchboard.instances().len(),
            sockets: self.sockets.len(),
        }
    }
}

/// Whose node alone may store this.
fn instance_of(effect: &Effect) -> Option<&InstanceId> {
    match effect {
        Effect::TicketSpent { instance, .. } => Some(instance),
        Effect::SessionStored(row) => Some(&row.instance),
        // What is over is over, whoever says so.
        Effect::SessionRemoved(_) | Effect::TicketsForgotten { .. } => None,
    }
}
