//! Two sessions over loopback sockets, wired together by hand instead of by signalling.

use std::time::Duration;

use super::*;
use crate::event::CloseReason;

fn session(side: Side) -> (Handle, Events) {
    start(SessionConfig {
        side,
        path_mode: PathMode::Auto,
        addresses: vec![[127, 0, 0, 1].into()],
        ice_servers: Vec::new(),
        bitrate: BitrateRange::default(),
        sound: crate::config::Sound::Wanted,
        trust: Trust::default(),
        name: format!("{side:?}"),
    })
    .unwrap()
}

/// Takes events until one matches; candidates go to the other side.
fn expect<T>(
    events: &mut Events,
    other: &Handle,
    mut matches: impl FnMut(&Event) -> Option<T>,
) -> T {
    loop {
        let event = events.blocking_recv().expect("the session goes on");
        if let Event::Candidate(candidate) = &event {
            other.handle_candidate(candidate);
        }
        if let Some(found) = matches(&event) {
            return found;
        }
    }
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
fn two_sessions_over_loopback_exchange_video_and_messages_and_say_good_bye() {
    let (host, mut host_events) = session(Side::Host);
    let (viewer, mut viewer_events) = session(Side::Viewer);
    let offer = viewer.create_offer().unwrap();
    let answer = host.handle_offer(&offer).unwrap();
    viewer.handle_answer(&answer).unwrap();

    let opened = |event: &Event| matches!(event, Event::ChannelOpen(Channel::Input)).then_some(());
    expect(&mut viewer_events, &host, opened);
    let wanted = |event: &Event| matches!(event, Event::KeyFrameWanted).then_some(());
    expect(&mut host_events, &viewer, wanted);

    host.send_video(frame(300_000)).unwrap();
    let video = expect(&mut viewer_events, &host, |event| match event {
        Event::Video(video) => Some(video.clone()),
        _ => None,
    });
    assert!(video.key);
    assert_eq!(video.data.len(), frame(300_000).data.len());

    viewer.send_message(Channel::Input, b"\x05").unwrap();
    let message = expect(&mut host_events, &viewer, |event| match event {
        Event::Message { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    assert_eq!(message, b"\x05");

    drop(viewer);
    let closed = |event: &Event| match event {
        Event::Closed(reason) => Some(reason.clone()),
        _ => None,
    };
    assert_eq!(expect(&mut host_events, &host, closed), CloseReason::Remote);
    assert!(host_events.blocking_recv().is_none());
}

#[test]
fn a_bug_in_the_engine_ends_its_own_session_only() {
    let (host, mut host_events) = session(Side::Host);
    let crash = host.with(|_, _| panic!("a bug"));
    assert!(crash.is_none());
    let closed = expect(&mut host_events, &host, |event| match event {
        Event::Closed(reason) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(closed, CloseReason::Engine("a bug".into()));
    assert!(matches!(
        host.handle_offer(""),
        Err(NegotiationError::Closed)
    ));
}
