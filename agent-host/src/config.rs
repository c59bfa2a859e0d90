//! What the operator writes: strict TOML, so that a misspelt key is an error and not a default.

use std::net::IpAddr;
use std::path::PathBuf;

use protocol::id::InstanceId;
use protocol::mistake::Mistake;
use serde::Deserialize;

use crate::chroma::ChromaChoice;
use crate::encode::EncoderChoice;

/// `agent-host.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The service's URL, `https://…` or `http://…`.
    pub cloud: String,
    pub instance: InstanceId,
    /// Holds the instance's credential, and nothing else.
    pub credential_file: PathBuf,
    /// The X display, `:90`.
    pub display: String,
    #[serde(default)]
    pub video: Video,
    #[serde(default)]
    pub audio: Audio,
    #[serde(default)]
    pub network: Network,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Video {
    /// `auto`, `x264`, `openh264`, or `vaapi` and `nvenc`, which are untested on hardware.
    #[serde(default)]
    pub encoder: EncoderChoice,
    /// `"auto"`: 4:4:4 where the screen shows the difference, for viewers that decode it and asked for
    /// a sharp picture; `"444"`: for those too who asked for none; `"420"`: never.
    #[serde(default)]
    pub chroma: ChromaChoice,
}

/// What viewers hear.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audio {
    pub enabled: bool,
    /// The sound server, `unix:/run/…`; by default the one the environment names.
    pub server: Option<String>,
    /// A source of the sound server; by default what the default sink plays.
    pub source: String,
    /// Of Opus, in bits per second; [`Audio::BITRATE_MIN`] to [`Audio::BITRATE_MAX`].
    pub bitrate: u32,
}

impl Audio {
    /// Below it Opus sounds like a telephone.
    pub const BITRATE_MIN: u32 = 16_000;
    /// Above it nobody hears a difference.
    pub const BITRATE_MAX: u32 = 256_000;
    /// The sound server's name for the monitor of its default sink.
    pub const DEFAULT_SOURCE: &str = "@DEFAULT_MONITOR@";
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            enabled: true,
            server: None,
            source: Self::DEFAULT_SOURCE.into(),
            bitrate: 96_000,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Local addresses for media; empty means those of every interface.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Certificate authorities (PEM) that relays over TLS may come from, besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// What the command line and the environment say instead of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub cloud: Option<String>,
    pub instance: Option<String>,
    pub credential_file: Option<PathBuf>,
    pub display: Option<String>,
}

/// Why the configuration is refused: one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(String);

impl Config {
    /// Parses `text`, what `overrides` say put over it.
    ///
    /// # Errors
    ///
    /// [`BadConfig`] that names the key, its line and, if it is unknown, the closest known one.
    pub fn parse(text: &str, overrides: Overrides) -> Result<Self, BadConfig> {
        // The file alone first: its lines are right only before anything is put over it.
        let mut table: toml::Table = toml::from_str(text).map_err(|e| explain(text, &e))?;
        let path = |p: PathBuf| p.to_string_lossy().into_owned();
        let over = [
            ("cloud", overrides.cloud),
            ("instance", overrides.instance),
            ("credential_file", overrides.credential_file.map(path)),
            ("display", overrides.display),
        ];
        let is_overridden = over.iter().any(|(_, value)| value.is_some());
        for (key, value) in over {
            if let Some(value) = value {
                table.insert(key.into(), value.into());
            }
        }
        let config: Self = match toml::from_str(text) {
            Ok(config) if !is_overridden => config,
            Err(error) if !is_overridden || is_about_a_line(&error) => {
                return Err(explain(text, &error));
            }
            _ => {
                let merged = table.to_string();
                toml::from_str(&merged).map_err(|e| BadConfig(format!("{}.", e.message())))?
            }
        };
        config.check()
    }

    fn check(self) -> Result<Self, BadConfig> {
        let known = ["https://", "http://"]
            .iter()
            .any(|s| self.cloud.starts_with(s));
        if !known {
            return Err(BadConfig(format!(
                "cloud is {:?}, which is no URL; write it as \"https://…\".",
                self.cloud
            )));
        }
        let (min, max) = (Audio::BITRATE_MIN, Audio::BITRATE_MAX);
        if !(min..=max).contains(&self.audio.bitrate) {
            return Err(BadConfig(format!(
                "audio.bitrate is {}; write {min} to {max} bits per second.",
                self.audio.bitrate
            )));
        }
        let server = self.audio.server.as_deref().unwrap_or("default");
        for (key, value) in [("source", self.audio.source.as_str()), ("server", server)] {
            if value.is_empty() || value.contains('\0') {
                return Err(BadConfig(format!(
                    "audio.{key} names nothing; write a {key} of PulseAudio, or leave it out."
                )));
            }
        }
        Ok(self)
    }

    /// Where the agent host connects: the WebSocket of signalling.
    pub fn signalling_url(&self) -> String {
        let base = self.cloud.trim_end_matches('/');
        // "http" → "ws", "https" → "wss".
        let rest = base.strip_prefix("http").unwrap_or(base);
        format!("ws{rest}{}", protocol::signal::AGENT_PATH)
    }
}

/// A missing key has no line; it may come from a flag.
fn is_about_a_line(error: &toml::de::Error) -> bool {
    !error.message().starts_with("missing field")
}

fn explain(text: &str, error: &toml::de::Error) -> BadConfig {
    let mistake = Mistake::of(text, error);
    let place = if is_about_a_line(error) {
        mistake.place()
    } else {
        String::new()
    };
    BadConfig(match mistake.misspelt {
        Some((unknown, meant)) => {
            format!("{place}there is no key {unknown:?}; did you mean {meant:?}?")
        }
        None => format!("{place}{}.", mistake.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
cloud = "https://desk.multiclaw.io"
instance = "desk"
credential_file = "/etc/multiclaw/credential"
display = ":90"
[video]
encoder = "x264"
"#;

    fn refused(text: &str) -> String {
        Config::parse(text, Overrides::default())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_file_is_taken_and_names_the_socket() {
        let config = Config::parse(GOOD, Overrides::default()).unwrap();
        assert_eq!(config.video.encoder, EncoderChoice::X264);
        assert_eq!(
            config.signalling_url(),
            "wss://desk.multiclaw.io/api/v1/agent"
        );
    }

    #[test]
    fn every_encoder_can_be_asked_for_by_its_name() {
        for name in ["auto", "x264", "openh264", "vaapi", "nvenc"] {
            let text = GOOD.replace("\"x264\"", &format!("{name:?}"));
            let config = Config::parse(&text, Overrides::default()).unwrap();
            assert_eq!(name.parse(), Ok(config.video.encoder), "{name}");
        }
        let text = GOOD.replace("\"x264\"", "\"quartz\"");
        assert!(refused(&text).contains("vaapi"), "{}", refused(&text));
    }

    #[test]
    fn sound_is_on_at_the_default_sink_unless_the_file_says_otherwise() {
        let config = Config::parse(GOOD, Overrides::default()).unwrap();
        assert_eq!(config.audio, Audio::default());
        let text = format!("{GOOD}[audio]\nenabled = false\nsource = \"desk.monitor\"\n");
        let audio = Config::parse(&text, Overrides::default()).unwrap().audio;
        assert_eq!(
            (audio.enabled, audio.source.as_str(), audio.bitrate),
            (false, "desk.monitor", 96_000)
        );
        let text = format!("{GOOD}[audio]\nbitrat = 64000\n");
        assert_eq!(
            refused(&text),
            "line 9: there is no key \"bitrat\"; did you mean \"bitrate\"?"
        );
    }

    #[test]
    fn chroma_is_chosen_by_the_screen_and_the_file_says_for_whom() {
        let chroma = |text: &str| Config::parse(text, Overrides::default()).map(|c| c.video.chroma);
        assert_eq!(chroma(GOOD), Ok(ChromaChoice::Auto));
        let text = format!("{GOOD}chroma = \"420\"\n");
        assert_eq!(chroma(&text), Ok(ChromaChoice::Yuv420));
        assert_eq!(
            chroma(&text.replace("420", "444")),
            Ok(ChromaChoice::Yuv444)
        );
        assert!(refused(&text.replace("420", "422")).contains("line 8"));
    }

    #[test]
    fn a_bitrate_opus_is_of_no_use_at_is_refused() {
        for bitrate in [0, 15_999, 256_001] {
            let text = format!("{GOOD}[audio]\nbitrate = {bitrate}\n");
            assert!(refused(&text).contains("16000 to 256000"), "{bitrate}");
        }
        let text = format!("{GOOD}[audio]\nsource = \"\"\n");
        assert!(refused(&text).contains("audio.source"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_the_closest_known_one() {
        let text = GOOD.replace("display", "dispaly");
        assert_eq!(
            refused(&text),
            "line 5: there is no key \"dispaly\"; did you mean \"display\"?"
        );
        let text = GOOD.replace("encoder", "encodr");
        assert_eq!(
            refused(&text),
            "line 7: there is no key \"encodr\"; did you mean \"encoder\"?"
        );
    }

    #[test]
    fn a_flag_fills_in_and_overrules() {
        let text = GOOD.replace("display = \":90\"", "");
        assert!(refused(&text).contains("display"));
        let overrides = Overrides {
            display: Some(":7".into()),
            instance: Some("other".into()),
            ..Overrides::default()
        };
        let config = Config::parse(&text, overrides.clone()).unwrap();
        assert_eq!(
            (config.display.as_str(), config.instance.as_str()),
            (":7", "other")
        );
        let misspelt = text.replace("cloud", "clud");
        let error = Config::parse(&misspelt, overrides).unwrap_err().to_string();
        assert!(
            error.starts_with("line 2: there is no key \"clud\""),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_url_is_refused_before_anything_starts() {
        let text = GOOD.replace("https://desk.multiclaw.io", "desk.multiclaw.io");
        assert!(refused(&text).contains("no URL"));
    }
}
