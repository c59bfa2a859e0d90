//! Over loopback, on ports of the kernel's choice.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;

#[test]
fn runs_keep_order_and_lengths_whoever_cuts_them() {
    for segmentation in [Segmentation::ByKernel, Segmentation::ByUs] {
        let (sender, receiver) = (bound(), bound());
        let inbox = [b'x'; 4096];
        let mut outgoing = Outgoing::new(segmentation);
        let lengths = [100, 100, 100, 40, 100, 200, 200, 0, 7];
        for (index, len) in lengths.iter().enumerate() {
            let datagram = Datagram {
                socket: sender.as_raw_fd(),
                to: receiver.local_addr().unwrap(),
                prefix: &[index as u8; 4],
                payload: 0..*len,
                padding: 0,
            };
            outgoing.push(&datagram, &inbox);
        }
        assert_eq!(outgoing.flush(&inbox), 0);

        for (index, len) in lengths.iter().enumerate() {
            let mut buf = [0; 512];
            let (got, _) = receiver.recv_from(&mut buf).unwrap();
            assert_eq!(got, len + 4, "{segmentation:?} {index}");
            assert_eq!(buf[..4], [index as u8; 4]);
        }
    }
}

#[test]
fn a_train_is_taken_apart_where_the_sender_put_it_together() {
    let (sender, receiver) = (bound(), bound());
    enable_gro(&receiver);
    let payload = [b'y'; 4096];
    let mut outgoing = Outgoing::new(Segmentation::ByKernel);
    for len in [1000, 1000, 1000, 10] {
        let datagram = Datagram {
            socket: sender.as_raw_fd(),
            to: receiver.local_addr().unwrap(),
            prefix: b"",
            payload: 0..len,
            padding: 0,
        };
        outgoing.push(&datagram, &payload);
    }
    outgoing.flush(&payload);

    let mut inbox = Inbox::new();
    let mut lengths = Vec::new();
    while lengths.len() < 4 {
        let count = inbox.receive(receiver.as_raw_fd(), Ask::Batch).unwrap();
        for train in (0..count).filter_map(|index| inbox.train(index)) {
            assert_eq!(train.from, sender.local_addr().unwrap());
            lengths.extend(train.segments().map(|segment| segment.len()));
        }
    }
    assert_eq!(lengths, [1000, 1000, 1000, 10]);
}

#[test]
fn one_is_one_and_a_batch_brings_the_rest_each_with_its_own_source() {
    let receiver = bound();
    let senders = [bound(), bound(), bound()];
    for (index, sender) in senders.iter().enumerate() {
        let to = receiver.local_addr().unwrap();
        sender.send_to(&[b'z'; 9][..=index], to).unwrap();
    }
    let mut inbox = Inbox::new();
    let mut seen = Vec::new();
    for (ask, expected) in [
        (Ask::One, 1),
        (Ask::Batch, 2),
        (Ask::One, 0),
        (Ask::Batch, 0),
    ] {
        let count = inbox.receive(receiver.as_raw_fd(), ask).unwrap();
        assert_eq!(count, expected, "{ask:?}");
        assert!(
            inbox.train(count).is_none(),
            "what an earlier call brought is gone"
        );
        let trains = (0..count).filter_map(|index| inbox.train(index));
        seen.extend(trains.map(|train| (train.from, train.range.len())));
    }
    let sent = senders.iter().zip(1..);
    let sent = sent.map(|(sender, len)| (sender.local_addr().unwrap(), len));
    assert_eq!(seen, sent.collect::<Vec<_>>());
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}
