//! The server as a client meets it: bytes in, bytes out, no socket and no clock.

mod relaying;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use protocol::Secret;
use protocol::turn::channel::ChannelNumber;
use protocol::turn::credential;
use protocol::turn::integrity::Key;
use protocol::turn::message::{
    Attribute, Builder, Class, Message, Method, PASSWORD_ALGORITHMS, PasswordAlgorithm,
    TransactionId,
};

use super::*;
use crate::endpoint::SocketId;
use crate::ledger::Quotas;

const UNIX_NOW: Duration = Duration::from_secs(1_700_000_000);
const REALM: &str = "example.org";
const PEER: &str = "198.20.0.7:4000";

// RFC 8489 §12; the reflection bound is 1.6 times the question.
#[test]
fn a_binding_request_is_answered_with_the_source_address_and_nothing_else() {
    let mut rig = Rig::new();
    let request = build(Class::Request, Method::Binding, |_| {});
    let answer = rig.ask(1, &request);
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert_eq!(answer.xor_mapped_address(), Some(client(1).addr));
    assert_eq!(answer.bytes().len(), 32);
}

// RFC 8489 §9.2.4: no integrity, no entrance; and the answer is no amplifier.
#[test]
fn a_stranger_is_challenged_with_realm_and_nonce_in_at_most_a_hundred_bytes() {
    let mut rig = Rig::new();
    let bytes = rig.ask(1, &allocate_bare());
    let answer = Message::parse(&bytes).unwrap();
    assert_eq!(answer.error().unwrap().code, 401);
    assert_eq!(answer.realm(), Some(REALM));
    assert!(answer.nonce().unwrap().starts_with(b"obMatJos2"));
    assert!(bytes.len() <= 104, "{}", bytes.len());
}

// coturn before 2026: 22 KB per spoofed source for a minute.
#[test]
fn nothing_is_remembered_about_strangers() {
    let mut rig = Rig::new();
    for port in 1..10_000 {
        rig.ask(port, &allocate_bare());
    }
    assert!(rig.server.slots_by_client.is_empty());
    assert!(rig.server.allocations.is_empty());
    assert_eq!(rig.server.deadlines.next(), None);
}

#[test]
fn replies_to_strangers_stop_at_their_rate() {
    let mut rig = Rig::with(|settings| settings.limits.stranger_replies_per_second = 3);
    let answered = (1..10)
        .filter(|port| !rig.ask(*port, &allocate_bare()).is_empty())
        .count();
    assert_eq!(answered, 3);
    assert_eq!(rig.server.counters().dropped(Drop::StrangerLimit), 6);
}

#[test]
fn a_wrong_password_an_unknown_user_and_an_expired_grant_get_the_same_answer() {
    let mut rig = Rig::new();
    let expired = credential::derive(&Secret::new("new"), "s", &[], UNIX_NOW);
    for (name, password) in [
        ("alice", Secret::new("wrong")),
        ("mallory", Secret::new("password")),
        (&expired.username, expired.password.clone()),
    ] {
        let user = Login::of(name, &password);
        assert_eq!(
            rig.code(1, &user, Method::Allocate, udp),
            Some(401),
            "{name}"
        );
    }
}

#[test]
fn passwords_made_with_either_live_secret_are_good() {
    let mut rig = Rig::new();
    let until = UNIX_NOW + Duration::from_secs(60);
    for (port, secret) in [(1, "new"), (2, "old")] {
        let made = credential::derive(&Secret::new(secret), "session", &[], until);
        let user = Login::of(&made.username, &made.password);
        assert_eq!(rig.code(port, &user, Method::Allocate, udp), None);
    }
}

// RFC 8656 §3.1.
#[test]
fn a_streams_allocation_ends_with_the_stream_and_no_other() {
    let mut rig = Rig::new();
    for port in [1, 2] {
        assert_eq!(rig.code(port, &alice(), Method::Allocate, udp), None);
    }
    rig.server.handle_disconnect(client(1));
    rig.server.handle_disconnect(client(3));
    let left = |port| rig.server.has_allocation(client(port));
    assert_eq!((left(1), left(2)), (false, true));
}

// RFC 8489 §14.4: the nonce does not offer it, so it is as unknown as any other.
#[test]
fn a_userhash_nobody_offered_is_refused_as_unknown() {
    let mut rig = Rig::new();
    let refused = rig.code(1, &alice(), Method::Allocate, |b| {
        udp(b);
        b.attribute(Attribute::USERHASH, &[0; 32]);
    });
    assert_eq!(refused, Some(420));
}

// turn-rs never reads a nonce back; we do.
#[test]
fn a_nonce_that_was_made_for_somebody_else_is_stale() {
    let mut rig = Rig::new();
    let nonce = rig.nonce(1);
    let request = signed(&alice(), &nonce, Method::Allocate, udp);
    let answer = rig.ask(2, &request);
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.error().unwrap().code, 438);
    assert!(answer.nonce().is_some());
}

#[test]
fn an_hour_later_the_nonce_is_stale_and_the_new_one_works() {
    let mut rig = Rig::new();
    let nonce = rig.nonce(1);
    rig.now += Duration::from_secs(3602);
    let request = signed(&alice(), &nonce, Method::Allocate, udp);
    assert_eq!(error_code(&rig.ask(1, &request)), Some(438));
    assert_eq!(rig.code(1, &alice(), Method::Allocate, udp), None);
}

// RFC 8656 §7.2.
#[test]
fn an_allocation_names_its_addresses_and_lifetime_under_integrity() {
    let mut rig = Rig::new();
    let bytes = rig.request(1, &alice(), Method::Allocate, udp);
    let answer = Message::parse(&bytes).unwrap();
    assert_eq!(answer.class(), Class::Success);
    let relayed = answer.xor_relayed_address().unwrap();
    assert_eq!(relayed.ip(), "203.0.113.5".parse::<IpAddr>().unwrap());
    assert_eq!(answer.xor_mapped_address(), Some(client(1).addr));
    assert_eq!(answer.lifetime(), Some(Duration::from_secs(600)));
    assert!(answer.verify(&alice().key));
}

// RFC 8656 §7.2 "idempotent": Firefox repeats the request when the answer is late.
#[test]
fn the_same_allocate_again_gets_the_same_address_and_another_one_437() {
    let mut rig = Rig::new();
    let nonce = rig.nonce(1);
    let request = signed(&alice(), &nonce, Method::Allocate, udp);
    let first = rig.ask(1, &request);
    assert_eq!(rig.ask(1, &request), first);
    assert_eq!(rig.server.counters().allocations, 1);
    let other = signed_as([9; 12], &alice(), &nonce, Method::Allocate, udp);
    assert_eq!(error_code(&rig.ask(1, &other)), Some(437));
}

// RFC 8656 §7.2, one line of the table per check.
#[test]
fn an_allocate_that_contradicts_itself_is_refused_with_the_code_of_the_rfc() {
    type Write = fn(&mut Builder<'_>);
    let cases: [(u16, Write); 9] = [
        (400, |_| {}),
        (442, |b| {
            _ = b.attribute(Attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])
        }),
        (400, |b| {
            _ = b.attribute(Attribute::REQUESTED_TRANSPORT, &[17])
        }),
        (440, |b| {
            udp(b);
            b.attribute(Attribute::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0]);
        }),
        (400, |b| {
            udp(b);
            b.requested_family(AddressFamily::V4)
                .attribute(Attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        }),
        (400, |b| {
            udp(b);
            b.attribute(Attribute::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]);
        }),
        (400, |b| {
            udp(b);
            b.attribute(Attribute::EVEN_PORT, &[0x80])
                .attribute(Attribute::RESERVATION_TOKEN, &[0; 8]);
        }),
        (508, |b| {
            udp(b);
            b.attribute(Attribute::RESERVATION_TOKEN, &[0; 8]);
        }),
        (420, |b| {
            udp(b);
            b.attribute(Attribute(0x7777), b"");
        }),
    ];
    for (index, (code, write)) in cases.into_iter().enumerate() {
        let mut rig = Rig::new();
        let refused = rig.code(1, &alice(), Method::Allocate, write);
        assert_eq!(refused, Some(code), "case {index}");
        assert_eq!(rig.server.counters().allocations, 0, "case {index}");
    }
}

// RFC 8656 §7.2 and §18.5: one address of each family from one request.
#[test]
fn a_dual_allocation_has_an_address_of_each_family() {
    let mut rig = Rig::new();
    let bytes = rig.request(1, &alice(), Method::Allocate, |b| {
        udp(b);
        b.attribute(Attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    let answer = Message::parse(&bytes).unwrap();
    let families: Vec<bool> = answer.relayed_addresses().map(|a| a.is_ipv4()).collect();
    assert_eq!(families, [true, false]);
}

// RFC 8656 §7.2: R=1 reserves the next port, and the token brings it.
#[test]
fn a_reserved_port_is_the_next_higher_one() {
    let mut rig = Rig::new();
    let bytes = rig.request(1, &alice(), Method::Allocate, |b| {
        udp(b);
        b.attribute(Attribute::EVEN_PORT, &[0x80]);
    });
    let answer = Message::parse(&bytes).unwrap();
    let even = answer.xor_relayed_address().unwrap().port();
    let token = answer.reservation_token().unwrap();
    let bytes = rig.request(2, &alice(), Method::Allocate, |b| {
        udp(b);
        b.attribute(Attribute::RESERVATION_TOKEN, &token);
    });
    let odd = Message::parse(&bytes)
        .unwrap()
        .xor_relayed_address()
        .unwrap();
    assert_eq!((even % 2, odd.port()), (0, even + 1));
}

// RFC 8656 §7.2: R=0 takes the even port alone. Each leaked neighbour would be missing at the end
// of a range of 100 ports: 50 clients in turn must leave room for more.
#[test]
fn an_even_port_without_reservation_keeps_no_neighbour() {
    let mut rig = Rig::new();
    for _ in 0..200 {
        let bytes = rig.request(1, &alice(), Method::Allocate, |b| {
            udp(b);
            b.attribute(Attribute::EVEN_PORT, &[0]);
        });
        let answer = Message::parse(&bytes).unwrap();
        assert_eq!(answer.xor_relayed_address().unwrap().port() % 2, 0);
        assert_eq!(answer.reservation_token(), None);
        let ended = rig.code(1, &alice(), Method::Refresh, |b| {
            b.lifetime(Duration::ZERO);
        });
        assert_eq!(ended, None);
    }
}

// RFC 8656 §8.2: a Refresh for a family the allocation lacks is 443 and leaves it alone.
#[test]
fn a_refresh_of_the_family_an_allocation_lacks_is_443() {
    let mut rig = Rig::allocated();
    let code = rig.code(1, &alice(), Method::Refresh, |b| {
        b.attribute(Attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])
            .lifetime(Duration::ZERO);
    });
    assert_eq!(code, Some(443));
    assert_eq!(rig.server.counters().allocations, 1);
}

// RFC 8489 §9.2.4 and §18.1: SHA-256 for those who ask, and no way to hide the offer.
#[test]
fn sha256_is_accepted_and_a_bid_down_is_refused() {
    let mut rig = Rig::new();
    let nonce = rig.nonce(1);
    let key = Key::long_term(
        PasswordAlgorithm::Sha256,
        "alice",
        REALM,
        &Secret::new("password"),
    );
    let request = build(Class::Request, Method::Allocate, |b| {
        udp(b);
        b.username("alice").realm(REALM).nonce(&nonce);
        b.attribute(Attribute::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS)
            .password_algorithm(PasswordAlgorithm::Sha256)
            .integrity_sha256(&key);
    });
    let bytes = rig.ask(1, &request);
    let answer = Message::parse(&bytes).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert!(answer.has_integrity_sha256() && answer.verify(&key));

    let nonce = rig.nonce(2);
    let bid_down = build(Class::Request, Method::Allocate, |b| {
        udp(b);
        b.username("alice").realm(REALM).nonce(&nonce);
        b.attribute(Attribute::PASSWORD_ALGORITHMS, &[0, 1, 0, 0])
            .password_algorithm(PasswordAlgorithm::Md5)
            .integrity(&alice().key);
    });
    assert_eq!(error_code(&rig.ask(2, &bid_down)), Some(400));
}

#[test]
fn a_port_another_program_holds_is_replaced_and_eight_of_them_are_508() {
    let mut rig = Rig::new();
    rig.bind_failures = 3;
    assert_eq!(rig.code(1, &alice(), Method::Allocate, udp), None);
    rig.bind_failures = 100;
    assert_eq!(rig.code(2, &alice(), Method::Allocate, udp), Some(508));
    assert_eq!(rig.server.counters().allocations, 1);
}

#[test]
fn quotas_are_486_for_the_user_and_508_for_the_relay() {
    let mut rig = Rig::new();
    for port in 1..=4 {
        assert_eq!(rig.code(port, &alice(), Method::Allocate, udp), None);
    }
    assert_eq!(rig.code(5, &alice(), Method::Allocate, udp), Some(486));
    let bob = Login::of("bob", &Secret::new("builder"));
    assert_eq!(rig.code(6, &bob, Method::Allocate, udp), None);
    assert_eq!(rig.code(7, &bob, Method::Allocate, udp), Some(508));
}

// RFC 8656 §8.2.
#[test]
fn a_refresh_moves_the_end_and_zero_is_the_end() {
    let mut rig = Rig::allocated();
    rig.now += Duration::from_secs(500);
    assert_eq!(rig.code(1, &alice(), Method::Refresh, |_| {}), None);
    rig.now += Duration::from_secs(590);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 1);
    let zero = |b: &mut Builder<'_>| _ = b.lifetime(Duration::ZERO);
    assert_eq!(rig.code(1, &alice(), Method::Refresh, zero), None);
    assert_eq!(rig.server.counters().allocations, 0);
    assert_eq!(rig.code(1, &alice(), Method::Refresh, zero), Some(437));
}

// RFC 8656 §8.2: the new lifetime counts, also if it is the shorter one. However often a client
// changes its mind, what waits for its end stays small.
#[test]
fn a_refresh_that_shortens_a_life_is_kept_and_leaves_little_behind() {
    let mut rig = Rig::allocated();
    let wish = |secs: u64| move |b: &mut Builder<'_>| _ = b.lifetime(Duration::from_secs(secs));
    for _ in 0..100 {
        assert_eq!(rig.code(1, &alice(), Method::Refresh, wish(3600)), None);
        assert_eq!(rig.code(1, &alice(), Method::Refresh, wish(600)), None);
        rig.now += Duration::from_secs(300);
        rig.server.handle_timeout(rig.now);
    }
    assert!(rig.server.deadlines.entries() <= 8);
    assert_eq!(rig.code(1, &alice(), Method::Refresh, wish(3600)), None);
    assert_eq!(rig.code(1, &alice(), Method::Refresh, wish(600)), None);
    rig.now += Duration::from_secs(599);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 1);
    rig.now += Duration::from_secs(2);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 0);
}

#[test]
fn an_allocation_nobody_refreshes_ends_after_its_lifetime() {
    let mut rig = Rig::allocated();
    rig.now += Duration::from_secs(599);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 1);
    rig.now += Duration::from_secs(2);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 0);
    assert_eq!(rig.server.ledger.allocations(), 0);
}

#[test]
fn a_session_is_not_refreshed_beyond_its_limit() {
    let mut rig = Rig::with(|settings| settings.limits.session = Duration::from_secs(1000));
    rig.request(1, &alice(), Method::Allocate, udp);
    rig.now += Duration::from_secs(550);
    let bytes = rig.request(1, &alice(), Method::Refresh, |_| {});
    let left = Message::parse(&bytes).unwrap().lifetime().unwrap();
    assert!(left <= Duration::from_secs(451), "{left:?}");
    rig.now += Duration::from_secs(452);
    rig.server.handle_timeout(rig.now);
    assert_eq!(rig.server.counters().allocations, 0);
}

// RFC 8656 §5: the username of an allocation never changes.
#[test]
fn another_user_on_the_same_five_tuple_is_441() {
    let mut rig = Rig::allocated();
    let bob = Login::of("bob", &Secret::new("builder"));
    assert_eq!(rig.code(1, &bob, Method::Refresh, |_| {}), Some(441));
}

#[test]
fn bytes_beyond_the_allowance_are_dropped_and_counted() {
    let mut rig = Rig::with(|settings| settings.limits.bytes_per_second = 10);
    rig.request(1, &alice(), Method::Allocate, udp);
    rig.permit(PEER);
    assert_ne!(rig.hear_peer(PEER), Forward::Nothing);
    assert_ne!(rig.hear_peer(PEER), Forward::Nothing);
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
    assert_eq!(rig.server.counters().dropped(Drop::Bandwidth), 1);
}

#[test]
fn nobody_waits_at_a_relayed_address_before_its_first_permission() {
    let mut rig = Rig::allocated();
    assert_eq!(rig.opened, []);
    rig.permit(PEER);
    assert_eq!(rig.opened, [RelayId(0)]);
    rig.permit("9.9.9.9:1");
    assert_eq!(rig.bind(0x4001, PEER), None);
    assert_eq!(rig.opened, [RelayId(0)], "once is enough");
}

#[test]
fn a_reload_ends_what_the_new_policy_refuses() {
    let mut rig = Rig::allocated();
    assert_eq!(rig.bind(0x4000, PEER), None);
    let mut settings = settings();
    settings.policy.deny = vec!["198.20.0.0/16".parse().unwrap()];
    rig.server.reload(settings);
    assert_eq!(rig.send(&[0x40, 0, 0, 0]), Forward::Nothing);
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
}

#[test]
fn a_draining_relay_sends_newcomers_elsewhere_and_keeps_its_clients() {
    let mut rig = Rig::allocated();
    let alternate: SocketAddr = "203.0.113.9:3478".parse().unwrap();
    rig.server.drain(Draining {
        alternate: Some(alternate),
    });
    let bytes = rig.request(2, &alice(), Method::Allocate, udp);
    let answer = Message::parse(&bytes).unwrap();
    assert_eq!(answer.error().unwrap().code, 300);
    assert_eq!(answer.alternate_server(), Some(alternate));
    assert_eq!(rig.code(1, &alice(), Method::Refresh, |_| {}), None);
    rig.server.drain(Draining { alternate: None });
    assert_eq!(rig.code(3, &alice(), Method::Allocate, udp), Some(508));
}

#[test]
fn a_revoked_session_ends_at_once_and_does_not_come_back() {
    let mut rig = Rig::new();
    let until = UNIX_NOW + Duration::from_secs(600);
    let made = credential::derive(&Secret::new("new"), "gone", &[], until);
    let user = Login::of(&made.username, &made.password);
    assert_eq!(rig.code(1, &user, Method::Allocate, udp), None);
    rig.server.ledger.revoke("gone");
    assert_eq!(rig.server.end_session("gone"), 1);
    assert_eq!(rig.code(1, &user, Method::Allocate, udp), Some(401));
}

// coturn ab762f33, at the level where it mattered: an on-path LIFETIME of zero.
#[test]
fn a_lifetime_behind_the_integrity_does_not_end_an_allocation() {
    let mut rig = Rig::allocated();
    let nonce = rig.nonce(1);
    let mut request = signed(&alice(), &nonce, Method::Refresh, |_| {});
    request.extend_from_slice(&[0x00, 0x0D, 0, 4, 0, 0, 0, 0]);
    let len = (request.len() - 20) as u16;
    request[2..4].copy_from_slice(&len.to_be_bytes());
    assert_eq!(error_code(&rig.ask(1, &request)), None);
    assert_eq!(rig.server.counters().allocations, 1);
}

#[test]
fn noise_and_answers_are_dropped_without_a_word() {
    let mut rig = Rig::new();
    let answers = [
        build(Class::Success, Method::Binding, |_| {}),
        build(Class::Error, Method::Allocate, |b| _ = b.error(500, "")),
        build(Class::Indication, Method::Binding, |_| {}),
        vec![0x16, 3, 1],
        vec![0, 1, 2],
        vec![],
        vec![0x40, 0, 0, 9],
    ];
    for bytes in answers {
        assert!(rig.ask(1, &bytes).is_empty(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_at_any_time_leave_the_server_standing(
        datagrams in proptest::collection::vec((1u16..4, proptest::collection::vec(any::<u8>(), 0..80)), 0..40),
    ) {
        let mut rig = Rig::allocated();
        rig.permit(PEER);
        for (port, mut bytes) in datagrams {
            rig.ask(port, &bytes);
            // Once more as a message with a true header, which gets further.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            let mut message = build(Class::Request, Method::Other(u16::from(bytes.len() as u8 % 12)), |_| {});
            message.extend_from_slice(&bytes);
            let len = bytes.len() as u16;
            message[2..4].copy_from_slice(&len.to_be_bytes());
            rig.ask(port, &message);
            rig.now += Duration::from_secs(1);
            rig.server.handle_timeout(rig.now);
        }
        prop_assert_eq!(rig.server.counters().allocations, 1);
    }
}

/// A server, its clock, and a shell that binds everything it is asked to.
struct Rig {
    server: Server,
    now: Instant,
    /// So many of the next binds fail.
    bind_failures: u32,
    /// Relayed addresses the shell was told to serve.
    opened: Vec<RelayId>,
}

struct Login {
    name: String,
    key: Key,
}

impl Login {
    fn of(name: &str, password: &Secret) -> Self {
        Self {
            name: name.into(),
            key: Key::long_term(PasswordAlgorithm::Md5, name, REALM, password),
        }
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let quotas = Quotas {
            allocations: 5,
            allocations_per_user: 4,
            allocations_per_address: 100,
        };
        let ledger = Ledger::new(quotas, 2, 50000..=50099, [1; 32]);
        let seed = Seed {
            nonce_key: [2; 32],
            hash_keys: [3, 4],
        };
        let now = Instant::now();
        Self {
            server: Server::new(settings, ledger, seed, UNIX_NOW, now),
            now,
            bind_failures: 0,
            opened: Vec::new(),
        }
    }

    /// With an allocation of alice on client 1.
    fn allocated() -> Self {
        let mut rig = Self::new();
        rig.relayed(1);
        rig
    }

    fn relayed(&mut self, port: u16) -> SocketAddr {
        let bytes = self.request(port, &alice(), Method::Allocate, udp);
        Message::parse(&bytes)
            .unwrap()
            .xor_relayed_address()
            .unwrap()
    }

    fn ask(&mut self, port: u16, bytes: &[u8]) -> Vec<u8> {
        let forward = self.server.handle_client(client(port), bytes, self.now);
        assert!(matches!(forward, Forward::Nothing));
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::Bind { relay, .. } => {
                    let fails = self.bind_failures > 0;
                    self.bind_failures = self.bind_failures.saturating_sub(1);
                    let outcome = if fails { Err(BindFailed) } else { Ok(()) };
                    self.server.handle_bound(relay, outcome, self.now);
                }
                Command::Open { relay } => self.opened.push(relay),
                Command::Unbind { .. } | Command::Ended { .. } => {}
            }
        }
        let answer = self.server.poll_transmit().map(|sent| sent.bytes.to_vec());
        assert_eq!(self.server.poll_transmit(), None);
        answer.unwrap_or_default()
    }

    fn nonce(&mut self, port: u16) -> Vec<u8> {
        let bytes = self.ask(port, &allocate_bare());
        Message::parse(&bytes).unwrap().nonce().unwrap().to_vec()
    }

    fn request(
        &mut self,
        port: u16,
        user: &Login,
        method: Method,
        write: impl FnOnce(&mut Builder<'_>),
    ) -> Vec<u8> {
        let nonce = self.nonce(port);
        self.ask(port, &signed(user, &nonce, method, write))
    }

    /// The code a request is refused with, or `None` for success.
    fn code(
        &mut self,
        port: u16,
        user: &Login,
        method: Method,
        write: impl FnOnce(&mut Builder<'_>),
    ) -> Option<u16> {
        let bytes = self.request(port, user, method, write);
        error_code(&bytes)
    }

    fn permit(&mut self, peer: &str) {
        let peer = peer.parse().unwrap();
        let code = self.code(1, &alice(), Method::CreatePermission, |b| {
            b.xor_peer_address(peer);
        });
        assert_eq!(code, None);
    }

    fn bind(&mut self, channel: u16, peer: &str) -> Option<u16> {
        let peer = peer.parse().unwrap();
        self.code(1, &alice(), Method::ChannelBind, |b| {
            b.channel_number(number(channel)).xor_peer_address(peer);
        })
    }

    fn send(&mut self, bytes: &[u8]) -> Forward {
        self.server.handle_client(client(1), bytes, self.now)
    }

    /// Five bytes from a peer to the first allocation.
    fn hear_peer(&mut self, peer: &str) -> Forward {
        let peer = peer.parse().unwrap();
        self.server.handle_peer(RelayId(0), peer, 5, self.now)
    }
}

fn settings() -> Settings {
    let users = [("alice", "password"), ("bob", "builder")];
    Settings {
        credentials: Credentials {
            realm: REALM.into(),
            shared_secrets: vec![Secret::new("new"), Secret::new("old")],
            users: users
                .map(|(name, password)| (name.into(), Secret::new(password)))
                .into(),
        },
        relay_addresses: ["203.0.113.5", "2001:db8::5"]
            .map(|ip| ip.parse().unwrap())
            .map(|ip: IpAddr| RelayAddress {
                bind: ip,
                public: ip,
            })
            .to_vec(),
        limits: Limits {
            permissions: 64,
            channels: 64,
            bytes_per_second: 0,
            bytes_per_second_total: 0,
            stranger_replies_per_second: 0,
            session: Duration::from_secs(24 * 3600),
        },
        policy: PolicyConfig {
            denied_ports: vec![53],
            own: ["203.0.113.5", "2001:db8::5"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            relay_ports: Some(50000..=50099),
            ..PolicyConfig::default()
        },
    }
}

fn alice() -> Login {
    Login::of("alice", &Secret::new("password"))
}

fn client(port: u16) -> Client {
    Client {
        socket: SocketId(0),
        addr: SocketAddr::from(([192, 0, 2, 1], port)),
    }
}

fn number(raw: u16) -> ChannelNumber {
    ChannelNumber::new(raw).unwrap()
}

fn udp(builder: &mut Builder<'_>) {
    builder.requested_transport_udp();
}

fn allocate_bare() -> Vec<u8> {
    build(Class::Request, Method::Allocate, udp)
}

fn send_indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    build(Class::Indication, Method::Send, |b| {
        b.xor_peer_address(peer).data(data);
    })
}

fn signed(
    user: &Login,
    nonce: &[u8],
    method: Method,
    write: impl FnOnce(&mut Builder<'_>),
) -> Vec<u8> {
    signed_as([7; 12], user, nonce, method, write)
}

fn signed_as(
    transaction: [u8; 12],
    user: &Login,
    nonce: &[u8],
    method: Method,
    write: impl FnOnce(&mut Builder<'_>),
) -> Vec<u8> {
    build_as(transaction, Class::Request, method, |builder| {
        write(builder);
        builder
            .username(&user.name)
            .realm(REALM)
            .nonce(nonce)
            .integrity(&user.key);
    })
}

fn build(class: Class, method: Method, write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    build_as([7; 12], class, method, write)
}

fn build_as(
    transaction: [u8; 12],
    class: Class,
    method: Method,
    write: impl FnOnce(&mut Builder<'_>),
) -> Vec<u8> {
    let mut buf = vec![0; 1024];
    let mut builder = Builder::new(&mut buf, class, method, TransactionId(transaction));
    write(&mut builder);
    let len = builder.finish().unwrap();
    buf.truncate(len);
    buf
}

fn error_code(bytes: &[u8]) -> Option<u16> {
    Message::parse(bytes)
        .unwrap()
        .error()
        .map(|error| error.code)
}
