//! TURN over TCP and TLS: where one message ends and the next begins (RFC 8656 §3.1, §12.5).
//!
//! A STUN message says its length in its header; ChannelData is padded to a multiple of 4, and the
//! padding is not part of its length. Anything else ends the connection: a stream that has lost its
//! place never finds it again.

use super::message::{HEADER_LEN, MAGIC_COOKIE};
use super::{Kind, channel, classify};

/// Longest message on a stream, in bytes: a 16-bit length and the larger header.
pub const MESSAGE_LEN_MAX: usize = HEADER_LEN + 65_532;

/// One message at the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the message itself.
    pub message_len: usize,
    /// Bytes to take off the stream: the message and its padding.
    pub stream_len: usize,
}

/// Looks at the front of a stream.
///
/// `Ok(None)` means more bytes are needed; at most [`MESSAGE_LEN_MAX`] plus 3 are ever waited for.
///
/// # Errors
///
/// [`StreamError`] if the bytes are neither STUN nor ChannelData: close the connection.
pub fn frame(stream: &[u8]) -> Result<Option<Frame>, StreamError> {
    let frame = match (classify(stream), stream) {
        (_, []) => return Ok(None),
        (Kind::Stun, _) => stun_frame(stream)?,
        (Kind::ChannelData, _) => channel_frame(stream),
        (Kind::Other, _) => return Err(StreamError),
    };
    Ok(frame.filter(|frame| frame.stream_len <= stream.len()))
}

fn stun_frame(stream: &[u8]) -> Result<Option<Frame>, StreamError> {
    let Some(&[_, _, l0, l1, c0, c1, c2, c3]) = stream.first_chunk::<8>() else {
        return Ok(None);
    };
    let len = HEADER_LEN + usize::from(u16::from_be_bytes([l0, l1]));
    if !len.is_multiple_of(4) || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
        return Err(StreamError);
    }
    Ok(Some(Frame {
        message_len: len,
        stream_len: len,
    }))
}

fn channel_frame(stream: &[u8]) -> Option<Frame> {
    let &[_, _, l0, l1] = stream.first_chunk::<4>()?;
    let len = channel::HEADER_LEN + usize::from(u16::from_be_bytes([l0, l1]));
    Some(Frame {
        message_len: len,
        stream_len: len.next_multiple_of(4),
    })
}

/// The stream holds something that is not TURN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct StreamError;

/// Collects the bytes of a stream and hands out whole messages.
///
/// Holds no memory while nothing is incomplete; never more than one incomplete message plus what
/// the last call of [`Deframer::handle_bytes`] brought.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    taken: usize,
}

impl Deframer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, without its padding.
    ///
    /// # Errors
    ///
    /// [`StreamError`] as for [`frame`]; every later call says the same.
    pub fn poll_message(&mut self) -> Result<Option<&[u8]>, StreamError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some(found) = frame(rest)? else {
            if rest.is_empty() {
                *self = Self::default();
            }
            return Ok(None);
        };
        let start = self.taken;
        self.taken += found.stream_len;
        Ok(self.bytes.get(start..start + found.message_len))
    }

    /// Bytes that wait for the rest of their message.
    pub fn pending_len(&self) -> usize {
        self.bytes.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUN: [u8; 24] = [
        0, 1, 0, 4, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x80, 0x22, 0, 0,
    ];
    /// Five bytes of payload and three of padding.
    const CHANNEL: [u8; 12] = [0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o', 0, 0, 0];

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream = [&CHANNEL[..], &STUN, &CHANNEL].concat();
        for cut in 1..stream.len() {
            let mut deframer = Deframer::new();
            let mut messages = Vec::new();
            for chunk in stream.chunks(cut) {
                deframer.handle_bytes(chunk);
                while let Some(message) = deframer.poll_message().unwrap() {
                    messages.push(message.to_vec());
                }
            }
            assert_eq!(messages, [&CHANNEL[..9], &STUN, &CHANNEL[..9]], "{cut}");
            assert_eq!(deframer.pending_len(), 0);
        }
    }

    #[test]
    fn a_stream_of_something_else_is_an_error_at_its_first_byte() {
        for text in ["\x16\x03\x01", " ", "\u{80}"] {
            assert_eq!(frame(text.as_bytes()), Err(StreamError), "{text:?}");
        }
        assert_eq!(frame(&[0, 1, 0, 4, 0, 0, 0, 0]), Err(StreamError));
        assert_eq!(
            frame(&[0, 1, 0, 5, 0x21, 0x12, 0xA4, 0x42]),
            Err(StreamError)
        );
    }

    #[test]
    fn every_proper_prefix_of_a_message_waits_for_more() {
        for whole in [&STUN[..], &CHANNEL[..]] {
            for end in 0..whole.len() {
                assert_eq!(frame(&whole[..end]), Ok(None), "{end}");
            }
        }
    }

    #[test]
    fn an_idle_deframer_holds_no_memory() {
        let mut deframer = Deframer::new();
        deframer.handle_bytes(&STUN);
        while deframer.poll_message().unwrap().is_some() {}
        assert_eq!(deframer.bytes.capacity(), 0);
    }
}
