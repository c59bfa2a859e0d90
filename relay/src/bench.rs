//! The pure half of the load generator `multiclaw-relay bench`.
//!
//! Load is open-loop: a packet is due when the schedule says so, whether or not the server kept
//! up, and every latency counts from that instant, so a stalled server cannot hide its stall
//! ("coordinated omission"). Each packet carries a [`stamp`]; losses are counted by number, never
//! by difference of totals. The sockets are in `io::bench`.

pub mod histogram;
pub mod schedule;
pub mod sequence;
pub mod stamp;
pub mod tally;
pub mod turn;
