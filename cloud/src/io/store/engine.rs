//! What differs between the two databases: how they are opened, and how a blob is called.

use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::any::AnyPoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AnyPool, ConnectOptions, Connection, Error, SqliteConnection};

/// Connections to a file: one writes at a time, readers do not wait for it.
const FILE_CONNECTIONS_MAX: u32 = 4;
/// Connections of this node to the server, whose default is 100 for all; more requests wait.
const SERVER_CONNECTIONS_MAX: u32 = 16;
/// How long a request waits for a connection: a server that restarts needs some seconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a node that starts waits for others that start with the same file.
const JOURNAL_WITHIN: Duration = Duration::from_secs(5);
const JOURNAL_PAUSE: Duration = Duration::from_millis(20);
/// `SQLITE_BUSY`.
const BUSY: &str = "5";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// A migration as this database reads it.
    pub(super) fn spelled(self, migration: &str) -> String {
        match self {
            Self::Sqlite => migration.to_owned(),
            Self::Postgres => migration.replace(" BLOB", " BYTEA"),
        }
    }
}

/// Returns what to advise if the database turns out to be unusable, too.
pub(super) async fn open(url: &str) -> Result<(AnyPool, Engine, String)> {
    sqlx::any::install_default_drivers();
    if url.starts_with("sqlite:") {
        open_file(url).await
    } else {
        open_server(url).await
    }
}

/// The journal's mode is stored in the file; the rest is a connection's own.
async fn open_file(url: &str) -> Result<(AnyPool, Engine, String)> {
    let options = SqliteConnectOptions::from_str(url)
        .with_context(|| format!("`{url}` is no database address; write sqlite:/path/cloud.db"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let file = options.get_filename().to_owned();
    let shown = file.display();
    let advice = format!(
        "cannot write the database {shown}; make it writable, stop whoever locks it, or set `database` to another file"
    );
    if let Some(folder) = file.parent().filter(|folder| *folder != Path::new("")) {
        std::fs::create_dir_all(folder).with_context(|| advice.clone())?;
    }
    let first = with_journal(&options).await;
    let first = first.with_context(|| advice.clone())?;
    first.close().await.with_context(|| advice.clone())?;
    let pool = AnyPoolOptions::new()
        .max_connections(FILE_CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_WITHIN)
        // A file does not hang up; to ask costs each request two changes of thread.
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Another program may hold the write lock for a moment.
                let settings = "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000";
                sqlx::raw_sql(settings).execute(connection).await?;
                Ok(())
            })
        })
        .connect(url)
        .await
        .with_context(|| advice.clone())?;
    Ok((pool, Engine::Sqlite, advice))
}

/// Changing the journal's mode is the one thing for which SQLite does not wait by itself.
async fn with_journal(options: &SqliteConnectOptions) -> Result<SqliteConnection, Error> {
    let end = Instant::now() + JOURNAL_WITHIN;
    loop {
        match options.connect().await {
            Err(Error::Database(error))
                if error.code().as_deref() == Some(BUSY) && Instant::now() < end =>
            {
                tokio::time::sleep(JOURNAL_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

async fn open_server(url: &str) -> Result<(AnyPool, Engine, String)> {
    // The address may hold a password, so it is not shown.
    let options = PgConnectOptions::from_str(url).context(
        "`database` is no database address; write postgres://user@host/database, the password in PGPASSFILE",
    )?;
    let (host, port) = (options.get_host(), options.get_port());
    let advice = format!(
        "cannot use the PostgreSQL database at {host}:{port}; start it, make the database, and check the user and its password"
    );
    let pool = AnyPoolOptions::new()
        .max_connections(SERVER_CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_WITHIN)
        .connect(url)
        .await
        .with_context(|| advice.clone())?;
    Ok((pool, Engine::Postgres, advice))
}
