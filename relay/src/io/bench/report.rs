//! What a run prints: one JSON object, or a table for people. Names carry their units.

use std::time::Duration;

use serde::Serialize;

use super::load::{Pattern, Shape};
use super::usage::{CpuTime, Memory};
use crate::bench::histogram::Histogram;
use crate::bench::tally::{Seen, Tally};

/// Loss up to here counts as none when looking for the highest rate, in packets per packet.
const LOSS_TOLERATED: f64 = 0.001;
/// Sending later than this at the 99th percentile means that the generator was the limit.
const LATENESS_TOLERATED: Duration = Duration::from_millis(5);

/// `load`: one step per rate.
#[derive(Debug, Serialize)]
pub(super) struct LoadReport {
    pub(super) bench: &'static str,
    pub(super) server: String,
    pub(super) transport: &'static str,
    pub(super) pattern: String,
    pub(super) sessions: usize,
    pub(super) payload_bytes: usize,
    pub(super) burst_packets: u32,
    pub(super) steps: Vec<Step>,
    /// Highest rate forwarded with at most 0.1 % lost, packets per second.
    pub(super) highest_clean_pps: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Packets per second that clients or peers originated, all sessions together.
    pub(super) offered_pps: f64,
    /// Packets per second the server forwarded; an echoed packet counts twice.
    pub(super) forwarded_pps: f64,
    pub(super) forwarded_packets: u64,
    pub(super) goodput_mbit_per_s: f64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) lost_percent: f64,
    pub(super) repeated: u64,
    pub(super) reordered: u64,
    pub(super) one_way_us: Percentiles,
    pub(super) round_trip_us: Option<Percentiles>,
    pub(super) generator: Generator,
    pub(super) cpu: Cpu,
}

/// Whether the generator, and not the server, was the limit.
#[derive(Debug, Serialize)]
pub(super) struct Generator {
    pub(super) saturated: bool,
    pub(super) lateness_us: Percentiles,
    pub(super) refused_packets: u64,
    pub(super) foreign_packets: u64,
}

/// Processor time inside the measured window.
#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) measured_s: f64,
    pub(super) server_us_per_packet: f64,
    pub(super) server_percent: f64,
    /// Share of the server's time that its busiest thread used.
    pub(super) server_busiest_thread: f64,
    pub(super) generator_us_per_packet: f64,
    /// Server, generator and the kernel's softirq threads.
    pub(super) tasks_us_per_packet: f64,
    pub(super) tasks_s: f64,
    /// Everything in /proc/stat but idle.
    pub(super) machine_us_per_packet: f64,
    pub(super) machine_s: f64,
    /// Used by programs that have nothing to do with the run, percent of one processor.
    pub(super) foreign_percent: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
    pub(super) count: u64,
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Self {
        let at = |share| micros(histogram.quantile(share));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
            count: histogram.len(),
        }
    }
}

impl Step {
    pub(super) fn new(
        (shape, offered_pps): (Shape, f64),
        tally: &Tally,
        refused: u64,
        (used, measured): (CpuTime, Duration),
        busiest: f64,
    ) -> Self {
        let there = tally.totals(Seen::Far);
        let back = tally.totals(Seen::Back);
        let echoed = shape.pattern == Pattern::Echo;
        let forwarded = there.delivered + if echoed { back.delivered } else { 0 };
        let lost = if echoed { back.lost() } else { there.lost() };
        let seconds = measured.as_secs_f64();
        let generator = Generator {
            saturated: refused > 0 || tally.lateness.quantile(0.99) > LATENESS_TOLERATED,
            lateness_us: Percentiles::from(&tally.lateness),
            refused_packets: refused,
            foreign_packets: tally.foreign,
        };
        Self {
            offered_pps,
            forwarded_pps: forwarded as f64 / seconds,
            forwarded_packets: forwarded,
            goodput_mbit_per_s: (forwarded * shape.payload as u64 * 8) as f64 / seconds / 1e6,
            sent: there.sent,
            lost,
            lost_percent: share(lost as f64, there.sent as f64) * 100.0,
            repeated: there.repeated + back.repeated,
            reordered: there.reordered + back.reordered,
            one_way_us: Percentiles::from(&tally.one_way),
            round_trip_us: echoed.then(|| Percentiles::from(&tally.round_trip)),
            generator,
            cpu: Cpu::new(used, measured, busiest, forwarded),
        }
    }

    /// Whether the server kept up and the generator did.
    pub(super) fn is_clean(&self) -> bool {
        self.lost_percent <= LOSS_TOLERATED * 100.0 && !self.generator.saturated
    }
}

impl Cpu {
    fn new(used: CpuTime, measured: Duration, busiest: f64, packets: u64) -> Self {
        let per_packet = |time: Duration| share(micros(time), packets as f64);
        let foreign = used.machine.saturating_sub(used.tasks());
        let percent = |time: Duration| time.as_secs_f64() / measured.as_secs_f64() * 100.0;
        Self {
            measured_s: measured.as_secs_f64(),
            server_us_per_packet: per_packet(used.server),
            server_percent: percent(used.server),
            server_busiest_thread: busiest,
            generator_us_per_packet: per_packet(used.generator),
            tasks_us_per_packet: per_packet(used.tasks()),
            tasks_s: used.tasks().as_secs_f64(),
            machine_us_per_packet: per_packet(used.machine),
            machine_s: used.machine.as_secs_f64(),
            foreign_percent: percent(foreign),
        }
    }
}

/// `churn`: allocations made and given back.
#[derive(Debug, Serialize)]
pub(super) struct ChurnReport {
    pub(super) bench: &'static str,
    pub(super) server: String,
    pub(super) transport: &'static str,
    pub(super) in_flight: usize,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
    pub(super) cycles_per_s: f64,
    /// Cycles for each second of processor time the server used.
    pub(super) cycles_per_server_cpu_s: f64,
    pub(super) server_percent: f64,
    pub(super) foreign_percent: f64,
    pub(super) cycle_us: Percentiles,
}

/// `idle`: what an allocation costs while nothing happens.
#[derive(Debug, Serialize)]
pub(super) struct IdleReport {
    pub(super) bench: &'static str,
    pub(super) server: String,
    pub(super) transport: &'static str,
    pub(super) allocations: usize,
    pub(super) resident_bytes_per_allocation: f64,
    pub(super) kernel_bytes_per_allocation: f64,
    pub(super) bytes_per_allocation: f64,
    pub(super) resident_mib_before: f64,
    pub(super) resident_mib_after: f64,
    pub(super) server_idle_percent: f64,
}

impl IdleReport {
    pub(super) fn memory(before: Memory, after: Memory, allocations: usize) -> (f64, f64) {
        let grown = |from: u64, to: u64| (to as f64 - from as f64) / allocations.max(1) as f64;
        (
            grown(before.resident, after.resident),
            grown(before.kernel, after.kernel),
        )
    }
}

impl LoadReport {
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{} sessions, {:?}, {} B in bursts of {}, {} to {}\n\
             {:>12} {:>12} {:>8} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}",
            self.sessions,
            self.pattern,
            self.payload_bytes,
            self.burst_packets,
            self.transport,
            self.server,
            "offered/s",
            "forwarded/s",
            "lost %",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "server %",
            "server us",
            "tasks us",
        )];
        lines.extend(self.steps.iter().map(Step::row));
        lines.join("\n")
    }
}

impl Step {
    fn row(&self) -> String {
        let saturated = if self.generator.saturated {
            "  generator saturated"
        } else {
            ""
        };
        format!(
            "{:>12.0} {:>12.0} {:>8.3} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>10.2} {:>10.2}{saturated}",
            self.offered_pps,
            self.forwarded_pps,
            self.lost_percent,
            self.one_way_us.p50,
            self.one_way_us.p99,
            self.one_way_us.p999,
            self.cpu.server_percent,
            self.cpu.server_us_per_packet,
            self.cpu.tasks_us_per_packet,
        )
    }
}

impl ChurnReport {
    pub(super) fn table(&self) -> String {
        format!(
            "{} cycles of 401, allocate, release over {}: {:.0}/s, {:.0} per second of the \
             server's processor time ({:.0} % of one used), p50 {:.0} us, p99 {:.0} us, {} failed{}",
            self.completed,
            self.transport,
            self.cycles_per_s,
            self.cycles_per_server_cpu_s,
            self.server_percent,
            self.cycle_us.p50,
            self.cycle_us.p99,
            self.failed,
            self.first_failure
                .as_ref()
                .map_or(String::new(), |why| format!(" (first: {why})")),
        )
    }
}

impl IdleReport {
    pub(super) fn table(&self) -> String {
        format!(
            "{} idle allocations over {}: {:.0} B each ({:.0} resident, {:.0} in the kernel); \
             the server uses {:.2} % of a processor",
            self.allocations,
            self.transport,
            self.bytes_per_allocation,
            self.resident_bytes_per_allocation,
            self.kernel_bytes_per_allocation,
            self.server_idle_percent,
        )
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}
