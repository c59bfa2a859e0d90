//! The whole router over real sockets on a free port.

use protocol::id::InstanceId;
use protocol::signal::Role;
use protocol::token::SigningKey;
use signalling::InstanceRecord;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::access::{AccessKey, AccessRecord};
use crate::config::QuotaConfig;
use crate::identity::password::Peppers;
use crate::io::driver::tests::Pretend;
use crate::io::store::tests::Folder;

#[tokio::test]
async fn a_key_gets_a_ticket_for_its_own_instance() {
    let server = Server::start().await;
    let answer = server
        .post("/api/v1/instances/desk/tickets", &server.key)
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"ticket\":\"ey") && answer.contains("\"expires_in_secs\":60"));

    let answer = server
        .request("GET", "/api/v1/instances/desk", &server.key)
        .await;
    assert!(answer.contains("\"state\":\"Stopped\""), "{answer}");
}

#[tokio::test]
async fn an_unknown_instance_and_a_forbidden_one_answer_the_same() {
    let server = Server::start().await;
    let forbidden = server
        .post("/api/v1/instances/other/tickets", &server.key)
        .await;
    let unknown = server
        .post("/api/v1/instances/nothing/tickets", &server.key)
        .await;
    let absurd = server
        .post("/api/v1/instances/A%20B/tickets", &server.key)
        .await;
    assert!(forbidden.starts_with("HTTP/1.1 404") && forbidden.contains("INSTANCE_UNKNOWN"));
    assert_eq!(body(&forbidden), body(&unknown));
    assert_eq!(body(&forbidden), body(&absurd));
}

#[tokio::test]
async fn without_a_key_every_instance_answers_the_same() {
    let server = Server::start().await;
    let other_secret = AccessKey::from_random([1; 8], [9; 32]);
    let bearers = ["", "x", other_secret.to_text().expose()].map(str::to_owned);
    for bearer in &bearers {
        let there = server.post("/api/v1/instances/desk/tickets", bearer).await;
        let not_there = server
            .post("/api/v1/instances/nothing/tickets", bearer)
            .await;
        assert!(there.starts_with("HTTP/1.1 401") && there.contains("ACCESS_DENIED"));
        assert_eq!(body(&there), body(&not_there));
    }
}

#[tokio::test]
async fn the_page_is_the_same_for_every_instance_and_may_do_only_what_ours_does() {
    let server = Server::start().await;
    let there = server.request("GET", "/connect/desk", "").await;
    let not_there = server.request("GET", "/connect/nothing", "").await;
    assert_eq!(body(&there), body(&not_there));
    assert!(there.starts_with("HTTP/1.1 200"), "{there}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-cache",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(there.contains(header), "{header} in {there}");
    }
    assert!(!body(&there).contains("<style") && !body(&there).contains("style="));
    assert!(
        body(&there).matches("<script").count()
            == body(&there).matches("<script src=").count()
                + body(&there).matches("<script type=\"module\" src=").count()
    );
}

#[tokio::test]
async fn the_viewers_files_are_named_by_their_content_and_kept_for_good() {
    let server = Server::start().await;
    let page = server.request("GET", "/connect/desk", "").await;
    let script = page.split("src=\"").nth(1).unwrap();
    let script = script.split('"').next().unwrap();
    let hash = script
        .strip_prefix("/viewer/bundle/page-")
        .and_then(|rest| rest.strip_suffix(".js"));
    assert_eq!(hash.map(str::len), Some(16), "{script}");

    let kept = server.request("GET", script, "").await;
    assert!(kept.contains("cache-control: public, max-age=31536000, immutable"));
    let plain = server.request("GET", "/viewer/bundle/page.js", "").await;
    assert!(plain.contains("cache-control: no-cache"));
    assert_eq!(body(&kept), body(&plain));
}

#[tokio::test]
async fn a_file_that_a_node_of_another_version_named_is_served_but_not_kept() {
    let server = Server::start().await;
    let other = "/viewer/bundle/page-0000000000000000.js";
    let answer = server.request("GET", other, "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("cache-control: no-cache"));
    for path in ["/viewer/bundle/other-00.js", "/viewer/bundle/x"] {
        let answer = server.request("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn every_file_the_page_names_is_served() {
    let server = Server::start().await;
    let mut page = server.request("GET", "/connect/desk", "").await;
    page += &server.request("GET", "/sign-in", "").await;
    let mut checked = 0;
    for attribute in ["href=\"", "src=\""] {
        for rest in page.split(attribute).skip(1) {
            let path = rest.split('"').next().unwrap();
            if path.starts_with('/') {
                let answer = server.request("GET", path, "").await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
                checked += 1;
            }
        }
    }
    assert!(checked > 3, "{checked} files");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_next_step() {
    let server = Server::start().await;
    for path in [
        "/nothing",
        "/connect/UPPER",
        "/connect/",
        "/viewer/../../etc/passwd",
        "/api/v1/x",
        "/api/v1/instances/%00",
        "/api/v1/audit?before=%00",
    ] {
        let answer = server.request("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("\"next_step\""), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_next_step() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = listen(taken.local_addr().unwrap()).await.unwrap_err();
    assert!(
        error.to_string().contains("set `listen` to another"),
        "{error:#}"
    );
}

mod attacks;
mod desktops;
mod devices;
pub(in crate::io) mod identity;
mod nodes;

pub(in crate::io) struct Server {
    address: SocketAddr,
    /// As it is known outside.
    url: String,
    store: Store,
    /// Opens "desk"; "other" exists too.
    key: String,
    folder: Arc<Folder>,
}

impl Server {
    pub(in crate::io) async fn start() -> Self {
        Self::start_with(Peppers::default()).await
    }

    async fn start_with(peppers: Peppers) -> Self {
        let folder = Arc::new(Folder::new());
        let store = folder.open().await;
        for name in ["desk", "other"] {
            let record = InstanceRecord {
                instance: InstanceId::new(name).unwrap(),
                region: "eu".into(),
                credential_hash: [0; 32],
            };
            store.create_instance(&record, unix_now()).await.unwrap();
        }
        let key = AccessKey::from_random([1; 8], [2; 32]);
        store
            .create_access(&access(&key), unix_now())
            .await
            .unwrap();
        let key = key.to_text().expose().to_owned();
        Self::serve(folder, store, key, peppers, None).await
    }

    /// Another node on the same database.
    async fn beside(&self) -> Self {
        self.another(None).await
    }

    /// The same, behind the address of this one, as a load balancer makes it.
    async fn beside_as_one(&self) -> Self {
        self.another(Some(self.url.clone())).await
    }

    async fn another(&self, url: Option<String>) -> Self {
        let (folder, key) = (self.folder.clone(), self.key.clone());
        let store = folder.open().await;
        Self::serve(folder, store, key, Peppers::default(), url).await
    }

    async fn serve(
        folder: Arc<Folder>,
        store: Store,
        key: String,
        peppers: Peppers,
        url: Option<String>,
    ) -> Self {
        let signing = SigningKey::from_seed([3; 32]).unwrap();
        let granter = Arc::new(Granter::new(&signing, vec![], Terms::default()).unwrap());
        let signalling = start_signalling(granter.clone(), &store).await.unwrap();
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = url.unwrap_or_else(|| format!("http://{address}"));
        let hosts = Hosts::new(&url, None);
        let outbox = Outbox::into_folder(folder.path().join("mail"), Arc::default()).unwrap();
        let nonces = Nonces::new(signing.derive(NONCES));
        let identity = Identity::new(store.clone(), hosts, outbox, None, peppers, nonces);
        let api = api::Api {
            identity: identity.unwrap(),
            store: store.clone(),
            granter,
            keeper: Keeper::start(store.clone(), signalling.clone(), Pretend::default()),
            signalling,
            status: Status::default(),
            metrics: Arc::default(),
            quota: QuotaConfig::default(),
            regions: Arc::from(["eu".to_owned()]),
            event_sockets: Arc::new(Semaphore::new(8)),
        };
        let router = router(api, &url).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self {
            address,
            url,
            store,
            key,
            folder,
        }
    }

    async fn post(&self, path: &str, bearer: &str) -> String {
        self.request("POST", path, bearer).await
    }

    /// The whole answer, head and body.
    pub(in crate::io) async fn request(&self, method: &str, path: &str, bearer: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {bearer}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

fn access(key: &AccessKey) -> AccessRecord {
    AccessRecord {
        id: key.id.clone(),
        instance: InstanceId::new("desk").unwrap(),
        role: Role::Control,
        key_hash: key.hash(),
        expires_unix: None,
        revoked: false,
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}
