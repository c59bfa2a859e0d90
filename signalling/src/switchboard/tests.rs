//! The switchboard driven by a virtual clock, with the database a shell would keep.

use protocol::Secret;
use protocol::problem::Code;
use protocol::signal::{
    AgentSession, CANDIDATES_MAX, FromAgent, FromViewer, Grant, IceServer, PathMode, Role, VERSION,
};
use protocol::token::{SigningKey, TICKET_TTL};
use rand::RngExt;

use super::*;
use crate::grant::{Region, Relay, Terms};
use crate::instances::{InstanceRecord, hash};
use crate::sessions::{RELOAD_GRACE, SESSIONS_PER_INSTANCE_MAX};

const VIEWER: ConnectionId = ConnectionId(1);
const AGENT: ConnectionId = ConnectionId(2);
const TTL: Duration = Duration::from_secs(600);

mod agents;
mod claims;
mod exchange;
mod lasting;
mod moving;
mod opening;
mod renewal;

/// The switchboard with a clock and the database a shell would keep.
struct World {
    board: Switchboard,
    granter: Arc<Granter>,
    rows: Vec<SessionRow>,
    spent: Vec<(SessionId, u64)>,
    next_ticket: u128,
    starts: u8,
    now: Instant,
    unix_now: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Frame {
    Captured,
    None,
}

impl World {
    fn new() -> Self {
        Self::with_regions(vec![Region {
            id: "eu".into(),
            relays: vec![Relay {
                urls: vec![
                    "turn:relay.test:3478?transport=udp".into(),
                    "turns:relay.test:443?transport=tcp".into(),
                ],
                shared_secrets: vec![Secret::new("new"), Secret::new("old")],
            }],
        }])
    }

    fn with_regions(regions: Vec<Region>) -> Self {
        Self::with_terms(regions, Terms::default())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn with_terms(regions: Vec<Region>, terms: Terms) -> Self {
        let key = SigningKey::from_seed([7; 32]).unwrap();
        let granter = Arc::new(Granter::new(&key, regions, terms).unwrap());
        let now = Instant::now();
        Self {
            board: Switchboard::new(granter.clone(), [1; 32], now),
            granter,
            rows: Vec::new(),
            spent: Vec::new(),
            next_ticket: 0,
            starts: 1,
            now,
            unix_now: Duration::from_secs(1_800_000_000),
        }
    }

    /// With the agent host of "desk" registered.
    fn online() -> Self {
        let mut world = Self::new();
        world.register(AGENT, &[]);
        world.outputs();
        world
    }

    fn restart(&mut self) {
        self.outputs();
        // Another process, another seed.
        self.starts += 1;
        self.board = Switchboard::new(self.granter.clone(), [self.starts; 32], self.now);
        self.board.load(
            self.rows.clone(),
            self.spent.clone(),
            self.unix_now,
            self.now,
        );
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_now += time;
        self.board.handle_timeout(self.unix_now, self.now);
        assert!(self.board.poll_timeout() > self.now);
        self.store();
    }

    fn ticket(&mut self, name: &str) -> Secret {
        self.next_ticket += 1;
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(self.next_ticket));
        self.granter
            .ticket(
                id,
                instance(name),
                Role::Control,
                "k1".into(),
                self.unix_now,
            )
            .unwrap()
    }

    fn view(&mut self, viewer: ConnectionId, message: FromViewer) {
        self.board
            .handle_viewer(viewer, message, self.unix_now, self.now);
        self.store();
    }

    fn serve(&mut self, agent: ConnectionId, message: FromAgent) {
        self.board.handle_agent(agent, message);
        self.store();
    }

    fn register(&mut self, agent: ConnectionId, sessions: &[SessionId]) {
        self.register_as(agent, "desk", sessions, Frame::Captured);
    }

    fn register_as(
        &mut self,
        agent: ConnectionId,
        name: &str,
        sessions: &[SessionId],
        frame: Frame,
    ) {
        self.board.handle_registration(
            agent,
            &registration(name, sessions, frame),
            Some(&record(name)),
            self.now,
        );
    }

    fn open(&mut self, viewer: ConnectionId) -> (Grant, AgentSession) {
        self.outputs();
        let ticket = self.ticket("desk");
        self.view(viewer, open(&ticket));
        let outputs = self.outputs();
        let opened = outputs.iter().find_map(|output| match output {
            Output::ToAgent(_, ToAgent::SessionOpened { session }) => Some(session.clone()),
            _ => None,
        });
        (granted(&outputs), opened.unwrap())
    }

    fn refresh(&mut self, viewer: ConnectionId, handle: &Secret) -> Grant {
        self.outputs();
        self.view(viewer, refresh(handle));
        let outputs = self.outputs();
        let renewed = outputs.iter().find_map(|output| match output {
            Output::ToViewer(_, ToViewer::Refreshed { grant }) => Some(grant.clone()),
            _ => None,
        });
        renewed.unwrap_or_else(|| panic!("not refreshed: {outputs:?}"))
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.store();
        std::mem::take(&mut self.board.outputs).into()
    }

    /// What a shell does with effects; doing it twice changes nothing.
    fn store(&mut self) {
        for output in &self.board.outputs {
            match output {
                Output::Persist(Effect::SessionStored(row)) => {
                    self.rows.retain(|known| known.session != row.session);
                    if self.board.sessions.session(row.session).is_some() {
                        self.rows.push(row.clone());
                    }
                }
                Output::Persist(Effect::SessionRemoved(session)) => {
                    self.rows.retain(|known| known.session != *session);
                }
                Output::Persist(Effect::TicketSpent {
                    ticket,
                    expires_unix,
                    ..
                }) => {
                    self.spent.push((*ticket, *expires_unix));
                }
                _ => {}
            }
        }
    }

    fn random_step(&mut self, rng: &mut StdRng, grants: &mut Vec<Grant>) {
        let connection = ConnectionId(rng.random_range(1..8));
        let grant = grants.get(rng.random_range(0..8)).cloned();
        match (rng.random_range(0..12), grant) {
            (0 | 1, _) => {
                let ticket = self.ticket("desk");
                self.view(connection, open(&ticket));
            }
            (2, Some(grant)) => self.view(connection, resume(&grant.token)),
            (3 | 4, Some(grant)) => self.view(connection, refresh(&grant.refresh_handle)),
            (5, _) => self.view(connection, FromViewer::Close),
            (6, _) => self.board.handle_viewer_gone(connection, self.now),
            (7, Some(grant)) => self.register(AGENT, &[grant.session]),
            (8, _) => self.board.handle_agent_gone(AGENT),
            (9, Some(grant)) => {
                let problem = refusal::session_ended();
                self.serve(
                    AGENT,
                    FromAgent::Close {
                        session: grant.session,
                        problem,
                    },
                );
            }
            (10, _) => self.restart(),
            _ => self.pass(Duration::from_secs(rng.random_range(0..300))),
        }
        for output in self.outputs() {
            if let Output::ToViewer(
                _,
                ToViewer::Granted { grant } | ToViewer::Refreshed { grant },
            ) = output
            {
                grants.insert(0, grant);
                grants.truncate(8);
            }
        }
    }
}

fn granted(outputs: &[Output]) -> Grant {
    let grant = outputs.iter().find_map(|output| match output {
        Output::ToViewer(_, ToViewer::Granted { grant }) => Some(grant.clone()),
        _ => None,
    });
    grant.unwrap_or_else(|| panic!("not granted: {outputs:?}"))
}

/// The code a viewer was sent away with; its socket must be closed after it.
fn refusal_of(outputs: &[Output]) -> Code {
    let told = outputs.iter().find_map(|output| match output {
        Output::ToViewer(viewer, ToViewer::Closed { problem }) => Some((*viewer, problem.code)),
        _ => None,
    });
    let (viewer, code) = told.unwrap_or_else(|| panic!("not refused: {outputs:?}"));
    assert!(outputs.contains(&Output::Disconnect(viewer)));
    code
}

fn open(ticket: &Secret) -> FromViewer {
    open_as(ticket, PathMode::Auto)
}

fn open_as(ticket: &Secret, mode: PathMode) -> FromViewer {
    FromViewer::Open {
        version: VERSION,
        ticket: ticket.clone(),
        mode,
        round_trips_ms: Default::default(),
    }
}

fn resume(token: &Secret) -> FromViewer {
    FromViewer::Resume {
        version: VERSION,
        token: token.clone(),
    }
}

fn refresh(handle: &Secret) -> FromViewer {
    FromViewer::Refresh {
        handle: handle.clone(),
    }
}

fn candidate(text: &str) -> Candidate {
    Candidate {
        candidate: text.into(),
        mid: Some("0".into()),
        username_fragment: None,
    }
}

fn instance(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn record(name: &str) -> InstanceRecord {
    InstanceRecord {
        instance: instance(name),
        region: "eu".into(),
        credential_hash: hash(&Secret::new(format!("credential of {name}"))),
    }
}

fn registration(name: &str, sessions: &[SessionId], frame: Frame) -> Registration {
    Registration {
        version: VERSION,
        instance: instance(name),
        credential: Secret::new(format!("credential of {name}")),
        sessions: sessions.to_vec(),
        captured: frame == Frame::Captured,
    }
}
