//! Who may meet whom: viewers open sessions on instances, agent hosts serve them.
//!
//! Two invariants. Media never passes here and never depends on it: when this service is away,
//! sessions go on. Secrets leave only inside a [`Grant`](protocol::signal::Grant) or an
//! [`AgentSession`](protocol::signal::AgentSession).
//!
//! [`Switchboard`] is the whole machine: messages and the time go in, [`Output`]s come out. What
//! must survive a restart comes out as an [`Effect`], which the shell stores before it sends
//! anything that the same message caused.

pub mod effect;
pub mod grant;
pub mod handle;
pub mod instances;
pub mod rate;
pub mod refusal;
pub mod relays;
pub mod sessions;
pub mod switchboard;
pub mod tickets;

pub use effect::{Effect, SessionRow};
pub use grant::{Granter, Region, Relay};
pub use instances::{InstanceRecord, Presence};
pub use switchboard::{Output, Switchboard};

#[cfg(feature = "io")]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell owns the clock and the tasks"
)]
pub mod io;

/// One WebSocket, for as long as it lasts. Never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);
