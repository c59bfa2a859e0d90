//! What went wrong, told the same way in API, program, page and log: a stable code, the cause in
//! one sentence, and the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The stable codes. A code, once published, keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No agent host is registered for the instance.
    InstanceNotOnline,
    /// The caller has no access to the instance, or there is none of that name: the same answer.
    InstanceUnknown,
    /// The session token or the session itself has expired.
    SessionExpired,
    /// The session was idle for longer than its policy allows.
    SessionIdle,
    /// Somebody with the right to do so ended the session.
    SessionEnded,
    /// The connect ticket was used before.
    TicketUsed,
    /// The connect ticket is older than its 60 s.
    TicketExpired,
    /// The token is malformed, forged, or meant for somebody else.
    TokenInvalid,
    /// The credential was refused.
    AccessDenied,
    /// No relay of the region can be offered.
    RegionUnavailable,
    /// No direct path and no relay path was found.
    NoPath,
    /// The agent host lost its display.
    DisplayLost,
    /// The other side speaks another version of the protocol.
    ProtocolVersion,
    /// There is nothing at this address.
    NotFound,
    /// A message was not understood, or came at the wrong time.
    BadMessage,
    /// A message was larger than its bound.
    MessageTooLarge,
    /// Too many of something; try again later.
    TooMany,
    /// The service is shutting down or restarting.
    ServiceRestarting,
    /// The service did not answer: it is down, or the network does not let it through.
    ServiceUnreachable,
    /// Email and password do not belong together.
    SignInFailed,
    /// Nobody is signed in, or the sign-in has ended.
    SignInRequired,
    /// The password is right, the address is not confirmed yet.
    EmailUnconfirmed,
    /// Too many failed sign-ins from here; the lock ends by itself.
    AccountLocked,
    /// The link of a mail was used, has expired or was never sent.
    LinkInvalid,
    /// The password is too short, too long or too common.
    PasswordUnsuitable,
    /// The member's role does not allow this.
    NotPermitted,
    /// The request did not come from our own page.
    CrossSite,
    /// The host name means no workspace.
    WorkspaceUnknown,
    /// A workspace has at least one owner.
    LastOwner,
    /// The name is in use, or was by something deleted.
    NameTaken,
    /// What was asked for cannot be undone: say it a second time.
    ConfirmationNeeded,
    /// The workspace has as much as it may have.
    QuotaReached,
    /// The desktop does not run although it should.
    DesktopFailed,
    /// The desktop's machine is not started and stopped by the service.
    NotManaged,
    /// The answer of a sign-in provider belongs to another sign-in, browser or time.
    SessionMismatch,
    /// The sign-in provider did not vouch for the person.
    ProviderFailed,
    /// Nobody here has linked the provider's account to theirs.
    AccountNotLinked,
    /// The proof of a device's key does not hold for this request.
    DeviceProofRefused,
    /// The proof of a device's key needs the service's newest nonce, which the answer names.
    DeviceNonceNeeded,
    /// The device was signed out, or its token is wrong or too old.
    DeviceEnded,
    /// The service has more to do than it can; nothing was changed.
    ServiceBusy,
    /// The service's database does not take or give anything right now; nothing was changed that was
    /// not acknowledged.
    DatabaseUnavailable,
    /// The service failed; its log says why.
    Internal,
}

impl Code {
    /// Every code there is, in the order of their definition.
    pub const ALL: [Self; 43] = [
        Self::InstanceNotOnline,
        Self::InstanceUnknown,
        Self::SessionExpired,
        Self::SessionIdle,
        Self::SessionEnded,
        Self::TicketUsed,
        Self::TicketExpired,
        Self::TokenInvalid,
        Self::AccessDenied,
        Self::RegionUnavailable,
        Self::NoPath,
        Self::DisplayLost,
        Self::ProtocolVersion,
        Self::NotFound,
        Self::BadMessage,
        Self::MessageTooLarge,
        Self::TooMany,
        Self::ServiceRestarting,
        Self::ServiceUnreachable,
        Self::SignInFailed,
        Self::SignInRequired,
        Self::EmailUnconfirmed,
        Self::AccountLocked,
        Self::LinkInvalid,
        Self::PasswordUnsuitable,
        Self::NotPermitted,
        Self::CrossSite,
        Self::WorkspaceUnknown,
        Self::LastOwner,
        Self::NameTaken,
        Self::ConfirmationNeeded,
        Self::QuotaReached,
        Self::DesktopFailed,
        Self::NotManaged,
        Self::SessionMismatch,
        Self::ProviderFailed,
        Self::AccountNotLinked,
        Self::DeviceProofRefused,
        Self::DeviceNonceNeeded,
        Self::DeviceEnded,
        Self::ServiceBusy,
        Self::DatabaseUnavailable,
        Self::Internal,
    ];

    /// The code as it is written everywhere: `INSTANCE_NOT_ONLINE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InstanceNotOnline => "INSTANCE_NOT_ONLINE",
            Self::InstanceUnknown => "INSTANCE_UNKNOWN",
            Self::SessionExpired => "SESSION_EXPIRED",
            Self::SessionIdle => "SESSION_IDLE",
            Self::SessionEnded => "SESSION_ENDED",
            Self::TicketUsed => "TICKET_USED",
            Self::TicketExpired => "TICKET_EXPIRED",
            Self::TokenInvalid => "TOKEN_INVALID",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::RegionUnavailable => "REGION_UNAVAILABLE",
            Self::NoPath => "NO_PATH",
            Self::DisplayLost => "DISPLAY_LOST",
            Self::ProtocolVersion => "PROTOCOL_VERSION",
            Self::NotFound => "NOT_FOUND",
            Self::BadMessage => "BAD_MESSAGE",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::TooMany => "TOO_MANY",
            Self::ServiceRestarting => "SERVICE_RESTARTING",
            Self::ServiceUnreachable => "SERVICE_UNREACHABLE",
            Self::SignInFailed => "SIGN_IN_FAILED",
            Self::SignInRequired => "SIGN_IN_REQUIRED",
            Self::EmailUnconfirmed => "EMAIL_UNCONFIRMED",
            Self::AccountLocked => "ACCOUNT_LOCKED",
            Self::LinkInvalid => "LINK_INVALID",
            Self::PasswordUnsuitable => "PASSWORD_UNSUITABLE",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::CrossSite => "CROSS_SITE",
            Self::WorkspaceUnknown => "WORKSPACE_UNKNOWN",
            Self::LastOwner => "LAST_OWNER",
            Self::NameTaken => "NAME_TAKEN",
            Self::ConfirmationNeeded => "CONFIRMATION_NEEDED",
            Self::QuotaReached => "QUOTA_REACHED",
            Self::DesktopFailed => "DESKTOP_FAILED",
            Self::NotManaged => "NOT_MANAGED",
            Self::SessionMismatch => "SESSION_MISMATCH",
            Self::ProviderFailed => "PROVIDER_FAILED",
            Self::AccountNotLinked => "ACCOUNT_NOT_LINKED",
            Self::DeviceProofRefused => "DEVICE_PROOF_REFUSED",
            Self::DeviceNonceNeeded => "DEVICE_NONCE_NEEDED",
            Self::DeviceEnded => "DEVICE_ENDED",
            Self::ServiceBusy => "SERVICE_BUSY",
            Self::DatabaseUnavailable => "DATABASE_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether waiting and trying again can help against this problem.
    pub fn may_pass(self) -> bool {
        match self {
        Self::ServiceRestarting
        | Self::ServiceUnreachable
        | Self::Internal
        | Self::TooMany
        | Self::TicketUsed
        | Self::ServiceBusy
        | Self::DatabaseUnavailable
        | Self::TicketExpired => true,
        Self::InstanceNotOnline
        | Self::InstanceUnknown
        | Self::NotFound
        | Self::SessionExpired
        | Self::SessionIdle
        | Self::SessionEnded
        | Self::TokenInvalid
        | Self::AccessDenied
        | Self::RegionUnavailable
        | Self::NoPath
        | Self::DisplayLost
        | Self::ProtocolVersion
        | Self::BadMessage
        | Self::MessageTooLarge
        // What only people meet who sign in: a session never does.
        | Self::SignInFailed
        | Self::SignInRequired
        | Self::EmailUnconfirmed
        | Self::AccountLocked
        | Self::LinkInvalid
        | Self::PasswordUnsuitable
        | Self::NotPermitted
        | Self::CrossSite
        | Self::WorkspaceUnknown
        | Self::LastOwner
        | Self::NameTaken
        | Self::ConfirmationNeeded
        | Self::QuotaReached
        | Self::SessionMismatch
        | Self::ProviderFailed
        | Self::AccountNotLinked
        | Self::DeviceProofRefused
        | Self::DeviceNonceNeeded
        | Self::DeviceEnded
        | Self::DesktopFailed
        | Self::NotManaged => false,
    }
    }

    /// The HTTP status that goes with the code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InstanceNotOnline => 409,
            Self::InstanceUnknown | Self::NotFound => 404,
            Self::SessionExpired | Self::SessionIdle | Self::SessionEnded => 410,
            Self::TicketUsed | Self::TicketExpired => 409,
            Self::TokenInvalid | Self::AccessDenied => 401,
            Self::RegionUnavailable | Self::ServiceRestarting | Self::ServiceUnreachable => 503,
            Self::NoPath | Self::DisplayLost => 502,
            Self::ProtocolVersion => 426,
            Self::BadMessage => 400,
            Self::MessageTooLarge => 413,
            Self::TooMany => 429,
            Self::SignInFailed | Self::SignInRequired => 401,
            Self::DeviceProofRefused | Self::DeviceNonceNeeded | Self::DeviceEnded => 401,
            Self::EmailUnconfirmed | Self::NotPermitted | Self::CrossSite => 403,
            Self::AccountLocked => 429,
            Self::LinkInvalid => 410,
            Self::PasswordUnsuitable => 422,
            Self::WorkspaceUnknown => 404,
            Self::LastOwner | Self::NameTaken => 409,
            Self::ConfirmationNeeded | Self::QuotaReached | Self::NotManaged => 409,
            Self::DesktopFailed => 502,
            Self::SessionMismatch | Self::AccountNotLinked => 403,
            Self::ProviderFailed => 502,
            Self::ServiceBusy | Self::DatabaseUnavailable => 503,
            Self::Internal => 500,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code with its cause and next step, as it crosses every interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {cause} {next_step}")]
pub struct Problem {
    pub code: Code,
    /// One sentence: what happened.
    pub cause: String,
    /// One sentence: what to do now.
    pub next_step: String,
}

impl Problem {
    pub fn new(code: Code, cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            code,
            cause: cause.into(),
            next_step: next_step.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_of_a_code_is_the_written_form() {
        for code in Code::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn the_list_of_codes_is_whole() {
        // serde names every variant when it meets one that is none.
        let error = serde_json::from_str::<Code>("\"?\"").unwrap_err();
        let names = error.to_string().matches('`').count() / 2 - 1;
        assert_eq!(names, Code::ALL.len(), "{error}");
    }
}
