//! A summary by rule, for when no model is to be used or none answers (memory.md §13.7). Pure. It says when the talk was,
//! how it began and ended and what remained open, in the words that were used; a model writes a better one later.

use greenroom_memory::summaries::{Sections, SourceMessage};
use greenroom_protocol::Role;
use jiff::tz::TimeZone;

use super::format::clip;

/// Characters of a quoted first or last message.
const QUOTE: usize = 100;
/// Characters of a quoted wish or question.
const WISH: usize = 120;
/// Messages in which open questions are looked for.
const NEWEST: usize = 8;

const REQUESTS: [&str; 7] = ["need", "want", "can you", "please", "should", "help", "could you"];
const FRUSTRATED: [&str; 10] =
    ["frustrat", "annoy", "angry", "wtf", "damn", "not working", "doesn't work", "broken", "useless", "stop"];
const COOPERATIVE: [&str; 9] =
    ["thank", "thanks", "great", "perfect", "nice", "awesome", "good job", "love it", "cool"];

/// The sections; `messages` oldest first.
pub(crate) fn summary(messages: &[SourceMessage], zone: &TimeZone) -> Sections {
    let said: Vec<&SourceMessage> =
        messages.iter().filter(|message| matches!(message.role, Role::User | Role::Assistant)).collect();
    let users: Vec<&str> = said.iter().filter(|m| m.role == Role::User).map(|m| m.content.as_str()).collect();
    let header = header(&said, zone);
    let (Some(first), Some(last)) = (users.first(), users.last()) else {
        let told = said.last().map(|message| format!("The assistant said: \"{}\"", clip(&message.content, QUOTE)));
        return Sections {
            summary: header,
            key_details: told.unwrap_or_default(),
            intent: "unknown".into(),
            tone: "neutral".into(),
            open_loops: "none".into(),
        };
    };
    let key_details = match users.len() {
        1 => format!("The user said: \"{}\"", clip(first, QUOTE)),
        _ => format!("First message: \"{}\"; last message: \"{}\"", clip(first, QUOTE), clip(last, QUOTE)),
    };
    let wish = users.iter().rev().find(|text| is_wish(text)).unwrap_or(last);
    Sections {
        summary: header,
        key_details,
        intent: clip(wish, WISH),
        tone: tone(&users).into(),
        open_loops: open_loops(&said, &users),
    }
}

fn header(said: &[&SourceMessage], zone: &TimeZone) -> String {
    let (Some(first), Some(last)) = (said.first(), said.last()) else {
        return "A conversation without readable messages.".into();
    };
    let (start, end) = (first.ts.to_zoned(zone.clone()), last.ts.to_zoned(zone.clone()));
    let minutes = (last.ts.as_second() - first.ts.as_second()).max(0) / 60;
    let until = if start.date() == end.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    let count = |n: i64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
    format!(
        "Conversation on {}–{} ({}, {}).",
        start.strftime("%Y-%m-%d, %H:%M"),
        end.strftime(until),
        count(minutes, "minute"),
        count(i64::try_from(said.len()).unwrap_or(i64::MAX), "message"),
    )
}

fn is_wish(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.contains('?') || REQUESTS.iter().any(|word| holds_word(&lower, word))
}

/// Whether `word` stands in the text on its own.
fn holds_word(text: &str, word: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        edge(text.get(..at).and_then(|before| before.chars().next_back()))
            && edge(text.get(at + word.len()..).and_then(|after| after.chars().next()))
    })
}

fn tone(users: &[&str]) -> &'static str {
    let text = users.join("\n").to_lowercase();
    let counted = |words: &[&str]| words.iter().map(|word| text.matches(word).count()).sum::<usize>();
    match (counted(&FRUSTRATED), counted(&COOPERATIVE)) {
        (bad, good) if bad > good => "frustrated",
        (bad, good) if good > bad => "cooperative",
        _ => "neutral",
    }
}

fn open_loops(said: &[&SourceMessage], users: &[&str]) -> String {
    let newest = users.iter().skip(users.len().saturating_sub(NEWEST));
    let questions: Vec<String> = newest.filter(|text| text.contains('?')).map(|text| clip(text, WISH)).collect();
    match questions.as_slice() {
        [] => match said.iter().rev().find(|message| message.role == Role::Assistant) {
            Some(answer) => format!("See the last answer: \"{}\"", clip(&answer.content, QUOTE)),
            None => "none".into(),
        },
        [.., one, two] => format!("{one}; {two}"),
        [one] => one.clone(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn said(role: Role, second: i64, content: &str) -> SourceMessage {
        let ts = Timestamp::from_second(second).expect("a time");
        SourceMessage { id: uuid::Uuid::nil(), role, content: content.into(), ts, covered: None }
    }

    #[test]
    fn it_tells_when_what_and_what_is_open() {
        let messages = [
            said(Role::User, 0, "Hello there"),
            said(Role::Assistant, 60, "Hi"),
            said(Role::User, 120, "Can you find a\nflat in Kyiv?"),
            said(Role::Tool, 130, "42"),
            said(Role::Assistant, 150, "Here are three."),
            said(Role::User, 1_500, "Great, thanks"),
        ];
        let sections = summary(&messages, &TimeZone::UTC);
        assert_eq!(sections.summary, "Conversation on 1970-01-01, 00:00–00:25 (25 minutes, 5 messages).");
        assert_eq!(sections.key_details, "First message: \"Hello there\"; last message: \"Great, thanks\"");
        assert_eq!(sections.intent, "Can you find a flat in Kyiv?");
        assert_eq!(
            (sections.tone.as_str(), sections.open_loops.as_str()),
            ("cooperative", "Can you find a flat in Kyiv?")
        );
    }

    #[test]
    fn words_are_words() {
        assert!(!is_wish("It is needless, helpful shoulders"));
        assert!(is_wish("I need tea") && is_wish("HELP!"));
    }

    #[test]
    fn it_never_fails() {
        assert!(!summary(&[], &TimeZone::UTC).is_blank());
        let only = summary(&[said(Role::Assistant, 5, "Reminder: water the plants")], &TimeZone::UTC);
        assert!(only.key_details.contains("water the plants") && only.open_loops == "none");
        let long = summary(&[said(Role::User, 5, &"é".repeat(5_000))], &TimeZone::UTC);
        assert!(long.intent.chars().count() <= WISH && long.key_details.chars().count() < 130);
    }
}
