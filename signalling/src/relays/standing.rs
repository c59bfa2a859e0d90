//! How each relay stands, for whoever watches the service: no address and no secret in it, so that
//! it may be shown to anybody.

use std::time::{Duration, Instant};

use super::{Known, Relays, State};

/// One relay as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub region: String,
    pub state: RelayState,
    /// In thousandths of what it may hold; `None` for one that never reported.
    pub load_permille: Option<u16>,
    /// How long ago it reported.
    pub heard_before: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayState {
    /// It reports and takes sessions.
    Serving,
    /// It reports and takes no new ones.
    Draining,
    /// It reported once and does no longer.
    Silent,
    /// It never reported: all that is known is that it is configured.
    Unheard,
}

impl Relays {
    /// Every relay that has an address, region by region.
    pub fn standings(&self, now: Instant) -> Vec<Standing> {
        let regions = self.regions.iter();
        let all = regions.flat_map(|entry| entry.relays.iter().map(|known| (&entry.id, known)));
        all.filter(|(_, known)| known.relay.is_whole())
            .map(|(region, known)| known.standing(region, now))
            .collect()
    }
}

impl Known {
    fn standing(&self, region: &str, now: Instant) -> Standing {
        Standing {
            region: region.to_owned(),
            state: match (self.state, self.heard_at) {
                (_, None) => RelayState::Unheard,
                (State::Good, _) => RelayState::Serving,
                (State::Draining, _) => RelayState::Draining,
                (State::Silent, _) => RelayState::Silent,
            },
            load_permille: self.heard_at.map(|_| self.load_permille),
            heard_before: self
                .heard_at
                .map(|heard| now.saturating_duration_since(heard)),
        }
    }
}
