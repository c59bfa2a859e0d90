//! The driver of containers: each desktop one container of Docker or Podman on this machine, and one
//! volume, which is its home.
//!
//! ```text
//!  SERVICE.INSTANCE        the container, labelled with service, instance and generation
//!  SERVICE.INSTANCE.home   the volume; it stays until the desktop is deleted
//! ```
//!
//! The labels are all that is kept: whoever starts next finds its desktops by them, and leaves those
//! of other services alone. A container lives for one generation; the agent host is a second program
//! in it (`exec`), so that it can be started afresh while whatever else runs goes on.

mod engine;

use std::time::Duration;

use anyhow::Result;
use protocol::id::InstanceId;

use super::driver::{Driver, Start};
use crate::config::ContainerConfig;
use crate::lifecycle::Machine;
use engine::{Engine, Found, Recipe};

/// Programs of a desktop get so long to end by themselves.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// A start that was given up may be finished by the engine while we begin another; twice is chance.
const CREATE_TRIES: usize = 3;
/// An agent host that is not seen within some seconds has ended.
const LOOKS_MAX: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Shown of what a desktop says, in lines.
const LOG_LINES_MAX: u32 = 60;

/// The first program of a container.
const DESKTOP: &str = include_str!("container/desktop.sh");
/// The second.
const AGENT_HOST: &str = include_str!("container/agent-host.sh");
/// What stands in its command line, from the script on that becomes it.
const AGENT_HOST_RUNS: &str = "multiclaw-agent-host --config agent-host.toml";

/// Where the parts of a desktop meet, in memory and gone with the container.
const RUN: &str = "/tmp/multiclaw";
const HOME: &str = "/home/desktop";
/// Nobody in a desktop is root.
const USER: &str = "1000:1000";
/// An X server in memory never grows past the size it starts with; a viewer's window may.
const SCREEN: &str = "3840x2160x24";

#[derive(Clone, Debug)]
pub(crate) struct Containers {
    engine: Engine,
    config: ContainerConfig,
    cloud_url: String,
}

impl Containers {
    /// `cloud_url` is where agent hosts in containers find the service.
    pub(crate) fn new(config: ContainerConfig, cloud_url: String) -> Self {
        Self {
            engine: Engine::new(config.socket.clone()),
            config,
            cloud_url,
        }
    }

    fn name(&self, instance: &InstanceId) -> String {
        format!("{}.{instance}", self.config.service)
    }

    fn volume(&self, instance: &InstanceId) -> String {
        format!("{}.home", self.name(instance))
    }

    async fn find(&self, instance: &InstanceId) -> Result<Option<Found>> {
        self.engine.find(&self.config.service, instance).await
    }

    /// A running container of this generation; one that runs already stays.
    async fn ground(&self, start: &Start) -> Result<()> {
        let name = self.name(&start.instance);
        for left in (0..CREATE_TRIES).rev() {
            let found = self.find(&start.instance).await?;
            if found.is_some_and(|found| found.generation == start.generation) {
                return Ok(());
            }
            self.engine.remove(&name, STOP_PATIENCE).await?;
            match self.engine.create(&name, self.recipe(start)).await {
                Err(_) if left > 0 => {}
                Err(error) => return Err(error),
                Ok(()) => return self.engine.start(&name).await,
            }
        }
        Ok(())
    }

    fn recipe(&self, start: &Start) -> Recipe {
        Recipe {
            service: self.config.service.clone(),
            instance: start.instance.clone(),
            generation: start.generation,
            image: self.config.image.clone(),
            command: ["/bin/sh", "-c", DESKTOP].map(str::to_owned).into(),
            environment: environment(),
            user: USER.into(),
            network: self.config.network.clone(),
            volume: self.volume(&start.instance),
            home: HOME.into(),
            size: start.size,
        }
    }

    /// The agent host's configuration, and what it proves itself with.
    fn secrets(&self, start: &Start) -> Vec<String> {
        let mut table = toml::Table::new();
        table.insert("cloud".into(), self.cloud_url.clone().into());
        table.insert("instance".into(), start.instance.as_str().into());
        let credential = format!("{RUN}/credential");
        table.insert("credential_file".into(), credential.into());
        table.insert("display".into(), ":0".into());
        let sound = format!("unix:{RUN}/sound");
        let audio = toml::Table::from_iter([("server".to_owned(), sound.into())]);
        table.insert("audio".into(), audio.into());
        let addresses = self.config.addresses.iter().map(ToString::to_string);
        let addresses: Vec<_> = addresses.collect();
        if !addresses.is_empty() {
            let network = toml::Table::from_iter([("addresses".to_owned(), addresses.into())]);
            table.insert("network".into(), network.into());
        }
        vec![
            format!("MULTICLAW_AGENT_HOST={table}"),
            format!("MULTICLAW_CREDENTIAL={}", start.credential.expose()),
        ]
    }
}

impl Driver for Containers {
    async fn inspect(&self, instance: &InstanceId) -> Result<Machine> {
        let name = self.name(instance);
        let Some(found) = self.find(instance).await? else {
            return Ok(Machine::Absent);
        };
        let up = self.engine.runs_inside(&name, AGENT_HOST_RUNS).await?;
        Ok(judge(&found, up))
    }

    async fn start(&self, start: Start) -> Result<()> {
        self.ground(&start).await?;
        let name = self.name(&start.instance);
        let command = ["/bin/sh", "-c", AGENT_HOST].map(str::to_owned).into();
        let secrets = self.secrets(&start);
        self.engine.run_inside(&name, command, secrets).await?;
        // The engine answers before the program is what it will be; one that ended is found so later.
        for _ in 0..LOOKS_MAX {
            if self.engine.runs_inside(&name, AGENT_HOST_RUNS).await? {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn stop(&self, instance: &InstanceId) -> Result<()> {
        let name = self.name(instance);
        self.engine.remove(&name, STOP_PATIENCE).await
    }

    async fn destroy(&self, instance: &InstanceId) -> Result<()> {
        self.stop(instance).await?;
        self.engine.remove_volume(&self.volume(instance)).await
    }

    async fn log(&self, instance: &InstanceId) -> Result<String> {
        self.engine.log(&self.name(instance), LOG_LINES_MAX).await
    }

    async fn end_strangers(&self, known: &[InstanceId]) -> Result<()> {
        for (name, instance) in self.engine.containers_of(&self.config.service).await? {
            if !known.iter().any(|known| known.as_str() == instance) {
                tracing::warn!(name, "a desktop that nobody knows is ended; its files stay");
                self.engine.remove(&name, STOP_PATIENCE).await?;
            }
        }
        Ok(())
    }
}

fn environment() -> Vec<String> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/games"),
        ("LANG", "C.UTF-8"),
        ("SHELL", "/bin/sh"),
        ("DISPLAY", ":0"),
        ("HOME", HOME),
        ("MULTICLAW_RUN", RUN),
        ("MULTICLAW_SCREEN", SCREEN),
        ("PULSE_SERVER", "unix:/tmp/multiclaw/sound"),
        ("PULSE_COOKIE", "/tmp/multiclaw/sound-cookie"),
    ]
    .map(|(name, value)| format!("{name}={value}"))
    .into()
}

/// The X server is the container's life; the agent host may end without it.
fn judge(found: &Found, agent_host_runs: bool) -> Machine {
    if agent_host_runs {
        return Machine::Up(found.generation);
    }
    let cause = "The desktop's agent host ended by itself.";
    Machine::Broken(found.generation, cause.into())
}

#[cfg(test)]
mod tests;
