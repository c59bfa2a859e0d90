//! What nodes of one service say to each other, over NATS.
//!
//! The database is the truth. Any message may be lost or come twice without harm, and while NATS is
//! away each node serves what it has.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, Subscriber};
use protocol::id::InstanceId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::instances::Presence;
use crate::switchboard::Claim;

/// A node that has not answered by then is busy or gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Everybody hears of claims and of agent hosts that come and go.
const NEWS: &str = "multiclaw.news";

/// The connection; cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus(Client);

/// What every node hears.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    Claimed(InstanceId, Claim),
    Presence(InstanceId, Presence),
}

/// What the node that has an instance's agent host is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    Presence,
    /// Take a viewer, and send it what it is told on this subject.
    Viewer {
        answers: String,
    },
}

/// Nobody can be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreachable;

impl Bus {
    /// Returns at once: a NATS that is away is waited for in the background.
    ///
    /// # Errors
    ///
    /// If this is no address.
    pub async fn connect(url: &str) -> Result<Self> {
        let client = ConnectOptions::new()
            .name("multiclaw-cloud")
            .retry_on_initial_connect()
            // What this node says is no news to it.
            .no_echo()
            .request_timeout(Some(ANSWER_WITHIN))
            .event_callback(|event| async move { note(&event) })
            .connect(url)
            .await
            .context("`bus` is no address of NATS; write nats://host:4222")?;
        Ok(Self(client))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.0.connection_state() == State::Connected
    }

    /// Dropped while NATS is away: what would wait is old news when it is back.
    pub(super) async fn publish(&self, subject: &str, message: &impl Serialize) {
        let Ok(payload) = serde_json::to_vec(message) else {
            return;
        };
        if self.is_connected() {
            let published = self.0.publish(subject.to_owned(), payload.into());
            // Full only if NATS takes nothing; the message is lost, as any may be.
            let _ = tokio::time::timeout(ANSWER_WITHIN, published).await;
        }
    }

    pub(super) async fn tell(&self, news: &News) {
        self.publish(NEWS, news).await;
    }

    pub(super) async fn news(&self) -> Result<Subscriber> {
        self.subscribe(NEWS).await
    }

    pub(super) async fn subscribe(&self, subject: &str) -> Result<Subscriber> {
        let subscribed = self.0.subscribe(subject.to_owned()).await;
        subscribed.context("the connection to NATS has ended")
    }

    /// Asks the node that has the instance; `None` if no node has.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        instance: &InstanceId,
        ask: &Ask,
    ) -> Result<Option<T>, Unreachable> {
        if !self.is_connected() {
            return Err(Unreachable);
        }
        let payload = serde_json::to_vec(ask).map_err(|_| Unreachable)?;
        match self.0.request(subject_of(instance), payload.into()).await {
            Ok(answer) => {
                let answer = serde_json::from_slice(&answer.payload);
                answer.map(Some).map_err(|_| Unreachable)
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
            Err(_) => Err(Unreachable),
        }
    }
}

/// Where the node that has the instance listens.
pub(super) fn subject_of(instance: &InstanceId) -> String {
    format!("multiclaw.instance.{instance}")
}

/// `None` for what another version may mean something by.
pub(super) fn read<T: DeserializeOwned>(message: &async_nats::Message) -> Option<T> {
    serde_json::from_slice(&message.payload).ok()
}

fn note(event: &Event) {
    match event {
        Event::Connected => tracing::info!("NATS is there"),
        Event::Disconnected => tracing::warn!("NATS is away; this node serves what it has"),
        event => tracing::debug!("NATS: {event}"),
    }
}
