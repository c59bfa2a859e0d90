//! Names of things, as newtypes so that they cannot be swapped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest instance name accepted, in bytes: it appears in URLs and in file names.
pub const INSTANCE_ID_LEN_MAX: usize = 63;

/// One cloud machine, by name: 1 to 63 of `a-z 0-9 -`, not starting or ending with `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

impl InstanceId {
    /// # Errors
    ///
    /// [`BadInstanceId`] if the name is empty, too long or has other characters.
    pub fn new(name: &str) -> Result<Self, BadInstanceId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ok = !name.is_empty()
            && name.len() <= INSTANCE_ID_LEN_MAX
            && name.bytes().all(allowed)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if ok {
            Ok(Self(name.into()))
        } else {
            Err(BadInstanceId)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name breaks the rule of [`InstanceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance name has 1 to 63 of a-z, 0-9 and '-', and neither starts nor ends with '-'")]
pub struct BadInstanceId;

impl TryFrom<String> for InstanceId {
    type Error = BadInstanceId;

    fn try_from(name: String) -> Result<Self, BadInstanceId> {
        Self::new(&name)
    }
}

impl FromStr for InstanceId {
    type Err = BadInstanceId;

    fn from_str(name: &str) -> Result<Self, BadInstanceId> {
        Self::new(name)
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> String {
        id.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One viewer on one instance. A UUID: never reused, not guessable from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl From<SessionId> for Uuid {
    fn from(id: SessionId) -> Uuid {
        id.0
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_is_safe_in_a_url_and_in_a_file_name() {
        for good in ["a", "desk-1", "0", &"x".repeat(63)] {
            assert!(InstanceId::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a/b",
            "..",
            "a b",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(InstanceId::new(bad).is_err(), "{bad}");
        }
    }
}
