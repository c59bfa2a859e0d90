//! A TCP connection through an HTTP proxy: one `CONNECT`, one answer, then raw bytes.
//!
//! What is said and how it is read is `crate::proxy`'s; this is the socket.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::proxy::{Proxy, connect_status};

/// Longest head of a proxy's answer in bytes; a longer one is refused.
const HEAD_LEN_MAX: usize = 8 * 1024;

/// # Errors
///
/// The proxy cannot be reached, refuses, or does not speak HTTP.
pub(super) async fn open(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Error> {
    let mut stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await?;
    stream.set_nodelay(true)?;
    let request = proxy.connect_request(host, port);
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to whoever is at the far end.
    while head.len() < HEAD_LEN_MAX {
        head.push(stream.read_u8().await?);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        return match connect_status(&head).map_err(Error::other)? {
            Some(200..=299) => Ok(stream),
            status => Err(Error::other(format!("the proxy answered {status:?}"))),
        };
    }
    Err(Error::new(
        ErrorKind::InvalidData,
        "the proxy's answer has no end",
    ))
}
