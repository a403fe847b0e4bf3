//! Reading definitions, from a PUT body or from a seed entry, and checking them. Everything wrong with a definition is
//! found in one pass and named with its place; what comes out is a valid [`ModelDefinition`].
//!
//! A PUT body keeps stored columns that it does not name, replaces all of `extra`, and lets keys of `extra` that are
//! named like a column override it (http-api §8.6). A masked secret means "unchanged", but only towards the same host:
//! otherwise somebody who cannot read a key could have it sent to a place of their choice.

use greenroom_dialect::ToolFormat;
use greenroom_protocol::fields::{Complaint, Field, Fields};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::base_url::BaseUrl;
use crate::catalogue::fold;
use crate::definition::{ModelDefinition, ModelOptions, ModelType, Price, TokenParam};
use crate::secrets::{read_config, read_key, read_key_name};

/// Fields with a column of their own in the API.
const COLUMNS: [&str; 5] = ["type", "model_id", "repo_id", "filename", "description"];
/// Fields shown under `extra`.
const OPTIONS: [&str; 30] = [
    "base_url",
    "api_key",
    "api_key_env",
    "backend",
    "bot_config",
    "context_window",
    "max_tokens",
    "temperature",
    "adapter",
    "chat_format",
    "n_gpu_layers",
    "native_context_limit",
    "tool_support",
    "tool_format",
    "quantization",
    "dtype",
    "max_model_len",
    "gpu_memory_utilization",
    "enforce_eager",
    "enable_prefix_caching",
    "supports_images",
    "supports_temperature",
    "supports_top_p",
    "token_param",
    "stop_limit",
    "request_timeout_s",
    "first_token_timeout_s",
    "price",
    "tokenizer",
    "fallbacks",
];
/// Members of a view that a client may send back; they say nothing new.
const ECHOED: [&str; 3] = ["alias", "created_at", "updated_at"];
const ADAPTERS: [&str; 4] = ["default", "pygmalion", "mythomax", "dolphin"];
/// Most models that may answer in the place of one.
const MOST_FALLBACKS: usize = 8;
/// Types that a definition may name.
const TYPES: &str = "openai, grok, responses, anthropic, ollama, vllm, gguf, agent_backend, codex, claude-code, \
                     openclaw or echo";

/// Checks an alias and trims it.
pub(crate) fn read_alias(text: &str) -> Result<String, Vec<Complaint>> {
    let alias = text.trim();
    let complaint = |kind: &str, msg: &str| vec![Complaint::new(kind, &["path", "alias"], msg, text.into())];
    match alias.chars().count() {
        0 => Err(complaint("string_too_short", "String should not be blank")),
        1..=128 if alias.chars().any(char::is_control) => {
            Err(complaint("value_error", "String should have no control characters"))
        }
        1..=128 => Ok(alias.to_owned()),
        _ => Err(complaint("string_too_long", "String should have at most 128 characters")),
    }
}

/// Reads a PUT body over what is stored.
pub(crate) fn read_put(
    alias: &str,
    body: &Value,
    stored: Option<&ModelDefinition>,
    now: Timestamp,
) -> Result<ModelDefinition, Vec<Complaint>> {
    let alias = read_alias(alias)?;
    let mut fields = Fields::of("body", body)?;
    let extra = fields.object("extra").some().cloned().unwrap_or_default();
    let empty = Map::new();
    let top = body.as_object().unwrap_or(&empty);
    let mut complaints = fields.finish().err().unwrap_or_default();
    let mut merged = Map::new();
    for (name, value) in top.iter().filter(|(name, _)| !ECHOED.contains(&name.as_str()) && *name != "extra") {
        merged.insert(name.clone(), value.clone());
    }
    for (name, value) in extra.iter().filter(|(_, value)| !value.is_null()) {
        merged.insert(name.clone(), value.clone());
    }
    let read = read(alias, &merged, stored, now);
    let (definition, found) = match read {
        Ok(definition) => (Some(definition), Vec::new()),
        Err(found) => (None, found),
    };
    complaints.extend(found.into_iter().map(|complaint| {
        let inside = complaint.loc.get(1).and_then(Value::as_str).is_some_and(|name| extra.contains_key(name));
        if inside { complaint.under(&["extra".into()]) } else { complaint }
    }));
    match definition {
        Some(definition) if complaints.is_empty() => Ok(definition),
        _ => Err(complaints),
    }
}

/// Reads a seed entry, which is flat.
pub(crate) fn read_seed(
    alias: &str,
    entry: &Map<String, Value>,
    now: Timestamp,
) -> Result<ModelDefinition, Vec<Complaint>> {
    read(read_alias(alias)?, entry, None, now)
}

fn read(
    alias: String,
    map: &Map<String, Value>,
    stored: Option<&ModelDefinition>,
    now: Timestamp,
) -> Result<ModelDefinition, Vec<Complaint>> {
    let mut fields = Fields::of_map("body", map);
    for name in map.keys().filter(|name| !COLUMNS.contains(&name.as_str()) && !OPTIONS.contains(&name.as_str())) {
        fields.complain("extra_forbidden", name, "Extra inputs are not permitted");
    }
    let type_word = fields.required_text("type", 64);
    let mut options = read_options(&mut fields, &alias, stored.map(|stored| &stored.options));
    let kind = read_type(&mut fields, type_word.trim(), &mut options);
    let column = |fields: &mut Fields<'_>, name: &str, kept: Option<String>| text(fields, name, 512).or(kept);
    let model_id = column(&mut fields, "model_id", stored.and_then(|d| d.model_id.as_deref().map(str::to_owned)));
    let repo_id = column(&mut fields, "repo_id", stored.and_then(|d| d.repo_id.clone()));
    let filename = column(&mut fields, "filename", stored.and_then(|d| d.filename.clone()));
    let description = text(&mut fields, "description", 10_000).or(stored.and_then(|d| d.description.clone()));
    if let Some(kind) = kind {
        if kind.needs_model_id() && model_id.is_none() {
            fields.missing("model_id");
        }
        if kind == ModelType::Gguf {
            for (name, value) in [("repo_id", &repo_id), ("filename", &filename)] {
                if value.is_none() {
                    fields.missing(name);
                }
            }
        }
        if kind == ModelType::AgentBackend && options.backend.is_none() {
            fields.missing("backend");
        }
    }
    fields.finish()?;
    let kind = kind.unwrap_or(ModelType::Openai); // without a type there was a complaint
    Ok(ModelDefinition {
        alias: stored.map_or(alias, |stored| stored.alias.clone()),
        kind,
        model_id: model_id.map(Into::into),
        repo_id,
        filename,
        description,
        options,
        created_at: stored.map_or(now, |stored| stored.created_at),
        updated_at: now,
    })
}

fn read_type(fields: &mut Fields<'_>, word: &str, options: &mut ModelOptions) -> Option<ModelType> {
    let word = word.to_lowercase();
    match word.as_str() {
        "" => None, // already complained about
        "codex" => {
            options.backend = Some("codex".into());
            options.tool_support = options.tool_support.or(Some(ToolFormat::None));
            Some(ModelType::AgentBackend)
        }
        "claude-code" | "openclaw" => {
            options.backend = options.backend.take().or(Some(word));
            Some(ModelType::AgentBackend)
        }
        "huggingface" => {
            let hint = "Input names an engine that does not exist here; serve the model with vllm or gguf instead";
            fields.complain("value_error", "type", hint);
            None
        }
        other => ModelType::parse(other).or_else(|| {
            fields.complain("literal_error", "type", format!("Input should be {TYPES}"));
            None
        }),
    }
}

fn read_options(fields: &mut Fields<'_>, alias: &str, stored: Option<&ModelOptions>) -> ModelOptions {
    let base_url = text(fields, "base_url", 2048).and_then(|url| match BaseUrl::parse(&url) {
        Ok(url) => Some(url.as_str().to_owned()),
        Err(why) => {
            fields.complain("url_parsing", "base_url", why);
            None
        }
    });
    let api_key = read_key(fields, base_url.as_deref(), stored);
    ModelOptions {
        api_key,
        base_url,
        api_key_env: read_key_name(fields),
        backend: text(fields, "backend", 64).map(|backend| backend.to_lowercase()),
        bot_config: read_config(fields, stored),
        context_window: unsigned(fields, "context_window", 1, 1 << 40),
        max_tokens: unsigned(fields, "max_tokens", 1, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()),
        temperature: fields.number("temperature", 0.0, 2.0).some(),
        adapter: choice(fields, "adapter", &ADAPTERS, |word| ADAPTERS.contains(&word).then(|| word.to_owned())),
        chat_format: text(fields, "chat_format", 128),
        n_gpu_layers: fields.integer("n_gpu_layers", -1, 100_000).some().and_then(|n| i32::try_from(n).ok()),
        native_context_limit: unsigned(fields, "native_context_limit", 1, 1 << 40),
        tool_support: tool_support(fields, "tool_support").or_else(|| tool_support(fields, "tool_format")),
        quantization: text(fields, "quantization", 64),
        dtype: text(fields, "dtype", 64),
        max_model_len: unsigned(fields, "max_model_len", 1, 1 << 40),
        gpu_memory_utilization: fields.number("gpu_memory_utilization", 0.0, 1.0).some(),
        enforce_eager: fields.boolean("enforce_eager").some(),
        enable_prefix_caching: fields.boolean("enable_prefix_caching").some(),
        supports_images: fields.boolean("supports_images").some(),
        supports_temperature: fields.boolean("supports_temperature").some(),
        supports_top_p: fields.boolean("supports_top_p").some(),
        token_param: choice(fields, "token_param", &TokenParam::ALL.map(TokenParam::as_str), TokenParam::parse),
        stop_limit: unsigned(fields, "stop_limit", 0, 10_000).and_then(|n| u32::try_from(n).ok()),
        request_timeout_s: fields.number("request_timeout_s", 0.001, 86_400.0).some(),
        first_token_timeout_s: fields.number("first_token_timeout_s", 0.001, 86_400.0).some(),
        price: read_price(fields),
        tokenizer: text(fields, "tokenizer", 256),
        fallbacks: read_fallbacks(fields, alias),
    }
}

/// A trimmed text; a blank one counts as absent.
pub(crate) fn text(fields: &mut Fields<'_>, name: &str, max: usize) -> Option<String> {
    fields.text_max(name, max).some().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn unsigned(fields: &mut Fields<'_>, name: &str, min: i64, max: i64) -> Option<u64> {
    fields.integer(name, min, max).some().and_then(|number| u64::try_from(number).ok())
}

fn choice<T>(fields: &mut Fields<'_>, name: &str, words: &[&str], parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let word = text(fields, name, 64)?;
    let chosen = parse(&word);
    if chosen.is_none() {
        fields.complain("literal_error", name, format!("Input should be one of {}", words.join(", ")));
    }
    chosen
}

fn tool_support(fields: &mut Fields<'_>, name: &str) -> Option<ToolFormat> {
    if fields.raw(name).and_then(Value::as_str).is_some_and(|word| word.trim() == "auto") {
        return None;
    }
    choice(fields, name, &["auto", "native", "react", "xml", "none"], ToolFormat::parse)
}

fn read_price(fields: &mut Fields<'_>) -> Option<Price> {
    let Field::Value(price) = fields.object("price") else { return None };
    let mut inner = Fields::of_map("body", price);
    for name in price.keys().filter(|name| !matches!(name.as_str(), "input" | "output")) {
        inner.complain("extra_forbidden", name, "Extra inputs are not permitted");
    }
    let read = |inner: &mut Fields<'_>, name: &str| {
        let value = inner.number(name, 0.0, 1e6).some();
        if value.is_none() && inner.raw(name).is_none() {
            inner.missing(name);
        }
        value
    };
    let (input, output) = (read(&mut inner, "input"), read(&mut inner, "output"));
    if let Err(complaints) = inner.finish() {
        fields.add(complaints.into_iter().map(|complaint| complaint.under(&["price".into()])));
    }
    Some(Price { input: input?, output: output? })
}

/// Aliases to answer in this model's place; whether they are defined is found out when they are needed.
fn read_fallbacks(fields: &mut Fields<'_>, own: &str) -> Vec<String> {
    let Field::Value(list) = fields.list("fallbacks") else { return Vec::new() };
    let mut fallbacks: Vec<String> = Vec::new();
    for entry in list {
        let Some(alias) = entry.as_str().and_then(|alias| read_alias(alias).ok()) else {
            fields.complain("value_error", "fallbacks", "Input should be a list of model aliases");
            return Vec::new();
        };
        if fold(&alias) == fold(own) {
            fields.complain("value_error", "fallbacks", "Input should not name the model itself");
        }
        if !fallbacks.iter().any(|known| fold(known) == fold(&alias)) {
            fallbacks.push(alias);
        }
    }
    if fallbacks.len() > MOST_FALLBACKS {
        fields.complain("too_long", "fallbacks", format!("List should have at most {MOST_FALLBACKS} items"));
    }
    fallbacks
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn put(body: &Value, stored: Option<&ModelDefinition>) -> Result<ModelDefinition, Vec<Complaint>> {
        read_put("Test", body, stored, Timestamp::UNIX_EPOCH)
    }

    fn complaints(body: &Value, stored: Option<&ModelDefinition>) -> Vec<(String, String)> {
        let complaints = put(body, stored).err().unwrap_or_default();
        complaints.iter().map(|c| (c.kind.clone(), Value::from(c.loc.clone()).to_string())).collect()
    }

    #[test]
    fn a_put_keeps_columns_and_replaces_extra() {
        let first = json!({"type": "openai", "model_id": "m", "description": "d",
            "extra": {"base_url": "https://llm.example.org/v1/", "api_key": "sk-0123456789abcdef", "max_tokens": 5}});
        let first = put(&first, None).unwrap();
        assert_eq!(first.options.base_url.as_deref(), Some("https://llm.example.org/v1"));
        let extra = first.view().extra.unwrap();
        assert_eq!(extra["api_key"], "********cdef");

        let second = put(&json!({"type": "openai", "model_id": null}), Some(&first)).unwrap();
        assert_eq!((second.model_id.as_deref(), second.description.as_deref()), (Some("m"), Some("d")));
        assert_eq!(second.view().extra, None);

        let third =
            json!({"type": "openai", "extra": {"model_id": "other", "type": "ollama", "context_window": "8192"}});
        let third = put(&third, Some(&first)).unwrap();
        assert_eq!((third.kind, third.model_id.as_deref()), (ModelType::Ollama, Some("other")));
        assert_eq!(third.options.context_window, Some(8192));
    }

    #[test]
    fn a_view_can_be_put_back() {
        let body =
            json!({"type": "codex", "extra": {"bot_config": {"a": {"gateway_token": "t0123456789abcdef"}, "b": 1}}});
        let first = put(&body, None).unwrap();
        assert_eq!(first.public_type(), "codex");
        assert_eq!(first.options.tool_support, Some(ToolFormat::None));
        let view = serde_json::to_value(first.view()).unwrap();
        assert!(!view.to_string().contains("t0123"), "{view}");
        let again = put(&view, Some(&first)).unwrap();
        assert!(again.same_as(&first));
    }

    #[test]
    fn a_masked_key_is_unchanged_but_stays_with_its_host() {
        let extra = json!({"base_url": "https://a.example.org/v1", "api_key": "sk-0123456789abcdef"});
        let first = put(&json!({"type": "openai", "model_id": "m", "extra": extra}), None).unwrap();
        let change = |url: &str, key: &str| json!({"type": "openai", "extra": {"base_url": url, "api_key": key}});
        let kept = put(&change("https://a.example.org/v2", "********cdef"), Some(&first)).unwrap();
        assert_eq!(kept.options.api_key.unwrap().expose_secret(), "sk-0123456789abcdef");
        let place = ("value_error".to_owned(), r#"["body","extra","api_key"]"#.to_owned());
        for (url, key, stored) in [
            ("https://b.example.org/v1", "********cdef", Some(&first)),
            ("https://a.example.org/v1", "********aaaa", Some(&first)),
        ] {
            assert_eq!(complaints(&change(url, key), stored), std::slice::from_ref(&place));
        }
        assert_eq!(complaints(&change("https://a.example.org/v1", "********"), None)[0], place);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let body = json!({"type": "gguf", "colour": 1, "extra": {"context_window": -1, "max_token": 5, "adapter": "x",
            "base_url": "ftp://x", "price": {"input": 1}, "api_key_env": "DATABASE_URL", "token_param": 7}});
        let found = complaints(&body, None);
        let places: Vec<&str> = found.iter().map(|(_, place)| place.as_str()).collect();
        for place in [
            r#"["body","colour"]"#,
            r#"["body","extra","max_token"]"#,
            r#"["body","extra","context_window"]"#,
            r#"["body","extra","adapter"]"#,
            r#"["body","extra","base_url"]"#,
            r#"["body","extra","price","output"]"#,
            r#"["body","extra","api_key_env"]"#,
            r#"["body","extra","token_param"]"#,
            r#"["body","repo_id"]"#,
            r#"["body","filename"]"#,
        ] {
            assert!(places.contains(&place), "{place} not in {places:?}");
        }
        assert_eq!(places.len(), 10);
        assert_eq!(complaints(&json!({}), None)[0].0, "missing");
        assert_eq!(complaints(&json!([]), None)[0].0, "dict_type");
        assert_eq!(complaints(&json!({"type": "openai"}), None)[0].1, r#"["body","model_id"]"#);
        assert_eq!(complaints(&json!({"type": "huggingface", "model_id": "m"}), None)[0].0, "value_error");
        assert_eq!(complaints(&json!({"type": "telepathy"}), None)[0].0, "literal_error");
        assert_eq!(complaints(&json!({"type": "agent_backend"}), None)[0].1, r#"["body","backend"]"#);
        assert_eq!(complaints(&json!({"type": "openai", "model_id": "m", "extra": 5}), None)[0].0, "dict_type");
    }

    #[test]
    fn fallbacks_are_other_models_and_few() {
        let read = |list: Value| put(&json!({"type": "echo", "extra": {"fallbacks": list}}), None);
        let definition = read(json!([" one ", "Two", "two"])).unwrap();
        assert_eq!(definition.options.fallbacks, ["one", "Two"]);
        assert_eq!(definition.view().extra.unwrap()["fallbacks"], json!(["one", "Two"]));
        assert_eq!(read(json!([])).unwrap().view().extra, None);
        let many: Vec<String> = (0..9).map(|n| format!("m{n}")).collect();
        for bad in [json!(["tEst"]), json!([1]), json!([""]), json!("one"), json!(many)] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_are_trimmed_and_bounded() {
        assert_eq!(read_alias(" gpt ").unwrap(), "gpt");
        for bad in ["", "  ", "a\nb", &"x".repeat(129)] {
            assert!(read_alias(bad).is_err(), "{bad:?}");
        }
    }
}
