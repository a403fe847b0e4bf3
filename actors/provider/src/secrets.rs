//! Reading the secrets of a definition: a masked one means "unchanged", but only towards the same host, and only names that
//! look like those of keys may be looked up.

use greenroom_protocol::fields::Fields;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::base_url::same_origin;
use crate::definition::ModelOptions;
use crate::draft::text;
use crate::view::{MASK, mask, names_secret};

/// A key of the model's own.
pub(crate) fn read_key(
    fields: &mut Fields<'_>,
    base_url: Option<&str>,
    stored: Option<&ModelOptions>,
) -> Option<SecretString> {
    let key = text(fields, "api_key", 4096)?;
    if !key.starts_with(MASK) {
        if key.chars().all(|c| c.is_ascii_graphic()) {
            return Some(key.into());
        }
        fields.complain("value_error", "api_key", "Input should be printable ASCII without spaces");
        return None;
    }
    let Some((stored, kept)) = stored.and_then(|stored| Some((stored, stored.api_key.as_ref()?))) else {
        fields.complain("value_error", "api_key", "Input is masked, and no key is stored");
        return None;
    };
    if key != MASK && key != mask(kept.expose_secret()) {
        fields.complain("value_error", "api_key", "Input is masked, and does not match the stored key");
    } else if !same_origin(stored.base_url.as_deref(), base_url) {
        fields.complain("value_error", "api_key", "Input must be given in full when base_url names another host");
    }
    Some(kept.clone())
}

/// Only names that look like those of keys: a definition must not be able to send any other variable to its endpoint.
pub(crate) fn read_key_name(fields: &mut Fields<'_>) -> Option<String> {
    let name = text(fields, "api_key_env", 128)?;
    let word = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_uppercase());
    if word && (name.ends_with("_KEY") || name.ends_with("_TOKEN")) {
        return Some(name);
    }
    let rule = "Input should be the name of an environment variable in capitals that ends in _KEY or _TOKEN";
    fields.complain("value_error", "api_key_env", rule);
    None
}

/// The configuration of an agent bridge, secrets within it unmasked.
pub(crate) fn read_config(fields: &mut Fields<'_>, stored: Option<&ModelOptions>) -> Option<Value> {
    let config = fields.object("bot_config").some()?;
    let mut config = Value::Object(config.clone());
    let kept = stored.and_then(|stored| stored.bot_config.as_ref());
    if !unmask(&mut config, kept) {
        fields.complain("value_error", "bot_config", "Input holds a masked secret that does not match the stored one");
    }
    Some(config)
}

fn unmask(config: &mut Value, stored: Option<&Value>) -> bool {
    let Value::Object(map) = config else { return true };
    map.iter_mut().all(|(name, value)| {
        let kept = stored.and_then(|stored| stored.get(name));
        match value {
            Value::String(text) if names_secret(name) && text.starts_with(MASK) => match kept.and_then(Value::as_str) {
                Some(secret) if text == MASK || *text == mask(secret) => {
                    *text = secret.to_owned();
                    true
                }
                _ => false,
            },
            inner => unmask(inner, kept),
        }
    })
}
