//! Answers: built into one growing buffer that is emptied as a whole, so a steady state allocates
//! nothing.

use std::ops::Range;

use protocol::turn::integrity::Key;
use protocol::turn::message::{
    Attribute, Builder, Class, Message, Method, PASSWORD_ALGORITHMS, TransactionId,
};

use super::{Server, Transmit};
use crate::auth::Challenge;
use crate::deadlines::Tick;
use crate::endpoint::Client;
use crate::metrics::Drop;

/// Longest answer in bytes: a realm of 128 and a nonce, two addresses and a SHA-256 tag fit.
const ANSWER_LEN_MAX: usize = 512;

/// Answers that wait for the shell.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<(Client, Range<usize>)>,
    taken: usize,
}

impl Outbox {
    pub(super) fn pop(&mut self) -> Option<Transmit<'_>> {
        if self.taken >= self.entries.len() {
            self.entries.clear();
            self.bytes.clear();
            self.taken = 0;
            return None;
        }
        let (client, range) = self.entries.get(self.taken)?.clone();
        self.taken += 1;
        let bytes = self.bytes.get(range)?;
        Some(Transmit { client, bytes })
    }

    fn answer(&mut self, to: ReplyTo<'_>, class: Class, write: impl FnOnce(&mut Builder<'_>)) {
        self.push(to.client, |room| {
            let mut builder = Builder::new(room, class, to.method, to.transaction);
            write(&mut builder);
            match to.integrity {
                Some((key, Integrity::Sha1)) => _ = builder.integrity(key),
                Some((key, Integrity::Sha256)) => _ = builder.integrity_sha256(key),
                None => {}
            }
            // An answer that does not fit is not sent; the bound above makes room for all of ours.
            builder.finish().unwrap_or(0)
        });
    }

    fn push(&mut self, to: Client, write: impl FnOnce(&mut [u8]) -> usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + ANSWER_LEN_MAX, 0);
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        let end = start + write(room);
        self.bytes.truncate(end);
        if end > start {
            self.entries.push((to, start..end));
        }
    }
}

/// Whom an answer goes to and how it is protected.
#[derive(Clone, Copy)]
pub(super) struct ReplyTo<'k> {
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) transaction: TransactionId,
    pub(super) integrity: Option<(&'k Key, Integrity)>,
}

/// An answer carries the integrity its request had (RFC 8489 §9.2.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Integrity {
    Sha1,
    Sha256,
}

impl Integrity {
    pub(super) fn of(sha256: bool) -> Self {
        if sha256 { Self::Sha256 } else { Self::Sha1 }
    }
}

impl<'k> ReplyTo<'k> {
    pub(super) fn stranger(client: Client, message: &Message<'_>) -> Self {
        Self {
            client,
            method: message.method(),
            transaction: message.transaction(),
            integrity: None,
        }
    }
}

impl Server {
    pub(super) fn succeed(&mut self, to: ReplyTo<'_>, write: impl FnOnce(&mut Builder<'_>)) {
        self.outbox.answer(to, Class::Success, write);
    }

    /// An error for somebody who has proved who they are.
    pub(super) fn refuse(
        &mut self,
        to: ReplyTo<'_>,
        code: u16,
        write: impl FnOnce(&mut Builder<'_>),
    ) {
        self.counters.error(code);
        self.outbox.answer(to, Class::Error, |builder| {
            builder.error(code, reason(code));
            write(builder);
        });
    }

    /// An error for a stranger: without a reason phrase, and only while his budget lasts.
    pub(super) fn challenge(
        &mut self,
        to: ReplyTo<'_>,
        challenge: Challenge,
        now: Tick,
        unix_now: std::time::Duration,
    ) {
        if !self.strangers.admit(to.client.addr.ip(), now) {
            return self.counters.drop(Drop::StrangerLimit);
        }
        let code = match challenge {
            Challenge::BadRequest => 400,
            Challenge::Unauthorized => 401,
            Challenge::StaleNonce => 438,
        };
        self.counters.error(code);
        let nonce = self.nonces.make(to.client.addr, unix_now);
        let realm = &self.settings.credentials.realm;
        self.outbox.answer(to, Class::Error, |builder| {
            builder.error(code, "");
            if challenge != Challenge::BadRequest {
                builder
                    .realm(realm)
                    .nonce(&nonce)
                    .attribute(Attribute::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
            }
        });
    }
}

/// For people who read packet captures (RFC 8489 §14.8).
fn reason(code: u16) -> &'static str {
    match code {
        300 => "Try Alternate",
        400 => "Bad Request",
        403 => "Forbidden",
        420 => "Unknown Attribute",
        437 => "Allocation Mismatch",
        440 => "Address Family not Supported",
        441 => "Wrong Credentials",
        442 => "Unsupported Transport Protocol",
        443 => "Peer Address Family Mismatch",
        486 => "Allocation Quota Reached",
        508 => "Insufficient Capacity",
        _ => "",
    }
}
