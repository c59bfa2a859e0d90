//! The files of the browser viewer, embedded: `viewer/web` and the shared look of `web`.

/// One file as it is served.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Absolute path in URLs.
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// Where the page of the viewer is among the assets; it is served at `/connect/{instance}`.
pub const CONNECT_PAGE: &str = "/viewer/index.html";

/// Every file that is served.
pub const ASSETS: &[Asset] = &[];
