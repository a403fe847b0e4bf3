//! The five labelled sections of a summary: reading them from a model's text, rendering them, and the compact form for a
//! prompt. Pure. Invariant: reading what was rendered gives the same sections.

use serde::{Deserialize, Serialize};

/// First line of every rendered summary.
pub const MARKER: &str = "[HISTORICAL SUMMARY]";

/// Openings that say nothing; they are cut from the summary section.
const STOCK_OPENINGS: [&str; 13] = [
    "the conversation begins with",
    "the conversation began with",
    "the conversation starts with",
    "the conversation started with",
    "the conversation opens with",
    "this conversation begins with",
    "this conversation starts with",
    "the session begins with",
    "the session starts with",
    "the chat begins with",
    "the chat starts with",
    "the discussion begins with",
    "in this conversation,",
];

/// What a summary says, by section. Any may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sections {
    /// What happened.
    pub summary: String,
    /// Names, numbers, decisions, commands.
    pub key_details: String,
    /// What the user wanted.
    pub intent: String,
    /// How it felt.
    pub tone: String,
    /// What remained open.
    pub open_loops: String,
}

#[derive(Clone, Copy)]
enum Label {
    Summary,
    KeyDetails,
    Intent,
    Tone,
    OpenLoops,
}

const LABELS: [(&str, Label); 8] = [
    ("summary", Label::Summary),
    ("key details", Label::KeyDetails),
    ("key_details", Label::KeyDetails),
    ("details", Label::KeyDetails),
    ("intent", Label::Intent),
    ("tone", Label::Tone),
    ("open loops", Label::OpenLoops),
    ("open_loops", Label::OpenLoops),
];

impl Sections {
    /// Reads labelled text. What stands before the first label belongs to the summary; marker lines are passed over;
    /// labels may be dressed as Markdown headings or in bold.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut sections = Self::default();
        let mut current = Label::Summary;
        for line in text.lines() {
            let line = line.trim();
            if is_marker(line) {
                continue;
            }
            let rest = match labelled(line) {
                Some((label, rest)) => {
                    current = label;
                    rest
                }
                None => line,
            };
            append(sections.section(current), rest);
        }
        sections.tidy()
    }

    /// The same with white space collapsed and a stock opening removed.
    #[must_use]
    pub fn tidy(mut self) -> Self {
        for label in [Label::Summary, Label::KeyDetails, Label::Intent, Label::Tone, Label::OpenLoops] {
            let section = self.section(label);
            *section = section.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        self.summary = without_opening(&self.summary);
        self
    }

    /// The stored text: [`MARKER`], then one line per section; empty sections are left out except the summary.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{MARKER}\nSummary: {}", self.summary);
        for (name, section) in [
            ("Key Details", &self.key_details),
            ("Intent", &self.intent),
            ("Tone", &self.tone),
            ("Open Loops", &self.open_loops),
        ] {
            if !section.is_empty() {
                text.push_str(&format!("\n{name}: {section}"));
            }
        }
        text
    }

    /// What a prompt needs of it: the summary, details (or else the intent), what is open. No tone.
    #[must_use]
    pub fn compact(&self) -> String {
        let second = match (self.key_details.is_empty(), self.intent.is_empty()) {
            (false, _) => Some(format!("Details: {}", self.key_details)),
            (true, false) => Some(format!("Intent: {}", self.intent)),
            (true, true) => None,
        };
        let first = (!self.summary.is_empty()).then(|| self.summary.clone());
        let open = (!self.open_loops.is_empty()).then(|| format!("Open: {}", self.open_loops));
        [first, second, open].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        [&self.summary, &self.key_details, &self.intent, &self.open_loops].iter().all(|part| part.trim().is_empty())
    }

    fn section(&mut self, label: Label) -> &mut String {
        match label {
            Label::Summary => &mut self.summary,
            Label::KeyDetails => &mut self.key_details,
            Label::Intent => &mut self.intent,
            Label::Tone => &mut self.tone,
            Label::OpenLoops => &mut self.open_loops,
        }
    }
}

fn append(section: &mut String, text: &str) {
    if !section.is_empty() && !text.is_empty() {
        section.push(' ');
    }
    section.push_str(text);
}

fn is_marker(line: &str) -> bool {
    let line = line.trim_matches(['*', '#', ' ']).to_ascii_lowercase();
    line.starts_with('[') && line.ends_with(']') && line.contains("summary")
}

/// The label at the beginning of a line, and what follows it.
fn labelled(line: &str) -> Option<(Label, &str)> {
    let dressed = line.trim_start_matches(['#', '*', '_', '>', ' ']);
    let heading = dressed.len() < line.len();
    LABELS.iter().find_map(|(word, label)| {
        let head = dressed.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
        let rest = dressed[head.len()..].trim_start_matches(['*', '_', ' ']);
        match rest.strip_prefix(':') {
            Some(rest) => Some((*label, rest.trim_start_matches(['*', '_']).trim())),
            None if heading && rest.is_empty() => Some((*label, "")),
            None => None,
        }
    })
}

fn without_opening(text: &str) -> String {
    let opening = STOCK_OPENINGS
        .iter()
        .find(|opening| text.get(..opening.len()).is_some_and(|head| head.eq_ignore_ascii_case(opening)));
    let Some(opening) = opening else { return text.to_owned() };
    let rest = text[opening.len()..].trim_start();
    let mut letters = rest.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_come_in_many_dresses() {
        let want = Sections {
            summary: "Ann moved to Kyiv.".into(),
            key_details: "Flat 12; rent 400".into(),
            intent: "find a desk".into(),
            tone: "cheerful".into(),
            open_loops: "call the landlord".into(),
        };
        for text in [
            "Summary: Ann moved to Kyiv.\nKey Details: Flat 12; rent 400\nIntent: find a desk\nTone: cheerful\nOpen \
             Loops: call the landlord",
            "[HISTORICAL SUMMARY]\nAnn moved\n  to Kyiv.\nkey_details:Flat 12;\nrent 400\nINTENT: find a desk\n\
             tone:   cheerful\nopen_loops: call the landlord",
            "**Summary:** Ann moved to Kyiv.\n\n## Key Details\nFlat 12; rent 400\n**Intent**: find a desk\n_Tone:_ \
             cheerful\n### Open Loops:\ncall the landlord",
        ] {
            assert_eq!(Sections::parse(text), want, "{text}");
        }
    }

    #[test]
    fn continued_lines_are_said_once() {
        let sections = Sections::parse("First line\nsecond line\nKey Details: a\nb");
        assert_eq!(sections.compact(), "First line second line\nDetails: a b");
    }

    #[test]
    fn words_that_merely_begin_like_a_label_are_text() {
        let sections = Sections::parse("Summary\nIntentions were good: yes\nTone deaf, too");
        assert_eq!(sections.summary, "Summary Intentions were good: yes Tone deaf, too");
        assert!(Sections::parse(" \n\n[HISTORICAL SUMMARY]\n").is_blank());
    }

    #[test]
    fn stock_openings_go() {
        let sections = Sections::parse("The conversation begins with  émile asking for tea");
        assert_eq!(sections.summary, "Émile asking for tea");
        assert_eq!(Sections::parse("The conversation begins with").summary, "The conversation begins with");
    }

    #[test]
    fn the_compact_form_prefers_details_and_drops_the_tone() {
        let mut sections =
            Sections { summary: "s".into(), tone: "t".into(), intent: "i".into(), ..Sections::default() };
        assert_eq!(sections.compact(), "s\nIntent: i");
        sections.key_details = "d".into();
        sections.open_loops = "o".into();
        assert_eq!(sections.compact(), "s\nDetails: d\nOpen: o");
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_rendering_is_stable(text in "(?s).{0,400}") {
            let once = Sections::parse(&text);
            prop_assert_eq!(Sections::parse(&once.render()).render(), Sections::parse(&Sections::parse(&once.render()).render()).render());
            prop_assert!(!once.summary.contains('\n'));
        }
    }
}
