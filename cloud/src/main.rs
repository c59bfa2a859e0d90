//! The program `multiclaw-cloud`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud::io::main()
}
