//! How desktops run as containers, on this machine's Docker or Podman.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

/// Longest name of a service, in bytes: with an instance's id it names containers and volumes.
const SERVICE_LEN_MAX: usize = 32;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerConfig {
    /// Where the engine listens: `/run/podman/podman.sock`, `/var/run/docker.sock`.
    pub socket: PathBuf,
    /// What a desktop is made of, on this machine already: a shell, `Xvfb`, `xrandr`, `openbox` and
    /// `multiclaw-agent-host`; `xterm`, `xsetroot` and `pulseaudio` if there are.
    pub image: String,
    /// Where agent hosts find the service from inside; default `public_url`.
    #[serde(default)]
    pub cloud_url: Option<String>,
    /// A network of the engine, or `host`; default the engine's own.
    #[serde(default)]
    pub network: Option<String>,
    /// Addresses for media, as seen from inside; default those of every interface there.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whose desktops these are: services that share an engine need different names.
    #[serde(default = "default_service")]
    pub service: String,
}

fn default_service() -> String {
    "multiclaw".into()
}

impl ContainerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        if !self.socket.is_absolute() {
            let socket = self.socket.display();
            return refuse(format!(
                "`container.socket` is `{socket}`, not the path of a Unix socket; write /run/podman/podman.sock, for example"
            ));
        }
        if self.image.is_empty() {
            return refuse("`container.image` is empty; name an image of this machine".into());
        }
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let service = self.service.as_bytes();
        let sound = service.len() <= SERVICE_LEN_MAX
            && service.first().copied().is_some_and(letter)
            && service.iter().all(|byte| letter(*byte) || *byte == b'-');
        if !sound {
            return refuse(format!(
                "`container.service` is `{}`, not 1 to {SERVICE_LEN_MAX} of a-z, 0-9 and '-'",
                self.service
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::GOOD;

    const CONTAINER: &str =
        "[container]\nsocket = \"/run/podman/podman.sock\"\nimage = \"localhost/desktop\"\n";

    #[test]
    fn an_engine_needs_its_socket_and_an_image() {
        let config = Config::parse(&format!("{GOOD}{CONTAINER}")).unwrap();
        assert_eq!(config.container.unwrap().service, "multiclaw");
        check("socket = \"/run/podman/podman.sock\"\n", "", "socket");
        check("/run/podman/podman.sock", "tcp://10.0.0.1", "Unix socket");
        check("localhost/desktop", "", "`container.image` is empty");
        check("image", "imag", "did you mean `image`?");
    }

    #[test]
    fn a_service_has_a_name_that_containers_may_have() {
        for name in ["", "-a", "a.b", "A", &"x".repeat(33)] {
            let service = format!("[container]\nservice = \"{name}\"");
            check("[container]", &service, "`container.service`");
        }
    }

    #[test]
    fn desktops_have_one_driver() {
        check("[container]", "[embedded]\n[container]", "`embedded`");
    }

    fn check(from: &str, to: &str, complaint: &str) {
        let text = format!("{GOOD}{}", CONTAINER.replace(from, to));
        let error = Config::parse(&text).unwrap_err();
        assert!(error.0.contains(complaint), "{error}");
    }
}
