//! Times on the wire: RFC 3339 in UTC with exactly six decimals and a `Z` (http-api §1.3), so that what a write answers and
//! what a later read answers are the same text.

use jiff::Timestamp;
use serde::Serializer;

/// The text of a time.
#[must_use]
pub fn wire_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// For `#[serde(serialize_with = "…")]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&wire_time(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_decimals_always() {
        for (nanoseconds, text) in [(0, "000000"), (500_000_000, "500000"), (577_461_029, "577461")] {
            let time = Timestamp::new(1_790_000_000, nanoseconds).unwrap_or_default();
            assert_eq!(wire_time(time), format!("2026-09-21T14:13:20.{text}Z"));
        }
    }
}
