//! The driver of this machine: each desktop an X server, a sound server, a window manager and an
//! agent host, with a home, a display and a key of its own.
//!
//! ```text
//!  desktops/ID/machine.json   what runs: processes, display, generation
//!             home/           the person's files
//!             run/            key of the display, credential and configuration of the agent host
//!             log/            what X server and agent host say
//! ```
//!
//! Desktops outlive the service: killed and started again, it finds them by `machine.json` and by
//! the mark in their environment.

mod parts;
mod place;
mod processes;
mod sound;
mod xauthority;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use protocol::id::InstanceId;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::driver::{Driver, Start};
use crate::config::EmbeddedConfig;
use crate::lifecycle::{Generation, Machine};
use place::Place;
use processes::Process;

/// What an agent host needs to know of the service.
#[derive(Clone, Debug)]
pub(crate) struct Embedded(Arc<Tools>);

#[derive(Debug)]
struct Tools {
    folder: PathBuf,
    config: EmbeddedConfig,
    agent_host: PathBuf,
    cloud_url: String,
    /// Held while a display or a user is chosen, until it is taken.
    choosing: Mutex<()>,
}

/// What runs of a desktop, as `machine.json` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    generation: Generation,
    display: u32,
    x_server: Process,
    #[serde(default)]
    sound_server: Option<Process>,
    window_manager: Option<Process>,
    agent_host: Option<Process>,
}

impl Embedded {
    /// `cloud_url` is where agent hosts on this machine find the service.
    pub(crate) fn open(folder: &Path, config: EmbeddedConfig, cloud_url: String) -> Result<Self> {
        let shown = folder.display();
        let advice = || format!("cannot use the folder of desktops {shown}; make it writable");
        std::fs::create_dir_all(folder).with_context(advice)?;
        let folder = folder.canonicalize().with_context(advice)?;
        let agent_host = match &config.agent_host {
            Some(program) => program.clone(),
            None => beside_us("multiclaw-agent-host")?,
        };
        processes::keep_our_files();
        Ok(Self(Arc::new(Tools {
            folder,
            config,
            agent_host,
            cloud_url,
            choosing: Mutex::new(()),
        })))
    }

    fn place(&self, instance: &InstanceId) -> Place {
        Place::new(self.0.folder.join(instance.as_str()))
    }

    /// An X server and a window manager of this generation, those that run already included.
    async fn ground(&self, place: &Place, start: &Start) -> Result<Record> {
        if let Some(record) = place.record()?
            && record.generation == start.generation
            && record.x_server.runs()
        {
            return Ok(record);
        }
        self.end(place).await?;
        let _choosing = self.0.choosing.lock().await;
        place.furnish(&self.0.folder, self.0.config.first_uid)?;
        let record = parts::start_x_server(place, start).await?;
        place.keep(&record)?;
        Ok(record)
    }

    async fn end(&self, place: &Place) -> Result<()> {
        if !processes::end_marked(place.folder()).await {
            bail!("Some programs of the desktop could not be ended.");
        }
        place.forget_machine()
    }
}

impl Driver for Embedded {
    async fn inspect(&self, instance: &InstanceId) -> Result<Machine> {
        let Some(record) = self.place(instance).record()? else {
            return Ok(Machine::Absent);
        };
        Ok(judge(&record))
    }

    async fn start(&self, start: Start) -> Result<()> {
        let place = self.place(&start.instance);
        let mut record = self.ground(&place, &start).await?;
        if let Some(agent_host) = record.agent_host.take() {
            agent_host.end().await;
        }
        sound::ensure(&place, &start, &mut record);
        if !record.window_manager.is_some_and(Process::runs) {
            record.window_manager = parts::start_session(&place, &start, record.display)?;
            place.keep(&record)?;
        }
        place.write_agent_host(&self.0, &start, record.display)?;
        let program = &self.0.agent_host;
        record.agent_host = parts::start_agent_host(&place, &start, record.display, program)?;
        place.keep(&record)
    }

    async fn stop(&self, instance: &InstanceId) -> Result<()> {
        self.end(&self.place(instance)).await
    }

    async fn destroy(&self, instance: &InstanceId) -> Result<()> {
        let place = self.place(instance);
        self.end(&place).await?;
        let folder = place.folder().to_owned();
        tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("The desktop's files could not be deleted.")
            }
            _ => Ok(()),
        })
        .await?
    }

    async fn log(&self, instance: &InstanceId) -> Result<String> {
        self.place(instance).log_tail()
    }

    async fn end_strangers(&self, known: &[InstanceId]) -> Result<()> {
        for entry in std::fs::read_dir(&self.0.folder)?.flatten() {
            let name = entry.file_name();
            let known = known.iter().any(|id| name == *id.as_str());
            let place = Place::new(entry.path());
            if !known && entry.path().is_dir() && place.record()?.is_some() {
                tracing::warn!(folder = ?name, "a desktop that nobody knows is ended; its files stay");
                self.end(&place).await?;
            }
        }
        Ok(())
    }
}

/// A machine of which nothing runs, as after a power cut, is absent; one of which something is
/// missing is broken.
fn judge(record: &Record) -> Machine {
    let runs = |process: Option<Process>| process.is_some_and(Process::runs);
    let parts = [
        ("X server", record.x_server.runs()),
        ("window manager", runs(record.window_manager)),
        ("agent host", runs(record.agent_host)),
    ];
    if parts.iter().all(|(_, runs)| *runs) {
        return Machine::Up(record.generation);
    }
    if parts.iter().all(|(_, runs)| !runs) {
        return Machine::Absent;
    }
    let ended: Vec<_> = parts.iter().filter(|(_, runs)| !runs).collect();
    let names: Vec<_> = ended.iter().map(|(name, _)| *name).collect();
    let cause = format!("The desktop's {} ended by itself.", names.join(" and "));
    Machine::Broken(record.generation, cause)
}

/// A program that was installed with this one.
fn beside_us(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    Ok(own.with_file_name(name))
}

#[cfg(test)]
mod tests;
