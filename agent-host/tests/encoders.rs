//! What choosing an encoder prints.

use std::process::Command;

#[test]
fn an_encoder_speaks_only_through_the_log() {
    // The encoder is measured before the display is found missing.
    let output = Command::new(env!("CARGO_BIN_EXE_multiclaw-agent-host"))
        .args(["bench", "--on", ":4711", "--encoder", "openh264"])
        .args(["--log-format", "json"])
        .env("MULTICLAW_LOG", "info")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("\"encoder chosen\""), "{said}");
    let other: Vec<_> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(other[0].starts_with("multiclaw-agent-host: "), "{other:?}");
}
