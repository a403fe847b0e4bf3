//! The room's SQL: one repository per aggregate. Times and ids come from the caller.

mod jobs;
mod runs;
mod session;
mod tasks;

pub(crate) use jobs::{DueJob, JobRepository};
pub(crate) use runs::{ClaimedRun, Ending, NewRun, RunRepository};
pub(crate) use session::SessionRepository;
pub(crate) use tasks::{TASK_LIMIT, TaskRepository};
