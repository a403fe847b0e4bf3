//! Why the scheduler could not do something, and the class under which a client learns of it.

use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Complaint;
use greenroom_store::StoreError;
use uuid::Uuid;

/// Why the scheduler could not do something.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// No such kind of job.
    #[error("Invalid job_type '{0}'")]
    BadJobType(String),
    /// No such kind of task.
    #[error("Invalid task type: {0}")]
    BadTaskType(String),
    /// No such status.
    #[error("Invalid status '{0}'")]
    BadStatus(String),
    /// No job of this kind (for this bot).
    #[error("No scheduled job found for type: {0}")]
    NoJob(&'static str),
    /// No job, run or task has this id.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The bot does not exist or remembers nothing.
    #[error("Bot '{0}' has no memory to work on")]
    NoBot(String),
    /// The job is waiting or at work already.
    #[error("the job is already running")]
    AlreadyRunning {
        /// Its run, when it is one of the scheduler's.
        run: Option<Uuid>,
    },
    /// The scheduler is switched off.
    #[error("The job scheduler is not running")]
    Off,
    /// The task has ended, or cannot be stopped any more.
    #[error("the task has ended already")]
    Ended,
    /// Too many tasks wait.
    #[error("too many background tasks are waiting")]
    Full,
    /// Wrong shape: status 422 with these complaints.
    #[error("{} field(s) of the request are invalid", .0.len())]
    Invalid(Vec<Complaint>),
    /// The scheduler has no connection of its own at the moment.
    #[error("the job scheduler is not connected to the database")]
    Disconnected,
    /// A stored row that this version cannot read.
    #[error("a stored job has an unreadable {0}")]
    Unreadable(&'static str),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SchedulerError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BadJobType(_) | Self::BadTaskType(_) | Self::BadStatus(_) | Self::Invalid(_) => {
                ErrorClass::InvalidRequest
            }
            Self::NoJob(_) | Self::NotFound(_) | Self::NoBot(_) => ErrorClass::NotFound,
            Self::AlreadyRunning { .. } | Self::Off | Self::Ended => ErrorClass::Conflict,
            Self::Full => ErrorClass::Overloaded,
            Self::Disconnected => ErrorClass::Storage,
            Self::Unreadable(_) => ErrorClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl From<tokio_postgres::Error> for SchedulerError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
