//! A service as a relay sees it: it says a time, and takes reports that are signed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use protocol::Secret;
use protocol::relay::{REPORT_PATH, SIGNATURE_HEADER, is_signed};
use serde_json::Value;

use super::PATIENCE;

pub(crate) struct Service {
    address: SocketAddr,
    reports: Receiver<Value>,
}

impl Service {
    /// `date` is what it takes for the time, `secret` what reports are signed with.
    pub(crate) fn start(date: &'static str, secret: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                answer(&socket.unwrap(), date, secret, &sender);
            }
        });
        Self { address, reports }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn next_report(&self) -> Value {
        self.reports.recv_timeout(PATIENCE).expect("a report")
    }
}

/// One request, one answer; then the connection ends.
fn answer(socket: &TcpStream, date: &str, secret: &str, reports: &Sender<Value>) {
    let mut reader = BufReader::new(socket);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) if line != "\r\n" => lines.push(line.trim().to_owned()),
            _ => break,
        }
    }
    let header = |name: &str| {
        let named = lines.iter().filter_map(|line| line.split_once(": "));
        let mut values = named.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned())
    };
    let len = header("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    if lines.first().is_some_and(|line| line.contains(REPORT_PATH)) {
        let signature = header(SIGNATURE_HEADER).unwrap_or_default();
        assert!(is_signed(&Secret::new(secret), &body, &signature));
        let _ = reports.send(serde_json::from_slice(&body).unwrap());
    }
    let text = format!("HTTP/1.1 204 No Content\r\nDate: {date}\r\nConnection: close\r\n\r\n");
    let mut socket = socket;
    let _ = socket.write_all(text.as_bytes());
}
