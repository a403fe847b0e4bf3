//! The client's own system text on the bot-scoped routes: joined, cleaned of what contradicts tool calling, and
//! recognised when it comes from a Home Assistant integration.
//!
//! Invariant: text that is not recognised as Home Assistant's passes whole and switches nothing on. Deliberately
//! absent: any limit on its size, which belongs to the prompt budget.

use serde::{Deserialize, Serialize};

/// What betrays the default prompt of a Home Assistant integration. Everything compares without regard to case,
/// surrounding blanks, a closing full stop, or the kind of apostrophe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HomePatterns {
    /// Lines that are dropped when they match as a whole. Any of them makes the text Home Assistant's.
    pub whole_lines: Vec<String>,
    /// Lines that hold one of these are dropped. Any of them makes the text Home Assistant's.
    pub phrases: Vec<String>,
    /// Lines that hold one of these are dropped, but only from a text that something else has betrayed: other clients
    /// may well use such words.
    pub headings: Vec<String>,
    /// A line that begins like this heads a device table, which stays. It makes the text Home Assistant's.
    pub table_heads: Vec<String>,
}

impl Default for HomePatterns {
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            whole_lines: list(&[
                "do not execute service without user's confirmation",
                "use execute_services function only for requested action, not for current states",
                "do not restate or appreciate what user says, rather make a quick inquiry",
            ]),
            phrases: list(&[
                "act as smart home manager of home assistant",
                "i will provide information of smart home",
                "the current state of devices is provided in available devices",
                "execute_services",
            ]),
            headings: list(&["available devices:"]),
            table_heads: list(&["entity_id,name,state"]),
        }
    }
}

/// What the client's system messages come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientContext {
    /// The text to inject, when any is left.
    pub text: Option<String>,
    /// Whether it is Home Assistant's.
    pub home_mode: bool,
}

/// Joins the texts with a blank line, cleans them if they are Home Assistant's, and collapses runs of blank lines.
#[must_use]
pub fn client_context(system: &[String], patterns: &HomePatterns) -> ClientContext {
    let joined = system.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n");
    let plain = Plain::of(patterns);
    let lines: Vec<(&str, Mark)> = joined.lines().map(|line| (line, plain.mark(line))).collect();
    let home_mode = lines.iter().any(|(_, mark)| matches!(mark, Mark::Betrays | Mark::TableHead));
    let mut kept = String::with_capacity(joined.len());
    let mut blank_before = true;
    for (line, mark) in lines {
        let dropped = home_mode && matches!(mark, Mark::Betrays | Mark::Heading);
        let blank = line.trim().is_empty();
        if dropped || (blank && blank_before) {
            continue;
        }
        kept.push_str(line.trim_end());
        kept.push('\n');
        blank_before = blank;
    }
    let kept = kept.trim();
    ClientContext { text: (!kept.is_empty()).then(|| kept.to_owned()), home_mode }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Betrays,
    Heading,
    TableHead,
}

/// The patterns in the form lines are compared in.
struct Plain {
    whole_lines: Vec<String>,
    phrases: Vec<String>,
    headings: Vec<String>,
    table_heads: Vec<String>,
}

impl Plain {
    fn of(patterns: &HomePatterns) -> Self {
        let all = |items: &[String]| items.iter().map(|item| plain(item)).filter(|item| !item.is_empty()).collect();
        Self {
            whole_lines: all(&patterns.whole_lines),
            phrases: all(&patterns.phrases),
            headings: all(&patterns.headings),
            table_heads: all(&patterns.table_heads),
        }
    }

    fn mark(&self, line: &str) -> Mark {
        let line = plain(line);
        if line.is_empty() {
            Mark::None
        } else if self.whole_lines.contains(&line) || self.phrases.iter().any(|phrase| line.contains(phrase)) {
            Mark::Betrays
        } else if self.table_heads.iter().any(|head| line.starts_with(head)) {
            Mark::TableHead
        } else if self.headings.iter().any(|heading| line.contains(heading)) {
            Mark::Heading
        } else {
            Mark::None
        }
    }
}

fn plain(line: &str) -> String {
    line.trim().trim_end_matches('.').to_lowercase().replace('\u{2019}', "'")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(text: &str) -> ClientContext {
        client_context(&[text.to_owned()], &HomePatterns::default())
    }

    #[test]
    fn home_assistant_is_recognised_and_cleaned() {
        let context = cleaned(concat!(
            "I want you to act as smart home manager of Home Assistant.\r\n",
            "I will provide information of smart home along with a question.\r\n",
            "\r\n\r\n",
            "Current Time: 2026-05-13\n\n",
            "Available Devices:\n```csv\nentity_id,name,state,aliases\nlight.desk,Desk,off,\n```\n\n",
            "The current state of devices is provided in available devices.\n",
            "Use execute_services function only for requested action, not for current states.\n",
            "  DO NOT execute service without user\u{2019}s confirmation.\n",
            "Do not restate or appreciate what user says, rather make a quick inquiry.\n",
            "Speak like a butler.",
        ));
        assert!(context.home_mode);
        assert_eq!(
            context.text.as_deref(),
            Some(
                "Current Time: 2026-05-13\n\n```csv\nentity_id,name,state,aliases\nlight.desk,Desk,off,\n```\n\n\
                 Speak like a butler."
            )
        );
    }

    #[test]
    fn a_device_table_alone_is_enough() {
        let context = cleaned("Available devices:\nentity_id,name,state,aliases\nlight.a,A,on,");
        assert!(context.home_mode);
        assert_eq!(context.text.as_deref(), Some("entity_id,name,state,aliases\nlight.a,A,on,"));
    }

    #[test]
    fn any_other_client_keeps_its_words() {
        let context = cleaned("You sell phones.\n\n\n\nAvailable devices: a phone, a tablet.");
        assert!(!context.home_mode);
        assert_eq!(context.text.as_deref(), Some("You sell phones.\n\nAvailable devices: a phone, a tablet."));
    }

    #[test]
    fn several_texts_are_joined_and_nothing_is_nothing() {
        let texts = ["one".to_owned(), "  ".to_owned(), "two".to_owned()];
        let context = client_context(&texts, &HomePatterns::default());
        assert_eq!(context.text.as_deref(), Some("one\n\ntwo"));
        assert_eq!(cleaned(" \n "), ClientContext::default());
        let only_rules = cleaned("Use execute_services function only for requested action, not for current states.");
        assert_eq!(only_rules, ClientContext { text: None, home_mode: true });
    }

    #[test]
    fn patterns_can_be_replaced() {
        let patterns = HomePatterns { phrases: vec!["Hausverwalter".into()], ..serde_json::from_str("{}").unwrap() };
        let context = client_context(&["Du bist Hausverwalter.\nbleibt".into()], &patterns);
        assert_eq!(context, ClientContext { text: Some("bleibt".into()), home_mode: true });
    }

    proptest! {
        #[test]
        fn cleaning_settles_and_never_adds(lines in prop::collection::vec(
            prop_oneof![
                Just(String::new()),
                Just("execute_services is here".to_owned()),
                Just("Available Devices:".to_owned()),
                Just("entity_id,name,state".to_owned()),
                "[a-z ]{0,12}",
            ], 0..12))
        {
            let text = lines.join("\n");
            let once = cleaned(&text);
            if let Some(kept) = &once.text {
                prop_assert!(!kept.contains("\n\n\n"));
                prop_assert!(kept.lines().filter(|line| !line.is_empty()).all(|line| text.contains(line)));
                prop_assert_eq!(cleaned(kept).text, Some(kept.clone()));
            }
        }
    }
}
