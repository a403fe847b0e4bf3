//! Why the profile room could not do something, and the class under which a client learns of it.

use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Complaint;
use greenroom_store::StoreError;

use crate::entity::Entity;

/// Why the profile room could not do something.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Neither `user` nor `bot`.
    #[error("Invalid entity_type '{0}'. Must be 'user' or 'bot'.")]
    BadEntityType(String),
    /// Nobody of this kind has this id.
    #[error("{} '{}' not found", .0.kind().title(), .0.id())]
    NoEntity(Entity),
    /// Nobody of any kind has this id.
    #[error("No profile found for entity '{0}'")]
    NoProfile(String),
    /// No attribute has this number.
    #[error("Attribute with ID {0} not found")]
    NoAttribute(i64),
    /// Wrong shape: status 422 with these complaints.
    #[error("{} field(s) of the request are invalid", .0.len())]
    Invalid(Vec<Complaint>),
    /// Right shape, but not possible here: status 400 with this sentence.
    #[error("{0}")]
    Refused(String),
    /// Another profile has the address.
    #[error("Another profile has this email address")]
    EmailTaken,
    /// The id of a user is a bot's.
    #[error("'{0}' is a bot, not a user")]
    IsBot(String),
    /// No bot has this slug.
    #[error("Bot '{0}' not found")]
    UnknownBot(String),
    /// A stored row that this version cannot read.
    #[error("a stored profile has an unreadable {0}")]
    Unreadable(&'static str),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProfileError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoEntity(_) | Self::NoProfile(_) | Self::NoAttribute(_) | Self::UnknownBot(_) => ErrorClass::NotFound,
            Self::BadEntityType(_) | Self::Invalid(_) | Self::Refused(_) | Self::IsBot(_) => ErrorClass::InvalidRequest,
            Self::EmailTaken => ErrorClass::Conflict,
            Self::Unreadable(_) => ErrorClass::Internal,
            Self::Store(error) => error.class(),
        }
    }
}

impl From<tokio_postgres::Error> for ProfileError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
