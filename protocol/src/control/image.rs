//! A clipboard image in parts: what goes out is cut, what comes in is put together.
//!
//! An image is PNG and at most [`CLIPBOARD_IMAGE_LEN_MAX`] bytes: what a channel's queue holds with
//! room for the rest, so that no flow control is needed. Parts arrive in order and completely, the
//! channel sees to that; a part that does not follow the one before begins another image.

use super::{CLIPBOARD_IMAGE_LEN_MAX, IMAGE_PART_LEN_MAX};

/// PNG specification, §5.2.
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A];

/// The parts of an image, each with the number of bytes that follow it; `None` if it is empty or
/// too large.
pub fn image_parts(png: &[u8]) -> Option<impl Iterator<Item = (u32, &[u8])>> {
    let fits = !png.is_empty() && png.len() <= CLIPBOARD_IMAGE_LEN_MAX;
    let mut left = u32::try_from(png.len()).ok().filter(|_| fits)?;
    Some(png.chunks(IMAGE_PART_LEN_MAX).map(move |part| {
        left -= part.len() as u32;
        (left, part)
    }))
}

/// Puts an image together; holds at most [`CLIPBOARD_IMAGE_LEN_MAX`] bytes.
#[derive(Clone, Debug, Default)]
pub struct ImageParts {
    png: Vec<u8>,
    left: usize,
}

impl ImageParts {
    /// Whether this part begins an image.
    pub fn begins(&self, left: u32, part: &[u8]) -> bool {
        self.left != part.len() + left as usize
    }

    /// Takes a part; gives the image when it is whole and a PNG.
    pub fn handle_part(&mut self, left: u32, part: &[u8]) -> Option<Vec<u8>> {
        if self.begins(left, part) {
            self.png.clear();
            self.left = part.len() + left as usize;
            if self.left > CLIPBOARD_IMAGE_LEN_MAX {
                self.left = 0;
                return None;
            }
        }
        self.png.extend_from_slice(part);
        self.left = left as usize;
        if left > 0 {
            return None;
        }
        Some(std::mem::take(&mut self.png)).filter(|png| png.starts_with(&SIGNATURE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(len: usize) -> Vec<u8> {
        let mut png = SIGNATURE.to_vec();
        png.resize(len, 7);
        png
    }

    #[test]
    fn an_image_cut_in_parts_comes_together_again() {
        for len in [
            8,
            IMAGE_PART_LEN_MAX,
            IMAGE_PART_LEN_MAX + 1,
            CLIPBOARD_IMAGE_LEN_MAX,
        ] {
            let png = png(len);
            let mut parts = ImageParts::default();
            // What is left of an image before it is forgotten.
            assert_eq!(parts.handle_part(5, &[1, 2, 3]), None);
            let whole: Vec<_> = image_parts(&png)
                .unwrap()
                .filter_map(|(left, part)| parts.handle_part(left, part))
                .collect();
            assert_eq!(whole, [png]);
        }
    }

    #[test]
    fn what_is_empty_or_too_large_is_not_sent_and_not_kept() {
        assert!(image_parts(&[]).is_none());
        assert!(image_parts(&png(CLIPBOARD_IMAGE_LEN_MAX + 1)).is_none());
        let mut parts = ImageParts::default();
        assert_eq!(parts.handle_part(u32::MAX, &png(100)), None);
        assert!(parts.png.is_empty());
    }

    #[test]
    fn what_is_no_png_is_no_image() {
        assert_eq!(ImageParts::default().handle_part(0, &[0; 100]), None);
    }
}
