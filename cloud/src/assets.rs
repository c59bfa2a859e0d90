//! The files that are served: the browser viewer, the dashboard and the shared look of all pages.

pub use web::Asset;

/// Where the page of the viewer is among the assets; it is served at `/connect/{instance}`.
pub const CONNECT_PAGE: &str = "/viewer/index.html";

/// Where the files are that the page of the viewer loads: its modules and stylesheets, each as one.
pub const BUNDLE: &str = "/viewer/bundle/";

/// The files of `viewer/web`.
const VIEWER: &[Asset] = include!("../../viewer/web/assets.rs");

/// Where the page of the dashboard is among the assets; it is served at [`DASHBOARD_PATHS`].
pub const DASHBOARD_PAGE: &str = "/dashboard/index.html";

/// The addresses of the dashboard's rooms and of the pages that mails link to.
pub const DASHBOARD_PATHS: &[&str] = &[
    "/",
    "/members",
    "/sessions",
    "/audit",
    "/sign-in",
    "/sign-up",
    "/forgot",
    "/resend",
    "/confirm",
    "/reset",
    "/invite",
    "/oidc",
];

/// The files of `cloud/web`.
const DASHBOARD: &[Asset] = include!("../web/assets.rs");

/// Every file that is served.
pub fn all() -> impl Iterator<Item = &'static Asset> {
    VIEWER.iter().chain(DASHBOARD).chain(web::ASSETS)
}
