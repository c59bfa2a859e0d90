//! The relays of one session: an allocation each, and the way between a relayed address and the
//! socket or stream that leads there.
//!
//! A relay that is no longer listed is *leaving*: its candidate is withdrawn once another relay is
//! up or ICE restarts, and its allocation is given back when the packets have moved away.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::turn::stream::Deframer;

use crate::config::{Config, RelayServer, RelayTransport};
use crate::peer::{StreamId, StreamRequest, Transmit, Via};
use crate::turn_client::{Delivery, Inbound, TurnClient, TurnEvent};

/// Remote addresses that get a permission. ICE admits fewer candidates than this.
const PEERS_MAX: usize = crate::turn_client::PEERS_MAX;
/// How long a relay that left the list is still offered while no other one is up.
const LEAVE_AFTER: Duration = Duration::from_secs(2);
/// How long after that its allocation is kept, for packets under way.
const RELEASE_AFTER: Duration = Duration::from_secs(5);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What the peer must know.
pub(crate) enum RelayEvent {
    Allocated {
        relayed: SocketAddr,
        base: SocketAddr,
        /// Server-reflexive address, if the server saw one other than the base.
        reflexive: Option<SocketAddr>,
    },
    /// Do not use this relayed address for anything new.
    Withdrawn { relayed: SocketAddr },
    Failed {
        server: RelayServer,
        code: u16,
        problem: String,
    },
}

/// A payload that a peer sent through a relay.
pub(crate) struct Relayed<'a> {
    pub(crate) relayed: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) payload: &'a [u8],
}

pub(crate) struct Relays {
    relays: Vec<Relay>,
    peers: BTreeSet<IpAddr>,
    seed: u64,
    next_stream: u32,
    events: VecDeque<RelayEvent>,
    stream_requests: VecDeque<StreamRequest>,
}

struct Relay {
    server: RelayServer,
    via: Via,
    /// `None` while its stream is not open, and after it failed.
    client: Option<TurnClient>,
    deframer: Deframer,
    /// Kept after the client forgot it, to withdraw it.
    relayed: Option<SocketAddr>,
    failed: bool,
    leaving_since: Option<Instant>,
    withdrawn_at: Option<Instant>,
    /// When a relay that leaves is looked at again.
    check_at: Option<Instant>,
}

impl Relays {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut relays = Self {
            relays: Vec::new(),
            peers: BTreeSet::new(),
            seed: config.seed,
            next_stream: 0,
            events: VecDeque::new(),
            stream_requests: VecDeque::new(),
        };
        relays.set_servers(&config.relays, now);
        relays
    }

    /// New relays start, known ones get their credentials, the others leave.
    pub(crate) fn set_servers(&mut self, servers: &[RelayServer], now: Instant) {
        let servers = servers.get(..Config::RELAYS_MAX).unwrap_or(servers);
        for relay in &mut self.relays {
            let listed = servers.iter().find(|server| relay.is_at(server));
            relay.update(listed, now);
        }
        self.relays.retain(|relay| !relay.is_spent());
        for server in servers {
            if !self.relays.iter().any(|relay| relay.is_at(server)) {
                self.start(server.clone(), now);
            }
        }
    }

    fn start(&mut self, server: RelayServer, now: Instant) {
        let via = match server.transport {
            RelayTransport::Udp => Via::Udp(server.base),
            RelayTransport::Tcp | RelayTransport::Tls => {
                let id = StreamId(self.next_stream);
                self.next_stream += 1;
                self.stream_requests.push_back(StreamRequest::Open {
                    id,
                    transport: server.transport,
                    server: server.server,
                    name: server.name.clone(),
                });
                Via::Stream(id)
            }
        };
        let mut relay = Relay {
            server,
            via,
            client: None,
            deframer: Deframer::new(),
            relayed: None,
            failed: false,
            leaving_since: None,
            withdrawn_at: None,
            check_at: None,
        };
        if let Via::Udp(_) = via {
            relay.allocate(self.next_seed(), &self.peers, now);
        }
        self.relays.push(relay);
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.seed
    }

    /// Peers at this address may reach us through every relay.
    pub(crate) fn permit(&mut self, ip: IpAddr, now: Instant) {
        if self.peers.len() >= PEERS_MAX || !self.peers.insert(ip) {
            return;
        }
        for client in self.clients() {
            client.permit(ip, now);
        }
    }

    /// ICE restarted: relays that leave are not offered again.
    pub(crate) fn handle_restart(&mut self, now: Instant) {
        for relay in &mut self.relays {
            if relay.leaving_since.is_some() {
                self.events.extend(relay.withdraw(now));
            }
        }
    }

    /// Nothing is heard any more: a relay that restarted has forgotten its allocations and says so
    /// when asked.
    pub(crate) fn handle_silence(&mut self, now: Instant) {
        for client in self.clients() {
            client.probe(now);
        }
    }

    /// A datagram that may come from a relay: `Err` gives it back if it does not.
    pub(crate) fn handle_datagram<'a>(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &'a [u8],
        now: Instant,
    ) -> Result<Option<Relayed<'a>>, NotFromRelay> {
        let relay = self
            .relays
            .iter_mut()
            .find(|relay| relay.via == Via::Udp(local) && relay.server.server == from)
            .ok_or(NotFromRelay)?;
        relay.handle_message(bytes, now)
    }

    pub(crate) fn handle_stream_open(&mut self, id: StreamId, local: SocketAddr, now: Instant) {
        let seed = self.next_seed();
        let peers = std::mem::take(&mut self.peers);
        if let Some(relay) = self.by_stream(id) {
            relay.server.base = local;
            relay.allocate(seed, &peers, now);
        }
        self.peers = peers;
    }

    /// Bytes of a stream; the payloads in them, in order.
    pub(crate) fn handle_stream_bytes(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        now: Instant,
    ) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut payloads = Vec::new();
        let Some(relay) = self.by_stream(id) else {
            return payloads;
        };
        let mut deframer = std::mem::take(&mut relay.deframer);
        deframer.handle_bytes(bytes);
        loop {
            match deframer.poll_message() {
                Ok(Some(message)) => {
                    if let Ok(Some(data)) = relay.handle_message(message, now) {
                        payloads.push((data.relayed, data.peer, data.payload.to_vec()));
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    let problem = "The relay sent something that is not TURN".to_owned();
                    self.handle_stream_closed(id, problem);
                    self.stream_requests.push_back(StreamRequest::Close { id });
                    return payloads;
                }
            }
        }
        relay.deframer = deframer;
        payloads
    }

    pub(crate) fn handle_stream_closed(&mut self, id: StreamId, problem: String) {
        let Some(relay) = self.by_stream(id) else {
            return;
        };
        let events = relay.fail(0, problem);
        self.events.extend(events);
    }

    /// The packet leaves from a relayed address: hand it to that relay.
    pub(crate) fn send(
        &mut self,
        source: SocketAddr,
        peer: SocketAddr,
        payload: Vec<u8>,
        now: Instant,
    ) {
        let relay = self.relays.iter_mut().find(|r| r.relayed == Some(source));
        if let Some(client) = relay.and_then(|relay| relay.client.as_mut()) {
            client.send(peer, payload, now);
        }
    }

    /// The server behind a relayed address.
    pub(crate) fn server_of(&self, relayed: SocketAddr) -> Option<&RelayServer> {
        self.relays
            .iter()
            .find(|relay| relay.relayed == Some(relayed))
            .map(|relay| &relay.server)
    }

    /// Every relay has said yes or no.
    pub(crate) fn is_settled(&self) -> bool {
        self.relays
            .iter()
            .all(|relay| relay.failed || relay.relayed.is_some())
    }

    /// Nothing is left to wait for.
    pub(crate) fn is_gone(&self) -> bool {
        self.relays
            .iter()
            .all(|relay| relay.client.as_ref().is_none_or(TurnClient::is_gone))
    }

    pub(crate) fn release(&mut self, now: Instant) {
        for client in self.clients() {
            client.release(now);
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.relays.iter_mut().find_map(Relay::poll_transmit)
    }

    pub(crate) fn poll_stream_request(&mut self) -> Option<StreamRequest> {
        self.stream_requests.pop_front()
    }

    pub(crate) fn poll_event(&mut self, now: Instant) -> Option<RelayEvent> {
        let seed = self.next_seed();
        for relay in &mut self.relays {
            while let Some(event) = relay.client.as_mut().and_then(TurnClient::poll_event) {
                if relay.may_start_over(&event) {
                    self.events.extend(relay.start_over(seed, &self.peers, now));
                } else {
                    self.events.extend(relay.handle_turn_event(event));
                }
            }
        }
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.relays.iter().filter_map(Relay::poll_timeout).min()
    }

    /// `in_use` is the relayed address packets leave from now, if they do.
    pub(crate) fn handle_timeout(&mut self, in_use: Option<SocketAddr>, now: Instant) {
        let replaced = self
            .relays
            .iter()
            .any(|relay| relay.leaving_since.is_none() && relay.relayed.is_some());
        for relay in &mut self.relays {
            if let Some(client) = &mut relay.client {
                client.handle_timeout(now);
            }
            if relay.check_at.is_some_and(|at| at <= now) {
                relay.check_at = Some(now + CHECK_INTERVAL);
                let used = relay.relayed.is_some() && relay.relayed == in_use;
                self.events.extend(relay.leave(replaced, used, now));
            }
        }
        self.drop_spent();
    }

    fn drop_spent(&mut self) {
        let requests = &mut self.stream_requests;
        self.relays.retain(|relay| {
            if let Via::Stream(id) = relay.via
                && relay.is_spent()
            {
                requests.push_back(StreamRequest::Close { id });
            }
            !relay.is_spent()
        });
    }

    fn clients(&mut self) -> impl Iterator<Item = &mut TurnClient> {
        self.relays
            .iter_mut()
            .filter_map(|relay| relay.client.as_mut())
    }

    fn by_stream(&mut self, id: StreamId) -> Option<&mut Relay> {
        self.relays
            .iter_mut()
            .find(|relay| relay.via == Via::Stream(id))
    }
}

/// The datagram comes from somewhere else.
#[derive(Debug)]
pub(crate) struct NotFromRelay;

impl Relay {
    fn is_at(&self, server: &RelayServer) -> bool {
        self.server.server == server.server && self.server.transport == server.transport
    }

    /// Was leaving, and has left.
    fn is_spent(&self) -> bool {
        let gone = self.client.as_ref().is_none_or(TurnClient::is_gone);
        self.leaving_since.is_some() && gone && (self.failed || self.withdrawn_at.is_some())
    }

    fn update(&mut self, listed: Option<&RelayServer>, now: Instant) {
        let Some(server) = listed else {
            self.leaving_since.get_or_insert(now);
            self.check_at = Some(now + LEAVE_AFTER);
            return;
        };
        // Back on the list before its candidate was withdrawn: as if it had never left it.
        if self.withdrawn_at.is_none() {
            self.leaving_since = None;
            self.check_at = None;
        }
        self.server.username.clone_from(&server.username);
        self.server.credential = server.credential.clone();
        if let Some(client) = &mut self.client {
            client.set_credentials(server.username.clone(), server.credential.clone(), now);
        }
    }

    fn allocate(&mut self, seed: u64, peers: &BTreeSet<IpAddr>, now: Instant) {
        let delivery = match self.via {
            Via::Udp(_) => Delivery::Datagrams,
            Via::Stream(_) => Delivery::Stream,
        };
        let username = self.server.username.clone();
        let password = self.server.credential.clone();
        let mut client = TurnClient::new(delivery, username, password, seed, now);
        for &ip in peers {
            client.permit(ip, now);
        }
        self.client = Some(client);
    }

    fn handle_message<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Instant,
    ) -> Result<Option<Relayed<'a>>, NotFromRelay> {
        let (Some(client), relayed) = (&mut self.client, self.relayed) else {
            return Err(NotFromRelay);
        };
        match (client.handle_message(bytes, now), relayed) {
            (Inbound::Data { peer, payload }, Some(relayed)) => Ok(Some(Relayed {
                relayed,
                peer,
                payload,
            })),
            (Inbound::Data { .. } | Inbound::Control, _) => Ok(None),
            // A relay's host may also be a peer.
            (Inbound::Ignored, _) => Err(NotFromRelay),
        }
    }

    fn handle_turn_event(&mut self, event: TurnEvent) -> Vec<RelayEvent> {
        match event {
            TurnEvent::Allocated { relayed, mapped } => {
                self.relayed = Some(relayed);
                let base = self.server.base;
                let udp = self.server.transport == RelayTransport::Udp;
                let reflexive = mapped.filter(|&mapped| udp && mapped != base);
                vec![RelayEvent::Allocated {
                    relayed,
                    base,
                    reflexive,
                }]
            }
            TurnEvent::Failed { code, problem } => self.fail(code, problem),
        }
    }

    /// RFC 8656 §6: 437 to a refresh means the server lost the allocation; the 5-tuple is free.
    fn may_start_over(&self, event: &TurnEvent) -> bool {
        let lost = matches!(event, TurnEvent::Failed { code: 437, .. });
        lost && self.relayed.is_some() && self.leaving_since.is_none()
    }

    fn start_over(
        &mut self,
        seed: u64,
        peers: &BTreeSet<IpAddr>,
        now: Instant,
    ) -> Option<RelayEvent> {
        self.allocate(seed, peers, now);
        let withdrawn = self.relayed.take();
        withdrawn.map(|relayed| RelayEvent::Withdrawn { relayed })
    }

    fn fail(&mut self, code: u16, problem: String) -> Vec<RelayEvent> {
        self.client = None;
        self.failed = true;
        let withdrawn = self.relayed.take();
        let mut events = vec![RelayEvent::Failed {
            server: self.server.clone(),
            code,
            problem,
        }];
        events.extend(withdrawn.map(|relayed| RelayEvent::Withdrawn { relayed }));
        events
    }

    fn leave(&mut self, replaced: bool, used: bool, now: Instant) -> Option<RelayEvent> {
        match self.withdrawn_at {
            Some(at) if now >= at + RELEASE_AFTER && !used => {
                if let Some(client) = &mut self.client {
                    client.release(now);
                }
                None
            }
            None if replaced => self.withdraw(now),
            _ => None,
        }
    }

    fn withdraw(&mut self, now: Instant) -> Option<RelayEvent> {
        if self.withdrawn_at.is_some() {
            return None;
        }
        self.withdrawn_at = Some(now);
        self.relayed
            .map(|relayed| RelayEvent::Withdrawn { relayed })
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let mut bytes = self.client.as_mut()?.poll_transmit()?;
        if let Via::Stream(_) = self.via {
            // RFC 8656 §12.5: over a stream ChannelData is padded; STUN is by nature.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Some(Transmit {
            via: self.via,
            to: self.server.server,
            bytes,
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.as_ref().and_then(TurnClient::poll_timeout);
        client.into_iter().chain(self.check_at).min()
    }
}
