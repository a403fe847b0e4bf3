//! What the beginning of a call looks like. Pure functions over the beginning of a text of which more may come; see
//! [`Look`] for what they promise.

use crate::look::{Look, word};
use crate::names::Names;

/// Most characters of decoration before a header, and of blanks before its colon.
const DECORATION: usize = 8;
/// Most blanks inside the part of an object that is looked at.
const BLANKS: usize = 64;

/// The word of a header line of the ReAct form and its relatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Thought,
    Action,
    ActionInput,
    Observation,
    FinalAnswer,
    Tool,
    Function,
    /// What follows a tool's name where it is not `Action Input`.
    Arguments,
}

/// Those with which a line of prose or thought may turn into something else.
pub(crate) const LINES: &[(&str, Keyword)] = &[
    ("thought", Keyword::Thought),
    ("action input", Keyword::ActionInput),
    ("action", Keyword::Action),
    ("observation", Keyword::Observation),
    ("final answer", Keyword::FinalAnswer),
    ("tool", Keyword::Tool),
    ("function", Keyword::Function),
];

/// Those behind which arguments stand.
pub(crate) const INPUTS: &[(&str, Keyword)] = &[
    ("action input", Keyword::ActionInput),
    ("arguments", Keyword::Arguments),
    ("argument", Keyword::Arguments),
    ("args", Keyword::Arguments),
    ("parameters", Keyword::Arguments),
    ("input", Keyword::Arguments),
];

/// A header at the beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) keyword: Keyword,
    /// Bytes up to and including the colon.
    pub(crate) length: usize,
    /// Emphasis was opened before the word and may be closed behind the colon.
    pub(crate) emphasis: bool,
}

/// A header in any case, decorated or not: `Action:`, `# Tool:`, `**Final Answer**:`, `action input :`.
pub(crate) fn header(line: &str, words: &[(&str, Keyword)]) -> Look<Header> {
    let begin = line.find(|c| !matches!(c, ' ' | '\t' | '#' | '*' | '_')).unwrap_or(line.len());
    if begin > DECORATION {
        return Look::No;
    }
    let (decoration, text) = line.split_at(begin);
    words.iter().fold(Look::No, |best, (name, keyword)| {
        best.or(|| match word(text, name) {
            Look::No => Look::No,
            Look::Maybe => Look::Maybe,
            Look::Found(length) => colon(&text[length..]).map(|(length_of_colon, closed)| Header {
                keyword: *keyword,
                length: begin + length + length_of_colon,
                emphasis: decoration.contains(['*', '_']) && !closed,
            }),
        })
    })
}

/// A colon behind blanks and the end of emphasis: its end, and whether there was emphasis.
fn colon(text: &str) -> Look<(usize, bool)> {
    let begin = text.find(|c| !matches!(c, ' ' | '\t' | '*' | '_')).unwrap_or(text.len());
    match text[begin..].chars().next() {
        _ if begin > DECORATION => Look::No,
        None => Look::Maybe,
        Some(c @ (':' | '：')) => Look::Found((begin + c.len_utf8(), text[..begin].contains(['*', '_']))),
        Some(_) => Look::No,
    }
}

/// An element that holds a call: its length.
pub(crate) fn opener(text: &str) -> Look<usize> {
    const OPENERS: &[&str] = &["<tool_call>", "<function_call>", "<|im_start|>tool_call", "<|im_start|>function_call"];
    OPENERS.iter().fold(Look::No, |best, opener| best.or(|| word(text, opener)))
}

/// The end of such an element: its length.
pub(crate) fn closer(text: &str) -> Look<usize> {
    const CLOSERS: &[&str] = &["</tool_call>", "</function_call>", "<|im_end|>"];
    CLOSERS.iter().fold(Look::No, |best, closer| best.or(|| word(text, closer)))
}

/// A text that begins with a brace: the object of a call to a known tool, which names the tool first.
pub(crate) fn object(text: &str, names: &Names) -> Look<()> {
    const KEYS: &[&str] = &["name", "tool", "tool_name", "function", "type"];
    let Some(rest) = text.strip_prefix('{') else { return Look::No };
    let (key, rest) = match quoted(rest, |key| KEYS.iter().any(|known| known.starts_with(key))) {
        Look::Found(found) => found,
        Look::Maybe => return Look::Maybe,
        Look::No => return Look::No,
    };
    if !KEYS.contains(&key) {
        return Look::No;
    }
    let Some(rest) = unblank(rest) else { return Look::No };
    match rest.chars().next() {
        None => return Look::Maybe,
        Some(':') => {}
        Some(_) => return Look::No,
    }
    let Some(value) = unblank(&rest[1..]) else { return Look::No };
    if key == "function" && value.starts_with('{') {
        return Look::Found(());
    }
    let fits = |value: &str| if key == "type" { "function".starts_with(value) } else { names.begins(value) };
    match quoted(value, fits) {
        Look::Found((value, _)) => {
            if if key == "type" { value == "function" } else { names.known(value) } {
                Look::Found(())
            } else {
                Look::No
            }
        }
        Look::Maybe => Look::Maybe,
        Look::No => Look::No,
    }
}

/// A string in quotes, as long as `fits` accepts what there is of it, and what follows it.
fn quoted(text: &str, fits: impl Fn(&str) -> bool) -> Look<(&str, &str)> {
    let Some(text) = unblank(text) else { return Look::No };
    let Some(quote) = text.chars().next() else { return Look::Maybe };
    if !matches!(quote, '"' | '\'') {
        return Look::No;
    }
    let text = &text[1..];
    match text.split_once(quote) {
        Some((inner, rest)) if fits(inner) => Look::Found((inner, rest)),
        None if fits(text) => Look::Maybe,
        Some(_) | None => Look::No,
    }
}

/// A text without the blanks and line breaks at its beginning, unless they are too many.
pub(crate) fn unblank(text: &str) -> Option<&str> {
    let rest = text.trim_start();
    (text.len() - rest.len() <= BLANKS).then_some(rest)
}

/// A known tool's name with an object behind it: the name's length and where the object begins.
pub(crate) fn plain(text: &str, names: &Names) -> Look<(usize, usize)> {
    names.iter().fold(Look::No, |best, name| {
        best.or(|| match text.strip_prefix(name) {
            None if name.starts_with(text) => Look::Maybe,
            None => Look::No,
            Some(rest) => match unblank(rest) {
                Some("") => Look::Maybe,
                Some(object) if object.starts_with('{') => Look::Found((name.len(), text.len() - object.len())),
                Some(_) | None => Look::No,
            },
        })
    })
}

/// Where the content of a text begins that may be fenced as JSON.
pub(crate) fn unfenced(text: &str) -> Look<usize> {
    let Some(rest) = unblank(text) else { return Look::No };
    let Some(rest) = rest.starts_with('`').then(|| rest.trim_start_matches('`')) else {
        return Look::Found(text.len() - rest.len());
    };
    let rest = match word(rest, "json") {
        Look::Found(length) => &rest[length..],
        Look::Maybe => return Look::Maybe,
        Look::No => rest,
    };
    unblank(rest).map_or(Look::No, |content| Look::Found(text.len() - content.len()))
}

/// What stands at the beginning of a code fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fenced {
    /// An object: where it begins.
    Object(usize),
    /// An element that holds a call: where it begins.
    Element(usize),
    /// A header: where its line begins.
    Header(usize, Keyword),
}

/// A code fence that holds a call, from its marks on. One backtick around an object counts too.
pub(crate) fn fenced(text: &str, names: &Names) -> Look<Fenced> {
    const LANGUAGES: &[&str] =
        &["", "json", "json5", "jsonc", "python", "xml", "tool", "tool_call", "tool_code", "text", "plaintext"];
    let Some(mark @ ('`' | '~')) = text.chars().next() else { return Look::No };
    let rest = text.trim_start_matches(mark);
    let marks = text.len() - rest.len();
    if marks == 1 && mark == '`' && rest.starts_with('{') {
        return object(rest, names).map(|()| Fenced::Object(1));
    }
    if rest.is_empty() {
        return if marks <= DECORATION { Look::Maybe } else { Look::No };
    }
    if !(3..=DECORATION).contains(&marks) {
        return Look::No;
    }
    let Some((language, body)) = rest.split_once('\n') else {
        let language = rest.trim_end().to_ascii_lowercase();
        let begun = rest.len() <= 2 * DECORATION && LANGUAGES.iter().any(|known| known.starts_with(&language));
        return if begun { Look::Maybe } else { Look::No };
    };
    if language.len() > 2 * DECORATION || !LANGUAGES.contains(&language.trim_end().to_ascii_lowercase().as_str()) {
        return Look::No;
    }
    let Some(content) = unblank(body) else { return Look::No };
    let at = text.len() - content.len();
    match content.chars().next() {
        None => Look::Maybe,
        Some('{') => object(content, names).map(|()| Fenced::Object(at)),
        Some('<') => opener(content).map(|_| Fenced::Element(at)),
        Some(_) => match header(content, LINES) {
            Look::Found(Header {
                keyword: keyword @ (Keyword::Action | Keyword::Tool | Keyword::Function), ..
            }) => Look::Found(Fenced::Header(at, keyword)),
            Look::Maybe => Look::Maybe,
            Look::Found(_) | Look::No => Look::No,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new(["search", "memory", "HassTurnOn"].map(str::to_owned).into())
    }

    /// What is said of the whole, having checked that nothing else was said of its beginnings.
    fn steady<T: PartialEq + std::fmt::Debug>(text: &str, look: impl Fn(&str) -> Look<T>) -> Look<T> {
        let whole = look(text);
        for (cut, _) in text.char_indices().skip(1) {
            let part = look(&text[..cut]);
            assert!(part == Look::Maybe || part == whole, "{text} at {cut}: {part:?}, {whole:?}");
        }
        whole
    }

    #[test]
    fn headers_are_recognised_however_decorated() {
        for (line, keyword) in [
            ("Action:", Keyword::Action),
            ("action input :", Keyword::ActionInput),
            ("ACTION INPUT:", Keyword::ActionInput),
            ("# Tool:", Keyword::Tool),
            ("**Final Answer**:", Keyword::FinalAnswer),
            ("  ### **Thought:", Keyword::Thought),
            ("Observation：", Keyword::Observation),
        ] {
            let Look::Found(found) = steady(line, |line| header(line, LINES)) else { panic!("{line}") };
            assert_eq!((found.keyword, found.length), (keyword, line.len()), "{line}");
        }
        for line in ["Actions:", "Action!", "The action:", "Tooling:", "- Action:", "Thoughtful", "Finally:", "ab"] {
            assert_eq!(steady(line, |line| header(line, LINES)), Look::No, "{line}");
        }
    }

    #[test]
    fn objects_name_a_known_tool_first() {
        for text in [
            r#"{"name": "search""#,
            "{\n  'tool' : 'web_search'",
            r#"{"name": "functions.search""#,
            r#"{"type": "function""#,
            r#"{"function": {"#,
            r#"{"name":"hassturnon""#,
        ] {
            assert_eq!(steady(text, |text| object(text, &names())), Look::Found(()), "{text}");
        }
        for text in [r#"{"name": "Ann""#, r#"{"title": "#, "{x", r#"{"name": 7"#, r#"{"names"#, r#"{"type": "object""#]
        {
            assert_eq!(steady(text, |text| object(text, &names())), Look::No, "{text}");
        }
    }

    #[test]
    fn fences_are_looked_into() {
        let look = |text: &str| steady(text, |text| fenced(text, &names()));
        assert_eq!(look("```json\n{\"name\": \"search\""), Look::Found(Fenced::Object(8)));
        assert_eq!(look("```\n\n# Tool:"), Look::Found(Fenced::Header(5, Keyword::Tool)));
        assert_eq!(look("```xml\n<tool_call>"), Look::Found(Fenced::Element(7)));
        assert_eq!(look("`{\"name\": \"search\""), Look::Found(Fenced::Object(1)));
        for text in ["```rust\n", "```json\n{\"a\"", "``x", "`x`", "```json\n[", "```\nx", "```json5x"] {
            assert_eq!(look(text), Look::No, "{text}");
        }
    }

    #[test]
    fn plain_names_want_an_object() {
        assert_eq!(steady("search {", |text| plain(text, &names())), Look::Found((6, 7)));
        assert_eq!(steady("memory\n{", |text| plain(text, &names())), Look::Found((6, 7)));
        for text in ["searching", "search for", "x", "memory."] {
            assert_eq!(steady(text, |text| plain(text, &names())), Look::No, "{text}");
        }
    }
}
