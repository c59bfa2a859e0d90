//! The few lines of SDP that are read or taken out before str0m sees them.
//!
//! Candidates are taken out of descriptions: one with an mDNS name would make the whole text
//! unreadable, and all candidates shall pass the same gate ([`crate::candidates`]). So are the
//! transport-wide sequence numbers of sound: it overtakes pictures ([`crate::window`]), which the
//! reports would take for losses.

/// Longest description read, in bytes; Chromium's are about 12 KB.
pub(crate) const LEN_MAX: usize = 64 * 1024;

/// The value of the first line that starts with `prefix`, such as `a=ice-ufrag:`.
pub(crate) fn value<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines()
        .find_map(|line| line.strip_prefix(prefix))
        .map(str::trim)
}

/// draft-holmer-rmcat-transport-wide-cc-extensions-01 §2.
const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The description as str0m shall see it, and its candidates as `candidate:…`.
pub(crate) fn sift(sdp: &str) -> (String, Vec<&str>) {
    let mut rest = String::with_capacity(sdp.len());
    let mut candidates = Vec::new();
    let mut is_sound = false;
    for line in sdp.lines() {
        let line = line.trim_end_matches('\r');
        if line.starts_with("m=") {
            is_sound = line.starts_with("m=audio");
        }
        if is_sound && line.starts_with("a=extmap:") && line.ends_with(TRANSPORT_WIDE) {
            continue;
        }
        if let Some(candidate) = line.strip_prefix("a=")
            && candidate.starts_with("candidate:")
        {
            candidates.push(candidate);
            continue;
        }
        if line == "a=end-of-candidates" || line.is_empty() {
            continue;
        }
        rest.push_str(line);
        rest.push_str("\r\n");
    }
    (rest, candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_sound_alone_the_transport_wide_numbers_are_taken_out() {
        let extension = format!("a=extmap:3 {TRANSPORT_WIDE}\r\n");
        let [sound, picture] = ["m=audio 9\r\n", "m=video 9\r\n"];
        let (rest, _) = sift(&[sound, &extension, picture, &extension].concat());
        assert_eq!(rest, [sound, picture, &extension].concat());
    }

    #[test]
    fn candidates_are_taken_out_and_the_rest_stays_as_it_was() {
        let sdp = "v=0\r\na=ice-ufrag:abcd\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n\
                   a=end-of-candidates\r\na=mid:0\r\n";
        let (rest, candidates) = sift(sdp);
        assert_eq!(rest, "v=0\r\na=ice-ufrag:abcd\r\na=mid:0\r\n");
        assert_eq!(candidates, ["candidate:1 1 udp 1 x.local 9 typ host"]);
        assert_eq!(value(&rest, "a=ice-ufrag:"), Some("abcd"));
        assert_eq!(value(&rest, "a=ice-pwd:"), None);
    }
}
