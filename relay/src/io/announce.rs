//! Sends the relay's reports to the service, over HTTP and through whatever proxy the environment
//! names.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use protocol::Secret;
use protocol::relay::{REPORT_PATH, Report, SIGNATURE_HEADER, sign};
use tokio::sync::watch;

use super::worker::unix_now;
use crate::announce::{Announcer, FAILURES_TOLD, News, Place, Standing};
use crate::config::Config;
use crate::ledger::Ledger;

/// A service that has not answered by then is asked again at the next interval.
const ANSWER_TIME: Duration = Duration::from_secs(4);

/// To whom reports go and what they say of the relay, by the configuration as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    url: String,
    secret: Secret,
    place: Place,
    allocations_max: usize,
}

impl Service {
    /// `None` if the configuration names none.
    pub(crate) fn of(config: &Config, urls: Vec<String>) -> Option<Self> {
        let cloud = config.cloud.as_ref()?;
        let secret = config.auth.shared_secrets.first();
        Some(Self {
            url: format!("{}{REPORT_PATH}", cloud.url.as_str()),
            secret: secret.cloned().unwrap_or_default(),
            place: Place {
                region: config.region.clone(),
                urls,
            },
            allocations_max: config.limits.allocations,
        })
    }
}

pub(crate) struct Reporter {
    announcer: Announcer,
    client: reqwest::Client,
    services: watch::Receiver<Option<Service>>,
    ledger: Ledger,
}

impl Reporter {
    pub(crate) fn new(services: watch::Receiver<Option<Service>>, ledger: Ledger) -> Result<Self> {
        Ok(Self {
            announcer: Announcer::new(Place::default(), Instant::now()),
            client: reqwest::Client::builder()
                .timeout(ANSWER_TIME)
                .build()
                .context("cannot make an HTTP client")?,
            services,
            ledger,
        })
    }

    /// Reports for ever, and at once when the relay begins to drain or the service is another one;
    /// `said` tells that it was said that the relay drains.
    pub(crate) async fn run(
        mut self,
        mut draining: watch::Receiver<bool>,
        said: watch::Sender<bool>,
    ) {
        loop {
            let service = self.services.borrow_and_update().clone();
            let Some(service) = service else {
                // Nobody has to be told.
                said.send_replace(true);
                if self.services.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let place = service.place.clone();
            self.announcer.handle_change(place, Instant::now());
            if self.report(&service, &mut draining, &said).await.is_err() {
                return;
            }
        }
    }

    /// Until there is another service. It is not told that the relay leaves it: without reports it
    /// finds out by itself, and moves its sessions.
    ///
    /// # Errors
    ///
    /// The relay is gone.
    async fn report(
        &mut self,
        service: &Service,
        draining: &mut watch::Receiver<bool>,
        said: &watch::Sender<bool>,
    ) -> Result<(), watch::error::RecvError> {
        loop {
            let drains = *draining.borrow_and_update();
            let standing = Standing {
                draining: drains,
                allocations: self.ledger.allocations(),
                allocations_max: service.allocations_max,
            };
            let report = self.announcer.report(standing, unix_now(), Instant::now());
            let news = match self.send(service, &report).await {
                Ok(()) => self.announcer.handle_accepted(),
                Err(error) => {
                    tracing::debug!("report not delivered: {error:#}");
                    self.announcer.handle_failed()
                }
            };
            tell(&service.url, news);
            said.send_replace(drains);
            let next = tokio::time::Instant::from_std(self.announcer.poll_timeout());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                changed = draining.changed() => changed?,
                changed = self.services.changed() => return changed,
            }
        }
    }

    async fn send(&self, service: &Service, report: &Report) -> Result<()> {
        let body = serde_json::to_vec(report)?;
        let signature = sign(&service.secret, &body);
        let request = self
            .client
            .post(&service.url)
            .header(SIGNATURE_HEADER, signature);
        let answer = request.body(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = answer.text().await.unwrap_or_default();
        bail!("{status}: {said}")
    }
}

fn tell(url: &str, news: Option<News>) {
    match news {
        Some(News::Registered) => tracing::info!(url, "registered with the service"),
        Some(News::Unheard) => tracing::warn!(
            url,
            "the service has not taken {FAILURES_TOLD} reports in a row; relaying goes on, but it \
             may offer other relays (RUST_LOG=debug says why)"
        ),
        None => {}
    }
}
