//! Data-channel messages between a viewer and an agent host.
//!
//! Three channels, each with the reliability its messages need:
//!
//! | channel | reliability | carries |
//! |---|---|---|
//! | `input` | ordered, reliable | keys, buttons, wheel, text |
//! | `pointer` | unordered, never resent | where the pointer is |
//! | `control` | ordered, reliable | everything else, both ways |
//!
//! A message is one tag byte and its fields, integers big-endian, strings UTF-8 to the end of the
//! message. A message that is longer than its fields is refused: there is one way to write each.
//! Pointer motion survives loss and reordering because every message says all there is to know:
//! the absolute position, or the running total of relative motion.

/// Label of the ordered, reliable channel for keys, buttons, wheel and text.
pub const INPUT_CHANNEL: &str = "input";
/// Label of the unordered channel, no retransmissions, for pointer motion.
pub const POINTER_CHANNEL: &str = "pointer";
/// Label of the ordered, reliable channel for everything else.
pub const CONTROL_CHANNEL: &str = "control";

/// Largest message, in bytes. What is larger closes the connection that sent it.
pub const MESSAGE_LEN_MAX: usize = 256 * 1024;
/// Longest clipboard text in bytes: one message. A longer one is not sent, and the sender says so.
pub const CLIPBOARD_LEN_MAX: usize = MESSAGE_LEN_MAX - 1;
/// Largest clipboard image in bytes. A larger one is not sent, and the sender says so.
pub const CLIPBOARD_IMAGE_LEN_MAX: usize = 768 * 1024;
/// How much of an image one message carries: an urgent message waits for no more than this.
pub const IMAGE_PART_LEN_MAX: usize = 64 * 1024;
/// Longest committed text (input method, paste as keys) in bytes.
pub const TEXT_LEN_MAX: usize = 4096;
/// Largest cursor edge in pixels.
pub const CURSOR_EDGE_MAX: u16 = 128;
/// Largest and smallest edge of a screen a viewer may ask for, in pixels.
pub const SCREEN_EDGE_MAX: u16 = 8192;
pub const SCREEN_EDGE_MIN: u16 = 64;

mod chroma;
mod image;
mod quality;

pub use chroma::Chroma;
pub use image::{ImageParts, image_parts};
pub use quality::Quality;

mod tag {
    pub(super) const KEY: u8 = 0x01;
    pub(super) const BUTTON: u8 = 0x02;
    pub(super) const WHEEL: u8 = 0x03;
    pub(super) const TEXT: u8 = 0x04;
    pub(super) const RELEASE_ALL: u8 = 0x05;
    pub(super) const POINTER_MOVE: u8 = 0x10;
    pub(super) const POINTER_RELATIVE: u8 = 0x11;
    pub(super) const RESIZE: u8 = 0x20;
    pub(super) const CLIPBOARD_TEXT: u8 = 0x21;
    pub(super) const PING: u8 = 0x22;
    pub(super) const PONG: u8 = 0x23;
    pub(super) const CLIPBOARD_IMAGE: u8 = 0x24;
    pub(super) const QUALITY: u8 = 0x25;
    pub(super) const CURSOR: u8 = 0x30;
    pub(super) const CURSOR_HIDDEN: u8 = 0x31;
    pub(super) const SCREEN: u8 = 0x32;
    pub(super) const HOST_STATS: u8 = 0x33;
    pub(super) const NOTICE: u8 = 0x34;
    pub(super) const CLOSED: u8 = 0x35;
}

/// Viewer → agent host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromViewer {
    /// `0x01 down:u8 keysym:u32 code:u16`. `keysym` is the X11 keysym of what the key means in the
    /// viewer's layout (0 if it means nothing); `code` the Linux evdev code of the physical key
    /// (0 if unknown).
    Key { down: bool, keysym: u32, code: u16 },
    /// `0x02 down:u8 button:u8 x:u16 y:u16`. X11 numbering: 1 left, 2 middle, 3 right, 8 back,
    /// 9 forward. Carries the position, so that the click lands where it was made even if the
    /// motion before it was lost. `0xFFFF` for both: where the pointer is.
    Button {
        down: bool,
        button: u8,
        x: u16,
        y: u16,
    },
    /// `0x03 dx:i16 dy:i16 x:u16 y:u16`. In 1/120 of a notch; positive is right and down.
    Wheel { dx: i16, dy: i16, x: u16, y: u16 },
    /// `0x04 utf8…`: text an input method committed, at most [`TEXT_LEN_MAX`] bytes.
    Text(String),
    /// `0x05`: the viewer lost the focus; every key and button held is released.
    ReleaseAll,
    /// `0x10 seq:u32 x:u16 y:u16`, in pixels of the host's screen. Older `seq` are dropped.
    PointerMove { seq: u32, x: u16, y: u16 },
    /// `0x11 seq:u32 total_dx:i32 total_dy:i32`: running totals, in pixels, since the channel
    /// opened; wraps. The host moves by the difference to the last total it saw.
    PointerRelative {
        seq: u32,
        total_dx: i32,
        total_dy: i32,
    },
    /// `0x20 width:u16 height:u16 scale_percent:u16`: the size the viewer can show.
    Resize {
        width: u16,
        height: u16,
        scale_percent: u16,
    },
    /// `0x21 utf8…`: the viewer's clipboard.
    ClipboardText(String),
    /// `0x24 left:u32 png…`: a part of the image on the viewer's clipboard, at most
    /// [`IMAGE_PART_LEN_MAX`] bytes; so many bytes of it are left for the messages after.
    ClipboardImage { left: u32, part: Vec<u8> },
    /// `0x25 quality:u8`: how this viewer wants the picture, until it says otherwise.
    Quality(Quality),
    /// `0x22 sent_us:u64`: answered by [`FromHost::Pong`] at once.
    Ping { sent_us: u64 },
}

/// Agent host → viewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHost {
    /// `0x21 utf8…`: the desktop's clipboard.
    ClipboardText(String),
    /// `0x24 left:u32 png…`: a part of the image on the desktop's clipboard, as in
    /// [`FromViewer::ClipboardImage`].
    ClipboardImage { left: u32, part: Vec<u8> },
    /// `0x23 sent_us:u64 host_us:u64`: the ping's stamp, and the host's clock (µs since the Unix
    /// epoch) when it answered.
    Pong { sent_us: u64, host_us: u64 },
    /// `0x25 quality:u8`: how the picture is made from now on.
    Quality(Quality),
    /// `0x30 width:u16 height:u16 hot_x:u16 hot_y:u16 rgba…`: straight (not premultiplied) RGBA.
    Cursor {
        width: u16,
        height: u16,
        hot_x: u16,
        hot_y: u16,
        rgba: Vec<u8>,
    },
    /// `0x31`: the desktop hides its cursor.
    CursorHidden,
    /// `0x32 width:u16 height:u16`: the size of the screen from now on.
    Screen { width: u16, height: u16 },
    /// `0x33`: what the last frames cost on the host, five times a second at most.
    HostStats(HostStats),
    /// `0x34 utf8…`: a JSON [`Problem`](crate::problem::Problem) that does not end the session.
    Notice(String),
    /// `0x35 utf8…`: a JSON [`Problem`](crate::problem::Problem); the host closes the connection.
    Closed(String),
}

/// `0x33 capture_us:u32 encode_us:u32 queue_us:u32 frames:u32 encoder:u8 chroma:u8`.
///
/// Medians over the frames since the last message, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Damage seen → pixels read and converted.
    pub capture_us: u32,
    /// Pixels ready → coded frame.
    pub encode_us: u32,
    /// Coded frame → last packet handed to the socket.
    pub queue_us: u32,
    /// Frames coded since the session began.
    pub frames: u32,
    /// 0 unknown, 1 x264, 2 openh264, 3 VAAPI, 4 NVENC.
    pub encoder: u8,
    /// Of the newest frame.
    pub chroma: Chroma,
}

/// Why bytes are not a message. The sender is at fault; drop the message and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    #[error("an empty message")]
    Empty,
    #[error("no message has tag {0:#04x}")]
    Tag(u8),
    /// The message ends before its fields do, or goes on after them; in bytes.
    #[error("{have} bytes where {need} were expected")]
    Length { have: usize, need: usize },
    #[error("{len} bytes, more than the {max} allowed")]
    TooLarge { len: usize, max: usize },
    #[error("text that is not UTF-8")]
    Utf8,
    /// A field has a value outside its range.
    #[error("a field out of its range")]
    Range,
}

impl FromViewer {
    /// # Errors
    ///
    /// [`ControlError`]; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut fields = Fields::new(bytes)?;
        let message = match fields.tag {
            tag::KEY => Self::Key {
                down: fields.bool()?,
                keysym: fields.u32()?,
                code: fields.u16()?,
            },
            tag::BUTTON => Self::Button {
                down: fields.bool()?,
                button: fields.u8()?,
                x: fields.u16()?,
                y: fields.u16()?,
            },
            tag::WHEEL => Self::Wheel {
                dx: fields.i16()?,
                dy: fields.i16()?,
                x: fields.u16()?,
                y: fields.u16()?,
            },
            tag::TEXT => Self::Text(fields.text(TEXT_LEN_MAX)?),
            tag::RELEASE_ALL => Self::ReleaseAll,
            tag::POINTER_MOVE => Self::PointerMove {
                seq: fields.u32()?,
                x: fields.u16()?,
                y: fields.u16()?,
            },
            tag::POINTER_RELATIVE => Self::PointerRelative {
                seq: fields.u32()?,
                total_dx: fields.i32()?,
                total_dy: fields.i32()?,
            },
            tag::RESIZE => Self::Resize {
                width: fields.u16()?,
                height: fields.u16()?,
                scale_percent: fields.u16()?,
            },
            tag::CLIPBOARD_TEXT => Self::ClipboardText(fields.text(CLIPBOARD_LEN_MAX)?),
            tag::CLIPBOARD_IMAGE => {
                let (left, part) = fields.image_part()?;
                Self::ClipboardImage { left, part }
            }
            tag::QUALITY => Self::Quality(fields.quality()?),
            tag::PING => Self::Ping {
                sent_us: fields.u64()?,
            },
            other => return Err(ControlError::Tag(other)),
        };
        fields.end()?;
        message.in_range()
    }

    fn in_range(self) -> Result<Self, ControlError> {
        let edge = SCREEN_EDGE_MIN..=SCREEN_EDGE_MAX;
        let ok = match &self {
            Self::Button { button, .. } => (1..=9).contains(button),
            Self::Resize {
                width,
                height,
                scale_percent,
            } => {
                edge.contains(width) && edge.contains(height) && (50..=400).contains(scale_percent)
            }
            _ => true,
        };
        ok.then_some(self).ok_or(ControlError::Range)
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Key { down, keysym, code } => Bytes::new(tag::KEY)
                .u8(u8::from(*down))
                .u32(*keysym)
                .u16(*code)
                .done(),
            Self::Button { down, button, x, y } => Bytes::new(tag::BUTTON)
                .u8(u8::from(*down))
                .u8(*button)
                .u16(*x)
                .u16(*y)
                .done(),
            Self::Wheel { dx, dy, x, y } => Bytes::new(tag::WHEEL)
                .u16(dx.cast_unsigned())
                .u16(dy.cast_unsigned())
                .u16(*x)
                .u16(*y)
                .done(),
            Self::Text(text) => Bytes::new(tag::TEXT).tail(text.as_bytes()),
            Self::ReleaseAll => Bytes::new(tag::RELEASE_ALL).done(),
            Self::PointerMove { seq, x, y } => Bytes::new(tag::POINTER_MOVE)
                .u32(*seq)
                .u16(*x)
                .u16(*y)
                .done(),
            Self::PointerRelative {
                seq,
                total_dx,
                total_dy,
            } => Bytes::new(tag::POINTER_RELATIVE)
                .u32(*seq)
                .u32(total_dx.cast_unsigned())
                .u32(total_dy.cast_unsigned())
                .done(),
            Self::Resize {
                width,
                height,
                scale_percent,
            } => Bytes::new(tag::RESIZE)
                .u16(*width)
                .u16(*height)
                .u16(*scale_percent)
                .done(),
            Self::ClipboardText(text) => Bytes::new(tag::CLIPBOARD_TEXT).tail(text.as_bytes()),
            Self::ClipboardImage { left, part } => {
                Bytes::new(tag::CLIPBOARD_IMAGE).u32(*left).tail(part)
            }
            Self::Quality(quality) => Bytes::new(tag::QUALITY).u8(*quality as u8).done(),
            Self::Ping { sent_us } => Bytes::new(tag::PING).u64(*sent_us).done(),
        }
    }
}

impl FromHost {
    /// # Errors
    ///
    /// [`ControlError`]; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut fields = Fields::new(bytes)?;
        let message = match fields.tag {
            tag::CLIPBOARD_TEXT => Self::ClipboardText(fields.text(CLIPBOARD_LEN_MAX)?),
            tag::CLIPBOARD_IMAGE => {
                let (left, part) = fields.image_part()?;
                Self::ClipboardImage { left, part }
            }
            tag::QUALITY => Self::Quality(fields.quality()?),
            tag::PONG => Self::Pong {
                sent_us: fields.u64()?,
                host_us: fields.u64()?,
            },
            tag::CURSOR => return cursor(fields),
            tag::CURSOR_HIDDEN => Self::CursorHidden,
            tag::SCREEN => Self::Screen {
                width: fields.u16()?,
                height: fields.u16()?,
            },
            tag::HOST_STATS => Self::HostStats(HostStats {
                capture_us: fields.u32()?,
                encode_us: fields.u32()?,
                queue_us: fields.u32()?,
                frames: fields.u32()?,
                encoder: fields.u8()?,
                chroma: fields.chroma()?,
            }),
            tag::NOTICE => Self::Notice(fields.text(MESSAGE_LEN_MAX)?),
            tag::CLOSED => Self::Closed(fields.text(MESSAGE_LEN_MAX)?),
            other => return Err(ControlError::Tag(other)),
        };
        fields.end()?;
        Ok(message)
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::ClipboardText(text) => Bytes::new(tag::CLIPBOARD_TEXT).tail(text.as_bytes()),
            Self::ClipboardImage { left, part } => {
                Bytes::new(tag::CLIPBOARD_IMAGE).u32(*left).tail(part)
            }
            Self::Quality(quality) => Bytes::new(tag::QUALITY).u8(*quality as u8).done(),
            Self::Pong { sent_us, host_us } => {
                Bytes::new(tag::PONG).u64(*sent_us).u64(*host_us).done()
            }
            Self::Cursor {
                width,
                height,
                hot_x,
                hot_y,
                rgba,
            } => Bytes::new(tag::CURSOR)
                .u16(*width)
                .u16(*height)
                .u16(*hot_x)
                .u16(*hot_y)
                .tail(rgba),
            Self::CursorHidden => Bytes::new(tag::CURSOR_HIDDEN).done(),
            Self::Screen { width, height } => {
                Bytes::new(tag::SCREEN).u16(*width).u16(*height).done()
            }
            Self::HostStats(stats) => Bytes::new(tag::HOST_STATS)
                .u32(stats.capture_us)
                .u32(stats.encode_us)
                .u32(stats.queue_us)
                .u32(stats.frames)
                .u8(stats.encoder)
                .u8(stats.chroma as u8)
                .done(),
            Self::Notice(json) => Bytes::new(tag::NOTICE).tail(json.as_bytes()),
            Self::Closed(json) => Bytes::new(tag::CLOSED).tail(json.as_bytes()),
        }
    }
}

fn cursor(mut fields: Fields<'_>) -> Result<FromHost, ControlError> {
    let (width, height) = (fields.u16()?, fields.u16()?);
    let (hot_x, hot_y) = (fields.u16()?, fields.u16()?);
    let edge = 1..=CURSOR_EDGE_MAX;
    if !edge.contains(&width) || !edge.contains(&height) || hot_x >= width || hot_y >= height {
        return Err(ControlError::Range);
    }
    let need = usize::from(width) * usize::from(height) * 4;
    if fields.rest.len() != need {
        return Err(ControlError::Length {
            have: fields.rest.len(),
            need,
        });
    }
    Ok(FromHost::Cursor {
        width,
        height,
        hot_x,
        hot_y,
        rgba: fields.rest.to_vec(),
    })
}

/// Reads fields off the front; every read is checked.
struct Fields<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ControlError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(ControlError::TooLarge {
                len: bytes.len(),
                max: MESSAGE_LEN_MAX,
            });
        }
        let (&tag, rest) = bytes.split_first().ok_or(ControlError::Empty)?;
        Ok(Self { tag, rest })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ControlError> {
        let (field, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ControlError::Length {
                have: self.rest.len(),
                need: N,
            })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, ControlError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn bool(&mut self) -> Result<bool, ControlError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ControlError::Range),
        }
    }

    fn chroma(&mut self) -> Result<Chroma, ControlError> {
        Chroma::from_wire(self.u8()?).ok_or(ControlError::Range)
    }

    fn quality(&mut self) -> Result<Quality, ControlError> {
        Quality::from_wire(self.u8()?).ok_or(ControlError::Range)
    }

    fn u16(&mut self) -> Result<u16, ControlError> {
        self.take().map(u16::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, ControlError> {
        self.take().map(i16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ControlError> {
        self.take().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, ControlError> {
        self.take().map(i32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ControlError> {
        self.take().map(u64::from_be_bytes)
    }

    fn text(&mut self, max: usize) -> Result<String, ControlError> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.len() > max {
            return Err(ControlError::TooLarge {
                len: bytes.len(),
                max,
            });
        }
        let text = str::from_utf8(bytes).map_err(|_| ControlError::Utf8)?;
        Ok(text.to_owned())
    }

    /// What is left, and a part that is neither empty nor too long.
    fn image_part(&mut self) -> Result<(u32, Vec<u8>), ControlError> {
        let left = self.u32()?;
        let part = std::mem::take(&mut self.rest);
        if part.len() > IMAGE_PART_LEN_MAX {
            return Err(ControlError::TooLarge {
                len: part.len(),
                max: IMAGE_PART_LEN_MAX,
            });
        }
        let fits = usize::try_from(left).is_ok_and(|left| left <= CLIPBOARD_IMAGE_LEN_MAX);
        if part.is_empty() || !fits {
            return Err(ControlError::Range);
        }
        Ok((left, part.to_vec()))
    }

    fn end(&self) -> Result<(), ControlError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(ControlError::Length {
            have: self.rest.len(),
            need: 0,
        })
    }
}

/// Writes fields one after another.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(tag: u8) -> Self {
        Self(vec![tag])
    }

    fn u8(self, value: u8) -> Self {
        self.push(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.push(&value.to_be_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.push(&value.to_be_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.push(&value.to_be_bytes())
    }

    fn tail(self, bytes: &[u8]) -> Vec<u8> {
        self.push(bytes).0
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests;
