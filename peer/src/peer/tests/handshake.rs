//! One packet lost while two peers connect costs little, whichever it is.

use super::*;

/// How long it takes until a picture is there; key frames come as fast as they are taken.
fn first_picture_within(lost_after: Option<usize>) -> Duration {
    let mut world = World::new();
    world.lost_after = lost_after;
    world.negotiate();
    while world.frames().is_empty() {
        // Refused until the connection is there.
        let _ = world.send_frame(500, true);
        world.run_for(Duration::from_millis(4));
    }
    world.now - world.start
}

#[test]
fn no_packet_lost_on_the_way_to_a_connection_costs_half_a_second() {
    let undisturbed = first_picture_within(None);
    for packet in 0..12 {
        let with_loss = first_picture_within(Some(packet));
        let more = with_loss.saturating_sub(undisturbed);
        assert!(more < Duration::from_millis(500), "{packet}: {more:?}");
    }
}
