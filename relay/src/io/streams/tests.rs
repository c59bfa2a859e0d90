use std::fs::File;
use std::process::Command;

use super::*;
use crate::config::WebConfig;

/// Leaves this process, which runs this test alone, few descriptors, and takes them all.
fn take_all_descriptors() -> Vec<File> {
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, "--nofile=64:64"])
        .status()
        .unwrap();
    assert!(status.success());
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn accepting_pauses_while_descriptors_are_exhausted_and_goes_on_after() {
    let now = Instant::now();
    let listener = bind_listener("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut epoll = Epoll::new().unwrap();
    let (_config, seen) = tokio::sync::watch::channel(WebConfig::default());
    let door = crate::io::web::open(seen).unwrap();
    let mut streams = Streams::new(vec![(listener, Transport::Tcp)], None, door, 8);
    streams.register(&epoll, u64::from).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let taken = take_all_descriptors();

    assert_eq!(epoll.wait(Duration::from_secs(5)).unwrap(), 1);
    let ready = epoll.ready(0).unwrap();
    streams.handle_ready(0, ready, &epoll, now);
    assert_eq!(epoll.wait(Duration::ZERO).unwrap(), 0);
    assert_eq!(streams.poll_timeout(), Some(now + ACCEPT_PAUSE));

    drop(taken);
    streams.handle_timeout(&epoll, now + ACCEPT_PAUSE);
    assert_eq!(epoll.wait(Duration::from_secs(5)).unwrap(), 1);
    streams.handle_ready(0, ready, &epoll, now + ACCEPT_PAUSE);
    assert_eq!(streams.strangers, 1);
}
