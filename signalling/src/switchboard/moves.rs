//! Sessions move to another relay when one of theirs drains or falls silent: both ends get new
//! relays, the viewer restarts ICE, and the old path carries on until the new one works.
//!
//! A few at a time, because every move is an ICE restart and a fresh allocation.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use protocol::id::SessionId;
use protocol::signal::{PathMode, ToAgent, ToViewer};

use super::Switchboard;

/// Sessions told in one go.
const MOVED_AT_ONCE: usize = 100;
/// Time between two goes.
const MOVE_INTERVAL: Duration = Duration::from_millis(100);

/// Who has yet to be told.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// At most all sessions there are.
    waiting: BTreeSet<SessionId>,
    next_at: Option<Instant>,
}

impl Switchboard {
    /// A relay of this region wants to be left, or is not there any more.
    pub fn handle_relay_lost(&mut self, region: &str, now: Instant) {
        let concerned = |row: &crate::SessionRow| {
            let near = row.region == region || row.client_region == region;
            near && row.mode != PathMode::Direct
        };
        let sessions = self.sessions.iter();
        let lost = sessions.filter(|session| concerned(&session.row));
        self.moves
            .waiting
            .extend(lost.map(|session| session.row.session));
        self.moves.next_at.get_or_insert(now);
        let waiting = self.moves.waiting.len();
        tracing::info!(region, sessions = waiting, "sessions move to other relays");
    }

    pub(super) fn poll_moves_timeout(&self) -> Option<Instant> {
        let silent = self.granter.relays().poll_timeout();
        [self.moves.next_at, silent].into_iter().flatten().min()
    }

    pub(super) fn handle_moves_timeout(&mut self, now: Instant) {
        loop {
            let silent = self.granter.relays().poll_silent(now);
            let Some(region) = silent else { break };
            self.handle_relay_lost(&region, now);
        }
        if self.moves.next_at.is_none_or(|at| now < at) {
            return;
        }
        for _ in 0..MOVED_AT_ONCE {
            let Some(session) = self.moves.waiting.pop_first() else {
                self.moves.next_at = None;
                return;
            };
            self.move_session(session, now);
        }
        self.moves.next_at = Some(now + MOVE_INTERVAL);
    }

    fn move_session(&mut self, session: SessionId, now: Instant) {
        let Some(found) = self.sessions.session(session) else {
            return;
        };
        let (row, viewer) = (found.row.clone(), found.viewer);
        let renewed = self.granter.agent_session(&row, found.expires_in(now));
        let ice_servers = self.granter.viewer_ice_servers(&row);
        self.counters.sessions_moved += 1;
        // The agent host first: it should have the new relays when the offer comes.
        self.tell_agent_of(&row.instance, ToAgent::SessionRenewed { session: renewed });
        if let Some(viewer) = viewer {
            self.tell_viewer(viewer, ToViewer::MoveRelay { ice_servers });
        }
    }
}
