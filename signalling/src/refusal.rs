//! The refusals of this service, each with its cause and next step, in one place.
//!
//! What a stranger may learn is decided here: an unknown instance and a forbidden one, an unknown
//! credential and a wrong one, are answered alike.

use protocol::problem::{Code, Problem};
use protocol::token::TokenError;

use crate::relays::Disbelief;

pub fn instance_not_online() -> Problem {
    Problem::new(
        Code::InstanceNotOnline,
        "No agent host of this instance is connected.",
        "Start the instance, wait until it is Online, then connect again.",
    )
}

pub fn instance_starting() -> Problem {
    Problem::new(
        Code::InstanceNotOnline,
        "The instance is starting: no picture of its screen was captured yet.",
        "Connect again in a few seconds.",
    )
}

pub fn ticket_used() -> Problem {
    Problem::new(
        Code::TicketUsed,
        "The connect ticket was used before.",
        "Press Connect again to get a new one.",
    )
}

pub fn ticket(error: TokenError) -> Problem {
    match error {
        TokenError::Expired => Problem::new(
            Code::TicketExpired,
            "The connect ticket is older than 60 seconds.",
            "Press Connect again to get a new one.",
        ),
        TokenError::Invalid | TokenError::Key => token_invalid(),
    }
}

pub fn token_invalid() -> Problem {
    Problem::new(
        Code::TokenInvalid,
        "The token is not valid here.",
        "Connect again from the instance's page.",
    )
}

pub fn handle_reused() -> Problem {
    Problem::new(
        Code::TokenInvalid,
        "A refresh handle that had been replaced was used again, so the session was ended.",
        "Connect again; if you did not expect this, have the access key replaced.",
    )
}

pub fn session_expired() -> Problem {
    Problem::new(
        Code::SessionExpired,
        "The session expired because it was not renewed in time.",
        "Connect again.",
    )
}

pub fn session_left() -> Problem {
    Problem::new(
        Code::SessionEnded,
        "The viewer left the session.",
        "Connect again to open a new one.",
    )
}

pub fn session_ended() -> Problem {
    Problem::new(
        Code::SessionEnded,
        "The session was ended.",
        "Connect again to open a new one.",
    )
}

pub fn instance_deleted() -> Problem {
    Problem::new(
        Code::SessionEnded,
        "The instance was deleted, or the access to it was taken back.",
        "Ask the owner of the instance for access.",
    )
}

pub fn agent_denied() -> Problem {
    Problem::new(
        Code::AccessDenied,
        "The credential of the agent host was refused.",
        "Create the instance again, or put its credential into the agent host's credential file.",
    )
}

pub fn relay_report(disbelief: Disbelief) -> Problem {
    let code = match disbelief {
        Disbelief::Malformed => Code::BadMessage,
        Disbelief::Forged | Disbelief::Stale => Code::AccessDenied,
        Disbelief::Full => Code::TooMany,
    };
    let cause = format!("The relay was not registered: {disbelief}.");
    Problem::new(
        code,
        cause,
        "Compare the relay's region, its shared secret and its clock with the service's.",
    )
}

pub fn agent_fenced() -> Problem {
    Problem::new(
        Code::AccessDenied,
        "Another agent host registered for the same instance and took over.",
        "Stop one of the two agent hosts.",
    )
}

pub fn region_unavailable(region: &str, status_page: &str) -> Problem {
    let status_page = match status_page {
        "" => "",
        url => &format!(" ({url})"),
    };
    Problem::new(
        Code::RegionUnavailable,
        format!("No relay can be offered in the region {region}."),
        format!(
            "Try again later, or choose the direct connection; the status page{status_page} tells what is down."
        ),
    )
}

pub fn version(theirs: u32) -> Problem {
    Problem::new(
        Code::ProtocolVersion,
        format!(
            "This service speaks version {} of the protocol, the other side version {theirs}.",
            protocol::signal::VERSION
        ),
        "Update the older of the two.",
    )
}

pub fn out_of_order(what: &str) -> Problem {
    Problem::new(
        Code::BadMessage,
        format!("{what}."),
        "Update the program that sent the message, or report the fault.",
    )
}

pub fn not_understood() -> Problem {
    out_of_order("The message was not understood")
}

pub fn too_large() -> Problem {
    Problem::new(
        Code::MessageTooLarge,
        format!(
            "The message is larger than {} bytes.",
            protocol::signal::MESSAGE_LEN_MAX
        ),
        "Send smaller messages.",
    )
}

pub fn too_many(what: &str) -> Problem {
    Problem::new(
        Code::TooMany,
        format!("There are too many {what}."),
        "Try again later.",
    )
}

pub fn not_stored() -> Problem {
    Problem::new(
        Code::Internal,
        "The service could not store the change.",
        "Try again; the service's log says why it failed.",
    )
}

pub fn restarting() -> Problem {
    Problem::new(
        Code::ServiceRestarting,
        "The service is restarting; the picture goes on without it.",
        "Nothing: the connection comes back by itself.",
    )
}
