//! The status page as one HTML file beside its style: no script, so that any server that can send
//! files shows it when this service is down.

use std::fmt::Write;
use std::time::Duration;

use super::{Level, Part, Relay, RelayState, Report};

/// How often the page is written.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(10);
/// The name of the style beside the page.
pub const STYLE_NAME: &str = "status.css";

/// The whole page.
pub fn render(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>MultiClaw status</title>\n\
         <link rel=\"stylesheet\" href=\"{STYLE_NAME}\">\n</head>\n<body>\n<main>\n\
         <h1>MultiClaw status</h1>\n<p class=\"sum\" data-level=\"{}\">{}</p>\n",
        word(report.level()),
        sentence(report.level()),
    );
    parts(&mut html, "Components", &report.components, &[]);
    parts(&mut html, "Regions", &report.regions, &report.relays);
    incidents(&mut html, report);
    let time = time(report.written_unix);
    add(
        &mut html,
        &format!(
            "<p class=\"quiet\">As of {time}. This page is written every {} s: if that time is long past, \
         the service itself is down.</p>\n</main>\n</body>\n</html>\n",
            WRITTEN_EVERY.as_secs()
        ),
    );
    html
}

fn parts(html: &mut String, title: &str, parts: &[Part], relays: &[Relay]) {
    if parts.is_empty() {
        return;
    }
    add(html, &format!("<h2>{title}</h2>\n<ul>\n"));
    for part in parts {
        let (name, level) = (escape(&part.name), word(part.level));
        add(
            html,
            &format!("<li><span>{name}</span> <strong data-level=\"{level}\">{level}</strong>\n"),
        );
        relays_of(html, part, relays);
        add(html, "</li>\n");
    }
    add(html, "</ul>\n");
}

/// Numbered, not named: their addresses are for those who have a session.
fn relays_of(html: &mut String, region: &Part, relays: &[Relay]) {
    let own = relays.iter().filter(|relay| relay.region == region.name);
    let mut rows = (1..).zip(own).peekable();
    if rows.peek().is_none() {
        return;
    }
    add(html, "<ul class=\"relays\">\n");
    for (number, relay) in rows {
        let state = state(relay.state);
        let load = relay.load_permille.map_or(String::new(), |permille| {
            let percent = f64::from(permille) / 10.0;
            format!(" <span>{percent:.1} % full</span>")
        });
        let heard = relay.heard_unix.map_or(String::new(), |unix| {
            format!(" <span class=\"quiet\">heard {}</span>", time(unix))
        });
        add(
            html,
            &format!(
                "<li data-relay=\"{state}\"><span>Relay {number}: {state}</span>{load}{heard}</li>\n"
            ),
        );
    }
    add(html, "</ul>\n");
}

fn state(state: RelayState) -> &'static str {
    match state {
        RelayState::Serving => "serving",
        RelayState::Draining => "draining",
        RelayState::Silent => "silent",
        RelayState::Unheard => "not heard yet",
    }
}

fn incidents(html: &mut String, report: &Report) {
    add(html, "<h2>Incidents</h2>\n");
    if report.incidents.is_empty() {
        return add(html, "<p>None in the last 90 days.</p>\n");
    }
    add(html, "<ul>\n");
    for incident in &report.incidents {
        let (part, level) = (escape(&incident.part), word(incident.level));
        let until = match incident.ended_unix {
            Some(ended) => format!("until {}", time(ended)),
            None => "until now".to_owned(),
        };
        let began = time(incident.began_unix);
        add(
            html,
            &format!(
                "<li><span>{part} was <strong data-level=\"{level}\">{level}</strong></span> \
             <span class=\"quiet\">{began} {until}</span></li>\n"
            ),
        );
    }
    add(html, "</ul>\n");
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Operational => "operational",
        Level::Unknown => "unknown",
        Level::Degraded => "degraded",
        Level::Down => "down",
    }
}

fn sentence(level: Level) -> &'static str {
    match level {
        Level::Operational => "Everything works.",
        Level::Unknown => "Not every part has been heard of yet.",
        Level::Degraded => "Something works less well than it should.",
        Level::Down => "Something does not work.",
    }
}

fn add(html: &mut String, text: &str) {
    let written = html.write_str(text);
    debug_assert!(written.is_ok(), "a string takes everything");
}

fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// `2026-11-21 08:00:00 UTC`: days counted from the civil epoch (Howard Hinnant, `civil_from_days`).
fn time(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Incident, Part};

    #[test]
    fn times_are_written_as_people_read_them() {
        for (unix, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_248_000, "2026-11-21 08:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
        ] {
            assert_eq!(time(unix), expected);
        }
    }

    #[test]
    fn a_region_shows_its_relays_with_load_drain_and_when_they_were_heard() {
        let relay = |state, load_permille, heard_unix| Relay {
            region: "eu".into(),
            state,
            load_permille,
            heard_unix,
        };
        let report = Report {
            regions: vec![Part {
                name: "eu".into(),
                level: Level::Operational,
                since_unix: 1,
            }],
            relays: vec![
                relay(RelayState::Serving, Some(125), Some(951_782_400)),
                relay(RelayState::Draining, Some(0), Some(951_782_400)),
                relay(RelayState::Unheard, None, None),
            ],
            ..Report::default()
        };
        let html = render(&report);
        for words in [
            "Relay 1: serving</span> <span>12.5 % full</span>",
            "heard 2000-02-29 00:00:00 UTC",
            "Relay 2: draining</span> <span>0.0 % full",
            "Relay 3: not heard yet</span></li>",
        ] {
            assert!(html.contains(words), "{words} in {html}");
        }
    }

    #[test]
    fn a_region_named_by_a_joker_is_text_and_nothing_else() {
        let report = Report {
            regions: vec![Part {
                name: "<script>".into(),
                level: Level::Down,
                since_unix: 1,
            }],
            incidents: [Incident {
                part: "<script>".into(),
                level: Level::Down,
                began_unix: 1,
                ended_unix: None,
            }]
            .into(),
            ..Report::default()
        };
        let html = render(&report);
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
        assert!(html.contains("until now") && html.contains("Something does not work."));
    }
}
