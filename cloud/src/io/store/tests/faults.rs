//! A database that runs out of room, or may only be read: nothing acknowledged is lost, who asks is
//! told why, and once the cause is gone the same service goes on.

use std::process::Command;

use sqlx::any::AnyPoolOptions;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::io::problems;
use crate::io::store::fault::{Fault, fault_of};
use protocol::problem::Code;

/// Room on the disk of this test, in KiB: for the tables and some hundred keys.
const DISK_KIB: u32 = 2048;
/// More keys than fit, by far.
const KEYS_MAX: usize = 100_000;

#[tokio::test]
async fn a_full_disk_loses_nothing_acknowledged_and_is_said_and_gone_again() {
    let disk = Disk::mount();
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![0; 256 * 1024]).unwrap();
    let store = Store::open(&disk.url()).await.unwrap();
    store.create_instance(&record("desk"), NOW).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut refused = None;
    for number in 0..KEYS_MAX {
        let key = key(number);
        match store.create_access(&key, NOW).await {
            Ok(()) => acknowledged.push(key.id),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the disk is small");
    assert_eq!(fault_of(&refused), Some(Fault::Full), "{refused:#}");
    let said = problems::database(&refused);
    assert_eq!(
        (said.code, said.code.http_status()),
        (Code::DatabaseUnavailable, 503)
    );

    std::fs::remove_file(&ballast).unwrap();
    let later = key(KEYS_MAX);
    store.create_access(&later, NOW).await.unwrap();
    acknowledged.push(later.id);
    let again = Store::open(&disk.url()).await.unwrap();
    for id in acknowledged {
        assert!(again.find_access(&id).await.unwrap().is_some(), "{id}");
    }
}

/// What a PostgreSQL that ends does to who is in its queue.
#[tokio::test]
async fn a_server_that_hangs_up_before_it_says_a_word_is_away() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://{}/cloud", server.local_addr().unwrap());
    let hangs_up = tokio::spawn(async move {
        loop {
            let (mut caller, _) = server.accept().await.unwrap();
            // Read first: unread bytes would make it a reset.
            let _ = caller.read(&mut [0; 64]).await;
        }
    });
    let error = Store::open(&url).await.expect_err("nobody answers");
    assert_eq!(fault_of(&error), Some(Fault::Away), "{error:#}");
    hangs_up.abort();
}

#[tokio::test]
async fn a_database_that_may_only_be_read_answers_questions_and_says_why_it_changes_nothing() {
    let disk = Disk::mount();
    let store = Store::open(&disk.url()).await.unwrap();
    store.create_instance(&record("desk"), NOW).await.unwrap();
    store.create_access(&access("desk"), NOW).await.unwrap();
    let url = format!("{}?mode=ro", disk.url());
    let pool = AnyPoolOptions::new().connect(&url);
    let reader = Store {
        pool: pool.await.unwrap(),
        engine: Engine::Sqlite,
        memory: Memory::default(),
    };
    assert!(reader.find_access("k1").await.unwrap().is_some());
    let refused = reader.revoke_access("k1", NOW).await.unwrap_err();
    assert_eq!(fault_of(&refused), Some(Fault::ReadOnly), "{refused:#}");
    assert!(!store.find_access("k1").await.unwrap().unwrap().revoked);
}

fn key(number: usize) -> AccessRecord {
    AccessRecord {
        id: format!("k{number}"),
        ..access("desk")
    }
}

/// A disk of its own, in memory.
struct Disk(PathBuf);

impl Disk {
    fn mount() -> Self {
        let place = std::env::temp_dir().join(format!("multiclaw-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&place).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_KIB}k"), "none"]);
        assert!(mount.arg(&place).status().unwrap().success());
        Self(place)
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.0.join("cloud.db").display())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
