use super::*;
use crate::io::store::tests::Folder;

const NOW: Duration = Duration::from_secs(1_800_000_000);

#[tokio::test]
async fn a_workspace_creates_and_runs_no_more_desktops_than_it_may() {
    let folder = Folder::new();
    let store = folder.open().await;
    for name in ["a", "b"] {
        let created = store.create_desktop(&new(name), 2, NOW).await.unwrap();
        assert_eq!(created, Limited::Done);
    }
    let third = store.create_desktop(&new("c"), 2, NOW).await.unwrap();
    assert_eq!(third, Limited::Full);

    let started = store.wish(&new("a"), Wish::Start, 1).await.unwrap();
    assert_eq!(started, Limited::Done);
    let second = store.wish(&new("b"), Wish::Start, 1).await.unwrap();
    assert_eq!(second, Limited::Full);
    let restarted = store.wish(&new("a"), Wish::Restart, 1).await.unwrap();
    assert_eq!(restarted, Limited::Done);
}

#[tokio::test]
async fn a_start_and_a_restart_are_new_lives_and_a_repeated_start_is_not() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create_desktop(&new("a"), 9, NOW).await.unwrap();
    let mut lives = Vec::new();
    for wish in [
        Wish::Start,
        Wish::Start,
        Wish::Restart,
        Wish::Stop,
        Wish::Stop,
        Wish::Start,
    ] {
        store.wish(&new("a"), wish, 9).await.unwrap();
        lives.push(found(&store).await.order.generation.0);
    }
    assert_eq!(lives, [1, 1, 2, 2, 2, 3]);
}

#[tokio::test]
async fn a_deleted_desktop_is_wanted_gone_until_it_is_and_never_returns() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create_desktop(&new("a"), 9, NOW).await.unwrap();
    let desktop = found(&store).await;
    store.delete_instance(&desktop.instance, NOW).await.unwrap();
    let orders = store.orders().await.unwrap();
    assert_eq!(orders[0].1.desired, Desired::Deleted);
    let revived = store.wish(&desktop, Wish::Start, 9).await.unwrap();
    assert_eq!(revived, Limited::Full, "no row is changed");

    store.note_purged(&desktop.instance, NOW).await.unwrap();
    assert!(store.orders().await.unwrap().is_empty());
    assert!(store.create_desktop(&new("a"), 9, NOW).await.is_err());
}

async fn found(store: &Store) -> Desktop {
    let home = WorkspaceId::only();
    store.find_desktop(&home, "a").await.unwrap().unwrap()
}

fn new(name: &str) -> Desktop {
    Desktop {
        instance: InstanceId::new(name).unwrap(),
        name: name.into(),
        workspace: WorkspaceId::only().to_string(),
        region: "eu".into(),
        keeper: Keeper::Driver,
        order: Order {
            desired: Desired::Stopped,
            generation: Generation(0),
            size: Size::Small,
        },
    }
}
