//! Every special-purpose range in every disguise.

use super::*;

#[test]
fn the_rest_of_the_world_passes() {
    let policy = Policy::new(PolicyConfig::default());
    for peer in ["8.8.8.8:40000", "[2a00:1450::1]:40000", "198.20.0.1:443"] {
        assert_eq!(policy.check(peer.parse().unwrap()), Ok(()), "{peer}");
    }
}

#[test]
fn first_and_last_address_of_every_special_range_are_refused_in_every_form() {
    let policy = Policy::new(PolicyConfig::default());
    for prefix in SPECIAL_V4 {
        for v4 in edges_v4(prefix) {
            check_refused(&policy, IpAddr::V4(v4));
            for v6 in disguises(v4) {
                check_refused(&policy, IpAddr::V6(v6));
            }
        }
    }
    for prefix in SPECIAL_V6 {
        for v6 in edges_v6(prefix) {
            check_refused(&policy, IpAddr::V6(v6));
        }
    }
}

// CVE-2026-27624 and its relatives: an operator who opens the IPv6 side of NAT64 has not opened
// loopback behind it.
#[test]
fn an_allowed_translation_prefix_does_not_open_what_is_refused_behind_it() {
    let policy = Policy::new(PolicyConfig {
        allow: prefixes(&[
            "64:ff9b::/96",
            "2002::/16",
            "2001::/32",
            "::/96",
            "64:ff9b:1::/48",
        ]),
        ..PolicyConfig::default()
    });
    for v6 in disguises(Ipv4Addr::new(127, 0, 0, 1)) {
        check_refused(&policy, IpAddr::V6(v6));
    }
    let public: IpAddr = "64:ff9b::8.8.8.8".parse().unwrap();
    assert_eq!(policy.check_ip(public), Ok(()));
}

// RFC 5214 §6.1: the prefix is an ordinary one, the router behind it unwraps.
#[test]
fn isatap_under_a_public_prefix_is_judged_by_the_ipv4_address_inside() {
    let policy = Policy::new(PolicyConfig::default());
    let check = |text: &str, expected| {
        let ip: IpAddr = text.parse().unwrap();
        assert_eq!(policy.check_ip(ip), expected, "{text}");
    };
    check("2a00:1450::5efe:10.0.0.1", Err(Denied::Special));
    check("2a00:1450::200:5efe:169.254.169.254", Err(Denied::Special));
    check("2a00:1450::5efe:8.8.8.8", Ok(()));
    check("2a00:1450::100:5efe:10.0.0.1", Ok(()));
}

#[test]
fn our_own_listeners_are_no_peers_in_any_disguise_the_operator_allows() {
    let policy = own_policy(&["127.0.0.0/8", "64:ff9b::/96"]);
    let check = |text: &str, expected| assert_eq!(policy.check(text.parse().unwrap()), expected);
    check("[64:ff9b::127.0.0.1]:9641", Err(Denied::Own));
    check("[64:ff9b::8.7.6.5]:3478", Err(Denied::Own));
    check("[64:ff9b::8.7.6.5]:50000", Err(Denied::Own));
    check("[64:ff9b::127.0.0.1]:9642", Ok(()));
}

#[test]
fn a_mapped_address_is_refused_even_if_the_ipv4_address_is_allowed() {
    let policy = Policy::new(PolicyConfig {
        allow: prefixes(&["127.0.0.0/8"]),
        ..PolicyConfig::default()
    });
    assert_eq!(policy.check_ip("127.0.0.1".parse().unwrap()), Ok(()));
    assert_eq!(
        policy.check_ip("::ffff:127.0.0.1".parse().unwrap()),
        Err(Denied::Mapped)
    );
}

#[test]
fn what_the_operator_denies_stays_denied_when_he_allows_it_too() {
    let policy = Policy::new(PolicyConfig {
        allow: prefixes(&["10.0.0.0/8"]),
        deny: prefixes(&["10.1.0.0/16"]),
        ..PolicyConfig::default()
    });
    assert_eq!(policy.check_ip("10.0.0.1".parse().unwrap()), Ok(()));
    assert_eq!(
        policy.check_ip("10.1.0.1".parse().unwrap()),
        Err(Denied::ByOperator)
    );
}

// Slack's relay (2020) and coturn's CLI (CVE-2018-4059): the relay must not be a way to itself.
#[test]
fn our_own_address_is_a_peer_on_relayed_ports_only() {
    let policy = own_policy(&[]);
    let ip: IpAddr = "8.7.6.5".parse().unwrap();
    assert_eq!(policy.check_ip(ip), Ok(()));
    assert_eq!(policy.check((ip, 50000).into()), Ok(()));
    assert_eq!(policy.check((ip, 9641).into()), Err(Denied::Own));
    assert_eq!(policy.check((ip, 22).into()), Err(Denied::Own));
}

#[test]
fn our_own_listeners_are_no_peers_even_if_the_operator_allows_the_address() {
    let policy = own_policy(&["8.7.6.5/32", "127.0.0.0/8"]);
    let ip: IpAddr = "8.7.6.5".parse().unwrap();
    assert_eq!(policy.check((ip, 22).into()), Ok(()));
    assert_eq!(policy.check((ip, 3478).into()), Err(Denied::Own));
    assert_eq!(
        policy.check("127.0.0.1:9641".parse().unwrap()),
        Err(Denied::Own)
    );
}

#[test]
fn port_zero_and_reflector_ports_are_no_peers() {
    let policy = Policy::new(PolicyConfig {
        denied_ports: DENIED_PORTS.to_vec(),
        ..PolicyConfig::default()
    });
    for port in [0, 53, 123, 11211] {
        assert_eq!(
            policy.check(SocketAddr::from(([8, 8, 8, 8], port))),
            Err(Denied::Port)
        );
    }
}

fn own_policy(allow: &[&str]) -> Policy {
    Policy::new(PolicyConfig {
        allow: prefixes(allow),
        own: vec!["8.7.6.5".parse().unwrap()],
        own_endpoints: vec![
            "0.0.0.0:3478".parse().unwrap(),
            "127.0.0.1:9641".parse().unwrap(),
        ],
        relay_ports: Some(49152..=65535),
        ..PolicyConfig::default()
    })
}

fn check_refused(policy: &Policy, ip: IpAddr) {
    assert!(policy.check_ip(ip).is_err(), "{ip}");
    assert!(policy.check((ip, 40000).into()).is_err(), "{ip}");
}

fn disguises(v4: Ipv4Addr) -> [Ipv6Addr; 10] {
    let bits = u128::from(v4.to_bits());
    let v6 = |base: &str, low: u128| {
        let base: Ipv6Addr = base.parse().unwrap();
        Ipv6Addr::from_bits(base.to_bits() | low)
    };
    [
        v6("::ffff:0:0", bits),
        v6("::", bits),
        v6("::ffff:0:0:0", bits),
        v6("64:ff9b::", bits),
        v6("64:ff9b:1::", bits >> 16 << 64 | (bits & 0xFFFF) << 40),
        v6("2002::", bits << 80),
        v6("2001::", !bits & 0xFFFF_FFFF),
        v6("2a00:1450::5efe:0:0", bits),
        v6("2a00:1450::200:5efe:0:0", bits),
        v6("fe80::5efe:0:0", bits),
    ]
}

fn edges_v4(prefix: &str) -> [Ipv4Addr; 2] {
    let prefix: Cidr = prefix.parse().unwrap();
    let IpAddr::V4(base) = prefix.base() else {
        panic!("an IPv4 table")
    };
    let host = u32::MAX
        .checked_shr(prefix.prefix_len().into())
        .unwrap_or(0);
    [base, Ipv4Addr::from_bits(base.to_bits() | host)]
}

fn edges_v6(prefix: &str) -> [Ipv6Addr; 2] {
    let prefix: Cidr = prefix.parse().unwrap();
    let IpAddr::V6(base) = prefix.base() else {
        panic!("an IPv6 table")
    };
    let host = u128::MAX
        .checked_shr(prefix.prefix_len().into())
        .unwrap_or(0);
    [base, Ipv6Addr::from_bits(base.to_bits() | host)]
}

fn prefixes(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
