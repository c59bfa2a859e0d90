//! What must survive a restart of the service: rows, and the changes to them.
//!
//! Effects are idempotent: storing one twice is storing it once. A [`SessionRow`] is the whole
//! session, so a row that could not be stored is repaired by the next one.

use protocol::id::{InstanceId, SessionId};
use protocol::signal::{PathMode, Role};

/// One change to what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A connect ticket was spent; remembered until it would have expired anyway.
    TicketSpent {
        ticket: SessionId,
        instance: InstanceId,
        /// Unix seconds.
        expires_unix: u64,
    },
    /// A session was opened or renewed: insert the row or replace it.
    SessionStored(SessionRow),
    /// A session is over.
    SessionRemoved(SessionId),
    /// Tickets that expired before this moment, in Unix seconds, need not be remembered.
    TicketsForgotten { before_unix: u64 },
}

/// One session as it is stored. It holds no secret: handles are derived, tokens are signed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub session: SessionId,
    pub instance: InstanceId,
    pub role: Role,
    pub mode: PathMode,
    /// For whom the ticket was made: opaque.
    pub subject: String,
    /// Region of the instance when the session was opened.
    pub region: String,
    /// Region near the person, if another one and a relay there pays; else empty.
    pub client_region: String,
    /// How often the session was renewed.
    pub generation: u32,
    /// Unix seconds of the opening.
    pub opened_unix: u64,
    /// Unix seconds of the last renewal.
    pub issued_unix: u64,
    /// Unix seconds at which the current token expires.
    pub expires_unix: u64,
}
