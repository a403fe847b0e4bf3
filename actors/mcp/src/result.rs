//! What a tool answered, as a text that a model can read.
//!
//! Parts that are no text are never dropped in silence: a line says what was left out. Bytes arrive as JSON, so the text is
//! UTF-8 by type; how much of it a model gets to see is the tools room's business.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

/// The result of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResult {
    /// The text parts, one below the other; the structured result as JSON when there are none; may be empty.
    pub text: String,
    /// The tool says that it failed.
    pub is_error: bool,
    /// The structured result.
    pub structured: Option<Value>,
}

impl From<CallToolResult> for CallResult {
    fn from(result: CallToolResult) -> Self {
        let parts: Vec<String> = result.content.into_iter().map(part).filter(|part| !part.trim().is_empty()).collect();
        let text = match &result.structured_content {
            Some(value) if parts.is_empty() => value.to_string(),
            _ => parts.join("\n"),
        };
        Self { text, is_error: result.is_error.unwrap_or(false), structured: result.structured_content }
    }
}

fn part(block: ContentBlock) -> String {
    let left_out = |what: &str, kind: &str| format!("[{what} ({kind}) was also returned; it cannot be shown here]");
    match block {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Image(image) => left_out("an image", &image.mime_type),
        ContentBlock::Audio(audio) => left_out("a sound", &audio.mime_type),
        ContentBlock::Resource(embedded) => match embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text,
            ResourceContents::BlobResourceContents { mime_type, .. } => {
                left_out("a file", mime_type.as_deref().unwrap_or("of unknown kind"))
            }
            _ => left_out("something", "of a kind that is newer than this program"),
        },
        ContentBlock::ResourceLink(link) => format!("{}: {}", link.title.unwrap_or(link.name), link.uri),
        _ => left_out("something", "of a kind that is newer than this program"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(result: Value) -> CallResult {
        serde_json::from_value::<CallToolResult>(result).unwrap().into()
    }

    #[test]
    fn texts_stand_below_each_other() {
        let result = read(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}));
        assert_eq!(result, CallResult { text: "a\nb".into(), is_error: false, structured: None });
    }

    #[test]
    fn an_image_is_named_and_not_lost() {
        let result = read(json!({"isError": true, "content": [
            {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
            {"type": "resource_link", "uri": "file:///b", "name": "b"},
            {"type": "resource", "resource": {"uri": "file:///c", "blob": "AAAA"}},
        ]}));
        assert!(result.is_error && result.text.contains("image/png") && result.text.contains("inside"), "{result:?}");
        assert!(result.text.contains("b: file:///b") && result.text.contains("of unknown kind"), "{result:?}");
        assert!(!result.text.contains("AAAA"));
    }

    #[test]
    fn a_structured_result_stands_in_for_missing_text() {
        let result = read(json!({"content": [], "structuredContent": {"on": true}}));
        assert_eq!((result.text.as_str(), result.structured), (r#"{"on":true}"#, Some(json!({"on": true}))));
        let both = read(json!({"content": [{"type": "text", "text": "on"}], "structuredContent": {"on": true}}));
        assert_eq!(both.text, "on");
        assert_eq!(read(json!({"content": []})).text, "");
    }
}
