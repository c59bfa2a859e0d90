use std::path::PathBuf;

use protocol::signal::{PathMode, Role};
use uuid::Uuid;

use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);

#[tokio::test]
async fn a_session_comes_back_as_it_was_stored_and_once() {
    let folder = Folder::new();
    let store = folder.open().await;
    let first = row(1);
    let renewed = SessionRow {
        generation: 1,
        issued_unix: 5,
        expires_unix: 9,
        ..first.clone()
    };
    let effects = [
        Effect::SessionStored(first),
        Effect::SessionStored(renewed.clone()),
        Effect::SessionStored(renewed.clone()),
        Effect::SessionStored(row(2)),
        Effect::SessionRemoved(row(2).session),
        Effect::TicketSpent {
            ticket: row(3).session,
            expires_unix: 7,
        },
    ];
    store.commit(&effects).await.unwrap();

    let (sessions, tickets) = folder.open().await.load().await.unwrap();
    assert_eq!(sessions, [renewed]);
    assert_eq!(tickets, [(row(3).session, 7)]);

    let forget = [Effect::TicketsForgotten { before_unix: 8 }];
    store.commit(&forget).await.unwrap();
    assert!(store.load().await.unwrap().1.is_empty());
}

#[tokio::test]
async fn a_deleted_instance_takes_its_keys_with_it_and_its_id_never_returns() {
    let folder = Folder::new();
    let store = folder.open().await;
    let desk = record("desk");
    store.create_instance(&desk, NOW).await.unwrap();
    store.create_access(&access("desk"), NOW).await.unwrap();
    assert_eq!(
        store.find_instance(&desk.instance).await.unwrap(),
        Some(desk.clone())
    );

    store.delete_instance(&desk.instance, NOW).await.unwrap();
    assert_eq!(store.find_instance(&desk.instance).await.unwrap(), None);
    assert!(store.find_access("k1").await.unwrap().unwrap().revoked);
    assert!(store.create_instance(&desk, NOW).await.is_err());
    assert!(store.delete_instance(&desk.instance, NOW).await.is_err());

    let (instances, revoked) = store.directory(NOW).await.unwrap();
    assert!(instances.is_empty());
    assert!(revoked.contains("k1"));
}

#[tokio::test]
async fn an_access_key_comes_back_as_it_was_stored_until_it_is_revoked() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create_instance(&record("desk"), NOW).await.unwrap();
    store.create_access(&access("desk"), NOW).await.unwrap();
    assert_eq!(store.find_access("k1").await.unwrap(), Some(access("desk")));
    assert_eq!(store.find_access("' OR 1=1 --").await.unwrap(), None);

    store.revoke_access("k1", NOW).await.unwrap();
    let listed = store.list_access(None).await.unwrap();
    assert!(listed.iter().all(|access| access.revoked));
    assert!(store.revoke_access("k2", NOW).await.is_err());
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_not_touched() {
    let folder = Folder::new();
    let store = folder.open().await;
    sqlx::query("INSERT INTO schema_version (version) VALUES (99)")
        .execute(&store.0)
        .await
        .unwrap();
    let error = Store::open(&folder.url()).await.unwrap_err();
    assert!(error.to_string().contains("newer program"), "{error:#}");
}

#[tokio::test]
async fn a_database_that_cannot_be_made_is_named_with_the_next_step() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.0.join("file"), "").unwrap();
    for url in [
        format!("sqlite:{}/file/cloud.db", folder.0.display()),
        format!("sqlite:{}", folder.0.display()),
    ] {
        let error = Store::open(&url).await.unwrap_err();
        assert!(
            error.to_string().contains("set `database` to another file"),
            "{error:#}"
        );
    }
}

#[tokio::test]
async fn a_commit_stores_all_of_it_or_nothing() {
    let folder = Folder::new();
    let store = folder.open().await;
    let broken = SessionRow {
        // No Unix time of this size fits the database.
        expires_unix: u64::MAX,
        ..row(2)
    };
    let effects = [Effect::SessionStored(row(1)), Effect::SessionStored(broken)];
    assert!(store.commit(&effects).await.is_err());
    assert!(store.load().await.unwrap().0.is_empty());
}

/// A folder of its own, gone after the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("multiclaw-{}", Uuid::new_v4())))
    }

    fn url(&self) -> String {
        format!("sqlite:{}/cloud.db", self.0.display())
    }

    pub(super) async fn open(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn row(id: u128) -> SessionRow {
    SessionRow {
        session: SessionId::from_uuid(Uuid::from_u128(id)),
        instance: InstanceId::new("desk").unwrap(),
        role: Role::View,
        mode: PathMode::Relay,
        subject: "k1".into(),
        region: "eu".into(),
        generation: 0,
        opened_unix: 1,
        issued_unix: 2,
        expires_unix: 3,
    }
}

fn record(name: &str) -> InstanceRecord {
    InstanceRecord {
        instance: InstanceId::new(name).unwrap(),
        region: "eu".into(),
        credential_hash: [7; 32],
    }
}

fn access(name: &str) -> AccessRecord {
    AccessRecord {
        id: "k1".into(),
        instance: InstanceId::new(name).unwrap(),
        role: Role::Control,
        key_hash: [8; 32],
        expires_unix: Some(5),
        revoked: false,
    }
}
