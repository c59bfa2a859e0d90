//! What is measured, and how.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cloud::identity::password;
use protocol::Secret;
use protocol::id::InstanceId;
use protocol::signal::{AGENT_PATH, FromViewer, PathMode, ToAgent, ToViewer, VERSION, VIEWER_PATH};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::flood::Flood;
use crate::ground::Ground;
use crate::http::{self, Client};
use crate::socket::{Figures, Socket, registration};
use crate::{Bar, Row};

/// Sign-ins from one network before another is taken: below what the service lets one do at once.
pub(crate) const SIGN_INS_PER_NETWORK: u32 = 30;
/// People who sign in at the same time, each waiting for the answer: enough to keep every core busy.
const SIGNING_IN: usize = 16;
/// How many times what hashing allows the flood asks for.
const FLOOD: f64 = 10.0;
/// Pause between two checks of the one who is signed in.
const CHECK_EVERY: Duration = Duration::from_millis(5);
/// Windows of which the middle one counts, each half as long as any other run: others may use this
/// machine as well.
const WINDOWS: usize = 5;
/// The bar.
const OPENINGS_PER_S: f64 = 1000.0;
/// Viewers that open sessions at the same time, each on a socket of its own.
const OPENING: usize = 32;
/// Openings whose figures do not count: connections and caches are made.
const WARM_UP: Duration = Duration::from_secs(1);

static NETWORKS: AtomicU32 = AtomicU32::new(1);

/// Password hashes per second that this machine can make, all cores at it.
async fn hashing_limit(seconds: Duration) -> Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let mut memory = password::Memory::default();
    let secret = Secret::new("a password to hash");
    let bare = password::Peppers::default();
    let stored = password::hash(&secret, [7; password::SALT_LEN], &bare, &mut memory);
    let stored: Arc<str> = stored.context("a password is hashed")?.into();
    let until = Instant::now() + seconds;
    let mut threads = JoinSet::new();
    for _ in 0..cores {
        let (stored, bare) = (stored.clone(), bare.clone());
        threads.spawn_blocking(move || {
            let (mut done, mut memory) = (0_u32, password::Memory::default());
            let wrong = Secret::new("a password");
            while Instant::now() < until {
                done += u32::from(password::verify(&wrong, Some(&stored), &bare, &mut memory)) + 1;
            }
            done
        });
    }
    let done: u32 = threads.join_all().await.into_iter().sum();
    Ok(f64::from(done) / seconds.as_secs_f64())
}

/// Sign-ins per second.
async fn sign_ins(ground: &Ground, seconds: Duration) -> Result<f64> {
    let body = sign_in_body(ground);
    let until = Instant::now() + seconds;
    let mut people = JoinSet::new();
    for _ in 0..SIGNING_IN {
        let (address, body) = (ground.address.clone(), body.clone());
        people.spawn(async move {
            let mut done = 0_u32;
            while Instant::now() < until {
                let mut client = Client::connect(&address, next_network()).await?;
                for _ in 0..SIGN_INS_PER_NETWORK {
                    if Instant::now() >= until {
                        break;
                    }
                    let answer = client
                        .call("POST", "/api/v1/auth/sign-in", "", &body)
                        .await?;
                    ensure!(
                        answer.status == 200,
                        "a sign-in was answered {}",
                        answer.status
                    );
                    done += 1;
                }
            }
            Ok(done)
        });
    }
    let mut done = 0;
    for person in people.join_all().await {
        done += person?;
    }
    Ok(f64::from(done) / seconds.as_secs_f64())
}

/// Sign-ins beside what hashing allows before and after them.
pub(crate) async fn sign_ins_of_limit(ground: &Ground, seconds: Duration) -> Result<Row> {
    let window = seconds / 2;
    let (mut shares, mut rates) = (Vec::new(), Vec::new());
    let mut limits = vec![hashing_limit(window / 2).await?];
    for _ in 0..WINDOWS {
        let rate = sign_ins(ground, window).await?;
        let after = hashing_limit(window / 2).await?;
        let before = limits.last().copied().unwrap_or(after);
        shares.push(100.0 * rate / f64::midpoint(before, after));
        rates.push(rate);
        limits.push(after);
    }
    Ok(Row {
        name: "sign-ins, of what hashing allows",
        figure: middle(&shares),
        unit: "%",
        bar: Bar::AtLeast(90.0),
        more: json!({ "percent": shares, "sign_ins_per_s": rates, "hashes_per_s": limits }),
    })
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.get(half) {
        Some(&upper) if sorted.len() % 2 == 1 => upper,
        Some(&upper) => f64::midpoint(sorted[half - 1], upper),
        None => f64::NAN,
    }
}

/// How long the service takes to know who somebody is, while ten times too many sign in.
pub(crate) async fn checks_in_a_flood(ground: &Ground, seconds: Duration) -> Result<Row> {
    let window = seconds / 2;
    let limit = hashing_limit(window).await?;
    let mut client = Client::connect(&ground.address, Ipv4Addr::LOCALHOST).await?;
    let body = sign_in_body(ground);
    let signed_in = client
        .call("POST", "/api/v1/auth/sign-in", "", &body)
        .await?;
    let cookies = format!("Cookie: {}\r\n", signed_in.cookies);
    let (mut quiet, mut flooded, mut asked) = (Vec::new(), Vec::new(), 0);
    for _ in 0..WINDOWS {
        quiet.push(checks(ground, &cookies, window).await?);
        let flood = Flood::start(&ground.address, limit * FLOOD, &body)?;
        // Until the queue of the hashing pool is full.
        tokio::time::sleep(WARM_UP).await;
        flooded.push(checks(ground, &cookies, window).await?);
        asked += flood.end()?;
        // Until it is empty again.
        tokio::time::sleep(WARM_UP).await;
    }
    let p99 = |windows: &[Figures]| {
        let all: Vec<_> = windows.iter().map(|window| window.p99).collect();
        middle(&all)
    };
    let json = |windows: &[Figures]| windows.iter().map(Figures::json).collect::<Vec<_>>();
    Ok(Row {
        name: "session check during a tenfold sign-in flood, p99",
        figure: p99(&flooded),
        unit: "ms",
        bar: Bar::AtMost(1.0),
        more: json!({
            "quiet_p99": p99(&quiet),
            "quiet_ms": json(&quiet),
            "flooded_ms": json(&flooded),
            "sign_ins_asked_per_s": limit * FLOOD,
            "sign_ins_asked": asked,
        }),
    })
}

/// Checks one after the other, on a thread that does nothing else: what it takes to hand an answer
/// from thread to thread is not the service's time.
async fn checks(ground: &Ground, cookies: &str, seconds: Duration) -> Result<Figures> {
    let (address, cookies) = (ground.address.clone(), cookies.to_owned());
    let alone = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let checking = move || alone.block_on(check_until_over(&address, &cookies, seconds));
    tokio::task::spawn_blocking(checking).await?
}

async fn check_until_over(address: &str, cookies: &str, seconds: Duration) -> Result<Figures> {
    let mut client = Client::connect(address, Ipv4Addr::LOCALHOST).await?;
    let until = Instant::now() + seconds;
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let answer = client.call("GET", "/api/v1/me", cookies, "").await?;
        took.push(began.elapsed());
        ensure!(
            answer.status == 200,
            "a check was answered {}",
            answer.status
        );
        tokio::time::sleep(CHECK_EVERY).await;
    }
    Figures::of(took)
}

/// Agent hosts that are registered and say nothing.
pub(crate) struct Agents {
    before: f64,
    sockets: Vec<Socket>,
}

pub(crate) async fn connect_agents(ground: &Ground, count: usize) -> Result<Agents> {
    let before = ground.memory()?;
    let mut sockets = Vec::new();
    for (instance, _) in ground.keys.iter().take(count) {
        let mut socket = Socket::open(&ground.address, AGENT_PATH).await?;
        socket.say(&registration(instance, &[])).await?;
        let told: ToAgent = socket.hear().await?;
        ensure!(told == ToAgent::Registered, "{told:?}");
        sockets.push(socket);
    }
    Ok(Agents { before, sockets })
}

pub(crate) fn memory(ground: &Ground, agents: &Agents) -> Result<Row> {
    const MIB: f64 = 1024.0 * 1024.0;
    let with = ground.memory()?;
    Ok(Row {
        name: "memory with idle agent hosts connected",
        figure: with / MIB,
        unit: "MiB",
        bar: Bar::AtMost(60.0),
        more: json!({ "agents": agents.sockets.len(), "without_mib": agents.before / MIB }),
    })
}

/// Session openings per second, each a ticket, a socket and a grant: as many as there can be, and
/// how long each takes at the rate of the bar.
pub(crate) async fn openings(ground: &Ground, seconds: Duration) -> Result<Vec<Row>> {
    let most = open_many(ground, seconds, None).await?;
    let paced = open_many(ground, seconds, Some(OPENINGS_PER_S)).await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = most.len() as f64 / seconds.as_secs_f64();
    let (most, paced) = (Figures::of(most)?, Figures::of(paced)?);
    Ok(vec![
        Row {
            name: "session openings (ticket, socket, grant)",
            figure: rate,
            unit: "1/s",
            bar: Bar::AtLeast(OPENINGS_PER_S),
            more: json!({ "at_once": OPENING, "ms": most.json() }),
        },
        Row {
            name: "session opening at 1,000 a second, p99",
            figure: paced.p99,
            unit: "ms",
            bar: Bar::AtMost(50.0),
            more: json!({ "wanted_per_s": OPENINGS_PER_S, "ms": paced.json() }),
        },
    ])
}

/// How long each took from its beginning; those of a rate begin late if the ones before took long.
async fn open_many(ground: &Ground, seconds: Duration, rate: Option<f64>) -> Result<Vec<Duration>> {
    let start = Instant::now();
    let (from, until) = (start + WARM_UP, start + WARM_UP + seconds);
    let keys = Arc::new(ground.keys.clone());
    let mut viewers = JoinSet::new();
    for number in 0..OPENING {
        let (address, keys) = (ground.address.clone(), keys.clone());
        viewers.spawn(async move {
            let mut took = Vec::new();
            let mut client = Client::connect(&address, Ipv4Addr::LOCALHOST).await?;
            for next in (number..).step_by(OPENING) {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let due = rate.map(|rate| start + Duration::from_secs_f64(next as f64 / rate));
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let began = Instant::now();
                if began >= until {
                    break;
                }
                let (instance, key) = keys.get(next % keys.len()).context("there are instances")?;
                let bearer = format!("Authorization: Bearer {}\r\n", key.to_text().expose());
                open(&mut client, &address, instance, &bearer).await?;
                if began >= from {
                    took.push(began.elapsed());
                }
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    for viewer in viewers.join_all().await {
        took.extend(viewer?);
    }
    Ok(took)
}

async fn open(
    client: &mut Client,
    address: &str,
    instance: &InstanceId,
    bearer: &str,
) -> Result<()> {
    let path = format!("/api/v1/instances/{instance}/tickets");
    let answer = client.call("POST", &path, bearer, "").await?;
    ensure!(
        answer.status == 200,
        "a ticket was answered {}",
        answer.status
    );
    let answer: Value = serde_json::from_slice(&answer.body)?;
    let ticket = answer["ticket"].as_str().context("a ticket")?;
    let mut socket = Socket::open(address, VIEWER_PATH).await?;
    let message = FromViewer::Open {
        version: VERSION,
        ticket: Secret::new(ticket),
        mode: PathMode::Auto,
        round_trips_ms: std::collections::BTreeMap::new(),
    };
    socket.say(&message).await?;
    match socket.hear().await? {
        ToViewer::Granted { .. } => socket.say(&FromViewer::Close).await,
        other => bail!("not granted: {other:?}"),
    }
}

fn sign_in_body(ground: &Ground) -> String {
    json!({ "email": ground.email, "password": ground.password }).to_string()
}

pub(crate) fn next_network() -> Ipv4Addr {
    // The last byte of the number is the host; the rest is the network.
    http::network(NETWORKS.fetch_add(1, Ordering::Relaxed))
}
