//! What an Ollama server tells of its models: `GET /api/tags` lists them, `POST /api/show` describes one.

use serde_json::Value;

/// A model that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// Its size and the format of its weights, as far as they are told.
    pub(crate) description: String,
}

/// What one model is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Tokens its architecture allows.
    pub(crate) context_window: Option<u64>,
    /// What it can do, in the server's words (`completion`, `tools`, `vision`, `thinking`); older servers say nothing.
    pub(crate) capabilities: Option<Vec<String>>,
}

/// The models of a list; `None` when it is no list.
pub(crate) fn tags(answer: &Value) -> Option<Vec<Tag>> {
    let tag = |model: &Value| {
        let name = ["name", "model"].into_iter().find_map(|member| model.get(member)?.as_str());
        let detail = |name: &str| model.get("details").and_then(|details| details.get(name)?.as_str());
        let details: Vec<&str> = ["parameter_size", "quantization_level"].into_iter().filter_map(detail).collect();
        Some(Tag { name: name.filter(|name| !name.is_empty())?.to_owned(), description: details.join(" ") })
    };
    Some(answer.get("models")?.as_array()?.iter().filter_map(tag).collect())
}

/// One model's description.
pub(crate) fn shown(answer: &Value) -> Shown {
    let facts = answer.get("model_info").and_then(Value::as_object);
    // the member is named after the architecture
    let length = |(name, value): (&String, &Value)| value.as_u64().filter(|_| name.ends_with(".context_length"));
    let words = |list: &Vec<Value>| list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    Shown {
        context_window: facts.and_then(|facts| facts.iter().find_map(length)).filter(|tokens| *tokens > 0),
        capabilities: answer.get("capabilities").and_then(Value::as_array).map(words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_read_as_far_as_they_go() {
        let list = json!({"models": [
            {"name": "llama3.2:latest", "details": {"parameter_size": "3.2B", "quantization_level": "Q4_K_M"}},
            {"model": "bare", "details": null},
            {"name": ""},
            7,
        ]});
        let tag = |name: &str, description: &str| Tag { name: name.into(), description: description.into() };
        assert_eq!(tags(&list), Some(vec![tag("llama3.2:latest", "3.2B Q4_K_M"), tag("bare", "")]));
        assert_eq!(tags(&json!({"models": []})), Some(Vec::new()));
        assert_eq!(tags(&json!({"error": "no"})), None);
    }

    #[test]
    fn a_description_gives_window_and_capabilities() {
        let told = json!({
            "model_info": {"general.architecture": "qwen3", "qwen3.block_count": 36, "qwen3.context_length": 40_960},
            "capabilities": ["completion", "tools"],
        });
        let capabilities = Some(vec!["completion".to_owned(), "tools".to_owned()]);
        assert_eq!(shown(&told), Shown { context_window: Some(40_960), capabilities });
        assert_eq!(shown(&json!({"model_info": {"llama.context_length": 0}})), Shown::default());
    }
}
