//! All desktops of this process: events and the time in, driver calls and news out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use protocol::id::InstanceId;
use protocol::problem::Problem;
use signalling::Presence;

use super::{Call, Life, Order, Outcome, State};

/// Desktops one process looks after; above it none is created. Each is inspected every 2 s.
pub const DESKTOPS_MAX: usize = 1_000;

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the driver, and tell the outcome.
    Call(InstanceId, Call),
    /// What people see of it has changed.
    Changed(InstanceId),
    /// Nothing is left of it; note that, so that it is not looked for again.
    Gone(InstanceId),
}

/// What people see of one desktop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub state: State,
    pub problem: Option<Problem>,
}

#[derive(Debug, Default)]
pub struct Fleet {
    lives: BTreeMap<InstanceId, Life>,
    actions: VecDeque<Action>,
}

impl Fleet {
    /// What the database says of one desktop; new ones begin to be looked after. `false` if there
    /// are [`DESKTOPS_MAX`] others: it is told again later.
    pub fn handle_order(&mut self, instance: &InstanceId, order: Order, now: Instant) -> bool {
        if !self.lives.contains_key(instance) {
            if self.lives.len() >= DESKTOPS_MAX {
                return false;
            }
            self.lives.insert(instance.clone(), Life::new(order, now));
            self.actions.push_back(Action::Changed(instance.clone()));
        }
        self.change(instance, now, |life| life.handle_order(order, now));
        true
    }

    pub fn handle_presence(&mut self, instance: &InstanceId, presence: Presence, now: Instant) {
        self.change(instance, now, |life| life.handle_presence(presence, now));
    }

    pub fn handle_outcome(&mut self, instance: &InstanceId, outcome: Outcome, now: Instant) {
        self.change(instance, now, |life| life.handle_outcome(outcome, now));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |life: &Life| life.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<_> = self
            .lives
            .iter()
            .filter(|(_, life)| due(life))
            .map(|(instance, _)| instance.clone())
            .collect();
        for instance in due {
            self.change(&instance, now, |life| life.handle_timeout(now));
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.lives.values().filter_map(Life::poll_timeout).min()
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub fn seen(&self, instance: &InstanceId) -> Option<Seen> {
        self.lives.get(instance).map(|life| Seen {
            state: life.state(),
            problem: life.problem(),
        })
    }

    pub fn order_of(&self, instance: &InstanceId) -> Option<Order> {
        self.lives.get(instance).map(Life::order)
    }

    pub fn lives(&self) -> impl Iterator<Item = (&InstanceId, &Life)> {
        self.lives.iter()
    }

    fn change(&mut self, instance: &InstanceId, now: Instant, event: impl FnOnce(&mut Life)) {
        let Some(life) = self.lives.get_mut(instance) else {
            return;
        };
        let before = (life.state(), life.problem());
        event(life);
        if let Some(call) = life.poll_call(now) {
            self.actions.push_back(Action::Call(instance.clone(), call));
        }
        if (life.state(), life.problem()) != before {
            self.actions.push_back(Action::Changed(instance.clone()));
        }
        if life.is_gone() {
            self.lives.remove(instance);
            self.actions.push_back(Action::Gone(instance.clone()));
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts somewhere")]
mod tests;
