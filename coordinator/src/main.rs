//! The coordinator's program. See `coordinator --help`.

fn main() -> std::process::ExitCode {
    chorale_coordinator::cli::main(std::env::args_os())
}
