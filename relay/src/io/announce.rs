//! Sends the relay's reports to the service, over HTTP and through whatever proxy the environment
//! names.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use protocol::Secret;
use protocol::relay::{REPORT_PATH, Report, SIGNATURE_HEADER, sign};
use tokio::sync::watch;

use super::worker::unix_now;
use crate::announce::{Announcer, FAILURES_TOLD, News, Standing};
use crate::config::Config;
use crate::ledger::Ledger;

/// A service that has not answered by then is asked again at the next interval.
const ANSWER_TIME: Duration = Duration::from_secs(4);

pub(crate) struct Reporter {
    announcer: Announcer,
    client: reqwest::Client,
    url: String,
    secret: Secret,
    ledger: Ledger,
    allocations_max: usize,
}

impl Reporter {
    /// `None` if the configuration names no service.
    pub(crate) fn new(config: &Config, urls: Vec<String>, ledger: Ledger) -> Result<Option<Self>> {
        let Some(cloud) = &config.cloud else {
            return Ok(None);
        };
        let secret = config.auth.shared_secrets.first();
        Ok(Some(Self {
            announcer: Announcer::new(config.region.clone(), urls, Instant::now()),
            client: reqwest::Client::builder()
                .timeout(ANSWER_TIME)
                .build()
                .context("cannot make an HTTP client")?,
            url: format!("{}{REPORT_PATH}", cloud.url.as_str()),
            secret: secret.cloned().unwrap_or_default(),
            ledger,
            allocations_max: config.limits.allocations,
        }))
    }

    /// Reports for ever, and at once when the relay begins to drain; `said` tells that it was said.
    pub(crate) async fn run(
        mut self,
        mut draining: watch::Receiver<bool>,
        said: watch::Sender<bool>,
    ) {
        loop {
            let drains = *draining.borrow_and_update();
            let standing = Standing {
                draining: drains,
                allocations: self.ledger.allocations(),
                allocations_max: self.allocations_max,
            };
            let report = self.announcer.report(standing, unix_now(), Instant::now());
            let news = match self.send(&report).await {
                Ok(()) => self.announcer.handle_accepted(),
                Err(error) => {
                    tracing::debug!("report not delivered: {error:#}");
                    self.announcer.handle_failed()
                }
            };
            self.tell(news);
            said.send_replace(drains);
            let next = tokio::time::Instant::from_std(self.announcer.poll_timeout());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                changed = draining.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn send(&self, report: &Report) -> Result<()> {
        let body = serde_json::to_vec(report)?;
        let signature = sign(&self.secret, &body);
        let request = self
            .client
            .post(&self.url)
            .header(SIGNATURE_HEADER, signature);
        let answer = request.body(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.unwrap_or_default();
        bail!("{status}: {said}")
    }

    fn tell(&self, news: Option<News>) {
        match news {
            Some(News::Registered) => {
                tracing::info!(url = self.url, "registered with the service");
            }
            Some(News::Unheard) => tracing::warn!(
                url = self.url,
                "the service has not taken {FAILURES_TOLD} reports in a row; relaying goes on, but \
                 it may offer other relays (RUST_LOG=debug says why)"
            ),
            None => {}
        }
    }
}
