#![expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the epoch of a test"
)]

use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::relay::{self, Report};
use uuid::Uuid;

use super::*;
use crate::grant::Region;

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// Two relays in `eu`, two in `us`; each has UDP, TCP and TLS.
fn world() -> Relays {
    let relay = |name: &str| Relay {
        urls: vec![
            format!("turn:{name}:3478?transport=udp"),
            format!("turn:{name}:3478?transport=tcp"),
            format!("turns:{name}:443?transport=tcp"),
        ],
        shared_secrets: vec![Secret::new("s")],
    };
    let region = |id: &str| Region {
        id: id.into(),
        relays: ["1", "2"].map(|n| relay(&format!("{id}{n}"))).into(),
    };
    Relays::new(vec![region("eu"), region("us")])
}

/// Both relays of a region say this of themselves.
fn say(relays: &mut Relays, region: &str, draining: bool, load_permille: u16) {
    for n in 1..=2 {
        let report = Report {
            region: region.into(),
            urls: vec![format!("turn:{region}{n}:3478?transport=udp")],
            draining,
            allocations: 0,
            load_permille,
            sent_ms: NOW.as_millis() as u64,
        };
        let body = serde_json::to_vec(&report).unwrap();
        let signature = relay::sign(&Secret::new("s"), &body);
        let heard = relays.handle_report(&body, &signature, NOW, Instant::now());
        heard.unwrap();
    }
}

fn offered(relays: &Relays, instance: &str, client: &str) -> Vec<(String, Vec<String>)> {
    let session = SessionId::from_uuid(Uuid::from_u128(7));
    let offers = relays.offered(Ends { instance, client }, session);
    assert!(offers.len() <= RELAYS_OFFERED_MAX);
    let seen = |offer: Offer<'_>| (offer.region.to_owned(), offer.urls);
    offers.into_iter().map(seen).collect()
}

fn measured(times: &[(&str, u32)]) -> BTreeMap<String, u32> {
    times
        .iter()
        .map(|(id, ms)| ((*id).to_owned(), *ms))
        .collect()
}

#[test]
fn udp_is_relayed_near_the_desktop_and_tcp_and_tls_near_the_person() {
    let offers = offered(&world(), "eu", "us");
    let [(host, udp), (person, stream)] = offers.try_into().unwrap();
    assert_eq!((host.as_str(), person.as_str()), ("eu", "us"));
    assert_eq!(udp.len(), 1);
    assert!(udp.iter().all(|url| url.ends_with("udp")), "{udp:?}");
    assert_eq!(stream.len(), 2);
    assert!(stream.iter().all(|url| url.ends_with("tcp")), "{stream:?}");
}

#[test]
fn who_is_near_the_desktop_or_says_nothing_gets_two_relays_of_its_region() {
    for client in ["", "eu", "nowhere"] {
        let offers = offered(&world(), "eu", client);
        assert_eq!(offers.len(), RELAYS_OFFERED_MAX, "{client}");
        for (region, urls) in offers {
            assert_eq!((region.as_str(), urls.len()), ("eu", 3), "{client}");
        }
    }
}

#[test]
fn a_region_that_drains_or_is_full_is_not_offered_while_the_other_end_has_one() {
    for (draining, load) in [(true, 0), (false, 1000)] {
        let mut relays = world();
        say(&mut relays, "us", draining, load);
        assert!(
            offered(&relays, "eu", "us")
                .iter()
                .all(|(region, _)| region == "eu")
        );
        let mut relays = world();
        say(&mut relays, "eu", draining, load);
        let offers = offered(&relays, "eu", "us");
        assert!(
            offers
                .iter()
                .all(|(region, urls)| region == "us" && urls.len() == 3)
        );
    }
}

#[test]
fn the_region_near_the_person_is_measured_good_and_clearly_nearer() {
    let check = |times: &[(&str, u32)], expected: &str| {
        assert_eq!(
            world().near_client(&measured(times), "eu"),
            expected,
            "{times:?}"
        );
    };
    check(&[], "");
    check(&[("eu", 5), ("us", 120)], "");
    check(&[("eu", 120), ("us", 5)], "us");
    check(&[("eu", 24), ("us", 5)], "");
    check(&[("eu", 25), ("us", 5)], "us");
    check(&[("us", 5)], "us");
    check(&[("mars", 1), ("eu", 20)], "");
    let mut relays = world();
    say(&mut relays, "us", true, 0);
    assert_eq!(
        relays.near_client(&measured(&[("eu", 120), ("us", 5)]), "eu"),
        ""
    );
}

#[test]
fn a_session_that_insists_on_a_relay_is_refused_only_when_both_ends_drain() {
    let ends = Ends {
        instance: "eu",
        client: "us",
    };
    let mut relays = world();
    say(&mut relays, "eu", true, 0);
    assert!(relays.can_relay(ends));
    assert!(!relays.can_relay(Ends { client: "", ..ends }));
    say(&mut relays, "us", true, 0);
    assert!(!relays.can_relay(ends));
}

#[test]
fn every_region_that_takes_sessions_can_be_measured_by_stun() {
    let mut relays = world();
    let both = [("eu", "stun:eu1:3478"), ("us", "stun:us1:3478")];
    let both = both.map(|(id, url)| (id.to_owned(), url.to_owned()));
    assert_eq!(relays.measurable(), both);
    say(&mut relays, "us", true, 0);
    assert_eq!(relays.measurable(), both[..1]);
}
