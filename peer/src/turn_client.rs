//! One allocation on one TURN server, as its client sees it (RFC 8656).
//!
//! Knows messages, not sockets: bytes of whole messages go in and out, and whether a datagram or a
//! framed stream carries them is the owner's business. Permissions are asked for as soon as a
//! remote address is known; a channel is bound when the first packet that is not a connectivity
//! check goes to a peer, so only addresses that carry media cost one.

mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::message::{Builder, Class, Message, Method};
use protocol::turn::{Kind, classify};

use request::{Action, Auth, Pending, Requests};

/// Peers with a permission, and peers with a channel, one allocation keeps. More are not reached
/// through it; ICE finds the better ones first.
pub const PEERS_MAX: usize = 64;
/// Datagrams that wait for a permission, per allocation. When full the oldest is dropped: it was a
/// connectivity check and comes again.
const WAITING_MAX: usize = 64;
/// Refreshed long before the server's 5 minutes (permission) and 10 minutes (channel) are over.
const PEER_REFRESH: Duration = Duration::from_secs(200);
/// Asked for; the server may give less.
const LIFETIME: Duration = Duration::from_secs(600);
/// Room for the attributes of a Send indication around its payload.
const INDICATION_OVERHEAD: usize = 64;
/// How the messages travel: datagrams are repeated until answered, a stream does that by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Datagrams,
    Stream,
}

/// What happened to the allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEvent {
    Allocated {
        /// Where peers reach us.
        relayed: SocketAddr,
        /// Where the server sees us: a server-reflexive candidate if it is not our own address.
        mapped: Option<SocketAddr>,
    },
    /// There is no allocation, or no longer one. Nothing follows.
    Failed {
        /// STUN error code; 0 if the server did not answer.
        code: u16,
        problem: String,
    },
}

/// What came out of a message of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// A peer sent this.
    Data { peer: SocketAddr, payload: &'a [u8] },
    /// Dealt with.
    Control,
    /// Not for us, or not understood; count it.
    Ignored,
}

#[derive(Debug)]
pub struct TurnClient {
    state: State,
    auth: Auth,
    requests: Requests,
    relayed: Option<SocketAddr>,
    refresh_at: Option<Instant>,
    expires_at: Option<Instant>,
    permissions_by_ip: BTreeMap<IpAddr, Permission>,
    channels_by_peer: BTreeMap<SocketAddr, ChannelEntry>,
    peers_by_channel: BTreeMap<ChannelNumber, SocketAddr>,
    next_channel: u16,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<TurnEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocating,
    Allocated,
    /// A Refresh of lifetime 0 is on its way.
    Releasing,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Permission {
    granted: bool,
    refresh_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct ChannelEntry {
    number: ChannelNumber,
    bound: bool,
    refresh_at: Instant,
}

impl TurnClient {
    /// Starts to allocate at once. `seed` makes the transaction ids.
    pub fn new(
        delivery: Delivery,
        username: String,
        password: Secret,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut client = Self {
            state: State::Allocating,
            auth: Auth::new(username, password),
            requests: Requests::new(delivery, seed),
            relayed: None,
            refresh_at: None,
            expires_at: None,
            permissions_by_ip: BTreeMap::new(),
            channels_by_peer: BTreeMap::new(),
            peers_by_channel: BTreeMap::new(),
            next_channel: 0x4000,
            waiting: VecDeque::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.request(Action::Allocate(LIFETIME), now);
        client
    }

    /// Our address on the server, once allocated.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// A whole message of the server came.
    pub fn handle_message<'a>(&mut self, bytes: &'a [u8], now: Instant) -> Inbound<'a> {
        match classify(bytes) {
            Kind::ChannelData => self.handle_channel_data(bytes),
            Kind::Stun => self.handle_stun(bytes, now),
            Kind::Other => Inbound::Ignored,
        }
    }

    fn handle_channel_data<'a>(&self, bytes: &'a [u8]) -> Inbound<'a> {
        let Ok((number, payload)) = channel::decode(bytes) else {
            return Inbound::Ignored;
        };
        match self.peers_by_channel.get(&number) {
            Some(&peer) => Inbound::Data { peer, payload },
            None => Inbound::Ignored,
        }
    }

    fn handle_stun<'a>(&mut self, bytes: &'a [u8], now: Instant) -> Inbound<'a> {
        let Ok(message) = Message::parse(bytes) else {
            return Inbound::Ignored;
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::Data) => self.handle_data(&message),
            (Class::Success | Class::Error, _) => self.handle_answer(&message, now),
            _ => Inbound::Ignored,
        }
    }

    // RFC 8656 §11.4: discard an indication from an address without a permission of ours.
    fn handle_data<'a>(&self, message: &Message<'a>) -> Inbound<'a> {
        let (Some(peer), Some(payload)) = (message.xor_peer_address(), message.data()) else {
            return Inbound::Ignored;
        };
        if !self.permissions_by_ip.contains_key(&peer.ip()) {
            return Inbound::Ignored;
        }
        Inbound::Data { peer, payload }
    }

    fn handle_answer<'a>(&mut self, message: &Message<'_>, now: Instant) -> Inbound<'a> {
        let Some(pending) = self.requests.take(message.transaction()) else {
            return Inbound::Ignored;
        };
        if message.class() == Class::Success {
            // RFC 8489 §9.2.5: an answer to a request with integrity must carry it, made with the
            // same key; otherwise go on as if it had not come.
            if pending.is_authenticated() && !self.auth.verifies(message) {
                self.requests.put_back(pending);
                return Inbound::Ignored;
            }
            self.handle_success(pending.action, message, now);
        } else {
            self.handle_error(pending, message, now);
        }
        Inbound::Control
    }

    fn handle_success(&mut self, action: Action, message: &Message<'_>, now: Instant) {
        match action {
            Action::Allocate(_) => self.handle_allocated(message, now),
            Action::Refresh(lifetime) if lifetime.is_zero() => self.state = State::Gone,
            Action::Refresh(_) => self.set_lifetime(message.lifetime().unwrap_or(LIFETIME), now),
            Action::CreatePermission(ip) => self.handle_permitted(ip, now),
            Action::ChannelBind(peer, _) => {
                if let Some(entry) = self.channels_by_peer.get_mut(&peer) {
                    entry.bound = true;
                    entry.refresh_at = now + PEER_REFRESH;
                }
            }
        }
    }

    fn handle_allocated(&mut self, message: &Message<'_>, now: Instant) {
        let Some(relayed) = message.xor_relayed_address() else {
            return self.fail(0, "The relay's answer named no address".into());
        };
        let lifetime = message.lifetime().unwrap_or(LIFETIME);
        self.set_lifetime(lifetime, now);
        if self.state == State::Releasing {
            return self.request(Action::Refresh(Duration::ZERO), now);
        }
        self.state = State::Allocated;
        self.relayed = Some(relayed);
        let mapped = message.xor_mapped_address();
        self.events
            .push_back(TurnEvent::Allocated { relayed, mapped });
        let peers: Vec<IpAddr> = self.permissions_by_ip.keys().copied().collect();
        for ip in peers {
            self.request(Action::CreatePermission(ip), now);
        }
    }

    /// Refreshed a minute before the end, or at half time if that is sooner.
    fn set_lifetime(&mut self, lifetime: Duration, now: Instant) {
        let margin = Duration::from_secs(60).min(lifetime / 2);
        self.refresh_at = Some(now + lifetime.saturating_sub(margin));
        self.expires_at = Some(now + lifetime);
    }

    fn handle_permitted(&mut self, ip: IpAddr, now: Instant) {
        if let Some(permission) = self.permissions_by_ip.get_mut(&ip) {
            permission.granted = true;
            permission.refresh_at = now + PEER_REFRESH;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for (peer, payload) in waiting {
            if peer.ip() == ip {
                self.send_indication(peer, &payload);
            } else {
                self.waiting.push_back((peer, payload));
            }
        }
    }

    fn handle_error(&mut self, pending: Pending, message: &Message<'_>, now: Instant) {
        let error = message.error();
        let code = error.map_or(0, |e| e.code);
        // RFC 8489 §9.2.5: 401 gives realm and nonce, 438 a fresh nonce; try again with them, but
        // not for ever with a password that is wrong.
        if matches!(code, 401 | 438)
            && pending.may_authenticate_again(code)
            && self.auth.handle_challenge(message)
        {
            self.request_again(pending, now);
            return;
        }
        // RFC 8656 §7.2: the allocation belongs to the credentials that made it; a server that
        // insists says 441. The allocation lives on with the old ones.
        if code == 441 && self.auth.revert() {
            self.request_again(pending, now);
            return;
        }
        let reason = error.map_or("", |e| e.reason);
        self.handle_refused(pending.action, code, reason, now);
    }

    fn handle_refused(&mut self, action: Action, code: u16, reason: &str, now: Instant) {
        match action {
            Action::Allocate(_) => self.fail(code, explain(code, reason)),
            Action::Refresh(_) if self.state == State::Releasing => self.state = State::Gone,
            // 437: the server does not know the allocation (any more).
            Action::Refresh(_) if code == 437 => self.fail(code, explain(code, reason)),
            // Anything else may pass; the allocation still lives until it expires.
            Action::Refresh(_) => self.refresh_at = Some(now + Duration::from_secs(10)),
            Action::CreatePermission(ip) => {
                self.permissions_by_ip.remove(&ip);
                self.waiting.retain(|(peer, _)| peer.ip() != ip);
            }
            // Indications do as well; try the channel again later.
            Action::ChannelBind(peer, _) => {
                if let Some(entry) = self.channels_by_peer.get_mut(&peer) {
                    entry.bound = false;
                    entry.refresh_at = now + PEER_REFRESH;
                }
            }
        }
    }

    /// Peers at this address may send to us from now on.
    pub fn permit(&mut self, ip: IpAddr, now: Instant) {
        if self.permissions_by_ip.contains_key(&ip) || self.permissions_by_ip.len() >= PEERS_MAX {
            return;
        }
        let permission = Permission {
            granted: false,
            refresh_at: now + PEER_REFRESH,
        };
        self.permissions_by_ip.insert(ip, permission);
        if self.state == State::Allocated {
            self.request(Action::CreatePermission(ip), now);
        }
    }

    /// Sends a payload to a peer; asks for what it takes first.
    pub fn send(&mut self, peer: SocketAddr, payload: Vec<u8>, now: Instant) {
        if self.state != State::Allocated {
            return;
        }
        // Media, not a connectivity check: the path was chosen, a channel pays.
        if classify(&payload) != Kind::Stun {
            self.bind_channel(peer, now);
        }
        if let Some(entry) = self.channels_by_peer.get(&peer)
            && entry.bound
        {
            return self
                .transmits
                .push_back(channel_data(entry.number, payload));
        }
        match self.permissions_by_ip.get(&peer.ip()) {
            Some(permission) if permission.granted => self.send_indication(peer, &payload),
            known => {
                if known.is_none() {
                    self.permit(peer.ip(), now);
                }
                if self.waiting.len() >= WAITING_MAX {
                    self.waiting.pop_front();
                }
                self.waiting.push_back((peer, payload));
            }
        }
    }

    fn bind_channel(&mut self, peer: SocketAddr, now: Instant) {
        if self.channels_by_peer.contains_key(&peer) || self.channels_by_peer.len() >= PEERS_MAX {
            return;
        }
        let Some(number) = ChannelNumber::new(self.next_channel) else {
            return;
        };
        self.next_channel += 1;
        let entry = ChannelEntry {
            number,
            bound: false,
            refresh_at: now + PEER_REFRESH,
        };
        self.channels_by_peer.insert(peer, entry);
        self.peers_by_channel.insert(number, peer);
        self.request(Action::ChannelBind(peer, number), now);
    }

    fn send_indication(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut bytes = vec![0; payload.len() + INDICATION_OVERHEAD];
        let transaction = self.requests.next_transaction();
        let mut builder = Builder::new(&mut bytes, Class::Indication, Method::Send, transaction);
        builder.xor_peer_address(peer);
        if let Ok(len) = builder.data(payload).finish() {
            bytes.truncate(len);
            self.transmits.push_back(bytes);
        }
    }

    /// The session's credentials were renewed; the allocation is refreshed with them at once.
    pub fn set_credentials(&mut self, username: String, password: Secret, now: Instant) {
        if self.auth.replace(username, password) && self.state == State::Allocated {
            self.request(Action::Refresh(LIFETIME), now);
        }
    }

    /// Asks the server whether the allocation is still there; if not, `Failed` with 437 follows.
    pub fn probe(&mut self, now: Instant) {
        if self.state == State::Allocated {
            self.request(Action::Refresh(LIFETIME), now);
        }
    }

    /// Gives the allocation back.
    pub fn release(&mut self, now: Instant) {
        match self.state {
            State::Allocated => {
                self.state = State::Releasing;
                self.requests.clear();
                self.request(Action::Refresh(Duration::ZERO), now);
            }
            State::Allocating => self.state = State::Releasing,
            State::Releasing | State::Gone => {}
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<TurnEvent> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.state == State::Gone {
            return None;
        }
        let peers = (self.state == State::Allocated).then(|| {
            let permissions = self.permissions_by_ip.values().map(|p| p.refresh_at);
            let channels = self.channels_by_peer.values().map(|c| c.refresh_at);
            permissions.chain(channels).min()
        });
        [
            self.requests.poll_timeout(),
            self.refresh_at,
            self.expires_at,
            peers.flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Gone {
            return;
        }
        while let Some(bytes) = self.requests.poll_repeat(now) {
            self.transmits.push_back(bytes);
        }
        while let Some(action) = self.requests.poll_unanswered(now) {
            self.handle_refused(action, 0, "", now);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return self.fail(0, "The relay's allocation ran out".into());
        }
        self.refresh_what_is_due(now);
    }

    fn refresh_what_is_due(&mut self, now: Instant) {
        if self.state != State::Allocated {
            return;
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = Some(now + Duration::from_secs(20));
            self.request(Action::Refresh(LIFETIME), now);
        }
        let mut due = Vec::new();
        for (&ip, permission) in &mut self.permissions_by_ip {
            if permission.refresh_at <= now {
                permission.refresh_at = now + PEER_REFRESH;
                due.push(Action::CreatePermission(ip));
            }
        }
        for (&peer, entry) in &mut self.channels_by_peer {
            if entry.refresh_at <= now {
                entry.refresh_at = now + PEER_REFRESH;
                due.push(Action::ChannelBind(peer, entry.number));
            }
        }
        for action in due {
            self.request(action, now);
        }
    }

    fn request(&mut self, action: Action, now: Instant) {
        let bytes = self.requests.send(action, &self.auth, now);
        self.transmits.extend(bytes);
    }

    fn request_again(&mut self, pending: Pending, now: Instant) {
        let bytes = self.requests.send_again(pending, &self.auth, now);
        self.transmits.extend(bytes);
    }

    fn fail(&mut self, code: u16, problem: String) {
        if self.state != State::Releasing {
            self.events.push_back(TurnEvent::Failed { code, problem });
        }
        self.state = State::Gone;
        self.relayed = None;
        self.requests.clear();
        self.waiting.clear();
    }
}

fn channel_data(number: ChannelNumber, mut payload: Vec<u8>) -> Vec<u8> {
    let mut header = [0; channel::HEADER_LEN];
    // A payload is at most one datagram.
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    channel::encode_header(number, len, &mut header);
    payload.splice(0..0, header);
    payload
}

/// What went wrong, in words.
fn explain(code: u16, reason: &str) -> String {
    let cause = match code {
        0 => "The relay did not answer",
        401 => "The relay refused the credentials; they may have expired",
        403 => "The relay forbids this",
        437 => "The relay lost the allocation",
        441 => "The relay ties the allocation to other credentials",
        486 => "The relay's quota for this session is used up",
        508 => "The relay has no capacity left",
        _ => "The relay refused",
    };
    match (code, reason) {
        (0, _) => cause.into(),
        (_, "") => format!("{cause} ({code})"),
        _ => format!("{cause} ({code} {reason})"),
    }
}
