//! Scenarios of the whole path under a virtual clock; `SEED=… cargo nextest run` repeats a failure.

use std::time::Duration;

use protocol::problem::Code;
use protocol::signal::PathMode;
use signalling::grant::Terms;
use tests::world::{Flow, Seat, World};

const SECOND: Duration = Duration::from_secs(1);

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

/// Everything made was shown, but for what is still on its way.
fn all_shown(flow: Flow) -> bool {
    flow.made > 0 && flow.shown as u64 + 2 >= flow.made
}

fn short_tokens() -> Terms {
    Terms {
        token_ttl: 20 * SECOND,
        ..Terms::default()
    }
}

#[test]
fn a_viewer_sees_the_desktop_directly() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        let flow = world.stream(3 * SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        assert!(!world.seat().is_relayed(), "SEED={seed}");
    });
}

#[test]
fn loss_on_the_way_is_repaired() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.rules.loss = 0.01;
        world.connect(PathMode::Auto);
        let flow = world.stream(5 * SECOND);
        assert!(
            flow.shown as u64 * 10 >= flow.made * 9,
            "SEED={seed}: {flow:?}"
        );
    });
}

#[test]
fn a_first_picture_comes_even_if_a_quarter_of_all_packets_is_lost() {
    let seeds = if std::env::var("SEED").is_ok() { 1 } else { 7 };
    for round in 0..seeds {
        each_seed(|seed| {
            let mut world = World::new(seed + 10 * round);
            world.rules.loss = 0.25;
            world.connect(PathMode::Auto);
        });
    }
}

#[test]
fn when_everything_but_the_relay_is_blocked_the_relay_carries_the_picture() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.rules.direct = false;
        world.connect(PathMode::Auto);
        let before = world.relay.relayed;
        let flow = world.stream(3 * SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        assert!(world.seat().is_relayed(), "SEED={seed}");
        assert!(world.relay.relayed > before + flow.made, "SEED={seed}");
    });
}

#[test]
fn relay_mode_uses_the_relay_although_the_direct_path_is_open() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Relay);
        world.stream(2 * SECOND);
        assert!(world.seat().is_relayed(), "SEED={seed}");
    });
}

#[test]
fn after_the_direct_path_dies_the_viewer_finds_the_relay_by_itself() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        world.stream(SECOND);
        world.rules.direct = false;
        let died = world.now;
        world.run_until("the other path", |world| world.seat().is_relayed());
        assert!(world.now - died < 15 * SECOND, "SEED={seed}");
        // What was lost on the dead path is made good by a key frame first.
        world.stream(2 * SECOND);
        let flow = world.stream(3 * SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
    });
}

#[test]
fn after_a_silence_too_long_for_a_restart_a_fresh_connection_takes_over() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        world.rules.loss = 1.0;
        world.run_until("a fresh connection", |world| world.seat().peers > 1);
        world.rules.loss = 0.0;
        world.run_until("the path", |world| world.seat().is_live());
        world.stream(SECOND);
        let flow = world.stream(SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
    });
}

#[test]
fn media_goes_on_while_signalling_restarts_and_both_ends_come_back_to_it() {
    each_seed(|seed| {
        let mut world = World::with(seed, short_tokens());
        world.connect(PathMode::Auto);
        world.stop_signalling();
        let flow = world.stream(3 * SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        world.start_signalling();
        world.run_until("a renewal", |world| world.cloud.refreshes > 0);
        let flow = world.stream(SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        assert_eq!(world.seat().peers, 1, "SEED={seed}: media was not touched");
    });
}

#[test]
fn a_token_is_renewed_again_and_again_while_the_relayed_picture_runs() {
    each_seed(|seed| {
        let mut world = World::with(seed, short_tokens());
        world.connect(PathMode::Relay);
        for _ in 0..5 {
            world.run_for(20 * SECOND);
            let flow = world.stream(SECOND);
            assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        }
        assert!(world.cloud.refreshes >= 5, "SEED={seed}");
        assert!(world.seat().is_relayed(), "SEED={seed}");
    });
}

#[test]
fn a_renewal_whose_answer_is_lost_logs_nobody_out() {
    each_seed(|seed| {
        let mut world = World::with(seed, short_tokens());
        world.connect(PathMode::Auto);
        for round in 1..=3 {
            let before = world.cloud.refreshes;
            world.run_until("a renewal", |world| world.cloud.refreshes > before);
            // It was made and is on its way.
            world.cut_seat(0);
            let next = world.cloud.refreshes;
            world.run_until("the next", |world| world.cloud.refreshes > next);
            let flow = world.stream(SECOND);
            assert!(all_shown(flow), "SEED={seed}, round {round}: {flow:?}");
        }
        assert_eq!(world.seat().peers, 1, "SEED={seed}");
    });
}

#[test]
fn a_session_that_nobody_renews_expires_and_the_next_click_works() {
    each_seed(|seed| {
        let mut world = World::with(seed, short_tokens());
        world.connect(PathMode::Auto);
        world.stop_signalling();
        // The agent host holds the line: it stops serving when the token's time is over.
        world.run_until("the end on the desktop", |world| world.desk.sessions() == 0);
        world.start_signalling();
        world.run_until("the end in the viewer", |world| {
            world.seat().end().is_some()
        });
        world.run_until("the desktop", |world| world.desk.is_online());
        let next = world.connect(PathMode::Auto);
        assert!(world.seats[next].is_live(), "SEED={seed}");
    });
}

#[test]
fn without_input_for_too_long_the_session_ends_and_says_so() {
    each_seed(|seed| {
        let terms = Terms {
            idle_timeout: 60 * SECOND,
            ..Terms::default()
        };
        let mut world = World::with(seed, terms);
        world.connect(PathMode::Auto);
        world.seats[0].press([0x61]);
        world.run_until("the end", |world| world.seat().end().is_some());
        assert_eq!(world.seat().end(), Some(Code::SessionIdle), "SEED={seed}");
        assert_eq!(world.desk.sessions(), 0, "SEED={seed}");
        assert!(world.desk.held.is_empty(), "SEED={seed}: a key is stuck");
    });
}

#[test]
fn a_ticket_opens_one_session_and_no_second_one() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        world.cloud.keep_last_ticket();
        let thief = world.sit_down(PathMode::Auto);
        world.run_until("the refusal", |world| world.seats[thief].end().is_some());
        assert_eq!(
            world.seats[thief].end(),
            Some(Code::TicketUsed),
            "SEED={seed}"
        );
        assert_eq!(world.cloud.sessions(), 1, "SEED={seed}");
        assert!(world.seats[thief].session.policy().is_none(), "SEED={seed}");
    });
}

#[test]
fn two_viewers_see_the_same_desktop() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        let second = world.connect(PathMode::Relay);
        let before = world.seats[second].frames;
        let flow = world.stream(2 * SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        let shown = (world.seats[second].frames - before) as u64;
        assert!(shown + 3 >= flow.made, "SEED={seed}: {shown} of {flow:?}");
    });
}

#[test]
fn an_agent_host_that_restarts_serves_the_session_again() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        world.stream(SECOND);
        world.restart_desk();
        let before = world.seat().frames;
        world.run_until("the picture", |world| {
            world.seat().frames > before && world.seat().is_live()
        });
        let flow = world.stream(SECOND);
        assert!(all_shown(flow), "SEED={seed}: {flow:?}");
        assert!(world.seat().peers >= 2, "SEED={seed}");
    });
}

#[test]
fn after_the_relay_restarts_the_session_comes_back_through_it() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.rules.direct = false;
        world.connect(PathMode::Auto);
        world.stream(SECOND);
        world.restart_relay();
        world.run_until("the silence", |world| !world.seat().is_live());
        world.run_until("the path", |world| world.seat().is_live());
        let flow = world.stream(2 * SECOND);
        assert!(flow.shown > 0, "SEED={seed}: {flow:?}");
    });
}

#[test]
fn what_is_typed_arrives_once_and_in_order_whatever_is_lost() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.rules.loss = 0.05;
        world.connect(PathMode::Auto);
        let keys = 0x20..0x7f_u32;
        world.seats[0].press(keys.clone());
        world.run_until("the last key", |world| {
            world.desk.injected.len() >= keys.len()
        });
        let expected: Vec<u32> = keys.clone().collect();
        assert_eq!(world.desk.injected, expected, "SEED={seed}");
    });
}

#[test]
fn a_viewer_that_leaves_takes_its_session_with_it_at_once() {
    each_seed(|seed| {
        let mut world = World::new(seed);
        world.connect(PathMode::Auto);
        world.seats[0].session.handle_leave();
        world.run_for(SECOND);
        assert_eq!(
            (world.desk.sessions(), world.cloud.sessions()),
            (0, 0),
            "SEED={seed}"
        );
        assert_eq!(world.seat().end(), Some(Code::SessionEnded), "SEED={seed}");
        assert!(!world.seats.iter().any(Seat::is_live), "SEED={seed}");
    });
}
