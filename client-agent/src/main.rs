//! The agent at a store. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    chorale_client_agent::cli::main(std::env::args_os())
}
