//! Vectors of texts: `POST /v1/embeddings` as OpenAI's clients know it, and `POST /v1/memory/embedding` (http-api §11).
//! The model is the one that memory uses. Deliberately absent: shorter vectors and input as token ids; the ids that
//! clients count with are of another model's vocabulary and mean nothing here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_embedder::{DIMENSION, Lane, MAX_BATCH, Vector};
use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::{Complaint, Fields};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;

/// Longest text, in characters. Of a text that is longer than the model reads, the rest is passed over.
const TEXT_LIMIT: usize = 1_000_000;
/// The name that always means the model there is.
const ANY_MODEL: &str = "default";

/// `POST /v1/embeddings`.
pub async fn create(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let model = fields.required_text("model", 256);
    let format = fields.text("encoding_format").some().unwrap_or_else(|| "float".into());
    let as_base64 = match format.as_str() {
        "float" => false,
        "base64" => true,
        _ => {
            fields.complain("literal_error", "encoding_format", "Input should be 'float' or 'base64'");
            false
        }
    };
    let dimensions = fields.integer("dimensions", 1, 1_000_000).some();
    fields.text_max("user", 256);
    let input = read_input(&mut fields);
    fields.finish()?;
    let input = input?;
    let embedder = &call.house.embedder;
    let known = base_name(embedder.model_id());
    if !names(&model, known) {
        let message = format!("The model '{}' does not exist; this server embeds with '{known}'", model.trim());
        return Err(ApiError::not_found(message));
    }
    if dimensions.is_some_and(|wanted| usize::try_from(wanted) != Ok(DIMENSION)) {
        let message = format!("This model's vectors have {DIMENSION} dimensions, no more and no fewer");
        return Err(ApiError::said(ErrorClass::InvalidRequest, message));
    }
    // A single text is mostly a question that somebody waits for.
    let lane = if input.len() == 1 { Lane::Interactive } else { Lane::Background };
    let embedded = embedder.embed_counted(input, lane).await?;
    let tokens: usize = embedded.iter().map(|embedded| embedded.tokens).sum();
    let data: Option<Vec<Value>> = embedded
        .iter()
        .enumerate()
        .map(|(index, embedded)| {
            let vector = embedded.vector.as_ref()?;
            let numbers = if as_base64 { json!(packed(vector)) } else { json!(vector.as_slice()) };
            Some(json!({"object": "embedding", "index": index, "embedding": numbers}))
        })
        .collect();
    let data = data.ok_or_else(|| ApiError::Internal("a text has no vector".into()))?;
    answer::json(&json!({
        "object": "list", "data": data, "model": known,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// `POST /v1/memory/embedding`.
pub async fn of_memory(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let text = fields.required_text("text", TEXT_LIMIT);
    fields.finish()?;
    let embedder = &call.house.embedder;
    let mut embedded = embedder.embed(vec![text], Lane::Interactive).await?;
    let vector = embedded.pop().flatten().ok_or_else(|| ApiError::Internal("a text has no vector".into()))?;
    answer::json(&json!({
        "embedding": vector.as_slice(), "model": base_name(embedder.model_id()), "dimension": DIMENSION,
    }))
}

/// The model without its dimension.
fn base_name(id: &str) -> &str {
    id.split_once('/').map_or(id, |(name, _)| name)
}

/// Whether a client's name for a model means ours: some put the publisher before it or the size behind.
fn names(wanted: &str, known: &str) -> bool {
    let wanted = wanted.trim().to_lowercase();
    wanted == ANY_MODEL || wanted.contains(&known.to_lowercase())
}

/// Little-endian `f32`s, as clients unpack them.
fn packed(vector: &Vector) -> String {
    let bytes: Vec<u8> = vector.as_slice().iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// A text or a list of texts. The outer complaints are about shape; the refusal inside is of what cannot be served.
fn read_input(fields: &mut Fields<'_>) -> Result<Vec<String>, ApiError> {
    let texts = match fields.raw("input") {
        None => {
            fields.missing("input");
            return Ok(Vec::new());
        }
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(items)) if items.iter().any(is_tokens) => {
            return Err(ApiError::said(
                ErrorClass::InvalidRequest,
                "Input as token ids is not supported: send texts (for LangChain: check_embedding_ctx_length=False)",
            ));
        }
        Some(Value::Array(items)) if items.len() > MAX_BATCH => {
            fields.complain("too_long", "input", format!("At most {MAX_BATCH} texts are embedded at once"));
            return Ok(Vec::new());
        }
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(_) => Vec::new(),
    };
    let given = fields.raw("input").and_then(Value::as_array).map_or(1, Vec::len);
    if texts.is_empty() || texts.len() != given {
        fields.complain("type_error", "input", "Input should be a text or a list of texts that is not empty");
        return Ok(Vec::new());
    }
    for (index, text) in texts.iter().enumerate() {
        let wrong = match text {
            text if text.trim().is_empty() => Some(("string_too_short", "A text should not be blank")),
            text if text.len() > TEXT_LIMIT => Some(("string_too_long", "A text is too long")),
            _ => None,
        };
        if let Some((kind, message)) = wrong {
            let place = [Value::from("input"), index.into()];
            fields.add([Complaint::new(kind, &["body"], message, Value::Null).under(&place)]);
        }
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

fn is_tokens(item: &Value) -> bool {
    item.is_number() || item.as_array().is_some_and(|items| items.iter().any(Value::is_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(value: Value) -> Result<Vec<String>, u16> {
        let body = json!({"input": value});
        let mut fields = Fields::of("body", &body).unwrap();
        let read = read_input(&mut fields);
        fields.finish().map_err(|_| 422u16)?;
        read.map_err(|error| error.status().as_u16())
    }

    #[test]
    fn input_is_a_text_or_texts() {
        assert_eq!(input(json!("a")), Ok(vec!["a".into()]));
        assert_eq!(input(json!(["a", "b"])), Ok(vec!["a".into(), "b".into()]));
        for bad in [json!(""), json!([]), json!(["a", " "]), json!(["a", null]), json!(7), json!({}), json!(null)] {
            assert_eq!(input(bad.clone()), Err(422), "{bad}");
        }
        assert_eq!(input(json!(vec!["a"; MAX_BATCH + 1])), Err(422));
        for tokens in [json!([1, 2]), json!([[1, 2], [3]])] {
            assert_eq!(input(tokens), Err(400));
        }
    }

    #[test]
    fn a_model_is_named_in_many_ways() {
        let known = base_name("all-MiniLM-L6-v2/384");
        for name in ["default", "all-minilm-l6-v2", " sentence-transformers/all-MiniLM-L6-v2 ", "all-MiniLM-L6-v2/384"]
        {
            assert!(names(name, known), "{name}");
        }
        for name in ["", "text-embedding-3-small", "all-MiniLM-L12-v2"] {
            assert!(!names(name, known), "{name}");
        }
    }

    #[test]
    fn base64_is_little_endian() {
        let vector = Vector::new(std::iter::once(1.0).chain([0.0; DIMENSION - 1]).collect()).unwrap();
        let bytes = STANDARD.decode(packed(&vector)).unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (4 * DIMENSION, [0, 0, 0x80, 0x3f].as_slice()));
    }
}
