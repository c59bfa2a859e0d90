//! Which requests may change something with a cookie, and what the cookies are called.
//!
//! A browser says where a request comes from: `Origin` with every POST, `Sec-Fetch-Site` with all.
//! What changes something must come from our own page; a request that says neither is no browser
//! and has no business with a cookie.

/// The cookie of a sign-in. Over plain HTTP, which only loopback should use, browsers refuse the
/// prefix `__Host-`, so the plain name is used there and nowhere else.
pub fn session_cookie(https: bool) -> &'static str {
    if https {
        "__Host-multiclaw-session"
    } else {
        "multiclaw-session"
    }
}

/// The cookie that tells a browser that signed in before.
pub fn device_cookie(https: bool) -> &'static str {
    if https {
        "__Host-multiclaw-device"
    } else {
        "multiclaw-device"
    }
}

/// The cookie that binds an attempt to sign in at a provider to its browser.
pub fn attempt_cookie(https: bool) -> &'static str {
    if https {
        "__Host-multiclaw-attempt"
    } else {
        "multiclaw-attempt"
    }
}

/// `Set-Cookie`: host only, invisible to scripts, not sent by foreign pages' POSTs.
pub fn set_cookie(name: &str, value: &str, age_max_secs: u64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_max_secs}{secure}")
}

/// The value of one cookie among those of a `Cookie` header. If a name comes twice, somebody on a
/// sibling host planted one: then none is taken.
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut values = header.split(';').filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether a request that changes something comes from our own page at `own_origin`.
pub fn is_own_page(own_origin: &str, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
    let site = fetch_site.is_none_or(|site| site == "same-origin");
    match origin {
        Some(origin) => site && origin.eq_ignore_ascii_case(own_origin),
        None => fetch_site == Some("same-origin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_page_changes_something() {
        let own = "https://acme.multiclaw.io";
        assert!(is_own_page(own, Some(own), Some("same-origin")));
        assert!(is_own_page(own, Some(own), None));
        assert!(is_own_page(own, None, Some("same-origin")));
        for (origin, site) in [
            (Some("https://evil.org"), None),
            (Some("https://other.multiclaw.io"), Some("same-site")),
            (Some("null"), None),
            (Some(own), Some("cross-site")),
            (None, Some("none")),
            (None, None),
        ] {
            assert!(!is_own_page(own, origin, site), "{origin:?} {site:?}");
        }
    }

    #[test]
    fn a_cookie_planted_beside_ours_is_not_taken() {
        assert_eq!(cookie("a=1; s=2", "s"), Some("2"));
        assert_eq!(cookie("s=1; s=2", "s"), None);
        assert_eq!(cookie("ss=1", "s"), None);
    }

    #[test]
    fn a_cookie_is_bound_to_the_host_and_hidden_from_scripts() {
        let text = set_cookie(session_cookie(true), "x", 60, true);
        assert!(text.starts_with("__Host-") && text.contains("; Secure"));
        assert!(text.contains("HttpOnly") && text.contains("SameSite=Lax"));
        assert!(text.contains("Path=/") && !text.contains("Domain"));
    }
}
