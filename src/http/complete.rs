//! One prompt, one answer (http-api §17): no bot, no past, no memory, no tools; a row in the turn logs all the same. It
//! never loads a model onto this machine.

use greenroom_protocol::fields::Fields;
use greenroom_protocol::{ErrorClass, Sampling};
use greenroom_provider::{Engine, ModelType, ProviderError};
use greenroom_turn::{SingleCall, SingleError};
use http::HeaderValue;
use serde_json::json;

use super::answer::{self, Answer};
use super::call::Call;
use super::chat::X_TURN_ID;
use super::error::ApiError;
use crate::house::House;

/// Longest text, in characters.
const TEXT_LIMIT: usize = 1_000_000;
/// Most tokens that may be asked for; the model's own limit is mostly lower.
const TOKEN_LIMIT: i64 = 1_000_000;
const DEFAULT_TOKENS: u32 = 500;
const DEFAULT_TEMPERATURE: f64 = 0.7;

/// `POST /v1/llm/complete`.
pub async fn complete(mut call: Call) -> Answer {
    let body = call.json().await?;
    let mut fields = Fields::of("body", &body)?;
    let prompt = fields.required_text("prompt", TEXT_LIMIT);
    let system = fields.text_max("system", TEXT_LIMIT).some();
    let model = fields.text_max("model", 256).some();
    let max_tokens = fields.integer("max_tokens", 1, TOKEN_LIMIT).some();
    let temperature = fields.number("temperature", 0.0, 2.0).some();
    fields.finish()?;
    let house = &call.house;
    if house.is_draining() {
        return Err(ApiError::Draining { retry_after: house.admission.retry_after() });
    }
    let engine = choose(house, model.as_deref().map(str::trim).filter(|name| !name.is_empty()))?;
    let alias = engine.alias().to_owned();
    let user = house.bots.user_or_default(call.caller.user.as_ref());
    let (permit, _seat) = house.admission.enter(&user)?;
    let single = SingleCall {
        request_id: call.request_id.clone(),
        path: call.route.path.to_owned(),
        user,
        engine,
        system,
        prompt,
        sampling: Sampling {
            temperature: Some(temperature.unwrap_or(DEFAULT_TEMPERATURE)),
            max_tokens: Some(max_tokens.and_then(|most| u32::try_from(most).ok()).unwrap_or(DEFAULT_TOKENS)),
            ..Sampling::default()
        },
        permit: Some(permit),
    };
    let said = house.turns.ask_once(single).await?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of one call")]
    let elapsed_ms = said.elapsed.as_millis() as u64;
    let mut response = answer::json(&json!({
        "content": said.text, "model": alias, "tokens": said.usage.output, "elapsed_ms": elapsed_ms,
    }))?;
    if let Ok(id) = HeaderValue::from_str(said.turn.as_str()) {
        response.headers_mut().insert(X_TURN_ID, id);
    }
    Ok(response)
}

/// The named model and no other; else the one for maintenance; else what would answer the default bot.
fn choose(house: &House, wanted: Option<&str>) -> Result<Engine, ApiError> {
    if let Some(name) = wanted {
        let engine = house.providers.engine(name).map_err(|error| refusal(house, name, error))?;
        return if engine.is_loaded() { Ok(engine) } else { Err(not_loaded(engine.alias())) };
    }
    let maintenance = house.config().memory.maintenance_model.as_deref().filter(|name| !name.trim().is_empty());
    if let Some(name) = maintenance {
        match house.providers.engine(name) {
            Ok(engine) => return Ok(engine),
            Err(error) => tracing::warn!(model = name, %error, "the model for maintenance cannot be used"),
        }
    }
    let usual = house.bots.active_model(None, None).and_then(|alias| house.providers.engine(&alias).ok());
    usual.ok_or_else(|| ApiError::said(ErrorClass::Unavailable, "No model is available"))
}

/// Reasons stay inside: they may name hosts.
fn refusal(house: &House, name: &str, error: ProviderError) -> ApiError {
    let catalogue = house.providers.catalogue();
    match (&error, catalogue.find(name)) {
        (ProviderError::NoSuchModel(_), Err(unknown)) => ApiError::not_found(unknown),
        (ProviderError::NotAvailable { alias, .. }, Ok(model)) if model.kind == ModelType::Gguf => not_loaded(alias),
        (ProviderError::NotAvailable { alias, .. }, _) => {
            ApiError::said(ErrorClass::NoModel, format!("Model '{alias}' is not available"))
        }
        _ => error.into(),
    }
}

fn not_loaded(alias: &str) -> ApiError {
    ApiError::said(ErrorClass::Conflict, format!("Model '{alias}' is not loaded. Make a chat request with it first."))
}

impl From<SingleError> for ApiError {
    fn from(error: SingleError) -> Self {
        match error {
            SingleError::Turn(error) => error.into(),
            SingleError::Provider(error) => {
                let (class, retry_after) = (error.class(), error.retry_after());
                Self::Room { class, message: error.to_string(), safe: true, retry_after }
            }
            SingleError::Stopped => Self::said(ErrorClass::Unavailable, "The call was stopped"),
        }
    }
}
