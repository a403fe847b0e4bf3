//! The head of a profile, and edits of it.

use greenroom_protocol::fields::{Field, Fields};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::attribute::Attribute;
use crate::entity::{Entity, EntityType};
use crate::error::ProfileError;

/// Longest display name, in characters.
pub const NAME_MAX: usize = 100;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 500;
/// Longest e-mail address, in characters.
pub const EMAIL_MAX: usize = 255;
/// Longest summary, in characters.
pub const SUMMARY_MAX: usize = 8000;

/// The head of a profile, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Header {
    /// Whom it is about.
    #[serde(flatten)]
    pub entity: Entity,
    /// Lower-cased.
    pub email: Option<String>,
    /// How the entity wants to be called.
    pub display_name: Option<String>,
    /// A line for people.
    pub description: Option<String>,
    /// The portrait that goes into prompts; `None` while it is stale.
    pub summary: Option<String>,
    /// When the portrait was made.
    #[serde(serialize_with = "optional_time")]
    pub summary_updated_at: Option<Timestamp>,
    /// Whether attributes have changed since the portrait was made.
    pub summary_stale: bool,
    /// Raised by every change.
    #[serde(skip)]
    pub version: i64,
    /// When the profile was made.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// When anything about it last changed.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub updated_at: Timestamp,
}

fn optional_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => greenroom_protocol::time::serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// A profile with its attributes, by category and key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileDetail {
    /// The head.
    #[serde(flatten)]
    pub header: Header,
    /// What is known.
    pub attributes: Vec<Attribute>,
}

/// Which profiles to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProfileFilter {
    /// Only of this kind.
    pub entity_type: Option<EntityType>,
    /// Page size, 1 to 500.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

/// One page of profiles: users first, then bots, each by id.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfilePage {
    /// The page.
    pub profiles: Vec<ProfileDetail>,
    /// How many there are.
    pub total_count: i64,
}

/// An edit of a profile's head: absent and null keep, an empty text clears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfilePatch {
    /// How the entity wants to be called.
    pub display_name: Option<String>,
    /// A line for people.
    pub description: Option<String>,
    /// The portrait; counts as fresh.
    pub summary: Option<String>,
    /// Lower-cased on the way in.
    pub email: Option<String>,
}

impl ProfilePatch {
    /// Reads the body of `PATCH /v1/profiles/{entity_type}/{entity_id}`.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] with every complaint.
    pub fn read(body: &Value) -> Result<Self, ProfileError> {
        let mut fields = Fields::of("body", body).map_err(ProfileError::Invalid)?;
        let mut text = |name: &str, max: usize| {
            let text = fields.text_max(name, max);
            if let Field::Value(value) = &text
                && value.contains('\0')
            {
                fields.complain("value_error", name, "Text must not contain NUL characters");
            }
            text.some().map(|text| text.trim().to_owned())
        };
        let patch = Self {
            display_name: text("display_name", NAME_MAX),
            description: text("description", DESCRIPTION_MAX),
            summary: text("summary", SUMMARY_MAX),
            email: text("email", EMAIL_MAX).map(|email| email.to_lowercase()),
        };
        if patch.email.as_ref().is_some_and(|email| !email.is_empty() && !is_email(email)) {
            fields.complain("value_error", "email", "Input should be an e-mail address");
        }
        fields.finish().map_err(ProfileError::Invalid)?;
        Ok(patch)
    }
}

/// One `@` with something on both sides, and no blanks. Whether mail arrives there is not ours to know.
fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plain && matches!(parts.as_slice(), [local, host] if !local.is_empty() && !host.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edits_are_read_strictly() {
        let patch = ProfilePatch::read(&json!({"email": " Ann@Example.org ", "display_name": null})).unwrap();
        assert_eq!((patch.email.as_deref(), patch.display_name), (Some("ann@example.org"), None));
        assert_eq!(ProfilePatch::read(&json!({"email": ""})).unwrap().email.as_deref(), Some(""));
        for bad in [
            json!({"email": "ann"}),
            json!({"email": "a@b@c"}),
            json!({"email": "a b@c"}),
            json!({"email": format!("{}@b", "x".repeat(255))}),
            json!({"display_name": "x".repeat(101)}),
            json!({"description": "x".repeat(501)}),
            json!({"summary": "x\u{0}"}),
            json!({"display_name": 5}),
            json!("x"),
        ] {
            assert!(ProfilePatch::read(&bad).is_err(), "{bad}");
        }
    }
}
