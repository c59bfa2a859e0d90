//! What a relay must never do, seen from outside its process: not one packet to a special-purpose
//! address, whatever its spelling, and no memory for strangers.
//!
//! Each test runs itself again inside a fresh network namespace, where every route leads into a
//! cable nobody listens to and an nftables set counts what relayed ports send, by destination. coturn with its
//! defaults goes through the same: a harness that flags nothing there would prove nothing here.
#![expect(
    clippy::disallowed_methods,
    reason = "a test of a real process waits for it with a real clock"
)]

mod client;
mod enclosure;
mod ranges;
mod server;
mod uclient;

use std::net::{IpAddr, SocketAddr};

use enclosure::Enclosure;
use server::{Kind, Server};

/// Growth allowed for a million strangers, in bytes.
const STRANGERS_GROWTH_MAX: u64 = 1 << 20;

#[test]
fn not_one_packet_reaches_a_special_purpose_address_in_any_spelling() {
    let Some(enclosure) =
        Enclosure::enter("not_one_packet_reaches_a_special_purpose_address_in_any_spelling")
    else {
        return;
    };
    let server = Server::start(Kind::MultiClaw, &enclosure);
    let accepted = try_all(&server);
    let sent = enclosure.destinations();

    let public = ranges::PUBLIC.map(|text| text.parse::<IpAddr>().unwrap());
    for address in public {
        assert!(
            sent.contains(&address),
            "the harness misses {address}: {sent:?}"
        );
    }
    let leaked: Vec<_> = sent.iter().filter(|it| !public.contains(it)).collect();
    assert!(leaked.is_empty(), "packets left for {leaked:?}");
    // A permission names an address without a port, so the relay's own is accepted: its relayed
    // ports are allowed peers. Whether a broadcast is one only the kernel knows, and it refuses.
    let own = ["5.5.5.5", "5.5.5.255"].map(|text| text.parse::<IpAddr>().unwrap());
    let allowed = |ip: IpAddr| public.contains(&ip) || own.contains(&ip);
    let wrongly: Vec<_> = accepted.iter().filter(|it| !allowed(it.ip())).collect();
    assert!(wrongly.is_empty(), "accepted as peers: {wrongly:?}");
}

#[test]
fn the_same_harness_flags_coturns_defaults() {
    let Some(enclosure) = Enclosure::enter("the_same_harness_flags_coturns_defaults") else {
        return;
    };
    let server = Server::start(Kind::Coturn, &enclosure);
    try_all(&server);
    let sent = enclosure.destinations();

    for text in [
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "fd00:ec2::254",
    ] {
        assert!(
            sent.contains(&text.parse().unwrap()),
            "{text} is not flagged: {sent:?}"
        );
    }
}

#[test]
fn what_a_peer_sent_before_its_permission_is_lost_and_what_follows_arrives() {
    let Some(enclosure) =
        Enclosure::enter("what_a_peer_sent_before_its_permission_is_lost_and_what_follows_arrives")
    else {
        return;
    };
    let server = Server::start(Kind::MultiClaw, &enclosure);
    let peer = enclosure.public_peer();
    let mut client = client::Client::allocate(&server, client::Family::V4);
    for _ in 0..100 {
        peer.send_to(b"too early", client.relayed()).unwrap();
    }
    client.permit(peer.local_addr().unwrap());
    peer.send_to(b"permitted", client.relayed()).unwrap();

    assert_eq!(client.receive(), b"permitted");
}

// RFC 8656 §14
#[test]
fn a_datagram_too_long_for_the_path_is_cut_unless_the_client_forbids_it() {
    let Some(enclosure) =
        Enclosure::enter("a_datagram_too_long_for_the_path_is_cut_unless_the_client_forbids_it")
    else {
        return;
    };
    enclosure.narrow();
    let server = Server::start(Kind::MultiClaw, &enclosure);
    let mut client = client::Client::allocate(&server, client::Family::V4);
    let [cut, whole, dropped] = ["8.8.8.8:4000", "8.8.4.4:4000", "9.9.9.9:4000"]
        .map(|text| text.parse::<SocketAddr>().unwrap());
    for peer in [cut, whole, dropped] {
        client.permit(peer);
    }
    client.send(cut, &[7; 1400]);
    client.send_whole(whole, &[7; 100]);
    client.send_whole(dropped, &[7; 1400]);
    client.settle();

    let sent = enclosure.destinations();
    assert_eq!(sent, [whole.ip(), cut.ip()].into());
}

#[test]
fn clients_of_different_workers_meet_inside_the_relay() {
    let Some(enclosure) = Enclosure::enter("clients_of_different_workers_meet_inside_the_relay")
    else {
        return;
    };
    let server = Server::start(Kind::MultiClawOfTwo, &enclosure);
    let allocate = |_| client::Client::allocate(&server, client::Family::V4);
    // The kernel spreads them over two workers by their ports.
    let mut clients: Vec<_> = (0..8).map(allocate).collect();
    let relayed: Vec<_> = clients.iter().map(client::Client::relayed).collect();
    for client in &mut clients {
        client.permit(relayed[0]);
    }
    for (number, address) in relayed.iter().enumerate() {
        for (sender, client) in clients.iter_mut().enumerate() {
            if sender != number {
                client.send(*address, &[sender as u8, number as u8]);
            }
        }
    }
    for (number, client) in clients.iter().enumerate() {
        let mut seen: Vec<_> = (1..clients.len()).map(|_| client.receive()).collect();
        seen.sort_unstable();
        let others = (0..relayed.len()).filter(|sender| *sender != number);
        assert_eq!(
            seen,
            others
                .map(|sender| vec![sender as u8, number as u8])
                .collect::<Vec<_>>()
        );
    }
    let sent = enclosure.destinations();
    assert!(sent.is_empty(), "relayed ports spoke to {sent:?}");
}

#[test]
fn a_million_strangers_leave_no_trace_in_memory() {
    let Some(enclosure) = Enclosure::enter("a_million_strangers_leave_no_trace_in_memory") else {
        return;
    };
    let server = Server::start(Kind::MultiClaw, &enclosure);
    enclosure.flood(&server, 20_000);
    let before = server.resident_bytes();
    enclosure.flood(&server, 1_000_000);
    let grown = server.resident_bytes().saturating_sub(before);

    assert!(grown <= STRANGERS_GROWTH_MAX, "grew by {grown} bytes");
    client::Client::allocate(&server, client::Family::V4);
}

#[test]
fn the_same_flood_fills_coturns_memory() {
    let Some(enclosure) = Enclosure::enter("the_same_flood_fills_coturns_memory") else {
        return;
    };
    let server = Server::start(Kind::Coturn, &enclosure);
    let before = server.resident_bytes();
    enclosure.flood(&server, 5_000);
    let grown = server.resident_bytes().saturating_sub(before);

    assert!(grown > STRANGERS_GROWTH_MAX, "grew by {grown} bytes only");
}

#[test]
fn turnutils_uclient_gets_through_in_every_mode_over_udp_tcp_and_tls() {
    let Some(enclosure) =
        Enclosure::enter("turnutils_uclient_gets_through_in_every_mode_over_udp_tcp_and_tls")
    else {
        return;
    };
    let _server = Server::start(Kind::MultiClaw, &enclosure);
    for transport in uclient::TRANSPORTS {
        let failed = uclient::run_all(transport, &uclient::MODES);
        assert!(failed.is_empty(), "{transport:?}: {failed:#?}");
    }
}

#[test]
fn garbage_and_quick_exits_leave_the_relay_serving() {
    let Some(enclosure) = Enclosure::enter("garbage_and_quick_exits_leave_the_relay_serving")
    else {
        return;
    };
    let _server = Server::start(Kind::MultiClaw, &enclosure);
    for transport in uclient::TRANSPORTS {
        // How these end depends on what they happened to break: only what comes after counts.
        uclient::run_all(transport, &uclient::HOSTILE_MODES);
        let failed = uclient::run_all(transport, &[&["-y"]]);
        assert!(failed.is_empty(), "{transport:?}: {failed:#?}");
    }
}

/// Tries every address as a peer in every way TURN knows; returns those any request accepted.
fn try_all(server: &Server) -> Vec<SocketAddr> {
    let mut accepted = Vec::new();
    // Kept to the end: the port of one that is gone may be given to the next, which then meets the
    // allocation of the first (437).
    let mut clients = Vec::new();
    for (family, addresses) in ranges::by_family() {
        // A fresh allocation now and then: relays bound the permissions of one.
        for batch in addresses.chunks(16) {
            let mut client = client::Client::allocate(server, family);
            for &address in batch {
                let peer = SocketAddr::new(address, 40_000);
                if client.try_peer(peer) {
                    accepted.push(peer);
                }
            }
            client.settle();
            clients.push(client);
        }
    }
    accepted
}
