//! A viewer at one node, its agent host at another: what the viewer says goes to the agent host's
//! node, which treats it as its own viewer, and the answers come back.
//!
//! Frames are numbered. One that is missing, or a silence, closes the pipe at both ends, and the
//! viewer comes back with its session: so a lost message harms nobody.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt;
use protocol::id::InstanceId;
use protocol::signal::FromViewer;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::bus::{self, Ask, Bus, Unreachable};
use super::service::{Input, OUTBOX_MAX, Service, Side, close_code};
use super::socket::Outgoing;

/// Each end says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(3);
/// An end that was not heard of for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Frame {
    /// Counted from 1.
    number: u64,
    said: Said,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Text(String),
    /// With a code of RFC 6455 §7.4.
    Close(u16),
    Alive,
}

/// The viewer's end: returns where to say things to the node that has the instance, which answers
/// through `into`; `None` if no node has it.
pub(super) async fn open(
    bus: &Bus,
    instance: &InstanceId,
    into: mpsc::Sender<Outgoing>,
) -> Result<Option<mpsc::Sender<Outgoing>>, Unreachable> {
    let answers = inbox();
    let incoming = bus.subscribe(&answers).await.map_err(|_| Unreachable)?;
    let Some(home) = bus.ask(instance, &Ask::Viewer { answers }).await? else {
        return Ok(None);
    };
    let (to_home, outgoing) = mpsc::channel(OUTBOX_MAX);
    tokio::spawn(carry(bus.clone(), home, incoming, outgoing, into));
    Ok(Some(to_home))
}

/// The home's end: takes a viewer of another node; returns where it listens.
pub(super) async fn take_viewer(service: &Service, bus: &Bus, answers: String) -> Option<String> {
    let home = inbox();
    let incoming = bus.subscribe(&home).await.ok()?;
    let (viewer, outgoing) = service.attach(Side::Viewer).await;
    let (into, mut said) = mpsc::channel(OUTBOX_MAX);
    tokio::spawn(carry(bus.clone(), answers, incoming, outgoing, into));
    let service = service.clone();
    tokio::spawn(async move {
        while let Some(Outgoing::Text(text)) = said.recv().await {
            if let Ok(message) = serde_json::from_str::<FromViewer>(&text) {
                service.send(Input::Viewer(viewer, message)).await;
            }
        }
        service.send(Input::Gone(viewer)).await;
    });
    Some(home)
}

fn inbox() -> String {
    format!("multiclaw.pipe.{}", Uuid::new_v4().simple())
}

/// Carries both ways until one end is done.
async fn carry(
    bus: Bus,
    to: String,
    mut incoming: Subscriber,
    mut outgoing: mpsc::Receiver<Outgoing>,
    into: mpsc::Sender<Outgoing>,
) {
    let mut end = End {
        bus,
        to,
        sent: 0,
        heard: 0,
        heard_at: Instant::now(),
    };
    let mut ticks = tokio::time::interval(ALIVE_EVERY);
    loop {
        let going_on = tokio::select! {
            said = outgoing.recv() => end.say(said).await,
            message = incoming.next() => {
                let frame = message.as_ref().and_then(bus::read);
                end.hear(frame, &into)
            }
            _ = ticks.tick() => end.tick().await,
        };
        if !going_on {
            break;
        }
    }
    // Neither end may think that it goes on; whoever knows so already hears nothing new.
    end.say(Some(Outgoing::Close(close_code::RESTART))).await;
    let _ = into.try_send(Outgoing::Close(close_code::RESTART));
}

struct End {
    bus: Bus,
    to: String,
    sent: u64,
    heard: u64,
    heard_at: Instant,
}

impl End {
    /// `false` when that was the last of it.
    async fn say(&mut self, said: Option<Outgoing>) -> bool {
        let said = match said {
            Some(Outgoing::Text(text)) => Said::Text(text),
            Some(Outgoing::Close(code)) => Said::Close(code),
            None => Said::Close(close_code::NORMAL),
        };
        let going_on = matches!(said, Said::Text(_));
        self.send(said).await;
        going_on
    }

    async fn send(&mut self, said: Said) {
        self.sent += 1;
        let number = self.sent;
        self.bus.publish(&self.to, &Frame { number, said }).await;
    }

    fn hear(&mut self, frame: Option<Frame>, into: &mpsc::Sender<Outgoing>) -> bool {
        let Some(frame) = frame.filter(|frame| frame.number == self.heard + 1) else {
            return false;
        };
        self.heard += 1;
        self.heard_at = Instant::now();
        match frame.said {
            // When full, the receiver is too slow for its own good and starts again.
            Said::Text(text) => into.try_send(Outgoing::Text(text)).is_ok(),
            Said::Close(code) => {
                let _ = into.try_send(Outgoing::Close(code));
                false
            }
            Said::Alive => true,
        }
    }

    async fn tick(&mut self) -> bool {
        self.send(Said::Alive).await;
        self.bus.is_connected() && self.heard_at.elapsed() < SILENCE_MAX
    }
}
