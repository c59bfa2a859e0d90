//! How a viewer wants the picture to weigh sharpness, smoothness and bytes.
//!
//! Who is alone chooses; among several the most frugal choice decides (decision 0020).

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
    /// `None`: no quality has that number.
    pub fn from_wire(byte: u8) -> Option<Self> {
        let all = [Self::Auto, Self::Sharp, Self::Balanced, Self::DataSaver];
        all.into_iter().find(|&quality| quality as u8 == byte)
    }
}
