//! Looking at a server from outside a turn: whether it is there, and how many tokens fit the models that it has loaded.
//!
//! Servers on this machine or network that speak Chat Completions tell the latter: vLLM in its list of models, llama.cpp
//! among its properties. A definition never promises more than that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::discovery::read_json;
use crate::endpoint::Endpoint;
use crate::provider::ProviderHandle;
use crate::transport::Transport;
use crate::wires::Wire;

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Asks a provider for its models, with whatever answer, and notes the windows that it tells; false when it is not there.
pub(crate) async fn look(provider: &ProviderHandle, transport: &Transport) -> bool {
    let Some(endpoint) = provider.endpoint() else { return true };
    let request = |url| transport.client(endpoint.target.local).get(url).headers(endpoint.target.credential.clone());
    let asked = async {
        let response = request(endpoint.target.models_url.clone()).send().await.ok()?;
        Some(if tells_windows(endpoint) && response.status().is_success() { read_json(response).await } else { None })
    };
    let Ok(Some(list)) = timeout(LOOK_LIMIT, asked).await else { return false };
    let models = list.as_ref().and_then(|list| list.get("data")?.as_array()).map(Vec::as_slice).unwrap_or_default();
    let loaded = if models.iter().any(is_llama_cpp) {
        let asked = async { read_json(request(endpoint.base.above_v1("props")?).send().await.ok()?).await };
        timeout(LOOK_LIMIT, asked).await.ok().flatten().as_ref().and_then(loaded_context)
    } else {
        None
    };
    for model in models {
        let Some(id) = model.get("id").and_then(Value::as_str) else { continue };
        if let Some(window) = model.get("max_model_len").and_then(Value::as_u64).or(loaded).filter(|window| *window > 0)
        {
            provider.shared.note(&Arc::from(id), |facts| facts.window = Some(window));
        }
    }
    true
}

fn tells_windows(endpoint: &Endpoint) -> bool {
    endpoint.wire == Wire::Chat && endpoint.target.local
}

fn is_llama_cpp(model: &Value) -> bool {
    model.get("owned_by").and_then(Value::as_str) == Some("llamacpp")
}

/// The context of one slot of a llama.cpp server.
fn loaded_context(props: &Value) -> Option<u64> {
    props.get("default_generation_settings").and_then(|settings| settings.get("n_ctx")).or(props.get("n_ctx"))?.as_u64()
}
