use super::*;

const PEER: &str = "192.0.2.9:5000";

#[test]
fn a_challenged_request_is_repeated_signed_and_then_succeeds() {
    let now = origin();
    let mut client = client();
    client.allocate(now);
    let first = client.poll_transmit().unwrap();
    assert!(!Message::parse(&first).unwrap().has_integrity());

    client.handle_input(&challenge(&first, 401), now);
    let second = client.poll_transmit().unwrap();
    assert!(Message::parse(&second).unwrap().verify(&key()));

    client.handle_input(&success(&second, Some(PEER)), now);
    assert_eq!(client.state(), &State::Allocated);
    assert_eq!(client.relayed(), PEER.parse().ok());
}

#[test]
fn a_second_challenge_in_a_row_is_a_refusal() {
    let now = origin();
    let mut client = client();
    client.allocate(now);
    for _ in 0..2 {
        let request = client.poll_transmit().unwrap();
        client.handle_input(&challenge(&request, 401), now);
    }

    let State::Failed(Failure::Refused { code, .. }) = client.state() else {
        panic!("{:?}", client.state());
    };
    assert_eq!(*code, 401);
}

#[test]
fn a_stale_nonce_is_replaced_without_a_failure() {
    let now = origin();
    let mut client = bound(now);
    client.release(now);
    let request = client.poll_transmit().unwrap();

    client.handle_input(&challenge(&request, 438), now);
    let again = client.poll_transmit().unwrap();
    client.handle_input(&success(&again, None), now);

    assert_eq!(client.state(), &State::Idle);
}

#[test]
fn silence_is_met_with_doubling_waits_and_then_a_failure() {
    let mut now = origin();
    let mut client = client();
    client.allocate(now);
    let mut waits = Vec::new();
    while let Some(at) = client.poll_timeout() {
        waits.push((at - now).as_millis());
        now = at;
        client.handle_timeout(now);
    }

    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000]);
    assert_eq!(
        client.state(),
        &State::Failed(Failure::Silence(Method::Allocate))
    );
}

#[test]
fn a_bound_channel_is_renewed_before_its_permission_ends() {
    let now = origin();
    let mut client = bound(now);
    let renew_at = client.poll_timeout().unwrap();
    assert_eq!(renew_at - now, RENEW_AFTER);

    client.handle_timeout(renew_at);

    let renewal = client.poll_transmit().unwrap();
    assert_eq!(
        Message::parse(&renewal).unwrap().method(),
        Method::ChannelBind
    );
    assert_eq!(client.state(), &State::Bound);
}

#[test]
fn an_answer_with_anothers_signature_is_refused() {
    let now = origin();
    let mut client = client();
    client.allocate(now);
    let first = client.poll_transmit().unwrap();
    client.handle_input(&challenge(&first, 401), now);
    let mut forged = success(&client.poll_transmit().unwrap(), Some(PEER));
    *forged.last_mut().unwrap() ^= 1;

    client.handle_input(&forged, now);

    assert_eq!(
        client.state(),
        &State::Failed(Failure::Malformed(Method::Allocate))
    );
}

#[test]
fn an_answer_to_another_question_is_ignored() {
    let now = origin();
    let mut client = client();
    client.allocate(now);
    let mut answer = challenge(&client.poll_transmit().unwrap(), 401);
    answer[8] ^= 1;

    client.handle_input(&answer, now);

    assert_eq!(client.state(), &State::Asking(Method::Allocate));
    assert_eq!(client.poll_transmit(), None);
}

fn client() -> Client {
    let login = Login {
        username: "u".into(),
        password: Secret::new("p"),
    };
    Client::new(login, Delivery::Datagrams, 7)
}

fn bound(now: Instant) -> Client {
    let mut client = client();
    client.allocate(now);
    let first = client.poll_transmit().unwrap();
    client.handle_input(&challenge(&first, 401), now);
    let second = client.poll_transmit().unwrap();
    client.handle_input(&success(&second, Some(PEER)), now);
    client.bind(PEER.parse().unwrap(), now);
    let bind = client.poll_transmit().unwrap();
    client.handle_input(&success(&bind, None), now);
    assert_eq!(client.state(), &State::Bound);
    client
}

fn key() -> Key {
    Key::long_term(PasswordAlgorithm::Md5, "u", "r", &Secret::new("p"))
}

fn challenge(request: &[u8], code: u16) -> Vec<u8> {
    answer(request, Class::Error, |builder| {
        builder.error(code, "").realm("r").nonce(b"n");
    })
}

fn success(request: &[u8], relayed: Option<&str>) -> Vec<u8> {
    answer(request, Class::Success, |builder| {
        if let Some(relayed) = relayed {
            builder.xor_relayed_address(relayed.parse().unwrap());
        }
        builder.integrity(&key());
    })
}

fn answer(request: &[u8], class: Class, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    let mut buffer = [0; 512];
    let mut builder = Builder::new(&mut buffer, class, request.method(), request.transaction());
    fill(&mut builder);
    let len = builder.finish().unwrap();
    buffer[..len].to_vec()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an arbitrary origin for the test"
)]
fn origin() -> Instant {
    Instant::now()
}
