use protocol::Secret;
use protocol::problem::Code;
use protocol::signal::{
    AgentSession, CANDIDATES_MAX, FromAgent, FromViewer, Grant, PathMode, Role, VERSION,
};
use protocol::token::{SigningKey, TICKET_TTL};
use rand::RngExt;

use super::*;
use crate::grant::{Region, Relay, Terms};
use crate::instances::{InstanceRecord, hash};
use crate::sessions::{RELOAD_GRACE, SESSIONS_PER_INSTANCE_MAX};

const VIEWER: ConnectionId = ConnectionId(1);
const AGENT: ConnectionId = ConnectionId(2);
const TTL: Duration = Duration::from_secs(600);

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

#[test]
fn offers_answers_and_candidates_reach_the_other_end() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    let session = grant.session;
    let sdp = || String::from("v=0\r\n");

    world.view(VIEWER, FromViewer::Offer { sdp: sdp() });
    world.view(
        VIEWER,
        FromViewer::Candidate {
            candidate: candidate("candidate:1"),
        },
    );
    world.serve(
        AGENT,
        FromAgent::Answer {
            session,
            sdp: sdp(),
        },
    );
    world.serve(
        AGENT,
        FromAgent::Candidate {
            session,
            candidate: candidate(""),
        },
    );

    assert_eq!(
        world.outputs(),
        [
            Output::ToAgent(
                AGENT,
                ToAgent::Offer {
                    session,
                    sdp: sdp()
                }
            ),
            Output::ToAgent(
                AGENT,
                ToAgent::Candidate {
                    session,
                    candidate: candidate("candidate:1")
                }
            ),
            Output::ToViewer(VIEWER, ToViewer::Answer { sdp: sdp() }),
            Output::ToViewer(
                VIEWER,
                ToViewer::Candidate {
                    candidate: candidate("")
                }
            ),
        ]
    );
}

#[test]
fn candidates_above_the_bound_are_dropped_until_the_next_offer() {
    let mut world = World::online();
    world.open(VIEWER);
    let send = |world: &mut World| {
        for _ in 0..CANDIDATES_MAX + 10 {
            world.view(
                VIEWER,
                FromViewer::Candidate {
                    candidate: candidate("candidate:1"),
                },
            );
        }
        world.outputs().len()
    };
    assert_eq!(send(&mut world), CANDIDATES_MAX);
    assert_eq!(world.board.counters().candidates_dropped, 10);

    world.view(VIEWER, FromViewer::Offer { sdp: "v=0".into() });
    world.outputs();
    assert_eq!(send(&mut world), CANDIDATES_MAX);
}

#[test]
fn a_candidate_that_is_too_long_or_has_control_characters_is_dropped() {
    let mut world = World::online();
    let (grant, _) = world.open(VIEWER);
    for text in [
        "x".repeat(CANDIDATE_LEN_MAX + 1),
        "candidate:1\r\na=x".into(),
    ] {
        world.view(
            VIEWER,
            FromViewer::Candidate {
                candidate: candidate(&text),
            },
        );
        world.serve(
            AGENT,
            FromAgent::Candidate {
                session: grant.session,
                candidate: candidate(&text),
            },
        );
    }
    assert_eq!(world.outputs(), []);
    assert_eq!(world.board.counters().candidates_dropped, 4);
}

#[test]
fn an_offer_above_the_bound_fails_and_the_session_stays() {
    let mut world = World::online();
    world.open(VIEWER);
    world.view(
        VIEWER,
        FromViewer::Offer {
            sdp: "x".repeat(SDP_LEN_MAX + 1),
        },
    );
    let outputs = world.outputs();
    assert!(
        matches!(outputs.as_slice(), [Output::ToViewer(_, ToViewer::Failed { problem })] if problem.code == Code::MessageTooLarge),
        "{outputs:?}"
    );
    assert_eq!(world.board.sessions().len(), 1);
}

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

/// The switchboard with a clock and the database a shell would keep.
struct World {
    board: Switchboard,
    granter: Arc<Granter>,
    rows: Vec<SessionRow>,
    spent: Vec<(SessionId, u64)>,
    next_ticket: u128,
    starts: u8,
    now: Instant,
    unix_now: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Frame {
    Captured,
    None,
}

impl World {
    fn new() -> Self {
        Self::with_regions(vec![Region {
            id: "eu".into(),
            relays: vec![Relay {
                urls: vec![
                    "turn:relay.test:3478?transport=udp".into(),
                    "turns:relay.test:443?transport=tcp".into(),
                ],
                shared_secrets: vec![Secret::new("new"), Secret::new("old")],
            }],
        }])
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn with_regions(regions: Vec<Region>) -> Self {
        let key = SigningKey::from_seed([7; 32]).unwrap();
        let granter = Arc::new(Granter::new(&key, regions, Terms::default()).unwrap());
        let now = Instant::now();
        Self {
            board: Switchboard::new(granter.clone(), [1; 32], now),
            granter,
            rows: Vec::new(),
            spent: Vec::new(),
            next_ticket: 0,
            starts: 1,
            now,
            unix_now: Duration::from_secs(1_800_000_000),
        }
    }

    /// With the agent host of "desk" registered.
    fn online() -> Self {
        let mut world = Self::new();
        world.register(AGENT, &[]);
        world.outputs();
        world
    }

    fn restart(&mut self) {
        self.outputs();
        // Another process, another seed.
        self.starts += 1;
        self.board = Switchboard::new(self.granter.clone(), [self.starts; 32], self.now);
        self.board.load(
            self.rows.clone(),
            self.spent.clone(),
            self.unix_now,
            self.now,
        );
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_now += time;
        self.board.handle_timeout(self.unix_now, self.now);
        assert!(self.board.poll_timeout() > self.now);
        self.store();
    }

    fn ticket(&mut self, name: &str) -> Secret {
        self.next_ticket += 1;
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(self.next_ticket));
        self.granter
            .ticket(
                id,
                instance(name),
                Role::Control,
                "k1".into(),
                self.unix_now,
            )
            .unwrap()
    }

    fn view(&mut self, viewer: ConnectionId, message: FromViewer) {
        self.board
            .handle_viewer(viewer, message, self.unix_now, self.now);
        self.store();
    }

    fn serve(&mut self, agent: ConnectionId, message: FromAgent) {
        self.board.handle_agent(agent, message);
        self.store();
    }

    fn register(&mut self, agent: ConnectionId, sessions: &[SessionId]) {
        self.register_as(agent, "desk", sessions, Frame::Captured);
    }

    fn register_as(
        &mut self,
        agent: ConnectionId,
        name: &str,
        sessions: &[SessionId],
        frame: Frame,
    ) {
        self.board.handle_registration(
            agent,
            &registration(name, sessions, frame),
            Some(&record(name)),
            self.now,
        );
    }

    fn open(&mut self, viewer: ConnectionId) -> (Grant, AgentSession) {
        self.outputs();
        let ticket = self.ticket("desk");
        self.view(viewer, open(&ticket));
        let outputs = self.outputs();
        let opened = outputs.iter().find_map(|output| match output {
            Output::ToAgent(_, ToAgent::SessionOpened { session }) => Some(session.clone()),
            _ => None,
        });
        (granted(&outputs), opened.unwrap())
    }

    fn refresh(&mut self, viewer: ConnectionId, handle: &Secret) -> Grant {
        self.outputs();
        self.view(viewer, refresh(handle));
        let outputs = self.outputs();
        let renewed = outputs.iter().find_map(|output| match output {
            Output::ToViewer(_, ToViewer::Refreshed { grant }) => Some(grant.clone()),
            _ => None,
        });
        renewed.unwrap_or_else(|| panic!("not refreshed: {outputs:?}"))
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.store();
        std::mem::take(&mut self.board.outputs).into()
    }

    /// What a shell does with effects; doing it twice changes nothing.
    fn store(&mut self) {
        for output in &self.board.outputs {
            match output {
                Output::Persist(Effect::SessionStored(row)) => {
                    self.rows.retain(|known| known.session != row.session);
                    if self.board.sessions.session(row.session).is_some() {
                        self.rows.push(row.clone());
                    }
                }
                Output::Persist(Effect::SessionRemoved(session)) => {
                    self.rows.retain(|known| known.session != *session);
                }
                Output::Persist(Effect::TicketSpent {
                    ticket,
                    expires_unix,
                }) => {
                    self.spent.push((*ticket, *expires_unix));
                }
                _ => {}
            }
        }
    }

    fn random_step(&mut self, rng: &mut StdRng, grants: &mut Vec<Grant>) {
        let connection = ConnectionId(rng.random_range(1..8));
        let grant = grants.get(rng.random_range(0..8)).cloned();
        match (rng.random_range(0..12), grant) {
            (0 | 1, _) => {
                let ticket = self.ticket("desk");
                self.view(connection, open(&ticket));
            }
            (2, Some(grant)) => self.view(connection, resume(&grant.token)),
            (3 | 4, Some(grant)) => self.view(connection, refresh(&grant.refresh_handle)),
            (5, _) => self.view(connection, FromViewer::Close),
            (6, _) => self.board.handle_viewer_gone(connection, self.now),
            (7, Some(grant)) => self.register(AGENT, &[grant.session]),
            (8, _) => self.board.handle_agent_gone(AGENT),
            (9, Some(grant)) => {
                let problem = refusal::session_ended();
                self.serve(
                    AGENT,
                    FromAgent::Close {
                        session: grant.session,
                        problem,
                    },
                );
            }
            (10, _) => self.restart(),
            _ => self.pass(Duration::from_secs(rng.random_range(0..300))),
        }
        for output in self.outputs() {
            if let Output::ToViewer(
                _,
                ToViewer::Granted { grant } | ToViewer::Refreshed { grant },
            ) = output
            {
                grants.insert(0, grant);
                grants.truncate(8);
            }
        }
    }
}

fn granted(outputs: &[Output]) -> Grant {
    let grant = outputs.iter().find_map(|output| match output {
        Output::ToViewer(_, ToViewer::Granted { grant }) => Some(grant.clone()),
        _ => None,
    });
    grant.unwrap_or_else(|| panic!("not granted: {outputs:?}"))
}

/// The code a viewer was sent away with; its socket must be closed after it.
fn refusal_of(outputs: &[Output]) -> Code {
    let told = outputs.iter().find_map(|output| match output {
        Output::ToViewer(viewer, ToViewer::Closed { problem }) => Some((*viewer, problem.code)),
        _ => None,
    });
    let (viewer, code) = told.unwrap_or_else(|| panic!("not refused: {outputs:?}"));
    assert!(outputs.contains(&Output::Disconnect(viewer)));
    code
}

fn open(ticket: &Secret) -> FromViewer {
    open_as(ticket, PathMode::Auto)
}

fn open_as(ticket: &Secret, mode: PathMode) -> FromViewer {
    FromViewer::Open {
        version: VERSION,
        ticket: ticket.clone(),
        mode,
    }
}

fn resume(token: &Secret) -> FromViewer {
    FromViewer::Resume {
        version: VERSION,
        token: token.clone(),
    }
}

fn refresh(handle: &Secret) -> FromViewer {
    FromViewer::Refresh {
        handle: handle.clone(),
    }
}

fn candidate(text: &str) -> Candidate {
    Candidate {
        candidate: text.into(),
        mid: Some("0".into()),
        username_fragment: None,
    }
}

fn instance(name: &str) -> InstanceId {
    InstanceId::new(name).unwrap()
}

fn record(name: &str) -> InstanceRecord {
    InstanceRecord {
        instance: instance(name),
        region: "eu".into(),
        credential_hash: hash(&Secret::new(format!("credential of {name}"))),
    }
}

fn registration(name: &str, sessions: &[SessionId], frame: Frame) -> Registration {
    Registration {
        version: VERSION,
        instance: instance(name),
        credential: Secret::new(format!("credential of {name}")),
        sessions: sessions.to_vec(),
        captured: frame == Frame::Captured,
    }
}
