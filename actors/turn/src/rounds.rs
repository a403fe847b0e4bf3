//! What happened behind the prompt: calls with their results, as values that cannot come apart.
//!
//! A call without a result, or a result without its call, cannot be written here. Flat messages are made of it only where
//! a request is built, in the format of the model that is about to answer, so that a turn may begin with a model that has
//! function calling and go on with one that has not. Pure.

use std::collections::HashMap;

use greenroom_dialect::{Told, ToolFormat, continuation};
use greenroom_protocol::{Message, Role, ToolCall};
use serde_json::{Map, Value};

use crate::history::{cut_middle, estimate};

/// Stands for a result that the client has not sent.
const NOT_EXECUTED: &str = "not executed";
/// Bytes that results are cut to when there is no room, in this order.
const SHORT: [usize; 3] = [4_000, 1_500, 400];

/// A tool call and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The call; its id is unique in the turn and its arguments are a JSON object.
    pub(crate) call: ToolCall,
    /// What the model reads.
    pub(crate) result: String,
    /// Whether the tool succeeded.
    pub(crate) ok: bool,
}

/// One pass in which the model called tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    /// What it said or thought beside the calls.
    pub(crate) text: String,
    /// In call order; never empty.
    pub(crate) exchanges: Vec<Exchange>,
    /// Whether this service ran any of them.
    pub(crate) ours: bool,
}

/// One step behind the prompt.
#[derive(Debug, Clone, PartialEq)]
enum Passage {
    Round(Round),
    /// The assistant's words and what it was told about them.
    Remark {
        wrote: String,
        told: String,
    },
    /// A message that the client sent along.
    Said(Message),
}

/// All that happened behind the prompt, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transcript {
    passages: Vec<Passage>,
}

impl Transcript {
    /// Reads what a client sent behind the prompt. Results that no call asked for are dropped.
    pub(crate) fn of_client(tail: &[Message]) -> Self {
        let mut passages = Vec::new();
        let mut rest = tail;
        while let Some((message, behind)) = rest.split_first() {
            rest = behind;
            match message.role {
                Role::Assistant if !message.tool_calls.is_empty() => {
                    let results = behind.iter().take_while(|later| later.role == Role::Tool);
                    let results: HashMap<&str, &Message> =
                        results.filter_map(|result| Some((result.tool_call_id.as_deref()?, result))).collect();
                    let exchanges = message.tool_calls.iter().map(|call| {
                        let found = results.get(call.id.as_str());
                        Exchange {
                            call: call.clone(),
                            result: found.map_or_else(|| NOT_EXECUTED.to_owned(), |result| result.content.clone()),
                            ok: found.is_some_and(|result| !result.is_error),
                        }
                    });
                    let (text, exchanges) = (message.content.clone(), exchanges.collect());
                    passages.push(Passage::Round(Round { text, exchanges, ours: false }));
                }
                Role::Tool => {}
                Role::System | Role::User | Role::Assistant => passages.push(Passage::Said(message.clone())),
            }
        }
        Self { passages }
    }

    /// The rounds, in order.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = &Round> {
        self.passages.iter().filter_map(|passage| match passage {
            Passage::Round(round) => Some(round),
            Passage::Remark { .. } | Passage::Said(_) => None,
        })
    }

    /// Another round.
    pub(crate) fn push(&mut self, round: Round) {
        self.passages.push(Passage::Round(round));
    }

    /// The model wrote something that was of no use, and is told so.
    pub(crate) fn remark(&mut self, wrote: String, told: String) {
        self.passages.push(Passage::Remark { wrote, told });
    }

    /// Puts what this service did itself beside the calls that it handed to the client then: `earlier` rounds before the
    /// round with call `id`, `beside` into it.
    pub(crate) fn join(&mut self, id: &str, earlier: Vec<Round>, beside: Vec<Exchange>) {
        let is_it = |passage: &Passage| match passage {
            Passage::Round(round) => round.exchanges.iter().any(|exchange| exchange.call.id == id),
            Passage::Remark { .. } | Passage::Said(_) => false,
        };
        let Some(at) = self.passages.iter().position(is_it) else { return };
        if let Some(Passage::Round(round)) = self.passages.get_mut(at) {
            round.ours |= !beside.is_empty();
            round.exchanges.splice(0..0, beside);
        }
        self.passages.splice(at..at, earlier.into_iter().map(Passage::Round));
    }

    /// The messages, as a model of this format reads them. `guidance` goes behind the first result of each round.
    pub(crate) fn messages(&self, format: ToolFormat, guidance: &str) -> Vec<Message> {
        let mut messages = Vec::with_capacity(self.passages.len() * 2);
        for passage in &self.passages {
            match passage {
                Passage::Round(round) if format == ToolFormat::Native => natively(round, guidance, &mut messages),
                Passage::Round(round) => in_text(round, format, guidance, &mut messages),
                Passage::Remark { wrote, told } => {
                    if !wrote.trim().is_empty() {
                        messages.push(Message::text(Role::Assistant, wrote));
                    }
                    tell(told, &mut messages);
                }
                Passage::Said(message) => messages.push(message.clone()),
            }
        }
        messages
    }

    /// Estimated tokens.
    pub(crate) fn cost(&self) -> usize {
        if self.passages.is_empty() {
            return 0;
        }
        self.messages(ToolFormat::Native, "").iter().map(estimate).sum()
    }

    /// Shortens results, oldest first, until everything fits into `room` tokens or nothing is left to shorten.
    pub(crate) fn fit(&mut self, room: usize) {
        for most in SHORT {
            let mut over = self.cost().saturating_sub(room);
            for passage in &mut self.passages {
                let Passage::Round(round) = passage else { continue };
                for exchange in round.exchanges.iter_mut().filter(|exchange| exchange.result.len() > most) {
                    if over == 0 {
                        return;
                    }
                    let short = cut_middle(&exchange.result, most);
                    over = over.saturating_sub((exchange.result.len() - short.len()) / 4);
                    exchange.result = short;
                }
            }
        }
    }
}

fn natively(round: &Round, guidance: &str, messages: &mut Vec<Message>) {
    let calls = round.exchanges.iter().map(|exchange| exchange.call.clone()).collect();
    messages.push(Message { tool_calls: calls, ..Message::text(Role::Assistant, &round.text) });
    for (index, exchange) in round.exchanges.iter().enumerate() {
        let error = if exchange.ok || !round.ours { "" } else { "ERROR: " };
        let mut content = format!("{error}{}", exchange.result);
        if index == 0 && round.ours && !guidance.is_empty() {
            content.push_str("\n\n");
            content.push_str(guidance);
        }
        messages.push(Message {
            tool_call_id: Some(exchange.call.id.clone()),
            is_error: !exchange.ok,
            ..Message::text(Role::Tool, content)
        });
    }
}

fn in_text(round: &Round, format: ToolFormat, guidance: &str, messages: &mut Vec<Message>) {
    let arguments: Vec<Value> = round
        .exchanges
        .iter()
        .map(|exchange| serde_json::from_str(&exchange.call.arguments).unwrap_or_else(|_| Value::Object(Map::new())))
        .collect();
    let told: Vec<Told<'_>> = round
        .exchanges
        .iter()
        .zip(&arguments)
        .map(|(exchange, arguments)| Told {
            name: &exchange.call.name,
            arguments,
            ok: exchange.ok,
            result: &exchange.result,
        })
        .collect();
    let guidance = Some(guidance).filter(|guidance| round.ours && !guidance.is_empty());
    let (wrote, result) = continuation(format, &round.text, &told, guidance);
    messages.push(Message::text(Role::Assistant, wrote));
    tell(&result, messages);
}

/// Says something to the model as the user, behind what it was told just before.
fn tell(text: &str, messages: &mut Vec<Message>) {
    match messages.last_mut().filter(|last| last.role == Role::User) {
        Some(last) => {
            last.content.push_str("\n\n");
            last.content.push_str(text);
        }
        None => messages.push(Message::text(Role::User, text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(id: &str, result: &str) -> Exchange {
        let call = ToolCall { id: id.into(), name: "time".into(), arguments: r#"{"zone":"UTC"}"#.into() };
        Exchange { call, result: result.into(), ok: true }
    }

    fn round(ids: &[&str], result: &str) -> Round {
        let exchanges = ids.iter().map(|id| exchange(id, result)).collect();
        Round { text: "Let me look.".into(), exchanges, ours: true }
    }

    fn outline(messages: &[Message]) -> Vec<String> {
        let line = |m: &Message| {
            let calls: Vec<&str> = m.tool_calls.iter().map(|call| call.id.as_str()).collect();
            let id = m.tool_call_id.as_deref().unwrap_or(if calls.is_empty() { "-" } else { "" });
            format!("{} {}{}", m.role.as_str(), id, calls.join(","))
        };
        messages.iter().map(line).collect()
    }

    #[test]
    fn a_native_round_is_one_message_of_calls_and_their_results() {
        let mut transcript = Transcript::default();
        let mut failed = round(&["a", "b"], "noon");
        failed.exchanges[1].ok = false;
        transcript.push(failed);
        let messages = transcript.messages(ToolFormat::Native, "Use it.");
        assert_eq!(outline(&messages), ["assistant a,b", "tool a", "tool b"]);
        assert_eq!(messages[0].content, "Let me look.");
        assert_eq!((messages[1].content.as_str(), messages[1].is_error), ("noon\n\nUse it.", false));
        assert_eq!((messages[2].content.as_str(), messages[2].is_error), ("ERROR: noon", true));
    }

    #[test]
    fn the_same_round_can_be_told_in_text() {
        let mut transcript = Transcript::default();
        transcript.push(round(&["a"], "noon"));
        transcript.remark(String::new(), "Answer now.".into());
        for format in [ToolFormat::React, ToolFormat::Xml, ToolFormat::None] {
            let messages = transcript.messages(format, "");
            assert_eq!(outline(&messages), ["assistant -", "user -"], "{format:?}");
            assert!(messages[0].content.contains("time") && messages[0].content.contains("UTC"));
            assert!(messages[1].content.contains("noon") && messages[1].content.ends_with("Answer now."));
        }
    }

    #[test]
    fn a_clients_messages_become_rounds_and_back() {
        let call = exchange("a", "").call;
        let calling = Message { tool_calls: vec![call.clone()], ..Message::text(Role::Assistant, "well") };
        let orphan = Message { tool_call_id: Some("x".into()), ..Message::text(Role::Tool, "lost") };
        let result = Message { tool_call_id: Some("a".into()), ..Message::text(Role::Tool, "sunny") };
        let transcript = Transcript::of_client(&[calling.clone(), orphan, result.clone()]);
        assert_eq!(transcript.messages(ToolFormat::Native, "never"), [calling.clone(), result]);
        let missing = Transcript::of_client(&[calling]).messages(ToolFormat::Native, "");
        assert_eq!((missing[1].content.as_str(), missing[1].is_error), (NOT_EXECUTED, true));
    }

    #[test]
    fn what_the_service_did_is_joined_to_the_clients_call() {
        let calling = Message { tool_calls: vec![exchange("c", "").call], ..Message::text(Role::Assistant, "") };
        let result = Message { tool_call_id: Some("c".into()), ..Message::text(Role::Tool, "sunny") };
        let mut transcript = Transcript::of_client(&[calling, result]);
        transcript.join("c", vec![round(&["a"], "one")], vec![exchange("b", "two")]);
        transcript.join("gone", vec![round(&["z"], "never")], Vec::new());
        let messages = transcript.messages(ToolFormat::Native, "");
        assert_eq!(outline(&messages), ["assistant a", "tool a", "assistant b,c", "tool b", "tool c"]);
    }

    proptest! {
        #[test]
        fn cutting_never_parts_a_call_from_its_result(
            sizes in prop::collection::vec(prop::collection::vec(0usize..20_000, 1..4), 0..6), room in 0usize..8_000,
        ) {
            let mut transcript = Transcript::default();
            for (at, sizes) in sizes.iter().enumerate() {
                let exchanges: Vec<Exchange> = sizes.iter().enumerate()
                    .map(|(n, size)| exchange(&format!("{at}.{n}"), &"ä".repeat(*size))).collect();
                transcript.push(Round { text: String::new(), exchanges, ours: true });
            }
            let before = outline(&transcript.messages(ToolFormat::Native, ""));
            transcript.fit(room);
            prop_assert_eq!(outline(&transcript.messages(ToolFormat::Native, "")), before);
            let longest = transcript.rounds().flat_map(|r| &r.exchanges).map(|e| e.result.len()).max().unwrap_or(0);
            prop_assert!(transcript.cost() <= room || longest <= SHORT[2]);
        }
    }
}
