//! Where the time goes until a page shows the desktop: the browser's own timeline of the page, told
//! in milliseconds since the tab was asked for. Pages that set no marks of ours have fewer moments.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Evaluated in the page after its first frame; `at` are milliseconds since `origin`, which is unix
/// time. Files are what the page itself is made of, not what it asks of an API.
pub const TIMELINE: &str = r#"(() => {
  const [html] = performance.getEntriesByType("navigation");
  const files = performance.getEntriesByType("resource")
    .filter(({ initiatorType }) => ["link", "script", "css", "other"].includes(initiatorType));
  const at = { html: html?.responseEnd };
  if (files.length > 0) at.files = Math.max(...files.map(({ responseEnd }) => responseEnd));
  for (const { name, startTime } of performance.getEntriesByType("mark")) {
    if (name.startsWith("multiclaw.")) at[name.slice("multiclaw.".length)] = startTime;
  }
  return { origin: performance.timeOrigin, requests: files.length, at };
})()"#;

/// One opening: `ms` until the display showed the desktop, `requests` for the files of the page beside
/// its HTML, and `at`, what had happened when.
///
/// `opened_unix` is when the tab was asked for, `shown` how long after that its picture was there.
pub fn told(timeline: &Value, opened_unix: Duration, shown: Duration) -> Value {
    let mut at = Map::new();
    if let Some(origin) = timeline["origin"].as_f64() {
        let navigated = origin - opened_unix.as_secs_f64() * 1000.0;
        at.insert("navigated".to_owned(), json!(navigated.round()));
        let moments = timeline["at"].as_object().into_iter().flatten();
        at.extend(moments.filter_map(|(name, moment)| {
            let since = navigated + moment.as_f64()?;
            Some((name.clone(), json!(since.round())))
        }));
    }
    let shown = (shown.as_secs_f64() * 1000.0).round();
    json!({ "ms": shown, "requests": timeline["requests"], "at": at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_page_are_told_from_when_its_tab_was_asked_for() {
        let timeline =
            json!({ "origin": 1_000_040.0, "requests": 3, "at": { "html": 10.4, "begun": 25.0 } });
        let opened = Duration::from_secs(1_000);
        let told = told(&timeline, opened, Duration::from_micros(200_300));
        let expected = json!({ "navigated": 40.0, "html": 50.0, "begun": 65.0 });
        assert_eq!(told, json!({ "ms": 200.0, "requests": 3, "at": expected }));
    }

    #[test]
    fn a_page_that_tells_nothing_still_has_its_time() {
        let told = told(&Value::Null, Duration::ZERO, Duration::from_millis(750));
        assert_eq!(told, json!({ "ms": 750.0, "requests": null, "at": {} }));
    }
}
