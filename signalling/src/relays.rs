//! The relays of each region, and which of them a session is offered.
//!
//! Relays stand in the configuration or register themselves with a secret of their region. One that
//! reports and then falls silent, or drains, is offered no more while another one is left; one that
//! never reported is believed to be there. A session is offered the same relays every time as long
//! as they are good: it must not wander because of somebody else.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use protocol::id::SessionId;
use protocol::relay::{self, REPORT_INTERVAL, REPORT_LEN_MAX, Report, URL_LEN_MAX, URLS_MAX};

use crate::grant::{Region, Relay};

mod choice;
mod standing;

pub use choice::{Ends, Offer};
pub use standing::{RelayState, Standing};

/// Relays offered for one session: more cost gathering time and bring no better path.
pub const RELAYS_OFFERED_MAX: usize = 2;
/// Relays of one region; one more is refused.
pub const RELAYS_PER_REGION_MAX: usize = 64;
/// A relay that reported and has not for so long is not offered: three reports were lost.
pub const SILENT_AFTER: Duration = REPORT_INTERVAL.saturating_mul(3);
/// A relay that registered itself is forgotten after so long a silence.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// A relay this full, in thousandths, is offered when no other one is.
const FULL_PERMILLE: u16 = 950;
/// How far the clocks of relay and service may be apart.
const SKEW_MAX: Duration = Duration::from_secs(120);

/// All regions.
#[derive(Debug)]
pub struct Relays {
    regions: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    relays: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    relay: Relay,
    origin: Origin,
    state: State,
    /// As it said last.
    load_permille: u16,
    /// The newest report; an older one is a copy.
    sent_ms: u64,
    heard_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Configured,
    Registered,
}

/// In the order in which they are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It reports, or has never begun to.
    Good,
    /// Nothing is heard of it; it may relay all the same.
    Silent,
    /// It refuses new allocations.
    Draining,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// The relay wants its sessions to move.
    Drains,
}

/// Why a report is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    #[error("the report is malformed")]
    Malformed,
    /// An unknown region is answered the same.
    #[error("the report was not signed with a secret of its region")]
    Forged,
    #[error("the report is older than one before, or the clocks are too far apart")]
    Stale,
    #[error("the region has {RELAYS_PER_REGION_MAX} relays already")]
    Full,
}

impl Relays {
    pub fn new(regions: Vec<Region>) -> Self {
        let entry = |region: Region| Entry {
            id: region.id,
            relays: region.relays.into_iter().map(Known::configured).collect(),
        };
        Self {
            regions: regions.into_iter().map(entry).collect(),
        }
    }

    /// One report, as it came. Returns its region and what it changed.
    ///
    /// # Errors
    ///
    /// [`Disbelief`].
    pub fn handle_report(
        &mut self,
        body: &[u8],
        signature: &str,
        unix_now: Duration,
        now: Instant,
    ) -> Result<(String, Heard), Disbelief> {
        let report = parse(body)?;
        let entry = self
            .regions
            .iter_mut()
            .find(|entry| entry.id == report.region)
            .ok_or(Disbelief::Forged)?;
        let signer = entry.signer(body, signature).ok_or(Disbelief::Forged)?;
        let apart = unix_now.abs_diff(Duration::from_millis(report.sent_ms));
        if apart > SKEW_MAX {
            return Err(Disbelief::Stale);
        }
        let heard = entry.place(&report, signer)?.hear(&report, now)?;
        Ok((report.region, heard))
    }

    /// When [`Self::poll_silent`] may have something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.regions.iter().flat_map(|entry| &entry.relays);
        relays.filter_map(Known::deadline).min()
    }

    /// A region in which a relay has fallen silent; said once.
    pub fn poll_silent(&mut self, now: Instant) -> Option<String> {
        self.regions.iter_mut().find_map(|entry| {
            entry.relays.retain(|known| !known.is_forgotten(now));
            let mut due = entry.relays.iter_mut();
            let known = due.find(|known| {
                known.state != State::Silent && known.silent_at().is_some_and(|at| at <= now)
            })?;
            known.state = State::Silent;
            Some(entry.id.clone())
        })
    }

    fn of(&self, region: &str) -> impl Iterator<Item = &Known> {
        let entry = self.regions.iter().find(|entry| entry.id == region);
        entry.into_iter().flat_map(|entry| &entry.relays)
    }
}

fn parse(body: &[u8]) -> Result<Report, Disbelief> {
    if body.len() > REPORT_LEN_MAX {
        return Err(Disbelief::Malformed);
    }
    let report: Report = serde_json::from_slice(body).map_err(|_| Disbelief::Malformed)?;
    let sound = |url: &String| {
        let known = url.starts_with("turn:") || url.starts_with("turns:");
        known && url.len() <= URL_LEN_MAX && !url.contains(char::is_control)
    };
    let count = report.urls.len();
    if !(1..=URLS_MAX).contains(&count) || !report.urls.iter().all(sound) {
        return Err(Disbelief::Malformed);
    }
    Ok(report)
}

impl Entry {
    /// Whose secret signed this; nobody's if none did.
    fn signer(&self, body: &[u8], signature: &str) -> Option<usize> {
        self.relays.iter().position(|known| {
            let mut secrets = known.relay.shared_secrets.iter();
            known.origin == Origin::Configured
                && secrets.any(|secret| relay::is_signed(secret, body, signature))
        })
    }

    /// The relay that reports: it is known by one of its addresses, or takes a new place.
    fn place(&mut self, report: &Report, signer: usize) -> Result<&mut Known, Disbelief> {
        let same = |known: &Known| known.relay.urls.iter().any(|url| report.urls.contains(url));
        let at = match self.relays.iter().position(same) {
            Some(at) => at,
            None if self.relays.len() >= RELAYS_PER_REGION_MAX => return Err(Disbelief::Full),
            None => {
                let secrets = self.relays.get(signer).ok_or(Disbelief::Forged)?;
                let relay = Relay {
                    urls: report.urls.clone(),
                    shared_secrets: secrets.relay.shared_secrets.clone(),
                };
                self.relays.push(Known {
                    origin: Origin::Registered,
                    ..Known::configured(relay)
                });
                self.relays.len() - 1
            }
        };
        self.relays.get_mut(at).ok_or(Disbelief::Full)
    }
}

impl Known {
    fn configured(relay: Relay) -> Self {
        Self {
            relay,
            origin: Origin::Configured,
            state: State::Good,
            load_permille: 0,
            sent_ms: 0,
            heard_at: None,
        }
    }

    fn hear(&mut self, report: &Report, now: Instant) -> Result<Heard, Disbelief> {
        if report.sent_ms <= self.sent_ms {
            return Err(Disbelief::Stale);
        }
        self.sent_ms = report.sent_ms;
        self.heard_at = Some(now);
        self.load_permille = report.load_permille;
        if self.origin == Origin::Registered {
            self.relay.urls.clone_from(&report.urls);
        }
        let before = self.state;
        self.state = if report.draining {
            State::Draining
        } else {
            State::Good
        };
        if report.draining && before != State::Draining {
            return Ok(Heard::Drains);
        }
        Ok(Heard::Nothing)
    }

    fn silent_at(&self) -> Option<Instant> {
        Some(self.heard_at? + SILENT_AFTER)
    }

    fn deadline(&self) -> Option<Instant> {
        match (self.state, self.origin) {
            (State::Good | State::Draining, _) => self.silent_at(),
            (State::Silent, Origin::Registered) => Some(self.heard_at? + FORGOTTEN_AFTER),
            (State::Silent, Origin::Configured) => None,
        }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.state == State::Silent && self.deadline().is_some_and(|at| at <= now)
    }

    fn is_full(&self) -> bool {
        self.load_permille >= FULL_PERMILLE
    }

    /// Spreads sessions over relays, and gives each session the same ones again.
    fn rank(&self, session: SessionId) -> u64 {
        let mut hasher = DefaultHasher::new();
        session.to_string().hash(&mut hasher);
        self.relay.urls.first().hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
