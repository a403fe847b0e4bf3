//! The seed file: a map `models`, alias to definition, in the order in which models are listed.
//!
//! A file that is not YAML of that shape is refused as a whole; an entry that is not a valid definition is left out and
//! named in the log.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::definition::ModelDefinition;
use crate::draft;
use crate::error::ProvidersError;
use crate::settings::ProviderSettings;

/// The text of the seeds: the file when one is configured, else the built-in list.
pub(crate) async fn text(settings: &ProviderSettings) -> Result<String, ProvidersError> {
    match &settings.seeds_path {
        None => Ok(settings.seeds.clone()),
        Some(path) => tokio::fs::read_to_string(path)
            .await
            .map_err(|error| ProvidersError::Seeds(format!("{}: {error}", path.display()))),
    }
}

/// Reads the seeds; entries keep their order.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Vec<ModelDefinition>, ProvidersError> {
    let refuse = |why: String| ProvidersError::Seeds(why);
    let file: serde_norway::Value = serde_norway::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let models = match &file {
        serde_norway::Value::Null => return Ok(Vec::new()),
        serde_norway::Value::Mapping(file) => {
            if let Some(other) = file.keys().find(|key| key.as_str() != Some("models")) {
                return Err(refuse(format!("unknown top-level member {other:?}")));
            }
            file.get("models")
        }
        _ => return Err(refuse("a map with the member models is expected".into())),
    };
    let models = match models {
        None | Some(serde_norway::Value::Null) => return Ok(Vec::new()),
        Some(serde_norway::Value::Mapping(models)) => models,
        Some(_) => return Err(refuse("models must be a map from alias to definition".into())),
    };
    let (mut definitions, mut seen) = (Vec::with_capacity(models.len()), HashSet::new());
    for (alias, entry) in models {
        let alias = alias.as_str().ok_or_else(|| refuse(format!("alias {alias:?} must be a text")))?;
        if !seen.insert(alias.trim().to_lowercase()) {
            return Err(refuse(format!("alias {alias} is defined twice")));
        }
        let entry: Map<String, Value> = match serde_json::to_value(entry) {
            Ok(Value::Object(entry)) => entry,
            _ => return Err(refuse(format!("the definition of {alias} must be a map"))),
        };
        match draft::read_seed(alias, &entry, now) {
            Ok(definition) => definitions.push(definition),
            Err(complaints) => {
                let faults: Vec<String> =
                    complaints.iter().map(|c| format!("{}: {}", Value::from(c.loc.clone()), c.msg)).collect();
                tracing::warn!(alias, faults = faults.join("; "), "model seed left out");
            }
        }
    }
    Ok(definitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BUILT_IN_SEEDS;

    #[test]
    fn the_built_in_list_is_valid_and_has_an_echo() {
        let raw: serde_norway::Value = serde_norway::from_str(BUILT_IN_SEEDS).unwrap();
        let listed = raw.get("models").and_then(serde_norway::Value::as_mapping).map_or(0, |models| models.len());
        let seeds = parse(BUILT_IN_SEEDS, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(seeds.len(), listed);
        assert!(seeds.iter().any(|seed| seed.alias == "echo"));
    }

    #[test]
    fn order_is_kept_and_bad_entries_are_left_out() {
        let text = "models:\n  zed: {type: echo}\n  bad: {type: openai}\n  abc: {type: echo, description: x}\n";
        let seeds = parse(text, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(seeds.iter().map(|seed| seed.alias.as_str()).collect::<Vec<_>>(), ["zed", "abc"]);
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        for bad in
            ["models: [1]", "model: {}", "[]", "models: {a: 1}", "models: {a: {type: echo}, A: {type: echo}}", ":\n:"]
        {
            assert!(parse(bad, Timestamp::UNIX_EPOCH).is_err(), "{bad}");
        }
        for empty in ["", "models:", "models: {}"] {
            assert!(parse(empty, Timestamp::UNIX_EPOCH).unwrap().is_empty(), "{empty}");
        }
    }
}
