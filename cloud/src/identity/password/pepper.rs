//! The pepper: a secret beside the database, without which a stolen database is no help in guessing
//! passwords.
//!
//! ```text
//!  pepper file   one secret per line, newest first; lines that begin with # are comments
//! ```
//!
//! A stored password names the pepper it was made with by a fingerprint. To change it, put a new
//! line above the old: whoever signs in moves to the newest, and once everybody has, the old line
//! can go. A password whose pepper is gone fits nothing any more.

use protocol::Secret;
use sha2::{Digest, Sha256};

/// Shorter ones could be guessed themselves, in bytes.
pub const LEN_MIN: usize = 32;
/// Argon2's own bound is far above; in bytes.
pub const LEN_MAX: usize = 256;
/// One in use, and those that people still move away from.
pub const COUNT_MAX: usize = 8;
/// Letters of a fingerprint.
const FINGERPRINT_LEN: usize = 8;

/// Every pepper there is, newest first; empty without a file.
#[derive(Clone, Debug, Default)]
pub struct Peppers(Vec<Pepper>);

#[derive(Clone, Debug)]
pub struct Pepper {
    pub(super) fingerprint: String,
    pub(super) secret: Secret,
}

/// What is wrong with a pepper file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperError {
    #[error("line {line} has {len} bytes, not {LEN_MIN} to {LEN_MAX}")]
    Len { line: usize, len: usize },
    #[error("there are more than {COUNT_MAX} secrets; remove the oldest, at the end")]
    Many,
    #[error("there is no secret in it; write one, for example with `openssl rand -base64 32`")]
    Empty,
}

impl Peppers {
    /// # Errors
    ///
    /// [`PepperError`], which names the line and never what stands in it.
    pub fn parse(text: &str) -> Result<Self, PepperError> {
        let mut peppers = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !(LEN_MIN..=LEN_MAX).contains(&line.len()) {
                let (line, len) = (index + 1, line.len());
                return Err(PepperError::Len { line, len });
            }
            peppers.push(Pepper::new(line));
        }
        match peppers.len() {
            0 => Err(PepperError::Empty),
            1..=COUNT_MAX => Ok(Self(peppers)),
            _ => Err(PepperError::Many),
        }
    }

    /// What new passwords are made with.
    pub(super) fn newest(&self) -> Option<&Pepper> {
        self.0.first()
    }

    pub(super) fn find(&self, fingerprint: &str) -> Option<&Pepper> {
        self.0
            .iter()
            .find(|pepper| pepper.fingerprint == fingerprint)
    }
}

impl Pepper {
    fn new(text: &str) -> Self {
        let digest = Sha256::new()
            .chain_update("multiclaw pepper")
            .chain_update(text)
            .finalize();
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        Self {
            fingerprint: hex.collect::<String>()[..FINGERPRINT_LEN].to_owned(),
            secret: Secret::new(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_newest_first_and_its_mistakes_are_named_without_its_secrets() {
        let (new, old) = ("n".repeat(LEN_MIN), "o".repeat(LEN_MIN));
        let peppers = Peppers::parse(&format!("# rotated in May\n{new}\n\n{old}\n")).unwrap();
        assert_eq!(peppers.newest().unwrap().secret.expose(), new);
        assert!(!format!("{peppers:?}").contains(&new));
        let check = |text: &str| Peppers::parse(text).unwrap_err();
        assert_eq!(check("# nothing\n"), PepperError::Empty);
        let short = PepperError::Len { line: 2, len: 5 };
        assert_eq!(check(&format!("{new}\nshort")), short);
        assert_eq!(check(&format!("{new}\n").repeat(9)), PepperError::Many);
    }
}
