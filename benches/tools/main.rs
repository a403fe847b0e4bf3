//! `make bench`: what tools and text formats cost. The parts: our own time for each round of a turn that calls a tool
//! (round-trip), what a piece of text takes through the server while many streams are open (relay), and after how many
//! characters of a model that is taught tools in its prompt the user sees the first (first-text).
//!
//! The model is a script in this process, and one reader reads both it and the server, so that neither is in a
//! difference. Differences are taken within a round. Deliberately absent: exit codes for missed budgets; a miss is said
//! in the table.

mod first_text;
mod house;
mod line;
mod model;
mod openings;
mod options;
mod relay;
mod round_trip;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use greenroom_test_support::load::{self, Row, Scratch, StagePlan, machine_line, render, say};

use house::House;
use model::Model;
use options::{Options, Part};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The bare proxy is a process of this executable.
    if arguments.first().is_some_and(|first| first.starts_with("--stage")) {
        return load::main(StagePlan::default());
    }
    if !arguments.iter().any(|word| matches!(word.as_str(), "--bench" | "run")) {
        say("tools are measured only under `cargo bench` (or with the argument `run`)");
        return ExitCode::SUCCESS;
    }
    greenroom::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = Options::parse(&arguments).and_then(|options| runtime?.block_on(measure(&options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tools: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does blocking work on a thread of its own, which nobody waits for who ends early.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    let (done, waited) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(work()));
    waited.await.context("a measurement panicked")?
}

/// Measures part by part on one server. SIGINT ends it early.
async fn measure(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let scratch = Scratch::new()?;
    let model = Model::start()?;
    let house = House::open(options, &scratch, model.address()).await?;
    let mut rows = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| options.wants(*part)) {
        let part_begun = Instant::now();
        let measured = async {
            match part {
                Part::RoundTrip => round_trip::measure(options, &house, &model).await,
                Part::Relay => relay::measure(options, &house, &model).await,
                Part::FirstText => first_text::measure(&house, &model).await,
            }
        };
        let measured = tokio::select! {
            measured = measured => measured,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
        rows.extend(measured.unwrap_or_else(|error| {
            say(&format!("tools: {}: {error:#}", part.name()));
            let row = Row::note(part.name(), String::new(), "not measured".into());
            vec![Row { kept: Some(false), vital: true, ..row }]
        }));
        say(&format!("tools: {} took {:.0} s", part.name(), part_begun.elapsed().as_secs_f64()));
    }
    house.close().await?;
    say(&render(&rows, "the model itself"));
    say(&machine_line(&rows, "tools"));
    say(&format!("tools: measured in {:.0} s", begun.elapsed().as_secs_f64()));
    Ok(())
}
