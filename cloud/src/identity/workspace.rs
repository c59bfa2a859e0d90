//! Which workspace a host name means.
//!
//! `acme.multiclaw.io` is the workspace `acme`; `acme.app.multiclaw.io` is a different address and
//! no workspace. Without a suffix there is one workspace, at the service's own address. A host that
//! means none gets the same answer whether or not somebody has a workspace of that name.

use std::fmt;

/// Longest label of a host name, RFC 1035 §2.3.4.
const LABEL_LEN_MAX: usize = 63;
/// The workspace of an installation that has only one.
const ONLY: &str = "home";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkspaceId(String);

impl WorkspaceId {
    /// One label of a host name, in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let sound = (1..=LABEL_LEN_MAX).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        sound.then(|| Self(text.into()))
    }

    /// The workspace of an installation that has only one.
    pub fn only() -> Self {
        Self(ONLY.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host names of the service.
#[derive(Clone, Debug)]
pub struct Hosts {
    scheme: String,
    /// Host and port of the service's own address, lower case.
    authority: String,
    suffix: Option<String>,
}

impl Hosts {
    /// `public_url` as people reach the service; `suffix` as in `multiclaw.io`.
    pub fn new(public_url: &str, suffix: Option<&str>) -> Self {
        let (scheme, rest) = public_url.split_once("://").unwrap_or(("http", public_url));
        let authority = rest.split('/').next().unwrap_or_default();
        Self {
            scheme: scheme.to_ascii_lowercase(),
            authority: authority.to_ascii_lowercase(),
            suffix: suffix.map(|suffix| suffix.trim_start_matches('.').to_ascii_lowercase()),
        }
    }

    /// The workspace at `host`, the value of a `Host` header.
    pub fn workspace_at(&self, host: &str) -> Option<WorkspaceId> {
        let host = host.to_ascii_lowercase();
        let Some(suffix) = &self.suffix else {
            return (host == self.authority).then(WorkspaceId::only);
        };
        let name = host.strip_suffix(&self.port()).unwrap_or(&host);
        WorkspaceId::parse(name.strip_suffix(suffix.as_str())?.strip_suffix('.')?)
    }

    /// Scheme, host and port of a workspace: made from the configuration, never from a header, so
    /// that nobody can poison the links in mails.
    pub fn origin_of(&self, workspace: &WorkspaceId) -> String {
        match &self.suffix {
            None => self.own_origin(),
            Some(suffix) => format!("{}://{workspace}.{suffix}{}", self.scheme, self.port()),
        }
    }

    /// Scheme, host and port of the service's own address.
    pub fn own_origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Cookies can be `Secure`.
    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// `:8443`, or nothing.
    fn port(&self) -> String {
        match self.authority.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!(":{port}"),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_one_label_below_the_suffix_and_nothing_else() {
        let hosts = Hosts::new("https://multiclaw.io", Some("multiclaw.io"));
        let acme = WorkspaceId::parse("acme").unwrap();
        assert_eq!(hosts.workspace_at("ACME.multiclaw.io"), Some(acme.clone()));
        assert_eq!(hosts.origin_of(&acme), "https://acme.multiclaw.io");
        for host in [
            "multiclaw.io",
            "acme.app.multiclaw.io",
            "acme.multiclaw.io.evil.org",
            "acmemulticlaw.io",
            "evil.org",
            ".multiclaw.io",
            "",
        ] {
            assert_eq!(hosts.workspace_at(host), None, "{host}");
        }
    }

    #[test]
    fn an_installation_with_one_workspace_answers_at_its_own_address_only() {
        let hosts = Hosts::new("http://127.0.0.1:8443/", None);
        assert_eq!(
            hosts.workspace_at("127.0.0.1:8443"),
            Some(WorkspaceId::only())
        );
        // DNS rebinding: the page of another name that resolves to us.
        assert_eq!(hosts.workspace_at("evil.org:8443"), None);
    }
}
