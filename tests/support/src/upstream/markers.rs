//! Directions inside a prompt: `[[chunks=64]]` in the last user message makes the scripted upstream answer in 64 chunks.
//!
//! So a test in another language, which reaches the upstream only through the server, says what it wants in the prompt
//! itself. Pure: a request gives a [`Script`]. A misspelt marker is answered with status 400, never with a guess.
//! The list of markers stands at [`MARKERS`].

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::script::{Fault, Script, Split, UsagePlace, error_object};
use super::tools::{ScriptedCall, ToolShape};

/// Every marker and what it does.
pub const MARKERS: &[(&str, &str)] = &[
    ("text=T", "answer T, one chunk a word"),
    ("chunks=N", "answer in N chunks: \"t0 \", \"t1 \", …"),
    ("unicode=N", "answer in N chunks of many scripts and emoji"),
    ("huge=K", "answer in one chunk of K KiB"),
    ("echo", "answer the prompt without its markers"),
    ("echo_parts", "answer how many images the prompt carries, as \"images: N\""),
    ("echo_roles", "answer the roles of the messages, comma-separated"),
    ("echo_field=F", "answer the JSON of the request's member F"),
    ("tool", "call the first offered tool; with tool results at the end, answer \"The tool said: …\""),
    ("tool=F", "the same with the function named F"),
    ("parallel", "call it twice, one call after the other"),
    ("also=F", "call the function named F behind it"),
    ("interleaved", "fragments of several calls take turns"),
    ("args=J", "arguments of the call, as JSON"),
    ("reasoning=N", "N chunks of reasoning first"),
    ("headers_ms=N", "wait before the response head"),
    ("first_ms=N", "wait before the first chunk"),
    ("delay_ms=N", "wait between chunks"),
    ("finish=R", "finish with reason R"),
    ("usage=P", "usage in chunk P: last, finish, every or none"),
    ("no_done", "leave out [DONE]"),
    ("crlf", "end lines with CR LF"),
    ("noise", "comments and unknown events between chunks"),
    ("split=N", "cut the stream every N bytes"),
    ("wrong_ids", "another completion id in each chunk"),
    ("cut=N", "close the socket after N chunks"),
    ("end=N", "end the body after N chunks, without finish reason and [DONE]"),
    ("error=N", "an error object after N chunks, then the end"),
    ("garbage=N", "garbage after N chunks, then the end"),
    ("hang", "answer with headers alone"),
    ("hang=N", "fall silent after N chunks"),
    ("hang_headers", "never answer"),
    ("hold=N", "fall silent after N chunks until POST /control/release"),
    ("status=N", "refuse with status N"),
    ("retry_after=N", "refuse with 429 and Retry-After"),
    ("unsupported=P", "refuse with 400 when the request has parameter P"),
];

/// The script that the request's last user message asks for; without markers the default answer.
#[must_use]
pub fn script_for_request(request: &Value) -> Script {
    let prompt = last_user_text(request);
    let (markers, plain) = parse(&prompt);
    match build(request, &markers, &plain) {
        Ok(script) => script,
        Err(complaint) => {
            Script::refusal(400, &error_object(&complaint, "invalid_request_error", None, "unknown_marker"))
        }
    }
}

/// The text of the last message with role `user`.
#[must_use]
pub fn last_user_text(request: &Value) -> String {
    match last_user_content(request) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Whether the answer depends on nothing but the prompt and the form asked for, so that its bytes can be kept.
pub(super) fn is_repeatable(prompt: &str) -> bool {
    let named = |name: &str| prompt.contains(&format!("[[{name}"));
    named("chunks=") && !["tool", "parallel", "echo", "unsupported"].into_iter().any(named)
}

fn last_user_content(request: &Value) -> Option<&Value> {
    let messages = request["messages"].as_array()?;
    messages.iter().rev().find(|message| message["role"] == "user").map(|message| &message["content"])
}

/// Splits a prompt into its markers and the text around them.
fn parse(prompt: &str) -> (Vec<(&str, &str)>, String) {
    let (mut markers, mut plain, mut rest) = (Vec::new(), String::new(), prompt);
    while let Some((before, behind)) = rest.split_once("[[") {
        let Some((inside, after)) = behind.split_once("]]") else { break };
        plain.push_str(before);
        markers.push(inside.split_once('=').unwrap_or((inside, "")));
        rest = after;
    }
    plain.push_str(rest);
    (markers, plain.trim().to_owned())
}

type Change = fn(Script) -> Script;

fn build(request: &Value, markers: &[(&str, &str)], plain: &str) -> Result<Script, String> {
    let known: HashSet<&str> =
        MARKERS.iter().map(|(form, _)| form.split_once('=').map_or(*form, |(name, _)| name)).collect();
    if let Some((name, _)) = markers.iter().find(|(name, _)| !known.contains(name)) {
        return Err(format!("the scripted upstream knows no marker '{name}'"));
    }
    let value = |name: &str| markers.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    let number = |name: &str| match value(name) {
        None => Ok(None),
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| format!("marker '{name}' needs a number")),
    };
    let pause = |name: &str| Ok::<_, String>(Duration::from_millis(number(name)?.unwrap_or(0) as u64));

    if let Some(status) = number("status")? {
        let status = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
        return status.map(Script::status).ok_or_else(|| "marker 'status' needs 200 to 599".to_owned());
    }
    if let Some(seconds) = number("retry_after")? {
        return Ok(Script::rate_limited(seconds as u64));
    }
    if let Some(parameter) = value("unsupported").filter(|parameter| request.get(*parameter).is_some()) {
        return Ok(Script::unsupported_parameter(parameter));
    }

    let mut script = answer(request, markers, plain)?;
    if let Some(count) = number("reasoning")? {
        script = script.reasoning((0..count).map(|index| format!("thought {index}. ")));
    }
    script = script.before_headers(pause("headers_ms")?).before_first(pause("first_ms")?).between(pause("delay_ms")?);
    if let Some(reason) = value("finish") {
        script = script.finish_reason(Some(reason));
    }
    script = match value("usage") {
        None => script,
        Some("last") => script.usage_at(UsagePlace::Last),
        Some("finish") => script.usage_at(UsagePlace::WithFinish),
        Some("every") => script.usage_at(UsagePlace::Every),
        Some("none") => script.usage_at(UsagePlace::Absent),
        Some(other) => return Err(format!("marker 'usage' knows no place '{other}'")),
    };
    let switches: [(&str, Change); 5] = [
        ("no_done", Script::without_done),
        ("crlf", Script::crlf),
        ("noise", Script::noise),
        ("wrong_ids", Script::wrong_ids),
        ("hang_headers", Script::hang_before_headers),
    ];
    for (name, apply) in switches {
        if value(name).is_some() {
            script = apply(script);
        }
    }
    if let Some(size) = number("split")? {
        script = script.split(Split::Every(size));
    }
    if value("hang") == Some("") {
        return Ok(script.without_opening().hang_after(0));
    }
    for (name, fault) in [("cut", Fault::Cut), ("end", Fault::EndEarly), ("hang", Fault::Hang), ("hold", Fault::Hold)] {
        if let Some(pieces) = number(name)? {
            script = script.fault_after(pieces, fault);
        }
    }
    if let Some(pieces) = number("error")? {
        script = script.error_after(pieces, "the scripted upstream broke the answer");
    }
    if let Some(pieces) = number("garbage")? {
        script = script.garbage_after(pieces);
    }
    Ok(script)
}

fn answer(request: &Value, markers: &[(&str, &str)], plain: &str) -> Result<Script, String> {
    let count = |text: &str| text.parse::<usize>().map_err(|_| format!("'{text}' is no number"));
    for (name, value) in markers {
        return Ok(match *name {
            "text" => Script::text(value),
            "chunks" => Script::numbered(count(value)?),
            "unicode" => Script::chunks((0..count(value)?).map(unicode_chunk)),
            "huge" => Script::chunks(["x".repeat(count(value)? * 1024)]),
            "echo" => Script::text(plain),
            "echo_parts" => Script::text(&format!("images: {}", image_count(request))),
            "echo_roles" => Script::text(&roles(request)),
            "echo_field" => Script::text(&request.get(*value).unwrap_or(&Value::Null).to_string()),
            "tool" | "parallel" => tools(request, markers, *name == "parallel")?,
            _ => continue,
        });
    }
    Ok(Script::default())
}

fn unicode_chunk(index: usize) -> String {
    const WORDS: [&str; 6] = ["größer ", "naïve—", "日本語", "👩‍👩‍👧‍👦 ", "\u{1d11e}\n", "שלום\t"];
    WORDS[index % WORDS.len()].to_owned()
}

fn image_count(request: &Value) -> usize {
    let parts = last_user_content(request).and_then(Value::as_array);
    let is_image = |part: &&Value| {
        part["type"] == "image_url"
            && part["image_url"]["url"]
                .as_str()
                .is_some_and(|url| url.starts_with("data:image/") && url.contains(";base64,"))
    };
    parts.map_or(0, |parts| parts.iter().filter(is_image).count())
}

fn roles(request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.iter().filter_map(|message| message["role"].as_str()).collect::<Vec<_>>().join(",")
}

fn tools(request: &Value, markers: &[(&str, &str)], parallel: bool) -> Result<Script, String> {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut results: Vec<&str> = messages
        .iter()
        .rev()
        .take_while(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().or_else(|| message["content"][0]["text"].as_str()).unwrap_or("?"))
        .collect();
    if !results.is_empty() {
        results.reverse();
        return Ok(Script::text(&format!("The tool said: {}.", results.join(", "))));
    }
    let value = |name: &str| markers.iter().find(|(own, text)| *own == name && !text.is_empty()).map(|(_, text)| *text);
    let offered = request["tools"][0]["function"]["name"].as_str();
    let name = value("tool").or(offered).unwrap_or("get_weather");
    let first = match value("args") {
        Some(text) => serde_json::from_str(text).map_err(|_| "marker 'args' needs JSON".to_owned())?,
        None => json!({"city": "Oslo"}),
    };
    let mut calls = vec![ScriptedCall::new("call_scripted_0", name, &first)];
    if parallel {
        calls.push(ScriptedCall::new("call_scripted_1", name, &json!({"city": "Lima"})));
    }
    if let Some(other) = value("also") {
        calls.push(ScriptedCall::new("call_scripted_also", other, &json!({"city": "Oslo"})));
    }
    let interleaved = markers.iter().any(|(name, _)| *name == "interleaved");
    Ok(Script::tool_calls(&calls, &ToolShape { interleaved, ..ToolShape::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Piece;

    fn script(prompt: &str) -> Script {
        script_for_request(&json!({"messages": [{"role": "user", "content": prompt}]}))
    }

    #[test]
    fn markers_and_text_come_apart() {
        let (markers, plain) = parse("say [[echo]] this [[cut=3]] and [[ that");
        assert_eq!(markers, [("echo", ""), ("cut", "3")]);
        assert_eq!(plain, "say  this  and [[ that");
        assert_eq!(script("[[echo]] two words").pieces, [Piece::Text("two ".into()), Piece::Text("words".into())]);
    }

    #[test]
    fn a_misspelt_marker_is_refused() {
        for prompt in ["[[chunk=3]]", "[[chunks=three]]", "[[status=20]]", "[[usage=here]]", "[[hang=x]]"] {
            assert_eq!(script(prompt).refusal.map(|refusal| refusal.status), Some(400), "{prompt}");
        }
    }

    #[test]
    fn every_listed_marker_works() {
        for (form, _) in MARKERS {
            let example = form
                .replace("=N", "=2")
                .replace("=K", "=2")
                .replace("=J", "={}")
                .replace("usage=P", "usage=every")
                .replace("status=2", "status=503");
            let refused = script(&format!("[[{example}]]")).refusal;
            let complaint =
                refused.map(|refusal| String::from_utf8_lossy(&refusal.body).into_owned()).unwrap_or_default();
            assert!(!complaint.contains("unknown_marker"), "{form}: {complaint}");
        }
    }

    #[test]
    fn tools_are_called_and_their_results_read() {
        let offered = json!([{"type": "function", "function": {"name": "lookup"}}]);
        let mut request = json!({"tools": offered, "messages": [{"role": "user", "content": "[[parallel]]"}]});
        let calls = script_for_request(&request);
        assert_eq!(calls.finish_reason.as_deref(), Some("tool_calls"));
        assert!(matches!(&calls.pieces[0], Piece::ToolDelta(delta) if delta["function"]["name"] == "lookup"));
        for (role, content) in [("assistant", "x"), ("tool", "rain"), ("tool", "sun")] {
            request["messages"].as_array_mut().unwrap().push(json!({"role": role, "content": content}));
        }
        let text = Script::text("The tool said: rain, sun.");
        assert_eq!(script_for_request(&request).pieces, text.pieces);
    }

    #[test]
    fn images_count_when_they_are_data() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
        let remote = json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}});
        let parts = json!([{"type": "text", "text": "[[echo_parts]]"}, image, remote, image]);
        let script = script_for_request(&json!({"messages": [{"role": "user", "content": parts}]}));
        assert_eq!(script.pieces, Script::text("images: 2").pieces);
    }
}
