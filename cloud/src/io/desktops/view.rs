//! What a member sees of a desktop.

use serde_json::{Value, json};

use crate::io::api::Api;
use crate::io::identity::{Caller, Refusal};
use crate::io::store::desktops::{Desktop, Keeper};
use crate::lifecycle::{Desired, State};

pub(super) async fn all(api: &Api, caller: &Caller) -> Result<Vec<Value>, Refusal> {
    let desktops = api.store.list_desktops(&caller.sign_in.workspace).await?;
    let mut rows = Vec::with_capacity(desktops.len());
    for desktop in &desktops {
        rows.push(one(api, caller, desktop).await);
    }
    Ok(rows)
}

pub(super) async fn one(api: &Api, caller: &Caller, desktop: &Desktop) -> Value {
    let seen = api.keeper.see(&desktop.instance).await;
    let name = match desktop.name.as_str() {
        "" => desktop.instance.as_str(),
        name => name,
    };
    json!({
        "id": desktop.instance,
        "name": name,
        "region": desktop.region,
        "size": desktop.order.size,
        "state": seen.state,
        "problem": seen.problem,
        "may": may(caller, desktop, seen.state),
    })
}

/// What the caller may do with it now.
fn may(caller: &Caller, desktop: &Desktop, state: State) -> Vec<&'static str> {
    let managed = desktop.keeper == Keeper::Driver;
    let stopped = desktop.order.desired == Desired::Stopped;
    [
        ("connect", state == State::Online),
        ("start", managed && stopped),
        ("stop", managed && !stopped),
        ("restart", managed && !stopped),
        ("delete", caller.sign_in.role.may_administer()),
    ]
    .into_iter()
    .filter_map(|(verb, may)| may.then_some(verb))
    .collect()
}
