//! What the task orders when viewers come, fall silent and are back.

use peer::{Path, PathEnd, PathKind};
use protocol::signal::{PathMode, Policy};
use uuid::Uuid;

use super::*;
use crate::io::wait::{Inbox, mailbox};

/// The task beside threads that only note their orders.
struct World {
    agent: Agent,
    screen: Inbox<ScreenCommand>,
    hands: Inbox<HandsCommand>,
}

impl World {
    fn new() -> Self {
        let text = "cloud = \"http://127.0.0.1:1\"\ninstance = \"desk\"\n\
                    credential_file = \"/unread\"\ndisplay = \":1\"\n\
                    [network]\naddresses = [\"127.0.0.1\"]\n";
        let config = Config::parse(text, crate::config::Overrides::default()).unwrap();
        let (screen_outbox, screen) = mailbox().unwrap();
        let (hands_outbox, hands) = mailbox().unwrap();
        let threads = Threads {
            screen: screen_outbox,
            hands: hands_outbox,
            sound: None,
        };
        let credential = Secret::from("credential");
        Self {
            agent: Agent::new(config, credential, Trust::default(), threads, happenings()),
            screen,
            hands,
        }
    }

    fn open(&mut self, id: SessionId) {
        let session = AgentSession {
            session: id,
            policy: Policy::default(),
            path_mode: PathMode::Auto,
            ice_servers: Vec::new(),
            expires_in_secs: 600,
        };
        self.agent.open_session(&session, Instant::now());
    }

    fn connect(&mut self, id: SessionId) {
        let end = PathEnd {
            kind: PathKind::Host,
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let path = Path {
            local: end,
            remote: end,
            relay: None,
        };
        self.agent.handle_peer(id, Event::Connected(path));
    }

    fn ice(&mut self, id: SessionId, state: IceState) {
        self.agent.handle_peer(id, Event::IceState(state));
    }

    /// Orders to the screen thread since the last look: who came, who left.
    fn screen(&self) -> Vec<(&'static str, SessionId)> {
        std::iter::from_fn(|| self.screen.try_take())
            .filter_map(|command| match command {
                ScreenCommand::Watch(id, _) => Some(("watch", id)),
                ScreenCommand::Unwatch(id) => Some(("unwatch", id)),
                _ => None,
            })
            .collect()
    }

    fn hands(&self) -> Vec<HandsCommand> {
        std::iter::from_fn(|| self.hands.try_take()).collect()
    }
}

fn id(number: u8) -> SessionId {
    SessionId::from_uuid(Uuid::from_bytes([number; 16]))
}

#[tokio::test]
async fn who_falls_silent_is_sent_nothing_and_holds_no_key_until_it_is_back() {
    let mut world = World::new();
    world.open(id(1));
    world.ice(id(1), IceState::Connected);
    assert_eq!(world.screen(), [], "ICE is there, DTLS is not");
    world.connect(id(1));
    assert_eq!(world.screen(), [("watch", id(1))]);
    assert_eq!(world.hands(), [HandsCommand::Repeat(Repeats::Viewers)]);

    world.ice(id(1), IceState::Disconnected);
    assert_eq!(world.screen(), [("unwatch", id(1))]);
    let released = HandsCommand::Input(InputEvent::ReleaseAll);
    let servers = HandsCommand::Repeat(Repeats::Server);
    assert_eq!(world.hands(), [released, servers]);

    world.ice(id(1), IceState::Connected);
    assert_eq!(world.screen(), [("watch", id(1))]);
    assert_eq!(world.hands(), [HandsCommand::Repeat(Repeats::Viewers)]);
}

#[tokio::test]
async fn the_choice_of_who_cannot_be_reached_does_not_hold_for_the_others() {
    let mut world = World::new();
    let saver = protocol::control::FromViewer::Quality(Quality::DataSaver).encode();
    for number in [1, 2] {
        world.open(id(number));
        world.connect(id(number));
    }
    world.agent.handle_message(id(1), Channel::Control, &saver);
    world.agent.settle_quality();
    assert_eq!(world.agent.quality, Quality::DataSaver);
    world.ice(id(1), IceState::Disconnected);
    world.agent.settle_quality();
    assert_eq!(world.agent.quality, Quality::Auto);
    world.ice(id(1), IceState::Connected);
    world.agent.settle_quality();
    assert_eq!(world.agent.quality, Quality::DataSaver);
}

#[tokio::test]
async fn who_is_away_the_longest_makes_room_and_nobody_who_is_here_does() {
    let mut world = World::new();
    let last = u8::try_from(SESSIONS_MAX).unwrap();
    for number in 1..=last {
        world.open(id(number));
        world.connect(id(number));
    }
    world.open(id(100));
    assert!(!world.agent.sessions.contains_key(&id(100)));
    for number in [5, 3] {
        world.ice(id(number), IceState::Disconnected);
    }
    world.open(id(101));
    let sessions = &world.agent.sessions;
    assert!(sessions.contains_key(&id(101)) && !sessions.contains_key(&id(5)));
    assert!(sessions.contains_key(&id(3)), "it came later");
}
