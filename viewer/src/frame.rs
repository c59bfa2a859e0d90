//! A mailbox with one slot: what is new replaces what is old.
//!
//! The newest picture is the only one worth showing, so nothing ever waits behind another: putting
//! never blocks, and a picture nobody took in time is dropped and counted.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// One slot between one writer and one reader, on any threads.
#[derive(Debug)]
pub struct LatestFrame<T> {
    slot: Mutex<Slot<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    replaced: u64,
    closed: bool,
}

impl<T> Default for LatestFrame<T> {
    fn default() -> Self {
        Self {
            slot: Mutex::new(Slot {
                value: None,
                replaced: 0,
                closed: false,
            }),
            filled: Condvar::new(),
        }
    }
}

impl<T> LatestFrame<T> {
    /// Puts `value` in the slot and gives back what it replaced.
    pub fn put(&self, value: T) -> Option<T> {
        let mut slot = self.lock();
        let old = slot.value.replace(value);
        slot.replaced += u64::from(old.is_some());
        drop(slot);
        self.filled.notify_one();
        old
    }

    /// Takes what is in the slot, without waiting.
    pub fn take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// Waits until there is something to take; `None` once the mailbox is closed.
    pub fn wait(&self) -> Option<T> {
        let mut slot = self.lock();
        loop {
            if let Some(value) = slot.value.take() {
                return Some(value);
            }
            if slot.closed {
                return None;
            }
            slot = self
                .filled
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more will be put: a waiting reader is let go.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// How many values were replaced before anybody took them.
    pub fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    /// A slot is whole after every statement above, so a panic elsewhere cannot have broken it.
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_replaces_the_one_before_and_is_counted() {
        let mailbox = LatestFrame::default();
        assert_eq!(mailbox.put(1), None);
        assert_eq!(mailbox.put(2), Some(1));
        assert_eq!(mailbox.replaced(), 1);
        assert_eq!(mailbox.take(), Some(2));
        assert_eq!(mailbox.take(), None);
    }

    #[test]
    fn a_waiting_reader_gets_the_value_and_then_the_end() {
        let mailbox = LatestFrame::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| (mailbox.wait(), mailbox.wait()));
            mailbox.put(7);
            mailbox.close();
            assert_eq!(reader.join().unwrap(), (Some(7), None));
        });
    }
}
