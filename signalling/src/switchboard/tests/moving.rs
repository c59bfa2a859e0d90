//! Sessions move when a relay drains or falls silent.

use protocol::relay::{self, Report};

use super::*;
use crate::relays::{Heard, SILENT_AFTER};

fn two_relays() -> World {
    let relay = |url: &str| Relay {
        urls: vec![url.into()],
        shared_secrets: vec![Secret::new("secret")],
    };
    let region = Region {
        id: "eu".into(),
        relays: vec![relay("turn:a"), relay("turn:b")],
    };
    let terms = Terms {
        status_page: "https://status.test/".into(),
        ..Terms::default()
    };
    let mut world = World::with_terms(vec![region], terms);
    world.register(AGENT, &[]);
    world
}

impl World {
    fn report(&mut self, url: &str, draining: bool) -> Heard {
        let report = Report {
            region: "eu".into(),
            urls: vec![url.into()],
            draining,
            allocations: 1,
            load_permille: 1,
            sent_ms: self.unix_now.as_millis() as u64,
        };
        let body = serde_json::to_vec(&report).unwrap();
        let signature = relay::sign(&Secret::new("secret"), &body);
        let mut relays = self.granter.relays();
        let heard = relays.handle_report(&body, &signature, self.unix_now, self.now);
        heard.unwrap().1
    }

    /// Relays that the agent host and the viewer of this session were sent to, in that order.
    fn moved(&mut self) -> Vec<(&'static str, Vec<String>)> {
        let urls =
            |servers: &[IceServer]| servers.iter().flat_map(|one| one.urls.clone()).collect();
        let outputs = self.outputs();
        let moved = outputs.iter().filter_map(|output| match output {
            Output::ToAgent(_, ToAgent::SessionRenewed { session }) => {
                Some(("agent", urls(&session.ice_servers)))
            }
            Output::ToViewer(_, ToViewer::MoveRelay { ice_servers }) => {
                Some(("viewer", urls(ice_servers)))
            }
            _ => None,
        });
        moved.collect()
    }
}

#[test]
fn when_a_relay_drains_both_ends_of_a_session_are_sent_to_the_other_one() {
    let mut world = two_relays();
    let (grant, _) = world.open(VIEWER);
    assert_eq!(grant.ice_servers.len(), 2);
    assert_eq!(world.report("turn:a", true), Heard::Drains);
    world.board.handle_relay_lost("eu", world.now);
    world.pass(Duration::ZERO);

    let other = vec!["turn:b".to_owned()];
    assert_eq!(world.moved(), [("agent", other.clone()), ("viewer", other)]);
    assert_eq!(world.board.counters().sessions_moved, 1);
    world.pass(Duration::from_secs(1));
    assert!(world.moved().is_empty(), "told once");
}

#[test]
fn a_relay_that_falls_silent_is_left_as_well() {
    let mut world = two_relays();
    world.open(VIEWER);
    world.report("turn:a", false);
    world.pass(SILENT_AFTER - Duration::from_secs(1));
    assert!(world.moved().is_empty());
    world.pass(Duration::from_secs(1));
    let other = vec!["turn:b".to_owned()];
    assert_eq!(world.moved(), [("agent", other.clone()), ("viewer", other)]);
}

#[test]
fn sessions_of_another_region_or_without_a_relay_stay_where_they_are() {
    let mut world = two_relays();
    world.open(VIEWER);
    world.board.handle_relay_lost("us", world.now);
    world.pass(Duration::from_secs(1));
    assert!(world.moved().is_empty());

    let ticket = world.ticket("desk");
    let direct = FromViewer::Open {
        version: VERSION,
        ticket,
        mode: PathMode::Direct,
        round_trips_ms: Default::default(),
    };
    world.view(VIEWER, FromViewer::Close);
    world.view(ConnectionId(40), direct);
    world.outputs();
    world.board.handle_relay_lost("eu", world.now);
    world.pass(Duration::from_secs(1));
    assert!(world.moved().is_empty());
}

#[test]
fn a_viewer_that_is_away_does_not_keep_its_agent_host_on_the_old_relay() {
    let mut world = two_relays();
    world.open(VIEWER);
    world.board.handle_viewer_gone(VIEWER, world.now);
    world.report("turn:a", true);
    world.board.handle_relay_lost("eu", world.now);
    world.pass(Duration::ZERO);
    assert_eq!(world.moved(), [("agent", vec!["turn:b".to_owned()])]);
}

#[test]
fn a_region_whose_relays_all_drain_says_so_and_where_to_read_more() {
    let mut world = two_relays();
    for url in ["turn:a", "turn:b"] {
        world.report(url, true);
    }
    let ticket = world.ticket("desk");
    world.view(VIEWER, open_as(&ticket, PathMode::Relay));

    let outputs = world.outputs();
    assert_eq!(refusal_of(&outputs), Code::RegionUnavailable);
    let said = outputs.iter().find_map(|output| match output {
        Output::ToViewer(_, ToViewer::Closed { problem }) => Some(problem.next_step.as_str()),
        _ => None,
    });
    let said = said.unwrap_or_default();
    assert!(said.contains("https://status.test/"), "{said}");

    // Who can do without a relay is not sent away, and the ticket was not spent by asking.
    world.view(VIEWER, open_as(&ticket, PathMode::Auto));
    granted(&world.outputs());
}
