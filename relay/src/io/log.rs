//! Log lines on their way to stderr: a worker leaves them here, a thread of their own writes them.
//!
//! An allocation makes two lines, and a `write` each would cost a tenth of what the allocation
//! costs; a stderr that nobody reads would even stop the relay. So lines gather for
//! [`GATHER`] and leave in one `write`. What does not fit into [`PENDING_LEN_MAX`] is dropped and
//! counted.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The oldest line waits so long for others.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes that wait while stderr is slow: some ten thousand lines. When full, the newest go.
const PENDING_LEN_MAX: usize = 2 << 20;

/// Takes lines and never blocks on stderr; one per subscriber.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

/// Writes what still waits when it is dropped: keep it until the program ends.
pub struct LogThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    dropped: u64,
    closing: bool,
}

/// Starts the thread that writes to `out`.
///
/// # Errors
///
/// When the system gives no thread.
pub fn start(out: impl Write + Send + 'static) -> io::Result<(LogWriter, LogThread)> {
    let shared = Arc::new(Shared::default());
    let writer = LogWriter(shared.clone());
    let drained = shared.clone();
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || drained.write_all_to(out))?;
    let thread = LogThread {
        shared,
        thread: Some(thread),
    };
    Ok((writer, thread))
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for LogWriter {
    /// One call is one line: a line is taken whole or dropped whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut pending = self.0.lock();
        if pending.bytes.len() + line.len() > PENDING_LEN_MAX {
            pending.dropped += 1;
            return Ok(line.len());
        }
        let first = pending.bytes.is_empty();
        pending.bytes.extend_from_slice(line);
        drop(pending);
        if first {
            self.0.changed.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has written what it could.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let (dropped, closing) = self.take(&mut lines);
            // Where logs go when stderr is gone, nobody can say.
            let _ = out.write_all(&lines);
            lines.clear();
            if dropped > 0 {
                tracing::warn!(dropped, "log lines dropped: stderr takes them too slowly");
            }
            if closing && self.lock().bytes.is_empty() {
                return;
            }
        }
    }

    /// Waits for lines and for those that come right behind them.
    fn take(&self, lines: &mut Vec<u8>) -> (u64, bool) {
        let idle = |pending: &mut Pending| pending.bytes.is_empty() && !pending.closing;
        let pending = self
            .changed
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut pending, _) = self
            .changed
            .wait_timeout_while(pending, GATHER, |pending| !pending.closing)
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut pending.bytes, lines);
        (mem::take(&mut pending.dropped), pending.closing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    #[test]
    fn lines_leave_in_order_and_all_of_them_before_the_thread_ends() {
        let (out, written, _gate) = gated(100_000);
        let (mut log, thread) = start(out).unwrap();
        for line in 0..1000 {
            log.write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        drop(thread);

        let written = written.try_iter().flatten().collect::<Vec<u8>>();
        let expected: String = (0..1000).map(|line| format!("line {line}\n")).collect();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_stderr_that_takes_nothing_costs_lines_and_not_time() {
        let (out, written, gate) = gated(0);
        let (mut log, thread) = start(out).unwrap();
        let line = [b'x'; 1024];
        let lines = 3 * PENDING_LEN_MAX / line.len();
        for _ in 0..lines {
            log.write_all(&line).unwrap();
        }

        drop(gate);
        drop(thread);
        let kept = written.try_iter().map(|bytes| bytes.len()).sum::<usize>();
        // What was being written, and what waited.
        assert!(kept <= 2 * PENDING_LEN_MAX, "{kept}");
        assert_eq!(kept % line.len(), 0);
    }

    /// Writes wait for a permit each until the gate is dropped.
    fn gated(permits: usize) -> (Gated, Receiver<Vec<u8>>, Sender<()>) {
        let (sink, written) = channel();
        let (gate, permit) = channel();
        for _ in 0..permits {
            gate.send(()).unwrap();
        }
        (Gated { sink, permit }, written, gate)
    }

    struct Gated {
        sink: Sender<Vec<u8>>,
        permit: Receiver<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.permit.recv();
            self.sink.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
