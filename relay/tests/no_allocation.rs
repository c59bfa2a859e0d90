//! Relaying a packet allocates nothing: counted, not claimed.

#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::turn::channel::ChannelNumber;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use relay::config::Config;
use relay::endpoint::{Client, RelayId, SocketId};
use relay::ledger::Ledger;
use relay::server::{Command, Forward, Frame, Seed, Server};

struct Counting;

thread_local! {
    /// Of this thread only: the test runner has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: hands everything to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's duties are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const CONFIG: &str = r#"
realm = "example.org"
relay_addresses = ["203.0.113.5"]
[[listen]]
address = "127.0.0.1:0"
transport = "udp"
[auth]
users = { alice = "password" }
[limits]
unauthenticated_replies_per_second = 0
"#;

// One test per file: another one in this process would allocate meanwhile.
#[test]
fn relaying_in_every_direction_and_a_flood_of_strangers_allocate_nothing() {
    let mut world = World::new();
    world.allocate(1);
    let peer: SocketAddr = "198.20.0.7:4000".parse().unwrap();
    world.bind(1, peer);
    let beside: SocketAddr = "198.20.0.8:4000".parse().unwrap();
    world.permit(1, beside);
    // Two clients of this relay, each the other's peer: one on a channel, one with indications.
    let near = world.allocate(2);
    let far = world.allocate(3);
    world.bind(2, far);
    world.permit(3, near);
    let across = build(Class::Indication, Method::Send, |builder| {
        builder.xor_peer_address(near).data(&[7; 1000]);
    });
    let channel_data = [&[0x40, 0, 4, 0][..], &[7; 1024]].concat();
    let indication = build(Class::Indication, Method::Send, |builder| {
        builder.xor_peer_address(peer).data(&[7; 1000]);
    });
    let stranger = build(Class::Request, Method::Allocate, |builder| {
        builder.requested_transport_udp();
    });
    // Once, so that buffers have their size.
    world.ask(9, &stranger);

    let before = allocations();
    let mut relayed = 0;
    for _ in 0..10_000 {
        for bytes in [&channel_data, &indication] {
            let forward = world.server.handle_client(client(1), bytes, world.now);
            relayed += u32::from(matches!(forward, Forward::ToPeer { .. }));
        }
        for (from, framed_as_channel) in [(peer, true), (beside, false)] {
            let forward = world.server.handle_peer(RelayId(0), from, 1200, world.now);
            relayed += u32::from(is_to_client(&forward, framed_as_channel));
        }
        // Hairpin: one client's channel is the other's indication, and back.
        let forward = world
            .server
            .handle_client(client(2), &channel_data, world.now);
        relayed += u32::from(is_to_client(&forward, false));
        let forward = world.server.handle_client(client(3), &across, world.now);
        relayed += u32::from(is_to_client(&forward, true));
    }
    let mut answered = 0;
    for port in 1000..11_000 {
        world
            .server
            .handle_client(client(port), &stranger, world.now);
        while world.server.poll_transmit().is_some() {
            answered += 1;
        }
    }
    let made = allocations() - before;
    assert_eq!((relayed, answered, made), (60_000, 10_000, 0));
}

fn is_to_client(forward: &Forward, framed_as_channel: bool) -> bool {
    let Forward::ToClient { frame, .. } = forward else {
        return false;
    };
    matches!(frame, Frame::Channel(_)) == framed_as_channel
}

struct World {
    server: Server,
    now: Instant,
    key: Key,
}

impl World {
    fn new() -> Self {
        let config = Config::parse(CONFIG).unwrap();
        let ledger = Ledger::new(config.quotas(), 1, 50000..=50099, [1; 32]);
        let seed = Seed {
            nonce_key: [2; 32],
            hash_keys: [3, 4],
        };
        let now = Instant::now();
        let settings = config.settings(1, &[], &[]);
        let unix_now = Duration::from_secs(1_700_000_000);
        Self {
            server: Server::new(settings, ledger, seed, unix_now, now),
            now,
            key: Key::long_term(
                PasswordAlgorithm::Md5,
                "alice",
                "example.org",
                &Secret::new("password"),
            ),
        }
    }

    fn allocate(&mut self, port: u16) -> SocketAddr {
        let answer = self.signed(port, Method::Allocate, |builder| {
            builder.requested_transport_udp();
        });
        Message::parse(&answer)
            .unwrap()
            .xor_relayed_address()
            .unwrap()
    }

    fn permit(&mut self, port: u16, peer: SocketAddr) {
        self.signed(port, Method::CreatePermission, |builder| {
            builder.xor_peer_address(peer);
        });
    }

    fn bind(&mut self, port: u16, peer: SocketAddr) {
        self.signed(port, Method::ChannelBind, |builder| {
            let number = ChannelNumber::new(0x4000).unwrap();
            builder.channel_number(number).xor_peer_address(peer);
        });
    }

    fn signed(
        &mut self,
        port: u16,
        method: Method,
        write: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let challenge = self.ask(port, &build(Class::Request, method, |_| {}));
        let nonce = Message::parse(&challenge)
            .unwrap()
            .nonce()
            .unwrap()
            .to_vec();
        let key = self.key.clone();
        let request = build(Class::Request, method, |builder| {
            write(builder);
            builder
                .username("alice")
                .realm("example.org")
                .nonce(&nonce)
                .integrity(&key);
        });
        let answer = self.ask(port, &request);
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
        answer
    }

    fn ask(&mut self, port: u16, bytes: &[u8]) -> Vec<u8> {
        self.server.handle_client(client(port), bytes, self.now);
        while let Some(command) = self.server.poll_command() {
            if let Command::Bind { relay, .. } = command {
                self.server.handle_bound(relay, Ok(()), self.now);
            }
        }
        let mut answer = Vec::new();
        while let Some(transmit) = self.server.poll_transmit() {
            answer = transmit.bytes.to_vec();
        }
        answer
    }
}

fn client(port: u16) -> Client {
    Client {
        socket: SocketId(0),
        addr: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

fn build(class: Class, method: Method, write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut buf = vec![0; 2048];
    let mut builder = Builder::new(&mut buf, class, method, TransactionId([7; 12]));
    write(&mut builder);
    let len = builder.finish().unwrap();
    buf.truncate(len);
    buf
}
