//! `[cloud]`: where the relay registers itself.

use serde::Deserialize;

/// `[cloud]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// The service's URL.
    pub url: CloudUrl,
    /// The name clients reach this relay by, which its certificate has to show; default its public
    /// address.
    pub host: Option<String>,
}

/// `https://…` or `http://…`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CloudUrl(String);

impl CloudUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CloudUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
            return Ok(Self(text.trim_end_matches('/').to_owned()));
        }
        Err(format!(
            "`{text}` is no URL of a service, such as \"https://multiclaw.io\""
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_its_scheme_and_host() {
        let parsed = CloudUrl::try_from("https://a.example/".to_owned()).unwrap();
        assert_eq!(parsed.as_str(), "https://a.example");
        for bad in ["", "a.example", "https://", "https:///", "ws://a"] {
            assert!(CloudUrl::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
