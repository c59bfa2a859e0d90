//! The short measurement at start that chooses the encoder, and the log lines that say why.

use std::time::Instant;

use anyhow::Context as _;

use crate::encode::{self, EncoderChoice, EncoderName, Trial};
use crate::io::wait;

/// What the measurement came to.
#[derive(Debug)]
pub struct Chosen {
    pub encoder: EncoderName,
    pub trials: Vec<Trial>,
}

/// Measures the encoders and takes the fastest.
///
/// # Errors
///
/// None of them works here; if one was asked for by name, why not, and what to do.
pub fn choose_encoder(choice: EncoderChoice) -> anyhow::Result<Chosen> {
    let trials = encode::measure(choice, Instant::now);
    wait::release_free_memory();
    for trial in &trials {
        let encoder = trial.name.as_str();
        match &trial.result {
            Ok(time) => tracing::info!(encoder, micros = time.as_micros(), "encoder measured"),
            Err(error) => tracing::info!(encoder, %error, "encoder left out"),
        }
    }
    let encoder = encode::fastest(&trials).with_context(|| none_works(choice, &trials))?;
    if encoder.is_untested() {
        tracing::info!(
            encoder = encoder.as_str(),
            "this encoder passed its proof, but its makers had no such hardware to test it on; \
             if the picture is wrong write encoder = \"x264\" under [video]"
        );
    }
    tracing::info!(encoder = encoder.as_str(), "encoder chosen");
    Ok(Chosen { encoder, trials })
}

fn none_works(choice: EncoderChoice, trials: &[Trial]) -> String {
    match trials {
        [only] if choice != EncoderChoice::Auto => {
            let why = only.result.as_ref().err().map(ToString::to_string);
            let why = why.unwrap_or_default();
            format!("{why}; or let \"auto\" take an encoder that works here")
        }
        _ => "no H.264 encoder works here; install the package libx264-164".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::EncodeError;

    #[test]
    fn an_encoder_asked_for_that_is_not_there_is_an_error_with_cause_and_next_step() {
        let trials = [Trial {
            name: EncoderName::Vaapi,
            result: Err(EncodeError::Unavailable {
                encoder: "vaapi",
                why: "there is no device".into(),
            }),
        }];
        assert_eq!(
            none_works(EncoderChoice::Vaapi, &trials),
            "vaapi is not available: there is no device; or let \"auto\" take an encoder that works \
             here"
        );
        assert!(none_works(EncoderChoice::Auto, &[]).contains("libx264-164"));
    }

    #[test]
    fn automatic_says_of_each_encoder_what_it_took_or_why_it_is_left_out() {
        let chosen = choose_encoder(EncoderChoice::Auto).unwrap();
        let names: Vec<_> = chosen
            .trials
            .iter()
            .map(|trial| trial.name.as_str())
            .collect();
        assert_eq!(names, ["vaapi", "nvenc", "x264", "openh264"]);
        for trial in &chosen.trials {
            if let Err(error) = &trial.result {
                let said = error.to_string();
                assert!(said.starts_with(trial.name.as_str()), "{said}");
            }
        }
    }
}
