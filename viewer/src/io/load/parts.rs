//! Where the cost of a part is read: `/proc` for its process, its own metrics for its bytes.

use std::time::Duration;

use anyhow::Context as _;

use crate::load::cost::{Part, Reading};

/// Kernel ticks per second in `/proc/PID/stat`: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a part may take to tell its counters.
const METRICS_MAX: Duration = Duration::from_secs(2);

/// A part to watch.
#[derive(Clone, Debug)]
pub(in crate::io) struct Source {
    pub(in crate::io) name: String,
    pub(in crate::io) pid: Option<u32>,
    pub(in crate::io) metrics: Option<String>,
}

/// The parts, and how to ask them.
pub(super) struct Watch {
    http: reqwest::Client,
    parts: Vec<(Source, Part)>,
}

impl Watch {
    /// Reads every part once.
    ///
    /// # Errors
    ///
    /// A part that is not there: its figures would be missing at the end of the load.
    pub(super) async fn start(sources: Vec<Source>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(METRICS_MAX).build()?;
        let mut parts = Vec::new();
        for source in sources {
            let reading = read(&http, &source).await;
            if let Some(pid) = source.pid.filter(|_| reading.cpu.is_none()) {
                anyhow::bail!("{} is not there: no process {pid}", source.name);
            }
            if let Some(url) = source.metrics.as_ref().filter(|_| reading.bytes.is_none()) {
                anyhow::bail!("{} tells no counter of bytes at {url}", source.name);
            }
            let part = Part::new(source.name.clone(), reading);
            parts.push((source, part));
        }
        Ok(Self { http, parts })
    }

    pub(super) async fn turn(&mut self) {
        for (source, part) in &mut self.parts {
            part.handle_reading(read(&self.http, source).await);
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().map(|(_, part)| part)
    }
}

async fn read(http: &reqwest::Client, source: &Source) -> Reading {
    let file = |name: &str| {
        let pid = source.pid?;
        std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
    };
    let bytes = match &source.metrics {
        Some(url) => fetch(http, url).await.ok().and_then(|text| bytes(&text)),
        None => None,
    };
    Reading {
        cpu: file("stat").and_then(|stat| cpu(&stat)),
        memory: file("status").and_then(|status| resident(&status)),
        bytes,
    }
}

async fn fetch(http: &reqwest::Client, url: &str) -> anyhow::Result<String> {
    let response = http.get(url).send().await?.error_for_status()?;
    response.text().await.context("no text")
}

/// Processor time of this process.
pub(super) fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu(&stat).unwrap_or_default()
}

/// `utime` and `stime`, the 14th and 15th field; the second may hold anything, in brackets.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Duration::try_from_secs_f64((user + system) / TICKS_PER_SECOND).ok()
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibi: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibi * 1024)
}

/// All counters of bytes added up, whatever their labels. What our relay counts as `hairpin` it
/// counts once more by its direction.
fn bytes(metrics: &str) -> Option<u64> {
    let counts: Vec<f64> = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("\"hairpin\""))
        .filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            name.ends_with("bytes_total")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 100";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("42 (short) S 1"), None);
    }

    #[test]
    fn memory_and_bytes_are_found_among_the_rest() {
        let status = "Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t4\n";
        assert_eq!(resident(status), Some(2 * 1024 * 1024));
        let metrics = "# TYPE a_bytes counter\na_bytes_total{way=\"in\"} 10\na_bytes_total{way=\"out\"} 5\na_bytes_total{way=\"hairpin\"} 4\npackets_total 9\n";
        assert_eq!(bytes(metrics), Some(15));
        assert_eq!(bytes("packets_total 9\n"), None);
    }
}
