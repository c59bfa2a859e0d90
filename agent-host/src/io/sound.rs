//! The sound thread: records what the desktop plays while somebody listens, codes it once, and
//! hands it to every listener's peer. A thread of its own, so that sound never waits for a picture
//! and no picture for sound.
//!
//! Without libpulse, libopus or a sound server there is no sound, which is said once; a server that
//! goes away is tried again with back-off while somebody listens.

use std::ffi::CString;
use std::time::{Duration, Instant};

use protocol::id::SessionId;

use crate::config::Audio;
use crate::io::opus::{Opus, OpusEncoder};
use crate::io::pulse::{Place, Pulse, Recorder, Stage};
use crate::io::wait::{Inbox, Outbox, mailbox};
use crate::sound::{Attempts, Cutter, Frame, News};

/// 10 ms of sound, coded.
#[derive(Clone, Debug)]
pub struct CodedSound {
    pub data: std::sync::Arc<[u8]>,
    pub captured_at: Instant,
    /// Before it was silence.
    pub begins: bool,
}

/// Somebody who listens. Called on the sound thread: must not block.
pub trait Listener: Send {
    fn send_sound(&self, sound: &CodedSound);
}

/// To the sound thread.
pub enum SoundCommand {
    Listen(SessionId, Box<dyn Listener>),
    Unlisten(SessionId),
    Stop,
}

/// Starts the thread; `None` if there is no sound to be had here, which is said in the log.
///
/// # Errors
///
/// The system has no descriptor or thread left.
pub fn start(config: &Audio) -> std::io::Result<Option<Outbox<SoundCommand>>> {
    if !config.enabled {
        tracing::info!("sound is off: [audio] enabled = false");
        return Ok(None);
    }
    let (pulse, opus) = match Pulse::load().and_then(|pulse| Ok((pulse, Opus::load()?))) {
        Ok(libraries) => libraries,
        Err(missing) => {
            tracing::warn!("viewers hear nothing of this desktop: {missing}");
            return Ok(None);
        }
    };
    let (outbox, inbox) = mailbox()?;
    let thread = SoundThread {
        pulse,
        opus,
        place: place(config),
        bitrate_bps: config.bitrate,
        listeners: Vec::new(),
        cutter: Cutter::default(),
        attempts: Attempts::default(),
    };
    std::thread::Builder::new()
        .name("sound".into())
        .spawn(move || thread.run(&inbox))?;
    Ok(Some(outbox))
}

/// The configuration has no NUL in it.
fn place(config: &Audio) -> Place {
    let server = config.server.as_deref();
    Place {
        server: server.and_then(|server| CString::new(server).ok()),
        source: CString::new(config.source.as_str()).unwrap_or_default(),
    }
}

struct SoundThread {
    pulse: Pulse,
    opus: Opus,
    place: Place,
    bitrate_bps: u32,
    listeners: Vec<(SessionId, Box<dyn Listener>)>,
    cutter: Cutter,
    attempts: Attempts,
}

/// The thread was told to end.
struct Stopped;

impl SoundThread {
    fn run(mut self, inbox: &Inbox<SoundCommand>) {
        while self.take_commands(inbox).is_ok() {
            if self.listeners.is_empty() {
                inbox.wait(None, None);
                continue;
            }
            let now = Instant::now();
            if let Some(at) = self.attempts.poll_timeout(now) {
                inbox.wait(None, Some(at - now));
                continue;
            }
            if self.record(inbox).is_err() {
                return;
            }
        }
    }

    fn take_commands(&mut self, inbox: &Inbox<SoundCommand>) -> Result<(), Stopped> {
        while let Some(command) = inbox.try_take() {
            match command {
                SoundCommand::Listen(id, listener) => {
                    self.listeners.retain(|(other, _)| *other != id);
                    self.listeners.push((id, listener));
                }
                SoundCommand::Unlisten(id) => self.listeners.retain(|(other, _)| *other != id),
                SoundCommand::Stop => return Err(Stopped),
            }
        }
        Ok(())
    }

    /// Until nobody listens, or the server is lost.
    fn record(&mut self, inbox: &Inbox<SoundCommand>) -> Result<(), Stopped> {
        let Some(mut encoder) = OpusEncoder::open(self.opus, self.bitrate_bps) else {
            self.handle_lost("libopus makes no encoder");
            return Ok(());
        };
        let mut recorder = match Recorder::connect(self.pulse, &self.place, inbox.bell()) {
            Ok(recorder) => recorder,
            Err(lost) => {
                self.handle_lost(&lost.to_string());
                return Ok(());
            }
        };
        self.cutter.handle_gap();
        while !self.listeners.is_empty() {
            let cutter = &mut self.cutter;
            match recorder.turn(&mut |bytes| cutter.handle_bytes(bytes, Instant::now())) {
                Ok(Stage::Connecting) => {}
                Ok(Stage::Recording) => self.handle_recording(),
                Err(lost) => {
                    self.handle_lost(&lost.to_string());
                    return Ok(());
                }
            }
            while let Some(frame) = self.cutter.poll_frame() {
                self.send(&mut encoder, &frame);
            }
            // Only to hear whether the bell rang.
            inbox.wait(None, Some(Duration::ZERO));
            self.take_commands(inbox)?;
        }
        Ok(())
    }

    fn send(&self, encoder: &mut OpusEncoder, frame: &Frame) {
        let Some(data) = encoder.encode(&frame.samples) else {
            return tracing::trace!("libopus refused a frame");
        };
        let sound = CodedSound {
            data,
            captured_at: frame.captured_at,
            begins: frame.begins,
        };
        for (_, listener) in &self.listeners {
            listener.send_sound(&sound);
        }
    }

    fn handle_recording(&mut self) {
        if self.attempts.handle_works() == News::Fresh {
            tracing::info!("the sound server is there; viewers hear this desktop");
        }
    }

    fn handle_lost(&mut self, why: &str) {
        if self.attempts.handle_failed(Instant::now()) == News::Fresh {
            let source = self.place.source.to_string_lossy();
            tracing::warn!(
                source = &*source,
                "viewers hear nothing of this desktop until its sound server is back: {why}"
            );
        }
    }
}
