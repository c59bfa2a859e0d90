//! The shared look of all pages: design tokens, components, icons and words, embedded.
//!
//! Pages are plain ES modules and stylesheets, written to be read as they are served; no Node to
//! build. The viewer's page, which is to show a desktop at once, loads them as one file each, made by
//! `cargo xtask bundle`. A room that serves pages includes lists of [`Asset`]s like [`ASSETS`] and
//! sends [`CONTENT_SECURITY_POLICY`] with every page; nothing in a page is inline.

/// One file as it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Absolute path in URLs, `/web/tokens.css`.
    pub path: &'static str,
    /// Value of the `Content-Type` header.
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// The policy every page is served under.
///
/// `connect-src 'self'` covers the WebSocket of the same origin (CSP 3 §6.7.2.8). Cursors and
/// pasted pictures are `data:` and `blob:` images.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self'; img-src 'self' blob: data:; media-src blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Embeds one file: `asset!("/web", "tokens.css")`.
///
/// The file is found relative to the source file that names it, so that a folder of pages keeps
/// the list of its files beside them and another room `include!`s that list.
#[macro_export]
macro_rules! asset {
    ($mount:literal, $file:literal) => {
        $crate::Asset {
            path: concat!($mount, "/", $file),
            content_type: $crate::content_type($file),
            bytes: include_bytes!($file),
        }
    };
}

/// The shared files, mounted at `/web`.
pub const ASSETS: &[Asset] = include!("../assets.rs");

/// The `Content-Type` of a file by the end of its name.
///
/// # Panics
///
/// At compile time, for an ending no page uses yet.
pub const fn content_type(file: &str) -> &'static str {
    match file.as_bytes() {
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b'h', b't', b'm', b'l'] => "text/html; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        [.., b'.', b'm', b'a', b'p'] => "application/json",
        _ => panic!("no content type is known for a file of this ending"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_room_is_served_and_under_one_path_only() {
        let served: BTreeSet<_> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(served.len(), ASSETS.len());
        assert_eq!(served, files_on_disk());
    }

    #[test]
    fn the_policy_allows_nothing_inline_and_nothing_from_elsewhere() {
        for banned in ["unsafe-inline", "unsafe-eval", "http:", "https:", "*"] {
            assert!(!CONTENT_SECURITY_POLICY.contains(banned), "{banned}");
        }
    }

    fn files_on_disk() -> BTreeSet<String> {
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .expect("the room's own folder")
            .map(|entry| entry.expect("an entry of it").file_name())
            .filter_map(|name| name.into_string().ok())
            .filter(|name| {
                [".js", ".css", ".svg"]
                    .iter()
                    .any(|end| name.ends_with(end))
            })
            .map(|name| format!("/web/{name}"))
            .collect()
    }
}
