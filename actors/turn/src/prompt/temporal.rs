//! The line that tells a bot what time it is and when it last spoke with somebody.

use greenroom_protocol::{Message, Role};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// One line with local date and time and, when there is history, how long ago the last contact was.
///
/// `history` is what came before the present prompt, oldest first.
pub(crate) fn temporal_context(now: Timestamp, zone: TimeZone, history: &[Message]) -> String {
    let local: Zoned = now.to_zoned(zone);
    let mut line = format!("Current date/time: {}", local.strftime("%A, %B %-d, %Y %-I:%M %p %Z"));
    let spoken = |message: &&Message| matches!(message.role, Role::User | Role::Assistant);
    let last = history.iter().filter(spoken).filter_map(|m| m.timestamp).filter(|ts| *ts > 0.0).reduce(f64::max);
    if let Some(last) = last {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        let elapsed = (now.as_second() as f64 - last).max(0.0);
        line.push_str(" | Last conversation: ");
        line.push_str(&relative(elapsed));
    }
    line
}

/// How long ago, in words. `seconds` is not negative.
fn relative(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, far below 2^63")]
    let seconds = seconds as u64;
    let counted = |n: u64, unit: &str| format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" });
    match seconds {
        0..60 => "just now".into(),
        60..3_600 => counted(seconds / 60, "minute"),
        3_600..86_400 => counted(seconds / 3_600, "hour"),
        86_400..172_800 => "yesterday".into(),
        _ => counted(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(role: Role, ago: f64) -> Message {
        Message { timestamp: Some(1_790_000_000.0 - ago), ..Message::text(role, "x") }
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a known zone")
    }

    #[test]
    fn the_line_names_time_and_last_contact() {
        let now = Timestamp::from_second(1_790_000_000).expect("a valid time");
        assert_eq!(
            temporal_context(now, zone("Europe/Berlin"), &[]),
            "Current date/time: Monday, September 21, 2026 4:13 PM CEST"
        );
        let history = [at(Role::User, 400.0), at(Role::Assistant, 125.0), at(Role::System, 1.0)];
        assert!(temporal_context(now, zone("UTC"), &history).ends_with("UTC | Last conversation: 2 minutes ago"));
        assert!(temporal_context(now, zone("UTC"), &[at(Role::User, -50.0)]).ends_with("just now"));
    }

    #[test]
    fn distances_in_words() {
        for (seconds, words) in [
            (59.0, "just now"),
            (60.0, "1 minute ago"),
            (7_199.0, "1 hour ago"),
            (86_399.0, "23 hours ago"),
            (90_000.0, "yesterday"),
            (200_000.0, "2 days ago"),
        ] {
            assert_eq!(relative(seconds), words);
        }
    }
}
