//! Sign-ins at a rate, whatever the answers, in a process of their own: the flood of a measurement
//! comes from elsewhere, so it must not take processor time from the one who is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::http::Client;
use crate::rows::{SIGN_INS_PER_NETWORK, next_network};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: String,
    /// Sign-ins per second.
    #[arg(long)]
    rate: f64,
}

/// The first line of the input is the body of every request; when the input ends, says how many were
/// asked.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut body = String::new();
    std::io::stdin().read_line(&mut body)?;
    let asked = Arc::new(AtomicU64::new(0));
    let asking = tokio::spawn(ask(options, body.trim_end().to_owned(), asked.clone()));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut vec![]));
    let _ = ended.await?;
    asking.abort();
    println!("{}", json!({ "asked": asked.load(Ordering::Relaxed) }));
    Ok(())
}

async fn ask(options: Options, body: String, asked: Arc<AtomicU64>) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / options.rate));
    let mut asking = JoinSet::new();
    let mut from = next_network();
    loop {
        ticks.tick().await;
        let number = asked.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(u64::from(SIGN_INS_PER_NETWORK)) {
            from = next_network();
        }
        let (address, body) = (options.address.clone(), body.clone());
        asking.spawn(async move {
            let mut client = Client::connect(&address, from).await?;
            client
                .call("POST", "/api/v1/auth/sign-in", "", &body)
                .await
                .map(drop)
        });
        while asking.try_join_next().is_some() {}
    }
}

/// The process, as the one who measures sees it.
pub(crate) struct Flood {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Flood {
    pub(crate) fn start(address: &str, rate: f64, body: &str) -> Result<Self> {
        let mut child = Command::new("nice")
            .args(["-n", "5"])
            .arg(std::env::current_exe()?)
            .args(["flood", "--address", address, "--rate", &rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        writeln!(input, "{body}")?;
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// How many sign-ins it asked for.
    pub(crate) fn end(mut self) -> Result<u64> {
        drop(self.input);
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        self.child.wait()?;
        let said: Value = serde_json::from_str(&line)?;
        said["asked"].as_u64().context("the flood says how much")
    }
}
