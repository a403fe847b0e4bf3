//! Named prompt sections in order of position, ties in order of arrival.

/// Where the known sections stand. Stable text comes first and volatile text last, so that a provider's prompt cache can
/// reuse the prefix.
pub(crate) mod position {
    /// What is known about the user.
    pub(crate) const USER_CONTEXT: i32 = 0;
    /// What the bot has become.
    pub(crate) const BOT_TRAITS: i32 = 1;
    /// The bot's own prompt.
    pub(crate) const BASE_PROMPT: i32 = 2;
    /// What the bot remembers, when a conversation begins.
    pub(crate) const MEMORY_CONTEXT: i32 = 3;
    /// How tools are called.
    pub(crate) const TOOLS: i32 = 4;
    /// The client's system text.
    pub(crate) const CLIENT_CONTEXT: i32 = 5;
    /// How memory is used.
    pub(crate) const GLOBAL_INSTRUCTIONS: i32 = 6;
    /// Speech rules and bot-specific additions.
    pub(crate) const CUSTOM: i32 = 50;
    /// What the prompt reminds the bot of in the middle of a conversation: changes with every turn.
    pub(crate) const REMINDERS: i32 = 90;
    /// Date, time and last contact: changes with every turn.
    pub(crate) const TEMPORAL: i32 = 100;
}

/// A system prompt in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct PromptBuilder {
    sections: Vec<Section>,
}

#[derive(Debug, Clone)]
struct Section {
    name: &'static str,
    content: String,
    position: i32,
}

impl PromptBuilder {
    /// Adds a section; blank content adds nothing, a known name is replaced in its place.
    pub(crate) fn add(&mut self, name: &'static str, position: i32, content: &str) -> &mut Self {
        let content = content.trim().to_owned();
        if !content.is_empty() {
            match self.sections.iter_mut().find(|section| section.name == name) {
                Some(section) => *section = Section { name, content, position },
                None => self.sections.push(Section { name, content, position }),
            }
            self.sections.sort_by_key(|section| section.position);
        }
        self
    }

    /// Section names in order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.sections.iter().map(|section| section.name).collect()
    }

    /// What lasts from turn to turn, and what changes with every turn; the contents of each joined with one blank line,
    /// empty when there are none.
    pub(crate) fn build(&self) -> (String, String) {
        let changes = self.sections.partition_point(|section| section.position < position::REMINDERS);
        let (lasting, passing) = self.sections.split_at(changes);
        let joined = |part: &[Section]| part.iter().map(|s| s.content.as_str()).collect::<Vec<_>>().join("\n\n");
        (joined(lasting), joined(passing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_stand_in_order_and_blank_ones_never_appear() {
        let mut prompt = PromptBuilder::default();
        prompt.add("b", 50, "second").add("a", 2, " first \n").add("c", 50, "third").add("d", 1, "  \n");
        assert_eq!(prompt.names(), ["a", "b", "c"]);
        prompt.add("e", position::TEMPORAL, "now");
        assert_eq!(prompt.build(), ("first\n\nsecond\n\nthird".into(), "now".into()));
        prompt.add("b", 50, "other");
        assert_eq!(prompt.build().0, "first\n\nother\n\nthird");
    }
}
