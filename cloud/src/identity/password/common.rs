//! The passwords that everybody tries first, told apart by a fingerprint each.
//!
//! ```text
//!  common.bin   19,537 × 5 bytes, sorted: the beginnings of SHA-256 of passwords in lower case
//! ```
//!
//! Counted in the ten million passwords of breaches that Mark Burnett put into the public domain:
//! the 18,000 most frequent of 5 to 9 letters, every longer one of the 47,023 most frequent, and a
//! few of our own names. A password that nobody listed is taken for one of them once in 56 million.

use sha2::{Digest, Sha256};

const FINGERPRINT_LEN: usize = 5;
static FINGERPRINTS: &[u8] = include_bytes!("common.bin");

/// What people put around a common password to make it count as another: a year, `123!`.
const TRIMMINGS_MAX: usize = 4;

/// Whether it is one of the list, or one with little put around it. `lower` is in lower case.
pub(super) fn is_common(lower: &str) -> bool {
    let core = lower.trim_matches(|letter: char| !letter.is_alphabetic());
    let trimmings = lower.chars().count() - core.chars().count();
    is_listed(lower) || (trimmings <= TRIMMINGS_MAX && is_listed(core))
}

fn is_listed(lower: &str) -> bool {
    let digest = Sha256::digest(lower.as_bytes());
    let wanted = digest.get(..FINGERPRINT_LEN);
    let (listed, _) = FINGERPRINTS.as_chunks::<FINGERPRINT_LEN>();
    wanted.is_some_and(|wanted| listed.binary_search_by(|one| one[..].cmp(wanted)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_in_order() {
        let (listed, rest) = FINGERPRINTS.as_chunks::<FINGERPRINT_LEN>();
        assert_eq!((listed.len(), rest.len()), (19_537, 0));
        assert!(listed.is_sorted());
    }

    #[test]
    fn what_everybody_tries_is_common_with_a_year_behind_it_too() {
        for common in [
            "1234567890",
            "qwertyuiop",
            "password123",
            "1q2w3e4r5t",
            "administrator",
            "sunshine2024",
            "!!princess!!",
            "multiclaw123",
        ] {
            assert!(is_common(common), "{common}");
        }
        for uncommon in [
            "correct horse battery",
            "four plain words here",
            "sunshine-on-tuesday",
            "dragon8293715",
            "пароль-из-слов",
            "",
        ] {
            assert!(!is_common(uncommon), "{uncommon}");
        }
    }
}
