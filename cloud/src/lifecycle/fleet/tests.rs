use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lifecycle::{Desired, Generation, Machine, Size};

/// Whatever people order and drivers suffer: one call at a time, nothing deleted comes back, and
/// once the driver works again everything is as it is wanted.
#[test]
fn every_history_ends_as_it_is_wanted_once_the_driver_works() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.settle();
        for (id, wanted) in &world.wanted {
            let seen = world.fleet.seen(id).map(|seen| seen.state);
            let expected = match wanted.desired {
                Desired::Running => Some(State::Online),
                Desired::Stopped => Some(State::Stopped),
                Desired::Deleted => None,
            };
            assert_eq!(seen, expected, "seed {seed}, {id}");
            let there = world.machines.contains_key(id);
            assert_eq!(
                there,
                wanted.desired == Desired::Running,
                "seed {seed}, {id}"
            );
        }
    }
}

#[test]
fn a_full_fleet_takes_no_more() {
    let (mut fleet, now) = (Fleet::default(), Instant::now());
    for number in 0..DESKTOPS_MAX {
        assert!(fleet.handle_order(&id(number), order(Desired::Stopped, 0), now));
    }
    assert!(!fleet.handle_order(&id(DESKTOPS_MAX), order(Desired::Stopped, 0), now));
}

struct World {
    rng: StdRng,
    now: Instant,
    fleet: Fleet,
    wanted: BTreeMap<InstanceId, Order>,
    machines: BTreeMap<InstanceId, Generation>,
    calls: BTreeMap<InstanceId, Call>,
    breaks: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            fleet: Fleet::default(),
            wanted: (0..3)
                .map(|n| (id(n), order(Desired::Stopped, 0)))
                .collect(),
            machines: BTreeMap::new(),
            calls: BTreeMap::new(),
            breaks: true,
        }
    }

    fn step(&mut self) {
        let desk = id(self.rng.random_range(0..3));
        match self.rng.random_range(0..10) {
            0..3 => self.order_something(&desk),
            3 => drop(self.machines.remove(&desk)),
            4 => self
                .fleet
                .handle_presence(&desk, Presence::Absent, self.now),
            5 => self.fleet = self.restarted(),
            _ => {
                let wait = self.rng.random_range(0..8000);
                self.now += Duration::from_millis(wait);
                self.fleet.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    fn order_something(&mut self, desk: &InstanceId) {
        let roll = self.rng.random_range(0..20);
        let wanted = self.wanted.get_mut(desk).unwrap();
        if wanted.desired == Desired::Deleted {
            return;
        }
        wanted.desired = match roll {
            0 => Desired::Deleted,
            1..10 => Desired::Stopped,
            _ => Desired::Running,
        };
        wanted.generation.0 += 1;
        let order = *wanted;
        self.fleet.handle_order(desk, order, self.now);
    }

    /// The service was killed: machines stay, what was under way is finished by nobody.
    fn restarted(&mut self) -> Fleet {
        self.calls.clear();
        let mut fleet = Fleet::default();
        for (desk, order) in &self.wanted {
            fleet.handle_order(desk, *order, self.now);
        }
        fleet
    }

    fn drain(&mut self) {
        loop {
            while let Some(action) = self.fleet.poll_action() {
                if let Action::Call(desk, call) = action {
                    assert_eq!(self.calls.insert(desk, call), None, "one call at a time");
                }
            }
            let Some((desk, call)) = self.calls.pop_first() else {
                return;
            };
            if self.breaks && self.rng.random_range(0..4) == 0 {
                // Slow: it ends in a later step.
                self.calls.insert(desk, call);
                return;
            }
            self.carry_out(&desk, call);
        }
    }

    fn carry_out(&mut self, desk: &InstanceId, call: Call) {
        let deleted = self.wanted[desk].desired == Desired::Deleted;
        let fails = self.breaks && self.rng.random_range(0..4) == 0;
        let outcome = match call {
            Call::Inspect => Outcome::Found(match self.machines.get(desk) {
                Some(up) if fails => Machine::Broken(*up, "x".into()),
                Some(up) => Machine::Up(*up),
                None => Machine::Absent,
            }),
            _ if fails => Outcome::Failed("x".into()),
            Call::Start(generation) => {
                self.machines.insert(desk.clone(), generation);
                Outcome::Done
            }
            Call::Stop | Call::Destroy => {
                assert!(
                    call == Call::Stop || deleted,
                    "only what is deleted is destroyed"
                );
                self.machines.remove(desk);
                Outcome::Done
            }
        };
        let started = matches!(call, Call::Start(_)) && outcome == Outcome::Done;
        self.fleet.handle_outcome(desk, outcome, self.now);
        let heard = !self.breaks || self.rng.random_range(0..2) == 0;
        if started && heard {
            self.fleet.handle_presence(desk, Presence::Online, self.now);
        }
    }

    /// Nothing breaks any more, and a person presses Restart where it says so.
    fn settle(&mut self) {
        self.breaks = false;
        self.fleet = self.restarted();
        self.drain();
        for _ in 0..200 {
            self.now += Duration::from_secs(5);
            for (desk, up) in &self.machines.clone() {
                if self.wanted[desk].generation == *up {
                    self.fleet.handle_presence(desk, Presence::Online, self.now);
                }
            }
            self.fleet.handle_timeout(self.now);
            self.drain();
        }
    }
}

fn id(number: usize) -> InstanceId {
    InstanceId::new(&format!("desk-{number}")).unwrap()
}

fn order(desired: Desired, generation: u32) -> Order {
    Order {
        desired,
        generation: Generation(generation),
        size: Size::Small,
    }
}
