//! Our TURN client against coturn, on real sockets: relay-only sessions that carry video.
#![cfg(feature = "net")]
#![expect(
    clippy::disallowed_methods,
    reason = "real sockets run on the real clock"
)]

use std::time::{Duration, Instant};

use peer::io::{Events, Handle, SessionConfig, Trust, start};
use peer::{BitrateRange, Channel, Event, OutgoingFrame, Path, PathKind, RelayTransport, Side};
use protocol::control::Chroma;
use protocol::signal::{IceServer, PathMode};
use tests::coturn::Coturn;
use tests::meeting;

fn session(side: Side, path_mode: PathMode, server: &IceServer) -> (Handle, Events) {
    start(SessionConfig {
        side,
        path_mode,
        addresses: vec![[127, 0, 0, 1].into()],
        ice_servers: vec![server.clone()],
        bitrate: BitrateRange::default(),
        sound: peer::Sound::Wanted,
        trust: Trust::default(),
        name: format!("{side:?}"),
    })
    .unwrap()
}

/// Waits for an event; a relay that cannot be used is none.
fn expect<T>(
    events: &mut Events,
    other: &Handle,
    mut matches: impl FnMut(&Event) -> Option<T>,
) -> T {
    meeting::expect(events, other, |event| {
        assert!(!matches!(event, Event::RelayFailed { .. }), "{event:?}");
        matches(event)
    })
}

/// Connects a viewer that may only use the relay, and sends it one frame and one message.
fn check(transport: &str, expected: RelayTransport) {
    let coturn = Coturn::start().unwrap();
    let server = coturn.ice_server(transport);
    let (host, mut host_events) = session(Side::Host, PathMode::Auto, &server);
    let (viewer, mut viewer_events) = session(Side::Viewer, PathMode::Relay, &server);
    let offer = viewer.create_offer().unwrap();
    let answer = host.handle_offer(&offer).unwrap();
    viewer.handle_answer(&answer).unwrap();

    let feed = {
        let (viewer, host) = (viewer.clone(), host.clone());
        std::thread::spawn(move || {
            expect(&mut host_events, &viewer, |event| {
                if let Event::KeyFrameWanted = event {
                    host.send_video(frame(100_000)).unwrap();
                }
                matches!(event, Event::Message { .. }).then_some(())
            });
        })
    };
    let connected = |event: &Event| match event {
        Event::Connected(path) => Some(path.clone()),
        _ => None,
    };
    let path: Path = expect(&mut viewer_events, &host, connected);
    assert_eq!(path.local.kind, PathKind::Relayed);
    assert_eq!(path.relay, Some((expected, "test".to_owned())));
    let len = expect(&mut viewer_events, &host, |event| match event {
        Event::Video(video) => Some(video.data.len()),
        _ => None,
    });
    assert_eq!(len, frame(100_000).data.len());
    viewer.send_message(Channel::Input, &[5]).unwrap();
    feed.join().unwrap();
}

fn frame(len: usize) -> OutgoingFrame {
    let mut data = vec![0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40];
    data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80, 0, 0, 0, 1, 0x65]);
    data.extend(std::iter::repeat_n(0xAB, len));
    OutgoingFrame {
        data: data.into(),
        key: true,
        chroma: Chroma::Yuv420,
        captured_at: Instant::now(),
        captured_unix: Duration::from_secs(1_700_000_000),
    }
}

#[test]
fn a_relay_only_session_works_over_udp_to_coturn() {
    check("udp", RelayTransport::Udp);
}

#[test]
fn a_relay_only_session_works_over_tcp_to_coturn() {
    check("tcp", RelayTransport::Tcp);
}
