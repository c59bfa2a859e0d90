//! The file that holds the key of an X display: who can read it may use the display.
//!
//! One entry, every number in big endian: family, then address, display, name and data, each after
//! its length in two bytes (libXau, `AuWrite.c`).

/// Matches every address: the display is reached by its own socket only.
const FAMILY_WILD: u16 = 0xffff;
const NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";
pub(super) const COOKIE_LEN: usize = 16;

pub(super) fn entry(display: u32, cookie: [u8; COOKIE_LEN]) -> Vec<u8> {
    let mut bytes = FAMILY_WILD.to_be_bytes().to_vec();
    for field in [b"", display.to_string().as_bytes(), NAME, &cookie] {
        let len = u16::try_from(field.len()).expect("every field is shorter than 64 KiB");
        bytes.extend(len.to_be_bytes());
        bytes.extend(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_libxau_writes_it() {
        let bytes = entry(7, [0xab; COOKIE_LEN]);
        let head = b"\xff\xff\x00\x00\x00\x017\x00\x12MIT-MAGIC-COOKIE-1\x00\x10";
        assert_eq!(bytes[..head.len()], head[..]);
        assert_eq!(bytes[head.len()..], [0xab; COOKIE_LEN]);
    }
}
