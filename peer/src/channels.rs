//! The three data channels: what waits when SCTP has no room, and in which order it goes.
//!
//! Input before control before pointer. A reliable channel refuses what does not fit its queue; the
//! pointer channel keeps the newest message only, for that one says all there is to know.

use std::collections::VecDeque;

use protocol::control::MESSAGE_LEN_MAX;
use str0m::Rtc;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};

use crate::event::Channel;
use crate::peer::{Peer, SendError};

/// Channels that are none of the three; a browser opens none by itself. More end the peer.
pub(crate) const FOREIGN_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Channels {
    input: Queue,
    pointer: Queue,
    control: Queue,
    /// How many opened that are none of ours.
    foreign: usize,
}

#[derive(Default)]
struct Queue {
    id: Option<ChannelId>,
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// What the viewer asks for when it opens the channels.
pub(crate) fn config(channel: Channel) -> ChannelConfig {
    let (ordered, reliability) = match channel {
        Channel::Input | Channel::Control => (true, Reliability::Reliable),
        Channel::Pointer => (false, Reliability::MaxRetransmits { retransmits: 0 }),
    };
    ChannelConfig {
        label: channel.label().to_owned(),
        ordered,
        reliability,
        ..ChannelConfig::default()
    }
}

impl Channels {
    /// The channel that opened, if it is one of ours; a second one of the same label is ignored.
    pub(crate) fn handle_open(&mut self, id: ChannelId, label: &str) -> Option<Channel> {
        let ours = Channel::of_label(label).filter(|&channel| self.queue(channel).id.is_none());
        let Some(channel) = ours else {
            self.foreign += 1;
            return None;
        };
        self.queue(channel).id = Some(id);
        Some(channel)
    }

    /// Whether all three are.
    pub(crate) fn are_open(&self) -> bool {
        [&self.input, &self.pointer, &self.control]
            .iter()
            .all(|queue| queue.id.is_some())
    }

    pub(crate) fn are_too_many(&self) -> bool {
        self.foreign > FOREIGN_MAX
    }

    pub(crate) fn handle_close(&mut self, id: ChannelId) {
        for channel in Channel::ALL {
            let queue = self.queue(channel);
            if queue.id == Some(id) {
                *queue = Queue::default();
            }
        }
    }

    pub(crate) fn of_id(&self, id: ChannelId) -> Option<Channel> {
        let queues = [
            (Channel::Input, &self.input),
            (Channel::Pointer, &self.pointer),
            (Channel::Control, &self.control),
        ];
        queues
            .into_iter()
            .find(|(_, queue)| queue.id == Some(id))
            .map(|(channel, _)| channel)
    }

    /// Puts a message behind those that wait; [`flush`](Self::flush) sends it.
    pub(crate) fn push(&mut self, channel: Channel, bytes: &[u8]) -> Result<(), SendError> {
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(SendError::TooLarge { len: bytes.len() });
        }
        let queue = self.queue(channel);
        if queue.id.is_none() {
            return Err(SendError::NotConnected);
        }
        if channel == Channel::Pointer {
            queue.messages.clear();
            queue.bytes = 0;
        }
        if queue.bytes + bytes.len() > Peer::QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        queue.bytes += bytes.len();
        queue.messages.push_back(bytes.to_vec());
        Ok(())
    }

    /// Hands SCTP one message it has room for; true if one went. str0m must be drained before the
    /// next.
    pub(crate) fn flush_one(&mut self, rtc: &mut Rtc) -> bool {
        [Channel::Input, Channel::Control, Channel::Pointer]
            .into_iter()
            .any(|channel| self.queue(channel).flush_one(rtc))
    }

    fn queue(&mut self, channel: Channel) -> &mut Queue {
        match channel {
            Channel::Input => &mut self.input,
            Channel::Pointer => &mut self.pointer,
            Channel::Control => &mut self.control,
        }
    }
}

impl Queue {
    fn flush_one(&mut self, rtc: &mut Rtc) -> bool {
        let (Some(id), Some(message)) = (self.id, self.messages.front()) else {
            return false;
        };
        let Some(mut channel) = rtc.channel(id) else {
            return false;
        };
        // An error means the stream is going down; its close follows as an event.
        if !channel.write(true, message).unwrap_or(false) {
            return false;
        }
        self.bytes -= message.len();
        self.messages.pop_front();
        true
    }
}
