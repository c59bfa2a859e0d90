//! What a stranger may send, as plain functions of bytes: they must return, whatever the bytes.
//!
//! `tests/fuzz` gives each to libFuzzer; `tests/corpus.rs` replays the committed inputs.

pub mod turn_server;

use std::time::Instant;

use peer::{Config, Peer, Side};
use protocol::control;
use protocol::signal::{Candidate, FromAgent, FromViewer, ToAgent, ToViewer};
use protocol::turn::channel;
use protocol::turn::integrity::Key;
use protocol::turn::message::Message;
use protocol::turn::stream::Deframer;

pub type Target = fn(&[u8]);

/// One target each: its name is that of its folder in `tests/corpus` and of its program in `tests/fuzz`.
pub const TARGETS: [(&str, Target); 7] = [
    ("stun", stun),
    ("channel_data", channel_data),
    ("stream", stream),
    ("control", control_messages),
    ("signalling", signalling),
    ("offer", offer),
    ("turn_server", turn_server::run),
];

/// Reads every attribute of a message there is.
pub fn stun(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let _ = (
        message.class(),
        message.method(),
        message.attributes().count(),
    );
    let _ = (message.username(), message.realm(), message.nonce());
    let _ = (message.lifetime(), message.channel_number(), message.data());
    let _ = (
        message.xor_mapped_address(),
        message.relayed_addresses().count(),
    );
    let _ = (
        message.peers().count(),
        message.alternate_server(),
        message.error(),
    );
    let _ = (message.password_algorithm(), message.reservation_token());
    let key = Key::short_term(&"secret".into()).expect("a short secret");
    let _ = message.verify(&key);
}

pub fn channel_data(bytes: &[u8]) {
    if let Ok((number, payload)) = channel::decode(bytes) {
        assert!((0x4000..=0x7FFF).contains(&number.get()));
        assert!(payload.len() + channel::HEADER_LEN <= bytes.len());
    }
}

/// The first byte says how the stream is cut; however it is, the same messages come out.
pub fn stream(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = messages(bytes, bytes.len().max(1));
    let parts = messages(bytes, usize::from(cut).max(1));
    assert_eq!(whole, parts);
}

fn messages(bytes: &[u8], cut: usize) -> Vec<Vec<u8>> {
    let mut deframer = Deframer::new();
    let mut messages = Vec::new();
    for chunk in bytes.chunks(cut) {
        deframer.handle_bytes(chunk);
        while let Ok(Some(message)) = deframer.poll_message() {
            messages.push(message.to_vec());
        }
    }
    messages
}

/// What is understood is written the same way.
pub fn control_messages(bytes: &[u8]) {
    if let Ok(message) = control::FromViewer::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Ok(message) = control::FromHost::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
}

/// What is understood survives being written and read again.
pub fn signalling(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<FromViewer>(bytes) {
        let text = serde_json::to_vec(&message).expect("a message is JSON");
        assert_eq!(
            serde_json::from_slice::<FromViewer>(&text).ok(),
            Some(message)
        );
    }
    if let Ok(message) = serde_json::from_slice::<FromAgent>(bytes) {
        let text = serde_json::to_vec(&message).expect("a message is JSON");
        assert_eq!(
            serde_json::from_slice::<FromAgent>(&text).ok(),
            Some(message)
        );
    }
    let _ = serde_json::from_slice::<ToViewer>(bytes);
    let _ = serde_json::from_slice::<ToAgent>(bytes);
}

/// An offer, a candidate and a datagram of a stranger to an agent host.
pub fn offer(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let now = now();
    let local = "192.0.2.1:1000".parse().expect("an address");
    let mut host = Peer::new(Config::new(Side::Host, vec![local]), now);
    let _ = host.handle_offer(text, now);
    for line in text.lines().take(16) {
        let candidate = Candidate {
            candidate: line.to_owned(),
            mid: None,
            username_fragment: None,
        };
        host.handle_candidate(&candidate, now);
    }
    host.handle_datagram(
        local,
        "192.0.2.2:2000".parse().expect("an address"),
        bytes,
        now,
    );
    host.handle_timeout(now);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a virtual clock starts somewhere"
)]
fn now() -> Instant {
    Instant::now()
}
