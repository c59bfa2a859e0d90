//! People over real sockets: what signing in gives, and what attackers get instead.

use serde_json::{Value, json};

use super::*;
use crate::access::secret_from;
use crate::identity::sign_in::{GRACE, hash_of};
use crate::identity::{Email, MemberRole, WorkspaceId, password};

const PASSWORD: &str = "four plain words here";

#[tokio::test]
async fn a_member_signs_in_sees_the_desktops_and_gets_a_ticket_without_a_key() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let list = server.call("GET", "/api/v1/instances", &ada, None).await;
    assert_eq!(list.json()[0]["id"], "desk", "{}", list.0);
    let ticket = server
        .call("POST", "/api/v1/instances/desk/tickets", &ada, None)
        .await;
    assert_eq!(ticket.status(), 200, "{}", ticket.0);
    let out = server
        .call("POST", "/api/v1/auth/sign-out", &ada, None)
        .await;
    assert_eq!(out.status(), 204, "{}", out.0);
    let after = server.call("GET", "/api/v1/me", &ada, None).await;
    assert_eq!(after.code(), "SIGN_IN_REQUIRED");
}

#[tokio::test]
async fn attack_1_a_wrong_password_an_unknown_address_and_a_stranger_get_one_answer() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    server.account("stranger@example.org").await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.org", "not the password"),
        ("nobody@example.org", PASSWORD),
        ("stranger@example.org", PASSWORD),
    ] {
        let body = json!({ "email": email, "password": password });
        let answer = server
            .call("POST", "/api/v1/auth/sign-in", "", Some(body))
            .await;
        assert_eq!(answer.status(), 401);
        assert!(!answer.0.contains("set-cookie"), "{}", answer.0);
        answers.push(body_of(&answer.0));
    }
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    for path in ["forgot", "resend"] {
        let path = format!("/api/v1/auth/{path}");
        let mut answers = Vec::new();
        for email in ["ada@example.org", "nobody@example.org"] {
            let body = Some(json!({ "email": email }));
            answers.push(server.call("POST", &path, "", body).await.status());
        }
        assert_eq!(answers, [202, 202], "{path}");
    }
}

#[tokio::test]
async fn attack_3_a_strangers_failures_lock_nobody_who_signed_in_here_before() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let known = server.sign_in("ada@example.org").await;
    let wrong = json!({ "email": "ada@example.org", "password": "guess" });
    for _ in 0..3 {
        server
            .call("POST", "/api/v1/auth/sign-in", "", Some(wrong.clone()))
            .await;
    }
    let locked = server
        .call("POST", "/api/v1/auth/sign-in", "", Some(wrong))
        .await;
    assert_eq!(
        (locked.status(), locked.code()),
        (429, "ACCOUNT_LOCKED".into())
    );
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let owner = server
        .call("POST", "/api/v1/auth/sign-in", &known, Some(body.clone()))
        .await;
    assert_eq!(owner.status(), 200, "{}", owner.0);

    let members = server.call("GET", "/api/v1/members", &known, None).await;
    assert_eq!(members.json()[0]["locked"], true);
    let id = members.json()[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/members/{id}/unlock");
    assert_eq!(server.call("POST", &path, &known, None).await.status(), 204);
    let unlocked = server
        .call("POST", "/api/v1/auth/sign-in", "", Some(body))
        .await;
    assert_eq!(unlocked.status(), 200, "{}", unlocked.0);
}

#[tokio::test]
async fn attack_5_a_link_is_good_once_for_its_purpose_and_only_when_consumed() {
    let server = Server::start().await;
    let body = json!({ "email": "new@example.org", "password": PASSWORD });
    let up = server
        .call("POST", "/api/v1/auth/sign-up", "", Some(body))
        .await;
    assert_eq!(up.status(), 202, "{}", up.0);
    let token = server.mailed_token();
    let body = Some(json!({ "token": token }));
    let other = Some(json!({ "token": token, "password": PASSWORD }));
    let reset = server.call("POST", "/api/v1/auth/reset", "", other).await;
    assert_eq!(reset.code(), "LINK_INVALID");
    let confirm = "/api/v1/auth/confirm";
    assert_eq!(
        server
            .call("POST", confirm, "", body.clone())
            .await
            .status(),
        204
    );
    let again = server.call("POST", confirm, "", body).await;
    assert_eq!((again.status(), again.code()), (410, "LINK_INVALID".into()));
}

#[tokio::test]
async fn a_reset_ends_every_sign_in_and_takes_the_new_password_only() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let before = server.sign_in("ada@example.org").await;
    let body = Some(json!({ "email": "ada@example.org" }));
    server.call("POST", "/api/v1/auth/forgot", "", body).await;
    let body = json!({ "token": server.mailed_token(), "password": "another set of words" });
    let reset = server
        .call("POST", "/api/v1/auth/reset", "", Some(body))
        .await;
    assert_eq!(reset.status(), 204, "{}", reset.0);
    let me = server.call("GET", "/api/v1/me", &before, None).await;
    assert_eq!(me.status(), 401);
    let old = json!({ "email": "ada@example.org", "password": PASSWORD });
    let old = server
        .call("POST", "/api/v1/auth/sign-in", "", Some(old))
        .await;
    assert_eq!(old.code(), "SIGN_IN_FAILED");
}

#[tokio::test]
async fn attack_7_a_planted_handle_is_worth_nothing_and_every_sign_in_gets_its_own() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let planted = "multiclaw-session=planted";
    assert_eq!(
        server
            .call("GET", "/api/v1/me", planted, None)
            .await
            .status(),
        401
    );
    let first = server.sign_in("ada@example.org").await;
    let second = server.sign_in("ada@example.org").await;
    assert_ne!(first, second);
    let tossed = format!("{first}; multiclaw-session=planted");
    assert_eq!(
        server
            .call("GET", "/api/v1/me", &tossed, None)
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn attack_8_nothing_is_changed_for_a_foreign_page_or_a_foreign_host_name() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let own = format!("http://{}", server.address);
    let host = server.address.to_string();
    for (host, origin, code) in [
        (host.as_str(), "https://evil.org", "CROSS_SITE"),
        (host.as_str(), "null", "CROSS_SITE"),
        ("evil.org", own.as_str(), "WORKSPACE_UNKNOWN"),
    ] {
        let path = "/api/v1/auth/forgot";
        let body = Some(json!({ "email": "ada@example.org" }));
        let answer = server.raw("POST", path, host, origin, &ada, body).await;
        assert_eq!(answer.code(), code, "{}", answer.0);
    }
    assert_eq!(
        server.call("GET", "/api/v1/me", &ada, None).await.status(),
        200
    );
}

#[tokio::test]
async fn attack_10_parallel_and_repeated_refreshes_get_one_successor() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let old = server.sign_in("ada@example.org").await;
    let refresh = || server.call("POST", "/api/v1/auth/refresh", &old, None);
    let (a, b, c, d) = tokio::join!(refresh(), refresh(), refresh(), refresh());
    let first = a.cookies();
    for answer in [&a, &b, &c, &d, &refresh().await] {
        assert_eq!(answer.status(), 200, "{}", answer.0);
        assert_eq!(answer.cookies(), first);
    }
    assert_eq!(
        server
            .call("GET", "/api/v1/me", &first, None)
            .await
            .status(),
        200
    );
    assert_eq!(
        server.call("GET", "/api/v1/me", &old, None).await.status(),
        200
    );
}

#[tokio::test]
async fn attack_10_a_handle_shown_after_its_grace_ends_the_sign_in_for_both_holders() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let old = server.sign_in("ada@example.org").await;
    let (_, stolen) = old.split(';').next().unwrap().split_once('=').unwrap();
    let next = secret_from([7; 32]);
    let before_grace = unix_now() - GRACE - Duration::from_secs(1);
    let (old_hash, next_hash) = (hash_of(&stolen.into()), hash_of(&next));
    let rotated = server
        .store
        .rotate_sign_in(&old_hash, &next_hash, &[1; 32], before_grace);
    rotated.await.unwrap();
    let next = format!("multiclaw-session={}", next.expose());
    assert_eq!(
        server.call("GET", "/api/v1/me", &next, None).await.status(),
        200
    );
    assert_eq!(
        server.call("GET", "/api/v1/me", &old, None).await.status(),
        401
    );
    assert_eq!(
        server.call("GET", "/api/v1/me", &next, None).await.status(),
        401
    );
}

#[tokio::test]
async fn attack_13_what_belongs_to_another_workspace_does_not_exist_here() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let other = server.account("eve@example.org").await;
    let acme = WorkspaceId::parse("acme").unwrap();
    let added = server
        .store
        .add_member(&acme, &other, MemberRole::Owner, unix_now());
    added.await.unwrap();
    let ada = server.sign_in("ada@example.org").await;
    let path = format!("/api/v1/members/{other}");
    let answer = server.call("DELETE", &path, &ada, None).await;
    assert_eq!(answer.code(), "NOT_FOUND");
    let list = server.call("GET", "/api/v1/members", &ada, None).await;
    assert_eq!(list.json().as_array().unwrap().len(), 1);
    let body = json!({ "email": "eve@example.org", "password": PASSWORD });
    let eve = server
        .call("POST", "/api/v1/auth/sign-in", "", Some(body))
        .await;
    assert_eq!(eve.code(), "SIGN_IN_FAILED");
}

#[tokio::test]
async fn attack_13_roles_hold_the_last_owner_stays_and_unknown_fields_are_refused() {
    let server = Server::start().await;
    let owner_id = server.member("owner@example.org", MemberRole::Owner).await;
    server.member("admin@example.org", MemberRole::Admin).await;
    let member_id = server
        .member("member@example.org", MemberRole::Member)
        .await;
    let owner = server.sign_in("owner@example.org").await;
    let admin = server.sign_in("admin@example.org").await;
    let member = server.sign_in("member@example.org").await;
    let owner_path = format!("/api/v1/members/{owner_id}");
    let make_owner = || Some(json!({ "role": "owner" }));
    let member_path = format!("/api/v1/members/{member_id}");

    let audit = server.call("GET", "/api/v1/audit", &member, None).await;
    assert_eq!(audit.code(), "NOT_PERMITTED");
    let touch = server.call("DELETE", &owner_path, &admin, None).await;
    assert_eq!(touch.code(), "NOT_PERMITTED");
    let raise = server
        .call("PATCH", &member_path, &admin, make_owner())
        .await;
    assert_eq!(raise.code(), "NOT_PERMITTED");
    let last = server.call("DELETE", &owner_path, &owner, None).await;
    assert_eq!(last.code(), "LAST_OWNER");
    let extra = Some(json!({ "email": "x@example.org", "password": PASSWORD, "role": "owner" }));
    let extra = server.call("POST", "/api/v1/auth/sign-up", "", extra).await;
    assert_eq!(extra.status(), 400, "{}", extra.0);

    let gone = server.call("DELETE", &member_path, &admin, None).await;
    assert_eq!(gone.status(), 204, "{}", gone.0);
    assert_eq!(
        server
            .call("GET", "/api/v1/me", &member, None)
            .await
            .status(),
        401
    );
    let audit = server.call("GET", "/api/v1/audit", &admin, None).await;
    assert_eq!(audit.json()[0]["action"], "removed", "{}", audit.0);
}

#[tokio::test]
async fn an_invitation_makes_a_member_once() {
    let server = Server::start().await;
    server.member("owner@example.org", MemberRole::Owner).await;
    let owner = server.sign_in("owner@example.org").await;
    let body = json!({ "email": "guest@example.org", "role": "member" });
    let invited = server
        .call("POST", "/api/v1/members/invitations", &owner, Some(body))
        .await;
    assert_eq!(invited.status(), 202, "{}", invited.0);
    let body = json!({ "token": server.mailed_token(), "password": PASSWORD });
    let accept = "/api/v1/auth/accept";
    let joined = server.call("POST", accept, "", Some(body.clone())).await;
    assert_eq!(joined.status(), 200, "{}", joined.0);
    assert_eq!(joined.json()["role"], "member");
    let again = server.call("POST", accept, "", Some(body)).await;
    assert_eq!(again.code(), "LINK_INVALID");
}

#[tokio::test]
async fn one_sign_in_can_be_ended_from_another_and_all_at_once() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let here = server.sign_in("ada@example.org").await;
    let there = server.sign_in("ada@example.org").await;
    let list = server
        .call("GET", "/api/v1/sessions", &here, None)
        .await
        .json();
    let other = list
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["current"] == false);
    let path = format!(
        "/api/v1/sessions/{}",
        other.unwrap()["id"].as_str().unwrap()
    );
    assert_eq!(
        server.call("DELETE", &path, &here, None).await.status(),
        204
    );
    assert_eq!(
        server
            .call("GET", "/api/v1/me", &there, None)
            .await
            .status(),
        401
    );
    let all = server
        .call("POST", "/api/v1/auth/sign-out-everywhere", &here, None)
        .await;
    assert_eq!(all.status(), 204);
    assert_eq!(
        server.call("GET", "/api/v1/me", &here, None).await.status(),
        401
    );
}

/// Asked again and again, it was believed for ever.
#[tokio::test]
async fn a_sign_in_in_constant_use_ends_when_another_node_ends_it() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let about = server.call("GET", "/api/v1/me", &ada, None).await.json();
    let account = about["id"].as_str().unwrap();
    let ended = server.store.end_sign_ins(account, None, unix_now()).await;
    assert_eq!(ended.unwrap(), 1);
    let refused =
        async { while server.call("GET", "/api/v1/me", &ada, None).await.status() == 200 {} };
    let ended = tokio::time::timeout(Duration::from_secs(30), refused).await;
    ended.expect("the sign-in goes on");
}

pub(in crate::io) struct Answer(pub(super) String);

impl Answer {
    pub(in crate::io) fn status(&self) -> u16 {
        self.0[9..12].parse().unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(body(&self.0)).unwrap_or_else(|_| panic!("no JSON in {}", self.0))
    }

    pub(in crate::io) fn code(&self) -> String {
        let json = self.json();
        let code = json["code"].as_str().or(json["problem"]["code"].as_str());
        code.unwrap_or_else(|| panic!("no code in {}", self.0))
            .to_owned()
    }

    /// As a `Cookie` header.
    pub(super) fn cookies(&self) -> String {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let values = head
            .lines()
            .filter_map(|line| line.strip_prefix("set-cookie: "));
        let pairs: Vec<&str> = values.filter_map(|value| value.split(';').next()).collect();
        pairs.join("; ")
    }
}

impl Server {
    pub(super) async fn account(&self, email: &str) -> String {
        let email = Email::parse(email).unwrap();
        let stored = password::hash(
            &PASSWORD.into(),
            [0; password::SALT_LEN],
            &password::Peppers::default(),
            &mut password::Memory::default(),
        )
        .unwrap();
        let store = &self.store;
        let account = store
            .ensure_account(&email, Some(&stored), unix_now())
            .await;
        let account = account.unwrap();
        store
            .confirm_account(&account.id, unix_now())
            .await
            .unwrap();
        account.id
    }

    pub(super) async fn member(&self, email: &str, role: MemberRole) -> String {
        let account = self.account(email).await;
        let home = WorkspaceId::only();
        let added = self.store.add_member(&home, &account, role, unix_now());
        added.await.unwrap();
        account
    }

    /// The cookies of a browser that just signed in.
    pub(super) async fn sign_in(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self
            .call("POST", "/api/v1/auth/sign-in", "", Some(body))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.0);
        assert!(answer.0.contains("HttpOnly") && answer.0.contains("SameSite=Lax"));
        answer.cookies()
    }

    pub(in crate::io) async fn call(
        &self,
        method: &str,
        path: &str,
        cookies: &str,
        body: Option<Value>,
    ) -> Answer {
        let host = self.address.to_string();
        let origin = format!("http://{host}");
        self.raw(method, path, &host, &origin, cookies, body).await
    }

    pub(super) async fn raw(
        &self,
        method: &str,
        path: &str,
        host: &str,
        origin: &str,
        cookies: &str,
        body: Option<Value>,
    ) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Cookie: {cookies}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer(String::from_utf8(answer).unwrap())
    }

    /// The token in the newest mail.
    pub(super) fn mailed_token(&self) -> String {
        let mails = std::fs::read_dir(self.folder.path().join("mail")).unwrap();
        let newest = mails.map(|entry| entry.unwrap().path()).max().unwrap();
        let text = std::fs::read_to_string(newest).unwrap();
        let (_, token) = text.split_once("#token=").unwrap();
        token.trim().to_owned()
    }
}

fn body_of(answer: &str) -> String {
    body(answer).to_owned()
}
