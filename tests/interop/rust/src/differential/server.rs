//! Our TURN server beside `turn-server-proto`: the same clients do the same things to both, and both
//! have to answer with the same class, code and lifetime, and to relay the same payload the same way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use protocol::Secret;
use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::integrity::Key;
use protocol::turn::message::{
    Attribute, Builder, Class, Message, Method, PasswordAlgorithm, TransactionId,
};
use relay::config::Config;
use relay::endpoint::{Client, RelayId, SocketId};
use relay::ledger::Ledger;
use relay::server::{Command, Forward, Frame, Seed, Server};
use turn_server_proto::api::{Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::Instant as Moment;
use turn_server_proto::types::TransportType;
use turn_server_proto::types::prelude::DelayedTransmitBuild;

const REALM: &str = "test";
const USER: &str = "alice";
const PASSWORD: &str = "password";
const STEPS_MAX: usize = 64;
/// No lifetime of the RFC is a multiple: who is right in the very second of an end is not asked.
const PAUSE: Duration = Duration::from_secs(7);
const UNIX_NOW: Duration = Duration::from_secs(1_767_225_600);
const CONFIG: &str = r#"
realm = "test"
relay_addresses = ["192.0.2.30"]
[[listen]]
address = "127.0.0.1:0"
transport = "udp"
[auth]
users = { alice = "password" }
[peers]
allow = ["192.0.2.0/24"]
[limits]
unauthenticated_replies_per_second = 0
"#;

/// What came of one step, the same words for both servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Answer {
        class: Class,
        code: Option<u16>,
        lifetime: Option<Duration>,
    },
    ToPeer(SocketAddr, Vec<u8>),
    OnChannel(u16, Vec<u8>),
    AsIndication(SocketAddr, Vec<u8>),
}

/// How often each difference that has a reason was met.
pub type Known = BTreeMap<&'static str, u64>;

/// Where the two differ and ours is right, or as good.
fn explain(deed: &Deed, ours: &[Seen], theirs: &[Seen]) -> Option<&'static str> {
    let answer = |seen: &[Seen]| match seen {
        [Seen::Answer { class, code, .. }] => Some((*class, *code)),
        _ => None,
    };
    match (deed, answer(ours), answer(theirs)) {
        (
            Deed::BindChannel { .. },
            Some((Class::Error, Some(400))),
            Some((Class::Success, None)),
        ) => Some("theirs moves a bound number to another peer, against RFC 8656 §12.2"),
        _ => match (deed, ours, theirs) {
            (Deed::PeerSends(_), [Seen::OnChannel(..)], [])
            | (Deed::SendOnChannel(_), [Seen::ToPeer(..)], []) => {
                Some("theirs ends a channel's data with the permission; see docs/rfc/8656.md")
            }
            _ => None,
        },
    }
}

/// Runs the steps that the bytes spell, two bytes each; the number of steps both agreed on.
pub fn check(bytes: &[u8], known: &mut Known) -> Result<u64> {
    let mut ours = Ours::new();
    let mut theirs = Theirs::new();
    let mut steps = 0;
    let mut story = String::new();
    for step in bytes.chunks_exact(2).take(STEPS_MAX) {
        let step = Step::read(step[0], step[1]);
        let (one, other) = (ours.act(&step), theirs.act(&step));
        let _ = writeln!(story, "{} {:?}: {one:?}", step.client, step.deed);
        if one != other {
            // From here on the two are in different states.
            let reason = explain(&step.deed, &one, &other);
            let reason = reason.with_context(|| format!("{story}but theirs: {other:?}"))?;
            *known.entry(reason).or_default() += 1;
            break;
        }
        steps += 1;
    }
    Ok(steps)
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Bind,
    Allocate {
        transport: Option<u8>,
        lifetime: Option<u32>,
    },
    Permit(Option<SocketAddr>),
    BindChannel {
        number: Option<u16>,
        peer: Option<SocketAddr>,
    },
    Refresh(Option<u32>),
    Send(SocketAddr),
    SendOnChannel(u16),
    PeerSends(SocketAddr),
    Wait(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    client: SocketAddr,
    deed: Deed,
}

impl Step {
    fn read(kind: u8, argument: u8) -> Self {
        let client = SocketAddr::from(([192, 0, 2, 20], 6000 + u16::from(argument % 3)));
        let peer = SocketAddr::from(([192, 0, 2, 100 + (argument >> 2) % 3], 7000));
        let high = argument >> 4;
        let number = 0x4000 + u16::from(high % 4);
        let deed = match kind % 12 {
            0 => Deed::Bind,
            1 => Deed::Allocate {
                transport: match high {
                    14 => None,
                    15 => Some(99),
                    _ => Some(17),
                },
                lifetime: [None, Some(1200), Some(60), Some(100_000)][usize::from(high % 4)],
            },
            2 => Deed::Permit((high != 15).then_some(peer)),
            3 => Deed::BindChannel {
                number: match high {
                    14 => None,
                    15 => Some(0x3000),
                    _ => Some(number),
                },
                peer: (high != 13).then_some(peer),
            },
            4 => Deed::Refresh([None, Some(0), Some(1200), Some(100_000)][usize::from(high % 4)]),
            5 | 6 => Deed::Send(peer),
            7 | 8 => Deed::SendOnChannel(number),
            9 | 10 => Deed::PeerSends(peer),
            _ => Deed::Wait(u32::from(argument) * PAUSE),
        };
        Self { client, deed }
    }
}

/// A server, seen from outside.
trait Subject {
    fn from_client(&mut self, client: SocketAddr, bytes: &[u8]) -> Vec<Seen>;
    fn from_peer(&mut self, client: SocketAddr, peer: SocketAddr, payload: &[u8]) -> Vec<Seen>;
    fn wait(&mut self, time: Duration);
    /// The nonce it gave last.
    fn nonce(&self) -> Vec<u8>;
    fn transaction(&mut self) -> TransactionId;

    fn act(&mut self, step: &Step) -> Vec<Seen> {
        let client = step.client;
        match step.deed {
            Deed::Bind => {
                let id = self.transaction();
                self.from_client(
                    client,
                    &message(Class::Request, Method::Binding, id, |_| {}),
                )
            }
            Deed::Allocate {
                transport,
                lifetime,
            } => self.request(client, Method::Allocate, |it| {
                if let Some(transport) = transport {
                    it.attribute(Attribute::REQUESTED_TRANSPORT, &[transport, 0, 0, 0]);
                }
                write_lifetime(it, lifetime);
            }),
            Deed::Permit(peer) => {
                self.request(client, Method::CreatePermission, |it| write_peer(it, peer))
            }
            Deed::BindChannel { number, peer } => self.request(client, Method::ChannelBind, |it| {
                if let Some(number) = number {
                    let [high, low] = number.to_be_bytes();
                    it.attribute(Attribute::CHANNEL_NUMBER, &[high, low, 0, 0]);
                }
                write_peer(it, peer);
            }),
            Deed::Refresh(lifetime) => {
                self.request(client, Method::Refresh, |it| write_lifetime(it, lifetime))
            }
            Deed::Send(peer) => {
                let id = self.transaction();
                let bytes = message(Class::Indication, Method::Send, id, |it| {
                    it.xor_peer_address(peer).data(b"payload");
                });
                self.from_client(client, &bytes)
            }
            Deed::SendOnChannel(number) => {
                let mut bytes = [0, 0, 0, 0, 1, 2, 3, 4];
                let number = ChannelNumber::new(number).expect("a channel's number");
                let header = bytes.first_chunk_mut().expect("four bytes");
                channel::encode_header(number, 4, header);
                self.from_client(client, &bytes)
            }
            Deed::PeerSends(peer) => self.from_peer(client, peer, b"from the peer"),
            Deed::Wait(time) => {
                self.wait(time);
                Vec::new()
            }
        }
    }

    /// Takes a fresh challenge first: how long a nonce lives is each server's own affair.
    fn request(
        &mut self,
        client: SocketAddr,
        method: Method,
        write: impl Fn(&mut Builder<'_>),
    ) -> Vec<Seen> {
        let id = self.transaction();
        self.from_client(client, &message(Class::Request, method, id, &write));
        let nonce = self.nonce();
        let key = Key::long_term(PasswordAlgorithm::Md5, USER, REALM, &Secret::new(PASSWORD));
        let id = self.transaction();
        let bytes = message(Class::Request, method, id, |it| {
            write(it);
            it.username(USER).realm(REALM).nonce(&nonce).integrity(&key);
        });
        self.from_client(client, &bytes)
    }
}

fn write_lifetime(builder: &mut Builder<'_>, lifetime: Option<u32>) {
    if let Some(lifetime) = lifetime {
        builder.attribute(Attribute::LIFETIME, &lifetime.to_be_bytes());
    }
}

fn write_peer(builder: &mut Builder<'_>, peer: Option<SocketAddr>) {
    if let Some(peer) = peer {
        builder.xor_peer_address(peer);
    }
}

fn message(
    class: Class,
    method: Method,
    id: TransactionId,
    write: impl FnOnce(&mut Builder<'_>),
) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut builder = Builder::new(&mut bytes, class, method, id);
    write(&mut builder);
    let len = builder.finish().expect("a request fits");
    bytes.truncate(len);
    bytes
}

/// What a client receives, in the common words; the nonce is kept aside.
fn read_answer(bytes: &[u8], nonce: &mut Vec<u8>) -> Seen {
    if let Ok((number, payload)) = channel::decode(bytes) {
        return Seen::OnChannel(number.get(), payload.to_vec());
    }
    let Ok(message) = Message::parse(bytes) else {
        return Seen::Nothing;
    };
    if let (Class::Indication, Some(peer), Some(data)) =
        (message.class(), message.xor_peer_address(), message.data())
    {
        return Seen::AsIndication(peer, data.to_vec());
    }
    if let Some(fresh) = message.nonce() {
        *nonce = fresh.to_vec();
    }
    Seen::Answer {
        class: message.class(),
        code: message.error().map(|error| error.code),
        lifetime: message.lifetime(),
    }
}

struct Ours {
    server: Server,
    now: Instant,
    nonce: Vec<u8>,
    transactions: u64,
    relays: Vec<(SocketAddr, RelayId)>,
}

impl Ours {
    fn new() -> Self {
        let config = Config::parse(CONFIG).expect("the configuration above");
        let ledger = Ledger::new(config.quotas(), 1, 50_000..=60_000, [3; 32]);
        let seed = Seed {
            nonce_key: [4; 32],
            hash_keys: [5, 6],
        };
        let now = Instant::now();
        let settings = config.settings(1, &[], &[]);
        Self {
            server: Server::new(settings, ledger, seed, UNIX_NOW, now),
            now,
            nonce: Vec::new(),
            transactions: 0,
            relays: Vec::new(),
        }
    }

    fn drain(&mut self, client: Option<SocketAddr>) -> Vec<Seen> {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Bind { relay, .. } => {
                    self.relays.extend(client.map(|client| (client, relay)));
                    self.server.handle_bound(relay, Ok(()), self.now);
                }
                Command::Unbind { relay } => self.relays.retain(|(_, other)| *other != relay),
                Command::Open { .. } | Command::Ended { .. } => {}
            }
        }
        let mut seen = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            seen.push(read_answer(transmit.bytes, &mut self.nonce));
        }
        seen
    }
}

impl Subject for Ours {
    fn from_client(&mut self, client: SocketAddr, bytes: &[u8]) -> Vec<Seen> {
        let from = Client {
            socket: SocketId(0),
            addr: client,
        };
        let forward = self.server.handle_client(from, bytes, self.now);
        let mut seen = self.drain(Some(client));
        if let Forward::ToPeer { peer, payload, .. } = forward {
            seen.push(Seen::ToPeer(peer, bytes[payload].to_vec()));
        }
        seen
    }

    fn from_peer(&mut self, client: SocketAddr, peer: SocketAddr, payload: &[u8]) -> Vec<Seen> {
        let Some(&(_, relay)) = self.relays.iter().find(|(owner, _)| *owner == client) else {
            return Vec::new();
        };
        match self
            .server
            .handle_peer(relay, peer, payload.len(), self.now)
        {
            Forward::ToClient {
                frame: Frame::Channel([high, low, ..]),
                ..
            } => {
                vec![Seen::OnChannel(
                    u16::from_be_bytes([high, low]),
                    payload.to_vec(),
                )]
            }
            Forward::ToClient {
                frame: Frame::Indication(peer),
                ..
            } => {
                vec![Seen::AsIndication(peer, payload.to_vec())]
            }
            Forward::Nothing | Forward::ToPeer { .. } | Forward::ToSibling { .. } => Vec::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        self.drain(None);
    }

    fn nonce(&self) -> Vec<u8> {
        self.nonce.clone()
    }

    fn transaction(&mut self) -> TransactionId {
        next(&mut self.transactions)
    }
}

fn next(transactions: &mut u64) -> TransactionId {
    *transactions += 1;
    let mut id = [9; 12];
    id[..8].copy_from_slice(&transactions.to_be_bytes());
    TransactionId(id)
}

struct Theirs {
    server: TurnServer,
    now: Moment,
    listener: SocketAddr,
    nonce: Vec<u8>,
    transactions: u64,
    next_port: u16,
    relays: Vec<(SocketAddr, SocketAddr)>,
}

impl Theirs {
    fn new() -> Self {
        let listener = SocketAddr::from(([192, 0, 2, 30], 3478));
        let mut server = TurnServer::new(TransportType::Udp, listener, REALM.into());
        server.add_user(USER.into(), PASSWORD.into());
        Self {
            server,
            now: Moment::from_nanos(0),
            listener,
            nonce: Vec::new(),
            transactions: 0,
            next_port: 50_000,
            relays: Vec::new(),
        }
    }

    /// Gives every socket it asks for, and collects what it sends.
    fn drain(&mut self) -> Vec<Transmit<Vec<u8>>> {
        let mut sent = Vec::new();
        loop {
            match self.server.poll(self.now) {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let address = SocketAddr::new(IpAddr::from([192, 0, 2, 30]), self.next_port);
                    self.next_port += 1;
                    self.relays.push((client_addr, address));
                    self.server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        Ok(address),
                        self.now,
                    );
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.relays.retain(|(_, address)| *address != listen_addr);
                }
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::WaitUntil(_) => break,
            }
        }
        while let Some(transmit) = self.server.poll_transmit(self.now) {
            sent.push(transmit);
        }
        sent
    }

    fn hear(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<Seen> {
        let transmit = Transmit::new(bytes, TransportType::Udp, from, to);
        let at_once = self.server.recv(transmit, self.now).map(|it| Transmit {
            transport: it.transport,
            from: it.from,
            to: it.to,
            data: it.data.build(),
        });
        let mut sent: Vec<_> = at_once.into_iter().collect();
        sent.extend(self.drain());
        sent.into_iter()
            .map(|it| {
                if it.from == self.listener {
                    read_answer(&it.data, &mut self.nonce)
                } else {
                    Seen::ToPeer(it.to, it.data)
                }
            })
            .collect()
    }
}

impl Subject for Theirs {
    fn from_client(&mut self, client: SocketAddr, bytes: &[u8]) -> Vec<Seen> {
        self.hear(client, self.listener, bytes)
    }

    fn from_peer(&mut self, client: SocketAddr, peer: SocketAddr, payload: &[u8]) -> Vec<Seen> {
        match self.relays.iter().find(|(owner, _)| *owner == client) {
            Some(&(_, relayed)) => self.hear(peer, relayed, payload),
            None => Vec::new(),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.drain();
    }

    fn nonce(&self) -> Vec<u8> {
        self.nonce.clone()
    }

    fn transaction(&mut self) -> TransactionId {
        next(&mut self.transactions)
    }
}
