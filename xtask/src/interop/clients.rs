//! Which clients there are, which transports each speaks, and how its output is judged.

use crate::run::Finished;

/// How a client reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
    /// TLS to the port that is shared with HTTP.
    Shared,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Shared];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Shared => "tls, shared 443",
        }
    }

    /// What a client is told; which port it is makes no difference to it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls | Self::Shared => "tls",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// coturn's, Debian's version.
    Uclient,
    Aioice,
    NodeDatachannel,
    Werift,
    Chromium,
    /// Of webrtc-rs.
    TurnCrate,
    TurnClientProto,
    /// No client, but another codec and another server, on the same input as ours.
    Differential,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Both say the same, or what they differ in is known.
    Agreement,
    /// Payload gets through.
    Through,
    /// The password is wrong, and nothing gets through.
    TurnedAway,
    /// The client does not speak this transport; the row says so.
    Nothing,
}

/// One client over one transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) client: Client,
    pub(crate) transport: Transport,
    pub(crate) mode: Mode,
    pub(crate) expect: Expect,
}

/// Only coturn's client has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Only,
    /// To a plain UDP peer that echoes.
    Echo,
    /// Client to client, in each of the ways there are.
    Pairs,
    /// Garbage and sudden ends; an honest run behind them has to succeed.
    Hostile,
}

/// Flags of coturn's client: Send instead of channels, an explicit IPv4 address, DONT-FRAGMENT,
/// padded channels.
pub(crate) const ECHO_FLAGS: [&[&str]; 5] = [&[], &["-s"], &["-X"], &["-g"], &["-D"]];
/// The same between two clients, and negative tests and random disconnects beside good ones.
pub(crate) const PAIR_FLAGS: [&[&str]; 7] = [
    &["-y"],
    &["-y", "-s"],
    &["-y", "-X"],
    &["-y", "-g"],
    &["-y", "-D"],
    &["-y", "-N"],
    &["-y", "-B"],
];
/// Negative protocol tests, and connecting only to leave.
pub(crate) const HOSTILE_FLAGS: [&[&str]; 2] = [&["-y", "-R"], &["-y", "-O"]];

impl Client {
    pub(crate) const ALL: [Self; 8] = [
        Self::Differential,
        Self::Aioice,
        Self::NodeDatachannel,
        Self::Werift,
        Self::TurnCrate,
        Self::TurnClientProto,
        Self::Chromium,
        Self::Uclient,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uclient => "turnutils_uclient",
            Self::Aioice => "aioice",
            Self::NodeDatachannel => "node-datachannel",
            Self::Werift => "werift",
            Self::Chromium => "chromium",
            Self::TurnCrate => "turn (webrtc-rs)",
            Self::TurnClientProto => "turn-client-proto",
            Self::Differential => "stun and turn-server-proto",
        }
    }

    fn speaks(self, transport: Transport) -> bool {
        // libjuice below node-datachannel and the crate `turn` have no streams.
        let udp_only = matches!(self, Self::NodeDatachannel | Self::TurnCrate);
        transport == Transport::Udp || !udp_only
    }

    pub(crate) fn attempts(self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        if self == Self::Differential {
            return vec![Attempt {
                client: self,
                transport: Transport::Udp,
                mode: Mode::Only,
                expect: Expect::Agreement,
            }];
        }
        for transport in Transport::ALL {
            for &mode in self.modes() {
                let expect = if self.speaks(transport) {
                    Expect::Through
                } else {
                    Expect::Nothing
                };
                attempts.push(Attempt {
                    client: self,
                    transport,
                    mode,
                    expect,
                });
            }
        }
        attempts.push(Attempt {
            client: self,
            transport: Transport::Udp,
            mode: self.modes()[0],
            expect: Expect::TurnedAway,
        });
        attempts
    }

    fn modes(self) -> &'static [Mode] {
        match self {
            Self::Uclient => &[Mode::Echo, Mode::Pairs, Mode::Hostile],
            _ => &[Mode::Only],
        }
    }

    /// What went wrong, by the client's own account.
    pub(crate) fn judge(self, finished: &Finished) -> Result<(), String> {
        if !finished.ok {
            return Err(finished.reason.clone());
        }
        let content = match self {
            Self::Uclient => finished.output.contains("Total lost packets 0 "),
            _ => serde_json::from_str::<serde_json::Value>(account(&finished.output))
                .is_ok_and(|said| said["messages"].as_u64() > Some(0)),
        };
        if content {
            Ok(())
        } else {
            Err("it ended well, but does not say that anything arrived".into())
        }
    }
}

/// The line with which a client ends: JSON if it has one, because warnings may stand behind it.
pub(crate) fn account(output: &str) -> &str {
    let last = output.lines().last().unwrap_or_default();
    output
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .unwrap_or(last)
}

impl Attempt {
    pub(crate) fn title(&self) -> String {
        let what = match (self.expect, self.mode) {
            (Expect::Agreement, _) => "beside ours on the same input",
            (Expect::TurnedAway, _) => "wrong password",
            (_, Mode::Only) => "client to client",
            (_, Mode::Echo) => "to a peer: -s -X -g -D",
            (_, Mode::Pairs) => "-y: -s -X -g -D -N -B",
            (_, Mode::Hostile) => "-R -O, then honest",
        };
        format!("{}, {}, {what}", self.client.name(), self.transport.name())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn finished(ok: bool, output: &str) -> Finished {
        Finished {
            ok,
            reason: "ended with 1".into(),
            output: output.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn every_client_has_to_get_through_somewhere_and_to_be_turned_away_once() {
        for client in Client::ALL {
            if client == Client::Differential {
                continue;
            }
            let attempts = client.attempts();
            assert!(attempts.iter().any(|it| it.expect == Expect::Through));
            let away = attempts.iter().filter(|it| it.expect == Expect::TurnedAway);
            assert_eq!(away.count(), 1, "{}", client.name());
        }
    }

    #[test]
    fn a_client_that_ends_well_without_a_message_has_failed() {
        let client = Client::Aioice;
        assert_eq!(
            client.judge(&finished(true, "x\n{\"messages\":4}\n")),
            Ok(())
        );
        assert!(client.judge(&finished(true, "{\"messages\":0}")).is_err());
        assert!(client.judge(&finished(true, "")).is_err());
        assert!(client.judge(&finished(false, "{\"messages\":4}")).is_err());
    }

    #[test]
    fn a_lost_packet_of_coturns_client_is_a_failure() {
        let client = Client::Uclient;
        let said = |lost: u32| format!("Total lost packets {lost} (0.0%), total");
        assert_eq!(client.judge(&finished(true, &said(0))), Ok(()));
        assert!(client.judge(&finished(true, &said(1))).is_err());
    }
}
