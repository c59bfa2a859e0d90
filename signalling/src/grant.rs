//! What a viewer and an agent host receive: tokens, relay credentials, relays, policy.
//!
//! Everything here is a function of the session and of the moment its generation was issued, so
//! that asking twice for the same generation gives the same grant (DESIGN.md, decision 8); only the
//! relays follow what is known of them now.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::Secret;
use protocol::id::{InstanceId, SessionId};
use protocol::signal::{AgentSession, Grant, IceServer, PathMode, Policy, Role};
use protocol::token::{
    SESSION_TTL_MAX, SessionAudience, SessionClaims, Signer, SigningKey, TICKET_TTL,
    TicketAudience, TicketClaims, TokenError, Verifier,
};
use protocol::turn::credential;

use crate::effect::SessionRow;
use crate::handle::HandleKey;
use crate::relays::{Ends, Offer, Relays};

/// Longer than a lost connection takes to come back, shorter than a thief needs.
const GRACE: Duration = Duration::from_secs(30);

/// One relay of a region.
#[derive(Clone, Debug)]
pub struct Relay {
    /// `turn:host:port?transport=udp` and so on, as a browser takes them. Without one it stands for
    /// relays that register themselves with its secrets.
    pub urls: Vec<String>,
    /// Newest first; the first one signs.
    pub shared_secrets: Vec<Secret>,
}

impl Relay {
    /// Whether it can be offered: it has an address, and a secret to make credentials with.
    pub fn is_whole(&self) -> bool {
        !self.urls.is_empty() && !self.shared_secrets.is_empty()
    }
}

/// A region and its relays.
#[derive(Clone, Debug)]
pub struct Region {
    pub id: String,
    pub relays: Vec<Relay>,
}

/// How long things last, and what sessions may do.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Lifetime of a session token; at most [`SESSION_TTL_MAX`].
    pub token_ttl: Duration,
    /// Lifetime of a relay credential: a working day, because a browser cannot change the
    /// credential of an allocation that carries a picture.
    pub relay_ttl: Duration,
    /// A session ends after so long without input; zero means never.
    pub idle_timeout: Duration,
    /// A replaced refresh handle is answered with the same successor for so long.
    pub grace: Duration,
    /// The address of the page that says how the service is; empty if there is none.
    pub status_page: String,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            token_ttl: SESSION_TTL_MAX,
            relay_ttl: Duration::from_secs(12 * 3600),
            idle_timeout: Duration::ZERO,
            grace: GRACE,
            status_page: String::new(),
        }
    }
}

/// Makes tickets, grants and relay credentials, and checks what comes back.
pub struct Granter {
    signer: Signer,
    verifier: Verifier,
    handles: HandleKey,
    /// Held for a look or a report, never longer.
    relays: Mutex<Relays>,
    terms: Terms,
}

impl Granter {
    /// # Errors
    ///
    /// [`TokenError::Key`] if the key cannot sign.
    pub fn new(key: &SigningKey, regions: Vec<Region>, terms: Terms) -> Result<Self, TokenError> {
        Ok(Self {
            signer: key.signer()?,
            verifier: key.verifier(),
            handles: HandleKey::new(key.derive("refresh handle")),
            relays: Mutex::new(Relays::new(regions)),
            terms,
        })
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// A connect ticket: spent once, within [`TICKET_TTL`].
    ///
    /// # Errors
    ///
    /// [`TokenError::Key`] if the key cannot sign.
    pub fn ticket(
        &self,
        id: SessionId,
        instance: InstanceId,
        role: Role,
        subject: String,
        unix_now: Duration,
    ) -> Result<Secret, TokenError> {
        self.signer.sign(&TicketClaims {
            aud: TicketAudience::Ticket,
            exp: (unix_now + TICKET_TTL).as_secs(),
            jti: id,
            instance,
            role,
            sub: subject,
        })
    }

    /// # Errors
    ///
    /// As [`Verifier::verify`].
    pub fn check_ticket(
        &self,
        ticket: &Secret,
        unix_now: Duration,
    ) -> Result<TicketClaims, TokenError> {
        self.verifier.verify(ticket, unix_now)
    }

    /// A genuine session token, however old: the session itself knows whether it still counts.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`].
    pub fn check_session(&self, token: &Secret) -> Result<SessionClaims, TokenError> {
        self.verifier.dangerous_verify_at_any_age(token)
    }

    /// The session and generation a refresh handle was made for.
    pub fn check_handle(&self, handle: &Secret) -> Option<(SessionId, u32)> {
        self.handles.open(handle)
    }

    /// The grant of a session's present generation.
    ///
    /// # Errors
    ///
    /// [`TokenError::Key`] if the key cannot sign.
    pub fn grant(&self, row: &SessionRow) -> Result<Grant, TokenError> {
        let token = self.signer.sign(&SessionClaims {
            aud: SessionAudience::Session,
            exp: row.expires_unix,
            session: row.session,
            instance: row.instance.clone(),
            role: row.role,
        })?;
        Ok(Grant {
            session: row.session,
            instance: row.instance.clone(),
            token,
            expires_in_secs: row.expires_unix.saturating_sub(row.issued_unix),
            refresh_handle: self.handles.handle(row.session, row.generation),
            ice_servers: self.ice_servers(row, RelayUser::Viewer),
            path_mode: row.mode,
            policy: self.policy(row.role),
            region: row.region.clone(),
        })
    }

    /// The same session as its agent host is told of it.
    pub fn agent_session(&self, row: &SessionRow, expires_in: Duration) -> AgentSession {
        AgentSession {
            session: row.session,
            policy: self.policy(row.role),
            path_mode: row.mode,
            ice_servers: self.ice_servers(row, RelayUser::AgentHost),
            expires_in_secs: expires_in.as_secs(),
        }
    }

    /// Whether a session of this mode can be served in the region.
    ///
    /// Only a session that insists on the relay needs one: refusing somebody who could connect
    /// directly would help nobody.
    pub fn can_serve(&self, ends: Ends<'_>, mode: PathMode) -> bool {
        match mode {
            PathMode::Relay => self.relays().can_relay(ends),
            PathMode::Auto | PathMode::Direct => true,
        }
    }

    fn policy(&self, role: Role) -> Policy {
        let controls = role == Role::Control;
        Policy {
            role,
            clipboard_to_host: controls,
            clipboard_to_viewer: controls,
            idle_timeout_secs: self.terms.idle_timeout.as_secs(),
        }
    }

    /// The relays of all regions, as they are known now.
    pub fn relays(&self) -> MutexGuard<'_, Relays> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relays of a session as its viewer may use them now.
    pub fn viewer_ice_servers(&self, row: &SessionRow) -> Vec<IceServer> {
        self.ice_servers(row, RelayUser::Viewer)
    }

    fn ice_servers(&self, row: &SessionRow, user: RelayUser) -> Vec<IceServer> {
        let relays = self.relays();
        // The agent host is near its own region's relays, wherever the person is.
        let client = match user {
            RelayUser::Viewer => row.client_region.as_str(),
            RelayUser::AgentHost => "",
        };
        let ends = Ends {
            instance: &row.region,
            client,
        };
        let offered = relays.offered(ends, row.session).into_iter();
        match row.mode {
            PathMode::Direct => offered.filter_map(stun_server).collect(),
            PathMode::Auto | PathMode::Relay => offered
                .filter_map(|offer| self.turn_server(offer, row, user))
                .collect(),
        }
    }

    fn turn_server(
        &self,
        offer: Offer<'_>,
        row: &SessionRow,
        user: RelayUser,
    ) -> Option<IceServer> {
        let secret = offer.relay.shared_secrets.first()?;
        let expires_at = Duration::from_secs(row.issued_unix) + self.terms.relay_ttl;
        let made = credential::derive(secret, &user.name(row.session), &[], expires_at);
        Some(IceServer {
            urls: offer.urls,
            username: made.username,
            credential: made.password,
            region: offer.region.to_owned(),
        })
    }
}

/// Whose relay credential it is: the two ends never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelayUser {
    Viewer,
    AgentHost,
}

impl RelayUser {
    /// What the relay knows it by.
    fn name(self, session: SessionId) -> String {
        match self {
            Self::Viewer => session.to_string(),
            Self::AgentHost => format!("{session}.agent"),
        }
    }
}

/// The relay's UDP listener as a STUN server, which tells a client its public address.
fn stun_server(offer: Offer<'_>) -> Option<IceServer> {
    let urls: Vec<_> = offer
        .urls
        .iter()
        .filter_map(|url| url.strip_prefix("turn:")?.strip_suffix("?transport=udp"))
        .map(|host_port| format!("stun:{host_port}"))
        .collect();
    (!urls.is_empty()).then(|| IceServer {
        urls,
        username: String::new(),
        credential: Secret::default(),
        region: offer.region.to_owned(),
    })
}
