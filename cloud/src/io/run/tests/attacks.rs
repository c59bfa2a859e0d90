//! The attack groups of a service for many tenants, each by its number, where `identity` and
//! `desktops` do not have them.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;
use crate::identity::{MemberRole, WorkspaceId};
use crate::io::state::StateFolder;

const SIGN_IN: &str = "/api/v1/auth/sign-in";
const PASSWORD: &str = "four plain words here";
/// A network may ask some forty times at once; far more than this proves nothing.
const TRIES_MAX: usize = 10_000;

#[tokio::test]
async fn attack_2_a_network_that_tries_one_account_after_another_is_stopped() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    assert!(server.is_stopped(|_| String::new()).await);
    let right = server.enter("ada@example.org", PASSWORD).await;
    assert_eq!(right.code(), "TOO_MANY");
}

#[tokio::test]
async fn attack_17_a_made_up_forwarded_address_is_no_other_network() {
    let server = Server::start().await;
    let forged = |try_: usize| {
        let address = format!("203.0.{}.{}", try_ / 250 % 250, try_ % 250);
        format!("\r\nX-Forwarded-For: {address}\r\nForwarded: for={address}")
    };
    assert!(server.is_stopped(forged).await);
}

#[tokio::test]
async fn attack_4_a_huge_password_is_refused_before_it_is_hashed() {
    let server = Server::start().await;
    let body = json!({ "email": "new@example.org", "password": "x1".repeat(20_000) });
    let answer = server
        .call("POST", "/api/v1/auth/sign-up", "", Some(body))
        .await;
    assert_eq!(
        (answer.status(), answer.code()),
        (422, "PASSWORD_UNSUITABLE".into())
    );
    assert_eq!(server.mails(), 0);
}

#[tokio::test]
async fn attack_2_a_password_known_from_breaches_is_refused_with_what_to_do() {
    let server = Server::start().await;
    for common in ["Password123", "sunshine2024", "1q2w3e4r5t6y"] {
        let body = json!({ "email": "new@example.org", "password": common });
        let answer = server
            .call("POST", "/api/v1/auth/sign-up", "", Some(body))
            .await;
        assert_eq!(answer.status(), 422, "{common}");
        let said = answer.json();
        assert!(
            said["cause"].as_str().unwrap().contains("breaches"),
            "{said}"
        );
        assert!(
            said["next_step"].as_str().unwrap().contains("four words"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn attack_6_an_address_in_other_letters_is_the_same_account_or_none() {
    let server = Server::start().await;
    let id = server.member("ada@example.org", MemberRole::Owner).await;
    let shouted = server.enter("ADA@Example.ORG", PASSWORD).await;
    assert_eq!(shouted.json()["id"], json!(id), "{}", shouted.0);
    // A Cyrillic а, and an address behind a line break.
    for alias in ["аda@example.org", "ada@example.org\r\nBcc: eve@example.org"] {
        let body = json!({ "email": alias, "password": PASSWORD });
        let up = server
            .call("POST", "/api/v1/auth/sign-up", "", Some(body))
            .await;
        assert_eq!(
            (up.status(), up.code()),
            (400, "BAD_MESSAGE".into()),
            "{alias}"
        );
    }
    assert_eq!(server.mails(), 0);
}

#[tokio::test]
async fn attack_6_who_registers_somebody_else_s_address_first_gains_nothing() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.enter("ada@example.org", PASSWORD).await.cookies();
    let theirs = json!({ "email": "victim@example.org", "password": "the stranger's own words" });
    server
        .call("POST", "/api/v1/auth/sign-up", "", Some(theirs))
        .await;
    let invitation = json!({ "email": "victim@example.org", "role": "member" });
    let invited = server.call(
        "POST",
        "/api/v1/members/invitations",
        &ada,
        Some(invitation),
    );
    assert_eq!(invited.await.status(), 202);
    let body = json!({ "token": server.mailed_token(), "password": "the victim's own words" });
    let joined = server
        .call("POST", "/api/v1/auth/accept", "", Some(body))
        .await;
    assert_eq!(joined.status(), 200, "{}", joined.0);
    let stranger = server
        .enter("victim@example.org", "the stranger's own words")
        .await;
    assert_eq!(stranger.code(), "SIGN_IN_FAILED");
    let victim = server
        .enter("victim@example.org", "the victim's own words")
        .await;
    assert_eq!(victim.status(), 200, "{}", victim.0);
}

#[tokio::test]
async fn attack_11_a_role_that_was_taken_away_is_gone_with_the_next_request() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let bob_id = server.member("bob@example.org", MemberRole::Admin).await;
    let ada = server.enter("ada@example.org", PASSWORD).await.cookies();
    let bob = server.enter("bob@example.org", PASSWORD).await.cookies();
    assert_eq!(
        server
            .call("GET", "/api/v1/audit", &bob, None)
            .await
            .status(),
        200
    );
    let path = format!("/api/v1/members/{bob_id}");
    let body = Some(json!({ "role": "member" }));
    assert_eq!(server.call("PATCH", &path, &ada, body).await.status(), 204);
    let audit = server.call("GET", "/api/v1/audit", &bob, None).await;
    assert_eq!(audit.code(), "NOT_PERMITTED");
}

#[tokio::test]
async fn attack_14_nobody_writes_or_deletes_what_the_audit_log_says() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.enter("ada@example.org", PASSWORD).await.cookies();
    let before = server.call("GET", "/api/v1/audit", &ada, None).await.json();
    let id = before[0]["id"].as_str().unwrap();
    for path in ["/api/v1/audit".to_owned(), format!("/api/v1/audit/{id}")] {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.call(method, &path, &ada, Some(json!({}))).await;
            assert_eq!(answer.code(), "NOT_FOUND", "{method} {path}");
        }
    }
    let after = server.call("GET", "/api/v1/audit", &ada, None).await.json();
    assert_eq!(after, before);
}

#[tokio::test]
async fn attack_15_a_secret_that_is_nearly_right_is_answered_like_one_that_is_all_wrong() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let cookies = server.sign_in("ada@example.org").await;
    let nearly = |text: &str, at: usize| {
        let other = if text[at..].starts_with('A') {
            "B"
        } else {
            "A"
        };
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let mut said = Vec::new();
    // The first and the last sign that count of the secret, behind the 16 digits of its id.
    for at in [17, 58] {
        let key = nearly(&server.key, at);
        said.push(server.post("/api/v1/instances/desk/tickets", &key).await);
    }
    assert!(said[0].contains("ACCESS_DENIED"), "{}", said[0]);
    assert_eq!(body(&said[0]), body(&said[1]));

    let handle = cookies.find("session=").unwrap() + "session=".len();
    let mut said = Vec::new();
    for at in [handle, handle + 41] {
        let answer = server
            .call("GET", "/api/v1/me", &nearly(&cookies, at), None)
            .await;
        said.push((answer.status(), answer.code()));
    }
    assert_eq!(
        said,
        [
            (401, "SIGN_IN_REQUIRED".to_owned()),
            (401, "SIGN_IN_REQUIRED".to_owned())
        ]
    );
    assert_eq!(
        server
            .call("GET", "/api/v1/me", &cookies, None)
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn attack_16_quotes_and_line_breaks_are_data_everywhere() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.enter("ada@example.org", PASSWORD).await.cookies();
    let injected = server.enter("x'OR'1'='1@example.org", "' OR '1'='1").await;
    assert_eq!(injected.code(), "SIGN_IN_FAILED");
    let page = "/api/v1/audit?before=%27%20OR%201%3D1%20--%20";
    assert_eq!(server.call("GET", page, &ada, None).await.json(), json!([]));
    for path in ["/api/v1/sessions/x%27--", "/api/v1/members/x%27--"] {
        let answer = server.call("DELETE", path, &ada, None).await;
        assert_eq!(answer.code(), "NOT_FOUND", "{path}");
    }
    let split = "/api/v1/instances/desk%0d%0aSet-Cookie:%20a=b/start";
    let answer = server.call("POST", split, &ada, None).await;
    assert!(
        !answer.0.to_lowercase().contains("\nset-cookie: a=b"),
        "{}",
        answer.0
    );
    assert_eq!(answer.code(), "INSTANCE_UNKNOWN");
}

#[test]
fn attack_20_the_signing_key_is_its_owner_s_alone() {
    let folder = std::env::temp_dir().join(format!("multiclaw-{}", uuid::Uuid::new_v4()));
    drop(StateFolder::open(&folder).unwrap());
    let key = folder.join("signing.key");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = StateFolder::open(&folder).err().unwrap().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn attack_23_asking_again_and_again_fills_nobody_s_mailbox() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    for _ in 0..5 {
        let body = Some(json!({ "email": "ada@example.org" }));
        let asked = server.call("POST", "/api/v1/auth/forgot", "", body).await;
        assert_eq!(asked.status(), 202);
    }
    assert_eq!(server.mails(), 1);
}

#[tokio::test]
async fn attack_24_a_removed_member_keeps_nothing_not_even_after_coming_back() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let bob_id = server.member("bob@example.org", MemberRole::Member).await;
    let ada = server.enter("ada@example.org", PASSWORD).await.cookies();
    let bob = server.enter("bob@example.org", PASSWORD).await.cookies();
    let path = format!("/api/v1/members/{bob_id}");
    assert_eq!(server.call("DELETE", &path, &ada, None).await.status(), 204);
    let home = WorkspaceId::only();
    let again = server
        .store
        .add_member(&home, &bob_id, MemberRole::Member, unix_now());
    again.await.unwrap();
    for (method, path) in [
        ("GET", "/api/v1/me"),
        ("POST", "/api/v1/auth/refresh"),
        ("POST", "/api/v1/instances/desk/tickets"),
    ] {
        let answer = server.call(method, path, &bob, None).await;
        assert_eq!(answer.status(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_sign_in_moves_a_password_to_the_newest_pepper() {
    use crate::identity::password::{self, Peppers};
    let peppers = Peppers::parse(&"p".repeat(password::pepper::LEN_MIN)).unwrap();
    let server = Server::start_with(peppers.clone()).await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let email = crate::identity::Email::parse("ada@example.org").unwrap();
    let stored = async || {
        let found = server.store.find_account(&email).await.unwrap();
        found.unwrap().password.unwrap()
    };
    assert!(!password::is_current(&stored().await, &peppers));
    assert_eq!(
        server
            .enter("ada@example.org", "not the password")
            .await
            .status(),
        401
    );
    assert!(!password::is_current(&stored().await, &peppers));
    for _ in 0..2 {
        assert_eq!(
            server.enter("ada@example.org", PASSWORD).await.status(),
            200
        );
        assert!(password::is_current(&stored().await, &peppers));
    }
}

impl Server {
    async fn enter(&self, email: &str, password: &str) -> identity::Answer {
        let body = json!({ "email": email, "password": password });
        self.call("POST", SIGN_IN, "", Some(body)).await
    }

    /// Whether somebody who goes on and on with addresses that are none, which cost no hash, is told
    /// to stop; more headers for each try.
    async fn is_stopped(&self, headers: impl Fn(usize) -> String) -> bool {
        let origin = format!("http://{}", self.address);
        for try_ in 0..TRIES_MAX {
            let host = format!("{}{}", self.address, headers(try_));
            let body: Value = json!({ "email": "nobody", "password": PASSWORD });
            let answer = self
                .raw("POST", SIGN_IN, &host, &origin, "", Some(body))
                .await;
            if answer.code() == "TOO_MANY" {
                return true;
            }
            assert_eq!(answer.code(), "SIGN_IN_FAILED");
        }
        false
    }

    fn mails(&self) -> usize {
        let mails = std::fs::read_dir(self.folder.path().join("mail")).unwrap();
        mails.count()
    }
}
