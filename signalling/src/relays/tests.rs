#![expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the epoch of a test"
)]

use protocol::Secret;

use super::*;

struct World {
    relays: Relays,
    unix_now: Duration,
    now: Instant,
}

impl World {
    /// The region `eu` with these relays, and a secret for others.
    fn new(urls: &[&str]) -> Self {
        let relay = |urls: Vec<String>| Relay {
            urls,
            shared_secrets: vec![Secret::new("new"), Secret::new("old")],
        };
        let mut relays: Vec<_> = urls.iter().map(|url| relay(vec![(*url).into()])).collect();
        relays.push(relay(vec![]));
        let region = Region {
            id: "eu".into(),
            relays,
        };
        Self {
            relays: Relays::new(vec![region]),
            unix_now: Duration::from_secs(1_700_000_000),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.unix_now += time;
    }

    fn report(&self, url: &str) -> Report {
        Report {
            region: "eu".into(),
            urls: vec![url.into()],
            draining: false,
            allocations: 3,
            load_permille: 10,
            sent_ms: self.unix_now.as_millis() as u64,
        }
    }

    fn hear(&mut self, report: &Report, secret: &str) -> Result<Heard, Disbelief> {
        let body = serde_json::to_vec(report).unwrap();
        let signature = relay::sign(&Secret::new(secret), &body);
        self.hear_bytes(&body, &signature)
    }

    fn hear_bytes(&mut self, body: &[u8], signature: &str) -> Result<Heard, Disbelief> {
        self.relays
            .handle_report(body, signature, self.unix_now, self.now)
            .map(|(_, heard)| heard)
    }

    /// Reports that all is well.
    fn well(&mut self, url: &str) {
        self.pass(Duration::from_millis(1));
        let report = self.report(url);
        assert_eq!(self.hear(&report, "new"), Ok(Heard::Nothing));
    }

    fn drains(&mut self, url: &str) -> Result<Heard, Disbelief> {
        self.pass(Duration::from_millis(1));
        let report = Report {
            draining: true,
            ..self.report(url)
        };
        self.hear(&report, "new")
    }

    fn offered(&self, session: u128) -> Vec<String> {
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(session));
        let ends = Ends {
            instance: "eu",
            client: "",
        };
        let offered = self.relays.offered(ends, id);
        offered.iter().map(|offer| offer.urls[0].clone()).collect()
    }
}

#[test]
fn relays_that_never_report_are_offered() {
    let world = World::new(&["turn:a", "turn:b"]);
    assert_eq!(world.offered(1), ["turn:a", "turn:b"]);
    assert_eq!(world.relays.poll_timeout(), None);
}

#[test]
fn a_relay_registers_itself_with_a_secret_of_its_region_and_no_other() {
    let mut world = World::new(&[]);
    assert!(world.offered(1).is_empty());
    let report = world.report("turn:new");
    assert_eq!(world.hear(&report, "guess"), Err(Disbelief::Forged));
    assert!(world.offered(1).is_empty());
    assert_eq!(world.hear(&report, "old"), Ok(Heard::Nothing));
    assert_eq!(world.offered(1), ["turn:new"]);
    let elsewhere = Report {
        region: "us".into(),
        ..report
    };
    assert_eq!(world.hear(&elsewhere, "new"), Err(Disbelief::Forged));
}

#[test]
fn a_relay_that_falls_silent_is_not_offered_until_it_reports_again() {
    let mut world = World::new(&["turn:a", "turn:b"]);
    world.well("turn:a");
    world.pass(SILENT_AFTER);
    assert_eq!(world.relays.poll_silent(world.now).as_deref(), Some("eu"));
    assert_eq!(world.relays.poll_silent(world.now), None, "said once");
    assert_eq!(world.offered(1), ["turn:b"]);
    world.well("turn:a");
    assert_eq!(world.offered(1), ["turn:a", "turn:b"]);
}

#[test]
fn when_every_relay_is_silent_they_are_offered_all_the_same() {
    let mut world = World::new(&["turn:a"]);
    world.well("turn:a");
    world.pass(SILENT_AFTER);
    world.relays.poll_silent(world.now);
    assert_eq!(world.offered(1), ["turn:a"]);
}

#[test]
fn a_draining_relay_is_said_once_and_offered_only_if_there_is_no_other() {
    let mut world = World::new(&["turn:a", "turn:b"]);
    assert_eq!(world.drains("turn:a"), Ok(Heard::Drains));
    assert_eq!(world.drains("turn:a"), Ok(Heard::Nothing));
    assert_eq!(world.offered(1), ["turn:b"]);
    assert_eq!(world.drains("turn:b"), Ok(Heard::Drains));
    assert_eq!(world.offered(1), ["turn:a", "turn:b"]);
}

#[test]
fn a_report_that_was_overheard_is_worth_nothing() {
    let mut world = World::new(&["turn:a", "turn:b"]);
    let body = serde_json::to_vec(&world.report("turn:a")).unwrap();
    let signature = relay::sign(&Secret::new("new"), &body);
    assert_eq!(world.hear_bytes(&body, &signature), Ok(Heard::Nothing));
    assert_eq!(world.hear_bytes(&body, &signature), Err(Disbelief::Stale));
    world.pass(SKEW_MAX + Duration::from_secs(1));
    let before = world.report("turn:b");
    world.pass(SKEW_MAX + Duration::from_secs(1));
    assert_eq!(world.hear(&before, "new"), Err(Disbelief::Stale));
}

#[test]
fn malformed_reports_are_refused_whatever_they_are_signed_with() {
    let mut world = World::new(&["turn:a"]);
    let good = world.report("turn:a");
    for urls in [
        vec![],
        vec!["http:a".to_owned()],
        vec!["turn:a\n".to_owned()],
        vec![format!("turn:{}", "a".repeat(300))],
        vec!["turn:a".to_owned(); URLS_MAX + 1],
    ] {
        let report = Report {
            urls,
            ..good.clone()
        };
        assert_eq!(world.hear(&report, "new"), Err(Disbelief::Malformed));
    }
    let signature = relay::sign(&Secret::new("new"), b"{}");
    assert_eq!(
        world.hear_bytes(b"{}", &signature),
        Err(Disbelief::Malformed)
    );
}

#[test]
fn a_region_takes_only_so_many_relays_and_forgets_those_that_are_gone() {
    let mut world = World::new(&[]);
    for index in 1..RELAYS_PER_REGION_MAX {
        world.well(&format!("turn:{index}"));
    }
    let report = world.report("turn:more");
    assert_eq!(world.hear(&report, "new"), Err(Disbelief::Full));
    world.pass(SILENT_AFTER);
    while world.relays.poll_silent(world.now).is_some() {}
    world.pass(FORGOTTEN_AFTER);
    while world.relays.poll_silent(world.now).is_some() {}
    world.well("turn:more");
    assert_eq!(world.offered(1), ["turn:more"]);
}

#[test]
fn a_session_is_offered_the_same_two_of_many_and_sessions_are_spread() {
    let urls = ["turn:a", "turn:b", "turn:c", "turn:d"];
    let world = World::new(&urls);
    for url in urls {
        let with = (0..1000).filter(|id| world.offered(*id).contains(&url.to_owned()));
        let count = with.count();
        assert!((400..600).contains(&count), "{url} has {count} of 1000");
    }
    assert_eq!(world.offered(7), world.offered(7));
    assert_eq!(world.offered(7).len(), RELAYS_OFFERED_MAX);
}

#[test]
fn each_relay_stands_as_it_reported_last_and_as_long_ago() {
    let mut world = World::new(&["turn:a", "turn:b", "turn:c"]);
    world.well("turn:a");
    world.pass(SILENT_AFTER);
    world.relays.poll_silent(world.now);
    assert_eq!(world.drains("turn:b"), Ok(Heard::Drains));
    world.pass(Duration::from_secs(2));
    let standings = world.relays.standings(world.now);
    let seen: Vec<_> = standings
        .iter()
        .map(|one| {
            (
                one.state,
                one.load_permille,
                one.heard_before.map(|t| t.as_secs()),
            )
        })
        .collect();
    let silent_for = SILENT_AFTER.as_secs() + 2;
    let expected = [
        (RelayState::Silent, Some(10), Some(silent_for)),
        (RelayState::Draining, Some(10), Some(2)),
        (RelayState::Unheard, None, None),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_full_relay_is_the_last_choice() {
    let mut world = World::new(&["turn:a", "turn:b", "turn:c"]);
    let report = Report {
        load_permille: FULL_PERMILLE,
        ..world.report("turn:b")
    };
    assert_eq!(world.hear(&report, "new"), Ok(Heard::Nothing));
    for session in 0..50 {
        assert!(!world.offered(session).contains(&"turn:b".to_owned()));
    }
}
