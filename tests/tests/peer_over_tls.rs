//! Our TURN client over TLS against our relay: only a certificate that is good today, for the
//! relay's name and from a trusted authority is believed.
#![cfg(feature = "net")]
#![expect(
    clippy::disallowed_methods,
    reason = "real sockets run on the real clock"
)]

use std::net::SocketAddr;
use std::time::Duration;

use peer::io::{Events, Handle, SessionConfig, Trust, start};
use peer::{BitrateRange, Event, PathKind, RelayTransport, Side};
use protocol::Secret;
use protocol::signal::{IceServer, PathMode};
use protocol::turn::credential;
use tests::certificates::{Authority, Validity};
use tests::meeting::expect;
use tests::relay_program::{RelayProgram, folder};

const SECRET: &str = "s3cret";

struct Lab {
    relay: RelayProgram,
    trust: Trust,
}

impl Lab {
    /// A relay whose certificate is for `name`; a trusted authority, which is its own if `issuer`
    /// is nobody else.
    fn start(name: &str, validity: Validity, issuer: Option<&Authority>) -> Self {
        let folder = folder("tls").unwrap();
        let trusted = Authority::default();
        let issuer = issuer.unwrap_or(&trusted);
        issuer.certify(&folder, name, validity).unwrap();
        let ca_file = folder.join("authority.pem");
        std::fs::write(&ca_file, trusted.pem()).unwrap();
        let config = format!(
            "workers = 1\nrelay_addresses = [\"127.0.0.1\"]\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntransport = \"tls\"\n\
             [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
             [auth]\nshared_secrets = [\"{SECRET}\"]\n[peers]\nallow = [\"127.0.0.0/8\"]\n"
        );
        std::fs::write(folder.join("relay.toml"), config).unwrap();
        Self {
            relay: RelayProgram::start(folder).unwrap(),
            trust: Trust::with_file(&ca_file).unwrap(),
        }
    }

    fn session(&self, side: Side) -> (Handle, Events) {
        let address: SocketAddr = self.relay.address("tls");
        let unix_now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let until = unix_now + Duration::from_secs(60);
        let login = credential::derive(&Secret::new(SECRET), "session", &[], until);
        start(SessionConfig {
            side,
            path_mode: PathMode::Relay,
            addresses: vec![[127, 0, 0, 1].into()],
            ice_servers: vec![IceServer {
                urls: vec![format!("turns:{address}?transport=tcp")],
                username: login.username,
                credential: login.password,
                region: "test".into(),
            }],
            bitrate: BitrateRange::default(),
            sound: peer::Sound::Wanted,
            trust: self.trust.clone(),
            name: format!("{side:?}"),
        })
        .unwrap()
    }
}

#[test]
fn two_ends_that_both_reach_the_relay_over_tls_only_meet() {
    let lab = Lab::start("127.0.0.1", Validity::Now, None);
    let (host, mut host_events) = lab.session(Side::Host);
    let (viewer, mut viewer_events) = lab.session(Side::Viewer);
    let offer = viewer.create_offer().unwrap();
    viewer
        .handle_answer(&host.handle_offer(&offer).unwrap())
        .unwrap();
    let connected = |event: &Event| match event {
        Event::Connected(path) => Some(path.clone()),
        Event::RelayFailed { .. } => panic!("{event:?}"),
        _ => None,
    };
    let feed = {
        let viewer = viewer.clone();
        std::thread::spawn(move || expect(&mut host_events, &viewer, connected))
    };
    for path in [
        expect(&mut viewer_events, &host, connected),
        feed.join().unwrap(),
    ] {
        assert_eq!(path.local.kind, PathKind::Relayed);
        assert_eq!(path.relay, Some((RelayTransport::Tls, "test".to_owned())));
    }
}

/// The relay is given up, and the reason says what is wrong with its certificate.
fn check_refused(lab: &Lab, reason: &str) {
    let (viewer, mut events) = lab.session(Side::Viewer);
    viewer.create_offer().unwrap();
    let failed = expect(&mut events, &viewer, |event| match event {
        Event::RelayFailed { .. } => Some(format!("{event:?}")),
        Event::Candidate(candidate) => panic!("{candidate:?}"),
        _ => None,
    });
    assert!(failed.contains(reason), "{failed}");
}

#[test]
fn a_certificate_that_has_run_out_is_refused() {
    let lab = Lab::start("127.0.0.1", Validity::Over, None);
    check_refused(&lab, "expired");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let lab = Lab::start("relay.example", Validity::Now, None);
    check_refused(&lab, "not valid for name");
}

#[test]
fn a_certificate_of_an_authority_nobody_trusts_is_refused() {
    let lab = Lab::start("127.0.0.1", Validity::Now, Some(&Authority::default()));
    check_refused(&lab, "UnknownIssuer");
}
