//! A real Allocate through one of our own listeners, given back at once.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::Secret;
use protocol::turn::credential;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use protocol::turn::stream;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::any_certificate;
use super::worker::unix_now;
use crate::config::{Config, Listen, Transport};

/// Longest answer that is understood, in bytes.
const ANSWER_LEN_MAX: usize = 1024;
/// A listener that has not answered by then does not work.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// One listener, and how to log in there.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    listener: SocketAddr,
    transport: Transport,
    realm: String,
    secret: Option<Secret>,
    user: Option<(String, Secret)>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) relayed: SocketAddr,
    /// The certificate that was shown.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Probe {
    /// One for each listener.
    pub(crate) fn each(config: &Config, listens: &[Listen]) -> Vec<Self> {
        let users = config.auth.users.iter();
        let user = users.map(|(name, password)| (name.clone(), password.clone()));
        let user = user.take(1).next();
        let probe = |listen: &Listen| Self {
            listener: reachable(listen.address),
            transport: listen.transport,
            realm: config.realm.clone(),
            secret: config.auth.shared_secrets.first().cloned(),
            user: user.clone(),
        };
        listens.iter().map(probe).collect()
    }

    pub(crate) fn listener(&self) -> SocketAddr {
        self.listener
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// # Errors
    ///
    /// What keeps a client from an allocation there.
    pub(crate) async fn allocate(&self) -> Result<Probed> {
        tokio::time::timeout(ANSWER_TIME, self.try_allocate())
            .await
            .context("no answer")?
    }

    async fn try_allocate(&self) -> Result<Probed> {
        let (mut way, certificate) = Way::to(self.listener, self.transport).await?;
        let challenge = way
            .ask(Method::Allocate, |builder| {
                builder.requested_transport_udp();
            })
            .await?;
        let challenge = Message::parse(&challenge)?;
        let nonce = challenge.nonce().unwrap_or_default().to_vec();
        let (username, key) = self.login();
        let sign = |builder: &mut Builder<'_>| {
            builder
                .username(&username)
                .realm(&self.realm)
                .nonce(&nonce)
                .integrity(&key);
        };
        let answer = way
            .ask(Method::Allocate, |builder| {
                builder.requested_transport_udp();
                sign(builder);
            })
            .await?;
        let relayed = relayed_address(&answer)?;
        way.ask(Method::Refresh, |builder| {
            builder.lifetime(Duration::ZERO);
            sign(builder);
        })
        .await?;
        Ok(Probed {
            relayed,
            certificate,
        })
    }

    fn login(&self) -> (String, Key) {
        let (username, password) = match (&self.secret, &self.user) {
            (Some(secret), _) => {
                let until = unix_now() + Duration::from_secs(60);
                let made = credential::derive(secret, "probe", &[], until);
                (made.username, made.password)
            }
            (None, Some(user)) => user.clone(),
            (None, None) => (String::new(), Secret::default()),
        };
        let key = Key::long_term(PasswordAlgorithm::Md5, &username, &self.realm, &password);
        (username, key)
    }
}

/// The address a STUN server sees us at.
///
/// # Errors
///
/// It does not answer.
pub(crate) async fn seen_address(server: SocketAddr) -> Result<SocketAddr> {
    let ask = async {
        let (mut way, _) = Way::to(server, Transport::Udp).await?;
        let answer = way.ask(Method::Binding, |_| {}).await?;
        let seen = Message::parse(&answer)?.xor_mapped_address();
        seen.context("an answer without an address")
    };
    tokio::time::timeout(ANSWER_TIME, ask)
        .await
        .context("no answer")?
}

/// How messages get to a listener and back.
enum Way {
    Datagrams(UdpSocket),
    Bytes(Box<dyn Bytes>),
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

impl Way {
    async fn to(
        server: SocketAddr,
        transport: Transport,
    ) -> Result<(Self, Option<CertificateDer<'static>>)> {
        if transport == Transport::Udp {
            let socket = UdpSocket::bind(unspecified(server)).await?;
            socket.connect(server).await?;
            return Ok((Self::Datagrams(socket), None));
        }
        let tcp = TcpStream::connect(server).await?;
        if transport == Transport::Tcp {
            return Ok((Self::Bytes(Box::new(tcp)), None));
        }
        let name = ServerName::from(server.ip());
        let connector = tokio_rustls::TlsConnector::from(tls()?);
        let tls = connector.connect(name, tcp).await?;
        let shown = tls.get_ref().1.peer_certificates();
        let certificate = shown.and_then(|chain| chain.first()).cloned();
        let certificate = certificate.map(CertificateDer::into_owned);
        Ok((Self::Bytes(Box::new(tls)), certificate))
    }

    async fn ask(
        &mut self,
        method: Method,
        write: impl FnOnce(&mut Builder<'_>),
    ) -> Result<Vec<u8>> {
        let mut buf = vec![0; ANSWER_LEN_MAX];
        let transaction = TransactionId(rand::random());
        let mut builder = Builder::new(&mut buf, Class::Request, method, transaction);
        write(&mut builder);
        let len = builder.finish()?;
        let question = buf.get(..len).unwrap_or_default();
        match self {
            Self::Datagrams(socket) => {
                socket.send(question).await?;
                let count = socket.recv(&mut buf).await?;
                buf.truncate(count);
                Ok(buf)
            }
            Self::Bytes(bytes) => {
                bytes.write_all(question).await?;
                bytes.flush().await?;
                read_message(bytes).await
            }
        }
    }
}

async fn read_message(bytes: &mut Box<dyn Bytes>) -> Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut chunk = [0; ANSWER_LEN_MAX];
    loop {
        if let Some(frame) = stream::frame(&heard)? {
            heard.truncate(frame.message_len);
            return Ok(heard);
        }
        let count = bytes.read(&mut chunk).await?;
        if count == 0 || heard.len() > ANSWER_LEN_MAX {
            bail!("the connection was closed without an answer");
        }
        heard.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// Whatever certificate our own listener shows is good here: what it is worth, clients decide.
fn tls() -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = any_certificate::DangerousAnyCertificate::new(provider.clone());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn relayed_address(answer: &[u8]) -> Result<SocketAddr> {
    let answer = Message::parse(answer)?;
    if let Some(error) = answer.error() {
        bail!("refused with {} {}", error.code, error.reason);
    }
    answer
        .xor_relayed_address()
        .context("an answer without a relayed address")
}

/// A wildcard listener is asked over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn unspecified(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
