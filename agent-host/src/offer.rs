//! Who made an offer: the same peer again, which restarts ICE, or a fresh one.
//!
//! A viewer that starts afresh has another origin (RFC 8866 §5.2: the session id names the session
//! whatever its version) or another certificate (RFC 8122 §5). No peer can take that over: its DTLS
//! and ICE are those of the one before.

/// The peer behind an offer. `None` in both places is the same peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offerer {
    /// User name and session id of the `o=` line.
    origin: Option<String>,
    fingerprint: Option<String>,
}

impl Offerer {
    pub fn of(sdp: &str) -> Self {
        let line = |start: &str| {
            let found = sdp.lines().find_map(|line| line.strip_prefix(start));
            found.map(str::trim_end)
        };
        let origin = line("o=").map(|origin| {
            let fields: Vec<&str> = origin.split(' ').take(2).collect();
            fields.join(" ")
        });
        Self {
            origin,
            fingerprint: line("a=fingerprint:").map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(origin: &str, fingerprint: &str) -> String {
        format!("v=0\r\no={origin}\r\ns=-\r\na=fingerprint:sha-256 {fingerprint}\r\n")
    }

    #[test]
    fn another_version_of_the_same_session_is_the_same_peer() {
        let first = Offerer::of(&sdp("- 42 1 IN IP4 0.0.0.0", "AA"));
        assert_eq!(first, Offerer::of(&sdp("- 42 2 IN IP4 0.0.0.0", "AA")));
    }

    #[test]
    fn another_session_or_another_certificate_is_another_peer() {
        let first = Offerer::of(&sdp("- 42 1 IN IP4 0.0.0.0", "AA"));
        assert_ne!(first, Offerer::of(&sdp("- 43 1 IN IP4 0.0.0.0", "AA")));
        assert_ne!(first, Offerer::of(&sdp("- 42 1 IN IP4 0.0.0.0", "BB")));
    }

    #[test]
    fn rubbish_is_nobody() {
        assert_eq!(Offerer::of("o"), Offerer::default());
    }
}
