//! Load tests: many viewers of one desktop or of many, arriving whether or not the service keeps up.
//!
//! Rule: a latency counts from the instant its cause was meant to happen, not from when a busy
//! generator came round to it, so that nothing is hidden by what waits for it ("coordinated
//! omission"). [`arrivals`] is the timetable, [`strip`] the picture that carries a time through the
//! video, [`ledger`] what was measured, [`cost`] what the parts spent, [`report`] what is said of it,
//! [`slo`] what it must fulfil, [`html`] the page.

pub mod arrivals;
pub mod cost;
pub mod html;
pub mod ledger;
mod plot;
pub mod report;
pub mod slo;
pub mod strip;
