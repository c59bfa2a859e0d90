//! What the parts of the service spent on a load: processor, memory and bytes of each on its own.
//!
//! Two readings of a part are compared, one before the first session and one after the last; memory
//! is followed in between.

use std::time::Duration;

use serde::Serialize;

/// One reading of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Processor time since the process began; `None` if it cannot be read.
    pub cpu: Option<Duration>,
    /// Resident memory.
    pub memory: Option<u64>,
    /// What its own counters of bytes add up to.
    pub bytes: Option<u64>,
}

/// A part under load.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub name: String,
    before: Reading,
    last: Reading,
    memory_most: Option<u64>,
}

/// What a part spent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub part: String,
    pub cpu_ms: Option<f64>,
    pub cpu_ms_per_session: Option<f64>,
    pub cpu_ms_per_session_minute: Option<f64>,
    pub memory_before_bytes: Option<u64>,
    pub memory_most_bytes: Option<u64>,
    /// Growth over the most sessions that were live at once.
    pub memory_bytes_per_session: Option<f64>,
    pub bytes: Option<u64>,
    pub bytes_per_session: Option<f64>,
}

/// By what the cost is divided.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub sessions: u64,
    pub live_most: u64,
    pub live_time: Duration,
}

impl Part {
    pub fn new(name: String, before: Reading) -> Self {
        Self {
            name,
            before,
            last: before,
            memory_most: before.memory,
        }
    }

    pub fn handle_reading(&mut self, reading: Reading) {
        // A part that ended keeps what was read last.
        self.last = Reading {
            cpu: reading.cpu.or(self.last.cpu),
            memory: reading.memory.or(self.last.memory),
            bytes: reading.bytes.or(self.last.bytes),
        };
        self.memory_most = self.memory_most.max(reading.memory);
    }

    pub fn cost(&self, shares: Shares) -> Cost {
        let cpu = spent(self.before.cpu, self.last.cpu, Duration::saturating_sub);
        let cpu_ms = cpu.map(|cpu| cpu.as_secs_f64() * 1000.0);
        let bytes = spent(self.before.bytes, self.last.bytes, u64::saturating_sub);
        let grown = spent(self.before.memory, self.memory_most, u64::saturating_sub);
        let minutes = shares.live_time.as_secs_f64() / 60.0;
        let share = |total: Option<f64>, of: f64| Some(total? / of).filter(|_| of > 0.0);
        let sessions = shares.sessions as f64;
        Cost {
            part: self.name.clone(),
            cpu_ms,
            cpu_ms_per_session: share(cpu_ms, sessions),
            cpu_ms_per_session_minute: share(cpu_ms, minutes),
            memory_before_bytes: self.before.memory,
            memory_most_bytes: self.memory_most,
            memory_bytes_per_session: share(
                grown.map(|grown| grown as f64),
                shares.live_most as f64,
            ),
            bytes,
            bytes_per_session: share(bytes.map(|bytes| bytes as f64), sessions),
        }
    }
}

fn spent<T>(before: Option<T>, after: Option<T>, minus: fn(T, T) -> T) -> Option<T> {
    Some(minus(after?, before?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_the_difference_shared_by_the_sessions() {
        let reading = |ms, memory, bytes| Reading {
            cpu: Some(Duration::from_millis(ms)),
            memory: Some(memory),
            bytes: Some(bytes),
        };
        let mut part = Part::new("relay".into(), reading(100, 1000, 50));
        part.handle_reading(reading(500, 5000, 90));
        // Memory is told at its most, the rest at its last.
        part.handle_reading(reading(1100, 2000, 250));
        let cost = part.cost(Shares {
            sessions: 10,
            live_most: 4,
            live_time: Duration::from_secs(120),
        });
        assert_eq!(cost.cpu_ms, Some(1000.0));
        assert_eq!(cost.cpu_ms_per_session, Some(100.0));
        assert_eq!(cost.cpu_ms_per_session_minute, Some(500.0));
        assert_eq!(cost.memory_bytes_per_session, Some(1000.0));
        assert_eq!(cost.bytes_per_session, Some(20.0));
    }

    #[test]
    fn what_cannot_be_read_is_not_claimed_and_nothing_is_divided_by_nothing() {
        let mut part = Part::new("cloud".into(), Reading::default());
        part.handle_reading(Reading {
            cpu: Some(Duration::from_secs(1)),
            ..Reading::default()
        });
        let cost = part.cost(Shares {
            sessions: 0,
            live_most: 0,
            live_time: Duration::ZERO,
        });
        assert_eq!((cost.cpu_ms, cost.bytes), (None, None));
        assert_eq!(cost.memory_bytes_per_session, None);
    }
}
