//! Address prefixes, written `192.0.2.0/24`, `2001:db8::/32`, or a bare address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One prefix. Prefix match is the only comparison there is: ranges of any other shape have let
/// addresses through elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Bits below the prefix are zero.
    base: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// Returns `None` if the prefix is longer than the address. Host bits are cleared.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Option<Self> {
        let base = match addr {
            IpAddr::V4(ip) if prefix_len <= 32 => {
                IpAddr::V4((ip.to_bits() & mask32(prefix_len)).into())
            }
            IpAddr::V6(ip) if prefix_len <= 128 => {
                IpAddr::V6((ip.to_bits() & mask128(prefix_len)).into())
            }
            _ => return None,
        };
        Some(Self { base, prefix_len })
    }

    /// The prefix that holds exactly this address.
    pub fn host(addr: IpAddr) -> Self {
        Self {
            base: addr,
            prefix_len: if addr.is_ipv4() { 32 } else { 128 },
        }
    }

    /// True if the address lies inside; families never match each other.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.base, addr) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                (base.to_bits() ^ ip.to_bits()) & mask32(self.prefix_len) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                (base.to_bits() ^ ip.to_bits()) & mask128(self.prefix_len) == 0
            }
            _ => false,
        }
    }

    pub fn base(&self) -> IpAddr {
        self.base
    }

    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }
}

fn mask32(prefix_len: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix_len.min(32)))
        .unwrap_or(0)
}

fn mask128(prefix_len: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(prefix_len.min(128)))
        .unwrap_or(0)
}

/// Text that is not an address prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address prefix; write 192.0.2.0/24, 2001:db8::/32 or one address")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.chars().take(64).collect());
        let (addr, prefix_len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| error())?;
        match prefix_len {
            Some(len) => Self::new(addr, len).ok_or_else(error),
            None => Ok(Self::host(addr)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_len)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_its_first_and_last_address_and_not_their_neighbours() {
        for (prefix, inside, outside) in [
            (
                "10.0.0.0/8",
                ["10.0.0.0", "10.255.255.255"],
                ["9.255.255.255", "11.0.0.0"],
            ),
            (
                "172.16.0.0/12",
                ["172.16.0.0", "172.31.255.255"],
                ["172.15.255.255", "172.32.0.0"],
            ),
            (
                "fe80::/10",
                ["fe80::", "febf:ffff::1"],
                ["fec0::", "fe7f::"],
            ),
            ("192.0.2.1", ["192.0.2.1"; 2], ["192.0.2.0", "192.0.2.2"]),
        ] {
            let prefix: Cidr = prefix.parse().unwrap();
            for addr in inside {
                assert!(prefix.contains(addr.parse().unwrap()), "{prefix} {addr}");
            }
            for addr in outside {
                assert!(!prefix.contains(addr.parse().unwrap()), "{prefix} {addr}");
            }
        }
    }

    #[test]
    fn the_empty_prefix_holds_its_whole_family_and_nothing_of_the_other() {
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused_with_its_text() {
        for text in ["", "10.0.0.0/33", "::/129", "example.org", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError(text.into())));
        }
    }
}
