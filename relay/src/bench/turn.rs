//! One TURN client as the generator needs it: allocate, bind one channel, keep both alive, release.
//!
//! One transaction at a time. A 401 or 438 brings the realm and nonce and the request is repeated;
//! over UDP an unanswered request is repeated with RFC 8489 §6.2.1's doubling waits. A ChannelBind
//! also renews the permission (RFC 8656 §12.2), so a bound client needs nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::channel::ChannelNumber;
use protocol::turn::integrity::Key;
use protocol::turn::message::{
    Attribute, Builder, Class, Message, Method, PasswordAlgorithm, TransactionId,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// First wait for an answer; a generator shares its machine with the server, so the RFC's value.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Sends of one request, the first included (RFC 8489 §6.2.1, Rc).
const SENDS_MAX: u32 = 7;
/// Wait over TCP and TLS, where nothing is repeated (RFC 8489 §6.2.2, Ti).
const STREAM_WAIT: Duration = Duration::from_millis(39_500);
/// A permission lasts 5 minutes (RFC 8656 §9): renewed with a minute to spare.
const RENEW_AFTER: Duration = Duration::from_secs(240);
const MESSAGE_LEN_MAX: usize = 1024;
/// Every client has one peer, so one number serves.
pub const CHANNEL_RAW: u16 = 0x4001;

/// How one client differs from another.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

/// Whether an unanswered request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Datagrams,
    Stream,
}

/// Where the client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing asked yet, or released.
    Idle,
    Asking(Method),
    Allocated,
    Bound,
    Failed(Failure),
}

/// Why a client gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{method:?} was refused with {code} {reason}")]
    Refused {
        method: Method,
        code: u16,
        reason: String,
    },
    #[error("{0:?} was not answered")]
    Silence(Method),
    #[error("the answer to {0:?} lacks what it must have or is not signed with our key")]
    Malformed(Method),
}

#[derive(Debug)]
struct Pending {
    method: Method,
    transaction: TransactionId,
    message: Vec<u8>,
    sends: u32,
    retry_at: Instant,
    /// Answered a challenge already: another one is final.
    challenged: bool,
}

/// The state machine. Bytes out through [`Client::poll_transmit`].
#[derive(Debug)]
pub struct Client {
    login: Login,
    delivery: Delivery,
    rng: SmallRng,
    key: Option<Key>,
    realm: String,
    nonce: Vec<u8>,
    relayed: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    pending: Option<Pending>,
    transmit: Option<Vec<u8>>,
    state: State,
    renew_at: Option<Instant>,
}

impl Client {
    pub fn new(login: Login, delivery: Delivery, seed: u64) -> Self {
        Self {
            login,
            delivery,
            rng: SmallRng::seed_from_u64(seed),
            key: None,
            realm: String::new(),
            nonce: Vec::new(),
            relayed: None,
            peer: None,
            pending: None,
            transmit: None,
            state: State::Idle,
            renew_at: None,
        }
    }

    /// Asks for an allocation.
    pub fn allocate(&mut self, now: Instant) {
        self.ask(Method::Allocate, now);
    }

    /// Binds the client's one channel to `peer`.
    pub fn bind(&mut self, peer: SocketAddr, now: Instant) {
        self.peer = Some(peer);
        self.ask(Method::ChannelBind, now);
    }

    /// Gives the allocation back.
    pub fn release(&mut self, now: Instant) {
        self.renew_at = None;
        self.relayed = None;
        self.ask(Method::Refresh, now);
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// A message to send now.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.take()
    }

    /// When [`Client::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retry_at = self.pending.as_ref().map(|pending| pending.retry_at);
        retry_at.or(self.renew_at)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.pending.is_some() {
            self.repeat(now);
        } else if self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            self.ask(Method::ChannelBind, now);
        }
    }

    /// Takes a STUN message from the server; anything that answers nothing is ignored.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let answers = |pending: &mut Pending| pending.transaction == message.transaction();
        let Some(pending) = self.pending.take_if(answers) else {
            return;
        };
        match message.class() {
            Class::Success => self.handle_success(pending.method, &message, now),
            Class::Error => self.handle_error(&pending, &message, now),
            Class::Request | Class::Indication => self.pending = Some(pending),
        }
    }

    fn handle_success(&mut self, method: Method, message: &Message<'_>, now: Instant) {
        let signed = self.key.as_ref().is_none_or(|key| message.verify(key));
        self.state = match (method, message.xor_relayed_address()) {
            _ if !signed => State::Failed(Failure::Malformed(method)),
            (Method::Allocate, Some(relayed)) => {
                self.relayed = Some(relayed);
                State::Allocated
            }
            (Method::ChannelBind, _) => {
                self.renew_at = Some(now + RENEW_AFTER);
                State::Bound
            }
            (Method::Refresh, _) => State::Idle,
            _ => State::Failed(Failure::Malformed(method)),
        };
    }

    fn handle_error(&mut self, pending: &Pending, message: &Message<'_>, now: Instant) {
        let (code, reason) = message
            .error()
            .map_or((0, ""), |error| (error.code, error.reason));
        let challenge = matches!(code, 401 | 438) && !pending.challenged;
        if challenge && self.take_challenge(message) {
            self.ask(pending.method, now);
            if let Some(again) = &mut self.pending {
                again.challenged = true;
            }
            return;
        }
        self.state = State::Failed(Failure::Refused {
            method: pending.method,
            code,
            reason: reason.to_owned(),
        });
    }

    fn take_challenge(&mut self, message: &Message<'_>) -> bool {
        let (Some(realm), Some(nonce)) = (message.realm(), message.nonce()) else {
            return false;
        };
        self.nonce = nonce.to_vec();
        if self.key.is_none() || self.realm != realm {
            self.realm = realm.to_owned();
            self.key = Some(Key::long_term(
                PasswordAlgorithm::Md5,
                &self.login.username,
                realm,
                &self.login.password,
            ));
        }
        true
    }

    fn ask(&mut self, method: Method, now: Instant) {
        let transaction = TransactionId(self.rng.random());
        let Some(message) = self.encode(method, transaction) else {
            self.state = State::Failed(Failure::Malformed(method));
            return;
        };
        self.transmit = Some(message.clone());
        // A renewal leaves the channel usable meanwhile.
        if self.state != State::Bound || method != Method::ChannelBind {
            self.state = State::Asking(method);
        }
        self.pending = Some(Pending {
            method,
            transaction,
            message,
            sends: 1,
            retry_at: now + self.first_wait(),
            challenged: false,
        });
    }

    fn encode(&self, method: Method, transaction: TransactionId) -> Option<Vec<u8>> {
        let mut buffer = [0; MESSAGE_LEN_MAX];
        let mut builder = Builder::new(&mut buffer, Class::Request, method, transaction);
        match method {
            Method::Allocate => {
                builder.requested_transport_udp();
            }
            Method::ChannelBind => {
                builder.channel_number(ChannelNumber::new(CHANNEL_RAW)?);
                builder.xor_peer_address(self.peer?);
            }
            Method::Refresh => {
                builder.lifetime(Duration::ZERO);
            }
            _ => {}
        }
        if let Some(key) = &self.key {
            builder.username(&self.login.username);
            builder.attribute(Attribute::REALM, self.realm.as_bytes());
            builder.nonce(&self.nonce);
            builder.integrity(key);
        }
        let len = builder.finish().ok()?;
        Some(buffer.get(..len)?.to_vec())
    }

    fn repeat(&mut self, now: Instant) {
        let Some(pending) = self.pending.as_mut().filter(|it| it.retry_at <= now) else {
            return;
        };
        if pending.sends >= SENDS_MAX || self.delivery == Delivery::Stream {
            self.state = State::Failed(Failure::Silence(pending.method));
            self.pending = None;
            return;
        }
        pending.retry_at = now + RETRY_FIRST * 2_u32.pow(pending.sends);
        pending.sends += 1;
        self.transmit = Some(pending.message.clone());
    }

    fn first_wait(&self) -> Duration {
        match self.delivery {
            Delivery::Datagrams => RETRY_FIRST,
            Delivery::Stream => STREAM_WAIT,
        }
    }
}

#[cfg(test)]
mod tests;
