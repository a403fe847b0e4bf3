//! How a summary is shown to a model: a head line with its age and its short id, then its text. Pure.

use jiff::Timestamp;

use crate::summaries::sections::MARKER;
use crate::summaries::{Sections, Summary};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A summary as it goes into the prompt. The short id in its head is what the history tool's recall takes.
#[must_use]
pub fn context_text(summary: &Summary, now: Timestamp, compact: bool) -> String {
    let age = relative_age(u64::try_from(now.as_second() - summary.end.as_second()).unwrap_or(0));
    let what = if summary.level == 0 { "Earlier conversation" } else { "Overview of earlier conversations" };
    let head = format!("[{what}, {age}, summary {}]", summary.short_id());
    format!("{head}\n{}", body(&summary.sections, &summary.content, compact))
}

fn body(sections: &Sections, content: &str, compact: bool) -> String {
    let compacted = if compact { sections.compact() } else { String::new() };
    match compacted.is_empty() {
        false => compacted,
        true => content.strip_prefix(MARKER).unwrap_or(content).trim().to_owned(),
    }
}

/// How long ago, in words (pipeline-and-prompts.md §7.3); `seconds` before now.
#[must_use]
pub fn relative_age(seconds: u64) -> String {
    let counted = |n: u64, unit: &str| format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" });
    match seconds {
        0..MINUTE => "just now".into(),
        MINUTE..HOUR => counted(seconds / MINUTE, "minute"),
        _ if seconds < 2 * HOUR => "about 1 hour ago".into(),
        _ if seconds < DAY => counted(seconds / HOUR, "hour"),
        _ if seconds < 2 * DAY => "yesterday".into(),
        _ if seconds < 7 * DAY => counted(seconds / DAY, "day"),
        _ if seconds < 14 * DAY => "last week".into(),
        _ if seconds < 30 * DAY => counted(seconds / (7 * DAY), "week"),
        _ if seconds < 60 * DAY => "last month".into(),
        _ => counted(seconds / (30 * DAY), "month"),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::summaries::{Method, SummaryState};

    #[test]
    fn ages_in_words() {
        for (seconds, words) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (3_600, "about 1 hour ago"),
            (7_200, "2 hours ago"),
            (86_399, "23 hours ago"),
            (86_400, "yesterday"),
            (172_800, "2 days ago"),
            (604_799, "6 days ago"),
            (604_800, "last week"),
            (1_209_600, "2 weeks ago"),
            (2_591_999, "4 weeks ago"),
            (2_592_000, "last month"),
            (5_184_000, "2 months ago"),
        ] {
            assert_eq!(relative_age(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn the_head_names_age_and_id() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let sections = Sections { summary: "Tea.".into(), tone: "calm".into(), ..Sections::default() };
        let mut summary = Summary {
            id: Uuid::from_u128(0x1a2b_3c4d_0000_0000_0000_0000_0000_0001),
            level: 0,
            parent: None,
            user: None,
            start: at(0),
            end: at(1_000),
            message_count: 2,
            parts: 1,
            content: sections.render(),
            sections,
            method: Method::Llm,
            model: None,
            token_estimate: 9,
            state: SummaryState::Active,
            extracted_at: None,
            created_at: at(0),
            updated_at: at(0),
        };
        let now = at(1_000 + 3 * 86_400);
        assert_eq!(context_text(&summary, now, true), "[Earlier conversation, 3 days ago, summary 1a2b3c4d]\nTea.");
        assert!(context_text(&summary, now, false).ends_with("]\nSummary: Tea.\nTone: calm"));
        summary.sections = Sections::default();
        summary.content = "plain words".into();
        summary.level = 1;
        let text = context_text(&summary, at(0), true);
        assert_eq!(text, "[Overview of earlier conversations, just now, summary 1a2b3c4d]\nplain words");
    }
}
