//! The task with a driver that only notes: what it does with orders, news and faults.

use protocol::token::SigningKey;
use signalling::Granter;
use signalling::grant::Terms;

use super::*;
use crate::identity::WorkspaceId;
use crate::io::driver::tests::{Pretend, desk};
use crate::io::run::start_signalling;
use crate::io::store::desktops::{Desktop, Keeper as Kept, Wish};
use crate::io::store::tests::Folder;
use crate::lifecycle::{Desired, Generation, Size};

#[tokio::test]
async fn a_desktop_that_is_ordered_starts_with_a_credential_of_its_own_each_time() {
    let world = World::new().await;
    let mut news = world.keeper.watch();
    world.create().await;
    world.until(&mut news, State::Starting).await;
    world.until_up(Generation(1)).await;
    world.wish(Wish::Restart).await;
    world.until_up(Generation(2)).await;
    let credentials = world.driver.noted().credentials.clone();
    assert_eq!(credentials.len(), 2);
    assert_ne!(credentials[0].expose(), credentials[1].expose());
    let stored = world.store.find_instance(&desk()).await.unwrap().unwrap();
    assert!(stored.accepts(&credentials[1]) && !stored.accepts(&credentials[0]));
}

#[tokio::test]
async fn a_fault_is_shown_with_its_cause_and_the_desktop_starts_when_it_is_over() {
    let world = World::new().await;
    let mut news = world.keeper.watch();
    world.driver.noted().fault = Some("The disk is full.");
    world.create().await;
    world.until(&mut news, State::Error).await;
    let problem = world.keeper.see(&desk()).await.problem.unwrap();
    assert_eq!(problem.cause, "The disk is full.");
    world.driver.noted().fault = None;
    world.until(&mut news, State::Starting).await;
    world.until_up(Generation(1)).await;
}

#[tokio::test]
async fn a_deleted_desktop_is_destroyed_and_not_looked_for_again() {
    let world = World::new().await;
    world.create().await;
    world.until_up(Generation(1)).await;
    world
        .store
        .delete_instance(&desk(), unix_now())
        .await
        .unwrap();
    world.keeper.nudge().await;
    while !world.store.orders().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(world.driver.noted().up.is_empty());
    assert_eq!(world.keeper.see(&desk()).await.state, State::Stopped);
}

#[tokio::test]
async fn a_service_that_was_killed_takes_over_what_runs() {
    let world = World::new().await;
    world.create().await;
    world.until_up(Generation(1)).await;
    let next = Keeper::start(
        world.store.clone(),
        world.keeper.signalling.clone(),
        world.driver.clone(),
    );
    let mut news = next.watch();
    world.until_seen(&next, &mut news, State::Starting).await;
    assert_eq!(world.driver.noted().credentials.len(), 1, "no second start");
}

struct World {
    store: Store,
    keeper: Keeper,
    driver: Pretend,
    _folder: Folder,
}

impl World {
    async fn new() -> Self {
        let folder = Folder::new();
        let store = folder.open().await;
        let key = SigningKey::from_seed([3; 32]).unwrap();
        let granter = Arc::new(Granter::new(&key, vec![], Terms::default()).unwrap());
        let signalling = start_signalling(granter, &store).await.unwrap();
        let driver = Pretend::default();
        Self {
            keeper: Keeper::start(store.clone(), signalling, driver.clone()),
            store,
            driver,
            _folder: folder,
        }
    }

    async fn create(&self) {
        let desktop = new();
        let created = self.store.create_desktop(&desktop, 9, unix_now());
        created.await.unwrap();
        self.keeper.nudge().await;
    }

    async fn wish(&self, wish: Wish) {
        self.store.wish(&new(), wish, 9).await.unwrap();
        self.keeper.nudge().await;
    }

    async fn until(&self, news: &mut broadcast::Receiver<InstanceId>, state: State) {
        self.until_seen(&self.keeper, news, state).await;
    }

    async fn until_seen(
        &self,
        keeper: &Keeper,
        news: &mut broadcast::Receiver<InstanceId>,
        state: State,
    ) {
        while keeper.see(&desk()).await.state != state {
            news.recv().await.unwrap();
        }
    }

    async fn until_up(&self, generation: Generation) {
        while self.driver.noted().up.get(&desk()) != Some(&generation) {
            tokio::task::yield_now().await;
        }
    }
}

fn new() -> Desktop {
    Desktop {
        instance: desk(),
        name: "desk".into(),
        workspace: WorkspaceId::only().to_string(),
        region: "eu".into(),
        keeper: Kept::Driver,
        order: Order {
            desired: Desired::Running,
            generation: Generation(1),
            size: Size::Small,
        },
    }
}
