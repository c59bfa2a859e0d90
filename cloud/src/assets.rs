//! The files that are served: the browser viewer and the shared look of all pages, embedded.

pub use web::Asset;

/// Where the page of the viewer is among the assets; it is served at `/connect/{instance}`.
pub const CONNECT_PAGE: &str = "/viewer/index.html";

/// The files of `viewer/web`.
const VIEWER: &[Asset] = include!("../../viewer/web/assets.rs");

/// Every file that is served.
pub fn all() -> impl Iterator<Item = &'static Asset> {
    VIEWER.iter().chain(web::ASSETS)
}
