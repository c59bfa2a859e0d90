//! The hashing pool: as many at once as there are cores, a bounded number waiting, and a stated
//! answer when it is full.

use std::sync::Arc;

use protocol::Secret;
use protocol::problem::Problem;
use tokio::sync::Semaphore;

use super::super::problems;
use crate::identity::password::{self, Peppers};

/// Hashes waiting per core; at some 30 ms each nobody waits for longer than about two seconds.
/// When full: `SERVICE_BUSY`, nothing is queued.
const WAITING_PER_CORE: usize = 64;

#[derive(Clone)]
pub(super) struct Hashing {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    peppers: Peppers,
}

impl Hashing {
    pub(super) fn new(peppers: Peppers) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            running: Arc::new(Semaphore::new(cores)),
            admitted: Arc::new(Semaphore::new(cores * WAITING_PER_CORE)),
            peppers,
        }
    }

    pub(super) async fn hash(&self, password: Secret) -> Result<String, Problem> {
        let (salt, peppers) = (rand::random(), self.peppers.clone());
        self.run(move || password::hash(&password, salt, &peppers))
            .await?
            .ok_or_else(problems::internal)
    }

    pub(super) async fn verify(
        &self,
        password: Secret,
        stored: Option<String>,
    ) -> Result<bool, Problem> {
        let peppers = self.peppers.clone();
        self.run(move || password::verify(&password, stored.as_deref(), &peppers))
            .await
    }

    /// Whether a stored form was made with the newest pepper.
    pub(super) fn is_current(&self, stored: &str) -> bool {
        password::is_current(stored, &self.peppers)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let _place = self
            .admitted
            .clone()
            .try_acquire_owned()
            .map_err(|_| problems::busy())?;
        // Held by the work itself, which goes on when the client goes away.
        let turn = self.running.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| problems::internal())
    }
}
