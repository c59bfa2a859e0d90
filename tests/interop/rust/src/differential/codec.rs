//! Our STUN codec beside the crate `stun`.
//!
//! What ours accepts, theirs has to read in the same way. Ours refuses more; every such refusal has
//! to be one of the reasons in `stricter`, worked out without our code.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use protocol::Secret;
use protocol::turn::integrity::Key;
use protocol::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};
use stun::attributes::AttrType;
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{BINDING_REQUEST, Message as Theirs, Setter};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;

use super::Dice;

const PASSWORD: &str = "secret";
const INTEGRITY: u16 = 0x0008;
const INTEGRITY_SHA256: u16 = 0x001C;
const FINGERPRINT_TYPE: u16 = 0x8028;
/// Theirs reads this old number of XOR-MAPPED-ADDRESS as the new one.
const XOR_MAPPED_OLD: u16 = 0x8020;
const XOR_MAPPED: u16 = 0x0020;

/// How many inputs ended in which way.
#[derive(Debug, Default)]
pub struct Tally {
    pub both_accept: u64,
    pub both_refuse: u64,
    pub ours_is_stricter: u64,
}

pub fn check(bytes: &[u8], tally: &mut Tally) -> Result<()> {
    let mut theirs = Theirs::new();
    let read = theirs.unmarshal_binary(bytes);
    match (Message::parse(bytes), read) {
        (Ok(ours), Ok(())) => {
            tally.both_accept += 1;
            compare(&ours, &mut theirs)
        }
        (Ok(_), Err(error)) => bail!("only ours accepts it: {error}"),
        (Err(error), Ok(())) => {
            tally.ours_is_stricter += 1;
            stricter(bytes, &theirs).with_context(|| format!("only theirs accepts it: {error}"))
        }
        (Err(_), Err(_)) => {
            tally.both_refuse += 1;
            Ok(())
        }
    }
}

fn compare(ours: &Message<'_>, theirs: &mut Theirs) -> Result<()> {
    let class = match ours.class() {
        Class::Request => 0,
        Class::Indication => 1,
        Class::Success => 2,
        Class::Error => 3,
    };
    let kind = theirs.typ.value();
    ensure!(
        class == (kind >> 7 & 2 | kind >> 4 & 1),
        "class of {kind:#06x}"
    );
    ensure!(
        ours.transaction().0 == theirs.transaction_id.0,
        "transaction"
    );
    let seen: Vec<_> = ours.attributes().collect();
    let end = theirs
        .attributes
        .0
        .iter()
        .position(|it| matches!(it.typ.value(), INTEGRITY | INTEGRITY_SHA256))
        .unwrap_or(theirs.attributes.0.len());
    ensure!(seen.len() == end, "{} attributes against {end}", seen.len());
    for ((kind, value), other) in seen.iter().zip(&theirs.attributes.0) {
        let same_kind = kind.0 == other.typ.value()
            || kind.0 == XOR_MAPPED_OLD && other.typ.value() == XOR_MAPPED;
        ensure!(
            same_kind && *value == other.value,
            "attribute {kind:?} against {other}"
        );
    }
    compare_addresses(ours, theirs)?;
    if ours.has_integrity() && !ours.has_integrity_sha256() {
        let key = Key::short_term(&Secret::new(PASSWORD)).context("a key")?;
        let check = MessageIntegrity::new_short_term_integrity(PASSWORD.into());
        ensure!(
            ours.verify(&key) == check.check(theirs).is_ok(),
            "integrity"
        );
    }
    Ok(())
}

fn compare_addresses(ours: &Message<'_>, theirs: &Theirs) -> Result<()> {
    for (kind, address) in [
        (Attribute::XOR_MAPPED_ADDRESS, ours.xor_mapped_address()),
        (Attribute::XOR_PEER_ADDRESS, ours.xor_peer_address()),
        (Attribute::XOR_RELAYED_ADDRESS, ours.xor_relayed_address()),
    ] {
        let Some(value) = ours.first(kind) else {
            continue;
        };
        let renamed = kind.0 == XOR_MAPPED && ours.has(Attribute(XOR_MAPPED_OLD));
        // RFC 8489 §14.1: the first byte is ignored on reception; theirs takes it for the family's.
        if renamed || value.first() != Some(&0) {
            continue;
        }
        let mut other = XorMappedAddress::default();
        let read = other.get_from_as(theirs, AttrType(kind.0)).is_ok();
        // Theirs fills an address that is too short with zeroes.
        let whole = matches!((value.get(1), value.len()), (Some(1), 8) | (Some(2), 20));
        let other = (read && whole).then(|| SocketAddr::new(other.ip, other.port));
        ensure!(address == other, "{kind:?}: {address:?} against {other:?}");
    }
    Ok(())
}

/// Why a message that theirs reads is none for ours.
fn stricter(bytes: &[u8], theirs: &Theirs) -> Result<()> {
    let declared = 20 + theirs.length as usize;
    let attributes = &theirs.attributes.0;
    let wrong_length = |kind: u16, len: usize| match kind {
        INTEGRITY => len != 20,
        INTEGRITY_SHA256 => !(16..=32).contains(&len) || len % 4 != 0,
        FINGERPRINT_TYPE => len != 4,
        _ => false,
    };
    let last = attributes.len().saturating_sub(1);
    let fingerprint = attributes
        .iter()
        .position(|it| it.typ.value() == FINGERPRINT_TYPE);
    let reasons = [
        bytes[0] & 0xC0 != 0,
        declared % 4 != 0 || declared != bytes.len(),
        attributes.len() > 64,
        attributes
            .iter()
            .any(|it| wrong_length(it.typ.value(), it.value.len())),
        fingerprint.is_some_and(|at| at != last || FINGERPRINT.check(theirs).is_err()),
    ];
    ensure!(reasons.contains(&true), "for no reason that is known");
    Ok(())
}

/// What one writes the other reads, integrity and fingerprint included.
pub fn check_written(dice: &mut Dice) -> Result<()> {
    let peer = if dice.below(2) == 0 {
        SocketAddr::from((
            dice.bytes(4)
                .first_chunk::<4>()
                .copied()
                .unwrap_or_default(),
            7,
        ))
    } else {
        SocketAddr::from((
            dice.bytes(16)
                .first_chunk::<16>()
                .copied()
                .unwrap_or_default(),
            9,
        ))
    };
    let name: String = (0..dice.below(40))
        .map(|n| char::from(b'a' + n as u8 % 26))
        .collect();
    ours_is_read(peer, &name, dice)?;
    theirs_is_read(peer, &name)
}

fn ours_is_read(peer: SocketAddr, name: &str, dice: &mut Dice) -> Result<()> {
    let mut buffer = [0xAA; 512];
    let id = TransactionId(*dice.bytes(12).first_chunk().context("twelve bytes")?);
    let key = Key::short_term(&Secret::new(PASSWORD)).context("a key")?;
    let mut builder = Builder::new(&mut buffer, Class::Request, Method::CreatePermission, id);
    builder.username(name).xor_peer_address(peer);
    let len = builder.integrity(&key).fingerprint().finish()?;
    let mut theirs = Theirs::new();
    theirs.unmarshal_binary(&buffer[..len])?;
    FINGERPRINT.check(&theirs)?;
    MessageIntegrity::new_short_term_integrity(PASSWORD.into()).check(&mut theirs)?;
    let read = TextAttribute::get_from_as(&theirs, stun::attributes::ATTR_USERNAME)?;
    ensure!(
        read.text == name,
        "the name {name} is read as {}",
        read.text
    );
    let mut address = XorMappedAddress::default();
    address.get_from_as(&theirs, AttrType(Attribute::XOR_PEER_ADDRESS.0))?;
    ensure!(
        SocketAddr::new(address.ip, address.port) == peer,
        "{peer} is read as {address}"
    );
    Ok(())
}

fn theirs_is_read(peer: SocketAddr, name: &str) -> Result<()> {
    let mut theirs = Theirs::new();
    let setters: Vec<Box<dyn Setter>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(TextAttribute::new(
            stun::attributes::ATTR_USERNAME,
            name.to_owned(),
        )),
        Box::new(XorMappedAddress {
            ip: peer.ip(),
            port: peer.port(),
        }),
        Box::new(MessageIntegrity::new_short_term_integrity(PASSWORD.into())),
        Box::new(FINGERPRINT),
    ];
    theirs.build(&setters)?;
    let ours = Message::parse(&theirs.raw)?;
    let key = Key::short_term(&Secret::new(PASSWORD)).context("a key")?;
    ensure!(ours.verify(&key), "their integrity is refused");
    ensure!(
        ours.username() == Some(name),
        "the name {name} is read as {:?}",
        ours.username()
    );
    ensure!(
        ours.xor_mapped_address() == Some(peer),
        "{peer}: {:?}",
        ours.xor_mapped_address()
    );
    Ok(())
}
