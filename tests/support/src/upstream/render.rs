//! A script as wire bytes.
//!
//! Pure: a [`Script`] and what the request asked for give a [`Plan`], the head of a response and the steps of its body.
//! Everything that can be known beforehand is rendered here, once; playing a plan (`server.rs`) formats nothing, and a
//! plan can be played any number of times.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::script::{Fault, Gate, Piece, Script, Split, UsagePlace};
use super::tools::assemble;

/// The `created` time of every answer.
const CREATED: u64 = 1_700_000_000;

/// What the request says about the form of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The model named in the request, echoed in the answer.
    pub model: String,
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
}

impl Asked {
    pub(super) fn of(request: &Value) -> Self {
        Self {
            model: request["model"].as_str().unwrap_or("scripted").to_owned(),
            stream: request["stream"].as_bool().unwrap_or(false),
            include_usage: request["stream_options"]["include_usage"].as_bool().unwrap_or(false),
        }
    }
}

/// One step of a body.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Bytes),
    Pause(Duration),
    /// Waits until the test lets one piece pass.
    Gate(Gate),
    /// Waits until all holds are released.
    Hold,
    Hang,
    /// Closes the socket inside the body.
    Cut,
}

/// A rendered answer.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub status: u16,
    pub content_type: Arc<str>,
    pub headers: Arc<[(String, String)]>,
    pub before_headers: Duration,
    pub hang_before_headers: bool,
    pub steps: Arc<[Step]>,
}

/// Renders `script` for a request.
pub(super) fn render(script: &Script, asked: &Asked) -> Plan {
    let (status, content_type, steps) = match &script.refusal {
        Some(refusal) => (refusal.status, refusal.content_type.as_str(), vec![Step::Send(refusal.body.clone())]),
        None if asked.stream => (200, "text/event-stream; charset=utf-8", stream(script, asked)),
        None => (200, "application/json", whole(script, asked)),
    };
    Plan {
        status,
        content_type: content_type.into(),
        headers: script.headers.clone().into(),
        before_headers: script.before_headers,
        hang_before_headers: script.hang_before_headers,
        steps: steps.into(),
    }
}

/// The steps of a non-streaming answer: what a stream would have taken, spent before the only piece.
fn whole(script: &Script, asked: &Asked) -> Vec<Step> {
    let pauses = script.between.saturating_mul(u32::try_from(script.pieces.len().saturating_sub(1)).unwrap_or(0));
    let mut steps = vec![Step::Pause(script.before_first.saturating_add(pauses))];
    steps.retain(|step| !matches!(step, Step::Pause(pause) if pause.is_zero()));
    steps.extend(script.gate.clone().map(Step::Gate));
    let body = completion(script, asked).to_string();
    match &script.fault {
        None => steps.push(Step::Send(body.into())),
        Some((_, Fault::Hang)) => steps.push(Step::Hang),
        Some((_, Fault::Hold)) => steps.extend([Step::Hold, Step::Send(body.into())]),
        Some((_, Fault::Cut | Fault::EndEarly)) => {
            // Half of the JSON; characters are not cut, the text is.
            let half: String = body.chars().take(body.chars().count() / 2).collect();
            steps.push(Step::Send(half.into()));
            steps.extend(matches!(script.fault, Some((_, Fault::Cut))).then_some(Step::Cut));
        }
    }
    steps
}

fn completion(script: &Script, asked: &Asked) -> Value {
    let errors = script.pieces.iter().find_map(|piece| match piece {
        Piece::Data(data) if data.get("error").is_some() => Some(data.clone()),
        _ => None,
    });
    if let Some(error) = errors {
        return error;
    }
    let joined = |pick: fn(&Piece) -> Option<&str>| script.pieces.iter().filter_map(pick).collect::<String>();
    let text = joined(|piece| if let Piece::Text(text) = piece { Some(text) } else { None });
    let thoughts = joined(|piece| if let Piece::Reasoning(text) = piece { Some(text) } else { None });
    let calls = assemble(
        script.pieces.iter().filter_map(|piece| if let Piece::ToolDelta(delta) = piece { Some(delta) } else { None }),
    );
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

fn stream(script: &Script, asked: &Asked) -> Vec<Step> {
    let render = Chunks { script, asked, line_end: if script.crlf { "\r\n" } else { "\n" } };
    let mut steps = Vec::with_capacity(script.pieces.len() + 4);
    if !script.before_first.is_zero() {
        steps.push(Step::Pause(script.before_first));
    }
    let fault = |after: usize| script.fault.as_ref().filter(|(pieces, _)| *pieces == after).map(|(_, fault)| fault);
    if script.opening {
        steps.push(Step::Send(render.opening()));
    }
    let mut broken = add_fault(&mut steps, fault(0));
    for (index, piece) in script.pieces.iter().enumerate() {
        if broken {
            break;
        }
        if index > 0 && !script.between.is_zero() {
            steps.push(Step::Pause(script.between));
        }
        steps.extend(script.gate.clone().map(Step::Gate));
        if script.noise {
            steps.push(Step::Send(render.noise(index)));
        }
        steps.push(Step::Send(render.piece(index, piece)));
        broken = add_fault(&mut steps, fault(index + 1));
    }
    let beyond = script.fault.as_ref().filter(|(pieces, _)| *pieces > script.pieces.len()).map(|(_, fault)| fault);
    if !broken && !add_fault(&mut steps, beyond) {
        steps.extend(script.gate.clone().map(Step::Gate));
        steps.extend(render.ending().into_iter().map(Step::Send));
    }
    resplit(steps, &script.split)
}

/// Adds the fault; true when nothing may follow it.
fn add_fault(steps: &mut Vec<Step>, fault: Option<&Fault>) -> bool {
    match fault {
        None => return false,
        Some(Fault::Hold) => {
            steps.push(Step::Hold);
            return false;
        }
        Some(Fault::Hang) => steps.push(Step::Hang),
        Some(Fault::Cut) => steps.push(Step::Cut),
        Some(Fault::EndEarly) => {}
    }
    true
}

/// Cuts neighbouring sends anew; pauses and gates stay where they are in the stream of bytes.
fn resplit(steps: Vec<Step>, split: &Split) -> Vec<Step> {
    if *split == Split::ByEvent {
        return steps;
    }
    let (mut cut, mut run, mut offset) = (Vec::new(), BytesMut::new(), 0_usize);
    let mut flush = |run: &mut BytesMut, cut: &mut Vec<Step>| {
        let mut rest = std::mem::take(run).freeze();
        while !rest.is_empty() {
            let length = match split {
                Split::ByEvent => rest.len(),
                Split::Every(size) => (*size).max(1).min(rest.len()),
                Split::At(cuts) => {
                    cuts.iter().find(|at| **at > offset).map_or(rest.len(), |at| (at - offset).min(rest.len()))
                }
            };
            offset += length;
            cut.push(Step::Send(rest.split_to(length)));
        }
    };
    for step in steps {
        if let Step::Send(bytes) = step {
            run.extend_from_slice(&bytes);
        } else {
            flush(&mut run, &mut cut);
            cut.push(step);
        }
    }
    flush(&mut run, &mut cut);
    cut
}

/// Writes the chunks of one answer.
struct Chunks<'a> {
    script: &'a Script,
    asked: &'a Asked,
    line_end: &'a str,
}

impl Chunks<'_> {
    fn opening(&self) -> Bytes {
        self.chunk(0, r#"{"role":"assistant","content":"","refusal":null}"#, None, 0)
    }

    fn piece(&self, index: usize, piece: &Piece) -> Bytes {
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

    fn ending(&self) -> Vec<Bytes> {
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

    fn noise(&self, index: usize) -> Bytes {
        let end = self.line_end;
        let noise = match index % 3 {
            0 => format!(": still working{end}{end}"),
            1 => format!("event: ping{end}id: {index}{end}data: {{\"type\":\"ping\"}}{end}{end}"),
            _ => format!("retry: 1500{end}: a comment alone{end}mystery: field{end}"),
        };
        noise.into()
    }

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
    use super::*;

    fn asked(stream: bool, include_usage: bool) -> Asked {
        Asked { model: "m".into(), stream, include_usage }
    }

    fn bytes_of(plan: &Plan) -> Vec<u8> {
        let sent = plan.steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(bytes) } else { None });
        sent.flat_map(|bytes| bytes.to_vec()).collect()
    }

    fn data_of(plan: &Plan) -> Vec<Value> {
        let text = String::from_utf8(bytes_of(plan)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        lines.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

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

    #[test]
    fn any_split_keeps_the_bytes() {
        let script = Script::chunks(["α€😀", "β"]).crlf().noise();
        let whole = bytes_of(&render(&script, &asked(true, false)));
        for size in [1, 2, 3, 7, 100_000] {
            let plan = render(&script.clone().split(Split::Every(size)), &asked(true, false));
            assert_eq!(bytes_of(&plan), whole, "{size}");
            assert_eq!(plan.steps.len(), whole.len().div_ceil(size));
        }
        let plan = render(&script.split(Split::At(vec![5, 6, 300])), &asked(true, false));
        assert_eq!(bytes_of(&plan), whole);
        assert_eq!(plan.steps.len(), 4);
    }

    #[test]
    fn faults_come_after_the_piece_they_name() {
        let cut = render(&Script::numbered(5).cut_after(2), &asked(true, false));
        assert_eq!(data_of(&cut).len(), 3);
        assert!(matches!(cut.steps.last(), Some(Step::Cut)));
        let beyond = render(&Script::numbered(1).cut_after(9), &asked(true, false));
        assert!(matches!(beyond.steps.last(), Some(Step::Cut)));
        let error = render(&Script::numbered(5).error_after(2, "broken"), &asked(true, false));
        assert_eq!(data_of(&error)[3]["error"]["message"], "broken");
        assert!(!bytes_of(&error).ends_with(b"[DONE]\n\n"));
        let held = render(&Script::numbered(2).fault_after(1, Fault::Hold), &asked(true, false));
        assert!(bytes_of(&held).ends_with(b"[DONE]\n\n"));
    }

    #[test]
    fn a_whole_answer_says_the_same() {
        let script = Script::text("one two").reasoning(["hm"]);
        let body: Value = serde_json::from_slice(&bytes_of(&render(&script, &asked(false, false)))).unwrap();
        assert_eq!(body["choices"][0]["message"]["content"], "one two");
        assert_eq!(body["choices"][0]["message"]["reasoning_content"], "hm");
        assert_eq!(body["usage"]["completion_tokens"], 3);
    }
}
