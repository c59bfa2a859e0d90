//! The state folder: one process at a time, and the signing key in a file only its owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::token::{SEED_LEN, SigningKey};

const KEY_FILE: &str = "signing.key";
const LOCK_FILE: &str = "lock";

/// Held as long as the process uses the folder.
pub(super) struct StateFolder {
    pub(super) key: SigningKey,
    _lock: File,
}

impl StateFolder {
    /// Takes the folder, and makes the signing key at the first start.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let shown = folder.display();
        let advice = || {
            format!(
                "cannot write to the state folder {shown}; make it writable or set `state` to another"
            )
        };
        fs::create_dir_all(folder).with_context(advice)?;
        let lock = File::create(folder.join(LOCK_FILE)).with_context(advice)?;
        if lock.try_lock().is_err() {
            bail!(
                "another multiclaw-cloud uses the state folder {shown}; stop it, or set `state` to another"
            );
        }
        let key = load_or_make_key(&folder.join(KEY_FILE))?;
        Ok(Self { key, _lock: lock })
    }
}

fn load_or_make_key(path: &Path) -> Result<SigningKey> {
    let shown = path.display();
    let seed = match fs::read_to_string(path) {
        Ok(text) => {
            let mode = fs::metadata(path)?.permissions().mode();
            if mode & 0o077 != 0 {
                bail!("others may read the signing key {shown}; run `chmod 600 {shown}`");
            }
            parse_key(&text).with_context(|| {
                format!("{shown} is no signing key; restore it, or delete it to end every session")
            })?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make_key(path).with_context(|| {
            format!("cannot write {shown}; make the folder writable or set `state` to another")
        })?,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the signing key {shown}"));
        }
    };
    SigningKey::from_seed(seed).context("the signing key was refused")
}

fn parse_key(text: &str) -> Option<[u8; SEED_LEN]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

/// Written beside its place and moved there, so that a crash leaves a whole key or none.
fn make_key(path: &Path) -> Result<[u8; SEED_LEN]> {
    let seed: [u8; SEED_LEN] = rand::random();
    let unfinished = path.with_extension("new");
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    writeln!(file, "{}", STANDARD.encode(seed))?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(seed)
}
