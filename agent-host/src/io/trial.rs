//! The short measurement at start that chooses the encoder, and the log lines that say why.

use std::time::Instant;

use anyhow::Context as _;

use crate::encode::{self, EncoderChoice, EncoderName};
use crate::io::wait;

/// Measures the encoders and takes the fastest.
///
/// # Errors
///
/// None of them works here.
pub fn choose_encoder(choice: EncoderChoice) -> anyhow::Result<EncoderName> {
    let trials = encode::measure(choice, Instant::now);
    wait::release_free_memory();
    for trial in &trials {
        let encoder = trial.name.as_str();
        match &trial.result {
            Ok(time) => tracing::info!(encoder, micros = time.as_micros(), "encoder measured"),
            Err(error) => tracing::info!(encoder, %error, "encoder left out"),
        }
    }
    let chosen = encode::fastest(&trials)
        .context("no H.264 encoder works here; install the package libx264-164")?;
    tracing::info!(encoder = chosen.as_str(), "encoder chosen");
    Ok(chosen)
}
