//! Port 443 of the real relay: TURN and HTTP behind one TLS listener, HTTP passed on to an upstream.
#![expect(
    clippy::disallowed_methods,
    reason = "tests of a real process on the real clock"
)]

mod client;
mod upstream;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use client::{Front, PATIENCE};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use upstream::Upstream;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: turn.test\r\n\r\n";

#[test]
fn without_an_upstream_http_gets_a_page_and_turn_its_answer() {
    let front = Front::start("");
    let answer = front.connect().say_and_hear_out(GET);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("It speaks TURN.\n"), "{answer}");
    front.connect().binding();
}

#[test]
fn a_request_reaches_the_upstream_and_its_answer_the_client_again_and_again() {
    let upstream = Upstream::answering();
    let front = Front::start(&upstream.config());
    let mut client = front.connect();
    for path in ["/one", "/two"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: turn.test\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let body = format!("you asked for {path}");
        assert!(client.hear_until(&body).starts_with("HTTP/1.1 200 OK\r\n"));
    }
    front.connect().binding();
}

#[test]
fn what_looks_like_two_requests_arrives_as_the_bytes_that_were_sent_and_on_one_connection() {
    let upstream = Upstream::recording();
    let front = Front::start(&upstream.config());
    let sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /other HTTP/1.1\r\nHost: a\r\n\r\n";
    front.connect().say_and_hear_out(sent);
    front.connect().say_and_hear_out(GET);
    assert_eq!(upstream.recorded(), [sent.to_vec(), GET.to_vec()]);
}

#[test]
fn a_client_that_has_said_everything_still_hears_the_answer() {
    // The upstream answers only when it has seen the end of the request.
    let upstream = Upstream::recording();
    let front = Front::start(&upstream.config());
    let answer = front.connect().say_and_hear_out(GET);
    assert_eq!(answer, "heard you out");
}

#[tokio::test]
async fn a_web_socket_echoes_through_the_relay() {
    let upstream = Upstream::echoing_web_sockets();
    let front = Front::start(&upstream.config());
    let stream = front.connect_async().await;
    let (mut socket, _) = tokio_tungstenite::client_async("wss://turn.test/api", stream)
        .await
        .unwrap();
    for len in [5, 70_000] {
        let message = Message::binary(vec![len as u8; len]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(
        socket.next().await,
        None | Some(Ok(Message::Close(_)))
    ));
}

#[test]
fn what_is_under_way_when_the_relay_drains_still_arrives() {
    let upstream = Upstream::echoing();
    let front = Front::start(&upstream.config());
    let mut client = front.connect();
    client.write_all(GET).unwrap();
    client.hear_until("\r\n\r\n");
    front.begin_to_drain();
    assert_eq!(client.say_and_hear_out(b"the rest"), "the rest");
    assert_eq!(front.wait(), 0);
}

#[test]
fn who_says_nothing_over_tls_is_told_that_the_connection_ends() {
    let front = Front::start("");
    let mut client = front.connect();
    // Without the alert this is an error: a cut.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn large_bodies_go_both_ways_at_once_without_a_wrong_byte() {
    const LEN: usize = 24 << 20;
    let upstream = Upstream::echoing();
    let front = Front::start(&upstream.config());
    let (sent, heard) = front.connect().exchange(GET, LEN);
    assert!(sent == heard, "{} sent, {} heard", sent.len(), heard.len());
}

#[test]
fn when_the_upstream_is_down_the_client_is_told_502_and_a_new_one_is_found_after_a_reload() {
    let gone = Upstream::closed();
    let front = Front::start(&gone);
    let answer = front.connect().say_and_hear_out(GET);
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );

    let upstream = Upstream::answering();
    front.reconfigure(&upstream.config());
    let deadline = Instant::now() + PATIENCE;
    while !front
        .connect()
        .say_and_hear_out(GET)
        .contains("you asked for /a")
    {
        assert!(Instant::now() < deadline, "the old upstream is still asked");
    }
}

#[test]
fn a_slow_client_holds_back_the_upstream_and_not_the_relays_memory() {
    const GROWTH_MAX: u64 = 4 << 20;
    /// Everything between: both kernels' buffers and the relay's own.
    const UNDER_WAY_MAX: u64 = 24 << 20;
    let upstream = Upstream::endless();
    let front = Front::start(&upstream.config());
    front
        .connect()
        .say_and_hear_out(b"GET /little HTTP/1.1\r\nHost: a\r\n\r\n");
    let before = front.resident_bytes();
    let mut slow: Vec<_> = (0..4).map(|_| front.connect()).collect();
    for client in &mut slow {
        client.write_all(GET).unwrap();
    }
    upstream.wait_until_it_stalls();
    let grown = front.resident_bytes().saturating_sub(before);
    assert!(grown <= GROWTH_MAX, "grew by {grown} bytes");
    assert!(
        upstream.written() <= UNDER_WAY_MAX * 4,
        "{}",
        upstream.written()
    );
    front.connect().binding();
    // It was slow, not gone: what follows is whole.
    slow[0].expect_endless(8 << 20);
}

#[test]
fn a_head_that_is_too_long_or_never_ends_is_closed() {
    let upstream = Upstream::answering();
    let front = Front::start(&upstream.config());
    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(9_000));
    assert_eq!(front.connect().say_and_hear_out(long.as_bytes()), "");

    let started = Instant::now();
    let mut client = front.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let mut heard = Vec::new();
    // However it is closed, nothing was said.
    let _ = client.read_to_end(&mut heard);
    assert_eq!(heard, b"");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(upstream.accepted(), 0);
}

#[test]
fn the_upstream_learns_the_clients_address_if_it_wants_to() {
    let upstream = Upstream::recording();
    let front = Front::start(&format!("{}proxy_protocol = true\n", upstream.config()));
    let client = front.connect();
    let (local, relay) = (client.local_addr(), front.address());
    client.say_and_hear_out(GET);
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        local.port(),
        relay.port()
    );
    assert_eq!(upstream.recorded(), [[line.as_bytes(), GET].concat()]);
}

#[test]
fn one_connection_too_many_is_closed_and_the_others_go_on() {
    let upstream = Upstream::answering();
    let front = Front::start(&format!("{}connections = 2\n", upstream.config()));
    let mut guests: Vec<_> = (0..2).map(|_| front.connect()).collect();
    for guest in &mut guests {
        guest.write_all(GET).unwrap();
        guest.hear_until("you asked for /a");
    }
    assert_eq!(front.connect().say_and_hear_out(GET), "");
    for guest in &mut guests {
        guest.write_all(GET).unwrap();
        guest.hear_until("you asked for /a");
    }
}
