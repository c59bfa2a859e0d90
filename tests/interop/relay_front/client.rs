//! A relay with one listener for everything, and TLS clients of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tests::certificates::{Authority, Validity};
use tests::relay_program::{RelayProgram, folder};

/// Longer than anything takes that comes at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "turn.test";

pub(crate) struct Front {
    relay: RelayProgram,
    tls: Arc<ClientConfig>,
}

impl Front {
    /// `web` is the text of `[web]`.
    pub(crate) fn start(web: &str) -> Self {
        let folder = folder("front").unwrap();
        let authority = Authority::default();
        authority.certify(&folder, NAME, Validity::Now).unwrap();
        std::fs::write(folder.join("relay.toml"), config(web)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        Self {
            relay: RelayProgram::start(folder).unwrap(),
            tls: Arc::new(tls),
        }
    }

    pub(crate) fn reconfigure(&self, web: &str) {
        std::fs::write(self.relay.folder().join("relay.toml"), config(web)).unwrap();
        self.relay.signal("HUP").unwrap();
    }

    /// Asks the relay to end, and waits until it has heard it.
    pub(crate) fn begin_to_drain(&self) {
        self.relay.signal("TERM").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !self.relay.log().contains("draining") {
            assert!(Instant::now() < deadline, "{}", self.relay.log());
        }
    }

    /// Waits until it has ended; its exit code.
    pub(crate) fn wait(mut self) -> i32 {
        self.relay.wait().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address("https")
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.relay.resident_bytes().unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let tls = ClientConnection::new(self.tls.clone(), name).unwrap();
        Client(StreamOwned::new(tls, socket))
    }

    pub(crate) async fn connect_async(
        &self,
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let socket = tokio::net::TcpStream::connect(self.address())
            .await
            .unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        connector.connect(name, socket).await.unwrap()
    }
}

fn config(web: &str) -> String {
    format!(
        "workers = 1\nrelay_addresses = [\"127.0.0.1\"]\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\ntransport = \"https\"\n\
         [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
         [auth]\nusers = {{ u = \"p\" }}\n[web]\n{web}"
    )
}

pub(crate) struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.sock.local_addr().unwrap()
    }

    /// Says `bytes` and nothing more, then hears until the other side has ended, cleanly or not.
    pub(crate) fn say_and_hear_out(mut self, bytes: &[u8]) -> String {
        self.write_all(bytes).unwrap();
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
        let mut heard = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.read(&mut chunk) {
            heard.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8(heard).unwrap()
    }

    /// Everything up to and with `text`.
    pub(crate) fn hear_until(&mut self, text: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(text.as_bytes()) {
            let mut byte = [0];
            self.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }

    /// Sends a STUN Binding request and gets its answer.
    pub(crate) fn binding(mut self) {
        let request = [
            0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        ];
        self.write_all(&request).unwrap();
        let mut answer = [0; 20];
        self.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], [1, 1], "a Binding success");
    }

    /// Sends `head` and `len` bytes while it hears as many; returns both.
    pub(crate) fn exchange(mut self, head: &[u8], len: usize) -> (Vec<u8>, Vec<u8>) {
        let body: Vec<u8> = (0..len).map(|at| ((at * 31) >> 7) as u8).collect();
        let sent = [head, &body].concat();
        let mut heard = Vec::with_capacity(sent.len());
        self.0.conn.complete_io(&mut self.0.sock).unwrap();
        self.0.sock.set_nonblocking(true).unwrap();
        let mut left = &sent[..];
        let mut chunk = vec![0; 64 << 10];
        while heard.len() < sent.len() {
            match self.0.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            match self.0.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&chunk[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        (sent, heard)
    }

    /// Hears so many bytes of what `Upstream::endless` says.
    pub(crate) fn expect_endless(&mut self, len: usize) {
        let mut heard = vec![0; len];
        self.read_exact(&mut heard).unwrap();
        let wrong = heard
            .iter()
            .enumerate()
            .find(|(at, byte)| **byte != super::upstream::endless_byte(*at));
        assert_eq!(wrong, None);
    }
}

impl Read for Client {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Client {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
