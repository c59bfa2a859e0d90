//! Allocations made and given back as fast as the server answers: 401, Allocate, Refresh to zero.
//!
//! Every cycle has a fresh socket, because that is what a new client is. Closed-loop on purpose:
//! `in_flight` cycles at a time, so the server is never idle and never flooded.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::session::{BUFFER_LEN, Session, Target};
use super::sys::{Poll, Wants};
use crate::bench::histogram::Histogram;
use crate::bench::turn::{Failure, State};

/// Ports are used in turn, so that none returns while a server still remembers it: some do for
/// seconds after the allocation is gone and answer 437.
const PORT_FIRST: u16 = 10_000;
const PORT_COUNT: u16 = 55_000;

/// What the cycles came to.
#[derive(Default)]
pub(super) struct Cycles {
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) first_failure: Option<Failure>,
    pub(super) latency: Histogram,
}

/// `in_flight` clients, each replaced when its cycle ends.
pub(super) struct Churn<'a> {
    target: &'a Target,
    slots: Vec<Slot>,
    poll: Poll,
    buffer: Vec<u8>,
    begun: u64,
}

struct Slot {
    session: Session,
    begun_at: Instant,
}

impl<'a> Churn<'a> {
    pub(super) fn new(target: &'a Target, in_flight: usize) -> Result<Self> {
        let mut churn = Self {
            target,
            slots: Vec::new(),
            poll: Poll::new()?,
            buffer: vec![0; BUFFER_LEN],
            begun: 0,
        };
        for index in 0..in_flight {
            let slot = churn.begin(index)?;
            churn.slots.push(slot);
        }
        Ok(churn)
    }

    /// Runs for `length` and books every cycle that ended.
    pub(super) fn run(&mut self, length: Duration) -> Result<Cycles> {
        let mut cycles = Cycles::default();
        let mut ready = Vec::new();
        let end = Instant::now() + length;
        let mut sweep_at = Instant::now();
        while Instant::now() < end {
            self.poll.wait(Duration::from_millis(20), &mut ready)?;
            for event in &ready {
                self.advance(event.token as usize, &mut cycles)?;
            }
            if Instant::now() >= sweep_at {
                self.sweep(&mut cycles)?;
                sweep_at = Instant::now() + Duration::from_millis(50);
            }
        }
        Ok(cycles)
    }

    fn begin(&mut self, index: usize) -> Result<Slot> {
        let now = Instant::now();
        let port = PORT_FIRST + (self.begun % u64::from(PORT_COUNT)) as u16;
        let mut session = self.target.open_from(port, self.begun)?;
        self.begun += 1;
        self.poll
            .add(session.link.as_fd(), index as u64, Wants::Read)?;
        session.client.allocate(now);
        session.pump()?;
        session.update_interest(&self.poll, index as u64)?;
        Ok(Slot {
            session,
            begun_at: now,
        })
    }

    fn advance(&mut self, index: usize, cycles: &mut Cycles) -> Result<()> {
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        let now = Instant::now();
        slot.session.receive(&mut self.buffer, now, |_| {})?;
        slot.session.update_interest(&self.poll, index as u64)?;
        match slot.session.client.state() {
            State::Allocated => {
                slot.session.client.release(now);
                slot.session.pump()?;
            }
            State::Idle => {
                cycles.completed += 1;
                cycles.latency.record(now - slot.begun_at);
                self.replace(index)?;
            }
            State::Failed(failure) => {
                cycles.failed += 1;
                cycles.first_failure.get_or_insert(failure.clone());
                self.replace(index)?;
            }
            State::Asking(_) | State::Bound => {}
        }
        Ok(())
    }

    fn replace(&mut self, index: usize) -> Result<()> {
        let slot = self.begin(index)?;
        if let Some(old) = self.slots.get_mut(index) {
            *old = slot;
        }
        Ok(())
    }

    /// Repeats what was not answered.
    fn sweep(&mut self, cycles: &mut Cycles) -> Result<()> {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.session.handle_timeout(now)?;
            }
            self.advance(index, cycles)?;
        }
        Ok(())
    }
}
