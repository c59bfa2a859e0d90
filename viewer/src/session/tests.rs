//! The session against a hand-cranked clock: every wait is jumped over, every answer is chosen.

use protocol::id::{InstanceId, SessionId};

use super::*;
use crate::path::{Kind, Transport};

#[test]
fn the_ticket_and_the_socket_are_fetched_side_by_side() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.session.handle_start(desk.now);
    assert_eq!(desk.commands(), [Command::FetchTicket, Command::OpenSocket]);
}

#[test]
fn a_granted_session_goes_live() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.open();
    assert_eq!(
        desk.commands(),
        [Command::Peer(PeerCommand::Start {
            ice_servers: vec![relay("eu-west")],
            attempt: Attempt::Any,
        })]
    );
    desk.offer("o1");
    assert_eq!(
        desk.commands(),
        [Command::Signal(FromViewer::Offer { sdp: "o1".into() })]
    );
    desk.answer("a1");
    assert_eq!(
        desk.commands(),
        [Command::Peer(PeerCommand::Answer { sdp: "a1".into() })]
    );
    desk.connected(direct());
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
}

#[test]
fn a_second_answer_to_one_offer_is_not_believed() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    desk.answer("forged");
    assert_eq!(desk.commands(), []);
}

#[test]
fn a_refused_access_key_closes_at_once_with_its_problem() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.session.handle_start(desk.now);
    let refused = problem(Code::AccessDenied);
    desk.session.handle_ticket(Err(refused.clone()), desk.now);
    assert_eq!(*desk.session.state(), State::Closed { problem: refused });
}

#[test]
fn an_unreachable_service_is_tried_until_the_deadline_and_then_said() {
    let mut desk = Desk::new(PathMode::Auto);
    let start = desk.now;
    desk.session.handle_start(desk.now);
    let mut tickets = 0;
    for _ in 0..200 {
        for command in desk.commands() {
            match command {
                Command::FetchTicket => {
                    tickets += 1;
                    let down = problem(Code::ServiceUnreachable);
                    desk.session.handle_ticket(Err(down), desk.now);
                }
                Command::OpenSocket => {
                    let down = problem(Code::ServiceUnreachable);
                    desk.session.handle_socket_lost(down, desk.now);
                }
                _ => {}
            }
        }
        if !desk.jump() {
            break;
        }
    }
    assert_eq!(desk.closed_with(), Some(Code::ServiceUnreachable));
    assert_eq!(desk.now - start, OPENING_MAX);
    assert!((4..30).contains(&tickets), "{tickets} tickets in 20 s");
}

#[test]
fn a_ticket_spent_on_a_lost_socket_is_replaced() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.session.handle_start(desk.now);
    desk.session
        .handle_ticket(Ok(Secret::new("t1").into()), desk.now);
    desk.session.handle_socket_opened(desk.now);
    desk.commands();
    desk.lose_socket();
    let mut opened = Vec::new();
    while opened.is_empty() {
        assert!(desk.jump());
        for command in desk.commands() {
            match command {
                Command::FetchTicket => desk
                    .session
                    .handle_ticket(Ok(Secret::new("t2").into()), desk.now),
                Command::OpenSocket => desk.session.handle_socket_opened(desk.now),
                Command::Signal(FromViewer::Open { ticket, .. }) => opened.push(ticket),
                _ => {}
            }
        }
    }
    assert_eq!(opened, [Secret::new("t2")]);
}

#[test]
fn an_attempt_without_a_path_falls_back_to_the_relay_and_then_gives_up() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.open();
    desk.commands();
    assert!(desk.jump_until(ATTEMPT_MAX));
    assert_eq!(
        *desk.session.state(),
        State::Connecting {
            attempt: Attempt::RelayOnly
        }
    );
    assert!(desk.jump_until(ATTEMPT_MAX));
    assert_eq!(desk.closed_with(), Some(Code::NoPath));
}

#[test]
fn the_service_may_narrow_the_mode() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.granted_mode = PathMode::Relay;
    desk.open();
    assert_eq!(
        *desk.session.state(),
        State::Connecting {
            attempt: Attempt::RelayOnly
        }
    );
}

#[test]
fn media_goes_on_while_signalling_is_down_and_the_socket_resumes() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    desk.lose_socket();
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
    assert_eq!(desk.jump_to_socket(), Some(Secret::new("token-1")));
    desk.session.handle_signal(ToViewer::Resumed, desk.now);
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
}

#[test]
fn an_offer_lost_with_its_socket_is_said_again_with_its_candidates() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.open();
    desk.offer("o1");
    let candidate = candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host");
    desk.session
        .handle_peer(PeerEvent::Candidate(candidate.clone()), desk.now);
    desk.lose_socket();
    desk.jump_to_socket();
    desk.session.handle_signal(ToViewer::Resumed, desk.now);
    let said: Vec<_> = desk.signals();
    assert_eq!(
        said,
        [
            FromViewer::Offer { sdp: "o1".into() },
            FromViewer::Candidate { candidate }
        ]
    );
}

#[test]
fn the_token_is_refreshed_without_touching_media() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    let handle = loop {
        assert!(desk.jump());
        desk.session.handle_signal(ToViewer::Pong, desk.now);
        if let Some(FromViewer::Refresh { handle }) = desk.signals().pop() {
            break handle;
        }
    };
    assert_eq!(handle, Secret::new("handle-1"));
    let grant = desk.grant(2);
    desk.session
        .handle_signal(ToViewer::Refreshed { grant }, desk.now);
    assert_eq!(
        desk.commands(),
        [Command::Peer(PeerCommand::RenewRelays {
            ice_servers: vec![relay("eu-west")]
        })]
    );
    desk.lose_socket();
    assert_eq!(desk.jump_to_socket(), Some(Secret::new("token-2")));
}

#[test]
fn a_lost_path_is_mended_by_an_ice_restart_first_and_a_fresh_peer_second() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    desk.session.handle_peer(PeerEvent::Lost, desk.now);
    assert_eq!(*desk.session.state(), State::Reconnecting);
    assert!(matches!(
        desk.peer_commands()[..],
        [PeerCommand::Restart { .. }]
    ));
    assert!(desk.jump_until(RESTART_MAX));
    assert!(matches!(
        desk.peer_commands()[..],
        [PeerCommand::Start { .. }]
    ));
    desk.connected(direct());
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
}

#[test]
fn an_agent_host_that_restarted_gets_a_fresh_peer_at_once() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    for online in [false, true] {
        desk.session
            .handle_signal(ToViewer::AgentOnline { online }, desk.now);
    }
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
    desk.session.handle_peer(PeerEvent::Lost, desk.now);
    assert!(matches!(
        desk.peer_commands()[..],
        [PeerCommand::Start { .. }]
    ));
}

#[test]
fn a_path_that_does_not_come_back_is_given_up_after_30_s() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    let lost_at = desk.now;
    desk.session.handle_peer(PeerEvent::Lost, desk.now);
    while desk.jump() {
        desk.session.handle_signal(ToViewer::Pong, desk.now);
    }
    assert_eq!(desk.closed_with(), Some(Code::NoPath));
    assert_eq!(desk.now - lost_at, RECOVERY_MAX);
}

#[test]
fn a_leaving_relay_moves_the_sessions_that_use_it_and_restarts_no_other() {
    for (path, restarts) in [(relayed(), true), (direct(), false)] {
        let mut desk = Desk::new(PathMode::Auto);
        desk.go_live(path);
        let ice_servers = vec![relay("eu-north")];
        desk.session
            .handle_signal(ToViewer::MoveRelay { ice_servers }, desk.now);
        // On a direct path only the allocation that is kept in reserve moves.
        match desk.peer_commands().as_slice() {
            [PeerCommand::Restart { .. }] => assert!(restarts),
            [PeerCommand::RenewRelays { .. }] => assert!(!restarts),
            other => panic!("{other:?}"),
        }
        assert!(matches!(desk.session.state(), State::Live { .. }));
    }
}

#[test]
fn a_restarting_service_ends_the_socket_but_not_the_session() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    let problem = problem(Code::ServiceRestarting);
    desk.session
        .handle_signal(ToViewer::Closed { problem }, desk.now);
    assert_eq!(*desk.session.state(), State::Live { path: direct() });
    assert!(desk.jump_to_socket().is_some());
}

#[test]
fn an_expired_session_says_so_and_stops() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    let problem = problem(Code::SessionExpired);
    desk.session
        .handle_signal(ToViewer::Closed { problem }, desk.now);
    assert_eq!(desk.closed_with(), Some(Code::SessionExpired));
    assert_eq!(desk.session.poll_timeout(), None);
}

#[test]
fn leaving_ends_the_session_at_the_service() {
    let mut desk = Desk::new(PathMode::Auto);
    desk.go_live(direct());
    desk.session.handle_leave();
    assert_eq!(
        desk.commands(),
        [
            Command::Signal(FromViewer::Close),
            Command::DropSocket,
            Command::Peer(PeerCommand::Close)
        ]
    );
}

#[test]
fn messages_at_the_wrong_time_change_nothing() {
    let mut desk = Desk::new(PathMode::Auto);
    let grant = desk.grant(1);
    for message in [
        ToViewer::Granted { grant },
        ToViewer::Resumed,
        ToViewer::Answer { sdp: "a".into() },
        ToViewer::AgentOnline { online: true },
        ToViewer::Pong,
    ] {
        desk.session.handle_signal(message, desk.now);
    }
    desk.session.handle_peer(PeerEvent::Lost, desk.now);
    assert_eq!(*desk.session.state(), State::Idle);
    assert!(
        desk.peer_commands()
            .iter()
            .all(|command| matches!(command, PeerCommand::Candidate(_)))
    );
}

/// A session, its clock, and the service's side of the conversation.
struct Desk {
    session: Session,
    now: Instant,
    granted_mode: PathMode,
}

impl Desk {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn new(mode: PathMode) -> Self {
        Self {
            session: Session::new(mode, 1),
            now: Instant::now(),
            granted_mode: mode,
        }
    }

    fn open(&mut self) {
        self.session.handle_start(self.now);
        self.session
            .handle_ticket(Ok(Secret::new("ticket").into()), self.now);
        self.session.handle_socket_opened(self.now);
        let opened = self.commands().into_iter().any(|command| {
            matches!(command, Command::Signal(FromViewer::Open { ref ticket, .. })
                if *ticket == Secret::new("ticket"))
        });
        assert!(opened);
        let grant = self.grant(1);
        self.session
            .handle_signal(ToViewer::Granted { grant }, self.now);
    }

    fn go_live(&mut self, path: Path) {
        self.open();
        self.offer("o1");
        self.answer("a1");
        self.connected(path);
        self.commands();
    }

    fn offer(&mut self, sdp: &str) {
        let sdp = sdp.to_owned();
        self.session.handle_peer(PeerEvent::Offer { sdp }, self.now);
    }

    fn answer(&mut self, sdp: &str) {
        let sdp = sdp.to_owned();
        self.session
            .handle_signal(ToViewer::Answer { sdp }, self.now);
    }

    fn connected(&mut self, path: Path) {
        self.session
            .handle_peer(PeerEvent::Connected(path), self.now);
    }

    fn lose_socket(&mut self) {
        self.session
            .handle_socket_lost(problem(Code::ServiceUnreachable), self.now);
        self.commands();
    }

    /// Jumps to the next deadline; `false` if there is none.
    fn jump(&mut self) -> bool {
        let Some(at) = self.session.poll_timeout() else {
            return false;
        };
        self.now = self.now.max(at);
        self.session.handle_timeout(self.now);
        true
    }

    /// Jumps over every deadline of the next `time`.
    fn jump_until(&mut self, time: Duration) -> bool {
        let end = self.now + time;
        while self.session.poll_timeout().is_some_and(|at| at <= end) {
            self.jump();
        }
        self.now = end;
        true
    }

    /// Jumps until a socket is opened; the token shown on it.
    fn jump_to_socket(&mut self) -> Option<Secret> {
        loop {
            if !self.jump() {
                return None;
            }
            if self.commands().contains(&Command::OpenSocket) {
                self.session.handle_socket_opened(self.now);
                return self.signals().into_iter().find_map(|said| match said {
                    FromViewer::Resume { token, .. } => Some(token),
                    _ => None,
                });
            }
        }
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.session.poll_command()).collect()
    }

    fn signals(&mut self) -> Vec<FromViewer> {
        let said = self.commands().into_iter();
        said.filter_map(|command| match command {
            Command::Signal(message) => Some(message),
            _ => None,
        })
        .collect()
    }

    fn peer_commands(&mut self) -> Vec<PeerCommand> {
        let all = self.commands().into_iter();
        all.filter_map(|command| match command {
            Command::Peer(command) => Some(command),
            _ => None,
        })
        .collect()
    }

    fn closed_with(&self) -> Option<Code> {
        match self.session.state() {
            State::Closed { problem } => Some(problem.code),
            _ => None,
        }
    }

    fn grant(&self, n: u32) -> Grant {
        Grant {
            session: SessionId::from_uuid(uuid::Uuid::from_u128(1)),
            instance: InstanceId::new("desk").unwrap(),
            token: Secret::new(format!("token-{n}")),
            expires_in_secs: 600,
            refresh_handle: Secret::new(format!("handle-{n}")),
            ice_servers: vec![relay("eu-west")],
            path_mode: self.granted_mode,
            policy: Policy::default(),
            region: "eu-west".into(),
        }
    }
}

fn relay(region: &str) -> IceServer {
    IceServer {
        urls: vec![format!("turn:{region}.example:3478?transport=udp")],
        username: "u".into(),
        credential: Secret::new("c"),
        region: region.into(),
    }
}

fn direct() -> Path {
    Path {
        kind: Kind::Host,
        transport: Transport::Udp,
        region: None,
    }
}

fn relayed() -> Path {
    Path {
        kind: Kind::Relay,
        transport: Transport::Udp,
        region: Some("eu-west".into()),
    }
}

fn candidate(text: &str) -> Candidate {
    Candidate {
        candidate: text.into(),
        mid: Some("0".into()),
        username_fragment: None,
    }
}

fn problem(code: Code) -> Problem {
    Problem::new(code, "cause", "next step")
}
