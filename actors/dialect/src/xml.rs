//! A call in an element (tools.md §5.4): `<tool_call>{"name": …, "arguments": …}</tool_call>` and what models make of it,
//! the closing tag being optional because it is the stop sequence. Pure.

use crate::look::Look;
use crate::markers;
use crate::react::{Rules, Verdict};

/// Longest name between an opening tag and its object.
const NAME: usize = 64;

/// Judges a text that begins with an opening tag.
pub(crate) fn judge(text: &str, rules: Rules<'_>) -> Verdict {
    let Look::Found(length) = markers::opener(text) else { return Verdict::Prose };
    let failed = |problem: &str, end: usize| match rules.strict {
        true => Verdict::Prose,
        false => Verdict::Bad { problem: problem.to_owned(), end },
    };
    let empty = |end| failed("the element of the call was empty", end);
    let begin = match markers::unfenced(&text[length..]) {
        Look::Found(begin) => length + begin,
        Look::Maybe => return if rules.ended { empty(text.len()) } else { Verdict::Wait },
        Look::No => return Verdict::Prose,
    };
    let body = &text[begin..];
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let end = body.find(|c| !part(c)).unwrap_or(body.len());
    let name = &body[..end];
    let rest = match markers::unblank(&body[end..]) {
        Some(rest) if name.len() <= NAME => rest,
        Some(_) | None => return Verdict::Prose,
    };
    match rest.chars().next() {
        None if !rules.ended => Verdict::Wait,
        Some('{') if name.is_empty() || rules.names.known(name) => {
            let name = (!name.is_empty()).then(|| name.to_owned());
            Verdict::Object { name, at: text.len() - rest.len() }
        }
        Some('<') => match markers::closer(rest) {
            Look::Maybe if !rules.ended => Verdict::Wait,
            Look::No => Verdict::Prose,
            closer => {
                let end = text.len() - rest.len() + if let Look::Found(length) = closer { length } else { rest.len() };
                match name {
                    "" => empty(end),
                    name if rules.names.known(name) => Verdict::Call { name: name.to_owned(), end },
                    _ => failed("the element of the call held no JSON object", end),
                }
            }
        },
        None if rules.names.known(name) => Verdict::Call { name: name.to_owned(), end: text.len() },
        None if name.is_empty() => empty(text.len()),
        Some(_) | None => Verdict::Prose,
    }
}

/// What stands between one call and the next.
pub(crate) enum Between {
    /// Nothing but the ends of elements, so many bytes.
    Nothing(usize),
    /// The next call begins here.
    Next(usize),
    /// Something else: the calls are over.
    Over,
}

/// Looks at the text behind a call.
pub(crate) fn between(text: &str, ended: bool) -> Between {
    let mut at = 0;
    loop {
        let rest = text[at..].trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '}' | '`'));
        at = text.len() - rest.len();
        match (markers::closer(rest), markers::opener(rest)) {
            (Look::Found(length), _) => at += length,
            (_, Look::Found(_)) => return Between::Next(at),
            (Look::Maybe, _) | (_, Look::Maybe) if !ended => return Between::Nothing(at),
            _ => return Between::Over,
        }
    }
}
