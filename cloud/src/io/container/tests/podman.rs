//! A Podman of the test's own: storage, containers, volumes and settings under one temporary folder,
//! and nothing of the machine's. The image is a static busybox and five scripts.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use protocol::id::InstanceId;
use tokio::net::UnixStream;
use uuid::Uuid;

use super::super::*;
use crate::io::driver::tests::Ground;

const IMAGE: &str = "localhost/desktop:test";
/// runc, because crun of Debian 12 fails where cgroups are mounted both ways; locks and
/// events in the folder, because otherwise they are those of the machine's own Podman.
const SETTINGS: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
"#;
/// What the two scripts ask for.
const APPLETS: [&str; 10] = [
    "sh", "cat", "grep", "sleep", "mkdir", "stat", "df", "tail", "tr", "true",
];
const PROGRAMS: [(&str, &str); 4] = [
    ("Xvfb", "echo a display; while :; do sleep 1; done"),
    ("xrandr", "exit 0"),
    ("openbox", "while :; do sleep 1; done"),
    (
        "multiclaw-agent-host",
        "echo an agent host; while :; do sleep 1; done",
    ),
];

pub(super) struct Podman {
    folder: PathBuf,
    service: Child,
}

impl Podman {
    pub(super) async fn start() -> Self {
        // Podman takes no path of its own that is longer than 50 bytes.
        let name = Uuid::new_v4().simple().to_string();
        let folder = PathBuf::from(format!("/tmp/multiclaw-{}", &name[..12]));
        fs::create_dir_all(&folder).unwrap();
        let place = |name: &str| format!("{name} = \"{}\"\n", folder.join(name).display());
        let settings = format!("{SETTINGS}{}{}", place("tmp_dir"), place("static_dir"));
        fs::write(folder.join("containers.conf"), settings).unwrap();
        let service = serve(&folder);
        let podman = Self { folder, service };
        podman.import();
        podman.until_ready().await;
        podman
    }

    /// Ends the engine's service as a crash would.
    pub(super) fn stop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }

    pub(super) async fn restart(&mut self) {
        self.stop();
        let _ = fs::remove_file(self.folder.join("socket"));
        self.service = serve(&self.folder);
        self.until_ready().await;
    }

    pub(super) fn config(&self) -> ContainerConfig {
        ContainerConfig {
            socket: self.folder.join("socket"),
            image: IMAGE.into(),
            cloud_url: None,
            network: Some("none".into()),
            addresses: vec![],
            service: "test".into(),
        }
    }

    pub(super) fn name(&self, instance: &InstanceId) -> String {
        self.driver().name(instance)
    }

    /// What the command line of Podman says; it must succeed.
    pub(super) fn run(&self, args: &[&str]) -> String {
        let done = command(&self.folder).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "podman {args:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    async fn until_ready(&self) {
        while UnixStream::connect(self.folder.join("socket"))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    }

    fn import(&self) {
        let root = self.folder.join("image");
        for folder in [
            "bin",
            "usr/bin",
            "tmp",
            "home/desktop",
            "etc",
            "proc",
            "sys",
            "dev",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        for (name, script) in PROGRAMS {
            let path = root.join("usr/bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        chown(root.join("home/desktop"), Some(1000), Some(1000)).unwrap();
        let tar = self.folder.join("image.tar");
        let (root, tar) = (root.to_str().unwrap(), tar.to_str().unwrap());
        let mut packing = Command::new("tar");
        packing.args(["-C", root, "-cf", tar, "."]);
        assert!(packing.status().unwrap().success());
        self.run(&["import", "--quiet", tar, IMAGE]);
    }

    /// Whoever watched a program of `exec` waits for five minutes before it clears up after it.
    fn end_monitors(&self) {
        let ours = self.folder.to_str().unwrap();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.starts_with(b"/usr/bin/conmon") && String::from_utf8_lossy(&line).contains(ours)
            {
                let mut kill = Command::new("kill");
                let _ = kill.arg("-9").arg(entry.file_name()).status();
            }
        }
    }

    fn home(&self, instance: &InstanceId) -> Option<PathBuf> {
        let volume = self.driver().volume(instance);
        let folder = self.folder.join("root/volumes").join(volume).join("_data");
        folder.is_dir().then_some(folder)
    }
}

impl Ground for Podman {
    type Driver = Containers;

    fn driver(&self) -> Containers {
        Containers::new(self.config(), "http://127.0.0.1:1".into())
    }

    async fn kill_agent_host(&self, instance: &InstanceId) {
        let kill = "kill -9 $(cat /tmp/multiclaw/agent-host.pid) 2>/dev/null; true";
        let driver = self.driver();
        // The number is that of the one before until the one that follows has written its own.
        while let Machine::Up(_) = driver.inspect(instance).await.unwrap() {
            self.run(&["exec", &self.name(instance), "sh", "-c", kill]);
        }
    }

    async fn cut_power(&self, instance: &InstanceId) {
        self.run(&["kill", &self.name(instance)]);
    }

    fn leave_file(&self, instance: &InstanceId) {
        fs::write(self.home(instance).unwrap().join("kept"), "x").unwrap();
    }

    fn has_file(&self, instance: &InstanceId) -> bool {
        self.home(instance)
            .is_some_and(|home| home.join("kept").exists())
    }

    fn displays(&self, instance: &InstanceId) -> usize {
        let label = format!("--filter=label=io.multiclaw.instance={instance}");
        let mine = "--filter=label=io.multiclaw.service=test";
        self.run(&["ps", "--quiet", &label, mine]).lines().count()
    }
}

impl Drop for Podman {
    /// Also after a failure nothing of it may stay.
    fn drop(&mut self) {
        let mut clear = command(&self.folder);
        let _ = clear.args(["rm", "--all", "--force", "--time=0"]).output();
        self.stop();
        self.end_monitors();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn serve(folder: &Path) -> Child {
    let socket = format!("unix://{}", folder.join("socket").display());
    let mut service = command(folder);
    service.args(["system", "service", "--time=0", &socket]);
    service.stdin(Stdio::null()).stdout(Stdio::null());
    service.stderr(fs::File::create(folder.join("service.log")).unwrap());
    service.spawn().expect("podman is installed")
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    for (option, name) in [("--root", "root"), ("--runroot", "run")] {
        command.arg(option).arg(folder.join(name));
    }
    command.arg("--storage-driver=vfs");
    command.env("CONTAINERS_CONF", folder.join("containers.conf"));
    command
}
