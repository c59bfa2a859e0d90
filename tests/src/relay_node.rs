//! A relay in the simulated network: the real server core, with sockets that are entries in a map.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::cidr::Cidr;
use protocol::turn::message::{Builder, Class, Method, TransactionId};
use relay::auth::Credentials;
use relay::endpoint::{Client, RelayId, SocketId};
use relay::ledger::{Ledger, Quotas};
use relay::policy::PolicyConfig;
use relay::server::{Command, Forward, Frame, Limits, RelayAddress, Seed, Server, Settings};

use crate::world::Packet;

pub(crate) const REALM: &str = "test";
/// Largest Data indication written: a datagram and its wrapping.
const INDICATION_LEN_MAX: usize = 2048;

pub struct RelayNode {
    address: SocketAddr,
    server: Server,
    relays_by_address: BTreeMap<SocketAddr, RelayId>,
    packets: Vec<Packet>,
    /// Payloads relayed, both ways.
    pub relayed: u64,
}

impl RelayNode {
    pub(crate) fn new(address: SocketAddr, secret: &str, unix_now: Duration, now: Instant) -> Self {
        let quotas = Quotas {
            allocations: 100,
            allocations_per_user: 10,
            allocations_per_address: 100,
        };
        let ledger = Ledger::new(quotas, 1, 50_000..=60_000, [3; 32]);
        let seed = Seed {
            nonce_key: [4; 32],
            hash_keys: [5, 6],
        };
        Self {
            address,
            server: Server::new(
                settings(address.ip(), secret.into()),
                ledger,
                seed,
                unix_now,
                now,
            ),
            relays_by_address: BTreeMap::new(),
            packets: Vec::new(),
            relayed: 0,
        }
    }

    pub(crate) fn handle_datagram(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        bytes: Vec<u8>,
        now: Instant,
    ) {
        let forward = if to == self.address {
            let client = Client {
                socket: SocketId(0),
                addr: from,
            };
            self.server.handle_client(client, &bytes, now)
        } else if let Some(&relay) = self.relays_by_address.get(&to) {
            self.server.handle_peer(relay, from, bytes.len(), now)
        } else {
            return;
        };
        self.forward(forward, &bytes);
        self.drain(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.server.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
            self.drain(now);
        }
    }

    pub(crate) fn take_packets(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.packets)
    }

    fn forward(&mut self, forward: Forward, bytes: &[u8]) {
        match forward {
            Forward::Nothing => {}
            Forward::ToSibling { .. } => panic!("this relay has one server"),
            Forward::ToPeer {
                relay,
                peer,
                payload,
                ..
            } => {
                let from = self.relays_by_address.iter().find(|(_, id)| **id == relay);
                if let Some((&from, _)) = from {
                    self.relayed += 1;
                    self.send(from, peer, bytes[payload].to_vec());
                }
            }
            Forward::ToClient {
                client,
                frame,
                payload,
            } => {
                self.relayed += 1;
                let bytes = wrap(&frame, &bytes[payload]);
                self.send(self.address, client.addr, bytes);
            }
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Bind { relay, address } => {
                    self.relays_by_address.insert(address, relay);
                    self.server.handle_bound(relay, Ok(()), now);
                }
                Command::Unbind { relay } => self.relays_by_address.retain(|_, id| *id != relay),
                Command::Open { .. } | Command::Ended { .. } => {}
            }
        }
        let mut answers = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            answers.push((transmit.client.addr, transmit.bytes.to_vec()));
        }
        for (to, bytes) in answers {
            self.send(self.address, to, bytes);
        }
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.packets.push(Packet { from, to, bytes });
    }
}

fn wrap(frame: &Frame, payload: &[u8]) -> Vec<u8> {
    match frame {
        Frame::Channel(header) => [&header[..], payload].concat(),
        Frame::Indication(peer) => {
            let mut bytes = vec![0; INDICATION_LEN_MAX];
            let id = TransactionId([1; 12]);
            let mut builder = Builder::new(&mut bytes, Class::Indication, Method::Data, id);
            let len = builder.xor_peer_address(*peer).data(payload).finish();
            bytes.truncate(len.expect("a datagram fits"));
            bytes
        }
    }
}

/// A relay for a test: no bound on bytes, and peers on 192.0.2.0/24 only.
pub(crate) fn settings(address: IpAddr, secret: Secret) -> Settings {
    let everywhere: Cidr = "192.0.2.0/24".parse().expect("a prefix");
    Settings {
        credentials: Credentials {
            realm: REALM.into(),
            shared_secrets: vec![secret],
            ..Credentials::default()
        },
        relay_addresses: vec![RelayAddress {
            bind: address,
            public: address,
        }],
        limits: Limits {
            permissions: 64,
            channels: 64,
            bytes_per_second: 0,
            bytes_per_second_total: 0,
            stranger_replies_per_second: 0,
            session: Duration::from_secs(24 * 3600),
        },
        policy: PolicyConfig {
            allow: vec![everywhere],
            relay_ports: Some(50_000..=60_000),
            ..PolicyConfig::default()
        },
    }
}
