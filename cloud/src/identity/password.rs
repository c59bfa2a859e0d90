//! Passwords: which are taken, and the one form they are stored in.
//!
//! ```text
//!  argon2id$19456$2$1$<salt, base64url>$<hash, base64url>
//!  argon2id$19456$2$1$<salt, base64url>$<hash, base64url>$<fingerprint of the pepper>
//! ```
//!
//! Cost is the floor of OWASP's password storage cheat sheet. Hashing takes tens of milliseconds
//! and 19 MiB: the shell does it in a bounded pool.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::Secret;
use subtle::ConstantTimeEq;

mod common;
pub mod pepper;

pub use pepper::{Pepper, Peppers};

/// In characters. NIST SP 800-63B §3.1.1.2 asks for at least eight.
pub const LEN_MIN: usize = 10;
/// In bytes; longer ones would only cost time.
pub const LEN_MAX: usize = 1024;
/// In KiB.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_LEN: usize = 32;
/// Bytes of a salt.
pub const SALT_LEN: usize = 16;

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    #[error("The password is shorter than {LEN_MIN} characters.")]
    Short,
    #[error("The password is longer than {LEN_MAX} bytes.")]
    Long,
    #[error(
        "The password, or one very like it, is known from breaches and among the first that are tried."
    )]
    Common,
}

/// # Errors
///
/// [`Unsuitable`]; a password already in use is not asked this.
pub fn judge(password: &Secret, email: &str) -> Result<(), Unsuitable> {
    let text = password.expose();
    if text.len() > LEN_MAX {
        return Err(Unsuitable::Long);
    }
    if text.chars().count() < LEN_MIN {
        return Err(Unsuitable::Short);
    }
    let lower = text.to_lowercase();
    let mut letters = lower.chars();
    let first = letters.next();
    let monotonous = letters.all(|letter| Some(letter) == first);
    if monotonous || lower == email || common::is_common(&lower) {
        return Err(Unsuitable::Common);
    }
    Ok(())
}

/// The memory hashing takes, 19 MiB once it was used; one hash after the other is quicker in the same.
#[derive(Debug, Default)]
pub struct Memory(Vec<Block>);

/// The stored form. `None` if the crate refuses our own parameters, which its tests would show.
pub fn hash(
    password: &Secret,
    salt: [u8; SALT_LEN],
    peppers: &Peppers,
    memory: &mut Memory,
) -> Option<String> {
    let pepper = peppers.newest();
    let hash = derive(password, &salt, pepper, memory)?;
    let named = pepper.map(|pepper| format!("${}", pepper.fingerprint));
    Some(format!(
        "argon2id${MEMORY}${PASSES}${LANES}${}${}{}",
        URL_SAFE_NO_PAD.encode(salt),
        URL_SAFE_NO_PAD.encode(hash),
        named.unwrap_or_default()
    ))
}

/// Whether it is the password of this stored form. Without one, the same time passes and the
/// answer is no: an unknown account is not told apart by how long it takes.
pub fn verify(
    password: &Secret,
    stored: Option<&str>,
    peppers: &Peppers,
    memory: &mut Memory,
) -> bool {
    let stored = stored.and_then(parse);
    let pepper = stored
        .as_ref()
        .and_then(|stored| stored.pepper.as_deref())
        .map(|fingerprint| peppers.find(fingerprint));
    let salt = stored.as_ref().map(|stored| stored.salt.as_slice());
    let salt = salt.unwrap_or(&[0; SALT_LEN]);
    let found = derive(password, salt, pepper.flatten(), memory);
    match (found, stored, pepper) {
        // Its pepper is gone: nothing fits it any more.
        (_, _, Some(None)) => false,
        (Some(found), Some(stored), _) => found.ct_eq(stored.hash.as_slice()).into(),
        _ => false,
    }
}

/// Whether this stored form was made as new ones are; if not, whoever shows its password is moved.
pub fn is_current(stored: &str, peppers: &Peppers) -> bool {
    let pepper = parse(stored).and_then(|stored| stored.pepper);
    pepper.as_ref() == peppers.newest().map(|newest| &newest.fingerprint)
}

struct Stored {
    salt: Vec<u8>,
    hash: Vec<u8>,
    pepper: Option<String>,
}

fn parse(stored: &str) -> Option<Stored> {
    let prefix = format!("argon2id${MEMORY}${PASSES}${LANES}$");
    let mut parts = stored.strip_prefix(&prefix)?.split('$');
    Some(Stored {
        salt: URL_SAFE_NO_PAD.decode(parts.next()?).ok()?,
        hash: URL_SAFE_NO_PAD.decode(parts.next()?).ok()?,
        pepper: parts.next().map(str::to_owned),
    })
}

fn derive(
    password: &Secret,
    salt: &[u8],
    pepper: Option<&Pepper>,
    memory: &mut Memory,
) -> Option<[u8; HASH_LEN]> {
    let text = password.expose().as_bytes();
    // A longer one was never stored; its time is not spent.
    let text = text.get(..LEN_MAX + 1).unwrap_or(text);
    let params = Params::new(MEMORY, PASSES, LANES, Some(HASH_LEN)).ok()?;
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    memory.0.resize(params.block_count(), Block::default());
    let argon2 = match pepper {
        Some(pepper) => {
            let secret = pepper.secret.expose().as_bytes();
            Argon2::new_with_secret(secret, algorithm, version, params).ok()?
        }
        None => Argon2::new(algorithm, version, params),
    };
    let mut hash = [0; HASH_LEN];
    argon2
        .hash_password_into_with_memory(text, salt, &mut hash, &mut memory.0)
        .ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &Secret, salt: [u8; SALT_LEN], peppers: &Peppers) -> Option<String> {
        super::hash(password, salt, peppers, &mut Memory::default())
    }

    fn verify(password: &Secret, stored: Option<&str>, peppers: &Peppers) -> bool {
        super::verify(password, stored, peppers, &mut Memory::default())
    }

    #[test]
    fn only_the_password_itself_fits_its_stored_form() {
        let password = Secret::new("correct horse battery");
        let none = Peppers::default();
        let stored = hash(&password, [7; SALT_LEN], &none).unwrap();
        assert!(!stored.contains("horse"));
        assert!(verify(&password, Some(&stored), &none));
        let other = Secret::new("correct horse batterY");
        assert!(!verify(&other, Some(&stored), &none));
        assert!(!verify(&password, Some("argon2id$1$1$1$AA$AA"), &none));
        assert!(!verify(&password, None, &none));
    }

    #[test]
    fn a_stolen_database_without_the_pepper_fits_nothing() {
        let password = Secret::new("correct horse battery");
        let peppers = |text: &str| Peppers::parse(text).unwrap();
        let pepper = peppers(&"a".repeat(pepper::LEN_MIN));
        let stored = hash(&password, [7; SALT_LEN], &pepper).unwrap();
        assert!(verify(&password, Some(&stored), &pepper));
        let other = peppers(&"b".repeat(pepper::LEN_MIN));
        assert!(!verify(&password, Some(&stored), &Peppers::default()));
        assert!(!verify(&password, Some(&stored), &other));
        // Nor with the name of its pepper taken away or exchanged.
        let (bare, _) = stored.rsplit_once('$').unwrap();
        assert!(!verify(&password, Some(bare), &pepper));
        let renamed = format!("{bare}${}", other.newest().unwrap().fingerprint);
        assert!(!verify(&password, Some(&renamed), &other));
    }

    #[test]
    fn a_pepper_is_rotated_while_old_passwords_go_on() {
        let password = Secret::new("correct horse battery");
        let (old, new) = ("o".repeat(pepper::LEN_MIN), "n".repeat(pepper::LEN_MIN));
        let before = Peppers::parse(&old).unwrap();
        let during = Peppers::parse(&format!("{new}\n{old}")).unwrap();
        let after = Peppers::parse(&new).unwrap();
        let bare = hash(&password, [7; SALT_LEN], &Peppers::default()).unwrap();
        let stored = hash(&password, [7; SALT_LEN], &before).unwrap();
        for earlier in [&bare, &stored] {
            assert!(verify(&password, Some(earlier), &during));
            assert!(!is_current(earlier, &during));
        }
        let moved = hash(&password, [7; SALT_LEN], &during).unwrap();
        assert!(is_current(&moved, &during) && is_current(&moved, &after));
        assert!(verify(&password, Some(&moved), &after));
        assert!(!verify(&password, Some(&stored), &after));
    }

    #[test]
    fn short_long_and_common_passwords_are_not_taken() {
        let check = |text: &str| judge(&Secret::new(text), "ada.lovelace@example.org");
        assert_eq!(check("nine char"), Err(Unsuitable::Short));
        assert_eq!(check(&"x1".repeat(600)), Err(Unsuitable::Long));
        assert_eq!(check("Password123"), Err(Unsuitable::Common));
        assert_eq!(check("Sunshine2024"), Err(Unsuitable::Common));
        assert_eq!(check("aaaaaaaaaaaa"), Err(Unsuitable::Common));
        assert_eq!(check("Ada.Lovelace@example.org"), Err(Unsuitable::Common));
        assert_eq!(check("пароль-из-слов"), Ok(()));
    }
}
