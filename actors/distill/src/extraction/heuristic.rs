//! Facts by rule, for when no model shall be asked (memory.md §8.5). Rules see words, not meaning, so they are off unless
//! asked for. Pure.

use uuid::Uuid;

use super::facts::Fact;
use super::secrets::is_secret;

/// Beginnings of a sentence that state something about the speaker, and what it is.
const PATTERNS: [(&str, &str); 33] = [
    ("i prefer ", "preference"),
    ("i like ", "preference"),
    ("i love ", "preference"),
    ("i hate ", "preference"),
    ("i dislike ", "preference"),
    ("i enjoy ", "preference"),
    ("i don't like ", "preference"),
    ("i can't stand ", "preference"),
    ("my favourite ", "preference"),
    ("my favorite ", "preference"),
    ("i am a ", "fact"),
    ("i am an ", "fact"),
    ("i'm a ", "fact"),
    ("i'm an ", "fact"),
    ("my name is ", "fact"),
    ("my age is ", "fact"),
    ("my location is ", "fact"),
    ("i live in ", "fact"),
    ("i was born ", "fact"),
    ("i work at ", "professional"),
    ("i work for ", "professional"),
    ("i work on ", "professional"),
    ("i work as ", "professional"),
    ("my job ", "professional"),
    ("my career ", "professional"),
    ("i have ", "health"),
    ("i had ", "health"),
    ("i suffer from ", "health"),
    ("i am allergic to ", "health"),
    ("i'm allergic to ", "health"),
    ("my doctor ", "health"),
    ("my medication ", "health"),
    ("my condition ", "health"),
];
/// What follows "I have" when it is about health and not about a question or an hour.
const HEALTH: [&str; 20] = [
    "pain",
    "allerg",
    "asthma",
    "diabet",
    "migraine",
    "headache",
    "surgery",
    "disease",
    "syndrome",
    "disorder",
    "depress",
    "anxiety",
    "cancer",
    "arthritis",
    "injur",
    "insomnia",
    "adhd",
    "autism",
    "blood pressure",
    "diagnos",
];
const HIGH: [&str; 20] = [
    "always",
    "never",
    "hate",
    "love",
    "allergic",
    "diagnosed",
    "married",
    "divorced",
    "died",
    "born",
    "retired",
    "hired",
    "promoted",
    "fired",
    "moved",
    "bought",
    "sold",
    "critical",
    "emergency",
    "permanent",
];
const MEDIUM: [&str; 16] = [
    "prefer",
    "usually",
    "often",
    "work",
    "live",
    "study",
    "hobby",
    "enjoy",
    "interested",
    "plan",
    "goal",
    "want",
    "need",
    "birthday",
    "anniversary",
    "appointment",
];
const LOW: [&str; 11] = [
    "sometimes",
    "occasionally",
    "might",
    "maybe",
    "tried",
    "thinking",
    "considering",
    "heard",
    "saw",
    "read",
    "perhaps",
];
/// Most characters of a statement that a rule takes.
const MOST_CHARS: usize = 240;
/// Most facts of a window.
const MOST_FACTS: usize = 20;

/// What a user's messages state by rule.
pub(super) fn facts<'a>(messages: impl Iterator<Item = (Uuid, &'a str)>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for (id, text) in messages {
        for sentence in text.split(['.', '!', '?', '\n', ';']) {
            let Some(fact) = fact(sentence.trim(), id) else { continue };
            if !facts.iter().any(|known| known.content.eq_ignore_ascii_case(&fact.content)) && facts.len() < MOST_FACTS
            {
                facts.push(fact);
            }
        }
    }
    facts
}

fn fact(sentence: &str, id: Uuid) -> Option<Fact> {
    let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ").replace('’', "'");
    let lower = sentence.to_lowercase();
    let (at, (pattern, tag)) = PATTERNS.iter().find_map(|rule| {
        let at = lower.find(rule.0)?;
        let begins = at == 0 || lower[..at].ends_with([' ', ',']);
        begins.then_some((at, *rule))
    })?;
    if matches!(pattern, "i have " | "i had ") && !HEALTH.iter().any(|word| lower.contains(word)) {
        return None;
    }
    // Lower case may have other byte lengths than the original; then the original is taken from its beginning.
    let said = sentence.get(at..).unwrap_or(&sentence);
    if said.chars().count() > MOST_CHARS || said.split_whitespace().count() < 3 || is_secret(said) {
        return None;
    }
    let importance = importance(&lower);
    Some(Fact {
        content: format!("User said: {said}."),
        tags: vec![tag.into()],
        importance,
        confidence: 0.6,
        intent: None,
        attribute: None,
        sources: vec![id],
    })
}

fn importance(lower: &str) -> f32 {
    let has = |list: &[&str]| {
        lower
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| list.contains(&word) || list.contains(&word.trim_end_matches('s')))
    };
    if has(&HIGH) {
        0.85
    } else if has(&MEDIUM) {
        0.6
    } else if has(&LOW) {
        0.35
    } else {
        0.5
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Vec<(String, String, f32)> {
        facts([(Uuid::nil(), text)].into_iter())
            .into_iter()
            .map(|f| (f.content, f.tags[0].clone(), f.importance))
            .collect()
    }

    #[test]
    fn statements_about_the_speaker_are_found() {
        assert_eq!(
            of("Hi! I love hiking in the Alps. And you?"),
            [("User said: I love hiking in the Alps.".into(), "preference".into(), 0.85)]
        );
        assert_eq!(of("well, I live in Lyon")[0].1, "fact");
        assert_eq!(of("I have asthma since 1999")[0].1, "health");
        assert_eq!(of("I work at a bakery; I work at a bakery").len(), 1);
    }

    #[test]
    fn questions_and_secrets_are_left() {
        assert!(of("I have a question about Rust").is_empty());
        assert!(of("My name is Ann and my password is x").is_empty());
        assert!(of("What would you prefer?").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = of(&text);
        }
    }
}
