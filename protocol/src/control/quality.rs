//! How a viewer wants the picture to weigh sharpness, smoothness and bytes.
//!
//! Who is alone chooses; among several the most frugal choice decides (decision 0020).

use std::str::FromStr;

/// One byte on the wire. In order of frugality: what is greater sends less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    /// No wish: what the network carries decides. The default.
    #[default]
    Auto = 0,
    /// Text before smoothness: frames come later rather than coarse.
    Sharp = 1,
    /// Fewer frames, and fewer bytes than the network would carry.
    Balanced = 2,
    /// As few bytes as work allows.
    DataSaver = 3,
}

impl Quality {
    pub const ALL: [Self; 4] = [Self::Auto, Self::Sharp, Self::Balanced, Self::DataSaver];

    /// `None`: no quality has that number.
    pub fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&quality| quality as u8 == byte)
    }

    /// As it is written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sharp => "sharp",
            Self::Balanced => "balanced",
            Self::DataSaver => "data-saver",
        }
    }
}

impl FromStr for Quality {
    type Err = UnknownQuality;

    fn from_str(name: &str) -> Result<Self, UnknownQuality> {
        let quality = Self::ALL
            .into_iter()
            .find(|quality| quality.as_str() == name);
        quality.ok_or_else(|| UnknownQuality(name.into()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no quality {0:?}; choose auto, sharp, balanced or data-saver")]
pub struct UnknownQuality(String);
