//! Mail, into a folder: one `.eml` file each, readable by the owner of the process only.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::identity::Email;

/// Files in the folder. When full the oldest is deleted: links in it have long expired.
const MAILS_MAX: usize = 1000;

pub(super) struct Outbox(PathBuf);

impl Outbox {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| {
            format!(
                "cannot create the mail folder {}; make it writable or set `identity.mail_folder` to another",
                folder.display()
            )
        })?;
        Ok(Self(folder.to_owned()))
    }

    /// Addresses and our own words hold no line break, so no header can be smuggled in.
    pub(super) fn send(&self, to: &Email, subject: &str, text: &str) -> Result<()> {
        self.make_room()?;
        let id = Uuid::now_v7();
        let mail = format!(
            "Message-ID: <{id}@multiclaw>\r\nFrom: MultiClaw <no-reply@multiclaw>\r\nTo: {to}\r\n\
             Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
        );
        let unfinished = self.0.join(format!(".{id}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(mail.as_bytes())?;
        fs::rename(&unfinished, self.0.join(format!("{id}.eml")))?;
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        let mut mails: Vec<PathBuf> = fs::read_dir(&self.0)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
            .collect();
        if mails.len() >= MAILS_MAX {
            // Their names begin with the time.
            mails.sort();
            let excess = mails.len() + 1 - MAILS_MAX;
            for old in mails.iter().take(excess) {
                fs::remove_file(old)?;
            }
        }
        Ok(())
    }
}
