//! What a sign-in costs the database of a real cloud, by its own log: hashing is to be what it waits
//! for, not the disk.
#![cfg(feature = "net")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::cloud_program::{Node, admin};
use tests::relay_program::{folder, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// On the slowest of machines.
const LOOKS_MAX: u32 = 1000;

#[tokio::test]
async fn a_sign_in_writes_once_and_a_failed_one_is_counted_by_one_statement() {
    let house = House::start().unwrap();
    let right = house.password.clone();
    // What has expired is swept once at the start, this table last, and not again for minutes.
    let mut told = house.writes_until("DELETE FROM account").await;
    // A statement may be logged a moment after its answer has been given: the next one is judged only
    // when this one's have all come, and what comes too much is found with it.
    let mut writes = async |password: &str, status: &str, expected: &[&str]| {
        let answer = house.sign_in(password).await.unwrap();
        assert!(answer.starts_with(status), "{answer}");
        let all = house.writes_at_least(told + expected.len()).await;
        assert_eq!(all[told..], *expected, "{password}");
        told = all.len();
    };
    let begun = [
        "INSERT INTO sign_in",
        "INSERT INTO device",
        "INSERT INTO audit",
    ];
    for _ in 0..2 {
        writes(&right, "HTTP/1.1 200", &begun).await;
    }
    let failed = ["INSERT INTO sign_in_failure", "INSERT INTO audit"];
    writes("a guess", "HTTP/1.1 401", &failed).await;
    // Somebody failed lately: each is counted before its outcome is known, and a right one forgets it.
    let counted = ["INSERT INTO sign_in_failure", "UPDATE sign_in_failure"];
    let again = [&counted[..], &["INSERT INTO audit"]].concat();
    writes("a guess", "HTTP/1.1 401", &again).await;
    let forgiven = [&counted[..], &["DELETE FROM sign_in_failure"], &begun].concat();
    writes(&right, "HTTP/1.1 200", &forgiven).await;
    writes(&right, "HTTP/1.1 200", &begun).await;
    // Whoever is locked out costs a look and no write.
    writes("a guess", "HTTP/1.1 401", &failed).await;
    for _ in 0..2 {
        writes("a guess", "HTTP/1.1 401", &again).await;
    }
    for _ in 0..3 {
        writes(&right, "HTTP/1.1 429", &[]).await;
    }
}

/// One cloud that logs its statements.
struct House {
    node: Node,
    folder: std::path::PathBuf,
    password: String,
}

impl House {
    fn start() -> Result<Self> {
        let folder = folder("sign-ins")?;
        let config = folder.join("cloud.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndatabase = \"sqlite:{0}/cloud.db\"\nbus = \"local\"\n\
             state = \"{0}/state\"\n[[region]]\nid = \"local\"\n",
            folder.display(),
        );
        std::fs::write(&config, text)?;
        let member = [
            "member",
            "create",
            "--email",
            "ada@example.org",
            "--role",
            "owner",
        ];
        let member = admin(&config, &member)?;
        let password = member["password"].as_str().context("a password")?;
        let mut command = Command::new(program("multiclaw-cloud")?);
        command.env("MULTICLAW_LOG", "info,sqlx::query=debug");
        Ok(Self {
            node: Node::start_by(command, config)?,
            folder,
            password: password.to_owned(),
        })
    }

    async fn sign_in(&self, password: &str) -> Result<String> {
        let body: Value = json!({ "email": "ada@example.org", "password": password });
        let (address, body) = (&self.node.address, body.to_string());
        let request = format!(
            "POST /api/v1/auth/sign-in HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// How many there are once this one is among them.
    async fn writes_until(&self, last: &str) -> usize {
        for _ in 0..LOOKS_MAX {
            let writes = self.writes();
            if writes.iter().any(|write| write == last) {
                return writes.len();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("no {last}: {}", self.node.log());
    }

    /// The same, once there are so many, or nothing more is to be expected.
    async fn writes_at_least(&self, count: usize) -> Vec<String> {
        for _ in 0..LOOKS_MAX {
            if self.writes().len() >= count {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.writes()
    }

    /// What was written into the tables of people so far: verb and table of each statement.
    fn writes(&self) -> Vec<String> {
        let log = self.node.log();
        let statements = log.lines().filter_map(|line| {
            let (_, statement) = line.split_once("summary=\"")?;
            let words: Vec<&str> = statement.split([' ', '"', '…']).collect();
            match words.as_slice() {
                ["INSERT", "INTO", table, ..] => Some(format!("INSERT INTO {table}")),
                ["DELETE", "FROM", table, ..] => Some(format!("DELETE FROM {table}")),
                ["UPDATE", table, ..] => Some(format!("UPDATE {table}")),
                _ => None,
            }
        });
        let of_people = |statement: &String| {
            let table = statement.rsplit(' ').next().unwrap_or_default();
            ["account", "audit", "device", "sign_in", "sign_in_failure"].contains(&table)
        };
        statements.filter(of_people).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.node.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
