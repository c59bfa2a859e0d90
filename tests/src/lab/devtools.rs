//! Opens and closes Chromium's tabs through the HTTP half of its DevTools protocol, and asks their
//! pages through the other half.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

/// A browser that does not answer by then hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A tab's description is a few hundred bytes.
const ANSWER_LEN_MAX: usize = 1 << 20;

/// A running Chromium, by the `host:port` of its DevTools.
pub struct Browser {
    address: String,
}

/// An open tab.
pub struct Tab {
    id: String,
    /// Where its page is spoken to, `ws://…`.
    socket: String,
}

impl Browser {
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    /// Opens a tab in front of the others; returns as soon as the browser has begun to.
    pub fn open(&self, url: &str) -> Result<Tab> {
        let escaped: String = url
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b':' | b'/' | b'.' | b'-' | b'_' => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let tab: Value =
            serde_json::from_slice(&self.ask("PUT", &format!("/json/new?{escaped}"))?)?;
        let text = |name: &str| {
            let value = tab[name].as_str();
            anyhow::Ok(
                value
                    .with_context(|| format!("a tab has {name}"))?
                    .to_owned(),
            )
        };
        Ok(Tab {
            id: text("id")?,
            socket: text("webSocketDebuggerUrl")?,
        })
    }

    pub fn close(&self, tab: &Tab) -> Result<()> {
        self.ask("PUT", &format!("/json/close/{}", tab.id))
            .map(drop)
    }

    /// The value of an expression in the tab's page, as JSON.
    pub fn evaluate(&self, tab: &Tab, expression: &str) -> Result<Value> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let (mut socket, _) = tungstenite::client(tab.socket.as_str(), stream)
            .map_err(|error| anyhow::anyhow!("no page at {}: {error}", tab.socket))?;
        let params = json!({ "expression": expression, "returnByValue": true });
        let question = json!({ "id": 1, "method": "Runtime.evaluate", "params": params });
        socket.send(Message::text(question.to_string()))?;
        // Nothing else is subscribed to: the next text is the answer.
        let answer: Value = serde_json::from_str(socket.read()?.to_text()?)?;
        let thrown = &answer["result"]["exceptionDetails"]["text"];
        anyhow::ensure!(thrown.is_null(), "the page answered {thrown}");
        Ok(answer["result"]["result"]["value"].clone())
    }

    fn ask(&self, method: &str, path: &str) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address)
            .with_context(|| format!("no DevTools at {}", self.address))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        )?;
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status)?;
        if !status.contains(" 200 ") {
            bail!("DevTools answered {}", status.trim());
        }
        let len = content_length(&mut reader)?;
        let mut body = vec![0; len];
        reader.read_exact(&mut body)?;
        Ok(body)
    }
}

fn content_length(reader: &mut impl BufRead) -> Result<usize> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            return Ok(len);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            len = value
                .trim()
                .parse()
                .ok()
                .filter(|len| *len <= ANSWER_LEN_MAX)
                .context("DevTools answered with a strange length")?;
        }
    }
}
