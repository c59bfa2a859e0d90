//! One client with its link: pumps the state machine, tells payload from control.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use protocol::turn::channel::{self, ChannelNumber};
use protocol::turn::{Kind, classify};

use super::link::{Datagrams, Runs, Stream, TlsClient};
use super::sys::{Poll, Ready, Wants};
use crate::bench::turn::{CHANNEL_RAW, Client, Delivery, Failure, Login, State};

/// A joined run has up to 65,535 bytes; a TLS record less.
pub(super) const BUFFER_LEN: usize = 65_536;
/// Runs taken from one socket before the others get their turn.
const RUNS_PER_TURN: usize = 16;
/// How long all allocations of a run may take to set up.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a batch of allocations may take to give back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Allocations being set up at once: a fleet should not look like a flood.
const ESTABLISHING_MAX: usize = 64;

/// The server under test and how to reach it.
pub(super) struct Target {
    pub(super) server: SocketAddr,
    pub(super) transport: Transport,
    pub(super) login: Login,
    pub(super) runs: Runs,
}

pub(super) enum Transport {
    Udp,
    Tcp,
    Tls(TlsClient),
}

impl Target {
    pub(super) fn open(&self, seed: u64) -> Result<Session> {
        self.open_from(0, seed)
    }

    /// Opens a session whose datagrams leave from `port` if it is free; a stream takes any port.
    pub(super) fn open_from(&self, port: u16, seed: u64) -> Result<Session> {
        let tls = match &self.transport {
            Transport::Udp => return self.open_udp(port, seed),
            Transport::Tcp => None,
            Transport::Tls(tls) => Some(tls),
        };
        Ok(Session {
            client: Client::new(self.login.clone(), Delivery::Stream, seed),
            link: Link::Stream(Stream::connect(self.server, tls)?),
            framing: Framing::Channel,
            woken_for: Wants::Read,
        })
    }

    fn open_udp(&self, port: u16, seed: u64) -> Result<Session> {
        let local = unspecified(self.server);
        let socket = Datagrams::bind_port(local, port, self.runs)
            .or_else(|_| Datagrams::bind(local, self.runs))?;
        socket.connect(self.server)?;
        Ok(Session {
            client: Client::new(self.login.clone(), Delivery::Datagrams, seed),
            link: Link::Datagrams(socket),
            framing: Framing::Channel,
            woken_for: Wants::Read,
        })
    }
}

impl Session {
    /// A socket without a server behind it.
    pub(super) fn bare(local: IpAddr, target: &Target) -> Result<Self> {
        Ok(Self {
            client: Client::new(target.login.clone(), Delivery::Datagrams, 0),
            link: Link::Datagrams(Datagrams::bind(local, target.runs)?),
            framing: Framing::Bare,
            woken_for: Wants::Read,
        })
    }
}

/// Our own address as the server sees it: peers are opened there by default.
pub(super) fn local_address_towards(server: SocketAddr) -> Result<IpAddr> {
    let socket = UdpSocket::bind((unspecified(server), 0))?;
    socket.connect(server).context("no route to the server")?;
    Ok(socket.local_addr()?.ip())
}

fn unspecified(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

pub(super) enum Link {
    Datagrams(Datagrams),
    Stream(Stream),
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Stream(stream) => stream.as_fd(),
        }
    }
}

/// Whether payload travels in the client's channel or, to measure without a server, bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Channel,
    Bare,
}

/// One TURN client, its state and its socket.
pub(super) struct Session {
    pub(super) framing: Framing,
    pub(super) client: Client,
    pub(super) link: Link,
    woken_for: Wants,
}

impl Session {
    /// Sends `run`, messages of `segment` bytes each, the last may be shorter.
    pub(super) fn send(&mut self, run: &[u8], segment: usize) -> Result<()> {
        match &mut self.link {
            Link::Datagrams(socket) => {
                socket.send(run, segment);
                Ok(())
            }
            Link::Stream(stream) => {
                run.chunks(segment).for_each(|message| stream.send(message));
                stream.flush()
            }
        }
    }

    /// Reads what arrived: control goes to the client, payload of its channel to `on_payload`.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        mut on_payload: impl FnMut(&[u8]),
    ) -> Result<()> {
        let Self {
            client,
            link,
            framing,
            ..
        } = self;
        for _ in 0..RUNS_PER_TURN {
            let more = match link {
                Link::Datagrams(socket) => match socket.receive(buffer) {
                    None => false,
                    Some((len, segment)) => {
                        let run = buffer.get(..len).unwrap_or_default();
                        for message in run.chunks(segment) {
                            dispatch(client, *framing, message, now, &mut on_payload);
                        }
                        true
                    }
                },
                Link::Stream(stream) => {
                    let more = stream.read(buffer)?;
                    while let Some(message) = stream.poll_message()? {
                        dispatch(client, *framing, message, now, &mut on_payload);
                    }
                    more
                }
            };
            if !more {
                break;
            }
        }
        self.pump()
    }

    /// Fires what is due and sends what the client has to say.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        if self.client.poll_timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        self.pump()
    }

    /// Sends what the client has to say.
    pub(super) fn pump(&mut self) -> Result<()> {
        while let Some(message) = self.client.poll_transmit() {
            self.send(&message, message.len())?;
        }
        if let Link::Stream(stream) = &mut self.link {
            stream.flush()?;
        }
        Ok(())
    }

    /// Tells `poll` whether we wait for room to write.
    pub(super) fn update_interest(&mut self, poll: &Poll, token: u64) -> Result<()> {
        let Link::Stream(stream) = &self.link else {
            return Ok(());
        };
        let wants = if stream.wants_write() {
            Wants::ReadAndWrite
        } else {
            Wants::Read
        };
        if wants != self.woken_for {
            poll.change(self.link.as_fd(), token, wants)?;
            self.woken_for = wants;
        }
        Ok(())
    }

    /// Messages that never left this process.
    pub(super) fn refused(&self) -> u64 {
        match &self.link {
            Link::Datagrams(socket) => socket.refused,
            Link::Stream(stream) => stream.refused,
        }
    }
}

fn dispatch(
    client: &mut Client,
    framing: Framing,
    message: &[u8],
    now: Instant,
    on_payload: &mut impl FnMut(&[u8]),
) {
    match classify(message) {
        _ if framing == Framing::Bare => on_payload(message),
        Kind::ChannelData => {
            if let Ok((number, payload)) = channel::decode(message)
                && Some(number) == ChannelNumber::new(CHANNEL_RAW)
            {
                on_payload(payload);
            }
        }
        Kind::Stun => client.handle_input(message, now),
        Kind::Other => {}
    }
}

/// What a fleet is brought to.
pub(super) enum Goal<'a> {
    /// Of this server.
    Allocated(&'a Target),
    /// Session `n` has its channel bound to the `n`th address.
    Bound(&'a [SocketAddr]),
}

/// Brings every session to `goal`, at most [`ESTABLISHING_MAX`] at a time. The sessions are in
/// `poll` with their index as token.
pub(super) fn establish(sessions: &mut [Session], goal: &Goal<'_>, poll: &mut Poll) -> Result<()> {
    let deadline = Instant::now() + ESTABLISH_TIMEOUT;
    let mut buffer = vec![0; BUFFER_LEN];
    let mut ready = Vec::new();
    let mut begun = 0;
    loop {
        let now = Instant::now();
        let met = sessions.iter().filter(|it| goal.is_met(it)).count();
        if met == sessions.len() {
            return Ok(());
        }
        while begun < sessions.len() && begun < met + ESTABLISHING_MAX {
            goal.begin(&mut sessions[begun], begun, now)?;
            begun += 1;
        }
        if now > deadline {
            bail!("only {met} allocations were set up within {ESTABLISH_TIMEOUT:?}");
        }
        poll.wait(Duration::from_millis(20), &mut ready)?;
        serve_control(sessions, &ready, &mut buffer, poll)?;
        for (index, session) in sessions.iter_mut().enumerate() {
            let State::Failed(failure) = session.client.state() else {
                continue;
            };
            if !goal.can_begin_again(failure) {
                bail!("session {index}: {failure}");
            }
            goal.begin_again(session, index, poll)?;
        }
    }
}

/// Gives every allocation back, so that the next run finds the server as this one did.
pub(super) fn release(sessions: &mut [Session], poll: &mut Poll) -> Result<()> {
    let mut ready = Vec::new();
    let mut buffer = vec![0; BUFFER_LEN];
    for batch in sessions.chunks_mut(ESTABLISHING_MAX) {
        for session in batch.iter_mut() {
            session.client.release(Instant::now());
            session.pump()?;
        }
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        while batch.iter().any(|it| *it.client.state() != State::Idle) {
            if Instant::now() > deadline {
                bail!("the server does not answer when allocations are given back");
            }
            poll.wait(Duration::from_millis(5), &mut ready)?;
            for session in batch.iter_mut() {
                session.receive(&mut buffer, Instant::now(), |_| {})?;
                session.handle_timeout(Instant::now())?;
            }
        }
    }
    Ok(())
}

/// One round of reading and repeating for sessions that carry no payload yet.
fn serve_control(
    sessions: &mut [Session],
    ready: &[Ready],
    buffer: &mut [u8],
    poll: &Poll,
) -> Result<()> {
    let now = Instant::now();
    for event in ready {
        if let Some(session) = sessions.get_mut(event.token as usize) {
            session.receive(buffer, now, |_| {})?;
        }
    }
    for (index, session) in sessions.iter_mut().enumerate() {
        session.handle_timeout(now)?;
        session.update_interest(poll, index as u64)?;
    }
    Ok(())
}

impl Goal<'_> {
    fn begin(&self, session: &mut Session, index: usize, now: Instant) -> Result<()> {
        match self {
            Self::Allocated(_) => session.client.allocate(now),
            Self::Bound(peers) => {
                if let Some(&peer) = peers.get(index) {
                    session.client.bind(peer, now);
                }
            }
        }
        session.pump()
    }

    /// The kernel may give us the port of an earlier run, which some servers remember for seconds.
    fn can_begin_again(&self, failure: &Failure) -> bool {
        let taken = matches!(failure, Failure::Refused { code: 437, .. });
        taken && matches!(self, Self::Allocated(_))
    }

    /// From another address of ours (RFC 8656 §7.4). How often is bounded by the time there is.
    fn begin_again(&self, session: &mut Session, index: usize, poll: &Poll) -> Result<()> {
        let Self::Allocated(target) = self else {
            return Ok(());
        };
        *session = target.open(index as u64)?;
        poll.add(session.link.as_fd(), index as u64, Wants::Read)?;
        self.begin(session, index, Instant::now())
    }

    fn is_met(&self, session: &Session) -> bool {
        match self {
            Self::Allocated(_) => *session.client.state() == State::Allocated,
            Self::Bound(_) => *session.client.state() == State::Bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use protocol::Secret;
    use protocol::turn::message::{Builder, Class, Message};

    use super::*;

    /// Refuses one request with this code and says who asked.
    fn refuse_one(server: &UdpSocket, code: u16) -> SocketAddr {
        let mut buffer = [0; 512];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        let request = Message::parse(&buffer[..len]).unwrap();
        let mut answer = [0; 512];
        let mut builder = Builder::new(
            &mut answer,
            Class::Error,
            request.method(),
            request.transaction(),
        );
        builder.error(code, "");
        let len = builder.finish().unwrap();
        server.send_to(&answer[..len], from).unwrap();
        from
    }

    #[test]
    fn a_port_whose_last_owner_the_server_remembers_is_left_for_another() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = Target {
            server: server.local_addr().unwrap(),
            transport: Transport::Udp,
            login: Login {
                username: "u".into(),
                password: Secret::new("p"),
            },
            runs: Runs::Single,
        };
        let mut poll = Poll::new().unwrap();
        let mut sessions = [target.open(0).unwrap()];
        poll.add(sessions[0].link.as_fd(), 0, Wants::Read).unwrap();
        let answering = thread::spawn(move || [437, 400].map(|code| refuse_one(&server, code)));

        let goal = Goal::Allocated(&target);
        let outcome = establish(&mut sessions, &goal, &mut poll);

        let [first, second] = answering.join().unwrap();
        assert_ne!(first, second);
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains("refused with 400"), "{said}");
    }
}
