//! Failed sign-ins, counted for all nodes together.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, seconds, text, unix};
use crate::identity::lockout::{Failures, PAIRS_MAX, Place, REMEMBERED};
use crate::identity::{Email, WorkspaceId};

impl Store {
    /// What is remembered of a pair: a look and no write.
    pub(crate) async fn find_failures(
        &self,
        email: &Email,
        place: Place,
    ) -> Result<Option<Failures>> {
        sqlx::query("SELECT * FROM sign_in_failure WHERE pair = $1")
            .bind(pair(email, place))
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(failures)
            .transpose()
    }

    /// Counts one attempt that failed and was not counted before: one statement if it is the first.
    pub(crate) async fn count_failure(
        &self,
        email: &Email,
        place: Place,
        unix_now: Duration,
    ) -> Result<()> {
        let first = Failures::default().and_one_more(unix_now);
        let counted = sqlx::query(
            "INSERT INTO sign_in_failure (pair, email, failures, last_unix, locked_until_unix) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (pair) DO NOTHING",
        )
        .bind(pair(email, place))
        .bind(email.as_str())
        .bind(i64::from(first.count))
        .bind(i64::try_from(first.last_unix)?)
        .bind(i64::try_from(first.locked_until_unix)?)
        .execute(&self.pool)
        .await?;
        if counted.rows_affected() == 0 {
            // Somebody failed meanwhile; who is locked out by now waits as they would anyway.
            self.count_attempt(email, place, unix_now).await?;
        }
        Ok(())
    }

    /// Counts one attempt to sign in, before its outcome is known; or says how long to wait.
    pub(crate) async fn count_attempt(
        &self,
        email: &Email,
        place: Place,
        unix_now: Duration,
    ) -> Result<Option<Duration>> {
        let pair = pair(email, place);
        let mut transaction = self.begin().await?;
        // Changes nothing if the row is there, but keeps it until the transaction ends.
        let row = sqlx::query(
            "INSERT INTO sign_in_failure (pair, email, failures, last_unix, locked_until_unix) \
             VALUES ($1, $2, 0, 0, 0) ON CONFLICT (pair) DO UPDATE SET email = excluded.email \
             RETURNING failures, last_unix, locked_until_unix",
        )
        .bind(&pair)
        .bind(email.as_str())
        .fetch_one(&mut *transaction)
        .await?;
        let before = failures(&row)?;
        if let Some(wait) = before.wait(unix_now) {
            return Ok(Some(wait));
        }
        let counted = before.and_one_more(unix_now);
        sqlx::query(
            "UPDATE sign_in_failure SET failures = $1, last_unix = $2, locked_until_unix = $3 \
             WHERE pair = $4",
        )
        .bind(i64::from(counted.count))
        .bind(i64::try_from(counted.last_unix)?)
        .bind(i64::try_from(counted.locked_until_unix)?)
        .bind(&pair)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(None)
    }

    /// The attempt was none of a stranger.
    pub(crate) async fn forget_attempts(&self, email: &Email, place: Place) -> Result<()> {
        sqlx::query("DELETE FROM sign_in_failure WHERE pair = $1")
            .bind(pair(email, place))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Somebody vouches for the owner of this address.
    pub(crate) async fn unlock(&self, email: &str) -> Result<()> {
        sqlx::query("DELETE FROM sign_in_failure WHERE email = $1")
            .bind(email)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The addresses of members for whom some place has to wait.
    pub(crate) async fn list_locked(
        &self,
        workspace: &WorkspaceId,
        unix_now: Duration,
    ) -> Result<HashSet<String>> {
        let rows = sqlx::query(
            "SELECT DISTINCT email FROM sign_in_failure \
             WHERE locked_until_unix > $1 AND last_unix <= $2 AND email IN \
             (SELECT account.email FROM account JOIN member ON member.account = account.id \
              WHERE member.workspace = $3)",
        )
        .bind(seconds(unix_now)?)
        .bind(seconds(Failures::latest_unix(unix_now))?)
        .bind(workspace.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| text(row, "email")).collect()
    }

    /// Failures before this second say nothing any more, or are too many to keep.
    pub(super) async fn oldest_failure(&self, unix_now: Duration) -> Result<Duration> {
        let forgotten = unix_now.saturating_sub(REMEMBERED);
        let crowded = sqlx::query(
            "SELECT last_unix FROM sign_in_failure ORDER BY last_unix DESC LIMIT 1 OFFSET $1",
        )
        .bind(i64::try_from(PAIRS_MAX)?)
        .fetch_optional(&self.pool)
        .await?;
        let crowded = crowded.as_ref().map(|row| unix(row, "last_unix"));
        let crowded = Duration::from_secs(crowded.transpose()?.unwrap_or(0));
        Ok(forgotten.max(crowded))
    }
}

fn pair(email: &Email, place: Place) -> String {
    format!("{place} {}", email.as_str())
}

fn failures(row: &AnyRow) -> Result<Failures> {
    let count: i64 = row.try_get("failures")?;
    Ok(Failures {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        last_unix: unix(row, "last_unix")?,
        locked_until_unix: unix(row, "locked_until_unix")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::lockout::Prefix;
    use crate::io::store::tests::Folder;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn network(text: &str) -> Place {
        Place::Network(Prefix::of(text.parse().unwrap()))
    }

    async fn attempts(store: &Store, email: &str, place: Place, count: usize) -> usize {
        let email = Email::parse(email).unwrap();
        let mut refused = 0;
        for _ in 0..count {
            let wait = store.count_attempt(&email, place, NOW).await.unwrap();
            refused += usize::from(wait.is_some());
        }
        refused
    }

    #[tokio::test]
    async fn a_stranger_locks_their_own_network_and_not_the_owners_browser() {
        let folder = Folder::new();
        let store = folder.open().await;
        let here = network("198.51.100.7");
        assert_eq!(attempts(&store, "ada@example.org", here, 50).await, 47);
        for (email, place) in [
            ("ada@example.org", Place::Device([1; 32])),
            ("ada@example.org", network("203.0.113.1")),
            ("bob@example.org", here),
        ] {
            assert_eq!(attempts(&store, email, place, 1).await, 0, "{email}");
        }
        store.unlock("ada@example.org").await.unwrap();
        assert_eq!(attempts(&store, "ada@example.org", here, 1).await, 0);
    }

    #[tokio::test]
    async fn attempts_at_several_nodes_at_once_are_one_count() {
        let folder = Folder::new();
        let nodes = [
            folder.open().await,
            folder.open().await,
            folder.open().await,
        ];
        let here = network("198.51.100.7");
        let tries = (0..30).map(|number| attempts(&nodes[number % 3], "ada@example.org", here, 1));
        let refused: usize = futures_util::future::join_all(tries).await.iter().sum();
        assert_eq!(refused, 27);
    }

    #[tokio::test]
    async fn a_failure_counted_late_is_one_more_however_many_there_are() {
        let folder = Folder::new();
        let store = folder.open().await;
        let ada = Email::parse("ada@example.org").unwrap();
        let here = network("198.51.100.7");
        assert_eq!(store.find_failures(&ada, here).await.unwrap(), None);
        for count in 1..=3 {
            store.count_failure(&ada, here, NOW).await.unwrap();
            let known = store.find_failures(&ada, here).await.unwrap().unwrap();
            assert_eq!(known.count, count);
        }
        assert_eq!(attempts(&store, "ada@example.org", here, 1).await, 1);
    }

    #[tokio::test]
    async fn a_success_forgets_its_own_place_only() {
        let folder = Folder::new();
        let store = folder.open().await;
        let ada = Email::parse("ada@example.org").unwrap();
        let (here, there) = (network("198.51.100.7"), network("203.0.113.1"));
        for place in [here, there] {
            attempts(&store, "ada@example.org", place, 3).await;
        }
        store.forget_attempts(&ada, here).await.unwrap();
        assert_eq!(attempts(&store, "ada@example.org", here, 1).await, 0);
        assert_eq!(attempts(&store, "ada@example.org", there, 1).await, 1);
    }

    #[tokio::test]
    async fn failures_are_forgotten_after_an_hour() {
        let folder = Folder::new();
        let store = folder.open().await;
        attempts(&store, "ada@example.org", network("198.51.100.7"), 3).await;
        let audit = Duration::from_secs(1);
        assert_eq!(store.prune(audit, NOW + REMEMBERED).await.unwrap(), 0);
        let later = NOW + REMEMBERED + Duration::from_secs(1);
        assert_eq!(store.prune(audit, later).await.unwrap(), 1);
    }
}
