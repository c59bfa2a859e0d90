//! How the service is doing, as the status page says it: components, regions, and the incidents of
//! the last days.
//!
//! A level counts once it was observed twice in a row: one slow answer is no incident. A part that
//! was never seen at work is unknown until whatever it depends on has had the time to say that it is
//! there. What is remembered is the [`Report`] itself, which is written beside the page and read at
//! the next start.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use protocol::relay::REPORT_INTERVAL;
use serde::{Deserialize, Serialize};

pub mod page;

/// Incidents kept; the oldest are dropped.
const INCIDENTS_MAX: usize = 100;
/// And for so long.
const INCIDENT_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Nothing bad is said of a new part before: its relays may only just begin to report.
const UNKNOWN_FOR: Duration = REPORT_INTERVAL;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Operational,
    /// Too new for a judgement.
    Unknown,
    Degraded,
    Down,
}

/// A part people know by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
pub struct Part {
    pub name: String,
    pub level: Level,
    pub since_unix: u64,
}

/// A relay as its region lists it; without an address, which is nobody's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
pub struct Relay {
    pub region: String,
    pub state: RelayState,
    /// In thousandths of what it may hold.
    pub load_permille: Option<u16>,
    pub heard_unix: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    Serving,
    /// Its sessions move elsewhere.
    Draining,
    /// It reported once and does no longer.
    Silent,
    /// It never reported.
    Unheard,
}

/// A time in which a part was not operational.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
pub struct Incident {
    pub part: String,
    /// The worst it got to.
    pub level: Level,
    pub began_unix: u64,
    pub ended_unix: Option<u64>,
}

/// Everything the status page says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "io", derive(utoipa::ToSchema))]
pub struct Report {
    pub written_unix: u64,
    pub components: Vec<Part>,
    pub regions: Vec<Part>,
    #[serde(default)]
    pub relays: Vec<Relay>,
    /// Newest first.
    #[cfg_attr(feature = "io", schema(value_type = Vec<Incident>))]
    pub incidents: VecDeque<Incident>,
}

/// One look at one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    pub place: Place,
    pub name: String,
    pub level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Component,
    Region,
}

/// Turns observations into a report.
#[derive(Debug, Default)]
pub struct Health {
    report: Report,
    /// What was observed last; a level counts when it is observed again.
    last: BTreeMap<String, Level>,
}

impl Health {
    /// Goes on from what was written when the service last ran.
    pub fn new(mut report: Report) -> Self {
        let known = |part: &Part| part.level != Level::Unknown;
        report.components.retain(known);
        report.regions.retain(known);
        Self {
            report,
            last: BTreeMap::new(),
        }
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The relays as they stand now.
    pub fn handle_relays(&mut self, relays: Vec<Relay>) {
        self.report.relays = relays;
    }

    /// One round of looks, at every part there is: one that is not among them is no longer shown.
    pub fn handle_round(&mut self, round: Vec<Observation>, unix_now: Duration) {
        let now = unix_now.as_secs();
        self.report.written_unix = now;
        let known = |part: &Part| round.iter().any(|seen| seen.name == part.name);
        self.report.components.retain(known);
        self.report.regions.retain(known);
        for seen in round {
            let before = self.last.insert(seen.name.clone(), seen.level);
            self.take_in(&seen, before == Some(seen.level), now);
        }
        let oldest = now.saturating_sub(INCIDENT_AGE_MAX.as_secs());
        let incidents = &mut self.report.incidents;
        incidents.retain(|incident| incident.ended_unix.is_none_or(|ended| ended >= oldest));
        incidents.truncate(INCIDENTS_MAX);
    }

    fn take_in(&mut self, seen: &Observation, confirmed: bool, now: u64) {
        let parts = match seen.place {
            Place::Component => &mut self.report.components,
            Place::Region => &mut self.report.regions,
        };
        let Some(part) = parts.iter_mut().find(|part| part.name == seen.name) else {
            let works = seen.level == Level::Operational;
            let level = if works { seen.level } else { Level::Unknown };
            return parts.push(Part {
                name: seen.name.clone(),
                level,
                since_unix: now,
            });
        };
        let counts = match (part.level, seen.level) {
            (Level::Unknown, Level::Operational) => true,
            (Level::Unknown, _) => {
                confirmed && now.saturating_sub(part.since_unix) >= UNKNOWN_FOR.as_secs()
            }
            _ => confirmed,
        };
        if counts && part.level != seen.level {
            part.level = seen.level;
            part.since_unix = now;
            self.note_incident(&seen.name, seen.level, now);
        }
    }

    fn note_incident(&mut self, name: &str, level: Level, now: u64) {
        let open =
            |incident: &&mut Incident| incident.part == name && incident.ended_unix.is_none();
        let incidents = &mut self.report.incidents;
        match (incidents.iter_mut().find(open), level) {
            (Some(incident), Level::Operational) => incident.ended_unix = Some(now),
            (Some(incident), worse) => incident.level = incident.level.max(worse),
            (None, Level::Operational) => {}
            (None, level) => incidents.push_front(Incident {
                part: name.to_owned(),
                level,
                began_unix: now,
                ended_unix: None,
            }),
        }
    }
}

impl Report {
    /// The worst of all parts.
    pub fn level(&self) -> Level {
        let parts = self.components.iter().chain(&self.regions);
        parts
            .map(|part| part.level)
            .max()
            .unwrap_or(Level::Operational)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_look_is_no_incident_and_two_are_one_incident_until_it_is_over() {
        let mut health = Health::default();
        let mut shown = Vec::new();
        for (second, level) in (0..).zip([
            Level::Operational,
            Level::Down,
            Level::Operational,
            Level::Degraded,
            Level::Degraded,
            Level::Down,
            Level::Down,
            Level::Operational,
            Level::Operational,
        ]) {
            health.handle_round(vec![database(level)], Duration::from_secs(second));
            shown.push(health.report().level());
        }
        use Level::{Degraded, Down, Operational};
        let expected = [
            Operational,
            Operational,
            Operational,
            Operational,
            Degraded,
            Degraded,
            Down,
            Down,
            Operational,
        ];
        assert_eq!(shown, expected);
        let incident = Incident {
            part: "Database".into(),
            level: Down,
            began_unix: 4,
            ended_unix: Some(8),
        };
        assert_eq!(health.report().incidents, [incident]);
    }

    #[test]
    fn an_incident_that_began_before_a_restart_ends_after_it() {
        let mut health = Health::default();
        for (second, level) in [(1, Level::Operational), (2, Level::Down), (3, Level::Down)] {
            health.handle_round(vec![database(level)], Duration::from_secs(second));
        }
        let mut health = Health::new(health.report().clone());
        for second in [4, 5] {
            health.handle_round(
                vec![database(Level::Operational)],
                Duration::from_secs(second),
            );
        }
        assert_eq!(health.report().incidents.len(), 1);
        assert_eq!(health.report().incidents[0].ended_unix, Some(5));
    }

    #[test]
    fn a_part_that_was_never_heard_of_is_unknown_until_a_report_can_have_come() {
        use Level::{Down, Operational, Unknown};
        let settled = UNKNOWN_FOR.as_secs();
        for (looks, expected) in [
            (vec![(0, Down)], Unknown),
            (vec![(0, Down), (1, Operational)], Operational),
            (vec![(0, Down), (settled - 1, Down)], Unknown),
            (vec![(0, Down), (settled, Down)], Down),
        ] {
            let mut health = Health::default();
            for (second, level) in &looks {
                health.handle_round(vec![database(*level)], Duration::from_secs(*second));
            }
            assert_eq!(health.report().level(), expected, "{looks:?}");
            let incidents = usize::from(expected == Down);
            assert_eq!(health.report().incidents.len(), incidents, "{looks:?}");
        }
    }

    #[test]
    fn what_was_unknown_when_the_service_stopped_is_looked_at_afresh() {
        let mut health = Health::default();
        health.handle_round(vec![database(Level::Down)], Duration::from_secs(1));
        let mut health = Health::new(health.report().clone());
        health.handle_round(vec![database(Level::Down)], Duration::from_secs(1000));
        assert_eq!(health.report().level(), Level::Unknown);
    }

    #[test]
    fn incidents_are_bounded_in_number_and_age() {
        let mut health = Health::default();
        let mut second = 0;
        for _ in 0..INCIDENTS_MAX + 10 {
            for level in [
                Level::Down,
                Level::Down,
                Level::Operational,
                Level::Operational,
            ] {
                second += 1;
                health.handle_round(vec![database(level)], Duration::from_secs(second));
            }
        }
        assert_eq!(health.report().incidents.len(), INCIDENTS_MAX);
        let later = INCIDENT_AGE_MAX + Duration::from_secs(second + 1);
        health.handle_round(vec![database(Level::Operational)], later);
        assert!(health.report().incidents.is_empty());
    }

    fn database(level: Level) -> Observation {
        Observation {
            place: Place::Component,
            name: "Database".into(),
            level,
        }
    }
}
