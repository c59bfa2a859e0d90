//! What is stored of signing in at another provider. An account is found by issuer and subject and
//! by nothing else: an address that a provider names proves nothing here.

use std::time::Duration;

use anyhow::Result;
use protocol::Secret;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::identity::{Account, account, ids, stored_workspace};
use super::{Kind, Store, hash, seconds, text, unix};
use crate::identity::attempt::Attempt;
use crate::identity::sign_in::HandleHash;

/// Somebody as a provider names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) issuer: String,
    pub(crate) subject: String,
}

impl Store {
    /// Remembers an attempt, and forgets those that nobody finished.
    pub(crate) async fn add_attempt(
        &self,
        state: &HandleHash,
        attempt: &Attempt,
        unix_now: Duration,
    ) -> Result<()> {
        sqlx::query("DELETE FROM oidc_attempt WHERE expires_unix < $1")
            .bind(seconds(unix_now)?)
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "INSERT INTO oidc_attempt (state_hash, workspace, browser_hash, nonce, verifier, \
             account, expires_unix) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(state.as_slice())
        .bind(attempt.workspace.as_str())
        .bind(attempt.browser.as_slice())
        .bind(attempt.nonce.expose())
        .bind(attempt.verifier.expose())
        .bind(attempt.account.as_deref())
        .bind(i64::try_from(attempt.expires_unix)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Looks at an attempt without using it up.
    pub(crate) async fn find_attempt(&self, state: &HandleHash) -> Result<Option<Attempt>> {
        self.attempt("SELECT * FROM oidc_attempt WHERE state_hash = $1", state)
            .await
    }

    /// Uses an attempt up; of two at once one gets it.
    pub(crate) async fn take_attempt(&self, state: &HandleHash) -> Result<Option<Attempt>> {
        let query = "DELETE FROM oidc_attempt WHERE state_hash = $1 RETURNING *";
        self.attempt(query, state).await
    }

    async fn attempt(&self, query: &'static str, state: &HandleHash) -> Result<Option<Attempt>> {
        sqlx::query(query)
            .bind(state.as_slice())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| attempt(&row))
            .transpose()
    }

    pub(crate) async fn find_linked(&self, who: &Subject) -> Result<Option<Account>> {
        sqlx::query(
            "SELECT a.* FROM account a JOIN oidc_identity i ON i.account = a.id \
             WHERE i.issuer = $1 AND i.subject = $2",
        )
        .bind(&who.issuer)
        .bind(&who.subject)
        .fetch_optional(&self.pool)
        .await?
        .map(|row| account(&row))
        .transpose()
    }

    pub(crate) async fn is_linked(&self, account: &str) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM oidc_identity WHERE account = $1")
            .bind(account)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// `false` if somebody else is linked to this subject.
    pub(crate) async fn link_account(
        &self,
        who: &Subject,
        account: &str,
        unix_now: Duration,
    ) -> Result<bool> {
        let linked = sqlx::query(
            "INSERT INTO oidc_identity (issuer, subject, account, created_unix) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, subject) DO UPDATE \
             SET account = $3 WHERE oidc_identity.account = $3",
        )
        .bind(&who.issuer)
        .bind(&who.subject)
        .bind(account)
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        Ok(linked.rows_affected() == 1)
    }

    pub(crate) async fn unlink_account(&self, account: &str) -> Result<bool> {
        let unlinked = sqlx::query("DELETE FROM oidc_identity WHERE account = $1")
            .bind(account)
            .execute(&self.pool)
            .await?;
        Ok(unlinked.rows_affected() > 0)
    }

    /// Notes that a sign-in came from a provider, in which session of it.
    pub(crate) async fn note_origin(
        &self,
        sign_in: &str,
        who: &Subject,
        sid: Option<&str>,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO oidc_sign_in (sign_in, issuer, subject, sid) VALUES ($1, $2, $3, $4)",
        )
        .bind(sign_in)
        .bind(&who.issuer)
        .bind(&who.subject)
        .bind(sid)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn came_from_provider(&self, sign_in: &str) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM oidc_sign_in WHERE sign_in = $1")
            .bind(sign_in)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// Ends the sign-ins that came from one session of a provider, or from all of a subject's;
    /// returns whose they were.
    pub(crate) async fn end_from_provider(
        &self,
        who: &Subject,
        sid: Option<&str>,
        unix_now: Duration,
    ) -> Result<Vec<String>> {
        let ended = sqlx::query(
            "UPDATE sign_in SET ended_unix = $4 WHERE ended_unix IS NULL AND id IN \
             (SELECT sign_in FROM oidc_sign_in WHERE issuer = $1 AND subject = $2 \
             AND ($3 IS NULL OR sid = $3)) RETURNING id, account",
        )
        .bind(&who.issuer)
        .bind(&who.subject)
        .bind(sid)
        .bind(seconds(unix_now)?)
        .fetch_all(&self.pool)
        .await?;
        self.remember(Kind::SignIn, ids(&ended)?).await;
        ended.iter().map(|row| text(row, "account")).collect()
    }
}

fn attempt(row: &AnyRow) -> Result<Attempt> {
    Ok(Attempt {
        workspace: stored_workspace(row)?,
        browser: hash(row, "browser_hash")?,
        nonce: Secret::new(text(row, "nonce")?),
        verifier: Secret::new(text(row, "verifier")?),
        account: row.try_get("account")?,
        expires_unix: unix(row, "expires_unix")?,
    })
}
