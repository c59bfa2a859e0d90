//! `[oidc]`: another place where people may prove who they are. Without it nothing of it is seen.

use protocol::Secret;
use serde::Deserialize;

use super::ConfigError;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// As people know it: "Sign in with …".
    #[serde(default = "default_name")]
    pub name: String,
    /// Letter by letter as the provider writes it into its tokens.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Secret,
}

fn default_name() -> String {
    "Multiplai".into()
}

impl OidcConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let plain = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let here = plain.iter().any(|start| {
            let rest = self.issuer.strip_prefix(start);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        if self.issuer.starts_with("https://") || here {
            return Ok(());
        }
        let text = "`oidc.issuer` must begin with https://; only a provider on this machine may do without";
        Err(ConfigError(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::GOOD;
    use super::super::{Config, ConfigError};

    fn with(issuer: &str, more: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!(
            "{GOOD}[oidc]\nissuer = \"{issuer}\"\nclient_id = \"cloud\"\nclient_secret = \"hush\"\n{more}"
        ))
    }

    #[test]
    fn a_provider_is_known_by_the_name_of_multiplai_and_its_secret_is_not_shown() {
        let config = with("https://id.example.org", "").unwrap();
        assert_eq!(config.oidc.as_ref().unwrap().name, "Multiplai");
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn a_provider_elsewhere_is_asked_over_https_only() {
        assert!(with("http://localhost:9000", "").is_ok());
        for issuer in ["http://id.example.org", "http://127.0.0.1.evil.org", "id"] {
            let error = with(issuer, "").unwrap_err();
            assert!(error.0.contains("`oidc.issuer`"), "{issuer}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = with("https://id.example.org", "client = \"x\"").unwrap_err();
        assert!(error.0.contains("line 18: unknown key `client`"), "{error}");
    }
}
