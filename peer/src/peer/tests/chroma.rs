//! 4:4:4 goes to who offered a decoder for it, as the payload type negotiated for it.

use super::*;

/// Two peers, the viewer with a decoder of that chroma; and the answer of the host.
fn connected_with(chroma: Chroma) -> (World, String) {
    let viewer = Config {
        chroma,
        ..config(Side::Viewer, "192.0.2.2:2000")
    };
    let mut world = World::with(config(Side::Host, "192.0.2.1:1000"), viewer);
    let offer = world.viewer.create_offer(world.now).unwrap();
    let answer = world.host.handle_offer(&offer, world.now).unwrap();
    world.viewer.handle_answer(&answer, world.now).unwrap();
    world.run_until(|w| w.host_opened() == 3);
    (world, answer)
}

/// The H.264 profile the answer has for the payload type of the packets under way.
fn profile_sent(world: &mut World, answer: &str, chroma: Chroma) -> Option<String> {
    world.flying.clear();
    world.send(1_000, true, chroma).unwrap();
    // RFC 3550 §5.1: SRTP leaves the header readable; RFC 5761 §4: 64 to 95 is RTCP.
    let packets = world.flying.iter().map(|(_, packet)| &packet.bytes);
    let rtp = packets.filter(|bytes| bytes[0] >> 6 == 2 && !(64..96).contains(&(bytes[1] & 0x7F)));
    let payload = rtp.map(|bytes| bytes[1] & 0x7F).next()?;
    let fmtp = crate::sdp::value(answer, &format!("a=fmtp:{payload} "))?;
    let profile = fmtp.split("profile-level-id=").nth(1)?;
    world.run_for(Duration::from_millis(50));
    Some(profile.chars().take(2).collect())
}

#[test]
fn a_viewer_without_a_decoder_of_4_4_4_does_not_offer_it_and_is_sent_none() {
    let (mut world, answer) = connected_with(Chroma::Yuv420);
    assert!(!answer.contains("profile-level-id=f4"));
    assert_eq!(world.host.chroma(), Chroma::Yuv420);
    let refused = world.send(1_000, true, Chroma::Yuv444);
    assert_eq!(refused, Err(SendError::NoVideo));
}

#[test]
fn a_viewer_with_one_is_sent_each_chroma_as_what_was_negotiated_for_it() {
    let (mut world, answer) = connected_with(Chroma::Yuv444);
    assert_eq!(world.host.chroma(), Chroma::Yuv444);
    for (chroma, profile) in [
        (Chroma::Yuv420, "64"),
        (Chroma::Yuv444, "f4"),
        (Chroma::Yuv420, "64"),
    ] {
        let sent = profile_sent(&mut world, &answer, chroma);
        assert_eq!(sent.as_deref(), Some(profile), "{chroma:?}");
    }
    assert_eq!(world.frames().len(), 3);
}
