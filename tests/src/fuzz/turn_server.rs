//! The relay's server under a sequence of requests, packets and pauses that the input spells.
//!
//! Two bytes are a step. Beside the server runs a model that knows only who was permitted what, and
//! every step is held against it: strangers get no amplifier, nothing passes without a permission
//! that is still alive, ChannelData goes where its number was bound to and comes back under it, and
//! the quotas and tables hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::credential::{self, Credential};
use protocol::turn::integrity::Key;
use protocol::turn::message::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use relay::endpoint::{Client, RelayId, SocketId};
use relay::ledger::{Ledger, Quotas};
use relay::server::{Command, Forward, Frame, Seed, Server, Settings};

use crate::relay_node::{self, REALM};

const UNIX_NOW: Duration = Duration::from_secs(1_767_225_600);
/// Steps of one input; more only makes a run slower.
const STEPS_MAX: usize = 256;
/// Every client is the same user, so that a third allocation meets the quota.
const ALLOCATIONS_PER_USER: usize = 2;
/// RFC 8656 §9: a permission lives so long.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 §12: a channel lives so long, and renews the permission of its peer.
const CHANNEL: Duration = Duration::from_secs(600);
/// Small, so that inputs of a few steps fill them.
const PERMISSIONS_MAX: usize = 3;
const CHANNELS_MAX: usize = 3;
/// A challenge with realm, nonce and algorithms; nothing else may be larger than 1.6 × its request.
const CHALLENGE_LEN_MAX: usize = 104;

/// Runs the steps; whatever they are, the model's rules hold.
pub fn run(bytes: &[u8]) {
    let mut run = Run::new(super::now());
    for step in bytes.chunks_exact(2).take(STEPS_MAX) {
        run.step(step[0], step[1], bytes);
        assert!(run.server.allocations(100, run.now).len() <= ALLOCATIONS_PER_USER);
    }
}

struct Run {
    server: Server,
    now: Instant,
    credential: Credential,
    transactions: u32,
    clients_by_relay: BTreeMap<RelayId, Client>,
    /// Until when this client may exchange packets with this address, at most.
    permitted: BTreeMap<(SocketAddr, IpAddr), Instant>,
    /// Where ChannelData of this client on this number goes, and until when, at most.
    bound: BTreeMap<(SocketAddr, u16), (SocketAddr, Instant)>,
}

impl Run {
    fn new(now: Instant) -> Self {
        let secret = Secret::new("secret");
        let day = Duration::from_secs(24 * 3600);
        let quotas = Quotas {
            allocations: 100,
            allocations_per_user: ALLOCATIONS_PER_USER as _,
            allocations_per_address: 100,
        };
        let ledger = Ledger::new(quotas, 1, 50_000..=60_000, [3; 32]);
        let seed = Seed {
            nonce_key: [4; 32],
            hash_keys: [5, 6],
        };
        Self {
            server: Server::new(settings(&secret), ledger, seed, UNIX_NOW, now),
            now,
            credential: credential::derive(&secret, "s", &[], UNIX_NOW + day),
            transactions: 0,
            clients_by_relay: BTreeMap::new(),
            permitted: BTreeMap::new(),
            bound: BTreeMap::new(),
        }
    }

    fn step(&mut self, kind: u8, argument: u8, input: &[u8]) {
        let client = client(argument);
        match kind % 10 {
            0 => self.stranger(client, &input[usize::from(argument) % input.len()..]),
            1 => self.allocate(client),
            2 => self.permit(client, peer(argument)),
            3 => self.send(client, peer(argument)),
            4 => self.refresh(client, Duration::from_secs(u64::from(argument >> 3) * 60)),
            5 => self.peer_speaks(peer(argument)),
            6 => self.pause(Duration::from_secs(u64::from(argument) * 4)),
            8 => self.bind(client, number(argument), peer(argument)),
            9 => self.send_on_channel(client, number(argument)),
            _ => {
                let bytes = self.message(Class::Request, Method::Allocate, |_| {});
                self.stranger(client, &bytes);
            }
        }
    }

    /// Without credentials: an answer of bounded size, and nothing is forwarded.
    fn stranger(&mut self, client: Client, bytes: &[u8]) {
        let answers = self.ask(client, bytes);
        let allowed = (bytes.len() * 8 / 5).max(CHALLENGE_LEN_MAX);
        let len: usize = answers.iter().map(Vec::len).sum();
        assert!(len <= allowed, "{len} bytes for {}", bytes.len());
    }

    fn allocate(&mut self, client: Client) {
        self.request(client, Method::Allocate, |builder| {
            builder.requested_transport_udp();
        });
    }

    fn permit(&mut self, client: Client, peer: SocketAddr) {
        let granted = self.request(client, Method::CreatePermission, |builder| {
            builder.xor_peer_address(peer);
        });
        if granted {
            self.note_permission(client, peer);
        }
    }

    fn note_permission(&mut self, client: Client, peer: SocketAddr) {
        let until = self.now + PERMISSION;
        self.permitted.insert((client.addr, peer.ip()), until);
        let alive = |(addr, _): &(SocketAddr, IpAddr), until: &Instant| {
            *addr == client.addr && *until > self.now
        };
        let held = self
            .permitted
            .iter()
            .filter(|(key, until)| alive(key, until));
        assert!(
            held.count() <= PERMISSIONS_MAX,
            "a table is larger than full"
        );
    }

    /// A number and a peer belong together as long as either is bound (RFC 8656 §12.2).
    fn bind(&mut self, client: Client, number: ChannelNumber, peer: SocketAddr) {
        let granted = self.request(client, Method::ChannelBind, |builder| {
            builder.channel_number(number).xor_peer_address(peer);
        });
        if !granted {
            return;
        }
        let key = (client.addr, number.get());
        for (&(addr, other), &(bound_to, until)) in &self.bound {
            let alive = addr == client.addr && until > self.now;
            let contradicts = (other == number.get()) != (bound_to == peer);
            assert!(!(alive && contradicts), "{other:#x} is bound to {bound_to}");
        }
        self.bound.insert(key, (peer, self.now + CHANNEL));
        self.note_permission(client, peer);
        let alive = self
            .bound
            .iter()
            .filter(|(key, (_, until))| key.0 == client.addr && *until > self.now);
        assert!(alive.count() <= CHANNELS_MAX, "a table is larger than full");
    }

    fn send_on_channel(&mut self, client: Client, number: ChannelNumber) {
        let mut bytes = vec![0; channel::HEADER_LEN];
        let header = bytes.first_chunk_mut().expect("a header's length");
        channel::encode_header(number, 7, header);
        bytes.extend_from_slice(b"payload");
        let forward = self.server.handle_client(client, &bytes, self.now);
        let Forward::ToPeer { peer, payload, .. } = forward else {
            assert_eq!(forward, Forward::Nothing);
            return;
        };
        assert_eq!(&bytes[payload], b"payload");
        assert!(
            self.is_bound(client, number.get(), peer),
            "{number:?} leads to {peer}"
        );
    }

    fn refresh(&mut self, client: Client, lifetime: Duration) {
        let granted = self.request(client, Method::Refresh, |builder| {
            builder.lifetime(lifetime);
        });
        if granted && lifetime.is_zero() {
            self.forget(client);
        }
    }

    /// Its allocation has ended.
    fn forget(&mut self, client: Client) {
        self.permitted.retain(|(addr, _), _| *addr != client.addr);
        self.bound.retain(|(addr, _), _| *addr != client.addr);
    }

    fn send(&mut self, client: Client, peer: SocketAddr) {
        let bytes = self.message(Class::Indication, Method::Send, |builder| {
            builder.xor_peer_address(peer).data(b"payload");
        });
        self.ask(client, &bytes);
    }

    fn peer_speaks(&mut self, peer: SocketAddr) {
        let relays: Vec<_> = self.clients_by_relay.keys().copied().collect();
        for relay in relays {
            let forward = self.server.handle_peer(relay, peer, 7, self.now);
            let Forward::ToClient { client, frame, .. } = forward else {
                continue;
            };
            match frame {
                Frame::Channel([high, low, ..]) => {
                    let number = u16::from_be_bytes([high, low]);
                    assert!(
                        self.is_bound(client, number, peer),
                        "{peer} is on {number:#x}"
                    );
                }
                Frame::Indication(_) => self.assert_permitted(client, peer),
            }
        }
    }

    /// A bound channel is enough for its peer, both ways.
    fn is_bound(&self, client: Client, number: u16, peer: SocketAddr) -> bool {
        let bound = self.bound.get(&(client.addr, number));
        bound.is_some_and(|(to, until)| *to == peer && self.now <= *until)
    }

    /// Bytes that a stranger chose may be ChannelData.
    fn has_channel_to(&self, client: Client, peer: SocketAddr) -> bool {
        let mut numbers = self.bound.keys().filter(|(addr, _)| *addr == client.addr);
        numbers.any(|(_, number)| self.is_bound(client, *number, peer))
    }

    fn pause(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        self.answers(None);
    }

    /// Takes the challenge, then asks with credentials; whether it was granted.
    fn request(&mut self, client: Client, method: Method, write: impl Fn(&mut Builder)) -> bool {
        let challenge = self.message(Class::Request, method, &write);
        let answers = self.ask(client, &challenge);
        let nonce = answers
            .first()
            .and_then(|bytes| Message::parse(bytes).ok()?.nonce().map(<[u8]>::to_vec));
        let Some(nonce) = nonce else { return false };
        let Credential { username, password } = self.credential.clone();
        let key = Key::long_term(PasswordAlgorithm::Md5, &username, REALM, &password);
        let bytes = self.message(Class::Request, method, |builder| {
            write(builder);
            builder.username(&username).realm(REALM).nonce(&nonce);
            builder.integrity(&key);
        });
        let answers = self.ask(client, &bytes);
        let class = answers
            .first()
            .and_then(|bytes| Some(Message::parse(bytes).ok()?.class()));
        class == Some(Class::Success)
    }

    fn ask(&mut self, client: Client, bytes: &[u8]) -> Vec<Vec<u8>> {
        let forward = self.server.handle_client(client, bytes, self.now);
        match forward {
            Forward::Nothing => {}
            Forward::ToPeer { peer, .. } if self.has_channel_to(client, peer) => {}
            Forward::ToPeer { peer, .. } => self.assert_permitted(client, peer),
            Forward::ToSibling { .. } | Forward::ToClient { .. } => {
                panic!("no client talks to a relayed address here")
            }
        }
        self.answers(Some(client))
    }

    fn answers(&mut self, client: Option<Client>) -> Vec<Vec<u8>> {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Bind { relay, .. } => {
                    let client = client.expect("only a request allocates");
                    self.clients_by_relay.insert(relay, client);
                    self.server.handle_bound(relay, Ok(()), self.now);
                }
                Command::Unbind { relay } => {
                    if let Some(client) = self.clients_by_relay.remove(&relay) {
                        self.forget(client);
                    }
                }
                Command::Open { relay } => assert!(self.clients_by_relay.contains_key(&relay)),
                Command::Ended { .. } => {}
            }
        }
        let mut answers = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            assert_eq!(Some(transmit.client), client, "an answer goes to who asked");
            answers.push(transmit.bytes.to_vec());
        }
        answers
    }

    fn assert_permitted(&self, client: Client, peer: SocketAddr) {
        let until = self.permitted.get(&(client.addr, peer.ip()));
        assert!(
            until.is_some_and(|until| self.now <= *until),
            "{peer} was not permitted"
        );
    }

    fn message(
        &mut self,
        class: Class,
        method: Method,
        write: impl FnOnce(&mut Builder),
    ) -> Vec<u8> {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.transactions.to_be_bytes());
        let mut bytes = vec![0; 512];
        let mut builder = Builder::new(&mut bytes, class, method, TransactionId(id));
        write(&mut builder);
        let len = builder.finish().expect("a request fits");
        bytes.truncate(len);
        bytes
    }
}

fn client(argument: u8) -> Client {
    Client {
        socket: SocketId(0),
        addr: SocketAddr::from(([192, 0, 2, 20], 6000 + u16::from(argument % 4))),
    }
}

fn peer(argument: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 100 + (argument >> 2) % 8], 7000))
}

fn number(argument: u8) -> ChannelNumber {
    ChannelNumber::new(0x4000 + u16::from(argument >> 5)).expect("a channel's number")
}

fn settings(secret: &Secret) -> Settings {
    let mut settings = relay_node::settings([192, 0, 2, 30].into(), secret.clone());
    settings.limits.permissions = PERMISSIONS_MAX as _;
    settings.limits.channels = CHANNELS_MAX as _;
    settings
}
