//! `greenroom migrate`: brings the database up to date, or says what that would mean.

use std::process::ExitCode;

use greenroom_store::MigrationStep;

use super::terminal::say;
use super::{Migrate, data_dir_flag};
use crate::config::{self, Surroundings};
use crate::{logging, rooms};

/// Runs the command.
///
/// # Errors
/// When the database cannot be reached or a step fails.
pub async fn run(migrate: Migrate, mut around: Surroundings) -> anyhow::Result<ExitCode> {
    around.flags = data_dir_flag(migrate.data_dir.as_ref());
    let config = config::load(&around)?.config;
    logging::init(&config.log);
    let settings = rooms::store(&config);
    if migrate.dry_run {
        let state = greenroom_store::migrations(&settings).await?;
        tell("applied", &state.applied)?;
        tell("pending", &state.pending)?;
        return Ok(ExitCode::SUCCESS);
    }
    let steps = greenroom_store::migrate(&settings).await?;
    if steps.is_empty() {
        say("the database is up to date\n")?;
    }
    tell("applied", &steps)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(word: &str, steps: &[MigrationStep]) -> std::io::Result<()> {
    steps.iter().try_for_each(|step| say(&format!("{word}  V{}  {}\n", step.version, step.name)))
}
