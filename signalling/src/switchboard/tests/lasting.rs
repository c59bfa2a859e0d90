//! What outlives a restart, what ends from outside, and random runs.

use super::*;

#[test]
fn a_restart_loses_no_session() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let renewed = world.refresh(VIEWER, &grant.refresh_handle);
    world.restart();

    world.view(VIEWER, resume(&grant.token));
    world.register(AGENT, &[grant.session]);
    let outputs = world.outputs();
    assert!(
        outputs.contains(&Output::ToViewer(VIEWER, ToViewer::Resumed)),
        "{outputs:?}"
    );
    let again = world.refresh(VIEWER, &grant.refresh_handle);
    assert_eq!(again, renewed, "the answer lost with the old process");
}

#[test]
fn a_session_that_expired_while_the_service_was_down_is_renewed_after_it() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.now += Duration::from_secs(3_600);
    world.unix_now += Duration::from_secs(3_600);
    world.restart();
    world.register(AGENT, &[grant.session]);

    world.view(VIEWER, resume(&grant.token));
    assert!(
        world
            .outputs()
            .contains(&Output::ToViewer(VIEWER, ToViewer::Resumed))
    );
    world.refresh(VIEWER, &grant.refresh_handle);
    world.pass(Duration::from_secs(300));
    assert_eq!(world.board.sessions().len(), 1);
}

#[test]
fn a_reloaded_session_that_nobody_claims_expires() {
    let mut world = World::online();
    world.open(VIEWER);
    world.now += Duration::from_secs(3_600);
    world.unix_now += Duration::from_secs(3_600);
    world.restart();
    assert_eq!(world.board.sessions().len(), 1);
    world.pass(RELOAD_GRACE);
    assert!(world.board.sessions().is_empty());
    assert!(world.rows.is_empty());
}

#[test]
fn a_session_from_the_day_before_yesterday_is_not_reloaded() {
    let mut world = World::online();
    world.open(VIEWER);
    world.unix_now += Duration::from_secs(2 * 86_400);
    world.restart();
    assert!(world.board.sessions().is_empty());
    world.outputs();
    assert!(world.rows.is_empty());
}

#[test]
fn a_jump_of_the_wall_clock_ends_no_session() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    for jump in [86_400, 1] {
        world.unix_now = Duration::from_secs(jump);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.board.sessions().len(), 1);
    }
    world.refresh(VIEWER, &grant.refresh_handle);
}

#[test]
fn a_full_instance_makes_room_by_ending_whoever_is_away_longest() {
    let mut world = World::online();
    let mut sessions = Vec::new();
    for n in 0..SESSIONS_PER_INSTANCE_MAX as u64 {
        sessions.push(world.open(ConnectionId(100 + n)).0.session);
    }
    let ticket = world.ticket("desk");
    world.view(VIEWER, open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::TooMany);

    for n in [5, 3] {
        world
            .board
            .handle_viewer_gone(ConnectionId(100 + n), world.now);
        world.pass(Duration::from_secs(1));
    }
    world.view(VIEWER, open(&ticket));
    let outputs = world.outputs();
    granted(&outputs);
    assert!(outputs.contains(&Output::Persist(Effect::SessionRemoved(sessions[5]))));
}

#[test]
fn a_deleted_instance_and_a_revoked_key_end_their_sessions_and_no_others() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let known: HashSet<_> = [instance("desk")].into();
    world.board.handle_directory(&known, &HashSet::new());
    assert_eq!(world.outputs(), []);

    world
        .board
        .handle_directory(&known, &["k1".to_owned()].into());
    let outputs = world.outputs();
    assert_eq!(refusal_of(&outputs), Code::SessionEnded);
    assert!(outputs.contains(&Output::Persist(Effect::SessionRemoved(grant.session))));

    world
        .board
        .handle_directory(&HashSet::new(), &HashSet::new());
    assert!(world.outputs().contains(&Output::Disconnect(AGENT)));
    assert_eq!(world.board.presence(&instance("desk")), Presence::Absent);
}

#[test]
fn nothing_secret_is_stored_and_nothing_secret_is_shown() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let stored = format!("{:?}", world.rows);
    let shown = format!("{grant:?}");
    for secret in [
        &grant.token,
        &grant.refresh_handle,
        &grant.ice_servers[0].credential,
    ] {
        assert!(!stored.contains(secret.expose()));
        assert!(!shown.contains(secret.expose()));
    }
}

/// Random messages from random sockets: no panic, and what is stored is what is there.
#[test]
fn whatever_happens_what_is_stored_is_what_is_there() {
    for seed in 0..200 {
        let mut world = World::online();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut grants: Vec<Grant> = Vec::new();
        for _ in 0..200 {
            world.random_step(&mut rng, &mut grants);
            let open: HashSet<_> = world
                .board
                .sessions()
                .iter()
                .map(|session| session.row.clone())
                .map(|row| row.session)
                .collect();
            let stored: HashSet<_> = world.rows.iter().map(|row| row.session).collect();
            assert_eq!(open, stored, "seed {seed}");
        }
        world.pass(TTL * 2);
        assert!(world.board.sessions().is_empty(), "seed {seed}");
        assert!(world.rows.is_empty(), "seed {seed}");
    }
}
