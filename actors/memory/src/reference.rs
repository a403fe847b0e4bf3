//! How rows are referred to from outside: by a whole id, by the first digits of one, or, for messages, by the client's
//! own id. Pure; nothing here can match more than it says, whatever the text holds.

use greenroom_protocol::{BotSlug, MessageId};
use uuid::Uuid;

use crate::MemoryError;

/// Fewest digits that may stand for an id.
const LEAST_DIGITS: usize = 8;
/// Most candidates that an ambiguous reference lists.
pub(crate) const MOST_CANDIDATES: i64 = 10;

/// What a text refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    /// One row.
    Exact(Uuid),
    /// Rows whose ids lie between these, both included.
    Between(Uuid, Uuid),
}

impl Reference {
    /// A whole id or at least its first eight hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(id) = Uuid::parse_str(text) {
            return Some(Self::Exact(id));
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let fits = (LEAST_DIGITS..32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits || text.starts_with('-') {
            return None;
        }
        let bound = |fill: &str| Uuid::parse_str(&format!("{digits}{}", fill.repeat(32 - digits.len()))).ok();
        Some(Self::Between(bound("0")?, bound("f")?))
    }
}

/// The row of a client's own message id.
pub(crate) fn client_id(bot: &BotSlug, text: &str) -> Option<Uuid> {
    MessageId::parse(text).ok().map(|id| id.row_id(bot))
}

/// The one id among those found for a prefix.
pub(crate) fn only(what: &'static str, text: &str, found: &[Uuid]) -> Result<Uuid, MemoryError> {
    match found {
        [] => Err(MemoryError::NotFound(what, shown(text))),
        [one] => Ok(*one),
        many => Err(MemoryError::Ambiguous { what, prefix: shown(text), candidates: many.to_vec() }),
    }
}

/// A reference that is none.
pub(crate) fn unusable(what: &str) -> MemoryError {
    MemoryError::Invalid(format!("a {what} is named by its id or by at least its first {LEAST_DIGITS} digits"))
}

/// A reference as an error message repeats it: on one line and short.
pub(crate) fn shown(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_matches_by_accident() {
        for bad in
            ["", " ", "%", "_", "%%%%%%%%", "________", "abc", "1234567", "g2345678", "'; --aaaaaaaa", "--------"]
        {
            assert_eq!(Reference::parse(bad), None, "{bad:?}");
        }
        let id = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert_eq!(Reference::parse(&id.to_string()), Some(Reference::Exact(id)));
        assert_eq!(Reference::parse(&id.simple().to_string()), Some(Reference::Exact(id)));
        for prefix in ["12345678", "12345678-9", "12345678-9ABC-"] {
            let Some(Reference::Between(low, high)) = Reference::parse(prefix) else { panic!("{prefix}") };
            assert!(low <= id && id <= high);
        }
        let Some(Reference::Between(low, high)) = Reference::parse("12345679") else { panic!() };
        assert!(id < low && low < high);
    }
}
