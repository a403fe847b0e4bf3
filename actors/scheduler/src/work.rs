//! What the scheduler asks of whoever can do the work. It knows neither bots nor memories: the front door gives it this.

use std::future::Future;
use std::pin::Pin;

use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::job::JobType;
use crate::task::Task;

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What is to be done, and on whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRef<'a> {
    /// The kind of work.
    pub job: JobType,
    /// The bot; `None` for work that concerns all at once ([`JobType::is_per_bot`] is false).
    pub bot: Option<&'a BotSlug>,
}

/// Whether there is anything to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// There is.
    Run,
    /// There is not, for this reason.
    Skip(String),
}

/// Why work failed. The message is stored and shown to the operator: no message text, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For people.
    pub message: String,
    /// Whether the same may well succeed later; a task is then tried again.
    pub transient: bool,
}

impl Failure {
    /// The same would fail again.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false }
    }

    /// The same may succeed later.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::permanent(message)
    }
}

/// Does the work. Everything must bear being dropped at any await, and being done twice.
pub trait JobWork: Send + Sync + 'static {
    /// The bots that a job on `*` concerns, as they are now.
    fn bots(&self) -> Vec<BotSlug>;

    /// Whether there is anything to do, asked before each run that was not forced. A failing gate fails the run.
    fn gate<'a>(&'a self, of: JobRef<'a>, last_success: Option<Timestamp>) -> Answer<'a, Gate>;

    /// Does a job's work. A non-null member `error` of the result makes the run failed; the result is kept either way.
    /// When `cancel` fires, the work ends soon and by itself.
    fn run<'a>(&'a self, of: JobRef<'a>, config: &'a Value, cancel: CancellationToken) -> Answer<'a, Value>;

    /// Does a task. Its payload has been checked and its defaults filled in. A logical failure inside the result still
    /// completes the task.
    fn task<'a>(&'a self, task: &'a Task, cancel: CancellationToken) -> Answer<'a, Value>;
}
