//! A TURN client that asks for what it should not get, and tells whether it got it.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use protocol::Secret;
use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::integrity::Key;
use protocol::turn::message::{
    AddressFamily, Attribute, Builder, Class, Message, Method, PasswordAlgorithm, TransactionId,
};

use super::server::{PASSWORD, Server, USER};

/// Every request is answered on this machine within moments; a lost answer is an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const PAYLOAD: &[u8] = b"must not arrive";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) struct Client {
    socket: UdpSocket,
    key: Option<Key>,
    realm: String,
    nonce: Vec<u8>,
    next_transaction: u64,
    next_channel: u16,
    relayed: Option<SocketAddr>,
    /// Code of the last refusal.
    refusal: Option<u16>,
}

impl Client {
    pub(crate) fn allocate(server: &Server, family: Family) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.listener()).unwrap();
        socket.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        let mut client = Self {
            socket,
            key: None,
            realm: String::new(),
            nonce: Vec::new(),
            next_transaction: 1,
            next_channel: 0x4000,
            relayed: None,
            refusal: None,
        };
        let accepted = client.ask(Method::Allocate, |builder| {
            builder.requested_transport_udp();
            if family == Family::V6 {
                builder.requested_family(AddressFamily::V6);
            }
        });
        let refusal = client.refusal;
        assert!(accepted, "no {family:?} allocation: {refusal:?}");
        client
    }

    /// Send, CreatePermission, Send, ChannelBind, Send and ChannelData towards `peer`; true if a
    /// request was granted.
    pub(crate) fn try_peer(&mut self, peer: SocketAddr) -> bool {
        let number = ChannelNumber::new(self.next_channel).unwrap();
        self.next_channel += 1;
        self.send(peer, PAYLOAD);
        let permitted = self.ask(Method::CreatePermission, |builder| {
            builder.xor_peer_address(peer);
        });
        self.send(peer, PAYLOAD);
        let bound = self.ask(Method::ChannelBind, |builder| {
            builder.channel_number(number).xor_peer_address(peer);
        });
        self.send(peer, PAYLOAD);
        self.send_channel_data(number);
        permitted || bound
    }

    /// The address that peers send to.
    pub(crate) fn relayed(&self) -> SocketAddr {
        self.relayed.unwrap()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        let permitted = self.ask(Method::CreatePermission, |builder| {
            builder.xor_peer_address(peer);
        });
        assert!(permitted, "no permission for {peer}");
    }

    /// Waits for what a peer sent.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let len = self.socket.recv(&mut buffer).expect("nothing is relayed");
            let message = Message::parse(&buffer[..len]);
            if let Some(data) = message.ok().as_ref().and_then(Message::data) {
                return data.to_vec();
            }
        }
    }

    /// Returns when the server has worked through everything sent before.
    pub(crate) fn settle(&mut self) {
        self.ask(Method::Refresh, |_| {});
    }

    /// One request, with the challenge answered; true for success.
    fn ask(&mut self, method: Method, fill: impl Fn(&mut Builder<'_>)) -> bool {
        for _ in 0..3 {
            let transaction = self.transaction();
            let mut buffer = [0; 1024];
            let mut builder = Builder::new(&mut buffer, Class::Request, method, transaction);
            fill(&mut builder);
            if let Some(key) = &self.key {
                builder
                    .username(USER)
                    .realm(&self.realm)
                    .nonce(&self.nonce)
                    .integrity(key);
            }
            let len = builder.finish().unwrap();
            self.socket.send(&buffer[..len]).unwrap();
            let answer = self.answer(transaction);
            let message = Message::parse(&answer).unwrap();
            if message.class() == Class::Success {
                self.relayed = message.xor_relayed_address().or(self.relayed);
                return true;
            }
            let code = message.error().map(|error| error.code);
            if !matches!(code, Some(401 | 438)) {
                self.refusal = code;
                return false;
            }
            self.take_challenge(&message);
        }
        panic!("{method:?} is challenged again and again")
    }

    fn take_challenge(&mut self, message: &Message<'_>) {
        self.realm = message.realm().unwrap().to_owned();
        self.nonce = message.nonce().unwrap().to_vec();
        let password = Secret::new(PASSWORD);
        let algorithm = PasswordAlgorithm::Md5;
        self.key = Some(Key::long_term(algorithm, USER, &self.realm, &password));
    }

    fn answer(&self, transaction: TransactionId) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let len = self
                .socket
                .recv(&mut buffer)
                .expect("the server does not answer");
            let bytes = &buffer[..len];
            if Message::parse(bytes).is_ok_and(|it| it.transaction() == transaction) {
                return bytes.to_vec();
            }
        }
    }

    /// A Send indication.
    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.send_data(peer, payload, |_| {});
    }

    /// A Send indication that must not be cut on its way (RFC 8656 §14).
    pub(crate) fn send_whole(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.send_data(peer, payload, |builder| {
            builder.attribute(Attribute::DONT_FRAGMENT, &[]);
        });
    }

    fn send_data(&mut self, peer: SocketAddr, payload: &[u8], fill: impl Fn(&mut Builder<'_>)) {
        let transaction = self.transaction();
        let mut buffer = [0; 2048];
        let mut builder = Builder::new(&mut buffer, Class::Indication, Method::Send, transaction);
        builder.xor_peer_address(peer).data(payload);
        fill(&mut builder);
        let len = builder.finish().unwrap();
        self.socket.send(&buffer[..len]).unwrap();
    }

    fn send_channel_data(&self, number: ChannelNumber) {
        let mut datagram = vec![0; channel::HEADER_LEN];
        let headroom = datagram.first_chunk_mut().unwrap();
        channel::encode_header(number, PAYLOAD.len() as u16, headroom);
        datagram.extend_from_slice(PAYLOAD);
        self.socket.send(&datagram).unwrap();
    }

    fn transaction(&mut self) -> TransactionId {
        let mut id = [7; 12];
        id[..8].copy_from_slice(&self.next_transaction.to_be_bytes());
        self.next_transaction += 1;
        TransactionId(id)
    }
}
