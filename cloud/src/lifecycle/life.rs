//! One desktop: the machine that leads from what is there to what is wanted.
//!
//! One call to the driver is under way at a time, inspections included, so that no answer is ever
//! older than what was done since. A start that fails is repeated twice; after that a person decides.

use std::time::{Duration, Instant};

use protocol::problem::{Code, Problem};
use signalling::Presence;

use super::{Call, Desired, Machine, Order, Outcome, State};

/// Restarts without being asked; the next failure is left to a person.
pub const RESTARTS_MAX: u32 = 2;
/// The pauses before them.
const RESTART_WAITS: [Duration; RESTARTS_MAX as usize] =
    [Duration::from_secs(1), Duration::from_secs(5)];
/// A start, or a silence of the agent host, may last so long: a cold start measures the encoder.
pub const ONLINE_WITHIN: Duration = Duration::from_secs(60);
/// Online for so long, a desktop has recovered from what ailed it before.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);
/// How soon a machine that broke is noticed.
pub const INSPECT_EVERY: Duration = Duration::from_secs(2);
/// A stop or deletion that failed is repeated so often, for ever: nothing else can be done.
const END_RETRY_EVERY: Duration = Duration::from_secs(10);

/// One desktop.
#[derive(Clone, Debug)]
pub struct Life {
    order: Order,
    /// `None` until a driver was asked.
    machine: Option<Machine>,
    presence: Presence,
    under_way: Option<Call>,
    /// Failures since the desktop was last well.
    failures: u32,
    fault: Option<String>,
    /// Not before this is the driver asked to do more.
    wait_until: Option<Instant>,
    /// Until then it must be online.
    online_by: Option<Instant>,
    stable_at: Option<Instant>,
    inspect_at: Instant,
    gone: bool,
}

impl Life {
    /// A desktop as it was stored; what there is of it is asked first.
    pub fn new(order: Order, now: Instant) -> Self {
        Self {
            order,
            machine: None,
            presence: Presence::Absent,
            under_way: None,
            failures: 0,
            fault: None,
            wait_until: None,
            online_by: Some(now + ONLINE_WITHIN),
            stable_at: None,
            inspect_at: now,
            gone: false,
        }
    }

    pub fn order(&self) -> Order {
        self.order
    }

    /// Its machine and its files are gone for good.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// What people see; a function of what is wanted and what is there.
    pub fn state(&self) -> State {
        let up = self.machine == Some(Machine::Up(self.order.generation));
        match self.order.desired {
            _ if self.fault.is_some() => State::Error,
            Desired::Stopped | Desired::Deleted => State::Stopped,
            Desired::Running if up && self.presence == Presence::Online => State::Online,
            Desired::Running => State::Starting,
        }
    }

    /// Why it is in `Error`, and what to do.
    pub fn problem(&self) -> Option<Problem> {
        let cause = self.fault.clone()?;
        let next_step = match self.order.desired {
            Desired::Running if self.has_given_up() => {
                "Restart it once more. If that does not help, export your files, delete the desktop and create it again."
            }
            Desired::Running => "It is started again in a moment; there is nothing to do.",
            Desired::Stopped | Desired::Deleted => {
                "It is tried again every few seconds; ask who runs the service if it stays."
            }
        };
        Some(Problem::new(Code::DesktopFailed, cause, next_step))
    }

    /// What is wanted has changed, or was repeated.
    pub fn handle_order(&mut self, order: Order, now: Instant) {
        if order == self.order || self.order.desired == Desired::Deleted {
            return;
        }
        self.order = order;
        // A person acts: at once, and once more if it had been given up.
        self.failures = self.failures.min(RESTARTS_MAX);
        self.fault = None;
        self.wait_until = None;
        self.stable_at = None;
        self.online_by = Some(now + ONLINE_WITHIN);
        self.inspect_at = now;
    }

    /// Signalling heard from the agent host, or lost it.
    pub fn handle_presence(&mut self, presence: Presence, now: Instant) {
        self.presence = presence;
        self.judge_presence(now);
    }

    /// The call that was under way has ended.
    pub fn handle_outcome(&mut self, outcome: Outcome, now: Instant) {
        let Some(call) = self.under_way.take() else {
            return;
        };
        self.inspect_at = now + INSPECT_EVERY;
        match (call, outcome) {
            (_, Outcome::Failed(cause)) => self.call_failed(call, cause, now),
            (Call::Inspect, Outcome::Found(machine)) => self.found(machine, now),
            (Call::Start(generation), _) => {
                self.machine = Some(Machine::Up(generation));
                self.judge_presence(now);
            }
            (Call::Stop, _) => {
                self.machine = Some(Machine::Absent);
                self.fault = None;
            }
            (Call::Destroy, _) => self.gone = true,
            (Call::Inspect, Outcome::Done) => {}
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_due(self.stable_at, now) {
            self.stable_at = None;
            self.failures = 0;
        }
        if self.under_way.is_none() && self.is_due(self.deadline(), now) {
            let cause = match self.presence {
                Presence::Starting => "The desktop's screen showed nothing in time.",
                Presence::Absent | Presence::Online => {
                    "The desktop's agent host was not heard from in time."
                }
            };
            self.fail(cause.into(), now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_call`](Self::poll_call) has something
    /// to do; `None` while the driver is at work.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.under_way.is_some() || self.gone {
            return None;
        }
        let inspect_at = self.wants_inspection().then_some(self.inspect_at);
        [self.wait_until, self.deadline(), self.stable_at, inspect_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to ask of the driver.
    pub fn poll_call(&mut self, now: Instant) -> Option<Call> {
        if self.under_way.is_some() || self.gone {
            return None;
        }
        if self.is_due(self.wait_until, now) {
            self.wait_until = None;
        }
        let call = self.next_call(now)?;
        if matches!(call, Call::Start(_)) {
            self.presence = Presence::Absent;
            self.fault = None;
            self.online_by = Some(now + ONLINE_WITHIN);
        }
        self.under_way = Some(call);
        Some(call)
    }

    fn next_call(&self, now: Instant) -> Option<Call> {
        let generation = self.order.generation;
        let Some(machine) = &self.machine else {
            return (now >= self.inspect_at).then_some(Call::Inspect);
        };
        let waiting = self.wait_until.is_some();
        let step = match (self.order.desired, machine) {
            (Desired::Deleted, _) => Some(Call::Destroy),
            (Desired::Stopped, Machine::Absent) => None,
            (Desired::Stopped, _) => Some(Call::Stop),
            (Desired::Running, Machine::Up(up)) if *up == generation && self.fault.is_none() => {
                None
            }
            (Desired::Running, _) if self.has_given_up() => None,
            (Desired::Running, _) => Some(Call::Start(generation)),
        };
        let inspection = self.wants_inspection() && now >= self.inspect_at;
        step.filter(|_| !waiting)
            .or(inspection.then_some(Call::Inspect))
    }

    /// What runs is looked at; what was given up is not, it stays as it is until a person acts.
    fn wants_inspection(&self) -> bool {
        self.machine.is_none() || (self.order.desired == Desired::Running && self.fault.is_none())
    }

    fn found(&mut self, machine: Machine, now: Instant) {
        let known = self.machine.replace(machine.clone());
        let ours = self.order.generation;
        if self.order.desired != Desired::Running {
            return;
        }
        match machine {
            Machine::Broken(generation, cause) if generation == ours => self.fail(cause, now),
            Machine::Absent if known == Some(Machine::Up(ours)) => {
                self.fail("The desktop's machine is gone.".into(), now);
            }
            Machine::Up(_) | Machine::Broken(..) | Machine::Absent => self.judge_presence(now),
        }
    }

    /// When it must be online, if that is awaited at all.
    fn deadline(&self) -> Option<Instant> {
        let awaited = self.order.desired == Desired::Running && self.fault.is_none();
        self.online_by.filter(|_| awaited)
    }

    fn judge_presence(&mut self, now: Instant) {
        if self.state() == State::Online {
            self.online_by = None;
            if self.failures > 0 && self.stable_at.is_none() {
                self.stable_at = Some(now + STABLE_AFTER);
            }
        } else {
            self.stable_at = None;
            self.online_by.get_or_insert(now + ONLINE_WITHIN);
        }
    }

    fn call_failed(&mut self, call: Call, cause: String, now: Instant) {
        match call {
            Call::Start(_) => {
                // What it left behind is not known.
                self.machine = Some(Machine::Absent);
                self.fail(cause, now);
            }
            Call::Inspect => {}
            Call::Stop | Call::Destroy => {
                self.fault = Some(cause);
                self.wait_until = Some(now + END_RETRY_EVERY);
            }
        }
    }

    fn fail(&mut self, cause: String, now: Instant) {
        if self.order.desired != Desired::Running {
            return;
        }
        let wait = RESTART_WAITS.get(self.failures as usize);
        self.failures = self.failures.saturating_add(1);
        self.fault = Some(cause);
        self.wait_until = wait.map(|wait| now + *wait);
        self.online_by = None;
        self.stable_at = None;
    }

    fn has_given_up(&self) -> bool {
        self.failures > RESTARTS_MAX && self.fault.is_some()
    }

    fn is_due(&self, at: Option<Instant>, now: Instant) -> bool {
        at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts somewhere")]
mod tests;
