//! Two nodes on one database: what one of them was told holds at the other.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::identity::MemberRole;

/// What a backup that is older than this says of it.
const BEFORE: &str = "UPDATE sign_in SET ended_unix = NULL; UPDATE access SET revoked_unix = NULL";
const PASSWORD: &str = "four plain words here";
const SIGN_IN: &str = "/api/v1/auth/sign-in";
/// On the slowest of machines.
const OVER_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn attack_11_who_signs_out_everywhere_at_one_node_is_signed_out_at_the_other() {
    let here = Server::start().await;
    let there = here.beside().await;
    here.member("ada@example.org", MemberRole::Owner).await;
    let cookies = here.sign_in("ada@example.org").await;
    // The other node knows this sign-in, and need not ask the database for a while.
    assert_eq!(
        there
            .call("GET", "/api/v1/me", &cookies, None)
            .await
            .status(),
        200
    );
    let out = here.call("POST", "/api/v1/auth/sign-out-everywhere", &cookies, None);
    assert_eq!(out.await.status(), 204);
    let refused = async {
        // However often it is used meanwhile.
        while there
            .call("GET", "/api/v1/me", &cookies, None)
            .await
            .status()
            == 200
        {}
    };
    let began = Instant::now();
    let refused = tokio::time::timeout(OVER_WITHIN, refused).await;
    refused.expect("the other node asks the database again");
    println!("refused at the other node after {:?}", began.elapsed());
    let after = there.call("GET", "/api/v1/me", &cookies, None).await;
    assert_eq!(after.code(), "SIGN_IN_REQUIRED");
}

#[tokio::test]
async fn attack_3_guesses_at_two_nodes_are_counted_together_and_forgiven_together() {
    let here = Server::start().await;
    let there = here.beside().await;
    here.member("ada@example.org", MemberRole::Owner).await;
    let known = here.sign_in("ada@example.org").await;
    let guess = async |node: &Server, password: &str| {
        let body = json!({ "email": "ada@example.org", "password": password });
        node.call("POST", SIGN_IN, "", Some(body)).await.code()
    };
    assert_eq!(guess(&here, "a guess").await, "SIGN_IN_FAILED");
    assert_eq!(guess(&there, "a guess").await, "SIGN_IN_FAILED");
    assert_eq!(guess(&here, "a guess").await, "SIGN_IN_FAILED");
    assert_eq!(guess(&there, PASSWORD).await, "ACCOUNT_LOCKED");

    let members = there
        .call("GET", "/api/v1/members", &known, None)
        .await
        .json();
    assert_eq!(members[0]["locked"], true, "{members}");
    let path = format!(
        "/api/v1/members/{}/unlock",
        members[0]["id"].as_str().unwrap()
    );
    assert_eq!(here.call("POST", &path, &known, None).await.status(), 204);
    assert_eq!(guess(&there, "a guess").await, "SIGN_IN_FAILED");
}

#[tokio::test]
async fn attack_22_a_restored_backup_brings_back_no_sign_in_and_no_key_that_had_ended() {
    let here = Server::start().await;
    let state = here.folder.path().join("state");
    let first = here.store.clone().remembering(&state);
    here.member("ada@example.org", MemberRole::Owner).await;
    let stolen = here.sign_in("ada@example.org").await;
    let account = here.call("GET", "/api/v1/me", &stolen, None).await.json();
    let account = account["id"].as_str().unwrap();
    let ended = first.end_sign_ins(account, None, unix_now()).await;
    assert_eq!(ended.unwrap(), 1);
    let (key, _) = here.key.split_once('.').unwrap();
    first.revoke_access(key, unix_now()).await.unwrap();
    let kept = here.sign_in("ada@example.org").await;

    first.dangerous_execute(BEFORE).await;
    let opens = async |server: &Server, cookies: &str| {
        let me = server.call("GET", "/api/v1/me", cookies, None).await;
        let ticket = "/api/v1/instances/desk/tickets";
        let ticket = server.post(ticket, &server.key).await;
        (me.status(), ticket.starts_with("HTTP/1.1 200"))
    };
    let forgetful = here.beside().await;
    assert_eq!(
        opens(&forgetful, &stolen).await,
        (200, true),
        "the backup is older"
    );

    // As a node does when it starts.
    let again = here.folder.open().await.remembering(&state);
    revoke_again(&again).await.unwrap();
    let next = here.beside().await;
    assert_eq!(opens(&next, &stolen).await, (401, false));
    assert_eq!(
        opens(&next, &kept).await,
        (200, false),
        "what had not ended goes on"
    );
}
