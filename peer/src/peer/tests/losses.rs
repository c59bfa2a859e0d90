//! One lost packet costs little, whichever it is.

use super::*;

/// How long it takes until `done`, from before the first offer on.
fn within(lost_after: Option<usize>, done: impl Fn(&mut World) -> bool) -> Duration {
    let mut world = World::new();
    world.lost_after = lost_after;
    world.negotiate();
    while !done(&mut world) {
        world.run_for(Duration::from_millis(4));
    }
    world.now - world.start
}

/// How much later it is done where each of the first packets is lost.
fn delays(done: impl Fn(&mut World) -> bool) -> Vec<Duration> {
    let undisturbed = within(None, &done);
    let lost = (0..20).map(|packet| within(Some(packet), &done));
    lost.map(|time| time.saturating_sub(undisturbed)).collect()
}

#[test]
fn no_packet_lost_on_the_way_to_a_connection_delays_the_picture_by_half_a_second() {
    let delays = delays(|world| {
        // Refused until the connection is there; key frames come as fast as they are taken.
        let _ = world.send_frame(500, true);
        !world.frames().is_empty()
    });
    let worst = delays.iter().max().unwrap();
    assert!(*worst < Duration::from_millis(500), "{delays:?}");
}

#[test]
fn no_packet_lost_on_the_way_to_a_connection_delays_the_keyboard_by_half_a_second() {
    let delays = delays(|world| world.viewer_opened() == 3 && world.host_opened() == 3);
    let worst = delays.iter().max().unwrap();
    assert!(*worst < Duration::from_millis(500), "{delays:?}");
}

#[test]
fn a_lost_key_press_after_which_nothing_comes_arrives_before_a_person_notices() {
    let mut world = World::connected();
    world.run_for(Duration::from_secs(3));
    let press = world
        .viewer
        .send_message(Channel::Input, &[1, 2, 3], world.now);
    press.unwrap();
    let pressed_at = world.now;
    world.collect();
    // RFC 7983 §7: 20 to 63 is DTLS.
    world
        .flying
        .retain(|(_, packet)| !(20..64).contains(&packet.bytes[0]));
    let arrived = |event: &Event| {
        matches!(
            event,
            Event::Message {
                channel: Channel::Input,
                ..
            }
        )
    };
    world.run_until(|w| w.host_events.iter().any(arrived));
    let time = world.now - pressed_at;
    assert!(time < Duration::from_millis(100), "{time:?}");
}

#[test]
fn whichever_packet_of_a_lone_picture_is_lost_it_is_shown_within_a_tenth_of_a_second() {
    let mut times = Vec::new();
    for lost in 0..9 {
        let mut world = World::connected();
        world.stream(10, 2_000);
        world.run_for(Duration::from_secs(2));
        let (before, sent_at) = (world.frames().len(), world.now);
        world.send_frame(6_500, false).unwrap();
        world.lost_after = Some(lost);
        world.run_until(|w| w.frames().len() > before);
        times.push(world.now - sent_at);
    }
    assert!(
        times.iter().all(|time| *time < Duration::from_millis(100)),
        "{times:?}"
    );
}

#[test]
fn a_handshake_that_comes_before_the_hosts_own_check_succeeds_is_not_lost() {
    let mut world = World::new();
    world.negotiate();
    let keep = |world: &mut World, keeps: fn(&Transmit) -> bool| {
        world.collect();
        world.flying.retain(|(_, packet)| keeps(packet));
    };
    // RFC 8489 §5: a Binding request of the host.
    let no_check = |packet: &Transmit| {
        packet.to.ip().to_string() != "192.0.2.2" || packet.bytes[..2] != [0, 1]
    };
    // RFC 6347 §4.1: what is not encrypted of a handshake, of the viewer.
    let no_hello =
        |packet: &Transmit| packet.to.ip().to_string() != "192.0.2.1" || packet.bytes[0] != 22;
    let until = world.now + Duration::from_secs(2);
    while world.now < until {
        keep(&mut world, no_check);
        world.step(until);
    }
    assert_eq!(world.host.path(), None);
    while world.host.path().is_none() {
        assert!(world.now < until + Duration::from_secs(5));
        keep(&mut world, no_hello);
        world.step(until + Duration::from_secs(5));
    }
    world.run_until(|w| w.host_opened() == 3 && w.viewer_opened() == 3);
}
