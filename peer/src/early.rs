//! Handshakes that came before our own check of their path succeeded.
//!
//! Where packets are lost the other side's checks may succeed seconds before ours, and it begins
//! DTLS at once. str0m refuses what comes from an address that no check of ours has proven yet, and
//! the handshake would wait for a timer of the other side that has doubled ever since. So it waits
//! here, and str0m decides again once the path is there.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::path::Datagram;

/// A flight is one to three packets. When full the oldest is forgotten; it is sent again.
const PACKETS_MAX: usize = 4;
/// Ethernet's. A longer one is refused for good.
const PACKET_LEN_MAX: usize = 1500;

#[derive(Debug, Default)]
pub(crate) struct Early(VecDeque<Datagram>);

impl Early {
    /// Keeps it if it is DTLS; whether it did.
    pub(crate) fn handle_refused(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        // RFC 7983 §7.
        let is_dtls = bytes.first().is_some_and(|first| (20..64).contains(first));
        if !is_dtls || bytes.len() > PACKET_LEN_MAX {
            return false;
        }
        if self.0.len() == PACKETS_MAX {
            self.0.pop_front();
        }
        let bytes = bytes.to_vec();
        self.0.push_back(Datagram { from, to, bytes });
        true
    }

    pub(crate) fn take(&mut self) -> VecDeque<Datagram> {
        std::mem::take(&mut self.0)
    }
}
