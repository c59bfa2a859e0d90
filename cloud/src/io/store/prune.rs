//! What has expired is deleted, a little at a time: nobody waits for a table to be swept.

use std::time::Duration;

use anyhow::Result;

use super::{Store, seconds};
use crate::identity::device;
use crate::identity::sign_in::{AGE_MAX, IDLE_MAX};

/// Rows one statement deletes: it holds the only write lock of SQLite for some milliseconds.
const BATCH_MAX: i64 = 500;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What has ended is kept so long, for whoever asks what happened.
const KEPT: Duration = Duration::from_secs(30 * DAY.as_secs());

/// Rows that say nothing any more: table, key, and which of them; `$1` is a time.
const EXPIRED: &[(&str, &str, &str, Age)] = &[
    ("sign_in", "id", "ended_unix < $1", Age::Kept),
    (
        "sign_in",
        "id",
        "used_unix < $1 AND device_key IS NULL",
        Age::Idle,
    ),
    ("sign_in", "id", "used_unix < $1", Age::IdleDevice),
    (
        "device_proof",
        "fingerprint",
        "expires_unix < $1",
        Age::None,
    ),
    ("link", "hash", "expires_unix < $1", Age::Kept),
    ("device", "hash", "created_unix < $1", Age::Device),
    ("access", "id", "revoked_unix < $1", Age::Kept),
    ("access", "id", "expires_unix < $1", Age::Kept),
    // Of an agent host that never came back, so that no node ended it.
    ("session", "id", "expires_unix < $1", Age::Kept),
    ("audit", "id", "at_unix < $1", Age::Audit),
    ("sign_in_failure", "pair", "last_unix < $1", Age::Failure),
    // Somebody signed up, never confirmed, and is nobody's member.
    (
        "account",
        "id",
        "confirmed_unix IS NULL AND created_unix < $1 \
         AND id NOT IN (SELECT account FROM member) AND id NOT IN (SELECT account FROM sign_in) \
         AND id NOT IN (SELECT account FROM device)",
        Age::Kept,
    ),
];

#[derive(Clone, Copy)]
enum Age {
    None,
    Kept,
    Idle,
    IdleDevice,
    Device,
    Audit,
    Failure,
}

impl Store {
    /// Deletes what has expired; returns how many rows. `audit` is how long the audit log is kept.
    pub(crate) async fn prune(&self, audit: Duration, unix_now: Duration) -> Result<u64> {
        let mut pruned = 0;
        for (table, key, expired, age) in EXPIRED {
            let before = match age {
                Age::None => unix_now,
                Age::Kept => unix_now.saturating_sub(KEPT),
                Age::Idle => unix_now.saturating_sub(IDLE_MAX + KEPT),
                Age::IdleDevice => unix_now.saturating_sub(device::IDLE_MAX + KEPT),
                Age::Device => unix_now.saturating_sub(AGE_MAX + KEPT),
                Age::Audit => unix_now.saturating_sub(audit),
                Age::Failure => self.oldest_failure(unix_now).await?,
            };
            let before = seconds(before)?;
            let batch = format!(
                "DELETE FROM {table} WHERE {key} IN \
                 (SELECT {key} FROM {table} WHERE {expired} LIMIT {BATCH_MAX})"
            );
            loop {
                let deleted = sqlx::query(sqlx::AssertSqlSafe(batch.as_str())).bind(before);
                let rows = deleted.execute(&self.pool).await?.rows_affected();
                pruned += rows;
                if rows < BATCH_MAX.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Email, WorkspaceId};
    use crate::io::store::tests::Folder;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[tokio::test]
    async fn what_expired_long_ago_is_deleted_and_what_counts_is_kept() {
        let folder = Folder::new();
        let store = folder.open().await;
        let home = WorkspaceId::only();
        for day in 0..100 {
            let then = NOW - DAY * day;
            store.audit(&home, "a", "b", "c", then).await.unwrap();
            let email = Email::parse(&format!("a{day}@example.org")).unwrap();
            let account = store.ensure_account(&email, None, then).await.unwrap();
            if day % 2 == 0 {
                store.confirm_account(&account.id, then).await.unwrap();
            }
        }
        let audit = DAY * 90;
        // Entries of more than 90 days, and unconfirmed accounts of more than 30.
        assert_eq!(store.prune(audit, NOW).await.unwrap(), 9 + 35);
        assert_eq!(store.prune(audit, NOW).await.unwrap(), 0);
        let old = Email::parse("a98@example.org").unwrap();
        assert!(store.find_account(&old).await.unwrap().is_some());
        let new = Email::parse("a29@example.org").unwrap();
        assert!(store.find_account(&new).await.unwrap().is_some());
    }
}
