//! How finely the picture carries colour.
//!
//! H.264 usually keeps one colour for four pixels, which smears coloured text and thin coloured
//! lines; 4:4:4 keeps one for each, and not every decoder reads it (decision 0035).

/// One byte on the wire. What is greater is finer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chroma {
    /// One colour for 2 × 2 pixels: every decoder reads it.
    #[default]
    Yuv420 = 0,
    /// Each pixel has its own colour.
    Yuv444 = 1,
}

impl Chroma {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yuv420 => "4:2:0",
            Self::Yuv444 => "4:4:4",
        }
    }

    /// `None`: no chroma has that number.
    pub fn from_wire(byte: u8) -> Option<Self> {
        let all = [Self::Yuv420, Self::Yuv444];
        all.into_iter().find(|&chroma| chroma as u8 == byte)
    }
}
