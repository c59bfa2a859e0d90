//! What the tests of this crate share.

use std::time::Instant;

/// Where the virtual clock of a test begins.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the epoch of a test"
)]
pub(crate) fn start() -> Instant {
    Instant::now()
}
