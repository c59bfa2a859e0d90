//! HTTP and WebSocket connections of port 443, on a thread of their own.
//!
//! A worker hands one over with its first head whole; here it is spliced to a connection of its own
//! to the upstream, or told a fixed page.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::splice::{self, Splice};
use crate::config::{Upstream, WebConfig};
use crate::web::{Page, proxy_line};

/// Connections on their way from the workers; the newest is refused when there are more.
const WAITING_MAX: usize = 256;
/// An upstream that has not accepted by then does not answer.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A client takes a page within this time.
const PAGE_TIME: Duration = Duration::from_secs(5);

/// One HTTP connection with what it has said so far.
pub(crate) struct Visitor {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) tls: Box<ServerConnection>,
    pub(crate) received: Vec<u8>,
    pub(crate) from: SocketAddr,
}

/// What came of the connections.
#[derive(Debug, Default)]
pub(crate) struct WebTally {
    /// Reached the upstream.
    pub(crate) passed: AtomicU64,
    /// Were told a page.
    pub(crate) answered: AtomicU64,
    /// Closed without a word: too many.
    pub(crate) refused: AtomicU64,
    /// Connections that are open now.
    open: watch::Sender<usize>,
}

impl WebTally {
    /// Until no connection is open.
    pub(crate) async fn wait_until_idle(&self) {
        // Fails only without a sender, which is here.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// Where workers hand HTTP connections over.
#[derive(Clone)]
pub(crate) struct Door {
    visitors: mpsc::Sender<Visitor>,
    tally: Arc<WebTally>,
}

impl Door {
    /// Never waits; when the thread does not keep up the connection is closed.
    pub(crate) fn pass(&self, visitor: Visitor) {
        if self.visitors.try_send(visitor).is_err() {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn tally(&self) -> Arc<WebTally> {
        self.tally.clone()
    }
}

/// Starts the thread; it ends when the last door is gone. Each new connection sees the newest
/// configuration.
pub(crate) fn open(config: watch::Receiver<WebConfig>) -> Result<Door> {
    let (visitors, receiver) = mpsc::channel(WAITING_MAX);
    let tally = Arc::new(WebTally::default());
    let door = Door {
        visitors,
        tally: tally.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("web".into())
        .spawn(move || runtime.block_on(receive(receiver, config, tally)))
        .context("cannot start the thread for HTTP")?;
    Ok(door)
}

async fn receive(
    mut visitors: mpsc::Receiver<Visitor>,
    config: watch::Receiver<WebConfig>,
    tally: Arc<WebTally>,
) {
    let mut guests = JoinSet::new();
    while let Some(visitor) = visitors.recv().await {
        while guests.try_join_next().is_some() {}
        let config = config.borrow().clone();
        if guests.len() >= config.connections {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let tally = tally.clone();
        tally.open.send_modify(|open| *open += 1);
        guests.spawn(async move {
            if let Err(error) = serve(visitor, &config, &tally).await {
                tracing::debug!(%error, "HTTP connection ended early");
            }
            tally.open.send_modify(|open| *open -= 1);
        });
    }
}

async fn serve(visitor: Visitor, config: &WebConfig, tally: &WebTally) -> io::Result<()> {
    visitor.socket.set_nonblocking(true)?;
    let client = TcpStream::from_std(visitor.socket)?;
    let page = match &config.upstream {
        None => Page::Relay,
        Some(upstream) => match connect(upstream).await {
            Ok(upstream) => {
                tally.passed.fetch_add(1, Ordering::Relaxed);
                let mut said = Vec::new();
                if config.proxy_protocol {
                    said = proxy_line(visitor.from, client.local_addr()?);
                }
                said.extend(visitor.received);
                return Splice::new(client, visitor.tls, upstream, said).run().await;
            }
            Err(error) => {
                tracing::debug!(%upstream, %error, "the upstream does not answer");
                Page::NoUpstream
            }
        },
    };
    tally.answered.fetch_add(1, Ordering::Relaxed);
    let answer = splice::answer(client, visitor.tls, page.bytes());
    timeout(PAGE_TIME, answer).await?
}

async fn connect(upstream: &Upstream) -> io::Result<TcpStream> {
    let socket = timeout(CONNECT_TIME, TcpStream::connect(upstream.as_str())).await??;
    socket.set_nodelay(true)?;
    Ok(socket)
}
