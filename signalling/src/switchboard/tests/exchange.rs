//! What passes between the ends, and how much of it.

use super::*;

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
