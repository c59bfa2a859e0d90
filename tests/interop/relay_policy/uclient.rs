//! coturn's own client, `turnutils_uclient`, in the modes it has, client to client.

use std::process::{Command, Output};
use std::thread;

use super::server::{PASSWORD, USER};

/// Flags of each transport, and the port it uses.
pub(crate) const TRANSPORTS: [&[&str]; 3] = [
    &["-p", "3478"],
    &["-t", "-p", "3478"],
    &["-t", "-S", "-p", "5349"],
];

/// Send instead of channels, an explicit IPv4 address, DONT-FRAGMENT, padded channels, negative
/// tests beside good ones, random disconnects.
pub(crate) const MODES: [&[&str]; 7] = [
    &["-y"],
    &["-y", "-s"],
    &["-y", "-X"],
    &["-y", "-g"],
    &["-y", "-D"],
    &["-y", "-N"],
    &["-y", "-B"],
];

/// Garbage instead of protocol, and connecting only to leave.
pub(crate) const HOSTILE_MODES: [&[&str]; 2] = [&["-y", "-R"], &["-y", "-O"]];

/// Over TLS the client offers an old protocol version at random and is refused: then it is asked
/// again, at most this often.
const ATTEMPTS: usize = 12;

/// Runs the modes side by side; returns what failed, with what the client said.
pub(crate) fn run_all(transport: &[&str], modes: &[&[&str]]) -> Vec<String> {
    thread::scope(|scope| {
        let runs: Vec<_> = modes
            .iter()
            .map(|mode| scope.spawn(move || run(transport, mode)))
            .collect();
        runs.into_iter()
            .filter_map(|run| run.join().unwrap())
            .collect()
    })
}

fn run(transport: &[&str], mode: &[&str]) -> Option<String> {
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        let output = once(transport, mode);
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() && said.contains("Total lost packets 0 ") {
            return None;
        }
        if !said.contains("alert") {
            break;
        }
    }
    Some(format!("{mode:?}: {said}"))
}

fn once(transport: &[&str], mode: &[&str]) -> Output {
    Command::new("timeout")
        .args(["20", "turnutils_uclient", "-u", USER, "-w", PASSWORD])
        .args(["-n", "5", "-m", "2", "-z", "5"])
        .args(transport)
        .args(mode)
        .arg("127.0.0.1")
        .output()
        .expect("turnutils_uclient is part of the package coturn")
}
