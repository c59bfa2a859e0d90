//! Watches the service and says how it is: as a page, as JSON, and as files in a folder that any
//! other server can send when this one is down.
//!
//! Nothing here asks the database for more than whether it answers: the page must not depend on it.

mod probe;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use signalling::Granter;
use signalling::io::{Service, unix_now};
use signalling::relays::{self, Standing};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keeper::Keeper;
use super::store::Store;
use crate::config::RegionConfig;
use crate::health::page::{STYLE_NAME, WRITTEN_EVERY, render};
use crate::health::{Health, Level, Observation, Place, Relay, RelayState, Report};
use crate::lifecycle::State as DesktopState;

/// A part that answers no sooner works less well than it should.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// A part that answers no sooner does not work.
const DOWN_AFTER: Duration = Duration::from_secs(5);
/// Desktops in error, of all that should run, at which something is wrong with the service rather
/// than with a desktop.
const ERRORS_DEGRADED_PERCENT: usize = 20;
const ERRORS_DOWN_PERCENT: usize = 60;
/// Fewer desktops than this say nothing about the service.
const DESKTOPS_MIN: usize = 3;

const STYLE: &str = concat!(
    include_str!("../../../web/tokens.css"),
    include_str!("../../web/status.css")
);

/// The newest report; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Status(Arc<RwLock<Report>>);

/// What is watched.
pub(super) struct Watched {
    pub(super) store: Store,
    pub(super) signalling: Service,
    pub(super) keeper: Keeper,
    pub(super) granter: Arc<Granter>,
    pub(super) regions: Vec<RegionConfig>,
}

impl Status {
    /// Goes on from what the folder says, and writes it from now on.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub(super) fn start(folder: PathBuf, watched: Watched) -> Result<Self> {
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(STYLE_NAME), STYLE))
            .with_context(|| format!("cannot write the status page to {}; make the folder writable or set `status.folder` to another", folder.display()))?;
        let status = Self::default();
        tokio::spawn(watch(folder, watched, status.clone()));
        Ok(status)
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/status", get(async || Redirect::permanent("/status/")))
            .route("/status/", get(page))
            .route(&format!("/status/{STYLE_NAME}"), get(style))
            .with_state(self)
    }

    /// What the page says, for programs.
    pub(super) fn api() -> OpenApiRouter<Self> {
        OpenApiRouter::new().routes(routes!(json))
    }

    pub(super) fn report(&self) -> Report {
        // A panic elsewhere leaves the report whole: it is replaced in one step.
        let report = self.0.read().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }
}

async fn page(State(status): State<Status>) -> Response {
    let html = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (html, render(&status.report())).into_response()
}

async fn style() -> Response {
    (
        [
            (CONTENT_TYPE, "text/css; charset=utf-8"),
            (CACHE_CONTROL, "no-cache"),
        ],
        STYLE,
    )
        .into_response()
}

/// How the service is doing: components, regions, relays, incidents.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    responses((status = 200, description = "As the status page says it", body = Report)),
)]
async fn json(State(status): State<Status>) -> Json<Report> {
    Json(status.report())
}

async fn watch(folder: PathBuf, watched: Watched, status: Status) {
    let remembered = std::fs::read_to_string(folder.join("status.json")).ok();
    let report = remembered.and_then(|text| serde_json::from_str(&text).ok());
    let mut health = Health::new(report.unwrap_or_default());
    let mut ticks = tokio::time::interval(WRITTEN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let relays = relays(&watched);
        health.handle_round(look(&watched, &relays).await, unix_now());
        health.handle_relays(relays);
        *status.0.write().unwrap_or_else(PoisonError::into_inner) = health.report().clone();
        if let Err(error) = write(&folder, health.report()) {
            tracing::warn!("the status page cannot be written: {error:#}");
        }
    }
}

/// One round of looks, all at once: a slow part does not delay the others.
async fn look(watched: &Watched, relays: &[Relay]) -> Vec<Observation> {
    let component = |name: &str, level| Observation {
        place: Place::Component,
        name: name.to_owned(),
        level,
    };
    let database = timed(async { watched.store.check().await.is_ok() });
    let connections = timed(async { watched.signalling.figures().await.is_some() });
    let regions = probe::regions(&watched.regions);
    let (database, connections, regions) = tokio::join!(database, connections, regions);
    let mut round = vec![
        component("Sign-in and dashboard", database),
        component("Connections", connections),
    ];
    if watched.keeper.has_driver() {
        round.push(component("Desktops", desktops(&watched.keeper.states())));
    }
    round.extend(regions.into_iter().map(|(name, answers)| {
        let own = relays.iter().filter(|relay| relay.region == name);
        let states: Vec<_> = own.map(|relay| relay.state).collect();
        Observation {
            place: Place::Region,
            level: answers.level(&states),
            name,
        }
    }));
    round
}

/// The relays as their own reports tell.
fn relays(watched: &Watched) -> Vec<Relay> {
    let now = unix_now().as_secs();
    let standings = watched.granter.relays().standings(Instant::now());
    let relay = |standing: Standing| Relay {
        region: standing.region,
        state: match standing.state {
            relays::RelayState::Serving => RelayState::Serving,
            relays::RelayState::Draining => RelayState::Draining,
            relays::RelayState::Silent => RelayState::Silent,
            relays::RelayState::Unheard => RelayState::Unheard,
        },
        load_permille: standing.load_permille,
        heard_unix: standing
            .heard_before
            .map(|before| now.saturating_sub(before.as_secs())),
    };
    standings.into_iter().map(relay).collect()
}

async fn timed(works: impl Future<Output = bool>) -> Level {
    let began = Instant::now();
    match tokio::time::timeout(DOWN_AFTER, works).await {
        Ok(true) if began.elapsed() < SLOW_AFTER => Level::Operational,
        Ok(true) => Level::Degraded,
        Ok(false) | Err(_) => Level::Down,
    }
}

fn desktops(states: &[DesktopState]) -> Level {
    let wanted = states
        .iter()
        .filter(|state| **state != DesktopState::Stopped)
        .count();
    let errors = states
        .iter()
        .filter(|state| **state == DesktopState::Error)
        .count();
    let percent = errors * 100 / wanted.max(1);
    match percent {
        _ if wanted < DESKTOPS_MIN => Level::Operational,
        ERRORS_DOWN_PERCENT.. => Level::Down,
        ERRORS_DEGRADED_PERCENT.. => Level::Degraded,
        _ => Level::Operational,
    }
}

/// Each file is written beside its place and moved there: a reader never sees half of it.
fn write(folder: &Path, report: &Report) -> Result<()> {
    for (name, text) in [
        ("status.json", serde_json::to_string(report)?),
        ("index.html", render(report)),
    ] {
        let unfinished = folder.join(format!(".{name}"));
        std::fs::write(&unfinished, text)?;
        std::fs::rename(unfinished, folder.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_desktop_is_no_broken_service() {
        use DesktopState::{Error, Online, Stopped};
        for (states, expected) in [
            (vec![], Level::Operational),
            (vec![Error, Online], Level::Operational),
            (vec![Error, Stopped, Stopped, Stopped], Level::Operational),
            (vec![Error, Online, Online], Level::Degraded),
            (vec![Error, Error, Online], Level::Down),
        ] {
            assert_eq!(desktops(&states), expected, "{states:?}");
        }
    }
}
