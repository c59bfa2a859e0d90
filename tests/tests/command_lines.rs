//! What every program says to somebody who got its command line wrong: exit code, cause, next step.
#![cfg(feature = "net")]

use std::process::Command;

use tests::relay_program::program;

/// Exit code of a wrong configuration, the same for all programs.
const WRONG_CONFIGURATION: i32 = 2;

#[test]
fn a_file_that_is_not_there_is_named_with_the_flag_that_chooses_another() {
    let viewer = "connect --cloud http://127.0.0.1:1 --instance desk --headless --token-file";
    let asked = [
        ("multiclaw-relay", "--config"),
        ("multiclaw-cloud", "--config"),
        ("multiclaw-agent-host", "--config"),
        ("multiclaw-viewer", viewer),
    ];
    for (name, arguments) in asked {
        let mut command = Command::new(program(name).unwrap());
        command.args(arguments.split(' ')).arg("/nowhere/at.all");

        let output = command.output().unwrap();

        let said = String::from_utf8_lossy(&output.stderr);
        let flag = arguments.split(' ').next_back().unwrap();
        assert_eq!(output.status.code(), Some(WRONG_CONFIGURATION), "{said}");
        assert!(said.contains("/nowhere/at.all"), "{name}: {said}");
        let next_step = format!("pass another file with {flag}");
        assert!(said.contains(&next_step), "{name}: {said}");
    }
}
