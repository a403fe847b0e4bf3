//! Who a profile is about. An [`Entity`] is always canonical: trimmed, lower-cased and bounded.

use greenroom_protocol::fields::Complaint;
use greenroom_protocol::{BotSlug, UserId};
use serde::Serialize;

use crate::error::ProfileError;

/// Longest id, in characters.
pub const ID_MAX: usize = 100;

/// What kind of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityType {
    /// A person.
    User,
    /// A bot.
    Bot,
}

impl EntityType {
    /// Reads the API's word, in any case.
    ///
    /// # Errors
    /// [`ProfileError::BadEntityType`].
    pub fn parse(word: &str) -> Result<Self, ProfileError> {
        match word.trim().to_ascii_lowercase().as_str() {
            "user" => Ok(Self::User),
            "bot" => Ok(Self::Bot),
            _ => Err(ProfileError::BadEntityType(word.chars().take(80).collect())),
        }
    }

    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Bot => "bot",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Bot => "Bot",
        }
    }
}

/// Who a profile is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Entity {
    #[serde(rename = "entity_type")]
    kind: EntityType,
    #[serde(rename = "entity_id")]
    id: String,
}

impl Entity {
    /// Canonicalises and checks.
    ///
    /// # Errors
    /// [`ProfileError::BadEntityType`], [`ProfileError::Invalid`].
    pub fn parse(kind: &str, id: &str) -> Result<Self, ProfileError> {
        Self::new(EntityType::parse(kind)?, id)
    }

    /// Canonicalises and checks the id.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] when it is blank, longer than 100 characters, or holds control characters.
    pub fn new(kind: EntityType, id: &str) -> Result<Self, ProfileError> {
        Ok(Self {
            kind,
            id: canonical("entity_id", id, ID_MAX).map_err(|complaint| ProfileError::Invalid(vec![complaint]))?,
        })
    }

    /// A user.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] for an id of more than 100 characters.
    pub fn user(user: &UserId) -> Result<Self, ProfileError> {
        Self::new(EntityType::User, user.as_str())
    }

    /// A bot.
    #[must_use]
    pub fn bot(bot: &BotSlug) -> Self {
        Self { kind: EntityType::Bot, id: bot.as_str().to_owned() }
    }

    pub(crate) fn from_stored(kind: &str, id: String) -> Result<Self, ProfileError> {
        let kind = EntityType::parse(kind).map_err(|_| ProfileError::Unreadable("entity_type"))?;
        Ok(Self { kind, id })
    }

    /// What kind.
    #[must_use]
    pub fn kind(&self) -> EntityType {
        self.kind
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For callers that speak for people rather than operators: a bot is no user, and a bot must exist.
    ///
    /// # Errors
    /// [`ProfileError::IsBot`], [`ProfileError::UnknownBot`].
    pub fn checked(self, is_bot: impl Fn(&str) -> bool) -> Result<Self, ProfileError> {
        match (self.kind, is_bot(&self.id)) {
            (EntityType::User, true) => Err(ProfileError::IsBot(self.id)),
            (EntityType::Bot, false) => Err(ProfileError::UnknownBot(self.id)),
            _ => Ok(self),
        }
    }
}

/// Trims, lower-cases and bounds an id, category or key.
pub(crate) fn canonical(name: &str, text: &str, max: usize) -> Result<String, Complaint> {
    let shown = || text.chars().take(80).collect::<String>().into();
    let text = text.trim().to_lowercase();
    if text.is_empty() {
        return Err(Complaint::new("string_too_short", &["body", name], "String should not be blank", shown()));
    }
    if text.chars().count() > max {
        let message = format!("String should have at most {max} characters");
        return Err(Complaint::new("string_too_long", &["body", name], message, shown()));
    }
    if text.chars().any(char::is_control) {
        return Err(Complaint::new("value_error", &["body", name], "No control characters", shown()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_canonical_or_refused() {
        let ann = Entity::parse(" USER ", " Ann@Example.org ").unwrap();
        assert_eq!((ann.kind(), ann.id()), (EntityType::User, "ann@example.org"));
        assert!(matches!(Entity::parse("person", "ann"), Err(ProfileError::BadEntityType(_))));
        for bad in ["", " ", "a\nb", &"x".repeat(101)] {
            assert!(matches!(Entity::parse("user", bad), Err(ProfileError::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn bots_are_no_users_and_must_exist() {
        let is_bot = |id: &str| id == "nova";
        let check = |kind, id| Entity::new(kind, id).unwrap().checked(is_bot);
        assert!(check(EntityType::User, "ann").is_ok() && check(EntityType::Bot, "nova").is_ok());
        assert!(matches!(check(EntityType::User, "Nova"), Err(ProfileError::IsBot(_))));
        assert!(matches!(check(EntityType::Bot, "ann"), Err(ProfileError::UnknownBot(_))));
    }
}
