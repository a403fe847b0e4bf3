//! Which models fit a bot: the rules between a bot's backend and the type of its models.

use crate::profile::Character;

/// The part of a catalogue that the rules need.
pub trait ModelTypes {
    /// An alias in its spelling in the catalogue, and the type clients see.
    fn of_alias(&self, alias: &str) -> Option<(String, String)>;
    /// Types of the definitions whose alias or provider name is this.
    fn of_name(&self, name: &str) -> Vec<String>;
}

/// Backends whose configuration names no model of ours.
const UNCHECKED: &[&str] = &["openclaw", "default"];

/// Checks the bot's models, and puts the default model into the catalogue's spelling.
///
/// # Errors
/// A sentence for the client.
pub fn fitted(mut character: Character, models: &impl ModelTypes) -> Result<Character, String> {
    let backend = character.agent_backend.as_deref();
    if let Some(wanted) = &character.default_model {
        let (alias, kind) =
            models.of_alias(wanted).ok_or_else(|| format!("default_model: model alias '{wanted}' does not exist"))?;
        if !fits(backend, &kind) {
            let who =
                backend.map_or_else(|| "a bot without agent backend".to_owned(), |name| format!("backend '{name}'"));
            return Err(format!("default_model: '{alias}' of type '{kind}' does not fit {who}"));
        }
        character.default_model = Some(alias);
    }
    let configured = character.agent_backend_config.as_ref().and_then(|config| config.get("model"));
    let configured = configured.and_then(|model| model.as_str()).map(str::trim).filter(|model| !model.is_empty());
    if let (Some(backend), Some(model)) = (backend.filter(|name| !UNCHECKED.contains(name)), configured) {
        let kinds = models.of_name(model);
        if kinds.is_empty() {
            return Err(format!("agent_backend_config.model: '{model}' is neither an alias nor a model id we know"));
        }
        if !kinds.iter().any(|kind| fits(Some(backend), kind)) {
            return Err(format!("agent_backend_config.model: '{model}' does not fit backend '{backend}'"));
        }
    }
    Ok(character)
}

fn fits(backend: Option<&str>, kind: &str) -> bool {
    match backend {
        None => kind != "claude-code",
        Some("claude-code") => kind == "claude-code",
        Some("codex") => matches!(kind, "codex" | "openai"),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::BotSlug;
    use serde_json::json;

    use super::*;

    struct Types;

    impl ModelTypes for Types {
        fn of_alias(&self, alias: &str) -> Option<(String, String)> {
            let alias = alias.to_lowercase();
            let kind = match alias.as_str() {
                "gpt" => "openai",
                "opus" => "claude-code",
                "dex" => "codex",
                "llama" => "gguf",
                _ => return None,
            };
            Some((alias, kind.to_owned()))
        }

        fn of_name(&self, name: &str) -> Vec<String> {
            self.of_alias(name).map(|(_, kind)| kind).into_iter().collect()
        }
    }

    fn check(backend: Option<&str>, default: Option<&str>, configured: Option<&str>) -> Result<Option<String>, String> {
        let character = Character {
            agent_backend: backend.map(str::to_owned),
            default_model: default.map(str::to_owned),
            agent_backend_config: configured.and_then(|model| json!({"model": model}).as_object().cloned()),
            ..Character::blank(&BotSlug::from_stored("b"))
        };
        fitted(character, &Types).map(|character| character.default_model)
    }

    #[test]
    fn models_fit_their_backend() {
        assert_eq!(check(None, Some("GPT"), None), Ok(Some("gpt".into())));
        assert_eq!(check(None, None, None), Ok(None));
        assert_eq!(check(Some("claude-code"), Some("opus"), Some("opus")), Ok(Some("opus".into())));
        assert_eq!(check(Some("codex"), Some("dex"), Some("gpt")), Ok(Some("dex".into())));
        assert_eq!(check(Some("openclaw"), Some("llama"), Some("anything")), Ok(Some("llama".into())));
        for (backend, default, configured) in [
            (None, Some("gone"), None),
            (None, Some("opus"), None),
            (Some("claude-code"), Some("gpt"), None),
            (Some("codex"), Some("llama"), None),
            (Some("codex"), None, Some("opus")),
            (Some("claude-code"), None, Some("gone")),
        ] {
            assert!(check(backend, default, configured).is_err(), "{backend:?} {default:?} {configured:?}");
        }
    }
}
