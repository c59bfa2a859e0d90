//! An email address in the one form it is stored and compared in.
//!
//! Lower case and trimmed, so that two spellings never become two accounts. Plus and dot aliases
//! stay what they are: only the mail provider knows what they mean. ASCII only: look-alike letters
//! of other scripts would be another person's address to the eye.

use std::fmt;

use serde::Serialize;

/// RFC 5321 §4.5.3.1.3: a path has at most 256 bytes, two of them brackets.
const LEN_MAX: usize = 254;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// `None` for what is no address we would send to.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (local, domain) = text.split_once('@')?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"@,;:<>()[]\"\\".contains(&byte);
        let sound = !local.is_empty()
            && text.len() <= LEN_MAX
            && local.bytes().all(plain)
            && !domain.is_empty()
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && domain
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
        sound.then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_an_address_are_one_account() {
        assert_eq!(
            Email::parse(" Ada@Example.ORG "),
            Email::parse("ada@example.org")
        );
    }

    #[test]
    fn what_could_break_a_mail_header_or_fool_the_eye_is_no_address() {
        for text in [
            "",
            "ada",
            "@x.org",
            "ada@",
            "a@b@c",
            "ada@x.org\r\nBcc: all@x.org",
            "a b@x.org",
            "<ada@x.org>",
            "аda@x.org",
            "ada@.org",
        ] {
            assert_eq!(Email::parse(text), None, "{text}");
        }
        assert_eq!(Email::parse(&format!("{}@x.org", "a".repeat(250))), None);
    }
}
