use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);

#[test]
fn a_ticket_says_after_verification_what_was_signed() {
    let key = key(1);
    let token = key.signer().unwrap().sign(&ticket()).unwrap();

    assert_eq!(key.verifier().verify(&token, NOW), Ok(ticket()));
}

#[test]
fn a_token_made_for_one_audience_is_invalid_for_another() {
    let key = key(1);
    let signer = key.signer().unwrap();
    let ticket = signer.sign(&ticket()).unwrap();
    let session = signer.sign(&session()).unwrap();

    assert_eq!(
        key.verifier().verify::<SessionClaims>(&ticket, NOW),
        Err(TokenError::Invalid)
    );
    assert_eq!(
        key.verifier().verify::<TicketClaims>(&session, NOW),
        Err(TokenError::Invalid)
    );
}

#[test]
fn a_token_expires_after_its_time_and_the_allowed_skew() {
    let key = key(1);
    let token = key.signer().unwrap().sign(&ticket()).unwrap();
    let verify = |after_secs| {
        let at = Duration::from_secs(ticket().exp + after_secs);
        key.verifier().verify::<TicketClaims>(&token, at)
    };

    assert!(verify(0).is_ok());
    assert!(verify(CLOCK_SKEW.as_secs()).is_ok());
    assert_eq!(verify(CLOCK_SKEW.as_secs() + 1), Err(TokenError::Expired));
}

#[test]
fn a_token_of_another_deployment_is_invalid() {
    let token = key(2).signer().unwrap().sign(&ticket()).unwrap();

    assert_eq!(
        key(1).verifier().verify::<TicketClaims>(&token, NOW),
        Err(TokenError::Invalid)
    );
}

#[test]
fn a_token_with_any_byte_changed_is_invalid() {
    let key = key(1);
    let token = key.signer().unwrap().sign(&ticket()).unwrap();
    let verifier = key.verifier();
    for at in 0..token.expose().len() {
        let mut bytes = token.expose().as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let tampered = Secret::new(String::from_utf8(bytes).unwrap());
        let result = verifier.verify::<TicketClaims>(&tampered, NOW);
        // The last character of a Base64 part has bits that carry nothing.
        assert!(
            result.is_err() || result == Ok(ticket()),
            "byte {at}: {result:?}"
        );
    }
}

#[test]
fn the_token_itself_cannot_choose_how_it_is_verified() {
    let key = key(1);
    let public = key.pair.public_key().as_ref().to_vec();
    let claims = serde_json::to_string(&ticket()).unwrap();
    let hs256 = |secret: &[u8], signed: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    };
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None","typ":"JWT"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"../../dev/null"}"#,
        r#"{"typ":"JWT"}"#,
    ] {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(&claims)
        );
        for signature in [String::new(), hs256(&public, &signed), hs256(b"", &signed)] {
            let token = Secret::new(format!("{signed}.{signature}"));
            assert_eq!(
                key.verifier().verify::<TicketClaims>(&token, NOW),
                Err(TokenError::Invalid),
                "{header}"
            );
        }
    }
}

#[test]
fn text_that_is_no_token_is_invalid_and_never_a_panic() {
    let huge = "a".repeat(TOKEN_LEN_MAX + 1);
    for text in ["", ".", "..", "a.b.c", "....", "\u{0}", "ä.ö.ü", &huge] {
        assert_eq!(
            key(1)
                .verifier()
                .verify::<TicketClaims>(&Secret::new(text), NOW),
            Err(TokenError::Invalid)
        );
    }
}

#[test]
fn derived_keys_differ_by_purpose_and_by_deployment() {
    assert_eq!(key(1).derive("a"), key(1).derive("a"));
    assert_ne!(key(1).derive("a"), key(1).derive("b"));
    assert_ne!(key(1).derive("a"), key(2).derive("a"));
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; SEED_LEN]).unwrap()
}

fn ticket() -> TicketClaims {
    TicketClaims {
        aud: TicketAudience::Ticket,
        exp: NOW.as_secs() + TICKET_TTL.as_secs(),
        jti: SessionId::from_uuid(Uuid::from_u128(7)),
        instance: InstanceId::new("desk").unwrap(),
        role: Role::Control,
        sub: "k1".into(),
    }
}

fn session() -> SessionClaims {
    SessionClaims {
        aud: SessionAudience::Session,
        exp: NOW.as_secs() + 600,
        session: SessionId::from_uuid(Uuid::from_u128(7)),
        instance: InstanceId::new("desk").unwrap(),
        role: Role::Control,
    }
}
