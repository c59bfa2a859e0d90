//! Two peers in one thread under a virtual clock. The seed of the losses is in every test.

use super::*;
use crate::event::{Path, PathEnd, PathKind, VideoFrame};
use crate::testing::start;
use protocol::signal::Candidate;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod chroma;
mod losses;
mod sound;
mod thin_path;

const LATENCY: Duration = Duration::from_millis(10);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn config(side: Side, socket: &str) -> Config {
    Config::new(side, vec![address(socket)])
}

struct World {
    now: Instant,
    start: Instant,
    host: Peer,
    viewer: Peer,
    flying: Vec<(Instant, Transmit)>,
    host_events: Vec<Event>,
    viewer_events: Vec<Event>,
    /// Packets the host has sent.
    host_packets: usize,
    /// Of the path, one way.
    latency: Duration,
    loss: f64,
    /// How many packets arrive until one is lost.
    lost_after: Option<usize>,
    /// Packets over these addresses vanish.
    blocked: Vec<SocketAddr>,
    rng: StdRng,
    thin: Option<thin_path::Bucket>,
}

impl World {
    fn new() -> Self {
        Self::with(
            config(Side::Host, "192.0.2.1:1000"),
            config(Side::Viewer, "192.0.2.2:2000"),
        )
    }

    fn with(host: Config, viewer: Config) -> Self {
        let now = start();
        Self {
            now,
            start: now,
            host: Peer::new(host, now),
            viewer: Peer::new(viewer, now),
            flying: Vec::new(),
            host_events: Vec::new(),
            viewer_events: Vec::new(),
            host_packets: 0,
            latency: LATENCY,
            loss: 0.0,
            lost_after: None,
            blocked: Vec::new(),
            rng: StdRng::seed_from_u64(7),
            thin: None,
        }
    }

    fn negotiate(&mut self) {
        let offer = self.viewer.create_offer(self.now).unwrap();
        let answer = self.host.handle_offer(&offer, self.now).unwrap();
        self.viewer.handle_answer(&answer, self.now).unwrap();
    }

    fn connected() -> Self {
        let mut world = Self::new();
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.negotiate();
        self.run_until(|w| w.viewer_opened() == 3 && w.host_opened() == 3);
    }

    fn viewer_opened(&self) -> usize {
        count(&self.viewer_events, |e| matches!(e, Event::ChannelOpen(_)))
    }

    fn host_opened(&self) -> usize {
        count(&self.host_events, |e| matches!(e, Event::ChannelOpen(_)))
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(30);
        while !done(self) {
            assert!(self.now < deadline, "not within 30 s of virtual time");
            self.step(deadline);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step(until);
        }
    }

    /// Everything that happens at the next moment at which something happens.
    fn step(&mut self, until: Instant) {
        self.collect();
        let timers = [self.host.poll_timeout(), self.viewer.poll_timeout()];
        let packets = self.flying.iter().map(|(at, _)| *at).min();
        let bucket = self.thin.as_ref().and_then(thin_path::Bucket::poll_timeout);
        let next = timers
            .into_iter()
            .flatten()
            .chain(packets)
            .chain(bucket)
            .min();
        self.now = next.unwrap_or(until).clamp(self.now, until);
        self.deliver();
        for peer in [&mut self.host, &mut self.viewer] {
            if peer.poll_timeout().is_some_and(|at| at <= self.now) {
                peer.handle_timeout(self.now);
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.host.poll_transmit() {
            self.host_packets += 1;
            match &mut self.thin {
                None => self.flying.push((self.now + self.latency, transmit)),
                Some(bucket) => bucket.push(transmit, self.now),
            }
        }
        while let Some(bucket) = &mut self.thin
            && let Some(transmit) = bucket.poll_transmit(self.now)
        {
            self.flying.push((self.now + self.latency, transmit));
        }
        while let Some(transmit) = self.viewer.poll_transmit() {
            self.flying.push((self.now + self.latency, transmit));
        }
        while let Some(event) = self.host.poll_event() {
            if let Event::Candidate(candidate) = &event {
                self.viewer.handle_candidate(candidate, self.now);
            }
            self.host_events.push(event);
        }
        while let Some(event) = self.viewer.poll_event() {
            if let Event::Candidate(candidate) = &event {
                self.host.handle_candidate(candidate, self.now);
            }
            self.viewer_events.push(event);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.flying)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.flying = later;
        for (_, Transmit { via, to, bytes }) in due {
            let Via::Udp(from) = via else { continue };
            let blocked = self.blocked.contains(&from) || self.blocked.contains(&to);
            let lost = self.lost_after == Some(0);
            self.lost_after = self.lost_after.and_then(|count| count.checked_sub(1));
            if blocked || lost || self.rng.random_bool(self.loss) {
                continue;
            }
            let peer = match to.ip().to_string().as_str() {
                "192.0.2.1" => &mut self.host,
                "192.0.2.2" => &mut self.viewer,
                _ => continue,
            };
            peer.handle_datagram(to, from, &bytes, now);
        }
    }

    fn send_frame(&mut self, len: usize, key: bool) -> Result<(), SendError> {
        self.send(len, key, Chroma::Yuv420)
    }

    fn send(&mut self, len: usize, key: bool, chroma: Chroma) -> Result<(), SendError> {
        let frame = OutgoingFrame {
            data: h264(len, key).into(),
            key,
            chroma,
            captured_at: self.now,
            captured_unix: Duration::from_secs(1_700_000_000) + (self.now - self.start),
        };
        let sent = self.host.send_video(frame, self.now);
        self.collect();
        sent
    }

    fn frames(&self) -> Vec<&VideoFrame> {
        let frames = self.viewer_events.iter();
        let frames = frames.filter_map(|event| match event {
            Event::Video(frame) => Some(frame),
            _ => None,
        });
        frames.collect()
    }

    fn stream(&mut self, frames: usize, len: usize) {
        for index in 0..frames {
            self.send_frame(len, index == 0).unwrap();
            self.run_for(Duration::from_millis(16));
        }
    }
}

fn count(events: &[Event], matches: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| matches(event)).count()
}

/// An access unit in Annex B: SPS, PPS and an IDR slice, or one other slice.
fn h264(len: usize, key: bool) -> Vec<u8> {
    let mut data = Vec::new();
    if key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
    data.extend((0..len).map(|i| (i % 251) as u8 | 1));
    data
}

#[test]
fn an_offer_and_an_answer_connect_two_peers_and_open_three_channels() {
    let world = World::connected();
    let path = Path {
        local: PathEnd {
            kind: PathKind::Host,
            address: address("192.0.2.2:2000"),
        },
        remote: PathEnd {
            kind: PathKind::Host,
            address: address("192.0.2.1:1000"),
        },
        relay: None,
    };
    let connected = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Connected(path) => Some(path.clone()),
            _ => None,
        })
    };
    assert_eq!(connected(&world.viewer_events), Some(path));
    assert!(connected(&world.host_events).is_some());
    assert!(count(&world.host_events, |e| matches!(e, Event::KeyFrameWanted)) == 1);
    let elapsed = world.now - world.start;
    assert!(elapsed < Duration::from_millis(250), "{elapsed:?}");
}

#[test]
fn frames_arrive_whole_in_order_and_with_their_capture_time() {
    let mut world = World::connected();
    world.stream(30, 20_000);
    world.run_for(Duration::from_millis(200));
    let frames = world.frames();
    assert_eq!(frames.len(), 30);
    assert!(frames[0].key && !frames[1].key);
    assert!(frames.iter().all(|frame| frame.contiguous));
    assert_eq!(frames[1].data.len(), 20_005);
    let ticks = frames[2].rtp_time - frames[1].rtp_time;
    assert_eq!(ticks, 16 * 90);
    let captured = frames[1].captured_unix.unwrap() - frames[0].captured_unix.unwrap();
    assert!(captured.abs_diff(Duration::from_millis(16)) < Duration::from_micros(1));
}

#[test]
fn a_frame_as_large_as_a_key_frame_of_a_4k_screen_arrives() {
    let mut world = World::connected();
    world.send_frame(1_500_000, true).unwrap();
    world.run_until(|w| !w.frames().is_empty());
    assert_eq!(world.frames()[0].data.len(), h264(1_500_000, true).len());
}

#[test]
fn a_frame_before_the_connection_is_refused() {
    let mut world = World::new();
    assert_eq!(world.send_frame(10, true), Err(SendError::NotConnected));
}

#[test]
fn lost_packets_are_asked_for_again_and_hardly_a_frame_is_missing() {
    let mut world = World::connected();
    world.loss = 0.02;
    world.stream(120, 12_000);
    world.loss = 0.0;
    world.run_for(Duration::from_secs(2));
    // Eleven packets to a frame: without repair one in five would be missing.
    let arrived = world.frames().len();
    assert!(arrived >= 118, "{arrived}");
    let nacks = world.viewer_events.iter().rev().find_map(|e| match e {
        Event::Stats(stats) => Some(stats.nacks),
        _ => None,
    });
    assert!(nacks.unwrap() > 0);
}

#[test]
fn every_message_arrives_in_order_even_when_packets_are_lost() {
    let mut world = World::connected();
    world.loss = 0.1;
    for index in 0..50u8 {
        let viewer = &mut world.viewer;
        viewer
            .send_message(Channel::Input, &[5, index], world.now)
            .unwrap();
        world.run_for(Duration::from_millis(5));
    }
    let received = |w: &World| -> Vec<u8> {
        let input = |event: &Event| match event {
            Event::Message {
                channel: Channel::Input,
                bytes,
            } => Some(bytes[1]),
            _ => None,
        };
        w.host_events.iter().filter_map(input).collect()
    };
    world.run_until(|w| received(w).len() == 50);
    assert_eq!(received(&world), (0..50).collect::<Vec<u8>>());
}

#[test]
fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let mut world = World::connected();
    let largest = vec![0x21; MESSAGE_LEN_MAX];
    let now = world.now;
    world
        .host
        .send_message(Channel::Control, &largest, now)
        .unwrap();
    let arrived = |w: &World| {
        count(
            &w.viewer_events,
            |e| matches!(e, Event::Message { bytes, .. } if bytes.len() == MESSAGE_LEN_MAX),
        )
    };
    world.run_until(|w| arrived(w) == 1);
    let len = MESSAGE_LEN_MAX + 1;
    let sent = world
        .host
        .send_message(Channel::Control, &vec![0; len], now);
    assert_eq!(sent, Err(SendError::TooLarge { len }));
}

#[test]
fn a_full_queue_refuses_and_the_pointer_keeps_the_newest() {
    let mut world = World::connected();
    world.loss = 1.0;
    let (now, bulk) = (world.now, vec![0x21; 200_000]);
    let mut sent = 0;
    let refused = loop {
        match world.host.send_message(Channel::Control, &bulk, now) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SendError::Full);
    assert!(sent >= 5, "{sent}");
    for index in 0..100 {
        let pointer = [0x10, 0, 0, 0, index, 0, 0, 0, 0];
        world
            .viewer
            .send_message(Channel::Pointer, &pointer, now)
            .unwrap();
    }
}

#[test]
fn a_still_desktop_sends_fewer_than_twenty_packets_a_second() {
    let mut world = World::connected();
    world.stream(10, 8_000);
    world.run_for(crate::rest::REST_AFTER + Duration::from_secs(2));
    let before = world.host_packets;
    for _ in 0..10 {
        // The keep-alive.
        world.send_frame(120, false).unwrap();
        world.run_for(Duration::from_secs(2));
    }
    let a_second = (world.host_packets - before) / 20;
    assert!(a_second < 20, "{a_second}");
    assert_eq!(world.frames().len(), 20);
}

#[test]
fn an_ice_restart_takes_the_packets_to_new_credentials_without_a_break() {
    let mut world = World::connected();
    world.stream(10, 8_000);
    world.negotiate();
    world.stream(60, 8_000);
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.frames().len(), 70);
    assert!(world.frames().iter().all(|frame| frame.contiguous));
    let last = world
        .viewer_events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::IceState(state) => Some(*state),
            _ => None,
        });
    assert_eq!(last, Some(IceState::Connected));
}

#[test]
fn a_dead_path_is_noticed_within_seconds_and_a_restart_takes_another() {
    let mut host = config(Side::Host, "192.0.2.1:1000");
    host.sockets.push(address("192.0.2.1:1001"));
    let mut world = World::with(host, config(Side::Viewer, "192.0.2.2:2000"));
    world.connect();
    let used = world.viewer.path().unwrap().remote.address;
    world.blocked.push(used);
    let died = world.now;
    let lost = |w: &World| {
        count(&w.viewer_events, |e| {
            matches!(e, Event::IceState(IceState::Disconnected))
        }) > 0
            || w.viewer
                .path()
                .is_some_and(|path| path.remote.address != used)
    };
    world.run_until(lost);
    assert!(world.now - died < Duration::from_secs(4));
    world.negotiate();
    world.run_until(|w| w.viewer.path().is_some_and(|p| p.remote.address != used));
    world.stream(10, 5_000);
    world.run_until(|w| w.frames().len() == 10);
}

#[test]
fn a_key_frame_that_is_wanted_is_asked_for_until_it_comes() {
    let mut world = World::connected();
    world.stream(3, 2_000);
    let wanted = |w: &World| count(&w.host_events, |e| matches!(e, Event::KeyFrameWanted));
    let before = wanted(&world);
    world.loss = 1.0;
    world.viewer.request_key_frame(world.now);
    world.run_for(Duration::from_millis(500));
    assert_eq!(wanted(&world), before);
    world.loss = 0.0;
    world.run_until(|w| wanted(w) > before);
    world.send_frame(2_000, true).unwrap();
    world.run_for(Duration::from_secs(1));
    let after = wanted(&world);
    world.run_for(Duration::from_secs(2));
    assert_eq!(wanted(&world), after);
}

#[test]
fn the_answer_has_no_rtx_time_and_agrees_on_what_we_send() {
    let mut world = World::new();
    let offer = world.viewer.create_offer(world.now).unwrap();
    let answer = world.host.handle_offer(&offer, world.now).unwrap();
    for sdp in [&offer, &answer] {
        assert!(!sdp.contains("rtx-time"));
        assert!(sdp.contains("playout-delay"));
        assert!(sdp.contains("abs-capture-time"));
        assert!(sdp.contains("transport-wide-cc"));
        assert!(sdp.contains("packetization-mode=1"));
        assert!(!sdp.contains("packetization-mode=0"));
        assert!(sdp.contains("profile-level-id=42e01f"));
        assert!(sdp.contains(" rtx/90000"));
    }
    assert!(answer.contains("a=sendonly"));
}

#[test]
fn an_offer_asked_for_twice_before_the_answer_is_the_same() {
    let mut world = World::new();
    let first = world.viewer.create_offer(world.now).unwrap();
    assert_eq!(world.viewer.create_offer(world.now).unwrap(), first);
    world.connect();
    assert_ne!(world.viewer.create_offer(world.now).unwrap(), first);
}

#[test]
fn nonsense_is_refused_and_the_session_goes_on() {
    let mut world = World::connected();
    let now = world.now;
    for sdp in [
        "",
        "v=0",
        "v=0\r\nm=video\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=fingerprint:x\r\n",
    ] {
        assert!(matches!(
            world.host.handle_offer(sdp, now),
            Err(NegotiationError::Sdp(_))
        ));
        assert!(matches!(
            world.viewer.handle_answer(sdp, now),
            Err(NegotiationError::Sdp(_))
        ));
    }
    let from = address("203.0.113.66:666");
    let to = address("192.0.2.1:1000");
    for bytes in [&[][..], &[0; 3], &[22; 40], &[0x80; 100], &[255; 1500]] {
        world.host.handle_datagram(to, from, bytes, now);
    }
    world.stream(3, 1_000);
    world.run_until(|w| w.frames().len() == 3);
    assert!(!world.host.is_closed() && world.host.datagrams_ignored == 5);
}

#[test]
fn sides_do_not_swap_roles() {
    let mut world = World::new();
    let now = world.now;
    let wrong = |result: Result<String, NegotiationError>| {
        matches!(result, Err(NegotiationError::WrongSide))
    };
    assert!(wrong(world.host.create_offer(now)));
    assert!(wrong(world.viewer.handle_offer("", now)));
}

#[test]
fn closing_tells_the_other_side() {
    let mut world = World::connected();
    world.viewer.close(world.now);
    assert!(world.viewer.is_closed());
    let closed = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason.clone()),
            _ => None,
        })
    };
    world.run_until(|w| w.host.is_closed());
    assert_eq!(closed(&world.viewer_events), Some(CloseReason::Local));
    assert_eq!(closed(&world.host_events), Some(CloseReason::Remote));
    assert!(world.viewer.is_finished());
    assert_eq!(world.viewer.poll_timeout(), None);
}

#[test]
fn a_browser_candidate_with_an_mdns_name_does_no_harm() {
    let mut world = World::new();
    let offer = world.viewer.create_offer(world.now).unwrap();
    // As Chromium says it: no address of its own, only names.
    let (without, _) = crate::sdp::sift(&offer);
    let mdns =
        "candidate:1 1 udp 2113937151 0b5f0d2c-1111-4222-8333-444455556666.local 2000 typ host";
    let offer = without.replacen("a=mid:", &format!("a={mdns}\r\na=mid:"), 1);
    let answer = world.host.handle_offer(&offer, world.now).unwrap();
    world.viewer.handle_answer(&answer, world.now).unwrap();
    world.run_until(|w| w.host_opened() == 3);
    let path = world.host.path().unwrap();
    assert_eq!(path.remote.kind, PathKind::PeerReflexive);
    assert_eq!(world.host.remote.mdns_ignored, 1);
}

#[test]
fn relay_mode_offers_no_address_of_its_own() {
    let mut viewer = config(Side::Viewer, "192.0.2.2:2000");
    viewer.path_mode = PathMode::Relay;
    let mut world = World::with(config(Side::Host, "192.0.2.1:1000"), viewer);
    let offer = world.viewer.create_offer(world.now).unwrap();
    assert!(!offer.contains("192.0.2.2"));
    let answer = world.host.handle_offer(&offer, world.now).unwrap();
    world.viewer.handle_answer(&answer, world.now).unwrap();
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.viewer.path(), None);
    assert_eq!(world.flying.len(), 0);
}

#[test]
fn the_estimate_stays_inside_its_bounds() {
    let mut host = config(Side::Host, "192.0.2.1:1000");
    host.bitrate = BitrateRange {
        start_bps: 2_000_000,
        min_bps: 1_000_000,
        max_bps: 3_000_000,
    };
    let mut world = World::with(host, config(Side::Viewer, "192.0.2.2:2000"));
    world.connect();
    world.stream(300, 6_000);
    let estimates = world.host_events.iter().filter_map(|event| match event {
        Event::EgressEstimate { bitrate_bps } => Some(*bitrate_bps),
        _ => None,
    });
    let estimates: Vec<u64> = estimates.collect();
    assert!(!estimates.is_empty());
    let range = 1_000_000..=3_000_000;
    assert!(
        estimates.iter().all(|bps| range.contains(bps)),
        "{estimates:?}"
    );
}

#[test]
fn feedback_that_lies_moves_the_estimate_no_further_than_its_bounds() {
    use str0m::bwe::Bitrate;
    let mut world = World::connected();
    let now = world.now;
    for lie in [0, 1, u64::MAX / 2, u64::MAX] {
        let estimate = Bitrate::bps(lie);
        let twcc = BweKind::Twcc {
            estimate,
            can_probe: true,
        };
        // REMB is what a receiver claims without proof: it is not believed at all.
        let mid = Mid::from("0");
        for kind in [twcc, BweKind::Remb { estimate, mid }] {
            let told = str0m::Event::EgressBitrateEstimate(kind);
            world.host.handle_engine_event(told, now);
        }
    }
    let estimates = world.host.events.iter().filter_map(|event| match event {
        Event::EgressEstimate { bitrate_bps } => Some(*bitrate_bps),
        _ => None,
    });
    let BitrateRange {
        min_bps, max_bps, ..
    } = BitrateRange::default();
    let estimates: Vec<u64> = estimates.collect();
    assert_eq!(estimates, [min_bps, max_bps]);
}

#[test]
fn a_thousand_channels_end_the_peer_that_was_sent_them_and_say_why() {
    let mut world = World::connected();
    for index in 0..1000 {
        let label = format!("more {index}");
        let config = str0m::channel::ChannelConfig {
            label,
            ..Default::default()
        };
        world.viewer.rtc.direct_api().create_data_channel(config);
    }
    let now = world.now;
    world.viewer.drain(now);
    let ended = |w: &World| {
        let too_many = |e: &Event| matches!(e, Event::Closed(CloseReason::TooManyChannels));
        count(&w.host_events, too_many) == 1
    };
    world.run_until(ended);
    assert_eq!(world.host_opened(), 3);
}

#[test]
fn an_owner_that_never_takes_its_events_loses_the_peer_not_the_memory() {
    let mut world = World::connected();
    let now = world.now;
    for _ in 0..=Peer::EVENTS_MAX {
        world.host.events.push_back(Event::KeyFrameWanted);
    }
    world.host.handle_timeout(now);
    assert!(world.host.is_closed());
    assert!(world.host.events.len() <= Peer::EVENTS_MAX + 2);
}

#[test]
fn the_same_certificate_serves_every_peer_of_a_process() {
    let mut world = World::new();
    let offer = world.viewer.create_offer(world.now).unwrap();
    let mut second = Peer::new(config(Side::Viewer, "192.0.2.2:2001"), world.now);
    let other = second.create_offer(world.now).unwrap();
    let fingerprint = |sdp: &str| crate::sdp::value(sdp, "a=fingerprint:").map(str::to_owned);
    assert_eq!(fingerprint(&offer), fingerprint(&other));
}

#[test]
fn candidates_after_the_description_are_trickled_with_its_ufrag_and_mid() {
    let mut world = World::new();
    let offer = world.viewer.create_offer(world.now).unwrap();
    let late = str0m::Candidate::host(address("192.0.2.9:9"), "udp").unwrap();
    world.viewer.add_local_candidate(late, world.now);
    let told: Vec<Candidate> = world
        .viewer
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Candidate(candidate) => Some(candidate.clone()),
            _ => None,
        })
        .collect();
    let [candidate] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(candidate.candidate.starts_with("candidate:"));
    assert!(candidate.candidate.contains("192.0.2.9"));
    let ufrag = crate::sdp::value(&offer, "a=ice-ufrag:");
    assert_eq!(candidate.username_fragment.as_deref(), ufrag);
    assert_eq!(
        candidate.mid.as_deref(),
        crate::sdp::value(&offer, "a=mid:")
    );
}
