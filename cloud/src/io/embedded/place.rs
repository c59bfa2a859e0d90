//! The folder of one desktop: what is kept in it, and who may read it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Record, Start, Tools, sound};

/// What is shown of each log, in bytes.
const TAIL_LEN_MAX: u64 = 4096;
/// Desktops with a user of their own; the numbers are handed out once per folder.
const USERS_MAX: u32 = 10_000;
const LOGS: [&str; 3] = ["x-server.log", "sound-server.log", "agent-host.log"];

#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.0.join("run").join(name)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(name)
    }

    /// The user its programs run as: the owner of its home.
    pub(super) fn user(&self) -> Result<u32> {
        Ok(fs::metadata(self.home())?.uid())
    }

    /// Makes the folders of a desktop that is started for the first time. With `first_uid` it gets a
    /// user of its own, which nobody else in this folder has.
    pub(super) fn furnish(&self, all: &Path, first_uid: Option<u32>) -> Result<()> {
        let context = || format!("The folder {} cannot be written.", self.0.display());
        if self.home().is_dir() && self.0.join("run").is_dir() {
            return Ok(());
        }
        let user = first_uid.map(|first| free_user(all, first)).transpose()?;
        // Others may pass through to what is theirs, and see nothing.
        make(&self.0, 0o711, None).with_context(context)?;
        make(&self.0.join("log"), 0o700, None).with_context(context)?;
        make(&self.0.join("run"), 0o700, user).with_context(context)?;
        make(&self.home(), 0o700, user).with_context(context)
    }

    /// What runs here according to what was noted; `None` if nothing should.
    pub(super) fn record(&self) -> Result<Option<Record>> {
        let path = self.0.join("machine.json");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} is unreadable.", path.display())),
        }
    }

    /// Written beside its place and moved there: whole or not at all.
    pub(super) fn keep(&self, record: &Record) -> Result<()> {
        let unfinished = self.0.join("machine.new");
        fs::write(&unfinished, serde_json::to_string(record)?)?;
        Ok(fs::rename(unfinished, self.0.join("machine.json"))?)
    }

    /// Nothing runs any more.
    pub(super) fn forget_machine(&self) -> Result<()> {
        if let Some(record) = self.record()? {
            // An X server that was killed leaves them, and nobody else could take its display.
            let display = record.display;
            let lock = format!("/tmp/.X{display}-lock");
            let own = fs::read_to_string(&lock)
                .is_ok_and(|pid| pid.trim() == record.x_server.pid.to_string());
            if own {
                let _ = fs::remove_file(&lock);
                let _ = fs::remove_file(super::parts::socket(display));
            }
        }
        match fs::remove_file(self.0.join("machine.json")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A file that only the desktop's programs may read.
    pub(super) fn write_secret(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.run(name);
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(bytes)?;
        hand_over(&path, self.user()?)
    }

    /// What the agent host reads: who it is, and where the service is.
    pub(super) fn write_agent_host(&self, tools: &Tools, start: &Start, x: u32) -> Result<()> {
        let credential = self.run("credential");
        self.write_secret("credential", start.credential.expose().as_bytes())?;
        let mut table = toml::Table::new();
        table.insert("cloud".into(), tools.cloud_url.clone().into());
        table.insert("instance".into(), start.instance.as_str().into());
        let path = credential.display().to_string();
        table.insert("credential_file".into(), path.into());
        table.insert("display".into(), format!(":{x}").into());
        if let Some(address) = sound::address(self) {
            let audio = toml::Table::from_iter([("server".to_owned(), address.into())]);
            table.insert("audio".into(), audio.into());
        }
        let addresses: Vec<_> = tools
            .config
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        if !addresses.is_empty() {
            let network = toml::Table::from_iter([("addresses".to_owned(), addresses.into())]);
            table.insert("network".into(), network.into());
        }
        self.write_secret("agent-host.toml", table.to_string().as_bytes())
    }

    pub(super) fn log_tail(&self) -> Result<String> {
        let mut tails = String::new();
        for name in LOGS {
            let Ok(mut file) = fs::File::open(self.log(name)) else {
                continue;
            };
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN_MAX)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_LEN_MAX).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            tails += &format!("— {name}\n{}\n", text.trim_end());
        }
        Ok(tails)
    }
}

fn make(folder: &Path, mode: u32, user: Option<u32>) -> Result<()> {
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    // Whatever our umask took away.
    fs::set_permissions(folder, Permissions::from_mode(mode))?;
    user.map_or(Ok(()), |user| hand_over(folder, user))
}

fn hand_over(path: &Path, user: u32) -> Result<()> {
    if fs::metadata(path)?.uid() == user {
        return Ok(());
    }
    chown(path, Some(user), Some(user)).with_context(|| {
        format!(
            "{} cannot be given to user {user}; run the service as root, or remove `first_uid`.",
            path.display()
        )
    })
}

/// The first user that owns none of the homes.
fn free_user(all: &Path, first: u32) -> Result<u32> {
    let taken: Vec<u32> = fs::read_dir(all)?
        .flatten()
        .filter_map(|entry| Some(fs::metadata(entry.path().join("home")).ok()?.uid()))
        .collect();
    (first..first.saturating_add(USERS_MAX))
        .find(|user| !taken.contains(user))
        .context("Every user for desktops is taken.")
}
