//! Who may change a running relay over HTTP: a program that knows the admin token, never a page.
//! A browser is told apart by its `Origin`, a name rebound to this address by its `Host`.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use protocol::Secret;

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Page,
    Name,
    Token,
}

impl Refused {
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Page => "Web pages may not change the relay: send the request without Origin.",
            Self::Name => "Ask for the relay by its IP address or as localhost.",
            Self::Token => "Send the admin token as a bearer token.",
        }
    }
}

/// Without a configured token nothing may be changed.
pub(super) fn may_change(headers: &HeaderMap, token: Option<&Secret>) -> Result<(), Refused> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Refused::Page);
    }
    if !is_asked_by_address(headers) {
        return Err(Refused::Name);
    }
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match (token, sent) {
        (Some(token), Some(sent)) if Secret::new(sent) == *token => Ok(()),
        _ => Err(Refused::Token),
    }
}

fn is_asked_by_address(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: Result<(), Refused>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let token = Secret::new("t0ken");
        assert_eq!(may_change(&map, Some(&token)), expected, "{headers:?}");
    }

    const TOKEN: (&str, &str) = ("authorization", "Bearer t0ken");

    #[test]
    fn a_program_with_the_token_may_change_the_relay() {
        for host in ["127.0.0.1:9641", "[::1]:9641", "localhost:9641", "10.0.0.5"] {
            check(&[("host", host), TOKEN], Ok(()));
        }
    }

    #[test]
    fn a_page_may_not_even_with_the_token() {
        for origin in ["https://evil.example", "http://127.0.0.1:9641", "null"] {
            let headers = [("host", "127.0.0.1:9641"), ("origin", origin), TOKEN];
            check(&headers, Err(Refused::Page));
        }
    }

    #[test]
    fn a_name_that_points_here_does_not_open_the_relay() {
        check(&[("host", "evil.example:9641"), TOKEN], Err(Refused::Name));
        check(&[TOKEN], Err(Refused::Name));
    }

    #[test]
    fn a_wrong_or_missing_token_changes_nothing() {
        let host = ("host", "127.0.0.1:9641");
        check(&[host], Err(Refused::Token));
        check(
            &[host, ("authorization", "Bearer other")],
            Err(Refused::Token),
        );
        check(&[host, ("authorization", "t0ken")], Err(Refused::Token));
    }

    #[test]
    fn without_a_configured_token_nothing_can_be_changed() {
        let mut map = HeaderMap::new();
        map.insert("host", "127.0.0.1".parse().unwrap());
        map.insert("authorization", "Bearer ".parse().unwrap());
        assert_eq!(may_change(&map, None), Err(Refused::Token));
    }
}
