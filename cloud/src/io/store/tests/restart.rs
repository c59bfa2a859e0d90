//! A PostgreSQL of this test's own, restarted while the store is used.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use protocol::problem::Code;

use super::*;
use crate::io::problems;

/// Says the server's address, then restarts it for each line it reads; ends with its input.
const RESTARTER: &str = r#"
echo "$MULTICLAW_TEST_POSTGRES"
while read -r _; do $POSTGRES_RESTART >&2; echo restarted; done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_restart_of_the_server_and_so_does_the_service() {
    let mut server = Server::start().await;
    let store = Store::open(&server.url).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = (0..4)
        .map(|writer| tokio::spawn(write_until(store.clone(), writer, stopped.clone())))
        .collect();
    for _ in 0..3 {
        server.restart().await;
        // After each the same store works again, without anybody's help.
        store.check().await.unwrap();
    }
    stop.send(true).unwrap();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(!acknowledged.is_empty());
    for id in acknowledged {
        assert!(store.find_access(&id).await.unwrap().is_some(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_the_server_restarts_is_told_to_try_again() {
    let mut server = Server::start().await;
    let store = Store::open(&server.url).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let askers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(ask_until(store.clone(), stopped.clone())))
        .collect();
    for _ in 0..3 {
        server.restart().await;
        store.check().await.unwrap();
    }
    stop.send(true).unwrap();
    for asker in askers {
        for error in asker.await.unwrap() {
            let said = problems::database(&error);
            assert_eq!(said.code, Code::DatabaseUnavailable, "{said}: {error:#}");
            assert_eq!(said.code.http_status(), 503);
        }
    }
}

/// Why questions failed.
async fn ask_until(
    store: Store,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Vec<anyhow::Error> {
    let mut failures = Vec::new();
    while !*stopped.borrow() {
        if let Err(error) = store.find_access("k").await {
            failures.push(error);
        }
    }
    failures
}

/// The keys that were acknowledged; a write that failed is not repeated.
async fn write_until(
    store: Store,
    writer: usize,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Vec<String> {
    let name = format!("desk-{writer}");
    let desk = record(&name);
    while !matches!(store.find_instance(&desk.instance).await, Ok(Some(_))) {
        // An answer may get lost on its way, so only what is found counts.
        let _ = store.create_instance(&desk, NOW).await;
    }
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if *stopped.borrow() {
            break;
        }
        let key = AccessRecord {
            id: format!("k{writer}-{number}"),
            ..access(&name)
        };
        if store.create_access(&key, NOW).await.is_ok() {
            acknowledged.push(key.id);
        }
    }
    acknowledged
}

struct Server {
    url: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Server {
    async fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/postgres.sh");
        // Not killed with the test: it takes the server down when its input ends.
        let mut process = Command::new(script)
            .args(["sh", "-c", RESTARTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let mut output = BufReader::new(output).lines();
        Self {
            url: output.next_line().await.unwrap().unwrap(),
            input: process.stdin.take().unwrap(),
            output,
            _process: process,
        }
    }

    async fn restart(&mut self) {
        self.input.write_all(b"\n").await.unwrap();
        let said = self.output.next_line().await.unwrap();
        assert_eq!(said.as_deref(), Some("restarted"));
    }
}
