//! The `openai` kind: Chat Completions at OpenAI, OpenRouter, xAI, Ollama, vLLM, llama.cpp and anything compatible.
//!
//! `request` writes what goes out, `call` tries and tries again, `answer` polls the body, and the rest is pure: `chunk`,
//! `tool_calls`, `stop_guard` and `fold` turn bytes into events, `refusal` and `learned` decide what an error means.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod chunk;
#[cfg(test)]
mod corpus;
pub(crate) mod fold;
pub(crate) mod learned;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod stop_guard;
pub(crate) mod tool_calls;
