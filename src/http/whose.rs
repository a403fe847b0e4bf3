//! Whose memory a request means: the bot it names or the default one, and the memory of that bot. Also what the rooms
//! behind memory refuse, in the words clients are told.

use std::sync::Arc;

use greenroom_bot::Bot;
use greenroom_embedder::EmbedError;
use greenroom_memory::summaries::SummaryError;
use greenroom_memory::{MemoryError, Namespace};
use greenroom_protocol::fields::Fields;
use greenroom_protocol::{ErrorClass, UserId};
use serde_json::json;

use super::call::Call;
use super::error::ApiError;
use crate::house::House;

/// What clients are told when the database is away.
pub const AWAY: &str = "Memory service unavailable";

/// A bot and its memory.
pub struct Whose {
    /// The bot.
    pub bot: Arc<Bot>,
    /// Its memory.
    pub namespace: Namespace,
}

impl Whose {
    /// The bot that is named, or the default one.
    ///
    /// # Errors
    /// 404 when there is no such bot.
    pub fn named(house: &House, name: Option<&str>) -> Result<Self, ApiError> {
        let directory = house.bots.directory();
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let bot = match name {
            Some(name) => directory.named(name),
            None => directory.default_bot(),
        };
        let bot = bot.cloned().ok_or_else(|| {
            ApiError::not_found(format!(
                "Bot '{}' not found",
                name.unwrap_or_default().chars().take(128).collect::<String>()
            ))
        })?;
        Ok(Self { namespace: house.bots.namespace(&bot), bot })
    }

    /// The bot of the query's `bot_id`.
    ///
    /// # Errors
    /// 404 when there is no such bot.
    pub fn of_query(call: &Call) -> Result<Self, ApiError> {
        Self::named(&call.house, call.query().get("bot_id"))
    }

    /// The bot's slug.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.bot.slug().as_str()
    }
}

/// A key that is bound to one user sees nothing of what a bot knows of all.
///
/// # Errors
/// 403 for such a key.
pub fn whole_memory(call: &Call) -> Result<(), ApiError> {
    match call.caller.user {
        Some(_) if !call.caller.is_admin() => {
            Err(ApiError::NotAllowed("This key speaks for one user and may not see what a bot knows of all".into()))
        }
        _ => Ok(()),
    }
}

/// The only user whose messages the caller may see, if there is such a bound.
#[must_use]
pub fn bound_user(call: &Call) -> Option<UserId> {
    call.caller.user.clone().filter(|_| !call.caller.is_admin())
}

/// A user that a request narrows itself to. The bound of the key comes first.
///
/// # Errors
/// 403 when the key is bound to somebody else.
pub fn narrowed(call: &Call, fields: &mut Fields<'_>, name: &str) -> Result<Option<UserId>, ApiError> {
    let asked = fields.text_max(name, 128).some().filter(|text| !text.trim().is_empty());
    let asked = asked.and_then(|text| match UserId::parse(&text) {
        Ok(user) => Some(user),
        Err(bad) => {
            fields.complain("value_error", name, bad.to_string());
            None
        }
    });
    match (bound_user(call), asked) {
        (Some(bound), Some(asked)) if bound != asked => {
            Err(ApiError::NotAllowed("This key speaks for another user".into()))
        }
        (bound, asked) => Ok(bound.or(asked)),
    }
}

impl From<MemoryError> for ApiError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Embedding(error) => error.into(),
            MemoryError::Ambiguous { ref candidates, .. } => Self::Detailed {
                class: ErrorClass::Conflict,
                detail: json!({"message": error.to_string(), "candidates": candidates}),
            },
            error => {
                let (class, retry_after) = (error.class(), error.retry_after());
                let away = class == ErrorClass::Storage;
                let message = error.to_string();
                if away {
                    tracing::warn!(source = message, "memory is away");
                }
                let message = if away { AWAY.to_owned() } else { message };
                Self::Room { class, message, safe: away, retry_after }
            }
        }
    }
}

impl From<SummaryError> for ApiError {
    fn from(error: SummaryError) -> Self {
        match error {
            SummaryError::Memory(error) => error.into(),
            SummaryError::Store(error) => MemoryError::Store(error).into(),
            SummaryError::Ambiguous { ref candidates } => Self::Detailed {
                class: ErrorClass::Conflict,
                detail: json!({"message": error.to_string(), "candidates": candidates}),
            },
            error => Self::room(error.class(), error),
        }
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        let (class, retry_after) = (error.class(), error.retry_after());
        let (message, safe) = match &error {
            // The reason may name folders of this machine.
            EmbedError::Unavailable(reason) => {
                tracing::debug!(reason, "no embeddings");
                ("Embeddings are not available: the model is not loaded".to_owned(), true)
            }
            EmbedError::Busy => ("Too many texts wait to be embedded".to_owned(), true),
            other => (other.to_string(), false),
        };
        Self::Room { class, message, safe, retry_after }
    }
}
