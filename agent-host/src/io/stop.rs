//! How the program is asked to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ready at the first SIGTERM or SIGINT; at the second the process ends at once.
///
/// # Errors
///
/// The system has no room for a signal handler.
pub fn asked() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let (first, stop) = tokio::sync::oneshot::channel();
    tokio::task::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            match first.take() {
                Some(first) => drop(first.send(())),
                None => std::process::exit(1),
            }
        }
    });
    Ok(async move {
        let _ = stop.await;
    })
}
