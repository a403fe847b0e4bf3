//! The meaning of a memory by rule, for when no model said it (memory.md §5.5). Pure.

use super::Meaning;

/// What a primary or other tag says about why something was shared, in order of precedence.
const INTENTS: [(&str, &str); 5] = [
    ("plan", "planning ahead or stating a goal"),
    ("event", "noting something tied to a point in time"),
    ("preference", "stating a preference"),
    ("professional", "giving work context"),
    ("health", "giving health context"),
];
/// Why something was shared when no tag tells.
const PERSONAL: &str = "giving personal context";
/// Words that make a statement a charged one.
const CHARGED: [&str; 7] = ["love", "hate", "angry", "excited", "anxious", "worried", "sad"];
/// The least charge of such a statement.
const CHARGED_LEAST: f32 = 0.8;

/// What can be guessed from a memory's other fields.
#[must_use]
pub fn heuristic(content: &str, tags: &[String], importance: f32) -> Meaning {
    let intent = INTENTS.iter().find(|(tag, _)| tags.iter().any(|given| given == tag)).map_or(PERSONAL, |(_, why)| why);
    let stakes = match importance {
        high if high >= 0.8 => "critical",
        medium if medium >= 0.6 => "important",
        _ => "low",
    };
    let words = || content.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let charged = words().any(|word| {
        let word = word.to_lowercase();
        CHARGED.iter().any(|mark| word == *mark || word.strip_prefix(mark).is_some_and(is_ending))
    });
    let charge = (0.2 + 0.6 * importance).clamp(0.0, 1.0);
    let mut keywords = tags.to_vec();
    for word in words().filter(|word| word.chars().count() >= 4).take(3) {
        let word: String = word.to_lowercase().chars().take(super::MOST_TAG_CHARS).collect();
        if !keywords.contains(&word) {
            keywords.push(word);
        }
    }
    Meaning {
        intent: Some(intent.into()),
        stakes: Some(stakes.into()),
        emotional_charge: Some(if charged { charge.max(CHARGED_LEAST) } else { charge }),
        keywords,
    }
}

/// loves, loved, hates, hated; but not lovely, saddle.
fn is_ending(rest: &str) -> bool {
    matches!(rest, "s" | "d" | "ed" | "ing")
}

/// `given`, with what is missing filled in by rule.
#[must_use]
pub fn completed(given: Meaning, content: &str, tags: &[String], importance: f32) -> Meaning {
    let guess = heuristic(content, tags, importance);
    Meaning {
        intent: given.intent.or(guess.intent),
        stakes: given.stakes.or(guess.stakes),
        emotional_charge: given.emotional_charge.or(guess.emotional_charge),
        keywords: if given.keywords.is_empty() { guess.keywords } else { given.keywords },
    }
}

/// The text whose vector stands for the meaning; `None` when there is nothing but the content itself.
#[must_use]
pub fn text(meaning: &Meaning) -> Option<String> {
    let parts = [meaning.intent.clone(), meaning.stakes.clone(), Some(meaning.keywords.join(", "))];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_tags_importance_and_words() {
        let tags = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<String>>();
        let plan = heuristic("Wants to visit Japan in spring", &tags(&["preference", "plan"]), 0.85);
        assert!(plan.intent.expect("intent").contains("goal"));
        assert_eq!(plan.stakes.as_deref(), Some("critical"));
        assert_eq!(plan.keywords, ["preference", "plan", "wants", "visit", "japan"]);
        let charge = |text: &str, importance| heuristic(text, &[], importance).emotional_charge.expect("a charge");
        assert!((charge("likes tea", 0.5) - 0.5).abs() < 1e-6);
        assert!((charge("loves tea", 0.5) - 0.8).abs() < 1e-6);
        assert!((charge("a lovely saddle", 0.5) - 0.5).abs() < 1e-6);
        assert!((charge("hates rain", 1.0) - 0.8).abs() < 1e-6);
        assert_eq!(heuristic("x", &[], 0.1).stakes.as_deref(), Some("low"));
    }

    #[test]
    fn what_was_said_stays() {
        let given = Meaning { intent: Some("asking for help".into()), ..Meaning::default() };
        let meaning = completed(given, "Needs a doctor", &["health".into()], 0.7);
        assert_eq!(meaning.intent.as_deref(), Some("asking for help"));
        assert_eq!(meaning.stakes.as_deref(), Some("important"));
        assert_eq!(text(&meaning).as_deref(), Some("asking for help | important | health, needs, doctor"));
        assert_eq!(text(&Meaning::default()), None);
    }
}
