//! Which of several nodes speaks for an instance.
//!
//! Each registration of an agent host, at any node, takes the next number of its instance from the
//! database: its claim. The highest claim counts. A node that learns of a higher one than its own
//! lets go: the agent host it has is refused, viewers come back and are sent to the other node, and
//! nothing is stored about their sessions, which are the other node's now.

use std::collections::HashMap;

use protocol::id::InstanceId;

use super::{Output, Switchboard};
use crate::refusal;

/// Registrations of one instance so far.
pub type Claim = u64;

/// The claims this node has made.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<InstanceId, Claim>);

impl Switchboard {
    /// An agent host is about to register here with this claim. `false` if a higher one is known,
    /// so that it must not.
    pub fn note_claim(&mut self, instance: &InstanceId, claim: Claim) -> bool {
        let known = self.claims.0.entry(instance.clone()).or_insert(claim);
        *known = claim.max(*known);
        *known == claim
    }

    /// With which claim this node speaks for the instance; `None` if there is only one node.
    pub fn claim_of(&self, instance: &InstanceId) -> Option<Claim> {
        self.claims.0.get(instance).copied()
    }

    /// Somebody claimed the instance, here or at another node.
    pub fn handle_claim(&mut self, instance: &InstanceId, claim: Claim) {
        let ours = self.claims.0.get(instance);
        if ours.is_none_or(|ours| *ours >= claim) {
            return;
        }
        tracing::info!(%instance, claim, "instance is another node's now");
        self.claims.0.remove(instance);
        let sessions: Vec<_> = self.sessions.of_instance(instance).collect();
        for session in sessions {
            let viewer = self.sessions.remove(session).and_then(|gone| gone.viewer);
            if let Some(viewer) = viewer {
                self.outputs.push_back(Output::SendAway(viewer));
            }
        }
        if let Some(agent) = self.instances.connection_of(instance) {
            self.counters.agents_fenced += 1;
            self.refuse_agent(agent, refusal::agent_fenced());
            self.handle_agent_gone(agent);
        }
    }
}
