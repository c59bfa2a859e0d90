//! How sessions begin, and who is refused.

use super::*;

#[test]
fn a_ticket_opens_a_session_that_both_ends_are_told_of_after_it_is_stored() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(VIEWER, open(&ticket));

    let outputs = world.outputs();
    let [
        Output::Persist(Effect::TicketSpent { .. }),
        Output::Persist(Effect::SessionStored(row)),
        Output::ToViewer(VIEWER, ToViewer::Granted { grant }),
        Output::ToAgent(AGENT, ToAgent::SessionOpened { session }),
    ] = outputs.as_slice()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(row.session, grant.session);
    assert_eq!(session.session, grant.session);
    assert_eq!(grant.expires_in_secs, TTL.as_secs());
}

#[test]
fn viewer_and_agent_host_get_different_relay_credentials_of_the_region() {
    let mut world = World::online();
    let (grant, session) = world.open(VIEWER);

    let viewer = grant.ice_servers.first().unwrap();
    let agent = session.ice_servers.first().unwrap();
    assert_eq!(viewer.urls, agent.urls);
    assert_eq!(viewer.region, "eu");
    assert_ne!(viewer.username, agent.username);
    assert_ne!(viewer.credential, agent.credential);
    assert!(viewer.username.ends_with(&format!(":{}", grant.session)));
}

#[test]
fn a_session_that_avoids_the_relay_is_given_no_credential_for_it() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(VIEWER, open_as(&ticket, PathMode::Direct));
    let grant = granted(&world.outputs());

    let urls: Vec<_> = grant
        .ice_servers
        .iter()
        .flat_map(|server| &server.urls)
        .collect();
    assert_eq!(urls, ["stun:relay.test:3478"]);
    assert!(
        grant
            .ice_servers
            .iter()
            .all(|server| server.username.is_empty())
    );
}

#[test]
fn a_ticket_opens_one_session_and_no_second() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(VIEWER, open(&ticket));
    world.outputs();

    world.view(ConnectionId(3), open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::TicketUsed);
    assert_eq!(world.board.counters().opens_refused, 1);
}

#[test]
fn a_ticket_spent_before_a_restart_is_still_spent_after_it() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(VIEWER, open(&ticket));

    world.restart();
    world.register(AGENT, &[]);
    world.view(VIEWER, open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::TicketUsed);
}

#[test]
fn a_ticket_older_than_its_time_is_expired_and_says_so() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.pass(TICKET_TTL + Duration::from_secs(6));
    world.view(VIEWER, open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::TicketExpired);
}

#[test]
fn a_viewer_without_a_valid_ticket_learns_nothing_about_the_instance() {
    let mut online = World::online();
    let mut offline = World::new();
    for ticket in ["", "x", "a.b.c"] {
        let ticket = Secret::new(ticket);
        online.view(VIEWER, open(&ticket));
        offline.view(VIEWER, open(&ticket));
        let told = online.outputs();
        assert_eq!(told, offline.outputs());
        assert_eq!(refusal_of(&told), Code::TokenInvalid);
    }
}

#[test]
fn an_instance_is_not_online_until_its_agent_host_has_captured_a_frame() {
    let mut world = World::new();
    let ticket = world.ticket("desk");
    world.view(VIEWER, open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::InstanceNotOnline);

    world.register_as(AGENT, "desk", &[], Frame::None);
    assert_eq!(world.board.presence(&instance("desk")), Presence::Starting);
    world.view(VIEWER, open(&ticket));
    assert_eq!(refusal_of(&world.outputs()), Code::InstanceNotOnline);

    world.serve(AGENT, FromAgent::Captured { captured: true });
    assert_eq!(world.board.presence(&instance("desk")), Presence::Online);
    world.view(VIEWER, open(&ticket));
    granted(&world.outputs());
}

#[test]
fn a_region_without_a_relay_refuses_only_who_insists_on_one() {
    let mut world = World::with_regions(vec![]);
    world.register(AGENT, &[]);
    let ticket = world.ticket("desk");
    world.view(VIEWER, open_as(&ticket, PathMode::Relay));
    assert_eq!(refusal_of(&world.outputs()), Code::RegionUnavailable);

    world.view(VIEWER, open_as(&ticket, PathMode::Auto));
    assert!(granted(&world.outputs()).ice_servers.is_empty());
}

#[test]
fn a_peer_of_another_version_is_told_so() {
    let mut world = World::online();
    let ticket = world.ticket("desk");
    world.view(
        VIEWER,
        FromViewer::Open {
            version: VERSION + 1,
            ticket,
            mode: PathMode::Auto,
            round_trips_ms: Default::default(),
        },
    );
    assert_eq!(refusal_of(&world.outputs()), Code::ProtocolVersion);
}

#[test]
fn the_first_message_opens_or_resumes_and_nothing_else() {
    for message in [
        FromViewer::Close,
        FromViewer::Offer { sdp: "v=0".into() },
        FromViewer::Refresh {
            handle: Secret::new("x"),
        },
    ] {
        let mut world = World::online();
        world.view(VIEWER, message);
        assert_eq!(refusal_of(&world.outputs()), Code::BadMessage);
    }
}
