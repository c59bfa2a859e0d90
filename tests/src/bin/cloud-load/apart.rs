//! Several nodes: what it costs that a viewer and its agent host are at two of them, and what happens
//! when one dies.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cloud::io::store::Store;
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{
    AGENT_PATH, FromAgent, FromViewer, PathMode, Role, ToAgent, ToViewer, VERSION, VIEWER_PATH,
};
use protocol::token::SigningKey;
use serde_json::{Value, json};
use signalling::InstanceRecord;
use signalling::grant::{Granter, Terms};
use signalling::instances::hash;
use signalling::io::unix_now;
use tests::cloud_program::{Nodes, SIGNING_SEED};
use tokio::task::JoinSet;

use crate::ground::CREDENTIAL;
use crate::socket::{Figures, Socket, registration};
use crate::{Bar, Row};

/// Between two offers of one viewer: a socket may say 32 messages a second.
const OFFER_EVERY: Duration = Duration::from_millis(65);
/// Instances made at the same time.
const MAKING: usize = 8;
const NODES: usize = 3;

/// What it costs to be at another node than the agent host.
pub(crate) async fn cross_node(seconds: Duration) -> Result<Row> {
    let cloud = Nodes::start(2)?;
    populate(&cloud, 1).await?;
    let desk = InstanceId::new("desk-0")?;
    let [here, there] = cloud.nodes.as_slice() else {
        bail!("two nodes");
    };
    tokio::spawn(answer(here.address.clone(), desk.clone()));
    let mut near = open(&here.address, &desk).await?;
    let mut far = open(&there.address, &desk).await?;
    let until = Instant::now() + seconds;
    let (mut near_took, mut far_took) = (Vec::new(), Vec::new());
    while Instant::now() < until {
        near_took.push(exchange(&mut near).await?);
        far_took.push(exchange(&mut far).await?);
        tokio::time::sleep(OFFER_EVERY).await;
    }
    let (near, far) = (Figures::of(near_took)?, Figures::of(far_took)?);
    Ok(Row {
        name: "offer and answer across nodes, added, p99",
        figure: far.p99 - near.p99,
        unit: "ms",
        bar: Bar::AtMost(5.0),
        more: json!({ "same_node_ms": near.json(), "across_ms": far.json() }),
    })
}

/// A node dies that has every viewer and a third of the agent hosts.
pub(crate) async fn node_death(count: usize) -> Result<Vec<Row>> {
    let mut cloud = Nodes::start(NODES)?;
    populate(&cloud, count).await?;
    let addresses: Vec<_> = cloud
        .nodes
        .iter()
        .map(|node| node.address.clone())
        .collect();
    let mut agents = Crowd::start("agents", count, &addresses)?;
    let mut viewers = Crowd::start("viewers", count, &addresses)?;
    let node = cloud.nodes.first_mut().context("a node")?;
    node.kill();
    let viewers = viewers.line()?;
    let agents = agents.end()?;
    let number = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let lost = 2.0 * count as f64 - number(&viewers, "back") - number(&agents, "here")
        + number(&viewers, "ended")
        + number(&agents, "ended");
    let more = json!({ "count": count, "viewers": viewers, "agents": agents });
    Ok(vec![
        Row {
            name: "viewers back after a node's death, the slowest",
            figure: number(&viewers, "slowest_ms") / 1000.0,
            unit: "s",
            bar: Bar::AtMost(30.0),
            more,
        },
        Row {
            name: "of these, their agent hosts and sessions, lost",
            figure: lost,
            unit: "",
            bar: Bar::AtMost(0.0),
            more: Value::Null,
        },
    ])
}

/// `desk-0` and so on, whose agent hosts show the same credential.
async fn populate(cloud: &Nodes, instances: usize) -> Result<()> {
    let store = Store::open(&cloud.database.url).await?;
    let mut making = JoinSet::new();
    for first in 0..MAKING {
        let store = store.clone();
        making.spawn(async move {
            for number in (first..instances).step_by(MAKING) {
                let record = InstanceRecord {
                    instance: InstanceId::new(&format!("desk-{number}"))?,
                    region: "local".into(),
                    credential_hash: hash(&Secret::new(CREDENTIAL)),
                };
                store.create_instance(&record, unix_now()).await?;
            }
            anyhow::Ok(())
        });
    }
    making.join_all().await.into_iter().collect()
}

/// An agent host that answers every offer.
async fn answer(node: String, instance: InstanceId) -> Result<()> {
    let mut socket = Socket::open(&node, AGENT_PATH).await?;
    socket.say(&registration(&instance, &[])).await?;
    loop {
        if let ToAgent::Offer { session, sdp } = socket.hear().await? {
            socket.say(&FromAgent::Answer { session, sdp }).await?;
        }
    }
}

async fn open(node: &str, instance: &InstanceId) -> Result<Socket> {
    let key = SigningKey::from_seed(SIGNING_SEED).context("a key")?;
    let granter = Granter::new(&key, vec![], Terms::default())?;
    loop {
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(rand::random()));
        let subject = "bench".to_owned();
        let ticket = granter.ticket(id, instance.clone(), Role::Control, subject, unix_now())?;
        let mut socket = Socket::open(node, VIEWER_PATH).await?;
        let mode = PathMode::Auto;
        let message = FromViewer::Open {
            version: VERSION,
            ticket,
            mode,
            round_trips_ms: std::collections::BTreeMap::new(),
        };
        socket.say(&message).await?;
        // Until the agent host is there, and this node has heard of it.
        if let Ok(ToViewer::Granted { .. }) = socket.hear().await {
            return Ok(socket);
        }
        tokio::time::sleep(OFFER_EVERY).await;
    }
}

async fn exchange(viewer: &mut Socket) -> Result<Duration> {
    let began = Instant::now();
    let sdp = "v=0".to_owned();
    viewer.say(&FromViewer::Offer { sdp }).await?;
    loop {
        match viewer.hear().await? {
            ToViewer::Answer { .. } => return Ok(began.elapsed()),
            ToViewer::Closed { problem } => bail!("closed: {}", problem.code),
            _ => {}
        }
    }
}

/// A process with all clients of one kind.
struct Crowd {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Crowd {
    /// Returns once all of them are there.
    fn start(kind: &str, count: usize, nodes: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crowd", kind, "--count", &count.to_string()])
            .args(["--nodes", &nodes.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut crowd = Self { child, output };
        ensure!(crowd.line()?["ready"] == count, "not all of them came");
        Ok(crowd)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn end(&mut self) -> Result<Value> {
        drop(self.child.stdin.take());
        self.line()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
