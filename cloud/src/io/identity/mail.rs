//! Mail: to an SMTP server if one is configured, otherwise into a folder.
//!
//! Either way a mail is a file before whoever asked for it is answered: nobody waits for a server,
//! and what was promised survives a restart.

mod folder;
mod smtp;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::config::{Config, ConfigError, SmtpConfig};
use crate::identity::Email;
use crate::metrics::Metrics;
use folder::{Folder, WhenFull};

/// Who mails in the folder are from.
const FOLDER_FROM: &str = "MultiClaw <no-reply@multiclaw>";

/// Where mails go; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::io) enum Outbox {
    Folder(Folder, Arc<Metrics>),
    Smtp(smtp::Queue),
}

impl Outbox {
    /// # Errors
    ///
    /// If the folder cannot be written, or what is configured of the server makes no sense.
    pub(in crate::io) fn open(config: &Config, metrics: Arc<Metrics>) -> Result<Self> {
        match &config.smtp {
            Some(smtp) => Self::through(smtp, &config.state.join("mail-queue"), metrics),
            None => Self::into_folder(config.mail_folder(), metrics),
        }
    }

    pub(in crate::io) fn into_folder(folder: PathBuf, metrics: Arc<Metrics>) -> Result<Self> {
        let folder = Folder::open(folder, FOLDER_FROM, WhenFull::DropOldest)?;
        Ok(Self::Folder(folder, metrics))
    }

    fn through(config: &SmtpConfig, queue: &Path, metrics: Arc<Metrics>) -> Result<Self> {
        let server = smtp::Server::new(config).map_err(unsound)?;
        let folder = Folder::open(queue.to_owned(), &config.from, WhenFull::Refuse)?;
        let queue = smtp::Queue::start(folder, server, smtp::Pace::default(), metrics);
        Ok(Self::Smtp(queue))
    }

    /// What can be said of the configuration without asking the server.
    pub(in crate::io) fn check(config: &Config) -> Result<(), ConfigError> {
        match &config.smtp {
            Some(config) => smtp::Server::new(config).map(drop).map_err(unsound),
            None => Ok(()),
        }
    }

    /// # Errors
    ///
    /// If the mail could not be written.
    pub(super) fn send(&self, to: &Email, subject: &'static str, text: &str) -> Result<()> {
        match self {
            Self::Folder(folder, metrics) => {
                folder.place(to, subject, text)?;
                metrics.mails.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Self::Smtp(queue) => queue.send(to, subject, text),
        }
    }
}

fn unsound(error: anyhow::Error) -> ConfigError {
    ConfigError(format!("{error:#}"))
}

#[cfg(test)]
mod tests;
