//! What every driver promises, tested on each: on real programs, and on the double that the tests of
//! the keeper use, which is thereby shown to behave like one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::bail;

use super::*;

/// Where the machines of a driver are, for tests that look at them from outside.
pub(crate) trait Ground {
    type Driver: Driver;

    /// The driver of a service that was just started: it knows nothing but what it finds.
    fn driver(&self) -> Self::Driver;

    /// Ends the agent host behind the driver's back.
    fn kill_agent_host(&self, instance: &InstanceId) -> impl Future<Output = ()>;

    /// Ends every process of the desktop, as a machine that goes down would.
    fn cut_power(&self, instance: &InstanceId) -> impl Future<Output = ()>;

    fn leave_file(&self, instance: &InstanceId);

    fn has_file(&self, instance: &InstanceId) -> bool;

    /// Displays that are up for this desktop; two would be one too many.
    fn displays(&self, instance: &InstanceId) -> usize;
}

#[tokio::test]
async fn the_double_behaves_like_a_driver() {
    conforms(&Pretend::default()).await;
}

/// The suite.
pub(crate) async fn conforms(ground: &impl Ground) {
    starts_once_and_stops_for_good(ground).await;
    replaces_an_older_life(ground).await;
    repairs_what_ended_and_leaves_the_rest(ground).await;
    comes_back_after_the_power_was_cut(ground).await;
    is_found_by_the_next_service(ground).await;
    survives_a_start_that_was_given_up(ground).await;
    ends_what_nobody_knows_and_keeps_its_files(ground).await;
    destroys_every_file(ground).await;
}

async fn starts_once_and_stops_for_good(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    assert_eq!(driver.inspect(&desk).await.unwrap(), Machine::Absent);
    driver.stop(&desk).await.unwrap();
    for _ in 0..2 {
        driver.start(order(1)).await.unwrap();
        let found = driver.inspect(&desk).await.unwrap();
        assert_eq!(found, Machine::Up(Generation(1)));
        assert_eq!(ground.displays(&desk), 1);
    }
    ground.leave_file(&desk);
    for _ in 0..2 {
        driver.stop(&desk).await.unwrap();
        assert_eq!(driver.inspect(&desk).await.unwrap(), Machine::Absent);
        assert_eq!(ground.displays(&desk), 0);
    }
    assert!(ground.has_file(&desk), "a stop keeps the files");
}

async fn replaces_an_older_life(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(1)).await.unwrap();
    driver.start(order(2)).await.unwrap();
    let found = driver.inspect(&desk).await.unwrap();
    assert_eq!(found, Machine::Up(Generation(2)));
    assert_eq!(ground.displays(&desk), 1);
}

async fn repairs_what_ended_and_leaves_the_rest(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(2)).await.unwrap();
    ground.kill_agent_host(&desk).await;
    let found = driver.inspect(&desk).await.unwrap();
    let Machine::Broken(Generation(2), cause) = found else {
        panic!("{found:?} without an agent host");
    };
    assert!(cause.contains("agent host"), "{cause}");
    driver.start(order(2)).await.unwrap();
    let found = driver.inspect(&desk).await.unwrap();
    assert_eq!(found, Machine::Up(Generation(2)));
    assert_eq!(ground.displays(&desk), 1);
}

async fn comes_back_after_the_power_was_cut(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(2)).await.unwrap();
    ground.leave_file(&desk);
    ground.cut_power(&desk).await;
    assert_eq!(driver.inspect(&desk).await.unwrap(), Machine::Absent);
    assert_eq!(ground.displays(&desk), 0);
    assert!(ground.has_file(&desk));
    driver.start(order(2)).await.unwrap();
    let found = driver.inspect(&desk).await.unwrap();
    assert_eq!(found, Machine::Up(Generation(2)));
    assert_eq!(ground.displays(&desk), 1);
}

async fn is_found_by_the_next_service(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(2)).await.unwrap();
    let next = ground.driver();
    let found = next.inspect(&desk).await.unwrap();
    assert_eq!(found, Machine::Up(Generation(2)));
    next.end_strangers(std::slice::from_ref(&desk))
        .await
        .unwrap();
    assert_eq!(ground.displays(&desk), 1);
    next.stop(&desk).await.unwrap();
    assert_eq!(ground.displays(&desk), 0);
}

async fn survives_a_start_that_was_given_up(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    {
        let mut start = Box::pin(driver.start(order(3)));
        for _ in 0..3 {
            tokio::select! {
                biased;
                done = &mut start => done.unwrap(),
                () = tokio::task::yield_now() => continue,
            }
            break;
        }
    }
    let next = ground.driver();
    next.start(order(3)).await.unwrap();
    let found = next.inspect(&desk).await.unwrap();
    assert_eq!(found, Machine::Up(Generation(3)));
    assert_eq!(ground.displays(&desk), 1);
}

async fn ends_what_nobody_knows_and_keeps_its_files(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(3)).await.unwrap();
    driver.end_strangers(&[]).await.unwrap();
    assert_eq!(driver.inspect(&desk).await.unwrap(), Machine::Absent);
    assert_eq!(ground.displays(&desk), 0);
    assert!(ground.has_file(&desk));
}

async fn destroys_every_file(ground: &impl Ground) {
    let (driver, desk) = (ground.driver(), desk());
    driver.start(order(4)).await.unwrap();
    ground.leave_file(&desk);
    for _ in 0..2 {
        driver.destroy(&desk).await.unwrap();
        assert_eq!(driver.inspect(&desk).await.unwrap(), Machine::Absent);
        assert!(!ground.has_file(&desk));
        assert_eq!(ground.displays(&desk), 0);
    }
}

pub(crate) fn desk() -> InstanceId {
    InstanceId::new("desk").unwrap()
}

pub(crate) fn order(generation: u32) -> Start {
    Start {
        instance: desk(),
        generation: Generation(generation),
        size: Size::Small,
        credential: Secret::new("credential"),
    }
}

/// Machines that are only noted, and that fail when they are told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pretend(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) up: HashMap<InstanceId, Generation>,
    pub(crate) without_agent_host: HashSet<InstanceId>,
    pub(crate) files: HashSet<InstanceId>,
    /// What the driver's starts fail with.
    pub(crate) fault: Option<&'static str>,
    /// The credentials of agent hosts, newest last.
    pub(crate) credentials: Vec<Secret>,
}

impl Pretend {
    pub(crate) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap()
    }
}

impl Driver for Pretend {
    async fn inspect(&self, instance: &InstanceId) -> Result<Machine> {
        let noted = self.noted();
        Ok(match noted.up.get(instance) {
            None => Machine::Absent,
            Some(up) if noted.without_agent_host.contains(instance) => {
                Machine::Broken(*up, "The agent host ended.".into())
            }
            Some(up) => Machine::Up(*up),
        })
    }

    async fn start(&self, start: Start) -> Result<()> {
        tokio::task::yield_now().await;
        let mut noted = self.noted();
        if let Some(fault) = noted.fault {
            bail!(fault);
        }
        noted.without_agent_host.remove(&start.instance);
        noted.credentials.push(start.credential);
        noted.up.insert(start.instance, start.generation);
        Ok(())
    }

    async fn stop(&self, instance: &InstanceId) -> Result<()> {
        self.noted().up.remove(instance);
        Ok(())
    }

    async fn destroy(&self, instance: &InstanceId) -> Result<()> {
        self.stop(instance).await?;
        self.noted().files.remove(instance);
        Ok(())
    }

    async fn log(&self, _: &InstanceId) -> Result<String> {
        Ok("the end of the log".into())
    }

    async fn end_strangers(&self, known: &[InstanceId]) -> Result<()> {
        self.noted().up.retain(|id, _| known.contains(id));
        Ok(())
    }
}

impl Ground for Pretend {
    type Driver = Self;

    fn driver(&self) -> Self {
        self.clone()
    }

    async fn kill_agent_host(&self, instance: &InstanceId) {
        self.noted().without_agent_host.insert(instance.clone());
    }

    async fn cut_power(&self, instance: &InstanceId) {
        self.noted().up.remove(instance);
    }

    fn leave_file(&self, instance: &InstanceId) {
        self.noted().files.insert(instance.clone());
    }

    fn has_file(&self, instance: &InstanceId) -> bool {
        self.noted().files.contains(instance)
    }

    fn displays(&self, instance: &InstanceId) -> usize {
        usize::from(self.noted().up.contains_key(instance))
    }
}
