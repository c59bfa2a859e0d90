//! Attribute types and their typed values (RFC 8489 §14, §18.3; RFC 8656 §18).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{MAGIC_COOKIE, Message, TransactionId};
use crate::turn::channel::ChannelNumber;

/// REQUESTED-TRANSPORT for UDP: the IANA protocol number.
pub const UDP: u8 = 17;

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute(pub u16);

impl Attribute {
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    pub const USERNAME: Self = Self(0x0006);
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    pub const ERROR_CODE: Self = Self(0x0009);
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000A);
    pub const CHANNEL_NUMBER: Self = Self(0x000C);
    pub const LIFETIME: Self = Self(0x000D);
    pub const XOR_PEER_ADDRESS: Self = Self(0x0012);
    pub const DATA: Self = Self(0x0013);
    pub const REALM: Self = Self(0x0014);
    pub const NONCE: Self = Self(0x0015);
    pub const XOR_RELAYED_ADDRESS: Self = Self(0x0016);
    pub const REQUESTED_ADDRESS_FAMILY: Self = Self(0x0017);
    pub const EVEN_PORT: Self = Self(0x0018);
    pub const REQUESTED_TRANSPORT: Self = Self(0x0019);
    pub const DONT_FRAGMENT: Self = Self(0x001A);
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001C);
    pub const PASSWORD_ALGORITHM: Self = Self(0x001D);
    pub const USERHASH: Self = Self(0x001E);
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    pub const RESERVATION_TOKEN: Self = Self(0x0022);
    pub const ADDITIONAL_ADDRESS_FAMILY: Self = Self(0x8000);
    pub const ADDRESS_ERROR_CODE: Self = Self(0x8001);
    pub const PASSWORD_ALGORITHMS: Self = Self(0x8002);
    pub const SOFTWARE: Self = Self(0x8022);
    pub const ALTERNATE_SERVER: Self = Self(0x8023);
    pub const FINGERPRINT: Self = Self(0x8028);

    /// A reader that does not know such an attribute must not act on the message (§14).
    pub fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// IPv4 or IPv6, as REQUESTED-ADDRESS-FAMILY spells them (RFC 8656 §18.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    V4,
    V6,
}

impl AddressFamily {
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub fn code(self) -> u8 {
        match self {
            Self::V4 => 0x01,
            Self::V6 => 0x02,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0x01 => Some(Self::V4),
            0x02 => Some(Self::V6),
            _ => None,
        }
    }
}

/// How the long-term key is made from the password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    Md5,
    Sha256,
}

impl PasswordAlgorithm {
    pub fn code(self) -> u16 {
        match self {
            Self::Md5 => 0x0001,
            Self::Sha256 => 0x0002,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        match code {
            0x0001 => Some(Self::Md5),
            0x0002 => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// The value of PASSWORD-ALGORITHMS that offers both, the stronger first (§14.11).
pub const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// ERROR-CODE: three digits and a phrase for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300..=699.
    pub code: u16,
    pub reason: &'a str,
}

/// An address attribute with an unknown family or a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed address")]
pub struct MalformedAddress;

/// Typed getters. `None` means absent or malformed; [`Message::has`] tells which.
impl<'a> Message<'a> {
    pub fn username(&self) -> Option<&'a str> {
        self.text(Attribute::USERNAME)
    }

    pub fn realm(&self) -> Option<&'a str> {
        self.text(Attribute::REALM)
    }

    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.first(Attribute::NONCE)
    }

    pub fn lifetime(&self) -> Option<Duration> {
        let bytes = self.fixed::<4>(Attribute::LIFETIME)?;
        Some(Duration::from_secs(u32::from_be_bytes(bytes).into()))
    }

    /// The IANA protocol number; [`UDP`] is the one TURN servers serve.
    pub fn requested_transport(&self) -> Option<u8> {
        let [protocol, _, _, _] = self.fixed(Attribute::REQUESTED_TRANSPORT)?;
        Some(protocol)
    }

    pub fn requested_family(&self) -> Option<AddressFamily> {
        let [family, _, _, _] = self.fixed(Attribute::REQUESTED_ADDRESS_FAMILY)?;
        AddressFamily::from_code(family)
    }

    pub fn additional_family(&self) -> Option<AddressFamily> {
        let [family, _, _, _] = self.fixed(Attribute::ADDITIONAL_ADDRESS_FAMILY)?;
        AddressFamily::from_code(family)
    }

    /// `Some(true)` asks to reserve the next higher port too (RFC 8656 §18.7).
    pub fn even_port(&self) -> Option<bool> {
        let [flags] = self.fixed(Attribute::EVEN_PORT)?;
        Some(flags & 0x80 != 0)
    }

    pub fn reservation_token(&self) -> Option<[u8; 8]> {
        self.fixed(Attribute::RESERVATION_TOKEN)
    }

    pub fn channel_number(&self) -> Option<ChannelNumber> {
        let [n0, n1, _, _] = self.fixed(Attribute::CHANNEL_NUMBER)?;
        ChannelNumber::new(u16::from_be_bytes([n0, n1]))
    }

    pub fn data(&self) -> Option<&'a [u8]> {
        self.first(Attribute::DATA)
    }

    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_address(Attribute::XOR_MAPPED_ADDRESS)
    }

    /// The first relayed address; dual allocations have one more, see [`Self::relayed_addresses`].
    pub fn xor_relayed_address(&self) -> Option<SocketAddr> {
        self.xor_address(Attribute::XOR_RELAYED_ADDRESS)
    }

    pub fn relayed_addresses(&self) -> impl Iterator<Item = SocketAddr> + 'a {
        self.xor_addresses(Attribute::XOR_RELAYED_ADDRESS)
            .filter_map(Result::ok)
    }

    /// The first peer.
    pub fn xor_peer_address(&self) -> Option<SocketAddr> {
        self.xor_address(Attribute::XOR_PEER_ADDRESS)
    }

    /// Every peer of a CreatePermission; a malformed one is an error in its place.
    pub fn peers(&self) -> impl Iterator<Item = Result<SocketAddr, MalformedAddress>> + 'a {
        self.xor_addresses(Attribute::XOR_PEER_ADDRESS)
    }

    pub fn alternate_server(&self) -> Option<SocketAddr> {
        decode_address(self.first(Attribute::ALTERNATE_SERVER)?).ok()
    }

    pub fn error(&self) -> Option<ErrorCode<'a>> {
        let value = self.first(Attribute::ERROR_CODE)?;
        let (&[_, _, class, number], reason) = value.split_first_chunk::<4>()?;
        let class = u16::from(class & 0x07);
        ((3..=6).contains(&class) && number < 100).then(|| ErrorCode {
            code: class * 100 + u16::from(number),
            reason: std::str::from_utf8(reason).unwrap_or_default(),
        })
    }

    /// The algorithm the client chose (RFC 8489 §14.12).
    pub fn password_algorithm(&self) -> Option<PasswordAlgorithm> {
        let value = self.first(Attribute::PASSWORD_ALGORITHM)?;
        let [c0, c1, p0, p1] = *value.first_chunk::<4>()?;
        let parameters = u16::from_be_bytes([p0, p1]);
        (parameters == 0 && value.len() == 4)
            .then(|| PasswordAlgorithm::from_code(u16::from_be_bytes([c0, c1])))
            .flatten()
    }

    fn text(&self, kind: Attribute) -> Option<&'a str> {
        std::str::from_utf8(self.first(kind)?).ok()
    }

    fn fixed<const N: usize>(&self, kind: Attribute) -> Option<[u8; N]> {
        self.first(kind)?.try_into().ok()
    }

    fn xor_address(&self, kind: Attribute) -> Option<SocketAddr> {
        decode_xor_address(self.first(kind)?, self.transaction()).ok()
    }

    fn xor_addresses(
        &self,
        kind: Attribute,
    ) -> impl Iterator<Item = Result<SocketAddr, MalformedAddress>> + 'a {
        let transaction = self.transaction();
        self.attributes()
            .filter(move |(found, _)| *found == kind)
            .map(move |(_, value)| decode_xor_address(value, transaction))
    }
}

/// An address attribute in bytes: 8 for IPv4, 20 for IPv6 (§14.1).
pub(super) fn encode_address(addr: SocketAddr, out: &mut [u8; 20]) -> usize {
    let [_, family, p0, p1, rest @ ..] = out;
    [*p0, *p1] = addr.port().to_be_bytes();
    *family = AddressFamily::of(addr.ip()).code();
    match addr.ip() {
        IpAddr::V4(ip) => {
            for (to, from) in rest.iter_mut().zip(ip.octets()) {
                *to = from;
            }
            8
        }
        IpAddr::V6(ip) => {
            *rest = ip.octets();
            20
        }
    }
}

fn decode_address(value: &[u8]) -> Result<SocketAddr, MalformedAddress> {
    let (&[_, family, p0, p1], rest) = value.split_first_chunk::<4>().ok_or(MalformedAddress)?;
    let ip = match AddressFamily::from_code(family) {
        Some(AddressFamily::V4) => {
            let octets: [u8; 4] = rest.try_into().map_err(|_| MalformedAddress)?;
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        Some(AddressFamily::V6) => {
            let octets: [u8; 16] = rest.try_into().map_err(|_| MalformedAddress)?;
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        None => return Err(MalformedAddress),
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

fn decode_xor_address(
    value: &[u8],
    transaction: TransactionId,
) -> Result<SocketAddr, MalformedAddress> {
    Ok(xor(decode_address(value)?, transaction))
}

/// XORs an address with the cookie and the transaction id; its own inverse (§14.2).
pub(super) fn xor(addr: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let [c0, c1, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = addr.port() ^ u16::from_be_bytes([c0, c1]);
    let ip = match addr.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            let (cookie, rest) = mask.split_at_mut(4);
            cookie.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            rest.copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from_bits(
                ip.to_bits() ^ u128::from_be_bytes(mask),
            ))
        }
    };
    SocketAddr::new(ip, port)
}
