//! The `lockstep` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    host::main()
}
