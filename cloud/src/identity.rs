//! Who may use what: workspaces, accounts, members, sign-ins. The rules, without clock or socket.
//!
//! An account is a person's email and password; a member is an account in one workspace, with a
//! role; a sign-in is one browser or one device of one member. Secrets are kept as hashes only.

pub mod attempt;
pub mod device;
pub mod email;
pub mod guard;
pub mod link;
pub mod lockout;
pub mod nonce;
pub mod password;
pub mod rate;
pub mod role;
pub mod sign_in;
pub mod sign_in_cache;
pub mod workspace;

pub use email::Email;
pub use role::MemberRole;
pub use workspace::{Hosts, WorkspaceId};
