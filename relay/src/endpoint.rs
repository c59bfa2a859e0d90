//! Names for the ends of a path: who speaks to the relay, and what the relay speaks from.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// A socket of the shell that clients speak to: a UDP listener, or one TCP or TLS connection.
///
/// The shell hands the numbers out; the core only compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// One client: the 5-tuple of RFC 8656 §3, with the server's half behind the socket's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub socket: SocketId,
    pub addr: SocketAddr,
}

// Addresses are chosen by strangers: the hasher below is keyed, and three words are enough.
impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.addr.ip() {
            IpAddr::V4(ip) => state.write_u64(ip.to_bits().into()),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                state.write_u64((bits >> 64) as u64);
                state.write_u64(bits as u64);
            }
        }
        state.write_u64(u64::from(self.socket.0) << 16 | u64::from(self.addr.port()));
    }
}

/// One relayed transport address of one allocation; dense, so that tables are indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

/// A port of the relayed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayPort(pub u16);

/// Keyed multiply-and-fold hashing: a stranger who does not know the keys cannot aim for one
/// bucket.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash {
    keys: [u64; 2],
}

impl KeyedHash {
    pub fn new(keys: [u64; 2]) -> Self {
        Self { keys }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        let [state, key] = self.keys;
        KeyedHasher { state, key }
    }
}

/// See [`KeyedHash`].
pub struct KeyedHasher {
    state: u64,
    key: u64,
}

impl Hasher for KeyedHasher {
    fn finish(&self) -> u64 {
        fold(self.state ^ self.key, 0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key | 1);
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_differ_in_any_part_hash_apart() {
        let hash = KeyedHash::new([0x1234_5678_9ABC_DEF1, 0x0F1E_2D3C_4B5A_6978]);
        let client = |socket, addr: &str| Client {
            socket: SocketId(socket),
            addr: addr.parse().unwrap(),
        };
        let clients = [
            client(0, "192.0.2.1:1000"),
            client(1, "192.0.2.1:1000"),
            client(0, "192.0.2.2:1000"),
            client(0, "192.0.2.1:1001"),
            client(0, "[2001:db8::1]:1000"),
        ];
        let mut hashes = clients.map(|client| hash.hash_one(client)).to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), clients.len());
    }
}
