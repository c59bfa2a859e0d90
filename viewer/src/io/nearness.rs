//! How far the regions' relays are: a STUN binding request to one of each, all at the same time, as
//! ICE would send it. Who cannot be asked by UDP has measured nothing, and the service chooses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use protocol::turn::message::{Builder, Class, Message, Method, TransactionId};
use serde::Deserialize;
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;

/// Somebody waits for their desktop, and a region that answers later is not near.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// Regions that are asked; the service looks at no more.
const REGIONS_MAX: usize = 32;
/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 1500;

/// Where a region can be asked.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Region {
    id: String,
    /// RFC 7064: `stun:host:port`.
    stun: String,
}

/// Milliseconds to each region that answered in time.
pub(super) async fn measure(regions: Vec<Region>) -> BTreeMap<String, u32> {
    measure_within(regions, ANSWER_WITHIN).await
}

async fn measure_within(regions: Vec<Region>, within: Duration) -> BTreeMap<String, u32> {
    let mut asking: JoinSet<_> = regions
        .into_iter()
        .take(REGIONS_MAX)
        .map(|region| ask(region, within))
        .collect();
    let mut round_trips = BTreeMap::new();
    while let Some(answered) = asking.join_next().await {
        if let Ok(Some((id, took))) = answered {
            round_trips.insert(id, u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
        }
    }
    tracing::debug!(?round_trips, "regions measured");
    round_trips
}

async fn ask(region: Region, within: Duration) -> Option<(String, Duration)> {
    match tokio::time::timeout(within, round_trip(&region.stun)).await {
        Ok(Ok(took)) => Some((region.id, took)),
        Ok(Err(error)) => {
            tracing::debug!(region.id, "a region cannot be asked: {error:#}");
            None
        }
        Err(_) => None,
    }
}

async fn round_trip(stun: &str) -> Result<Duration> {
    let address = stun.strip_prefix("stun:").context("no STUN address")?;
    let target = lookup_host(address).await?.next().context("no address")?;
    let any = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    let transaction = TransactionId(rand::random());
    let mut bytes = [0; 64];
    let mut builder = Builder::new(&mut bytes, Class::Request, Method::Binding, transaction);
    let len = builder.finish().context("a binding request fits")?;
    let asked_at = Instant::now();
    socket
        .send(bytes.get(..len).context("its length is in bounds")?)
        .await?;
    let mut answer = [0; ANSWER_LEN_MAX];
    let len = socket.recv(&mut answer).await?;
    let took = asked_at.elapsed();
    let message = Message::parse(answer.get(..len).unwrap_or_default());
    let message = message.ok().context("no STUN message")?;
    ensure!(
        message.transaction() == transaction,
        "the answer to something else"
    );
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(id: &str, socket: &UdpSocket) -> Region {
        Region {
            id: id.into(),
            stun: format!("stun:{}", socket.local_addr().unwrap()),
        }
    }

    #[tokio::test]
    async fn a_region_that_answers_is_measured_and_one_that_cannot_be_asked_is_not() {
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let absurd = Region {
            id: "absurd".into(),
            stun: "https://example.org".into(),
        };
        let answering = async {
            let mut bytes = [0; ANSWER_LEN_MAX];
            let (len, from) = relay.recv_from(&mut bytes).await.unwrap();
            let asked = Message::parse(&bytes[..len]).unwrap().transaction();
            let mut answer = [0; 64];
            let mut builder = Builder::new(&mut answer, Class::Success, Method::Binding, asked);
            let len = builder.finish().unwrap();
            relay.send_to(&answer[..len], from).await.unwrap();
        };
        let regions = vec![region("near", &relay), absurd];
        let patient = Duration::from_secs(600);
        let (measured, ()) = tokio::join!(measure_within(regions, patient), answering);
        assert_eq!(measured.keys().collect::<Vec<_>>(), ["near"]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_region_that_is_silent() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let measured = measure(vec![region("silent", &silent)]).await;
        assert!(measured.is_empty());
    }
}
