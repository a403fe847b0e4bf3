//! A call in header lines (tools.md §5.3): `Action:` with `Action Input:`, `Tool:` with `Arguments:`, and what models make
//! of them. Pure: one function says what the text from such a header on is, as far as it is known.

use crate::look::Look;
use crate::markers::{self, INPUTS, Keyword, LINES};
use crate::names::Names;

/// Longest name of a tool.
const NAME: usize = 80;
/// Most words of a name; models put blanks for underscores.
const WORDS: usize = 4;
/// Where the arguments have to begin, counted from their header.
const INPUT: usize = 2_048;

/// What a text is that began like a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It cannot be said yet.
    Wait,
    /// Prose.
    Prose,
    /// A header that says that no tool is wanted: so many bytes of thought.
    Aside(usize),
    /// Arguments begin here; the name may stand in them.
    Object { name: Option<String>, at: usize },
    /// A call without arguments.
    Call { name: String, end: usize },
    /// An attempt that failed.
    Bad { problem: String, end: usize },
}

/// By which a text is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) names: &'a Names,
    /// Only known tools are called, and only by a header with its input.
    pub(crate) strict: bool,
    /// `Action:` alone is a call.
    pub(crate) bare: bool,
    /// A thought came before.
    pub(crate) thinking: bool,
    /// Nothing more will come.
    pub(crate) ended: bool,
}

impl Rules<'_> {
    fn wait(&self, otherwise: Verdict) -> Verdict {
        if self.ended { otherwise } else { Verdict::Wait }
    }
}

/// Where a name ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Line,
    End,
    Brace,
    Paren,
    Other,
}

/// Judges a text that begins with the header `keyword`.
pub(crate) fn judge(text: &str, keyword: Keyword, rules: Rules<'_>) -> Verdict {
    let Look::Found(header) = markers::header(text, LINES) else { return Verdict::Prose };
    let mut begin = header.length;
    let (mut name, mut at, mut stop) = name_at(text, begin);
    if name.is_empty() && stop == Stop::Line {
        // the name on the next line, or none at all
        let Some(rest) = markers::unblank(&text[at..]) else { return Verdict::Prose };
        let next = text.len() - rest.len();
        match markers::header(rest, INPUTS) {
            Look::Maybe => return rules.wait(Verdict::Prose),
            Look::Found(found) if !rules.strict => return input(text, next + found.length, None, rules),
            Look::Found(_) => return Verdict::Prose,
            Look::No => {
                begin = next;
                (name, at, stop) = name_at(text, begin);
            }
        }
    }
    if at > begin + 2 * NAME || name.len() > NAME || name.split_whitespace().count() > WORDS {
        return Verdict::Prose;
    }
    let known = rules.names.known(name);
    match stop {
        Stop::End if !rules.ended => return Verdict::Wait,
        Stop::Brace if known || (name.is_empty() && !rules.strict && keyword == Keyword::Action) => {
            return Verdict::Object { name: (!name.is_empty()).then(|| name.to_owned()), at };
        }
        Stop::Paren if known && !rules.strict => {
            let problem = format!("the call of {name} was written like a function's");
            return Verdict::Bad { problem, end: at + 1 };
        }
        Stop::Other | Stop::Brace | Stop::Paren => return Verdict::Prose,
        Stop::End | Stop::Line => {}
    }
    if name.is_empty() {
        return Verdict::Prose;
    }
    if !known && keyword == Keyword::Action && !rules.strict && is_nothing(name) {
        return Verdict::Aside(at);
    }
    if rules.strict && !known {
        return Verdict::Prose;
    }
    let alone = if keyword == Keyword::Action && rules.bare && (known || (rules.thinking && !name.contains(' '))) {
        Verdict::Call { name: name.to_owned(), end: at }
    } else {
        Verdict::Prose
    };
    let Some(rest) = markers::unblank(&text[at..]) else { return alone };
    let next = text.len() - rest.len();
    match markers::header(rest, INPUTS) {
        Look::Found(found) => return input(text, next + found.length, Some(name), rules),
        Look::Maybe => return rules.wait(alone),
        Look::No if !known => return alone,
        Look::No => {}
    }
    match markers::unfenced(rest) {
        Look::Found(begin) if rest[begin..].starts_with('{') => {
            Verdict::Object { name: Some(name.to_owned()), at: next + begin }
        }
        Look::Found(begin) if begin == rest.len() => rules.wait(alone),
        Look::Maybe => rules.wait(alone),
        Look::Found(_) | Look::No => alone,
    }
}

/// The name that stands from `begin` on, where it ends, and why there.
fn name_at(text: &str, begin: usize) -> (&str, usize, Stop) {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/') || is_decoration(c);
    let length = text[begin..].find(|c| !part(c)).unwrap_or(text.len() - begin);
    let end = begin + length;
    let stop = match text[end..].chars().next() {
        None => Stop::End,
        Some('\n') => Stop::Line,
        Some('{') => Stop::Brace,
        Some('(') => Stop::Paren,
        Some(_) => Stop::Other,
    };
    let name = text[begin..end].trim_matches(|c| is_decoration(c) || c == '.');
    (name, end, stop)
}

const fn is_decoration(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '*' | '`' | '"' | '\'' | '[' | ']')
}

/// The arguments behind their header, which ends at `from`.
fn input(text: &str, from: usize, name: Option<&str>, rules: Rules<'_>) -> Verdict {
    let area = &text[from..text.floor_char_boundary(from + INPUT)];
    let full = text.len() - from > INPUT;
    let (mut at, mut end) = (0, None);
    for line in area.split_inclusive('\n') {
        if at > 0 {
            match markers::header(line, LINES) {
                Look::Found(_) => {
                    end = Some(at);
                    break;
                }
                Look::Maybe if !rules.ended && !full => return Verdict::Wait,
                Look::Maybe | Look::No => {}
            }
        }
        if let Some(brace) = line.find('{') {
            return Verdict::Object { name: name.map(str::to_owned), at: from + at + brace };
        }
        at += line.len();
    }
    if end.is_none() && !full && !rules.ended {
        return Verdict::Wait;
    }
    let given = area[..end.unwrap_or(area.len())].trim_matches(|c: char| c.is_whitespace() || is_decoration(c));
    let end = from + end.unwrap_or(area.len());
    match name {
        Some(name) if !full && (given.is_empty() || is_nothing(given)) => Verdict::Call { name: name.to_owned(), end },
        Some(name) => Verdict::Bad { problem: format!("the input of {name} was not a JSON object"), end },
        None => Verdict::Bad { problem: "the call named no tool".to_owned(), end },
    }
}

/// What models write where they mean nothing.
fn is_nothing(text: &str) -> bool {
    ["none", "n/a", "na", "null", "nil", "nothing", "no action", "no tool", "none needed", "not needed", "-"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}
