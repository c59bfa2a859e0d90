//! Sound has a stream of its own, and never waits for the picture.

use super::*;
use crate::event::AudioPacket;

impl World {
    fn send_sound(&mut self, number: u8) -> Result<(), SendError> {
        let packet = OutgoingAudio {
            data: vec![number; 120].into(),
            captured_at: self.now,
            begins: number == 0,
        };
        self.host.send_audio(packet, self.now)
    }

    fn heard(&self) -> Vec<&AudioPacket> {
        let heard = self.viewer_events.iter().filter_map(|event| match event {
            Event::Audio(packet) => Some(packet),
            _ => None,
        });
        heard.collect()
    }

    fn wanted(&self) -> Vec<bool> {
        let wanted = self.host_events.iter().filter_map(|event| match event {
            Event::AudioWanted(wanted) => Some(*wanted),
            _ => None,
        });
        wanted.collect()
    }
}

#[test]
fn sound_arrives_in_order_and_in_a_stream_of_its_own() {
    let mut world = World::connected();
    assert_eq!(world.wanted(), [true]);
    for number in 0..50 {
        world.send_sound(number).unwrap();
        world.run_for(Duration::from_millis(10));
    }
    world.run_for(Duration::from_millis(100));
    let heard = world.heard();
    let first_bytes: Vec<u8> = heard.iter().map(|packet| packet.data[0]).collect();
    assert_eq!(first_bytes, (0..50).collect::<Vec<u8>>());
    let ticks: Vec<u64> = heard
        .windows(2)
        .map(|w| w[1].rtp_time - w[0].rtp_time)
        .collect();
    assert_eq!(ticks, [480; 49]);
    assert_eq!(heard.last().map(|packet| packet.lost), Some(0));
}

#[test]
fn sound_and_picture_are_in_two_streams_so_that_neither_waits_for_the_other() {
    let mut world = World::new();
    let offer = world.viewer.create_offer(world.now).unwrap();
    let answer = world.host.handle_offer(&offer, world.now).unwrap();
    let streams: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=msid:"))
        .filter_map(|msid| msid.split(' ').next())
        .collect();
    assert_eq!(streams.len(), 2, "{answer}");
    assert_ne!(streams[0], streams[1]);
}

#[test]
fn a_viewer_that_asks_for_no_sound_has_a_session_without() {
    let mut world = World::with(
        config(Side::Host, "192.0.2.1:1000"),
        Config {
            sound: Sound::Unwanted,
            ..config(Side::Viewer, "192.0.2.2:2000")
        },
    );
    world.connect();
    assert!(world.wanted().is_empty());
    assert_eq!(world.send_sound(0), Err(SendError::NoAudio));
    world.send_frame(500, true).unwrap();
    world.run_until(|w| w.frames().len() == 1);
}

#[test]
fn sound_does_not_wait_behind_a_frame_in_the_pacer() {
    let mut world = World::connected();
    world.send_frame(600_000, true).unwrap();
    world.send_sound(1).unwrap();
    world.run_until(|w| !w.heard().is_empty());
    assert!(world.frames().is_empty());
    world.run_until(|w| w.frames().len() == 1);
}

#[test]
fn lost_sound_is_counted_and_not_sent_again() {
    let mut world = World::connected();
    for number in 0..100 {
        world.send_sound(number).unwrap();
        world.run_for(Duration::from_millis(10));
        // Before the first has arrived nothing can be missing.
        world.loss = if number > 3 { 0.2 } else { 0.0 };
    }
    world.loss = 0.0;
    // What is held behind a gap comes out when four more have come.
    for number in 100..105 {
        world.send_sound(number).unwrap();
        world.run_for(Duration::from_millis(10));
    }
    world.run_for(Duration::from_secs(1));
    let heard = world.heard();
    let lost = heard.last().map(|packet| packet.lost).unwrap();
    assert!((5..50).contains(&lost), "{lost}");
    assert_eq!(heard.len() as u64 + lost, 105);
}

#[test]
fn sound_overtakes_a_picture_that_takes_half_a_second_on_a_thin_path() {
    let mut world = World::connected();
    world.thin = Some(thin_path::Bucket::new(2_000_000, world.now));
    // The first one leaves at once: nobody has said yet how far it came.
    world.send_frame(100_000, true).unwrap();
    world.run_until(|w| w.frames().len() == 1);
    world.send_frame(100_000, false).unwrap();
    world.send_sound(1).unwrap();
    let sent_at = world.now;
    world.run_until(|w| !w.heard().is_empty());
    let waited = world.now - sent_at;
    assert!(waited < Duration::from_millis(150), "{waited:?}");
    assert_eq!(world.frames().len(), 1);
    world.run_until(|w| w.frames().len() == 2);
}
