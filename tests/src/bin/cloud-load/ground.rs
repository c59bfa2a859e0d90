//! A service with people and instances, in a folder of its own that is gone afterwards.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result};
use cloud::access::{AccessKey, AccessRecord};
use cloud::io::store::Store;
use protocol::Secret;
use protocol::id::InstanceId;
use protocol::signal::Role;
use serde_json::Value;
use signalling::InstanceRecord;
use signalling::instances::hash;

/// What every agent host here shows.
pub(crate) const CREDENTIAL: &str = "the same for all of them";

pub(crate) struct Ground {
    child: Child,
    folder: PathBuf,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) email: String,
    pub(crate) password: String,
    /// One access key per instance.
    pub(crate) keys: Vec<(InstanceId, AccessKey)>,
}

impl Ground {
    pub(crate) async fn start(program: &Path, instances: usize) -> Result<Self> {
        let name = format!("multiclaw-load-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("cloud.toml");
        let shown = folder.display();
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"sqlite:{shown}/cloud.db\"\nstate = \"{shown}\"\n\
             [[region]]\nid = \"local\"\n[[region.relay]]\n\
             urls = [\"turn:127.0.0.1:3478?transport=udp\"]\nshared_secrets = [\"secret\"]\n"
        );
        std::fs::write(&config, text)?;
        let keys = populate(&folder, instances).await?;
        let member = Command::new(program)
            .arg("--config")
            .arg(&config)
            .args(["member", "create", "--email", "ada@example.org"])
            .output()
            .context("the cloud cannot be started")?;
        let member: Value = serde_json::from_slice(&member.stdout)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdout = child.stdout.take().context("a piped stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).context("the cloud did not get ready")?;
        let url = ready["url"].as_str().context("a ready line has a url")?;
        Ok(Self {
            child,
            folder,
            address: url.trim_start_matches("http://").to_owned(),
            email: "ada@example.org".into(),
            password: member["password"].as_str().unwrap_or_default().to_owned(),
            keys,
        })
    }

    /// Memory that is its own and what it shares by its share, in bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        Ok(kib.context("a process has a Pss")? * 1024.0)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn populate(folder: &Path, instances: usize) -> Result<Vec<(InstanceId, AccessKey)>> {
    let store = Store::open(&format!("sqlite:{}/cloud.db", folder.display())).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut keys = Vec::new();
    for number in 0..instances {
        let instance = InstanceId::new(&format!("desk-{number}"))?;
        let record = InstanceRecord {
            instance: instance.clone(),
            region: "local".into(),
            credential_hash: hash(&Secret::new(CREDENTIAL)),
        };
        store.create_instance(&record, now).await?;
        let key = AccessKey::from_random(rand::random(), rand::random());
        let access = AccessRecord {
            id: key.id.clone(),
            instance: instance.clone(),
            role: Role::Control,
            key_hash: key.hash(),
            expires_unix: None,
            revoked: false,
        };
        store.create_access(&access, now).await?;
        keys.push((instance, key));
    }
    Ok(keys)
}
