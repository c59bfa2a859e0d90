//! The two ends of signalling as the generator plays them, and how their waits are summed up.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{FromAgent, VERSION};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::ground::CREDENTIAL;
use crate::http;

pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn open(address: &str, path: &str) -> Result<Self> {
        let stream = http::connect(address, Ipv4Addr::LOCALHOST).await?;
        let (socket, _) = client_async(format!("ws://{address}{path}"), stream).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn say(&mut self, message: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(message)?;
        Ok(self.0.send(Message::text(text)).await?)
    }

    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let message = self.0.next().await.context("the socket was closed")??;
        ensure!(message.is_text(), "the socket is being closed");
        Ok(serde_json::from_str(message.to_text()?)?)
    }
}

/// Of one kind of wait, in milliseconds.
pub(crate) struct Figures {
    p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    count: usize,
}

impl Figures {
    pub(crate) fn of(mut took: Vec<Duration>) -> Result<Self> {
        took.sort();
        let at = |permille: usize| {
            let found = took.get((took.len() * permille / 1000).min(took.len() - 1));
            found.map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        ensure!(!took.is_empty(), "nothing was measured");
        Ok(Self {
            p50: at(500),
            p99: at(990),
            max: at(1000),
            count: took.len(),
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "max": self.max, "count": self.count })
    }
}

pub(crate) fn registration(instance: &InstanceId, sessions: &[SessionId]) -> FromAgent {
    FromAgent::Register {
        version: VERSION,
        instance: instance.clone(),
        credential: Secret::new(CREDENTIAL),
        sessions: sessions.to_vec(),
        captured: true,
    }
}
