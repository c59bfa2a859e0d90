//! Accounts, members, sign-ins, links and the audit log in the database.
//!
//! Only SQL that SQLite and PostgreSQL read the same: `$n` parameters, `ON CONFLICT`, text, blobs
//! and 64-bit integers.

use std::time::Duration;

use anyhow::{Context, Result};
use protocol::proof::Thumbprint;
use serde::Serialize;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, Row};
use uuid::Uuid;

use super::{Kind, Store, from_word, hash, seconds, text, unix, word};
use crate::identity::device::{Device, DeviceName};
use crate::identity::link::Purpose;
use crate::identity::sign_in::{HandleHash, Previous, SignIn};
use crate::identity::{Email, MemberRole, WorkspaceId};

/// Entries of the audit log shown at once.
const AUDIT_PAGE: i64 = 200;

#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) email: Email,
    pub(crate) password: Option<String>,
    pub(crate) confirmed: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Member {
    #[serde(rename = "id")]
    pub(crate) account: String,
    pub(crate) email: String,
    pub(crate) role: MemberRole,
    pub(crate) confirmed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) workspace: WorkspaceId,
    pub(crate) email: Email,
    pub(crate) role: Option<MemberRole>,
}

/// What somebody did to something.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AuditEntry {
    pub(crate) id: String,
    pub(crate) at_unix: u64,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) subject: String,
}

/// A sign-in with what it needs of its account and member; a removed member has none.
pub(super) const SIGN_IN: &str = "SELECT s.*, a.email, m.role FROM sign_in s \
     JOIN account a ON a.id = s.account \
     JOIN member m ON m.account = s.account AND m.workspace = s.workspace \
     WHERE m.removed_unix IS NULL AND ";

const MEMBER: &str = "SELECT a.id, a.email, a.confirmed_unix, m.role FROM member m \
     JOIN account a ON a.id = m.account WHERE m.workspace = $1 AND m.removed_unix IS NULL";

impl Store {
    pub(crate) async fn find_account(&self, email: &Email) -> Result<Option<Account>> {
        sqlx::query("SELECT * FROM account WHERE email = $1")
            .bind(email.as_str())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| account(&row))
            .transpose()
    }

    /// Makes the account unless the address has one; returns the one there is.
    pub(crate) async fn ensure_account(
        &self,
        email: &Email,
        password: Option<&str>,
        unix_now: Duration,
    ) -> Result<Account> {
        sqlx::query(
            "INSERT INTO account (id, email, password, created_unix) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (email) DO NOTHING",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(email.as_str())
        .bind(password)
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        self.find_account(email)
            .await?
            .context("an account just made is gone")
    }

    pub(crate) async fn confirm_account(&self, id: &str, unix_now: Duration) -> Result<()> {
        sqlx::query(
            "UPDATE account SET confirmed_unix = coalesce(confirmed_unix, $2) WHERE id = $1",
        )
        .bind(id)
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn set_password(&self, id: &str, password: &str) -> Result<()> {
        sqlx::query("UPDATE account SET password = $2 WHERE id = $1")
            .bind(id)
            .bind(password)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores the same password in another form, unless it was changed meanwhile.
    pub(crate) async fn renew_password(&self, id: &str, old: &str, new: &str) -> Result<()> {
        sqlx::query("UPDATE account SET password = $3 WHERE id = $1 AND password = $2")
            .bind(id)
            .bind(old)
            .bind(new)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Gives the account a place in the workspace; one already there keeps its role.
    pub(crate) async fn add_member(
        &self,
        workspace: &WorkspaceId,
        account: &str,
        role: MemberRole,
        unix_now: Duration,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO member (workspace, account, role, created_unix) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (workspace, account) DO UPDATE SET role = $3, removed_unix = NULL \
             WHERE member.removed_unix IS NOT NULL",
        )
        .bind(workspace.as_str())
        .bind(account)
        .bind(word(&role)?)
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn find_member(
        &self,
        workspace: &WorkspaceId,
        account: &str,
    ) -> Result<Option<Member>> {
        let query = format!("{MEMBER} AND m.account = $2");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(workspace.as_str())
            .bind(account)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| member(&row))
            .transpose()
    }

    pub(crate) async fn list_members(&self, workspace: &WorkspaceId) -> Result<Vec<Member>> {
        let query = format!("{MEMBER} ORDER BY a.email");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(workspace.as_str())
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(member)
            .collect()
    }

    /// `false` if that would leave the workspace without an owner. One statement, so that two
    /// owners who remove each other at once leave one.
    pub(crate) async fn set_role(
        &self,
        workspace: &WorkspaceId,
        account: &str,
        role: MemberRole,
    ) -> Result<bool> {
        let mut transaction = self.begin_alone(workspace.as_str()).await?;
        let changed = sqlx::query(
            "UPDATE member SET role = $3 WHERE workspace = $1 AND account = $2 \
             AND removed_unix IS NULL AND ($3 = 'owner' OR EXISTS (SELECT 1 FROM member o \
             WHERE o.workspace = $1 AND o.account <> $2 AND o.role = 'owner' AND o.removed_unix IS NULL))",
        )
        .bind(workspace.as_str())
        .bind(account)
        .bind(word(&role)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(changed.rows_affected() == 1)
    }

    /// `false` if that would leave the workspace without an owner. Ends the member's sign-ins.
    pub(crate) async fn remove_member(
        &self,
        workspace: &WorkspaceId,
        account: &str,
        unix_now: Duration,
    ) -> Result<bool> {
        let mut transaction = self.begin_alone(workspace.as_str()).await?;
        let removed = sqlx::query(
            "UPDATE member SET removed_unix = $3 WHERE workspace = $1 AND account = $2 \
             AND removed_unix IS NULL AND EXISTS (SELECT 1 FROM member o WHERE o.workspace = $1 \
             AND o.account <> $2 AND o.role = 'owner' AND o.removed_unix IS NULL)",
        )
        .bind(workspace.as_str())
        .bind(account)
        .bind(seconds(unix_now)?)
        .execute(&mut *transaction)
        .await?;
        let mut ended = Vec::new();
        if removed.rows_affected() == 1 {
            let sign_ins = sqlx::query(
                "UPDATE sign_in SET ended_unix = $3 WHERE workspace = $1 AND account = $2 \
                 AND ended_unix IS NULL RETURNING id",
            )
            .bind(workspace.as_str())
            .bind(account)
            .bind(seconds(unix_now)?)
            .fetch_all(&mut *transaction)
            .await?;
            ended = ids(&sign_ins)?;
        }
        transaction.commit().await?;
        self.remember(Kind::SignIn, ended).await;
        Ok(removed.rows_affected() == 1)
    }

    /// Signs a browser in, knows it from now on, and writes it down: all at once, as each of them
    /// alone would cost a write to the disk.
    pub(crate) async fn start_sign_in(&self, sign_in: &SignIn, browser: &HandleHash) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO sign_in (id, workspace, account, handle_hash, created_unix, used_unix, client) \
             VALUES ($1, $2, $3, $4, $5, $5, $6)",
        )
        .bind(&sign_in.id)
        .bind(sign_in.workspace.as_str())
        .bind(&sign_in.account)
        .bind(sign_in.handle_hash.as_slice())
        .bind(i64::try_from(sign_in.created_unix)?)
        .bind(&sign_in.client)
        .execute(&mut *transaction)
        .await?;
        let now = Duration::from_secs(sign_in.created_unix);
        add_device(browser, &sign_in.account, now)?
            .execute(&mut *transaction)
            .await?;
        let (workspace, who) = (&sign_in.workspace, sign_in.email.as_str());
        audit(workspace, who, "signed in", &sign_in.id, now)?
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The sign-in a handle belongs to, or belonged to before its last rotation.
    pub(crate) async fn find_sign_in(&self, handle: &HandleHash) -> Result<Option<SignIn>> {
        let query = format!("{SIGN_IN} (s.handle_hash = $1 OR s.previous_hash = $1)");
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(handle.as_slice())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| sign_in(&row))
            .transpose()
    }

    pub(crate) async fn list_sign_ins(
        &self,
        workspace: &WorkspaceId,
        account: &str,
    ) -> Result<Vec<SignIn>> {
        let query = format!(
            "{SIGN_IN} s.workspace = $1 AND s.account = $2 AND s.ended_unix IS NULL ORDER BY s.id DESC"
        );
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(workspace.as_str())
            .bind(account)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(sign_in)
            .collect()
    }

    pub(crate) async fn touch_sign_in(&self, id: &str, unix_now: Duration) -> Result<()> {
        sqlx::query("UPDATE sign_in SET used_unix = $2 WHERE id = $1")
            .bind(id)
            .bind(seconds(unix_now)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Of two rotations at once one wins; the loser finds the winner's salt.
    pub(crate) async fn rotate_sign_in(
        &self,
        old: &HandleHash,
        new: &HandleHash,
        salt: &[u8; 32],
        unix_now: Duration,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE sign_in SET handle_hash = $2, previous_hash = $1, previous_salt = $3, \
             rotated_unix = $4, used_unix = $4 WHERE handle_hash = $1 AND ended_unix IS NULL",
        )
        .bind(old.as_slice())
        .bind(new.as_slice())
        .bind(salt.as_slice())
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends one sign-in of an account, or all of them, in every workspace.
    pub(crate) async fn end_sign_ins(
        &self,
        account: &str,
        id: Option<&str>,
        unix_now: Duration,
    ) -> Result<u64> {
        let ended = sqlx::query(
            "UPDATE sign_in SET ended_unix = $3 WHERE account = $1 AND ($2 IS NULL OR id = $2) \
             AND ended_unix IS NULL RETURNING id",
        )
        .bind(account)
        .bind(id)
        .bind(seconds(unix_now)?)
        .fetch_all(&self.pool)
        .await?;
        let count = u64::try_from(ended.len())?;
        self.remember(Kind::SignIn, ids(&ended)?).await;
        Ok(count)
    }

    pub(crate) async fn add_device(
        &self,
        device: &HandleHash,
        account: &str,
        unix_now: Duration,
    ) -> Result<()> {
        let added = add_device(device, account, unix_now)?;
        added.execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn knows_device(&self, device: &HandleHash, email: &Email) -> Result<bool> {
        let row = sqlx::query(
            "SELECT 1 FROM device d JOIN account a ON a.id = d.account WHERE d.hash = $1 AND a.email = $2",
        )
        .bind(device.as_slice())
        .bind(email.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    /// A new link makes the earlier ones for the same purpose void.
    pub(crate) async fn add_link(
        &self,
        token: &HandleHash,
        purpose: Purpose,
        link: &Link,
        unix_now: Duration,
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE link SET consumed_unix = $4 WHERE email = $1 AND purpose = $2 \
             AND workspace = $3 AND consumed_unix IS NULL",
        )
        .bind(link.email.as_str())
        .bind(word(&purpose)?)
        .bind(link.workspace.as_str())
        .bind(seconds(unix_now)?)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO link (hash, purpose, workspace, email, role, created_unix, expires_unix) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.as_slice())
        .bind(word(&purpose)?)
        .bind(link.workspace.as_str())
        .bind(link.email.as_str())
        .bind(link.role.as_ref().map(word).transpose()?)
        .bind(seconds(unix_now)?)
        .bind(seconds(unix_now + purpose.life())?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// When the last link of a kind was sent to an address.
    pub(crate) async fn last_link_unix(
        &self,
        email: &Email,
        purpose: Purpose,
    ) -> Result<Option<u64>> {
        let row = sqlx::query(
            "SELECT max(created_unix) AS at FROM link WHERE email = $1 AND purpose = $2",
        )
        .bind(email.as_str())
        .bind(word(&purpose)?)
        .fetch_one(&self.pool)
        .await?;
        let at: Option<i64> = row.try_get("at")?;
        Ok(at.map(u64::try_from).transpose()?)
    }

    /// Looks at a link without using it.
    pub(crate) async fn find_link(
        &self,
        token: &HandleHash,
        purpose: Purpose,
        workspace: &WorkspaceId,
        unix_now: Duration,
    ) -> Result<Option<Link>> {
        let query = "SELECT * FROM link WHERE hash = $1 AND purpose = $2 AND workspace = $3 \
             AND consumed_unix IS NULL AND expires_unix > $4";
        self.good_link(query, token, purpose, workspace, unix_now)
            .await
    }

    /// Uses a link up; of two at once one gets it.
    pub(crate) async fn consume_link(
        &self,
        token: &HandleHash,
        purpose: Purpose,
        workspace: &WorkspaceId,
        unix_now: Duration,
    ) -> Result<Option<Link>> {
        let query = "UPDATE link SET consumed_unix = $4 WHERE hash = $1 AND purpose = $2 \
             AND workspace = $3 AND consumed_unix IS NULL AND expires_unix > $4 RETURNING *";
        self.good_link(query, token, purpose, workspace, unix_now)
            .await
    }

    async fn good_link(
        &self,
        query: &'static str,
        token: &HandleHash,
        purpose: Purpose,
        workspace: &WorkspaceId,
        unix_now: Duration,
    ) -> Result<Option<Link>> {
        sqlx::query(query)
            .bind(token.as_slice())
            .bind(word(&purpose)?)
            .bind(workspace.as_str())
            .bind(seconds(unix_now)?)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| link(&row))
            .transpose()
    }

    pub(crate) async fn audit(
        &self,
        workspace: &WorkspaceId,
        actor: &str,
        action: &str,
        subject: &str,
        unix_now: Duration,
    ) -> Result<()> {
        let written = audit(workspace, actor, action, subject, unix_now)?;
        written.execute(&self.pool).await?;
        Ok(())
    }

    /// Newest first; `before` is the id of the last entry of the page before.
    pub(crate) async fn list_audit(
        &self,
        workspace: &WorkspaceId,
        before: Option<&str>,
    ) -> Result<Vec<AuditEntry>> {
        sqlx::query(
            "SELECT * FROM audit WHERE workspace = $1 AND ($2 IS NULL OR id < $2) \
             ORDER BY id DESC LIMIT $3",
        )
        .bind(workspace.as_str())
        .bind(before)
        .bind(AUDIT_PAGE)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(AuditEntry {
                id: text(row, "id")?,
                at_unix: unix(row, "at_unix")?,
                actor: text(row, "actor")?,
                action: text(row, "action")?,
                subject: text(row, "subject")?,
            })
        })
        .collect()
    }

    pub(crate) async fn list_instances_of(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Vec<signalling::InstanceRecord>> {
        sqlx::query(
            "SELECT * FROM instance WHERE workspace = $1 AND deleted_unix IS NULL ORDER BY id",
        )
        .bind(workspace.as_str())
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(super::instance_record)
        .collect()
    }
}

type Statement<'a> = sqlx::query::Query<'a, Any, AnyArguments>;

fn add_device<'a>(
    device: &'a HandleHash,
    account: &'a str,
    unix_now: Duration,
) -> Result<Statement<'a>> {
    let query = sqlx::query(
        "INSERT INTO device (hash, account, created_unix) VALUES ($1, $2, $3) \
         ON CONFLICT (hash) DO NOTHING",
    );
    let now = seconds(unix_now)?;
    Ok(query.bind(device.as_slice()).bind(account).bind(now))
}

fn audit<'a>(
    workspace: &'a WorkspaceId,
    actor: &'a str,
    action: &'a str,
    subject: &'a str,
    unix_now: Duration,
) -> Result<Statement<'a>> {
    let query = sqlx::query(
        "INSERT INTO audit (id, workspace, at_unix, actor, action, subject) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let query = query
        .bind(Uuid::now_v7().to_string())
        .bind(workspace.as_str());
    let query = query.bind(seconds(unix_now)?);
    Ok(query.bind(actor).bind(action).bind(subject))
}

fn member(row: &AnyRow) -> Result<Member> {
    Ok(Member {
        account: text(row, "id")?,
        email: text(row, "email")?,
        role: from_word(&text(row, "role")?)?,
        confirmed: row.try_get::<Option<i64>, _>("confirmed_unix")?.is_some(),
    })
}

pub(super) fn account(row: &AnyRow) -> Result<Account> {
    Ok(Account {
        id: text(row, "id")?,
        email: stored_email(row)?,
        password: row.try_get("password")?,
        confirmed: row.try_get::<Option<i64>, _>("confirmed_unix")?.is_some(),
    })
}

pub(super) fn ids(rows: &[AnyRow]) -> Result<Vec<String>> {
    rows.iter().map(|row| text(row, "id")).collect()
}

fn link(row: &AnyRow) -> Result<Link> {
    let role: Option<String> = row.try_get("role")?;
    Ok(Link {
        workspace: stored_workspace(row)?,
        email: stored_email(row)?,
        role: role.as_deref().map(from_word).transpose()?,
    })
}

pub(super) fn sign_in(row: &AnyRow) -> Result<SignIn> {
    let rotated: Option<i64> = row.try_get("rotated_unix")?;
    let previous = match rotated {
        None => None,
        Some(rotated) => Some(Previous {
            handle_hash: hash(row, "previous_hash")?,
            salt: hash(row, "previous_salt")?,
            rotated_unix: u64::try_from(rotated)?,
        }),
    };
    Ok(SignIn {
        id: text(row, "id")?,
        workspace: stored_workspace(row)?,
        account: text(row, "account")?,
        email: stored_email(row)?,
        role: from_word(&text(row, "role")?)?,
        handle_hash: hash(row, "handle_hash")?,
        previous,
        created_unix: unix(row, "created_unix")?,
        used_unix: unix(row, "used_unix")?,
        ended: row.try_get::<Option<i64>, _>("ended_unix")?.is_some(),
        client: text(row, "client")?,
        device: device(row)?,
    })
}

fn device(row: &AnyRow) -> Result<Option<Device>> {
    let name: Option<String> = row.try_get("device_name")?;
    let Some(name) = name else {
        return Ok(None);
    };
    Ok(Some(Device {
        name: DeviceName::parse(&name).context("a stored name of a device is none")?,
        key: Thumbprint::from_bytes(hash(row, "device_key")?),
    }))
}

fn stored_email(row: &AnyRow) -> Result<Email> {
    Email::parse(&text(row, "email")?).context("a stored email address is none")
}

pub(super) fn stored_workspace(row: &AnyRow) -> Result<WorkspaceId> {
    WorkspaceId::parse(&text(row, "workspace")?).context("a stored workspace is none")
}
