//! Whether the relays of a region answer: a STUN binding request to each address, as a client would
//! send it. TLS addresses are only connected to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol::turn::message::{Builder, Class, Message, Method, TransactionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::config::RegionConfig;
use crate::health::{Level, RelayState};

/// A relay answers a binding in a round trip; two lost datagrams fit.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 1500;

/// How many addresses of a region's relays answer, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) answered: usize,
    pub(super) asked: usize,
}

/// Every region with what its configured relays answer.
pub(super) async fn regions(regions: &[RegionConfig]) -> Vec<(String, Answers)> {
    let mut found = Vec::new();
    for region in regions {
        let urls: Vec<_> = region
            .relays
            .iter()
            .flat_map(|relay| &relay.urls)
            .cloned()
            .collect();
        let probes: Vec<_> = urls
            .into_iter()
            .map(|url| tokio::spawn(answers(url)))
            .collect();
        let asked = probes.len();
        let mut answered = 0;
        for probe in probes {
            answered += usize::from(probe.await.unwrap_or(false));
        }
        found.push((region.id.clone(), Answers { answered, asked }));
    }
    found
}

impl Answers {
    /// A relay that reported once and is silent now counts like an address that does not answer; a
    /// region whose relays all drain serves nobody new. Without relays there are direct paths only,
    /// and nothing that could fail.
    pub(super) fn level(self, relays: &[RelayState]) -> Level {
        let count = |state| relays.iter().filter(|one| **one == state).count();
        let draining = count(RelayState::Draining);
        let reporting = count(RelayState::Serving) + draining;
        let answered = self.answered + reporting;
        let expected = self.asked + reporting + count(RelayState::Silent);
        match answered {
            _ if answered == expected && draining > 0 && draining == relays.len() => {
                Level::Degraded
            }
            _ if answered == expected => Level::Operational,
            0 => Level::Down,
            _ => Level::Degraded,
        }
    }
}

async fn answers(url: String) -> bool {
    let probed = tokio::time::timeout(ANSWER_WITHIN, probe(&url)).await;
    match probed {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(url, "a relay does not answer: {error:#}");
            false
        }
        Err(_) => false,
    }
}

async fn probe(url: &str) -> Result<()> {
    let (scheme, rest) = url.split_once(':').context("no scheme")?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let address = with_port(address, if scheme == "turns" { 5349 } else { 3478 });
    let transaction = TransactionId(rand::random());
    let mut bytes = [0; 64];
    let mut builder = Builder::new(&mut bytes, Class::Request, Method::Binding, transaction);
    let len = builder.finish().context("a binding request fits")?;
    let request = bytes.get(..len).context("its length is in bounds")?;
    let answer = match (scheme, query) {
        ("turns", _) => {
            TcpStream::connect(address).await?;
            return Ok(());
        }
        (_, "transport=tcp") => over_tcp(&address, request).await?,
        _ => over_udp(&address, request).await?,
    };
    let message = Message::parse(&answer).context("no STUN message")?;
    ensure!(
        message.transaction() == transaction,
        "the answer to something else"
    );
    Ok(())
}

async fn over_udp(address: &str, request: &[u8]) -> Result<Vec<u8>> {
    let target = tokio::net::lookup_host(address)
        .await?
        .next()
        .context("no address")?;
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    let mut answer = vec![0; ANSWER_LEN_MAX];
    loop {
        socket.send(request).await?;
        if let Ok(len) = tokio::time::timeout(REPEAT_AFTER, socket.recv(&mut answer)).await {
            answer.truncate(len?);
            return Ok(answer);
        }
    }
}

async fn over_tcp(address: &str, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; ANSWER_LEN_MAX];
    // The answer to a binding is shorter than any segment.
    let len = stream.read(&mut answer).await?;
    answer.truncate(len);
    Ok(answer)
}

fn with_port(address: &str, port: u16) -> String {
    let has_port = match address.rfind(']') {
        Some(end) => address.get(end..).is_some_and(|rest| rest.contains(':')),
        None => address.contains(':'),
    };
    if has_port {
        address.to_owned()
    } else {
        format!("{address}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use protocol::turn::message::MessageError;

    use super::*;

    #[test]
    fn an_address_without_a_port_gets_its_schemes() {
        for (address, expected) in [
            ("turn.example", "turn.example:3478"),
            ("turn.example:80", "turn.example:80"),
            ("[::1]", "[::1]:3478"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(with_port(address, 3478), expected);
        }
    }

    #[test]
    fn a_region_is_as_well_as_its_relays() {
        use RelayState::{Draining, Serving, Silent, Unheard};
        for (answered, asked, relays, expected) in [
            (0, 0, vec![], Level::Operational),
            (2, 2, vec![Unheard], Level::Operational),
            (1, 2, vec![], Level::Degraded),
            (0, 2, vec![], Level::Down),
            (0, 0, vec![Serving, Draining], Level::Operational),
            (0, 0, vec![Draining], Level::Degraded),
            (0, 0, vec![Serving, Silent], Level::Degraded),
            (0, 0, vec![Silent], Level::Down),
            (1, 1, vec![Silent], Level::Degraded),
        ] {
            let answers = Answers { answered, asked };
            assert_eq!(answers.level(&relays), expected, "{answers:?} {relays:?}");
        }
    }

    #[tokio::test]
    async fn a_relay_that_answers_is_told_from_one_that_does_not() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("turn:{}?transport=udp", relay.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            let mut bytes = [0; 64];
            let (len, from) = relay.recv_from(&mut bytes).await.unwrap();
            let transaction = Message::parse(&bytes[..len]).map(|m| m.transaction())?;
            let mut answer = [0; 64];
            let mut answer_is =
                Builder::new(&mut answer, Class::Success, Method::Binding, transaction);
            let len = answer_is.finish().unwrap();
            relay.send_to(&answer[..len], from).await.unwrap();
            Ok::<_, MessageError>(())
        });
        assert!(answers(url.clone()).await);
        answering.await.unwrap().unwrap();
        assert!(!answers(url).await, "its socket is closed");
    }
}
