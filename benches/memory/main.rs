//! `make bench`: what remembering is worth and what it costs, on a real database with the real model. The parts: how much
//! of the evidence a question needs is found (recall), how fast memories are searched (search) and messages taken in
//! (insert), what a turn costs as its past grows (flat), and what a memory adds to the first token (first-token).
//!
//! Ratios are taken within one run. Deliberately absent: exit codes for missed budgets; a miss is said in the table.

mod baselines;
mod corpus;
mod first_token;
mod flat;
mod house;
mod insert;
mod model;
mod options;
mod recall;
mod search;
mod turns;

use std::process::ExitCode;
use std::time::Instant;

use greenroom_test_support::load::{self, Row, Scratch, StagePlan, machine_line, render, say};

use options::{Options, Part};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The upstream is a process of this executable.
    if arguments.first().is_some_and(|first| first.starts_with("--stage")) {
        return load::main(StagePlan::default());
    }
    if !arguments.iter().any(|word| matches!(word.as_str(), "--bench" | "run")) {
        say("memory is measured only under `cargo bench` (or with the argument `run`)");
        return ExitCode::SUCCESS;
    }
    greenroom::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = Options::parse(&arguments).and_then(|options| runtime?.block_on(measure(&options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memory: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures part by part; each has its own data directory and processes. SIGINT ends it early.
async fn measure(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let scratch = Scratch::new()?;
    let mut rows = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| options.wants(*part)) {
        let part_begun = Instant::now();
        let measured = async {
            match part {
                Part::Recall => recall::measure(options, &scratch).await,
                Part::Search => search::measure(options, &scratch).await,
                Part::Insert => insert::measure(options, &scratch).await,
                Part::Flat => flat::measure(options, &scratch).await,
                Part::FirstToken => first_token::measure(options, &scratch).await,
            }
        };
        let measured = tokio::select! {
            measured = measured => measured,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
        rows.extend(measured.unwrap_or_else(|error| {
            say(&format!("memory: {}: {error:#}", part.name()));
            let row = Row::note(part.name(), String::new(), "not measured".into());
            vec![Row { kept: Some(false), vital: true, ..row }]
        }));
        say(&format!("memory: {} took {:.0} s", part.name(), part_begun.elapsed().as_secs_f64()));
    }
    say(&render(&rows, "compared with"));
    say(&machine_line(&rows, "memory"));
    say(&format!("memory: measured in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(())
}
