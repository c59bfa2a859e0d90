//! The driver with a real X server and window manager; the agent host is a program that only waits.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::io::driver::tests::{Ground, conforms, desk, order};

#[tokio::test]
async fn it_behaves_like_a_driver() {
    conforms(&Lab::new(None)).await;
}

#[tokio::test]
async fn each_desktop_has_a_user_a_home_and_a_key_that_the_others_cannot_read() {
    let lab = Lab::new(Some(210_000));
    let driver = lab.driver();
    let other = InstanceId::new("other").unwrap();
    driver.start(order(1)).await.unwrap();
    let second = Start {
        instance: other.clone(),
        ..order(1)
    };
    driver.start(second).await.unwrap();

    let mut users = Vec::new();
    for instance in [desk(), other] {
        let place = driver.place(&instance);
        users.push(place.user().unwrap());
        for file in ["xauthority", "credential", "agent-host.toml"] {
            let found = fs::metadata(place.run(file)).unwrap();
            assert_eq!(
                (found.mode() & 0o777, Some(&found.uid())),
                (0o600, users.last())
            );
        }
        assert_eq!(fs::metadata(place.home()).unwrap().mode() & 0o777, 0o700);
        let record = place.record().unwrap().unwrap();
        let proc = format!("/proc/{}", record.agent_host.unwrap().pid);
        // First it is the programs that set limits and user.
        let comm = || fs::read_to_string(format!("{proc}/comm")).unwrap();
        until(|| (comm() == "sleep\n").then_some(())).await;
        assert_eq!(Some(&fs::metadata(&proc).unwrap().uid()), users.last());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
        for limit in [
            "Max processes             1024",
            "Max data size             2147483648",
        ] {
            assert!(limits.contains(limit), "{limits}");
        }
    }
    assert_ne!(users[0], users[1]);
    lab.clear().await;
}

/// A program that has just been started may still be the one that starts it, or, for a moment, none.
async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            match look() {
                Some(seen) => return seen,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, seen).await.unwrap()
}

/// What a program was given.
async fn environ(pid: u32) -> String {
    let read = || fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environ = until(|| Some(read()).filter(|environ| !environ.is_empty())).await;
    String::from_utf8(environ).unwrap()
}

#[tokio::test]
async fn nothing_of_our_environment_reaches_the_desktop_and_strangers_no_display() {
    let lab = Lab::new(None);
    let driver = lab.driver();
    driver.start(order(1)).await.unwrap();
    let record = driver.place(&desk()).record().unwrap().unwrap();
    let environ = environ(record.agent_host.unwrap().pid).await;
    assert!(!environ.contains("CARGO"), "{environ}");

    let mut stranger = tokio::process::Command::new("xdpyinfo");
    stranger.args(["-display", &format!(":{}", record.display)]);
    let refused = stranger.env_remove("XAUTHORITY").output().await.unwrap();
    assert!(!refused.status.success(), "a display opens to its key only");
    stranger.env("XAUTHORITY", driver.place(&desk()).run("xauthority"));
    assert!(stranger.output().await.unwrap().status.success());
    lab.clear().await;
}

#[tokio::test]
async fn a_desktop_has_a_sound_server_of_its_own_that_ends_with_it() {
    let lab = Lab::new(Some(211_000));
    let driver = lab.driver();
    driver.start(order(1)).await.unwrap();
    let place = driver.place(&desk());
    let record = place.record().unwrap().unwrap();
    let server = record.sound_server.expect("pulseaudio is installed");
    until(|| std::os::unix::net::UnixStream::connect(place.run("sound")).ok()).await;
    let agent_host = fs::read_to_string(place.run("agent-host.toml")).unwrap();
    let address = format!("server = \"unix:{}\"", place.run("sound").display());
    assert!(agent_host.contains(&address), "{agent_host}");
    let environ = environ(record.agent_host.unwrap().pid).await;
    assert!(environ.contains("PULSE_SERVER=unix:"), "{environ}");
    driver.stop(&desk()).await.unwrap();
    assert!(!server.runs());
}

#[tokio::test]
async fn a_program_that_leaves_its_group_is_ended_with_its_desktop() {
    let lab = Lab::new(None);
    let driver = lab.driver();
    driver.start(order(1)).await.unwrap();
    let place = driver.place(&desk());
    let mut runaway = tokio::process::Command::new("setsid");
    runaway.args(["--fork", "sleep", "600"]);
    runaway.env_clear().env("PATH", "/usr/bin:/bin");
    runaway.env(processes::MARK, place.folder());
    assert!(runaway.status().await.unwrap().success());
    until(|| (processes::marked(place.folder()).len() >= 4).then_some(())).await;
    driver.stop(&desk()).await.unwrap();
    assert!(processes::marked(place.folder()).is_empty());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let lab = Lab::new(None);
    let driver = Embedded::open(
        &lab.0,
        EmbeddedConfig {
            agent_host: Some("/nowhere/agent-host".into()),
            ..EmbeddedConfig::default()
        },
        String::new(),
    );
    let driver = driver.unwrap();
    driver.start(order(1)).await.unwrap();
    // It is looked for by the program that sets its limits, which says so and ends.
    while driver.inspect(&desk()).await.unwrap() == Machine::Up(Generation(1)) {
        tokio::task::yield_now().await;
    }
    let log = driver.log(&desk()).await.unwrap();
    assert!(log.contains("/nowhere/agent-host"), "{log}");
    lab.clear().await;
}

/// A folder of desktops, and everything in it ended at the end.
struct Lab(PathBuf, Option<u32>);

impl Lab {
    fn new(first_uid: Option<u32>) -> Self {
        let folder = std::env::temp_dir().join(format!("multiclaw-{}", Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.join("agent-host");
        fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder, first_uid)
    }

    async fn clear(&self) {
        self.driver().end_strangers(&[]).await.unwrap();
    }
}

impl Ground for Lab {
    type Driver = Embedded;

    fn driver(&self) -> Embedded {
        let program = self.0.join("agent-host");
        let config = EmbeddedConfig {
            agent_host: Some(program),
            first_uid: self.1,
            ..EmbeddedConfig::default()
        };
        Embedded::open(&self.0, config, "http://127.0.0.1:1".into()).unwrap()
    }

    async fn kill_agent_host(&self, instance: &InstanceId) {
        let record = self.driver().place(instance).record().unwrap().unwrap();
        record.agent_host.unwrap().end().await;
    }

    async fn cut_power(&self, instance: &InstanceId) {
        let place = self.driver().place(instance);
        let record = place.record().unwrap().unwrap();
        let parts = [
            Some(record.x_server),
            record.window_manager,
            record.agent_host,
        ];
        // One that begins or ends carries no mark for a moment, and is there all the same.
        while parts.into_iter().flatten().any(Process::runs) {
            for pid in processes::marked(place.folder()) {
                let mut kill = tokio::process::Command::new("kill");
                let _ = kill.args(["-9", &pid.to_string()]).status().await;
            }
        }
    }

    fn leave_file(&self, instance: &InstanceId) {
        fs::write(self.driver().place(instance).home().join("kept"), "x").unwrap();
    }

    fn has_file(&self, instance: &InstanceId) -> bool {
        self.driver().place(instance).home().join("kept").exists()
    }

    fn displays(&self, instance: &InstanceId) -> usize {
        let all = processes::marked(self.driver().place(instance).folder());
        let comm = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm"));
        let servers = all
            .iter()
            .filter(|pid| comm(pid).is_ok_and(|name| name.trim() == "Xvfb"));
        servers.count()
    }
}

impl Drop for Lab {
    /// Also after a failure nothing of it may stay.
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            for pid in processes::marked(&entry.path()) {
                let mut kill = std::process::Command::new("kill");
                let _ = kill.args(["-9", &pid.to_string()]).status();
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_left_of_a_machine_tells_its_state() {
    let own = Process::of(std::process::id()).unwrap();
    let ended = Some(Process { began: 1, ..own });
    let record = |agent_host| Record {
        generation: Generation(1),
        display: 1,
        x_server: own,
        sound_server: None,
        window_manager: Some(own),
        agent_host,
    };
    assert_eq!(judge(&record(Some(own))), Machine::Up(Generation(1)));
    for broken in [None, ended] {
        assert!(matches!(judge(&record(broken)), Machine::Broken(..)));
    }
}
