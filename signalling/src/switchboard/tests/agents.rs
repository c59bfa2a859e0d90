//! Agent hosts: registration, fencing, coming back.

use super::*;

#[test]
fn a_second_registration_fences_the_first() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let second = ConnectionId(7);
    world.register(second, &[]);
    world.outputs();

    world.serve(
        AGENT,
        FromAgent::Answer {
            session: grant.session,
            sdp: "v=0".into(),
        },
    );
    let outputs = world.outputs();
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, Output::ToViewer(..))),
        "the fenced one speaks to nobody: {outputs:?}"
    );

    world.board.handle_agent_gone(AGENT);
    assert_eq!(world.board.presence(&instance("desk")), Presence::Online);
    assert_eq!(world.board.counters().agents_fenced, 1);
}

#[test]
fn a_wrong_credential_and_an_unknown_instance_are_refused_alike() {
    let mut world = World::new();
    let mut registration = registration("desk", &[], Frame::Captured);
    registration.credential = Secret::new("wrong");
    world
        .board
        .handle_registration(AGENT, &registration, Some(&record("desk")), world.now);
    let wrong = world.outputs();
    world
        .board
        .handle_registration(AGENT, &registration, None, world.now);
    assert_eq!(wrong, world.outputs());
    assert!(world.board.instances().is_empty());
}

#[test]
fn the_credential_of_one_instance_registers_no_other() {
    let mut world = World::new();
    let registration = registration("other", &[], Frame::Captured);
    world
        .board
        .handle_registration(AGENT, &registration, Some(&record("desk")), world.now);
    assert!(world.board.instances().is_empty());
}

#[test]
fn an_agent_host_reaches_no_session_of_another_instance() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let stranger = ConnectionId(7);
    world.register_as(stranger, "other", &[], Frame::Captured);
    world.outputs();
    let session = grant.session;
    let problem = refusal::session_ended();

    world.serve(
        stranger,
        FromAgent::Answer {
            session,
            sdp: "v=0".into(),
        },
    );
    world.serve(stranger, FromAgent::Close { session, problem });
    let outputs = world.outputs();
    assert!(outputs.iter().all(|output| matches!(output,
        Output::ToAgent(ConnectionId(7), ToAgent::SessionClosed { problem, .. }) if problem.code == Code::SessionExpired)));
    assert_eq!(world.board.sessions().len(), 1);
}

#[test]
fn a_returning_agent_host_is_brought_in_line_with_the_sessions_there_are() {
    let mut world = World::online();
    let (kept, _) = world.open(VIEWER);
    let (forgotten, _) = world.open(ConnectionId(3));
    let stale = SessionId::from_uuid(uuid::Uuid::from_u128(99));
    world.board.handle_agent_gone(AGENT);
    world.outputs();

    let back = ConnectionId(8);
    world.register(back, &[kept.session, stale]);
    let outputs = world.outputs();
    let told = |wanted: &dyn Fn(&ToAgent) -> bool| {
        outputs
            .iter()
            .any(|output| matches!(output, Output::ToAgent(agent, message) if *agent == back && wanted(message)))
    };
    assert!(told(
        &|message| matches!(message, ToAgent::SessionRenewed { session } if session.session == kept.session)
    ));
    assert!(told(
        &|message| matches!(message, ToAgent::SessionOpened { session } if session.session == forgotten.session)
    ));
    assert!(told(
        &|message| matches!(message, ToAgent::SessionClosed { session, .. } if *session == stale)
    ));
    assert!(outputs.contains(&Output::ToViewer(
        VIEWER,
        ToViewer::AgentOnline { online: true }
    )));
}

#[test]
fn viewers_are_told_when_the_agent_host_goes_and_keep_their_session() {
    let mut world = World::online();
    world.open(VIEWER);
    world.board.handle_agent_gone(AGENT);
    assert_eq!(
        world.outputs(),
        [Output::ToViewer(
            VIEWER,
            ToViewer::AgentOnline { online: false }
        )]
    );
    world.view(VIEWER, FromViewer::Offer { sdp: "v=0".into() });
    let outputs = world.outputs();
    assert!(
        matches!(outputs.as_slice(), [Output::ToViewer(_, ToViewer::Failed { problem })] if problem.code == Code::InstanceNotOnline),
        "{outputs:?}"
    );
}

#[test]
fn idleness_seen_by_the_agent_host_ends_the_session_with_its_reason() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let problem = Problem::new(Code::SessionIdle, "Idle.", "Connect again.");
    world.serve(
        AGENT,
        FromAgent::Close {
            session: grant.session,
            problem,
        },
    );
    assert_eq!(refusal_of(&world.outputs()), Code::SessionIdle);
}
