//! Which way what str0m sends goes: from a socket, or through a relay.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Peer, Transmit, Via};
use crate::event::{Event, Path, PathEnd, PathKind};
use crate::path::{Datagram, Selected};
use crate::rest::is_report;

impl Peer {
    pub(super) fn transmit(&mut self, transmit: str0m::net::Transmit, now: Instant) {
        let (source, to) = (transmit.source, transmit.destination);
        let bytes = Vec::from(transmit.contents);
        self.tail.handle_sent(source, to, &bytes, now);
        // RFC 7983 §7: 0 to 3 is STUN, which goes over every path; the rest over the chosen one.
        match bytes.first() {
            Some(0..=3) => {
                let is_alone = self.window.is_idle(now);
                self.liveness.handle_sent(&bytes, is_alone, now);
            }
            Some(_) => self.note_path(source, to),
            None => {}
        }
        if self.waits(&bytes) {
            let from = source;
            self.window.handle_video(Datagram { from, to, bytes });
        } else {
            self.send(source, to, bytes, now);
        }
    }

    /// Frames wait for the window. What is sent again and what looks for bandwidth does not, but
    /// overtakes no frame, as reports would take that for losses.
    fn waits(&self, bytes: &[u8]) -> bool {
        let Some(payload) = media_payload(bytes) else {
            return false;
        };
        let overtakes = !self.window.is_empty();
        (self.video.sends(payload) || overtakes) && !self.audio.sends(payload)
    }

    /// Sends as many packets of video as the window lets through.
    pub(super) fn send_video_packets(&mut self, now: Instant) {
        while !self.closed
            && let Some(packet) = self.window.poll_datagram(now)
        {
            if media_payload(&packet.bytes).is_some_and(|payload| self.video.sends(payload)) {
                self.tail.handle_picture(&packet, now);
            }
            self.send(packet.from, packet.to, packet.bytes, now);
        }
    }

    /// Sends the last packets of the data channels and of a picture once more, when their time has come.
    pub(super) fn repeat_tail(&mut self, now: Instant) {
        while let Some(packet) = self.tail.poll_repeat(now) {
            self.send(packet.from, packet.to, packet.bytes, now);
        }
    }

    fn send(&mut self, source: SocketAddr, to: SocketAddr, bytes: Vec<u8>, now: Instant) {
        if self.relays.server_of(source).is_some() {
            self.relays.send(source, to, bytes, now);
            self.collect_relay_transmits();
        } else {
            let via = Via::Udp(source);
            self.transmits.push_back(Transmit { via, to, bytes });
        }
    }

    fn note_path(&mut self, source: SocketAddr, destination: SocketAddr) {
        let selected = Some(Selected {
            source,
            destination,
        });
        if self.selected == selected {
            return;
        }
        self.selected = selected;
        if self.connected
            && let Some(path) = self.path()
        {
            self.events.push_back(Event::PathChanged(path));
        }
    }

    /// The path packets take now.
    pub fn path(&self) -> Option<Path> {
        let Selected {
            source,
            destination,
        } = self.selected?;
        let relay = self.relays.server_of(source);
        let kind = relay.map_or(PathKind::Host, |_| PathKind::Relayed);
        Some(Path {
            local: PathEnd {
                kind,
                address: source,
            },
            remote: PathEnd {
                kind: self.remote.kind_of(destination),
                address: destination,
            },
            relay: relay.map(|server| (server.transport, server.region.clone())),
        })
    }

    pub(super) fn collect_relay_transmits(&mut self) {
        while let Some(transmit) = self.relays.poll_transmit() {
            self.transmits.push_back(transmit);
        }
    }
}

/// The payload type of SRTP (RFC 7983 §7) that is no report.
fn media_payload(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [128..=191, second, ..] if !is_report(bytes) => Some(second & 0x7F),
        _ => None,
    }
}
