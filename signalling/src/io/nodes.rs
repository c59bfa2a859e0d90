//! This node among the others: answers for the agent hosts it has, hears of theirs, and finds the
//! node a viewer belongs to.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use protocol::id::InstanceId;
use protocol::signal::FromViewer;
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;

use super::bus::{self, Ask, Bus, News};
use super::pipe;
use super::service::{Input, Service, unix_now};
use super::socket::Outgoing;
use crate::instances::Presence;

/// How soon what was missed is put right.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// How soon a connection that ended is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who serves a viewer.
pub(super) enum Route {
    Here,
    /// What is said goes here.
    There(mpsc::Sender<Outgoing>),
    /// Nobody can be asked now, or the agent host is between two nodes: the viewer comes back.
    Later,
}

impl Service {
    /// Where a viewer belongs, by its first message, and is answered through `answers`.
    pub(super) async fn route(
        &self,
        message: &FromViewer,
        answers: &mpsc::Sender<Outgoing>,
    ) -> Route {
        let Some(bus) = self.bus() else {
            return Route::Here;
        };
        let (instance, session) = match message {
            FromViewer::Open { ticket, .. } => {
                match self.granter().check_ticket(ticket, unix_now()) {
                    Ok(claims) => (claims.instance, None),
                    Err(_) => return Route::Here,
                }
            }
            FromViewer::Resume { token, .. } => match self.granter().check_session(token) {
                Ok(claims) => (claims.instance, Some(claims.session)),
                Err(_) => return Route::Here,
            },
            _ => return Route::Here,
        };
        if self.holds(&instance, session).await {
            return Route::Here;
        }
        match pipe::open(bus, &instance, answers.clone()).await {
            Ok(Some(to_home)) => Route::There(to_home),
            // To open needs an agent host; to come back needs only patience.
            Ok(None) if session.is_none() => Route::Here,
            Ok(None) | Err(_) => Route::Later,
        }
    }
}

/// Keeps this node among the others for as long as the process lasts.
pub(super) async fn take_part(service: Service, bus: Bus) {
    let mut homes = Homes {
        service,
        bus,
        tasks_by_instance: HashMap::new(),
    };
    loop {
        if let Ok(news) = homes.bus.news().await {
            homes.run(news).await;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The instances whose agent hosts are here, and the task that answers for each.
struct Homes {
    service: Service,
    bus: Bus,
    tasks_by_instance: HashMap<InstanceId, AbortHandle>,
}

impl Homes {
    async fn run(&mut self, mut news: Subscriber) {
        let mut ours = self.service.watch_local_presence();
        let mut ticks = tokio::time::interval(RESYNC_EVERY);
        loop {
            tokio::select! {
                message = news.next() => match message {
                    Some(message) => self.hear(bus::read(&message)).await,
                    None => return,
                },
                changed = ours.recv() => match changed {
                    Ok((instance, presence)) => self.change(instance, presence).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => self.resync().await,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                _ = ticks.tick() => self.resync().await,
            }
        }
    }

    async fn hear(&self, news: Option<News>) {
        match news {
            Some(News::Claimed(instance, claim)) => {
                let claims = HashMap::from([(instance, claim)]);
                self.service.send(Input::Claims(claims)).await;
            }
            // Of what is here, we know better.
            Some(News::Presence(instance, presence))
                if !self.tasks_by_instance.contains_key(&instance) =>
            {
                self.service.note_presence(instance, presence);
            }
            Some(News::Presence(..)) | None => {}
        }
    }

    async fn change(&mut self, instance: InstanceId, mut presence: Presence) {
        if presence == Presence::Absent {
            self.leave(&instance);
            // It may have gone to another node.
            let asked = self.bus.ask(&instance, &Ask::Presence).await;
            presence = asked.ok().flatten().unwrap_or(Presence::Absent);
        } else {
            self.settle(&instance).await;
        }
        self.bus.tell(&News::Presence(instance, presence)).await;
    }

    async fn resync(&mut self) {
        let here = self.service.registered().await;
        let gone: Vec<_> = self.tasks_by_instance.keys().cloned().collect();
        for instance in gone.iter().filter(|instance| !here.contains(instance)) {
            self.leave(instance);
        }
        for instance in &here {
            self.settle(instance).await;
        }
    }

    async fn settle(&mut self, instance: &InstanceId) {
        if self.tasks_by_instance.contains_key(instance) {
            return;
        }
        let Ok(asked) = self.bus.subscribe(&bus::subject_of(instance)).await else {
            return;
        };
        let task = answer(
            self.service.clone(),
            self.bus.clone(),
            instance.clone(),
            asked,
        );
        let task = tokio::spawn(task).abort_handle();
        self.tasks_by_instance.insert(instance.clone(), task);
    }

    fn leave(&mut self, instance: &InstanceId) {
        if let Some(task) = self.tasks_by_instance.remove(instance) {
            // Its subscription goes with it.
            task.abort();
        }
    }
}

/// Answers other nodes about one instance.
async fn answer(service: Service, bus: Bus, instance: InstanceId, mut asked: Subscriber) {
    while let Some(message) = asked.next().await {
        let Some(reply) = message.reply.as_ref().map(ToString::to_string) else {
            continue;
        };
        // Silence, rather than a refusal, of what went to another node meanwhile.
        let presence = service.local_presence(instance.clone()).await;
        match bus::read::<Ask>(&message) {
            _ if presence == Presence::Absent => {}
            Some(Ask::Presence) => bus.publish(&reply, &presence).await,
            Some(Ask::Viewer { answers }) => {
                if let Some(home) = pipe::take_viewer(&service, &bus, answers).await {
                    bus.publish(&reply, &home).await;
                }
            }
            None => {}
        }
    }
}
