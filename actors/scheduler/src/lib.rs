//! The scheduler: durable jobs and their runs, and a durable queue of background tasks.
//!
//! - [`Scheduler`] is the handle. One process leads (an advisory lock on a connection of its own); all others stand by and
//!   take over. Whatever is begun is a row first, unique for its job, bot and instant.
//! - [`JobWork`] is the work itself, given by the front door; the scheduler knows neither bots nor memories.
//! - [`Clock`]: tests turn it.
//!
//! Deliberately absent: calendars. Jobs have intervals; what must happen at a time of day belongs to another room.

mod actor;
mod bookkeeping;
mod clock;
mod driver;
mod engine;
mod error;
mod execute;
mod job;
mod payload;
mod repository;
mod run;
mod scheduler;
mod session;
mod settings;
mod task;
mod timing;
mod work;

pub use clock::{Clock, SystemClock};
pub use error::SchedulerError;
pub use job::{ALL_BOTS, Job, JobFilter, JobPage, JobPatch, JobType};
pub use run::{Run, RunFilter, RunPage, RunStatus, Trigger, Triggered};
pub use scheduler::{Scheduler, WAIT_MAX};
pub use session::Hold;
pub use settings::SchedulerSettings;
pub use task::{Task, TaskDraft, TaskFilter, TaskPage, TaskStatus, TaskType};
pub use work::{Answer, Failure, Gate, JobRef, JobWork};
