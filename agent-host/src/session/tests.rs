use protocol::id::SessionId;
use protocol::signal::PathMode;

use super::*;

const KEY_A: FromViewer = FromViewer::Key {
    down: true,
    keysym: 0x61,
    code: 30,
};

fn opened(policy: Policy, now: Instant) -> Session {
    Session::new(&agent_session(policy), now)
}

fn agent_session(policy: Policy) -> AgentSession {
    AgentSession {
        session: "00000000-0000-0000-0000-000000000001"
            .parse::<SessionId>()
            .unwrap(),
        policy,
        path_mode: PathMode::Auto,
        ice_servers: Vec::new(),
        expires_in_secs: 600,
    }
}

#[test]
fn a_key_of_a_controlling_viewer_is_injected() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let deed = session.handle_message(Channel::Input, &KEY_A.encode(), now);
    assert_eq!(
        deed,
        Some(Deed::Inject(InputEvent::Key {
            down: true,
            keysym: 0x61,
            code: 30
        }))
    );
}

#[test]
fn a_view_only_viewer_reaches_neither_screen_nor_clipboard_but_is_answered() {
    let now = Instant::now();
    let mut session = opened(
        Policy {
            role: Role::View,
            ..Policy::default()
        },
        now,
    );
    let resize = FromViewer::Resize {
        width: 800,
        height: 600,
        scale_percent: 100,
    };
    let paste = FromViewer::ClipboardText("x".into());
    assert_eq!(
        session.handle_message(Channel::Input, &KEY_A.encode(), now),
        None
    );
    for message in [resize, paste] {
        assert_eq!(
            session.handle_message(Channel::Control, &message.encode(), now),
            None
        );
    }
    let ping = FromViewer::Ping { sent_us: 5 }.encode();
    assert_eq!(
        session.handle_message(Channel::Control, &ping, now),
        Some(Deed::Pong { sent_us: 5 })
    );
}

#[test]
fn only_who_controls_has_a_say_in_the_quality() {
    let now = Instant::now();
    let chosen = FromViewer::Quality(Quality::DataSaver).encode();
    let mut session = opened(Policy::default(), now);
    session.handle_message(Channel::Control, &chosen, now);
    assert_eq!(session.quality(), Quality::DataSaver);
    let watching = Policy {
        role: Role::View,
        ..Policy::default()
    };
    // Who controlled and now only watches loses it.
    session.handle_renewed(&agent_session(watching.clone()), now);
    assert_eq!(session.quality(), Quality::Auto);
    let mut session = opened(watching, now);
    session.handle_message(Channel::Control, &chosen, now);
    assert_eq!(session.quality(), Quality::Auto);
}

fn image(left: u32, len: usize) -> Vec<u8> {
    let mut part = b"\x89PNG\r\n\x1a\n".to_vec();
    part.resize(len, 0);
    FromViewer::ClipboardImage { left, part }.encode()
}

#[test]
fn an_image_arrives_when_it_is_whole() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let mut say = |bytes: &[u8]| session.handle_message(Channel::Control, bytes, now);
    assert_eq!(say(&image(20, 30)), None);
    let Some(Deed::SetImage(png)) = say(&image(0, 20)) else {
        panic!("no image");
    };
    assert_eq!(png.len(), 50);
}

#[test]
fn an_image_of_a_viewer_that_may_not_share_its_clipboard_goes_nowhere() {
    let now = Instant::now();
    let one_way = Policy {
        clipboard_to_host: false,
        ..Policy::default()
    };
    let watching = Policy {
        role: Role::View,
        ..Policy::default()
    };
    for policy in [one_way, watching] {
        let mut session = opened(policy, now);
        let deed = session.handle_message(Channel::Control, &image(0, 20), now);
        assert_eq!(deed, None);
    }
}

#[test]
fn more_images_than_anybody_copies_are_dropped() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let mut taken = 0;
    for _ in 0..3 * HEAVY_PER_SECOND {
        let deed = session.handle_message(Channel::Control, &image(0, 20), now);
        taken += u32::from(deed.is_some());
    }
    assert_eq!(taken, HEAVY_PER_SECOND);
}

#[test]
fn an_expired_session_does_nothing_and_says_so() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let late = now + Duration::from_secs(600);
    assert_eq!(session.poll_timeout(), Some(late));
    assert_eq!(
        session.handle_message(Channel::Input, &KEY_A.encode(), late),
        None
    );
    session.handle_timeout(late);
    assert_eq!(session.poll_end().unwrap().code, Code::SessionExpired);
}

#[test]
fn a_renewed_session_lives_on() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let later = now + Duration::from_secs(500);
    session.handle_renewed(&agent_session(Policy::default()), later);
    session.handle_timeout(now + Duration::from_secs(700));
    assert_eq!(session.poll_end(), None);
}

#[test]
fn idleness_is_measured_in_input_not_in_pings() {
    let now = Instant::now();
    let mut session = opened(
        Policy {
            idle_timeout_secs: 60,
            ..Policy::default()
        },
        now,
    );
    let at = |secs| now + Duration::from_secs(secs);
    session.handle_message(Channel::Input, &KEY_A.encode(), at(30));
    let ping = FromViewer::Ping { sent_us: 5 }.encode();
    session.handle_message(Channel::Control, &ping, at(80));
    session.handle_timeout(at(89));
    assert_eq!(session.poll_end(), None);
    session.handle_timeout(at(90));
    assert_eq!(session.poll_end().unwrap().code, Code::SessionIdle);
}

#[test]
fn nonsense_and_messages_on_the_wrong_channel_end_the_session_past_a_bound() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    for i in 0..=MALFORMED_MAX {
        assert_eq!(session.poll_end(), None, "{i}");
        let (channel, bytes) = match i % 2 {
            0 => (Channel::Control, vec![0xEE, 1, 2]),
            _ => (Channel::Pointer, KEY_A.encode()),
        };
        assert_eq!(session.handle_message(channel, &bytes, now), None);
    }
    assert_eq!(session.poll_end().unwrap().code, Code::BadMessage);
}

#[test]
fn a_flood_is_thinned_out_and_in_the_end_cut_off() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let mut injected = 0;
    for _ in 0..MESSAGES_BURST + DROPPED_MAX + 1 {
        let deed = session.handle_message(Channel::Input, &KEY_A.encode(), now);
        injected += u32::from(deed.is_some());
    }
    assert_eq!(injected, MESSAGES_BURST);
    assert_eq!(session.poll_end().unwrap().code, Code::TooMany);
}

#[test]
fn key_frames_asked_for_without_end_are_thinned_out_and_in_the_end_cut_off() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let mut granted = 0;
    // A hundred a second.
    for i in 0..u64::from(DROPPED_MAX) {
        let now = now + Duration::from_millis(10 * i);
        session.handle_renewed(&agent_session(Policy::default()), now);
        granted += u32::from(session.handle_key_frame_wanted(now));
    }
    assert!(granted <= KEY_FRAMES_BURST + 100 * KEY_FRAMES_PER_SECOND);
    assert_eq!(session.poll_end(), None);
    for _ in 0..=granted {
        session.handle_key_frame_wanted(now);
    }
    assert_eq!(session.poll_end().unwrap().code, Code::TooMany);
}

#[test]
fn what_a_bad_network_costs_in_key_frames_is_granted() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let at = |ms| now + Duration::from_millis(ms);
    assert!((0..20).all(|i| session.handle_key_frame_wanted(at(200 * i))));
    assert!((0..60).all(|i| session.handle_key_frame_wanted(at(10_000 + 1_001 * i))));
}

#[test]
fn an_image_without_an_end_is_never_held_past_its_bound() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    // A gigabyte, in parts that each say that more is to come.
    let part = vec![0x89; 64 * 1024];
    let endless = FromViewer::ClipboardImage {
        left: 768 * 1024,
        part,
    }
    .encode();
    let mut ended = false;
    for _ in 0..16 * 1024 {
        let deed = session.handle_message(Channel::Control, &endless, now);
        assert_eq!(deed, None);
        ended |= session.poll_end().is_some();
    }
    assert!(ended, "a flood of parts is a flood");
}

#[test]
fn old_motion_is_ignored_and_lost_motion_is_made_up_for() {
    let now = Instant::now();
    let mut session = opened(Policy::default(), now);
    let mut moved = |seq, total_dx| {
        let message = FromViewer::PointerRelative {
            seq,
            total_dx,
            total_dy: 0,
        };
        session.handle_message(Channel::Pointer, &message.encode(), now)
    };
    let by = |dx| Some(Deed::Inject(InputEvent::MoveBy { dx, dy: 0 }));
    assert_eq!(moved(1, 3), by(3));
    assert_eq!(moved(4, 10), by(7));
    assert_eq!(moved(2, 5), None);
    assert_eq!(moved(4, 10), None);
}
