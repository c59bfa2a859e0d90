//! A client of HTTP/1.1 that keeps its connection and can come from any network of this machine:
//! all of 127.0.0.0/8 is ours, and the service counts per network.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As a `Cookie` header.
    pub(crate) cookies: String,
    pub(crate) body: Vec<u8>,
}

/// The first address of a network, by number: no two share 24 bits.
pub(crate) fn network(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = number.to_be_bytes();
    // 127.0 is everybody else's.
    Ipv4Addr::new(127, high.wrapping_add(1), low, 1)
}

pub(crate) async fn connect(address: &str, from: Ipv4Addr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A bound socket has its port for itself, whomever it then connects to: with thousands of them
    // looking for a free one takes longer than what is measured, and at last none is found.
    if from != Ipv4Addr::LOCALHOST {
        socket.bind(SocketAddr::from((from, 0)))?;
    }
    let stream = socket.connect(address.parse()?).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Client {
    pub(crate) async fn connect(address: &str, from: Ipv4Addr) -> Result<Self> {
        Ok(Self {
            stream: BufReader::new(connect(address, from).await?),
            host: address.to_owned(),
        })
    }

    /// `headers` are whole lines.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Answer> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}",
            host = self.host,
            len = body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Answer> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut answer = Answer {
            status: status.context("an answer begins with its status")?,
            cookies: String::new(),
            body: Vec::new(),
        };
        let mut len = 0;
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match name {
                "content-length" => len = value.parse()?,
                "set-cookie" => {
                    let pair = value.split(';').next().unwrap_or_default();
                    answer.cookies += &format!("{pair}; ");
                }
                _ => {}
            }
        }
        answer.body.resize(len, 0);
        self.stream.read_exact(&mut answer.body).await?;
        Ok(answer)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}
