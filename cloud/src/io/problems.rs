//! The refusals of the HTTP API.

use protocol::problem::{Code, Problem};

pub(super) fn key_refused() -> Problem {
    Problem::new(
        Code::AccessDenied,
        "The access key is missing, wrong, expired or revoked.",
        "Ask the owner of the instance for a new link.",
    )
}

/// The same for an instance that does not exist and for one the key does not open.
pub(super) fn instance_unknown() -> Problem {
    Problem::new(
        Code::InstanceUnknown,
        "There is no instance of this name that the access key opens.",
        "Check the link, or ask the owner of the instance for a new one.",
    )
}

pub(super) fn not_found() -> Problem {
    Problem::new(
        Code::NotFound,
        "There is nothing at this address.",
        "Check the link.",
    )
}

pub(super) fn internal() -> Problem {
    Problem::new(
        Code::Internal,
        "The service could not use its database.",
        "Try again; the service's log says why it failed.",
    )
}
