//! Requests that wait for their answer: built, signed, repeated, given up.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::channel::ChannelNumber;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Delivery;

/// RFC 8489 §6.2.1 starts at 500 ms; networks have become faster, and a click waits for this.
const RTO_START: Duration = Duration::from_millis(250);
/// It doubles no further: where a quarter of all packets is lost, an attempt fails as often as not.
const RTO_MAX: Duration = Duration::from_secs(1);
/// Sent at 0, 0.25, 0.75, 1.75 s and so on, each second.
const ATTEMPTS_MAX: u32 = 8;
/// Given up so long after the last attempt, as its answer may be on its way.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Given up so long after the only attempt on a stream.
const STREAM_WAIT: Duration = Duration::from_secs(8);
/// Requests in flight; permissions and channels of one allocation come first in mind. When full a
/// new request is not sent: its own timer asks again.
const PENDING_MAX: usize = 160;
/// A username of 508 bytes, a realm and a nonce of 763 each, and the rest.
const REQUEST_LEN_MAX: usize = 2304;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allocate(Duration),
    Refresh(Duration),
    CreatePermission(IpAddr),
    ChannelBind(SocketAddr, ChannelNumber),
}

/// One request in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) action: Action,
    transaction: TransactionId,
    bytes: Vec<u8>,
    attempts: u32,
    next_at: Instant,
    authenticated: bool,
    /// How often the server asked to authenticate again.
    challenges: u8,
}

impl Pending {
    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// 401 once, unless we did authenticate: then the password is wrong. 438 a few times.
    pub(super) fn may_authenticate_again(&self, code: u16) -> bool {
        match code {
            401 => !self.authenticated,
            _ => self.challenges < 3,
        }
    }
}

#[derive(Debug)]
pub(super) struct Requests {
    delivery: Delivery,
    rng: StdRng,
    pending: Vec<Pending>,
}

impl Requests {
    pub(super) fn new(delivery: Delivery, seed: u64) -> Self {
        Self {
            delivery,
            rng: StdRng::seed_from_u64(seed),
            pending: Vec::new(),
        }
    }

    pub(super) fn next_transaction(&mut self) -> TransactionId {
        TransactionId(self.rng.random())
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    pub(super) fn send(&mut self, action: Action, auth: &Auth, now: Instant) -> Option<Vec<u8>> {
        self.start(action, auth, 0, now)
    }

    pub(super) fn send_again(
        &mut self,
        pending: Pending,
        auth: &Auth,
        now: Instant,
    ) -> Option<Vec<u8>> {
        self.start(pending.action, auth, pending.challenges + 1, now)
    }

    fn start(
        &mut self,
        action: Action,
        auth: &Auth,
        challenges: u8,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if self.pending.len() >= PENDING_MAX {
            return None;
        }
        let transaction = self.next_transaction();
        let bytes = encode(action, transaction, auth)?;
        let wait = match self.delivery {
            Delivery::Datagrams => RTO_START,
            Delivery::Stream => STREAM_WAIT,
        };
        self.pending.push(Pending {
            action,
            transaction,
            bytes: bytes.clone(),
            attempts: 1,
            next_at: now + wait,
            authenticated: auth.is_ready(),
            challenges,
        });
        Some(bytes)
    }

    pub(super) fn take(&mut self, transaction: TransactionId) -> Option<Pending> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.transaction == transaction)?;
        Some(self.pending.swap_remove(index))
    }

    pub(super) fn put_back(&mut self, pending: Pending) {
        self.pending.push(pending);
    }

    /// The next request that must be sent once more.
    pub(super) fn poll_repeat(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.delivery == Delivery::Stream {
            return None;
        }
        let pending = self
            .pending
            .iter_mut()
            .find(|pending| pending.next_at <= now && pending.attempts < ATTEMPTS_MAX)?;
        pending.next_at = if pending.attempts + 1 == ATTEMPTS_MAX {
            now + LAST_WAIT
        } else {
            now + RTO_MAX.min(RTO_START * 2u32.pow(pending.attempts))
        };
        pending.attempts += 1;
        Some(pending.bytes.clone())
    }

    /// The next request that is given up.
    pub(super) fn poll_unanswered(&mut self, now: Instant) -> Option<Action> {
        let index = self
            .pending
            .iter()
            .position(|pending| pending.next_at <= now)?;
        Some(self.pending.swap_remove(index).action)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.next_at).min()
    }
}

fn encode(action: Action, transaction: TransactionId, auth: &Auth) -> Option<Vec<u8>> {
    let mut bytes = vec![0; REQUEST_LEN_MAX];
    let method = match action {
        Action::Allocate(_) => Method::Allocate,
        Action::Refresh(_) => Method::Refresh,
        Action::CreatePermission(_) => Method::CreatePermission,
        Action::ChannelBind(..) => Method::ChannelBind,
    };
    let mut builder = Builder::new(&mut bytes, Class::Request, method, transaction);
    match action {
        Action::Allocate(lifetime) => builder.requested_transport_udp().lifetime(lifetime),
        Action::Refresh(lifetime) => builder.lifetime(lifetime),
        Action::CreatePermission(ip) => builder.xor_peer_address(SocketAddr::new(ip, 0)),
        Action::ChannelBind(peer, number) => builder.channel_number(number).xor_peer_address(peer),
    };
    auth.sign(&mut builder);
    let len = builder.finish().ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// Long-term credentials (RFC 8489 §9.2) with what the server said about them.
#[derive(Debug)]
pub(super) struct Auth {
    username: String,
    password: Secret,
    /// The credentials before, until the server has accepted the new ones.
    previous: Option<(String, Secret)>,
    challenge: Option<Challenge>,
}

struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: Key,
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Challenge")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl Auth {
    pub(super) fn new(username: String, password: Secret) -> Self {
        Self {
            username,
            password,
            previous: None,
            challenge: None,
        }
    }

    fn is_ready(&self) -> bool {
        self.challenge.is_some()
    }

    /// Takes realm and nonce from a 401 or 438; false if there is nothing to go by.
    pub(super) fn handle_challenge(&mut self, message: &Message<'_>) -> bool {
        let known = self.challenge.as_ref().map(|c| c.realm.clone());
        let realm = message.realm().map(str::to_owned).or(known);
        let (Some(realm), Some(nonce)) = (realm, message.nonce()) else {
            return false;
        };
        self.challenge = Some(Challenge {
            key: self.key(&realm),
            realm,
            nonce: nonce.to_vec(),
        });
        true
    }

    /// True if the credentials are other ones than before.
    pub(super) fn replace(&mut self, username: String, password: Secret) -> bool {
        if self.username == username && self.password == password {
            return false;
        }
        let old_name = std::mem::replace(&mut self.username, username);
        let old_password = std::mem::replace(&mut self.password, password);
        self.previous = Some((old_name, old_password));
        self.rekey();
        true
    }

    /// Goes back to the credentials before; false if there are none.
    pub(super) fn revert(&mut self) -> bool {
        let Some((username, password)) = self.previous.take() else {
            return false;
        };
        self.username = username;
        self.password = password;
        self.rekey();
        true
    }

    pub(super) fn verifies(&self, message: &Message<'_>) -> bool {
        let previous = self.previous.as_ref().zip(self.challenge.as_ref());
        self.challenge
            .as_ref()
            .is_some_and(|challenge| message.verify(&challenge.key))
            // The answer may be to a request from before the credentials were replaced.
            || previous.is_some_and(|((username, password), challenge)| {
                message.verify(&long_term(username, &challenge.realm, password))
            })
    }

    fn rekey(&mut self) {
        let Some(mut challenge) = self.challenge.take() else {
            return;
        };
        challenge.key = self.key(&challenge.realm);
        self.challenge = Some(challenge);
    }

    fn key(&self, realm: &str) -> Key {
        long_term(&self.username, realm, &self.password)
    }

    fn sign(&self, builder: &mut Builder<'_>) {
        let Some(challenge) = &self.challenge else {
            return;
        };
        builder
            .username(&self.username)
            .realm(&challenge.realm)
            .nonce(&challenge.nonce)
            .integrity(&challenge.key);
    }
}

/// MD5, as every TURN server takes it from a client that names no algorithm (RFC 8489 §9.2.4).
fn long_term(username: &str, realm: &str, password: &Secret) -> Key {
    Key::long_term(PasswordAlgorithm::Md5, username, realm, password)
}
