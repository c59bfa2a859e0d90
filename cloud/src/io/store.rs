//! The database: SQLite, one file, or PostgreSQL; every acknowledged change is on disk before it is
//! acknowledged.
//!
//! The statements are the same for both. Migrations only go forward, in order, all in one
//! transaction. A database written by a newer program is refused and not touched.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::id::{InstanceId, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalling::io::{Claimed, Committed, StoreRequest};
use signalling::{Effect, InstanceRecord, SessionRow};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};
use tokio::sync::mpsc;

use crate::access::AccessRecord;

/// In order; the position of a migration, counted from 1, is its version.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001_sessions.sql"),
    include_str!("../../migrations/0020_identity.sql"),
    include_str!("../../migrations/0021_lifecycle.sql"),
    include_str!("../../migrations/0024_oidc.sql"),
    include_str!("../../migrations/0025_claims.sql"),
    include_str!("../../migrations/0026_client_region.sql"),
    include_str!("../../migrations/0027_lockout.sql"),
    include_str!("../../migrations/0028_devices.sql"),
];
/// Revocations are looked at for so long after they happened; sessions end within seconds.
const REVOKED_WITHIN: Duration = Duration::from_secs(3600);

pub(crate) mod desktops;
mod devices;
mod engine;
pub(crate) mod fault;
pub(crate) mod identity;
mod lockout;
mod memory;
pub(crate) mod oidc;
mod prune;

use engine::Engine;
use memory::{Kind, Memory};

/// The database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    engine: Engine,
    memory: Memory,
}

impl Store {
    /// Opens or creates the database and brings it up to date.
    ///
    /// # Errors
    ///
    /// One sentence with the next step if the database cannot be reached, created, written or
    /// locked, or is of a newer version.
    pub async fn open(url: &str) -> Result<Self> {
        let (pool, engine, advice) = engine::open(url).await?;
        let store = Self {
            pool,
            engine,
            memory: Memory::default(),
        };
        let version = store.migrate().await.with_context(|| advice.clone())?;
        let known = MIGRATIONS.len();
        if version > known {
            bail!(
                "the database was written by a newer program (version {version}, this one knows {known}); start that program"
            );
        }
        Ok(store)
    }

    /// Stores all effects or none.
    ///
    /// # Errors
    ///
    /// If the database fails; then nothing is stored.
    pub async fn commit(&self, effects: &[Effect]) -> Result<()> {
        self.commit_as(effects, &HashMap::new()).await?;
        Ok(())
    }

    /// The same, if this node may still speak for these instances.
    async fn commit_as(
        &self,
        effects: &[Effect],
        claims: &HashMap<InstanceId, u64>,
    ) -> Result<Committed> {
        let mut transaction = self.begin().await?;
        let mut fenced = HashMap::new();
        for (instance, claim) in claims {
            let highest = self.claim_of(&mut transaction, instance).await?;
            if highest != *claim {
                fenced.insert(instance.clone(), highest);
            }
        }
        if !fenced.is_empty() {
            return Ok(Committed::Fenced(fenced));
        }
        for effect in effects {
            apply(&mut transaction, effect).await?;
        }
        transaction.commit().await?;
        Ok(Committed::Stored)
    }

    /// The highest claim of an instance, which stays so until the transaction ends.
    async fn claim_of(
        &self,
        transaction: &mut Transaction<'_, Any>,
        instance: &InstanceId,
    ) -> Result<u64> {
        let query = match self.engine {
            Engine::Sqlite => "SELECT claim FROM instance WHERE id = $1",
            Engine::Postgres => "SELECT claim FROM instance WHERE id = $1 FOR SHARE",
        };
        let row = sqlx::query(query)
            .bind(instance.as_str())
            .fetch_one(&mut **transaction)
            .await?;
        unix(&row, "claim")
    }

    /// What signalling needs at its start: sessions, and spent tickets with their expiry.
    ///
    /// # Errors
    ///
    /// If the database fails or holds what nobody wrote.
    pub async fn load(&self) -> Result<(Vec<SessionRow>, Vec<(SessionId, u64)>)> {
        let sessions = sqlx::query("SELECT * FROM session")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(session_row)
            .collect::<Result<_>>()?;
        let tickets = sqlx::query("SELECT id, expires_unix FROM spent_ticket")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(spent_ticket)
            .collect::<Result<_>>()?;
        Ok((sessions, tickets))
    }

    /// The next claim of an instance, and what goes with it.
    async fn claim(&self, instance: &InstanceId) -> Result<Claimed> {
        let mut transaction = self.begin().await?;
        let claim =
            sqlx::query("UPDATE instance SET claim = claim + 1 WHERE id = $1 RETURNING claim")
                .bind(instance.as_str())
                .fetch_one(&mut *transaction)
                .await?;
        let sessions = sqlx::query("SELECT * FROM session WHERE instance = $1")
            .bind(instance.as_str())
            .fetch_all(&mut *transaction)
            .await?;
        let tickets = sqlx::query("SELECT id, expires_unix FROM spent_ticket WHERE instance = $1")
            .bind(instance.as_str())
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Claimed {
            claim: unix(&claim, "claim")?,
            sessions: sessions.iter().map(session_row).collect::<Result<_>>()?,
            spent_tickets: tickets.iter().map(spent_ticket).collect::<Result<_>>()?,
        })
    }

    /// The claims there are, of instances that were ever claimed.
    pub(crate) async fn claims(&self) -> Result<HashMap<InstanceId, u64>> {
        sqlx::query("SELECT id, claim FROM instance WHERE claim > 0 AND deleted_unix IS NULL")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| Ok((InstanceId::new(&text(row, "id")?)?, unix(row, "claim")?)))
            .collect()
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn check(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn find_instance(&self, instance: &InstanceId) -> Result<Option<InstanceRecord>> {
        sqlx::query("SELECT * FROM instance WHERE id = $1 AND deleted_unix IS NULL")
            .bind(instance.as_str())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| instance_record(&row))
            .transpose()
    }

    /// # Errors
    ///
    /// If the id is taken, now or by a deleted instance.
    pub async fn create_instance(&self, record: &InstanceRecord, unix_now: Duration) -> Result<()> {
        let created = sqlx::query(
            "INSERT INTO instance (id, region, credential_hash, created_unix) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
        )
        .bind(record.instance.as_str())
        .bind(&record.region)
        .bind(record.credential_hash.as_slice())
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        if created.rows_affected() == 0 {
            bail!(
                "the name `{}` was used before; choose another",
                record.instance
            );
        }
        Ok(())
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn list_instances(&self) -> Result<Vec<InstanceRecord>> {
        sqlx::query("SELECT * FROM instance WHERE deleted_unix IS NULL ORDER BY id")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(instance_record)
            .collect()
    }

    /// Leaves a tombstone: the id never returns. Its access keys go with it.
    ///
    /// # Errors
    ///
    /// If there is no such instance.
    pub async fn delete_instance(&self, instance: &InstanceId, unix_now: Duration) -> Result<()> {
        let mut transaction = self.begin().await?;
        let deleted = sqlx::query(
            "UPDATE instance SET deleted_unix = $2 WHERE id = $1 AND deleted_unix IS NULL",
        )
        .bind(instance.as_str())
        .bind(seconds(unix_now)?)
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            bail!("there is no instance `{instance}`; `instance list` shows those there are");
        }
        sqlx::query(
            "UPDATE access SET revoked_unix = $2 WHERE instance = $1 AND revoked_unix IS NULL",
        )
        .bind(instance.as_str())
        .bind(seconds(unix_now)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn find_access(&self, id: &str) -> Result<Option<AccessRecord>> {
        sqlx::query("SELECT * FROM access WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| access_record(&row))
            .transpose()
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn create_access(&self, record: &AccessRecord, unix_now: Duration) -> Result<()> {
        let expires = record.expires_unix.map(i64::try_from).transpose()?;
        sqlx::query(
            "INSERT INTO access (id, instance, role, key_hash, created_unix, expires_unix) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&record.id)
        .bind(record.instance.as_str())
        .bind(word(&record.role)?)
        .bind(record.key_hash.as_slice())
        .bind(seconds(unix_now)?)
        .bind(expires)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// # Errors
    ///
    /// If the database fails.
    pub async fn list_access(&self, instance: Option<&InstanceId>) -> Result<Vec<AccessRecord>> {
        sqlx::query(
            "SELECT * FROM access WHERE $1 IS NULL OR instance = $1 ORDER BY created_unix, id",
        )
        .bind(instance.map(InstanceId::as_str))
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(access_record)
        .collect()
    }

    /// # Errors
    ///
    /// If there is no such key.
    pub async fn revoke_access(&self, id: &str, unix_now: Duration) -> Result<()> {
        let revoked = sqlx::query(
            "UPDATE access SET revoked_unix = coalesce(revoked_unix, $2) WHERE id = $1",
        )
        .bind(id)
        .bind(seconds(unix_now)?)
        .execute(&self.pool)
        .await?;
        if revoked.rows_affected() == 0 {
            bail!("there is no access key `{id}`; `access list` shows those there are");
        }
        self.remember(Kind::Access, vec![id.to_owned()]).await;
        Ok(())
    }

    /// The instances that exist, and the access keys and members whose access ended lately.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn directory(
        &self,
        unix_now: Duration,
    ) -> Result<(HashSet<InstanceId>, HashSet<String>)> {
        let instances = sqlx::query("SELECT id FROM instance WHERE deleted_unix IS NULL")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| Ok(InstanceId::new(&text(row, "id")?)?))
            .collect::<Result<_>>()?;
        let revoked = sqlx::query(
            "SELECT id FROM access WHERE revoked_unix >= $1 \
             UNION SELECT 'member:' || account AS id FROM member WHERE removed_unix >= $1",
        )
        .bind(seconds(unix_now.saturating_sub(REVOKED_WITHIN))?)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| text(row, "id"))
        .collect::<Result<_>>()?;
        Ok((instances, revoked))
    }

    /// A transaction that will write. SQLite's own `BEGIN` takes the write lock at the first write
    /// and fails there, without waiting, if another wrote since this one first read.
    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// A transaction beside which no other of this subject runs, so that what it counts stays true
    /// until it ends. SQLite has one writer at a time.
    async fn begin_alone(&self, subject: &str) -> Result<Transaction<'static, Any>> {
        let mut transaction = self.begin().await?;
        if self.engine == Engine::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(subject)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction)
    }

    /// Returns the version found, or reached. Of several nodes that start at once one migrates.
    async fn migrate(&self) -> Result<usize> {
        let mut transaction = self.begin_alone("migration").await?;
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            .execute(&mut *transaction)
            .await?;
        let found: i64 =
            sqlx::query("SELECT coalesce(max(version), 0) AS version FROM schema_version")
                .fetch_one(&mut *transaction)
                .await?
                .try_get("version")?;
        let found = usize::try_from(found)?;
        for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(found) {
            let statements = self.engine.spelled(migration);
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT INTO schema_version (version) VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
        // A write, so that a read-only or locked database is noticed at the start.
        sqlx::query("UPDATE schema_version SET version = version")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(found.max(MIGRATIONS.len()))
    }
}

/// Answers signalling's requests until it is gone.
pub async fn answer(store: Store, mut requests: mpsc::Receiver<StoreRequest>) {
    while let Some(request) = requests.recv().await {
        match request {
            StoreRequest::Commit {
                effects,
                claims,
                done,
            } => {
                let committed = store.commit_as(&effects, &claims).await;
                let committed = committed.unwrap_or_else(|error| {
                    tracing::error!("a change could not be stored: {error:#}");
                    Committed::Failed
                });
                // Whoever asked may have gone meanwhile.
                let _ = done.send(committed);
            }
            // In its turn, so that the sessions it finds are as this node left them.
            StoreRequest::Claim { instance, claimed } => match store.claim(&instance).await {
                Ok(claim) => drop(claimed.send(claim)),
                Err(error) => tracing::error!("the database failed: {error:#}"),
            },
            StoreRequest::FindInstance { instance, found } => {
                let store = store.clone();
                tokio::spawn(async move {
                    match store.find_instance(&instance).await {
                        Ok(record) => drop(found.send(record)),
                        Err(error) => tracing::error!("the database failed: {error:#}"),
                    }
                });
            }
        }
    }
}

async fn apply(transaction: &mut Transaction<'_, Any>, effect: &Effect) -> Result<()> {
    let query = match effect {
        Effect::TicketSpent {
            ticket,
            instance,
            expires_unix,
        } => sqlx::query(
            "INSERT INTO spent_ticket (id, instance, expires_unix) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(ticket.to_string())
        .bind(instance.as_str())
        .bind(i64::try_from(*expires_unix)?),
        Effect::SessionStored(row) => return store_session(transaction, row).await,
        Effect::SessionRemoved(session) => {
            sqlx::query("DELETE FROM session WHERE id = $1").bind(session.to_string())
        }
        Effect::TicketsForgotten { before_unix } => {
            sqlx::query("DELETE FROM spent_ticket WHERE expires_unix < $1")
                .bind(i64::try_from(*before_unix)?)
        }
    };
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn store_session(transaction: &mut Transaction<'_, Any>, row: &SessionRow) -> Result<()> {
    sqlx::query(
        "INSERT INTO session (id, instance, role, mode, subject, region, generation, opened_unix, \
         issued_unix, expires_unix, client_region) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (id) DO UPDATE SET generation = $7, issued_unix = $9, expires_unix = $10",
    )
    .bind(row.session.to_string())
    .bind(row.instance.as_str())
    .bind(word(&row.role)?)
    .bind(word(&row.mode)?)
    .bind(&row.subject)
    .bind(&row.region)
    .bind(i64::from(row.generation))
    .bind(i64::try_from(row.opened_unix)?)
    .bind(i64::try_from(row.issued_unix)?)
    .bind(i64::try_from(row.expires_unix)?)
    .bind(&row.client_region)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn session_row(row: &AnyRow) -> Result<SessionRow> {
    Ok(SessionRow {
        session: text(row, "id")?.parse()?,
        instance: InstanceId::new(&text(row, "instance")?)?,
        role: from_word(&text(row, "role")?)?,
        mode: from_word(&text(row, "mode")?)?,
        subject: text(row, "subject")?,
        region: text(row, "region")?,
        client_region: text(row, "client_region")?,
        generation: u32::try_from(row.try_get::<i64, _>("generation")?)?,
        opened_unix: unix(row, "opened_unix")?,
        issued_unix: unix(row, "issued_unix")?,
        expires_unix: unix(row, "expires_unix")?,
    })
}

fn spent_ticket(row: &AnyRow) -> Result<(SessionId, u64)> {
    Ok((text(row, "id")?.parse()?, unix(row, "expires_unix")?))
}

fn instance_record(row: &AnyRow) -> Result<InstanceRecord> {
    Ok(InstanceRecord {
        instance: InstanceId::new(&text(row, "id")?)?,
        region: text(row, "region")?,
        credential_hash: hash(row, "credential_hash")?,
    })
}

fn access_record(row: &AnyRow) -> Result<AccessRecord> {
    let expires: Option<i64> = row.try_get("expires_unix")?;
    Ok(AccessRecord {
        id: text(row, "id")?,
        instance: InstanceId::new(&text(row, "instance")?)?,
        role: from_word(&text(row, "role")?)?,
        key_hash: hash(row, "key_hash")?,
        expires_unix: expires.map(u64::try_from).transpose()?,
        revoked: row.try_get::<Option<i64>, _>("revoked_unix")?.is_some(),
    })
}

fn text(row: &AnyRow, column: &str) -> Result<String> {
    Ok(row.try_get(column)?)
}

fn unix(row: &AnyRow, column: &str) -> Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?)?)
}

fn hash(row: &AnyRow, column: &str) -> Result<[u8; 32]> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes
        .try_into()
        .ok()
        .context("a stored hash has another length than 32 bytes")
}

fn seconds(time: Duration) -> Result<i64> {
    Ok(i64::try_from(time.as_secs())?)
}

/// One of our own enums as it is written on the wire: `control`.
fn word(value: &impl Serialize) -> Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(word) => Ok(word),
        other => bail!("{other} is no word"),
    }
}

fn from_word<T: DeserializeOwned>(word: &str) -> Result<T> {
    Ok(serde_json::from_value(word.into())?)
}

#[cfg(test)]
pub(in crate::io) mod tests;
