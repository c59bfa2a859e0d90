//! The service as a viewer reaches it: one HTTP request for the ticket, one WebSocket.
//!
//! The access key travels in an `Authorization` header and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

use super::nearness::Region;
use super::tunnel;
use crate::proxy::{Proxy, ProxyEnv};

/// How long one request or the opening of the socket may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where the service is and what opens the door.
#[derive(Clone)]
pub(super) struct Service {
    http: reqwest::Client,
    /// Without a slash at the end.
    cloud: String,
    instance: InstanceId,
    key: Secret,
    proxies: ProxyEnv,
    /// Bytes of signalling, both ways.
    signalled: Arc<AtomicU64>,
}

/// What the service hands out for the access key.
#[derive(Deserialize)]
pub(super) struct Issued {
    pub(super) ticket: Secret,
    /// Where the way to each region can be measured; empty if there is nothing to choose.
    #[serde(default)]
    pub(super) regions: Vec<Region>,
}

impl Service {
    /// # Errors
    ///
    /// The TLS library cannot be set up.
    pub(super) fn new(cloud: &str, instance: InstanceId, key: Secret) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_MAX)
            // A session asks once.
            .pool_max_idle_per_host(0)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self {
            http,
            cloud: cloud.trim_end_matches('/').to_owned(),
            instance,
            key,
            proxies: ProxyEnv::read(|name| std::env::var(name).ok()),
            signalled: Arc::default(),
        })
    }

    /// The same service for another session, which counts for itself.
    pub(super) fn for_session(&self, instance: InstanceId, key: Secret) -> Self {
        Self {
            instance,
            key,
            signalled: Arc::default(),
            ..self.clone()
        }
    }

    pub(super) fn count_signalled(&self, len: usize) {
        self.signalled.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Bytes of signalling messages, both ways.
    pub(super) fn signalled(&self) -> u64 {
        self.signalled.load(Ordering::Relaxed)
    }

    /// Exchanges the access key for a connect ticket.
    ///
    /// # Errors
    ///
    /// The service's own problem, or that it could not be reached.
    pub(super) async fn fetch_ticket(&self) -> Result<Issued, Problem> {
        let url = format!("{}/api/v1/instances/{}/tickets", self.cloud, self.instance);
        let request = self.http.post(url).bearer_auth(self.key.expose());
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return response.json().await.map_err(|_| not_ours());
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
        let connect = async {
            let Some((proxy, host, port)) = self.proxy()? else {
                let direct = tokio_tungstenite::connect_async_with_config(url, Some(limits), true);
                return Ok::<_, BoxError>(direct.await?.0);
            };
            let stream = tunnel::open(&proxy, &host, port).await?;
            let over =
                tokio_tungstenite::client_async_tls_with_config(url, stream, Some(limits), None);
            Ok(over.await?.0)
        };
        match tokio::time::timeout(REQUEST_MAX, connect).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => Err(self.unreachable(&*error)),
            Err(elapsed) => Err(self.unreachable(&elapsed)),
        }
    }

    /// The proxy that stands before the service, and the service's own address.
    fn proxy(&self) -> Result<Option<(Proxy, String, u16)>, BoxError> {
        let url = reqwest::Url::parse(&self.cloud)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let proxy = match url.scheme() {
            "https" => self.proxies.for_tls(&host)?,
            _ => self.proxies.for_plain(&host)?,
        };
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(proxy.map(|proxy| (proxy, host, port)))
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_signalling_socket_goes_through_the_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        // No resolver knows this name: only the proxy can lead there.
        let mut service = service("http://cloud.invalid:8443");
        service.proxies.http = Some(format!("http://{address}"));
        service.open_socket().await.unwrap();
        let asked = proxy.await.unwrap();
        assert!(asked.starts_with("CONNECT cloud.invalid:8443 HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_a_service_that_cannot_be_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let mut service = service("http://cloud.invalid:8443");
        service.proxies.http = Some(format!("http://{address}"));
        let problem = service.open_socket().await.unwrap_err();
        assert_eq!(problem.code, Code::ServiceUnreachable);
    }

    fn service(cloud: &str) -> Service {
        let mut service = Service::new(cloud, "desk".parse().unwrap(), "key".into()).unwrap();
        service.proxies = ProxyEnv::default();
        service
    }
}
