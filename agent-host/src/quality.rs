//! What the qualities a viewer may choose mean for the stream, and whose choice decides.
//!
//! Rule: there is one stream, and who only watches has no say in it. Of the controlling viewers the
//! most frugal choice decides; who chose nothing leaves it to the others (decision 0020).

use std::time::Duration;

use protocol::control::Quality;

use crate::encode::Qp;
use crate::rate::{QP_FINE, QP_SHARP, QP_WORST};

/// Between two frames under full motion, unless a choice says otherwise: 60 a second.
pub const FRAME_INTERVAL: Duration = Duration::from_micros(16_667);

/// Bounds of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Between two frames under full motion.
    pub frame_interval: Duration,
    /// Whatever the network would carry, no more than this is sent.
    pub bitrate_bps_max: u64,
    /// A large interactive frame is never finer.
    pub sharp: Qp,
    /// An interactive frame is never coarser: it comes later instead.
    pub worst: Qp,
    /// Refinement ends here; what is small is coded so at once.
    pub fine: Qp,
}

impl Bounds {
    /// What the network carries decides.
    pub const AUTO: Self = Self {
        frame_interval: FRAME_INTERVAL,
        bitrate_bps_max: u64::MAX,
        sharp: QP_SHARP,
        worst: QP_WORST,
        fine: QP_FINE,
    };

    pub fn of(quality: Quality) -> Self {
        let auto = Self::AUTO;
        match quality {
            Quality::Auto => auto,
            Quality::Sharp => Self {
                sharp: Qp(17),
                worst: Qp(30),
                fine: Qp(12),
                ..auto
            },
            Quality::Balanced => Self {
                frame_interval: FRAME_INTERVAL * 2,
                bitrate_bps_max: 8_000_000,
                sharp: Qp(25),
                fine: Qp(17),
                ..auto
            },
            // Text is still read without effort at 22.
            Quality::DataSaver => Self {
                frame_interval: FRAME_INTERVAL * 4,
                bitrate_bps_max: 1_500_000,
                sharp: Qp(30),
                worst: Qp(48),
                fine: Qp(22),
            },
        }
    }

    /// Whether input fetches the next frame before its slot: not where frames are saved.
    pub fn hurries_after_input(&self) -> bool {
        self.frame_interval <= FRAME_INTERVAL
    }
}

/// What the choices of the controlling viewers come to.
pub fn decided(choices: impl Iterator<Item = Quality>) -> Quality {
    choices.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frugal_choice_decides_and_who_chose_nothing_has_no_say() {
        let decide = |choices: &[Quality]| decided(choices.iter().copied());
        assert_eq!(decide(&[]), Quality::Auto);
        assert_eq!(decide(&[Quality::Auto, Quality::Sharp]), Quality::Sharp);
        assert_eq!(
            decide(&[Quality::DataSaver, Quality::Sharp, Quality::Balanced]),
            Quality::DataSaver
        );
    }

    #[test]
    fn each_step_of_frugality_is_coarser_slower_and_thinner_and_none_contradicts_itself() {
        let [_, sharp, balanced, saver] = Quality::ALL.map(Bounds::of);
        for [more, less] in [[sharp, balanced], [balanced, saver]] {
            assert!(more.sharp < less.sharp && more.fine < less.fine);
            assert!(more.frame_interval < less.frame_interval);
            assert!(more.bitrate_bps_max > less.bitrate_bps_max);
        }
        for bounds in Quality::ALL.map(Bounds::of) {
            assert!(bounds.fine < bounds.sharp && bounds.sharp < bounds.worst);
        }
    }
}
