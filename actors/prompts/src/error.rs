//! Why the prompts room could not do something, and the class under which a client learns of it.

use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Complaint;
use greenroom_store::StoreError;

use crate::language::{MissingVariable, SyntaxError};
use crate::validate::Validation;

/// Why the prompts room could not do something.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Neither a built-in prompt nor a stored one has this key (or version).
    #[error("Prompt template not found")]
    NotFound,
    /// Not a possible key.
    #[error("A prompt's key must match ^[a-z0-9._-]{{1,255}}$")]
    BadKey,
    /// Not a possible scope: status 400 with this sentence.
    #[error("{0}")]
    BadScope(&'static str),
    /// Wrong shape: status 422 with these complaints.
    #[error("{} field(s) of the request are invalid", .0.len())]
    Invalid(Vec<Complaint>),
    /// The text does not fit its key: status 400 with the validation as detail.
    #[error("the prompt is not valid: {}", .0.errors.join("; "))]
    NotValid(Box<Validation>),
    /// A prompt of the operator's own cannot be rendered, and there is no built-in one to fall back to.
    #[error("the prompt '{key}' cannot be rendered: {why}")]
    Broken {
        /// Its key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A stored row that this version cannot read.
    #[error("a stored prompt has an unreadable {0}")]
    Unreadable(&'static str),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PromptError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound => ErrorClass::NotFound,
            Self::BadKey | Self::BadScope(_) | Self::Invalid(_) | Self::NotValid(_) => ErrorClass::InvalidRequest,
            Self::Broken { .. } | Self::Unreadable(_) => ErrorClass::Internal,
            Self::Store(error) => error.class(),
        }
    }

    pub(crate) fn broken(key: &str, why: &Flaw) -> Self {
        Self::Broken { key: key.to_owned(), why: why.to_string() }
    }
}

impl From<tokio_postgres::Error> for PromptError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why one text cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error(transparent)]
    Missing(#[from] MissingVariable),
}
