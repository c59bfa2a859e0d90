//! Three real nodes of the cloud behind a balancer that knows nothing, on a real PostgreSQL and a
//! real NATS: whoever dies, every session goes on.
#![cfg(feature = "net")]
#![expect(
    clippy::disallowed_methods,
    reason = "real sockets run on the real clock"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::Code;
use protocol::signal::{
    AGENT_PATH, FromAgent, FromViewer, Grant, PathMode, ToAgent, ToViewer, VERSION, VIEWER_PATH,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tests::cloud_program::Nodes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Instances, each with an agent host and a viewer: at three nodes, most pairs are apart.
const PAIRS: usize = 9;
/// Whatever happens is over by then, on the slowest of machines.
const OVER_WITHIN: Duration = Duration::from_secs(120);
/// Every pipe between two nodes breaks, and whatever waits for the bus has given up.
const NATS_AWAY: Duration = Duration::from_secs(60);
/// Who was sent away comes back after this.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// An answer that has not come by then was lost; it is asked for again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_and_a_nats_that_is_away_cost_no_session() {
    let mut world = World::start().await;
    world.exchange_all().await;

    // Its agent hosts and viewers come back by the other two.
    world.cloud.nodes[0].kill();
    world.exchange_all().await;

    world.cloud.nats.stop();
    let again_at = tokio::time::Instant::now() + NATS_AWAY;
    world.until_viewers_are_refused().await;
    tokio::time::sleep_until(again_at).await;
    world.cloud.nats.resume().unwrap();
    world.exchange_all().await;

    world.check_nothing_is_lost();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_restarted_one_after_the_other_cost_no_session() {
    let mut world = World::start().await;
    world.exchange_all().await;
    for number in 0..world.cloud.nodes.len() {
        world.cloud.nodes[number].restart().unwrap();
        world.exchange_all().await;
    }
    world.check_nothing_is_lost();
}

#[tokio::test(flavor = "multi_thread")]
async fn access_that_is_taken_back_ends_its_session_at_whichever_node_it_is() {
    let mut world = World::start().await;
    world.exchange_all().await;
    let (first, rest) = world.viewers.split_at_mut(PAIRS / 2);
    for viewer in first {
        revoke(&world.cloud, &viewer.key_id);
        viewer.until_ended().await;
    }
    // Without any news, the agent host's node finds out for itself and the media ends.
    world.cloud.nats.stop();
    for (viewer, agent) in rest.iter().zip(&world.agents[PAIRS / 2..]) {
        revoke(&world.cloud, &viewer.key_id);
        agent.until_lost().await;
    }
}

struct World {
    cloud: Nodes,
    agents: Vec<AgentHost>,
    viewers: Vec<Viewer>,
}

impl World {
    async fn start() -> Self {
        let cloud = Nodes::start(3).unwrap();
        let addresses = cloud.nodes.iter().map(|node| node.address.clone());
        let balancer = balance(addresses.collect()).await;
        let mut agents = Vec::new();
        let mut viewers = Vec::new();
        for number in 0..PAIRS {
            let name = format!("desk-{number}");
            let made = cloud.admin(&["instance", "create", "--id", &name, "--region", "local"]);
            let credential = text(&made.unwrap(), "credential");
            let access = cloud.admin(&["access", "create", "--instance", &name]);
            let access = access.unwrap();
            agents.push(AgentHost::start(&balancer, &name, &credential));
            viewers.push(Viewer::open(&balancer, &name, &access).await);
        }
        Self {
            cloud,
            agents,
            viewers,
        }
    }

    /// Every viewer gets an answer of its agent host, in the session it has.
    async fn exchange_all(&mut self) {
        for viewer in &mut self.viewers {
            viewer.until_exchanged().await;
        }
    }

    fn check_nothing_is_lost(&self) {
        let sessions: BTreeSet<_> = self
            .viewers
            .iter()
            .map(|viewer| viewer.grant.session)
            .collect();
        assert_eq!(sessions.len(), PAIRS, "each has the session it began with");
        for agent in &self.agents {
            assert_eq!(agent.lost.load(Ordering::Relaxed), 0, "{}", agent.instance);
        }
    }

    /// Until somebody who is apart from the agent host notices that NATS is away.
    async fn until_viewers_are_refused(&mut self) {
        let over = tokio::time::Instant::now() + OVER_WITHIN;
        loop {
            for viewer in &mut self.viewers {
                if viewer.exchange().await.is_err() {
                    viewer.socket = None;
                    return;
                }
            }
            assert!(tokio::time::Instant::now() < over, "nobody is apart");
        }
    }
}

fn revoke(cloud: &Nodes, key_id: &str) {
    cloud.admin(&["access", "revoke", "--id", key_id]).unwrap();
}

/// Takes connections in turn to whichever node takes them; returns where it listens.
async fn balance(nodes: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let nodes = nodes.clone();
            tokio::spawn(async move {
                for step in 0..nodes.len() {
                    let node = &nodes[(turn + step) % nodes.len()];
                    if let Ok(mut node) = TcpStream::connect(node).await {
                        // Ends with either of them.
                        let _ = copy_bidirectional(&mut client, &mut node).await;
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An agent host that answers every offer and comes back whenever it is sent away.
struct AgentHost {
    instance: String,
    /// Sessions it was told are over.
    lost: Arc<AtomicUsize>,
}

impl AgentHost {
    fn start(balancer: &str, instance: &str, credential: &str) -> Self {
        let lost = Arc::new(AtomicUsize::new(0));
        let mut host = Host {
            balancer: balancer.to_owned(),
            instance: InstanceId::new(instance).unwrap(),
            credential: Secret::new(credential),
            sessions: Mutex::default(),
            lost: lost.clone(),
        };
        tokio::spawn(async move {
            loop {
                // However it ended.
                let _ = host.serve().await;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
        let instance = instance.to_owned();
        Self { instance, lost }
    }

    async fn until_lost(&self) {
        let losing = async {
            while self.lost.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        };
        tokio::time::timeout(OVER_WITHIN, losing).await.unwrap();
    }
}

struct Host {
    balancer: String,
    instance: InstanceId,
    credential: Secret,
    sessions: Mutex<BTreeSet<SessionId>>,
    lost: Arc<AtomicUsize>,
}

impl Host {
    async fn serve(&mut self) -> Result<()> {
        let mut socket = Socket::open(&self.balancer, AGENT_PATH).await?;
        let sessions = self.sessions().iter().copied().collect();
        socket
            .say(&FromAgent::Register {
                version: VERSION,
                instance: self.instance.clone(),
                credential: self.credential.clone(),
                sessions,
                captured: true,
            })
            .await?;
        loop {
            match socket.hear().await? {
                ToAgent::SessionOpened { session } => {
                    self.sessions().insert(session.session);
                }
                ToAgent::SessionClosed { session, .. } => {
                    self.sessions().remove(&session);
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                ToAgent::Offer { session, sdp } => {
                    socket.say(&FromAgent::Answer { session, sdp }).await?;
                }
                _ => {}
            }
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeSet<SessionId>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Viewer {
    balancer: String,
    key_id: String,
    grant: Grant,
    socket: Option<Socket>,
    offers: u32,
}

impl Viewer {
    /// As soon as the agent host is there.
    async fn open(balancer: &str, instance: &str, access: &Value) -> Self {
        let opening = async {
            loop {
                match try_open(balancer, instance, &text(access, "key")).await {
                    Ok(opened) => return opened,
                    Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
                }
            }
        };
        let opened = tokio::time::timeout(OVER_WITHIN, opening).await;
        let (socket, grant) = opened.unwrap();
        Self {
            balancer: balancer.to_owned(),
            key_id: text(access, "id"),
            grant,
            socket: Some(socket),
            offers: 0,
        }
    }

    async fn until_exchanged(&mut self) {
        let exchanging = async {
            while self.exchange().await.is_err() {
                self.socket = None;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        };
        tokio::time::timeout(OVER_WITHIN, exchanging).await.unwrap();
    }

    /// An offer and its answer, in the same session by whichever node.
    async fn exchange(&mut self) -> Result<()> {
        if self.socket.is_none() {
            self.socket = Some(self.come_back().await?);
        }
        self.offers += 1;
        let offer = format!("v={}", self.offers);
        let socket = self.socket.as_mut().context("a socket")?;
        socket
            .say(&FromViewer::Offer { sdp: offer.clone() })
            .await?;
        let answered = socket.until_answered(&offer);
        tokio::time::timeout(ANSWER_WITHIN, answered).await?
    }

    async fn come_back(&self) -> Result<Socket> {
        let mut socket = Socket::open(&self.balancer, VIEWER_PATH).await?;
        let token = self.grant.token.clone();
        socket
            .say(&FromViewer::Resume {
                version: VERSION,
                token,
            })
            .await?;
        match socket.hear().await? {
            ToViewer::Resumed => Ok(socket),
            other => bail!("not resumed: {other:?}"),
        }
    }

    /// Until it is told that its session is over, at the node where it is or where it comes back.
    async fn until_ended(&mut self) {
        let ending = async {
            loop {
                let told = match &mut self.socket {
                    Some(socket) => socket.hear().await,
                    None => self.resumption().await,
                };
                match told {
                    Ok(ToViewer::Closed { problem }) => {
                        assert_ne!(problem.code, Code::ServiceRestarting);
                        return;
                    }
                    Ok(_) => {}
                    Err(_) => {
                        self.socket = None;
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                }
            }
        };
        tokio::time::timeout(OVER_WITHIN, ending).await.unwrap();
    }

    async fn resumption(&mut self) -> Result<ToViewer> {
        let mut socket = Socket::open(&self.balancer, VIEWER_PATH).await?;
        let token = self.grant.token.clone();
        let resume = FromViewer::Resume {
            version: VERSION,
            token,
        };
        socket.say(&resume).await?;
        let told = socket.hear().await;
        self.socket = Some(socket);
        told
    }
}

async fn try_open(balancer: &str, instance: &str, key: &str) -> Result<(Socket, Grant)> {
    let ticket = ticket(balancer, instance, key).await?;
    let mut socket = Socket::open(balancer, VIEWER_PATH).await?;
    let open = FromViewer::Open {
        version: VERSION,
        ticket,
        mode: PathMode::Auto,
        round_trips_ms: Default::default(),
    };
    socket.say(&open).await?;
    match socket.hear().await? {
        ToViewer::Granted { grant } => Ok((socket, grant)),
        other => bail!("not granted: {other:?}"),
    }
}

async fn ticket(balancer: &str, instance: &str, key: &str) -> Result<Secret> {
    let mut stream = TcpStream::connect(balancer).await?;
    let request = format!(
        "POST /api/v1/instances/{instance}/tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    let body: Value = serde_json::from_str(body)?;
    Ok(Secret::new(body["ticket"].as_str().context("a ticket")?))
}

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(balancer: &str, path: &str) -> Result<Self> {
        Ok(Self(
            connect_async(format!("ws://{balancer}{path}")).await?.0,
        ))
    }

    async fn say(&mut self, message: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(message)?;
        Ok(self.0.send(Message::text(text)).await?)
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let message = self.0.next().await.context("the socket was closed")??;
        ensure!(message.is_text(), "the socket is being closed");
        Ok(serde_json::from_str(message.to_text()?)?)
    }

    async fn until_answered(&mut self, offer: &str) -> Result<()> {
        loop {
            match self.hear().await? {
                ToViewer::Answer { sdp } if sdp == offer => return Ok(()),
                ToViewer::Failed { problem } | ToViewer::Closed { problem } => {
                    bail!("{}", problem.code)
                }
                _ => {}
            }
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}
