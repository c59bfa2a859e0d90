//! What was revoked, remembered beside the database: a restored backup is older than the revocations
//! after it, and would open again what had been closed.
//!
//! A line per sign-in or access key that ended, in the state folder. A node that starts ends them
//! again where the database says otherwise.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Store, seconds};

const FILE: &str = "revoked";
/// Some 180,000 lines. When full, it becomes the older one of two files, and what that one had is
/// forgotten: by then it has expired, or some 360,000 things ended since.
const FILE_LEN_MAX: u64 = 8 * 1024 * 1024;
/// Ids in one statement.
const BATCH_MAX: usize = 500;

/// What can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SignIn,
    Access,
}

impl Kind {
    const ALL: [Self; 2] = [Self::SignIn, Self::Access];

    fn table(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Access => "access",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::SignIn => "ended_unix",
            Self::Access => "revoked_unix",
        }
    }
}

/// Where it is remembered; nowhere for who only looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Option<Arc<PathBuf>>);

impl Store {
    /// The same, with a memory in this folder of what it revokes.
    pub(crate) fn remembering(self, folder: &Path) -> Self {
        let memory = Memory(Some(Arc::new(folder.join(FILE))));
        Self { memory, ..self }
    }

    /// Ends again what this node remembers to have ended; returns how much had come back.
    ///
    /// # Errors
    ///
    /// If the database fails, or the memory cannot be read.
    pub(crate) async fn revoke_again(&self, unix_now: Duration) -> Result<u64> {
        let Memory(Some(file)) = &self.memory else {
            return Ok(0);
        };
        let mut text = read(&older(file))?;
        text += &read(file)?;
        let mut again = 0;
        for kind in Kind::ALL {
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            let ids: Vec<&str> = lines
                .filter(|(table, _)| *table == kind.table())
                .map(|(_, id)| id)
                .collect();
            for batch in ids.chunks(BATCH_MAX) {
                again += self.revoke_batch(kind, batch, unix_now).await?;
            }
        }
        Ok(again)
    }

    async fn revoke_batch(&self, kind: Kind, ids: &[&str], unix_now: Duration) -> Result<u64> {
        let (table, column) = (kind.table(), kind.column());
        let places: Vec<String> = (2..ids.len() + 2)
            .map(|place| format!("${place}"))
            .collect();
        let statement = format!(
            "UPDATE {table} SET {column} = $1 WHERE {column} IS NULL AND id IN ({})",
            places.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(seconds(unix_now)?);
        for id in ids {
            query = query.bind(*id);
        }
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    /// Notes what the database has just stored. What cannot be noted is revoked all the same.
    pub(super) async fn remember(&self, kind: Kind, ids: Vec<String>) {
        let Memory(Some(file)) = self.memory.clone() else {
            return;
        };
        if ids.is_empty() {
            return;
        }
        let lines: String = ids
            .iter()
            .map(|id| format!("{} {id}\n", kind.table()))
            .collect();
        let noted = tokio::task::spawn_blocking(move || append(&file, &lines)).await;
        let noted = noted.context("the note was not finished").flatten();
        if let Err(error) = noted {
            tracing::error!("a restored backup would bring back what ended now: {error:#}");
        }
    }
}

/// Another process may append at the same moment: a line is one write, at the end.
fn append(file: &Path, lines: &str) -> Result<()> {
    let to_open = || format!("cannot write {}; make it writable", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(to_open)?;
    }
    let open = || -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(file)
    };
    let mut opened = open().with_context(to_open)?;
    if opened.metadata()?.len() >= FILE_LEN_MAX {
        fs::rename(file, older(file)).with_context(to_open)?;
        opened = open().with_context(to_open)?;
    }
    opened.write_all(lines.as_bytes()).with_context(to_open)?;
    opened.sync_data().with_context(to_open)
}

fn older(file: &Path) -> PathBuf {
    file.with_extension("older")
}

fn read(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| {
            format!(
                "cannot read {}; make it readable, or delete it if no backup was restored",
                file.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::tests::Folder;

    #[test]
    fn a_full_file_becomes_the_older_of_two() {
        let folder = Folder::new();
        fs::create_dir_all(folder.path()).unwrap();
        let file = folder.path().join(FILE);
        append(&file, "sign_in one\n").unwrap();
        append(&file, "sign_in two\n").unwrap();
        assert_eq!(read(&file).unwrap(), "sign_in one\nsign_in two\n");
        let full = File::options().append(true).open(&file).unwrap();
        full.set_len(FILE_LEN_MAX).unwrap();
        append(&file, "sign_in three\n").unwrap();
        assert_eq!(read(&file).unwrap(), "sign_in three\n");
        assert!(read(&older(&file)).unwrap().starts_with("sign_in one\n"));
    }

    #[tokio::test]
    async fn more_than_fits_one_statement_is_revoked_again() {
        let folder = Folder::new();
        let store = folder.open().await.remembering(folder.path());
        let now = Duration::from_secs(1_800_000_000);
        let ids = (0..BATCH_MAX + 1).map(|number| format!("k{number}"));
        store.remember(Kind::Access, ids.collect()).await;
        assert_eq!(store.revoke_again(now).await.unwrap(), 0);
    }
}
