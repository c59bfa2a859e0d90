//! Which web pages may open a socket here: only our own.
//!
//! Browsers always send `Origin` with a WebSocket; programs that are not browsers send none. A
//! foreign page is refused before the upgrade, so that it cannot drive a viewer from elsewhere.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use protocol::problem::{Code, Problem};

/// The origins of our pages, `https://acme.multiclaw.io`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Takes URLs; their paths do not matter.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        Self(urls.into_iter().map(origin_of).collect())
    }

    pub(crate) fn check_viewer(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let known = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        if self.0.iter().any(known) {
            return Ok(());
        }
        let ours = self.0.first().map_or("its own address", String::as_str);
        Err(Problem::new(
            Code::AccessDenied,
            "The page was loaded from another address than this service's.",
            format!("Open the page from {ours}."),
        ))
    }
}

/// No agent host is a web page.
pub(crate) fn check_agent(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(ORIGIN) {
        return Err(Problem::new(
            Code::AccessDenied,
            "Agent hosts connect here, web pages do not.",
            "Open the instance's page to connect to it.",
        ));
    }
    Ok(())
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let (head, tail) = url.split_at(after_scheme);
    let host = tail.split('/').next().unwrap_or_default();
    format!("{head}{host}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_our_own_pages_and_programs_without_pages_may_connect() {
        let origins = Origins::new(["https://Acme.multiclaw.io/"]);
        let mut headers = HeaderMap::new();
        assert!(origins.check_viewer(&headers).is_ok());
        for (origin, allowed) in [
            ("https://acme.multiclaw.io", true),
            ("http://acme.multiclaw.io", false),
            ("https://acme.multiclaw.io:444", false),
            ("https://acme.multiclaw.io.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            assert_eq!(origins.check_viewer(&headers).is_ok(), allowed, "{origin}");
            assert!(check_agent(&headers).is_err());
        }
    }
}
