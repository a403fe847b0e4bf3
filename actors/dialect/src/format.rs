//! The formats in which a model calls tools, and the stop sequences that belong to them.

use serde::{Deserialize, Serialize};

/// How a model calls tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolFormat {
    /// The provider's own function calling.
    Native,
    /// Text: `Thought:`, `Action:`, `Action Input:`.
    React,
    /// Text: `<tool_call>{…}</tool_call>`.
    Xml,
    /// Not at all.
    None,
}

impl ToolFormat {
    /// The word in definitions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::React => "react",
            Self::Xml => "xml",
            Self::None => "none",
        }
    }

    /// The format of a word in a definition.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Native, Self::React, Self::Xml, Self::None].into_iter().find(|format| format.as_str() == word)
    }

    /// Whether calls are written as text, so that the prompt has to teach them.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::React | Self::Xml)
    }

    /// The key of the prompt that teaches it; see [`crate::tools_prompt`].
    #[must_use]
    pub const fn instructions_key(self) -> Option<&'static str> {
        match self {
            Self::Native => Some("tools.native_instructions"),
            Self::React => Some("tools.react_instructions"),
            Self::Xml => Some("tools.xml_instructions"),
            Self::None => None,
        }
    }
}

/// Where a model has to stop so that it does not invent a tool's answer. For the first pass of a turn only: later passes
/// end in prose that these would cut. The call that precedes a stop loses its last brace or tag, which [`crate::Splitter`]
/// puts back. Those without a brace are last, for providers that accept only a few.
#[must_use]
pub const fn stops(format: ToolFormat) -> &'static [&'static str] {
    match format {
        ToolFormat::React => &[
            "}\nObservation",
            "}\n\nObservation",
            "}\nFinal Answer",
            "}\n\nFinal Answer",
            "}\nThought",
            "}\n\nThought",
            "\n\nObservation:",
            "\n\nObservation",
        ],
        ToolFormat::Xml => &["</tool_call>"],
        ToolFormat::Native | ToolFormat::None => &[],
    }
}
