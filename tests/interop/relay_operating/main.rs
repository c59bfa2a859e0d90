//! What an operator sees of the real relay: metrics, readiness, `doctor`.
#![expect(
    clippy::disallowed_methods,
    reason = "tests of a real process on the real clock"
)]

mod service;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use service::Service;
use tests::certificates::{Authority, Validity};
use tests::relay_program::{RelayProgram, folder, program};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG_AGO: &str = "Tue, 01 Jan 2019 00:00:00 GMT";
const TRANSPORTS: [&str; 4] = ["udp", "tcp", "tls", "https"];

/// A folder with a configuration that has every kind of listener, and a certificate.
fn prepared(validity: Validity, more: &str) -> PathBuf {
    let folder = folder("operating").unwrap();
    let authority = Authority::default();
    authority.certify(&folder, "turn.test", validity).unwrap();
    configure(&folder, "127.0.0.1:0", more);
    folder
}

fn configure(folder: &std::path::Path, address: &str, more: &str) {
    let mut text = String::from("workers = 1\nrelay_addresses = [\"127.0.0.1\"]\n");
    for transport in TRANSPORTS {
        text += &format!("[[listen]]\naddress = \"{address}\"\ntransport = \"{transport}\"\n");
    }
    text += "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
             [auth]\nshared_secrets = [\"s3cret\"]\n\
             [admin]\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(folder.join("relay.toml"), text + more).unwrap();
}

/// Names the ports a relay took, so that `doctor` finds them in the file.
fn settle(relay: &RelayProgram, more: &str) {
    let path = relay.folder().join("relay.toml");
    configure(relay.folder(), "127.0.0.1:0", more);
    let mut text = std::fs::read_to_string(&path).unwrap();
    for transport in TRANSPORTS {
        let address = relay.address(transport).to_string();
        text = text.replacen(
            "[[listen]]\naddress = \"127.0.0.1:0\"",
            &format!("[[listen]]\naddress = \"{address}\""),
            1,
        );
    }
    std::fs::write(path, text).unwrap();
}

/// The status, the head and the body of an answer of the admin interface.
fn ask(relay: &RelayProgram, path: &str, header: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(relay.ready()["admin"].as_str().unwrap()).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn doctor(folder: &std::path::Path, more: &[&str]) -> (Output, Value) {
    let output = Command::new(program("multiclaw-relay").unwrap())
        .arg("--config")
        .arg(folder.join("relay.toml"))
        .args(["doctor", "--json"])
        .args(more)
        .env("RUST_LOG", "error")
        .output()
        .unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output, said)
}

/// The verdicts of all rows whose check begins so.
fn verdicts(diagnosis: &Value, check: &str) -> Vec<String> {
    let rows = diagnosis["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["check"].as_str().unwrap().starts_with(check))
        .map(|row| row["verdict"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let relay = RelayProgram::start(prepared(Validity::Now, "")).unwrap();
    let (status, head, body) = ask(&relay, "/metrics", "");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is part of Debian's package prometheus");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(body.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
    let accept = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    let (_, head, body) = ask(&relay, "/metrics", accept);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"));
}

#[test]
fn a_relay_is_ready_when_every_listener_gives_an_allocation() {
    let relay = RelayProgram::start(prepared(Validity::Now, "")).unwrap();
    let (status, _, body) = ask(&relay, "/readyz", "");
    assert_eq!(status, 200, "{body}");
    for transport in TRANSPORTS {
        let line = format!(
            "{transport} {} allocated 127.0.0.1:",
            relay.address(transport)
        );
        assert!(body.contains(&line), "{line} is not in {body}");
    }
    let (_, _, metrics) = ask(&relay, "/metrics", "");
    assert!(
        metrics.contains("multiclaw_relay_allocations_made_total 4\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("multiclaw_relay_allocations 0\n"),
        "{metrics}"
    );
}

#[test]
fn doctor_is_content_with_a_relay_that_runs() {
    let relay = RelayProgram::start(prepared(Validity::Now, "")).unwrap();
    settle(&relay, "");
    let stun = relay.address("udp").to_string();
    let (output, said) = doctor(relay.folder(), &["--stun", &stun]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for transport in TRANSPORTS {
        let check = format!("{transport} {}", relay.address(transport));
        assert_eq!(verdicts(&said, &check), ["good"], "{said}");
    }
    assert_eq!(verdicts(&said, "certificate"), ["good"], "{said}");
    assert_eq!(verdicts(&said, "public address"), ["good"], "{said}");
    // Loopback is no public address, and says so.
    assert_eq!(verdicts(&said, "address 127.0.0.1"), ["warning"], "{said}");
}

#[test]
fn doctor_says_what_keeps_clients_out_and_fails() {
    // Nobody runs, the certificate has run out.
    let folder = prepared(Validity::Over, "");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    configure(&folder, &address, "");
    let (output, said) = doctor(&folder, &[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(verdicts(&said, "udp"), ["bad"], "{said}");
    assert_eq!(verdicts(&said, "certificate"), ["bad"], "{said}");
    assert!(said.to_string().contains("nobody listens"), "{said}");

    std::fs::write(folder.join("relay.toml"), "listn = 3\n").unwrap();
    let (output, said) = doctor(&folder, &[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(verdicts(&said, "configuration"), ["bad"], "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn doctor_sees_that_a_renewed_certificate_waits_for_a_reload() {
    let relay = RelayProgram::start(prepared(Validity::Now, "")).unwrap();
    settle(&relay, "");
    let renewed = Authority::default();
    renewed
        .certify(relay.folder(), "turn.test", Validity::Now)
        .unwrap();
    let (_, said) = doctor(relay.folder(), &[]);
    assert_eq!(
        verdicts(&said, "certificate"),
        ["good", "warning"],
        "{said}"
    );
    relay.signal("HUP").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while verdicts(&doctor(relay.folder(), &[]).1, "certificate") != ["good"] {
        assert!(Instant::now() < deadline, "the reload does not show");
    }
}

#[test]
fn doctor_compares_the_name_and_the_clock_with_the_service() {
    let service = Service::start(LONG_AGO, "s3cret");
    let cloud = |host: &str| format!("[cloud]\nurl = \"{}\"\nhost = \"{host}\"\n", service.url());
    let relay = RelayProgram::start(prepared(Validity::Now, &cloud("turn.test"))).unwrap();
    settle(&relay, &cloud("turn.test"));
    let (output, said) = doctor(relay.folder(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(verdicts(&said, "clock"), ["bad"], "{said}");
    assert_eq!(verdicts(&said, "certificate"), ["good", "good"], "{said}");
    settle(&relay, &cloud("other.test"));
    let (_, said) = doctor(relay.folder(), &[]);
    assert_eq!(verdicts(&said, "certificate"), ["good", "bad"], "{said}");
}

#[test]
fn a_relay_says_that_it_is_there_and_that_it_leaves() {
    let service = Service::start(LONG_AGO, "s3cret");
    let cloud = format!(
        "[cloud]\nurl = \"{}\"\nhost = \"turn.test\"\n",
        service.url()
    );
    let mut relay = RelayProgram::start(prepared(Validity::Now, &cloud)).unwrap();
    let first = service.next_report();
    assert_eq!(first["draining"], false);
    let udp = format!(
        "turn:turn.test:{}?transport=udp",
        relay.address("udp").port()
    );
    assert_eq!(first["urls"][0], udp.as_str());
    relay.signal("TERM").unwrap();
    while service.next_report()["draining"] == false {}
    assert_eq!(relay.wait().unwrap(), 0);
}

#[test]
fn after_a_reload_it_reports_to_the_service_the_file_names_with_the_secret_of_the_file() {
    let mut relay = RelayProgram::start(prepared(Validity::Now, "")).unwrap();
    let services = ["s3cret", "fresh"].map(|secret| (Service::start(LONG_AGO, secret), secret));
    for (service, secret) in &services {
        let cloud = format!("[cloud]\nurl = \"{}\"\n", service.url());
        configure(relay.folder(), "127.0.0.1:0", &cloud);
        let path = relay.folder().join("relay.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("s3cret", secret)).unwrap();
        relay.signal("HUP").unwrap();
        assert_eq!(service.next_report()["draining"], false);
    }
    relay.signal("TERM").unwrap();
    while services[1].0.next_report()["draining"] == false {}
    assert_eq!(relay.wait().unwrap(), 0);
}
