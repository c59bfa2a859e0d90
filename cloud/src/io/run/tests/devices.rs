//! Devices with keys, over real sockets: what a gateway does, written without our half of it, and
//! what thieves get instead.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::identity::Answer;
use super::*;
use crate::access::secret_from;
use crate::identity::device::DEVICES_MAX;
use crate::identity::sign_in::{GRACE, hash_of};
use crate::identity::{MemberRole, WorkspaceId};

const PASSWORD: &str = "four plain words here";
const ADA: &str = "ada@example.org";
const DEVICES: &str = "/api/v1/devices";
const ME: &str = "/api/v1/me";
/// What stands before the 32 bytes of an Ed25519 key, RFC 8410 §7.
const ED25519_PKCS8: &[u8] = &[
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];
/// On the slowest of machines.
const OVER_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_device_signs_in_once_and_shows_a_fresh_proof_with_every_request() {
    let server = Server::with_ada().await;
    for device in [Device::new(Algorithm::ES256), Device::new(Algorithm::EdDSA)] {
        let added = server.add(&device, ADA, "Ada's laptop").await;
        assert_eq!(added.status(), 201, "{}", added.0);
        let added = added.json();
        assert_eq!(added["token_type"], "DPoP");
        assert_eq!(added["thumbprint"], json!(device.thumbprint()));
        let token = added["token"].as_str().unwrap();
        let me = server.by(&device, token, "GET", ME).await;
        assert_eq!(me.json()["email"], ADA, "{}", me.0);
        let desktops = server.by(&device, token, "GET", "/api/v1/instances").await;
        assert_eq!(desktops.json()[0]["id"], "desk", "{}", desktops.0);
        let ticket = "/api/v1/instances/desk/tickets";
        let ticket = server.by(&device, token, "POST", ticket).await;
        assert_eq!(ticket.status(), 200, "{}", ticket.0);
        let own = server.by(&device, token, "GET", DEVICES).await.json();
        assert_eq!(own[0]["current"], true, "{own}");
        assert_eq!(own[0]["name"], "Ada's laptop");
    }
    let ada = server.sign_in(ADA).await;
    let audit = server.call("GET", "/api/v1/audit", &ada, None).await;
    assert!(audit.0.contains("added a device"), "{}", audit.0);
    // They are no browsers of hers.
    let sessions = server.call("GET", "/api/v1/sessions", &ada, None).await;
    assert_eq!(sessions.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn attack_10_a_stolen_token_is_worth_nothing_without_its_key() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::EdDSA);
    let token = server.token(&device).await;
    let nonce = server.nonce().await;
    let bound = format!("DPoP {token}");
    let refused = async |authorization: &str, proofs: &[String]| {
        let answer = server.show("GET", ME, authorization, proofs, None).await;
        assert_eq!(answer.status(), 401, "{}", answer.0);
        answer.code()
    };
    assert_eq!(refused(&bound, &[]).await, "DEVICE_PROOF_REFUSED");
    assert_eq!(
        refused(&format!("Bearer {token}"), &[]).await,
        "SIGN_IN_REQUIRED"
    );
    for _ in 0..5 {
        let thief = Device::new(Algorithm::EdDSA);
        let proof = thief.prove(&server.claims("GET", ME, Some(&token), &nonce));
        let answer = server.show("GET", ME, &bound, &[proof], None).await;
        assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED");
        assert!(
            answer.0.contains("error=\"invalid_dpop_proof\""),
            "{}",
            answer.0
        );
    }
    // Nor is it a cookie, nor a cookie a token.
    let cookie = format!("multiclaw-session={token}");
    assert_eq!(server.call("GET", ME, &cookie, None).await.status(), 401);
    let ada = server.sign_in(ADA).await;
    let handle = ada
        .split("session=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let by_cookie = server.by(&device, handle, "GET", ME).await;
    assert_eq!(by_cookie.code(), "DEVICE_ENDED");
    // Its owner is told once, not five times, and goes on.
    let audit = server.call("GET", "/api/v1/audit", &ada, None).await;
    assert_eq!(
        audit.0.matches("used with a wrong key").count(),
        1,
        "{}",
        audit.0
    );
    assert_eq!(server.by(&device, &token, "GET", ME).await.status(), 200);
}

#[tokio::test]
async fn attack_10_a_proof_is_good_once_at_whatever_node() {
    let here = Server::with_ada().await;
    let device = Device::new(Algorithm::ES256);
    let token = here.token(&device).await;
    let bound = format!("DPoP {token}");
    let proof = device.prove(&here.claims("GET", ME, Some(&token), &here.nonce().await));
    let proofs = [proof];
    let first = here.show("GET", ME, &bound, &proofs, None).await;
    assert_eq!(first.status(), 200, "{}", first.0);
    let again = here.show("GET", ME, &bound, &proofs, None).await;
    assert_eq!(again.code(), "DEVICE_PROOF_REFUSED");
    // The other node is known outside by the same address, as behind a load balancer.
    let there = here.beside_as_one().await;
    let again = there.show("GET", ME, &bound, &proofs, None).await;
    assert_eq!(again.code(), "DEVICE_PROOF_REFUSED");
    assert!(again.0.contains("used before"), "{}", again.0);
    let fresh = there.by(&device, &token, "GET", ME).await;
    assert_eq!(fresh.status(), 200, "{}", fresh.0);
    // Of one proof twice at the same moment, one is good.
    let proof = [device.prove(&here.claims("GET", ME, Some(&token), &here.nonce().await))];
    let (one, other) = tokio::join!(
        here.show("GET", ME, &bound, &proof, None),
        there.show("GET", ME, &bound, &proof, None),
    );
    let mut statuses = [one.status(), other.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
}

#[tokio::test]
async fn attack_10_a_proof_for_another_method_address_host_or_token_is_none() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::ES256);
    let token = server.token(&device).await;
    let nonce = server.nonce().await;
    let bound = format!("DPoP {token}");
    let right = server.claims("GET", ME, Some(&token), &nonce);
    let other_token = server.claims("GET", ME, Some("another"), &nonce);
    for (claim, value) in [
        ("htm", json!("POST")),
        ("htu", json!(server.url(DEVICES))),
        ("htu", json!(format!("http://evil.example{ME}"))),
        ("htu", json!(server.url(ME).replace("http:", "https:"))),
        ("ath", other_token["ath"].clone()),
        ("ath", Value::Null),
    ] {
        let mut claims = right.clone();
        claims[claim] = value;
        let proof = [device.prove(&claims)];
        let answer = server.show("GET", ME, &bound, &proof, None).await;
        assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED", "{claims}");
    }
    let proof = device.prove(&right);
    let two = [proof.clone(), device.prove(&right)];
    let answer = server.show("GET", ME, &bound, &two, None).await;
    assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED");
    // None of that used it up.
    let answer = server.show("GET", ME, &bound, &[proof], None).await;
    assert_eq!(answer.status(), 200, "{}", answer.0);
}

#[tokio::test]
async fn attack_10_a_proof_made_too_early_too_late_or_without_our_nonce_is_none() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::EdDSA);
    let token = server.token(&device).await;
    let nonce = server.nonce().await;
    let bound = format!("DPoP {token}");
    let ask = async |skew_secs: i64, nonce: &str| {
        let mut claims = server.claims("GET", ME, Some(&token), nonce);
        claims["iat"] = json!(claims["iat"].as_i64().unwrap() + skew_secs);
        let proof = [device.prove(&claims)];
        server.show("GET", ME, &bound, &proof, None).await
    };
    for skew in [-300, 300] {
        assert_eq!(ask(skew, &nonce).await.code(), "DEVICE_PROOF_REFUSED");
    }
    for skew in [-30, 30] {
        assert_eq!(ask(skew, &nonce).await.status(), 200);
    }
    for foreign in ["", "x", &"A".repeat(54)] {
        let answer = ask(0, foreign).await;
        assert_eq!(answer.code(), "DEVICE_NONCE_NEEDED");
        assert!(
            answer.0.contains("error=\"use_dpop_nonce\""),
            "{}",
            answer.0
        );
        // The answer brings the right one.
        assert_eq!(ask(0, &nonce_of(&answer)).await.status(), 200);
    }
}

#[tokio::test]
async fn attack_10_a_key_that_is_no_public_key_signs_nobody_in() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::ES256);
    let nonce = server.nonce().await;
    let claims = server.claims("POST", DEVICES, None, &nonce);
    let jwk = json!(device.jwk());
    let private = {
        let mut jwk = jwk.clone();
        jwk["d"] = jwk["x"].clone();
        jwk
    };
    let oversized = {
        let mut jwk = jwk.clone();
        jwk["kid"] = "A".repeat(4096).into();
        jwk
    };
    let public = jwk["x"].as_str().unwrap().as_bytes();
    let with_public = EncodingKey::from_secret(public);
    let mut proofs = vec![
        device.sign(&json!({ "alg": "ES256", "jwk": private }), &claims),
        device.sign(&json!({ "alg": "ES256", "jwk": oversized }), &claims),
        device.sign(&json!({ "alg": "EdDSA", "jwk": jwk }), &claims),
        device.sign(&json!({ "alg": "none", "jwk": jwk }), &claims),
        device.sign(&json!({ "alg": "ES256", "kid": "../../dev/null" }), &claims),
    ];
    // Without a signature, and with the public key as if it were a password.
    let unsigned = proofs[3].rsplit_once('.').unwrap().0;
    proofs.push(format!("{unsigned}."));
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("dpop+jwt".into());
    header.jwk = Some(device.jwk());
    proofs.push(jsonwebtoken::encode(&header, &claims, &with_public).unwrap());
    for proof in proofs {
        let answer = server.show_new(&[proof], ADA, "laptop").await;
        assert_eq!(answer.status(), 401, "{}", answer.0);
        assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED");
    }
    let ada = server.sign_in(ADA).await;
    let devices = server.call("GET", DEVICES, &ada, None).await;
    assert_eq!(devices.json(), json!([]));
}

#[tokio::test]
async fn a_wrong_password_signs_no_device_in_and_uses_no_proof_up() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::EdDSA);
    let nonce = server.nonce().await;
    let proof = [device.prove(&server.claims("POST", DEVICES, None, &nonce))];
    let wrong = json!({ "email": ADA, "password": "a guess", "name": "laptop" });
    let answer = server.show("POST", DEVICES, "", &proof, Some(wrong)).await;
    assert_eq!(answer.code(), "SIGN_IN_FAILED");
    for name in ["", "two\nlines"] {
        let answer = server.show_new(&proof, ADA, name).await;
        assert_eq!(answer.code(), "BAD_MESSAGE");
    }
    assert_eq!(server.show_new(&proof, ADA, "laptop").await.status(), 201);
    let again = server.show_new(&proof, ADA, "laptop").await;
    assert_eq!(again.code(), "DEVICE_PROOF_REFUSED");
}

#[tokio::test]
async fn a_token_is_replaced_under_the_same_key_and_a_lost_answer_is_answered_again() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::ES256);
    let token = server.token(&device).await;
    let refresh = "/api/v1/devices/refresh";
    let next = async || {
        let answer = server.by(&device, &token, "POST", refresh).await;
        assert_eq!(answer.status(), 200, "{}", answer.0);
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let (first, lost) = (next().await, next().await);
    assert_eq!(first, lost);
    assert_ne!(first, token);
    let thief = Device::new(Algorithm::ES256);
    let answer = server.by(&thief, &first, "POST", refresh).await;
    assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED");
    assert_eq!(server.by(&device, &first, "GET", ME).await.status(), 200);
    // A browser has no token to replace.
    let ada = server.sign_in(ADA).await;
    let answer = server.call("POST", refresh, &ada, None).await;
    assert_eq!(answer.code(), "DEVICE_ENDED");
}

#[tokio::test]
async fn attack_10_an_old_token_ends_the_device_only_in_the_hands_of_its_key() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::EdDSA);
    let old = server.token(&device).await;
    let next = secret_from([7; 32]);
    let before_grace = unix_now() - GRACE - Duration::from_secs(1);
    let (old_hash, next_hash) = (hash_of(&old.as_str().into()), hash_of(&next));
    let rotated = server
        .store
        .rotate_sign_in(&old_hash, &next_hash, &[1; 32], before_grace);
    rotated.await.unwrap();
    let thief = Device::new(Algorithm::EdDSA);
    let answer = server.by(&thief, &old, "GET", ME).await;
    assert_eq!(answer.code(), "DEVICE_PROOF_REFUSED");
    let next = next.expose();
    assert_eq!(server.by(&device, next, "GET", ME).await.status(), 200);
    let answer = server.by(&device, &old, "GET", ME).await;
    assert_eq!(answer.code(), "DEVICE_ENDED");
    let answer = server.by(&device, next, "GET", ME).await;
    assert_eq!(answer.code(), "DEVICE_ENDED");
}

#[tokio::test]
async fn attack_24_the_devices_of_a_removed_member_are_worth_nothing_not_even_after_coming_back() {
    let server = Server::with_ada().await;
    let bob_id = server.member("bob@example.org", MemberRole::Member).await;
    let device = Device::new(Algorithm::ES256);
    let token = server
        .add(&device, "bob@example.org", "laptop")
        .await
        .json();
    let token = token["token"].as_str().unwrap();
    assert_eq!(server.by(&device, token, "GET", ME).await.status(), 200);
    let ada = server.sign_in(ADA).await;
    let path = format!("/api/v1/members/{bob_id}");
    assert_eq!(server.call("DELETE", &path, &ada, None).await.status(), 204);
    let after = server.by(&device, token, "GET", ME).await;
    assert_eq!(after.code(), "DEVICE_ENDED");
    let home = WorkspaceId::only();
    let again = server
        .store
        .add_member(&home, &bob_id, MemberRole::Member, unix_now());
    again.await.unwrap();
    let after = server.by(&device, token, "GET", ME).await;
    assert_eq!(after.code(), "DEVICE_ENDED");
}

#[tokio::test]
async fn attack_11_a_device_signed_out_at_one_node_is_signed_out_at_the_other() {
    let here = Server::with_ada().await;
    let there = here.beside_as_one().await;
    let ada = here.sign_in(ADA).await;
    // By its owner, and with everything else.
    for everything in [false, true] {
        let device = Device::new(Algorithm::EdDSA);
        let added = here.add(&device, ADA, "laptop").await.json();
        let token = added["token"].as_str().unwrap();
        // The other node knows it, and need not ask the database for a while.
        assert_eq!(there.by(&device, token, "GET", ME).await.status(), 200);
        let (method, path) = match everything {
            true => ("POST", "/api/v1/auth/sign-out-everywhere".to_owned()),
            false => (
                "DELETE",
                format!("{DEVICES}/{}", added["id"].as_str().unwrap()),
            ),
        };
        let ended = here.call(method, &path, &ada, None).await;
        assert_eq!(ended.status(), 204, "{}", ended.0);
        let refused = async {
            loop {
                let answer = there.by(&device, token, "GET", ME).await;
                if answer.status() == 401 {
                    return answer.code();
                }
            }
        };
        let refused = tokio::time::timeout(OVER_WITHIN, refused).await;
        let code = refused.expect("the other node asks the database again");
        assert_eq!(code, "DEVICE_ENDED");
        let here_too = here.by(&device, token, "GET", ME).await;
        assert_eq!(here_too.code(), "DEVICE_ENDED");
    }
}

#[tokio::test]
async fn attack_13_a_member_ends_their_own_devices_and_an_admin_those_of_members() {
    let server = Server::with_ada().await;
    let ada_id = server.account(ADA).await;
    server.member("admin@example.org", MemberRole::Admin).await;
    let bob_id = server.member("bob@example.org", MemberRole::Member).await;
    let mut ids = Vec::new();
    let mut tokens = Vec::new();
    let devices = [ADA, "bob@example.org", "bob@example.org"];
    let devices = devices.map(|email| (email, Device::new(Algorithm::EdDSA)));
    for (email, device) in &devices {
        let added = server.add(device, email, "laptop").await.json();
        ids.push(added["id"].as_str().unwrap().to_owned());
        tokens.push(added["token"].as_str().unwrap().to_owned());
    }
    let admin = server.sign_in("admin@example.org").await;
    let bob = server.sign_in("bob@example.org").await;
    let end = async |who: &str, id: &str| {
        let path = format!("{DEVICES}/{id}");
        let answer = server.call("DELETE", &path, who, None).await;
        match answer.status() {
            204 => String::new(),
            _ => answer.code(),
        }
    };
    let of = |id: &str| format!("/api/v1/members/{id}/devices");
    let listed = server.call("GET", &of(&bob_id), &admin, None).await;
    assert_eq!(listed.json().as_array().unwrap().len(), 2, "{}", listed.0);
    let listed = server.call("GET", &of(&ada_id), &bob, None).await;
    assert_eq!(listed.code(), "NOT_PERMITTED");
    assert_eq!(end(&bob, &ids[0]).await, "NOT_FOUND");
    assert_eq!(end(&admin, &ids[0]).await, "NOT_PERMITTED");
    // A device ends itself, and no other.
    let path = format!("{DEVICES}/{}", ids[2]);
    let other = server.by(&devices[1].1, &tokens[1], "DELETE", &path).await;
    assert_eq!(other.code(), "NOT_PERMITTED");
    let itself = server.by(&devices[2].1, &tokens[2], "DELETE", &path).await;
    assert_eq!(itself.status(), 204, "{}", itself.0);
    assert_eq!(end(&admin, &ids[1]).await, "");
    assert_eq!(end(&admin, &ids[1]).await, "NOT_FOUND");
    let listed = server.call("GET", DEVICES, &bob, None).await;
    assert_eq!(listed.json(), json!([]));
    let audit = server.call("GET", "/api/v1/audit", &admin, None).await;
    assert_eq!(audit.0.matches("ended a device").count(), 2, "{}", audit.0);
}

#[tokio::test]
async fn a_device_administers_nothing_and_a_page_elsewhere_uses_none() {
    let server = Server::with_ada().await;
    let device = Device::new(Algorithm::EdDSA);
    let token = server.token(&device).await;
    for (method, path) in [
        ("GET", "/api/v1/members"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/sessions"),
        ("POST", "/api/v1/members/invitations"),
        ("POST", "/api/v1/auth/sign-out-everywhere"),
    ] {
        let answer = server.by(&device, &token, method, path).await;
        assert!(
            (400..=403).contains(&answer.status()),
            "{path}: {}",
            answer.0
        );
    }
    let nonce = server.nonce().await;
    let proof = device.prove(&server.claims("GET", ME, Some(&token), &nonce));
    let elsewhere = format!("DPoP {token}\r\nOrigin: https://evil.example");
    let answer = server.show("GET", ME, &elsewhere, &[proof], None).await;
    assert_eq!(answer.code(), "CROSS_SITE");
}

#[tokio::test]
async fn an_account_has_so_many_devices_and_the_same_key_takes_its_own_place() {
    let server = Server::with_ada().await;
    let first = Device::new(Algorithm::EdDSA);
    let mut last = server.add(&first, ADA, "first").await;
    for _ in 1..DEVICES_MAX {
        assert_eq!(last.status(), 201, "{}", last.0);
        last = server
            .add(&Device::new(Algorithm::EdDSA), ADA, "one more")
            .await;
    }
    assert_eq!(last.status(), 201, "{}", last.0);
    let refused = server
        .add(&Device::new(Algorithm::EdDSA), ADA, "too many")
        .await;
    assert_eq!(
        (refused.status(), refused.code()),
        (409, "QUOTA_REACHED".into())
    );
    let again = server.add(&first, ADA, "first again").await;
    assert_eq!(again.status(), 201, "{}", again.0);
}

fn nonce_of(answer: &Answer) -> String {
    let head = answer.0.split("\r\n\r\n").next().unwrap();
    let mut lines = head.lines();
    let nonce = lines.find_map(|line| line.strip_prefix("dpop-nonce: "));
    nonce
        .unwrap_or_else(|| panic!("no nonce in {}", answer.0))
        .to_owned()
}

/// A key pair, as a gateway has one.
struct Device {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Device {
    fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::ES256 => {
                let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
                let pair = rcgen::KeyPair::generate_for(kind).unwrap();
                EncodingKey::from_ec_der(&pair.serialize_der())
            }
            _ => {
                let seed: [u8; 32] = rand::random();
                EncodingKey::from_ed_der(&[ED25519_PKCS8, &seed].concat())
            }
        };
        Self { algorithm, key }
    }

    fn jwk(&self) -> Jwk {
        Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()
    }

    /// RFC 7638, in the words of the RFC and not in those of the library.
    fn thumbprint(&self) -> String {
        let jwk = json!(self.jwk());
        let (x, y) = (&jwk["x"], &jwk["y"]);
        let canonical = match self.algorithm {
            Algorithm::ES256 => format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#),
            _ => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":{x}}}"#),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
    }

    fn prove(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "jwk": self.jwk() });
        self.sign(&header, claims)
    }

    /// Under a header of the caller's choice.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        header["typ"] = "dpop+jwt".into();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let message = signed.as_bytes();
        let signature = jsonwebtoken::crypto::sign(message, &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

impl Server {
    async fn with_ada() -> Self {
        let server = Self::start().await;
        server.member(ADA, MemberRole::Owner).await;
        server
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What a proof says of a request.
    fn claims(&self, method: &str, path: &str, token: Option<&str>, nonce: &str) -> Value {
        let mut claims = json!({
            "jti": Uuid::new_v4(), "htm": method, "htu": self.url(path),
            "iat": unix_now().as_secs(), "nonce": nonce,
        });
        if let Some(token) = token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(Sha256::digest(token)).into();
        }
        claims
    }

    /// As the first answer to a device brings it.
    async fn nonce(&self) -> String {
        nonce_of(&self.show("GET", ME, "", &["none yet".into()], None).await)
    }

    /// Signs a device in.
    async fn add(&self, device: &Device, email: &str, name: &str) -> Answer {
        let nonce = self.nonce().await;
        let proof = device.prove(&self.claims("POST", DEVICES, None, &nonce));
        self.show_new(&[proof], email, name).await
    }

    async fn show_new(&self, proofs: &[String], email: &str, name: &str) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "name": name });
        self.show("POST", DEVICES, "", proofs, Some(body)).await
    }

    async fn token(&self, device: &Device) -> String {
        let added = self.add(device, ADA, "laptop").await;
        assert_eq!(added.status(), 201, "{}", added.0);
        added.json()["token"].as_str().unwrap().to_owned()
    }

    /// A request as a device makes it, with a proof of its own.
    async fn by(&self, device: &Device, token: &str, method: &str, path: &str) -> Answer {
        let nonce = self.nonce().await;
        let proof = device.prove(&self.claims(method, path, Some(token), &nonce));
        let authorization = format!("DPoP {token}");
        self.show(method, path, &authorization, &[proof], None)
            .await
    }

    async fn show(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        proofs: &[String],
        body: Option<Value>,
    ) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n",
            self.url("").trim_start_matches("http://")
        );
        if !authorization.is_empty() {
            head += &format!("Authorization: {authorization}\r\n");
        }
        for proof in proofs {
            head += &format!("DPoP: {proof}\r\n");
        }
        head += &format!(
            "Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer(String::from_utf8(answer).unwrap())
    }
}
