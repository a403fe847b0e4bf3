//! What one family of models needs done to its text (providers.md §7). Adapters edit strings; they never ask a model.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::fences::parts;

/// A family of models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// Nothing to do.
    #[default]
    Default,
    /// Role-play models that were trained on transcripts: they go on with the other side and with forum markup.
    #[serde(alias = "mythomax")]
    Pygmalion,
    /// Models that invent a tool's answer.
    Dolphin,
}

/// What the other side's lines begin with.
const CUTS: &[&str] =
    &["[INST]", "[HUMAN]", "[/INST]", "[/HUMAN]", "### Instruction:", "### Human:", "### Input:", "<|im_start|>user"];

/// Names of tags that forums use. Other words in brackets are text.
const FORUM: &[&str] =
    &["b", "i", "u", "s", "font", "size", "color", "url", "img", "quote", "code", "center", "list", "spoiler"];

/// Longest tag.
const TAG: usize = 200;

impl Adapter {
    /// The adapter of a name in a definition.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "default" => Some(Self::Default),
            "pygmalion" | "mythomax" => Some(Self::Pygmalion),
            "dolphin" => Some(Self::Dolphin),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Pygmalion => "pygmalion",
            Self::Dolphin => "dolphin",
        }
    }

    /// The adapter of a model: the one named, else the one that its alias, id, repository or file tells. Dolphin has to be
    /// named: the stop sequences of the ReAct form do the same.
    #[must_use]
    pub fn select(named: Option<&str>, sources: &[&str]) -> Self {
        let told = |source: &&str| {
            let source = source.to_ascii_lowercase();
            ["pygmalion", "mytho", "lewd"].iter().any(|word| source.contains(word))
        };
        match named.and_then(Self::named) {
            Some(named) => named,
            None if sources.iter().any(told) => Self::Pygmalion,
            None => Self::Default,
        }
    }

    /// Where a model has to stop, in every pass.
    #[must_use]
    pub const fn stops(self) -> &'static [&'static str] {
        match self {
            Self::Pygmalion => {
                &["[HUMAN]", "[/HUMAN]", "[INST]", "[/INST]", "### Instruction:", "### Human:", "<|im_start|>user"]
            }
            Self::Default | Self::Dolphin => &[],
        }
    }

    /// A complete reply as it is to be stored. Doing it twice changes nothing; code fences are not touched.
    #[must_use]
    pub fn clean<'a>(self, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Default => Cow::Borrowed(text),
            Self::Pygmalion => Cow::Owned(pygmalion(text)),
            Self::Dolphin => Cow::Borrowed(dolphin(text)),
        }
    }
}

/// Cuts at an observation that the model made up.
fn dolphin(text: &str) -> &str {
    let mut at = 0;
    for (fenced, part) in parts(text) {
        let mut line = at;
        for (index, whole) in part.split_inclusive('\n').enumerate() {
            let word = whole.trim_start();
            let observed = word.get(..11).is_some_and(|head| head.eq_ignore_ascii_case("observation"))
                && word[11..].trim_start().starts_with(':');
            if !fenced && observed && (index > 0 || at > 0) {
                return text[..line].trim();
            }
            line += whole.len();
        }
        at += part.len();
    }
    text.trim()
}

fn pygmalion(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    loop {
        let cleaned = pygmalion_once(&text);
        if cleaned == *text {
            return cleaned;
        }
        text = Cow::Owned(cleaned);
    }
}

fn pygmalion_once(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (fenced, part) in parts(text) {
        if fenced {
            clean.push_str(part);
            continue;
        }
        let part = unpaired(&unpaired(part, "[HUMAN]", "[/HUMAN]"), "[INST]", "[/INST]");
        let cut = CUTS.iter().filter_map(|cut| find(&part, cut)).min();
        plain(&part[..cut.unwrap_or(part.len())], &mut clean);
        if cut.is_some() {
            break;
        }
    }
    clean.trim().to_owned()
}

/// A text without the blocks between two tags, shortest first.
fn unpaired(text: &str, open: &str, close: &str) -> String {
    let (mut rest, mut clean) = (text, String::with_capacity(text.len()));
    while let Some(begin) = find(rest, open) {
        let Some(end) = find(&rest[begin + open.len()..], close) else { break };
        clean.push_str(&rest[..begin]);
        rest = &rest[begin + open.len() + end + close.len()..];
    }
    clean + rest
}

/// Adds a text without forum tags and runs of empty lines.
fn plain(text: &str, clean: &mut String) {
    let floor = clean.len();
    for c in text.chars() {
        if c == '\n' && clean.ends_with("\n\n") {
            continue;
        }
        clean.push(c);
        if c == ']'
            && let Some(open) = clean[floor..].rfind('[').map(|at| floor + at)
            && is_forum_tag(&clean[open + 1..clean.len() - 1])
        {
            clean.truncate(open);
        }
    }
}

fn is_forum_tag(inner: &str) -> bool {
    let inner = inner.strip_prefix('/').unwrap_or(inner);
    let name = inner.split_once('=').map_or(inner, |(name, _)| name);
    inner.len() <= TAG && FORUM.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn find(text: &str, what: &str) -> Option<usize> {
    text.as_bytes().windows(what.len()).position(|window| window.eq_ignore_ascii_case(what.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_named_adapter_wins_and_detection_looks_everywhere() {
        let sources = ["mine", "org/MythoMax-L2-13B", "x.gguf"];
        assert_eq!(Adapter::select(None, &sources), Adapter::Pygmalion);
        assert_eq!(Adapter::select(Some("dolphin"), &sources), Adapter::Dolphin);
        assert_eq!(Adapter::select(Some("nonsense"), &sources), Adapter::Pygmalion);
        assert_eq!(Adapter::select(Some("Default"), &sources), Adapter::Default);
        assert_eq!(Adapter::select(None, &["dolphin-mistral"]), Adapter::Default);
        assert_eq!(Adapter::select(Some("mythomax"), &[]), Adapter::Pygmalion);
    }

    #[test]
    fn transcripts_and_markup_are_removed() {
        for (text, expected) in [
            ("Hello [HUMAN]x[/HUMAN] world", "Hello  world"),
            ("content[/HUMAN]", "content"),
            ("Good. [HUMAN]fake", "Good."),
            ("[B]bold[/B]", "bold"),
            ("[COLOR=red]text[/COLOR]", "text"),
            ("Hi.\n### Human: and then", "Hi."),
            ("Hi.<|IM_START|>user\nfake", "Hi."),
            ("a\n\n\n\nb", "a\n\nb"),
            ("[INST]a[/INST][inst]b[/inst]c", "c"),
            ("see [note] and [1], arr[i_0]", "see [note] and [1], arr[i_0]"),
            ("```\n[b]x[/b]\n\n\n\n[INST]\n```\n[b]y[/b]", "```\n[b]x[/b]\n\n\n\n[INST]\n```\ny"),
            ("[[b]b]x", "x"),
        ] {
            assert_eq!(Adapter::Pygmalion.clean(text), expected, "{text}");
        }
    }

    #[test]
    fn invented_observations_are_cut() {
        for (text, expected) in [
            ("It is late.\n\nObservation: 12:00\nThought: x", "It is late."),
            ("a\nOBSERVATION : b", "a"),
            ("Observation: mine", "Observation: mine"),
            ("An observation: fine", "An observation: fine"),
            ("```\nObservation: x\n```", "```\nObservation: x\n```"),
            (" x ", "x"),
        ] {
            assert_eq!(Adapter::Dolphin.clean(text), expected, "{text}");
        }
        assert_eq!(Adapter::Default.clean(" [b] "), " [b] ");
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(
            text in prop::collection::vec(
                prop::sample::select(vec![
                    "[INST]", "[/INST]", "[HUMAN]", "[/human]", "[b]", "[/b]", "[", "]", "IN", "ST", "b", "\n", "```", " ",
                    "### Human:", "Observation:", "x", "é", "/",
                ]),
                0..24,
            ).prop_map(|words| words.concat()),
        ) {
            for adapter in [Adapter::Default, Adapter::Pygmalion, Adapter::Dolphin] {
                let once = adapter.clean(&text).into_owned();
                prop_assert_eq!(adapter.clean(&once), once.clone());
            }
        }
    }
}
