//! Scenarios of the whole path under a virtual clock; `SEED=… cargo nextest run` repeats a failure.

use std::time::Duration;

use peer::{Event, IceState};
use protocol::signal::PathMode;
use tests::world::World;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Three seeds, or the one in the environment.
fn each_seed(scenario: impl Fn(u64)) {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        println!("SEED={seed}");
        scenario(seed);
    }
}

#[test]
fn a_viewer_sees_the_desktop_directly() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.connect(PathMode::Auto);
        let flow = world.stream(3 * SECOND);
        assert!(
            flow.arrived + 2 >= flow.sent as usize,
            "SEED={seed}: {flow:?}"
        );
        assert!(!world.is_relayed(), "SEED={seed}");
    });
}

#[test]
fn loss_on_the_way_is_repaired() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.rules.loss = 0.01;
        world.connect(PathMode::Auto);
        let flow = world.stream(5 * SECOND);
        assert!(
            flow.arrived * 10 >= flow.sent as usize * 9,
            "SEED={seed}: {flow:?}"
        );
    });
}

#[test]
fn when_everything_but_the_relay_is_blocked_the_relay_carries_the_picture() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.rules.direct = false;
        world.connect(PathMode::Auto);
        let before = world.relay.relayed;
        let flow = world.stream(3 * SECOND);
        assert!(
            flow.arrived + 2 >= flow.sent as usize,
            "SEED={seed}: {flow:?}"
        );
        assert!(world.is_relayed(), "SEED={seed}");
        assert!(world.relay.relayed > before + flow.sent, "SEED={seed}");
    });
}

#[test]
fn relay_mode_uses_the_relay_although_the_direct_path_is_open() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.connect(PathMode::Relay);
        world.stream(2 * SECOND);
        assert!(world.is_relayed(), "SEED={seed}");
    });
}

#[test]
fn after_a_path_dies_a_restart_finds_the_other_one() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.connect(PathMode::Auto);
        world.stream(SECOND);
        world.rules.direct = false;
        let died = world.now;
        world.run_until("the silence", |world| {
            let silent = |e: &&Event| matches!(e, Event::IceState(IceState::Disconnected));
            world.is_relayed() || world.viewer_events.iter().rev().any(|e| silent(&e))
        });
        assert!(world.now - died < 5 * SECOND, "SEED={seed}");
        world.restart_ice();
        world.run_until("the other path", World::is_relayed);
        let flow = world.stream(3 * SECOND);
        assert!(flow.arrived > 0, "SEED={seed}: {flow:?}");
    });
}

#[test]
fn media_goes_on_while_signalling_restarts() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.connect(PathMode::Auto);
        world.stop_signalling();
        let flow = world.stream(3 * SECOND);
        assert!(
            flow.arrived + 2 >= flow.sent as usize,
            "SEED={seed}: {flow:?}"
        );
        world.start_signalling();
        world.run_for(SECOND);
        world.refresh();
        world.run_until("the refresh", |world| world.refreshes == 1);
        let flow = world.stream(SECOND);
        assert!(
            flow.arrived + 2 >= flow.sent as usize,
            "SEED={seed}: {flow:?}"
        );
    });
}

#[test]
fn a_token_is_renewed_while_the_relayed_picture_runs() {
    each_seed(|seed| {
        let mut world = World::new(seed, 900 * SECOND);
        world.connect(PathMode::Relay);
        // Past two lives of the token and of the relay's allocation, and one of the credential.
        for round in 1..=4 {
            world.run_for(240 * SECOND);
            world.refresh();
            world.run_until("the refresh", |world| world.refreshes == round);
            let flow = world.stream(SECOND);
            assert!(
                flow.arrived + 2 >= flow.sent as usize,
                "SEED={seed}: {flow:?}"
            );
        }
        assert!(world.is_relayed(), "SEED={seed}");
    });
}

#[test]
fn after_the_relay_restarts_the_session_comes_back_through_it() {
    each_seed(|seed| {
        let mut world = World::new(seed, DAY);
        world.rules.direct = false;
        world.connect(PathMode::Auto);
        world.stream(SECOND);
        world.restart_relay();
        world.run_until("the silence", |world| {
            let last = world
                .viewer_events
                .iter()
                .rev()
                .find_map(|event| match event {
                    Event::IceState(state) => Some(*state),
                    _ => None,
                });
            last == Some(IceState::Disconnected)
        });
        let before = world.frames();
        for _ in 0..10 {
            world.restart_ice();
            world.stream(3 * SECOND);
            if world.frames() > before {
                break;
            }
        }
        assert!(world.frames() > before, "SEED={seed}");
    });
}
