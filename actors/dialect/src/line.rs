//! What a line turns into at its beginning: thought, the answer, a call, or nothing but text. Pure.

use crate::format::ToolFormat;
use crate::look::Look;
use crate::markers::{self, Fenced, INPUTS, Keyword, LINES};
use crate::names::Names;

/// What a line turns into.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Thought, behind so many bytes of header.
    Think(usize),
    /// The answer, behind so many bytes of header; emphasis that was opened may be closed behind it.
    Answer { length: usize, emphasis: bool },
    /// Prose again, behind so many bytes of an empty line.
    Recover(usize),
    /// Perhaps a call: a header or, without a keyword, a tag.
    Marker { keyword: Option<Keyword>, at: usize, fenced: bool },
    /// Perhaps a call: an object that stands by itself, or behind a tool's name.
    Object { name: Option<String>, at: usize },
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) names: &'a Names,
    pub(crate) format: ToolFormat,
    /// In a thought.
    pub(crate) thinking: bool,
    /// Behind other text.
    pub(crate) shown: bool,
}

impl Line<'_> {
    /// What the line turns into with which a text begins.
    pub(crate) fn turn(self, text: &str) -> Look<Turn> {
        let body = text.trim_start_matches([' ', '\t', '\r']);
        let at = text.len() - body.len();
        let taught = self.format.is_text();
        match body.chars().next() {
            None => Look::Maybe,
            Some('\n') if self.thinking && self.format == ToolFormat::Xml => Look::Found(Turn::Recover(at + 1)),
            Some('<') => markers::opener(body).map(|_| Turn::Marker { keyword: None, at, fenced: false }),
            Some('{') if taught => markers::object(body, self.names).map(|()| Turn::Object { name: None, at }),
            Some('`' | '~') if taught => markers::fenced(body, self.names).map(|fenced| match fenced {
                Fenced::Object(begin) => Turn::Object { name: None, at: at + begin },
                Fenced::Element(begin) => Turn::Marker { keyword: None, at: at + begin, fenced: true },
                Fenced::Header(begin, keyword) => Turn::Marker { keyword: Some(keyword), at: at + begin, fenced: true },
            }),
            Some(_) => self.header(body, at).or(|| self.plain(body, at)),
        }
    }

    fn header(self, body: &str, at: usize) -> Look<Turn> {
        let taught = self.format.is_text();
        match markers::header(body, LINES) {
            Look::No => Look::No,
            Look::Maybe => Look::Maybe,
            Look::Found(header) => match header.keyword {
                Keyword::Thought | Keyword::Observation | Keyword::ActionInput if taught => {
                    Look::Found(Turn::Think(at + header.length))
                }
                Keyword::FinalAnswer if taught => {
                    Look::Found(Turn::Answer { length: at + header.length, emphasis: header.emphasis })
                }
                keyword @ (Keyword::Action | Keyword::Tool | Keyword::Function) => {
                    Look::Found(Turn::Marker { keyword: Some(keyword), at, fenced: false })
                }
                Keyword::Thought
                | Keyword::Observation
                | Keyword::ActionInput
                | Keyword::FinalAnswer
                | Keyword::Arguments => Look::No,
            },
        }
    }

    /// A tool's name and an object, at the very beginning of a pass.
    fn plain(self, body: &str, at: usize) -> Look<Turn> {
        if self.shown || self.thinking || !self.format.is_text() {
            return Look::No;
        }
        markers::plain(body, self.names)
            .map(|(name, begin)| Turn::Object { name: Some(body[..name].to_owned()), at: at + begin })
    }
}

/// The length of the blanks at the beginning of a text and the first character behind them.
pub(crate) fn head(text: &str) -> usize {
    let body = text.trim_start_matches([' ', '\t', '\r']);
    text.len() - body.len() + body.chars().next().map_or(0, char::len_utf8)
}

/// What can be shown of a pass that ended in thought: its lines without header, or else, if nothing was shown at all, the
/// thought in plain words. An answer in the wrong form is better than none.
pub(crate) fn answer_in(thought: &str, shown: bool) -> String {
    let header = |line: &str| match (markers::header(line, LINES), markers::header(line, INPUTS)) {
        (Look::Found(found), _) | (_, Look::Found(found)) => Some((found.keyword, found.length)),
        _ => None,
    };
    let plain: String = thought.split_inclusive('\n').filter(|line| header(line).is_none()).collect();
    if shown || !plain.trim().is_empty() {
        return plain;
    }
    let words = |line| match header(line) {
        Some((Keyword::Thought, length)) => line[length..].trim_start(),
        Some(_) => "",
        None => line,
    };
    thought.split_inclusive('\n').map(words).collect()
}
