//! The routes over real sockets on a free port, with the database played by a task.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::Code;
use protocol::signal::{FromAgent, FromViewer, PathMode, Role, ToAgent, ToViewer, VERSION};
use protocol::token::SigningKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::grant::{Granter, Terms};
use crate::instances::{InstanceRecord, Presence, hash};

#[tokio::test]
async fn a_viewer_and_an_agent_host_meet() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.register().await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    viewer.send(&server.open()).await;
    let ToViewer::Granted { grant } = viewer.receive().await else {
        panic!("not granted");
    };
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::SessionOpened { session } if session.session == grant.session));

    viewer.send(&FromViewer::Offer { sdp: "v=0".into() }).await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Offer { sdp, .. } if sdp == "v=0"));
}

#[tokio::test]
async fn pings_are_answered_and_an_agent_host_that_leaves_is_absent() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.register().await;
    agent.send(&FromAgent::Ping).await;
    assert_eq!(agent.receive::<ToAgent>().await, ToAgent::Pong);
    assert_eq!(server.service.presence(desk()).await, Presence::Online);

    agent.0.close(None).await.unwrap();
    while server.service.presence(desk()).await != Presence::Absent {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn malformed_json_as_the_first_message_closes_the_socket() {
    let server = Server::start(Database::Works).await;
    for text in ["", "{", "null", "{\"type\":\"open\"}", "[[[[["] {
        let mut viewer = server.connect(VIEWER_PATH).await;
        viewer.send_text(text).await;
        assert_eq!(viewer.refusal().await, Code::BadMessage, "{text}");
        assert_eq!(viewer.close_code().await, Some(1008), "{text}");
    }
    assert_eq!(
        server
            .service
            .socket_counters()
            .malformed
            .load(Ordering::Relaxed),
        5
    );
}

#[tokio::test]
async fn a_socket_that_is_known_may_be_misunderstood_a_few_times() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.register().await;
    for _ in 0..7 {
        agent.send_text("{\"type\":\"from the future\"}").await;
        let told: ToAgent = agent.receive().await;
        assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::BadMessage));
    }
    agent.send_text("{").await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { .. }));
    assert_eq!(agent.close_code().await, Some(1008));
}

#[tokio::test]
async fn a_wrong_first_message_closes_the_socket() {
    let server = Server::start(Database::Works).await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    viewer.send(&FromViewer::Offer { sdp: "v=0".into() }).await;
    assert_eq!(viewer.refusal().await, Code::BadMessage);
    assert_eq!(viewer.close_code().await, Some(1000));

    let mut agent = server.connect(AGENT_PATH).await;
    agent.send(&FromAgent::Captured { captured: true }).await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::BadMessage));
    assert_eq!(agent.close_code().await, Some(1000));
}

#[tokio::test]
async fn an_oversized_message_closes_its_own_socket_and_no_other() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.register().await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    viewer.send_text(&"x".repeat(MESSAGE_LEN_MAX + 1)).await;
    assert_eq!(viewer.refusal().await, Code::MessageTooLarge);
    assert_eq!(viewer.close_code().await, Some(1009));

    // Far above the bound it is not even read to its end.
    let mut viewer = server.connect(VIEWER_PATH).await;
    let huge = Message::text("x".repeat(FRAME_LEN_MAX + 1));
    // The socket may be closed before all of it is sent.
    let _ = viewer.0.send(huge).await;
    assert_eq!(viewer.close_code().await, None);
    let counted = server
        .service
        .socket_counters()
        .too_large
        .load(Ordering::Relaxed);
    assert_eq!(counted, 2);

    agent.send(&FromAgent::Ping).await;
    assert_eq!(agent.receive::<ToAgent>().await, ToAgent::Pong);
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_end_their_own_socket_and_are_counted() {
    let server = Server::start(Database::Works).await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    // RFC 6455 §5.2: reserved bits set, a reserved opcode, and no mask.
    let MaybeTlsStream::Plain(stream) = viewer.0.get_mut() else {
        panic!("a plain connection");
    };
    stream.write_all(&[0xff; 16]).await.unwrap();
    assert!(matches!(
        viewer.0.next().await,
        None | Some(Err(_) | Ok(Message::Close(_)))
    ));
    let counters = server.service.socket_counters();
    assert_eq!(counters.malformed.load(Ordering::Relaxed), 1);
    let mut other = server.connect(VIEWER_PATH).await;
    other.send(&FromViewer::Ping).await;
    assert_eq!(other.receive::<ToViewer>().await, ToViewer::Pong);
}

#[tokio::test]
async fn a_flood_closes_the_socket_that_sends_it() {
    let server = Server::start(Database::Works).await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    for _ in 0..crate::rate::BURST * 4 {
        // The socket may be closed before all of it is sent.
        let _ = viewer.0.feed(Message::text("{\"type\":\"ping\"}")).await;
    }
    let _ = viewer.0.flush().await;
    while let Some(Ok(message)) = viewer.0.next().await {
        if message
            .to_text()
            .is_ok_and(|text| text.contains("TOO_MANY"))
        {
            return;
        }
    }
    assert!(
        server
            .service
            .socket_counters()
            .too_fast
            .load(Ordering::Relaxed)
            > 0
    );
}

#[tokio::test]
async fn a_binary_message_is_not_understood() {
    let server = Server::start(Database::Works).await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    viewer.0.send(Message::binary(vec![0, 255])).await.unwrap();
    assert_eq!(viewer.refusal().await, Code::BadMessage);
}

#[tokio::test]
async fn a_page_from_elsewhere_gets_no_socket() {
    let server = Server::start(Database::Works).await;
    for (path, origin, status) in [
        (VIEWER_PATH, Some("http://evil.example"), Some(401)),
        (VIEWER_PATH, Some("null"), Some(401)),
        (VIEWER_PATH, Some("http://ours.test"), None),
        (VIEWER_PATH, None, None),
        (AGENT_PATH, Some("http://ours.test"), Some(401)),
        (AGENT_PATH, None, None),
    ] {
        let mut request = format!("ws://{}{path}", server.address)
            .into_client_request()
            .unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        let refused = match connect_async(request).await {
            Ok(_) => None,
            Err(Error::Http(response)) => Some(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(refused, status, "{path} {origin:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_promised_to_nobody() {
    let server = Server::start(Database::ReadOnly).await;
    let mut agent = server.register().await;
    let mut viewer = server.connect(VIEWER_PATH).await;
    viewer.send(&server.open()).await;
    assert_eq!(viewer.refusal().await, Code::Internal);
    assert_eq!(viewer.close_code().await, Some(1011));

    agent.send(&FromAgent::Ping).await;
    assert_eq!(
        agent.receive::<ToAgent>().await,
        ToAgent::Pong,
        "and nothing of a session"
    );
}

#[tokio::test]
async fn an_agent_host_that_cannot_be_looked_up_is_told_to_come_back() {
    let server = Server::start(Database::Gone).await;
    let mut agent = server.connect(AGENT_PATH).await;
    agent.send(&registration("credential")).await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::Internal));
    assert_eq!(agent.close_code().await, Some(1011));
}

#[tokio::test]
async fn a_wrong_credential_is_refused() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.connect(AGENT_PATH).await;
    agent.send(&registration("wrong")).await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::AccessDenied));
    assert_eq!(agent.close_code().await, Some(1000));
}

#[tokio::test]
async fn a_drain_sends_everybody_away_with_the_code_for_a_restart() {
    let server = Server::start(Database::Works).await;
    let mut agent = server.register().await;
    server.service.drain().await;
    let told: ToAgent = agent.receive().await;
    assert!(matches!(told, ToAgent::Failed { problem } if problem.code == Code::ServiceRestarting));
    assert_eq!(agent.close_code().await, Some(1012));

    let mut late = server.connect(VIEWER_PATH).await;
    assert_eq!(late.refusal().await, Code::ServiceRestarting);
}

mod nodes;

struct Server {
    service: Service,
    granter: Arc<Granter>,
    address: SocketAddr,
}

/// How the room that owns the database behaves.
#[derive(Clone, Copy, PartialEq)]
enum Database {
    Works,
    ReadOnly,
    Gone,
}

impl Server {
    async fn start(database: Database) -> Self {
        let key = SigningKey::from_seed([1; 32]).unwrap();
        let granter = Arc::new(Granter::new(&key, vec![], Terms::default()).unwrap());
        let (store, requests) = mpsc::channel(16);
        tokio::spawn(answer(requests, database));
        let service = Service::start(granter.clone(), vec![], vec![], store);
        Self::serve(service, granter).await
    }

    async fn serve(service: Service, granter: Arc<Granter>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = routes(service.clone(), Origins::new(["http://ours.test"]));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self {
            service,
            granter,
            address,
        }
    }

    async fn connect(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.address);
        Client(connect_async(url).await.unwrap().0)
    }

    async fn register(&self) -> Client {
        let mut agent = self.connect(AGENT_PATH).await;
        agent.send(&registration("credential")).await;
        assert_eq!(agent.receive::<ToAgent>().await, ToAgent::Registered);
        agent
    }

    fn open(&self) -> FromViewer {
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(1));
        FromViewer::Open {
            version: VERSION,
            ticket: self
                .granter
                .ticket(id, desk(), Role::Control, "k1".into(), unix_now())
                .unwrap(),
            mode: PathMode::Auto,
            round_trips_ms: Default::default(),
        }
    }
}

async fn answer(mut requests: mpsc::Receiver<StoreRequest>, database: Database) {
    while let Some(request) = requests.recv().await {
        match request {
            _ if database == Database::Gone => {}
            StoreRequest::Commit { done, .. } => {
                let committed = match database {
                    Database::Works => Committed::Stored,
                    Database::ReadOnly | Database::Gone => Committed::Failed,
                };
                done.send(committed).unwrap();
            }
            // There is one node.
            StoreRequest::Claim { .. } => {}
            StoreRequest::FindInstance { instance, found } => {
                let record = InstanceRecord {
                    instance,
                    region: "eu".into(),
                    credential_hash: hash(&Secret::new("credential")),
                };
                found.send(Some(record)).unwrap();
            }
        }
    }
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn send(&mut self, message: &impl Serialize) {
        self.send_text(&serde_json::to_string(message).unwrap())
            .await;
    }

    async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn receive<T: DeserializeOwned>(&mut self) -> T {
        let message = self.0.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    async fn refusal(&mut self) -> Code {
        match self.receive().await {
            ToViewer::Failed { problem } | ToViewer::Closed { problem } => problem.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The code of the close frame; `None` if the connection just ended.
    async fn close_code(&mut self) -> Option<u16> {
        match self.0.next().await {
            Some(Ok(Message::Close(frame))) => frame.map(|frame| frame.code.into()),
            _ => None,
        }
    }
}

fn desk() -> InstanceId {
    InstanceId::new("desk").unwrap()
}

fn registration(credential: &str) -> FromAgent {
    FromAgent::Register {
        version: VERSION,
        instance: desk(),
        credential: Secret::new(credential),
        sessions: vec![],
        captured: true,
    }
}
