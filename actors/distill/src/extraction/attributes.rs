//! Which facts also become attributes of the user's profile (memory.md §8.8). Pure.

use greenroom_memory::memories::MemoryDraft;
use serde_json::{Value, json};

use super::facts::{Fact, Wish};

/// The keys that a profile may learn from conversations.
const KEYS: [&str; 28] = [
    "name",
    "age",
    "location",
    "occupation",
    "job",
    "employer",
    "family",
    "pets",
    "relationship_status",
    "gender",
    "pronouns",
    "nationality",
    "languages",
    "timezone",
    "health_condition",
    "disability",
    "chronic_condition",
    "allergies",
    "communication_style",
    "content_tone",
    "conversation_style",
    "values",
    "boundaries",
    "preferences_summary",
    "hobbies",
    "interests",
    "favorite_genres",
    "gaming_preferences",
];
/// Doing something to software.
const MAKING: [&str; 33] = [
    "build",
    "builds",
    "building",
    "built",
    "develop",
    "develops",
    "developing",
    "developed",
    "maintain",
    "maintains",
    "maintaining",
    "maintained",
    "create",
    "creates",
    "creating",
    "created",
    "implement",
    "implements",
    "implementing",
    "implemented",
    "design",
    "designs",
    "designing",
    "coding",
    "codes",
    "programs",
    "programming",
    "deploys",
    "deploying",
    "debugging",
    "refactoring",
    "configures",
    "configuring",
];
const USING: [&str; 8] = ["use", "uses", "using", "used", "utilizes", "runs", "running", "run"];
/// Software.
const WORKS: [&str; 26] = [
    "project",
    "projects",
    "system",
    "systems",
    "app",
    "apps",
    "application",
    "applications",
    "tool",
    "tools",
    "platform",
    "platforms",
    "server",
    "servers",
    "bot",
    "bots",
    "integration",
    "integrations",
    "assistant",
    "assistants",
    "service",
    "services",
    "stack",
    "software",
    "script",
    "website",
];
/// How many words may stand between what is done and to what.
const REACH: usize = 8;

/// What a fact must be to enter a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    pub(super) enabled: bool,
    pub(super) min_importance: f32,
}

impl Gate {
    /// The attribute that a fact makes, if it may.
    pub(super) fn admits<'a>(&self, fact: &'a Fact) -> Option<&'a Wish> {
        let wish = fact.attribute.as_ref()?;
        let fits = self.enabled
            && KEYS.contains(&wish.key.as_str())
            && fact.importance >= self.min_importance
            && !is_about_work(&fact.content);
        fits.then_some(wish)
    }
}

impl Wish {
    /// The value to be kept: the short one if there is one, else the sentence.
    pub(super) fn value_or(&self, sentence: &str) -> Value {
        self.value.clone().unwrap_or_else(|| sentence.into())
    }
}

/// Notes beside a memory which attribute it made: such memories do not fade, and two that say different things about one
/// key are not merged.
pub(super) fn note(draft: &mut MemoryDraft, wish: &Wish) {
    let value = wish.value.as_ref().map(ToString::to_string);
    draft.metadata = Some(json!({"profile": {"key": wish.key, "value": value}}));
}

/// Whether a statement is about software that is made or used, or about search, and not about who somebody is. Having
/// something is not.
fn is_about_work(content: &str) -> bool {
    let lower = content.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let follows = |from: &[&str], to: &[&str]| {
        words.iter().enumerate().any(|(at, word)| {
            from.contains(word) && words.iter().skip(at + 1).take(REACH).any(|next| to.contains(next))
        })
    };
    let near = |a: &str, ends: &[&str]| {
        words.iter().enumerate().any(|(at, word)| {
            *word == a && words.iter().skip(at + 1).take(3).any(|next| ends.iter().any(|end| next.starts_with(end)))
        })
    };
    follows(&MAKING, &WORKS)
        || lower.contains("work") && follows(&["on"], &WORKS)
        || follows(&USING, &WORKS)
        || near("search", &["integration", "capabilit", "access"])
        || near("internet", &["integration", "capabilit", "access"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_and_having_is_not_work() {
        for who in [
            "The user has two dogs.",
            "The user has back problems.",
            "The user is a software developer in Lyon.",
            "The user works as an app developer.",
            "The user lives near the service station.",
            "The user speaks French and German.",
        ] {
            assert!(!is_about_work(who), "{who}");
        }
        for work in [
            "The user is building a home automation system.",
            "The user maintains an internal platform.",
            "The user works on a chat bot.",
            "The user uses a note-taking app every day.",
            "The user wants internet access for the assistant.",
            "The user develops tools in Rust.",
        ] {
            assert!(is_about_work(work), "{work}");
        }
    }

    #[test]
    fn only_listed_keys_of_weight_enter() {
        let gate = Gate { enabled: true, min_importance: 0.7 };
        let fact = |key: &str, importance| Fact {
            content: "The user lives in Lyon.".into(),
            tags: vec!["fact".into()],
            importance,
            confidence: 0.8,
            intent: None,
            attribute: Some(Wish { category: "fact".into(), key: key.into(), value: None }),
            sources: Vec::new(),
        };
        assert!(gate.admits(&fact("location", 0.7)).is_some());
        assert!(gate.admits(&fact("location", 0.6)).is_none());
        assert!(gate.admits(&fact("current_task", 0.9)).is_none());
        assert!(Gate { enabled: false, ..gate }.admits(&fact("location", 0.9)).is_none());
    }
}
