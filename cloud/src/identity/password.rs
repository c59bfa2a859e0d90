//! Passwords: which are taken, and the one form they are stored in.
//!
//! ```text
//!  argon2id$19456$2$1$<salt, base64url>$<hash, base64url>
//! ```
//!
//! Cost is the floor of OWASP's password storage cheat sheet. Hashing takes tens of milliseconds
//! and 19 MiB: the shell does it in a bounded pool.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::Secret;
use subtle::ConstantTimeEq;

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

/// What everybody tries first, of those long enough to pass otherwise.
const COMMON: &[&str] = &[
    "1234567890",
    "0123456789",
    "0987654321",
    "qwertyuiop",
    "password12",
    "password123",
    "password1234",
    "1q2w3e4r5t",
    "qwerty12345",
    "qwerty123456",
    "iloveyou12",
    "administrator",
    "letmein1234",
    "multiclaw123",
];

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsuitable {
    #[error("The password is shorter than {LEN_MIN} characters.")]
    Short,
    #[error("The password is longer than {LEN_MAX} bytes.")]
    Long,
    #[error("The password is one that everybody tries first.")]
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
    if monotonous || lower == email || COMMON.contains(&lower.as_str()) {
        return Err(Unsuitable::Common);
    }
    Ok(())
}

/// The stored form. `None` if the crate refuses our own parameters, which its tests would show.
pub fn hash(password: &Secret, salt: [u8; SALT_LEN]) -> Option<String> {
    let hash = derive(password, &salt)?;
    Some(format!(
        "argon2id${MEMORY}${PASSES}${LANES}${}${}",
        URL_SAFE_NO_PAD.encode(salt),
        URL_SAFE_NO_PAD.encode(hash)
    ))
}

/// Whether it is the password of this stored form. Without one, the same time passes and the
/// answer is no: an unknown account is not told apart by how long it takes.
pub fn verify(password: &Secret, stored: Option<&str>) -> bool {
    let (salt, expected) = stored
        .and_then(parse)
        .map_or((vec![0; SALT_LEN], None), |(salt, hash)| (salt, Some(hash)));
    let found = derive(password, &salt);
    match (found, expected) {
        (Some(found), Some(expected)) => found.ct_eq(expected.as_slice()).into(),
        _ => false,
    }
}

fn parse(stored: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let prefix = format!("argon2id${MEMORY}${PASSES}${LANES}$");
    let (salt, hash) = stored.strip_prefix(&prefix)?.split_once('$')?;
    Some((
        URL_SAFE_NO_PAD.decode(salt).ok()?,
        URL_SAFE_NO_PAD.decode(hash).ok()?,
    ))
}

fn derive(password: &Secret, salt: &[u8]) -> Option<[u8; HASH_LEN]> {
    let text = password.expose().as_bytes();
    // A longer one was never stored; its time is not spent.
    let text = text.get(..LEN_MAX + 1).unwrap_or(text);
    let params = Params::new(MEMORY, PASSES, LANES, Some(HASH_LEN)).ok()?;
    let mut hash = [0; HASH_LEN];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text, salt, &mut hash)
        .ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_fits_its_stored_form() {
        let password = Secret::new("correct horse battery");
        let stored = hash(&password, [7; SALT_LEN]).unwrap();
        assert!(!stored.contains("horse"));
        assert!(verify(&password, Some(&stored)));
        assert!(!verify(
            &Secret::new("correct horse batterY"),
            Some(&stored)
        ));
        assert!(!verify(&password, Some("argon2id$1$1$1$AA$AA")));
        assert!(!verify(&password, None));
    }

    #[test]
    fn short_long_and_common_passwords_are_not_taken() {
        let check = |text: &str| judge(&Secret::new(text), "ada.lovelace@example.org");
        assert_eq!(check("nine char"), Err(Unsuitable::Short));
        assert_eq!(check(&"x1".repeat(600)), Err(Unsuitable::Long));
        assert_eq!(check("Password123"), Err(Unsuitable::Common));
        assert_eq!(check("aaaaaaaaaaaa"), Err(Unsuitable::Common));
        assert_eq!(check("Ada.Lovelace@example.org"), Err(Unsuitable::Common));
        assert_eq!(check("пароль-из-слов"), Ok(()));
    }
}
