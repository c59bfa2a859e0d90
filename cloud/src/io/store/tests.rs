use std::path::PathBuf;

use protocol::signal::{PathMode, Role};
use sqlx::Connection;
use uuid::Uuid;

use super::*;
use crate::identity::{Email, MemberRole, WorkspaceId};

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
            instance: row(3).instance,
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
        .execute(&store.pool)
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

#[tokio::test]
async fn a_claim_brings_the_sessions_of_its_instance_and_its_spent_tickets() {
    let folder = Folder::new();
    let store = folder.open().await;
    for name in ["desk", "other"] {
        store.create_instance(&record(name), NOW).await.unwrap();
    }
    let elsewhere = InstanceId::new("other").unwrap();
    let spent = |id: u128, instance: &InstanceId| Effect::TicketSpent {
        ticket: row(id).session,
        instance: instance.clone(),
        expires_unix: 7,
    };
    let desk = row(1).instance;
    let other = SessionRow {
        instance: elsewhere.clone(),
        ..row(2)
    };
    let effects = [
        Effect::SessionStored(row(1)),
        Effect::SessionStored(other),
        spent(3, &desk),
        spent(4, &elsewhere),
    ];
    store.commit(&effects).await.unwrap();
    assert_eq!(store.claim(&desk).await.unwrap().claim, 1);
    let claimed = store.claim(&desk).await.unwrap();
    assert_eq!(claimed.claim, 2);
    assert_eq!(claimed.sessions, [row(1)]);
    assert_eq!(claimed.spent_tickets, [(row(3).session, 7)]);
    assert_eq!(store.claims().await.unwrap(), HashMap::from([(desk, 2)]));
}

#[tokio::test]
async fn what_relies_on_an_older_claim_is_not_stored_and_what_was_stored_is_claimed() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.create_instance(&record("desk"), NOW).await.unwrap();
    let desk = row(0).instance;
    let mut held = store.claim(&desk).await.unwrap().claim;
    for id in 0..40 {
        let effects = [Effect::SessionStored(row(id))];
        let claims = HashMap::from([(desk.clone(), held)]);
        // Another node claims it at the same moment.
        let (stored, claimed) =
            tokio::join!(store.commit_as(&effects, &claims), store.claim(&desk));
        let (stored, claimed) = (stored.unwrap(), claimed.unwrap());
        let taken_over = claimed.sessions.contains(&row(id));
        held = claimed.claim;
        match stored {
            Committed::Stored => assert!(taken_over, "acknowledged, and lost"),
            Committed::Fenced(by) => {
                assert!(!taken_over);
                assert_eq!(by, HashMap::from([(desk.clone(), held)]));
            }
            Committed::Failed => panic!("the database works"),
        }
    }
    let nobody = HashMap::from([(desk.clone(), held - 1)]);
    let late = [Effect::SessionStored(row(99))];
    let committed = store.commit_as(&late, &nobody).await.unwrap();
    assert_eq!(committed, Committed::Fenced(HashMap::from([(desk, held)])));
}

#[tokio::test]
async fn two_requests_at_once_cannot_both_take_the_last_place() {
    let folder = Folder::new();
    let store = folder.open().await;
    let workspace = WorkspaceId::only();
    let mut owners = Vec::new();
    for name in ["a", "b"] {
        let email = Email::parse(&format!("{name}@example.org")).unwrap();
        let account = store.ensure_account(&email, None, NOW).await.unwrap();
        let owner = MemberRole::Owner;
        let added = store.add_member(&workspace, &account.id, owner, NOW);
        added.await.unwrap();
        owners.push(account.id);
    }
    for _ in 0..20 {
        for owner in &owners {
            let added = store.add_member(&workspace, owner, MemberRole::Owner, NOW);
            added.await.unwrap();
        }
        // Each removes the other.
        let (first, second) = tokio::join!(
            store.remove_member(&workspace, &owners[0], NOW),
            store.remove_member(&workspace, &owners[1], NOW),
        );
        assert_ne!(first.unwrap(), second.unwrap(), "one owner is left");
    }
}

#[tokio::test]
async fn what_a_change_has_read_stays_true_until_it_is_stored() {
    let folder = Folder::new();
    let store = folder.open().await;
    let one_more = async || {
        let mut change = store.begin_alone("test").await.unwrap();
        let next = sqlx::query("SELECT max(version) + 1 AS version FROM schema_version");
        let next: i64 = next.fetch_one(&mut *change).await.unwrap().get("version");
        let insert = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(next);
        insert.execute(&mut *change).await.unwrap();
        change.commit().await.unwrap();
        next
    };
    let mut versions = futures_util::future::join_all((0..20).map(|_| one_more())).await;
    versions.sort_unstable();
    let known = i64::try_from(MIGRATIONS.len()).unwrap();
    assert_eq!(versions, (known + 1..=known + 20).collect::<Vec<_>>());
}

#[tokio::test]
async fn nodes_that_start_at_once_migrate_once() {
    let folder = Folder::new();
    let opened = futures_util::future::join_all((0..4).map(|_| folder.open())).await;
    let versions = sqlx::query("SELECT version FROM schema_version ORDER BY version")
        .fetch_all(&opened[0].pool)
        .await
        .unwrap();
    let versions: Vec<i64> = versions.iter().map(|row| row.get("version")).collect();
    let known = i64::try_from(MIGRATIONS.len()).unwrap();
    assert_eq!(versions, (1..=known).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_database_of_an_older_program_keeps_what_it_holds() {
    let folder = Folder::new();
    // As the first release left it.
    let first = engine::open(&folder.made().await).await.unwrap();
    for statements in [
        "CREATE TABLE schema_version (version BIGINT NOT NULL);
         INSERT INTO schema_version (version) VALUES (1);",
        MIGRATIONS[0],
        "INSERT INTO instance (id, region, credential_hash, created_unix)
         VALUES ('desk', 'eu', 'x', 1);",
    ] {
        let statements = first.1.spelled(statements);
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
        statements.execute(&first.0).await.unwrap();
    }
    let set = sqlx::query("UPDATE instance SET credential_hash = $1").bind([7_u8; 32].as_slice());
    set.execute(&first.0).await.unwrap();
    let store = folder.open().await;
    assert_eq!(store.list_instances().await.unwrap(), [record("desk")]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_and_its_password_is_not() {
    let url = "postgres://cloud:s3cret@127.0.0.1:1/cloud";
    let error = format!("{:#}", Store::open(url).await.unwrap_err());
    assert!(error.contains("127.0.0.1:1; start it"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

mod faults;
mod restart;

impl Store {
    /// Makes the database say what no program of ours would.
    pub(in crate::io) async fn dangerous_execute(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }
}

/// A database of its own: a file in a folder, gone after the test, or a schema of the PostgreSQL
/// the test run started (`tests/postgres.sh`).
pub(in crate::io) struct Folder(PathBuf);

impl Folder {
    pub(in crate::io) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("multiclaw-{}", Uuid::new_v4())))
    }

    pub(in crate::io) fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn url(&self) -> String {
        match std::env::var("MULTICLAW_TEST_POSTGRES") {
            Ok(server) => format!("{server}&options[search_path]={}", self.schema()),
            Err(_) => format!("sqlite:{}/cloud.db", self.0.display()),
        }
    }

    fn schema(&self) -> String {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        name.replace('-', "_")
    }

    pub(in crate::io) async fn open(&self) -> Store {
        Store::open(&self.made().await).await.unwrap()
    }

    /// Its address, once there is something to connect to.
    async fn made(&self) -> String {
        if let Ok(server) = std::env::var("MULTICLAW_TEST_POSTGRES") {
            sqlx::any::install_default_drivers();
            let mut connection = sqlx::AnyConnection::connect(&server).await.unwrap();
            let made = format!("CREATE SCHEMA {}", self.schema());
            let made = sqlx::raw_sql(sqlx::AssertSqlSafe(made));
            // It may be there already, and if it could not be made, nothing after this works.
            let _ = made.execute(&mut connection).await;
        }
        self.url()
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
        client_region: "us".into(),
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
