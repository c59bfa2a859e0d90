//! Which peers may be reached: one function, asked on every path and again when data is sent.
//!
//! An address is first reduced to what it really names (every way to write IPv4 inside IPv6), then
//! each of these forms has to pass. Order of the rules: the relay's own listeners and the
//! operator's `deny` always refuse; the operator's `allow` makes exceptions; every special-purpose
//! range and every own address refuses; the rest of the world passes.
//! Source: the IANA special-purpose address registries (RFC 6890) and the addresses of cloud
//! metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use protocol::turn::cidr::Cidr;

/// Never reached unless the operator says so: special-purpose IPv4.
pub const SPECIAL_V4: [&str; 19] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32", // a cloud's metadata and DNS
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Never reached unless the operator says so: special-purpose IPv6.
///
/// Everything outside 2000::/3 is refused in three strokes; the named ranges inside them stand
/// here so that the table can be read against the registry.
pub const SPECIAL_V6: [&str; 21] = [
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "::/3",
    "4000::/2",
    "8000::/1",
];

/// Ports whose services answer a small question with a large answer, or send mail.
pub const DENIED_PORTS: [u16; 11] = [19, 25, 53, 69, 111, 123, 137, 161, 389, 1900, 11211];

/// What the policy is made from.
#[derive(Clone, Debug, Default)]
pub struct PolicyConfig {
    pub allow: Vec<Cidr>,
    pub deny: Vec<Cidr>,
    pub denied_ports: Vec<u16>,
    /// Addresses of this machine and the public addresses in front of it.
    pub own: Vec<IpAddr>,
    /// Listeners, admin: never a peer, whatever the operator allows.
    pub own_endpoints: Vec<SocketAddr>,
    /// Ports on which our own addresses are peers like any other.
    pub relay_ports: Option<RangeInclusive<u16>>,
}

/// The rules, ready to be asked.
#[derive(Clone, Debug)]
pub struct Policy {
    config: PolicyConfig,
    special: Vec<Cidr>,
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the operator denies this address")]
    ByOperator,
    #[error("a special-purpose address")]
    Special,
    #[error("an address of the relay itself")]
    Own,
    #[error("a port that is never a peer")]
    Port,
    #[error("IPv4 written as IPv6")]
    Mapped,
}

impl Policy {
    pub fn new(config: PolicyConfig) -> Self {
        let special = SPECIAL_V4
            .iter()
            .chain(&SPECIAL_V6)
            .map(|text| text.parse().expect("the tables hold address prefixes"))
            .collect();
        Self { config, special }
    }

    /// May a permission for this address exist? A permission knows no port.
    ///
    /// # Errors
    ///
    /// [`Denied`] with the first rule that refused.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), Denied> {
        if let IpAddr::V6(v6) = ip
            && v6.to_ipv4_mapped().is_some()
        {
            return Err(Denied::Mapped);
        }
        // Our own relayed ports are reached by our own name only.
        if forms(ip).any(|form| form != ip && self.is_own(form)) {
            return Err(Denied::Own);
        }
        forms(ip).try_for_each(|form| self.check_form(form))
    }

    /// May data be sent to this peer?
    ///
    /// # Errors
    ///
    /// [`Denied`] with the first rule that refused.
    pub fn check(&self, peer: SocketAddr) -> Result<(), Denied> {
        if peer.port() == 0 || self.config.denied_ports.contains(&peer.port()) {
            return Err(Denied::Port);
        }
        let own = |form| self.is_own_endpoint(SocketAddr::new(form, peer.port()));
        if forms(peer.ip()).any(own) {
            return Err(Denied::Own);
        }
        self.check_ip(peer.ip())?;
        let own_port = self.is_relay_port(peer.port());
        if self.is_own(peer.ip()) && !own_port && !self.is_allowed(peer.ip()) {
            return Err(Denied::Own);
        }
        Ok(())
    }

    fn check_form(&self, ip: IpAddr) -> Result<(), Denied> {
        if contains(&self.config.deny, ip) {
            return Err(Denied::ByOperator);
        }
        // Our own relayed ports are reachable even where our address is a private one; `check`
        // looks at the port.
        if self.is_allowed(ip) || self.is_own(ip) && self.config.relay_ports.is_some() {
            return Ok(());
        }
        if contains(&self.special, ip) {
            return Err(Denied::Special);
        }
        Ok(())
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        contains(&self.config.allow, ip)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.config.own.contains(&ip)
    }

    fn is_relay_port(&self, port: u16) -> bool {
        let range = self.config.relay_ports.as_ref();
        range.is_some_and(|range| range.contains(&port))
    }

    fn is_own_endpoint(&self, peer: SocketAddr) -> bool {
        self.config.own_endpoints.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && self.is_own(peer.ip());
            own.port() == peer.port() && (everywhere || own.ip() == peer.ip())
        })
    }
}

fn contains(prefixes: &[Cidr], ip: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(ip))
}

/// Every address that a packet to this one may end at, itself the last.
fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match ip {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(v6) => [embedded_by_prefix(v6), embedded_by_interface(v6)],
    };
    let embedded = embedded.into_iter().flatten().map(IpAddr::V4);
    embedded.chain([ip])
}

/// The IPv4 address that the prefix says is inside, other than the mapped form.
///
/// IPv4-compatible (RFC 4291 §2.5.5.1), translated (RFC 2765), NAT64 well-known and local-use
/// (RFC 6052 §2.2, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380 §4: client address inverted).
fn embedded_by_prefix(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    let low = bits as u32;
    let embedded = match ip.segments() {
        [0, 0, 0, 0, 0, 0, _, _] => low,
        [0, 0, 0, 0, 0xFFFF, 0, _, _] => low,
        [0x64, 0xFF9B, 0, 0, 0, 0, _, _] => low,
        [0x64, 0xFF9B, 1, ..] => ((bits >> 64) as u32) << 16 | (bits >> 40) as u32 & 0xFFFF,
        [0x2002, ..] => (bits >> 80) as u32,
        [0x2001, 0, ..] => !low,
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(embedded))
}

/// ISATAP (RFC 5214 §6.1): under any prefix, the interface says that IPv4 follows.
fn embedded_by_interface(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [.., 0 | 0x0200, 0x5EFE, _, _] => Some(Ipv4Addr::from_bits(ip.to_bits() as u32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
