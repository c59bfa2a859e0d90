//! Three nodes behind no load balancer at all, a NATS other people wrote, and one database.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use protocol::signal::Grant;
use tokio::process::{Child, Command};

use super::*;
use crate::effect::{Effect, SessionRow};

#[tokio::test]
async fn a_viewer_at_one_node_and_an_agent_host_at_another_meet() {
    let world = World::start().await;
    let [first, second, third] = &world.nodes;
    let mut agent = first.register().await;
    world.until_reachable(second).await;
    world.until_reachable(third).await;

    let mut viewer = second.connect(VIEWER_PATH).await;
    let grant = open(second, &mut viewer, 1).await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::SessionOpened { session } if session.session == grant.session));
    exchange(&mut viewer, &mut agent, grant.session).await;

    // Neither does the viewer have to come back to the node it left.
    drop(viewer);
    let mut back = third.connect(VIEWER_PATH).await;
    resume(&mut back, &grant).await;
    exchange(&mut back, &mut agent, grant.session).await;
    back.send(&FromViewer::Close).await;
    assert_eq!(back.refusal().await, Code::SessionEnded);
}

#[tokio::test]
async fn a_ticket_is_good_for_one_session_at_all_nodes_together() {
    let world = World::start().await;
    let [first, second, third] = &world.nodes;
    let _agent = first.register().await;
    world.until_reachable(second).await;
    world.until_reachable(third).await;
    let mut viewer = second.connect(VIEWER_PATH).await;
    open(second, &mut viewer, 7).await;
    for node in [first, third] {
        let mut again = node.connect(VIEWER_PATH).await;
        again.send(&ticket(node, 7)).await;
        assert_eq!(again.refusal().await, Code::TicketUsed);
    }
}

#[tokio::test]
async fn of_two_nodes_that_claim_an_instance_the_later_has_it_and_its_sessions() {
    let world = World::start().await;
    let [first, second, third] = &world.nodes;
    let mut old = first.register().await;
    world.until_reachable(second).await;
    world.until_reachable(third).await;
    let mut viewer = first.connect(VIEWER_PATH).await;
    let grant = open(first, &mut viewer, 1).await;
    assert!(matches!(old.receive().await, ToAgent::SessionOpened { .. }));

    let mut new = second.register().await;
    let told: ToAgent = new.receive().await;
    assert!(matches!(told, ToAgent::SessionOpened { session } if session.session == grant.session));
    let told: ToAgent = old.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::AccessDenied));
    // The viewer is sent to where its session is now, and loses nothing.
    assert_eq!(viewer.refusal().await, Code::ServiceRestarting);
    assert_eq!(viewer.close_code().await, Some(1012));
    world.until_reachable(first).await;
    let mut back = first.connect(VIEWER_PATH).await;
    resume(&mut back, &grant).await;
    exchange(&mut back, &mut new, grant.session).await;
}

#[tokio::test]
async fn a_claim_whose_news_was_lost_counts_once_the_database_is_asked() {
    let mut world = World::start().await;
    let mut old = world.nodes[0].register().await;
    world.nats.stop().await;
    let _new = world.nodes[1].register().await;
    let claims = [(desk(), world.database.locked().claim)];
    world.nodes[0].service.note_claims(claims.into()).await;
    let told: ToAgent = old.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::AccessDenied));
}

#[tokio::test]
async fn a_node_that_was_overtaken_unawares_acknowledges_nothing_more() {
    let mut world = World::start().await;
    let mut old = world.nodes[0].register().await;
    let mut viewer = world.nodes[0].connect(VIEWER_PATH).await;
    let grant = open(&world.nodes[0], &mut viewer, 1).await;
    assert!(matches!(old.receive().await, ToAgent::SessionOpened { .. }));
    world.nats.stop().await;
    let mut new = world.nodes[1].register().await;
    assert!(matches!(new.receive().await, ToAgent::SessionOpened { .. }));

    // The database knows better than the first node, which learns it here.
    let refresh = FromViewer::Refresh {
        handle: grant.refresh_handle.clone(),
    };
    viewer.send(&refresh).await;
    assert_eq!(viewer.refusal().await, Code::ServiceRestarting);
    assert_eq!(viewer.close_code().await, Some(1012));
    let told: ToAgent = old.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::AccessDenied));
    assert_eq!(world.database.locked().sessions[0].generation, 0);

    let mut back = world.nodes[1].connect(VIEWER_PATH).await;
    resume(&mut back, &grant).await;
    back.send(&refresh).await;
    let told: ToViewer = back.receive().await;
    assert!(matches!(told, ToViewer::Refreshed { .. }), "{told:?}");
}

#[tokio::test]
async fn without_the_bus_each_node_serves_what_it_has_and_the_rest_comes_back() {
    let mut world = World::start().await;
    let mut agent = world.nodes[0].register().await;
    world.until_reachable(&world.nodes[1]).await;
    let mut near = world.nodes[0].connect(VIEWER_PATH).await;
    let near_grant = open(&world.nodes[0], &mut near, 1).await;
    let mut far = world.nodes[1].connect(VIEWER_PATH).await;
    let far_grant = open(&world.nodes[1], &mut far, 2).await;
    for _ in 0..2 {
        assert!(matches!(
            agent.receive().await,
            ToAgent::SessionOpened { .. }
        ));
    }

    world.nats.stop().await;
    exchange(&mut near, &mut agent, near_grant.session).await;
    // Nor does a session that begins now need the bus, where the agent host is.
    let mut late = world.nodes[0].connect(VIEWER_PATH).await;
    let late_grant = open(&world.nodes[0], &mut late, 3).await;
    assert!(matches!(
        agent.receive().await,
        ToAgent::SessionOpened { .. }
    ));
    exchange(&mut late, &mut agent, late_grant.session).await;
    // The far one is told to come back, and told so again until it can be served.
    assert_eq!(far.close_code().await, Some(1012));
    let mut refused = world.nodes[1].connect(VIEWER_PATH).await;
    refused.send(&resumption(&far_grant)).await;
    assert_eq!(refused.refusal().await, Code::ServiceRestarting);

    world.nats.start().await;
    world.until_reachable(&world.nodes[1]).await;
    let mut back = world.nodes[1].connect(VIEWER_PATH).await;
    resume(&mut back, &far_grant).await;
    exchange(&mut back, &mut agent, far_grant.session).await;
    exchange(&mut near, &mut agent, near_grant.session).await;
    // What was acknowledged meanwhile is known at the other node, too.
    let mut elsewhere = world.nodes[1].connect(VIEWER_PATH).await;
    elsewhere.send(&ticket(&world.nodes[1], 3)).await;
    assert_eq!(elsewhere.refusal().await, Code::TicketUsed);
    drop(late);
    let mut moved = world.nodes[1].connect(VIEWER_PATH).await;
    resume(&mut moved, &late_grant).await;
    exchange(&mut moved, &mut agent, late_grant.session).await;
}

#[tokio::test]
async fn a_node_that_drains_sends_its_viewers_to_the_others_with_their_sessions() {
    let world = World::start().await;
    let [first, second, _] = &world.nodes;
    let mut agent = first.register().await;
    world.until_reachable(second).await;
    let mut viewer = second.connect(VIEWER_PATH).await;
    let grant = open(second, &mut viewer, 1).await;
    assert!(matches!(
        agent.receive().await,
        ToAgent::SessionOpened { .. }
    ));

    first.service.drain().await;
    assert_eq!(viewer.refusal().await, Code::ServiceRestarting);
    assert_eq!(viewer.close_code().await, Some(1012));
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::ServiceRestarting));

    // The agent host comes back to whichever node the balancer picks.
    let mut agent = second.register().await;
    assert!(matches!(
        agent.receive().await,
        ToAgent::SessionOpened { .. }
    ));
    let mut back = second.connect(VIEWER_PATH).await;
    resume(&mut back, &grant).await;
    exchange(&mut back, &mut agent, grant.session).await;
}

struct World {
    nodes: [Server; 3],
    database: Rows,
    nats: Nats,
}

impl World {
    async fn start() -> Self {
        let nats = Nats::new().await;
        let database = Rows::default();
        let nodes = [
            node(&database, &nats).await,
            node(&database, &nats).await,
            node(&database, &nats).await,
        ];
        Self {
            nodes,
            database,
            nats,
        }
    }

    /// News of an agent host takes its time to get around.
    async fn until_reachable(&self, node: &Server) {
        while node.service.presence(desk()).await != Presence::Online {
            tokio::task::yield_now().await;
        }
    }
}

async fn node(database: &Rows, nats: &Nats) -> Server {
    let key = SigningKey::from_seed([1; 32]).unwrap();
    let granter = Arc::new(Granter::new(&key, vec![], Terms::default()).unwrap());
    let (store, requests) = mpsc::channel(16);
    tokio::spawn(database.clone().answer(requests));
    let bus = Bus::connect(&nats.url()).await.unwrap();
    Server::serve(Service::start_among(granter.clone(), store, bus), granter).await
}

fn ticket(node: &Server, id: u128) -> FromViewer {
    let id = SessionId::from_uuid(uuid::Uuid::from_u128(id));
    let ticket = node
        .granter
        .ticket(id, desk(), Role::Control, "k1".into(), unix_now());
    FromViewer::Open {
        version: VERSION,
        ticket: ticket.unwrap(),
        mode: PathMode::Auto,
        round_trips_ms: Default::default(),
    }
}

async fn open(node: &Server, viewer: &mut Client, id: u128) -> Grant {
    viewer.send(&ticket(node, id)).await;
    match viewer.receive().await {
        ToViewer::Granted { grant } => grant,
        other => panic!("not granted: {other:?}"),
    }
}

fn resumption(grant: &Grant) -> FromViewer {
    FromViewer::Resume {
        version: VERSION,
        token: grant.token.clone(),
    }
}

async fn resume(viewer: &mut Client, grant: &Grant) {
    viewer.send(&resumption(grant)).await;
    assert_eq!(viewer.receive::<ToViewer>().await, ToViewer::Resumed);
    let told: ToViewer = viewer.receive().await;
    assert_eq!(told, ToViewer::AgentOnline { online: true });
}

/// An offer one way, its answer the other way.
async fn exchange(viewer: &mut Client, agent: &mut Client, session: SessionId) {
    viewer.send(&FromViewer::Offer { sdp: "v=0".into() }).await;
    let told: ToAgent = agent.receive().await;
    assert!(
        matches!(told, ToAgent::Offer { session: of, .. } if of == session),
        "{told:?}"
    );
    let sdp = "v=1".to_owned();
    agent.send(&FromAgent::Answer { session, sdp }).await;
    let told: ToViewer = viewer.receive().await;
    assert!(matches!(told, ToViewer::Answer { sdp } if sdp == "v=1"));
}

/// The database all nodes share.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    claim: u64,
    sessions: Vec<SessionRow>,
    spent: Vec<(SessionId, u64)>,
}

impl Rows {
    fn locked(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self, mut requests: mpsc::Receiver<StoreRequest>) {
        while let Some(request) = requests.recv().await {
            match request {
                StoreRequest::Commit {
                    effects,
                    claims,
                    done,
                } => {
                    let _ = done.send(self.locked().commit(effects, claims));
                }
                StoreRequest::FindInstance { instance, found } => {
                    let record = InstanceRecord {
                        instance,
                        region: "eu".into(),
                        credential_hash: hash(&Secret::new("credential")),
                    };
                    let _ = found.send(Some(record));
                }
                StoreRequest::Claim { claimed, .. } => {
                    let mut table = self.locked();
                    table.claim += 1;
                    let _ = claimed.send(Claimed {
                        claim: table.claim,
                        sessions: table.sessions.clone(),
                        spent_tickets: table.spent.clone(),
                    });
                }
            }
        }
    }
}

impl Table {
    fn commit(&mut self, effects: Vec<Effect>, claims: HashMap<InstanceId, u64>) -> Committed {
        if claims.values().any(|claim| *claim != self.claim) {
            return Committed::Fenced(claims.into_keys().map(|id| (id, self.claim)).collect());
        }
        effects.into_iter().for_each(|effect| self.apply(effect));
        Committed::Stored
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::TicketSpent {
                ticket,
                expires_unix,
                ..
            } => self.spent.push((ticket, expires_unix)),
            Effect::SessionStored(row) => {
                self.sessions.retain(|old| old.session != row.session);
                self.sessions.push(row);
            }
            Effect::SessionRemoved(id) => self.sessions.retain(|old| old.session != id),
            Effect::TicketsForgotten { .. } => {}
        }
    }
}

/// Debian's `nats-server`, on a port that was free when it came first.
struct Nats {
    folder: PathBuf,
    port: String,
    process: Option<Child>,
}

impl Nats {
    async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("multiclaw-nats-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut nats = Self {
            folder,
            // Any.
            port: "-1".into(),
            process: None,
        };
        nats.spawn();
        nats.port = nats.chosen_port().await;
        nats
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn spawn(&mut self) {
        let process = Command::new("/usr/sbin/nats-server")
            .args(["-a", "127.0.0.1", "-p", &self.port, "--ports_file_dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// It writes a file once it listens.
    async fn chosen_port(&self) -> String {
        let id = self.process.as_ref().and_then(Child::id).unwrap();
        let file = self.folder.join(format!("nats-server_{id}.ports"));
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((_, rest)) = text.split_once("nats://127.0.0.1:") {
                return rest.split('"').next().unwrap().to_owned();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Again, where it was.
    async fn start(&mut self) {
        self.spawn();
        while TcpStream::connect(("127.0.0.1", self.port.parse().unwrap()))
            .await
            .is_err()
        {
            // Somebody else's connection may have this port for a moment.
            if let Ok(Some(_)) = self.process.as_mut().unwrap().try_wait() {
                self.spawn();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stop(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
