//! Everything that needs two rooms, a socket, a browser or a namespace. Library code here is what
//! more than one test or bench needs; `tests/` holds the tests, `e2e/` those that drive a browser.

pub mod fuzz;
pub mod relay_node;
pub mod world;

#[cfg(feature = "net")]
pub mod certificates;
#[cfg(feature = "net")]
pub mod cloud_program;
#[cfg(feature = "net")]
pub mod coturn;
#[cfg(feature = "net")]
pub mod lab;
#[cfg(feature = "net")]
pub mod meeting;
#[cfg(feature = "net")]
pub mod relay_program;
