//! Everything that needs two rooms, a socket, a browser or a namespace. Library code here is what
//! more than one test or bench needs; `tests/` holds the tests, `e2e/` those that drive a browser.

#[cfg(feature = "net")]
pub mod lab;
