//! The refusals of the HTTP API: every one is a [`Problem`], also where the framework refuses.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::Response;
use protocol::id::InstanceId;
use protocol::problem::{Code, Problem};
use signalling::io::problem_response;

use super::store::fault::{Fault, fault_of};
use crate::identity::password::Unsuitable;

/// Longest sentence of the framework's that is passed on, in bytes.
const REFUSAL_LEN_MAX: usize = 1024;

/// Says as a problem what the framework refused in words of its own: a body, a path, a method.
pub(super) async fn say(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    let said = response.headers().get(CONTENT_TYPE);
    let is_problem = said.is_some_and(|kind| kind == "application/json");
    if !ours || is_problem || !status.is_client_error() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, REFUSAL_LEN_MAX).await.unwrap_or_default();
    let mut response = problem_response(&refused(status, &String::from_utf8_lossy(&text)));
    if let Some(methods) = parts.headers.get(ALLOW) {
        response.headers_mut().insert(ALLOW, methods.clone());
    }
    response
}

fn refused(status: StatusCode, text: &str) -> Problem {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            Code::NotFound,
            "Nothing at this address answers to this method.",
            "Look it up in /api/v1/openapi.json.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            Code::MessageTooLarge,
            "The request is larger than any that makes sense here.",
            "Send less.",
        ),
        _ => Problem::new(
            Code::BadMessage,
            format!("The request was not understood. {text}"),
            "Compare it with /api/v1/openapi.json.",
        ),
    }
}

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

/// What the caller is told of a failed database; the log has the rest.
pub(super) fn database(error: &anyhow::Error) -> Problem {
    let (cause, next_step) = match fault_of(error) {
        None => return internal(),
        Some(Fault::Away) => (
            "The service's database is restarting or out of reach.",
            "Try again in a few seconds; desktops that are connected go on.",
        ),
        Some(Fault::Full) => (
            "The disk of the service's database is full.",
            "Try again later, and tell who runs the service to make room.",
        ),
        Some(Fault::ReadOnly) => (
            "The service's database may only be read right now.",
            "Try again later, and tell who runs the service to make it writable.",
        ),
    };
    Problem::new(Code::DatabaseUnavailable, cause, next_step)
}

pub(super) fn workspace_unknown() -> Problem {
    Problem::new(
        Code::WorkspaceUnknown,
        "There is no workspace at this address for you.",
        "Copy the address from your invitation mail.",
    )
}

pub(super) fn cross_site() -> Problem {
    Problem::new(
        Code::CrossSite,
        "The request did not come from this workspace's own page.",
        "Open the workspace's page and try again there.",
    )
}

pub(super) fn sign_in_required() -> Problem {
    Problem::new(
        Code::SignInRequired,
        "You are not signed in, or your sign-in has ended.",
        "Sign in.",
    )
}

/// The same for a wrong password, an unknown address and somebody who is no member.
pub(super) fn sign_in_failed() -> Problem {
    Problem::new(
        Code::SignInFailed,
        "Email and password do not belong together in this workspace.",
        "Check both, or reset your password.",
    )
}

pub(super) fn email_unconfirmed() -> Problem {
    Problem::new(
        Code::EmailUnconfirmed,
        "Your email address is not confirmed yet.",
        "Open the link in the mail we sent, or have it sent again.",
    )
}

pub(super) fn email_unsound() -> Problem {
    Problem::new(
        Code::BadMessage,
        "This is no email address.",
        "Check how it is written.",
    )
}

pub(super) fn account_locked(wait: Duration) -> Problem {
    let secs = wait.as_secs().saturating_add(1);
    Problem::new(
        Code::AccountLocked,
        "Too many attempts to sign in failed from your network.",
        format!("Try again in {secs} s, or ask an admin of your workspace to unlock you."),
    )
}

pub(super) fn link_invalid() -> Problem {
    Problem::new(
        Code::LinkInvalid,
        "This link was used before, has expired, or was replaced by a newer one.",
        "Use the newest mail, or ask for another.",
    )
}

pub(super) fn password_unsuitable(why: Unsuitable) -> Problem {
    Problem::new(
        Code::PasswordUnsuitable,
        why.to_string(),
        "Choose another, for example four words that do not belong together.",
    )
}

pub(super) fn password_needed() -> Problem {
    Problem::new(
        Code::PasswordUnsuitable,
        "A new account needs a password.",
        "Choose one.",
    )
}

pub(super) fn not_permitted() -> Problem {
    Problem::new(
        Code::NotPermitted,
        "Your role in this workspace does not allow this.",
        "Ask an owner of the workspace.",
    )
}

pub(super) fn last_owner() -> Problem {
    Problem::new(
        Code::LastOwner,
        "The workspace would be without an owner.",
        "Make another member an owner first.",
    )
}

pub(super) fn session_mismatch() -> Problem {
    Problem::new(
        Code::SessionMismatch,
        "This answer belongs to another sign-in: to one begun elsewhere, used before, or too long ago.",
        "Start again, or sign in with email and password.",
    )
}

pub(super) fn provider_failed() -> Problem {
    Problem::new(
        Code::ProviderFailed,
        "The sign-in provider could not be asked, or its answer is not to be believed.",
        "Start again, or sign in with email and password.",
    )
}

pub(super) fn provider_declined(name: &str) -> Problem {
    Problem::new(
        Code::ProviderFailed,
        format!("{name} did not say who you are: you or it declined."),
        "Start again, or sign in with email and password.",
    )
}

pub(super) fn account_not_linked(name: &str) -> Problem {
    Problem::new(
        Code::AccountNotLinked,
        format!("No member of this workspace has linked this {name} account."),
        format!("Sign in with email and password, then press Link {name} under Sessions."),
    )
}

pub(super) fn linked_elsewhere(name: &str) -> Problem {
    Problem::new(
        Code::AccountNotLinked,
        format!("This {name} account is linked to another member."),
        format!("Sign out at {name} and choose another account there."),
    )
}

pub(super) fn logout_token_refused() -> Problem {
    Problem::new(
        Code::BadMessage,
        "The logout token is not to be believed.",
        "Check issuer, audience and key of the provider.",
    )
}

pub(super) fn proof_refused(why: &str) -> Problem {
    Problem::new(
        Code::DeviceProofRefused,
        format!("The proof of the device's key does not hold: {why}."),
        "Make a new proof for every request, with the key that the device signed in with; set the clock if it is wrong.",
    )
}

pub(super) fn nonce_needed() -> Problem {
    Problem::new(
        Code::DeviceNonceNeeded,
        "The proof of the device's key lacks the service's newest nonce.",
        "Make a new proof with the nonce of the header DPoP-Nonce.",
    )
}

pub(super) fn device_ended() -> Problem {
    Problem::new(
        Code::DeviceEnded,
        "The device was signed out, or its token is wrong or too old.",
        "Sign in again on the device.",
    )
}

pub(super) fn device_name(len_max: usize) -> Problem {
    Problem::new(
        Code::BadMessage,
        "This is no name for a device.",
        format!("Use 1 to {len_max} characters in one line."),
    )
}

pub(super) fn devices_full(max: u32) -> Problem {
    Problem::new(
        Code::QuotaReached,
        format!("Your account has as many devices as it may have: {max}."),
        "Sign one out in the dashboard, under Sessions.",
    )
}

pub(super) fn too_many() -> Problem {
    Problem::new(
        Code::TooMany,
        "Your network asked too often.",
        "Wait a minute and try again.",
    )
}

pub(super) fn busy() -> Problem {
    Problem::new(
        Code::ServiceBusy,
        "More people sign in right now than the service can handle.",
        "Try again in a few seconds.",
    )
}

pub(super) fn desktop_unknown() -> Problem {
    Problem::new(
        Code::InstanceUnknown,
        "There is no desktop of this name in your workspace.",
        "Look at the list of desktops.",
    )
}

pub(super) fn desktop_name(len_max: usize) -> Problem {
    Problem::new(
        Code::BadMessage,
        "This is no name for a desktop.",
        format!("Use 1 to {len_max} of a-z, 0-9 and '-', with a letter or digit at both ends."),
    )
}

pub(super) fn region_unknown() -> Problem {
    Problem::new(
        Code::BadMessage,
        "There is no region of this name.",
        "Leave the region away, or ask who runs the service for its regions.",
    )
}

pub(super) fn no_driver() -> Problem {
    Problem::new(
        Code::NotManaged,
        "This service does not start desktops.",
        "Ask who runs the service to configure a driver, [embedded] or [container].",
    )
}

pub(super) fn not_managed() -> Problem {
    Problem::new(
        Code::NotManaged,
        "The machine of this desktop is started and stopped elsewhere.",
        "Ask who runs the machine.",
    )
}

pub(super) fn quota(what: &str, max: u32) -> Problem {
    Problem::new(
        Code::QuotaReached,
        format!("Your workspace has as many {what} as it may have: {max}."),
        "Stop or delete one, or ask who runs the service for more.",
    )
}

pub(super) fn confirmation_needed(instance: &InstanceId) -> Problem {
    Problem::new(
        Code::ConfirmationNeeded,
        "Deleting a desktop deletes all its files, and cannot be undone.",
        format!("Export what you need, then send `confirm` with the id, {instance}."),
    )
}
