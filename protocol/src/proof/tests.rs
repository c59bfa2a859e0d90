use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const NOW: Duration = Duration::from_secs(1_562_262_616);
const URL: &str = "https://server.example.com/token";

/// RFC 9449 §4.1, with the thumbprint of §6.1.
const RFC: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj\
oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia\
WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg\
4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

#[test]
fn the_example_of_the_rfc_is_a_proof_of_the_key_with_the_thumbprint_it_names() {
    let proof = Proof::read(RFC).unwrap();
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    assert_eq!(proof.key().to_string(), jkt);
    assert_eq!(proof.judge(&request("POST", URL, None), NOW), Ok(()));
    assert_eq!(proof.nonce(), None);
}

#[test]
fn a_proof_is_good_for_one_method_one_address_one_token_and_a_minute() {
    for device in [Device::es256(), Device::ed25519()] {
        let token = Secret::new("token");
        let proof = device.prove(&json!({
            "jti": "one", "htm": "GET", "htu": URL, "iat": NOW.as_secs(),
            "ath": hash_of(&token), "nonce": "n",
        }));
        let proof = Proof::read(&proof).unwrap();
        let judge = |method, url, token, at| proof.judge(&request(method, url, token), at);
        assert_eq!(proof.nonce(), Some("n"));
        assert_eq!(judge("GET", URL, Some(&token), NOW), Ok(()));
        let other = Secret::new("other");
        assert_eq!(
            judge("POST", URL, Some(&token), NOW),
            Err(ProofError::Method)
        );
        assert_eq!(judge("GET", URL, Some(&other), NOW), Err(ProofError::Token));
        for url in [
            "http://server.example.com/token",
            "https://server.example.com/token/",
            "https://server.example.com/Token",
            "https://server.example.com:8443/token",
            "https://server.example.com.evil.org/token",
            "https://x@server.example.com/token",
        ] {
            let judged = judge("GET", url, Some(&token), NOW);
            assert_eq!(judged, Err(ProofError::Address), "{url}");
        }
        let minute = SKEW_MAX;
        let second = Duration::from_secs(1);
        for (at, expected) in [
            (NOW + minute, Ok(())),
            (NOW - minute, Ok(())),
            (NOW + minute + second, Err(ProofError::Clock)),
            (NOW - minute - second, Err(ProofError::Clock)),
        ] {
            assert_eq!(judge("GET", URL, Some(&token), at), expected);
        }
    }
}

#[test]
fn two_spellings_of_one_address_are_the_same() {
    let proof = Proof::read(RFC).unwrap();
    for url in [
        "HTTPS://Server.Example.com/token",
        "https://server.example.com:443/token",
        "https://server.example.com/token?a=b#c",
    ] {
        assert_eq!(
            proof.judge(&request("POST", url, None), NOW),
            Ok(()),
            "{url}"
        );
    }
}

#[test]
fn a_proof_with_a_token_names_it() {
    let proof = Proof::read(RFC).unwrap();
    let token = Secret::new("token");
    let judged = proof.judge(&request("POST", URL, Some(&token)), NOW);
    assert_eq!(judged, Err(ProofError::Token));
}

#[test]
fn only_a_public_key_that_may_sign_is_taken_and_only_by_its_own_algorithm() {
    let device = Device::es256();
    let jwk = device.jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let long = "A".repeat(1024);
    let octets = json!({ "kty": "oct", "k": jwk["x"] });
    for (header, expected) in [
        (json!({ "alg": "none", "jwk": jwk }), ProofError::Malformed),
        (json!({ "alg": "HS256", "jwk": jwk }), ProofError::Key),
        (
            json!({ "alg": "HS256", "jwk": octets }),
            ProofError::PrivateKey,
        ),
        (json!({ "alg": "EdDSA", "jwk": jwk }), ProofError::Key),
        (json!({ "alg": "RS256", "jwk": jwk }), ProofError::Key),
        (json!({ "alg": "ES256" }), ProofError::Malformed),
        (
            json!({ "alg": "ES256", "jwk": with("d", jwk["x"].clone()) }),
            ProofError::PrivateKey,
        ),
        (
            json!({ "alg": "ES256", "jwk": with("crv", "P-384".into()) }),
            ProofError::Key,
        ),
        (
            json!({ "alg": "ES256", "jwk": with("x", long.into()) }),
            ProofError::Key,
        ),
        (
            json!({ "alg": "ES256", "jwk": with("y", "A".repeat(43).into()) }),
            ProofError::Signature,
        ),
        (
            json!({ "alg": "ES256", "jwk": Device::es256().jwk() }),
            ProofError::Signature,
        ),
        (
            json!({ "alg": "ES256", "jwk": jwk, "crit": ["x"] }),
            ProofError::Malformed,
        ),
        (
            json!({ "alg": "ES256", "jwk": jwk, "typ": "JWT" }),
            ProofError::Malformed,
        ),
    ] {
        let text = device.sign_under(&header);
        assert_eq!(Proof::read(&text), Err(expected), "{header}");
    }
}

#[test]
fn a_proof_keyed_with_the_public_key_as_a_password_is_none() {
    let device = Device::es256();
    let point = device.jwk()["x"].as_str().unwrap().to_owned();
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some(TYPE.into());
    header.jwk = Some(serde_json::from_value(device.jwk()).unwrap());
    let key = EncodingKey::from_secret(point.as_bytes());
    let text = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
    assert_eq!(Proof::read(&text), Err(ProofError::Key));
}

#[test]
fn text_that_is_no_proof_is_refused_and_never_a_panic() {
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "....",
        "\u{0}",
        "ä.ö.ü",
        "bnVsbA.e30.e30",
    ] {
        assert_eq!(Proof::read(text), Err(ProofError::Malformed), "{text:?}");
    }
    let long = "a".repeat(PROOF_LEN_MAX + 1);
    assert_eq!(
        Proof::read(&long),
        Err(ProofError::TooLong { have: long.len() })
    );
    for end in 0..RFC.len() - 1 {
        assert!(Proof::read(&RFC[..end]).is_err(), "{end}");
    }
    let device = Device::ed25519();
    for broken in [
        json!({ "htm": "GET", "htu": URL, "iat": 1 }),
        json!({ "jti": "a", "htm": "GET", "htu": URL, "iat": -1 }),
        json!({ "jti": 1, "htm": "GET", "htu": URL, "iat": 1 }),
    ] {
        let read = Proof::read(&device.prove(&broken));
        assert_eq!(read, Err(ProofError::Malformed), "{broken}");
    }
    for id in [String::new(), "a".repeat(ID_LEN_MAX + 1)] {
        let mut claims = claims();
        claims["jti"] = id.into();
        let read = Proof::read(&device.prove(&claims));
        assert_eq!(read, Err(ProofError::Malformed));
    }
}

#[test]
fn a_fingerprint_belongs_to_one_proof_of_one_key() {
    let (one, other) = (Device::ed25519(), Device::ed25519());
    let of = |device: &Device, id: &str| {
        let mut claims = claims();
        claims["jti"] = id.into();
        Proof::read(&device.prove(&claims)).unwrap().fingerprint()
    };
    assert_eq!(of(&one, "a"), of(&one, "a"));
    assert_ne!(of(&one, "a"), of(&one, "b"));
    assert_ne!(of(&one, "a"), of(&other, "a"));
}

/// RFC 8037 appendix A.3.
#[test]
fn the_thumbprint_of_an_ed25519_key_is_the_one_of_the_rfc() {
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let thumbprint = thumbprint(&serde_json::from_value(jwk).unwrap()).unwrap();
    let expected = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert_eq!(thumbprint.to_string(), expected);
}

fn request<'a>(method: &'a str, url: &'a str, token: Option<&'a Secret>) -> Expected<'a> {
    Expected { method, url, token }
}

fn claims() -> Value {
    json!({ "jti": "one", "htm": "GET", "htu": URL, "iat": NOW.as_secs() })
}

struct Device {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Device {
    fn es256() -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        Self {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
        }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(pkcs8.as_ref()),
        }
    }

    fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        serde_json::to_value(jwk).unwrap()
    }

    fn prove(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(TYPE.into());
        header.jwk = Some(serde_json::from_value(self.jwk()).unwrap());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A right signature under a header of the attacker's choice.
    fn sign_under(&self, header: &Value) -> String {
        let mut header = header.clone();
        if header.get("typ").is_none() {
            header["typ"] = TYPE.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims()));
        let message = signed.as_bytes();
        let signature = jsonwebtoken::crypto::sign(message, &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}
