//! Mails as files: one `.eml` each (RFC 5322), readable by the owner of the process only, whole and
//! on disk before it is there.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use crate::identity::Email;

/// Files in a folder that drops its oldest: links in them have long expired.
const KEPT_MAX: usize = 1_000;
/// Files in a folder that loses none; above it whoever asks for a mail is refused.
const WAITING_MAX: usize = 10_000;

/// The ending of files that are not tried again.
const FAILED: &str = "failed";

/// What happens when there is one mail too many.
#[derive(Clone, Copy, Debug)]
pub(super) enum WhenFull {
    DropOldest,
    Refuse,
}

#[derive(Clone, Debug)]
pub(in crate::io) struct Folder {
    path: PathBuf,
    from: String,
    when_full: WhenFull,
}

/// A mail of the folder.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) to: Email,
    /// As it goes over the wire.
    pub(super) bytes: Vec<u8>,
    pub(super) written: SystemTime,
}

impl Folder {
    pub(super) fn open(path: PathBuf, from: &str, when_full: WhenFull) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| {
            format!(
                "cannot create the mail folder {}; make it writable or set `identity.mail_folder` or `state` to another",
                path.display()
            )
        })?;
        Ok(Self {
            path,
            from: from.to_owned(),
            when_full,
        })
    }

    /// Addresses and our own words hold no line break, so no header can be smuggled in.
    pub(super) fn place(&self, to: &Email, subject: &str, text: &str) -> Result<()> {
        self.make_room()?;
        let id = Uuid::now_v7();
        let from = &self.from;
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mail = format!(
            "Message-ID: <{id}@multiclaw>\r\nDate: {date}\r\nFrom: {from}\r\nTo: {to}\r\n\
             Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
        );
        let unfinished = self.path.join(format!(".{id}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(mail.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path.join(format!("{id}.eml")))?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    /// Oldest first: their names begin with the time.
    pub(super) fn list(&self) -> Result<Vec<PathBuf>> {
        self.ending_with("eml")
    }

    /// Kept for whoever asks what became of it, until [`KEPT_MAX`] newer ones are.
    pub(super) fn set_aside(&self, mail: &Path) -> Result<()> {
        drop_oldest(&self.ending_with(FAILED)?)?;
        fs::rename(mail, mail.with_extension(FAILED))?;
        Ok(())
    }

    fn ending_with(&self, end: &str) -> Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.path)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|found| found == end))
            .collect();
        files.sort();
        Ok(files)
    }

    fn make_room(&self) -> Result<()> {
        let mails = self.list()?;
        match self.when_full {
            WhenFull::Refuse if mails.len() >= WAITING_MAX => {
                bail!("{WAITING_MAX} mails wait for the mail server")
            }
            WhenFull::Refuse => Ok(()),
            WhenFull::DropOldest => drop_oldest(&mails),
        }
    }
}

/// Makes room for one more.
fn drop_oldest(files: &[PathBuf]) -> Result<()> {
    let excess = (files.len() + 1).saturating_sub(KEPT_MAX);
    for old in files.iter().take(excess) {
        fs::remove_file(old)?;
    }
    Ok(())
}

impl Mail {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let written = fs::metadata(path)?.modified()?;
        let text = std::str::from_utf8(&bytes).context("it is no text")?;
        let to = text
            .lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix("To: "))
            .context("it names nobody")?;
        let to = Email::parse(to).context("it names no address")?;
        Ok(Self { to, bytes, written })
    }
}
