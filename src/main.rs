//! The program: parse, choose the cryptography, run the command.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use greenroom::cli::{self, Cli};

/// How long tasks that are still busy may hold up the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    greenroom::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("greenroom: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(LAST_WORDS);
    outcome.unwrap_or_else(|error| {
        // A reader that has seen enough, as in `greenroom config | head`, is no failure worth words.
        let left = error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
        if !left {
            eprintln!("greenroom: {error:#}");
        }
        ExitCode::FAILURE
    })
}
