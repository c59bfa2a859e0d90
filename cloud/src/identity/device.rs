//! Devices: programs that a member signed in once, such as a gateway. A device is a sign-in with a
//! key: its token opens nothing without a proof by that key for this one request (RFC 9449).

use std::time::Duration;

use protocol::proof::Thumbprint;

/// Without a request for so long, a device is signed out: a computer may rest for a holiday.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Devices of one account. When full, the next is refused: one of them has to go first.
pub const DEVICES_MAX: u32 = 10;
/// A proof is remembered for so long after it is refused anyway, because the clock of another node
/// may be behind.
pub const PROOF_KEPT: Duration = Duration::from_secs(120);
/// A token that is used with a wrong key is written down so often.
pub const MISUSE_EVERY: Duration = Duration::from_secs(3600);
/// Longest name, in characters.
pub const NAME_LEN_MAX: usize = 64;

/// What makes a sign-in one of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: DeviceName,
    pub key: Thumbprint,
}

/// What its owner calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// 1 to [`NAME_LEN_MAX`] characters, none of which controls anything.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let length = text.chars().count();
        let sound = (1..=NAME_LEN_MAX).contains(&length) && !text.chars().any(char::is_control);
        sound.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_one_line() {
        assert_eq!(
            DeviceName::parse(" Ada's laptop ").unwrap().as_str(),
            "Ada's laptop"
        );
        assert!(DeviceName::parse(&"ä".repeat(NAME_LEN_MAX)).is_some());
        for text in ["", "  ", "a\nb", "a\u{0}", &"a".repeat(NAME_LEN_MAX + 1)] {
            assert_eq!(DeviceName::parse(text), None, "{text:?}");
        }
    }
}
