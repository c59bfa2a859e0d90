//! Two nodes and one instance.

use super::*;

#[test]
fn a_higher_claim_elsewhere_takes_the_instance_and_stores_nothing() {
    let mut world = World::new();
    let desk = instance("desk");
    assert!(world.board.note_claim(&desk, 1));
    world.register(AGENT, &[]);
    let (grant, _) = world.open(VIEWER);
    world.outputs();

    world.board.handle_claim(&desk, 2);
    let outputs: Vec<_> = std::iter::from_fn(|| world.board.poll_output()).collect();
    assert!(outputs.contains(&Output::SendAway(VIEWER)));
    assert!(outputs.contains(&Output::Disconnect(AGENT)));
    let stored = |output: &Output| matches!(output, Output::Persist(_));
    assert!(!outputs.iter().any(stored), "{outputs:?}");
    assert!(world.board.sessions().session(grant.session).is_none());
    assert_eq!(world.board.presence(&desk), Presence::Absent);
}

#[test]
fn an_older_claim_changes_nothing_and_registers_nobody() {
    let mut world = World::new();
    let desk = instance("desk");
    assert!(world.board.note_claim(&desk, 5));
    world.register(AGENT, &[]);
    for claim in [4, 5] {
        world.board.handle_claim(&desk, claim);
    }
    assert_eq!(world.board.presence(&desk), Presence::Online);
    assert!(!world.board.note_claim(&desk, 4));
}

#[test]
fn sessions_that_never_left_are_not_loaded_again() {
    let mut world = World::new();
    world.register(AGENT, &[]);
    let (grant, _) = world.open(VIEWER);
    let row = world.board.sessions().session(grant.session).unwrap();
    let row = row.row.clone();
    let (unix_now, now) = (world.unix_now, world.now);
    world.board.load([row], [], unix_now, now);
    let kept = world.board.sessions().session(grant.session).unwrap();
    assert_eq!(kept.viewer, Some(VIEWER));
}
