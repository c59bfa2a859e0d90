//! The sound thread against a real PulseAudio: each test starts one of its own, with a sink that
//! plays into nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "real servers are waited for, in real time"
)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use agent_host::config::Audio;
use agent_host::io::sound::{self, CodedSound, Listener, SoundCommand};
use agent_host::io::wait::Outbox;
use platform::sound::FRAME_TIME;
use protocol::id::SessionId;

/// Longest a step may take before the test says that it never happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the silence after which nothing is sent.
const STILL: Duration = Duration::from_millis(600);

/// A sound server in a folder of its own.
struct Server {
    folder: PathBuf,
    daemon: Child,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sound-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let daemon = daemon(&folder);
        let server = Self { folder, daemon };
        server.wait_ready();
        server
    }

    fn address(&self) -> String {
        format!("unix:{}", self.folder.join("native").display())
    }

    fn wait_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.tool("pactl", &["info"]).status().unwrap().success() {
            assert!(Instant::now() < until, "PulseAudio does not answer");
        }
    }

    fn restart(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        self.daemon = daemon(&self.folder);
        self.wait_ready();
    }

    /// Plays seconds of a tone, as a program on the desktop would; returns when it is over.
    fn play(&self, seconds: u32) {
        let file = self.folder.join("tone.raw");
        let samples = (0..48_000 * seconds).map(|n| {
            let turns = f64::from(n) * 440.0 / 48_000.0;
            (turns * std::f64::consts::TAU).sin() * 8_000.0
        });
        let bytes: Vec<u8> = samples.flat_map(|s| (s as i16).to_le_bytes()).collect();
        std::fs::write(&file, bytes).unwrap();
        let format = ["--raw", "--rate=48000", "--channels=1", "--format=s16le"];
        let mut paplay = self.tool("paplay", &format);
        assert!(paplay.arg(file).status().unwrap().success());
    }

    fn tool(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("PULSE_SERVER", self.address());
        command.env("HOME", &self.folder);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn daemon(folder: &std::path::Path) -> Child {
    let socket = folder.join("native");
    let _ = std::fs::remove_file(&socket);
    let protocol = format!(
        "module-native-protocol-unix socket={} auth-cookie={}",
        socket.display(),
        folder.join("cookie").display()
    );
    Command::new("pulseaudio")
        .args(["-n", "--daemonize=no", "--use-pid-file=no", "--realtime=no"])
        .args(["--high-priority=no", "--exit-idle-time=-1"])
        .args(["-L", "module-null-sink sink_name=desktop rate=48000"])
        .args(["-L", "module-suspend-on-idle timeout=1", "-L", &protocol])
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pulseaudio is installed")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Ear(Sender<CodedSound>);

impl Listener for Ear {
    fn send_sound(&self, sound: &CodedSound) {
        let _ = self.0.send(sound.clone());
    }
}

fn listen(thread: &Outbox<SoundCommand>) -> (SessionId, Receiver<CodedSound>) {
    let (heard, hears) = channel();
    let session: SessionId = "00000000-0000-0000-0000-000000000007".parse().unwrap();
    let listen = SoundCommand::Listen(session, Box::new(Ear(heard)));
    thread.send(listen).unwrap();
    (session, hears)
}

fn thread_of(server: &Server) -> Outbox<SoundCommand> {
    let audio = Audio {
        server: Some(server.address()),
        ..Audio::default()
    };
    sound::start(&audio).unwrap().expect("there is sound here")
}

/// What comes until nothing has come for a while.
fn drain(hears: &Receiver<CodedSound>) -> Vec<CodedSound> {
    std::iter::from_fn(|| hears.recv_timeout(STILL).ok()).collect()
}

/// Plays until something is heard: the server may take a moment to connect us.
fn play_until_heard(server: &Server, hears: &Receiver<CodedSound>) {
    let until = Instant::now() + PATIENCE;
    while drain(hears).is_empty() {
        assert!(Instant::now() < until, "nothing was heard");
        server.play(1);
    }
}

#[test]
fn a_second_that_is_played_is_a_hundred_packets_and_then_there_are_none() {
    let server = Server::start("second");
    let thread = thread_of(&server);
    let (_, hears) = listen(&thread);
    play_until_heard(&server, &hears);
    server.play(1);
    let sound = drain(&hears);
    // The tone, and the fifth of a second of silence behind it.
    assert!((100..140).contains(&sound.len()), "{}", sound.len());
    assert!(sound[0].begins && !sound[1].begins);
    let even = sound
        .windows(2)
        .filter(|pair| pair[1].captured_at - pair[0].captured_at == FRAME_TIME);
    assert!(even.count() + 3 >= sound.len());
    assert!(drain(&hears).is_empty());
    thread.send(SoundCommand::Stop).unwrap();
}

#[test]
fn who_stops_listening_hears_nothing_more() {
    let server = Server::start("unlisten");
    let thread = thread_of(&server);
    let (session, hears) = listen(&thread);
    play_until_heard(&server, &hears);
    thread.send(SoundCommand::Unlisten(session)).unwrap();
    drain(&hears);
    server.play(1);
    assert!(drain(&hears).is_empty());
    thread.send(SoundCommand::Stop).unwrap();
}

#[test]
fn a_sound_server_that_was_killed_is_heard_again_when_it_is_back() {
    let mut server = Server::start("killed");
    let thread = thread_of(&server);
    let (_, hears) = listen(&thread);
    play_until_heard(&server, &hears);
    server.restart();
    play_until_heard(&server, &hears);
    thread.send(SoundCommand::Stop).unwrap();
}

#[test]
fn a_listener_on_a_machine_without_a_sound_server_waits_for_one() {
    let audio = Audio {
        server: Some("unix:/nowhere/native".into()),
        ..Audio::default()
    };
    let thread = sound::start(&audio)
        .unwrap()
        .expect("the libraries are here");
    let (_, hears) = listen(&thread);
    assert!(hears.recv_timeout(STILL).is_err());
    thread.send(SoundCommand::Stop).unwrap();
    // The thread ends, and its ear with it.
    assert!(hears.recv_timeout(PATIENCE).is_err());
}
