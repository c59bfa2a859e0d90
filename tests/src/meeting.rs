//! Two peers of a test that tell each other their candidates.

use peer::Event;
use peer::io::{Events, Handle};

/// Waits for an event of one end; candidates that come before it go to the other.
///
/// # Panics
///
/// The session ended before.
pub fn expect<T>(
    events: &mut Events,
    other: &Handle,
    mut matches: impl FnMut(&Event) -> Option<T>,
) -> T {
    loop {
        let event = events.blocking_recv().expect("the session goes on");
        if let Event::Candidate(candidate) = &event {
            other.handle_candidate(candidate);
        }
        if let Some(found) = matches(&event) {
            return found;
        }
    }
}
