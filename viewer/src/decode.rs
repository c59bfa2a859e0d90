//! From coded frames to pictures: the queue in front of the decoder, the decoder's face, and what
//! a picture is.
//!
//! A frame that builds on a lost one shows rubbish, so the queue lets nothing through after a gap
//! until the next key frame, and asks for it.

use std::collections::VecDeque;

use peer::VideoFrame;

/// Frames that may wait for the decoder: half a second at 60 per second. When full, all are
/// dropped and a key frame is asked for: decoding them would only show the past.
pub const QUEUED_MAX: usize = 30;

/// Turns Annex-B access units into pictures, one in, at most one out, without delay.
pub trait Decoder {
    /// For the log: `openh264`.
    fn name(&self) -> &'static str;

    /// Decodes one access unit and shows the picture, if it gives one, before it returns.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the decoder wants a key frame next.
    fn decode(
        &mut self,
        access_unit: &[u8],
        show: &mut dyn FnMut(&Picture<'_>),
    ) -> Result<(), DecodeError>;
}

/// The decoder did not understand the frame, or lacks what it builds on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame cannot be decoded: {0}")]
pub struct DecodeError(pub String);

/// How the chroma planes relate to the luma plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chroma {
    /// Half the width and half the height.
    I420,
    /// The same size.
    I444,
}

/// A decoded picture, borrowed from its decoder: three planes, BT.709, limited range.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub width: u32,
    pub height: u32,
    pub chroma: Chroma,
    pub y: &'a [u8],
    pub u: &'a [u8],
    pub v: &'a [u8],
    /// Bytes from one row to the next, luma and chroma.
    pub y_stride: u32,
    pub uv_stride: u32,
}

/// What waits for the decoder.
#[derive(Debug)]
pub struct DecodeQueue {
    frames: VecDeque<VideoFrame>,
    wants_key: bool,
    dropped: u64,
}

/// What to do with the frame that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Queued,
    /// Dropped; ask the host for a key frame.
    AskForKeyFrame,
    /// Dropped; a key frame was asked for before.
    Dropped,
}

impl Default for DecodeQueue {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            wants_key: true,
            dropped: 0,
        }
    }
}

impl DecodeQueue {
    pub fn handle_frame(&mut self, frame: VideoFrame) -> Admission {
        if frame.key {
            // What came before a key frame is of no use to what comes after it.
            self.dropped += self.frames.len() as u64;
            self.frames.clear();
            self.wants_key = false;
        } else if self.wants_key {
            self.dropped += 1;
            return Admission::Dropped;
        } else if !frame.contiguous || self.frames.len() >= QUEUED_MAX {
            self.dropped += 1;
            return self.want_key();
        }
        self.frames.push_back(frame);
        Admission::Queued
    }

    /// The decoder refused a frame.
    pub fn handle_refused(&mut self) -> Admission {
        if self.wants_key {
            return Admission::Dropped;
        }
        self.want_key()
    }

    /// The next frame to decode.
    pub fn poll_frame(&mut self) -> Option<VideoFrame> {
        self.frames.pop_front()
    }

    /// Whether the frame just taken was the newest: only that one is worth showing.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that came and were never decoded.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn want_key(&mut self) -> Admission {
        self.dropped += self.frames.len() as u64;
        self.frames.clear();
        self.wants_key = true;
        Admission::AskForKeyFrame
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn nothing_is_decoded_before_the_first_key_frame() {
        let mut queue = DecodeQueue::default();
        assert_eq!(queue.handle_frame(delta()), Admission::Dropped);
        assert_eq!(queue.handle_frame(key()), Admission::Queued);
        assert_eq!(queue.handle_frame(delta()), Admission::Queued);
        assert!(queue.poll_frame().unwrap().key);
        assert!(!queue.is_empty());
    }

    #[test]
    fn a_gap_asks_once_for_a_key_frame_and_shows_nothing_until_it_comes() {
        let mut queue = started();
        let gap = VideoFrame {
            contiguous: false,
            ..delta()
        };
        assert_eq!(queue.handle_frame(gap), Admission::AskForKeyFrame);
        assert_eq!(queue.handle_frame(delta()), Admission::Dropped);
        assert_eq!(queue.poll_frame().map(|frame| frame.key), None);
        assert_eq!(queue.handle_frame(key()), Admission::Queued);
    }

    #[test]
    fn a_decoder_that_falls_behind_jumps_to_the_next_key_frame() {
        let mut queue = started();
        for _ in 0..QUEUED_MAX {
            assert_eq!(queue.handle_frame(delta()), Admission::Queued);
        }
        assert_eq!(queue.handle_frame(delta()), Admission::AskForKeyFrame);
        assert!(queue.is_empty());
        assert_eq!(queue.dropped(), QUEUED_MAX as u64 + 1);
    }

    #[test]
    fn a_key_frame_overtakes_what_waits() {
        let mut queue = started();
        queue.handle_frame(delta());
        queue.handle_frame(key());
        assert!(queue.poll_frame().unwrap().key);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_refused_frame_asks_once() {
        let mut queue = started();
        assert_eq!(queue.handle_refused(), Admission::AskForKeyFrame);
        assert_eq!(queue.handle_refused(), Admission::Dropped);
    }

    fn started() -> DecodeQueue {
        let mut queue = DecodeQueue::default();
        queue.handle_frame(key());
        queue.poll_frame();
        queue
    }

    fn key() -> VideoFrame {
        VideoFrame {
            key: true,
            ..delta()
        }
    }

    fn delta() -> VideoFrame {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the epoch of a test"
        )]
        let received_at = Instant::now();
        VideoFrame {
            data: [].into(),
            key: false,
            contiguous: true,
            rtp_time: 0,
            captured_unix: None,
            received_at,
        }
    }
}
