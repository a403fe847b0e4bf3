//! The scripted upstream as a Chat Completions server. Pure: a script becomes chunks or a whole completion.

use bytes::Bytes;
use serde_json::{Value, json};

use super::render::{Asked, Told, Whole, event_noise, line_end, whole_of};
use super::script::{Piece, Script, UsagePlace};

/// The `created` time of every answer.
const CREATED: u64 = 1_700_000_000;

/// A non-streaming answer.
pub(super) fn completion(script: &Script, asked: &Asked) -> Value {
    let Whole { error, text, thoughts, calls } = whole_of(script);
    if let Some(error) = error {
        return error;
    }
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
        if text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.into();
    }
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": script.finish_reason});
    let mut body = json!({"id": completion_id(0), "object": "chat.completion", "created": CREATED,
        "model": asked.model, "choices": [choice], "system_fingerprint": "fp_scripted"});
    if script.usage_place != UsagePlace::Absent {
        body["usage"] = usage(script, script.pieces.len());
    }
    body
}

/// Writes the chunks of one answer.
pub(super) struct Chunks<'a> {
    script: &'a Script,
    asked: &'a Asked,
    line_end: &'a str,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(script: &'a Script, asked: &'a Asked) -> Self {
        Self { script, asked, line_end: line_end(script) }
    }
}

impl Told for Chunks<'_> {
    fn opening(&mut self) -> Option<Bytes> {
        Some(self.chunk(0, r#"{"role":"assistant","content":"","refusal":null}"#, None, 0))
    }

    fn piece(&mut self, index: usize, piece: &Piece) -> Bytes {
        let delta = match piece {
            Piece::Text(text) => format!(r#"{{"content":{}}}"#, Value::from(text.as_str())),
            Piece::Reasoning(text) => format!(r#"{{"reasoning_content":{}}}"#, Value::from(text.as_str())),
            Piece::ToolDelta(delta) => format!(r#"{{"tool_calls":[{delta}]}}"#),
            Piece::Delta(delta) => delta.to_string(),
            Piece::Data(data) => return self.event(&data.to_string()),
            Piece::Raw(bytes) => return bytes.clone(),
        };
        self.chunk(index + 1, &delta, None, index + 1)
    }

    fn ending(&mut self) -> Vec<Bytes> {
        let pieces = self.script.pieces.len();
        let mut ending = Vec::new();
        if let Some(reason) = &self.script.finish_reason {
            ending.push(self.chunk(pieces + 1, "{}", Some(reason), pieces));
        }
        let asked = self.script.usage_place == UsagePlace::AsAsked && self.asked.include_usage;
        if asked || self.script.usage_place == UsagePlace::Last {
            let data = format!(r#"{}"choices":[],"usage":{}}}"#, self.head(pieces + 2), usage(self.script, pieces));
            ending.push(self.event(&data));
        }
        if self.script.done {
            ending.push(self.event("[DONE]"));
        }
        ending
    }

    fn noise(&mut self, index: usize) -> Bytes {
        event_noise(index, self.line_end)
    }
}

impl Chunks<'_> {
    /// The members common to all chunks, from the opening brace on.
    fn head(&self, number: usize) -> String {
        let id = completion_id(if self.script.wrong_ids { number } else { 0 });
        let model = Value::from(self.asked.model.as_str());
        let who = r#""service_tier":"default","system_fingerprint":"fp_scripted""#;
        format!(r#"{{"id":"{id}","object":"chat.completion.chunk","created":{CREATED},"model":{model},{who},"#)
    }

    fn chunk(&self, number: usize, delta: &str, finish: Option<&str>, pieces: usize) -> Bytes {
        let finish = finish.map_or_else(|| "null".to_owned(), |reason| Value::from(reason).to_string());
        let tail = match self.script.usage_place {
            UsagePlace::Every => format!(r#","usage":{}"#, usage(self.script, pieces)),
            UsagePlace::WithFinish if finish != "null" => format!(r#","usage":{}"#, usage(self.script, pieces)),
            UsagePlace::AsAsked if self.asked.include_usage => r#","usage":null"#.to_owned(),
            _ => String::new(),
        };
        let head = self.head(number);
        self.event(&format!(
            r#"{head}"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{tail}}}"#
        ))
    }

    fn event(&self, data: &str) -> Bytes {
        let end = self.line_end;
        format!("data: {data}{end}{end}").into()
    }
}

fn completion_id(number: usize) -> String {
    if number == 0 { "chatcmpl-scripted".into() } else { format!("chatcmpl-scripted-{number}") }
}

fn usage(script: &Script, pieces: usize) -> Value {
    script.usage.clone().unwrap_or_else(|| {
        json!({"prompt_tokens": 11, "completion_tokens": pieces, "total_tokens": 11 + pieces,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
    })
}

#[cfg(test)]
mod tests {
    use super::super::render::render;
    use super::super::render::tests::{asked, bytes_of, data_of};
    use super::*;

    #[test]
    fn chunks_are_what_openai_sends() {
        let plan = render(&Script::chunks(["Hé \"x\"", "\n"]), &asked(true, true));
        let data = data_of(&plan);
        assert_eq!(data.len(), 5);
        assert_eq!(data[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(data[1]["choices"][0]["delta"], json!({"content": "Hé \"x\""}));
        assert_eq!(data[3]["choices"][0]["finish_reason"], "stop");
        assert_eq!(data[4]["choices"], json!([]));
        assert_eq!(data[4]["usage"]["completion_tokens"], 2);
        assert!(data.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["model"] == "m"));
        assert!(bytes_of(&plan).ends_with(b"data: [DONE]\n\n"));
    }

    #[test]
    fn usage_stands_where_it_is_wanted() {
        let places = |place| {
            let data = data_of(&render(&Script::numbered(3).usage_at(place), &asked(true, false)));
            data.iter().map(|chunk| usize::from(chunk["usage"].is_object())).collect::<Vec<_>>()
        };
        assert_eq!(places(UsagePlace::AsAsked), [0, 0, 0, 0, 0]);
        assert_eq!(places(UsagePlace::Absent), [0, 0, 0, 0, 0]);
        assert_eq!(places(UsagePlace::WithFinish), [0, 0, 0, 0, 1]);
        assert_eq!(places(UsagePlace::Last), [0, 0, 0, 0, 0, 1]);
        assert_eq!(places(UsagePlace::Every), [1, 1, 1, 1, 1]);
    }
}
