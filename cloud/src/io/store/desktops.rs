//! What is stored of desktops: whose they are, what is wanted of them, and the tombstones.
//!
//! An order is stored before anything is done about it, and a limit is part of the statement that
//! would break it, so that two requests at once cannot.

use std::time::Duration;

use anyhow::Result;
use protocol::id::InstanceId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, from_word, seconds, text, word};
use crate::identity::WorkspaceId;
use crate::lifecycle::{Desired, Generation, Order, Size};

/// A desktop as its workspace knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Desktop {
    pub(crate) instance: InstanceId,
    /// What people call it; empty for one that has only its id.
    pub(crate) name: String,
    pub(crate) workspace: String,
    pub(crate) region: String,
    pub(crate) keeper: Keeper,
    pub(crate) order: Order,
}

/// Who starts and stops the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// Somebody else: `multiclaw-cloud instance create` gave them a credential.
    External,
    /// This service, with its driver.
    Driver,
}

/// What is asked of a desktop that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Start,
    Stop,
    Restart,
}

/// What became of something that has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    Done,
    /// The workspace has as many as it may have.
    Full,
}

const DRIVER: &str = "embedded";

impl Store {
    pub(crate) async fn create_desktop(
        &self,
        desktop: &Desktop,
        desktops_max: u32,
        unix_now: Duration,
    ) -> Result<Limited> {
        let mut transaction = self.begin_alone(&desktop.workspace).await?;
        let created = sqlx::query(
            "INSERT INTO instance (id, name, workspace, region, driver, size, desired, generation, \
             credential_hash, created_unix) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
             WHERE (SELECT count(*) FROM instance WHERE workspace = $3 AND driver = $5 \
             AND deleted_unix IS NULL) < $11",
        )
        .bind(desktop.instance.as_str())
        .bind(&desktop.name)
        .bind(&desktop.workspace)
        .bind(&desktop.region)
        .bind(DRIVER)
        .bind(word(&desktop.order.size)?)
        .bind(word(&desktop.order.desired)?)
        .bind(i64::from(desktop.order.generation.0))
        // No credential has this hash: the first start makes one.
        .bind([0_u8; 32].as_slice())
        .bind(seconds(unix_now)?)
        .bind(i64::from(desktops_max))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(limited(created.rows_affected()))
    }

    pub(crate) async fn list_desktops(&self, workspace: &WorkspaceId) -> Result<Vec<Desktop>> {
        sqlx::query(
            "SELECT * FROM instance WHERE workspace = $1 AND deleted_unix IS NULL \
             ORDER BY created_unix, id",
        )
        .bind(workspace.as_str())
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(desktop)
        .collect()
    }

    pub(crate) async fn find_desktop(
        &self,
        workspace: &WorkspaceId,
        instance: &str,
    ) -> Result<Option<Desktop>> {
        sqlx::query(
            "SELECT * FROM instance WHERE workspace = $1 AND id = $2 AND deleted_unix IS NULL",
        )
        .bind(workspace.as_str())
        .bind(instance)
        .fetch_optional(&self.pool)
        .await?
        .map(|row| desktop(&row))
        .transpose()
    }

    pub(crate) async fn is_deleted_desktop(
        &self,
        workspace: &WorkspaceId,
        instance: &InstanceId,
    ) -> Result<bool> {
        let found = sqlx::query(
            "SELECT id FROM instance WHERE workspace = $1 AND id = $2 AND deleted_unix IS NOT NULL",
        )
        .bind(workspace.as_str())
        .bind(instance.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.is_some())
    }

    /// Everything the driver has to look after, deleted desktops included until they are gone.
    pub(crate) async fn orders(&self) -> Result<Vec<(InstanceId, Order)>> {
        sqlx::query("SELECT * FROM instance WHERE driver = $1 AND purged_unix IS NULL")
            .bind(DRIVER)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| {
                let found = desktop(row)?;
                Ok((found.instance, found.order))
            })
            .collect()
    }

    /// Stores what is wanted from now on. To start what is wanted to run already changes nothing.
    pub(crate) async fn wish(
        &self,
        desktop: &Desktop,
        wish: Wish,
        running_max: u32,
    ) -> Result<Limited> {
        let (desired, from, lives) = match wish {
            Wish::Start => (Desired::Running, "stopped", 1),
            Wish::Stop => (Desired::Stopped, "running", 0),
            Wish::Restart => (Desired::Running, "", 1),
        };
        let desired = word(&desired)?;
        let mut transaction = self.begin_alone(&desktop.workspace).await?;
        let done = sqlx::query(
            "UPDATE instance SET generation = generation + (CASE WHEN $4 IN ('', desired) THEN $5 \
             ELSE 0 END), desired = $3 WHERE id = $1 AND workspace = $2 AND deleted_unix IS NULL \
             AND driver = $6 AND ($3 = 'stopped' OR desired = 'running' OR (SELECT count(*) \
             FROM instance WHERE workspace = $2 AND driver = $6 AND desired = 'running' \
             AND deleted_unix IS NULL) < $7)",
        )
        .bind(desktop.instance.as_str())
        .bind(&desktop.workspace)
        .bind(desired)
        .bind(from)
        .bind(lives)
        .bind(DRIVER)
        .bind(i64::from(running_max))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(limited(done.rows_affected()))
    }

    /// The secret its next agent host shows.
    pub(crate) async fn set_credential(&self, instance: &InstanceId, hash: [u8; 32]) -> Result<()> {
        sqlx::query("UPDATE instance SET credential_hash = $2 WHERE id = $1")
            .bind(instance.as_str())
            .bind(hash.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Nothing is left of a deleted desktop.
    pub(crate) async fn note_purged(&self, instance: &InstanceId, now: Duration) -> Result<()> {
        sqlx::query(
            "UPDATE instance SET purged_unix = $2 WHERE id = $1 AND deleted_unix IS NOT NULL",
        )
        .bind(instance.as_str())
        .bind(seconds(now)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn limited(rows: u64) -> Limited {
    if rows == 0 {
        Limited::Full
    } else {
        Limited::Done
    }
}

fn desktop(row: &AnyRow) -> Result<Desktop> {
    let deleted: Option<i64> = row.try_get("deleted_unix")?;
    let desired = match deleted {
        Some(_) => Desired::Deleted,
        None => from_word(&text(row, "desired")?)?,
    };
    let keeper = if text(row, "driver")? == DRIVER {
        Keeper::Driver
    } else {
        Keeper::External
    };
    let size: Size = from_word(&text(row, "size")?)?;
    Ok(Desktop {
        instance: InstanceId::new(&text(row, "id")?)?,
        name: text(row, "name")?,
        workspace: text(row, "workspace")?,
        region: text(row, "region")?,
        keeper,
        order: Order {
            desired,
            generation: Generation(u32::try_from(row.try_get::<i64, _>("generation")?)?),
            size,
        },
    })
}

#[cfg(test)]
mod tests;
