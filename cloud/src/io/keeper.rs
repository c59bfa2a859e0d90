//! The task that looks after desktops: orders from the database, news of agent hosts, calls to the
//! driver.
//!
//! The database is the truth. What an order says is read from it, whoever wrote it there; this task
//! is only told that there is something to read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::InstanceId;
use signalling::Presence;
use signalling::instances::hash;
use signalling::io::{Service, unix_now};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::driver::{Driver, Start};
use super::store::Store;
use crate::access::secret_from;
use crate::lifecycle::fleet::Seen;
use crate::lifecycle::{Action, Call, Fleet, Machine, Order, Outcome, State};

/// Orders that subcommands wrote into the database are noticed so soon.
const READ_EVERY: Duration = Duration::from_secs(2);
/// A driver that takes longer has failed.
const CALL_WITHIN: Duration = Duration::from_secs(60);
/// Outcomes and nudges that may wait; one call per desktop is under way.
const INBOX_MAX: usize = 1024;
/// News a watcher may be behind; one that is further behind reads everything again.
const NEWS_MAX: usize = 256;

/// A handle to the task; cheap to clone.
#[derive(Clone)]
pub(super) struct Keeper {
    inbox: Option<mpsc::Sender<Input>>,
    seen: Arc<Mutex<HashMap<InstanceId, Seen>>>,
    news: broadcast::Sender<InstanceId>,
    signalling: Service,
}

enum Input {
    Nudge,
    Log(InstanceId, oneshot::Sender<String>),
    Done(InstanceId, Outcome),
}

impl Keeper {
    /// Starts looking after the desktops that a driver runs.
    pub(super) fn start<D: Driver>(store: Store, signalling: Service, driver: D) -> Self {
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let keeper = Self::new(signalling, Some(inbox.clone()));
        let task = Task {
            fleet: Fleet::default(),
            store,
            driver: Arc::new(driver),
            inbox,
            keeper: keeper.clone(),
        };
        tokio::spawn(task.run(inputs));
        keeper
    }

    /// For a service without a driver: it has only desktops that somebody else runs.
    pub(super) fn without_driver(signalling: Service) -> Self {
        let keeper = Self::new(signalling, None);
        tokio::spawn(pass_on_news(keeper.clone()));
        keeper
    }

    fn new(signalling: Service, inbox: Option<mpsc::Sender<Input>>) -> Self {
        Self {
            inbox,
            seen: Arc::default(),
            news: broadcast::channel(NEWS_MAX).0,
            signalling,
        }
    }

    pub(super) fn has_driver(&self) -> bool {
        self.inbox.is_some()
    }

    /// An order was stored.
    pub(super) async fn nudge(&self) {
        if let Some(inbox) = &self.inbox {
            // The task ends only with the process.
            let _ = inbox.send(Input::Nudge).await;
        }
    }

    /// The end of what the parts of a desktop logged; empty where no driver knows.
    pub(super) async fn log(&self, instance: &InstanceId) -> String {
        let Some(inbox) = &self.inbox else {
            return String::new();
        };
        let (reply, answer) = oneshot::channel();
        let _ = inbox.send(Input::Log(instance.clone(), reply)).await;
        answer.await.unwrap_or_default()
    }

    /// Desktops of which something has changed, from now on.
    pub(super) fn watch(&self) -> broadcast::Receiver<InstanceId> {
        self.news.subscribe()
    }

    /// Tells watchers that a desktop is not what it was.
    pub(super) fn announce(&self, instance: &InstanceId) {
        // Nobody may be watching.
        let _ = self.news.send(instance.clone());
    }

    /// What people see of a desktop: its life if a driver runs it, its agent host if not.
    pub(super) async fn see(&self, instance: &InstanceId) -> Seen {
        let seen = self.seen().get(instance).cloned();
        if let Some(seen) = seen {
            return seen;
        }
        let state = match self.signalling.presence(instance.clone()).await {
            Presence::Absent => State::Stopped,
            Presence::Starting => State::Starting,
            Presence::Online => State::Online,
        };
        Seen {
            state,
            problem: None,
        }
    }

    /// Of every desktop that the driver looks after.
    pub(super) fn states(&self) -> Vec<State> {
        self.seen().values().map(|seen| seen.state).collect()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Seen>> {
        // A panic elsewhere leaves the table whole: it is changed in one step.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without a driver agent hosts alone make news.
async fn pass_on_news(keeper: Keeper) {
    let mut presence = keeper.signalling.watch_presence();
    loop {
        match presence.recv().await {
            Ok((instance, _)) => keeper.announce(&instance),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

struct Task<D> {
    fleet: Fleet,
    store: Store,
    driver: Arc<D>,
    inbox: mpsc::Sender<Input>,
    keeper: Keeper,
}

impl<D: Driver> Task<D> {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut presence = self.keeper.signalling.watch_presence();
        let mut ticks = tokio::time::interval(READ_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.end_strangers().await;
        loop {
            let wake = self.fleet.poll_timeout();
            let wake = wake.unwrap_or_else(|| Instant::now() + READ_EVERY);
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Done(instance, outcome)) => {
                        self.fleet.handle_outcome(&instance, outcome, Instant::now());
                    }
                    Some(Input::Nudge) => self.read_orders().await,
                    Some(Input::Log(instance, reply)) => self.read_log(instance, reply),
                    None => return,
                },
                news = presence.recv() => self.heard(news).await,
                _ = ticks.tick() => self.read_orders().await,
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.fleet.handle_timeout(Instant::now());
            self.act().await;
        }
    }

    async fn heard(&mut self, news: Result<(InstanceId, Presence), broadcast::error::RecvError>) {
        if let Ok((instance, presence)) = news {
            self.fleet
                .handle_presence(&instance, presence, Instant::now());
            if self.fleet.order_of(&instance).is_none() {
                self.keeper.announce(&instance);
            }
            return;
        }
        // Some were missed: ask about all.
        let all: Vec<_> = self.fleet.lives().map(|(id, _)| id.clone()).collect();
        for instance in all {
            let presence = self.keeper.signalling.presence(instance.clone()).await;
            self.fleet
                .handle_presence(&instance, presence, Instant::now());
        }
    }

    async fn read_orders(&mut self) {
        let orders = match self.store.orders().await {
            Ok(orders) => orders,
            Err(error) => return tracing::error!("the database failed: {error:#}"),
        };
        for (instance, order) in orders {
            let known = self.fleet.order_of(&instance);
            if known == Some(order) {
                continue;
            }
            if !self.fleet.handle_order(&instance, order, Instant::now()) {
                tracing::warn!(%instance, "too many desktops for one process; it is not looked after");
            } else if known.is_none() {
                // It may be online already, from before this process.
                let presence = self.keeper.signalling.presence(instance.clone()).await;
                self.fleet
                    .handle_presence(&instance, presence, Instant::now());
            }
        }
    }

    async fn end_strangers(&self) {
        let ended = match self.store.orders().await {
            Ok(orders) => {
                let known: Vec<_> = orders.into_iter().map(|(id, _)| id).collect();
                self.driver.end_strangers(&known).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!("desktops that nobody knows could not be ended: {error:#}");
        }
    }

    async fn act(&mut self) {
        while let Some(action) = self.fleet.poll_action() {
            match action {
                Action::Call(instance, call) => self.call(instance, call),
                Action::Changed(instance) => self.show(&instance),
                Action::Gone(instance) => {
                    self.keeper.seen().remove(&instance);
                    tracing::info!(%instance, "desktop deleted");
                    if let Err(error) = self.store.note_purged(&instance, unix_now()).await {
                        // It is found deleted and destroyed once more.
                        tracing::error!("the database failed: {error:#}");
                    }
                    self.keeper.announce(&instance);
                }
            }
        }
    }

    fn show(&self, instance: &InstanceId) {
        let Some(seen) = self.fleet.seen(instance) else {
            return;
        };
        let cause = seen.problem.as_ref().map(|problem| problem.cause.as_str());
        tracing::info!(%instance, state = seen.state.as_str(), cause, "desktop");
        self.keeper.seen().insert(instance.clone(), seen);
        self.keeper.announce(instance);
    }

    fn read_log(&self, instance: InstanceId, reply: oneshot::Sender<String>) {
        let driver = self.driver.clone();
        tokio::spawn(async move {
            match driver.log(&instance).await {
                Ok(log) => drop(reply.send(log)),
                Err(error) => tracing::warn!(%instance, "no log of the desktop: {error:#}"),
            }
        });
    }

    /// Asks the driver in a task of its own.
    fn call(&self, instance: InstanceId, call: Call) {
        let Some(order) = self.fleet.order_of(&instance) else {
            return;
        };
        let (store, driver, inbox) = (self.store.clone(), self.driver.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let carried = carry_out(&store, &*driver, &instance, order, call);
            let outcome = match tokio::time::timeout(CALL_WITHIN, carried).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => Outcome::Failed(sentences(&error)),
                Err(_) => Outcome::Failed("The desktop's machine did not answer in time.".into()),
            };
            let _ = inbox.send(Input::Done(instance, outcome)).await;
        });
    }
}

/// What went wrong, from the outside to the root.
fn sentences(error: &anyhow::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join(" ")
}

async fn carry_out<D: Driver>(
    store: &Store,
    driver: &D,
    instance: &InstanceId,
    order: Order,
    call: Call,
) -> anyhow::Result<Outcome> {
    match call {
        Call::Inspect => {
            let found: Machine = driver.inspect(instance).await?;
            return Ok(Outcome::Found(found));
        }
        Call::Start(generation) => {
            let credential = secret_from(rand::random());
            // From here on the agent host of an earlier life is refused.
            store.set_credential(instance, hash(&credential)).await?;
            driver
                .start(Start {
                    instance: instance.clone(),
                    generation,
                    size: order.size,
                    credential,
                })
                .await?;
        }
        Call::Stop => driver.stop(instance).await?,
        Call::Destroy => driver.destroy(instance).await?,
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests;
