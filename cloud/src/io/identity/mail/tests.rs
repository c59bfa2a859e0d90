//! Against aiosmtpd, a mail server other people wrote.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD as STANDARD, Engine as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use uuid::Uuid;

use super::folder::{Folder, WhenFull};
use super::smtp::{Pace, Queue, Server};
use super::*;
use crate::config::SmtpSecurity;

const SERVER: &str = include_str!("server.py");

#[tokio::test]
async fn a_mail_arrives_as_it_was_written_over_each_kind_of_connection() {
    for security in [
        SmtpSecurity::None,
        SmtpSecurity::Starttls,
        SmtpSecurity::Tls,
    ] {
        let mut server = MailServer::start(security, json!({})).await;
        let queue = server.queue();
        send(&queue, "ada@example.org");
        let mail = server.next("mail").await;
        assert_eq!(mail["from"], "no-reply@multiclaw.example");
        assert_eq!(mail["to"], json!(["ada@example.org"]));
        let text = mail["text"].as_str().unwrap();
        for line in [
            "To: ada@example.org",
            "From: MultiClaw <no-reply@multiclaw.example>",
            "Subject: Confirm your address",
            "https://x/#token=y",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        server.emptied().await;
    }
}

#[tokio::test]
async fn a_mail_that_is_put_off_is_tried_until_it_is_taken() {
    let options = json!({ "put_off": 3 });
    let mut server = MailServer::start(SmtpSecurity::Starttls, options).await;
    send(&server.queue(), "ada@example.org");
    for _ in 0..3 {
        server.next("put off").await;
    }
    server.next("mail").await;
    server.emptied().await;
}

#[tokio::test]
async fn an_address_nobody_has_is_set_aside_and_a_denied_relay_is_not() {
    let mut server = MailServer::start(SmtpSecurity::None, json!({})).await;
    let queue = server.queue();
    send(&queue, "nobody@example.org");
    server.next("nobody").await;
    server.emptied().await;
    assert_eq!(server.count("failed"), 1);

    send(&queue, "relay@example.org");
    for _ in 0..2 {
        server.next("denied").await;
    }
    assert_eq!((server.count("eml"), server.count("failed")), (1, 1));
}

#[tokio::test]
async fn a_wrong_password_keeps_the_mail_until_it_is_put_right() {
    let mut server = MailServer::start(SmtpSecurity::Tls, json!({ "password": "other" })).await;
    send(&server.queue(), "ada@example.org");
    for _ in 0..2 {
        server.next("wrong password").await;
    }
    assert_eq!((server.count("eml"), server.count("failed")), (1, 0));
}

#[tokio::test]
async fn mails_outlive_the_process_that_promised_them_and_a_server_that_was_away() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let place = Place::new();
    // A server that is away, and a process that ends: its runtime takes the task with it.
    let first = tokio::runtime::Runtime::new().unwrap();
    let config = place.config(SmtpSecurity::None, port);
    let entered = first.enter();
    send(&place.queue(&config), "ada@example.org");
    drop(entered);
    first.shutdown_background();

    let options = json!({ "port": port });
    let mut server = MailServer::start_in(place, SmtpSecurity::None, options).await;
    let _next = server.queue();
    server.next("mail").await;
    server.emptied().await;
}

#[tokio::test]
async fn whoever_asks_for_a_mail_does_not_wait_for_a_server_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new();
    let port = silent.local_addr().unwrap().port();
    let queue = place.queue(&place.config(SmtpSecurity::None, port));
    send(&queue, "ada@example.org");
    let (connected, _) = silent.accept().await.unwrap();
    // The first is under way and hears nothing; the second is on disk all the same.
    send(&queue, "bob@example.org");
    assert_eq!(place.count("eml"), 2);
    drop(connected);
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_gets_nothing() {
    let mut server = MailServer::start(SmtpSecurity::Tls, json!({})).await;
    let config = SmtpConfig {
        ca_file: None,
        ..server.place.config(SmtpSecurity::Tls, server.port)
    };
    send(&server.place.queue(&config), "ada@example.org");
    for _ in 0..2 {
        server.next("connection").await;
    }
    assert_eq!(server.count("eml"), 1);
}

#[test]
fn what_makes_no_sense_is_named_at_the_start() {
    let place = Place::new();
    let sound = place.config(SmtpSecurity::Tls, 25);
    let missing = Some(place.0.join("missing"));
    for (config, key) in [
        (
            SmtpConfig {
                from: "nobody".into(),
                ..sound.clone()
            },
            "`smtp.from`",
        ),
        (
            SmtpConfig {
                password_file: missing.clone(),
                ..sound.clone()
            },
            "`smtp.password_file`",
        ),
        (
            SmtpConfig {
                ca_file: missing,
                ..sound
            },
            "`smtp.ca_file`",
        ),
    ] {
        let error = Server::new(&config).err().unwrap();
        assert!(error.to_string().contains(key), "{error:#}");
    }
}

fn send(queue: &Queue, to: &str) {
    let to = Email::parse(to).unwrap();
    let text = "Open this:\r\n\r\nhttps://x/#token=y\r\n";
    queue.send(&to, "Confirm your address", text).unwrap();
}

/// A folder with a password and an authority, gone after the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("multiclaw-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("password"), "s3cret\n").unwrap();
        std::fs::write(path.join("server.py"), SERVER).unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        for (file, label, der) in [
            ("cert.pem", "CERTIFICATE", made.cert.der().to_vec()),
            ("key.pem", "PRIVATE KEY", made.signing_key.serialize_der()),
        ] {
            std::fs::write(path.join(file), pem(label, &der)).unwrap();
        }
        Self(path)
    }

    fn config(&self, security: SmtpSecurity, port: u16) -> SmtpConfig {
        SmtpConfig {
            host: "127.0.0.1".into(),
            port: Some(port),
            security,
            user: Some("cloud".into()),
            password_file: Some(self.0.join("password")),
            ca_file: Some(self.0.join("cert.pem")),
            from: "MultiClaw <no-reply@multiclaw.example>".into(),
        }
    }

    fn queue(&self, config: &SmtpConfig) -> Queue {
        let folder = Folder::open(self.0.join("queue"), &config.from, WhenFull::Refuse).unwrap();
        let pace = Pace {
            first: Duration::from_millis(20),
            max: Duration::from_millis(200),
        };
        let server = Server::new(config).unwrap();
        Queue::start(folder, server, pace, Arc::default())
    }

    fn count(&self, end: &str) -> usize {
        let files = std::fs::read_dir(self.0.join("queue")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|it| it == end))
            .count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(64).collect();
    let text = String::from_utf8(lines.join(&b'\n')).unwrap();
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// `server.py`, which says on stdout what happens to it.
struct MailServer {
    place: Place,
    security: SmtpSecurity,
    port: u16,
    said: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl MailServer {
    async fn start(security: SmtpSecurity, options: Value) -> Self {
        Self::start_in(Place::new(), security, options).await
    }

    async fn start_in(place: Place, security: SmtpSecurity, mut options: Value) -> Self {
        options["security"] = json!(format!("{security:?}"));
        // Debian's Python, which has Debian's aiosmtpd.
        let mut process = Command::new("/usr/bin/python3")
            .arg("server.py")
            .arg(options.to_string())
            .current_dir(&place.0)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self {
            place,
            security,
            port: 0,
            said,
            _process: process,
        };
        let ready = server.next("ready").await;
        server.port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        server
    }

    fn queue(&self) -> Queue {
        self.place
            .queue(&self.place.config(self.security, self.port))
    }

    /// Skips what else it said.
    async fn next(&mut self, what: &str) -> Value {
        loop {
            let line = self.said.next_line().await.unwrap();
            let line: Value = serde_json::from_str(&line.expect("the server goes on")).unwrap();
            if line["said"] == what {
                return line;
            }
        }
    }

    /// The file goes after the server's answer has come.
    async fn emptied(&self) {
        while self.count("eml") > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn count(&self, end: &str) -> usize {
        self.place.count(end)
    }
}
