//! Identifiers, canonical from the moment they enter.
//!
//! Bot and user ids are trimmed and lower-cased once, at ingress; a value of these types is always canonical, so rows,
//! filters and map keys compare as plain text.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must match {rule}")]
pub struct BadId {
    /// Which identifier was meant, for example `bot slug`.
    pub what: &'static str,
    /// The rule in words or as a pattern.
    pub rule: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes text that this service stored itself, and which is therefore already canonical.
            #[must_use]
            pub fn from_stored(text: impl Into<String>) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A bot's slug: `^[a-z0-9][a-z0-9_-]{0,63}$`.
    BotSlug
);
text_id!(
    /// A user's id: 1 to 128 characters, trimmed and lower-cased, without control characters.
    UserId
);
text_id!(
    /// `turn-` and 32 hexadecimal digits.
    TurnId
);
text_id!(
    /// Eight hexadecimal digits, or what the client sent as `X-Request-Id`.
    RequestId
);
text_id!(
    /// A message id as clients see it: a UUID made here, or the client's own text of at most 128 characters.
    MessageId
);

impl BotSlug {
    /// Canonicalises (trim, lower-case) and checks.
    ///
    /// # Errors
    /// [`BadId`] when the text does not match the pattern.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let slug = text.trim().to_lowercase();
        let mut chars = slug.chars();
        let first_ok = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest_ok = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        if first_ok && rest_ok && slug.len() <= 64 {
            Ok(Self(slug))
        } else {
            Err(BadId { what: "bot slug", rule: "^[a-z0-9][a-z0-9_-]{0,63}$" })
        }
    }
}

impl UserId {
    /// The user when nobody says who is speaking and no default is configured.
    #[must_use]
    pub fn fallback() -> Self {
        Self("default".into())
    }

    /// Canonicalises (trim, lower-case) and checks.
    ///
    /// # Errors
    /// [`BadId`] when the text is blank, longer than 128 characters, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let id = text.trim().to_lowercase();
        if id.is_empty() || id.chars().count() > 128 || id.chars().any(char::is_control) {
            Err(BadId { what: "user id", rule: "1 to 128 characters, none of them a control character" })
        } else {
            Ok(Self(id))
        }
    }
}

impl MessageId {
    /// A fresh UUID v4.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// A client's own id.
    ///
    /// # Errors
    /// [`BadId`] when the text is blank, longer than 128 characters, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let id = text.trim();
        if id.is_empty() || id.chars().count() > 128 || id.chars().any(char::is_control) {
            Err(BadId { what: "message id", rule: "1 to 128 characters, none of them a control character" })
        } else {
            Ok(Self(id.to_owned()))
        }
    }

    /// The UUID under which the message is stored: the id itself when it is one, else a UUID v5 over bot and id, so
    /// that the same client id always names the same row of the same bot.
    #[must_use]
    pub fn row_id(&self, bot: &BotSlug) -> Uuid {
        Uuid::parse_str(&self.0)
            .unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{bot}\u{0}{}", self.0).as_bytes()))
    }
}

impl TurnId {
    /// A fresh turn id.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("turn-{}", Uuid::new_v4().simple()))
    }
}

impl RequestId {
    /// A fresh request id.
    #[must_use]
    pub fn random() -> Self {
        Self(hex(8))
    }
}

/// `chatcmpl-` and 12 hexadecimal digits.
#[must_use]
pub fn completion_id() -> String {
    format!("chatcmpl-{}", hex(12))
}

/// `call_` and 8 hexadecimal digits, for tool calls whose provider gave no id.
#[must_use]
pub fn tool_call_id() -> String {
    format!("call_{}", hex(8))
}

fn hex(digits: usize) -> String {
    let mut text = Uuid::new_v4().simple().to_string();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_canonical_or_refused() {
        assert_eq!(BotSlug::parse("  Nova ").map(|s| s.to_string()), Ok("nova".into()));
        for bad in ["", " ", "-a", "_a", "a b", "ä", "a/b", "a%", &"x".repeat(65)] {
            assert!(BotSlug::parse(bad).is_err(), "{bad:?}");
        }
        assert!(BotSlug::parse(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn users_are_canonical_or_refused() {
        assert_eq!(UserId::parse(" Ann@Example.org ").map(|s| s.to_string()), Ok("ann@example.org".into()));
        assert!(UserId::parse("a\nb").is_err());
        assert!(UserId::parse(&"ü".repeat(129)).is_err());
    }

    #[test]
    fn a_client_id_names_one_row_per_bot() {
        let (nova, mira) = (BotSlug::from_stored("nova"), BotSlug::from_stored("mira"));
        let id = MessageId::from_stored("msg 1");
        assert_eq!(id.row_id(&nova), id.row_id(&nova));
        assert_ne!(id.row_id(&nova), id.row_id(&mira));
        let uuid = Uuid::new_v4();
        assert_eq!(MessageId::from_stored(uuid.to_string()).row_id(&nova), uuid);
    }
}
