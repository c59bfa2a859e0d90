//! Which relays a session is offered, and where: UDP near the desktop, whose last stretch is then
//! short and clean; TCP and TLS near the person, because what TCP loses is sent again over the whole
//! stretch to the relay, and that one should be short.
//!
//! Two relays at most, and a region counts only while it has a relay that takes new sessions.

use std::collections::BTreeMap;

use protocol::id::SessionId;

use super::{Known, RELAYS_OFFERED_MAX, Relays, State};
use crate::grant::Relay;

/// A region must be so much nearer to the person than the desktop's own for a relay there to pay:
/// below it, measuring says more than distance.
const NEARER_BY_MS: u32 = 20;
/// Regions that a person may have measured; more are not looked at.
const MEASURED_MAX: usize = 32;

/// Where the two ends of a session are.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    pub instance: &'a str,
    /// Empty if it is not known, or the instance's own.
    pub client: &'a str,
}

/// A relay as a session is offered it.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    pub region: &'a str,
    pub relay: &'a Relay,
    /// Those of its addresses that serve the purpose.
    pub urls: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Any,
    Udp,
    Stream,
}

impl Relays {
    /// The relays for this session, at most [`RELAYS_OFFERED_MAX`]; the same every time as long as
    /// they are good.
    pub fn offered<'a>(&'a self, ends: Ends<'a>, session: SessionId) -> Vec<Offer<'a>> {
        let apart = !ends.client.is_empty() && ends.client != ends.instance;
        let near_client = apart && self.takes_sessions(ends.client);
        if !near_client {
            return self.of_region(ends.instance, session, RELAYS_OFFERED_MAX, Leg::Any);
        }
        if !self.takes_sessions(ends.instance) {
            return self.of_region(ends.client, session, RELAYS_OFFERED_MAX, Leg::Any);
        }
        let mut offers = self.of_region(ends.instance, session, 1, Leg::Udp);
        offers.extend(self.of_region(ends.client, session, 1, Leg::Stream));
        offers
    }

    /// Whether a session that insists on a relay can have one: a draining one refuses it.
    pub fn can_relay(&self, ends: Ends<'_>) -> bool {
        let regions = [ends.instance, ends.client].into_iter();
        let mut relays = regions.flat_map(|region| self.of(region));
        relays.any(|known| known.relay.is_whole() && known.state != State::Draining)
    }

    /// The region near the person, by the round trips they measured; empty if the instance's own is
    /// as good. Regions that take no sessions, or that nobody knows, do not count.
    pub fn near_client(&self, round_trips_ms: &BTreeMap<String, u32>, instance: &str) -> String {
        let own = round_trips_ms.get(instance);
        let measured = round_trips_ms.iter().take(MEASURED_MAX);
        let nearest = measured
            .filter(|(region, _)| self.takes_sessions(region))
            .min_by_key(|(_, ms)| **ms);
        match nearest {
            Some((region, ms))
                if region != instance
                    && own.is_none_or(|own| *own >= ms.saturating_add(NEARER_BY_MS)) =>
            {
                region.clone()
            }
            _ => String::new(),
        }
    }

    /// Where a client can measure its round trip to each region that takes sessions: one STUN
    /// address each.
    pub fn measurable(&self) -> Vec<(String, String)> {
        let regions = self.regions.iter();
        let stun = |known: &Known| {
            let mut udp = known.relay.urls.iter().filter(|url| is_udp(url));
            udp.find_map(|url| Some(format!("stun:{}", host_of(url)?)))
        };
        regions
            .filter_map(|entry| {
                let good = entry.relays.iter().find(|known| known.takes_sessions())?;
                Some((entry.id.clone(), stun(good)?))
            })
            .collect()
    }

    fn takes_sessions(&self, region: &str) -> bool {
        self.of(region).any(Known::takes_sessions)
    }

    /// Of one region, best state first.
    fn of_region<'a>(
        &'a self,
        region: &'a str,
        session: SessionId,
        count_max: usize,
        leg: Leg,
    ) -> Vec<Offer<'a>> {
        let mut found: Vec<&Known> = self.of(region).filter(|one| one.relay.is_whole()).collect();
        let best = found.iter().map(|known| known.state).min();
        // One that drains or is silent is better than none, and than none only.
        found.retain(|known| Some(known.state) == best);
        if found.len() > count_max {
            found.sort_by_cached_key(|known| (known.is_full(), known.rank(session)));
            found.truncate(count_max);
        }
        let offer = |known: &'a Known| Offer {
            region,
            relay: &known.relay,
            urls: leg.of(&known.relay.urls),
        };
        found.into_iter().map(offer).collect()
    }
}

impl Known {
    fn takes_sessions(&self) -> bool {
        self.relay.is_whole() && self.state == State::Good && !self.is_full()
    }
}

impl Leg {
    /// A relay that has none of the kind is offered with what it has.
    fn of(self, urls: &[String]) -> Vec<String> {
        let fits = |url: &&String| match self {
            Self::Any => true,
            Self::Udp => is_udp(url),
            Self::Stream => !is_udp(url),
        };
        let fitting: Vec<_> = urls.iter().filter(fits).cloned().collect();
        if fitting.is_empty() {
            urls.to_vec()
        } else {
            fitting
        }
    }
}

/// RFC 7065 §3.1: `turn:` without a transport means UDP.
fn is_udp(url: &str) -> bool {
    url.starts_with("turn:") && !url.ends_with("?transport=tcp")
}

fn host_of(url: &str) -> Option<&str> {
    url.strip_prefix("turn:")?.split('?').next()
}

#[cfg(test)]
mod tests;
