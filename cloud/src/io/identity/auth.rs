//! Signing up, in and out. Whoever does not know the password learns nothing about an address: the
//! words, the status and the work are the same whether or not it has an account.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Response};
use protocol::Secret;
use serde::{Deserialize, Serialize};
use signalling::io::unix_now;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Caller, CostlyVisit, Identity, Member, Refusal, Visit};
use crate::access::secret_from;
use crate::identity::lockout::Place;
use crate::identity::sign_in::{AGE_MAX, SignIn, Verdict, hash_of, successor};
use crate::identity::{Email, MemberRole, guard, password};
use crate::io::problems;
use crate::io::store::identity::Account;

/// A browser is known for two years.
const DEVICE_SECS: u64 = 2 * 365 * 24 * 3600;

pub(super) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_in))
        .routes(routes!(sign_out))
        .routes(routes!(sign_out_everywhere))
        .routes(routes!(refresh))
        .routes(routes!(me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) email: String,
    #[schema(value_type = String)]
    pub(super) password: Secret,
}

/// Who is signed in, where, and by which of their sign-ins.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    id: String,
    email: String,
    role: MemberRole,
    workspace: String,
    session: String,
}

/// Where a browser goes on to, because it signed in with another provider.
#[derive(Serialize, ToSchema)]
pub(super) struct Continuation {
    continue_at: String,
}

/// Signs in with email and password.
#[utoipa::path(
    post,
    path = "/api/v1/auth/sign-in",
    request_body = Credentials,
    responses((status = 200, description = "Signed in; the cookie is set", body = Me)),
    extensions(("x-codes" = json!(["SIGN_IN_FAILED", "EMAIL_UNCONFIRMED", "ACCOUNT_LOCKED", "TOO_MANY", "SERVICE_BUSY"]))),
)]
async fn sign_in(
    State(identity): State<Identity>,
    CostlyVisit(visit): CostlyVisit,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Refusal> {
    let (account, role) = identity.authenticate(&visit, credentials).await?;
    let (_, response) = identity.start(&visit, &account, role).await?;
    Ok(response)
}

impl Identity {
    /// The member of the workspace whose email and password these are.
    pub(super) async fn authenticate(
        &self,
        visit: &Visit,
        credentials: Credentials,
    ) -> Result<(Account, MemberRole), Refusal> {
        let store = self.store();
        self.0.hashing.has_room()?;
        let email = Email::parse(&credentials.email).ok_or_else(problems::sign_in_failed)?;
        let place = self.place_of(visit, &email).await?;
        let attempt = self.attempt(&email, place).await?;
        let account = store.find_account(&email).await?;
        let stored = account
            .as_ref()
            .and_then(|account| account.password.clone());
        let shown = credentials.password.clone();
        let right = self.0.hashing.verify(shown, stored).await?;
        let member = match &account {
            Some(account) => store.find_member(&visit.workspace, &account.id).await?,
            None => None,
        };
        let (Some(account), Some(member), true) = (account, member, right) else {
            attempt.failed().await?;
            self.audit(&visit.workspace, "-", "sign-in failed", email.as_str())
                .await?;
            return Err(problems::sign_in_failed().into());
        };
        attempt.succeeded().await?;
        if !account.confirmed {
            return Err(problems::email_unconfirmed().into());
        }
        self.renew(&account, credentials.password).await?;
        Ok((account, member.role))
    }

    /// Stores a password anew that was made with an older pepper, or with none; unless somebody
    /// changed it meanwhile.
    async fn renew(&self, account: &Account, password: Secret) -> Result<(), Refusal> {
        let stored = account.password.as_deref().unwrap_or_default();
        if self.0.hashing.is_current(stored) {
            return Ok(());
        }
        // A busy service does it another time.
        let Ok(renewed) = self.0.hashing.hash(password).await else {
            return Ok(());
        };
        let store = self.store();
        Ok(store.renew_password(&account.id, stored, &renewed).await?)
    }

    async fn place_of(&self, visit: &Visit, email: &Email) -> Result<Place, Refusal> {
        let known = match &visit.device {
            Some(device) => self.store().knows_device(device, email).await?,
            None => false,
        };
        Ok(visit.place(known))
    }

    /// A new handle at every sign-in: one planted before is worth nothing.
    pub(super) async fn start(
        &self,
        visit: &Visit,
        account: &Account,
        role: MemberRole,
    ) -> Result<(SignIn, Response), Refusal> {
        let handle = secret_from(rand::random());
        let device = secret_from(rand::random());
        let now = unix_now();
        let sign_in = SignIn {
            id: Uuid::now_v7().to_string(),
            workspace: visit.workspace.clone(),
            account: account.id.clone(),
            email: account.email.clone(),
            role,
            handle_hash: hash_of(&handle),
            previous: None,
            created_unix: now.as_secs(),
            used_unix: now.as_secs(),
            ended: false,
            client: visit.client.clone(),
            device: None,
        };
        let browser = hash_of(&device);
        self.store().start_sign_in(&sign_in, &browser).await?;
        let device = guard::set_cookie(
            guard::device_cookie(self.https()),
            device.expose(),
            DEVICE_SECS,
            self.https(),
        );
        let cookies = AppendHeaders([
            (SET_COOKIE, self.session_cookie(&handle)),
            (SET_COOKIE, device),
        ]);
        let response = (cookies, Json(about(&sign_in))).into_response();
        Ok((sign_in, response))
    }

    /// The successor of the caller's handle, the same for all who ask at once; `None` if the sign-in
    /// has ended meanwhile.
    pub(super) async fn rotate(&self, caller: &Caller) -> Result<Option<Secret>, Refusal> {
        let old = hash_of(&caller.handle);
        let salt: [u8; 32] = rand::random();
        let proposed = hash_of(&successor(&caller.handle, &salt));
        let now = unix_now();
        self.store()
            .rotate_sign_in(&old, &proposed, &salt, now)
            .await?;
        self.forget(&caller.sign_in.account);
        let stored = self.store().find_sign_in(&old).await?;
        let previous = stored
            .filter(|stored| stored.judge(&old, unix_now()) == Verdict::JustRotated)
            .and_then(|stored| stored.previous);
        Ok(previous.map(|previous| successor(&caller.handle, &previous.salt)))
    }

    fn session_cookie(&self, handle: &Secret) -> String {
        let name = guard::session_cookie(self.https());
        guard::set_cookie(name, handle.expose(), AGE_MAX.as_secs(), self.https())
    }

    /// Ends this sign-in, or every one of its account, and takes the cookie away.
    async fn end(
        &self,
        sign_in: &SignIn,
        id: Option<&str>,
        action: &str,
    ) -> Result<Response, Refusal> {
        self.store()
            .end_sign_ins(&sign_in.account, id, unix_now())
            .await?;
        self.forget(&sign_in.account);
        self.note(sign_in, action, id.unwrap_or("-")).await?;
        let none = guard::set_cookie(guard::session_cookie(self.https()), "", 0, self.https());
        let cookie = [(SET_COOKIE, none)];
        Ok(match self.sign_out_elsewhere(sign_in).await {
            Some(url) => (cookie, Json(Continuation { continue_at: url })).into_response(),
            None => (StatusCode::NO_CONTENT, cookie).into_response(),
        })
    }

    /// # Errors
    ///
    /// With the rule that the password breaks.
    pub(super) async fn hash_new(
        &self,
        password: Secret,
        email: &Email,
    ) -> Result<String, Refusal> {
        password::judge(&password, email.as_str()).map_err(problems::password_unsuitable)?;
        Ok(self.0.hashing.hash(password).await?)
    }
}

/// Ends this sign-in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/sign-out",
    responses((status = 204, description = "Signed out"), (status = 200, description = "Signed out; the provider wants to be told, too", body = Continuation)),
    security(("session" = [])),
)]
async fn sign_out(
    State(identity): State<Identity>,
    Caller { sign_in, .. }: Caller,
) -> Result<Response, Refusal> {
    let id = sign_in.id.clone();
    identity.end(&sign_in, Some(&id), "signed out").await
}

/// Ends every sign-in of the caller's account.
#[utoipa::path(
    post,
    path = "/api/v1/auth/sign-out-everywhere",
    responses((status = 204, description = "Signed out"), (status = 200, description = "Signed out; the provider wants to be told, too", body = Continuation)),
    security(("session" = [])),
)]
async fn sign_out_everywhere(
    State(identity): State<Identity>,
    Caller { sign_in, .. }: Caller,
) -> Result<Response, Refusal> {
    let action = "signed out everywhere";
    identity.end(&sign_in, None, action).await
}

/// The next handle. A refusal never takes the cookie away: another request may have won.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    responses((status = 200, description = "The cookie is replaced", body = Me)),
    security(("session" = [])),
)]
async fn refresh(State(identity): State<Identity>, caller: Caller) -> Result<Response, Refusal> {
    let next = identity.rotate(&caller).await?;
    let next = next.ok_or_else(problems::sign_in_required)?;
    let cookie = [(SET_COOKIE, identity.session_cookie(&next))];
    Ok((cookie, Json(about(&caller.sign_in))).into_response())
}

/// Who is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    responses((status = 200, description = "The caller", body = Me)),
    security(("session" = []), ("device" = [])),
)]
async fn me(Member(caller): Member) -> Json<Me> {
    Json(about(&caller.sign_in))
}

fn about(sign_in: &SignIn) -> Me {
    Me {
        id: sign_in.account.clone(),
        email: sign_in.email.to_string(),
        role: sign_in.role,
        workspace: sign_in.workspace.to_string(),
        session: sign_in.id.clone(),
    }
}
