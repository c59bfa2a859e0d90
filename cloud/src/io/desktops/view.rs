//! What a member sees of a desktop.

use protocol::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::io::api::Api;
use crate::io::identity::{Caller, Refusal};
use crate::io::store::desktops::{Desktop, Keeper};
use crate::lifecycle::{Desired, Size, State};

/// A desktop, as its members see it.
#[derive(Serialize, ToSchema)]
#[schema(as = Desktop)]
pub(super) struct DesktopView {
    id: String,
    name: String,
    region: String,
    size: Size,
    state: State,
    /// Why it is in `Error`, and what to do.
    #[schema(schema_with = crate::io::openapi::problem)]
    problem: Option<Problem>,
    /// `connect`, `start`, `stop`, `restart`, `delete`: what the caller may do with it now.
    may: Vec<&'static str>,
}

pub(super) async fn all(api: &Api, caller: &Caller) -> Result<Vec<DesktopView>, Refusal> {
    let desktops = api.store.list_desktops(&caller.sign_in.workspace).await?;
    let mut rows = Vec::with_capacity(desktops.len());
    for desktop in &desktops {
        rows.push(one(api, caller, desktop).await);
    }
    Ok(rows)
}

pub(super) async fn one(api: &Api, caller: &Caller, desktop: &Desktop) -> DesktopView {
    let seen = api.keeper.see(&desktop.instance).await;
    let name = match desktop.name.as_str() {
        "" => desktop.instance.as_str(),
        name => name,
    };
    DesktopView {
        id: desktop.instance.to_string(),
        name: name.to_owned(),
        region: desktop.region.clone(),
        size: desktop.order.size,
        state: seen.state,
        may: may(caller, desktop, seen.state),
        problem: seen.problem,
    }
}

/// What the caller may do with it now.
fn may(caller: &Caller, desktop: &Desktop, state: State) -> Vec<&'static str> {
    let managed = desktop.keeper == Keeper::Driver;
    let stopped = desktop.order.desired == Desired::Stopped;
    let own = &caller.sign_in;
    [
        ("connect", state == State::Online),
        ("start", managed && stopped),
        ("stop", managed && !stopped),
        ("restart", managed && !stopped),
        // Who administers does so at a browser.
        ("delete", own.role.may_administer() && own.device.is_none()),
    ]
    .into_iter()
    .filter_map(|(verb, may)| may.then_some(verb))
    .collect()
}
