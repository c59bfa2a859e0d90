//! What a headless viewer prints: one line a second, for people or for programs.

use serde::Serialize;

use crate::path::Path;
use crate::session::State;
use crate::stats::Report;

/// The line of one second. `*_ms` objects hold p50, p90, p99 and max.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) state: &'static str,
    pub(super) path: Option<Path>,
    pub(super) rtt_ms: Option<f64>,
    pub(super) bitrate_bps: u64,
    pub(super) bytes_received: u64,
    pub(super) first_frame_ms: Option<f64>,
    /// How wrong `capture_to_decoded_ms` may be.
    pub(super) clock_error_ms: Option<f64>,
    pub(super) host: Host,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// What the last frames cost on the host.
#[derive(Serialize)]
pub(super) struct Host {
    pub(super) capture_us: u32,
    pub(super) encode_us: u32,
    pub(super) queue_us: u32,
    pub(super) chroma: &'static str,
}

impl Line {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn text(&self, state: &State) -> String {
        let report = &self.report;
        let p50 = |stage: &Option<crate::stats::Percentiles>| {
            stage.map_or("–".into(), |all| format!("{:.1}", all.p50))
        };
        format!(
            "{} · {}×{} · {:.1} fps · {:.2} Mbit/s · rtt {} ms · decode {} ms · capture → decoded {} ms",
            state.words(),
            report.width,
            report.height,
            report.fps,
            self.bitrate_bps as f64 / 1e6,
            self.rtt_ms.map_or("–".into(), |ms| format!("{ms:.1}")),
            p50(&report.decode_ms),
            p50(&report.capture_to_decoded_ms),
        )
    }
}
