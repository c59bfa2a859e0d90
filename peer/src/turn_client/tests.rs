//! A scripted server on the same codec; the real relay and coturn are met in `tests/`.

use super::*;
use crate::testing::start;
use protocol::turn::integrity::Key;
use protocol::turn::message::PasswordAlgorithm;

const REALM: &str = "example.org";
const RELAYED: &str = "203.0.113.5:50000";
const PEER: &str = "192.0.2.7:700";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn key(user: &str, password: &str) -> Key {
    Key::long_term(PasswordAlgorithm::Md5, user, REALM, &password.into())
}

struct Server {
    client: TurnClient,
    now: Instant,
    nonce: &'static [u8],
    key: Key,
}

impl Server {
    fn new() -> Self {
        let now = start();
        Self {
            client: TurnClient::new(Delivery::Datagrams, "alice".into(), "secret".into(), 1, now),
            now,
            nonce: b"nonce-1",
            key: key("alice", "secret"),
        }
    }

    fn allocated() -> Self {
        let mut server = Self::new();
        server.challenge(401);
        server.succeed(Method::Allocate);
        assert!(matches!(
            server.client.poll_event(),
            Some(TurnEvent::Allocated { .. })
        ));
        server
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.client.poll_transmit()
    }

    fn next_request(&mut self, method: Method) -> Vec<u8> {
        let bytes = self.next().expect("a request");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(
            (message.class(), message.method()),
            (Class::Request, method)
        );
        bytes
    }

    fn answer(&mut self, request: &[u8], class: Class, fill: impl Fn(&mut Builder<'_>)) {
        let request = Message::parse(request).unwrap();
        let mut buf = [0; 512];
        let mut builder = Builder::new(&mut buf, class, request.method(), request.transaction());
        fill(&mut builder);
        let len = builder.finish().unwrap();
        self.client.handle_message(&buf[..len], self.now);
    }

    fn challenge(&mut self, code: u16) {
        let request = self.next().expect("a request");
        let nonce = self.nonce;
        self.answer(&request, Class::Error, |b| {
            b.error(code, "").realm(REALM).nonce(nonce);
        });
    }

    /// Checks the signature and says yes.
    fn succeed(&mut self, method: Method) {
        let request = self.next_request(method);
        let key = self.key.clone();
        let message = Message::parse(&request).unwrap();
        assert!(message.verify(&key));
        assert_eq!(message.nonce(), Some(self.nonce));
        self.answer(&request, Class::Success, |b| {
            if method == Method::Allocate {
                b.xor_relayed_address(address(RELAYED));
                b.xor_mapped_address(address("198.51.100.3:4000"));
            }
            b.lifetime(LIFETIME);
            b.integrity(&key);
        });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
    }
}

#[test]
fn an_allocation_needs_one_challenge_and_tells_both_addresses() {
    let mut server = Server::new();
    server.challenge(401);
    server.succeed(Method::Allocate);
    let expected = TurnEvent::Allocated {
        relayed: address(RELAYED),
        mapped: Some(address("198.51.100.3:4000")),
    };
    assert_eq!(server.client.poll_event(), Some(expected));
}

// RFC 8489 §9.2.5: 438 means the nonce is old; the same request again with the new one.
#[test]
fn a_stale_nonce_is_replaced_and_the_request_repeated() {
    let mut server = Server::allocated();
    server.pass(LIFETIME - Duration::from_secs(60));
    server.nonce = b"nonce-2";
    server.challenge(438);
    server.succeed(Method::Refresh);
    assert_eq!(server.client.poll_event(), None);
}

#[test]
fn a_wrong_password_fails_after_one_try() {
    let mut server = Server::new();
    server.challenge(401);
    server.challenge(401);
    let Some(TurnEvent::Failed { code: 401, problem }) = server.client.poll_event() else {
        panic!("no failure");
    };
    assert!(problem.contains("credentials"), "{problem}");
    assert!(server.client.is_gone());
    assert_eq!(server.client.poll_timeout(), None);
}

#[test]
fn an_answer_that_is_not_signed_changes_nothing() {
    let mut server = Server::new();
    server.challenge(401);
    let request = server.next_request(Method::Allocate);
    server.answer(&request, Class::Success, |b| {
        b.xor_relayed_address(address(RELAYED));
    });
    assert_eq!(server.client.poll_event(), None);
    assert_eq!(server.client.relayed(), None);
}

#[test]
fn a_silent_server_is_asked_eight_times_within_eight_seconds_and_given_up() {
    let mut server = Server::new();
    let (mut asked, asked_at) = (0, server.now);
    while !server.client.is_gone() {
        asked += usize::from(server.next().is_some());
        server.pass(Duration::from_millis(50));
    }
    assert_eq!(asked, 8);
    assert!(server.now - asked_at <= Duration::from_secs(8));
    assert!(matches!(
        server.client.poll_event(),
        Some(TurnEvent::Failed { code: 0, .. })
    ));
}

#[test]
fn checks_wait_for_their_permission_and_media_binds_a_channel() {
    let mut server = Server::allocated();
    let (peer, now) = (address(PEER), server.now);
    let check = vec![0, 1, 0, 0, 1, 2, 3];
    server.client.send(peer, check.clone(), now);
    server.succeed(Method::CreatePermission);
    let indication = server.next().expect("the check that waited");
    let message = Message::parse(&indication).unwrap();
    assert_eq!(message.method(), Method::Send);
    assert_eq!(message.data(), Some(check.as_slice()));
    assert_eq!(message.xor_peer_address(), Some(peer));

    let media = vec![0x80, 1, 2, 3];
    server.client.send(peer, media.clone(), now);
    let bind = server.next_request(Method::ChannelBind);
    assert_eq!(
        Message::parse(&bind).unwrap().xor_peer_address(),
        Some(peer)
    );
    let number = Message::parse(&bind).unwrap().channel_number().unwrap();
    // Not bound yet: still an indication.
    assert_eq!(classify(&server.next().unwrap()), Kind::Stun);
    let key = server.key.clone();
    server.answer(&bind, Class::Success, |b| {
        b.integrity(&key);
    });
    server.client.send(peer, media.clone(), now);
    let framed = server.next().unwrap();
    assert_eq!(channel::decode(&framed), Ok((number, media.as_slice())));
    let inbound = server.client.handle_message(&framed, now);
    let payload = media.as_slice();
    assert_eq!(inbound, Inbound::Data { peer, payload });
}

#[test]
fn a_stranger_behind_the_relay_is_not_heard() {
    let mut server = Server::allocated();
    let mut buf = [0; 128];
    let id = protocol::turn::message::TransactionId([1; 12]);
    let mut builder = Builder::new(&mut buf, Class::Indication, Method::Data, id);
    let len = builder
        .xor_peer_address(address(PEER))
        .data(b"hello")
        .finish()
        .unwrap();
    let now = server.now;
    assert_eq!(
        server.client.handle_message(&buf[..len], now),
        Inbound::Ignored
    );
    server.client.permit(address(PEER).ip(), now);
    let inbound = server.client.handle_message(&buf[..len], now);
    assert!(matches!(inbound, Inbound::Data { .. }));
}

#[test]
fn permissions_and_the_allocation_are_refreshed_in_time() {
    let mut server = Server::allocated();
    server.client.permit(address(PEER).ip(), server.now);
    server.succeed(Method::CreatePermission);
    let at = server.client.poll_timeout().unwrap();
    assert_eq!(at - server.now, PEER_REFRESH);
    server.pass(PEER_REFRESH);
    server.succeed(Method::CreatePermission);
    server.pass(PEER_REFRESH);
    server.succeed(Method::CreatePermission);
    server.pass(LIFETIME - Duration::from_secs(60) - PEER_REFRESH * 2);
    server.succeed(Method::Refresh);
}

#[test]
fn renewed_credentials_are_shown_at_once_and_an_old_fashioned_server_keeps_the_old_ones() {
    let mut server = Server::allocated();
    server
        .client
        .set_credentials("bob".into(), "other".into(), server.now);
    server.key = key("bob", "other");
    server.succeed(Method::Refresh);

    server
        .client
        .set_credentials("carol".into(), "third".into(), server.now);
    let request = server.next_request(Method::Refresh);
    server.answer(&request, Class::Error, |b| {
        b.error(441, "Wrong Credentials");
    });
    server.succeed(Method::Refresh);
    assert_eq!(server.client.poll_event(), None);
}

#[test]
fn a_released_allocation_is_given_back() {
    let mut server = Server::allocated();
    server.client.release(server.now);
    let request = server.next_request(Method::Refresh);
    let lifetime = Message::parse(&request).unwrap().lifetime();
    assert_eq!(lifetime, Some(Duration::ZERO));
    let key = server.key.clone();
    server.answer(&request, Class::Success, |b| {
        b.lifetime(Duration::ZERO).integrity(&key);
    });
    assert!(server.client.is_gone());
    assert_eq!(server.client.poll_event(), None);
}

#[test]
fn noise_from_the_server_is_ignored() {
    let mut server = Server::allocated();
    for bytes in [
        &[][..],
        &[0; 20],
        &[0x40, 0, 0, 9, 1],
        &[0x40, 1, 0, 0],
        &[0xFF; 60],
    ] {
        let now = server.now;
        assert_eq!(server.client.handle_message(bytes, now), Inbound::Ignored);
    }
}
