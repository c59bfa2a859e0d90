//! Agent hosts that are registered now, one per instance.
//!
//! A second registration of an instance fences the first: from that moment nothing the first one
//! says counts, so an agent host that was cut off and came back cannot answer for a desktop that
//! another one serves.

use std::collections::{HashMap, HashSet};

use protocol::Secret;
use protocol::id::InstanceId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ConnectionId;

/// Agent hosts served by one process; above it registrations are refused with `TOO_MANY`.
pub const INSTANCES_MAX: usize = 20_000;

/// What is stored about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRecord {
    pub instance: InstanceId,
    pub region: String,
    /// SHA-256 of the agent host's credential, which has 256 random bits and needs no salt.
    pub credential_hash: [u8; 32],
}

impl InstanceRecord {
    /// Whether this is the instance's credential; takes the same time for every wrong one.
    pub fn accepts(&self, credential: &Secret) -> bool {
        hash(credential).ct_eq(&self.credential_hash).into()
    }
}

/// SHA-256 of a random secret, as it is stored.
pub fn hash(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose().as_bytes()).into()
}

/// How much of an instance is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// No agent host is registered.
    Absent,
    /// The agent host is there, and its display is not.
    Starting,
    /// The agent host has captured a frame.
    Online,
}

/// The registered agent hosts.
#[derive(Debug, Default)]
pub struct Instances {
    registered: HashMap<InstanceId, Registered>,
    instances_by_connection: HashMap<ConnectionId, InstanceId>,
}

#[derive(Debug)]
struct Registered {
    connection: ConnectionId,
    region: String,
    captured: bool,
}

impl Instances {
    /// Registers an agent host; returns the connection it fences.
    ///
    /// # Errors
    ///
    /// [`Full`] if [`INSTANCES_MAX`] others are registered.
    pub fn register(
        &mut self,
        record: &InstanceRecord,
        captured: bool,
        connection: ConnectionId,
    ) -> Result<Option<ConnectionId>, Full> {
        let known = self.registered.contains_key(&record.instance);
        if !known && self.registered.len() >= INSTANCES_MAX {
            return Err(Full);
        }
        let before = self.registered.insert(
            record.instance.clone(),
            Registered {
                connection,
                region: record.region.clone(),
                captured,
            },
        );
        let fenced = before.map(|old| old.connection);
        if let Some(old) = fenced {
            self.instances_by_connection.remove(&old);
        }
        self.instances_by_connection
            .insert(connection, record.instance.clone());
        Ok(fenced)
    }

    /// The agent host's socket is gone; returns its instance unless it was fenced before.
    pub fn remove(&mut self, connection: ConnectionId) -> Option<InstanceId> {
        let instance = self.instances_by_connection.remove(&connection)?;
        self.registered.remove(&instance);
        Some(instance)
    }

    /// The instance that this connection speaks for.
    pub fn instance_of(&self, connection: ConnectionId) -> Option<&InstanceId> {
        self.instances_by_connection.get(&connection)
    }

    pub fn connection_of(&self, instance: &InstanceId) -> Option<ConnectionId> {
        Some(self.registered.get(instance)?.connection)
    }

    pub fn region_of(&self, instance: &InstanceId) -> Option<&str> {
        Some(&self.registered.get(instance)?.region)
    }

    pub fn presence(&self, instance: &InstanceId) -> Presence {
        match self.registered.get(instance) {
            None => Presence::Absent,
            Some(Registered {
                captured: false, ..
            }) => Presence::Starting,
            Some(Registered { captured: true, .. }) => Presence::Online,
        }
    }

    /// Notes whether the display is there; `true` if that is news.
    pub fn set_captured(&mut self, instance: &InstanceId, captured: bool) -> bool {
        let Some(registered) = self.registered.get_mut(instance) else {
            return false;
        };
        std::mem::replace(&mut registered.captured, captured) != captured
    }

    /// Registered instances that are not among `known`.
    pub fn strangers(&self, known: &HashSet<InstanceId>) -> Vec<InstanceId> {
        let unknown = |instance: &&InstanceId| !known.contains(*instance);
        self.registered.keys().filter(unknown).cloned().collect()
    }

    /// Every registered instance, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &InstanceId> {
        self.registered.keys()
    }

    pub fn len(&self) -> usize {
        self.registered.len()
    }

    pub fn is_empty(&self) -> bool {
        self.registered.is_empty()
    }
}

/// [`INSTANCES_MAX`] agent hosts are registered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{INSTANCES_MAX} agent hosts are registered already")]
pub struct Full;
