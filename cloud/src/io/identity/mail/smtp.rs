//! Mail through an SMTP server (RFC 5321): a queue on disk, and one task that empties it.
//!
//! A mail leaves the queue when the server has taken it, or has refused its recipient for good;
//! until then it is tried again, more and more seldom. A crash between the server's answer and the
//! file's removal sends it twice, with the same Message-ID, never not at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use lettre::address::{Address, Envelope};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::sync::Notify;

use super::folder::{Folder, Mail};
use crate::config::{SmtpConfig, SmtpSecurity};
use crate::identity::Email;
use crate::metrics::Metrics;

/// One answer of the server.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Mails under way at once: a server that takes its time holds up the others less.
const AT_ONCE_MAX: usize = 8;
/// RFC 5321 §4.5.4.1: giving up needs at least four to five days.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// Pauses after a failed attempt: each twice the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) first: Duration,
    pub(super) max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            // A server that lists strangers grey lets them in after some minutes.
            max: Duration::from_secs(600),
        }
    }
}

/// Mails on their way; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::io) struct Queue {
    folder: Folder,
    filled: Arc<Notify>,
}

/// The server, and who mails are from.
pub(super) struct Server {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
}

/// What became of an attempt.
enum Outcome {
    Taken,
    /// Nobody has this address.
    Refused(smtp::Error),
    Later(anyhow::Error),
}

impl Queue {
    /// Sends what waits, and what will.
    pub(super) fn start(folder: Folder, server: Server, pace: Pace, metrics: Arc<Metrics>) -> Self {
        let filled = Arc::new(Notify::new());
        let carrier = Carrier {
            folder: folder.clone(),
            server,
            pace,
            metrics,
            failures_by_mail: HashMap::new(),
        };
        tokio::spawn(carrier.run(filled.clone()));
        Self { folder, filled }
    }

    /// # Errors
    ///
    /// If the mail could not be written, or too many wait.
    pub(super) fn send(&self, to: &Email, subject: &str, text: &str) -> Result<()> {
        self.folder.place(to, subject, text)?;
        self.filled.notify_one();
        Ok(())
    }
}

impl Server {
    /// # Errors
    ///
    /// If what is configured makes no sense; the server itself is first asked for the first mail.
    pub(super) fn new(config: &SmtpConfig) -> Result<Self> {
        let (_, from) = config.from.rsplit_once('<').unwrap_or(("", &config.from));
        let from = from.trim_end().trim_end_matches('>').parse();
        let from = from.ok().filter(|_| !config.from.contains(['\r', '\n']));
        Ok(Self {
            transport: transport(config)?,
            from: from.with_context(|| {
                format!("`smtp.from` is `{}`, which is no mail address", config.from)
            })?,
        })
    }

    async fn deliver(&self, mail: &Mail) -> Outcome {
        let envelope = match self.envelope(&mail.to) {
            Ok(envelope) => envelope,
            Err(error) => return Outcome::Later(error),
        };
        match self.transport.send_raw(&envelope, &mail.bytes).await {
            Ok(_) => Outcome::Taken,
            Err(error) if refuses_recipient(&error) => Outcome::Refused(error),
            Err(error) => Outcome::Later(error.into()),
        }
    }

    fn envelope(&self, to: &Email) -> Result<Envelope> {
        let to = to.as_str().parse().context("SMTP has no form for it")?;
        Ok(Envelope::new(Some(self.from.clone()), vec![to])?)
    }
}

/// RFC 5321 §4.2.3: these three are about the mailbox, unless RFC 3463 §3.8 says it is a matter of
/// policy, such as "relaying denied". Every other refusal may be about us, such as a wrong password,
/// and ends when the operator has put it right.
fn refuses_recipient(error: &smtp::Error) -> bool {
    let mailbox = |code| matches!(u16::from(code), 550 | 551 | 553);
    error.status().is_some_and(mailbox) && !format!("{error:?}").contains("5.7.")
}

fn transport(config: &SmtpConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
    let host = config.host.as_str();
    let (tls, port) = match config.security {
        SmtpSecurity::Tls => (Tls::Wrapper(trust(config)?), smtp::SUBMISSIONS_PORT),
        // Never goes on in the clear if the server offers no TLS.
        SmtpSecurity::Starttls => (Tls::Required(trust(config)?), smtp::SUBMISSION_PORT),
        SmtpSecurity::None => (Tls::None, smtp::SMTP_PORT),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .tls(tls)
        .port(config.port.unwrap_or(port))
        .timeout(Some(ANSWER_WITHIN));
    if let (Some(user), Some(file)) = (&config.user, &config.password_file) {
        let password = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read `smtp.password_file` {}", file.display()))?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("`smtp.password_file` {} is empty", file.display());
        }
        builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    Ok(builder.build())
}

fn trust(config: &SmtpConfig) -> Result<TlsParameters> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(file) = &config.ca_file {
        let shown = file.display();
        let pem =
            std::fs::read(file).with_context(|| format!("cannot read `smtp.ca_file` {shown}"))?;
        let authority = Certificate::from_pem(&pem)
            .with_context(|| format!("`smtp.ca_file` {shown} holds no certificate"))?;
        builder = builder.add_root_certificate(authority);
    }
    let host = &config.host;
    builder.build().with_context(|| {
        format!(
            "`smtp.host` is `{host}`, which is no host, or the machine has no certificates to trust"
        )
    })
}

struct Carrier {
    folder: Folder,
    server: Server,
    pace: Pace,
    metrics: Arc<Metrics>,
    failures_by_mail: HashMap<PathBuf, Failures>,
}

struct Failures {
    count: u32,
    due: Instant,
}

impl Carrier {
    async fn run(mut self, filled: Arc<Notify>) {
        loop {
            let due = match self.due(Instant::now()) {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!("the mail queue cannot be read: {error:#}");
                    Vec::new()
                }
            };
            if due.is_empty() {
                let wait = self.wait(Instant::now());
                // Woken by a new mail or by the clock, the next step is the same.
                let _ = tokio::time::timeout(wait, filled.notified()).await;
                continue;
            }
            let outcomes = join_all(due.iter().map(|path| attempt(&self.server, path))).await;
            for (path, outcome) in due.iter().zip(outcomes) {
                if let Err(error) = self.settle(path, outcome) {
                    tracing::error!("the mail queue cannot be written: {error:#}");
                    self.postpone(path);
                }
            }
        }
    }

    /// Mails to try now; forgets those that are gone.
    fn due(&mut self, now: Instant) -> Result<Vec<PathBuf>> {
        let mut mails = self.folder.list()?;
        self.failures_by_mail
            .retain(|path, _| mails.binary_search(path).is_ok());
        mails.retain(|path| {
            let failures = self.failures_by_mail.get(path);
            failures.is_none_or(|failures| failures.due <= now)
        });
        mails.truncate(AT_ONCE_MAX);
        Ok(mails)
    }

    fn wait(&self, now: Instant) -> Duration {
        let next = self.failures_by_mail.values().map(|it| it.due).min();
        next.map_or(self.pace.max, |next| next.saturating_duration_since(now))
    }

    fn settle(&mut self, path: &Path, outcome: Result<(Mail, Outcome)>) -> Result<()> {
        match outcome {
            Ok((_, Outcome::Taken)) => {
                std::fs::remove_file(path)?;
                self.metrics.mails.fetch_add(1, Ordering::Relaxed);
            }
            Ok((_, Outcome::Refused(error))) => {
                // Anybody can ask for a mail to an address that is not there.
                tracing::debug!("the mail server refused an address: {error}");
                self.set_aside(path)?;
            }
            Ok((mail, Outcome::Later(error))) => {
                self.tell(&error);
                match mail.written.elapsed() {
                    Ok(age) if age > GIVE_UP_AFTER => self.set_aside(path)?,
                    _ => self.postpone(path),
                }
            }
            Err(error) => {
                tracing::error!("{} is not sent: {error:#}", path.display());
                self.set_aside(path)?;
            }
        }
        Ok(())
    }

    /// Once for each outage, not once for each mail of it.
    fn tell(&self, error: &anyhow::Error) {
        if self.failures_by_mail.is_empty() {
            tracing::warn!("the mail server took no mail, which is tried again: {error:#}");
        } else {
            tracing::debug!("the mail server took no mail: {error:#}");
        }
    }

    fn postpone(&mut self, path: &Path) {
        let failures = self.failures_by_mail.entry(path.to_owned());
        let failures = failures.or_insert(Failures {
            count: 0,
            due: Instant::now(),
        });
        let doubled = 2_u32.saturating_pow(failures.count);
        let pause = self.pace.first.saturating_mul(doubled).min(self.pace.max);
        failures.count += 1;
        failures.due = Instant::now() + pause;
    }

    fn set_aside(&self, path: &Path) -> Result<()> {
        self.folder.set_aside(path)?;
        self.metrics.mails_failed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn attempt(server: &Server, path: &Path) -> Result<(Mail, Outcome)> {
    let mail = Mail::read(path)?;
    let outcome = server.deliver(&mail).await;
    Ok((mail, outcome))
}
