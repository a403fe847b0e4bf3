//! The built-in echo: no network, no key, no model. It answers with what the user said, in small pieces, so that a
//! fresh installation answers at once and tests are deterministic.
//!
//! It honours the output limit (a piece counts as a token) and stop sequences, estimates its usage, and ignores tools
//! and sampling.

use std::collections::VecDeque;

use greenroom_protocol::{FinishReason, Message, Role, Usage};

use crate::event::{CompletionRequest, ProviderEvent};
use crate::http::stop_guard::StopGuard;
use crate::prompt;

/// Longest piece, in characters.
const LONGEST_PIECE: usize = 64;
/// The answer to an image without words.
const WORDLESS: &str = "(an image)";
/// The answer to nothing at all.
const NOTHING: &str = "(nothing)";

/// The whole answer, one batch per piece.
pub(crate) fn answer(request: &CompletionRequest, alias: &str) -> VecDeque<Vec<ProviderEvent>> {
    let said = request.messages.iter().rev().find(|message| message.role == Role::User);
    let text = match said {
        Some(Message { content, .. }) if !content.trim().is_empty() => content.as_str(),
        Some(message) if !message.parts.is_empty() => WORDLESS,
        _ => NOTHING,
    };
    let mut guard = StopGuard::new(request.sampling.stop.clone());
    let limit = request.sampling.max_tokens.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut batches = VecDeque::from([vec![ProviderEvent::Metadata { upstream_model: alias.to_owned() }]]);
    let (mut characters, mut count, mut reason) = (0, 0, FinishReason::Stop);
    let mut push = |text: String| {
        characters += text.chars().count();
        if !text.is_empty() {
            batches.push_back(vec![ProviderEvent::Text(text)]);
        }
    };
    for piece in pieces(text) {
        if count == limit {
            reason = FinishReason::Length;
            break;
        }
        count += 1;
        match &mut guard {
            None => push(piece.to_owned()),
            Some(active) => {
                let passed = active.pass(piece.to_owned());
                push(passed.text);
                if passed.stopped {
                    guard = None;
                    break;
                }
            }
        }
    }
    if let Some(mut guard) = guard {
        push(guard.rest());
    }
    let usage = Usage::estimate(prompt::characters(&request.messages), characters);
    batches.push_back(vec![ProviderEvent::Usage(usage), ProviderEvent::Finished(reason)]);
    batches
}

/// Words with the space behind them; long ones are cut.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(char::is_whitespace).flat_map(|word| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let end = rest.char_indices().nth(LONGEST_PIECE).map_or(rest.len(), |(at, _)| at);
            let (piece, tail) = rest.split_at(end);
            rest = tail;
            (!piece.is_empty()).then_some(piece)
        })
    })
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::Sampling;
    use greenroom_protocol::message::Part;

    use super::*;

    fn ask(text: &str, sampling: Sampling) -> (Vec<String>, Vec<ProviderEvent>) {
        let messages = vec![
            Message::text(Role::User, "before"),
            Message::text(Role::Assistant, "yes"),
            Message::text(Role::User, text),
        ];
        let request = CompletionRequest { messages, sampling, ..CompletionRequest::default() };
        let (mut texts, mut rest) = (Vec::new(), Vec::new());
        for event in answer(&request, "echo").into_iter().flatten() {
            match event {
                ProviderEvent::Text(text) => texts.push(text),
                other => rest.push(other),
            }
        }
        (texts, rest)
    }

    #[test]
    fn the_last_user_message_comes_back_word_by_word() {
        let (texts, rest) = ask("hello  little\nworld", Sampling::default());
        assert_eq!(texts, ["hello ", " ", "little\n", "world"]);
        assert_eq!(rest[0], ProviderEvent::Metadata { upstream_model: "echo".into() });
        assert!(matches!(rest[1], ProviderEvent::Usage(usage) if usage.estimated && usage.output == 5));
        assert_eq!(rest[2], ProviderEvent::Finished(FinishReason::Stop));
    }

    #[test]
    fn limits_and_stops_are_honoured() {
        let (texts, rest) = ask("a b c", Sampling { max_tokens: Some(2), ..Sampling::default() });
        assert_eq!(texts.concat(), "a b ");
        assert_eq!(rest[2], ProviderEvent::Finished(FinishReason::Length));
        let (texts, rest) = ask("a b c d", Sampling { stop: vec!["c d".into()], ..Sampling::default() });
        assert_eq!(texts.concat(), "a b ");
        assert_eq!(rest[2], ProviderEvent::Finished(FinishReason::Stop));
    }

    #[test]
    fn there_is_always_an_answer() {
        assert_eq!(ask("  ", Sampling::default()).0, [NOTHING]);
        let long = "é".repeat(LONGEST_PIECE + 1);
        assert_eq!(ask(&long, Sampling::default()).0.len(), 2);
        let mut image = Message::text(Role::User, "");
        image.parts.push(Part::Image { url: "data:,".into(), detail: None });
        let request = CompletionRequest { messages: vec![image], ..CompletionRequest::default() };
        let text = ProviderEvent::Text("(an ".into());
        assert!(answer(&request, "echo").into_iter().flatten().any(|event| event == text));
    }
}
