//! The IANA special-purpose registries (RFC 6890 and its updates) as addresses to try: the first
//! and last of every range, well-known services inside, and each IPv4 address in every form that
//! IPv6 has for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::client::Family;

/// Ordinary addresses, so that the harness itself is seen to work.
pub(crate) const PUBLIC: [&str; 2] = ["8.8.8.8", "2a00:1450::8888"];

/// Only whoever knows the subnet knows that this is no ordinary address: not tried inside IPv6,
/// where no kernel of ours would say so.
const BROADCAST: &str = "5.5.5.255";

/// iana-ipv4-special-registry, multicast and broadcast; first and last address of each.
const V4: [&str; 61] = [
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255", // "this network"
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255", // private use
    "100.64.0.0",
    "100.64.0.1",
    "100.127.255.255", // shared address space
    "100.100.100.200", // a cloud's metadata service
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255", // loopback
    "168.63.129.16",   // a cloud's host services
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255", // link local, metadata
    "172.16.0.0",
    "172.16.0.1",
    "172.31.255.255", // private use
    "192.0.0.0",
    "192.0.0.8",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.0.170",
    "192.0.0.171",
    "192.0.0.255", // protocol assignments
    "192.0.2.0",
    "192.0.2.1",
    "192.0.2.255", // TEST-NET-1
    "192.31.196.0",
    "192.31.196.255",
    "192.52.193.0",
    "192.52.193.255",
    "192.175.48.0",
    "192.175.48.255", // AS112, AMT, direct delegation AS112
    "192.88.99.0",
    "192.88.99.1",
    "192.88.99.2",
    "192.88.99.255", // deprecated 6to4 relay anycast
    "192.168.0.0",
    "192.168.0.1",
    "192.168.255.255", // private use
    "198.18.0.0",
    "198.18.0.1",
    "198.19.255.255", // benchmarking
    "198.51.100.0",
    "198.51.100.1",
    "198.51.100.255", // TEST-NET-2
    "203.0.113.0",
    "203.0.113.1",
    "203.0.113.255", // TEST-NET-3
    "224.0.0.0",
    "224.0.0.1",
    "239.255.255.255", // multicast
    "240.0.0.0",
    "240.0.0.1",
    "255.255.255.254", // reserved
    "255.255.255.255", // limited broadcast
    "5.5.5.5",         // the relay's own address, a port that is not relayed
    BROADCAST,         // its subnet's
];

/// iana-ipv6-special-registry, multicast, and what was special once.
const V6: [&str; 45] = [
    "::",
    "::1", // unspecified, loopback
    "64:ff9b::",
    "64:ff9b::ffff:ffff", // translation
    "64:ff9b:1::",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", // local-use translation
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "100:0:0:1::", // discard-only, dummy
    "2001::",
    "2001:0:ffff::", // Teredo
    "2001:1::1",
    "2001:1::2",
    "2001:1::3", // anycast of PCP, TURN, DNS-SD
    "2001:2::",
    "2001:2:0:ffff::", // benchmarking
    "2001:3::",
    "2001:4:112::",
    "2001:10::",
    "2001:1f:ffff::", // AMT, AS112, ORCHID
    "2001:20::",
    "2001:2f:ffff::",
    "2001:30::",
    "2001:3f:ffff::",                         // ORCHIDv2, DET
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", // the last of the protocol assignments
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", // documentation
    "2002::",
    "2002:ffff::", // 6to4
    "2620:4f:8000::",
    "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", // direct delegation AS112
    "3fff::",
    "3fff:fff::", // documentation
    "5f00::1",    // SRv6 SIDs
    "fc00::",
    "fd00:ec2::254", // unique local, a cloud's metadata
    "fe80::1",
    "fec0::1",
    "febf:ffff::1",
    "ff02::1",
    "ff0e::1", // link local, site local, multicast
    "1fff:ffff::1",
    "4000::1",
    "8000::1",
    "fbff:ffff::1", // outside of what is given out
];

/// Every address to try, by the family of the allocation it is tried from.
pub(crate) fn by_family() -> [(Family, Vec<IpAddr>); 2] {
    let v4: Vec<Ipv4Addr> = V4.iter().map(|text| text.parse().unwrap()).collect();
    let mut plain: Vec<IpAddr> = v4.iter().map(|&address| address.into()).collect();
    let mut wide: Vec<IpAddr> = V6.iter().map(|text| text.parse().unwrap()).collect();
    let told = v4.iter().filter(|it| it.to_string() != BROADCAST);
    wide.extend(told.flat_map(|&address| embedded(address)));
    for text in PUBLIC {
        let address: IpAddr = text.parse().unwrap();
        if address.is_ipv4() {
            plain.push(address)
        } else {
            wide.push(address)
        }
    }
    [(Family::V4, plain), (Family::V6, wide)]
}

/// The forms in which an IPv6 address carries an IPv4 one.
fn embedded(v4: Ipv4Addr) -> Vec<IpAddr> {
    let low = u128::from(v4.to_bits());
    let forms = [
        0xFFFF << 32 | low,           // mapped, ::ffff:0:0/96
        low,                          // compatible, ::/96
        0x0064_FF9B << 96 | low,      // NAT64, 64:ff9b::/96
        0x0064_FF9B_0001 << 80 | low, // NAT64 for local use, 96 bits of prefix
        0x0064_FF9B_0001 << 80 | low >> 16 << 64 | (low & 0xFFFF) << 40, // the same, 48 bits
        0xFFFF << 48 | low,           // translated, ::ffff:0:0:0/96
        0x2A00_1450 << 96 | 0x5EFE << 32 | low, // ISATAP under a public prefix
        0x2A00_1450 << 96 | 0x0200_5EFE << 32 | low, // the same, globally unique
        0xFE80 << 112 | 0x5EFE << 32 | low, // ISATAP, link local
        0x2002 << 112 | low << 80 | 1, // 6to4
        0x2001_0000 << 96 | low << 64 | 1, // Teredo's server
        0x2001_0000 << 96 | (!low & 0xFFFF_FFFF), // Teredo's client, inverted
    ];
    forms.map(|bits| Ipv6Addr::from_bits(bits).into()).to_vec()
}
