//! Desktops over real sockets: who may do what, and what is refused in which words.

use serde_json::{Value, json};

use super::*;
use crate::identity::{MemberRole, WorkspaceId};

const LIST: &str = "/api/v1/instances";

#[tokio::test]
async fn an_admin_creates_and_deletes_a_desktop_in_two_steps_and_a_member_does_neither() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Admin).await;
    server.member("bob@example.org", MemberRole::Member).await;
    let ada = server.sign_in("ada@example.org").await;
    let bob = server.sign_in("bob@example.org").await;
    let asked = json!({ "name": "studio", "size": "medium" });

    let refused = server.call("POST", LIST, &bob, Some(asked.clone())).await;
    assert_eq!(
        (refused.status(), refused.code()),
        (403, "NOT_PERMITTED".into())
    );
    let made = server.call("POST", LIST, &ada, Some(asked)).await;
    assert_eq!(made.status(), 201, "{}", made.0);
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    assert!(
        id.starts_with("studio-") && id.len() == "studio-".len() + 6,
        "{id}"
    );
    assert_eq!(
        (&made["name"], &made["region"], &made["size"]),
        (&json!("studio"), &json!("eu"), &json!("medium"))
    );

    let path = format!("{LIST}/{id}");
    let body = json!({ "confirm": id });
    for (who, body, status, code) in [
        (&bob, Some(body.clone()), 403, "NOT_PERMITTED"),
        (&ada, None, 409, "CONFIRMATION_NEEDED"),
        (
            &ada,
            Some(json!({ "confirm": "studio" })),
            409,
            "CONFIRMATION_NEEDED",
        ),
    ] {
        let answer = server.call("DELETE", &path, who, body).await;
        assert_eq!((answer.status(), answer.code().as_str()), (status, code));
    }
    let deleted = server.call("DELETE", &path, &ada, Some(body.clone())).await;
    assert_eq!(deleted.status(), 202, "{}", deleted.0);
    let again = server.call("DELETE", &path, &ada, Some(body)).await;
    assert_eq!(again.code(), "INSTANCE_UNKNOWN");
    let start = server
        .call("POST", &format!("{path}/start"), &ada, None)
        .await;
    assert_eq!(start.code(), "INSTANCE_UNKNOWN");
}

#[tokio::test]
async fn a_member_stops_and_starts_and_the_list_says_what_may_be_done() {
    let server = Server::start().await;
    server.member("bob@example.org", MemberRole::Member).await;
    server.desktop("studio-abc234", "home").await;
    let bob = server.sign_in("bob@example.org").await;
    for (verb, may) in [
        ("stop", json!(["start"])),
        ("start", json!(["stop", "restart"])),
        ("restart", json!(["stop", "restart"])),
    ] {
        let path = format!("{LIST}/studio-abc234/{verb}");
        assert_eq!(server.call("POST", &path, &bob, None).await.status(), 202);
        let list = server.call("GET", LIST, &bob, None).await.json();
        let rows = list.as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == "studio").unwrap();
        assert_eq!(row["may"], may, "after {verb}");
    }
}

#[tokio::test]
async fn a_machine_that_somebody_else_runs_is_not_started_here() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let answer = server
        .call("POST", &format!("{LIST}/desk/restart"), &ada, None)
        .await;
    assert_eq!(
        (answer.status(), answer.code()),
        (409, "NOT_MANAGED".into())
    );
}

#[tokio::test]
async fn attack_13_a_desktop_of_another_workspace_does_not_exist() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    server.desktop("secret-abc234", "other").await;
    let ada = server.sign_in("ada@example.org").await;
    let body = json!({ "confirm": "secret-abc234" });
    for (method, path) in [
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/restart"),
        ("POST", "/tickets"),
        ("GET", "/log"),
        ("GET", ""),
        ("DELETE", ""),
    ] {
        let of = |id: &str| format!("{LIST}/{id}{path}");
        let body = (method == "DELETE").then(|| body.clone());
        let there = server
            .call(method, &of("secret-abc234"), &ada, body.clone())
            .await;
        let nowhere = server.call(method, &of("nothing-abc234"), &ada, body).await;
        assert_eq!(there.status(), 404, "{method} {path}");
        assert_eq!(
            super::body(&there.0),
            super::body(&nowhere.0),
            "{method} {path}"
        );
    }
    let list = server.call("GET", LIST, &ada, None).await;
    assert!(!list.0.contains("secret"), "{}", list.0);
}

#[tokio::test]
async fn a_name_that_is_none_and_a_region_that_is_none_are_said() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    for asked in [
        json!({ "name": "" }),
        json!({ "name": "Studio 1" }),
        json!({ "name": "-" }),
        json!({ "name": "x".repeat(41) }),
        json!({ "name": "studio", "region": "nowhere" }),
    ] {
        let answer = server.call("POST", LIST, &ada, Some(asked.clone())).await;
        assert_eq!(
            (answer.status(), answer.code()),
            (400, "BAD_MESSAGE".into()),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_workspace_that_is_full_is_told_so() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let mut codes = Vec::new();
    for _ in 0..=QuotaConfig::default().desktops {
        let asked = json!({ "name": "studio" });
        let answer = server.call("POST", LIST, &ada, Some(asked)).await;
        codes.push(answer.status());
    }
    assert_eq!(codes.pop(), Some(409));
    assert!(codes.iter().all(|code| *code == 201), "{codes:?}");
}

#[tokio::test]
async fn news_of_desktops_come_over_a_socket_that_only_our_own_page_opens() {
    let server = Server::start().await;
    server.member("ada@example.org", MemberRole::Owner).await;
    let ada = server.sign_in("ada@example.org").await;
    let own = format!("http://{}", server.address);
    for (cookies, origin, status) in [
        (ada.as_str(), "http://evil.example", 403),
        (ada.as_str(), "null", 403),
        ("", own.as_str(), 401),
    ] {
        let (answer, _) = server.watch(cookies, origin).await;
        assert_eq!(answer[9..12].parse::<u16>().unwrap(), status, "{origin}");
    }
    let (answer, mut socket) = server.watch(&ada, &own).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let all = frame(&mut socket).await;
    assert_eq!(
        (&all["type"], &all["instances"][0]["id"]),
        (&json!("all"), &json!("desk"))
    );

    let asked = json!({ "name": "studio" });
    server.call("POST", LIST, &ada, Some(asked)).await;
    let one = frame(&mut socket).await;
    assert_eq!(
        (&one["type"], &one["instance"]["name"]),
        (&json!("one"), &json!("studio"))
    );
    let id = one["instance"]["id"].as_str().unwrap();
    let body = json!({ "confirm": id });
    server
        .call("DELETE", &format!("{LIST}/{id}"), &ada, Some(body))
        .await;
    let mut gone = frame(&mut socket).await;
    while gone["type"] == "one" {
        gone = frame(&mut socket).await;
    }
    assert_eq!((&gone["type"], &gone["id"]), (&json!("gone"), &json!(id)));
}

/// The JSON of the next text frame, RFC 6455 §5.2: unmasked, up to 64 KiB.
async fn frame(socket: &mut TcpStream) -> Value {
    let mut head = [0; 2];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(head[0], 0x81, "one whole text frame");
    let len = match head[1] {
        126 => usize::from(socket.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    let mut text = vec![0; len];
    socket.read_exact(&mut text).await.unwrap();
    serde_json::from_slice(&text).unwrap()
}

impl Server {
    async fn desktop(&self, id: &str, workspace: &str) {
        use crate::io::store::desktops::{Desktop, Keeper};
        use crate::lifecycle::{Desired, Generation, Order, Size};
        let desktop = Desktop {
            instance: InstanceId::new(id).unwrap(),
            name: id.split('-').next().unwrap().into(),
            workspace: WorkspaceId::parse(workspace).unwrap().to_string(),
            region: "eu".into(),
            keeper: Keeper::Driver,
            order: Order {
                desired: Desired::Running,
                generation: Generation(1),
                size: Size::Small,
            },
        };
        let created = self.store.create_desktop(&desktop, 9, unix_now());
        created.await.unwrap();
    }

    /// Opens the socket of news; its head, and the socket right behind it.
    async fn watch(&self, cookies: &str, origin: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /api/v1/instances/events HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\n\
             Cookie: {cookies}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), stream)
    }
}
