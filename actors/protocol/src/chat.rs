//! The Chat Completions request: what a client sent, checked and reduced to what a turn uses.
//!
//! Sampling fields stay optional, because "not sent" falls through to the bot's settings while "sent" overrides them
//! (http-api §3.1). Unknown fields are ignored. The last user message is the prompt; what stands before and behind it is
//! kept apart, because for most bots context comes from stored history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::animation::{self, Animation};
use crate::fields::{Complaint, Field, Fields};
use crate::ids::{BotSlug, MessageId, UserId};
use crate::message::{Message, Part, Role, ToolCall};

/// Most images one prompt may carry.
pub const MAX_IMAGES: usize = 16;
/// Largest decoded image, in bytes.
pub const MAX_IMAGE_BYTES: usize = 20 * 1024 * 1024;

/// Why a chat request is not served.
#[derive(Debug, Clone, PartialEq)]
pub enum BadRequest {
    /// Wrong shape: status 422 with these complaints.
    Invalid(Vec<Complaint>),
    /// Right shape, but not possible here: status 400 with this sentence.
    Refused(String),
}

impl From<Vec<Complaint>> for BadRequest {
    fn from(complaints: Vec<Complaint>) -> Self {
        Self::Invalid(complaints)
    }
}

/// Generation parameters; `None` means "not sent".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Most tokens to generate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Stop sequences.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub stop: Vec<String>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Best-effort determinism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// `low`, `medium`, … for reasoning models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// OpenAI's `response_format`, passed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
}

/// Tools the client itself offers and will execute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientTools {
    /// OpenAI tool objects, passed on as they are.
    pub tools: Vec<Value>,
    /// OpenAI's `tool_choice`, when sent.
    pub tool_choice: Option<Value>,
    /// OpenAI's `parallel_tool_calls`, when sent.
    pub parallel_tool_calls: Option<bool>,
}

/// What the user said in this request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// The text of the last user message; empty for an image without words.
    pub text: String,
    /// Its images.
    pub parts: Vec<Part>,
    /// User, assistant and tool messages before it. Bots with stored history do not need them; a stateless bot has
    /// nothing else to go by.
    pub earlier: Vec<Message>,
    /// Assistant and tool messages after it: a client that executed tools continues the same prompt.
    pub tail: Vec<Message>,
    /// Texts of the request's system messages, in order.
    pub system: Vec<String>,
    /// The message's own `id`, when the client gave one.
    pub id: Option<MessageId>,
}

/// A checked chat request.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The prompt, or `None` when the request holds no user message.
    pub prompt: Option<Prompt>,
    /// Requested model alias.
    pub model: Option<String>,
    /// Server-sent events when true.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Generation parameters.
    pub sampling: Sampling,
    /// The client's own tools.
    pub client_tools: ClientTools,
    /// Who is speaking.
    pub user: Option<UserId>,
    /// Which bot is meant.
    pub bot: Option<BotSlug>,
    /// Inject memories.
    pub augment_memory: bool,
    /// Extract facts afterwards.
    pub extract_memory: bool,
    /// Inject summaries.
    pub include_summaries: bool,
    /// Speech output rules; `None` leaves it to the bot.
    pub tts_mode: Option<bool>,
    /// Client id of the user message.
    pub user_message_id: Option<MessageId>,
    /// Whether the client shows an avatar.
    pub avatar_visible: bool,
    /// The avatar's animations, of which one is picked for a spoken answer.
    pub animations: Vec<Animation>,
    /// Things that were dropped, for a `service.warning`.
    pub warnings: Vec<String>,
}

impl ChatRequest {
    /// Reads and checks a request body.
    ///
    /// # Errors
    /// [`BadRequest`] with every complaint, or the sentence for an unsupported wish.
    pub fn parse(body: &Value) -> Result<Self, BadRequest> {
        let mut fields = Fields::of("body", body)?;
        let mut warnings = Vec::new();
        if let Field::Value(n) = fields.integer("n", 1, 128)
            && n > 1
        {
            return Err(BadRequest::Refused("n greater than 1 is not supported".into()));
        }
        let prompt = match fields.list("messages") {
            Field::Value(list) => match read_messages(list, &mut warnings) {
                Ok(prompt) => prompt,
                Err(complaints) => {
                    fields.add(complaints);
                    None
                }
            },
            Field::Absent if fields.raw("messages").is_none() => {
                fields.missing("messages");
                None
            }
            Field::Absent => None,
            Field::Null => {
                fields.complain("list_type", "messages", "Input should be a valid list");
                None
            }
        };
        let sampling = read_sampling(&mut fields);
        let client_tools = ClientTools {
            tools: fields.list("tools").some().cloned().unwrap_or_default(),
            tool_choice: fields.raw("tool_choice").filter(|v| !v.is_null()).cloned(),
            parallel_tool_calls: fields.boolean("parallel_tool_calls").some(),
        };
        if let Some(complaint) = check_tools(&client_tools.tools) {
            fields.add([complaint]);
        }
        let include_usage = match fields.object("stream_options") {
            Field::Value(options) => Fields::of_map("body", options).boolean("include_usage").some().unwrap_or(false),
            Field::Absent | Field::Null => false,
        };
        let user = read_id(&mut fields, "user", UserId::parse);
        let bot = read_id(&mut fields, "bot_id", BotSlug::parse);
        let user_message_id = read_id(&mut fields, "user_message_id", MessageId::parse);
        let animations = animation::read(&mut fields);
        let request = Self {
            prompt,
            model: fields.text_max("model", 256).some().filter(|model| !model.trim().is_empty()),
            stream: fields.boolean("stream").some().unwrap_or(false),
            include_usage,
            sampling,
            client_tools,
            user,
            bot,
            augment_memory: fields.boolean("augment_memory").some().unwrap_or(true),
            extract_memory: fields.boolean("extract_memory").some().unwrap_or(true),
            include_summaries: fields.boolean("include_summaries").some().unwrap_or(true),
            tts_mode: fields.boolean("tts_mode").some(),
            user_message_id,
            avatar_visible: fields.boolean("avatar_visible").some().unwrap_or(false),
            animations,
            warnings,
        };
        fields.finish()?;
        Ok(request)
    }
}

fn read_id<T>(fields: &mut Fields<'_>, name: &str, parse: impl Fn(&str) -> Result<T, crate::ids::BadId>) -> Option<T> {
    let text = fields.text(name).some().filter(|text| !text.trim().is_empty())?;
    match parse(&text) {
        Ok(id) => Some(id),
        Err(bad) => {
            fields.complain("value_error", name, bad.to_string());
            None
        }
    }
}

fn read_sampling(fields: &mut Fields<'_>) -> Sampling {
    let max = fields.integer("max_completion_tokens", 1, i64::from(u32::MAX)).some();
    let max = max.or(fields.integer("max_tokens", 1, i64::from(u32::MAX)).some());
    let stop = match fields.raw("stop") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) if many.len() <= 64 && many.iter().all(Value::is_string) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => {
            fields.complain("string_type", "stop", "Input should be a string or a list of at most 64 strings");
            Vec::new()
        }
    };
    Sampling {
        temperature: fields.number("temperature", 0.0, 2.0).some(),
        top_p: fields.number("top_p", 0.0, 1.0).some(),
        max_tokens: max.and_then(|max| u32::try_from(max).ok()),
        stop: stop.into_iter().filter(|text| !text.is_empty()).collect(),
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0).some(),
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0).some(),
        seed: fields.integer("seed", i64::MIN, i64::MAX).some(),
        reasoning_effort: fields.text_max("reasoning_effort", 32).some(),
        response_format: fields.object("response_format").some().cloned().map(Value::Object),
    }
}

fn check_tools(tools: &[Value]) -> Option<Complaint> {
    let bad = tools.iter().position(|tool| {
        let function = &tool["function"];
        tool["type"] != "function" || function["name"].as_str().is_none_or(str::is_empty)
    })?;
    let place = [Value::from("tools"), Value::from(bad)];
    Some(
        Complaint::new("value_error", &["body"], "A tool needs type \"function\" and function.name", Value::Null)
            .under(&place),
    )
}

/// Keeps the last user message, what follows it, and the system texts; checks every message's shape.
fn read_messages(list: &[Value], warnings: &mut Vec<String>) -> Result<Option<Prompt>, Vec<Complaint>> {
    let mut complaints = Vec::new();
    let mut prompt: Option<Prompt> = None;
    let mut system = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let place = [Value::from("messages"), Value::from(index)];
        match read_message(item) {
            Ok(read) => match read.role {
                Role::System => system.push(read.text),
                Role::User => {
                    let mut earlier = Vec::new();
                    if let Some(before) = prompt.take() {
                        earlier = before.earlier;
                        earlier.push(Message { parts: before.parts, ..Message::text(Role::User, before.text) });
                        earlier.extend(before.tail);
                    }
                    prompt =
                        Some(Prompt { text: read.text, parts: read.parts, id: read.id, earlier, ..Prompt::default() });
                    warnings.clear();
                    warnings.extend(read.warnings);
                }
                Role::Assistant | Role::Tool => {
                    if let Some(prompt) = &mut prompt {
                        prompt.tail.push(read.into_message());
                    }
                }
            },
            Err(found) => complaints.extend(found.into_iter().map(|complaint| complaint.under(&place))),
        }
        if complaints.len() > 20 {
            break;
        }
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    if let Some(prompt) = &mut prompt {
        prompt.system = system;
        // Only a tail that holds tool results continues the prompt; trailing assistant text is an edit we do not take.
        if !prompt.tail.iter().any(|message| message.role == Role::Tool) {
            prompt.tail.clear();
        }
    }
    Ok(prompt)
}

struct ReadMessage {
    role: Role,
    text: String,
    parts: Vec<Part>,
    tool_calls: Vec<ToolCall>,
    tool_call_id: Option<String>,
    id: Option<MessageId>,
    warnings: Vec<String>,
}

impl ReadMessage {
    fn into_message(self) -> Message {
        Message {
            parts: self.parts,
            tool_calls: self.tool_calls,
            tool_call_id: self.tool_call_id,
            ..Message::text(self.role, self.text)
        }
    }
}

fn read_message(value: &Value) -> Result<ReadMessage, Vec<Complaint>> {
    let mut fields = Fields::of("body", value)?;
    let role = match fields.text("role") {
        Field::Value(word) => match word.as_str() {
            "developer" => Some(Role::System),
            "function" => Some(Role::Tool),
            other => {
                let role = Role::parse(other);
                if role.is_none() {
                    fields.complain(
                        "literal_error",
                        "role",
                        "Input should be 'system', 'developer', 'user', 'assistant', 'function' or 'tool'",
                    );
                }
                role
            }
        },
        Field::Absent if fields.raw("role").is_some() => None,
        Field::Absent | Field::Null => {
            fields.missing("role");
            None
        }
    };
    let (mut text, mut parts, mut warnings) = (String::new(), Vec::new(), Vec::new());
    match fields.raw("content") {
        None | Some(Value::Null) => {}
        Some(Value::String(content)) => text.clone_from(content),
        Some(Value::Array(items)) => read_parts(items, &mut text, &mut parts, &mut warnings, &mut fields),
        Some(_) => fields.complain("string_type", "content", "Input should be a valid string, list or null"),
    }
    let tool_calls = match fields.list("tool_calls") {
        Field::Value(calls) => calls.iter().filter_map(read_tool_call).collect(),
        Field::Absent | Field::Null => Vec::new(),
    };
    let tool_call_id = fields.text_max("tool_call_id", 256).some();
    let id = ["id", "message_id"]
        .iter()
        .find_map(|name| fields.raw(name)?.as_str().and_then(|text| MessageId::parse(text).ok()));
    fields.text("name");
    fields.finish()?;
    let role = role.unwrap_or(Role::User);
    Ok(ReadMessage { role, text, parts, tool_calls, tool_call_id, id, warnings })
}

fn read_tool_call(value: &Value) -> Option<ToolCall> {
    let function = value.get("function")?;
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "{}".into(),
        Some(other) => other.to_string(),
    };
    Some(ToolCall {
        id: value.get("id")?.as_str()?.to_owned(),
        name: function.get("name")?.as_str()?.to_owned(),
        arguments,
    })
}

fn read_parts(
    items: &[Value],
    text: &mut String,
    parts: &mut Vec<Part>,
    warnings: &mut Vec<String>,
    fields: &mut Fields<'_>,
) {
    for item in items {
        match item["type"].as_str() {
            Some("text" | "input_text" | "refusal") => {
                text.push_str(item["text"].as_str().or(item["refusal"].as_str()).unwrap_or_default());
            }
            Some("image_url" | "input_image") => {
                let image = &item["image_url"];
                let url = image.as_str().or(image["url"].as_str()).unwrap_or_default();
                match check_image(url) {
                    Ok(()) => parts
                        .push(Part::Image { url: url.to_owned(), detail: image["detail"].as_str().map(str::to_owned) }),
                    Err(why) => warnings.push(format!("image_dropped: {why}")),
                }
            }
            Some(other) => {
                let kind: String = other.chars().take(40).collect();
                warnings.push(format!("part_dropped: content of type '{kind}' is not supported"));
            }
            None => {
                fields.complain("missing", "content", "Each content part needs a type");
                return;
            }
        }
    }
    if parts.len() > MAX_IMAGES {
        fields.complain("too_long", "content", format!("At most {MAX_IMAGES} images are allowed in a message"));
    }
}

fn check_image(url: &str) -> Result<(), &'static str> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return if url.len() <= 8192 { Ok(()) } else { Err("the URL is too long") };
    }
    let Some((header, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
        return Err("neither a data: URI nor an http(s) URL");
    };
    if !header.starts_with("image/") || !header.ends_with(";base64") {
        return Err("the data: URI is not a base64 image");
    }
    if data.is_empty() || data.len() / 4 * 3 > MAX_IMAGE_BYTES {
        return Err("the image is empty or larger than 20 MiB");
    }
    if data.bytes().any(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))) {
        return Err("the base64 data is malformed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> ChatRequest {
        ChatRequest::parse(body).unwrap_or_else(|bad| unreachable!("{bad:?}"))
    }

    fn complaints(body: &Value) -> Vec<String> {
        match ChatRequest::parse(body) {
            Err(BadRequest::Invalid(complaints)) => {
                complaints.iter().map(|c| format!("{} {:?}", c.kind, c.loc)).collect()
            }
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn absent_sampling_stays_absent() {
        let request = parse(&json!({"messages": [{"role": "user", "content": "hi"}]}));
        assert_eq!(request.sampling, Sampling::default());
        assert!(!request.stream && request.augment_memory && request.extract_memory);
        let request = parse(&json!({"messages": [], "temperature": 0, "max_tokens": 5, "max_completion_tokens": 7}));
        assert_eq!(request.sampling.temperature, Some(0.0));
        assert_eq!(request.sampling.max_tokens, Some(7));
        assert_eq!(request.prompt, None);
    }

    #[test]
    fn the_last_user_message_is_the_prompt() {
        let prompt = parse(&json!({"messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": [{"type": "text", "text": "tw"}, {"type": "text", "text": "o"}], "id": "m-7"},
        ]}))
        .prompt
        .unwrap_or_default();
        assert_eq!((prompt.text.as_str(), prompt.system.len(), prompt.tail.len()), ("two", 1, 0));
        assert_eq!(prompt.id, Some(MessageId::from_stored("m-7")));
    }

    #[test]
    fn tool_results_continue_the_prompt() {
        let prompt = parse(&json!({"messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ]}))
        .prompt
        .unwrap_or_default();
        assert_eq!(prompt.tail.len(), 2);
        assert_eq!(prompt.tail[0].tool_calls[0].name, "w");
        assert_eq!(prompt.tail[1].tool_call_id.as_deref(), Some("c1"));
    }

    #[test]
    fn an_image_without_words_is_a_prompt() {
        let request = parse(&json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            {"type": "input_audio", "input_audio": {}},
        ]}]}));
        assert_eq!(request.warnings.len(), 2);
        let prompt = request.prompt.unwrap_or_default();
        assert_eq!((prompt.text.as_str(), prompt.parts.len()), ("", 1));
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let found = complaints(&json!({
            "messages": [{"role": "robot", "content": "x"}, {"content": 5}, "text"],
            "temperature": 3, "model": 7, "bot_id": "no such/bot", "stream": "maybe",
        }));
        assert_eq!(found.len(), 8, "{found:#?}");
        assert!(
            found[0].contains(r#"[String("body"), String("messages"), Number(0), String("role")]"#),
            "{}",
            found[0]
        );
        assert_eq!(complaints(&json!([])), [r#"dict_type [String("body")]"#]);
        assert_eq!(complaints(&json!({})), [r#"missing [String("body"), String("messages")]"#]);
    }

    #[test]
    fn more_than_one_choice_is_refused() {
        assert!(matches!(ChatRequest::parse(&json!({"messages": [], "n": 2})), Err(BadRequest::Refused(_))));
    }

    #[test]
    fn ten_thousand_messages_are_only_a_long_list() {
        let many: Vec<_> = (0..10_000).map(|i| json!({"role": "user", "content": format!("m{i}")})).collect();
        let prompt = parse(&json!({"messages": many})).prompt.unwrap_or_default();
        assert_eq!((prompt.text.as_str(), prompt.earlier.len()), ("m9999", 9999));
    }
}
