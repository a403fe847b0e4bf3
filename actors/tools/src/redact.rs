//! Blanking out secrets by the names of their keys (tools.md §11.3), before anything reaches an event, a log or a record.
//! Pure.

use std::borrow::Cow;

use serde_json::Value;

/// What stands in place of a secret.
const BLANK: &str = "[redacted]";
/// Words of a key that make its value a secret.
const SECRET: [&str; 8] =
    ["password", "passwd", "passphrase", "token", "secret", "apikey", "authorization", "credentials"];

/// The value with secrets blanked out at every depth.
#[must_use]
pub fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let blank = is_secret(key) && !value.is_null();
                (key.clone(), if blank { BLANK.into() } else { redacted(value) })
            })
            .collect(),
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::String(text) => match redacted_text(text) {
            Cow::Borrowed(_) => value.clone(),
            Cow::Owned(text) => text.into(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The text without the secrets that stand in it as members of JSON objects, whole or cut off.
#[must_use]
pub fn redacted_text(text: &str) -> Cow<'_, str> {
    if !text.contains('"') || !mentions_secret(text) {
        return Cow::Borrowed(text);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => {
            let clean = redacted(&value);
            if clean == value { Cow::Borrowed(text) } else { Cow::Owned(clean.to_string()) }
        }
        _ => blanked_members(text),
    }
}

/// Blanks out what follows `"name":` wherever the name is that of a secret: a string up to its end, anything else up to the
/// end of its line or member.
fn blanked_members(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some((key, end)) = quoted(text, at) {
        at = end;
        let rest = text[end..].trim_start();
        let Some(value) = rest.strip_prefix(':').map(str::trim_start).filter(|_| is_secret(key)) else { continue };
        let begin = text.len() - value.len();
        let stop = match value.starts_with('"') {
            true => quoted(text, begin).map_or(text.len(), |(_, end)| end),
            false => value.find([',', '}', ']', '\n']).map_or(text.len(), |end| begin + end),
        };
        out.push_str(&text[kept..begin]);
        out.push_str(&format!("\"{BLANK}\""));
        (kept, at) = (stop, stop);
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// The next quoted stretch from a position on, and where it ends.
fn quoted(text: &str, from: usize) -> Option<(&str, usize)> {
    let begin = from + text.get(from..)?.find('"')? + 1;
    let mut escaped = false;
    for (at, byte) in text.as_bytes().iter().enumerate().skip(begin) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((&text[begin..at], at + 1)),
            _ => {}
        }
    }
    None
}

/// A cheap look before the text is read as JSON.
fn mentions_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("key") || SECRET.iter().any(|word| lower.contains(word))
}

/// Whether a key names a secret: `token`, `accessToken`, `X-Api-Key`, but not `max_tokens`.
fn is_secret(key: &str) -> bool {
    let words = words(key);
    let named = |word: &String| SECRET.contains(&word.as_str());
    words.iter().any(named)
        || words.windows(2).any(|pair| named(&pair.concat()))
        || SECRET.contains(&words.concat().as_str())
}

/// The words of a key, in lower case: snake, kebab and camel case alike.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in key.chars().take(128) {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_known_by_their_keys() {
        for secret in [
            "password",
            "Token",
            "access_token",
            "accessToken",
            "X-Api-Key",
            "api_key",
            "apiKey",
            "APIKEY",
            "client_secret",
            "Authorization",
            "db.password",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in ["max_tokens", "tokenizer", "key", "author", "api", "secretary", "keyword", ""] {
            assert!(!is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn secrets_are_blanked_at_every_depth() {
        let value = json!({"a": [{"token": "x"}], "body": "{\"password\": \"y\"}", "n": 1, "secret": null});
        let expected =
            json!({"a": [{"token": BLANK}], "body": "{\"password\":\"[redacted]\"}", "n": 1, "secret": null});
        assert_eq!(redacted(&value), expected);
        assert_eq!(redacted_text("a {token} in prose"), "a {token} in prose");
        assert_eq!(redacted_text("{not json, token"), "{not json, token");
        assert_eq!(
            redacted_text("Got {\"a\": \"b\", \"token\" : \"x\\\"y\", \"secret\": 5, \"password\": \"cut o"),
            "Got {\"a\": \"b\", \"token\" : \"[redacted]\", \"secret\": \"[redacted]\", \"password\": \"[redacted]\""
        );
    }
}
