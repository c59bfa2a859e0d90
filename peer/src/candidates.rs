//! Which candidates are let in and which are told, by the path mode.
//!
//! Remote candidates wait here until the description they belong to has come: signalling may be
//! faster with one than with the other, and an ICE restart forgets those of before. A candidate
//! with an mDNS name is counted and ignored: the browser's checks reach us and make it a
//! peer-reflexive one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::signal::{CANDIDATES_MAX, Candidate, PathMode};
use str0m::CandidateKind;

use crate::event::PathKind;

/// Longest candidate line read, in bytes.
const LINE_LEN_MAX: usize = 512;

/// The remote side's candidates of this ICE generation.
pub(crate) struct RemoteCandidates {
    mode: PathMode,
    /// The ufrag of the last description of the other side.
    ufrag: Option<String>,
    /// Came before their description. When full: the newest is ignored.
    early: Vec<Candidate>,
    kinds_by_address: BTreeMap<SocketAddr, PathKind>,
    pub(crate) mdns_ignored: u64,
}

impl RemoteCandidates {
    pub(crate) fn new(mode: PathMode) -> Self {
        Self {
            mode,
            ufrag: None,
            early: Vec::new(),
            kinds_by_address: BTreeMap::new(),
            mdns_ignored: 0,
        }
    }

    /// A description was accepted; returns the candidates that waited for it.
    pub(crate) fn handle_description(&mut self, ufrag: &str) -> Vec<Candidate> {
        if self.ufrag.as_deref() != Some(ufrag) {
            self.ufrag = Some(ufrag.to_owned());
            self.kinds_by_address.clear();
        }
        std::mem::take(&mut self.early)
    }

    /// A description with this ufrag begins another ICE generation.
    pub(crate) fn is_restart(&self, ufrag: &str) -> bool {
        self.ufrag
            .as_deref()
            .is_some_and(|current| current != ufrag)
    }

    /// The candidate to give to ICE now, if it passes.
    pub(crate) fn handle(&mut self, candidate: &Candidate) -> Option<str0m::Candidate> {
        let line = candidate.candidate.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        if line.is_empty() || line.len() > LINE_LEN_MAX {
            return None;
        }
        if !self.is_current(candidate) {
            if self.early.len() < CANDIDATES_MAX {
                self.early.push(candidate.clone());
            }
            return None;
        }
        self.admit(line)
    }

    fn is_current(&self, candidate: &Candidate) -> bool {
        match (&self.ufrag, &candidate.username_fragment) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(current), Some(its)) => current == its,
        }
    }

    fn admit(&mut self, line: &str) -> Option<str0m::Candidate> {
        if line.split_ascii_whitespace().nth(4)?.ends_with(".local") {
            self.mdns_ignored += 1;
            return None;
        }
        let parsed = str0m::Candidate::from_sdp_string(line).ok()?;
        let kind = path_kind(parsed.kind());
        if parsed.proto() != str0m::net::Protocol::Udp
            || parsed.addr().port() == 0
            || (self.mode == PathMode::Direct && kind == PathKind::Relayed)
            || self.kinds_by_address.len() >= CANDIDATES_MAX
        {
            return None;
        }
        self.kinds_by_address.insert(parsed.addr(), kind);
        Some(parsed)
    }

    /// What the other side called this address; what it never named is peer-reflexive.
    pub(crate) fn kind_of(&self, address: SocketAddr) -> PathKind {
        self.kinds_by_address
            .get(&address)
            .copied()
            .unwrap_or(PathKind::PeerReflexive)
    }
}

fn path_kind(kind: CandidateKind) -> PathKind {
    match kind {
        CandidateKind::Host => PathKind::Host,
        CandidateKind::ServerReflexive => PathKind::ServerReflexive,
        CandidateKind::PeerReflexive => PathKind::PeerReflexive,
        CandidateKind::Relayed => PathKind::Relayed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(line: &str, ufrag: Option<&str>) -> Candidate {
        Candidate {
            candidate: line.to_owned(),
            mid: None,
            username_fragment: ufrag.map(str::to_owned),
        }
    }

    const HOST: &str = "candidate:1 1 udp 2113929471 192.0.2.1 10100 typ host";
    const RELAY: &str = "candidate:2 1 udp 1 203.0.113.9 50000 typ relay raddr 0.0.0.0 rport 0";
    const MDNS: &str = "candidate:3 1 udp 1 0b5f0d2c.local 50000 typ host";

    fn described(mode: PathMode) -> RemoteCandidates {
        let mut remote = RemoteCandidates::new(mode);
        remote.handle_description("gen1");
        remote
    }

    #[test]
    fn a_candidate_waits_for_the_description_it_belongs_to() {
        let mut remote = RemoteCandidates::new(PathMode::Auto);
        assert!(remote.handle(&candidate(HOST, Some("gen1"))).is_none());
        let early = remote.handle_description("gen1");
        assert_eq!(early.len(), 1);
        assert!(remote.handle(&early[0]).is_some());
        // The next generation's candidate overtook its offer.
        assert!(remote.handle(&candidate(HOST, Some("gen2"))).is_none());
        assert_eq!(remote.handle_description("gen2").len(), 1);
    }

    #[test]
    fn an_mdns_candidate_is_counted_and_ignored() {
        let mut remote = described(PathMode::Auto);
        assert!(remote.handle(&candidate(MDNS, None)).is_none());
        assert_eq!(remote.mdns_ignored, 1);
    }

    #[test]
    fn direct_mode_does_not_send_to_a_relay() {
        let mut remote = described(PathMode::Direct);
        assert!(remote.handle(&candidate(RELAY, None)).is_none());
        assert!(remote.handle(&candidate(HOST, None)).is_some());
    }

    #[test]
    fn nonsense_is_no_candidate() {
        let mut remote = described(PathMode::Auto);
        let long = format!("{HOST}{}", " x".repeat(LINE_LEN_MAX));
        for line in [
            "",
            "candidate:",
            "hello",
            "candidate:1 1 udp x 1.2.3.4 5 typ host",
            &long,
        ] {
            assert!(remote.handle(&candidate(line, None)).is_none(), "{line}");
        }
        let tcp = "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active";
        assert!(remote.handle(&candidate(tcp, None)).is_none());
    }

    #[test]
    fn no_more_candidates_are_admitted_than_the_protocol_allows() {
        let mut remote = described(PathMode::Auto);
        let admitted = (1..=200u16)
            .filter(|port| {
                let line = format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host");
                remote.handle(&candidate(&line, None)).is_some()
            })
            .count();
        assert_eq!(admitted, CANDIDATES_MAX);
    }
}
