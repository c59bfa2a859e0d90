//! The service as a viewer reaches it: one HTTP request for the ticket, one WebSocket.
//!
//! The access key travels in an `Authorization` header and nowhere else.

use std::time::Duration;

use anyhow::Context as _;
use protocol::Secret;
use protocol::id::InstanceId;
use protocol::problem::{Code, Problem};
use protocol::signal::{MESSAGE_LEN_MAX, VIEWER_PATH};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long one request or the opening of the socket may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where the service is and what opens the door.
#[derive(Clone)]
pub(super) struct Service {
    http: reqwest::Client,
    /// Without a slash at the end.
    cloud: String,
    instance: InstanceId,
    key: Secret,
}

#[derive(Deserialize)]
struct Issued {
    ticket: Secret,
}

impl Service {
    /// # Errors
    ///
    /// The TLS library cannot be set up.
    pub(super) fn new(cloud: &str, instance: InstanceId, key: Secret) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_MAX)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self {
            http,
            cloud: cloud.trim_end_matches('/').to_owned(),
            instance,
            key,
        })
    }

    /// Exchanges the access key for a connect ticket.
    ///
    /// # Errors
    ///
    /// The service's own problem, or that it could not be reached.
    pub(super) async fn fetch_ticket(&self) -> Result<Secret, Problem> {
        let url = format!("{}/api/v1/instances/{}/tickets", self.cloud, self.instance);
        let request = self.http.post(url).bearer_auth(self.key.expose());
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            let issued: Result<Issued, _> = response.json().await;
            return issued.map(|issued| issued.ticket).map_err(|_| not_ours());
        }
        let problem: Result<Problem, _> = response.json().await;
        Err(problem.unwrap_or_else(|_| not_ours()))
    }

    /// Opens the signalling socket.
    ///
    /// # Errors
    ///
    /// The service could not be reached.
    pub(super) async fn open_socket(&self) -> Result<Socket, Problem> {
        // "http" → "ws", "https" → "wss".
        let rest = self.cloud.strip_prefix("http").unwrap_or(&self.cloud);
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LEN_MAX))
            .max_frame_size(Some(MESSAGE_LEN_MAX));
        let url = format!("ws{rest}{VIEWER_PATH}");
        let connect = tokio_tungstenite::connect_async_with_config(url, Some(limits), true);
        match tokio::time::timeout(REQUEST_MAX, connect).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(elapsed) => Err(self.unreachable(&elapsed)),
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Problem {
        tracing::debug!(%error, "the service cannot be reached");
        Problem::new(
            Code::ServiceUnreachable,
            format!("The service at {} does not answer.", self.cloud),
            "Check the address and the network, then connect again.",
        )
    }
}

fn not_ours() -> Problem {
    Problem::new(
        Code::Internal,
        "The answer is not one of the service's.",
        "Check that --cloud names the service and not something in front of it.",
    )
}

/// The socket ended.
pub(super) fn closed() -> Problem {
    Problem::new(
        Code::ServiceUnreachable,
        "The signalling connection was closed.",
        "It is opened again by itself; the picture goes on meanwhile.",
    )
}
