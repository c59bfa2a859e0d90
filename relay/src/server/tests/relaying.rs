//! Permissions, channels and what passes through them.

use super::*;

// RFC 8656 §10.2: all or nothing.
#[test]
fn one_forbidden_peer_spoils_the_whole_create_permission() {
    let mut rig = Rig::allocated();
    let code = rig.code(1, &alice(), Method::CreatePermission, |b| {
        b.xor_peer_address(PEER.parse().unwrap())
            .xor_peer_address("127.0.0.1:80".parse().unwrap());
    });
    assert_eq!(code, Some(403));
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
    assert_eq!(
        rig.code(1, &alice(), Method::CreatePermission, |_| {}),
        Some(400)
    );
    let v6 = |b: &mut Builder<'_>| _ = b.xor_peer_address("[2a00::1]:1".parse().unwrap());
    assert_eq!(
        rig.code(1, &alice(), Method::CreatePermission, v6),
        Some(443)
    );
}

// pion 0dafcab: one way in was not asked. Here each way is.
#[test]
fn special_purpose_peers_are_refused_on_every_way() {
    let special = [
        "127.0.0.1:80",
        "0.0.0.0:80",
        "169.254.169.254:80",
        "10.0.0.1:80",
        "[::1]:80",
        "[::]:80",
        "[::ffff:127.0.0.1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
        "[fd00:ec2::254]:80",
    ];
    for peer in special {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut rig = Rig::new();
        rig.request(1, &alice(), Method::Allocate, |b| {
            udp(b);
            b.attribute(Attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        });
        let permission = |b: &mut Builder<'_>| _ = b.xor_peer_address(peer);
        let refused = rig.code(1, &alice(), Method::CreatePermission, permission);
        assert_eq!(refused, Some(403), "{peer}");
        let refused = rig.code(1, &alice(), Method::ChannelBind, |b| {
            b.channel_number(number(0x4000)).xor_peer_address(peer);
        });
        assert_eq!(refused, Some(403), "{peer}");
        assert_eq!(rig.send(&send_indication(peer, b"x")), Forward::Nothing);
    }
}

// At send time again: a permission is for an address, and some ports are never peers.
#[test]
fn a_permission_does_not_open_the_forbidden_ports_of_its_address() {
    let mut rig = Rig::allocated();
    rig.permit(PEER);
    let dns: SocketAddr = "198.20.0.7:53".parse().unwrap();
    assert_eq!(rig.send(&send_indication(dns, b"x")), Forward::Nothing);
    assert_eq!(rig.server.counters().dropped(Drop::Policy), 1);
}

#[test]
fn peers_outside_the_list_in_the_username_are_403() {
    let mut rig = Rig::new();
    let until = UNIX_NOW + Duration::from_secs(600);
    let allowed = ["198.20.0.0/24".parse().unwrap()];
    let made = credential::derive(&Secret::new("new"), "s", &allowed, until);
    let user = Login::of(&made.username, &made.password);
    rig.request(1, &user, Method::Allocate, udp);
    let permit = |peer: &'static str| {
        move |b: &mut Builder<'_>| _ = b.xor_peer_address(peer.parse().unwrap())
    };
    assert_eq!(
        rig.code(1, &user, Method::CreatePermission, permit(PEER)),
        None
    );
    let other = permit("8.8.8.8:4000");
    assert_eq!(
        rig.code(1, &user, Method::CreatePermission, other),
        Some(403)
    );
}

// RFC 8656 §11.
#[test]
fn data_passes_both_ways_with_a_permission_and_not_without() {
    let mut rig = Rig::allocated();
    let peer: SocketAddr = PEER.parse().unwrap();
    assert_eq!(rig.send(&send_indication(peer, b"hello")), Forward::Nothing);
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
    rig.permit(PEER);
    let bytes = send_indication(peer, b"hello");
    let Forward::ToPeer {
        peer: to, payload, ..
    } = rig.send(&bytes)
    else {
        panic!("not sent");
    };
    assert_eq!((to, &bytes[payload]), (peer, &b"hello"[..]));
    let expected = Forward::ToClient {
        client: client(1),
        frame: Frame::Indication(peer),
        payload: 0..5,
    };
    assert_eq!(rig.hear_peer(PEER), expected);
    assert_eq!(
        rig.hear_peer("198.20.0.7:9"),
        Forward::ToClient {
            client: client(1),
            frame: Frame::Indication("198.20.0.7:9".parse().unwrap()),
            payload: 0..5,
        }
    );
}

// RFC 8656 §9: five minutes, and sending does not renew them.
#[test]
fn a_permission_ends_after_five_minutes_whatever_is_sent() {
    let mut rig = Rig::allocated();
    rig.permit(PEER);
    rig.now += Duration::from_secs(299);
    assert_ne!(rig.hear_peer(PEER), Forward::Nothing);
    rig.now += Duration::from_secs(2);
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
    assert_eq!(rig.server.counters().dropped(Drop::NoPermission), 1);
}

// RFC 8656 §12.
#[test]
fn a_channel_carries_data_both_ways_with_four_bytes_in_front() {
    let mut rig = Rig::allocated();
    assert_eq!(rig.bind(0x4000, PEER), None);
    let datagram = [0x40, 0, 0, 2, b'h', b'i', 0, 0];
    let Forward::ToPeer { peer, payload, .. } = rig.send(&datagram) else {
        panic!("not sent");
    };
    assert_eq!(
        (peer, &datagram[payload]),
        (PEER.parse().unwrap(), &b"hi"[..])
    );
    let expected = Forward::ToClient {
        client: client(1),
        frame: Frame::Channel([0x40, 0, 0, 5]),
        payload: 0..5,
    };
    assert_eq!(rig.hear_peer(PEER), expected);
}

// aioice renews its channels every 500 s and no permission at all; coturn, too, lets a channel's peer
// through as long as the channel is bound.
#[test]
fn a_bound_channel_lets_its_peer_through_both_ways_until_it_ends() {
    let mut rig = Rig::allocated();
    assert_eq!(rig.bind(0x4000, PEER), None);
    rig.now += Duration::from_secs(599);
    let to_client = Frame::Channel([0x40, 0, 0, 5]);
    assert!(matches!(rig.hear_peer(PEER), Forward::ToClient { frame, .. } if frame == to_client));
    assert_ne!(rig.send(&[0x40, 0, 0, 0]), Forward::Nothing);
    assert_eq!(rig.hear_peer("198.20.0.7:1"), Forward::Nothing);
    rig.code(1, &alice(), Method::Refresh, |_| {});
    rig.now += Duration::from_secs(2);
    assert_eq!(rig.hear_peer(PEER), Forward::Nothing);
    assert_eq!(rig.send(&[0x40, 0, 0, 0]), Forward::Nothing);
}

// RFC 8656 §12.2: a number has one peer and a peer one number; repeating is renewing.
#[test]
fn number_and_peer_belong_together_until_five_minutes_after_their_end() {
    let mut rig = Rig::allocated();
    assert_eq!(rig.bind(0x4000, PEER), None);
    assert_eq!(rig.bind(0x4000, PEER), None);
    assert_eq!(rig.bind(0x4000, "198.20.0.8:1"), Some(400));
    assert_eq!(rig.bind(0x4001, PEER), Some(400));
    rig.now += Duration::from_secs(590);
    rig.code(1, &alice(), Method::Refresh, |_| {});
    rig.now += Duration::from_secs(20);
    assert_eq!(rig.send(&[0x40, 0, 0, 0]), Forward::Nothing);
    assert_eq!(rig.bind(0x4001, PEER), Some(400));
    rig.now += Duration::from_secs(300);
    assert_eq!(rig.bind(0x4001, PEER), None);
}

#[test]
fn tables_are_508_when_they_are_full() {
    let mut rig = Rig::with(|settings| {
        settings.limits.permissions = 2;
        settings.limits.channels = 2;
    });
    rig.request(1, &alice(), Method::Allocate, udp);
    assert_eq!(rig.bind(0x4000, "198.20.0.1:1"), None);
    assert_eq!(rig.bind(0x4001, "198.20.0.2:1"), None);
    assert_eq!(rig.bind(0x4002, "198.20.0.1:2"), Some(508));
    let third = |b: &mut Builder<'_>| _ = b.xor_peer_address("198.20.0.3:1".parse().unwrap());
    assert_eq!(
        rig.code(1, &alice(), Method::CreatePermission, third),
        Some(508)
    );
}

// Found by fuzzing: the channel stayed although the table of permissions was full.
#[test]
fn a_bind_that_is_refused_leaves_no_channel_behind() {
    let mut rig = Rig::with(|settings| settings.limits.permissions = 1);
    rig.request(1, &alice(), Method::Allocate, udp);
    rig.permit("198.20.0.1:1");
    assert_eq!(rig.bind(0x4000, "198.20.0.2:1"), Some(508));
    assert_eq!(rig.send(&[0x40, 0, 0, 2, b'h', b'i']), Forward::Nothing);
}

// RFC 8656 §10.2.
#[test]
fn a_create_permission_the_table_has_no_room_for_permits_nobody() {
    let mut rig = Rig::with(|settings| settings.limits.permissions = 2);
    rig.request(1, &alice(), Method::Allocate, udp);
    let mut permit = |hosts: std::ops::Range<u8>| {
        rig.code(1, &alice(), Method::CreatePermission, |b| {
            for host in hosts {
                b.xor_peer_address(SocketAddr::from(([198, 20, 0, host], 1)));
            }
        })
    };
    assert_eq!(permit(1..4), Some(508));
    // Had the first two stayed, there would be no room for these.
    assert_eq!(permit(5..7), None);
}

// The same rules as over the wire: source address, permission, channel of the receiver.
#[test]
fn two_clients_of_this_relay_meet_inside_it_and_only_with_permission() {
    let mut rig = Rig::new();
    let one = rig.relayed(1);
    let two = rig.relayed(2);
    assert_eq!(rig.bind(0x4000, &two.to_string()), None);
    let datagram = [0x40, 0, 0, 2, b'h', b'i'];
    assert_eq!(rig.send(&datagram), Forward::Nothing);
    assert_eq!(rig.server.counters().dropped(Drop::NoPermission), 1);
    let code = rig.code(2, &alice(), Method::ChannelBind, |b| {
        b.channel_number(number(0x4ABC)).xor_peer_address(one);
    });
    assert_eq!(code, None);
    let expected = Forward::ToClient {
        client: client(2),
        frame: Frame::Channel([0x4A, 0xBC, 0, 2]),
        payload: 4..6,
    };
    assert_eq!(rig.send(&datagram), expected);
}
