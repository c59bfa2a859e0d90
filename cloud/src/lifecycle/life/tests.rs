use super::*;
use crate::lifecycle::{Generation, Size};

const FIRST: Generation = Generation(1);

#[test]
fn a_start_is_online_only_after_the_agent_host_was_heard_and_a_frame_captured() {
    let (mut life, now) = started();
    assert_eq!(life.state(), State::Starting);
    life.handle_presence(Presence::Starting, now);
    assert_eq!(life.state(), State::Starting);
    life.handle_presence(Presence::Online, now);
    assert_eq!(life.state(), State::Online);
}

#[test]
fn what_was_online_before_a_restart_says_nothing_about_the_machine_after_it() {
    let (mut life, now) = online();
    life.handle_order(order(Desired::Running, 2), now);
    assert_eq!(life.poll_call(now), Some(Call::Start(Generation(2))));
    life.handle_outcome(Outcome::Done, now);
    assert_eq!(life.state(), State::Starting);
}

#[test]
fn a_machine_that_survived_the_service_is_taken_over_and_not_started_again() {
    let now = Instant::now();
    let mut life = Life::new(order(Desired::Running, 1), now);
    assert_eq!(life.poll_call(now), Some(Call::Inspect));
    life.handle_outcome(Outcome::Found(Machine::Up(FIRST)), now);
    assert_eq!(life.poll_call(now), None);
    life.handle_presence(Presence::Online, now);
    assert_eq!(life.state(), State::Online);
}

#[test]
fn a_failed_start_is_repeated_twice_and_then_the_advice_is_to_export_and_recreate() {
    let (mut life, mut now) = (running(), Instant::now());
    inspect(&mut life, now);
    for wait in [1, 5] {
        assert_eq!(life.poll_call(now), Some(Call::Start(FIRST)));
        life.handle_outcome(Outcome::Failed("No X server.".into()), now);
        assert_eq!(life.state(), State::Error);
        let problem = life.problem().unwrap();
        assert_eq!(problem.cause, "No X server.");
        assert!(problem.next_step.contains("started again"), "{problem:?}");
        assert_eq!(life.poll_call(now), None, "it waits");
        now += Duration::from_secs(wait);
    }
    assert_eq!(life.poll_call(now), Some(Call::Start(FIRST)));
    life.handle_outcome(Outcome::Failed("No X server.".into()), now);
    let problem = life.problem().unwrap();
    assert!(
        problem.next_step.contains("export your files"),
        "{problem:?}"
    );
    now += Duration::from_secs(3600);
    life.handle_timeout(now);
    assert_eq!((life.poll_call(now), life.poll_timeout()), (None, None));

    life.handle_order(order(Desired::Running, 2), now);
    assert_eq!(life.poll_call(now), Some(Call::Start(Generation(2))));
    life.handle_outcome(Outcome::Failed("No X server.".into()), now);
    let problem = life.problem().unwrap();
    assert!(
        problem.next_step.contains("export your files"),
        "{problem:?}"
    );
}

#[test]
fn a_desktop_that_stays_online_has_recovered() {
    let (mut life, mut now) = online();
    for _ in 0..10 {
        now += STABLE_AFTER;
        life.handle_timeout(now);
        assert_eq!(life.poll_call(now), Some(Call::Inspect));
        let broken = Machine::Broken(FIRST, "The window manager has ended.".into());
        life.handle_outcome(Outcome::Found(broken), now);
        assert_eq!(life.state(), State::Error);
        now += Duration::from_secs(1);
        assert_eq!(life.poll_call(now), Some(Call::Start(FIRST)));
        life.handle_outcome(Outcome::Done, now);
        life.handle_presence(Presence::Online, now);
        assert_eq!(life.state(), State::Online);
    }
}

#[test]
fn a_silent_agent_host_is_an_error_when_its_time_is_over() {
    let (mut life, now) = online();
    life.handle_presence(Presence::Absent, now);
    assert_eq!(life.state(), State::Starting);
    let late = now + ONLINE_WITHIN;
    life.handle_timeout(late);
    assert_eq!(life.state(), State::Error);
    assert!(life.problem().unwrap().cause.contains("not heard from"));
    let next = late + Duration::from_secs(1);
    assert_eq!(life.poll_call(next), Some(Call::Start(FIRST)));
}

#[test]
fn a_driver_that_said_done_and_did_nothing_is_found_out() {
    let (mut life, now) = started();
    let later = now + INSPECT_EVERY;
    assert_eq!(life.poll_call(later), Some(Call::Inspect));
    life.handle_outcome(Outcome::Found(Machine::Absent), later);
    assert_eq!(life.state(), State::Error);
}

#[test]
fn a_deletion_during_a_start_waits_for_it_and_nothing_brings_the_desktop_back() {
    let (mut life, now) = (running(), Instant::now());
    inspect(&mut life, now);
    assert_eq!(life.poll_call(now), Some(Call::Start(FIRST)));
    life.handle_order(order(Desired::Deleted, 1), now);
    assert_eq!(life.poll_call(now), None);
    life.handle_order(order(Desired::Running, 2), now);
    life.handle_outcome(Outcome::Done, now);
    assert_eq!(life.poll_call(now), Some(Call::Destroy));
    life.handle_outcome(Outcome::Failed("The disk is read-only.".into()), now);
    assert_eq!(life.poll_call(now), None);
    let later = life.poll_timeout().unwrap();
    assert_eq!(life.poll_call(later), Some(Call::Destroy));
    life.handle_outcome(Outcome::Done, later);
    assert!(life.is_gone());
    assert_eq!(life.poll_timeout(), None);
}

#[test]
fn a_stopped_desktop_costs_nothing() {
    let (mut life, now) = online();
    life.handle_order(order(Desired::Stopped, 1), now);
    assert_eq!(life.poll_call(now), Some(Call::Stop));
    life.handle_outcome(Outcome::Done, now);
    life.handle_presence(Presence::Absent, now);
    assert_eq!(life.state(), State::Stopped);
    assert_eq!((life.poll_call(now), life.poll_timeout()), (None, None));
}

fn order(desired: Desired, generation: u32) -> Order {
    Order {
        desired,
        generation: Generation(generation),
        size: Size::Small,
    }
}

fn running() -> Life {
    Life::new(order(Desired::Running, 1), Instant::now())
}

fn inspect(life: &mut Life, now: Instant) {
    assert_eq!(life.poll_call(now), Some(Call::Inspect));
    life.handle_outcome(Outcome::Found(Machine::Absent), now);
}

/// Its machine is up, its agent host not heard from.
fn started() -> (Life, Instant) {
    let now = Instant::now();
    let mut life = Life::new(order(Desired::Running, 1), now);
    inspect(&mut life, now);
    assert_eq!(life.poll_call(now), Some(Call::Start(FIRST)));
    life.handle_outcome(Outcome::Done, now);
    (life, now)
}

fn online() -> (Life, Instant) {
    let (mut life, now) = started();
    life.handle_presence(Presence::Online, now);
    (life, now)
}
