//! The table of open sessions: who watches, until when, and which refresh handle counts.
//!
//! Three rules live here. A session ends when its token does unless it was renewed. A renewal asked
//! for twice within the grace gives the same successor, so a lost answer logs nobody out; later it
//! is a stolen handle, and the session ends. A session is not its socket: it outlives both ends'
//! sockets until it expires.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use protocol::id::{InstanceId, SessionId};
use protocol::token::CLOCK_SKEW;

use crate::ConnectionId;
use crate::effect::SessionRow;

/// Sessions of one process; above it opening is refused with `TOO_MANY`.
pub const SESSIONS_MAX: usize = 20_000;
/// Sessions of one instance. When full, the one whose viewer has been away longest makes room.
pub const SESSIONS_PER_INSTANCE_MAX: usize = 16;
/// A session that expired while this service was down is kept for so long after the start: its
/// viewer could not renew it.
pub const RELOAD_GRACE: Duration = Duration::from_secs(120);
/// A session that expired longer ago than this is not reloaded at all.
pub const RELOAD_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One open session.
#[derive(Debug)]
pub struct Session {
    pub row: SessionRow,
    /// The viewer's socket, while it is there.
    pub viewer: Option<ConnectionId>,
    /// Candidates of the present ICE generation, from either side.
    pub viewer_candidates: usize,
    pub agent_candidates: usize,
    /// When it ends unless renewed.
    deadline: Instant,
    /// Until when the handle before the present one is answered.
    grace_until: Instant,
    /// When the viewer's socket was lost, or the session loaded.
    detached_at: Instant,
}

impl Session {
    pub fn expires_in(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

/// What came of a request to renew a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The session has a new generation.
    Rotated,
    /// The answer before was lost: the present generation is said again.
    Repeated,
    /// A handle that had been replaced for longer than the grace.
    Reused,
    /// No such session.
    Unknown,
}

/// The open sessions.
#[derive(Debug)]
pub struct Sessions {
    token_ttl: Duration,
    /// A replaced refresh handle is answered with the same successor for so long.
    grace: Duration,
    sessions: HashMap<SessionId, Session>,
    sessions_by_viewer: HashMap<ConnectionId, SessionId>,
    sessions_by_instance: HashMap<InstanceId, BTreeSet<SessionId>>,
    deadlines: BTreeSet<(Instant, SessionId)>,
}

impl Sessions {
    pub fn new(token_ttl: Duration, grace: Duration) -> Self {
        Self {
            token_ttl,
            grace,
            sessions: HashMap::new(),
            sessions_by_viewer: HashMap::new(),
            sessions_by_instance: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes in a stored session at the start; `false` if it is too old to come back.
    pub fn load(&mut self, row: SessionRow, unix_now: Duration, now: Instant) -> bool {
        let expires = Duration::from_secs(row.expires_unix);
        if unix_now.saturating_sub(expires) > RELOAD_AGE_MAX {
            return false;
        }
        // A clock that was set back while we were down must not keep a session for ever.
        let left = expires.saturating_sub(unix_now).min(self.token_ttl);
        let deadline = now + left.max(RELOAD_GRACE);
        self.insert(row, None, deadline, now);
        true
    }

    /// Opens a session of a viewer; returns the one that had to make room.
    ///
    /// # Errors
    ///
    /// [`Full`] if nobody can make room.
    pub fn open(
        &mut self,
        row: SessionRow,
        viewer: ConnectionId,
        now: Instant,
    ) -> Result<Option<SessionId>, Full> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Full);
        }
        let siblings = self.of_instance(&row.instance).count();
        let evicted = if siblings >= SESSIONS_PER_INSTANCE_MAX {
            Some(self.longest_detached(&row.instance).ok_or(Full)?)
        } else {
            None
        };
        self.insert(row, Some(viewer), now + self.token_ttl + CLOCK_SKEW, now);
        Ok(evicted)
    }

    /// Gives a session its viewer's new socket; returns the socket it had before.
    pub fn attach(
        &mut self,
        session: SessionId,
        viewer: ConnectionId,
        now: Instant,
    ) -> Option<ConnectionId> {
        let found = self.sessions.get_mut(&session)?;
        let before = found.viewer.replace(viewer);
        // A renewal whose answer went down with the old socket may be asked for again.
        found.grace_until = found.grace_until.max(now + self.grace);
        if let Some(old) = before {
            self.sessions_by_viewer.remove(&old);
        }
        self.sessions_by_viewer.insert(viewer, session);
        before
    }

    /// The viewer's socket is gone; the session stays.
    pub fn detach(&mut self, viewer: ConnectionId, now: Instant) {
        let Some(session) = self.sessions_by_viewer.remove(&viewer) else {
            return;
        };
        if let Some(found) = self.sessions.get_mut(&session) {
            found.viewer = None;
            found.detached_at = now;
        }
    }

    /// Renews a session for whoever shows the handle of this generation.
    pub fn renew(
        &mut self,
        session: SessionId,
        generation: u32,
        unix_now: Duration,
        now: Instant,
    ) -> Renewal {
        let Some(found) = self.sessions.get_mut(&session) else {
            return Renewal::Unknown;
        };
        let present = found.row.generation;
        if generation.checked_add(1) == Some(present) && now <= found.grace_until {
            return Renewal::Repeated;
        }
        let Some(next) = present.checked_add(1).filter(|_| generation == present) else {
            return Renewal::Reused;
        };
        found.row.generation = next;
        found.row.issued_unix = unix_now.as_secs();
        found.row.expires_unix = (unix_now + self.token_ttl).as_secs();
        found.grace_until = now + self.grace;
        self.deadlines.remove(&(found.deadline, session));
        found.deadline = now + self.token_ttl + CLOCK_SKEW;
        self.deadlines.insert((found.deadline, session));
        Renewal::Rotated
    }

    pub fn remove(&mut self, session: SessionId) -> Option<Session> {
        let removed = self.sessions.remove(&session)?;
        self.deadlines.remove(&(removed.deadline, session));
        if let Some(viewer) = removed.viewer {
            self.sessions_by_viewer.remove(&viewer);
        }
        let instance = &removed.row.instance;
        if let Some(siblings) = self.sessions_by_instance.get_mut(instance) {
            siblings.remove(&session);
            if siblings.is_empty() {
                self.sessions_by_instance.remove(instance);
            }
        }
        Some(removed)
    }

    /// When the next session expires.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// One session that has expired, said once; the caller removes it.
    pub fn poll_expired(&mut self, now: Instant) -> Option<SessionId> {
        let (at, session) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        Some(session)
    }

    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    pub fn session_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&session)
    }

    /// The session that this socket watches.
    pub fn of_viewer(&self, viewer: ConnectionId) -> Option<SessionId> {
        self.sessions_by_viewer.get(&viewer).copied()
    }

    pub fn of_instance(&self, instance: &InstanceId) -> impl Iterator<Item = SessionId> + use<'_> {
        self.sessions_by_instance
            .get(instance)
            .into_iter()
            .flatten()
            .copied()
    }

    /// Every session, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn insert(
        &mut self,
        row: SessionRow,
        viewer: Option<ConnectionId>,
        deadline: Instant,
        now: Instant,
    ) {
        let id = row.session;
        self.deadlines.insert((deadline, id));
        self.sessions_by_instance
            .entry(row.instance.clone())
            .or_default()
            .insert(id);
        if let Some(viewer) = viewer {
            self.sessions_by_viewer.insert(viewer, id);
        }
        let session = Session {
            row,
            viewer,
            viewer_candidates: 0,
            agent_candidates: 0,
            deadline,
            grace_until: now + self.grace,
            detached_at: now,
        };
        self.sessions.insert(id, session);
    }

    fn longest_detached(&self, instance: &InstanceId) -> Option<SessionId> {
        self.of_instance(instance)
            .filter_map(|id| self.sessions.get(&id))
            .filter(|session| session.viewer.is_none())
            .min_by_key(|session| session.detached_at)
            .map(|session| session.row.session)
    }
}

/// The table has no room and nobody is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many sessions")]
pub struct Full;
