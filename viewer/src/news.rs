//! What an event of the WebRTC peer means for the session: its path in the viewer's words, and
//! which silences count as a loss.

use peer::{CloseReason, Event, IceState, PathKind, RelayTransport};

use crate::path::{Kind, Path, Transport};
use crate::session::{PeerEvent, State};

/// Remembers the path of one session's peers.
#[derive(Debug, Default)]
pub struct PeerNews {
    last_path: Option<Path>,
}

impl PeerNews {
    /// The path that was in use last.
    pub fn path(&self) -> Option<&Path> {
        self.last_path.as_ref()
    }

    /// `None`: nothing the session needs to know.
    pub fn handle_event(&mut self, event: &Event, state: &State) -> Option<PeerEvent> {
        match event {
            Event::Candidate(candidate) => Some(PeerEvent::Candidate(candidate.clone())),
            Event::Connected(path) | Event::PathChanged(path) => {
                let path = path_of(path);
                self.last_path = Some(path.clone());
                Some(PeerEvent::Connected(path))
            }
            Event::IceState(IceState::Disconnected) => Some(PeerEvent::Lost),
            // The same path speaks again.
            Event::IceState(IceState::Connected) if *state == State::Reconnecting => {
                self.last_path.clone().map(PeerEvent::Connected)
            }
            Event::Closed(CloseReason::Local) => None,
            Event::Closed(reason) => Some(PeerEvent::Failed {
                reason: format!("the connection ended ({reason:?})"),
            }),
            _ => None,
        }
    }
}

fn path_of(path: &peer::Path) -> Path {
    let kind = match path.local.kind {
        _ if path.is_relayed() => Kind::Relay,
        PathKind::Host => Kind::Host,
        _ => Kind::Reflexive,
    };
    let (transport, region) = match &path.relay {
        Some((RelayTransport::Tcp, region)) => (Transport::Tcp, Some(region.clone())),
        Some((RelayTransport::Tls, region)) => (Transport::Tls, Some(region.clone())),
        Some((RelayTransport::Udp, region)) => (Transport::Udp, Some(region.clone())),
        None => (Transport::Udp, None),
    };
    Path {
        kind,
        transport,
        region,
    }
}
