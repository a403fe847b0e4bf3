//! From a completion request to what an engine is asked. The engine knows conversations of words alone: calls and their
//! results are told as text, and images are announced.

use greenroom_dialect::{Told, continuation};
use greenroom_gguf::{ChatMessage, Prompt, Request, Role, Sampling};
use serde_json::Value;

use crate::definition::ModelDefinition;
use crate::event::CompletionRequest;
use crate::prompt::{self, Piece, Said, Shape, arrange};

/// The request as an engine takes it.
pub(super) fn request(definition: &ModelDefinition, request: &CompletionRequest) -> Request {
    let wish = &request.sampling;
    Request {
        prompt: Prompt::Chat(conversation(definition, request)),
        sampling: Sampling {
            temperature: wish.temperature.or(definition.options.temperature).map(narrow),
            top_p: wish.top_p.map(narrow),
            seed: wish.seed.map(i64::cast_unsigned),
            presence_penalty: wish.presence_penalty.map(narrow),
            frequency_penalty: wish.frequency_penalty.map(narrow),
            ..Sampling::default()
        },
        stops: wish.stop.clone(),
        max_tokens: definition.output_limit(wish.max_tokens),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "small numbers that were checked at the door")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn conversation(definition: &ModelDefinition, request: &CompletionRequest) -> Vec<ChatMessage> {
    let arranged = arrange(&request.messages, Shape { images: false, alternating: true });
    let system = prompt::joined(&arranged.system).map(|text| ChatMessage::new(Role::System, text));
    let mut said = arranged.said.into_iter().peekable();
    let mut messages: Vec<ChatMessage> = system.into_iter().collect();
    while let Some(one) = said.next() {
        match one {
            Said::User(pieces) => messages.push(ChatMessage::new(Role::User, words(&pieces))),
            Said::Assistant { text, calls: [] } => messages.push(ChatMessage::new(Role::Assistant, text)),
            Said::Assistant { text, calls } => {
                let arguments: Vec<Value> = calls
                    .iter()
                    .map(|call| serde_json::from_str(prompt::arguments(call)).unwrap_or_default())
                    .collect();
                let mut exchanges = Vec::with_capacity(calls.len());
                for arguments in &arguments {
                    let Some(Said::Result { call, text, is_error }) =
                        said.next_if(|next| matches!(next, Said::Result { .. }))
                    else {
                        break;
                    };
                    exchanges.push(Told { name: &call.name, arguments, ok: !is_error, result: text });
                }
                let (assistant, user) = continuation(definition.tool_format(), text, &exchanges, None);
                messages.push(ChatMessage::new(Role::Assistant, assistant));
                messages.push(ChatMessage::new(Role::User, user));
            }
            Said::Result { .. } => {} // results follow their calls, which took them
        }
    }
    messages
}

fn words(pieces: &[Piece<'_>]) -> String {
    let text = |piece: &Piece<'_>| match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Image { .. } => prompt::IMAGE_NOTICE.to_owned(),
    };
    pieces.iter().map(text).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::message::Part;
    use greenroom_protocol::{Message, Role as Speaker, ToolCall};
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn definition() -> ModelDefinition {
        let entry = json!({"type": "gguf", "repo_id": "r", "filename": "f", "max_tokens": 100, "temperature": 0.5});
        crate::draft::read_seed("m", entry.as_object().unwrap(), Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn calls_and_images_become_words() {
        let call = ToolCall { id: "c".into(), name: "time".into(), arguments: "{\"zone\":\"UTC\"}".into() };
        let mut asked = Message::text(Speaker::User, "what time?");
        asked.parts.push(Part::Image { url: "data:,".into(), detail: None });
        let messages = vec![
            asked,
            Message { tool_calls: vec![call], ..Message::text(Speaker::Assistant, "let me see") },
            Message { tool_call_id: Some("c".into()), ..Message::text(Speaker::Tool, "noon") },
            Message::text(Speaker::System, "be brief"),
        ];
        let told = conversation(&definition(), &CompletionRequest { messages, ..CompletionRequest::default() });
        let roles: Vec<Role> = told.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        assert!(told[1].content.contains(prompt::IMAGE_NOTICE));
        assert!(told[2].content.starts_with("let me see") && told[2].content.contains("time"), "{told:?}");
        assert!(told[3].content.contains("noon"));
    }

    #[test]
    fn wishes_win_over_the_definition_within_its_limit() {
        let mut asked = CompletionRequest { messages: vec![Message::text(Speaker::User, "x")], ..Default::default() };
        assert_eq!(request(&definition(), &asked).sampling.temperature, Some(0.5));
        asked.sampling.temperature = Some(0.0);
        asked.sampling.max_tokens = Some(500);
        asked.sampling.stop = vec!["END".into()];
        let told = request(&definition(), &asked);
        assert_eq!((told.sampling.temperature, told.max_tokens), (Some(0.0), Some(100)));
        assert_eq!(told.stops, ["END"]);
    }
}
