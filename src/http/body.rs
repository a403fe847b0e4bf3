//! Request bodies: never larger, slower or deeper than allowed, and JSON whatever happens. NUL characters, which no
//! text column of the database takes, become the replacement character at this one place.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::Value;

use super::error::ApiError;

/// Bodies from this size on are parsed off the request threads.
const LARGE: usize = 256 * 1024;

/// How much of an oversized body is read and dropped before it is refused ...
const DISCARD_MOST: usize = 128 * 1024 * 1024;
/// ... and for how long.
const DISCARD_LONGEST: Duration = Duration::from_secs(3);

/// How bodies are read.
#[derive(Debug, Clone, Copy)]
pub struct BodyRules {
    /// Largest size in bytes.
    pub limit: usize,
    /// Longest time from the first byte to the last.
    pub timeout: Duration,
}

/// Reads a whole body.
///
/// # Errors
/// [`ApiError::TooLarge`], [`ApiError::TooSlow`], and [`ApiError::Invalid`] when it breaks off.
pub async fn read_bytes<B>(headers: &HeaderMap, body: B, rules: BodyRules) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > rules.limit) {
        if !headers.contains_key(EXPECT) {
            discard(body).await;
        }
        return Err(ApiError::TooLarge { limit: rules.limit });
    }
    let collected = tokio::time::timeout(rules.timeout, Limited::new(body, rules.limit).collect());
    match collected.await {
        Err(_) => Err(ApiError::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit: rules.limit }),
        Ok(Err(_)) => Err(broken("The body broke off")),
    }
}

/// Reads a whole body as JSON; `None` when there is none.
///
/// # Errors
/// Those of [`read_bytes`], and [`ApiError::Invalid`] for other content types and broken JSON.
pub async fn read_json<B>(headers: &HeaderMap, body: B, rules: BodyRules) -> Result<Option<Value>, ApiError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bytes = read_bytes(headers, body, rules).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(headers) {
        return Err(ApiError::complaint(
            "model_attributes_type",
            &["body"],
            "Input should be JSON with content type application/json",
            Value::Null,
        ));
    }
    let parsed = if bytes.len() < LARGE {
        parse(&bytes)
    } else {
        let parsing = tokio::task::spawn_blocking(move || parse(&bytes));
        parsing.await.map_err(|error| ApiError::Internal(error.to_string()))?
    };
    parsed.map(Some)
}

/// Reads and drops a body that is not wanted, within bounds: a client that is still sending when the connection closes
/// sees a broken pipe instead of the answer.
async fn discard<B: Body<Data = Bytes>>(body: B) {
    let mut body = std::pin::pin!(body);
    let mut left = DISCARD_MOST;
    let discarding = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_LONGEST, discarding).await;
}

/// JSON or absent.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let value = value.to_str().unwrap_or_default().to_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// serde_json refuses more than 128 levels, so depth cannot exhaust the stack.
fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| {
        // Where and what kind of fault, never the text itself.
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            _ if error.to_string().starts_with("recursion limit") => "it is nested too deeply",
            _ => "it is malformed",
        };
        broken(&format!("JSON decode error: {kind} (line {}, column {})", error.line(), error.column()))
    })?;
    if holds_nul(bytes) {
        replace_nul(&mut value);
    }
    Ok(value)
}

fn broken(why: &str) -> ApiError {
    ApiError::complaint("json_invalid", &["body"], why, Value::Null)
}

fn holds_nul(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == br"\u0000")
}

fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            let names: Vec<String> = map.keys().filter(|name| name.contains('\0')).cloned().collect();
            for name in names {
                if let Some(value) = map.remove(&name) {
                    map.insert(name.replace('\0', "\u{fffd}"), value);
                }
            }
            map.values_mut().for_each(replace_nul);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use serde_json::json;

    use super::*;

    const RULES: BodyRules = BodyRules { limit: 300_000, timeout: Duration::from_secs(1) };

    async fn read(content_type: &str, body: impl Into<Bytes>) -> Result<Option<Value>, u16> {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        read_json(&headers, Full::new(body.into()), RULES).await.map_err(|error| error.status().as_u16())
    }

    #[tokio::test]
    async fn json_or_no_type_is_json() {
        for content_type in ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert_eq!(read(content_type, "[1]").await, Ok(Some(json!([1]))), "{content_type}");
        }
        for content_type in ["text/plain", "multipart/form-data; boundary=x", "json"] {
            assert_eq!(read(content_type, "[1]").await, Err(422), "{content_type}");
        }
        assert_eq!(read("text/plain", "").await, Ok(None));
    }

    #[tokio::test]
    async fn hostile_bodies_are_refused_cheaply() {
        let deep = "[".repeat(100_000);
        let large = format!("[{}1]", "1,".repeat(140_000));
        for body in ["{", "nul", "{\"a\":\"\\ud800\"}", "[1] 2", &deep, "\u{feff}{}"] {
            assert_eq!(read("", body.to_owned()).await, Err(422), "{:.20}", body);
        }
        assert_eq!(read("", vec![0xff_u8, 0xfe]).await, Err(422));
        assert!(read("", large).await.is_ok());
        assert_eq!(read("", " ".repeat(300_001)).await, Err(413));
    }

    #[tokio::test]
    async fn an_announced_giant_is_refused_unread() {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, "300001".parse().unwrap())]);
        let refused = read_json(&headers, Full::new(Bytes::new()), RULES).await;
        assert_eq!(refused.unwrap_err().status().as_u16(), 413);
    }

    #[tokio::test]
    async fn nul_becomes_the_replacement_character() {
        let read = read("", r#"{"a\u0000b": ["x\u0000", "\\u0000"]}"#).await;
        assert_eq!(read, Ok(Some(json!({"a\u{fffd}b": ["x\u{fffd}", "\\u0000"]}))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let stream = futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, std::io::Error>>();
        let body = http_body_util::StreamBody::new(stream);
        assert_eq!(read_json(&HeaderMap::new(), body, RULES).await.unwrap_err().status().as_u16(), 408);
    }
}
