use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Command;

use super::*;
use crate::config::WebConfig;

const STRANGERS_MAX: usize = 2;

/// One TCP listener and what it leads to.
struct House {
    epoll: Epoll,
    streams: Streams,
    address: SocketAddr,
}

impl House {
    fn open() -> Self {
        let listener = bind_listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let epoll = Epoll::new().unwrap();
        let (_config, seen) = tokio::sync::watch::channel(WebConfig::default());
        let door = crate::io::web::open(seen).unwrap();
        let listeners = vec![(listener, Transport::Tcp)];
        let mut streams = Streams::new(listeners, None, door, STRANGERS_MAX);
        streams.register(&epoll, u64::from).unwrap();
        Self {
            epoll,
            streams,
            address,
        }
    }

    fn connect(&mut self, now: Instant) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        let timeout = Some(Duration::from_secs(5));
        client.set_read_timeout(timeout).unwrap();
        self.work(now);
        client
    }

    /// Waits for something to happen and deals with it.
    fn work(&mut self, now: Instant) {
        let count = self.epoll.wait(Duration::from_secs(5)).unwrap();
        for at in 0..count {
            let ready = self.epoll.ready(at).unwrap();
            let index = ready.token as u32;
            self.streams.handle_ready(index, ready, &self.epoll, now);
        }
    }
}

/// Whether the relay has closed the connection.
fn is_closed(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    match client.read(&mut [0; 16]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

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
fn who_says_nothing_or_one_byte_at_a_time_is_closed_when_its_time_is_over() {
    let now = Instant::now();
    let mut house = House::open();
    let mut silent = house.connect(now);
    let mut slow = house.connect(now);
    let late = now + STRANGER_TIME - SWEEP;
    slow.write_all(&[0]).unwrap();
    house.work(late);
    house.streams.handle_timeout(&house.epoll, late);
    assert!(!is_closed(&mut silent) && !is_closed(&mut slow));

    house
        .streams
        .handle_timeout(&house.epoll, now + STRANGER_TIME);
    assert!(is_closed(&mut silent) && is_closed(&mut slow));
    assert_eq!(house.streams.strangers, 0);
}

#[test]
fn who_comes_when_every_place_is_taken_is_refused_and_the_others_stay() {
    let now = Instant::now();
    let mut house = House::open();
    let mut first = house.connect(now);
    let mut second = house.connect(now);
    let mut third = house.connect(now);
    assert!(is_closed(&mut third));
    assert!(!is_closed(&mut first) && !is_closed(&mut second));
    assert_eq!(house.streams.strangers, STRANGERS_MAX);
}

#[test]
fn accepting_pauses_while_descriptors_are_exhausted_and_goes_on_after() {
    let now = Instant::now();
    let House {
        mut epoll,
        mut streams,
        address,
    } = House::open();
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
