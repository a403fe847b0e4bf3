//! One conversation message, as rooms pass it around and as Chat Completions spells it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role as it is stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant, Self::Tool].into_iter().find(|role| role.as_str() == word)
    }
}

/// Content beside the text of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// An image, as a `data:` URI or a remote URL.
    Image {
        /// The URL.
        url: String,
        /// OpenAI's `detail` hint, when the client gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// A call the model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id, or one made by [`crate::ids::tool_call_id`].
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON text, exactly as the model wrote them.
    pub arguments: String,
}

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text; may be empty when there are parts or tool calls.
    pub content: String,
    /// Images beside the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Calls an assistant message asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Whether a tool message tells of a failure. Chat Completions has no word for it, other protocols do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// Event time in Unix seconds, when the message comes from history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<f64>,
    /// The stored row's id, when the message comes from history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_id: Option<String>,
}

impl Message {
    /// A message with nothing but text.
    #[must_use]
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            parts: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            is_error: false,
            timestamp: None,
            db_id: None,
        }
    }

    /// The message in the Chat Completions request form: plain string content, or a part array when there are images.
    #[must_use]
    pub fn openai(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("role".into(), self.role.as_str().into());
        if self.parts.is_empty() {
            object.insert("content".into(), self.content.as_str().into());
        } else {
            let text = (!self.content.is_empty()).then(|| json!({"type": "text", "text": self.content}));
            let images = self.parts.iter().map(|Part::Image { url, detail }| {
                let mut image = json!({"url": url});
                if let (Some(detail), Some(image)) = (detail, image.as_object_mut()) {
                    image.insert("detail".into(), detail.as_str().into());
                }
                json!({"type": "image_url", "image_url": image})
            });
            object.insert("content".into(), text.into_iter().chain(images).collect());
        }
        if !self.tool_calls.is_empty() {
            let calls = self.tool_calls.iter().map(|call| {
                json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
            });
            object.insert("tool_calls".into(), calls.collect());
        }
        if let Some(id) = &self.tool_call_id {
            object.insert("tool_call_id".into(), id.as_str().into());
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_follow_the_text() {
        let mut message = Message::text(Role::User, "what is this?");
        message.parts.push(Part::Image { url: "data:image/png;base64,AA==".into(), detail: Some("low".into()) });
        assert_eq!(
            message.openai(),
            json!({"role": "user", "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ]})
        );
    }
}
