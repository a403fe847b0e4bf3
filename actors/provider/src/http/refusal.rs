//! Making sense of a provider's errors: an HTTP error answer, or an `error` object within a stream.
//!
//! Each becomes one [`Refusal`] with a typed error and what may be done about it. Texts of the provider are shortened
//! and cleared of our key before they reach anybody; those of 5xx answers are not shown at all.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::learned::{UNSUPPORTED, mentions};
use crate::error::{ProviderError, Waiting};
use crate::provider::Lease;

/// What may be done about a refused call while nothing has been passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Trying again is pointless.
    None,
    /// Trying again may help, after this pause if the provider named one.
    Retry(Option<Duration>),
    /// The connection broke: trying again once may help.
    Reconnect,
    /// Sending other parameters may help.
    Adapt,
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ProviderError,
    pub(crate) remedy: Remedy,
    /// Whether the endpoint itself is in trouble, as opposed to this request.
    pub(crate) endpoint_fails: bool,
    /// The provider's words for the parameter search; lower-case.
    pub(crate) words: String,
}

impl Refusal {
    /// A wait that ran out.
    pub(crate) fn timeout(waiting: Waiting) -> Self {
        let error = ProviderError::Timeout(waiting);
        Self { error, remedy: Remedy::None, endpoint_fails: true, words: String::new() }
    }

    /// The same, but worth another try.
    pub(crate) fn retried(self) -> Self {
        Self { remedy: Remedy::Retry(None), ..self }
    }

    /// An answer that broke off.
    pub(crate) fn interrupted(had_output: bool, why: &str) -> Self {
        let error = ProviderError::Interrupted { had_output };
        Self { error, remedy: Remedy::Reconnect, endpoint_fails: true, words: why.to_owned() }
    }

    /// A request that got no answer at all.
    pub(crate) fn of_transport(error: &reqwest::Error) -> Self {
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => Self::timeout(Waiting::Connect).retried(),
            (true, false) => Self {
                error: ProviderError::Unavailable("it cannot be reached".into()),
                remedy: Remedy::Retry(None),
                endpoint_fails: true,
                words: String::new(),
            },
            _ => Self::interrupted(false, "the connection broke before an answer came"),
        }
    }

    /// Whether the provider refuses to be offered tools at all, or only these: `Some(true)` when that will not change.
    /// A schema that it does not understand, or a call that it will not be forced to, says nothing about other tools.
    pub(crate) fn of_tools(&self, forced: bool) -> Option<bool> {
        if !matches!(self.error, ProviderError::InvalidRequest { .. } | ProviderError::Unavailable(_)) {
            return None;
        }
        let named = TOOLS.iter().any(|name| mentions(&self.words, name)) && !self.words.contains("parallel");
        let refused = || UNSUPPORTED.iter().chain(&NOT_ENABLED).any(|word| self.words.contains(word));
        (named && refused()).then(|| !forced && !self.words.contains("schema"))
    }

    /// Tells the provider's actor.
    pub(crate) fn report(&self, lease: &mut Lease) {
        if self.endpoint_fails {
            let detail = match &self.error {
                ProviderError::Interrupted { .. } => format!("{}: {}", self.error, self.words),
                error => error.to_string(),
            };
            lease.failed(detail);
        } else {
            lease.refused(&self.error);
        }
    }
}

/// The members of an OpenAI error object, in any of its spellings.
struct Told {
    message: String,
    code: String,
    kind: String,
    param: Option<String>,
    status: Option<u16>,
}

impl Told {
    fn read(body: &Value) -> Self {
        let body = match body {
            Value::Array(list) => list.first().unwrap_or(body),
            other => other,
        };
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let text = |name: &str| match error.get(name).or_else(|| body.get(name)) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let message = match error {
            Value::String(text) => text.clone(),
            _ => ["message", "detail", "msg", "error_message"]
                .into_iter()
                .map(|name| match error.get(name).or_else(|| body.get(name)) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other @ (Value::Array(_) | Value::Object(_))) => other.to_string(),
                    _ => String::new(),
                })
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        };
        let code = text("code");
        Self {
            status: code.parse().ok().or_else(|| text("status").parse().ok()),
            message,
            kind: text("type"),
            param: Some(text("param")).filter(|param| !param.is_empty()),
            code,
        }
    }

    /// That the provider failed, with its code where that is a plain word; its sentences may hold anything.
    fn reported(&self) -> String {
        let plain = |word: &&String| {
            (1..=40).contains(&word.len()) && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        };
        match [&self.code, &self.kind].into_iter().find(plain) {
            Some(code) => format!("it reported an error ({code})"),
            None => "it reported an error".to_owned(),
        }
    }

    fn says(&self, words: &[&str]) -> bool {
        let all = format!("{} {} {}", self.code, self.kind, self.message).to_lowercase();
        words.iter().any(|word| all.contains(word))
    }
}

/// What tools are called where they are refused.
const TOOLS: [&str; 9] = [
    "tools",
    "tool_choice",
    "tool choice",
    "tool use",
    "tool calling",
    "tool calls",
    "functions",
    "function calling",
    "function_call",
];

/// How servers say that they could, but will not.
const NOT_ENABLED: [&str; 4] = ["not enabled", "requires --", "no endpoints found that support", "not implemented"];

/// How providers say that they will not answer this.
const CONTENT: [&str; 6] = [
    "content_filter",
    "content_policy",
    "content management policy",
    "responsibleaipolicy",
    "usage policy",
    "usage guidelines",
];

const TOO_LONG: [&str; 9] = [
    "context_length_exceeded",
    "maximum context length",
    "exceeds the available context",
    "exceed_context_size",
    "context window",
    "context length",
    "prompt is too long",
    "too many tokens",
    "input is too long",
];

/// Reads an HTTP error answer.
pub(crate) fn of_answer(status: u16, hint: Option<Duration>, body: &str, secret: &str) -> Refusal {
    let told = serde_json::from_str::<Value>(body).ok().map_or_else(
        || Told { message: String::new(), code: String::new(), kind: String::new(), param: None, status: None },
        |body| Told::read(&body),
    );
    // llama-cpp-python's server calls a request that it does not understand a fault of its own.
    let status = if status == 500 && told.says(&["validation error"]) { 422 } else { status };
    classify(status, hint, &told, secret)
}

/// Reads an `error` object that came within a stream of status 200.
pub(crate) fn of_event(error: &Value, secret: &str) -> Refusal {
    let told = Told::read(error);
    let stated = told.status.filter(|status| (400..600).contains(status));
    let status = stated.unwrap_or_else(|| {
        if told.says(&["rate_limit", "rate limit", "too many requests", "insufficient_quota"]) {
            429
        } else if told.says(&CONTENT) {
            400
        } else if told.says(&["invalid_api_key", "authentication", "permission"]) {
            401
        } else if told.says(&["invalid_request", "bad_request", "invalid request", "invalid_prompt", "invalid_image"])
            || told.says(&TOO_LONG)
        {
            400
        } else {
            503
        }
    });
    let mut refusal = classify(status, None, &told, secret);
    if status >= 500 {
        refusal.error = ProviderError::Unavailable(told.reported());
    }
    refusal
}

fn classify(status: u16, hint: Option<Duration>, told: &Told, secret: &str) -> Refusal {
    let retry = Remedy::Retry(hint);
    let refused = |fallback: &str| ProviderError::InvalidRequest {
        message: presentable(if told.message.is_empty() { fallback } else { &told.message }, secret),
        param: told.param.clone(),
    };
    let (error, remedy, endpoint_fails) = match status {
        400 | 403 | 422 if told.says(&CONTENT) => (ProviderError::ContentFiltered, Remedy::None, false),
        401 | 403 => (ProviderError::Auth, Remedy::None, false),
        400 | 413 | 422 if told.says(&TOO_LONG) => (ProviderError::ContextTooLong, Remedy::None, false),
        400 | 422 => (refused("bad request"), Remedy::Adapt, false),
        404 => (refused("it does not know this model or path"), Remedy::None, false),
        402 => (refused("payment required"), Remedy::None, false),
        408 => (ProviderError::Timeout(Waiting::FirstEvent), retry, true),
        409 => (ProviderError::Unavailable("it answered with status 409".into()), retry, false),
        429 => {
            // an empty account does not fill up by waiting
            let remedy = if told.says(&["insufficient_quota", "billing"]) { Remedy::None } else { retry };
            (ProviderError::RateLimited { retry_after: hint }, remedy, false)
        }
        405..=499 => (refused("it refuses this request"), Remedy::None, false),
        300..=399 => {
            (ProviderError::Unavailable("it answered with a redirect, check base_url".into()), Remedy::None, false)
        }
        _ => (ProviderError::Unavailable(format!("it answered with status {status}")), retry, true),
    };
    let words = format!("{} {} {}", told.param.as_deref().unwrap_or_default(), told.code, told.message);
    Refusal { error, remedy, endpoint_fails, words: words.to_lowercase() }
}

/// A provider's words, fit to be shown: one line, short, without our key.
fn presentable(message: &str, secret: &str) -> String {
    let clean = if secret.len() >= 6 { message.replace(secret, "…") } else { message.to_owned() };
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// How long the provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.
pub(crate) fn retry_hint(headers: &http::HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |number: f64| Duration::try_from_secs_f64(number).ok();
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return seconds(ms / 1000.0);
    }
    let hint = text("retry-after")?;
    if let Ok(number) = hint.parse::<f64>() {
        return seconds(number);
    }
    let date = jiff::fmt::rfc2822::parse(hint).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Refusal {
        of_answer(status, None, body, "sk-secret-key")
    }

    #[test]
    fn statuses_become_typed_errors() {
        assert_eq!(answer(401, "{}").error, ProviderError::Auth);
        assert_eq!(answer(500, "<html>").error, ProviderError::Unavailable("it answered with status 500".into()));
        assert_eq!(answer(529, "").remedy, Remedy::Retry(None));
        assert_eq!(answer(503, "").remedy, Remedy::Retry(None));
        assert_eq!(answer(429, "{}").error, ProviderError::RateLimited { retry_after: None });
        assert_eq!(answer(429, r#"{"error":{"code":"insufficient_quota"}}"#).remedy, Remedy::None);
        assert_eq!(answer(404, "").remedy, Remedy::None);
        let long = r#"{"error":{"message":"This model's maximum context length is 8192 tokens."}}"#;
        assert_eq!(answer(400, long).error, ProviderError::ContextTooLong);
        let shapes = [
            r#"{"error":{"message":"bad x","param":"x"}}"#,
            r#"{"object":"error","message":"bad x","param":"x"}"#,
            r#"[{"error":{"message":"bad x","param":"x"}}]"#,
        ];
        for body in shapes {
            let error = ProviderError::InvalidRequest { message: "bad x".into(), param: Some("x".into()) };
            assert_eq!((answer(400, body).error, answer(400, body).remedy), (error, Remedy::Adapt), "{body}");
        }
    }

    #[test]
    fn a_request_that_a_server_does_not_understand_is_no_fault_of_the_server() {
        let words = "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), \
                     'msg': \"Input should be 'text' or 'json_object'\"}";
        let body = json!({"error": {"message": words, "type": "internal_server_error"}}).to_string();
        let refusal = answer(500, &body);
        assert_eq!((refusal.remedy, refusal.endpoint_fails), (Remedy::Adapt, false));
        assert!(mentions(&refusal.words, "response_format"));
        assert!(UNSUPPORTED.iter().any(|word| refusal.words.contains(word)), "it can be adapted");
    }

    #[test]
    fn refused_tools_are_known_by_their_words() {
        let of_tools = |status: u16, words: &str, forced: bool| {
            answer(status, &json!({"error": {"message": words}}).to_string()).of_tools(forced)
        };
        for (status, words) in [
            (400, "registry.example/library/gemma:latest does not support tools"),
            (400, "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"),
            (404, "No endpoints found that support tool use. Try another model."),
            (400, "Function calling is not enabled for this model"),
            (400, "`tool calling` is not supported with this model"),
            (500, "tools param requires --jinja flag"),
            (422, "tools: Extra inputs are not permitted"),
        ] {
            assert_eq!(of_tools(status, words, false), Some(true), "{words}");
        }
        assert_eq!(of_tools(400, "tools[0]: schema keyword 'oneOf' is not supported", false), Some(false));
        assert_eq!(of_tools(400, "tool_choice 'any' is not supported", true), Some(false));
        for words in [
            "Unsupported parameter: 'parallel_tool_calls'",
            "Invalid schema for function 'f': missing type",
            "unexpected role 'tool' after role 'user'",
            "temperature is not supported",
        ] {
            assert_eq!(of_tools(400, words, false), None, "{words}");
        }
        assert_eq!(of_tools(429, "tools not supported", false), None);
    }

    #[test]
    fn refused_content_is_told_apart() {
        let error = |status: u16, code: &str| {
            answer(status, &json!({"error": {"code": code, "message": "m"}}).to_string()).error
        };
        assert_eq!(error(400, "content_filter"), ProviderError::ContentFiltered);
        assert_eq!(error(403, "content_policy_violation"), ProviderError::ContentFiltered);
        assert_eq!(error(403, "forbidden"), ProviderError::Auth);
        assert_eq!(of_event(&json!({"code": "content_filter"}), "").error, ProviderError::ContentFiltered);
    }

    #[test]
    fn keys_and_floods_of_words_stay_out() {
        let body = json!({"error": {"message": format!("key sk-secret-key\n{}", "x".repeat(1000))}}).to_string();
        let ProviderError::InvalidRequest { message, .. } = answer(400, &body).error else { unreachable!() };
        assert!(message.starts_with("key … xxx") && message.chars().count() == 301, "{message}");
    }

    #[test]
    fn errors_within_a_stream_are_typed() {
        let error = |value: Value| of_event(&value, "").error;
        assert_eq!(error(json!({"message": "m", "code": 429})), ProviderError::RateLimited { retry_after: None });
        assert_eq!(error(json!({"code": "rate_limit_exceeded"})), ProviderError::RateLimited { retry_after: None });
        assert_eq!(error(json!({"error": {"code": "context_length_exceeded"}})), ProviderError::ContextTooLong);
        assert!(matches!(error(json!({"type": "server_error"})), ProviderError::Unavailable(_)));
        assert!(matches!(error(json!("out of memory")), ProviderError::Unavailable(_)));
        assert!(matches!(
            error(json!({"type": "invalid_request_error", "message": "no"})),
            ProviderError::InvalidRequest { .. }
        ));
    }

    #[test]
    fn hints_come_as_seconds_milliseconds_or_dates() {
        let hint = |name: &'static str, value: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_hint(&headers, "2024-10-21T07:28:00Z".parse().unwrap())
        };
        assert_eq!(hint("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(hint("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after", "Mon, 21 Oct 2024 07:28:05 GMT"), Some(Duration::from_secs(5)));
        assert_eq!(hint("retry-after", "Mon, 21 Oct 2024 07:27:05 GMT"), Some(Duration::ZERO));
        for bad in ["soon", "-1", "nan", "inf"] {
            assert_eq!(hint("retry-after", bad), None, "{bad}");
        }
    }
}
