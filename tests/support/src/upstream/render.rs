//! A script as wire bytes.
//!
//! Pure: a [`Script`] and what the request asked for give a [`Plan`], the head of a response and the steps of its body.
//! Everything that can be known beforehand is rendered here, once; playing a plan (`server.rs`) formats nothing, and a
//! plan can be played any number of times.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::script::{Fault, Gate, Piece, Refusal, Script, Split};
use super::tools::assemble;
use super::{chat, messages, ollama, responses};

/// Which API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Ollama's own.
    Ollama,
}

/// A script told in the words of one wire: what a stream's pieces look like, in the order in which they are asked for.
pub(super) trait Told {
    /// What stands before the first piece.
    fn opening(&mut self) -> Option<Bytes>;
    fn piece(&mut self, index: usize, piece: &Piece) -> Bytes;
    /// What follows the last piece.
    fn ending(&mut self) -> Vec<Bytes>;
    /// Something that says nothing.
    fn noise(&mut self, index: usize) -> Bytes;
}

/// What the request says about the form of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub wire: Wire,
    /// The model named in the request, echoed in the answer.
    pub model: String,
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
}

impl Asked {
    pub(super) fn of(wire: Wire, request: &Value) -> Self {
        Self {
            wire,
            model: request["model"].as_str().unwrap_or("scripted").to_owned(),
            stream: request["stream"].as_bool().unwrap_or(wire == Wire::Ollama),
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
        Some(refusal) => {
            (refusal.status, refusal.content_type.as_str(), vec![Step::Send(refused(refusal, asked.wire))])
        }
        None if asked.stream && asked.wire == Wire::Ollama => (200, "application/x-ndjson", stream(script, asked)),
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

/// The body of a refusal as the wire spells it; what is no OpenAI error object stays as it is.
fn refused(refusal: &Refusal, wire: Wire) -> Bytes {
    let error = serde_json::from_slice::<Value>(&refusal.body).ok();
    let Some(error) = error.filter(|error| error["error"]["message"].is_string()) else { return refusal.body.clone() };
    match wire {
        Wire::Chat | Wire::Responses => refusal.body.clone(),
        Wire::Messages => messages::error(refusal.status, &error).to_string().into(),
        Wire::Ollama => ollama::error(&error).to_string().into(),
    }
}

/// The steps of a non-streaming answer: what a stream would have taken, spent before the only piece.
fn whole(script: &Script, asked: &Asked) -> Vec<Step> {
    let pauses = script.between.saturating_mul(u32::try_from(script.pieces.len().saturating_sub(1)).unwrap_or(0));
    let mut steps = vec![Step::Pause(script.before_first.saturating_add(pauses))];
    steps.retain(|step| !matches!(step, Step::Pause(pause) if pause.is_zero()));
    steps.extend(script.gate.clone().map(Step::Gate));
    let body = match asked.wire {
        Wire::Chat => chat::completion(script, asked),
        Wire::Responses => responses::answer(script, asked),
        Wire::Messages => messages::message(script, asked),
        Wire::Ollama => ollama::answer(script, asked),
    };
    let body = body.to_string();
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

/// What the pieces of a script add up to.
pub(super) struct Whole {
    pub error: Option<Value>,
    pub text: String,
    pub thoughts: String,
    /// As `message.tool_calls` holds them.
    pub calls: Vec<Value>,
}

pub(super) fn whole_of(script: &Script) -> Whole {
    let joined = |pick: fn(&Piece) -> Option<&str>| script.pieces.iter().filter_map(pick).collect::<String>();
    let deltas =
        script.pieces.iter().filter_map(|piece| if let Piece::ToolDelta(delta) = piece { Some(delta) } else { None });
    Whole {
        error: script.pieces.iter().find_map(|piece| match piece {
            Piece::Data(data) if data.get("error").is_some() => Some(data.clone()),
            _ => None,
        }),
        text: joined(|piece| if let Piece::Text(text) = piece { Some(text) } else { None }),
        thoughts: joined(|piece| if let Piece::Reasoning(text) = piece { Some(text) } else { None }),
        calls: assemble(deltas),
    }
}

fn stream(script: &Script, asked: &Asked) -> Vec<Step> {
    let mut told: Box<dyn Told + '_> = match asked.wire {
        Wire::Chat => Box::new(chat::Chunks::new(script, asked)),
        Wire::Responses => Box::new(responses::Events::new(script, asked)),
        Wire::Messages => Box::new(messages::Events::new(script, asked)),
        Wire::Ollama => Box::new(ollama::Lines::new(script, asked)),
    };
    let mut steps = Vec::with_capacity(script.pieces.len() + 4);
    if !script.before_first.is_zero() {
        steps.push(Step::Pause(script.before_first));
    }
    let fault = |after: usize| script.fault.as_ref().filter(|(pieces, _)| *pieces == after).map(|(_, fault)| fault);
    if script.opening {
        steps.extend(told.opening().map(Step::Send));
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
            steps.push(Step::Send(told.noise(index)));
        }
        steps.extend(Some(told.piece(index, piece)).filter(|bytes| !bytes.is_empty()).map(Step::Send));
        broken = add_fault(&mut steps, fault(index + 1));
    }
    let beyond = script.fault.as_ref().filter(|(pieces, _)| *pieces > script.pieces.len()).map(|(_, fault)| fault);
    if !broken && !add_fault(&mut steps, beyond) {
        steps.extend(script.gate.clone().map(Step::Gate));
        steps.extend(told.ending().into_iter().map(Step::Send));
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

pub(super) fn line_end(script: &Script) -> &'static str {
    if script.crlf { "\r\n" } else { "\n" }
}

/// Noise between the events of an event stream.
pub(super) fn event_noise(index: usize, end: &str) -> Bytes {
    let noise = match index % 3 {
        0 => format!(": still working{end}{end}"),
        1 => format!("event: ping{end}id: {index}{end}data: {{\"type\":\"ping\"}}{end}{end}"),
        _ => format!("retry: 1500{end}: a comment alone{end}mystery: field{end}"),
    };
    noise.into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn asked(stream: bool, include_usage: bool) -> Asked {
        Asked { wire: Wire::Chat, model: "m".into(), stream, include_usage }
    }

    pub(in super::super) fn bytes_of(plan: &Plan) -> Vec<u8> {
        let sent = plan.steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(bytes) } else { None });
        sent.flat_map(|bytes| bytes.to_vec()).collect()
    }

    pub(in super::super) fn data_of(plan: &Plan) -> Vec<Value> {
        let text = String::from_utf8(bytes_of(plan)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        lines.map(|data| serde_json::from_str(data).unwrap()).collect()
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
