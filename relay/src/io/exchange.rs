//! Between workers: what a client of one sends to a relayed address of another, without the kernel.
//!
//! Datagrams gather in a [`Parcel`] while their worker serves one socket and leave together, so a
//! lock-free hand-over and at most one wake-up are paid per batch. Parcels come home to be filled
//! again; when all of a worker's parcels are on their way its next datagrams are dropped and
//! counted, as on a full socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::owners::Member;

/// Parcels of one worker, wherever they are.
const PARCELS: usize = 32;
/// Payload of one parcel, in bytes: a train of the kernel fits.
const PARCEL_LEN_MAX: usize = 1 << 17;
/// Datagrams of one parcel, for those without payload.
const LETTERS_MAX: usize = 2048;

/// Datagrams from one worker to another.
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    home: SyncSender<Parcel>,
}

struct Entry {
    to: SocketAddr,
    from: SocketAddr,
    /// End of the payload; it begins where the one before ends.
    end: usize,
}

/// One datagram of a parcel.
pub(crate) struct Letter<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) from: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// How others reach one worker.
#[derive(Clone)]
struct Door {
    parcels: SyncSender<Parcel>,
    wake: Arc<UnixDatagram>,
    /// A wake-up is under way.
    knocked: Arc<AtomicBool>,
}

/// One worker's end of the exchange.
pub(crate) struct Exchange {
    inlet: Receiver<Parcel>,
    knocked: Arc<AtomicBool>,
    doors: Vec<Door>,
    /// Being filled, by the worker it is for.
    open: Vec<Option<Parcel>>,
    spares: Receiver<Parcel>,
}

/// What one worker needs to be reached by others.
pub(crate) struct Seat {
    /// Readable when there is something to see to.
    pub(crate) wake: UnixDatagram,
    /// Makes it readable.
    pub(crate) waker: Arc<UnixDatagram>,
    pub(crate) exchange: Exchange,
}

/// Seats for so many workers, in the order of [`Member::index`].
///
/// # Errors
///
/// When the system gives no sockets.
pub(crate) fn seats(workers: usize) -> io::Result<Vec<Seat>> {
    // Every parcel there is fits into every inlet: handing over never waits.
    let capacity = PARCELS * workers;
    let (mut doors, mut inlets) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (wake, waker) = UnixDatagram::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (parcels, inlet) = sync_channel(capacity);
        doors.push(Door {
            parcels,
            wake: Arc::new(waker),
            knocked: Arc::default(),
        });
        inlets.push((inlet, wake));
    }
    let seat = |((inlet, wake), door): (_, &Door)| Seat {
        wake,
        waker: door.wake.clone(),
        exchange: Exchange {
            inlet,
            knocked: door.knocked.clone(),
            doors: doors.clone(),
            open: doors.iter().map(|_| None).collect(),
            spares: new_parcels(),
        },
    };
    Ok(inlets.into_iter().zip(&doors).map(seat).collect())
}

fn new_parcels() -> Receiver<Parcel> {
    let (home, spares) = sync_channel(PARCELS);
    for _ in 0..PARCELS {
        let parcel = Parcel {
            bytes: Vec::new(),
            entries: Vec::new(),
            home: home.clone(),
        };
        // There is room for all of them.
        let _ = home.try_send(parcel);
    }
    spares
}

impl Exchange {
    /// Adds a datagram for another worker.
    ///
    /// # Errors
    ///
    /// When all parcels are on their way, or no such worker is known.
    pub(crate) fn push(&mut self, owner: Member, letter: &Letter<'_>) -> io::Result<()> {
        let full = |parcel: &Parcel| {
            parcel.bytes.len() + letter.payload.len() > PARCEL_LEN_MAX
                || parcel.entries.len() >= LETTERS_MAX
        };
        let at = owner.index();
        if self.open.get(at).and_then(Option::as_ref).is_some_and(full) {
            self.dispatch();
        }
        let slot = self.open.get_mut(at).ok_or(io::ErrorKind::NotFound)?;
        let parcel = match slot {
            Some(parcel) => parcel,
            None => {
                let spare = self.spares.try_recv();
                slot.insert(spare.map_err(|_| io::ErrorKind::WouldBlock)?)
            }
        };
        parcel.bytes.extend_from_slice(letter.payload);
        parcel.entries.push(Entry {
            to: letter.to,
            from: letter.from,
            end: parcel.bytes.len(),
        });
        Ok(())
    }

    /// Hands over what was gathered.
    pub(crate) fn dispatch(&mut self) {
        for (slot, door) in self.open.iter_mut().zip(&self.doors) {
            if let Some(parcel) = slot.take()
                && door.parcels.try_send(parcel).is_ok()
                && !door.knocked.swap(true, Ordering::AcqRel)
            {
                // A full wake pipe means that a wake-up is under way already.
                let _ = door.wake.send(&[0]);
            }
        }
    }

    /// After a wake-up, before [`Exchange::receive`].
    pub(crate) fn answer_knock(&self) {
        self.knocked.swap(false, Ordering::AcqRel);
    }

    /// The next parcel for this worker.
    pub(crate) fn receive(&self) -> Option<Parcel> {
        self.inlet.try_recv().ok()
    }
}

impl Parcel {
    pub(crate) fn letters(&self) -> impl Iterator<Item = Letter<'_>> {
        let starts = [0].into_iter().chain(self.entries.iter().map(|it| it.end));
        self.entries
            .iter()
            .zip(starts)
            .map(|(entry, start)| Letter {
                to: entry.to,
                from: entry.from,
                payload: self.bytes.get(start..entry.end).unwrap_or_default(),
            })
    }

    /// Back to the worker that fills it.
    pub(crate) fn send_home(mut self) {
        self.bytes.clear();
        self.entries.clear();
        let home = self.home.clone();
        // Its worker may have ended.
        let _ = home.try_send(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "203.0.113.5:50000";
    const FROM: &str = "203.0.113.5:50001";

    #[test]
    fn letters_arrive_whole_in_order_and_wake_once() {
        let (mut pair, wakes) = two();
        for payload in [&b"one"[..], b"", b"three"] {
            pair[0].push(second(), &letter(payload)).unwrap();
        }
        assert!(pair[1].receive().is_none(), "nothing leaves too early");
        pair[0].dispatch();
        pair[0].push(second(), &letter(b"four")).unwrap();
        pair[0].dispatch();

        assert!(wakes[1].recv(&mut [0]).is_ok());
        assert!(wakes[1].recv(&mut [0]).is_err(), "one wake-up is enough");
        pair[1].answer_knock();
        let mut seen = Vec::new();
        while let Some(parcel) = pair[1].receive() {
            for letter in parcel.letters() {
                assert_eq!((letter.to, letter.from), (address(TO), address(FROM)));
                seen.push(letter.payload.to_vec());
            }
            parcel.send_home();
        }
        assert_eq!(seen, [&b"one"[..], b"", b"three", b"four"]);
    }

    #[test]
    fn a_worker_that_does_not_keep_up_costs_letters_and_no_memory() {
        let (mut pair, _wakes) = two();
        let payload = vec![7; PARCEL_LEN_MAX];
        let taken = (0..PARCELS + 5).filter(|_| pair[0].push(second(), &letter(&payload)).is_ok());
        assert_eq!(taken.count(), PARCELS);

        pair[0].dispatch();
        while let Some(parcel) = pair[1].receive() {
            parcel.send_home();
        }
        assert!(pair[0].push(second(), &letter(b"again")).is_ok());
    }

    fn two() -> (Vec<Exchange>, Vec<UnixDatagram>) {
        let seats = seats(2).unwrap().into_iter();
        seats.map(|seat| (seat.exchange, seat.wake)).unzip()
    }

    fn second() -> Member {
        Member::nth(1).unwrap()
    }

    fn letter(payload: &[u8]) -> Letter<'_> {
        Letter {
            to: address(TO),
            from: address(FROM),
            payload,
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
