//! A network namespace where every road leads into a cable that nobody listens to, and is counted.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::server::Server;

pub(crate) const RELAY_V4: &str = "5.5.5.5";
pub(crate) const RELAY_V6: &str = "2a05:5::5";
/// Says to the second run that it is inside.
const INSIDE: &str = "MULTICLAW_INSIDE_ENCLOSURE";
/// The first and last relayed port, as the servers are told.
const RELAYED_PORTS: &str = "50000-60000";

const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Enclosure;

impl Enclosure {
    /// Inside: builds the namespace. Outside: runs the named test inside a fresh one, passes its
    /// verdict on, and returns `None`.
    pub(crate) fn enter(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_some() {
            let enclosure = Self;
            enclosure.build();
            return Some(enclosure);
        }
        let me = std::env::current_exe().unwrap();
        let output = Command::new("unshare")
            .args(["--net", "--map-root-user", "--kill-child", "--fork", "--"])
            .arg(me)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare is part of util-linux");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        None
    }

    fn build(&self) {
        for line in [
            "link set lo up",
            "link add out0 type veth peer name out1",
            "link set out0 arp off",
            "addr add 5.5.5.5/24 dev out0",
            "addr add 2a05:5::5/64 dev out0 nodad",
            "link set out0 up",
            "link set out1 up",
            "route add default dev out0",
            "-6 route add default dev out0",
        ] {
            run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        wait_for_address(RELAY_V6.parse().unwrap());
        // Only relayed ports may lie in the range that is watched.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 30000").unwrap();
        run(
            "nft",
            &[&format!(
                "add table inet watch; \
             add set inet watch v4 {{ type ipv4_addr; flags dynamic; size 65535; }}; \
             add set inet watch v6 {{ type ipv6_addr; flags dynamic; size 65535; }}; \
             add chain inet watch out {{ type filter hook output priority 0; }}; \
             add rule inet watch out udp sport {RELAYED_PORTS} add @v4 {{ ip daddr }}; \
             add rule inet watch out udp sport {RELAYED_PORTS} add @v6 {{ ip6 daddr }}"
            )],
        );
    }

    /// A cable on which 1,400 bytes do not fit.
    pub(crate) fn narrow(&self) {
        run("ip", &["link", "set", "out0", "mtu", "1280"]);
    }

    /// A socket on a public address that is on this machine after all.
    pub(crate) fn public_peer(&self) -> UdpSocket {
        run("ip", &["addr", "add", "9.9.9.10/32", "dev", "lo"]);
        UdpSocket::bind("9.9.9.10:0").unwrap()
    }

    /// Every address a relayed port has sent to.
    pub(crate) fn destinations(&self) -> BTreeSet<IpAddr> {
        let mut found = BTreeSet::new();
        for set in ["v4", "v6"] {
            let listed = run("nft", &["-j", "list", "set", "inet", "watch", set]);
            let json: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let set = &json["nftables"][1]["set"]["elem"];
            for element in set.as_array().into_iter().flatten() {
                found.insert(element.as_str().unwrap().parse().unwrap());
            }
        }
        found
    }

    /// Sends requests from `sources` addresses that do not exist, alternately Binding and Allocate.
    pub(crate) fn flood(&self, server: &Server, sources: u32) {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        let to = SockAddr::from(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
        for n in 0..sources {
            let source = Ipv4Addr::from_bits(Ipv4Addr::new(44, 0, 0, 1).to_bits() + n);
            let packet = datagram(source, server.listener(), n);
            socket.send_to(&packet, &to).unwrap();
            if n % 256 == 255 {
                self.keep_pace(server);
            }
        }
        self.keep_pace(server);
    }

    /// Waits for an answer to an honest question: everything before it has been read by then.
    fn keep_pace(&self, server: &Server) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket.connect(&SockAddr::from(server.listener())).unwrap();
        for _ in 0..3 {
            socket.send(&request(0x0001, 0, &[])).unwrap();
            if socket.recv(&mut [MaybeUninit::uninit(); 512]).is_ok() {
                return;
            }
        }
    }
}

/// The kernel takes an address into use when it has noticed the cable, up to a second later; until
/// then nobody can bind it.
fn wait_for_address(address: IpAddr) {
    let deadline = Instant::now() + ADDRESS_TIMEOUT;
    while let Err(error) = UdpSocket::bind((address, 0)) {
        assert!(Instant::now() < deadline, "{address}: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An IPv4 packet with a UDP datagram from `source`; the kernel fills in the IP checksum, and a UDP
/// checksum of zero means none.
fn datagram(source: Ipv4Addr, to: SocketAddr, n: u32) -> Vec<u8> {
    let body = if n.is_multiple_of(2) {
        request(0x0001, n, &[])
    } else {
        request(0x0003, n, &[0, 0x19, 0, 4, 17, 0, 0, 0])
    };
    let IpAddr::V4(destination) = to.ip() else {
        panic!("the listener is on IPv4");
    };
    let total = (28 + body.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend((1024 + (n % 60_000) as u16).to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((8 + body.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(body);
    packet
}

fn request(kind: u16, n: u32, attributes: &[u8]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(n.to_be_bytes());
    message.extend(attributes);
    message
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
