//! The native viewer's program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    viewer::io::args::main()
}
