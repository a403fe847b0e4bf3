//! The prompts that ship with the program. Their texts stay in the code, so that a new release improves them; the database
//! holds edits only. A test parses every text here and checks that it uses exactly the variables it is given.

/// How a variable is put into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text of any length, fenced so that it cannot pose as instructions; see [`crate::fenced`].
    Block,
    /// One short line inside a sentence.
    Inline,
}

/// A variable of a built-in prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name in braces.
    pub name: &'static str,
    /// How it is put in.
    pub kind: Kind,
}

/// A built-in prompt.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Its key.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it belongs to.
    pub category: &'static str,
    /// `plain_text` or `json_instruction`.
    pub format: &'static str,
    /// What it needs; every one is required, no other is allowed.
    pub variables: &'static [Variable],
    /// The text.
    pub body: &'static str,
}

/// The format of all prompts that do not say otherwise.
pub const PLAIN_TEXT: &str = "plain_text";
const JSON_INSTRUCTION: &str = "json_instruction";

const fn block(name: &'static str) -> Variable {
    Variable { name, kind: Kind::Block }
}

const fn inline(name: &'static str) -> Variable {
    Variable { name, kind: Kind::Inline }
}

macro_rules! prompt {
    ($key:literal, $title:literal, $category:literal, $format:expr, [$($variable:expr),*], $file:literal) => {
        Definition {
            key: $key,
            title: $title,
            category: $category,
            format: $format,
            variables: &[$($variable),*],
            body: include_str!(concat!("../../../config/prompts/", $file)),
        }
    };
    ($key:literal, $title:literal, $category:literal, [$($variable:expr),*]) => {
        Definition {
            key: $key,
            title: $title,
            category: $category,
            format: PLAIN_TEXT,
            variables: &[$($variable),*],
            body: include_str!(concat!("../../../config/prompts/", $key, ".md")),
        }
    };
}

/// All of them, by key.
pub const DEFINITIONS: &[Definition] = &[
    prompt!("chat.global_instructions", "How memory works, for every bot that has one", "chat", []),
    prompt!("chat.refine", "Rewrites a draft of a message into a clear request", "chat", []),
    prompt!("chat.tts_output_instructions", "Rules for answers that are read aloud", "chat", PLAIN_TEXT, [], "tts.md"),
    prompt!(
        "history.summarization.batch",
        "Summarises several sessions in one call",
        "summarization",
        [block("sessions_blob")]
    ),
    prompt!("history.summarization.rollup", "Folds old summaries into one", "summarization", [block("summaries")]),
    prompt!("history.summarization.single", "Summarises one session", "summarization", [block("messages")]),
    prompt!(
        "memory.consolidation.merge",
        "Merges memories that say the same",
        "memory_maintenance",
        [block("memories")]
    ),
    prompt!(
        "memory.extraction.fact",
        "Extracts durable facts from a conversation",
        "memory_extraction",
        [block("conversation")]
    ),
    prompt!(
        "memory.extraction.summary",
        "Extracts facts from the summary of a session",
        "memory_extraction",
        [block("summary_text"), inline("start_date"), inline("end_date")]
    ),
    prompt!(
        "memory.extraction.update",
        "Decides what new facts do to stored memories",
        "memory_extraction",
        [block("existing_memories"), block("new_facts")]
    ),
    prompt!(
        "memory.maintenance.intent_content_only",
        "Infers why a fact was shared, from the fact alone",
        "memory_maintenance",
        [block("fact")]
    ),
    prompt!(
        "memory.maintenance.intent_with_context",
        "Infers why a fact was shared, with its conversation",
        "memory_maintenance",
        [block("conversation"), block("fact")]
    ),
    prompt!(
        "profile.consolidation",
        "Turns profile attributes into a short portrait",
        "profile",
        JSON_INSTRUCTION,
        [block("attributes")],
        "profile.consolidation.md"
    ),
    prompt!("tools.answer_now", "Asks for the answer when no more tools may be called", "tools", []),
    prompt!("tools.correction", "Asks for a call that could not be read once more", "tools", [inline("problem")]),
    prompt!("tools.home_instructions", "How to control the house with the home tool", "tools", []),
    prompt!("tools.home_native_instructions", "How to control the house with Home Assistant's own tools", "tools", []),
    prompt!("tools.native_instructions", "How to use tools, for models with function calling", "tools", []),
    prompt!("tools.react_instructions", "How to call tools in the ReAct form", "tools", []),
    prompt!("tools.result_guidance", "What to do with the results of tools", "tools", []),
    prompt!("tools.xml_instructions", "How to call tools in the XML form", "tools", []),
];

/// The built-in prompt of a key.
#[must_use]
pub fn definition(key: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|known| known.key == key)
}

impl Definition {
    /// The names of the variables.
    #[must_use]
    pub fn required_vars(&self) -> Vec<String> {
        self.variables.iter().map(|variable| variable.name.to_owned()).collect()
    }

    /// How a variable is put in; a block unless the definition says otherwise.
    #[must_use]
    pub fn kind_of(&self, name: &str) -> Kind {
        self.variables.iter().find(|variable| variable.name == name).map_or(Kind::Block, |variable| variable.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Syntax;

    #[test]
    fn every_built_in_text_is_sound_and_uses_exactly_its_variables() {
        for known in DEFINITIONS {
            let syntax = Syntax::parse(known.body).unwrap_or_else(|error| panic!("{}: {error}", known.key));
            let mut used = syntax.placeholders();
            let mut wanted = known.required_vars();
            used.sort();
            wanted.sort();
            assert_eq!(used, wanted, "{}", known.key);
            assert!(!known.body.trim().is_empty(), "{}", known.key);
        }
    }

    #[test]
    fn keys_are_unique_sorted_and_well_formed() {
        assert!(DEFINITIONS.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert!(DEFINITIONS.iter().all(|known| crate::template::Key::parse(known.key).is_ok()));
        assert!(definition("nothing").is_none());
    }
}
