//! The document against the service it describes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use protocol::relay::REPORT_PATH;
use protocol::signal::{AGENT_PATH, VIEWER_PATH};

use super::*;
use crate::io::run::tests::Server;

#[tokio::test]
async fn every_documented_route_is_served_by_exactly_the_documented_methods() {
    let server = Server::start().await;
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 30, "{} paths", paths.len());
    for (path, item) in paths {
        let documented: BTreeSet<String> = item.as_object().unwrap().keys().cloned().collect();
        let asked = path.replace("{id}", "desk");
        // A method nobody serves is answered with those that somebody does.
        let answer = server.request("PUT", &asked, "").await;
        let allowed = answer.lines().find_map(|line| line.strip_prefix("allow: "));
        let allowed = allowed.unwrap_or_else(|| panic!("{path}: {answer}"));
        let served = allowed
            .split(',')
            .map(|method| method.trim().to_lowercase());
        let served: BTreeSet<String> = served.filter(|method| method != "head").collect();
        assert_eq!(served, documented, "{path}");
    }
}

/// `routes!` puts a route into the router and into the document at once, so a route that is not in
/// the document was added with `.route`.
#[test]
fn every_served_route_of_the_api_is_documented() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting = vec![source];
    let mut files = 0;
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            files += 1;
            let text = fs::read_to_string(&path).unwrap();
            let text: String = text.split_whitespace().collect();
            let undocumented = [".route(\"", "/api"].concat();
            assert!(!text.contains(&undocumented), "{}", path.display());
        }
    }
    assert!(files > 50, "{files} files");
    let document = document();
    for path in [VIEWER_PATH, AGENT_PATH, REPORT_PATH] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_is_printed() {
    let server = Server::start().await;
    let answer = server.request("GET", "/api/v1/openapi.json", "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), document());
}

#[test]
fn every_refusal_carries_its_codes_under_their_status() {
    let mut document = document();
    let mut seen = BTreeSet::new();
    for operation in operations(&mut document) {
        assert!(operation.contains_key("summary"), "{operation:?}");
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            if status < 400 {
                continue;
            }
            let schema = &answer["content"]["application/json"]["schema"]["allOf"];
            let codes = schema[1]["properties"]["code"]["enum"].clone();
            let codes: Vec<Code> = serde_json::from_value(codes).unwrap();
            assert!(!codes.is_empty());
            for code in codes {
                assert_eq!(code.http_status(), status, "{code}");
                seen.insert(code.as_str());
            }
        }
    }
    for code in ["SIGN_IN_FAILED", "LAST_OWNER", "QUOTA_REACHED", "INTERNAL"] {
        assert!(seen.contains(code), "{code} in {seen:?}");
    }
}

#[test]
fn a_code_that_is_none_would_be_noticed() {
    let mut described = json!(api::routes().into_openapi());
    for part in [
        Identity::routes().into_openapi(),
        signalling().into_openapi(),
    ] {
        let more = json!(part);
        for (path, item) in more["paths"].as_object().unwrap() {
            described["paths"][path] = item.clone();
        }
    }
    for operation in operations(&mut described) {
        if let Some(codes) = operation.get("x-codes") {
            serde_json::from_value::<Vec<Code>>(codes.clone()).unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    let server = Server::start().await;
    let member = server.call(
        "POST",
        "/api/v1/auth/sign-in",
        "",
        Some(json!({ "email": 1 })),
    );
    let member = member.await;
    assert_eq!(
        (member.status(), member.code()),
        (400, "BAD_MESSAGE".into())
    );
    let method = server.request("PUT", "/api/v1/me", "").await;
    assert!(method.starts_with("HTTP/1.1 404"), "{method}");
    assert!(method.contains("\"next_step\""), "{method}");
    let socket = server.request("GET", "/api/v1/instances/events", "").await;
    assert!(socket.contains("\"next_step\""), "{socket}");
}
