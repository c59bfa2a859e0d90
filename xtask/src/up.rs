//! `cargo xtask up`: a whole MultiClaw on this machine, from nothing to a picture in the browser,
//! until Ctrl-C. Parts are supervised here and nowhere else: one that dies is named, with the end of
//! its log, and started again; when that does not help, everything is taken down.

mod certificate;
pub(crate) mod desktop;
pub(crate) mod part;
mod plan;
mod report;
mod restarts;
mod sound;

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::ground::{self, Purpose};
use crate::lint::COMPILE_LIMIT;
use crate::process;
use crate::repository::{self, BUILD_FLAGS, cargo};
use crate::run::{self, Echo};

use part::{Crew, Ready, Spec};
use plan::Plan;

/// The one instance that runs here.
pub(crate) const INSTANCE: &str = "desk";

/// Who signs in to the dashboard here; the address only names the account.
const ADMIN_EMAIL: &str = "admin@multiclaw.local";

/// A daemon that has not said it is ready by then never will. The encoder is measured within it.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// An admin command on a local database.
const ADMIN_LIMIT: Duration = Duration::from_secs(20);

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  cargo xtask up
  cargo xtask up --port-base 20000 --state /tmp/second
  cargo xtask up --json --display :0")]
pub(crate) struct Options {
    /// Print one JSON line when everything is ready, instead of the table.
    #[arg(long)]
    json: bool,
    /// Share this X display, which must exist, instead of starting one.
    #[arg(long, value_name = ":N")]
    display: Option<String>,
    /// Size of the desktop at the start.
    #[arg(long, value_name = "WxH", default_value = "1280x800", value_parser = desktop::Size::parse)]
    size: desktop::Size,
    /// Where configuration, databases, keys and logs live.
    #[arg(long, value_name = "DIR", default_value = ".state")]
    state: PathBuf,
    /// First of the ports to use: cloud N, relay N+1 (TLS N+2, admin N+3), relayed N+100 to N+899.
    /// Without it, free ones are taken.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..=64000))]
    port_base: Option<u16>,
    /// Address of this machine the services listen on. Anything but loopback is reachable for others.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Lifetime of session tokens; tests shorten it to see a refresh.
    #[arg(long, value_name = "SECONDS")]
    token_ttl_secs: Option<u64>,
    /// Seconds without input after which a session ends; 0 means never.
    #[arg(long, value_name = "SECONDS")]
    idle_timeout_secs: Option<u64>,
    /// Use the programs as they were built last.
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    process::adopt_orphans();
    let state = open_state(&options.state)?;
    ground::prepare(Purpose::Up)?;
    if !options.no_build {
        build()?;
    }
    let plan = Plan::make(options, &state.folder)?;
    plan.write().context("cannot write the configuration")?;
    let mut crew = Crew::new(state.folder.join("logs"))?;
    let outcome = start(&plan, &mut crew).and_then(|up| serve(options, &plan, &mut crew, up));
    crew.take_down();
    process::sweep();
    match outcome {
        // Being asked to stop is a clean end, also while still starting.
        Err(_) if process::stop::requested() => Ok(()),
        outcome => outcome,
    }
}

/// The state folder, held so that two runs never share one.
struct State {
    folder: PathBuf,
    _lock: File,
}

fn open_state(folder: &Path) -> Result<State> {
    let asked = folder.display().to_string();
    let folder = repository::root().join(folder);
    fs::create_dir_all(&folder).with_context(|| {
        format!("cannot create the state folder {asked}; pass another with --state DIR")
    })?;
    let folder = folder.canonicalize()?;
    let lock = File::create(folder.join("lock")).with_context(|| {
        format!("cannot write to the state folder {asked}; pass another with --state DIR")
    })?;
    if lock.try_lock().is_err() {
        bail!(
            "another `cargo xtask up` runs in {asked}; stop it, or pass another folder with --state DIR"
        );
    }
    Ok(State {
        folder,
        _lock: lock,
    })
}

pub(crate) fn build() -> Result<()> {
    eprintln!("Building the release programs (the first time takes some minutes)");
    let mut command = cargo(&["build", "--bins"]);
    command.args(BUILD_FLAGS);
    let finished = run::bounded(command, COMPILE_LIMIT, Echo::Lines)?;
    if !finished.ok {
        bail!("cargo build {}", finished.reason);
    }
    Ok(())
}

/// Starts every part in the order they need each other; returns where to click.
fn start(plan: &Plan, crew: &mut Crew) -> Result<report::Up> {
    if plan.owns_display() {
        let mut parts = desktop::parts(plan).into_iter();
        if let Some(server) = parts.next() {
            crew.start(server)?;
            desktop::set_size(plan)?;
        }
        for spec in parts {
            crew.start(spec)?;
        }
    }
    let relay = crew.start(daemon(
        "relay",
        "multiclaw-relay",
        &plan.relay_config(),
        plan,
    ))?;
    let credential = plan.instance_credential();
    if !credential.is_file() {
        create_instance(plan, &credential)?;
    }
    let url = create_access(plan)?;
    let admin = create_admin(plan)?;
    crew.start(daemon(
        "cloud",
        "multiclaw-cloud",
        &plan.cloud_config(),
        plan,
    ))?;
    let agent_host = crew.start(daemon(
        "agent-host",
        "multiclaw-agent-host",
        &plan.agent_host_config(),
        plan,
    ))?;
    Ok(report::Up::new(plan, &url, admin, &relay, &agent_host))
}

fn daemon(name: &'static str, program: &str, config: &Path, plan: &Plan) -> Spec {
    Spec {
        name,
        program: repository::program(program),
        args: vec!["--config".into(), config.display().to_string()],
        env: vec![("DISPLAY".into(), plan.display.clone())],
        ready: Ready::Line(READY_LIMIT),
        must_run: true,
    }
}

/// Registers the instance and keeps the credential its agent host shows.
fn create_instance(plan: &Plan, credential: &Path) -> Result<()> {
    let created = admin(
        plan,
        &[
            "instance",
            "create",
            "--id",
            INSTANCE,
            "--region",
            plan::REGION,
        ],
    )?;
    let secret = created["credential"]
        .as_str()
        .context("the cloud created an instance without a credential")?;
    plan::write_private(credential, secret)
}

/// A fresh access key; its URL opens straight into the desktop.
fn create_access(plan: &Plan) -> Result<String> {
    let created = admin(plan, &["access", "create", "--instance", INSTANCE])?;
    let key = created["key"]
        .as_str()
        .context("the cloud created access without a key")?;
    plan::write_private(&plan.access_key(), key)?;
    Ok(created["url"]
        .as_str()
        .context("the cloud created access without a URL")?
        .to_owned())
}

/// The owner of the workspace, with a fresh password.
fn create_admin(plan: &Plan) -> Result<report::Admin> {
    let created = admin(plan, &["member", "create", "--email", ADMIN_EMAIL])?;
    let password = created["password"]
        .as_str()
        .context("the cloud created a member without a password")?;
    Ok(report::Admin {
        email: ADMIN_EMAIL,
        password: password.to_owned(),
    })
}

/// An admin command of the cloud: its one line of JSON.
fn admin(plan: &Plan, args: &[&str]) -> Result<serde_json::Value> {
    let mut command = std::process::Command::new(repository::program("multiclaw-cloud"));
    command.arg("--config").arg(plan.cloud_config()).args(args);
    let output = run::quiet(command, ADMIN_LIMIT)?;
    output
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
        .with_context(|| {
            format!(
                "`multiclaw-cloud {}` did not answer with JSON",
                args.join(" ")
            )
        })
}

/// Says that everything is ready and looks after it until asked to stop.
fn serve(options: &Options, plan: &Plan, crew: &mut Crew, up: report::Up) -> Result<()> {
    let line = up.line(crew.pids());
    plan.note_running(&line)?;
    if options.json {
        println!("{line}");
    } else {
        println!("{}", up.table(crew.pids(), &plan.state));
    }
    loop {
        match crew.look_after()? {
            part::News::Nothing => {}
            part::News::PidsChanged => plan.note_running(&up.line(crew.pids()))?,
        }
        if process::stop::requested() {
            eprintln!("Taking everything down");
            return Ok(());
        }
        std::thread::sleep(process::POLL_INTERVAL);
    }
}
