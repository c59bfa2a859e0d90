//! What we ask of Docker or Podman, through the API both speak on their Unix socket.
//!
//! What is not there is no error: every call may be repeated. An error names the engine's own words
//! and what to do.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions};
use bollard::models::{ContainerCreateBody, ContainerSummary, HostConfig, Mount, MountType};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveVolumeOptions, StartContainerOptions,
    StopContainerOptionsBuilder, TopOptionsBuilder,
};
use futures_util::StreamExt;
use protocol::id::InstanceId;
use tokio::sync::OnceCell;

use crate::lifecycle::{Generation, Size};

const SERVICE: &str = "io.multiclaw.service";
const INSTANCE: &str = "io.multiclaw.instance";
const GENERATION: &str = "io.multiclaw.generation";

/// An engine that takes longer for one call has failed: it may have to copy an image's layers.
const ANSWER_WITHIN: Duration = Duration::from_secs(50);
/// Docker hands this to `ps` of the machine.
const DOCKER_COLUMNS: &str = "-eo pid,args";
/// Podman lists by itself what it knows by one name; anything else it hands to a `ps` in the container.
const PODMAN_COLUMNS: &str = "args";
/// Podman answers with nothing when a program ends while it lists them, and a list may hold a program
/// that is just becoming another.
const LIST_TRIES: usize = 10;
const LIST_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// Shown of a log, in bytes.
const LOG_LEN_MAX: usize = 16 * 1024;

/// A handle to the engine; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Engine(Arc<Line>);

#[derive(Debug)]
struct Line {
    socket: PathBuf,
    docker: OnceCell<Docker>,
    /// How this engine is asked for command lines.
    columns: OnceLock<&'static str>,
}

/// A desktop's container, which runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) generation: Generation,
}

/// A container to make.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) service: String,
    pub(super) instance: InstanceId,
    pub(super) generation: Generation,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<String>,
    pub(super) user: String,
    pub(super) network: Option<String>,
    pub(super) volume: String,
    pub(super) home: String,
    pub(super) size: Size,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self(Arc::new(Line {
            socket,
            docker: OnceCell::new(),
            columns: OnceLock::new(),
        }))
    }

    /// The running container of an instance; `None` if nothing of it runs.
    ///
    /// Asked by a list of what runs: Podman's other states have names that Docker's API lacks.
    pub(super) async fn find(&self, service: &str, instance: &InstanceId) -> Result<Option<Found>> {
        let wanted = vec![
            format!("{SERVICE}={service}"),
            format!("{INSTANCE}={instance}"),
        ];
        let running = self.running(wanted).await?;
        Ok(running.into_iter().find_map(Found::of))
    }

    /// Whether a program runs in the container whose command line holds this text.
    pub(super) async fn runs_inside(&self, name: &str, text: &str) -> Result<bool> {
        let docker = self.docker().await?;
        let columns = self.0.columns.get().copied().unwrap_or_default();
        let options = TopOptionsBuilder::new().ps_args(columns).build();
        for left in (0..LIST_TRIES).rev() {
            let programs = match docker.top_processes(name, Some(options.clone())).await {
                // It ended meanwhile.
                Err(error) if matches!(status(&error), Some(404 | 409)) => return Ok(false),
                Err(_) if left > 0 => continue,
                programs => programs.context("The container's programs could not be listed.")?,
            };
            let rows = programs.processes.unwrap_or_default();
            if rows.iter().flatten().any(|column| column.contains(text)) {
                return Ok(true);
            }
            if !rows.iter().flatten().any(|column| is_nameless(column)) {
                return Ok(false);
            }
            tokio::time::sleep(LIST_AGAIN_AFTER).await;
        }
        Ok(false)
    }

    pub(super) async fn create(&self, name: &str, recipe: Recipe) -> Result<()> {
        let docker = self.docker().await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let image = recipe.image.clone();
        let made = docker.create_container(Some(options), recipe.into_body());
        match made.await {
            Err(error) if status(&error) == Some(404) => Err(anyhow!(
                "The engine has no image {image}; import or pull it on this machine. It says: {error}"
            )),
            made => said(made.map(drop), "The container could not be made."),
        }
    }

    pub(super) async fn start(&self, name: &str) -> Result<()> {
        let docker = self.docker().await?;
        let started = docker.start_container(name, None::<StartContainerOptions>);
        said(started.await, "The container could not be started.")
    }

    /// Runs a program beside the container's first, and does not wait for it.
    pub(super) async fn run_inside(
        &self,
        name: &str,
        command: Vec<String>,
        environment: Vec<String>,
    ) -> Result<()> {
        let docker = self.docker().await?;
        let options = CreateExecOptions {
            cmd: Some(command),
            env: Some(environment),
            ..CreateExecOptions::default()
        };
        let failed = "No program could be started in the container.";
        let made = docker.create_exec(name, options).await.context(failed)?;
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        let started = docker.start_exec(&made.id, Some(detached)).await;
        said(started.map(drop), failed)
    }

    /// Ends a container and whatever runs in it; its volumes stay.
    pub(super) async fn remove(&self, name: &str, patience: Duration) -> Result<()> {
        let docker = self.docker().await?;
        let secs = i32::try_from(patience.as_secs()).unwrap_or(i32::MAX);
        let stop = StopContainerOptionsBuilder::new().t(secs).build();
        // One that cannot be stopped is ended by force.
        let _ = docker.stop_container(name, Some(stop)).await;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removed = there(docker.remove_container(name, Some(options)).await);
        said(removed.map(drop), "The container could not be removed.")
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Result<()> {
        let docker = self.docker().await?;
        let removed = there(
            docker
                .remove_volume(name, None::<RemoveVolumeOptions>)
                .await,
        );
        said(
            removed.map(drop),
            "The desktop's files could not be deleted.",
        )
    }

    /// The last lines of what it said; empty if there is nothing.
    pub(super) async fn log(&self, name: &str, lines: u32) -> Result<String> {
        let docker = self.docker().await?;
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut pieces = docker.logs(name, Some(options));
        let mut text = String::new();
        while let Some(piece) = pieces.next().await {
            let Some(piece) = there(piece)? else { break };
            text += &piece.to_string();
            if text.len() > LOG_LEN_MAX {
                break;
            }
        }
        Ok(text)
    }

    /// Id and instance of every running container of a service.
    pub(super) async fn containers_of(&self, service: &str) -> Result<Vec<(String, String)>> {
        let running = self.running(vec![format!("{SERVICE}={service}")]).await?;
        let ours = running
            .into_iter()
            .filter_map(|container| Some((container.id?, container.labels?.remove(INSTANCE)?)));
        Ok(ours.collect())
    }

    /// The running containers that carry all of these labels.
    async fn running(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>> {
        let docker = self.docker().await?;
        let options = ListContainersOptionsBuilder::new()
            .filters(&HashMap::from([("label", labels)]))
            .build();
        let listed = docker.list_containers(Some(options)).await;
        listed.context("The engine did not list its containers.")
    }

    /// The engine, asked once which version of the API it speaks.
    async fn docker(&self) -> Result<&Docker> {
        let socket = &self.0.socket;
        let connect = async || {
            let path = socket.to_string_lossy();
            let secs = ANSWER_WITHIN.as_secs();
            let docker = Docker::connect_with_unix(&path, secs, bollard::API_DEFAULT_VERSION)?;
            let docker = docker.negotiate_version().await?;
            let version = docker.version().await?;
            let mut parts = version.components.iter().flatten();
            let podman = parts.any(|part| part.name.starts_with("Podman"));
            let _ = self.0.columns.set(if podman {
                PODMAN_COLUMNS
            } else {
                DOCKER_COLUMNS
            });
            Ok::<_, Error>(docker)
        };
        let connected = self.0.docker.get_or_try_init(connect).await;
        connected.with_context(|| {
            let socket = socket.display();
            format!("The container engine at {socket} does not answer; start it, or set `container.socket`.")
        })
    }
}

impl Found {
    fn of(container: ContainerSummary) -> Option<Self> {
        let generation = container.labels?.get(GENERATION)?.parse().ok()?;
        Some(Self {
            generation: Generation(generation),
        })
    }
}

impl Recipe {
    fn into_body(self) -> ContainerCreateBody {
        let labels = HashMap::from([
            (SERVICE.to_owned(), self.service),
            (INSTANCE.to_owned(), self.instance.to_string()),
            (GENERATION.to_owned(), self.generation.to_string()),
        ]);
        let home = Mount {
            target: Some(self.home),
            source: Some(self.volume),
            typ: Some(MountType::VOLUME),
            ..Mount::default()
        };
        let in_memory = ("/tmp".to_owned(), "rw,nosuid,nodev,mode=1777".to_owned());
        let host = HostConfig {
            network_mode: self.network,
            mounts: Some(vec![home]),
            tmpfs: Some(HashMap::from([in_memory])),
            memory: i64::try_from(self.size.desktop_memory_max()).ok(),
            pids_limit: Some(i64::from(self.size.tasks_max())),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges".into()]),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(self.image),
            entrypoint: Some(self.command),
            env: Some(self.environment),
            user: Some(self.user),
            labels: Some(labels),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }
}

/// Whether this stands where a command line would: between `execve` and the new program's first
/// instruction there is none, nor has a program that ended and waits for its parent.
fn is_nameless(column: &str) -> bool {
    column.starts_with('[') && column.trim_end().ends_with(']')
}

/// What was asked for, unless it is not there.
fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn said(answer: Result<(), Error>, failed: &'static str) -> Result<()> {
    answer.context(failed)
}
