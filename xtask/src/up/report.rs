//! What `up` says when everything runs: one line of JSON for scripts, a table for people.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::INSTANCE;
use super::plan::Plan;
use super::sound;

/// Who signs in to the dashboard.
pub(crate) struct Admin {
    pub(crate) email: &'static str,
    pub(crate) password: String,
}

/// Where everything is.
pub(crate) struct Up {
    viewer_url: String,
    admin: Admin,
    display: String,
    sound: Option<String>,
    cloud: String,
    relay: Value,
    encoder: String,
}

impl Up {
    /// Takes the relay's own word for where it listens.
    pub(crate) fn new(
        plan: &Plan,
        viewer_url: &str,
        admin: Admin,
        relay_line: &Value,
        agent_host_line: &Value,
    ) -> Self {
        Self {
            viewer_url: viewer_url.to_owned(),
            admin,
            display: plan.display.clone(),
            sound: plan.sound().map(sound::address),
            cloud: plan.cloud_url(),
            relay: relay_addresses(relay_line, &plan.certificates.authority()),
            encoder: agent_host_line["encoder"]
                .as_str()
                .unwrap_or("unknown")
                .to_owned(),
        }
    }

    /// The line of the contract, with fields for the parts that exist.
    pub(crate) fn line(&self, pids: Vec<(&'static str, u32)>) -> String {
        let pids: Map<String, Value> = pids
            .into_iter()
            .map(|(name, pid)| (name.to_owned(), pid.into()))
            .collect();
        let mut line = json!({
            "ready": "up",
            "viewer_url": self.viewer_url,
            "relay_viewer_url": self.relay_viewer_url(),
            "dashboard_url": self.dashboard_url(),
            "admin": { "email": self.admin.email, "password": self.admin.password },
            "instance": INSTANCE,
            "display": self.display,
            "relay": self.relay,
            "cloud": self.cloud,
            "pids": pids,
        });
        if let Some(sound) = &self.sound {
            line["sound"] = sound.as_str().into();
        }
        line.to_string()
    }

    /// The table, and where to click.
    pub(crate) fn table(&self, pids: Vec<(&'static str, u32)>, state: &Path) -> String {
        let pid = |name| {
            pids.iter()
                .find(|pid| pid.0 == name)
                .map_or_else(String::new, |pid| pid.1.to_string())
        };
        let relay = ["udp", "tcp", "tls"].iter().filter_map(|transport| {
            Some(format!("{transport} {}", self.relay[transport].as_str()?))
        });
        let rows = [
            ("cloud", pid("cloud"), self.cloud.clone()),
            ("relay", pid("relay"), relay.collect::<Vec<_>>().join(", ")),
            (
                "agent-host",
                pid("agent-host"),
                format!(
                    "instance `{INSTANCE}` on display {}, encoder {}",
                    self.display, self.encoder
                ),
            ),
        ];
        let mut text = String::from("\nMultiClaw is up.\n\n");
        for (name, pid, place) in rows {
            text += &format!("  {name:<12} {pid:>7}  {place}\n");
        }
        text += &format!(
            "\nYour desktop, in a browser:\n  {}\nThe same through the relay:\n  {}\n",
            self.viewer_url,
            self.relay_viewer_url()
        );
        text += &format!(
            "The dashboard, as {} with password {}:\n  {}\n",
            self.admin.email,
            self.admin.password,
            self.dashboard_url()
        );
        text + &format!(
            "\nLogs are in {}. Ctrl-C takes everything down.",
            state.join("logs").display()
        )
    }

    fn dashboard_url(&self) -> String {
        format!("{}/", self.cloud)
    }

    fn relay_viewer_url(&self) -> String {
        let separator = if self.viewer_url.contains('#') {
            '&'
        } else {
            '#'
        };
        format!("{}{separator}mode=relay", self.viewer_url)
    }
}

/// `{"udp": "ip:port", …, "admin": "ip:port"}` from the relay's ready line, and whose certificate
/// the listener for TLS shows.
fn relay_addresses(line: &Value, authority: &Path) -> Value {
    let listen = line["listen"].as_array().into_iter().flatten();
    let mut addresses: Map<String, Value> = listen
        .filter_map(|listen| {
            let transport = match listen["transport"].as_str()? {
                "https" => "tls",
                transport => transport,
            };
            Some((transport.to_owned(), listen["address"].clone()))
        })
        .collect();
    if let Some(admin) = line.get("admin") {
        addresses.insert("admin".into(), admin.clone());
    }
    let authority = authority.display().to_string();
    addresses.insert("authority".into(), authority.into());
    Value::Object(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> Up {
        let relay = json!({"ready": "relay", "listen": [{"transport": "udp", "address": "127.0.0.1:3478"}, {"transport": "https", "address": "127.0.0.1:443"}], "admin": "127.0.0.1:9641"});
        Up {
            admin: Admin {
                email: "admin@multiclaw.local",
                password: "p".into(),
            },
            viewer_url: "http://127.0.0.1:1/connect/desk#key=k".into(),
            sound: None,
            display: ":90".into(),
            cloud: "http://127.0.0.1:1".into(),
            relay: relay_addresses(&relay, Path::new("/ca.pem")),
            encoder: "x264".into(),
        }
    }

    #[test]
    fn the_line_has_the_fields_of_the_contract_and_only_those_of_parts_that_exist() {
        let line: Value = serde_json::from_str(&up().line(vec![("cloud", 7)])).unwrap();
        assert_eq!(line["ready"], "up");
        assert_eq!(line["relay"]["udp"], "127.0.0.1:3478");
        assert_eq!(line["pids"], json!({"cloud": 7}));
        assert_eq!(line["relay"]["tls"], "127.0.0.1:443");
        assert!(line.get("gateway_url").is_none() && line["relay"].get("tcp").is_none());
    }

    #[test]
    fn the_relay_url_is_the_viewer_url_with_the_mode_beside_the_key() {
        assert_eq!(
            up().relay_viewer_url(),
            "http://127.0.0.1:1/connect/desk#key=k&mode=relay"
        );
    }

    #[test]
    fn the_table_says_where_to_click() {
        let table = up().table(vec![("cloud", 7)], Path::new("/state"));
        assert!(
            table.contains("http://127.0.0.1:1/connect/desk#key=k\n"),
            "{table}"
        );
    }
}
