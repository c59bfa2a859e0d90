//! Renewal, expiry and resumption.

use super::*;

#[test]
fn a_renewal_gives_a_new_handle_and_a_longer_life_without_touching_the_socket() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.pass(Duration::from_secs(480));
    let renewed = world.refresh(VIEWER, &grant.refresh_handle);

    assert_eq!(renewed.session, grant.session);
    assert_ne!(renewed.refresh_handle, grant.refresh_handle);
    assert_ne!(renewed.token, grant.token);
    world.pass(Duration::from_secs(500));
    assert_eq!(world.board.sessions().len(), 1, "980 s after the opening");
}

#[test]
fn a_lost_answer_to_a_renewal_may_be_asked_for_again_and_is_the_same() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let first = world.refresh(VIEWER, &grant.refresh_handle);
    world.pass(Duration::from_secs(29));
    let again = world.refresh(VIEWER, &grant.refresh_handle);

    assert_eq!(first, again);
    assert_eq!(world.board.counters().renewals, 1);
    assert_eq!(world.board.counters().renewals_repeated, 1);
}

#[test]
fn a_lost_answer_may_be_asked_for_again_after_a_resume_however_long_it_took() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.pass(Duration::from_secs(480));
    let first = world.refresh(VIEWER, &grant.refresh_handle);
    world.board.handle_viewer_gone(VIEWER, world.now);
    world.pass(Duration::from_secs(100));

    let back = ConnectionId(9);
    world.view(back, resume(&grant.token));
    world.outputs();
    assert_eq!(world.refresh(back, &grant.refresh_handle), first);
}

#[test]
fn a_replaced_handle_used_after_the_grace_ends_the_session() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.refresh(VIEWER, &grant.refresh_handle);
    world.pass(Duration::from_secs(31));
    world.view(VIEWER, refresh(&grant.refresh_handle));

    let outputs = world.outputs();
    assert_eq!(refusal_of(&outputs), Code::TokenInvalid);
    assert!(outputs.contains(&Output::Persist(Effect::SessionRemoved(grant.session))));
    assert_eq!(world.board.counters().handles_reused, 1);
}

#[test]
fn a_handle_two_generations_old_is_reused_even_within_the_grace() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let second = world.refresh(VIEWER, &grant.refresh_handle);
    world.refresh(VIEWER, &second.refresh_handle);
    world.view(VIEWER, refresh(&grant.refresh_handle));
    assert_eq!(refusal_of(&world.outputs()), Code::TokenInvalid);
}

#[test]
fn the_handle_of_another_session_renews_nothing() {
    let mut world = World::online();
    let (mine, _) = world.open(VIEWER);
    let (_theirs, _) = world.open(ConnectionId(3));
    world.view(ConnectionId(3), refresh(&mine.refresh_handle));
    let outputs = world.outputs();
    assert!(
        matches!(
            outputs.as_slice(),
            [Output::ToViewer(ConnectionId(3), ToViewer::Failed { .. })]
        ),
        "{outputs:?}"
    );
}

#[test]
fn a_session_that_is_not_renewed_expires_for_both_ends() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.pass(TTL + Duration::from_secs(6));

    let outputs = world.outputs();
    assert_eq!(refusal_of(&outputs), Code::SessionExpired);
    assert!(outputs.iter().any(|output| matches!(output,
        Output::ToAgent(AGENT, ToAgent::SessionClosed { session, .. }) if *session == grant.session)));
    assert!(world.board.sessions().is_empty());
}

#[test]
fn a_session_outlives_the_viewers_socket_and_is_resumed_with_its_token() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.board.handle_viewer_gone(VIEWER, world.now);
    let back = ConnectionId(9);
    world.view(back, resume(&grant.token));
    assert_eq!(
        world.outputs(),
        [
            Output::ToViewer(back, ToViewer::Resumed),
            Output::ToViewer(back, ToViewer::AgentOnline { online: true }),
        ]
    );
}

#[test]
fn a_resume_takes_over_from_a_socket_that_is_half_open() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let back = ConnectionId(9);
    world.view(back, resume(&grant.token));
    assert!(world.outputs().contains(&Output::Disconnect(VIEWER)));

    world.board.handle_viewer_gone(VIEWER, world.now);
    world.view(back, FromViewer::Offer { sdp: "v=0".into() });
    assert_eq!(
        world.outputs().len(),
        1,
        "the new socket still has the session"
    );
}

#[test]
fn a_token_of_a_session_that_is_over_resumes_nothing() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.view(VIEWER, FromViewer::Close);
    world.outputs();
    world.view(ConnectionId(9), resume(&grant.token));
    assert_eq!(refusal_of(&world.outputs()), Code::SessionExpired);
}

#[test]
fn an_old_token_expires_although_its_session_was_renewed() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    world.pass(Duration::from_secs(480));
    world.refresh(VIEWER, &grant.refresh_handle);
    world.pass(Duration::from_secs(200));
    world.view(ConnectionId(9), resume(&grant.token));
    assert_eq!(refusal_of(&world.outputs()), Code::SessionExpired);
}

#[test]
fn a_ticket_is_no_session_token_and_a_session_token_no_ticket() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(VIEWER, resume(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::TokenInvalid);

    let (grant, _) = world.open(VIEWER);
    world.view(ConnectionId(9), open(&grant.token));
    assert_eq!(refusal_of(&world.outputs()), Code::TokenInvalid);
}
