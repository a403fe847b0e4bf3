//! What the events of a Messages stream mean.
//!
//! Content comes in numbered blocks: text, thinking, calls with their arguments in fragments, and blocks of the provider's
//! own tools, which are read over. Token counts are cumulative and come in two parts, those of the prompt at the start and
//! those of the answer at its end; what an answer that broke off had generated is estimated in between.

use greenroom_protocol::{FinishReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{CompletionRequest, ProviderEvent};
use crate::http::fold::{Fault, Reader};
use crate::http::progress::Progress;
use crate::wires::tool_calls::{Arguments, CallPiece};

/// Most blocks of one answer that are kept apart.
const MOST_BLOCKS: usize = 4096;

/// A reader of the answer to a request.
pub(crate) fn reader(_: &CompletionRequest) -> Box<dyn Reader> {
    Box::new(MessagesReader::default())
}

#[derive(Debug, Default)]
struct MessagesReader {
    counts: Counts,
    /// Characters generated so far.
    characters: usize,
    /// Blocks with arguments, in the order in which they began.
    blocks: Vec<Block>,
    /// Blocks begun so far, for servers that do not number them.
    begun: i64,
    /// The block that began last.
    current: i64,
}

#[derive(Debug)]
struct Block {
    index: i64,
    takes: Takes,
}

/// What becomes of a block's arguments.
#[derive(Debug, PartialEq)]
enum Takes {
    Fragments,
    /// They came whole at the start, or belong to a tool that the provider runs itself.
    Nothing,
}

/// Token counts as they are told; each replaces the one before.
#[derive(Debug, Default)]
struct Counts {
    input: u64,
    cache_read: u64,
    cache_creation: u64,
    /// Of the finished answer.
    output: Option<u64>,
    thinking: u64,
}

/// An event, each member read on its own, so that an odd one costs nothing else.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    index: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

impl Reader for MessagesReader {
    fn event(
        &mut self,
        event: &str,
        data: &str,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        if let Ok(said) = serde_json::from_str::<Event<'_>>(data) {
            return self.said(event, &said, answer, out);
        }
        // a member named twice, no object, or no JSON at all: the general reader tells them apart
        match serde_json::from_str::<Value>(data) {
            Ok(value) => match serde_json::from_str::<Event<'_>>(&value.to_string()) {
                Ok(said) => self.said(event, &said, answer, out),
                Err(_) if event == "error" => Err(Fault::Upstream(value)),
                Err(_) => Ok(()),
            },
            Err(_) if event == "error" => Err(Fault::Upstream(data.into())),
            Err(_) if data.starts_with(['{', '[']) => Err(Fault::Broken("an event is not JSON")),
            Err(_) => Ok(()),
        }
    }

    fn whole(&mut self, body: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        let message: Value =
            serde_json::from_str(body).map_err(|_| Fault::Broken("the answer is neither an event stream nor JSON"))?;
        if let Some(error) = message.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::Upstream(error.clone()));
        }
        let Some(content) = message.get("content").and_then(Value::as_array) else { return Ok(()) };
        answer.model(message.get("model").and_then(Value::as_str).unwrap_or_default(), out);
        for (index, block) in (0..).zip(content) {
            self.begin(index, block, answer, out)?;
        }
        if let Some(usage) = message.get("usage") {
            self.counts.take(usage, true);
            self.report(answer);
        }
        if let Some(reason) = message.get("stop_reason").and_then(Value::as_str) {
            answer.finish(finish_of(reason));
        }
        answer.end();
        Ok(())
    }
}

impl MessagesReader {
    fn said(
        &mut self,
        event: &str,
        said: &Event<'_>,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        if let Some(error) = read::<Value>(said.error).filter(|error| !error.is_null()) {
            return Err(Fault::Upstream(error));
        }
        let kind = read::<String>(said.kind).filter(|kind| !kind.is_empty());
        match kind.as_deref().unwrap_or(event) {
            "message_start" => {
                let message = read::<Value>(said.message).unwrap_or_default();
                answer.model(message.get("model").and_then(Value::as_str).unwrap_or_default(), out);
                if let Some(usage) = message.get("usage") {
                    self.counts.take(usage, false);
                    self.report(answer);
                }
            }
            "content_block_start" => {
                let index = read(said.index).unwrap_or(self.begun);
                let block = read::<Value>(said.content_block).unwrap_or_default();
                self.begin(index, &block, answer, out)?;
            }
            "content_block_delta" => {
                if let Some(delta) = read(said.delta) {
                    self.delta(read(said.index).unwrap_or(self.current), &delta, answer, out)?;
                }
            }
            "message_delta" => {
                if let Some(usage) = read::<Value>(said.usage) {
                    self.counts.take(&usage, true);
                    self.report(answer);
                }
                let reason = read::<Delta<'_>>(said.delta).and_then(|delta| read::<String>(delta.stop_reason));
                if let Some(reason) = reason {
                    answer.finish(finish_of(&reason));
                }
            }
            "message_stop" => answer.end(),
            "error" => return Err(Fault::Upstream("the provider failed".into())),
            _ => {} // `ping`, `content_block_stop`, and what may yet be invented
        }
        Ok(())
    }

    fn begin(
        &mut self,
        index: i64,
        block: &Value,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        (self.current, self.begun) = (index, self.begun.saturating_add(1));
        let text = |name: &str| block.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let words = |name: &str| text(name).unwrap_or_default().to_owned();
        let takes = match text("type").unwrap_or_default() {
            "text" => {
                self.text(words("text"), answer, out);
                return Ok(());
            }
            "thinking" => {
                self.thinking(words("thinking"), answer, out);
                return Ok(());
            }
            "tool_use" => {
                let whole = block.get("input").filter(|input| !is_empty(input)).map(Value::to_string);
                let takes = if whole.is_some() { Takes::Nothing } else { Takes::Fragments };
                self.characters += text("name").map_or(0, str::len) + whole.as_deref().map_or(0, str::len);
                answer.call(CallPiece {
                    index: Some(index),
                    position: index,
                    id: text("id").map(str::to_owned),
                    name: text("name").map(str::to_owned),
                    arguments: whole.map_or(Arguments::None, Arguments::Whole),
                })?;
                self.report(answer);
                takes
            }
            _ => Takes::Nothing,
        };
        if self.blocks.len() >= MOST_BLOCKS {
            return Err(Fault::Broken("too many content blocks"));
        }
        self.blocks.push(Block { index, takes });
        Ok(())
    }

    fn delta(
        &mut self,
        index: i64,
        delta: &Delta<'_>,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        if let Some(text) = read(delta.text) {
            self.text(text, answer, out);
        }
        if let Some(thinking) = read(delta.thinking) {
            self.thinking(thinking, answer, out);
        }
        let Some(fragment) = read::<String>(delta.partial_json) else { return Ok(()) };
        match self.blocks.iter().rev().find(|block| block.index == index) {
            None => Err(Fault::Broken("arguments came without a call")),
            Some(Block { takes: Takes::Nothing, .. }) => Ok(()),
            Some(_) if fragment.is_empty() => Ok(()),
            Some(_) => {
                self.characters += fragment.chars().count();
                answer.call(CallPiece {
                    index: Some(index),
                    arguments: Arguments::Text(fragment),
                    ..CallPiece::default()
                })?;
                self.report(answer);
                Ok(())
            }
        }
    }

    fn text(&mut self, text: String, answer: &mut Progress, out: &mut Vec<ProviderEvent>) {
        self.characters += text.chars().count();
        answer.text(text, out);
        self.report(answer);
    }

    fn thinking(&mut self, text: String, answer: &mut Progress, out: &mut Vec<ProviderEvent>) {
        self.characters += text.chars().count();
        answer.reasoning(text, out);
        self.report(answer);
    }

    /// Tells the counts so far; until the provider has counted the answer, its part is estimated.
    fn report(&self, answer: &mut Progress) {
        let counts = &self.counts;
        let usage = match (counts.prompt(), counts.output) {
            (None, None | Some(0)) => return,
            (None, Some(output)) => Usage { output, estimated: true, ..answer.usage() },
            (Some(input), output) => Usage {
                input,
                cached_input: counts.cache_read,
                output: output.unwrap_or_else(|| Usage::estimate(0, self.characters).output),
                reasoning: counts.thinking,
                estimated: output.is_none(),
            },
        };
        answer.report_usage(usage);
    }
}

impl Counts {
    /// All tokens of the prompt; counts of nothing are no report.
    fn prompt(&self) -> Option<u64> {
        let all = self.input.saturating_add(self.cache_read).saturating_add(self.cache_creation);
        (all > 0).then_some(all)
    }

    fn take(&mut self, usage: &Value, of_the_answer: bool) {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        self.input = count("input_tokens").unwrap_or(self.input);
        self.cache_read = count("cache_read_input_tokens").unwrap_or(self.cache_read);
        self.cache_creation = count("cache_creation_input_tokens").unwrap_or(self.cache_creation);
        if of_the_answer {
            self.output = count("output_tokens").or(self.output);
            let details = usage.get("output_tokens_details");
            self.thinking =
                details.and_then(|details| details.get("thinking_tokens")?.as_u64()).unwrap_or(self.thinking);
        }
    }
}

fn is_empty(input: &Value) -> bool {
    match input {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn finish_of(word: &str) -> FinishReason {
    match word {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn`, `stop_sequence`, and `pause_turn`, which only answers with the provider's own tools have
        _ => FinishReason::Stop,
    }
}
