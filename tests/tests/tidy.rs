//! Properties of the house itself, checked like any other behaviour: which room may use which, how
//! long things may get, and that what is written about it is true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms each room may use. A new arrow is a design decision: edit this table in the same
/// commit, and say why in the message.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("web", &[]),
    ("peer", &["protocol"]),
    ("platform", &["protocol"]),
    ("relay", &["protocol"]),
    ("agent-host", &["protocol", "peer", "platform"]),
    ("viewer", &["protocol", "peer", "platform", "web"]),
    ("signalling", &["protocol"]),
    ("cloud", &["protocol", "signalling", "web"]),
    (
        "tests",
        &[
            "agent-host",
            "cloud",
            "peer",
            "protocol",
            "relay",
            "signalling",
            "viewer",
            "web",
        ],
    ),
    ("xtask", &[]),
];

/// Lines of a function, from `fn` to its closing brace: a tall screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file, tests included: above, two concepts live in it.
const FILE_LINES_MAX: usize = 800;

/// What never stands in a file, with the reason. Spelled in halves so that this file passes.
const BANNED: &[(&str, &str, &str)] = &[
    ("to", "do!(", "nothing is left to be written later"),
    ("unimpl", "emented!(", "nothing is left to be written later"),
    ("db", "g!(", "a left-over of debugging"),
    ("#[ign", "ore", "a test that does not run proves nothing"),
    ("test.sk", "ip(", "a test that does not run proves nothing"),
    ("it.sk", "ip(", "a test that does not run proves nothing"),
    (
        "describe.sk",
        "ip(",
        "a test that does not run proves nothing",
    ),
    ("/wo", "rk/", "a path outside the repository"),
    ("../sha", "red", "a path outside the repository"),
];

#[test]
fn dependencies_follow_the_arrows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let from = package["name"].as_str().unwrap();
        let Some(allowed_from) = allowed.get(from) else {
            wrong.push(format!(
                "{from} is a room without arrows: add it to the table"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if allowed.contains_key(to) && !allowed_from.contains(&to) {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn only_peer_names_str0m() {
    let mut wrong = Vec::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let names_it = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .any(|dependency| dependency["name"] == "str0m" && dependency["kind"].is_null());
        if names_it && name != "peer" {
            wrong.push(name.to_owned());
        }
    }
    none(&wrong);
}

#[test]
fn every_function_fits_a_screen() {
    let mut long = Vec::new();
    for (path, text) in files(&["rs"]) {
        for (line, name, length) in functions(&text) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!(
                    "{}:{line} {name} has {length} lines",
                    path.display()
                ));
            }
        }
    }
    none(&long);
}

#[test]
fn no_file_holds_two_concepts() {
    let long: Vec<String> = files(&["rs", "mjs", "js", "css"])
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().contains("vendor"))
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            (lines > FILE_LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
        })
        .collect();
    none(&long);
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let silent: Vec<String> = files(&["rs"])
        .into_iter()
        // `include!`d files cannot have `//!`; `tests.rs` is the lower half of the file it tests.
        .filter(|(path, text)| !text.starts_with("//") && !path.ends_with("tests.rs"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    none(&silent);
}

#[test]
fn banned_words_stand_nowhere() {
    let mut found = Vec::new();
    for (path, text) in files(&["rs", "mjs", "js", "toml", "md", "css", "html", "run"]) {
        for (first, second, reason) in BANNED {
            let word = format!("{first}{second}");
            for (number, _) in text
                .lines()
                .enumerate()
                .filter(|line| line.1.contains(&word))
            {
                found.push(format!(
                    "{}:{} `{word}`: {reason}",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    none(&found);
}

/// How long a comparison of bytes takes says how many of them are right.
#[test]
fn attack_15_what_is_made_of_a_secret_is_never_compared_byte_by_byte() {
    let compared = |line: &str| {
        // Two of the type `Secret` take the same time anyway.
        let names = ["hash", "mac", "tag", "signature"];
        names.iter().any(|name| {
            ["==", "!="].iter().any(|by| {
                line.contains(&format!("{name} {by} "))
                    || line.contains(&format!(" {by} {name}"))
                    || line.contains(&format!(" {by} *{name}"))
            })
        })
    };
    assert!(compared("if self.handle_hash == *handle {"));
    assert!(compared("found != hash"));
    let mut found = Vec::new();
    for (path, text) in files(&["rs"]) {
        let tests = path.components().any(|part| part.as_os_str() == "tests");
        if tests || path.ends_with("tests.rs") {
            continue;
        }
        let code = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"));
        for (number, line) in code.enumerate().filter(|(_, line)| compared(line)) {
            found.push(format!("{}:{} {line}", path.display(), number + 1));
        }
    }
    none(&found);
}

#[test]
fn the_architecture_page_names_every_room() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let missing: Vec<String> = ARROWS
        .iter()
        .map(|(room, _)| format!("`{room}/`"))
        .filter(|room| !page.contains(room))
        .collect();
    none(&missing);
}

#[test]
fn every_xtask_command_the_readme_names_exists() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let main = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    let unknown: Vec<&str> = readme
        .split("cargo xtask ")
        .skip(1)
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .next()
        })
        .filter(|command| !command.is_empty() && !main.contains(&variant(command)))
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn every_test_the_protocol_tables_name_exists() {
    let defined: String = files(&["rs"]).into_iter().map(|(_, text)| text).collect();
    let mut missing = Vec::new();
    for (path, text) in files(&["md"]) {
        if !path.starts_with("docs/rfc") {
            continue;
        }
        let named = text.split('`').skip(1).step_by(2);
        let names = named.filter(|word| is_test_name(word));
        missing.extend(
            names
                .filter(|name| !defined.contains(&format!("fn {name}(")))
                .map(|name| format!("{}: {name}", path.display())),
        );
    }
    none(&missing);
}

/// A sentence: words of a function's name with at least three underscores between them.
fn is_test_name(word: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(letters) && word.matches('_').count() >= 3
}

/// `up` → `Command::Up`.
fn variant(command: &str) -> String {
    let name: String = command
        .split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    format!("Command::{name}")
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

/// The files git would keep with one of the endings, by path from the root, with their text.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            let ending = name.rsplit('.').next().unwrap_or_default();
            if path.is_dir() {
                let skipped = name == "target"
                    || name == "node_modules"
                    || name == ".git"
                    || name == ".state";
                folders.extend((!skipped).then_some(path));
            } else if endings.contains(&ending) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().into(), text));
            }
        }
    }
    found.sort();
    found
}

/// Line, name and length of each function, by the indentation rustfmt gives its closing brace.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line.trim_start()) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((start + 1, name.to_owned(), length + 1));
        }
    }
    found
}

/// The name if a line begins a function with a body of several lines.
fn function_name(line: &str) -> Option<&str> {
    let words = [
        "pub ",
        "pub(crate) ",
        "pub(super) ",
        "const ",
        "async ",
        "unsafe ",
        "extern \"C\" ",
    ];
    let mut rest = line;
    while let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
        rest = &rest[word.len()..];
    }
    let name = rest.strip_prefix("fn ")?.split(['(', '<']).next()?;
    (!line.ends_with(';') && !line.ends_with('}')).then_some(name)
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
