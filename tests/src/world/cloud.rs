//! The service in the simulated world: the real switchboard, what its database would hold, the
//! ticket desk, and the sockets of its clients as queues that may be cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::problem::{Code, Problem};
use protocol::signal::{FromAgent, FromViewer, Role, ToAgent, ToViewer};
use protocol::token::SigningKey;
use signalling::ConnectionId;
use signalling::effect::{Effect, SessionRow};
use signalling::grant::{Granter, Region, Relay as RegionRelay, Terms};
use signalling::instances::{InstanceRecord, hash};
use signalling::switchboard::{Output, Registration, Switchboard};

use super::{AGENT_CREDENTIAL, INSTANCE, RELAY, RELAY_SECRET, UNIX_START};

/// One way of a message over a socket, and of everything else the service is asked.
const SIGNAL_LATENCY: Duration = Duration::from_millis(12);

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Desk,
    /// The viewer of that number.
    Seat(usize),
}

/// No socket's number: what an end is told about the opening of one.
pub(super) const NO_SOCKET: ConnectionId = ConnectionId(0);

/// What reaches an end.
pub(super) enum ToEnd {
    Opened,
    Lost,
    Viewer(Box<ToViewer>),
    Agent(Box<ToAgent>),
    Ticket(Result<Secret, Problem>),
}

enum Flight {
    Open(End),
    FromViewer(ConnectionId, Box<FromViewer>),
    FromAgent(ConnectionId, Box<FromAgent>),
    Ticket(usize),
    To(End, Option<ConnectionId>, ToEnd),
}

pub struct Cloud {
    granter: Arc<Granter>,
    switchboard: Option<Switchboard>,
    rows: BTreeMap<SessionId, SessionRow>,
    sockets: BTreeMap<ConnectionId, End>,
    flights: VecDeque<(Instant, Flight)>,
    connections: u64,
    tickets: u128,
    last_ticket: Option<Secret>,
    /// The last ticket is handed out again and again, as to a thief who copied it.
    repeats_ticket: bool,
    /// Grants that renewed a token, to all viewers.
    pub refreshes: usize,
}

impl Cloud {
    pub(super) fn new(terms: Terms, now: Instant) -> Self {
        let key = SigningKey::from_seed([7; 32]).expect("a seed is a key");
        let region = Region {
            id: "test".into(),
            relays: vec![RegionRelay {
                urls: vec![format!("turn:{RELAY}?transport=udp")],
                shared_secrets: vec![RELAY_SECRET.into()],
            }],
        };
        let granter = Granter::new(&key, vec![region], terms).expect("the key signs");
        let mut cloud = Self {
            granter: Arc::new(granter),
            switchboard: None,
            rows: BTreeMap::new(),
            sockets: BTreeMap::new(),
            flights: VecDeque::new(),
            connections: 0,
            tickets: 0x018f_4e2a_7c1d_7a30_8e5f_0000_0000_0000,
            last_ticket: None,
            repeats_ticket: false,
            refreshes: 0,
        };
        cloud.start(UNIX_START, now);
        cloud
    }

    /// Comes back with what was stored.
    pub(super) fn start(&mut self, unix_now: Duration, now: Instant) {
        let mut switchboard = Switchboard::new(Arc::clone(&self.granter), [9; 32], now);
        switchboard.load(self.rows.values().cloned(), [], unix_now, now);
        self.switchboard = Some(switchboard);
    }

    /// The process is gone, and every socket with it.
    pub(super) fn stop(&mut self, now: Instant) {
        self.switchboard = None;
        self.flights
            .retain(|(_, flight)| matches!(flight, Flight::Open(_) | Flight::Ticket(_)));
        let sockets = std::mem::take(&mut self.sockets);
        for (connection, end) in sockets {
            self.fly(Flight::To(end, Some(connection), ToEnd::Lost), now);
        }
    }

    /// One socket breaks; what was on its way is lost, and both ends notice.
    pub(super) fn cut(&mut self, end: End, now: Instant) {
        let cut = self.sockets.iter().find(|(_, at)| **at == end);
        let Some(connection) = cut.map(|(connection, _)| *connection) else {
            return;
        };
        self.sockets.remove(&connection);
        // One that did not hear yet that it is open hears that it cannot be opened.
        let unopened = self.flights.iter().any(|(_, flight)| {
            matches!(flight, Flight::To(_, to, ToEnd::Opened) if *to == Some(connection))
        });
        self.flights.retain(|(_, flight)| match flight {
            Flight::FromViewer(from, _) | Flight::FromAgent(from, _) => *from != connection,
            Flight::To(_, to, _) => *to != Some(connection),
            Flight::Open(_) | Flight::Ticket(_) => true,
        });
        self.forget(connection, end, now);
        let addressed = (!unopened).then_some(connection);
        self.fly(Flight::To(end, addressed, ToEnd::Lost), now);
    }

    pub(super) fn open_socket(&mut self, end: End, now: Instant) {
        self.fly(Flight::Open(end), now);
    }

    /// The end drops its socket by itself.
    pub(super) fn drop_socket(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(end) = self.sockets.remove(&connection) {
            // What was said before still arrives.
            for (_, flight) in self.take_flights_of(connection) {
                self.arrive(flight, Duration::ZERO, now);
            }
            self.forget(connection, end, now);
        }
    }

    pub(super) fn fetch_ticket(&mut self, seat: usize, now: Instant) {
        self.fly(Flight::Ticket(seat), now);
    }

    pub(super) fn say_as_viewer(&mut self, from: ConnectionId, said: FromViewer, now: Instant) {
        self.fly(Flight::FromViewer(from, Box::new(said)), now);
    }

    pub(super) fn say_as_agent(&mut self, from: ConnectionId, said: FromAgent, now: Instant) {
        self.fly(Flight::FromAgent(from, Box::new(said)), now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let flights = self.flights.iter().map(|(at, _)| *at).min();
        let own = self.switchboard.as_ref().map(Switchboard::poll_timeout);
        flights.into_iter().chain(own).min()
    }

    /// Everything that is due; what reaches an end comes back, with the socket it came over.
    pub(super) fn handle_timeout(
        &mut self,
        unix_now: Duration,
        now: Instant,
    ) -> Vec<(End, ConnectionId, ToEnd)> {
        if let Some(switchboard) = &mut self.switchboard
            && switchboard.poll_timeout() <= now
        {
            switchboard.handle_timeout(unix_now, now);
        }
        let flights = std::mem::take(&mut self.flights);
        let (due, later) = flights.into_iter().partition(|(at, _)| *at <= now);
        self.flights = later;
        let due: VecDeque<(Instant, Flight)> = due;
        let mut arrived = Vec::new();
        for (_, flight) in due {
            match flight {
                Flight::To(end, connection, what) => {
                    let known = connection
                        .filter(|at| self.sockets.contains_key(at) || matches!(what, ToEnd::Lost));
                    let unaddressed = connection.is_none();
                    if known.is_some() || unaddressed {
                        arrived.push((end, known.unwrap_or(NO_SOCKET), what));
                    }
                }
                flight => self.arrive(flight, unix_now, now),
            }
        }
        self.collect(now);
        arrived
    }

    fn arrive(&mut self, flight: Flight, unix_now: Duration, now: Instant) {
        match flight {
            Flight::Open(end) => self.accept(end, now),
            Flight::Ticket(seat) => {
                let ticket = self.ticket(unix_now);
                self.fly(
                    Flight::To(End::Seat(seat), None, ToEnd::Ticket(ticket)),
                    now,
                );
            }
            Flight::FromViewer(from, said) => {
                if let Some(switchboard) = &mut self.switchboard {
                    switchboard.handle_viewer(from, *said, unix_now, now);
                }
            }
            Flight::FromAgent(from, said) => self.hear_agent(from, *said, now),
            Flight::To(..) => {}
        }
        self.collect(now);
    }

    fn accept(&mut self, end: End, now: Instant) {
        if self.switchboard.is_none() {
            return self.fly(Flight::To(end, None, ToEnd::Lost), now);
        }
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.sockets.insert(connection, end);
        self.fly(Flight::To(end, Some(connection), ToEnd::Opened), now);
    }

    fn hear_agent(&mut self, from: ConnectionId, said: FromAgent, now: Instant) {
        let Some(switchboard) = &mut self.switchboard else {
            return;
        };
        let FromAgent::Register {
            version,
            instance,
            credential,
            sessions,
            captured,
        } = said
        else {
            return switchboard.handle_agent(from, said);
        };
        let record = InstanceRecord {
            instance: instance.clone(),
            region: "test".into(),
            credential_hash: hash(&Secret::new(AGENT_CREDENTIAL)),
        };
        let registration = Registration {
            version,
            instance,
            credential,
            sessions,
            captured,
        };
        switchboard.handle_registration(from, &registration, Some(&record), now);
    }

    fn ticket(&mut self, unix_now: Duration) -> Result<Secret, Problem> {
        if self.switchboard.is_none() {
            return Err(unreachable());
        }
        if let Some(last) = self.last_ticket.clone().filter(|_| self.repeats_ticket) {
            return Ok(last);
        }
        self.tickets += 1;
        let id = uuid(self.tickets);
        let instance: InstanceId = INSTANCE.parse().expect("a valid id");
        let somebody = "somebody".to_owned();
        let ticket = self
            .granter
            .ticket(id, instance, Role::Control, somebody, unix_now);
        let ticket = ticket.expect("the key signs");
        self.last_ticket = Some(ticket.clone());
        Ok(ticket)
    }

    /// Whoever asks for a ticket from now on gets the one that was handed out last.
    pub fn keep_last_ticket(&mut self) {
        self.repeats_ticket = true;
    }

    fn collect(&mut self, now: Instant) {
        while let Some(output) = self.switchboard.as_mut().and_then(Switchboard::poll_output) {
            match output {
                Output::Persist(Effect::SessionStored(row)) => {
                    self.rows.insert(row.session, row);
                }
                Output::Persist(Effect::SessionRemoved(session)) => {
                    self.rows.remove(&session);
                }
                Output::Persist(_) => {}
                Output::Disconnect(connection) | Output::SendAway(connection) => {
                    self.disconnect(connection, now);
                }
                Output::ToViewer(to, message) => {
                    self.refreshes += usize::from(matches!(message, ToViewer::Refreshed { .. }));
                    self.tell(to, ToEnd::Viewer(Box::new(message)), now);
                }
                Output::ToAgent(to, message) => {
                    self.tell(to, ToEnd::Agent(Box::new(message)), now);
                }
            }
        }
    }

    fn tell(&mut self, to: ConnectionId, what: ToEnd, now: Instant) {
        if let Some(&end) = self.sockets.get(&to) {
            self.fly(Flight::To(end, Some(to), what), now);
        }
    }

    fn disconnect(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(&end) = self.sockets.get(&connection) {
            self.forget(connection, end, now);
            self.fly(Flight::To(end, Some(connection), ToEnd::Lost), now);
        }
    }

    fn forget(&mut self, connection: ConnectionId, end: End, now: Instant) {
        if let Some(switchboard) = &mut self.switchboard {
            match end {
                End::Desk => switchboard.handle_agent_gone(connection),
                End::Seat(_) => switchboard.handle_viewer_gone(connection, now),
            }
        }
        self.collect(now);
    }

    fn take_flights_of(&mut self, connection: ConnectionId) -> VecDeque<(Instant, Flight)> {
        let flights = std::mem::take(&mut self.flights);
        let (of_it, others) = flights.into_iter().partition(|(_, flight)| {
            matches!(flight, Flight::FromViewer(from, _) | Flight::FromAgent(from, _) if *from == connection)
        });
        self.flights = others;
        of_it
    }

    fn fly(&mut self, flight: Flight, now: Instant) {
        self.flights.push_back((now + SIGNAL_LATENCY, flight));
    }

    /// Sessions the service knows of.
    pub fn sessions(&self) -> usize {
        self.rows.len()
    }
}

fn unreachable() -> Problem {
    Problem::new(
        Code::ServiceUnreachable,
        "The service is not there.",
        "Try again.",
    )
}

fn uuid(number: u128) -> SessionId {
    let hex = format!("{number:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}").parse().expect("a UUID")
}
