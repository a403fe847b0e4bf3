//! Bots that may use tools, and turns of theirs as a client of the stream sees them.

use greenroom_test_support::upstream::{Script, ScriptedCall, ToolShape};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::common::{House, soon};

/// Makes a bot that forgets, with these members besides.
pub async fn bot(house: &House, slug: &str, more: Value) {
    let mut body = json!({"slug": slug, "name": slug, "system_prompt": "You help.", "requires_memory": false});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
    let (status, made) = house.post("/v1/bots", &body).await;
    assert_eq!(status, 200, "{made}");
}

/// Defines a model that the scripted upstream plays, of this kind and with these options.
pub async fn model(house: &House, alias: &str, kind: &str, options: Value) {
    let mut extra = json!({"base_url": house.upstream.base_url(), "api_key": "scripted-key-0123456789",
        "context_window": 32000, "max_tokens": 4096});
    extra.as_object_mut().unwrap().extend(options.as_object().cloned().unwrap_or_else(Map::new));
    let body = json!({"type": kind, "model_id": alias, "extra": extra});
    let (status, made) = house.put(&format!("/v1/models/definitions/{alias}"), &body).await;
    assert_eq!(status, 200, "{made}");
}

/// The answer of a model that calls these tools: names and arguments; the ids are `call_0`, `call_1`, ….
pub fn calling(calls: &[(&str, Value)]) -> Script {
    let calls = calls.iter().enumerate();
    let calls: Vec<_> = calls.map(|(n, (name, it))| ScriptedCall::new(&format!("call_{n}"), name, it)).collect();
    Script::tool_calls(&calls, &ToolShape::default())
}

/// A stream that was read to its end.
pub struct Said {
    pub turn: String,
    pub whole: String,
    pub frames: Vec<Value>,
}

/// Streams a turn of `bot` with the model `alias` for user ann.
pub async fn ask(house: &House, bot: &str, alias: &str, prompt: &str) -> Said {
    ask_with(house, bot, alias, prompt, &[]).await
}

/// The same with these request headers.
pub async fn ask_with(house: &House, bot: &str, alias: &str, prompt: &str, headers: &[(&str, &str)]) -> Said {
    let body = json!({"model": alias, "bot_id": bot, "user": "ann", "stream": true,
        "messages": [{"role": "user", "content": prompt}]});
    read(house, "/v1/chat/completions", &body, headers).await
}

/// Streams what is posted to `path`.
pub async fn read(house: &House, path: &str, body: &Value, headers: &[(&str, &str)]) -> Said {
    let request = house.request(Method::POST, path).json(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let turn = response.headers()["x-turn-id"].to_str().unwrap().to_owned();
    let whole = soon(response.text()).await.unwrap();
    let data = whole.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let frames = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    Said { turn, whole, frames }
}

impl Said {
    /// The frames of one kind.
    pub fn of(&self, object: &str) -> Vec<&Value> {
        self.frames.iter().filter(|frame| frame["object"] == object).collect()
    }

    /// The text of the answer.
    pub fn text(&self) -> String {
        crate::common::text_of(&self.whole)
    }

    /// What a strict client sees finish.
    pub fn finishes(&self) -> Vec<&str> {
        self.frames.iter().filter_map(|frame| frame["choices"][0]["finish_reason"].as_str()).collect()
    }

    /// The results of calls: whether they succeeded, and what they said.
    pub fn results(&self) -> Vec<(bool, String)> {
        let ended = self.of("service.tool_result");
        ended.iter().map(|end| (end["ok"] == true, end["result"].as_str().unwrap().to_owned())).collect()
    }

    /// The warnings.
    pub fn warnings(&self) -> Vec<String> {
        let told = self.of("service.warning").into_iter().filter_map(|frame| frame["warnings"].as_array());
        told.flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// How the turn ended, in a stream that is complete.
    pub fn status(&self) -> &str {
        assert!(self.whole.ends_with("data: [DONE]\n\n"), "{}", self.whole);
        let ends = self.of("service.turn_complete");
        assert_eq!(ends.len(), 1, "{}", self.whole);
        ends[0]["status"].as_str().unwrap()
    }
}

/// The `tool` messages of a Chat Completions request.
pub fn told(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter();
    messages
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}
