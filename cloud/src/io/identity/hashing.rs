//! The hashing pool: a thread per core that gives way to all others, a bounded number waiting, and a
//! stated answer when it is full. Each thread keeps its memory while there is more to do.
//!
//! All but one run only where nobody else wants to (decision 0038). The one keeps a tenth of a core
//! that is never idle, so that people can sign in to a machine whose desktops use all of it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use protocol::Secret;
use protocol::problem::Problem;
use tokio::sync::{mpsc, oneshot};

use super::super::problems;
use super::super::system;
use crate::identity::password::{self, Memory, Peppers};

/// Hashes waiting per core; at some 30 ms each nobody waits for longer than about two seconds.
/// When full: `SERVICE_BUSY`, nothing is queued.
const WAITING_PER_CORE: usize = 64;

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

#[derive(Clone)]
pub(super) struct Hashing {
    work: mpsc::Sender<Work>,
    peppers: Peppers,
}

impl Hashing {
    /// # Errors
    ///
    /// No more threads can be had.
    pub(super) fn new(peppers: Peppers) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (work, queue) = mpsc::channel(cores * WAITING_PER_CORE);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..cores {
            let queue = queue.clone();
            let take_place = match index {
                0 => system::give_way,
                _ => system::run_when_idle,
            };
            std::thread::Builder::new()
                .name("hashing".into())
                .spawn(move || {
                    take_place();
                    serve(&queue);
                })
                .context("the hashing threads cannot start")?;
        }
        Ok(Self { work, peppers })
    }

    pub(super) async fn hash(&self, password: Secret) -> Result<String, Problem> {
        let (salt, peppers) = (rand::random(), self.peppers.clone());
        self.run(move |memory| password::hash(&password, salt, &peppers, memory))
            .await?
            .ok_or_else(problems::internal)
    }

    pub(super) async fn verify(
        &self,
        password: Secret,
        stored: Option<String>,
    ) -> Result<bool, Problem> {
        let peppers = self.peppers.clone();
        self.run(move |memory| password::verify(&password, stored.as_deref(), &peppers, memory))
            .await
    }

    /// Whether a stored form was made with the newest pepper.
    pub(super) fn is_current(&self, stored: &str) -> bool {
        password::is_current(stored, &self.peppers)
    }

    /// Asked before the database is, so that a flood that nobody has time for reads and writes
    /// nothing; who is let through may still find it full.
    ///
    /// # Errors
    ///
    /// `SERVICE_BUSY`.
    pub(super) fn has_room(&self) -> Result<(), Problem> {
        match self.work.capacity() {
            0 => Err(problems::busy()),
            _ => Ok(()),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, done) = oneshot::channel();
        let work = Box::new(move |memory: &mut Memory| {
            // Whoever asked may have gone while it waited.
            if !reply.is_closed() {
                let _ = reply.send(work(memory));
            }
        });
        self.work.try_send(work).map_err(|_| problems::busy())?;
        done.await.map_err(|_| problems::internal())
    }
}

/// Until nobody can ask any more.
fn serve(queue: &Mutex<mpsc::Receiver<Work>>) {
    let mut memory = Memory::default();
    loop {
        // The queue is held by a thread that found it empty.
        let more = queue.try_lock().ok();
        let next = more.and_then(|mut queue| queue.try_recv().ok());
        let next = next.or_else(|| {
            memory = Memory::default();
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.blocking_recv()
        });
        match next {
            Some(work) => work(&mut memory),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;

    /// Policy and niceness (`proc_pid_stat(5)`) of the threads of the pool.
    fn places() -> Vec<(String, String)> {
        let threads = fs::read_dir("/proc/self/task").unwrap();
        let stats =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        let mut places: Vec<_> = stats
            .filter_map(|stat| {
                let fields: Vec<_> = stat.split_once("(hashing) ")?.1.split(' ').collect();
                Some(((*fields.get(38)?).to_owned(), (*fields.get(16)?).to_owned()))
            })
            .collect();
        places.sort();
        places
    }

    #[test]
    fn one_thread_keeps_a_share_and_the_others_run_where_nobody_else_wants_to() {
        let _pool = Hashing::new(Peppers::default()).unwrap();
        let cores = std::thread::available_parallelism().unwrap().get();
        let place = |policy: libc::c_int, niceness: &str| (policy.to_string(), niceness.to_owned());
        let mut wanted = vec![place(libc::SCHED_IDLE, "0"); cores - 1];
        wanted.insert(0, place(libc::SCHED_OTHER, "10"));
        // They take their places by themselves, each in its own time.
        let patience = Instant::now() + Duration::from_secs(10);
        while places() != wanted && Instant::now() < patience {
            std::thread::yield_now();
        }
        assert_eq!(places(), wanted);
    }
}
